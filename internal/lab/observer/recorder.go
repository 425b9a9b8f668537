package observer

import (
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// A recorder judges facts given in the order in which they became true. It has
// no clock. What it is given before begin is the state to compare with.
type recorder struct {
	start, now time.Time
	observing  bool

	owners    map[types.UID]owner
	pods      map[types.UID]*tracked
	workloads map[types.UID]*workload
	guards    map[types.UID]*guard
	services  map[types.NamespacedName]*service
	emptying  *emptying // nil unless asked for

	violations  []Violation
	bare        []object             // bare pods that were removed
	interrupted map[types.UID]object // Job pods that were removed while they ran
}

// tracked is a pod and what became of it.
type tracked struct {
	pod
	workload *workload // nil for a bare pod
	fresh    bool      // created during the observation
	arrived  bool      // a fresh pod that got its node
	departed bool      // it ends, or has ended
}

// A workload is what people call one: a Deployment rather than its ReplicaSets.
type workload struct {
	object
	pods   map[types.UID]*tracked
	ready  int        // and not terminating
	labels labels.Set // of the pod that was seen last
	level
	moves
}

// A service is followed by its EndpointSlices.
type service struct {
	slices map[types.UID]endpoints
	level
	most int
}

func newRecorder() *recorder {
	return &recorder{
		owners:      map[types.UID]owner{},
		pods:        map[types.UID]*tracked{},
		workloads:   map[types.UID]*workload{},
		guards:      map[types.UID]*guard{},
		services:    map[types.NamespacedName]*service{},
		interrupted: map[types.UID]object{},
	}
}

// begin takes what was given so far as the state to compare with.
func (r *recorder) begin(at time.Time) {
	r.start, r.now, r.observing = at, at, true
	for _, t := range r.pods {
		t.departed = t.ended()
		r.place(t)
	}
	for _, g := range r.guards {
		r.enrol(g)
		r.measureGuard(g)
	}
	for _, w := range r.workloads {
		r.measure(w)
	}
	for _, s := range r.services {
		r.measureService(s)
	}
	if r.emptying != nil {
		r.emptying.follow(r)
	}
}

// tick moves time on. Times are when events arrived, in the order in which they
// happened: by two watches they may arrive the other way round.
func (r *recorder) tick(at time.Time) {
	if at.After(r.now) {
		r.now = at
	}
}

// saw takes an object's new version.
func (r *recorder) saw(at time.Time, f fact) {
	r.tick(at)
	switch f := f.(type) {
	case pod:
		r.sawPod(f)
	case owner:
		before, known := r.owners[f.uid]
		r.owners[f.uid] = f
		if r.observing && (!known || before != f) {
			r.rescaled(f)
		}
	case budget:
		r.sawBudget(f)
	case endpoints:
		r.sawEndpoints(f)
	case node:
		r.sawNode(f)
	}
	if r.emptying != nil {
		r.emptying.follow(r)
	}
}

// lost takes the removal of an object.
func (r *recorder) lost(at time.Time, f fact) {
	r.tick(at)
	switch f := f.(type) {
	case pod:
		r.lostPod(f.uid)
	case owner:
		delete(r.owners, f.uid)
		if r.observing {
			r.rescaled(f)
		}
	case budget:
		r.lostBudget(f.uid)
	case endpoints:
		r.lostEndpoints(f)
	}
	if r.emptying != nil {
		r.emptying.follow(r)
	}
}

func (r *recorder) sawPod(p pod) {
	t := r.pods[p.uid]
	if t == nil {
		t = &tracked{fresh: r.observing}
		r.pods[p.uid] = t
	}
	before := t.pod
	t.pod = p
	if e := r.emptying; e != nil {
		if r.observing && t.terminating && !before.terminating && e.share[t.uid].toMove > 0 {
			e.begin(r.now)
		}
		e.count(t)
	}
	if !r.observing {
		return
	}
	if before.controller != p.controller {
		r.place(t)
	}
	r.follow(t)
	r.guard(before, t)
	if w := t.workload; w != nil {
		w.labels = p.labels
		r.measure(w)
	}
}

// lostPod takes a pod that vanished at once for one that started to end first.
func (r *recorder) lostPod(uid types.UID) {
	t := r.pods[uid]
	if t == nil {
		return
	}
	if !t.terminating && r.observing {
		dying := t.pod
		dying.terminating = true
		r.sawPod(dying)
	}
	delete(r.pods, uid)
	if r.emptying != nil {
		r.emptying.put(uid, share{})
	}
	if t.workload != nil {
		delete(t.workload.pods, uid)
		r.measure(t.workload)
	}
	for _, g := range r.guards {
		if g.members[uid] != nil {
			delete(g.members, uid)
			r.measureGuard(g)
		}
	}
}

// place puts a pod into the workload that controls it.
func (r *recorder) place(t *tracked) {
	if t.workload != nil {
		delete(t.workload.pods, t.uid)
		r.measure(t.workload)
		t.workload = nil
	}
	top := t.controller
	if top == (object{}) {
		return
	}
	if c := r.owners[top.uid].controller; c.kind == "Deployment" {
		top = c
	}
	w := r.workloads[top.uid]
	if w == nil {
		w = &workload{object: top, pods: map[types.UID]*tracked{}}
		r.workloads[top.uid] = w
	}
	w.pods[t.uid], w.labels, t.workload = t, t.labels, w
}

// rescaled follows a change of what a workload wants to all that depends on it.
func (r *recorder) rescaled(o owner) {
	if w := r.workloads[o.uid]; w != nil {
		r.measure(w)
	}
	for _, g := range r.guards {
		if g.namespace == o.namespace {
			r.measureGuard(g)
		}
	}
}

// wanted is the replicas that w wants now, if that can be told.
func (r *recorder) wanted(w *workload) (int, bool) {
	o := r.owners[w.uid]
	return o.replicas, o.scales
}

func (r *recorder) measure(w *workload) {
	w.ready = healthy(w.pods)
	wanted, ok := r.wanted(w)
	if !ok {
		w.rest(r.now)
		return
	}
	w.set(r.now, w.ready, wanted)
}

func healthy(pods map[types.UID]*tracked) int {
	n := 0
	for _, t := range pods {
		if t.healthy() {
			n++
		}
	}
	return n
}

func (r *recorder) sawBudget(b budget) {
	g := r.guards[b.uid]
	if g == nil {
		g = &guard{}
		r.guards[b.uid] = g
	}
	changed := !reflect.DeepEqual(g.spec, b.spec) // most updates are of the status
	g.budget = b
	if r.observing && (changed || g.members == nil) {
		r.enrol(g)
		r.measureGuard(g)
	}
}

func (r *recorder) lostBudget(uid types.UID) {
	g := r.guards[uid]
	switch {
	case g == nil:
	case !r.observing:
		delete(r.guards, uid)
	default:
		g.rest(r.now)
		g.gone = true
	}
}

func (r *recorder) sawEndpoints(e endpoints) {
	name := types.NamespacedName{Namespace: e.namespace, Name: e.service}
	s := r.services[name]
	if s == nil {
		s = &service{slices: map[types.UID]endpoints{}}
		r.services[name] = s
	}
	s.slices[e.uid] = e
	if r.observing {
		r.measureService(s)
	}
}

func (r *recorder) lostEndpoints(e endpoints) {
	s := r.services[types.NamespacedName{Namespace: e.namespace, Name: e.service}]
	if s == nil {
		return
	}
	delete(s.slices, e.uid)
	if r.observing {
		r.measureService(s)
	}
}

// measureService counts pods, not endpoints: a pod may have one per IP family,
// and be in two slices while it is moved between them.
func (r *recorder) measureService(s *service) {
	if len(s.slices) == 0 { // the Service is gone
		s.rest(r.now)
		return
	}
	ready := map[types.UID]bool{}
	for _, e := range s.slices {
		for _, uid := range e.ready {
			ready[uid] = true
		}
	}
	s.most = max(s.most, len(ready))
	s.set(r.now, len(ready), 1)
}
