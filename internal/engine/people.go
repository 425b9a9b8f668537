package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

const (
	// remindPeople is how often it is told that a run still waits for people.
	remindPeople = 3 * time.Minute
	// quorumTimeout is for etcd's members to be Ready again: one that was restarted a moment ago needs seconds.
	quorumTimeout = 5 * time.Minute
	// rejoinTimeout is for a node's own pods, and for workloads, once pods may come to the node again.
	rejoinTimeout = 10 * time.Minute
	// askServersEvery is between two questions to API servers, which announce no change of their versions.
	askServersEvery = 5 * time.Second
)

// yielded is the error of a run that ends its process so that people can act.
type yielded struct{ Paused }

func (y *yielded) Unwrap() error { return &y.Paused }

// wanted is what a run waits for people to do.
type wanted struct {
	// done tells that they have, or what is missing.
	done func(upgrade.State) (done bool, missing []upgrade.Waiting)
	// task is what they are told. It is asked for when it is told.
	task func(upgrade.State) upgrade.Task
}

// awaitPeople tells people what to do and waits until it is seen done, however long that takes. If the plan says so, it ends the process instead.
func (e *Engine) awaitPeople(ctx context.Context, step upgrade.Step, w wanted) error {
	state := e.Cluster.State()
	done, missing := w.done(state)
	if done {
		e.run.Tasks = nil
		return nil
	}
	task := w.task(state)
	task.Since = *step.StartedAt
	if len(e.run.Tasks) > 0 { // told before a pause, or by another process
		task.Since = e.run.Tasks[0].Since
	}
	e.run.Tasks, e.run.Waiting = []upgrade.Task{task}, missing
	if err := e.save(ctx); err != nil {
		return err
	}
	e.notify(upgrade.Event{Kind: upgrade.PeopleAwaited, Step: step, Node: step.Node, Task: &task, Waiting: missing})
	if e.run.Plan.Options.Wait == upgrade.WaitExit {
		return &yielded{Paused{Problem: "waits for people: " + task.What, Waiting: missing}}
	}
	for !done {
		told := missing
		seen, err := e.until(ctx, remindPeople, func() bool {
			if state = e.Cluster.State(); state.Away {
				return false // what was known before may not be so any more
			}
			done, missing = w.done(state)
			return done || reasons(missing) != reasons(told)
		})
		if err != nil {
			return err
		}
		switch {
		case done:
		case seen:
			e.run.Waiting = missing
			if err := e.save(ctx); err != nil {
				return err
			}
			e.progress(step)("seen: " + reasons(missing))
		default:
			e.progress(step)(fmt.Sprintf("waits for people since %s (%s): %s; %s", task.Since.UTC().Format(time.RFC3339), time.Since(task.Since).Round(time.Second), task.What, reasons(missing)))
		}
	}
	e.run.Tasks, e.run.Waiting = nil, nil
	return nil
}

// nodeOf is the node that a step is about, or the one that has taken its place; false if neither is there.
func (e *Engine) nodeOf(state upgrade.State, step upgrade.Step) (upgrade.Node, bool) {
	name := step.Node
	if await := e.run.Step(upgrade.NewStep(upgrade.AwaitNode, step.Pool, step.Node).ID); await != nil && await.Replacement != "" {
		name = await.Replacement
	}
	return named(state, name)
}

func named(state upgrade.State, name string) (upgrade.Node, bool) {
	i := slices.IndexFunc(state.Nodes, func(n upgrade.Node) bool { return n.Name == name })
	if i < 0 {
		return upgrade.Node{}, false
	}
	return state.Nodes[i], true
}

// checkQuorum waits until every member of an etcd on the control plane's nodes is Ready: else it may lose its quorum with the next one.
func (e *Engine) checkQuorum(ctx context.Context, step upgrade.Step) error {
	if n, ok := named(e.Cluster.State(), step.Node); ok && e.Cluster.State().Lacks(n, e.versionOf(step)) == "" {
		return nil // it stays
	}
	var q upgrade.Quorum
	told := ""
	done, err := e.until(ctx, quorumTimeout, func() bool {
		q = e.Cluster.State().Quorum()
		if text := reasons(q.Failing); text != told && text != "" {
			e.progress(step)(fmt.Sprintf("waits until all %d members of etcd are Ready before %s is taken: %s", q.Members, step.Node, text))
			told = text
		}
		return len(q.Failing) == 0
	})
	if err != nil || done {
		return err
	}
	return &Paused{
		Problem: fmt.Sprintf("node %s is not taken: %d of the %d members of etcd are not Ready after %s, and it could lose its quorum", step.Node, len(q.Failing), q.Members, quorumTimeout),
		Waiting: q.Failing, Next: remedies(q.Failing),
	}
}

