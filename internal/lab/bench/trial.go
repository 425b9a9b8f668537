package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
	"github.com/upshift-k8s/upshift/internal/lab/observer"
	"github.com/upshift-k8s/upshift/internal/lab/testbed"
)

// zone is where the pools have their nodes: with one zone, a pool has exactly as many as it is asked for.
const zone = testbed.Location + "-b"

// newPool is the pool that a peer's pods go to. Upshift makes its own.
const newPool = "new-pool"

const setUpLimit = 10 * time.Minute

// oldNodes selects the nodes that are emptied.
func oldNodes() labels.Selector {
	return labels.SelectorFromSet(labels.Set{"cloud.google.com/gke-nodepool": testbed.Pool})
}

// A trial is one contender on one workload, on a cluster of its own.
type trial struct {
	workload    workload
	contender   contender
	repetition  int
	beside      []string // contenders that run at the same time on clusters of their own
	calibration calibration

	env environment
	bed *testbed.Testbed
	own kubernetes.Interface // not counted and not limited
	dir string               // what its contender writes
}

// environment is what all trials of a benchmark share.
type environment struct {
	upshift  string // the binary
	out      string // directory
	stock    bool   // controllers with their stock client limits
	quick    bool   // calibrated with a few pods only
	progress io.Writer
}

// setUp boots the cluster and fills its old nodes; all pods are Ready when it returns.
func (t *trial) setUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, setUpLimit, fmt.Errorf("the cluster was not ready within %s", setUpLimit))
	defer cancel()
	t.dir = filepath.Join(t.env.out, "logs", fmt.Sprintf("%s-%s-%d", t.workload.name, t.contender.name, t.repetition))
	if err := os.MkdirAll(t.dir, 0o755); err != nil {
		return err
	}
	var err error
	t.bed, err = testbed.Start(context.WithoutCancel(ctx), testbed.Options{
		NodeStartUp: t.startUps(), FastControllers: !t.env.stock, Progress: t.env.progress, PoolTemplate: t.pool(testbed.Pool, testbed.NodeVersion),
	})
	if err != nil {
		return err
	}
	if t.own, err = kubernetes.NewForConfig(t.bed.Lab.DirectConfig(lab.Observer)); err != nil {
		return err
	}
	if err := t.label(ctx); err != nil {
		return fmt.Errorf("number the old nodes: %w", err)
	}
	if err := t.fill(ctx); err != nil {
		return fmt.Errorf("fill the old nodes: %w", err)
	}
	if !t.contender.ours() && len(t.workload.joins) == 0 {
		return t.bed.AddPool(ctx, t.pool(newPool, testbed.ControlPlaneVersion))
	}
	return nil
}

func (t *trial) pool(name, version string) *containerpb.NodePool {
	return &containerpb.NodePool{
		Name: name, Version: version, InitialNodeCount: int32(t.workload.nodes), Locations: []string{zone},
		Config: &containerpb.NodeConfig{MachineType: t.workload.machine},
	}
}

// startUps are the new nodes' start-ups in the emulator's terms.
func (t *trial) startUps() string {
	list := "0s"
	for i, d := range t.workload.joins {
		if i == 0 {
			list = d.String()
			continue
		}
		list += "," + d.String()
	}
	return list
}

