package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/upshift-k8s/upshift/internal/drain"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// restarts are the Deployments whose pods leave one pool by a restart, while a step is carried out.
type restarts struct {
	*Engine
	step upgrade.Step
	pool upgrade.PoolPlan
	// stuck are those that Kubernetes had given up already when the step was begun, by UID: whoever goes on knows of them.
	stuck map[string]bool
	// fresh are those that were looked at in whole a moment ago. What their budgets show since then may be our own doing.
	fresh map[string]bool
	// waiting is what was waited for last.
	waiting []upgrade.Waiting
}

// The causes with which waiting for restarts ends before they do.
var (
	errUndone = errors.New("a restart was undone by somebody else")
	errRoom   = errors.New("another restart can be begun")
)

const (
	// shownWithin is for the caches to show what was just changed.
	shownWithin = 10 * time.Second
	// boundWithin is for a new pod of a Deployment that was just restarted to be made and to find a node.
	boundWithin = 10 * time.Second
)

// stuckError is the cause where Kubernetes says that the restart of a Deployment does not progress.
type stuckError struct {
	workload upgrade.Ref
	message  string
}

func (s *stuckError) Error() string { return "Kubernetes says that it does not progress: " + s.message }

// surgeFirst restarts Deployments and waits until none of their pods is left on the pool and they are as available as they were before.
func (e *Engine) surgeFirst(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	s := &restarts{Engine: e, step: step, pool: pool, stuck: map[string]bool{}, fresh: map[string]bool{}}
	if err := s.intend(ctx); err != nil {
		return err
	}
	state := e.Cluster.State()
	for r := range s.in(upgrade.RestartBegun) {
		if rollout := state.Workloads[r.Workload.UID].Rollout; rollout != nil {
			s.stuck[r.Workload.UID] = rollout.Stuck != ""
		}
	}
	for {
		if err := s.launch(ctx); err != nil {
			return err
		}
		switch err := s.await(ctx); {
		case errors.Is(err, errUndone), errors.Is(err, errRoom), err == nil && s.any(upgrade.RestartIntended):
			continue
		default:
			return err
		}
	}
}

// place is what pods leave by restarts: a pool, or, where nodes are upgraded one after the other, one node of it.
type place struct{ pool, node string }

func placeOf(r upgrade.Restarted) place { return place{r.Pool, r.Node} }

func (s *restarts) place() place { return place{s.step.Pool, s.step.Node} }

func (p place) String() string {
	if p.node != "" {
		return p.node
	}
	return p.pool
}

// nodes are the place's.
func (p place) nodes(state upgrade.State) []upgrade.Node {
	return slices.DeleteFunc(state.PoolNodes(p.pool), func(n upgrade.Node) bool { return p.node != "" && n.Name != p.node })
}

// others are the nodes of the pool of a place that is one node.
func (p place) others(state upgrade.State) []upgrade.Node {
	return slices.DeleteFunc(state.PoolNodes(p.pool), func(n upgrade.Node) bool { return n.Name == p.node || n.Unschedulable })
}

// in are the step's restarts in a state, which may be changed.
func (s *restarts) in(state upgrade.RestartState) func(yield func(*upgrade.Restarted) bool) {
	return func(yield func(*upgrade.Restarted) bool) {
		for i := range s.run.Restarts {
			if r := &s.run.Restarts[i]; placeOf(*r) == s.place() && r.State == state && !yield(r) {
				return
			}
		}
	}
}

func (s *restarts) any(state upgrade.RestartState) bool {
	for range s.in(state) {
		return true
	}
	return false
}

