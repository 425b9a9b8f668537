package drain

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// Where several nodes are drained at once, these share out what may be away: budgets by themselves do not bound what has none, nor all of
// them together.
const (
	// unguardedShare is the part of a workload without a budget that may be away at once, at least one pod: what Kubernetes' Deployments
	// allow themselves in a rollout (maxUnavailable 25%).
	unguardedShare = 4
	// autoShare is the part of all pods of the workloads concerned that may be away at once where nobody said how many nodes.
	autoShare = 4
	// mostInFlight bounds the evictions under way. They take a fraction of a second each, so that more would get no more done, and would have those
	// that matter most wait for the others; and an API server handles 200 changes at once by default (max-mutating-requests-inflight), for everybody.
	mostInFlight = 10
	// Workloads with time to spare leave the control plane to those that decide how long it all takes: what replaces many pods at once replaces each
	// of them later, and most of all the controller that says what a budget allows, which has one worker. So they wait for settle after the last
	// eviction of those, though not longer than patience before each of their own waves, and patientInFlight of theirs are under way at most.
	settle          = time.Second
	patience        = 3 * time.Second
	patientInFlight = 2
	// replacing is what a control plane takes for each pod at least, on a bad day. Where that decides how long it all takes, nobody has time to spare.
	replacing = 100 * time.Millisecond
)

// weigh works out what does not change while the nodes are drained: how long pods take to start, and whose pods are to move.
func (t *tracker) weigh(s upgrade.State) {
	if t.options.Parallel.One() {
		return
	}
	startUps, nodes := map[string][]time.Duration{}, map[string]bool{}
	for _, n := range t.pending {
		nodes[n.Name] = true
	}
	for _, p := range s.Pods {
		uid := p.Workload.UID
		startUps[uid] = append(startUps[uid], p.StartUp)
		if nodes[p.Node] && p.Disposition() == upgrade.Moves {
			t.concerned[uid] = true
		}
	}
	t.startUp = map[string]time.Duration{}
	for uid, all := range startUps {
		slices.Sort(all)
		t.startUp[uid] = all[len(all)/2]
	}
}

// mayBeAway is how many pods may be away at once in all.
func (t *tracker) mayBeAway() int {
	if t.options.Parallel != upgrade.AutoDrains {
		return math.MaxInt
	}
	all := 0
	for uid := range t.concerned {
		all += t.before[uid]
	}
	return max(1, all/autoShare)
}

// mayMiss is how many pods of p's workload may be away at once where no budget says so, or whatever it says: stateful ones go one at a time.
func (t *tracker) mayMiss(s upgrade.State, p *upgrade.Pod) int {
	if t.options.Parallel.One() || stateful(p) {
		return 1
	}
	return max(1, t.wanted(s, p.Workload.UID)/unguardedShare)
}

// group are pods that wait for the same things: their budgets, or their workload where it has none.
type group struct {
	pods []*upgrade.Pod
	// left is how long it takes at least to evict all of them: the time of one wave, and so many at once. Patient is the same if every wave waits
	// for its turn with patience.
	left, patient time.Duration
}

// groups are the pods that have to leave, in the order of their first ones. Where one node is drained after the other no group takes
// longer than another: it is not known how long.
func (t *tracker) groups(v view) []*group {
	type key struct{ first, second string }
	var list []*group
	at := map[key]*group{}
	for _, p := range v.leave {
		k := key{first: p.Workload.UID}
		switch len(p.Budgets) {
		case 0:
		case 1:
			k = key{first: p.Budgets[0]}
		default:
			k = key{p.Budgets[0], p.Budgets[1]}
		}
		g := at[k]
		if g == nil {
			g = &group{}
			at[k] = g
			list = append(list, g)
		}
		g.pods = append(g.pods, p)
	}
	for _, g := range list {
		g.left, g.patient = t.takes(v, g.pods)
	}
	return list
}

