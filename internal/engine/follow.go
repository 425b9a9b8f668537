package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/upshift-k8s/upshift/internal/drain"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// phasePace is how often a provider is asked how far its upgrade is: its phases take minutes, and it has no watch.
const phasePace = 5 * time.Second

// errOver is the cause with which following the drains ends when the provider's part of them is over.
var errOver = errors.New("the provider's operation is over")

// followOperation follows the drains of an operation until it is over; under blue-green, until the old nodes are drained. The error
// operationFailed is the operation's own.
func (e *Engine) followOperation(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan, operation string) error {
	following, over := context.WithCancelCause(ctx)
	defer over(nil)
	ended := make(chan error, 1)
	var watch sync.WaitGroup
	watch.Go(func() {
		ended <- e.awaitProvider(following, step, pool, operation)
		over(errOver)
	})
	err := e.save(ctx) // meanwhile the operation is watched
	if err == nil {
		err = e.follow(following, e.toFollow(step, pool), pool, e.tellNodes(step, pool))
	}
	if err != nil && !errors.Is(context.Cause(following), errOver) {
		over(err)
		watch.Wait()
		return err
	}
	err = <-ended
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return &operationFailed{err}
	}
	return nil
}

// awaitProvider waits until the provider has drained what the operation drains.
func (e *Engine) awaitProvider(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan, operation string) error {
	if pool.Action == upgrade.Rolling || step.Back {
		return e.Upgrader.Await(ctx, operation, e.progress(step))
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	var watch sync.WaitGroup
	watch.Go(func() { ended <- e.Upgrader.Await(watching, operation, e.progress(step)) })
	told := upgrade.Phase("")
	for {
		// A look that fails says nothing: the operation is watched besides.
		if now, err := e.known(ctx, pool.Name); err == nil && now.Phase != told {
			e.progress(step)(fmt.Sprintf("pool %s: %s", pool.Name, now.Phase))
			told = now.Phase
		}
		if told == upgrade.PhaseSoaking {
			stop() // the operation goes on with the soak
			watch.Wait()
			return context.Cause(ctx)
		}
		select {
		case err := <-ended:
			return err
		case <-time.After(phasePace):
		}
	}
}

// version is what the pool's nodes come to by a step: that of the plan, or, on the way back, that of before.
func version(step upgrade.Step, pool upgrade.PoolPlan) string {
	if step.Back {
		return pool.From
	}
	return pool.To
}

// toFollow are the steps of the nodes that the provider is going to drain, or has begun to. Nodes that joined the pool have one too.
func (e *Engine) toFollow(step upgrade.Step, pool upgrade.PoolPlan) []upgrade.Step {
	at := slices.IndexFunc(e.run.Steps, func(s upgrade.Step) bool { return s.ID == step.ID }) + 1
	for at < len(e.run.Steps) && e.run.Steps[at].Kind == upgrade.DrainNode {
		at++
	}
	for _, n := range e.Cluster.State().PoolNodes(pool.Name) {
		follows := upgrade.NewStep(upgrade.DrainNode, pool.Name, n.Name)
		if step.Back {
			follows = upgrade.NewStepBack(upgrade.DrainNode, pool.Name, n.Name)
		}
		if n.Version == version(step, pool) || e.run.Step(follows.ID) != nil {
			continue
		}
		follows.State = upgrade.StepPending
		e.run.Steps = slices.Insert(e.run.Steps, at, follows)
		at++
	}
	var steps []upgrade.Step
	for _, s := range e.run.Steps {
		if s.Kind == upgrade.DrainNode && s.Pool == pool.Name && s.Back == step.Back && s.State != upgrade.StepDone && s.State != upgrade.StepDropped {
			steps = append(steps, s)
		}
	}
	return steps
}

// follow follows drains that the provider carries out, until every node is drained and its workloads are as available as before.
func (e *Engine) follow(ctx context.Context, steps []upgrade.Step, pool upgrade.PoolPlan, looked func()) error {
	if len(steps) == 0 {
		return nil
	}
	return e.drain(ctx, steps, pool, upgrade.AutoDrains, &drain.Followed{
		By: "GKE", Version: version(steps[0], pool), ForceAfter: time.Duration(pool.ForceAfter), InTurn: pool.Action == upgrade.Rolling,
	}, looked)
}

// tellNodes tells of nodes that go and of new ones that are Ready, each time it is called.
func (e *Engine) tellNodes(step upgrade.Step, pool upgrade.PoolPlan) func() {
	to := version(step, pool)
	look := func() (now map[string]bool) {
		now = map[string]bool{}
		for _, n := range e.Cluster.State().PoolNodes(pool.Name) {
			now[n.Name] = n.Ready && n.Version == to
		}
		return now
	}
	before := look()
	return func() {
		now := look()
		ready := 0
		for _, made := range now {
			if made {
				ready++
			}
		}
		for _, name := range slices.Sorted(maps.Keys(before)) {
			if _, there := now[name]; !there {
				e.progress(step)(fmt.Sprintf("node %s is gone", name))
			}
		}
		for _, name := range slices.Sorted(maps.Keys(now)) {
			if now[name] && !before[name] {
				e.progress(step)(fmt.Sprintf("node %s is Ready at %s, %d of %d nodes of %s are", name, to, ready, len(now), pool.Name))
			}
		}
		before = now
	}
}
