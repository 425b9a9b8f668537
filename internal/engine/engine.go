// Package engine carries out a plan, step by step, and says what happened. Every step looks first, acts on what is missing,
// then checks: carrying out a step a second time finds its work done.
package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/upshift-k8s/upshift/internal/drain"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// Provider changes the node pools of one cluster. The calls that change something return the operation that does it, and are
// re-entrant: what is there already is adopted, with the operation that is still busy with it, or "" if none is. They do not
// wait: while another operation is under way they return *upgrade.Busy.
type Provider interface {
	Pools(ctx context.Context) ([]upgrade.Pool, error)
	// CreatePool makes a pool like another one. A pool of that name that no run made is an error.
	CreatePool(ctx context.Context, clone upgrade.Clone) (operation string, err error)
	DeletePool(ctx context.Context, name string) (operation string, err error)
	SetAutoscaling(ctx context.Context, pool string, a upgrade.Autoscaling) (operation string, err error)
	// Wait returns when the operation is over, with its error if it failed. It calls progress with what people should know.
	Wait(ctx context.Context, operation string, progress func(string)) error
}

// Cluster is what the engine needs of the Kubernetes API. Implementations are safe for concurrent use.
type Cluster interface {
	drain.Cluster
	// Cordon makes the node unschedulable in the name of the run. A node that is cordoned already, or gone, is left alone.
	Cordon(ctx context.Context, node, run string) error
	// Uncordon undoes a Cordon of any run; a cordon that no run made is left alone.
	Uncordon(ctx context.Context, node string) error
	// Occupants reads from the API itself, not from a cache, what is on the pool's nodes.
	Occupants(ctx context.Context, pool string) (upgrade.Occupants, error)
}

// Engine carries out one plan. Its fields are set before Run and not changed after.
type Engine struct {
	Provider Provider
	Cluster  Cluster
	Plan     upgrade.Plan
	// Granted are the consents that were given.
	Granted []upgrade.Consent
	// Save stores the run; it is called before and after everything that changes something. An error ends the run.
	Save func(*upgrade.Run) error
	// Notify is told every event, one at a time.
	Notify func(upgrade.Event)

	run *upgrade.Run
}

// Paused is the error of a run that a person has to look at. Nothing that was done is undone.
type Paused struct {
	Problem string
	Waiting []upgrade.Waiting
	Next    []string
}

func (p *Paused) Error() string { return p.Problem }

const (
	// cleanupTimeout bounds what is put back after a run has ended.
	cleanupTimeout = 2 * time.Minute
	// othersTimeout is for an operation that is not ours, such as GKE's own upgrade of another pool: after that a person should
	// know.
	othersTimeout = time.Hour
)

// Run carries out the steps that are not done, and ends with run in a state that says how it went. The error is nil only if
// the run succeeded: Paused, the context's, or what failed.
func (e *Engine) Run(ctx context.Context, run *upgrade.Run) error {
	e.run = run
	err := e.steps(ctx)
	now := time.Now()
	var paused *Paused
	switch {
	case err == nil:
		err = e.release(ctx)
		run.State, run.FinishedAt, run.Next = upgrade.Succeeded, &now, e.kept()
		if err != nil {
			run.State, run.Problem, run.Next = upgrade.Failed, err.Error(), e.leftBehind()
		}
	case ctx.Err() != nil:
		run.State, run.Problem = upgrade.Interrupted, context.Cause(ctx).Error()
		run.Next = e.carryOn()
	case errors.As(err, &paused):
		run.State, run.Problem, run.Waiting = upgrade.Paused, paused.Problem, paused.Waiting
		run.Next = slices.Concat(paused.Next, e.carryOn())
	default:
		run.State, run.Problem, run.FinishedAt = upgrade.Failed, err.Error(), &now
		if undo := e.release(ctx); undo != nil {
			run.Problem += "; and putting things back: " + undo.Error()
		}
		run.Next = e.leftBehind()
	}
	if saveErr := e.Save(run); saveErr != nil && err == nil {
		// What was to be done is done; what was not is to tell it.
		err = fmt.Errorf("save the run: %w", saveErr)
		run.State, run.Problem = upgrade.Failed, err.Error()
	}
	return err
}

