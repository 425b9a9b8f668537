package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// Surroundings are what others do to the cluster, and when it may be worked on, as its provider tells. Implementations are safe for concurrent use, and
// try again by themselves what may pass.
type Surroundings interface {
	// Look reads the pools, the operations under way and the maintenance policy.
	Look(ctx context.Context) (upgrade.Cluster, error)
	// Quotas are those of the cluster's region.
	Quotas(ctx context.Context) ([]upgrade.Quota, error)
}

// lookEvery is how often a drain looks for operations that others have begun on its pool meanwhile: GKE's own upgrade of a pool begins with a node, which
// takes it minutes.
const lookEvery = 30 * time.Second

// ready looks around before steps are begun, and returns those of them that may be: not the drains of nodes that would not be done before a
// maintenance window closes. Operations of others on the pool are waited for. Paused is the error for what a person has to decide.
func (e *Engine) ready(ctx context.Context, next []upgrade.Step) ([]upgrade.Step, error) {
	step := next[0]
	pool, _ := e.poolPlan(step.Pool) // none of the control plane
	timed := e.run.Plan.Options.Maintenance == upgrade.RespectMaintenance && step.InWindow() && !underWay(step)
	switch {
	case e.Surroundings == nil, e.run.Ending != "": // on the way back nothing is waited for but what the provider refuses
		return next, nil
	case pool.ByProvider() && step.Kind == upgrade.DrainNode: // by the provider's operation, which is ours and has done its part
		return next, nil
	case !moves(step) && !timed:
		return next, nil
	}
	if step.Kind == upgrade.DrainNode && pool.ByProvider() {
		return next, nil // nothing is begun: the operation on the pool is ours, and its open nodes are the new ones
	}
	for {
		c, err := e.Surroundings.Look(ctx)
		foreign := foreignOn(c, step, pool)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil && timed && e.seen == nil:
			return nil, &notNow{Paused{Problem: fmt.Sprintf("whether it is a time for maintenance cannot be told: %s", err)}}
		case err != nil:
			// Evictions ask PDBs whatever others do, and windows are what they were a moment ago.
			e.progress(step)(fmt.Sprintf("what others do to the cluster cannot be seen now: %s", err))
		case foreign != nil:
			if err := e.waitForOthers(ctx, step, &upgrade.Busy{Operation: foreign.Name, Kind: foreign.Kind}); err != nil {
				return nil, err
			}
			continue
		default:
			e.seen = &c
			if err := e.stillSo(c, step, pool); err != nil {
				return nil, err
			}
		}
		if err := e.reopened(ctx, step); err != nil || !timed {
			return next, err
		}
		return e.inWindow(*e.seen, next)
	}
}

// notNow is the error of a run that pauses though nothing has gone wrong: it is not the time, or somebody else is at work. What is done about failures does
// not apply to it.
type notNow struct{ Paused }

func (n *notNow) Unwrap() error { return &n.Paused }

// underWay tells a step that the provider carries out already: it is watched, whatever the time. One that was told to stop would begin with other nodes.
func underWay(s upgrade.Step) bool {
	return !s.Stopping && (s.Operation != "" || s.Kind == upgrade.UpgradeControlPlane && s.StartedAt != nil)
}

// moves tells the steps that move pods from one pool to another. All others ask the provider, which says itself that it is busy.
func moves(s upgrade.Step) bool {
	return s.Kind == upgrade.CordonPool || s.Kind == upgrade.SurgeFirst || s.Kind == upgrade.DrainNode
}

// foreignOn is an operation on one of the two pools between which the step moves pods, nil if none is under way.
func foreignOn(c upgrade.Cluster, step upgrade.Step, pool upgrade.PoolPlan) *upgrade.Operation {
	i := slices.IndexFunc(c.Operations, func(o upgrade.Operation) bool {
		return moves(step) && (o.Target == pool.Name || o.Target == pool.NewName)
	})
	if i < 0 {
		return nil
	}
	return &c.Operations[i]
}