func (e *Engine) versionOf(step upgrade.Step) string {
	pool, _ := e.poolPlan(step.Pool)
	return pool.To
}

// cordonNode cordons the node that is next. One that people have upgraded already is left as it is.
func (e *Engine) cordonNode(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	state := e.Cluster.State()
	n, ok := named(state, step.Node)
	if !ok {
		return nil // people have replaced it already: what took its place is waited for
	}
	if state.Lacks(n, pool.To) == "" {
		e.progress(step)(fmt.Sprintf("%s runs %s already, and stays as it is", n.Name, n.Version))
		for i, s := range e.run.Steps {
			if s.Node == step.Node && s.Pool == step.Pool && s.ID != step.ID && s.State != upgrade.StepDone {
				e.run.Steps[i].State = upgrade.StepDropped
			}
		}
		return e.fenced().Uncordon(ctx, n.Name) // by an earlier run
	}
	return e.cordon(ctx, step, n)
}

// awaitNode waits until people have upgraded the node, or until it is gone and another one of the pool has joined at the version.
func (e *Engine) awaitNode(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	if step.Baseline == nil {
		// Its drain has just ended: workloads are as available now as they were before.
		e.update(step.ID, func(s *upgrade.Step) {
			s.Baseline = &upgrade.Baseline{Pods: []upgrade.Resident{}, Ready: e.readyOf(step.Node)}
		})
	}
	replacement := ""
	err := e.awaitPeople(ctx, step, wanted{
		done: func(state upgrade.State) (bool, []upgrade.Waiting) {
			object := upgrade.Ref{Kind: "Node", Name: step.Node}
			if n, ok := named(state, step.Node); ok {
				lacks := state.Lacks(n, pool.To)
				return lacks == "", []upgrade.Waiting{{Object: object, Node: step.Node, Reason: lacks}}
			}
			var missing []upgrade.Waiting
			for _, n := range e.joined(state, step) {
				lacks := state.Lacks(n, pool.To)
				if lacks == "" {
					replacement = n.Name
					return true, nil
				}
				missing = append(missing, upgrade.Waiting{Object: upgrade.Ref{Kind: "Node", Name: n.Name}, Node: step.Node, Reason: lacks + ", and is to take the place of " + step.Node})
			}
			if len(missing) == 0 {
				missing = []upgrade.Waiting{{Object: object, Node: step.Node, Reason: fmt.Sprintf("is gone, and no other node of pool %s has joined at %s yet", pool.Name, pool.To)}}
			}
			return false, missing
		},
		task: func(state upgrade.State) upgrade.Task {
			return upgrade.InPlaceTask(step, pool, e.run.Plan.Cluster.PoolLabel, firstServer(state, pool))
		},
	})
	if err == nil && replacement != "" {
		e.update(step.ID, func(s *upgrade.Step) { s.Replacement = replacement })
		e.progress(step)(fmt.Sprintf("%s has taken the place of %s", replacement, step.Node))
	}
	return err
}

// firstServer tells that no API server that can be seen runs the version yet.
func firstServer(state upgrade.State, pool upgrade.PoolPlan) bool {
	if pool.Name != upgrade.ControlPlanePool {
		return false
	}
	return !slices.ContainsFunc(state.PoolNodes(pool.Name), func(n upgrade.Node) bool {
		if server, ok := state.Component(n.Name, upgrade.APIServer); ok {
			return upgrade.CompareVersions(server.Version, pool.To) >= 0
		}
		return upgrade.CompareVersions(n.Version, pool.To) >= 0
	})
}

// joined are the nodes of the step's pool that the run has no step for, and that have taken nobody's place.
func (e *Engine) joined(state upgrade.State, step upgrade.Step) []upgrade.Node {
	return slices.DeleteFunc(state.PoolNodes(step.Pool), func(n upgrade.Node) bool {
		return slices.ContainsFunc(e.run.Steps, func(s upgrade.Step) bool { return s.Pool == step.Pool && (s.Node == n.Name || s.Replacement == n.Name) })
	})
}

// readyOf is how many pods of each workload that had a pod on the node are Ready, by the workload's UID.
func (e *Engine) readyOf(node string) map[string]int {
	ready := map[string]int{}
	for _, m := range e.run.MovesFrom(node) {
		if m.Workload.UID != "" {
			ready[m.Workload.UID] = 0
		}
	}
	for _, p := range e.Cluster.State().Pods {
		if _, ok := ready[p.Workload.UID]; ok && p.Ready && !p.Terminating() {
			ready[p.Workload.UID]++
		}
	}
	return ready
}

