package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/kubectl/pkg/drain"
)

// peer is how somebody else empties nodes, in a process of its own.
type peer struct {
	// qps limits the client's requests a second, with a burst of twice as many; 0: client-go's usual 5, which kubectl has too; -1: not at all.
	qps float32
	// atOnce drains all nodes at once instead of one after another.
	atOnce bool
	// awaits waits after each node until every workload has all its Pods again.
	awaits bool
	// eksctl empties a node by a port of eksctl's loop instead.
	eksctl bool
}

// run empties the nodes that selector names, by the library behind kubectl drain.
func (p peer) run(ctx context.Context, kubeconfig, selector string, out io.Writer) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	config.QPS, config.Burst = p.qps, 2*int(p.qps)
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return fmt.Errorf("list the old nodes: %w", err)
	}
	helper := &drain.Helper{
		Ctx: ctx, Client: client, GracePeriodSeconds: -1,
		Force: true, IgnoreAllDaemonSets: true, DeleteEmptyDirData: true,
		EvictErrorRetryDelay: 5 * time.Second, ChunkSize: 500, // which kubectl drain gives to its library
		Out: out, ErrOut: out,
	}
	for i := range nodes.Items {
		if err := drain.RunCordonOrUncordon(helper, &nodes.Items[i], true); err != nil {
			return fmt.Errorf("cordon %s: %w", nodes.Items[i].Name, err)
		}
	}
	var whole func(context.Context) error
	if p.awaits {
		if whole, err = watchWorkloads(ctx, client); err != nil {
			return err
		}
	}
	if p.atOnce {
		return drainAtOnce(helper, nodes.Items)
	}
	empty := drain.RunNodeDrain
	if p.eksctl {
		empty = eksctlDrain
	}
	for _, node := range nodes.Items {
		if err := empty(helper, node.Name); err != nil {
			return fmt.Errorf("drain %s: %w", node.Name, err)
		}
		if whole == nil {
			continue
		}
		if err := whole(ctx); err != nil {
			return fmt.Errorf("wait for the new pods after %s: %w", node.Name, err)
		}
	}
	return nil
}

func drainAtOnce(helper *drain.Helper, nodes []corev1.Node) error {
	var draining sync.WaitGroup
	errs := make([]error, len(nodes))
	for i, node := range nodes {
		draining.Go(func() {
			if err := drain.RunNodeDrain(helper, node.Name); err != nil {
				errs[i] = fmt.Errorf("drain %s: %w", node.Name, err)
			}
		})
	}
	draining.Wait()
	return errors.Join(errs...)
}

// eksctlWait is eksctl's --pod-eviction-wait-period.
const eksctlWait = 10 * time.Second

// eksctlDrain is a port of the loop in eksctl's pkg/drain (NodeGroupDrainer.evictPods, v0.215.0), which cannot be linked without the whole of
// eksctl: evict one pod after another, wait if one was refused, and begin anew at once until none is left, those that are terminating
// included. Which pods it takes is left to kubectl's filters, of which eksctl has a copy.
func eksctlDrain(helper *drain.Helper, node string) error {
	group, err := drain.CheckEvictionSupport(helper.Client)
	if err != nil {
		return err
	}
	for {
		list, errs := helper.GetPodsForDeletion(node)
		if len(errs) > 0 {
			return errors.Join(errs...)
		}
		if len(list.Pods()) == 0 {
			return nil
		}
		refused := false
		for _, pod := range list.Pods() {
			switch err := helper.EvictPod(pod, group); {
			case apierrors.IsNotFound(err), apierrors.IsTooManyRequests(err), apierrors.IsTimeout(err), apierrors.IsServerTimeout(err):
				refused = true
			case err != nil:
				return err
			}
		}
		if refused {
			time.Sleep(eksctlWait)
		}
	}
}

// watchWorkloads follows all Deployments and StatefulSets. What it returns waits until each has all its pods Ready, as kubectl rollout
// status does: by watching, so that the peer loses no time to polls and spends no requests on them.
func watchWorkloads(ctx context.Context, client kubernetes.Interface) (func(context.Context) error, error) {
	factory := informers.NewSharedInformerFactory(client, 0)
	ds, ss := factory.Apps().V1().Deployments(), factory.Apps().V1().StatefulSets()
	changed := make(chan struct{}, 1)
	wake := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { wake() }, UpdateFunc: func(any, any) { wake() }, DeleteFunc: func(any) { wake() },
	}
	for _, informer := range []cache.SharedIndexInformer{ds.Informer(), ss.Informer()} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return nil, err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	whole := func() bool {
		all, _ := ds.Lister().List(labels.Everything()) // from memory, which does not fail
		for _, d := range all {
			if !deploymentWhole(d) {
				return false
			}
		}
		sets, _ := ss.Lister().List(labels.Everything())
		for _, s := range sets {
			if s.Status.ObservedGeneration < s.Generation || s.Status.ReadyReplicas < *s.Spec.Replicas {
				return false
			}
		}
		return true
	}
	return func(ctx context.Context) error {
		for !whole() {
			select {
			case <-changed:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}, nil
}

func deploymentWhole(d *appsv1.Deployment) bool {
	return d.Status.ObservedGeneration >= d.Generation && d.Status.ReadyReplicas >= *d.Spec.Replicas
}

// runPeer is the command of the process that a peer runs in.
func runPeer(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("usage: bench peer NAME KUBECONFIG SELECTOR")
	}
	for _, c := range contenders() {
		if c.name == args[0] && c.peer != nil {
			began := time.Now()
			err := c.peer.run(ctx, args[1], args[2], os.Stdout)
			fmt.Printf("took %s\n", time.Since(began).Round(time.Millisecond))
			return err
		}
	}
	return fmt.Errorf("there is no peer %q", args[0])
}
