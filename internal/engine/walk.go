package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// steps carries out the steps that are left, in order.
func (e *Engine) steps(ctx context.Context) error {
	for {
		// The list can grow while it is walked: nodes that joined a pool are drained too.
		next := e.nextSteps()
		if len(next) == 0 {
			return e.skipped("")
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		next, err := e.ready(ctx, next)
		if err == nil && len(next) > 0 {
			err = e.carryOut(ctx, next)
		}
		if err != nil {
			return err
		}
	}
}

// nextSteps is the first step that is left, and, where nodes are drained at once, the drains of the same pool that are left after it.
func (e *Engine) nextSteps() []upgrade.Step {
	var next []upgrade.Step
	for _, s := range e.run.Steps {
		switch s.State {
		case upgrade.StepDone, upgrade.StepSkipped, upgrade.StepDropped:
			continue
		}
		if len(next) > 0 && (s.Kind != upgrade.DrainNode || s.Pool != next[0].Pool) {
			break
		}
		next = append(next, s)
		if s.Kind != upgrade.DrainNode || !e.atOnce(s.Pool) {
			break
		}
	}
	return next
}

// skipped is an error that names the nodes, of a pool or of all, that a person had left out.
func (e *Engine) skipped(pool string) error {
	var nodes []string
	for _, s := range e.run.Steps {
		if s.Node != "" && s.State == upgrade.StepSkipped && (pool == "" || s.Pool == pool) && !slices.Contains(nodes, s.Node) {
			nodes = append(nodes, s.Node)
		}
	}
	if len(nodes) == 0 {
		return nil
	}
	return &Paused{
		Problem: "the run is not over, since a person had these nodes skipped: " + strings.Join(nodes, ", "),
		Next:    []string{"to come back to them: upshift resume"},
	}
}

// carryOut carries out one step, or the drains of some nodes of a pool, between two saves each.
func (e *Engine) carryOut(ctx context.Context, steps []upgrade.Step) error {
	pool, ok := e.poolPlan(steps[0].Pool)
	if !ok && steps[0].Kind != upgrade.UpgradeControlPlane {
		return fmt.Errorf("step %s: the plan has no pool %s", steps[0].ID, steps[0].Pool)
	}
	if err := e.awaitAPI(ctx); err != nil {
		return err
	}
	if len(e.run.Tasks) > 0 && e.run.Tasks[0].Step != steps[0].ID {
		e.run.Tasks = nil // the run does not wait for them any more
	}
	if steps[0].Kind == upgrade.DrainNode {
		if pool.ByProvider() {
			return e.follow(ctx, steps, pool, func() {})
		}
		return e.drainNodes(ctx, steps, pool)
	}
	if err := e.begin(ctx, steps[0].ID); err != nil {
		return err
	}
	return e.end(ctx, steps[0].ID, e.do(ctx, *e.run.Step(steps[0].ID), pool))
}

// begin notes that steps are carried out from now on.
func (e *Engine) begin(ctx context.Context, ids ...string) error {
	start := time.Now()
	for _, id := range ids {
		e.update(id, func(s *upgrade.Step) { s.State, s.StartedAt = upgrade.StepRunning, &start })
	}
	if err := e.save(ctx); err != nil {
		return err
	}
	for _, id := range ids {
		e.notify(upgrade.Event{Kind: upgrade.StepStarted, Step: *e.run.Step(id)})
	}
	return nil
}

// end notes how a step ended, with which error, which it returns.
func (e *Engine) end(ctx context.Context, id string, err error) error {
	if e.ended(ctx, id, err); err != nil {
		return err
	}
	return e.save(ctx)
}

// ended is end without saving.
func (e *Engine) ended(ctx context.Context, id string, err error) {
	end := time.Now()
	step := *e.run.Step(id)
	e.update(id, func(s *upgrade.Step) {
		s.State, s.FinishedAt = upgrade.StepDone, &end
		var paused *Paused
		switch {
		case err == nil && s.Kind != upgrade.AwaitNode: // whose baseline is for the gate after it
			s.Baseline = nil
		case err == nil:
		case ctx.Err() != nil, errors.As(err, &paused), errors.As(err, new(*interference)):
			s.State, s.FinishedAt = upgrade.StepStopped, nil
		default:
			s.State, s.FinishedAt = upgrade.StepFailed, nil
		}
	})
	if err != nil {
		return
	}
	if !slices.ContainsFunc(e.run.Steps, func(s upgrade.Step) bool { return s.State == upgrade.StepRunning }) {
		e.run.Waiting = nil // else it is what others wait for
	}
	e.run.CountDrained()
	e.notify(upgrade.Event{Kind: upgrade.StepFinished, Step: step, Took: upgrade.Seconds(end.Sub(*step.StartedAt))})
}

// poolPlan returns the plan of a pool by its own name or by that of the pool that takes over from it.
func (e *Engine) poolPlan(name string) (upgrade.PoolPlan, bool) {
	for _, p := range e.run.Plan.Pools {
		if p.Name == name || p.Action == upgrade.Migrate && p.NewName == name {
			return p, true
		}
	}
	return upgrade.PoolPlan{}, false
}

// takesOver tells a new pool, which only a rollback drains, from an old one.
func (e *Engine) takesOver(pool string) bool {
	_, old := e.run.Plan.Pool(pool)
	return !old
}

// awaitAPI waits until the Kubernetes API can be read: what is known while it is away is out of date.
func (e *Engine) awaitAPI(ctx context.Context) error {
	for {
		changed := e.Cluster.Changed()
		if !e.Cluster.State().Away {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (e *Engine) do(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	switch step.Kind {
	case upgrade.UpgradeControlPlane:
		return e.upgradeControlPlane(ctx, step)
	case upgrade.FreezeAutoscaling:
		return e.freezeAutoscaling(ctx, step, pool)
	case upgrade.CreatePool:
		return e.createPool(ctx, step, pool)
	case upgrade.WaitNodes:
		if pool.ByPeople {
			return e.awaitMachines(ctx, step, pool)
		}
		return e.waitNodes(ctx, step, pool)
	case upgrade.CordonPool:
		return e.cordonPool(ctx, step, pool)
	case upgrade.SurgeFirst:
		return e.surgeFirst(ctx, step, pool)
	case upgrade.UncordonPool:
		return e.uncordonPool(ctx, step.Pool)
	case upgrade.Soak:
		if pool.Action == upgrade.BlueGreen {
			return e.gatedSoak(ctx, step, pool)
		}
		return e.soak(ctx, step)
	case upgrade.SetUpgradeSettings:
		return e.setUpgradeSettings(ctx, step, pool)
	case upgrade.UpgradePool:
		return e.upgradePool(ctx, step, pool)
	case upgrade.CompleteUpgrade:
		return e.completeUpgrade(ctx, step, pool)
	case upgrade.RestoreUpgradeSettings:
		return e.restoreUpgradeSettings(ctx, step, pool)
	case upgrade.RollBackPool:
		return e.rollBackPool(ctx, step, pool)
	case upgrade.DeletePool:
		return e.deletePool(ctx, step, pool)
	case upgrade.RestoreAutoscaling:
		return e.restoreAutoscaling(ctx, step, pool)
	case upgrade.CheckQuorum:
		return e.checkQuorum(ctx, step)
	case upgrade.CordonNode:
		return e.cordonNode(ctx, step, pool)
	case upgrade.AwaitNode:
		return e.awaitNode(ctx, step, pool)
	case upgrade.UncordonNode:
		return e.uncordonNode(ctx, step, pool)
	case upgrade.VerifyServers:
		return e.verifyServers(ctx, step, pool)
	case upgrade.RetirePool:
		return e.retirePool(ctx, step, pool)
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
	e.notifying.Lock()
	defer e.notifying.Unlock()
	event.Time = time.Now()
	event.AtOnce = event.Step.Kind == upgrade.DrainNode && e.atOnce(event.Step.Pool)
	// Only the goroutine that carries out the run tells of drains: others must not read the steps.
	for i := 0; event.Step.Kind == upgrade.DrainNode && i < len(e.run.Steps); i++ {
		s := e.run.Steps[i]
		if s.Kind != upgrade.DrainNode || s.State == upgrade.StepDropped || e.run.Forward(s) != e.run.Forward(event.Step) {
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
	operation, err := e.begun(ctx, step, attempt)
	if err != nil || operation == "" {
		return err
	}
	e.update(step.ID, func(s *upgrade.Step) { s.Operation = operation })
	// Saving waits while the Kubernetes API is away; the provider's operation is watched meanwhile.
	saved := make(chan error, 1)
	go func() { saved <- e.save(ctx) }()
	err = e.Provider.Wait(ctx, operation, e.progress(step))
	if err != nil && ctx.Err() == nil && e.Cluster.State().Away {
		e.progress(step)(err.Error()) // people should not have to wait for it until the API is back
	}
	if saveErr := <-saved; saveErr != nil {
		return saveErr
	}
	return err
}

// begun begins a change through the provider, and returns the operation that makes it.
func (e *Engine) begun(ctx context.Context, step upgrade.Step, attempt func(context.Context) (string, error)) (operation string, err error) {
	for {
		operation, err := attempt(ctx)
		var busy *upgrade.Busy
		if !errors.As(err, &busy) {
			return operation, err
		}
		if err := e.waitForOthers(ctx, step, busy); err != nil {
			return "", err
		}
	}
}

// waitForOthers waits until an operation that is not ours is over. How it ends is its owner's business.
func (e *Engine) waitForOthers(ctx context.Context, step upgrade.Step, busy *upgrade.Busy) error {
	if e.stopping(busy.Operation) {
		e.progress(step)(fmt.Sprintf("waits for operation %s (%s), which was cancelled and finishes the nodes that it has begun", busy.Operation, busy.Kind))
		_ = e.Upgrader.Await(ctx, busy.Operation, e.progress(step)) // how it ends shows in the pool
		return context.Cause(ctx)
	}
	whose, by := "is not ours", "somebody else's"
	if e.began(busy.Operation) {
		whose, by = "this run began", "the run's own"
	}
	e.progress(step)(fmt.Sprintf("waits for operation %s (%s), which %s", busy.Operation, busy.Kind, whose))
	e.run.Waiting = []upgrade.Waiting{{
		Object: upgrade.Ref{Kind: "Operation", Name: busy.Operation},
		Reason: fmt.Sprintf("is %s (%s), and is waited for since %s, for %s at most", by, busy.Kind, time.Now().UTC().Format("15:04:05 UTC"), othersTimeout),
	}}
	if err := e.save(ctx); err != nil {
		return err
	}
	defer func() { e.run.Waiting = nil }()
	limited, cancel := context.WithTimeout(ctx, othersTimeout)
	defer cancel()
	for {
		err := e.Provider.Wait(limited, busy.Operation, e.progress(step))
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && limited.Err() != nil:
			return &notNow{Paused{Problem: fmt.Sprintf("operation %s (%s), which %s, has kept the cluster busy for %s", busy.Operation, busy.Kind, whose, othersTimeout)}}
		case !errors.As(err, new(*upgrade.Unended)): // the provider's patience with one operation is another
			return nil
		}
	}
}