// intend notes, before anything is changed, what is going to be restarted, and what that is measured against.
func (s *restarts) intend(ctx context.Context) error {
	state := s.Cluster.State()
	standing, noted := s.standing(state, "", s.place()), len(s.run.Restarts)
	if s.takesOver(s.step.Pool) {
		s.intendBack(standing)
	} else {
		there := onNodes(state, s.place())
		for _, r := range s.pool.Restarts {
			if s.restart(r.Workload.UID, s.place()) == nil && standing.Any(r.Workload.UID, there) {
				s.intends(standing, s.intention(standing, state.Workloads[r.Workload.UID], s.place(), ""))
			}
		}
	}
	s.update(s.step.ID, func(step *upgrade.Step) {
		if step.Baseline == nil {
			first := drain.ObserveAll(state, s.place().nodes(state), s.active(upgrade.RestartIntended, upgrade.RestartBegun))
			step.Baseline = &first
		}
		s.step = *step
	})
	if err := s.save(ctx); err != nil {
		return err
	}
	for i := range s.run.Restarts[noted:] {
		if r := &s.run.Restarts[noted+i]; r.State == upgrade.RestartLeft {
			s.tellLeft(r)
		}
	}
	return nil
}

// intends adds a restart that was looked at in whole.
func (s *restarts) intends(standing *upgrade.Standing, r upgrade.Restarted) {
	s.run.Restarts = append(s.run.Restarts, r)
	s.fresh[r.Workload.UID] = true
	if r.State == upgrade.RestartIntended {
		standing.Take(standing.Workloads[r.Workload.UID])
	}
}

// onNodes tells the pods that are there.
func onNodes(state upgrade.State, there place) func(upgrade.Pod) bool {
	nodes := map[string]bool{}
	for _, n := range there.nodes(state) {
		nodes[n.Name] = true
	}
	return func(p upgrade.Pod) bool { return nodes[p.Node] }
}

// standing is how the Deployments stand whose pods are to leave a place, but for one, while others are restarted.
func (e *Engine) standing(state upgrade.State, but string, from place) *upgrade.Standing {
	plan, _ := e.poolPlan(from.pool)
	to := state.PoolNodes(plan.NewName)
	switch {
	case from.node != "":
		to = from.others(state)
	case e.takesOver(from.pool):
		to = state.PoolNodes(plan.Name)
	}
	standing := upgrade.NewStanding(state, from.nodes(state), to)
	if e.growing(from.pool, plan) != "" {
		standing.Grows()
	}
	for _, r := range e.run.Restarts {
		if r.Workload.UID != but && (r.State == upgrade.RestartIntended || r.State == upgrade.RestartBegun) {
			standing.Take(state.Workloads[r.Workload.UID])
		}
	}
	return standing
}

// restart is the run's restart of the Deployment that makes its pods leave the place, or nil.
func (e *Engine) restart(uid string, from place) *upgrade.Restarted {
	for i := range e.run.Restarts {
		if r := &e.run.Restarts[i]; r.Workload.UID == uid && placeOf(*r) == from {
			return r
		}
	}
	return nil
}

// intendBack notes what moves back to the old pool what its restarts have moved, all or a part of it.
func (s *restarts) intendBack(standing *upgrade.Standing) {
	for _, r := range slices.Clone(s.run.Restarts) {
		w := standing.Workloads[r.Workload.UID]
		if r.Pool != s.pool.Name || r.State == upgrade.RestartLeft || w.Rollout == nil || s.restart(r.Workload.UID, s.place()) != nil {
			continue
		}
		ours := w.Rollout.RestartedAt == r.At
		if r.State != upgrade.RestartDone {
			if ours { // else it was never begun, or is somebody else's by now
				s.run.Restarts = append(s.run.Restarts, upgrade.Restarted{
					Workload: w.Ref, Pool: s.step.Pool, At: r.Before, Before: r.At, Undoes: true, State: upgrade.RestartIntended, By: r.By,
				})
			}
			continue
		}
		back := s.intention(standing, w, s.place(), r.By)
		if ours {
			back.At = r.Before // so that its template is in the end as it was
		}
		s.intends(standing, back)
	}
}

// intention is the restart of a Deployment, or why its pods are evicted.
func (e *Engine) intention(standing *upgrade.Standing, w upgrade.Workload, from place, by string) upgrade.Restarted {
	r := upgrade.Restarted{Workload: w.Ref, Pool: from.pool, Node: from.node, State: upgrade.RestartIntended, By: by}
	if r.Why = e.against(standing, w, r); r.Why != "" {
		r.State = upgrade.RestartLeft
		return r
	}
	r.Before = w.Rollout.RestartedAt
	at := time.Now().UTC()
	if r.At = at.Format(time.RFC3339); r.At == r.Before {
		r.At = at.Add(time.Second).Format(time.RFC3339) // the same value is no change
	}
	return r
}

