package upgrade

import (
	"slices"
	"time"
)

// What an estimate assumes where the cluster does not say. None is a promise: they are what common clusters show, and measured drains
// take their place as soon as there are some.
const (
	assumedStartUp    = 30 * time.Second // from binding a pod to its being Ready, where no pod of its workload shows it
	longestStartUp    = 10 * time.Minute // what is believed of what pods show
	assumedGrace      = 30 * time.Second // what is used of a longer grace period
	assumedNewNodes   = 4 * time.Minute  // from asking for a pool to its nodes being Ready
	assumedDeletion   = 4 * time.Minute  // of a pool
	assumedEmptyDrain = 2 * time.Second  // of a node that nothing has to leave
)

// estimate sets how long each step takes when all goes well, and what the pools cost besides.
func estimate(p *Plan, s State) {
	drains, restarts := estimateMoves(s, *p)
	for i, step := range p.Steps {
		switch step.Kind {
		case CreatePool:
			p.Steps[i].Estimate = Seconds(assumedNewNodes)
		case DeletePool:
			p.Steps[i].Estimate = Seconds(assumedDeletion)
		case Soak:
			p.Steps[i].Estimate = p.Options.Soak
		case SurgeFirst:
			p.Steps[i].Estimate = Seconds(restarts[step.Pool])
		case DrainNode:
			p.Steps[i].Estimate = Seconds(max(assumedEmptyDrain, drains[step.Node]))
		}
	}
	for i := range p.Pools {
		if p.Pools[i].Action == Migrate {
			p.Pools[i].Surge = surge(p.Pools[i], p.Steps)
		}
	}
}

// estimateMoves is how long each node's drain takes, by the node's name: as long as that of the slowest of its workloads; and how long the restarts
// on each pool take, by the pool's name.
func estimateMoves(s State, p Plan) (drains, restarts map[string]time.Duration) {
	type place struct{ node, workload string }
	leaving := map[place]*leaving{}
	startUps, graces := map[string][]time.Duration{}, map[string]time.Duration{}
	restarted := p.restartedOn(s)
	for _, pod := range s.Pods {
		if p.Options.Disposition(pod) != Moves {
			continue
		}
		uid := pod.Workload.UID
		if pod.StartUp > 0 {
			startUps[uid] = append(startUps[uid], min(pod.StartUp, longestStartUp))
		}
		graces[uid] = max(graces[uid], min(pod.Grace, assumedGrace))
		at := place{pod.Node, uid}
		if pod.Node == "" || restarted(pod) {
			continue
		}
		if leaving[at] == nil {
			leaving[at] = newLeaving(pod.Workload)
		}
		leaving[at].add(pod, s)
	}
	startUp := func(uid string) time.Duration { return median(startUps[uid]) + s.Workloads[uid].MinReady }
	drains, restarts = map[string]time.Duration{}, map[string]time.Duration{}
	for at, l := range leaving {
		drains[at.node] = max(drains[at.node], l.takes(startUp(at.workload)))
	}
	for _, pool := range p.Pools {
		for _, r := range pool.Restarts {
			rollout := s.Workloads[r.Workload.UID].Rollout
			n := waves(r.Pods+r.Elsewhere, rollout.Surge+rollout.Unavailable)
			takes := time.Duration(n)*startUp(r.Workload.UID) + graces[r.Workload.UID]
			restarts[pool.Name] = max(restarts[pool.Name], min(takes, time.Duration(pool.DrainTimeout)))
		}
	}
	return drains, restarts
}

// restartedOn tells the pods that have left their nodes before these are drained, since their Deployments are restarted.
func (p Plan) restartedOn(s State) func(Pod) bool {
	type at struct{ pool, workload string }
	first := map[at]bool{}
	for _, pool := range p.Pools {
		for _, r := range pool.Restarts {
			first[at{pool.Name, r.Workload.UID}] = true
		}
	}
	if len(first) == 0 {
		return func(Pod) bool { return false }
	}
	pools := map[string]string{}
	for _, n := range s.Nodes {
		pools[n.Name] = n.Pool
	}
	return func(pod Pod) bool { return first[at{pools[pod.Node], pod.Workload.UID}] }
}