// stillSo returns nil if what the plan was made for still holds for a step that moves pods: the new pool is there to take them, and the old one is
// still old, or has given up some of them already.
func (e *Engine) stillSo(c upgrade.Cluster, step upgrade.Step, plan upgrade.PoolPlan) error {
	find := func(name string) *upgrade.Pool {
		i := slices.IndexFunc(c.Pools, func(p upgrade.Pool) bool { return p.Name == name })
		if i < 0 {
			return nil
		}
		return &c.Pools[i]
	}
	if !moves(step) || plan.Action != upgrade.Migrate {
		return nil
	}
	old, taking := find(plan.Name), find(plan.NewName)
	switch {
	case taking == nil || taking.Deleting:
		return &Paused{
			Problem: fmt.Sprintf("somebody else has deleted pool %s, to which the pods of %s are to go", plan.NewName, plan.Name),
			Next:    []string{"to begin anew: upshift cancel, and then upshift upgrade"},
		}
	case old != nil && upgrade.CompareVersions(old.Version, plan.To) >= 0 && !e.run.Begun(plan.Name, upgrade.CordonPool):
		return &Paused{
			Problem: fmt.Sprintf("pool %s runs %s by now, since somebody else has upgraded it: nothing is left to move its pods for", plan.Name, old.Version),
			Next:    []string{"to have the new pool deleted: upshift rollback"},
		}
	}
	return nil
}

// reopened sees to the nodes of a pool that is being drained which joined it since, or were made again under their old names: an upgrade of somebody else
// does both. They are cordoned, and drained in their turn.
func (e *Engine) reopened(ctx context.Context, step upgrade.Step) error {
	if step.Kind != upgrade.DrainNode {
		return nil
	}
	for _, n := range e.Cluster.State().PoolNodes(step.Pool) {
		id := upgrade.NewStep(upgrade.DrainNode, step.Pool, n.Name).ID
		drained := e.run.Step(id)
		if !open(n) || drained != nil && drained.State != upgrade.StepDone {
			continue
		}
		if err := e.cordon(ctx, step, n); err != nil {
			return err
		}
		e.update(id, func(s *upgrade.Step) { s.State, s.StartedAt, s.FinishedAt = upgrade.StepPending, nil, nil })
		e.progress(step)(fmt.Sprintf("node %s of %s is open, so it is cordoned and drained too", n.Name, step.Pool))
	}
	return nil
}

// inWindow returns the steps that would be done before the maintenance policy closes the cluster to them. If that is none, the run pauses.
func (e *Engine) inWindow(c upgrade.Cluster, next []upgrade.Step) ([]upgrade.Step, error) {
	if why := c.Unread[upgrade.ReadMaintenance]; why != "" {
		return nil, &notNow{Paused{Problem: "whether it is a time for maintenance cannot be told: " + why}}
	}
	minor, nodes := e.run.Plan.Changes()
	now, takes := time.Now(), time.Duration(0)
	for i, s := range next {
		takes += e.run.Expected(s)
		closed := c.Maintenance.Closed(now, takes, minor, nodes)
		switch {
		case closed == nil:
		case i > 0:
			return next[:i], nil
		default:
			when := "once it is open again"
			if !closed.Until.IsZero() {
				when = "from " + upgrade.Minute(closed.Until) + " on"
			}
			return nil, &notNow{Paused{
				Problem: fmt.Sprintf("%s is not begun, which takes about %s: %s", s.ID, takes.Round(time.Second), closed.Why),
				Next:    []string{fmt.Sprintf("%s, also by a schedule: upshift resume; to go on now: upshift cancel, and then upshift upgrade with maintenance: ignore", when)},
			}}
		}
	}
	return next, nil
}

// interference is the cause with which drains end when somebody else begins to change one of their pools.
type interference struct{ operation upgrade.Operation }

func (i *interference) Error() string {
	return fmt.Sprintf("operation %s (%s), which is not ours, has begun on %s", i.operation.Name, i.operation.Kind, i.operation.Target)
}

// undisturbed carries out drains, and stops them when somebody else begins to change one of their pools: they are gone on with once that is over. It
// returns nil then, and the drains are not done.
func (e *Engine) undisturbed(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan, drains func(context.Context) error) error {
	if e.Surroundings == nil {
		return drains(ctx)
	}
	watched, stop := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-watched.Done():
				return
			}
			// One look that fails says nothing; the next step looks again.
			if c, err := e.Surroundings.Look(watched); err == nil {
				if foreign := foreignOn(c, step, pool); foreign != nil {
					stop(&interference{*foreign})
				}
			}
		}
	}()
	err := drains(watched)
	stop(nil)
	<-done
	var disturbed *interference
	if err != nil && ctx.Err() == nil && errors.As(context.Cause(watched), &disturbed) {
		e.progress(step)(disturbed.Error() + ": nothing is evicted until it is over")
		return nil
	}
	return err
}
