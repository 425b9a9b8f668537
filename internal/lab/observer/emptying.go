package observer

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// lookInterval is how often [Observer.Emptied] looks at most: a look goes through every pod.
const lookInterval = 250 * time.Millisecond

// timelineInterval is how far apart the points of a timeline are at least: what changes within it is one point.
const timelineInterval = 500 * time.Millisecond

// An Option of Start.
type Option func(*options)

type options struct{ old labels.Selector }

// Emptying has the observer follow besides how the nodes that old selects are emptied: [Report.Emptied].
func Emptying(old labels.Selector) Option { return func(o *options) { o.old = old } }

// Emptied says how the old nodes were emptied. Times that were not reached are zero.
type Emptied struct {
	// Joined is when the first node that is not old came, if that was after Start.
	Joined time.Time `json:"joined,omitzero"`
	// Began is when the first old node was cordoned, or the first of its pods began to end that was to be moved.
	Began time.Time `json:"began,omitzero"`
	// Ended is since when no old node has a pod that has to move, and every workload has as many Ready pods as it wants.
	// Pods of DaemonSets, mirror pods and finished pods do not have to move; pods that are still terminating have not moved yet.
	Ended time.Time `json:"ended,omitzero"`
	// Timeline has the Ready pods of old nodes and of others, DaemonSets' left out, from Start on.
	Timeline []Point `json:"timeline"`
}

// A Point of a timeline.
type Point struct {
	Seconds float64 `json:"seconds"` // since Start
	Old     int     `json:"old"`
	New     int     `json:"new"`
}

// A node is what is known of one.
type node struct {
	object
	labels   labels.Set
	cordoned bool
}

// emptying follows the old nodes.
type emptying struct {
	selector labels.Selector
	nodes    map[types.UID]node
	old      map[string]bool // names
	share    map[types.UID]share
	total    share
	report   Emptied
	last     time.Time // of the timeline's last point
}

// A share is what a pod adds to the counts.
type share struct{ toMove, old, fresh int }

func newEmptying(selector labels.Selector) *emptying {
	return &emptying{
		selector: selector, nodes: map[types.UID]node{}, old: map[string]bool{}, share: map[types.UID]share{},
		report: Emptied{Timeline: []Point{}},
	}
}

// sawNode takes a node's new version.
func (r *recorder) sawNode(n node) {
	e := r.emptying
	before, known := e.nodes[n.uid]
	e.nodes[n.uid] = n
	switch {
	case !e.selector.Matches(n.labels):
		if r.observing && !known && e.report.Joined.IsZero() {
			e.report.Joined = r.now.Round(0)
		}
		return
	case r.observing && n.cordoned && !before.cordoned:
		e.begin(r.now)
	}
	if e.old[n.name] {
		return
	}
	e.old[n.name] = true
	for _, t := range r.pods { // a node can be seen after its pods
		if t.node == n.name {
			e.count(t)
		}
	}
}

func (e *emptying) begin(at time.Time) {
	if e.report.Began.IsZero() {
		e.report.Began = at.Round(0)
	}
}

// count takes a pod's new state into the counts.
func (e *emptying) count(t *tracked) {
	var now share
	stays := t.mirror || t.controller.kind == "DaemonSet" || t.node == ""
	switch {
	case stays || t.finished() && !t.terminating:
	case e.old[t.node]:
		now.toMove = 1
		if t.healthy() {
			now.old = 1
		}
	case t.healthy():
		now.fresh = 1
	}
	e.put(t.uid, now)
}

func (e *emptying) put(uid types.UID, now share) {
	before := e.share[uid]
	e.total.toMove += now.toMove - before.toMove
	e.total.old += now.old - before.old
	e.total.fresh += now.fresh - before.fresh
	if e.share[uid] = now; now == (share{}) {
		delete(e.share, uid)
	}
}

// follow looks at the whole after something has changed.
func (e *emptying) follow(r *recorder) {
	if !r.observing {
		return
	}
	point := Point{Seconds: seconds(r.now.Sub(r.start)), Old: e.total.old, New: e.total.fresh}
	switch n := len(e.report.Timeline); {
	case n <= 1 || r.now.Sub(e.last) >= timelineInterval: // the first one is how it was
		e.report.Timeline = append(e.report.Timeline, point)
		e.last = r.now
	default:
		e.report.Timeline[n-1].Old, e.report.Timeline[n-1].New = point.Old, point.New
	}
	switch done := e.total.toMove == 0 && !r.short(); {
	case !done:
		e.report.Ended = time.Time{}
	case e.report.Ended.IsZero():
		e.report.Ended = r.now.Round(0)
	}
}

// short reports whether a workload has fewer Ready pods than it wants.
func (r *recorder) short() bool {
	for uid, o := range r.owners {
		if !o.scales || o.controller.kind == "Deployment" {
			continue
		}
		have := 0
		if w := r.workloads[uid]; w != nil {
			have = w.ready
		}
		if have < o.replicas {
			return true
		}
	}
	return false
}

// Emptied waits until the old nodes of [Emptying] have no pod left that has to move and every workload is whole, by what the
// watches have brought so far. Without Emptying there is nothing to wait for, and it fails.
func (o *Observer) Emptied(ctx context.Context) error {
	if o.old == nil {
		return fmt.Errorf("the observer does not know which nodes are to be emptied")
	}
	pace := time.NewTicker(lookInterval)
	defer pace.Stop()
	for {
		if o.look() {
			return nil
		}
		select {
		case <-pace.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// look judges what is known last of every object.
func (o *Observer) look() bool {
	r := newRecorder()
	r.emptying = newEmptying(o.old)
	now := time.Now()
	for _, f := range o.feeds {
		for _, latest := range f.known() {
			r.saw(now, latest)
		}
	}
	r.begin(now)
	return !r.emptying.report.Ended.IsZero()
}

// known are the objects that there are, as they were seen last.
func (f *feed) known() []fact {
	f.mu.Lock()
	defer f.mu.Unlock()
	var facts []fact
	for _, v := range f.latest {
		if !v.gone {
			facts = append(facts, v.fact)
		}
	}
	return facts
}
