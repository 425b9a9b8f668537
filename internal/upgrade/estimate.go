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

	// Google gives no figures for control planes. These are of the order that people report of GKE: one server, or several one after another.
	assumedHop         = 5 * time.Minute
	assumedRegionalHop = 15 * time.Minute
)

// estimate sets how long each step takes when all goes well, and what the pools cost besides.
func estimate(p *Plan, s State) {
	drains, restarts := estimateDrains(s, p), estimateRestarts(s, p)
	for i, step := range p.Steps {
		switch step.Kind {
		case UpgradeControlPlane:
			p.Steps[i].Estimate = Seconds(assumedHop)
			if p.Cluster.Regional {
				p.Steps[i].Estimate = Seconds(assumedRegionalHop)
			}
		case UpgradePool:
			pool, _ := p.Pool(step.Pool)
			p.Steps[i].Estimate = Seconds(time.Duration(pool.makes()) * assumedNewNodes)
		case CompleteUpgrade:
			p.Steps[i].Estimate = Seconds(assumedDeletion)
		case CreatePool:
			p.Steps[i].Estimate = Seconds(assumedNewNodes)
		case DeletePool:
			p.Steps[i].Estimate = Seconds(assumedDeletion)
		case Soak:
			p.Steps[i].Estimate = p.soaks(step)
		case SurgeFirst:
			p.Steps[i].Estimate = Seconds(restarts[step.Pool])
			if pool, _ := p.Pool(step.Pool); step.Node != "" { // a part of the pool
				p.Steps[i].Estimate /= Seconds(len(pool.Nodes))
			}
		case DrainNode:
			p.Steps[i].Estimate = Seconds(drains[step.Node])
			if p.For(step.Pool).Parallel.One() {
				p.Steps[i].Estimate = max(Seconds(assumedEmptyDrain), p.Steps[i].Estimate)
			}
		}
	}
	for i := range p.Pools {
		if p.Pools[i].Action.Changes() && !p.Pools[i].ByPeople {
			p.Pools[i].Surge = surge(p.Pools[i], p.Steps)
		}
	}
}

// estimateDrains is how long each node's drain takes, by the node's name: as long as that of the slowest of its workloads. Where the nodes of a
// pool are drained at once, it is the node's part of the time that they take together: no less than that of the slowest of their workloads.
func estimateDrains(s State, p *Plan) map[string]time.Duration {
	type place struct{ node, workload string }
	leavingFrom, ofPool := map[place]*leaving{}, map[place]*leaving{}
	startUps := map[string][]time.Duration{}
	pools := map[string]string{}
	for _, n := range s.Nodes {
		pools[n.Name] = n.Pool
	}
	restarted := p.restartedOn(pools)
	add := func(to map[place]*leaving, at place, pod Pod) {
		if to[at] == nil {
			to[at] = newLeaving(pod.Workload)
		}
		to[at].add(pod, s)
	}
	for _, pod := range s.Pods {
		if p.Options.Disposition(pod) != Moves {
			continue
		}
		if pod.StartUp > 0 {
			startUps[pod.Workload.UID] = append(startUps[pod.Workload.UID], min(pod.StartUp, longestStartUp))
		}
		if pod.Node != "" && !restarted(pod) {
			add(leavingFrom, place{pod.Node, pod.Workload.UID}, pod)
			add(ofPool, place{pools[pod.Node], pod.Workload.UID}, pod)
		}
	}
	longest := func(of map[place]*leaving) map[string]time.Duration {
		takes := map[string]time.Duration{}
		for at, l := range of {
			takes[at.node] = max(takes[at.node], l.takes(median(startUps[at.workload])+s.Workloads[at.workload].MinReady))
		}
		return takes
	}
	nodes := longest(leavingFrom)
	together := longest(ofPool)
	for _, pool := range p.Pools {
		parallel := p.For(pool.Name).Parallel
		if parallel.One() {
			continue
		}
		n := len(pool.Nodes)
		alone := time.Duration(0)
		for _, node := range pool.Nodes {
			alone += max(assumedEmptyDrain, nodes[node])
		}
		for _, node := range pool.Nodes {
			nodes[node] = max(together[pool.Name], alone/time.Duration(parallel.Of(n))) / time.Duration(n)
		}
	}
	return nodes
}

// restartedOn tells the pods that have left their nodes, of which pools says the pools, before these are drained: their Deployments are restarted.
func (p *Plan) restartedOn(pools map[string]string) func(Pod) bool {
	type at struct{ pool, workload string }
	first := map[at]bool{}
	for _, pool := range p.Pools {
		for _, r := range pool.Restarts {
			first[at{pool.Name, r.Workload.UID}] = r.Unless == "" // else they may be evicted
		}
	}
	return func(pod Pod) bool { return len(first) > 0 && first[at{pools[pod.Node], pod.Workload.UID}] }
}