func (e *Engine) steps(ctx context.Context) error {
	// The list can grow while it is walked: nodes that joined a pool are drained too.
	for i := 0; i < len(e.run.Steps); i++ {
		step := e.run.Steps[i]
		if step.State == upgrade.StepDone {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := e.step(ctx, step); err != nil {
			return err
		}
	}
	return nil
}

// step carries out one step between two saves.
func (e *Engine) step(ctx context.Context, step upgrade.Step) error {
	start := time.Now()
	e.update(step.ID, func(s *upgrade.Step) { s.State, s.StartedAt = upgrade.StepRunning, &start })
	if err := e.Save(e.run); err != nil {
		return fmt.Errorf("save the run before %s: %w", step.ID, err)
	}
	e.notify(upgrade.Event{Kind: upgrade.StepStarted, Step: step})
	pool, ok := e.Plan.Pool(step.Pool)
	if !ok {
		return fmt.Errorf("step %s: the plan has no pool %s", step.ID, step.Pool)
	}
	err := e.do(ctx, step, pool)
	end := time.Now()
	e.update(step.ID, func(s *upgrade.Step) {
		s.State, s.FinishedAt = upgrade.StepDone, &end
		var paused *Paused
		switch {
		case ctx.Err() != nil, errors.As(err, &paused):
			s.State, s.FinishedAt = upgrade.StepStopped, nil
		case err != nil:
			s.State, s.FinishedAt = upgrade.StepFailed, nil
		}
	})
	if err != nil {
		return err
	}
	e.run.CountDrained()
	e.notify(upgrade.Event{Kind: upgrade.StepFinished, Step: step, Took: upgrade.Seconds(end.Sub(start))})
	if err := e.Save(e.run); err != nil {
		return fmt.Errorf("save the run after %s: %w", step.ID, err)
	}
	return nil
}

func (e *Engine) do(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	switch step.Kind {
	case upgrade.FreezeAutoscaling:
		return e.freezeAutoscaling(ctx, step, pool)
	case upgrade.CreatePool:
		return e.createPool(ctx, step, pool)
	case upgrade.WaitNodes:
		return e.waitNodes(ctx, step, pool)
	case upgrade.CordonPool:
		return e.cordonPool(ctx, step, pool)
	case upgrade.DrainNode:
		return e.drainNode(ctx, step, pool)
	case upgrade.Soak:
		return e.soak(ctx)
	case upgrade.DeletePool:
		return e.deletePool(ctx, step, pool)
	case upgrade.RestoreAutoscaling:
		return e.restoreAutoscaling(ctx, step, pool)
	}
	return fmt.Errorf("step %s: unknown kind %s", step.ID, step.Kind)
}

// update changes the record of a step.
func (e *Engine) update(id string, change func(*upgrade.Step)) {
	if i := slices.IndexFunc(e.run.Steps, func(s upgrade.Step) bool { return s.ID == id }); i >= 0 {
		change(&e.run.Steps[i])
	}
}

func (e *Engine) notify(event upgrade.Event) {
	event.Time = time.Now()
	for _, s := range e.run.Steps {
		if s.Kind != upgrade.DrainNode || event.Step.Kind != upgrade.DrainNode {
			continue
		}
		event.Of++
		if s.ID == event.Step.ID {
			event.N = event.Of
		}
	}
	e.Notify(event)
}

func (e *Engine) progress(step upgrade.Step) func(string) {
	return func(text string) { e.notify(upgrade.Event{Kind: upgrade.StepProgress, Step: step, Text: text}) }
}

// change makes one change through the provider and waits for its operation. While the cluster is busy with an operation that is
// not ours it waits for that one, and attempts again.
func (e *Engine) change(ctx context.Context, step upgrade.Step, attempt func(context.Context) (string, error)) error {
	for {
		operation, err := attempt(ctx)
		var busy *upgrade.Busy
		switch {
		case errors.As(err, &busy):
			if err := e.waitForOthers(ctx, step, busy); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		case operation == "":
			return nil
		}
		e.update(step.ID, func(s *upgrade.Step) { s.Operation = operation })
		if err := e.Save(e.run); err != nil {
			return fmt.Errorf("save operation %s: %w", operation, err)
		}
		return e.Provider.Wait(ctx, operation, e.progress(step))
	}
}

// waitForOthers waits until an operation that is not ours is over. How it ends is its owner's business.
func (e *Engine) waitForOthers(ctx context.Context, step upgrade.Step, busy *upgrade.Busy) error {
	e.progress(step)(fmt.Sprintf("waits for operation %s (%s), which is not ours", busy.Operation, busy.Kind))
	limited, cancel := context.WithTimeout(ctx, othersTimeout)
	defer cancel()
	err := e.Provider.Wait(limited, busy.Operation, e.progress(step))
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil && limited.Err() != nil:
		return &Paused{Problem: fmt.Sprintf("operation %s (%s), which is not ours, has kept the cluster busy for %s", busy.Operation, busy.Kind, othersTimeout)}
	}
	return nil
}

