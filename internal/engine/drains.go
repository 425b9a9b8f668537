package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/upshift-k8s/upshift/internal/drain"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// drainNodes drains nodes of one pool, as many at once as the plan says.
func (e *Engine) drainNodes(ctx context.Context, steps []upgrade.Step, pool upgrade.PoolPlan) error {
	id := func(node string) string { return upgrade.NewStep(upgrade.DrainNode, steps[0].Pool, node).ID }
	var nodes []drain.Node
	for _, s := range steps {
		nodes = append(nodes, drain.Node{Name: s.Node, Baseline: s.Baseline})
	}
	progress := e.newProgress()
	result, err := drain.Nodes(ctx, e.fenced(), nodes, drain.Options{
		Timeout: time.Duration(pool.DrainTimeout), Parallel: e.run.Plan.Options.Parallel,
		Moved: e.moved(), Forced: e.forced(),
		EvictJobs:    e.run.Plan.Options.Jobs == upgrade.EvictJobs,
		LoseBarePods: slices.Contains(e.run.Granted, upgrade.AllowBarePods), LoseEmptyDirs: slices.Contains(e.run.Granted, upgrade.AllowEmptyDirLoss),
		Resumed: pool.Adopt, MoreRoom: e.moreRoom(steps[0].Pool, pool),
		Begin: func(nodes []drain.Node) error {
			ids := make([]string, len(nodes))
			for i, n := range nodes {
				ids[i] = id(n.Name)
				e.update(ids[i], func(s *upgrade.Step) { s.Baseline = n.Baseline })
			}
			return e.begin(ctx, ids...)
		},
		End: func(node string, result drain.Result) error {
			progress.ends(result)
			return e.end(ctx, id(node), nil)
		},
		Notify: func(node string, event upgrade.Event) {
			if node == "" {
				node = steps[0].Node
			}
			event.Step = *e.run.Step(id(node))
			e.notify(event)
			progress.waits(ctx, event)
		},
		Progress: func(result drain.Result, waiting []upgrade.Waiting) { progress.made(ctx, result, waiting) },
	})
	progress.ends(result)
	if err == nil {
		return nil
	}
	if blocked := drain.AsBlocked(err); blocked != nil {
		err = &Paused{Problem: blocked.Error(), Waiting: blocked.Waiting[:min(len(blocked.Waiting), recordedWaits)], Next: blocked.Next}
	}
	for _, s := range steps {
		if e.run.Step(s.ID).State == upgrade.StepRunning {
			_ = e.end(ctx, s.ID, err) // returns err
		}
	}
	return err
}

// moreRoom is the command that gives the pool that the pods of a drained one go to a node more in each zone.
func (e *Engine) moreRoom(drained string, plan upgrade.PoolPlan) string {
	if plan.ByPeople {
		return "" // they have a way of their own
	}
	to := plan.NewName
	if drained == to {
		to = plan.Name
	}
	c, perZone := e.run.Plan.Cluster, e.Cluster.State().NodesPerZone(to)
	return fmt.Sprintf("gcloud container clusters resize %s --node-pool %s --num-nodes %d --location %s --project %s", c.Name, to, perZone+1, c.Location, c.Project)
}

// remedies are the commands with which a person finds out more about what a drain waits for.
func remedies(waiting []upgrade.Waiting) []string {
	var next []string
	for _, w := range waiting {
		command := "kubectl describe " + strings.ToLower(w.Object.Kind)
		if w.Object.Namespace != "" {
			command += " -n " + w.Object.Namespace
		}
		command += " " + w.Object.Name
		if namespace, name, ok := strings.Cut(w.Budget, "/"); ok {
			command = fmt.Sprintf("kubectl describe pdb -n %s %s", namespace, name)
		}
		if !slices.Contains(next, command) {
			next = append(next, command)
		}
	}
	return next
}