// takes is how long it takes at least to evict the pods of a group, and how long with patience.
func (t *tracker) takes(v view, pods []*upgrade.Pod) (left, patient time.Duration) {
	wave, atOnce := time.Duration(0), 1
	for _, p := range pods {
		start := t.startUp[p.Workload.UID]
		if p.Workload.Kind == "StatefulSet" && start > 0 {
			start += p.Grace // its replacement has its name, and starts once it is gone
		}
		wave = max(wave, start)
	}
	if b, guarded := v.Budgets[first(pods[0].Budgets)]; guarded && !stateful(pods[0]) {
		atOnce = max(1, b.Expected-b.Needed)
	} else if wave > 0 {
		atOnce = t.mayMiss(v.State, pods[0])
	}
	waves := time.Duration((len(pods) + atOnce - 1) / atOnce)
	return waves * wave, waves * (wave + patience)
}

// yields tells that p waits for others that decide how long it all takes.
func (t *tracker) yields(d *decision, v view, p *upgrade.Pod, now *turn) bool {
	key := first(slots(p))
	switch {
	case !now.patient[key]:
		return false
	case now.patientInFlight >= patientInFlight:
		return true
	case v.now.Sub(now.urgentAt) >= settle:
		return false
	}
	since, waits := t.yielding[key]
	if !waits {
		since = v.now
		t.yielding[key] = since
	}
	until := since.Add(patience)
	if settled := now.urgentAt.Add(settle); settled.Before(until) {
		until = settled
	}
	return d.before(v.now, until)
}

func first(keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	return keys[0]
}

// away is how many pods are away of all workloads that lost some.
func (v view) away() int {
	n := 0
	for _, missing := range v.missing {
		n += missing
	}
	return n
}

// room is what nodes have left for pods. It knows requests and nothing else about where a pod can go: what it refuses fits nowhere now, and
// what it promises may still find no node.
type room struct {
	// known tells that nodes say what they have.
	known bool
	free  []upgrade.Resources
}

// newRoom is the room on the nodes that pods can be scheduled to, without what pods on their way will take: those that have no node yet, the
// replacements that are still to come, and those of pods whose evictions are under way.
func (t *tracker) newRoom(v view) *room {
	r := &room{}
	at := map[string]int{}
	for _, n := range v.Nodes {
		r.known = r.known || n.Allocatable != nil
		if n.Ready && !n.Unschedulable && n.Allocatable != nil {
			at[n.Name] = len(r.free)
			r.free = append(r.free, maps.Clone(n.Allocatable))
		}
	}
	var coming []upgrade.Resources
	for j := range v.Pods {
		p := &v.Pods[j]
		i, placed := at[p.Node]
		switch {
		case p.Finished:
		case placed:
			take(r.free[i], p.Requests)
		case p.Node == "" && !p.Terminating() && p.Unschedulable == "": // one that was refused takes what others cannot have
			coming = append(coming, p.Requests)
		case t.attempts[p.UID] != nil && t.attempts[p.UID].inFlight:
			coming = append(coming, p.Requests)
		}
	}
	for _, uid := range t.losers() {
		there := 0
		for _, p := range v.of[uid] {
			if !t.isLeaving(p) && !p.Finished {
				there++
			}
		}
		for _, l := range t.notReplaced(v, uid)[:min(v.missing[uid], max(0, t.wanted(v.State, uid)-there))] {
			coming = append(coming, l.requests)
		}
	}
	for _, requests := range coming {
		r.reserve(requests)
	}
	return r
}

// reserve takes room for a pod, and tells whether there is any.
func (r *room) reserve(requests upgrade.Resources) bool {
	for _, free := range r.free {
		if fits(free, requests) {
			take(free, requests)
			return true
		}
	}
	return false
}

func fits(free, requests upgrade.Resources) bool {
	for name, amount := range requests {
		if amount > free[name] {
			return false
		}
	}
	return free[pods] >= 1
}

func take(free, requests upgrade.Resources) {
	for name, amount := range requests {
		free[name] -= amount
	}
	free[pods]--
}

// pods is the resource of which each pod takes one.
const pods = "pods"
