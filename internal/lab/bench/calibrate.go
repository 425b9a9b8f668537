package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/upshift-k8s/upshift/internal/lab"
)

// calibration is how fast this machine's control plane is.
type calibration struct {
	// CSeconds is the median of what lone evictions on the idle lab took from the request until the replacement was Ready, less its start-up; at
	// most maxC.
	CSeconds  float64   `json:"cSeconds"`
	Evictions []float64 `json:"evictions"` // each one's
	// PodsPerSecond is how many pods are replaced when all are evicted at once and no PDB is in the way, from the first replacement to the last.
	PodsPerSecond float64 `json:"podsPerSecond"`
}

func (c calibration) c() time.Duration { return time.Duration(c.CSeconds * float64(time.Second)) }

// rate is how many pods a second a bound grants the control plane; 0: any number.
func (c calibration) rate() float64 {
	if c.PodsPerSecond == 0 {
		return 0
	}
	return max(c.PodsPerSecond, minRate)
}

// These keep a slow machine from excusing everything: a longer c does not count, nor do fewer pods a second than controllers with their stock
// client limits replace.
const (
	maxC    = time.Second
	minRate = 5.0
)

// effort is how many evictions a calibration is made of.
type effort struct{ alone, atOnce int }

func (env environment) effort() effort {
	if env.quick {
		return effort{alone: 3, atOnce: 30}
	}
	return effort{alone: 20, atOnce: 300}
}

// stormers is how many evictions are sent at the same time.
const stormers = 64

// calibrate measures on a cluster of its own.
func calibrate(ctx context.Context, env environment) (c calibration, err error) {
	l, err := lab.Start(ctx, lab.Options{FastControllers: !env.stock, Progress: env.progress})
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	config := l.DirectConfig(lab.Admin)
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return c, err
	}
	if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		return c, err
	}
	for i := range 8 {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%d", i), Annotations: map[string]string{lab.AnnotationAllocatable: "cpu=16,memory=64Gi,pods=110"}}}
		if _, err := client.CoreV1().Nodes().Create(ctx, n, metav1.CreateOptions{}); err != nil {
			return c, err
		}
	}
	w := workload{nodes: 1, startUp: time.Second, grace: time.Second}
	if c.Evictions, err = evictAlone(ctx, client, w, env.effort().alone); err != nil {
		return c, fmt.Errorf("evict lone pods: %w", err)
	}
	c.CSeconds = min(median(c.Evictions), maxC.Seconds())
	if c.PodsPerSecond, err = storm(ctx, client, w, env.effort().atOnce); err != nil {
		return c, fmt.Errorf("evict many pods at once: %w", err)
	}
	return c, nil
}

// evictAlone evicts the only pod of the cluster again and again, and says what each took beyond its start-up, in seconds.
func evictAlone(ctx context.Context, client *kubernetes.Clientset, w workload, n int) ([]float64, error) {
	before, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	d := w.object("lone", 0, group{kind: deployments, replicas: 1})
	if err := create(ctx, client, d); err != nil {
		return nil, err
	}
	events, err := follow(ctx, client, before.ResourceVersion, "")
	if err != nil {
		return nil, err
	}
	defer events.Stop()
	pod, err := nextReady(ctx, events, nil)
	if err != nil {
		return nil, err
	}
	var took []float64
	for range n {
		began := time.Now()
		if err := evict(ctx, client, pod); err != nil {
			return nil, err
		}
		old := pod
		if pod, err = nextReady(ctx, events, map[string]bool{old: true}); err != nil {
			return nil, err
		}
		took = append(took, (time.Since(began) - w.startUp).Seconds())
		if err := gone(ctx, client, old); err != nil {
			return nil, err
		}
	}
	return took, client.AppsV1().Deployments(namespace).Delete(ctx, "lone", metav1.DeleteOptions{})
}

// follow tells of the pods that change from a resource version on. The API server may end a watch at any time; it is gone on with where it was.
func follow(ctx context.Context, client kubernetes.Interface, from, selector string) (watch.Interface, error) {
	return watchtools.NewRetryWatcherWithContext(ctx, from, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = selector
			return client.CoreV1().Pods(namespace).Watch(ctx, o)
		},
	})
}

// nextReady waits for a Ready pod that is none of the old ones, and is its name.
func nextReady(ctx context.Context, events watch.Interface, old map[string]bool) (string, error) {
	for {
		select {
		case e, open := <-events.ResultChan():
			if !open {
				return "", errors.New("the watch has ended for good")
			}
			if p, ok := e.Object.(*corev1.Pod); ok && e.Type != watch.Deleted && !old[p.Name] && p.DeletionTimestamp == nil && podReady(p) {
				return p.Name, nil
			}
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// gone waits until there is no such pod, so that the cluster is idle again.
func gone(ctx context.Context, client kubernetes.Interface, name string) error {
	return every(ctx, 50*time.Millisecond, func() (bool, error) {
		pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
		return err == nil && len(pods.Items) == 0, err
	})
}

func evict(ctx context.Context, client kubernetes.Interface, pod string) error {
	return client.CoreV1().Pods(namespace).EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: pod}})
}

// storm evicts many pods at once, and says how many a second are replaced. The time counts from the first replacement to the last, so that
// neither a start-up nor what a lone eviction takes is in it.
func storm(ctx context.Context, client *kubernetes.Clientset, w workload, n int) (float64, error) {
	if err := create(ctx, client, w.object("storm", 0, group{kind: deployments, replicas: n})); err != nil {
		return 0, err
	}
	var d *appsv1.Deployment
	whole := func() (bool, error) {
		var err error
		d, err = client.AppsV1().Deployments(namespace).Get(ctx, "storm", metav1.GetOptions{})
		return err == nil && int(d.Status.ReadyReplicas) == n && int(d.Status.Replicas) == n, err
	}
	if err := every(ctx, 200*time.Millisecond, whole); err != nil {
		return 0, err
	}
	pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: appLabel + "=storm"})
	if err != nil {
		return 0, err
	}
	events, err := follow(ctx, client, pods.ResourceVersion, appLabel+"=storm")
	if err != nil {
		return 0, err
	}
	defer events.Stop()
	old := map[string]bool{}
	for _, p := range pods.Items {
		old[p.Name] = true
	}
	type replacements struct {
		took time.Duration
		err  error
	}
	replaced := make(chan replacements, 1)
	go func() { // while evictions are still sent: the first replacements are Ready before the last pods are evicted
		took, err := firstToLast(ctx, events, old, n)
		replaced <- replacements{took, err}
	}()
	names := make(chan string)
	errs := make(chan error, len(pods.Items))
	var evicting sync.WaitGroup
	for range stormers {
		evicting.Go(func() {
			for name := range names {
				errs <- evict(ctx, client, name)
			}
		})
	}
	for _, p := range pods.Items {
		names <- p.Name
	}
	close(names)
	evicting.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return 0, err
		}
	}
	r := <-replaced
	return float64(n-1) / r.took.Seconds(), r.err
}

// firstToLast waits until n pods that are none of the seen ones are Ready, and says how long it took from the first of them to the last. It
// adds them to seen.
func firstToLast(ctx context.Context, events watch.Interface, seen map[string]bool, n int) (time.Duration, error) {
	var first time.Time
	for range n {
		name, err := nextReady(ctx, events, seen)
		if err != nil {
			return 0, err
		}
		if seen[name] = true; first.IsZero() {
			first = time.Now()
		}
	}
	return time.Since(first), nil
}

// median is the middle value, or the mean of the two in the middle; 0 of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