// estimateRestarts is how long the restarts of each pool take, by its name: as long as the slowest of them, or until the run pauses.
func estimateRestarts(s State, p *Plan) map[string]time.Duration {
	startUps, graces := map[string][]time.Duration{}, map[string]time.Duration{}
	restarted := p.restarted()
	for i := range s.Pods {
		pod := &s.Pods[i]
		if _, ok := restarted[pod.Workload.UID]; !ok {
			continue
		}
		graces[pod.Workload.UID] = max(graces[pod.Workload.UID], min(pod.Grace, assumedGrace))
		if pod.StartUp > 0 {
			startUps[pod.Workload.UID] = append(startUps[pod.Workload.UID], min(pod.StartUp, longestStartUp))
		}
	}
	takes := map[string]time.Duration{}
	for _, pool := range p.Pools {
		for _, r := range pool.Restarts {
			w := s.Workloads[r.Workload.UID]
			n := waves(r.Pods+r.Elsewhere, w.Rollout.Surge+w.Rollout.Unavailable)
			each := median(startUps[w.UID]) + w.MinReady
			takes[pool.Name] = max(takes[pool.Name], min(time.Duration(n)*each+graces[w.UID], time.Duration(pool.DrainTimeout)))
		}
	}
	return takes
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
	return time.Duration(waves(l.pods, l.atOnce)-1)*wave + max(l.grace, wave)
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

// surge is how many nodes there are beside the pool's own, from the first of them to the end of the old ones.
func surge(pool PoolPlan, steps []Step) Surge {
	s := Surge{Nodes: pool.ExtraNodes(), Stays: true}
	var both time.Duration
	there := false
	for _, step := range steps {
		mine := step.Pool == pool.Name
		there = there || mine && (step.Kind == CreatePool || step.Kind == UpgradePool)
		if there {
			both += time.Duration(step.Estimate)
		}
		if mine && (step.Kind == DeletePool || step.Kind == RestoreUpgradeSettings) {
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

// Remaining is how long what is left of the run takes when all goes well. Drains that are done say how long the next ones of their pool take.
func (r *Run) Remaining(now time.Time) time.Duration {
	paces := map[string]time.Duration{}
	total := time.Duration(0)
	for _, s := range r.Steps {
		left := time.Duration(s.Estimate)
		if s.Kind == DrainNode {
			pace, asked := paces[s.Pool]
			if !asked {
				pace = r.drainPace(s.Pool)
				paces[s.Pool] = pace
			}
			if pace >= 0 {
				left = pace
			}
		}
		switch s.State {
		case StepDone, StepDropped, StepSkipped:
			continue
		case StepRunning:
			if s.StartedAt != nil && (s.Kind != DrainNode || r.Plan.For(s.Pool).Parallel.One()) {
				left = max(0, left-now.Sub(*s.StartedAt))
			}
		}
		total += left
	}
	return total
}

// Expected is how long the step is expected to take from its beginning to where a run can stop: as estimated, or as the drains of its pool took so far, if
// that was longer.
func (r *Run) Expected(s Step) time.Duration {
	if s.Kind == DrainNode {
		return max(time.Duration(s.Estimate), r.drainPace(s.Pool))
	}
	return WithDrains(s, r.Steps)
}

// WithDrains is how long the step takes, as estimated, with the drains of the nodes that the provider makes anew in it.
func WithDrains(s Step, all []Step) time.Duration {
	takes := time.Duration(s.Estimate)
	for _, d := range all {
		if s.Kind == UpgradePool && d.Kind == DrainNode && d.Pool == s.Pool && d.State != StepDone && d.State != StepDropped && !d.Back {
			takes += time.Duration(d.Estimate)
		}
	}
	return takes
}

// drainPace is how long a drain of the pool took so far: its own time, or, where nodes are drained at once, its part of the time that they took
// together. It is negative if none is done.
func (r *Run) drainPace(pool string) time.Duration {
	var sum, drains time.Duration
	var first, last time.Time
	for _, s := range r.Steps {
		if s.Kind != DrainNode || s.Pool != pool || s.State != StepDone || s.StartedAt == nil || s.FinishedAt == nil {
			continue
		}
		drains++
		sum += s.FinishedAt.Sub(*s.StartedAt)
		if first.IsZero() || s.StartedAt.Before(first) {
			first = *s.StartedAt
		}
		if s.FinishedAt.After(last) {
			last = *s.FinishedAt
		}
	}
	switch {
	case drains == 0:
		return -1
	case r.Plan.For(pool).Parallel.One():
		return sum / drains
	}
	return last.Sub(first) / drains
}
