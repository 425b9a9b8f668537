package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// patience is for changes that fail for a passing reason: 0.25 s, 0.375 s and so on, about a minute in all.
var patience = wait.Backoff{Duration: 250 * time.Millisecond, Factor: 1.5, Jitter: 0.1, Steps: 12}

const (
	// requestTimeout bounds a request about one object, and listTimeout one about many.
	requestTimeout = 10 * time.Second
	listTimeout    = 30 * time.Second
)

// passing tells errors that may be gone at the next attempt: those by which the API says so, and those of a connection.
func passing(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return true
	}
	return apierrors.IsConflict(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsInternalError(err) || apierrors.IsServiceUnavailable(err)
}

// Cordon implements the engine's Cluster. A node that an earlier run cordoned becomes this run's.
func (c *Cluster) Cordon(ctx context.Context, node, run string) error {
	return c.patchNode(ctx, node, func(unschedulable bool, by string) (any, any, bool) {
		if unschedulable && (by == "" || by == run) {
			return nil, nil, false
		}
		return true, run, true
	})
}

// Uncordon implements the engine's Cluster.
func (c *Cluster) Uncordon(ctx context.Context, node string) error {
	return c.patchNode(ctx, node, func(_ bool, by string) (any, any, bool) { return nil, nil, by != "" })
}

// patchNode sets spec.unschedulable and the annotation to what decide makes of them; nil removes one. The patch is for the
// node as it was read: if somebody changed it meanwhile, it is read and decided again. While the API is away it goes on trying
// until ctx is done.
func (c *Cluster) patchNode(ctx context.Context, name string, decide func(unschedulable bool, by string) (any, any, bool)) error {
	return persist(ctx, func(ctx context.Context) error { return c.tryPatchNode(ctx, name, decide) })
}

// persist tries again and again while that fails for a reason that may pass; while the API is away, until ctx is done.
func persist(ctx context.Context, try func(context.Context) error) error {
	left := patience
	for {
		err := try(context.WithValue(ctx, frank{}, true))
		var pause time.Duration
		switch {
		case err != nil && away(err):
			pause = retryEvery
		case err == nil || !passing(err) || left.Steps <= 1:
			return err
		default:
			pause = left.Step()
		}
		select {
		case <-ctx.Done():
			return err // says more than that the time is over
		case <-time.After(pause):
		}
	}
}

// within bounds a request: a dead connection would hold it for long.
func within[T any](ctx context.Context, limit time.Duration, request func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return request(ctx)
}

func (c *Cluster) tryPatchNode(ctx context.Context, name string, decide func(unschedulable bool, by string) (any, any, bool)) error {
	node, err := within(ctx, requestTimeout, func(ctx context.Context) (*corev1.Node, error) {
		return c.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	unschedulable, by, change := decide(node.Spec.Unschedulable, node.Annotations[cordonedBy])
	if !change {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": node.ResourceVersion, "annotations": map[string]any{cordonedBy: by}},
		"spec":     map[string]any{"unschedulable": unschedulable},
	})
	if err != nil {
		return err
	}
	_, err = within(ctx, requestTimeout, func(ctx context.Context) (*corev1.Node, error) {
		return c.client.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// Evict implements the engine's Cluster. client-go would obey a Retry-After by itself and stall for up to 100 s inside the
// call, so it is told not to.
func (c *Cluster) Evict(ctx context.Context, pod upgrade.Pod) upgrade.Answer {
	uid := types.UID(pod.UID)
	err := c.client.CoreV1().RESTClient().Post().
		Namespace(pod.Namespace).Resource("pods").Name(pod.Name).SubResource("eviction").
		Body(&policyv1.Eviction{
			ObjectMeta:    metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
			DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}},
		}).
		MaxRetries(0).Do(ctx).Error()
	return classify(err)
}

// classify sorts the answers of the eviction API by what a drain does about them.
func classify(err error) upgrade.Answer {
	if err == nil {
		return upgrade.Answer{Kind: upgrade.Accepted}
	}
	a := upgrade.Answer{Message: "eviction refused: " + err.Error()}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		a.Kind, a.Message = upgrade.NotNow, "eviction not answered: "+err.Error()
		return a
	}
	if details := status.Status().Details; details != nil {
		a.RetryAfter = time.Duration(details.RetryAfterSeconds) * time.Second
	}
	switch code := status.Status().Code; {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err) && strings.Contains(err.Error(), "UID"):
		a.Kind = upgrade.AlreadyGone
	case code == http.StatusTooManyRequests && apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause):
		a.Kind = upgrade.BudgetSpent
	case code == http.StatusTooManyRequests, code == http.StatusConflict, code >= http.StatusBadGateway:
		a.Kind = upgrade.NotNow
	default:
		a.Kind = upgrade.Refused
	}
	return a
}

// Occupants implements the engine's Cluster. Without a resource version a list is a read of the latest state.
func (c *Cluster) Occupants(ctx context.Context, pool string) (upgrade.Occupants, error) {
	var there upgrade.Occupants
	nodes, err := within(ctx, listTimeout, func(ctx context.Context) (*corev1.NodeList, error) {
		return c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: c.pools.Label + "=" + pool})
	})
	if err != nil {
		return there, fmt.Errorf("list the nodes of pool %s: %w", pool, err)
	}
	on := map[string]bool{}
	for i := range nodes.Items {
		name := nodes.Items[i].Name
		on[name] = true
		there.Nodes = append(there.Nodes, readNode(&nodes.Items[i], c.pools))
		pods, err := within(ctx, listTimeout, func(ctx context.Context) (*corev1.PodList, error) {
			return c.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{
				FieldSelector: fields.OneTermEqualSelector("spec.nodeName", name).String(),
			})
		})
		if err != nil {
			return there, fmt.Errorf("list the pods on node %s: %w", name, err)
		}
		there.Pods = append(there.Pods, c.snapshot.read(pods.Items, time.Now())...)
	}
	attachments, err := within(ctx, listTimeout, func(ctx context.Context) (*storagev1.VolumeAttachmentList, error) {
		return c.client.StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{})
	})
	if err != nil {
		return there, fmt.Errorf("list the volume attachments: %w", err)
	}
	for _, a := range attachments.Items {
		if on[a.Spec.NodeName] {
			there.Volumes = append(there.Volumes, readAttachment(&a))
		}
	}
	return there, nil
}
