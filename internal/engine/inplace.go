package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/upshift-k8s/upshift/internal/drain"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// Upgrader has a provider upgrade node pools in place: it drains their nodes and makes them again by itself. The calls are as those of a
// Provider: re-entrant, and they do not wait.
type Upgrader interface {
	// SetUpgradeSettings says how a pool is upgraded: by the provider's own settings if s has them, else by its fields, and all else as it is.
	SetUpgradeSettings(ctx context.Context, pool string, s upgrade.Settings) (operation string, err error)
	// UpgradePool begins the upgrade of a pool, or goes on with one that was cancelled. An upgrade that is under way and began since is adopted; an
	// earlier one is somebody else's, or the provider's own, and upgrade.Busy.
	UpgradePool(ctx context.Context, pool, version string, since time.Time) (operation string, err error)
	// CompleteUpgrade ends a blue-green upgrade whose old nodes are drained.
	CompleteUpgrade(ctx context.Context, pool string) (operation string, err error)
	// RollBackPool undoes an upgrade that is not complete. Cancelled is the operation that made it, which is not adopted.
	RollBackPool(ctx context.Context, pool, cancelled string) (operation string, err error)
	// Upgrading is the operation that upgrades the pool, or undoes that, empty if none is under way.
	Upgrading(ctx context.Context, pool string) (operation string, err error)
	// CancelOperation has an operation end once the nodes are finished that it has begun. It does not wait for that.
	CancelOperation(ctx context.Context, operation string) error
	// Await is Provider's Wait for an operation that may take many hours.
	Await(ctx context.Context, operation string, progress func(string)) error
}

// shownInTime is for the caches to show the nodes as the provider has left them.
const shownInTime = 30 * time.Second

// phasePace is how often a provider is asked how far its upgrade is: its phases take minutes, and it has no watch.
const phasePace = 5 * time.Second

// errOver is the cause with which following the drains ends when the provider's part of them is over.
var errOver = errors.New("the provider's operation is over")

// fencedUpgrader is an upgrader that changes pools only while the lock is held.
type fencedUpgrader struct {
	Upgrader
	fence fencedProvider
}

func (e *Engine) upgrader() fencedUpgrader { return fencedUpgrader{e.Upgrader, e.provider()} }

func (f fencedUpgrader) confirmed(ctx context.Context, do func(context.Context) (string, error)) (operation string, err error) {
	err = f.fence.confirmed(ctx, func(ctx context.Context) (err error) {
		operation, err = do(ctx)
		return err
	})
	return operation, err
}

func (f fencedUpgrader) SetUpgradeSettings(ctx context.Context, pool string, s upgrade.Settings) (string, error) {
	return f.confirmed(ctx, func(ctx context.Context) (string, error) { return f.Upgrader.SetUpgradeSettings(ctx, pool, s) })
}

func (f fencedUpgrader) UpgradePool(ctx context.Context, pool, version string, since time.Time) (string, error) {
	return f.confirmed(ctx, func(ctx context.Context) (string, error) { return f.Upgrader.UpgradePool(ctx, pool, version, since) })
}

func (f fencedUpgrader) CompleteUpgrade(ctx context.Context, pool string) (string, error) {
	return f.confirmed(ctx, func(ctx context.Context) (string, error) { return f.Upgrader.CompleteUpgrade(ctx, pool) })
}

func (f fencedUpgrader) RollBackPool(ctx context.Context, pool, cancelled string) (string, error) {
	return f.confirmed(ctx, func(ctx context.Context) (string, error) { return f.Upgrader.RollBackPool(ctx, pool, cancelled) })
}

func (f fencedUpgrader) CancelOperation(ctx context.Context, operation string) error {
	_, err := f.confirmed(ctx, func(ctx context.Context) (string, error) { return "", f.Upgrader.CancelOperation(ctx, operation) })
	return err
}

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