// uncordonNode lets pods onto the node again and holds the gate: its own pods run, and the workloads that lost a pod by its drain are as available as
// they were. Nodes that have joined the pool at an older version meanwhile come last.
func (e *Engine) uncordonNode(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	if n, ok := e.nodeOf(e.Cluster.State(), step); ok {
		if err := e.fenced().Uncordon(ctx, n.Name); err != nil {
			return fmt.Errorf("uncordon node %s: %w", n.Name, err)
		}
	}
	var ready map[string]int
	if await := e.run.Step(upgrade.NewStep(upgrade.AwaitNode, step.Pool, step.Node).ID); await != nil && await.Baseline != nil {
		ready = await.Baseline.Ready
	}
	var missing []upgrade.Waiting
	told := ""
	done, err := e.until(ctx, rejoinTimeout, func() bool {
		state := e.Cluster.State()
		missing = e.rejoining(state, step, pool, ready)
		if text := reasons(missing); text != told && slices.ContainsFunc(missing, blocks) && !state.Away {
			e.progress(step)("waits for " + text)
			told = text
		}
		return len(missing) == 0 && !state.Away
	})
	switch {
	case err != nil:
		return err
	case !done:
		return &Paused{Problem: fmt.Sprintf("node %s is upgraded, and not all is as it was before after %s", step.Node, rejoinTimeout), Waiting: missing, Next: remedies(missing)}
	}
	e.update(upgrade.NewStep(upgrade.AwaitNode, step.Pool, step.Node).ID, func(s *upgrade.Step) { s.Baseline = nil })
	e.addLate(step, pool)
	return nil
}

// rejoining is what is missing until the next node can be taken.
func (e *Engine) rejoining(state upgrade.State, step upgrade.Step, pool upgrade.PoolPlan, ready map[string]int) []upgrade.Waiting {
	n, ok := e.nodeOf(state, step)
	if !ok {
		return []upgrade.Waiting{{Object: upgrade.Ref{Kind: "Node", Name: step.Node}, Node: step.Node, Reason: "is gone since it was upgraded"}}
	}
	var missing []upgrade.Waiting
	if lacks := state.Lacks(n, pool.To); lacks != "" {
		missing = append(missing, upgrade.Waiting{Object: upgrade.Ref{Kind: "Node", Name: n.Name}, Node: step.Node, Reason: lacks})
	}
	if n.CordonedBy != "" {
		missing = append(missing, upgrade.Waiting{Object: upgrade.Ref{Kind: "Node", Name: n.Name}, Node: step.Node, Reason: "is cordoned still", Passing: true})
	}
	now := map[string]int{}
	for _, p := range state.Pods {
		if p.Ready && !p.Terminating() {
			now[p.Workload.UID]++
		}
		if p.Node == n.Name && p.Disposition() == upgrade.Stays && !p.Finished && !p.Ready && !p.Terminating() {
			missing = append(missing, upgrade.Waiting{Object: p.Ref(), Node: step.Node, Reason: "is not Ready on the node"})
		}
	}
	for uid, before := range ready {
		w, ok := state.Workloads[uid]
		if wants := min(before, w.Wanted); ok && w.Wanted != upgrade.Unknown && now[uid] < wants {
			missing = append(missing, upgrade.Waiting{Object: w.Ref, Node: step.Node, Reason: fmt.Sprintf("has %d Ready pods instead of %d", now[uid], wants)})
		}
	}
	slices.SortFunc(missing, func(a, b upgrade.Waiting) int { return strings.Compare(a.String(), b.String()) })
	return missing
}

// addLate adds steps for nodes that joined a pool at an older version than it goes to, once all its other nodes are done.
func (e *Engine) addLate(step upgrade.Step, pool upgrade.PoolPlan) {
	last := 0
	for i, s := range e.run.Steps {
		if s.Pool != step.Pool || s.Kind == upgrade.VerifyServers {
			continue
		}
		if s.ID != step.ID && s.State == upgrade.StepPending {
			return
		}
		last = i + 1
	}
	state := e.Cluster.State()
	for _, n := range e.joined(state, step) {
		if state.Lacks(n, pool.To) == "" {
			continue
		}
		for _, s := range upgrade.NodeSteps(pool, n.Name) {
			s.State = upgrade.StepPending
			e.run.Steps = slices.Insert(e.run.Steps, last, s)
			last++
		}
	}
}

