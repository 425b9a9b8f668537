package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

const (
	// nodesTimeout is for the nodes of a new pool to be Ready once the provider has made it. A shorter drain-timeout, being
	// the longest that a person wants to wait for one node, bounds it too.
	nodesTimeout = 20 * time.Minute
	// detachTimeout is for the volumes of a drained node to be detached.
	detachTimeout = 2 * time.Minute
)

func (e *Engine) freezeAutoscaling(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	// The settings are in the record before they are off in the cluster.
	e.run.Frozen[pool.Name] = pool.Autoscaling
	if err := e.save(ctx); err != nil {
		return err
	}
	return e.setAutoscaling(ctx, step, pool.Name, upgrade.Autoscaling{})
}

// restoreAutoscaling gives the new pool what the old one had.
func (e *Engine) restoreAutoscaling(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	if err := e.setAutoscaling(ctx, step, pool.NewName, pool.Autoscaling); err != nil {
		return err
	}
	if e.run.Plan.Options.Delete != upgrade.DeleteNever {
		delete(e.run.Frozen, pool.Name)
	}
	return nil
}

func (e *Engine) setAutoscaling(ctx context.Context, step upgrade.Step, pool string, a upgrade.Autoscaling) error {
	err := e.change(ctx, step, func(ctx context.Context) (string, error) { return e.provider().SetAutoscaling(ctx, pool, a) })
	if err != nil {
		return fmt.Errorf("set the autoscaling of %s: %w", pool, err)
	}
	return nil
}

func (e *Engine) createPool(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	if why := e.run.Removed[pool.NewName]; why != "" {
		return e.unmake(ctx, step, pool, why)
	}
	err := e.change(ctx, step, func(ctx context.Context) (string, error) {
		return e.provider().CreatePool(ctx, upgrade.Clone{
			Of: pool.Name, Name: pool.NewName, Version: pool.To, NodesPerZone: e.nodesPerZone(pool), Run: e.run.ID,
			Autoscaling: e.growth(pool), Inherits: pool.Autoscaling,
		})
	})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, new(*unrecorded)):
		return err
	}
	// A finished operation is not yet a pool as wanted, and a failed one may have made a pool.
	there, lookErr := e.newPool(ctx, pool)
	switch {
	case err != nil && there != nil:
		return e.unmake(ctx, step, pool, err.Error())
	case err != nil:
		return fmt.Errorf("create pool %s: %w", pool.NewName, err)
	case lookErr != nil:
		return fmt.Errorf("look at the new pool %s: %w", pool.NewName, lookErr)
	case there == nil:
		return fmt.Errorf("create pool %s: the operation is done and the pool is not there", pool.NewName)
	case there.Trouble != "" && there.MadeBy == e.run.ID: // it was found as an earlier attempt left it
		return e.unmake(ctx, step, pool, there.Trouble)
	case there.Version != pool.To:
		return fmt.Errorf("create pool %s: it came up at %s instead of %s", pool.NewName, there.Version, pool.To)
	}
	return nil
}

// nodesPerZone is the size of the new pool, by the old one as it is now that its autoscaling is off: it may have grown since the plan. One that
// grows by itself begins with what the plan says.
func (e *Engine) nodesPerZone(pool upgrade.PoolPlan) int {
	if pool.Grows {
		return pool.NodesPerZone
	}
	return max(pool.NodesPerZone, e.Cluster.State().NodesPerZone(pool.Name))
}

