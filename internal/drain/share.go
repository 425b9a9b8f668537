package drain

import (
	"maps"
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
	// mostInFlight bounds the evictions under way: the API server handles 200 changes at once by default (max-mutating-requests-inflight),
	// and others want some.
	mostInFlight = 50
)

// weigh works out what does not change while the nodes are drained: how long pods take to start, and how many may be away in all.
func (t *tracker) weigh(s upgrade.State) {
	if t.options.Parallel.One() {
		return
	}
	startUps, nodes, concerned := map[string][]time.Duration{}, map[string]bool{}, map[string]int{}
	for _, n := range t.pending {
		nodes[n.Name] = true
	}
	for _, p := range s.Pods {
		uid := p.Workload.UID
		startUps[uid] = append(startUps[uid], p.StartUp)
		if nodes[p.Node] && p.Disposition() == upgrade.Moves {
			concerned[uid] = t.before[uid]
		}
	}
	t.startUp = map[string]time.Duration{}
	for uid, all := range startUps {
		slices.Sort(all)
		t.startUp[uid] = all[len(all)/2]
	}
	if t.options.Parallel != upgrade.AutoDrains {
		return
	}
	all := 0
	for _, ready := range concerned {
		all += ready
	}
	t.mayBeAway = max(1, all/autoShare)
}

// mayMiss is how many of the workload's pods may be away at once where no budget says so.
func (t *tracker) mayMiss(s upgrade.State, workload upgrade.Ref) int {
	if t.options.Parallel.One() || workload.Kind == "StatefulSet" {
		return 1
	}
	return max(1, t.wanted(s, workload.UID)/unguardedShare)
}

// remaining is how long it takes at least to evict all pods of each group that share a turn, by the group: those of a budget, or of a workload
// without one.
func (t *tracker) remaining(v view) map[string]time.Duration {
	count, longest := map[string]int{}, map[string]time.Duration{}
	atOnce := map[string]int{}
	for _, p := range v.here {
		start := t.startUp[p.Workload.UID]
		if p.Workload.Kind == "StatefulSet" {
			start += p.Grace // its replacement has its name, and starts once it is gone
		}
		for _, key := range slots(p) {
			count[key]++
			longest[key] = max(longest[key], start)
			atOnce[key] = 1
			if b, guarded := v.Budgets[key]; guarded {
				atOnce[key] = max(1, b.Expected-b.Needed)
			} else {
				atOnce[key] = t.mayMiss(v.State, p.Workload)
			}
		}
	}
	left := map[string]time.Duration{}
	for key, n := range count {
		left[key] = time.Duration((n+atOnce[key]-1)/atOnce[key]) * longest[key]
	}
	return left
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
type room []upgrade.Resources

// newRoom is the room on the nodes that pods can be scheduled to, without what pods on their way will take: those that have no node yet, the
// replacements that are still to come, and those of pods whose evictions are under way.
func (t *tracker) newRoom(v view) room {
	var r room
	at := map[string]int{}
	for _, n := range v.Nodes {
		if n.Ready && !n.Unschedulable && n.Allocatable != nil {
			at[n.Name] = len(r)
			r = append(r, maps.Clone(n.Allocatable))
		}
	}
	var coming []upgrade.Resources
	for _, p := range v.Pods {
		i, placed := at[p.Node]
		switch {
		case p.Finished:
		case placed:
			take(r[i], p.Requests)
		case p.Node == "" && !p.Terminating():
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
func (r room) reserve(requests upgrade.Resources) bool {
	for _, free := range r {
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
