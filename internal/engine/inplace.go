package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// shownInTime is for the caches to show the nodes as the provider has left them.
const shownInTime = 30 * time.Second

// byProvider tells that the provider upgrades the pool's nodes.
func (e *Engine) byProvider(pool string) bool {
	plan, ok := e.run.Plan.Pool(pool)
	return ok && plan.ByProvider()
}

// atOnce tells that several of the pool's nodes may be drained at one time.
func (e *Engine) atOnce(pool string) bool {
	return e.byProvider(pool) || !e.run.Plan.For(pool).Parallel.One()
}

// known is a pool as the provider has it.
func (e *Engine) known(ctx context.Context, name string) (upgrade.Pool, error) {
	pools, err := e.Provider.Pools(ctx)
	if err != nil {
		return upgrade.Pool{}, fmt.Errorf("look at pool %s: %w", name, err)
	}
	i := slices.IndexFunc(pools, func(p upgrade.Pool) bool { return p.Name == name })
	if i < 0 {
		return upgrade.Pool{}, fmt.Errorf("pool %s is not there any more", name)
	}
	return pools[i], nil
}

// setUpgradeSettings has the provider upgrade the pool as the plan says. What it is set to is in the record before it is changed.
func (e *Engine) setUpgradeSettings(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	if _, noted := e.run.Upgrades[pool.Name]; !noted {
		now, err := e.known(ctx, pool.Name)
		if err != nil {
			return err
		}
		e.run.Upgrades[pool.Name] = now.Upgrade
		if err := e.save(ctx); err != nil {
			return err
		}
	}
	return e.applyUpgradeSettings(ctx, step, *pool.Upgrade)
}

// restoreUpgradeSettings puts back what setUpgradeSettings has noted.
func (e *Engine) restoreUpgradeSettings(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	settings, noted := e.run.Upgrades[pool.Name]
	if !noted {
		return nil
	}
	if err := e.applyUpgradeSettings(ctx, step, settings); err != nil {
		return err
	}
	delete(e.run.Upgrades, pool.Name)
	return nil
}

func (e *Engine) applyUpgradeSettings(ctx context.Context, step upgrade.Step, s upgrade.Settings) error {
	err := e.change(ctx, step, func(ctx context.Context) (string, error) { return e.upgrader().SetUpgradeSettings(ctx, step.Pool, s) })
	if err != nil {
		return fmt.Errorf("set the upgrade settings of pool %s: %w", step.Pool, err)
	}
	return nil
}

// upgradePool has the provider upgrade the pool, and follows its drains. It ends when the provider's part of them is over.
func (e *Engine) upgradePool(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	e.measure(pool)
	if step.Operation != "" {
		// One of an earlier attempt: how it ended shows in the pool.
		if err := e.followOperation(ctx, step, pool, step.Operation); err != nil && (ctx.Err() != nil || !errors.As(err, new(*operationFailed))) {
			return e.stopped(ctx, err)
		}
		e.notes(step, "")
	}
	if done, err := e.isUpgraded(ctx, pool); err != nil || done {
		return err
	}
	since := e.upgradesSince(pool.Name)
	operation, err := e.begun(ctx, step, func(ctx context.Context) (string, error) {
		return e.upgrader().UpgradePool(ctx, pool.Name, pool.To, since)
	})
	if err != nil {
		return e.upgradeFailed(pool, err)
	}
	e.notes(step, operation)
	if operation == "" {
		return e.awaitUpgraded(ctx, pool)
	}
	if err := e.followOperation(ctx, step, pool, operation); err != nil {
		if errors.As(err, new(*operationFailed)) {
			e.notes(step, "") // the next attempt is another one
			return e.upgradeFailed(pool, err)
		}
		return e.stopped(ctx, err)
	}
	return e.awaitUpgraded(ctx, pool)
}

// clockSkew is how far this machine's clock may be ahead of the provider's.
const clockSkew = time.Minute

// upgradesSince is the time before which an upgrade of the pool that is under way was begun by somebody else: the run's own follows on its settings.
func (e *Engine) upgradesSince(pool string) time.Time {
	since := e.run.StartedAt
	if set := e.run.Step(upgrade.NewStep(upgrade.SetUpgradeSettings, pool, "").ID); set != nil && set.FinishedAt != nil {
		since = *set.FinishedAt
	}
	return since.Add(-clockSkew)
}