// policy is what decides about a restart: the plan's, or, for one that a person asked for, that of every Deployment that can be.
func (e *Engine) policy(r upgrade.Restarted) upgrade.SurgePolicy {
	if r.By != "" {
		return upgrade.SurgeDeployments
	}
	return e.run.Plan.Options.SurgeFirst
}

// against says why a Deployment as it is now is not restarted, empty if it is.
func (e *Engine) against(standing *upgrade.Standing, w upgrade.Workload, r upgrade.Restarted) string {
	if r.Undoes {
		return "" // whatever it has become meanwhile, its template is to be again as it was
	}
	if why := standing.NotNow(e.policy(r), w); why != "" {
		return why
	}
	if !slices.Contains(e.run.Granted, upgrade.AllowEmptyDirLoss) && standing.Any(w.UID, func(p upgrade.Pod) bool { return len(p.EmptyDirs) > 0 }) {
		return fmt.Sprintf("its pods keep data in emptyDir volumes, and %s was not given", upgrade.AllowEmptyDirLoss)
	}
	return ""
}

// active are the UIDs of the Deployments that are restarted and still have, or may have, pods on the pool.
func (s *restarts) active(states ...upgrade.RestartState) map[string]bool {
	uids := map[string]bool{}
	for _, state := range states {
		for r := range s.in(state) {
			uids[r.Workload.UID] = true
		}
	}
	return uids
}

// nodes are the pool's nodes with their parts of the baseline. What is of all of them is with the first.
func (s *restarts) nodes(state upgrade.State) []drain.Node {
	all, active := s.step.Baseline, s.active(upgrade.RestartBegun)
	of := map[string][]upgrade.Resident{}
	var names []string
	for _, n := range s.place().nodes(state) {
		names = append(names, n.Name)
	}
	for _, r := range all.Pods {
		if !active[r.Workload.UID] {
			continue // it is to be evicted now, and is not away
		}
		of[r.Node] = append(of[r.Node], r)
		if !slices.Contains(names, r.Node) {
			names = append(names, r.Node) // a node that is gone meanwhile
		}
	}
	nodes := make([]drain.Node, len(names))
	for i, name := range names {
		b := &upgrade.Baseline{Pods: of[name], Ready: map[string]int{}}
		if i == 0 {
			b.Ready, b.Homeless, b.Unserved = all.Ready, all.Homeless, all.Unserved
		}
		nodes[i] = drain.Node{Name: name, Baseline: b}
	}
	return nodes
}

// launch restarts what is to be restarted, as long as no new pod is without a node. Those that are never short of a pod meanwhile come first, and the
// first of all shows whether new pods find nodes before the others follow. The rest may have some of their pods away for as long as new ones find none,
// so each of them shows it for itself.
func (s *restarts) launch(ctx context.Context) error {
	var launched []upgrade.Restarted
	proved := s.any(upgrade.RestartBegun)
	for _, r := range s.inTurn() {
		state := s.Cluster.State()
		if s.homeless(state) {
			break
		}
		begun, err := s.launchOne(ctx, r)
		if err != nil {
			return err
		}
		if r.State == upgrade.RestartBegun {
			launched = append(launched, *r)
		}
		if begun && (!proved || mayBeAway(state, r) > 0) {
			if _, err := s.until(ctx, boundWithin, s.bound(state, r.Workload.UID)); err != nil {
				return err
			}
			proved = true
		}
	}
	s.fresh = nil
	if len(launched) == 0 {
		return nil
	}
	if err := s.save(ctx); err != nil {
		return err
	}
	// What the caches do not show yet would look as if somebody had undone it. What somebody undoes at once looks so too, so this takes its time at most.
	_, err := s.until(ctx, shownWithin, func() bool {
		state := s.Cluster.State()
		return !slices.ContainsFunc(launched, func(r upgrade.Restarted) bool { return s.undone(state, r) })
	})
	return err
}

