package observer

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// A cluster is client-go's fake with what it lacks: one rising resourceVersion
// for all kinds, and word of a watch that has begun.
type cluster struct {
	*fake.Clientset
	t       *testing.T
	rv      atomic.Int64
	watched chan struct{}
}

func newCluster(t *testing.T, objs ...any) *cluster {
	c := &cluster{Clientset: fake.NewClientset(), t: t, watched: make(chan struct{}, 100)}
	for _, obj := range objs {
		if err := c.Tracker().Add(c.stamp(obj.(runtime.Object))); err != nil {
			t.Fatal(err)
		}
	}
	c.PrependReactor("list", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		version := strconv.FormatInt(c.rv.Load(), 10)
		_, list, err := clienttesting.ObjectReaction(c.Tracker())(action)
		if err != nil {
			return true, nil, err
		}
		m, err := meta.ListAccessor(list)
		if err != nil {
			return true, nil, err
		}
		m.SetResourceVersion(version)
		return true, list, nil
	})
	c.PrependWatchReactor("*", func(action clienttesting.Action) (bool, watch.Interface, error) {
		w, err := c.Tracker().Watch(action.GetResource(), action.GetNamespace())
		c.watched <- struct{}{}
		return true, w, err
	})
	return c
}

func (c *cluster) stamp(obj runtime.Object) runtime.Object {
	m, err := meta.Accessor(obj)
	if err != nil {
		c.t.Fatal(err)
	}
	m.SetResourceVersion(strconv.FormatInt(c.rv.Add(1), 10))
	return obj
}

// start waits for the watches too: the fake cannot replay what it missed.
func (c *cluster) start(ctx context.Context, with ...Option) *Observer {
	c.t.Helper()
	o, err := Start(ctx, c, with...)
	if err != nil {
		c.t.Fatal(err)
	}
	for range o.feeds {
		<-c.watched
	}
	return o
}