// release puts back what a final state does not keep: our cordons and frozen autoscaling. It goes on after an error, and
// after ctx is cancelled.
func (e *Engine) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	var errs []error
	for _, pool := range e.Plan.Pools {
		if pool.Action != upgrade.Migrate || e.goingAway(pool.Name) {
			continue
		}
		// All of them: a cordon of a moment ago may not be in the caches yet, and Uncordon itself knows whose it is.
		for _, node := range e.Cluster.State().PoolNodes(pool.Name) {
			errs = append(errs, e.Cluster.Uncordon(ctx, node.Name))
		}
	}
	pools, err := e.Provider.Pools(ctx)
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("restore autoscaling: %w", err))...)
	}
	for _, pool := range pools {
		settings, frozen := e.run.Frozen[pool.Name]
		if !frozen || e.goingAway(pool.Name) {
			continue
		}
		err := e.change(ctx, upgrade.NewStep(upgrade.RestoreAutoscaling, pool.Name, ""), func(ctx context.Context) (string, error) {
			return e.Provider.SetAutoscaling(ctx, pool.Name, settings)
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("restore autoscaling of %s: %w", pool.Name, err))
			continue
		}
		delete(e.run.Frozen, pool.Name)
	}
	return errors.Join(errs...)
}

// goingAway tells that the provider has been told to delete the pool: pods must not be let onto its nodes again.
func (e *Engine) goingAway(pool string) bool {
	return slices.ContainsFunc(e.run.Steps, func(s upgrade.Step) bool {
		return s.Kind == upgrade.DeletePool && s.Pool == pool && (s.Operation != "" || s.State == upgrade.StepDone)
	})
}

// carryOn says how to go on after a run that is not final, how to back out, and what the run keeps until then.
func (e *Engine) carryOn() []string {
	next := []string{"to go on: upgrade again, which takes over the new pool and the cordons; its plan has a new digest, to be approved anew"}
	for _, pool := range e.Plan.Pools {
		if pool.Action == upgrade.Migrate && e.begun(pool.Name, upgrade.CordonPool) && !e.goingAway(pool.Name) {
			next = append(next, fmt.Sprintf("to back out instead: kubectl uncordon -l %s=%s, which undoes cordons of other people there as well", e.Plan.Cluster.PoolLabel, pool.Name))
		}
	}
	return append(next, e.stillFrozen()...)
}

// stillFrozen says which autoscaling is off, and how to turn it on by hand.
func (e *Engine) stillFrozen() []string {
	var next []string
	for _, name := range slices.Sorted(maps.Keys(e.run.Frozen)) {
		on := name
		if pool, ok := e.Plan.Pool(name); ok && e.goingAway(name) {
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
	for _, pool := range e.Plan.Pools {
		if pool.Action == upgrade.Migrate && e.Plan.Options.Delete == upgrade.DeleteNever {
			next = append(next, fmt.Sprintf("pool %s is drained, kept and paid for, and pods can be scheduled to it again: delete it when you do not need it any more", pool.Name))
		}
	}
	return next
}

// leftBehind says what a failed run left: new pools, and autoscaling that could not be restored.
func (e *Engine) leftBehind() []string {
	var next []string
	for _, pool := range e.Plan.Pools {
		switch {
		case pool.Action != upgrade.Migrate || !e.begun(pool.Name, upgrade.CreatePool):
		case e.begun(pool.Name, upgrade.DrainNode):
			next = append(next, fmt.Sprintf("pods run on the new pool %s: do not delete it; upgrade again to go on", pool.NewName))
		default:
			next = append(next, fmt.Sprintf("the new pool %s may exist, and no pod was moved to it: delete it, or upgrade again to go on with it", pool.NewName))
		}
	}
	return append(next, e.stillFrozen()...)
}

// begun tells whether the run has begun a step of that kind on the pool.
func (e *Engine) begun(pool string, kind upgrade.StepKind) bool {
	return slices.ContainsFunc(e.run.Steps, func(s upgrade.Step) bool {
		return s.Kind == kind && s.Pool == pool && s.State != upgrade.StepPending
	})
}
