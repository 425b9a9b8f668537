package engine

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// unmake takes away again what the provider made of a new pool that it could not make as a whole, and returns why it could not, with what it lacked.
// That it is to go is in the record before. A pool of another run, or one on which something runs by now, stays, and the run pauses.
func (e *Engine) unmake(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan, cause string) error {
	if e.run.Removed[pool.NewName] == "" {
		if e.run.Removed == nil {
			e.run.Removed = map[string]string{}
		}
		e.run.Removed[pool.NewName] = fmt.Sprintf("%s; %d of %d nodes came", cause, len(e.Cluster.State().PoolNodes(pool.NewName)), e.nodesPerZone(pool)*len(pool.Zones))
		if err := e.save(ctx); err != nil {
			return err
		}
	}
	problem := fmt.Sprintf("create pool %s: %s", pool.NewName, e.run.Removed[pool.NewName])
	err := e.removeUnused(ctx, step, pool)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, new(*unrecorded)):
		return err
	case err != nil:
		if e.openNew(ctx, pool) == nil { // else it is closed, and of no use
			delete(e.run.Removed, pool.NewName) // a person may mend it
		}
		return &Paused{
			Problem: fmt.Sprintf("%s; what was made of it stays (%s), and the nodes of %s are untouched", problem, err, pool.Name),
			Next:    []string{fmt.Sprintf("see what there is of pool %s: mend or delete it", pool.NewName)},
		}
	}
	if lacks := e.lacks(ctx, pool, cause); len(lacks) > 0 {
		problem += "; " + strings.Join(lacks, "; ")
	}
	return fmt.Errorf("%s; pool %s is deleted again, and the nodes of %s are untouched", problem, pool.NewName, pool.Name)
}

// removeUnused deletes the new pool, if this run made it and nothing is on it that would die with it. Its nodes are cordoned first, so that nothing
// comes meanwhile.
func (e *Engine) removeUnused(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	there, err := e.newPool(ctx, pool)
	switch {
	case err != nil:
		return err
	case there == nil:
		return nil
	case there.MadeBy != e.run.ID:
		return fmt.Errorf("it does not say that run %s made it", e.run.ID)
	}
	return e.change(ctx, step, func(ctx context.Context) (string, error) {
		occupants, err := e.Cluster.Occupants(ctx, pool.NewName)
		if err != nil {
			return "", err
		}
		for _, n := range slices.DeleteFunc(occupants.Nodes, func(n upgrade.Node) bool { return !open(n) }) {
			if err := e.fenced().Cordon(ctx, n.Name, e.run.ID); err != nil {
				return "", fmt.Errorf("cordon node %s: %w", n.Name, err)
			}
		}
		// Again, now that nothing can come any more.
		if occupants, err = e.Cluster.Occupants(ctx, pool.NewName); err != nil {
			return "", err
		}
		if left := leftovers(occupants); len(left) > 0 {
			return "", errors.New(left[0].String())
		}
		return e.provider().DeletePool(ctx, pool.NewName)
	})
}

// openNew undoes our cordons on a new pool that was to be deleted again, unless it is on its way out.
func (e *Engine) openNew(ctx context.Context, pool upgrade.PoolPlan) error {
	if err := e.awaitGivenUp(ctx); err != nil { // its deletion, say
		return err
	}
	there, err := e.newPool(ctx, pool)
	switch {
	case err != nil:
		return fmt.Errorf("look at pool %s: %w", pool.NewName, err)
	case there == nil || there.Deleting:
		return nil
	}
	return e.uncordonPool(ctx, pool.NewName)
}

// unmade tells that nothing is left of a new pool that was to be deleted again.
func (e *Engine) unmade(pool upgrade.PoolPlan) bool {
	create := e.run.Step(upgrade.NewStep(upgrade.CreatePool, pool.Name, "").ID)
	return create != nil && create.State == upgrade.StepFailed || e.run.GoingAway(pool.NewName)
}

// lacks says what there is too little of for the new pool, as far as the error names it and the provider tells how much there is.
func (e *Engine) lacks(ctx context.Context, pool upgrade.PoolPlan, cause string) []string {
	if e.Surroundings == nil {
		return nil
	}
	nodes := e.nodesPerZone(pool) * len(pool.Zones)
	var lacks []string
	if quotas, err := e.Surroundings.Quotas(ctx); err == nil {
		for _, q := range quotas {
			if !names(cause, q.Metric) {
				continue
			}
			needs := nodes
			if strings.HasSuffix(q.Metric, "CPUS") {
				needs *= e.cpus(pool.Name)
			}
			lacks = append(lacks, fmt.Sprintf("quota %s of the region leaves %.0f of %.0f, and %d new nodes need %d", q.Metric, max(0, q.Limit-q.Used), q.Limit, nodes, needs))
		}
	}
	if c, err := e.Surroundings.Look(ctx); err == nil {
		i := slices.IndexFunc(c.Pools, func(p upgrade.Pool) bool { return p.Name == pool.Name })
		if i >= 0 {
			if r := c.Pools[i].PodRange; r.Free != upgrade.Unknown && r.PerNode > 0 && r.Free < int64(nodes)*r.PerNode {
				lacks = append(lacks, fmt.Sprintf("range %s leaves %d addresses for pods, and %d new nodes need %d", r.Name, r.Free, nodes, int64(nodes)*r.PerNode))
			}
		}
	}
	return lacks
}

// names tells that a text has a word.
func names(text, word string) bool {
	return regexp.MustCompile(`(^|[^A-Z0-9_])` + regexp.QuoteMeta(word) + `($|[^A-Z0-9_])`).MatchString(text)
}

// cpus is how many CPUs the smallest node of the pool has.
func (e *Engine) cpus(pool string) int {
	least := int64(0)
	for _, n := range e.Cluster.State().PoolNodes(pool) {
		if milli := n.Allocatable["cpu"]; milli > 0 && (least == 0 || milli < least) {
			least = milli
		}
	}
	return int((least + 999) / 1000)
}
