package engine

import (
	"context"
	"fmt"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// growing is the pool whose autoscaler adds nodes for the pods of a pool that is drained, empty where none does.
func (e *Engine) growing(drained string, plan upgrade.PoolPlan) string {
	if plan.Grows && drained == plan.Name {
		return plan.NewName
	}
	return ""
}

// growth is the autoscaling of a new pool while pods move to it: none, or its own, which takes no node away that is there.
func (e *Engine) growth(pool upgrade.PoolPlan) upgrade.Autoscaling {
	if !pool.Grows {
		return upgrade.Autoscaling{}
	}
	a := pool.Autoscaling
	a.Hold = max(pool.NodesPerZone*len(pool.Zones), len(e.Cluster.State().PoolNodes(pool.NewName)))
	return a
}

// holdSize has the autoscaler of a new pool keep the nodes that it has come to: one that pods are on their way to looks idle to it. It is called
// between two drains; what is held in the meantime is what was there at the last call, and an autoscaler waits for minutes before it takes an idle node.
func (e *Engine) holdSize(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	if e.growing(step.Pool, pool) == "" || e.run.Ending != "" {
		return nil
	}
	a := e.growth(pool)
	err := e.change(ctx, step, func(ctx context.Context) (string, error) { return e.provider().SetAutoscaling(ctx, pool.NewName, a) })
	if err != nil {
		return fmt.Errorf("hold the size of %s: %w", pool.NewName, err)
	}
	return nil
}

// letGo gives the autoscaler of a new pool that stays when a run ends before its end the least size that it is to keep: what was held is paid for.
func (e *Engine) letGo(ctx context.Context, pool upgrade.PoolPlan) error {
	if e.run.Ending == "" || !pool.Grows || !e.run.Begun(pool.Name, upgrade.CreatePool) || e.run.GoingAway(pool.NewName) || e.run.GoingAway(pool.Name) {
		return nil // it goes, or it takes over
	}
	there, err := e.newPool(ctx, pool)
	switch {
	case err != nil:
		return fmt.Errorf("look at pool %s: %w", pool.NewName, err)
	case there == nil || there.Deleting || there.MadeBy == "":
		return nil
	}
	return e.setAutoscaling(ctx, upgrade.NewStep(upgrade.RestoreAutoscaling, pool.NewName, ""), pool.NewName, pool.Autoscaling)
}
