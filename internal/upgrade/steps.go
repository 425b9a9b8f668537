package upgrade

import (
	"fmt"
	"strings"
)

// steps lists what the plan does, in order.
func steps(p Plan) []Step {
	list := &stepList{plan: p}
	for _, pool := range p.Pools {
		switch {
		case pool.ByPeople:
			list.byPeople(pool)
		case pool.Action == Migrate:
			list.migrate(pool)
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
		case step.Kind == DeletePool:
			p.Steps[i].NoReturn = fmt.Sprintf("a rollback does not bring %s back", step.Pool)
		case step.Kind == RetirePool:
			p.Steps[i].NoReturn = fmt.Sprintf("people may remove the machines of %s from then on", step.Pool)
		case step.Kind == DrainNode && len(bare[step.Node]) > 0:
			p.Steps[i].NoReturn = "nothing makes these again: " + firstOf(bare[step.Node], 5)
		}
	}
}

// firstOf lists the first few of many.
func firstOf(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
