package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// release puts back what a final state does not keep: our cordons and frozen autoscaling. It goes on after an error.
func (e *Engine) release(ctx context.Context) error {
	var errs []error
	for _, pool := range e.run.Plan.Pools {
		if !pool.Drains() {
			continue
		}
		if !e.run.GoingAway(pool.Name) {
			errs = append(errs, e.uncordonPool(ctx, pool.Name))
		}
		if pool.NewName != "" && e.run.Begun(pool.NewName, upgrade.CordonPool) && !e.run.GoingAway(pool.NewName) {
			errs = append(errs, e.uncordonPool(ctx, pool.NewName))
		}
		if e.run.Removed[pool.NewName] != "" {
			errs = append(errs, e.openNew(ctx, pool))
		}
		errs = append(errs, e.letGo(ctx, pool))
	}
	errs = append(errs, e.releaseUpgrades(ctx))
	for _, pool := range e.run.Plan.Pools {
		if settings, frozen := e.run.Frozen[pool.Name]; frozen {
			errs = append(errs, e.thaw(ctx, pool, settings))
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(errs...)
}

// uncordonPool undoes our cordons on a pool.
func (e *Engine) uncordonPool(ctx context.Context, pool string) error {
	var errs []error
	// All of its nodes: a cordon of a moment ago may not be in the caches yet, and Uncordon itself knows whose it is.
	for _, node := range e.Cluster.State().PoolNodes(pool) {
		if err := e.fenced().Uncordon(ctx, node.Name); err != nil {
			errs = append(errs, fmt.Errorf("uncordon node %s: %w", node.Name, err))
		}
	}
	return errors.Join(errs...)
}

// thaw gives frozen autoscaling back: to the pool that had it, or to the one that took over from it.
func (e *Engine) thaw(ctx context.Context, pool upgrade.PoolPlan, settings upgrade.Autoscaling) error {
	pools, err := e.Provider.Pools(ctx)
	if err != nil {
		return fmt.Errorf("restore autoscaling: %w", err)
	}
	name := pool.Name
	if e.run.GoingAway(name) {
		name = pool.NewName
	}
	if !slices.ContainsFunc(pools, func(p upgrade.Pool) bool { return p.Name == name }) {
		delete(e.run.Frozen, pool.Name) // somebody deleted the pool, and its autoscaling with it
		return nil
	}
	err = e.change(ctx, upgrade.NewStep(upgrade.RestoreAutoscaling, name, ""), func(ctx context.Context) (string, error) {
		return e.provider().SetAutoscaling(ctx, name, settings)
	})
	if err != nil {
		return fmt.Errorf("restore autoscaling of %s: %w", name, err)
	}
	delete(e.run.Frozen, pool.Name)
	return nil
}

// learnDeletions finds out about pools whose deletion was begun and whose operation is not known: the answer was lost, or the
// process that asked is gone. From then on such a pool counts as going away.
func (e *Engine) learnDeletions(ctx context.Context) error {
	if err := errors.Join(e.learnUpgrades(ctx), e.learnCompletions(ctx)); err != nil {
		return err
	}
	for i, s := range e.run.Steps {
		if s.Kind != upgrade.DeletePool || s.StartedAt == nil || e.run.GoingAway(s.Pool) {
			continue
		}
		if err := e.awaitGivenUp(ctx); err != nil {
			return &undecided{fmt.Errorf("cannot tell whether pool %s is being deleted: %w", s.Pool, err)}
		}
		pools, err := e.Provider.Pools(ctx)
		if err != nil {
			return &undecided{fmt.Errorf("cannot tell whether pool %s is being deleted: %w", s.Pool, err)}
		}
		there := slices.IndexFunc(pools, func(p upgrade.Pool) bool { return p.Name == s.Pool })
		if there < 0 || pools[there].Deleting {
			e.run.Steps[i].Operation = "not known"
		}
	}
	return nil
}

// landing is how long after it was given up a change can still take effect: what the lock assumes too.
const landing = 5 * time.Second

// awaitGivenUp waits until a change that was given up has taken effect or never will.
func (e *Engine) awaitGivenUp(ctx context.Context) error {
	select {
	case <-time.After(time.Until(e.givenUp.Add(landing))):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// undecided is the error of a run that must not turn now, since it is not known whether a pool is going away.
type undecided struct{ err error }

func (u *undecided) Error() string { return u.err.Error() }
func (u *undecided) Unwrap() error { return u.err }

// canTurnBack says why a rollback would undo nothing, empty if it would.
func (e *Engine) canTurnBack() string {
	finished := ""
	for _, pool := range e.run.Plan.Pools {
		switch past := e.pastReturn(pool); {
		case !pool.Action.Changes():
		case past != "":
			finished = past
		case e.touched(pool.Name):
			return ""
		}
	}
	if finished == "" && e.onlyHops() {
		return "nothing but the control plane was touched, and that is not downgraded: there is nothing to go back to; cancel ends the run"
	}
	return finished
}

// pastReturn says why a pool cannot be rolled back any more, empty if it can.
func (e *Engine) pastReturn(pool upgrade.PoolPlan) string {
	if pool.ByProvider() {
		return e.run.NoWayBack(pool)
	}
	if e.run.GoingAway(pool.Name) {
		return fmt.Sprintf("pool %s is deleted, or being deleted: there is nothing to go back to", pool.Name)
	}
	return ""
}

// turnBack makes the run undo every pool whose old one is still there, the last first.
func (e *Engine) turnBack(why string) {
	e.run.Ending, e.run.Problem, e.run.Waiting, e.run.Forced = upgrade.RolledBack, why, nil, nil
	for i, s := range e.run.Steps {
		pool, _ := e.poolPlan(s.Pool)
		if s.State != upgrade.StepDone && e.pastReturn(pool) == "" { // what is past its point of no return is finished
			e.run.Steps[i].State, e.run.Steps[i].Baseline = upgrade.StepDropped, nil
		}
	}
	for _, pool := range slices.Backward(e.run.Plan.Pools) {
		if !pool.Action.Changes() || e.pastReturn(pool) != "" || !e.touched(pool.Name) {
			continue
		}
		if pool.ByProvider() {
			e.run.Steps = append(e.run.Steps, e.stepsBack(pool)...)
			continue
		}
		if pool.Action != upgrade.Migrate {
			continue // what people have upgraded stays so
		}
		steps := []upgrade.Step{upgrade.NewStep(upgrade.UncordonPool, pool.Name, ""), upgrade.NewStep(upgrade.CordonPool, pool.NewName, "")}
		last := upgrade.DeletePool
		if pool.ByPeople {
			last = upgrade.RetirePool
		}
		if slices.ContainsFunc(e.run.Restarts, func(r upgrade.Restarted) bool { return r.Pool == pool.Name && r.State != upgrade.RestartLeft }) {
			steps = append(steps, upgrade.NewStep(upgrade.SurgeFirst, pool.NewName, ""))
		}
		steps = append(steps, upgrade.NewStep(last, pool.NewName, ""))
		for _, s := range steps {
			s.State = upgrade.StepPending
			e.run.Steps = append(e.run.Steps, s)
		}
	}
	e.notify(upgrade.Event{Kind: upgrade.TurnedBack, Text: why})
}

// touched tells that the run may have made a new pool or cordons for the pool.
func (e *Engine) touched(pool string) bool {
	return slices.ContainsFunc(e.run.Steps, func(s upgrade.Step) bool { return s.Pool == pool && s.StartedAt != nil })
}

// carryOn says how to go on after a run that is not final, how to back out, and what the run keeps until then.
func (e *Engine) carryOn() []string {
	next := []string{"to go on: upshift resume"}
	switch e.run.Ending {
	case upgrade.RolledBack:
		next = append(next, "to stop the rollback and keep both pools: upshift cancel")
	case upgrade.Cancelled, upgrade.Failed:
		next = []string{"to have it put back: upshift resume"}
	case "":
		if e.onlyHops() {
			next = append(next, "to end it here: upshift cancel; the control plane cannot go back")
			break
		}
		next = append(next, "to back out: "+e.backOut())
	}
	if stays := e.run.ControlPlaneVersion(); stays != e.run.Plan.Cluster.ControlPlaneVersion {
		next = append(next, fmt.Sprintf("the control plane stays at %s either way: it is not downgraded", stays))
	}
	return slices.Concat(next, e.stillUpgrading(), e.stillFrozen())
}

// backOut says how to end a run that has not turned from its plan.
func (e *Engine) backOut() string {
	has := func(that func(upgrade.PoolPlan) bool) bool { return slices.ContainsFunc(e.run.Plan.Pools, that) }
	switch {
	case has(func(p upgrade.PoolPlan) bool { return p.Action == upgrade.Migrate && !p.ByPeople }):
		return "upshift rollback, which moves the pods back and deletes the new pool; or upshift cancel, which keeps both"
	case has(func(p upgrade.PoolPlan) bool { return p.Action == upgrade.Migrate }):
		return "upshift rollback, which moves the pods back to the old machines; or upshift cancel, which leaves all where it is"
	case has(func(p upgrade.PoolPlan) bool { return p.ByPeople && p.Action.Changes() }):
		return "upshift rollback or upshift cancel, which both end the run and undo its cordons: nodes that are upgraded stay so"
	}
	return "upshift rollback, which has GKE undo what is not complete; or upshift cancel, which leaves the nodes as they are then"
}

// stillFrozen says which autoscaling is off, and how to turn it on by hand.
func (e *Engine) stillFrozen() []string {
	var next []string
	for _, name := range slices.Sorted(maps.Keys(e.run.Frozen)) {
		on := name
		if pool, ok := e.run.Plan.Pool(name); ok && e.run.GoingAway(name) {
			on = pool.NewName
		}
		a := e.run.Frozen[name]
		next = append(next, fmt.Sprintf("autoscaling of %s (%s) is off until the upgrade is finished; to turn it on by hand: %s", on, a.Summary, strings.ReplaceAll(a.Command, "POOL", on)))
	}
	return next
}

// kept says which old pools a finished run left, since it was told to.
func (e *Engine) kept() []string {
	var next []string
	for _, pool := range e.run.Plan.Pools {
		if pool.Action == upgrade.Migrate && !pool.ByPeople && e.run.Plan.Options.Delete == upgrade.DeleteNever {
			next = append(next, fmt.Sprintf("pool %s is drained, kept and paid for, and pods can be scheduled to it again: delete it when you do not need it any more", pool.Name))
		}
	}
	return next
}

// leftBehind says what a run that ended without success left: new pools, and autoscaling that could not be restored.
func (e *Engine) leftBehind() []string {
	var next []string
	if left := e.controlPlaneLeft(); left != "" {
		next = append(next, left)
	}
	for _, pool := range e.run.Plan.Pools {
		remove := "delete it: " + e.gcloudPool("delete", pool.NewName)
		switch {
		case e.run.Removed[pool.NewName] != "":
			if !e.unmade(pool) {
				next = append(next, fmt.Sprintf("the new pool %s was to be deleted again (%s), and may still be there: %s", pool.NewName, e.run.Removed[pool.NewName], remove))
			}
		case pool.ByPeople:
			if pool.Action.Changes() && e.touched(pool.Name) {
				next = append(next, e.leftToPeople(pool)...)
			}
		case pool.Action != upgrade.Migrate || !e.run.Begun(pool.Name, upgrade.CreatePool) || e.run.GoingAway(pool.NewName) || e.run.GoingAway(pool.Name):
		case e.run.Begun(pool.Name, upgrade.SurgeFirst) || e.run.Begun(pool.Name, upgrade.DrainNode):
			next = append(next, fmt.Sprintf("pods run on both %s and the new pool %s: upgrade again to go on with it, or drain %s and then %s", pool.Name, pool.NewName, pool.NewName, remove))
		default:
			next = append(next, fmt.Sprintf("the new pool %s may exist, and no pod was moved to it: upgrade again to go on with it, or %s", pool.NewName, remove))
		}
	}
	return slices.Concat(next, e.leftMixed(), e.stillFrozen())
}

// gcloudPool is a command about a pool.
func (e *Engine) gcloudPool(verb, pool string) string {
	c := e.run.Plan.Cluster
	return fmt.Sprintf("gcloud container node-pools %s %s --cluster %s --project %s --location %s", verb, pool, c.Name, c.Project, c.Location)
}
