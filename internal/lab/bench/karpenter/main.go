// Command karpenter empties nodes as Karpenter does, by its own terminator and eviction queue, for the benchmark. It is a module of its
// own because Karpenter is written against another version of client-go.
//
//	karpenter KUBECONFIG SELECTOR
//
// What is Karpenter's is taken from it: the taint, the queue with its backoff, the order of priorities, the client's limits, the second
// between two looks at a node that is not empty yet. There are no NodeClaims; their look-up, which only labels a metric, finds none.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"
	controllerruntime "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	v1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/controllers/node/termination/terminator"
	"sigs.k8s.io/karpenter/pkg/events"
	"sigs.k8s.io/karpenter/pkg/operator/options"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: karpenter KUBECONFIG SELECTOR")
		os.Exit(2)
	}
	log.SetLogger(logr.Discard())
	if err := run(controllerruntime.SetupSignalHandler(), os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "karpenter:", err)
		os.Exit(1)
	}
}

// Karpenter's defaults: --kube-client-qps, --kube-client-burst, and the requeue of its termination controller.
const (
	qps     = 200
	burst   = 300
	requeue = time.Second
)

func run(ctx context.Context, kubeconfig, selector string) error {
	old, err := labels.Parse(selector)
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = qps, burst
	ctx = options.ToContext(ctx, &options.Options{CPURequests: 1000}) // of its chart's example
	m, err := controllerruntime.NewManager(config, manager.Options{Metrics: server.Options{BindAddress: "0"}})
	if err != nil {
		return err
	}
	err = m.GetFieldIndexer().IndexField(ctx, &corev1.Pod{}, "spec.nodeName", func(o client.Object) []string {
		return []string{o.(*corev1.Pod).Spec.NodeName}
	})
	if err != nil {
		return err
	}
	kube := withoutClaims{m.GetClient()}
	recorder := events.NewRecorder(m.GetEventRecorderFor("karpenter")) //nolint:staticcheck // which is what Karpenter takes
	queue := terminator.NewQueue(kube, recorder)
	if err := queue.Register(ctx, m); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- m.Start(ctx) }()
	if !m.GetCache().WaitForCacheSync(ctx) {
		return errors.Join(errors.New("the caches did not fill"), <-ended)
	}
	err = drain(ctx, kube, terminator.NewTerminator(clock.RealClock{}, kube, queue, recorder), old)
	cancel()
	return errors.Join(err, <-ended)
}

// drain taints all nodes and empties them at once, each as Karpenter's termination controller does.
func drain(ctx context.Context, kube client.Client, t *terminator.Terminator, old labels.Selector) error {
	var nodes corev1.NodeList
	if err := kube.List(ctx, &nodes, client.MatchingLabelsSelector{Selector: old}); err != nil {
		return err
	}
	var pods corev1.PodList // fills the cache before the first node needs it
	if err := kube.List(ctx, &pods); err != nil {
		return err
	}
	for i := range nodes.Items {
		if err := t.Taint(ctx, &nodes.Items[i], v1.DisruptedNoScheduleTaint); err != nil {
			return err
		}
	}
	var draining sync.WaitGroup
	errs := make([]error, len(nodes.Items))
	for i := range nodes.Items {
		draining.Go(func() { errs[i] = empty(ctx, t, &nodes.Items[i]) })
	}
	draining.Wait()
	return errors.Join(errs...)
}

func empty(ctx context.Context, t *terminator.Terminator, node *corev1.Node) error {
	again := time.NewTicker(requeue)
	defer again.Stop()
	for {
		err := t.Drain(ctx, node, nil)
		if !terminator.IsNodeDrainError(err) {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// withoutClaims is a client of a cluster that has no NodeClaims, nor their definition.
type withoutClaims struct{ client.Client }

// List implements [client.Reader].
func (c withoutClaims) List(ctx context.Context, list client.ObjectList, o ...client.ListOption) error {
	if _, ok := list.(*v1.NodeClaimList); ok {
		return nil
	}
	return c.Client.List(ctx, list, o...)
}
