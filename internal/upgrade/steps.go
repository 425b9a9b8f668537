package upgrade

import (
	"fmt"
	"strings"
)

// steps lists what the plan does, in order.
func steps(p Plan) []Step {
	list := &stepList{plan: p}
	if p.ControlPlane != nil {
		for _, hop := range p.ControlPlane.Hops {
			list.steps = append(list.steps, NewHop(hop))
		}
	}
	for _, pool := range p.Pools {
		switch {
		case pool.ByPeople:
			list.byPeople(pool)
		case pool.Action == Migrate:
			list.migrate(pool)
		case pool.ByProvider():
			list.inPlace(pool)
		}
	}
	list.finishLast()
	return list.steps
}

// stepList is a plan's steps while they are put together.
type stepList struct {
	plan  Plan
	steps []Step
	// last are the pools whose old ones go once all have moved.
	last []PoolPlan
}

func (l *stepList) add(kind StepKind, pool, node string) {
	l.steps = append(l.steps, NewStep(kind, pool, node))
}

// migrate moves the pods of a pool to a new one.
func (l *stepList) migrate(pool PoolPlan) {
	if pool.Autoscaling.Enabled {
		l.add(FreezeAutoscaling, pool.Name, "")
	}
	l.add(CreatePool, pool.Name, "")
	l.add(WaitNodes, pool.Name, "")
	l.add(CordonPool, pool.Name, "")
	if len(pool.Restarts) > 0 {
		l.add(SurgeFirst, pool.Name, "")
	}
	for _, node := range pool.Nodes {
		l.add(DrainNode, pool.Name, node)
	}
	if l.plan.Options.Delete != DeleteEach {
		l.last = append(l.last, pool)
		return
	}
	l.add(Soak, pool.Name, "")
	l.finish(pool)
}

// soaks is how long the step is expected to wait: not at all for a pool of which nothing is drained.
func (p Plan) soaks(step Step) Seconds {
	if pool, _ := p.Pool(step.Pool); p.Options.Delete == DeleteEach && len(pool.Nodes) == 0 {
		return 0
	}
	return p.Soak(step)
}

// Soak is how long the step waits after the last drain: where the old pools go together, as long as the longest of theirs.
func (p Plan) Soak(step Step) Seconds {
	if !p.together(step.Pool) {
		return p.Options.For(step.Pool).Soak
	}
	longest := Seconds(0)
	for _, pool := range p.Pools {
		if pool.Action == Migrate {
			longest = max(longest, p.Options.For(pool.Name).Soak)
		}
	}
	return longest
}

// together tells that the old pool goes together with others, or stays with them. Old nodes within a pool go by themselves.
func (p Plan) together(pool string) bool {
	planned, _ := p.Pool(pool)
	return p.Options.Delete != DeleteEach && !planned.ByProvider()
}

// SoaksWith tells that the step's soak is also that of the other pool.
func (p Plan) SoaksWith(step Step, pool string) bool {
	return step.Pool == pool || p.together(step.Pool) && p.together(pool)
}

// finish ends the migration of a pool.
func (l *stepList) finish(pool PoolPlan) {
	if l.plan.Options.Delete != DeleteNever {
		l.add(DeletePool, pool.Name, "")
	}
	if pool.Autoscaling.Enabled {
		l.add(RestoreAutoscaling, pool.Name, "")
	}
}

// finishLast ends the migrations whose old pools stay until all have moved.
func (l *stepList) finishLast() {
	for i, pool := range l.last {
		if i == 0 && l.plan.Options.Delete == DeleteAtEnd {
			l.add(Soak, pool.Name, "")
		}
		l.finish(pool)
	}
}

// markNoReturn says which steps cannot be undone.
func markNoReturn(p *Plan, s State) {
	bare := map[string][]string{}
	for _, pod := range s.Pods {
		if pod.Disposition() == Lost {
			bare[pod.Node] = append(bare[pod.Node], pod.Key())
		}
	}
	for i, step := range p.Steps {
		switch {
		case step.Kind == UpgradeControlPlane:
			p.Steps[i].NoReturn = fmt.Sprintf("a control plane is not downgraded, so a rollback leaves it at %s", step.Version)
		case step.Kind == DeletePool:
			p.Steps[i].NoReturn = fmt.Sprintf("a rollback does not bring %s back", step.Pool)
		case step.Kind == CompleteUpgrade:
			p.Steps[i].NoReturn = fmt.Sprintf("the old nodes of %s go, and a rollback does not bring them back", step.Pool)
		case step.Kind == UpgradePool && rolls(*p, step.Pool):
			p.Steps[i].NoReturn = fmt.Sprintf("once its last node is upgraded, %s is not rolled back", step.Pool)
		case step.Kind == RetirePool:
			p.Steps[i].NoReturn = fmt.Sprintf("people may remove the machines of %s from then on", step.Pool)
		case step.Kind == DrainNode && len(bare[step.Node]) > 0:
			p.Steps[i].NoReturn = "nothing makes these again: " + firstOf(bare[step.Node], 5)
		}
	}
}

// rolls tells that the provider replaces the pool's nodes one after the other.
func rolls(p Plan, pool string) bool {
	planned, ok := p.Pool(pool)
	return ok && planned.Action == Rolling
}

// firstOf lists the first few of many.
func firstOf(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