// measure notes what the soak of a blue-green upgrade is held to, before any pod has left.
func (e *Engine) measure(pool upgrade.PoolPlan) {
	soak := e.run.Step(upgrade.NewStep(upgrade.Soak, pool.Name, "").ID)
	if soak == nil || soak.Baseline != nil {
		return
	}
	state := e.Cluster.State()
	on := onNodes(state, place{pool: pool.Name})
	first := upgrade.Baseline{Pods: []upgrade.Resident{}, Ready: map[string]int{}}
	for _, p := range state.Pods {
		if on(p) && p.Disposition() == upgrade.Moves {
			first.Ready[p.Workload.UID] = 0
		}
	}
	for _, p := range state.Pods {
		if _, counts := first.Ready[p.Workload.UID]; counts && p.Ready && !p.Terminating() {
			first.Ready[p.Workload.UID]++
		}
	}
	soak.Baseline = &first
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

// gatedSoak is the soak of a blue-green upgrade: its end waits until every workload that was moved is as available as before.
func (e *Engine) gatedSoak(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	if err := e.soak(ctx, step); err != nil {
		return err
	}
	var waiting []upgrade.Waiting
	told := false
	done, err := e.until(ctx, time.Duration(pool.DrainTimeout), func() bool {
		waiting = missing(e.Cluster.State(), step.Baseline)
		if len(waiting) > 0 && !told {
			told = true
			e.progress(step)("the soak is over, and the old nodes are kept, since not all is as available as before: " + reasons(waiting))
		}
		return len(waiting) == 0
	})
	if err != nil || done {
		return err
	}
	return &Paused{
		Problem: fmt.Sprintf("the upgrade of pool %s is not completed: after the soak and %s more not all is as available as before", pool.Name, time.Duration(pool.DrainTimeout)),
		Waiting: waiting, Next: remedies(waiting),
	}
}

// missing says which workloads have fewer Ready pods than they had, or want now if that is fewer, and what is wrong with the others.
func missing(s upgrade.State, first *upgrade.Baseline) []upgrade.Waiting {
	if first == nil {
		return nil
	}
	ready, trouble := map[string]int{}, map[string]string{}
	for _, p := range s.Pods {
		switch {
		case p.Ready && !p.Terminating():
			ready[p.Workload.UID]++
		case p.Trouble != "" || p.Unschedulable != "":
			trouble[p.Workload.UID] = fmt.Sprintf("; %s: %s", p.Ref(), strings.TrimSpace(p.Trouble+" "+p.Unschedulable))
		}
	}
	var waiting []upgrade.Waiting
	for _, uid := range slices.Sorted(maps.Keys(first.Ready)) {
		w, there := s.Workloads[uid]
		need := first.Ready[uid]
		if w.Wanted != upgrade.Unknown {
			need = min(need, w.Wanted)
		}
		if there && ready[uid] < need {
			waiting = append(waiting, upgrade.Waiting{Object: w.Ref, Reason: fmt.Sprintf("%d of %d pods are Ready%s", ready[uid], need, trouble[uid])})
		}
	}
	return waiting
}

// completeUpgrade has the provider delete the old nodes of a blue-green upgrade.
func (e *Engine) completeUpgrade(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	operation, err := e.begun(ctx, step, func(ctx context.Context) (string, error) { return e.upgrader().CompleteUpgrade(ctx, pool.Name) })
	if err != nil {
		return fmt.Errorf("complete the upgrade of pool %s: %w", pool.Name, err)
	}
	if operation != "" {
		e.notes(step, operation)
		if err := e.save(ctx); err != nil {
			return err
		}
		if err := e.Upgrader.Await(ctx, operation, e.progress(step)); err != nil {
			return fmt.Errorf("complete the upgrade of pool %s: %w", pool.Name, err)
		}
	}
	now, err := e.known(ctx, pool.Name)
	switch {
	case err != nil:
		return err
	case now.Phase != "":
		return &Paused{
			Problem: fmt.Sprintf("GKE does not complete its upgrade of pool %s, which is in phase %s", pool.Name, now.Phase),
			Next:    []string{e.gcloudPool("complete-upgrade", pool.Name) + " # then: upshift resume"},
		}
	}
	return e.awaitUpgraded(ctx, pool)
}

// learnCompletions finds out about blue-green upgrades that were to be completed, where the answer was lost.
func (e *Engine) learnCompletions(ctx context.Context) error {
	for i, s := range e.run.Steps {
		if s.Kind != upgrade.CompleteUpgrade || s.StartedAt == nil || s.Operation != "" || s.State == upgrade.StepDone || s.State == upgrade.StepDropped {
			continue
		}
		now, err := e.known(ctx, s.Pool)
		if err != nil {
			return &undecided{fmt.Errorf("cannot tell whether the old nodes of pool %s are being deleted: %w", s.Pool, err)}
		}
		if now.Phase != upgrade.PhaseSoaking {
			e.run.Steps[i].Operation = "not known"
		}
	}
	return nil
}

// learnUpgrades finds out about upgrades of pools, and ways back, that were to begin, where the answer was lost: what nobody knows of goes on by itself,
// and is taken for its own undoing.
func (e *Engine) learnUpgrades(ctx context.Context) error {
	for i, s := range e.run.Steps {
		if (s.Kind != upgrade.UpgradePool && s.Kind != upgrade.RollBackPool) || s.StartedAt == nil || s.Operation != "" || s.State == upgrade.StepDone || s.State == upgrade.StepDropped {
			continue
		}
		err := e.awaitGivenUp(ctx)
		if err == nil {
			e.run.Steps[i].Operation, err = e.Upgrader.Upgrading(ctx, s.Pool)
		}
		if err != nil {
			return &undecided{fmt.Errorf("cannot tell whether GKE has begun with pool %s: %w", s.Pool, err)}
		}
		if up := e.run.Step(upgrade.NewStep(upgrade.UpgradePool, s.Pool, "").ID); s.Kind == upgrade.RollBackPool && up.Operation == e.run.Steps[i].Operation {
			e.run.Steps[i].Operation = "" // that is what it is to undo
		}
	}
	return nil
}

// stopUpgrades cancels the provider's operations on pools that it has not drained yet: the nodes that it has begun are finished.
func (e *Engine) stopUpgrades(ctx context.Context) error {
	return e.stopThose(ctx, func(s upgrade.Step) bool { return s.State != upgrade.StepDone && s.State != upgrade.StepDropped })
}

func (e *Engine) stopThose(ctx context.Context, which func(upgrade.Step) bool) error {
	for i, s := range e.run.Steps {
		if (s.Kind != upgrade.UpgradePool && s.Kind != upgrade.RollBackPool) || s.Operation == "" || s.Stopping || !which(s) {
			continue
		}
		if pool, _ := e.run.Plan.Pool(s.Pool); e.run.NoWayBack(pool) != "" {
			continue // there is nothing to stop, or old nodes that are half deleted would stay
		}
		if err := e.upgrader().CancelOperation(ctx, s.Operation); err != nil {
			return fmt.Errorf("GKE could not be told to stop its operation %s on pool %s: %w", s.Operation, s.Pool, err)
		}
		e.run.Steps[i].Stopping = true
	}
	return nil
}

// stopping tells an operation of ours that was cancelled, and ends when it has finished the nodes that it has begun.
func (e *Engine) stopping(operation string) bool {
	return slices.ContainsFunc(e.run.Steps, func(s upgrade.Step) bool { return s.Stopping && s.Operation == operation })
}

// began tells an operation that the run began, as far as its steps know.
func (e *Engine) began(operation string) bool {
	return slices.ContainsFunc(e.run.Steps, func(s upgrade.Step) bool { return s.Operation == operation })
}

// notes sets the operation of a step, empty for none.
func (e *Engine) notes(step upgrade.Step, operation string) {
	e.update(step.ID, func(s *upgrade.Step) { s.Operation, s.Stopping = operation, false })
}

// releaseUpgrades puts back what a final state does not keep of pools that are upgraded in place, and stops what a run that has turned from its plan
// has begun.
func (e *Engine) releaseUpgrades(ctx context.Context) error {
	if len(e.run.Upgrades) == 0 {
		return nil
	}
	if e.run.Ending == upgrade.Cancelled || e.run.Ending == upgrade.Failed {
		// Also one that keeps drained nodes: it would go on by itself, and its pool's settings cannot be changed meanwhile.
		if err := e.stopThose(ctx, func(upgrade.Step) bool { return true }); err != nil {
			return err
		}
	}
	var errs []error
	for _, pool := range e.run.Plan.Pools {
		if _, noted := e.run.Upgrades[pool.Name]; noted {
			errs = append(errs, e.restoreUpgradeSettings(ctx, upgrade.NewStep(upgrade.RestoreUpgradeSettings, pool.Name, ""), pool))
		}
	}
	return errors.Join(errs...)
}

// stepsBack undo the upgrade of a pool in place.
func (e *Engine) stepsBack(pool upgrade.PoolPlan) []upgrade.Step {
	var steps []upgrade.Step
	if e.run.Begun(pool.Name, upgrade.UpgradePool) {
		steps = append(steps, upgrade.NewStepBack(upgrade.RollBackPool, pool.Name, ""))
	}
	steps = append(steps, upgrade.NewStepBack(upgrade.RestoreUpgradeSettings, pool.Name, ""))
	for i := range steps {
		steps[i].State = upgrade.StepPending
	}
	return steps
}

// rollBackPool has the provider undo its upgrade of a pool, and follows its drains.
func (e *Engine) rollBackPool(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	up := e.run.Step(upgrade.NewStep(upgrade.UpgradePool, pool.Name, "").ID)
	cancelled := up.Operation
	if cancelled != "" && step.Operation == "" {
		if err := e.stopThose(ctx, func(s upgrade.Step) bool { return s.ID == up.ID }); err != nil {
			return err
		}
		e.progress(step)(fmt.Sprintf("operation %s is cancelled: the nodes that it has begun are finished first", cancelled))
		_ = e.Upgrader.Await(ctx, cancelled, e.progress(step)) // how it ends shows in the pool
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if step.Operation != "" {
		if err := e.followOperation(ctx, step, pool, step.Operation); err != nil && (ctx.Err() != nil || !errors.As(err, new(*operationFailed))) {
			return err
		}
		e.notes(step, "")
	}
	if done, err := e.isRolledBack(ctx, pool); err != nil || done {
		return err
	}
	operation, err := e.begun(ctx, step, func(ctx context.Context) (string, error) { return e.upgrader().RollBackPool(ctx, pool.Name, cancelled) })
	if err != nil {
		return fmt.Errorf("roll back pool %s: %w", pool.Name, err)
	}
	e.notes(step, operation)
	if err := e.followOperation(ctx, step, pool, operation); err != nil {
		if errors.As(err, new(*operationFailed)) {
			e.notes(step, "")
			return fmt.Errorf("roll back pool %s: %w", pool.Name, err)
		}
		return err
	}
	var waiting []upgrade.Waiting
	timeout := nodesTimeout
	if now, err := e.known(ctx, pool.Name); err != nil {
		return err
	} else if now.Version != pool.From {
		timeout = 0 // it was complete already
	}
	done, err := e.until(ctx, timeout, func() bool {
		waiting = notAt(e.Cluster.State().PoolNodes(pool.Name), pool.From)
		return len(waiting) == 0
	})
	if err != nil || done {
		return err
	}
	return &Paused{Problem: fmt.Sprintf("GKE has ended its rollback of pool %s, and not all of its nodes are Ready at %s: it rolls back only an upgrade that is not complete", pool.Name, pool.From), Waiting: waiting}
}

// isRolledBack tells that nothing is left of an upgrade.
func (e *Engine) isRolledBack(ctx context.Context, pool upgrade.PoolPlan) (bool, error) {
	now, err := e.known(ctx, pool.Name)
	if err != nil {
		return false, err
	}
	at, all := atVersion(e.Cluster.State(), pool.Name, pool.From)
	return now.Phase == "" && now.Version == pool.From && at == all, nil
}

// stillUpgrading says what the provider does by itself while nobody is at work, and which settings are not restored yet.
func (e *Engine) stillUpgrading() []string {
	var next []string
	for _, s := range e.run.Steps {
		if (s.Kind != upgrade.UpgradePool && s.Kind != upgrade.RollBackPool && s.Kind != upgrade.CompleteUpgrade) || s.Operation == "" || s.State == upgrade.StepDone || s.State == upgrade.StepDropped {
			continue
		}
		if s.Kind == upgrade.CompleteUpgrade {
			next = append(next, fmt.Sprintf("GKE deletes the old nodes of pool %s, which cannot be stopped: to see it to its end: upshift resume", s.Pool))
			continue
		}
		if s.Stopping {
			next = append(next, fmt.Sprintf("GKE finishes the nodes of pool %s that it has begun, by operation %s", s.Pool, s.Operation))
			continue
		}
		next = append(next, fmt.Sprintf("GKE goes on with pool %s by itself, by operation %s: to watch it: upshift resume; to stop it: upshift pause", s.Pool, s.Operation))
	}
	for _, name := range slices.Sorted(maps.Keys(e.run.Upgrades)) {
		s := e.run.Upgrades[name]
		next = append(next, fmt.Sprintf("the upgrade settings of pool %s (%s) are restored when the upgrade is finished; to set them by hand: %s", name, s.Summary, strings.ReplaceAll(s.Command, "POOL", name)))
	}
	return next
}

// leftMixed says which pools a run that ended without success left with nodes of two versions.
func (e *Engine) leftMixed() []string {
	var next []string
	for _, pool := range e.run.Plan.Pools {
		at, all := atVersion(e.Cluster.State(), pool.Name, pool.To)
		if !pool.ByProvider() || at == 0 || at == all {
			continue
		}
		text := fmt.Sprintf("%d of %d nodes of pool %s run %s: upgrade again to go on with it", at, all, pool.Name, pool.To)
		if e.run.Ending != upgrade.RolledBack {
			text += ", or have GKE undo it: " + e.gcloudPool("rollback", pool.Name)
		}
		next = append(next, text)
	}
	return next
}

// gcloudPool is a command about a pool.
func (e *Engine) gcloudPool(verb, pool string) string {
	c := e.run.Plan.Cluster
	return fmt.Sprintf("gcloud container node-pools %s %s --cluster %s --project %s --location %s", verb, pool, c.Name, c.Project, c.Location)
}
