package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// learnUpgrades finds out about upgrades of pools, and ways back, that were to begin, where the answer was lost: what nobody knows of goes on by itself,
// and is taken for its own undoing.
func (e *Engine) learnUpgrades(ctx context.Context) error {
	for i, s := range e.run.Steps {
		if (s.Kind != upgrade.UpgradePool && s.Kind != upgrade.RollBackPool) || s.StartedAt == nil || s.Operation != "" || s.State == upgrade.StepDone || s.State == upgrade.StepDropped {
			continue
		}
		err := e.awaitGivenUp(ctx)
		if err == nil {
			e.run.Steps[i].Operation, err = e.Upgrader.Upgrading(ctx, s.Pool)
		}
		if err != nil {
			return &undecided{fmt.Errorf("cannot tell whether GKE has begun with pool %s: %w", s.Pool, err)}
		}
		if up := e.run.Step(upgrade.NewStep(upgrade.UpgradePool, s.Pool, "").ID); s.Kind == upgrade.RollBackPool && up.Operation == e.run.Steps[i].Operation {
			e.run.Steps[i].Operation = "" // that is what it is to undo
		}
	}
	return nil
}

// stopUpgrades cancels the provider's operations on pools that it has not drained yet: the nodes that it has begun are finished.
func (e *Engine) stopUpgrades(ctx context.Context) error {
	return e.stopThose(ctx, func(s upgrade.Step) bool { return s.State != upgrade.StepDone && s.State != upgrade.StepDropped })
}

func (e *Engine) stopThose(ctx context.Context, which func(upgrade.Step) bool) error {
	for i, s := range e.run.Steps {
		if (s.Kind != upgrade.UpgradePool && s.Kind != upgrade.RollBackPool) || s.Operation == "" || s.Stopping || !which(s) {
			continue
		}
		if pool, _ := e.run.Plan.Pool(s.Pool); e.run.NoWayBack(pool) != "" {
			continue // there is nothing to stop, or old nodes that are half deleted would stay
		}
		if err := e.upgrader().CancelOperation(ctx, s.Operation); err != nil {
			return fmt.Errorf("GKE could not be told to stop its operation %s on pool %s: %w", s.Operation, s.Pool, err)
		}
		e.run.Steps[i].Stopping = true
	}
	return nil
}

// stopping tells an operation of ours that was cancelled, and ends when it has finished the nodes that it has begun.
func (e *Engine) stopping(operation string) bool {
	return slices.ContainsFunc(e.run.Steps, func(s upgrade.Step) bool { return s.Stopping && s.Operation == operation })
}

// began tells an operation that the run began, as far as its steps know.
func (e *Engine) began(operation string) bool {
	return slices.ContainsFunc(e.run.Steps, func(s upgrade.Step) bool { return s.Operation == operation })
}

// notes sets the operation of a step, empty for none.
func (e *Engine) notes(step upgrade.Step, operation string) {
	e.update(step.ID, func(s *upgrade.Step) { s.Operation, s.Stopping = operation, false })
}

// releaseUpgrades puts back what a final state does not keep of pools that are upgraded in place, and stops what a run that has turned from its plan
// has begun.
func (e *Engine) releaseUpgrades(ctx context.Context) error {
	if len(e.run.Upgrades) == 0 {
		return nil
	}
	if e.run.Ending == upgrade.Cancelled || e.run.Ending == upgrade.Failed {
		// Also one that keeps drained nodes: it would go on by itself, and its pool's settings cannot be changed meanwhile.
		if err := e.stopThose(ctx, func(upgrade.Step) bool { return true }); err != nil {
			return err
		}
	}
	var errs []error
	for _, pool := range e.run.Plan.Pools {
		if _, noted := e.run.Upgrades[pool.Name]; noted {
			errs = append(errs, e.restoreUpgradeSettings(ctx, upgrade.NewStep(upgrade.RestoreUpgradeSettings, pool.Name, ""), pool))
		}
	}
	return errors.Join(errs...)
}

// stepsBack undo the upgrade of a pool in place.
func (e *Engine) stepsBack(pool upgrade.PoolPlan) []upgrade.Step {
	var steps []upgrade.Step
	if e.run.Begun(pool.Name, upgrade.UpgradePool) {
		steps = append(steps, upgrade.NewStepBack(upgrade.RollBackPool, pool.Name, ""))
	}
	steps = append(steps, upgrade.NewStepBack(upgrade.RestoreUpgradeSettings, pool.Name, ""))
	for i := range steps {
		steps[i].State = upgrade.StepPending
	}
	return steps
}

