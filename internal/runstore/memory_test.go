package runstore

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// memory is the objects of one namespace, kept as an API server keeps them: an update has to name the version that it changes.
type memory struct {
	mu      sync.Mutex
	version int64
	// absent tells that the namespace is not there.
	absent bool
	leases table[*coordinationv1.Lease]
	maps   table[*corev1.ConfigMap]
}

func newMemory() *memory {
	m := &memory{}
	m.leases = newTable[*coordinationv1.Lease](m, schema.GroupResource{Group: coordinationv1.GroupName, Resource: "leases"})
	m.maps = newTable[*corev1.ConfigMap](m, schema.GroupResource{Resource: "configmaps"})
	return m
}

// object is a kind that a table can hold.
type object[P any] interface {
	comparable
	metav1.Object
	runtime.Object
	DeepCopy() P
}

// table is the objects of one kind. Those inside are never changed, only replaced. Its methods are called with the memory's lock.
type table[P object[P]] struct {
	memory   *memory
	resource schema.GroupResource
	objects  map[string]P
	// log is every change so far, and changed is closed by the next one.
	log     []logged[P]
	changed chan struct{}
	// saw is told each change: before is nil for a new object, after for one that was deleted.
	saw func(before, after P)
}

type logged[P any] struct {
	version int64
	kind    watch.EventType
	object  P
}

func newTable[P object[P]](m *memory, r schema.GroupResource) table[P] {
	return table[P]{memory: m, resource: r, objects: map[string]P{}, changed: make(chan struct{}), saw: func(P, P) {}}
}

func (t *table[P]) get(name string) (P, error) {
	o, ok := t.objects[name]
	if !ok {
		return o, apierrors.NewNotFound(t.resource, name)
	}
	return o.DeepCopy(), nil
}

func (t *table[P]) create(o P) (P, error) {
	var none P
	if t.memory.absent {
		return none, apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "upshift")
	}
	if _, ok := t.objects[o.GetName()]; ok {
		return none, apierrors.NewAlreadyExists(t.resource, o.GetName())
	}
	return t.put(watch.Added, none, o), nil
}

func (t *table[P]) update(o P) (P, error) {
	var none P
	before, ok := t.objects[o.GetName()]
	if !ok {
		return none, apierrors.NewNotFound(t.resource, o.GetName())
	}
	if v := o.GetResourceVersion(); v != "" && v != before.GetResourceVersion() {
		return none, apierrors.NewConflict(t.resource, o.GetName(), errors.New("the object has been modified"))
	}
	return t.put(watch.Modified, before, o), nil
}

func (t *table[P]) put(kind watch.EventType, before, after P) P {
	after = after.DeepCopy()
	t.note(kind, after)
	t.objects[after.GetName()] = after
	t.saw(before, after)
	return after.DeepCopy()
}

func (t *table[P]) note(kind watch.EventType, o P) {
	t.memory.version++
	o.SetResourceVersion(strconv.FormatInt(t.memory.version, 10))
	t.log = append(t.log, logged[P]{t.memory.version, kind, o})
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *table[P]) remove(name string) error {
	before, ok := t.objects[name]
	if !ok {
		return apierrors.NewNotFound(t.resource, name)
	}
	delete(t.objects, name)
	t.note(watch.Deleted, before.DeepCopy())
	var none P
	t.saw(before, none)
	return nil
}

// edit changes an object as a person would, with no client in between.
func edit[P object[P]](t *table[P], name string, change func(P)) {
	t.memory.mu.Lock()
	defer t.memory.mu.Unlock()
	o, err := t.get(name)
	if err != nil {
		panic(err)
	}
	change(o)
	if _, err := t.update(o); err != nil {
		panic(err)
	}
}

// drop deletes an object as a person would.
func drop[P object[P]](t *table[P], name string) {
	t.memory.mu.Lock()
	defer t.memory.mu.Unlock()
	if err := t.remove(name); err != nil {
		panic(err)
	}
}

// peek is an object as it is now, nil if it is not there.
func peek[P object[P]](t *table[P], name string) P {
	t.memory.mu.Lock()
	defer t.memory.mu.Unlock()
	o, _ := t.get(name)
	return o
}

// now rises with every change.
func (m *memory) now() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.version
}

// fate is what becomes of one call.
type fate struct {
	// before is the time until it takes effect, and after from then until its answer is there.
	before, after time.Duration
	// breaks is when the connection breaks, 0 for never: the client is told so, and what it sent takes effect all the same.
	breaks time.Duration
	// away: nothing is sent. The client is told at once, or when the connection breaks.
	away bool
}

// client is one process's connection to a memory.
type client struct {
	memory *memory
	// fate decides about a call, such as "update leases". Nil: it takes effect at once.
	fate func(call string) fate
	// stopped returns once the process is not frozen. It is asked before a call is sent and after its answer has come.
	stopped func()
}

func (m *memory) client() *client {
	return &client{memory: m, fate: func(string) fate { return fate{} }, stopped: func() {}}
}

// store is a store of that client.
func (c *client) store() *Store {
	return &Store{leases: leaseClient{c}, maps: mapClient{c}, namespace: "upshift", timing: usual}
}

var errBroken = errors.New("read tcp 10.0.0.1:443: connection reset by peer")

type answer[T any] struct {
	value T
	err   error
}