// inTurn are the restarts that are to be begun, those first that are never short of a pod meanwhile.
func (s *restarts) inTurn() []*upgrade.Restarted {
	state := s.Cluster.State()
	inTurn := slices.Collect(s.in(upgrade.RestartIntended))
	slices.SortStableFunc(inTurn, func(a, b *upgrade.Restarted) int { return mayBeAway(state, a) - mayBeAway(state, b) })
	return inTurn
}

// mayBeAway is how many pods fewer than it wants the Deployment may have while it is restarted.
func mayBeAway(state upgrade.State, r *upgrade.Restarted) int {
	if rollout := state.Workloads[r.Workload.UID].Rollout; rollout != nil {
		return rollout.Unavailable
	}
	return 0
}

// bound returns a condition that is true once a pod of the Deployment that was not there before has a node, or any has none to go to.
func (s *restarts) bound(before upgrade.State, uid string) func() bool {
	there := map[string]bool{}
	for _, p := range before.Pods {
		there[p.UID] = true
	}
	return func() bool {
		state := s.Cluster.State()
		return s.homeless(state) || slices.ContainsFunc(state.Pods, func(p upgrade.Pod) bool {
			return p.Workload.UID == uid && p.Node != "" && !there[p.UID]
		})
	}
}

// homeless tells that a new pod of a Deployment that is restarted finds no node.
func (s *restarts) homeless(state upgrade.State) bool {
	of := s.active(upgrade.RestartBegun)
	return slices.ContainsFunc(state.Pods, func(p upgrade.Pod) bool {
		return of[p.Workload.UID] && p.Unschedulable != "" && !slices.Contains(s.step.Baseline.Homeless, p.UID)
	})
}

// launchOne restarts a Deployment, if it is still as it has to be, and tells whether that was changed now. One that somebody else has restarted since
// this was intended is restarted.
func (s *restarts) launchOne(ctx context.Context, r *upgrade.Restarted) (changed bool, err error) {
	there, why := false, ""
	err = s.fenced().Restart(ctx, r.Workload, func(w upgrade.Workload) (string, bool) {
		there, why, changed = true, "", false
		if now := w.Rollout.RestartedAt; now == r.At || now != r.Before {
			return "", false
		}
		if s.fresh[w.UID] && !r.Undoes {
			why = s.policy(*r).Changed(w)
		} else {
			why = s.against(s.standing(s.Cluster.State(), w.UID, s.place()), w, *r)
		}
		changed = why == ""
		return r.At, changed
	})
	var denied *upgrade.Denied
	switch {
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case errors.As(err, &denied):
		why = "Kubernetes refuses the restart: " + denied.Error()
	case err != nil:
		// It may have been made. Whoever goes on looks first.
		return false, &Paused{Problem: fmt.Sprintf("%s could not be restarted: %s; none of its pods is evicted meanwhile", r.Workload, err)}
	case !there:
		why = "it is gone"
	}
	if why != "" {
		r.State, r.Why = upgrade.RestartLeft, why
		s.tellLeft(r)
		return false, nil
	}
	r.State = upgrade.RestartBegun
	text := "restarting " + r.Workload.String()
	if r.Undoes {
		text = "undoing the restart of " + r.Workload.String()
	}
	s.progress(s.step)(text)
	return changed, nil
}

func (s *restarts) tellLeft(r *upgrade.Restarted) {
	s.progress(s.step)(fmt.Sprintf("%s is left to eviction, since %s", r.Workload, r.Why))
}

// undone tells that the Deployment's template is again as it was before it was restarted.
func (s *restarts) undone(state upgrade.State, r upgrade.Restarted) bool {
	w := state.Workloads[r.Workload.UID]
	return !r.Undoes && w.Rollout != nil && w.Rollout.RestartedAt == r.Before
}

