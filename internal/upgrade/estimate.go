package upgrade

import "time"

// What an estimate assumes where the cluster does not say. None is a promise: they are what common clusters show, and measured drains
// take their place as soon as there are some.
const (
	assumedStartUp    = 30 * time.Second // from binding a pod to its being Ready
	assumedGrace      = 30 * time.Second // what is used of a longer grace period
	assumedNewNodes   = 4 * time.Minute  // from asking for a pool to its nodes being Ready
	assumedDeletion   = 4 * time.Minute  // of a pool
	assumedEmptyDrain = 2 * time.Second  // of a node that nothing has to leave
)

// estimate sets how long each step takes when all goes well.
func estimate(p *Plan, s State) {
	for i, step := range p.Steps {
		switch step.Kind {
		case CreatePool:
			p.Steps[i].Estimate = Seconds(assumedNewNodes)
		case DeletePool:
			p.Steps[i].Estimate = Seconds(assumedDeletion)
		case Soak:
			p.Steps[i].Estimate = p.Options.Soak
		case DrainNode:
			p.Steps[i].Estimate = Seconds(estimateDrain(s, step.Node))
		}
	}
}

// estimateDrain is the longest of the node's workloads: each loses as many pods at a time as its budgets allow, one where it has none,
// and waits for a replacement each time.
func estimateDrain(s State, node string) time.Duration {
	pods, allowed, grace := map[string]int{}, map[string]int{}, map[string]time.Duration{}
	for _, p := range s.Pods {
		if p.Node != node || p.Disposition() != Moves {
			continue
		}
		w := p.Workload.UID
		pods[w]++
		grace[w] = max(grace[w], min(p.Grace, assumedGrace))
		allowed[w] = 1
		for i, key := range p.Budgets {
			if i == 0 || s.Budgets[key].Allowed < allowed[w] {
				allowed[w] = max(1, s.Budgets[key].Allowed)
			}
		}
	}
	longest := assumedEmptyDrain
	for w, n := range pods {
		waves := (n + allowed[w] - 1) / allowed[w]
		longest = max(longest, time.Duration(waves)*(grace[w]+assumedStartUp))
	}
	return longest
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