// do carries out a call, as its client sees it.
func do[T any](ctx context.Context, c *client, call string, effect func() (T, error)) (T, error) {
	c.stopped()
	defer c.stopped()
	var none T
	if ctx.Err() != nil {
		return none, ctx.Err()
	}
	locked := func() (a answer[T]) {
		c.memory.mu.Lock()
		defer c.memory.mu.Unlock()
		a.value, a.err = effect()
		return a
	}
	f := c.fate(call)
	if f == (fate{}) {
		a := locked()
		return a.value, a.err
	}
	var breaks <-chan time.Time
	if f.breaks > 0 || f.away {
		breaks = time.After(f.breaks)
	}
	answers := make(chan answer[T], 1)
	if !f.away {
		time.AfterFunc(f.before, func() {
			a := locked()
			time.AfterFunc(f.after, func() { answers <- a })
		})
	}
	select {
	case a := <-answers:
		return a.value, a.err
	case <-breaks:
		return none, errBroken
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

type leaseClient struct{ *client }

func (c leaseClient) Get(ctx context.Context, name string, _ metav1.GetOptions) (*coordinationv1.Lease, error) {
	return do(ctx, c.client, "get leases", func() (*coordinationv1.Lease, error) { return c.memory.leases.get(name) })
}

func (c leaseClient) Create(ctx context.Context, l *coordinationv1.Lease, _ metav1.CreateOptions) (*coordinationv1.Lease, error) {
	l = l.DeepCopy()
	return do(ctx, c.client, "create leases", func() (*coordinationv1.Lease, error) { return c.memory.leases.create(l) })
}

func (c leaseClient) Update(ctx context.Context, l *coordinationv1.Lease, _ metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	l = l.DeepCopy()
	return do(ctx, c.client, "update leases", func() (*coordinationv1.Lease, error) { return c.memory.leases.update(l) })
}

type mapClient struct{ *client }

func (c mapClient) Get(ctx context.Context, name string, _ metav1.GetOptions) (*corev1.ConfigMap, error) {
	return do(ctx, c.client, "get configmaps", func() (*corev1.ConfigMap, error) { return c.memory.maps.get(name) })
}

func (c mapClient) Create(ctx context.Context, m *corev1.ConfigMap, _ metav1.CreateOptions) (*corev1.ConfigMap, error) {
	m = m.DeepCopy()
	return do(ctx, c.client, "create configmaps", func() (*corev1.ConfigMap, error) { return c.memory.maps.create(m) })
}

func (c mapClient) Update(ctx context.Context, m *corev1.ConfigMap, _ metav1.UpdateOptions) (*corev1.ConfigMap, error) {
	m = m.DeepCopy()
	return do(ctx, c.client, "update configmaps", func() (*corev1.ConfigMap, error) { return c.memory.maps.update(m) })
}

func (c mapClient) Delete(ctx context.Context, name string, _ metav1.DeleteOptions) error {
	_, err := do(ctx, c.client, "delete configmaps", func() (any, error) { return nil, c.memory.maps.remove(name) })
	return err
}

func (c mapClient) List(ctx context.Context, o metav1.ListOptions) (*corev1.ConfigMapList, error) {
	selected, err := selection(o)
	if err != nil {
		return nil, err
	}
	return do(ctx, c.client, "list configmaps", func() (*corev1.ConfigMapList, error) {
		list := &corev1.ConfigMapList{}
		list.ResourceVersion = strconv.FormatInt(c.memory.version, 10)
		for _, name := range slices.Sorted(maps.Keys(c.memory.maps.objects)) {
			if m := c.memory.maps.objects[name]; selected(m) {
				list.Items = append(list.Items, *m.DeepCopy())
			}
		}
		return list, nil
	})
}

func selection(o metav1.ListOptions) (func(*corev1.ConfigMap) bool, error) {
	byLabel, err := labels.Parse(o.LabelSelector)
	if err != nil {
		return nil, err
	}
	byField, err := fields.ParseSelector(o.FieldSelector)
	if err != nil {
		return nil, err
	}
	return func(m *corev1.ConfigMap) bool {
		return byLabel.Matches(labels.Set(m.Labels)) && byField.Matches(fields.Set{"metadata.name": m.Name})
	}, nil
}

// Watch sends what changed after the version of o, for as long as o allows.
func (c mapClient) Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	selected, err := selection(o)
	if err != nil {
		return nil, err
	}
	from, err := strconv.ParseInt(o.ResourceVersion, 10, 64)
	if err != nil {
		return nil, err
	}
	return do(ctx, c.client, "watch configmaps", func() (watch.Interface, error) {
		limit := time.Duration(*cmp.Or(o.TimeoutSeconds, new(int64))) * time.Second
		ctx, stop := context.WithTimeout(ctx, limit)
		w := &watching{results: make(chan watch.Event), stop: stop}
		go w.send(ctx, c.memory, from, selected)
		return w, nil
	})
}

type watching struct {
	results chan watch.Event
	stop    context.CancelFunc
}

func (w *watching) Stop()                          { w.stop() }
func (w *watching) ResultChan() <-chan watch.Event { return w.results }

func (w *watching) send(ctx context.Context, m *memory, from int64, selected func(*corev1.ConfigMap) bool) {
	defer close(w.results)
	defer w.stop()
	for next := 0; ; {
		m.mu.Lock()
		log, changed := m.maps.log[next:], m.maps.changed
		m.mu.Unlock()
		next += len(log)
		for _, l := range log {
			if l.version <= from || !selected(l.object) {
				continue
			}
			select {
			case w.results <- watch.Event{Type: l.kind, Object: l.object.DeepCopy()}:
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