// stopped is the error of following an upgrade that has not failed. Where a workload does not come back, the provider is stopped before it takes more from it.
func (e *Engine) stopped(ctx context.Context, err error) error {
	if ctx.Err() == nil && errors.As(err, new(*Paused)) {
		if stopErr := e.stopUpgrades(ctx); stopErr != nil {
			return fmt.Errorf("%w; and %w", err, stopErr)
		}
	}
	return err
}

// operationFailed is the error of a provider's operation.
type operationFailed struct{ err error }

func (o *operationFailed) Error() string { return o.err.Error() }
func (o *operationFailed) Unwrap() error { return o.err }

// upgradeFailed is the error of an upgrade that the provider could not make. A pool that it has begun with is left to a person.
func (e *Engine) upgradeFailed(pool upgrade.PoolPlan, err error) error {
	err = fmt.Errorf("upgrade pool %s: %w", pool.Name, err)
	done, all := atVersion(e.Cluster.State(), pool.Name, pool.To)
	if done == 0 {
		return err
	}
	return &Paused{Problem: fmt.Sprintf("%s; %d of %d nodes of pool %s run %s", err, done, all, pool.Name, pool.To)}
}

// atVersion counts the pool's nodes that run the version, and all.
func atVersion(s upgrade.State, pool, version string) (at, all int) {
	for _, n := range s.PoolNodes(pool) {
		all++
		if n.Version == version {
			at++
		}
	}
	return at, all
}

// isUpgraded tells that nothing is left for the provider to do: every node runs the version, or, under blue-green, the old ones are drained and kept.
// A pool that is upgraded must not be upgraded again: GKE would make all of its nodes anew.
func (e *Engine) isUpgraded(ctx context.Context, pool upgrade.PoolPlan) (bool, error) {
	now, err := e.known(ctx, pool.Name)
	switch {
	case err != nil:
		return false, err
	case now.Phase == upgrade.PhaseSoaking:
		return true, nil
	case now.Phase != "" || now.Version != pool.To:
		return false, nil
	}
	return e.until(ctx, shownInTime, func() bool {
		at, all := atVersion(e.Cluster.State(), pool.Name, pool.To)
		return at == all
	})
}

// awaitUpgraded waits until the pool is as it should be once the provider says that it is done: the caches may be behind, and nodes are new.
func (e *Engine) awaitUpgraded(ctx context.Context, pool upgrade.PoolPlan) error {
	now, err := e.known(ctx, pool.Name)
	if err != nil || now.Phase == upgrade.PhaseSoaking {
		return err
	}
	if now.Version != pool.To {
		return &Paused{Problem: fmt.Sprintf("GKE has ended its upgrade of pool %s, and the pool is at %s instead of %s", pool.Name, now.Version, pool.To)}
	}
	var waiting []upgrade.Waiting
	done, err := e.until(ctx, nodesTimeout, func() bool {
		waiting = notAt(e.Cluster.State().PoolNodes(pool.Name), pool.To)
		return len(waiting) == 0
	})
	if err != nil || done {
		return err
	}
	return &Paused{
		Problem: fmt.Sprintf("GKE has ended its upgrade of pool %s, and not all of its nodes are Ready at %s after %s", pool.Name, pool.To, nodesTimeout), Waiting: waiting,
		Next: []string{fmt.Sprintf("find out why: kubectl describe nodes -l %s=%s", e.run.Plan.Cluster.PoolLabel, pool.Name)},
	}
}

// notAt says what each of the nodes lacks that is not Ready at the version.
func notAt(nodes []upgrade.Node, version string) []upgrade.Waiting {
	var waiting []upgrade.Waiting
	for _, n := range nodes {
		w := upgrade.Waiting{Object: upgrade.Ref{Kind: "Node", Name: n.Name}, Node: n.Name}
		switch {
		case n.Version != version:
			w.Reason = fmt.Sprintf("runs %s instead of %s", n.Version, version)
		case !n.Ready:
			w.Reason = "is not Ready"
		default:
			continue
		}
		waiting = append(waiting, w)
	}
	return waiting
}