// await waits for the restarts that were begun. Its error is one of the causes above, Paused, or the context's.
func (s *restarts) await(ctx context.Context) error {
	of := s.active(upgrade.RestartBegun)
	if len(of) == 0 {
		return nil
	}
	waiting, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	progress := s.newProgress()
	result, err := drain.Nodes(waiting, s.fenced(), s.nodes(s.Cluster.State()), drain.Options{
		Growing: s.growing(s.step.Pool, s.pool),
		Timeout: time.Duration(s.pool.DrainTimeout), Parallel: upgrade.AutoDrains, Restarted: of, Moved: s.moved(), Resumed: s.pool.Adopt,
		Notify: func(_ string, event upgrade.Event) {
			event.Step = s.step
			s.notify(event)
			progress.waits(ctx, event)
		},
		Progress: func(result drain.Result, reasons []upgrade.Waiting) {
			progress.made(ctx, result, reasons)
			s.waiting = slices.Clone(reasons)
			if cause := s.ends(s.Cluster.State()); cause != nil {
				stop(cause)
			}
		},
	})
	progress.ends(result)
	s.settle(err == nil)
	var stuck *stuckError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &stuck):
		return s.paused(stuck.Error(), func(uid string) bool { return uid == stuck.workload.UID })
	case drain.AsBlocked(err) != nil:
		return s.paused(fmt.Sprintf("its pods are not replaced after %s", drain.AsBlocked(err).After), s.waitedFor())
	}
	return err
}

// ends says why the wait ends before the restarts do, nil if it does not.
func (s *restarts) ends(state upgrade.State) error {
	for r := range s.in(upgrade.RestartBegun) {
		switch rollout := state.Workloads[r.Workload.UID].Rollout; {
		case rollout == nil: // it is gone, and so are its pods
		case s.undone(state, *r):
			return errUndone
		case rollout.Stuck != "" && !s.stuck[r.Workload.UID]:
			return &stuckError{r.Workload, rollout.Stuck}
		}
	}
	if s.any(upgrade.RestartIntended) && !s.homeless(state) {
		return errRoom
	}
	return nil
}

// settle notes which restarts were undone, and, once all are awaited to their end, that they have ended.
func (s *restarts) settle(over bool) {
	state := s.Cluster.State()
	there, left := onNodes(state, s.place()), map[string]bool{}
	for _, p := range state.Pods {
		left[p.Workload.UID] = left[p.Workload.UID] || there(p) && !p.Finished
	}
	for r := range s.in(upgrade.RestartBegun) {
		switch {
		case s.undone(state, *r):
			r.State, r.Why = upgrade.RestartLeft, "somebody has undone its restart"
			s.tellLeft(r)
		case over && left[r.Workload.UID]: // on a node that joined meanwhile, say: no restart is sure to take them away again
			r.State, r.Why = upgrade.RestartLeft, fmt.Sprintf("its new pods came to %s too", s.place())
			s.tellLeft(r)
		case over:
			r.State = upgrade.RestartDone
		}
	}
}

// of is the UID of the workload that a wait is for, empty if that cannot be told any more.
func (s *restarts) of(state upgrade.State, w upgrade.Waiting) string {
	if _, ok := state.Workloads[w.Object.UID]; ok {
		return w.Object.UID
	}
	for _, p := range state.Pods {
		if p.UID == w.Object.UID {
			return p.Workload.UID
		}
	}
	for _, p := range s.step.Baseline.Pods {
		if p.Pod.UID == w.Object.UID {
			return p.Workload.UID
		}
	}
	return ""
}

// waitedFor tells the Deployments that do not end by themselves, as far as can be seen, and else all that were waited for last.
func (s *restarts) waitedFor() func(uid string) bool {
	state, uids := s.Cluster.State(), map[string]bool{}
	block := slices.ContainsFunc(s.waiting, blocks)
	for _, w := range s.waiting {
		if blocks(w) || !block {
			uids[s.of(state, w)] = true
		}
	}
	return func(uid string) bool { return uids[uid] }
}

