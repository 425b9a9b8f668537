package gkeemu

import (
	"context"
	"fmt"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"google.golang.org/protobuf/types/known/durationpb"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// drainLimits are how long GKE waits before it uses force: for PDBs to allow an eviction, and for a pod to stop.
type drainLimits struct{ pdb, grace time.Duration }

func (s *Server) limits(config *containerpb.NodePool_NodeDrainConfig) drainLimits {
	limit := func(set *durationpb.Duration) time.Duration {
		switch {
		case set != nil:
			return set.AsDuration()
		case s.options.Timing.ForceAfter > 0:
			return s.options.Timing.ForceAfter
		}
		return time.Hour // GKE's
	}
	return drainLimits{pdb: limit(config.GetPdbTimeoutDuration()), grace: limit(config.GetGraceTerminationDuration())}
}

// drain empties a cordoned node as GKE does. Every pod is evicted through the API, again and again while its PDB does not allow it; what is
// there at the limits is killed, and told. DaemonSet, mirror and finished pods go with their node.
func (w *nodeWork) drain(ctx context.Context, node string) error {
	begun := time.Now()
	stopping := map[types.UID]time.Time{} // since when
	for {
		pods, err := w.pool.podsOn(ctx, node)
		if err != nil {
			return err
		}
		left := 0
		for _, pod := range pods {
			if !ofUse(&pod) {
				continue
			}
			left++
			since, stops := stopping[pod.UID]
			switch {
			case stops && time.Since(since) >= w.drains.grace:
				err = w.kill(ctx, &pod, fmt.Sprintf("it had not stopped %s after its eviction", w.drains.grace))
			case stops:
			case pod.DeletionTimestamp != nil:
				stopping[pod.UID] = time.Now()
			default:
				refusal := w.evict(ctx, &pod)
				if refusal == nil {
					stopping[pod.UID] = time.Now()
				} else if time.Since(begun) >= w.drains.pdb {
					err = w.kill(ctx, &pod, fmt.Sprintf("its eviction was refused for %s: %s", w.drains.pdb, refusal))
				}
			}
			if err != nil {
				return err
			}
		}
		if left == 0 {
			return nil
		}
		if !wait(ctx, lookEvery) {
			return ctx.Err()
		}
	}
}

// evict asks once. A rollback that does not respect PDBs deletes the pod instead, with its grace.
func (w *nodeWork) evict(ctx context.Context, pod *corev1.Pod) error {
	kube := w.pool.cluster.spec.Kube
	this := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))}
	var err error
	if w.ignorePDB {
		err = kube.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, this)
	} else {
		err = kube.PolicyV1().Evictions(pod.Namespace).Evict(ctx, &policyv1.Eviction{
			ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}, DeleteOptions: &this,
		})
	}
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // gone meanwhile
	}
	return err
}

func (w *nodeWork) kill(ctx context.Context, pod *corev1.Pod, reason string) error {
	killed, err := w.pool.kill(ctx, pod, reason)
	w.server.update(func() { w.server.killed = append(w.server.killed, killed...) })
	return err
}