// median is what most pods of a workload took to start: one that was not Ready for a while seems to have taken very long. The list is sorted.
func median(startUps []time.Duration) time.Duration {
	if len(startUps) == 0 {
		return assumedStartUp
	}
	slices.Sort(startUps)
	return startUps[len(startUps)/2]
}

// leaving are the pods of one workload that leave one node.
type leaving struct {
	pods int
	// atOnce is how many may be away at a time.
	atOnce int
	grace  time.Duration
	// inOrder tells that a replacement has the old pod's name, and so starts only once that is gone.
	inOrder bool
}

func newLeaving(w Ref) *leaving { return &leaving{inOrder: w.Kind == "StatefulSet"} }

func (l *leaving) add(p Pod, s State) {
	l.pods++
	l.grace = max(l.grace, min(p.Grace, assumedGrace))
	l.atOnce = 1 // where nothing says how many it can do without
	for i, key := range p.Budgets {
		if i == 0 || s.Budgets[key].Allowed < l.atOnce {
			l.atOnce = max(1, s.Budgets[key].Allowed)
		}
	}
}

// takes is the time until all have gone and their replacements, each of which is up after startUp, are there.
func (l *leaving) takes(startUp time.Duration) time.Duration {
	wave := startUp
	if l.inOrder {
		wave += l.grace
	}
	n := waves(l.pods, l.atOnce)
	return time.Duration(n-1)*wave + max(l.grace, wave)
}

// waves is how many times it takes for all of so many pods to go, so many at a time.
func waves(pods, atATime int) int { return (pods + atATime - 1) / atATime }

// Surge is what a pool costs beside what it costs anyway.
type Surge struct {
	// Nodes is how many nodes there are more, and NodeHours for how long in all, if all goes well.
	Nodes     int     `json:"nodes"`
	NodeHours float64 `json:"nodeHours"`
	// Stays tells that the old nodes stay until a person deletes them, which NodeHours does not count.
	Stays bool `json:"stays,omitempty"`
}

// surge is the new pool's size, from its beginning to the end of the old one.
func surge(pool PoolPlan, steps []Step) Surge {
	s := Surge{Nodes: pool.NodesPerZone * len(pool.Zones), Stays: true}
	var both time.Duration
	there := false
	for _, step := range steps {
		there = there || step.Kind == CreatePool && step.Pool == pool.Name
		if there {
			both += time.Duration(step.Estimate)
		}
		if step.Kind == DeletePool && step.Pool == pool.Name {
			s.Stays = false
			break
		}
	}
	s.NodeHours = float64(s.Nodes) * both.Hours()
	return s
}

// Estimate is how long the plan takes when all goes well.
func (p Plan) Estimate() time.Duration {
	total := time.Duration(0)
	for _, s := range p.Steps {
		total += time.Duration(s.Estimate)
	}
	return total
}

// Remaining is how long what is left of the run takes when all goes well. Drains that are done say how long the next ones take.
func (r *Run) Remaining(now time.Time) time.Duration {
	drained, drains := time.Duration(0), 0
	for _, s := range r.Steps {
		if s.Kind == DrainNode && s.State == StepDone && s.StartedAt != nil && s.FinishedAt != nil {
			drained += s.FinishedAt.Sub(*s.StartedAt)
			drains++
		}
	}
	total := time.Duration(0)
	for _, s := range r.Steps {
		left := time.Duration(s.Estimate)
		if s.Kind == DrainNode && drains > 0 {
			left = drained / time.Duration(drains)
		}
		switch s.State {
		case StepDone, StepDropped, StepSkipped:
			continue
		case StepRunning:
			if s.StartedAt != nil {
				left = max(0, left-now.Sub(*s.StartedAt))
			}
		}
		total += left
	}
	return total
}
