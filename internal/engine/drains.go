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

// drainNodes drains nodes of one pool, as many at once as the plan says. Somebody else's operation on the pool ends the drains without an error.
func (e *Engine) drainNodes(ctx context.Context, steps []upgrade.Step, pool upgrade.PoolPlan) error {
	if err := e.holdSize(ctx, steps[0], pool); err != nil {
		return err
	}
	return e.undisturbed(ctx, steps[0], pool, func(ctx context.Context) error {
		return e.drain(ctx, steps, pool, e.run.Plan.For(pool.Name).Parallel, nil, func() {})
	})
}

// drain has nodes of one pool drained, or follows who drains them. Looked is called whenever the cluster was looked at.
func (e *Engine) drain(ctx context.Context, steps []upgrade.Step, pool upgrade.PoolPlan, parallel upgrade.Drains, followed *drain.Followed, looked func()) error {
	ids := map[string]string{}
	var nodes []drain.Node
	for _, s := range steps {
		ids[s.Node] = s.ID
		n := drain.Node{Name: s.Node, Baseline: s.Baseline}
		if s.Baseline != nil && s.StartedAt != nil && followed != nil {
			n.Since = *s.StartedAt // who drains it does not begin anew
		}
		nodes = append(nodes, n)
	}
	id := func(node string) string { return ids[node] }
	progress := e.newProgress()
	result, err := drain.Nodes(ctx, e.fenced(), nodes, drain.Options{
		Timeout: time.Duration(pool.DrainTimeout), Parallel: parallel, Followed: followed,
		Moved: e.moved(), Forced: e.forced(),
		EvictJobs:    e.run.Plan.Options.Jobs == upgrade.EvictJobs,
		LoseBarePods: slices.Contains(e.run.Granted, upgrade.AllowBarePods), LoseEmptyDirs: slices.Contains(e.run.Granted, upgrade.AllowEmptyDirLoss),
		Growing: e.growing(steps[0].Pool, pool),
		Resumed: pool.Adopt, MoreRoom: e.moreRoom(steps[0].Pool, pool),
		Begin: func(nodes []drain.Node) error {
			ids := make([]string, len(nodes))
			for i, n := range nodes {
				ids[i] = id(n.Name)
				e.update(ids[i], func(s *upgrade.Step) { s.Baseline = n.Baseline })
			}
			err := e.begin(ctx, ids...)
			for i, n := range nodes {
				if !n.Since.IsZero() {
					e.update(ids[i], func(s *upgrade.Step) { s.StartedAt = &n.Since })
				}
			}
			return err
		},
		End: func(node string, result drain.Result) {
			e.ended(ctx, id(node), nil)
			progress.nodeDone(result)
		},
		Notify: func(node string, event upgrade.Event) {
			if node == "" {
				node = steps[0].Node
			}
			event.Step = *e.run.Step(id(node))
			e.notify(event)
			progress.waits(ctx, event)
		},
		Progress: func(result drain.Result, waiting []upgrade.Waiting) {
			looked()
			progress.made(ctx, result, waiting)
		},
	})
	progress.ends(result)
	if err == nil {
		return e.save(ctx)
	}
	if blocked := drain.AsBlocked(err); blocked != nil {
		problem := blocked.Error()
		if followed != nil {
			problem = fmt.Sprintf("%s has drained node %s, and for %s its workloads have not been as available as before: %s", followed.By, blocked.Node, time.Duration(pool.DrainTimeout), reasons(blocked.Waiting))
		}
		err = &Paused{Problem: problem, Waiting: blocked.Waiting[:min(len(blocked.Waiting), recordedWaits)], Next: blocked.Next}
	}
	for _, s := range steps {
		if e.run.Step(s.ID).State == upgrade.StepRunning {
			_ = e.end(ctx, s.ID, err) // returns err
		}
	}
	return err
}

// reasons puts what is waited for into one line.
func reasons(waiting []upgrade.Waiting) string {
	all := make([]string, len(waiting))
	for i, w := range waiting {
		all[i] = w.String()
	}
	return strings.Join(all, "; ")
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