// paused is the error of those restarts that do not end by themselves. It names a few of very many.
func (s *restarts) paused(why string, stands func(uid string) bool) *Paused {
	var names, undo []string
	for r := range s.in(upgrade.RestartBegun) {
		if !stands(r.Workload.UID) {
			continue
		}
		names = append(names, r.Workload.String())
		if !r.Undoes {
			undo = append(undo, fmt.Sprintf("kubectl rollout undo deployment/%s -n %s", r.Workload.Name, r.Workload.Namespace))
		}
	}
	const shown, listed = 3, 20
	if len(names) > shown {
		names = append(names[:shown], fmt.Sprintf("%d more", len(names)-shown))
	}
	p := &Paused{Problem: fmt.Sprintf("%s: the restart that takes its pods from %s does not end: %s", strings.Join(names, ", "), s.place(), why)}
	state := s.Cluster.State()
	its := slices.DeleteFunc(slices.Clone(s.waiting), func(w upgrade.Waiting) bool { return !stands(s.of(state, w)) })
	for _, w := range its {
		if (!w.Passing || !slices.ContainsFunc(its, blocks)) && len(p.Waiting) < listed {
			p.Waiting = append(p.Waiting, w)
		}
	}
	few := p.Waiting[:min(len(p.Waiting), shown)]
	if len(few) > 0 {
		texts := make([]string, len(few))
		for i, w := range few {
			texts[i] = w.String()
		}
		p.Problem += ": " + strings.Join(texts, "; ")
	}
	p.Next = remedies(few)
	for i, command := range undo {
		if i == shown {
			p.Next = append(p.Next, fmt.Sprintf("and so for %d more", len(undo)-shown))
			break
		}
		p.Next = append(p.Next, "to have its pods evicted instead: "+command+", and then upshift resume")
	}
	return p
}

// considerSurge has a Deployment restarted before the drains go on, or says why not.
func (e *Engine) considerSurge(deployment upgrade.Ref, by string) string {
	state := e.Cluster.State()
	var w upgrade.Workload
	for _, other := range state.Workloads {
		if other.Kind == deployment.Kind && other.Namespace == deployment.Namespace && other.Name == deployment.Name {
			w = other
		}
	}
	if w.UID == "" {
		return fmt.Sprintf("there is no %s", deployment)
	}
	from := e.toLeave(state, w.UID)
	if from.pool == "" {
		return fmt.Sprintf("no node that the run has yet to drain has a pod of %s", w.Ref)
	}
	if e.byProvider(from.pool) {
		return fmt.Sprintf("GKE drains pool %s node by node, and new pods could go to nodes that it has yet to drain", from.pool)
	}
	before, step := e.restart(w.UID, from), upgrade.NewStep(upgrade.SurgeFirst, from.pool, from.node)
	there := e.run.Step(step.ID)
	underWay := there != nil && there.State != upgrade.StepDone
	if before != nil && underWay && (before.State == upgrade.RestartIntended || before.State == upgrade.RestartBegun) {
		return fmt.Sprintf("%s is being restarted already", w.Ref)
	}
	r := e.intention(e.standing(state, w.UID, from), w, from, by)
	if r.Why != "" {
		return fmt.Sprintf("%s is not restarted, since %s", w.Ref, r.Why)
	}
	if before != nil {
		*before = r
	} else {
		e.run.Restarts = append(e.run.Restarts, r)
	}
	if there == nil {
		at := slices.IndexFunc(e.run.Steps, func(s upgrade.Step) bool {
			return (s.Kind == upgrade.CordonPool || s.Kind == upgrade.CordonNode) && s.Pool == from.pool && s.Node == from.node
		}) + 1
		e.run.Steps = slices.Insert(e.run.Steps, at, step)
	}
	e.update(step.ID, func(s *upgrade.Step) { s.State, s.FinishedAt = upgrade.StepPending, nil })
	return ""
}

// toLeave is the place with a node that the run has yet to drain and that has a pod of the workload, empty for none.
func (e *Engine) toLeave(state upgrade.State, uid string) place {
	for _, p := range state.Pods {
		for _, s := range e.run.Drains() {
			if p.Workload.UID == uid && s.Node == p.Node && s.State != upgrade.StepDone {
				if plan, _ := e.poolPlan(s.Pool); plan.Action == upgrade.Rolling {
					return place{s.Pool, s.Node}
				}
				return place{pool: s.Pool}
			}
		}
	}
	return place{}
}