// label numbers the old nodes.
func (t *trial) label(ctx context.Context) error {
	nodes, err := t.own.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: oldNodes().String()})
	if err != nil {
		return err
	}
	if !t.workload.packed {
		return nil
	}
	for i, n := range nodes.Items {
		patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:"%d"}}}`, slotLabel, i)
		if _, err := t.own.CoreV1().Nodes().Patch(ctx, n.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// creators is how many objects are created at once.
const creators = 16

// fill creates the workload and waits until all of it runs, and every PDB knows it.
func (t *trial) fill(ctx context.Context) error {
	if _, err := t.own.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	objects := make(chan runtime.Object)
	errs := make(chan error, creators)
	var creating sync.WaitGroup
	for range creators {
		creating.Go(func() {
			for o := range objects {
				if err := create(ctx, t.own, o); err != nil {
					select {
					case errs <- err:
					default: // the first ones are enough
					}
				}
			}
		})
	}
	for _, o := range t.workload.objects() {
		objects <- o
	}
	close(objects)
	creating.Wait()
	close(errs)
	if err := <-errs; err != nil {
		return err
	}
	return every(ctx, 500*time.Millisecond, func() (bool, error) { return t.filled(ctx) })
}

func create(ctx context.Context, client kubernetes.Interface, o runtime.Object) error {
	var err error
	switch o := o.(type) {
	case *appsv1.Deployment:
		_, err = client.AppsV1().Deployments(namespace).Create(ctx, o, metav1.CreateOptions{})
	case *appsv1.StatefulSet:
		_, err = client.AppsV1().StatefulSets(namespace).Create(ctx, o, metav1.CreateOptions{})
	case *appsv1.DaemonSet:
		_, err = client.AppsV1().DaemonSets(namespace).Create(ctx, o, metav1.CreateOptions{})
	case *batchv1.Job:
		_, err = client.BatchV1().Jobs(namespace).Create(ctx, o, metav1.CreateOptions{})
	case *policyv1.PodDisruptionBudget:
		_, err = client.PolicyV1().PodDisruptionBudgets(namespace).Create(ctx, o, metav1.CreateOptions{})
	case *corev1.Pod:
		_, err = client.CoreV1().Pods(namespace).Create(ctx, o, metav1.CreateOptions{})
	default:
		err = fmt.Errorf("nobody creates a %T", o)
	}
	return err
}

// filled reports whether the old nodes have all that the workload has.
func (t *trial) filled(ctx context.Context) (bool, error) {
	pods, err := t.own.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, err
	}
	ready, finished := 0, 0
	for _, p := range pods.Items {
		switch {
		case p.Status.Phase == corev1.PodSucceeded:
			finished++
		case podReady(&p) && !controlledByDaemonSet(&p):
			ready++
		}
	}
	ends := 0
	for _, g := range t.workload.groups {
		if g.kind == completed {
			ends += g.count
		}
	}
	if ready < t.workload.movable() || finished < ends {
		return false, nil
	}
	pdbs, err := t.own.PolicyV1().PodDisruptionBudgets(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, err
	}
	for _, b := range pdbs.Items {
		if s := b.Status; s.ObservedGeneration < b.Generation || s.ExpectedPods == 0 || s.CurrentHealthy < s.ExpectedPods {
			return false, nil
		}
	}
	return true, nil
}

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func controlledByDaemonSet(p *corev1.Pod) bool {
	c := metav1.GetControllerOf(p)
	return c != nil && c.Kind == "DaemonSet"
}

// placed is how many pods of each workload are on each old node.
func (t *trial) placed(ctx context.Context) (map[string]map[string]int, error) {
	pods, err := t.own.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	out := map[string]map[string]int{}
	for _, p := range pods.Items {
		name := p.Labels[appLabel]
		if out[name] == nil {
			out[name] = map[string]int{}
		}
		out[name][p.Spec.NodeName]++
	}
	return out, nil
}

// run has the contender empty the old nodes, and says what was seen. It waits no longer than their limit. The result says by itself what failed.
func (t *trial) run(ctx context.Context) result {
	r := t.result()
	if err := t.measure(ctx, &r); err != nil {
		r.Outcome, r.Error = failed, err.Error()
		if errors.Is(err, errTooLong) {
			r.Outcome = timedOut
		}
	}
	return r
}

// result is one that says nothing yet but what was tried.
func (t *trial) result() result {
	return result{
		Workload: t.workload.name, Contender: t.contender.name, Repetition: t.repetition, Beside: t.beside,
		Started: time.Now().UTC().Truncate(time.Second),
	}
}

func (t *trial) measure(ctx context.Context, r *result) error {
	placed, err := t.placed(ctx)
	if err != nil {
		return err
	}
	loads, joins := t.workload.loads(placed), t.workload.arrivals()
	shortest := lowerBounds(loads, 0, joins, t.calibration.rate())
	r.Bounds = inSeconds(shortest)
	r.BoundsWithC = inSeconds(lowerBounds(loads, t.calibration.c(), joins, t.calibration.rate()))

	watching, err := observer.Start(ctx, t.own, observer.Emptying(oldNodes()))
	if err != nil {
		return err
	}
	before := t.bed.Lab.Proxy().Requests()
	busy := startBusy()
	if !t.contender.ours() && len(t.workload.joins) > 0 {
		if err := t.bed.GKE.AddPool(ctx, t.path(), t.pool(newPool, testbed.ControlPlaneVersion), t.startUps()); err != nil {
			return err
		}
	}
	cmd, err := t.contender.command(t.bed, t.env.upshift, t.dir)
	if err != nil {
		return err
	}
	most := limit(shortest)
	limited, cancel := context.WithTimeoutCause(ctx, most, fmt.Errorf("%w: %s", errTooLong, most.Round(time.Second)))
	defer cancel()
	used, failure := execute(limited, cmd, filepath.Join(t.dir, "log.txt"))
	if failure == nil {
		if err := watching.Emptied(limited); err != nil {
			failure = fmt.Errorf("wait until the old nodes are empty and all is Ready: %w", context.Cause(limited))
		}
	}
	r.BusyShare = busy.share()
	r.Requests = sortRequests(t.contender.user(), before, t.bed.Lab.Proxy().Requests())
	r.CPUSeconds, r.PeakRSSBytes = used.cpu.Seconds(), used.peakRSS
	r.see(t.workload, watching.Stop())
	return failure
}

// path is the cluster's name in GKE's API.
func (t *trial) path() string {
	return gkeemu.Cluster{Project: testbed.Project, Location: testbed.Location, Name: testbed.Name}.Path()
}

// close ends the cluster, if it has not ended yet.
func (t *trial) close() error {
	if t.bed == nil {
		return nil
	}
	bed := t.bed
	t.bed = nil
	return bed.Close()
}

// every tries until it is done, for what nobody announces.
func every(ctx context.Context, interval time.Duration, try func() (bool, error)) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		done, err := try()
		if done || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