// rollBackPool has the provider undo its upgrade of a pool, and follows its drains.
func (e *Engine) rollBackPool(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	up := e.run.Step(upgrade.NewStep(upgrade.UpgradePool, pool.Name, "").ID)
	cancelled := up.Operation
	if cancelled != "" && step.Operation == "" {
		if err := e.stopThose(ctx, func(s upgrade.Step) bool { return s.ID == up.ID }); err != nil {
			return err
		}
		e.progress(step)(fmt.Sprintf("operation %s is cancelled: the nodes that it has begun are finished first", cancelled))
		_ = e.Upgrader.Await(ctx, cancelled, e.progress(step)) // how it ends shows in the pool
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if step.Operation != "" {
		if err := e.followOperation(ctx, step, pool, step.Operation); err != nil && (ctx.Err() != nil || !errors.As(err, new(*operationFailed))) {
			return err
		}
		e.notes(step, "")
	}
	if done, err := e.isRolledBack(ctx, pool); err != nil || done {
		return err
	}
	operation, err := e.begun(ctx, step, func(ctx context.Context) (string, error) { return e.upgrader().RollBackPool(ctx, pool.Name, cancelled) })
	if err != nil {
		return fmt.Errorf("roll back pool %s: %w", pool.Name, err)
	}
	e.notes(step, operation)
	if err := e.followOperation(ctx, step, pool, operation); err != nil {
		if errors.As(err, new(*operationFailed)) {
			e.notes(step, "")
			return fmt.Errorf("roll back pool %s: %w", pool.Name, err)
		}
		return err
	}
	var waiting []upgrade.Waiting
	timeout := nodesTimeout
	if now, err := e.known(ctx, pool.Name); err != nil {
		return err
	} else if now.Version != pool.From {
		timeout = 0 // it was complete already
	}
	done, err := e.until(ctx, timeout, func() bool {
		waiting = notAt(e.Cluster.State().PoolNodes(pool.Name), pool.From)
		return len(waiting) == 0
	})
	if err != nil || done {
		return err
	}
	return &Paused{Problem: fmt.Sprintf("GKE has ended its rollback of pool %s, and not all of its nodes are Ready at %s: it rolls back only an upgrade that is not complete", pool.Name, pool.From), Waiting: waiting}
}

// isRolledBack tells that nothing is left of an upgrade.
func (e *Engine) isRolledBack(ctx context.Context, pool upgrade.PoolPlan) (bool, error) {
	now, err := e.known(ctx, pool.Name)
	if err != nil {
		return false, err
	}
	at, all := atVersion(e.Cluster.State(), pool.Name, pool.From)
	return now.Phase == "" && now.Version == pool.From && at == all, nil
}

// stillUpgrading says what the provider does by itself while nobody is at work, and which settings are not restored yet.
func (e *Engine) stillUpgrading() []string {
	var next []string
	for _, s := range e.run.Steps {
		if (s.Kind != upgrade.UpgradePool && s.Kind != upgrade.RollBackPool && s.Kind != upgrade.CompleteUpgrade) || s.Operation == "" || s.State == upgrade.StepDone || s.State == upgrade.StepDropped {
			continue
		}
		if s.Kind == upgrade.CompleteUpgrade {
			next = append(next, fmt.Sprintf("GKE deletes the old nodes of pool %s, which cannot be stopped: to see it to its end: upshift resume", s.Pool))
			continue
		}
		if s.Stopping {
			next = append(next, fmt.Sprintf("GKE finishes the nodes of pool %s that it has begun, by operation %s", s.Pool, s.Operation))
			continue
		}
		next = append(next, fmt.Sprintf("GKE goes on with pool %s by itself, by operation %s: to watch it: upshift resume; to stop it: upshift pause", s.Pool, s.Operation))
	}
	for _, name := range slices.Sorted(maps.Keys(e.run.Upgrades)) {
		s := e.run.Upgrades[name]
		next = append(next, fmt.Sprintf("the upgrade settings of pool %s (%s) are restored when the upgrade is finished; to set them by hand: %s", name, s.Summary, strings.ReplaceAll(s.Command, "POOL", name)))
	}
	return next
}

// leftMixed says which pools a run that ended without success left with nodes of two versions.
func (e *Engine) leftMixed() []string {
	var next []string
	for _, pool := range e.run.Plan.Pools {
		at, all := atVersion(e.Cluster.State(), pool.Name, pool.To)
		if !pool.ByProvider() || at == 0 || at == all {
			continue
		}
		text := fmt.Sprintf("%d of %d nodes of pool %s run %s: upgrade again to go on with it", at, all, pool.Name, pool.To)
		if e.run.Ending != upgrade.RolledBack {
			text += ", or have GKE undo it: " + e.gcloudPool("rollback", pool.Name)
		}
		next = append(next, text)
	}
	return next
}
