package drain

import (
	"fmt"
	"strings"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// Followed is said of drains that somebody else carries out, node by node: they are followed, told and held to the gate, and nothing is evicted here.
type Followed struct {
	// By is who drains the nodes, for people.
	By string
	// Version is what nodes run that were made again, under the same name or another.
	Version string
	// ForceAfter is how long By asks the budgets of a node's pods, from the beginning of its drain, before it ends what is left past them.
	ForceAfter time.Duration
	// InTurn tells that a node is drained as soon as it is cordoned, and made again as soon as it is drained. Otherwise all are cordoned first, stay until all
	// are drained, and whose turn it is cannot be seen.
	InTurn bool
}

// follow begins the drains of the nodes that whoever drains them has begun with: they are cordoned, or replaced already.
func (t *tracker) follow(d *decision, s upgrade.State, now time.Time) {
	fresh := map[string]bool{}
	t.standing = map[string]bool{}
	for _, n := range s.Nodes {
		t.standing[n.Name] = n.Version != t.options.Followed.Version
		fresh[n.Name] = t.standing[n.Name] && !n.Unschedulable
	}
	waiting := t.pending
	t.pending = nil
	for _, n := range waiting {
		if n.Baseline == nil && fresh[n.Name] {
			t.pending = append(t.pending, n) // not yet
			continue
		}
		if n.Baseline == nil && t.standing[n.Name] {
			d.events = append(d.events, event{n.Name, upgrade.Event{Kind: upgrade.NodeCordoned, Node: n.Name}})
		}
		t.start(d, s, n, now)
		if !n.Since.IsZero() {
			t.began[n.Name] = n.Since
		}
	}
	for node := range t.active {
		if t.leftStanding(node) {
			t.active[node] = now // its time is that of whoever drains it, and ours begins with the gate
		}
	}
}

// empties tells that pods on the node have to leave it. One that somebody else drained and that is there again takes pods like any other.
func (t *tracker) empties(node string) bool {
	_, on := t.active[node]
	return on && (t.options.Followed == nil || t.standing[node])
}

// awaitFollowed says why each pod is still here: its budget forbids that it goes, or it was not asked to yet.
func (t *tracker) awaitFollowed(d *decision, v view) {
	queued, behind := map[string]int{}, map[int]int{}
	for _, p := range v.leave {
		t.active[p.Node] = v.now // as long as it is drained
		if t.options.Forced[p.UID] && t.forceNow(d, v, p) {
			continue
		}
		w := upgrade.Waiting{Object: p.Ref(), Node: p.Node, Passing: true, Reason: fmt.Sprintf("is not evicted yet by %s", t.options.Followed.By)}
		key := "node " + p.Node
		switch b, blocks := blocking(v.State, p); {
		case p.Terminating():
			w, _ = t.stops(d, v, p)
			key = ""
		case len(p.Budgets) > 1 && !p.Pending:
			w.Reason = fmt.Sprintf("PodDisruptionBudgets %s both select it, and the eviction API refuses such a pod; %s", strings.Join(p.Budgets, " and "), t.forces(p.Node, v.now))
			w.Budget, w.Passing, key = p.Budgets[0], false, ""
		case blocks:
			w.Reason = fmt.Sprintf("%s; %s", budgetReason(b), t.forces(p.Node, v.now))
			w.Budget, w.Passing, key = b.Key(), t.comesBack(v, p, b), p.Node+" "+b.Key()
		}
		if !p.Terminating() { // what held it before is what it goes past
			t.held[p.UID] = w
		}
		if place, waits := queued[key]; waits && key != "" {
			behind[place]++
			continue
		}
		queued[key] = len(d.waiting)
		d.waiting = append(d.waiting, w)
	}
	for place, more := range behind {
		d.waiting[place].Reason += fmt.Sprintf("; so do %d more pods", more)
	}
	for i, w := range d.waiting {
		if w.Budget != "" && !w.Passing {
			if help := t.remedy(v.State, w); len(help) > 0 {
				d.waiting[i].Help = help[0]
			}
		}
	}
}

// forceNow has a pod deleted that a person lets go, and tells whether that is under way.
func (t *tracker) forceNow(d *decision, v view, p *upgrade.Pod) bool {
	a := t.attempts[p.UID]
	switch {
	case p.Terminating():
		return false
	case a == nil:
		a = &attempt{node: p.Node}
		t.attempts[p.UID] = a
	case a.inFlight:
		return true
	case v.now.Before(a.notBefore):
		d.wakeAt(a.notBefore)
		return false
	}
	a.inFlight, a.tries = true, a.tries+1
	d.evict = append(d.evict, *p)
	return true
}

// blocking returns the first of the pod's budgets that lets it not go now.
func blocking(s upgrade.State, p *upgrade.Pod) (upgrade.Budget, bool) {
	for _, key := range p.Budgets {
		if b, ok := s.Budgets[key]; ok && !b.Frees(*p) && (b.Allowed == 0 || b.Trouble != "") {
			return b, true
		}
	}
	return upgrade.Budget{}, false
}

// forces says when the budgets of the pods on a node are not asked any more.
func (t *tracker) forces(node string, now time.Time) string {
	f := t.options.Followed
	if !f.InTurn {
		return fmt.Sprintf("%s ends it past that after %s of draining the node", f.By, short(f.ForceAfter))
	}
	at := t.began[node].Add(f.ForceAfter)
	if left := at.Sub(now); left > 0 {
		return fmt.Sprintf("%s ends it past that in %s, at %s", f.By, short(left), clock(at))
	}
	return fmt.Sprintf("%s ends it past that from now on", f.By)
}

// short rounds a time that is left: to the minute, or to the second below two.
func short(d time.Duration) string {
	if d < 2*time.Minute {
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}

// forcedOut says of a pod that is gone that it was ended past its budget, empty where that is not known.
func (t *tracker) forcedOut(p *upgrade.Pod, now time.Time) string {
	f, held := t.options.Followed, t.held[p.UID]
	if since, known := t.leaving[p.UID]; known {
		now = since
	}
	if f == nil || held.Budget == "" || held.Passing || now.Before(t.began[p.Node].Add(f.ForceAfter)) {
		return ""
	}
	return fmt.Sprintf("past PodDisruptionBudget %s: %s waits no longer than %s", held.Budget, f.By, short(f.ForceAfter))
}

// leftStanding tells that the drain of a node that somebody else drains cannot be over, since the node is not replaced yet.
func (t *tracker) leftStanding(node string) bool {
	return t.options.Followed != nil && t.options.Followed.InTurn && t.standing[node]
}
