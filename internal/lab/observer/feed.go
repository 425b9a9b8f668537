package observer

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// A feed writes what happens to one kind of objects into the journal. As the
// store of a reflector it sees every event once and in order, which an
// informer's handlers do not promise across a relist.
type feed struct {
	kind    string
	lw      *cache.ListWatch
	client  kubernetes.Interface
	journal *journal
	listed  chan struct{} // closed by the first list

	mu      sync.Mutex
	synced  bool // listed is closed
	latest  map[types.UID]version
	changed chan struct{} // closed and renewed with every event
}

// A version is the newest that was seen of an object.
type version struct {
	rv   uint64
	fact fact
	gone bool
}

// newFeeds watch all that is judged in any case, and more.
func newFeeds(client kubernetes.Interface, journal *journal, more ...*feed) []*feed {
	feeds := append([]*feed{
		{kind: "Pods", lw: listWatch(client.CoreV1().Pods(""))},
		{kind: "Deployments", lw: listWatch(client.AppsV1().Deployments(""))},
		{kind: "ReplicaSets", lw: listWatch(client.AppsV1().ReplicaSets(""))},
		{kind: "StatefulSets", lw: listWatch(client.AppsV1().StatefulSets(""))},
		{kind: "Jobs", lw: listWatch(client.BatchV1().Jobs(""))},
		{kind: "PodDisruptionBudgets", lw: listWatch(client.PolicyV1().PodDisruptionBudgets(""))},
		{kind: "EndpointSlices", lw: listWatch(client.DiscoveryV1().EndpointSlices(""))},
	}, more...)
	for _, f := range feeds {
		f.client, f.journal = client, journal
		f.listed, f.changed = make(chan struct{}), make(chan struct{})
		f.latest = map[types.UID]version{}
	}
	return feeds
}

type listWatcher[L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

func listWatch[L runtime.Object](c listWatcher[L]) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return c.List(ctx, o)
		},
		WatchFuncWithContext: c.Watch,
	}
}

// check tries whether f can be listed: a reflector would try for ever, without
// a word.
func (f *feed) check(ctx context.Context) error {
	_, err := f.lw.ListWithContextFunc(ctx, metav1.ListOptions{Limit: 1})
	return err
}

// run watches until ctx is done, again after every failure.
func (f *feed) run(ctx context.Context) {
	// The zero logger is silent: what a failure hides is in the report's gaps.
	silent := klog.Logger{}
	cache.NewReflectorWithOptions(
		cache.ToListWatcherWithWatchListSemantics(f.lw, f.client), nil, f,
		cache.ReflectorOptions{Name: "observer", Logger: &silent},
	).RunWithContext(klog.NewContext(ctx, silent))
}

func (f *feed) waitForList(ctx context.Context) error {
	select {
	case <-f.listed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Add is called by the reflector for a new object.
func (f *feed) Add(obj any) error { return f.record(obj, false) }

// Update is called by the reflector for a changed object.
func (f *feed) Update(obj any) error { return f.record(obj, false) }

// Delete is called by the reflector for an object that is gone, in its last state.
func (f *feed) Delete(obj any) error { return f.record(obj, true) }

// Resync does nothing: there is nobody to remind.
func (f *feed) Resync() error { return nil }

// Replace is called by the reflector with a whole list: the first, or one that
// had to be read because the watch was lost.
func (f *feed) Replace(objs []any, resourceVersion string) error {
	at := time.Now()
	rv, listed, err := versions(objs, resourceVersion)
	if err != nil {
		f.journal.gap("list %s: %v", f.kind, err)
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.synced {
		f.journal.gap("the watch of %s was lost: what happened before they were listed again may be missing", f.kind)
	}
	for uid, v := range listed {
		if v.rv > f.latest[uid].rv {
			f.put(at, uid, v)
		}
	}
	for uid, v := range f.latest {
		if _, ok := listed[uid]; !ok && !v.gone {
			f.put(at, uid, version{rv: rv, fact: v.fact, gone: true})
		}
	}
	if !f.synced {
		f.synced = true
		f.journal.baseline(rv)
		close(f.listed)
	}
	return nil
}

func (f *feed) record(obj any, gone bool) error {
	at := time.Now()
	uid, v, err := versionOf(obj)
	if err != nil {
		f.journal.gap("an event of %s: %v", f.kind, err)
		return err
	}
	v.gone = gone
	f.mu.Lock()
	defer f.mu.Unlock()
	f.put(at, uid, v)
	return nil
}

func (f *feed) put(at time.Time, uid types.UID, v version) {
	f.latest[uid] = v
	f.journal.add(at, v)
	close(f.changed)
	f.changed = make(chan struct{})
}

// catchUp returns when all that the API server knows now has been recorded.
func (f *feed) catchUp(ctx context.Context) error {
	list, err := f.lw.ListWithContextFunc(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	m, err := meta.ListAccessor(list)
	if err != nil {
		return err
	}
	items, err := meta.ExtractList(list)
	if err != nil {
		return err
	}
	objs := make([]any, len(items))
	for i, item := range items {
		objs[i] = item
	}
	rv, listed, err := versions(objs, m.GetResourceVersion())
	if err != nil {
		return err
	}
	for {
		behind, changed := f.behind(rv, listed)
		if !behind {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// behind reports whether an event before rv is still missing, and a channel
// that is closed with the next event. An object that was seen, is not listed and
// is older than the list was deleted before it.
func (f *feed) behind(rv uint64, listed map[types.UID]version) (bool, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for uid, v := range listed {
		if f.latest[uid].rv < v.rv {
			return true, f.changed
		}
	}
	for uid, v := range f.latest {
		if _, ok := listed[uid]; !ok && !v.gone && v.rv <= rv {
			return true, f.changed
		}
	}
	return false, nil
}

// versions reads the objects of a list and the list's own version.
func versions(objs []any, resourceVersion string) (uint64, map[types.UID]version, error) {
	rv, err := strconv.ParseUint(resourceVersion, 10, 64)
	if err != nil {
		return 0, nil, fmt.Errorf("read the list's resourceVersion: %w", err)
	}
	all := make(map[types.UID]version, len(objs))
	for _, obj := range objs {
		uid, v, err := versionOf(obj)
		if err != nil {
			return 0, nil, err
		}
		all[uid] = v
	}
	return rv, all, nil
}

func versionOf(obj any) (types.UID, version, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return "", version{}, err
	}
	rv, err := strconv.ParseUint(m.GetResourceVersion(), 10, 64)
	if err != nil {
		return "", version{}, fmt.Errorf("read the resourceVersion of %s/%s: %w", m.GetNamespace(), m.GetName(), err)
	}
	f, err := factOf(obj)
	if err != nil {
		return "", version{}, err
	}
	return m.GetUID(), version{rv: rv, fact: f}, nil
}