// verifyServers waits until every API server says that it runs the version.
func (e *Engine) verifyServers(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	var lowest string
	var asking error
	told := ""
	deadline := time.Now().Add(quorumTimeout)
	for time.Now().Before(deadline) {
		if lowest, asking = e.Provider.ControlPlaneVersion(ctx); asking == nil && upgrade.CompareVersions(lowest, pool.To) >= 0 {
			return nil
		}
		text := fmt.Sprintf("an API server runs %s still", lowest)
		if asking != nil {
			text = asking.Error()
		}
		if text != told {
			e.progress(step)("waits for all API servers: " + text)
			told = text
		}
		if e.Cluster.State().Away {
			deadline = time.Now().Add(quorumTimeout)
		}
		select {
		case <-time.After(askServersEvery):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return &Paused{
		Problem: fmt.Sprintf("not every API server is at %s after %s: %s", pool.To, quorumTimeout, told),
		Next:    []string{"see which: kubectl get pods -n kube-system -l component=kube-apiserver -o wide"},
	}
}

// awaitMachines waits until people have added as many nodes at the version to the pool that takes over as the old one has.
func (e *Engine) awaitMachines(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	if err := e.uncordonPool(ctx, pool.NewName); err != nil { // as a rollback has left it
		return err
	}
	count := func(state upgrade.State) (ready, wanted int, missing []upgrade.Waiting) {
		ready, missing = newNodes(state, pool)
		return ready, max(pool.NewNodes(), len(state.PoolNodes(pool.Name))), missing
	}
	return e.awaitPeople(ctx, step, wanted{
		done: func(state upgrade.State) (bool, []upgrade.Waiting) {
			ready, wanted, missing := count(state)
			if ready >= wanted {
				return true, nil
			}
			pools := upgrade.Ref{Kind: "NodePool", Name: pool.NewName}
			return false, append(missing, upgrade.Waiting{Object: pools, Reason: fmt.Sprintf("has %d of %d nodes Ready at %s", ready, wanted, pool.To)})
		},
		task: func(state upgrade.State) upgrade.Task {
			ready, wanted, _ := count(state)
			return upgrade.JoinTask(step, pool, e.run.Plan.Cluster.PoolLabel, wanted-ready)
		},
	})
}

// retirePool makes sure that nothing is left on a pool but what leaves with its nodes. It stays cordoned: its machines are people's to remove.
func (e *Engine) retirePool(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	if err := e.skipped(step.Pool); err != nil {
		return err
	}
	if err := e.emptied(ctx, step.Pool); err != nil {
		return err
	}
	if step.Pool == pool.Name {
		e.run.ReplacedPools[pool.Name] = pool.NewName
	}
	return nil
}

// machinesToRemove are the tasks that a run leaves when it is over: machines of pools that it has emptied.
func (e *Engine) machinesToRemove() []upgrade.Task {
	var tasks []upgrade.Task
	for _, s := range e.run.Steps {
		if s.Kind != upgrade.RetirePool || s.State != upgrade.StepDone {
			continue
		}
		var nodes []string
		for _, n := range e.Cluster.State().PoolNodes(s.Pool) {
			nodes = append(nodes, n.Name)
		}
		slices.Sort(nodes)
		tasks = append(tasks, upgrade.RemoveTask(s, nodes))
	}
	return tasks
}

// leftToPeople says what a run that ended without success leaves of a pool whose nodes people upgrade or add.
func (e *Engine) leftToPeople(pool upgrade.PoolPlan) []string {
	if pool.Action == upgrade.Migrate {
		switch {
		case e.run.GoingAway(pool.Name), e.run.GoingAway(pool.NewName):
			return nil // its machines are told of
		case e.run.Begun(pool.Name, upgrade.SurgeFirst) || e.run.Begun(pool.Name, upgrade.DrainNode):
			return []string{fmt.Sprintf("pods run on both %s and %s: upgrade again to go on with it", pool.Name, pool.NewName)}
		}
		return []string{fmt.Sprintf("no pod was moved to %s: upgrade again to go on with it, or remove its machines", pool.NewName)}
	}
	var upgraded, older []string
	state := e.Cluster.State()
	for _, n := range state.PoolNodes(pool.Name) {
		if state.Lacks(n, pool.To) == "" {
			upgraded = append(upgraded, n.Name)
		} else {
			older = append(older, n.Name)
		}
	}
	if len(upgraded) == 0 || len(older) == 0 {
		return nil
	}
	slices.Sort(upgraded)
	slices.Sort(older)
	return []string{fmt.Sprintf("pool %s is upgraded in part: %s at %s, and that is not undone; %s not yet: upgrade again to go on with it",
		pool.Name, strings.Join(upgraded, ", "), pool.To, strings.Join(older, ", "))}
}