func (c *cluster) create(p *corev1.Pod) {
	c.t.Helper()
	c.stamp(p)
	if _, err := c.CoreV1().Pods(p.Namespace).Create(c.t.Context(), p, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// remove terminates a pod, and then ends it.
func (c *cluster) remove(p *corev1.Pod) {
	c.t.Helper()
	terminating(p)
	c.stamp(p)
	pods := c.CoreV1().Pods(p.Namespace)
	if _, err := pods.Update(c.t.Context(), p, metav1.UpdateOptions{}); err != nil {
		c.t.Fatal(err)
	}
	if err := pods.Delete(c.t.Context(), p.Name, metav1.DeleteOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

func TestObserveTwoPodsRemovedAtOnce(t *testing.T) {
	c := newCluster(t, with(web(3), newPDB("web", minAvailable("2")), slice("web-1", "web", "web-0", "web-1", "web-2"))...)
	o := c.start(t.Context())
	c.remove(newPod("web-0", "node-0"))
	c.remove(newPod("web-1", "node-1"))
	c.create(newPod("web-8", "new-0"))
	c.create(newPod("web-9", "new-1"))

	got := o.Stop()
	want := Report{
		PodsMoved: 2,
		Violations: []Violation{
			{Pod: "default/web-1", Node: "node-1", PDB: "default/web", Healthy: 1, Floor: 2},
		},
		BarePodsLost:       []string{},
		JobPodsInterrupted: []string{},
		Workloads: []Workload{
			{Kind: "Deployment", Namespace: "default", Name: "web", Moved: 2, Measured: true, Wanted: 3, LeastReady: 1},
		},
		PDBs: []PDB{
			{Namespace: "default", Name: "web", Measured: true, Floor: 2, LeastHealthy: 1, Violations: 1},
		},
		Services: []Service{{Namespace: "default", Name: "web", MostReady: 3, LeastReady: 3}},
	}
	times := cmpopts.IgnoreFields
	if diff := cmp.Diff(want, got,
		times(Report{}, "Start", "DurationSeconds"), times(Violation{}, "At"),
		times(Workload{}, "BelowWantedSeconds"), times(PDB{}, "UnderFloorSeconds"),
	); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if again := o.Stop(); !cmp.Equal(got, again) {
		t.Errorf("second Stop() = %+v, want the first's report", again)
	}
}

func TestEmptiedWaitsForTheLastPodAndItsReplacement(t *testing.T) {
	c := newCluster(t, with(web(1), poolNode("node-0", "old", false), poolNode("node-1", "new", false))...)
	o := c.start(t.Context(), Emptying(labels.SelectorFromSet(labels.Set{"pool": "old"})))
	if o.look() {
		t.Fatal("the old nodes are empty, though nothing has happened yet")
	}
	c.remove(newPod("web-0", "node-0"))
	if o.look() {
		t.Fatal("all is Ready, though the replacement has not come")
	}
	c.create(newPod("web-9", "node-1"))
	if err := o.Emptied(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := o.Stop().Emptied
	if got.Began.IsZero() || got.Ended.Before(got.Began) {
		t.Errorf("began at %v, ended at %v", got.Began, got.Ended)
	}
	if err := newCluster(t, web(1)...).start(t.Context()).Emptied(t.Context()); err == nil {
		t.Error("Emptied() without Emptying succeeds")
	}
}

func TestStartNamesWhatItMayNotList(t *testing.T) {
	refused := errors.New("forbidden")
	c := newCluster(t)
	c.PrependReactor("list", "poddisruptionbudgets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, refused
	})
	_, err := Start(t.Context(), c)
	if !errors.Is(err, refused) || !strings.Contains(err.Error(), "PodDisruptionBudgets") {
		t.Errorf("Start() = %v, want an error that names PodDisruptionBudgets and wraps %v", err, refused)
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := newCluster(t)
	tried := false
	c.PrependReactor("list", "jobs", func(clienttesting.Action) (bool, runtime.Object, error) {
		if !tried {
			tried = true
			return false, nil, nil
		}
		cancel()
		return true, nil, errors.New("connection refused")
	})
	if _, err := Start(ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("Start() = %v, want %v", err, context.Canceled)
	}
}

func TestStopSaysThatWatchingHadEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o := newCluster(t).start(ctx)
	cancel()
	got := o.Stop().Gaps
	if diff := cmp.Diff([]string{"watching ended before Stop: context canceled"}, got); diff != "" {
		t.Errorf("gaps (-want +got):\n%s", diff)
	}
}

func TestStopWaitsForEventsOnTheirWay(t *testing.T) {
	stamped := func(rv string, p *corev1.Pod) *corev1.Pod {
		p.ResourceVersion = rv
		return p
	}
	for _, tt := range []struct {
		name   string
		listed []corev1.Pod // as of version 20
		missed func(*feed) error
	}{
		{"a change", []corev1.Pod{*stamped("15", newPod("web-0", ""))},
			func(f *feed) error { return f.Update(stamped("15", newPod("web-0", ""))) }},
		{"a creation", []corev1.Pod{*stamped("10", newPod("web-0", "")), *stamped("15", newPod("web-1", ""))},
			func(f *feed) error { return f.Add(stamped("15", newPod("web-1", ""))) }},
		{"a removal", nil,
			func(f *feed) error { return f.Delete(stamped("15", newPod("web-0", ""))) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFeeds(fake.NewClientset(), &journal{})[0]
				f.lw.ListWithContextFunc = func(context.Context, metav1.ListOptions) (runtime.Object, error) {
					return &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "20"}, Items: tt.listed}, nil
				}
				for rv, name := range map[string]string{"10": "web-0", "21": "later"} {
					if err := f.Add(stamped(rv, newPod(name, ""))); err != nil {
						t.Fatal(err)
					}
				}
				done := make(chan error, 1)
				go func() { done <- f.catchUp(t.Context()) }()
				synctest.Wait()
				if len(done) > 0 {
					t.Fatalf("did not wait: %v", <-done)
				}
				if err := tt.missed(f); err != nil {
					t.Fatal(err)
				}
				if err := <-done; err != nil {
					t.Errorf("catchUp() = %v", err)
				}
			})
		})
	}
}

func TestStopDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		feeds := newFeeds(fake.NewClientset(), j)[:1]
		p := newPod("web-0", "")
		p.ResourceVersion = "15"
		feeds[0].lw.ListWithContextFunc = func(context.Context, metav1.ListOptions) (runtime.Object, error) {
			return &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "20"}, Items: []corev1.Pod{*p}}, nil
		}
		catchUp(t.Context(), feeds, j)
		want := []string{"the last events of Pods may be missing: context deadline exceeded"}
		if diff := cmp.Diff(want, j.report(t0).Gaps); diff != "" {
			t.Errorf("gaps (-want +got):\n%s", diff)
		}
	})
}