// newPool returns the new pool as the provider has it, or nil.
func (e *Engine) newPool(ctx context.Context, pool upgrade.PoolPlan) (*upgrade.Pool, error) {
	pools, err := e.Provider.Pools(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range pools {
		if p.Name == pool.NewName {
			return &p, nil
		}
	}
	return nil, nil
}

func (e *Engine) waitNodes(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	wanted := e.nodesPerZone(pool) * len(pool.Zones)
	timeout := nodesTimeout
	if asked := time.Duration(e.run.Plan.Options.DrainTimeout); asked > 0 {
		timeout = min(timeout, asked)
	}
	told := -1
	var ready int
	var waiting []upgrade.Waiting
	done, err := e.until(ctx, timeout, func() bool {
		ready, waiting = newNodes(e.Cluster.State(), pool)
		if ready != told {
			e.progress(step)(fmt.Sprintf("%d of %d nodes Ready at %s", ready, wanted, pool.To))
			told = ready
		}
		return ready >= wanted
	})
	if err != nil || done {
		return err
	}
	object := upgrade.Ref{Kind: "NodePool", Name: pool.NewName}
	if there := ready + len(waiting); there < wanted {
		waiting = append(waiting, upgrade.Waiting{Object: object, Reason: fmt.Sprintf("has %d nodes in the cluster, and %d are needed: wait, resize it or delete it", there, wanted)})
	}
	if p, err := e.newPool(ctx, pool); err == nil && p != nil && p.Trouble != "" {
		waiting = append(waiting, upgrade.Waiting{Object: object, Reason: p.Trouble})
	}
	return &Paused{
		Problem: fmt.Sprintf("%d of %d nodes of the new pool %s are Ready after %s; the nodes of %s are untouched", ready, wanted, pool.NewName, timeout, pool.Name),
		Waiting: waiting,
		Next:    []string{fmt.Sprintf("find out why: kubectl describe nodes -l %s=%s", e.run.Plan.Cluster.PoolLabel, pool.NewName)},
	}
}

// newNodes counts the nodes of the new pool that are Ready at the version, and says what the others lack.
func newNodes(s upgrade.State, pool upgrade.PoolPlan) (ready int, waiting []upgrade.Waiting) {
	for _, n := range s.PoolNodes(pool.NewName) {
		object := upgrade.Ref{Kind: "Node", Name: n.Name}
		switch {
		case !n.Ready:
			waiting = append(waiting, upgrade.Waiting{Object: object, Node: n.Name, Reason: "is not Ready"})
		case n.Unschedulable && pool.ByPeople:
			waiting = append(waiting, upgrade.Waiting{Object: object, Node: n.Name, Reason: "is cordoned"})
		case upgrade.CompareVersions(n.Version, pool.To) < 0:
			waiting = append(waiting, upgrade.Waiting{Object: object, Node: n.Name, Reason: fmt.Sprintf("runs %s instead of %s", n.Version, pool.To)})
		default:
			ready++
		}
	}
	return ready, waiting
}

// until waits for condition, looking at every change of the cluster, and tells whether it came true within the timeout.
func (e *Engine) until(ctx context.Context, timeout time.Duration, condition func() bool) (bool, error) {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	for {
		changed := e.Cluster.Changed()
		if condition() {
			return true, nil
		}
		select {
		case <-changed:
		case <-deadline.C:
			if !e.Cluster.State().Away {
				return false, nil
			}
			deadline.Reset(timeout) // nothing was seen meanwhile
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// cordonPool cordons every node of a pool before the first of them is drained, so that no pod moves twice.
func (e *Engine) cordonPool(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	if step.Pool == pool.NewName && !pool.ByPeople {
		if foreign, err := e.foreign(ctx, pool); err != nil || foreign {
			return err // what is not ours is not touched; deleting it is refused
		}
	}
	for _, n := range e.Cluster.State().PoolNodes(step.Pool) {
		if err := e.cordon(ctx, step, n); err != nil {
			return err
		}
	}
	return nil
}

// cordon cordons a node and sees to it that the run has a step that drains it.
func (e *Engine) cordon(ctx context.Context, step upgrade.Step, n upgrade.Node) error {
	drainStep := upgrade.NewStep(upgrade.DrainNode, step.Pool, n.Name)
	if e.run.Step(drainStep.ID) == nil {
		// After the pool's last drain, or, before any, after its cordon and its restarts.
		at := 0
		for i, s := range e.run.Steps {
			if s.Pool == step.Pool && (s.Kind == upgrade.DrainNode || s.Kind == upgrade.CordonPool || s.Kind == upgrade.SurgeFirst) {
				at = i + 1
			}
		}
		drainStep.State = upgrade.StepPending
		e.run.Steps = slices.Insert(e.run.Steps, at, drainStep)
	}
	if err := e.fenced().Cordon(ctx, n.Name, e.run.ID); err != nil {
		return fmt.Errorf("cordon node %s: %w", n.Name, err)
	}
	if !n.Unschedulable {
		e.notify(upgrade.Event{Kind: upgrade.NodeCordoned, Step: step, Node: n.Name})
	}
	return nil
}

// soak waits until the last drain, or the provider's upgrade that drained, is long enough ago: of the pool, or, where the old pools go together, of all.
func (e *Engine) soak(ctx context.Context, step upgrade.Step) error {
	for _, p := range e.run.Plan.Pools {
		if !e.run.Plan.SoaksWith(step, p.Name) {
			continue
		}
		hold := step
		hold.Pool = p.Name
		if err := e.holdSize(ctx, hold, p); err != nil {
			return err
		}
	}
	last := time.Time{}
	for _, s := range e.run.Steps {
		if (s.Kind == upgrade.DrainNode || s.Kind == upgrade.UpgradePool) && e.run.Plan.SoaksWith(step, s.Pool) && s.FinishedAt != nil && s.FinishedAt.After(last) {
			last = *s.FinishedAt
		}
	}
	select {
	case <-time.After(time.Until(last.Add(time.Duration(e.run.Plan.Soak(step))))):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// deletePool deletes a pool that this run has drained, if nothing is on it that would die with it: an old one, or, in a rollback,
// the one that was made.
func (e *Engine) deletePool(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	if err := e.mayDelete(ctx, step, pool); err != nil {
		return err
	}
	if foreign, err := e.foreign(ctx, pool); err != nil || foreign && step.Pool == pool.NewName {
		return err // somebody else's, which the run found in its place and never used
	}
	err := e.change(ctx, step, func(ctx context.Context) (string, error) {
		// Looked at again at each attempt: what was empty before somebody else's operation may not be after it.
		if err := e.emptied(ctx, step.Pool); err != nil {
			return "", err
		}
		return e.provider().DeletePool(ctx, step.Pool)
	})
	if err != nil && ctx.Err() == nil {
		// The operation has failed: whether the pool is going away has to be seen from the pool.
		e.update(step.ID, func(s *upgrade.Step) { s.Operation = "" })
	}
	if err != nil {
		return fmt.Errorf("delete pool %s: %w", step.Pool, err)
	}
	if step.Pool == pool.Name {
		e.run.ReplacedPools[pool.Name] = pool.NewName
	}
	return nil
}

// mayDelete returns nil if no node of the pool was skipped, and, in a rollback, if a run made the pool.
func (e *Engine) mayDelete(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	if err := e.skipped(step.Pool); err != nil {
		return err
	}
	if step.Pool == pool.Name {
		return nil
	}
	if err := e.awaitGivenUp(ctx); err != nil { // its creation, say
		return err
	}
	foreign, err := e.foreign(ctx, pool)
	if made := e.run.Step(upgrade.NewStep(upgrade.CreatePool, pool.Name, "").ID); err == nil && foreign && made != nil && made.State == upgrade.StepDone {
		err = &Paused{Problem: fmt.Sprintf("pool %s is not deleted: it does not say that a run of Upshift made it", pool.NewName)}
	}
	return err
}

// foreign tells that there is a pool of the new one's name, and that no run made it.
func (e *Engine) foreign(ctx context.Context, pool upgrade.PoolPlan) (bool, error) {
	there, err := e.newPool(ctx, pool)
	if err != nil {
		return false, fmt.Errorf("look at pool %s: %w", pool.NewName, err)
	}
	return there != nil && there.MadeBy == "", nil
}

// emptied returns nil if an uncached read shows that nothing but what leaves with its node is on the pool. Nodes that joined
// meanwhile are cordoned, and pods that came meanwhile are drained; volumes get time to be detached, and a read that fails is
// made again.
func (e *Engine) emptied(ctx context.Context, pool string) error {
	deadline := time.Now().Add(detachTimeout)
	for {
		there, err := e.Cluster.Occupants(ctx, pool)
		left := leftovers(there)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil && len(left) == 0 && !slices.ContainsFunc(there.Nodes, open):
			return nil
		case err != nil && e.Cluster.State().Away:
			if err := e.awaitAPI(ctx); err != nil {
				return err
			}
			deadline = time.Now().Add(detachTimeout)
		case err != nil && time.Now().After(deadline):
			return &Paused{Problem: fmt.Sprintf("what is left on pool %s cannot be read, so it is not deleted: %s", pool, err)}
		case time.Now().After(deadline):
			return &Paused{
				Problem: fmt.Sprintf("pool %s is drained and not empty, so it is not deleted", pool), Waiting: left, Next: remedies(left),
			}
		}
		if err := e.drainLatecomers(ctx, pool, there); err != nil {
			return err
		}
		// A change of the cluster, or five seconds, and it is read again.
		if _, err := e.until(ctx, 5*time.Second, nextChange()); err != nil {
			return err
		}
	}
}

// open tells that pods can land on the node.
func open(n upgrade.Node) bool { return !n.Unschedulable }

// nextChange returns a condition that is false the first time it is asked.
func nextChange() func() bool {
	asked := false
	return func() bool {
		was := asked
		asked = true
		return was
	}
}

// drainLatecomers drains the nodes that are open or have pods that have to move.
func (e *Engine) drainLatecomers(ctx context.Context, pool string, there upgrade.Occupants) error {
	for _, n := range there.Nodes {
		has := slices.ContainsFunc(there.Pods, func(p upgrade.Pod) bool { return p.Node == n.Name && p.Disposition() != upgrade.Stays })
		if !open(n) && !has {
			continue
		}
		step := upgrade.NewStep(upgrade.DrainNode, pool, n.Name)
		if err := e.cordon(ctx, step, n); err != nil {
			return err
		}
		if err := e.carryOut(ctx, []upgrade.Step{*e.run.Step(step.ID)}); err != nil {
			return err
		}
	}
	return nil
}

// leftovers are the things on a pool that would die with it.
func leftovers(there upgrade.Occupants) []upgrade.Waiting {
	var left []upgrade.Waiting
	for _, p := range there.Pods {
		if p.Disposition() != upgrade.Stays {
			left = append(left, upgrade.Waiting{Object: p.Ref(), Node: p.Node, Reason: "is still on node " + p.Node})
		}
	}
	for _, v := range there.Volumes {
		left = append(left, upgrade.Waiting{Object: upgrade.Ref{Kind: "VolumeAttachment", Name: v.Name}, Node: v.Node, Reason: "is not detached from node " + v.Node})
	}
	return left
}
