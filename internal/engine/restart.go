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

// stuckError is the cause where Kubernetes says that a restart does not progress.
type stuckError struct{ message string }

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
		err := s.await(ctx)
		if !errors.Is(err, errUndone) && !errors.Is(err, errRoom) {
			if err == nil && s.any(upgrade.RestartIntended) {
				continue
			}
			return err
		}
	}
}

// in are the step's restarts in a state, which may be changed.
func (s *restarts) in(state upgrade.RestartState) func(yield func(*upgrade.Restarted) bool) {
	return func(yield func(*upgrade.Restarted) bool) {
		for i := range s.run.Restarts {
			if r := &s.run.Restarts[i]; r.Pool == s.step.Pool && r.State == state && !yield(r) {
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
	standing := s.standing(state, "")
	if s.takesOver(s.step.Pool) {
		s.intendBack(standing)
	} else {
		there := onNodes(state, s.step.Pool)
		for _, r := range s.pool.Restarts {
			if s.restart(r.Workload.UID, s.step.Pool) == nil && standing.Any(r.Workload.UID, there) {
				s.intends(standing, s.intention(standing, state.Workloads[r.Workload.UID], s.step.Pool, ""))
			}
		}
	}
	s.update(s.step.ID, func(step *upgrade.Step) {
		if step.Baseline == nil {
			first := drain.ObserveAll(state, s.step.Pool, s.active(upgrade.RestartIntended, upgrade.RestartBegun))
			step.Baseline = &first
		}
		s.step = *step
	})
	if err := s.save(ctx); err != nil {
		return err
	}
	for r := range s.in(upgrade.RestartLeft) {
		s.tellLeft(r)
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

// onNodes tells the pods that are on the pool.
func onNodes(state upgrade.State, pool string) func(upgrade.Pod) bool {
	nodes := map[string]bool{}
	for _, n := range state.PoolNodes(pool) {
		nodes[n.Name] = true
	}
	return func(p upgrade.Pod) bool { return nodes[p.Node] }
}

// standing is how the Deployments stand, but for one, while others are restarted.
func (e *Engine) standing(state upgrade.State, but string) *upgrade.Standing {
	standing := upgrade.NewStanding(state)
	for _, r := range e.run.Restarts {
		if r.Workload.UID != but && (r.State == upgrade.RestartIntended || r.State == upgrade.RestartBegun) {
			standing.Take(state.Workloads[r.Workload.UID])
		}
	}
	return standing
}

// restart is the run's restart of the Deployment that makes its pods leave the pool, or nil.
func (e *Engine) restart(uid, pool string) *upgrade.Restarted {
	for i := range e.run.Restarts {
		if r := &e.run.Restarts[i]; r.Workload.UID == uid && r.Pool == pool {
			return r
		}
	}
	return nil
}

// intendBack notes what moves back to the old pool what its restarts have moved, all or a part of it.
func (s *restarts) intendBack(standing *upgrade.Standing) {
	for _, r := range slices.Clone(s.run.Restarts) {
		w := standing.Workloads[r.Workload.UID]
		if r.Pool != s.pool.Name || r.State == upgrade.RestartLeft || w.Rollout == nil || s.restart(r.Workload.UID, s.step.Pool) != nil {
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
		back := s.intention(standing, w, s.step.Pool, r.By)
		if ours {
			back.At = r.Before // so that its template is in the end as it was
		}
		s.intends(standing, back)
	}
}

// intention is the restart of a Deployment, or why its pods are evicted.
func (e *Engine) intention(standing *upgrade.Standing, w upgrade.Workload, pool, by string) upgrade.Restarted {
	r := upgrade.Restarted{Workload: w.Ref, Pool: pool, State: upgrade.RestartIntended, By: by}
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
	policy := e.policy(r)
	if r.Undoes {
		return policy.Unfit(w)
	}
	if why := standing.NotNow(policy, w); why != "" {
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
	all := s.step.Baseline
	of := map[string][]upgrade.Resident{}
	var names []string
	for _, n := range state.PoolNodes(s.step.Pool) {
		names = append(names, n.Name)
	}
	for _, r := range all.Pods {
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

// launch restarts what is to be restarted, one after the other, as long as no new pod is without a node.
func (s *restarts) launch(ctx context.Context) error {
	launched := false
	for r := range s.in(upgrade.RestartIntended) {
		if s.homeless(s.Cluster.State()) {
			break
		}
		if err := s.launchOne(ctx, r); err != nil {
			return err
		}
		launched = true
	}
	s.fresh = nil
	if !launched {
		return nil
	}
	if err := s.save(ctx); err != nil {
		return err
	}
	// What the caches do not show yet would look as if somebody had undone it.
	shown := func() bool {
		state := s.Cluster.State()
		for r := range s.in(upgrade.RestartBegun) {
			if s.undone(state, *r) {
				return false
			}
		}
		return true
	}
	_, err := s.until(ctx, time.Duration(s.pool.DrainTimeout), shown)
	return err
}

// homeless tells that a new pod of a Deployment that is restarted finds no node.
func (s *restarts) homeless(state upgrade.State) bool {
	of := s.active(upgrade.RestartBegun)
	return slices.ContainsFunc(state.Pods, func(p upgrade.Pod) bool {
		return of[p.Workload.UID] && p.Unschedulable != "" && !slices.Contains(s.step.Baseline.Homeless, p.UID)
	})
}

// launchOne restarts a Deployment, if it is still as it has to be. One that somebody else has restarted since this was intended is restarted.
func (s *restarts) launchOne(ctx context.Context, r *upgrade.Restarted) error {
	there, why := false, ""
	err := s.fenced().Restart(ctx, r.Workload, func(w upgrade.Workload) (string, bool) {
		there, why = true, ""
		if now := w.Rollout.RestartedAt; now == r.At || now != r.Before {
			return "", false
		}
		if s.fresh[w.UID] {
			why = s.policy(*r).Changed(w)
		} else {
			why = s.against(s.standing(s.Cluster.State(), w.UID), w, *r)
		}
		return r.At, why == ""
	})
	var denied *upgrade.Denied
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &denied):
		why = "Kubernetes refuses the restart: " + denied.Error()
	case err != nil:
		return fmt.Errorf("restart %s: %w", r.Workload, err)
	case !there:
		why = "it is gone"
	}
	if why != "" {
		r.State, r.Why = upgrade.RestartLeft, why
		s.tellLeft(r)
		return nil
	}
	r.State = upgrade.RestartBegun
	text := "restarting " + r.Workload.String()
	if r.Undoes {
		text = "undoing the restart of " + r.Workload.String()
	}
	s.progress(s.step)(text)
	return nil
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
	s.settle()
	var stuck *stuckError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &stuck):
		return s.paused(stuck.Error())
	case drain.AsBlocked(err) != nil:
		return s.paused(fmt.Sprintf("its pods are not replaced after %s", drain.AsBlocked(err).After))
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
			return &stuckError{rollout.Stuck}
		}
	}
	if s.any(upgrade.RestartIntended) && !s.homeless(state) {
		return errRoom
	}
	return nil
}

// settle notes which restarts have ended.
func (s *restarts) settle() {
	state := s.Cluster.State()
	there, left := onNodes(state, s.step.Pool), map[string]bool{}
	for _, p := range state.Pods {
		left[p.Workload.UID] = left[p.Workload.UID] || there(p) && !p.Finished
	}
	for r := range s.in(upgrade.RestartBegun) {
		switch {
		case s.undone(state, *r):
			r.State, r.Why = upgrade.RestartLeft, "somebody has undone its restart"
			s.tellLeft(r)
		case !left[r.Workload.UID]:
			r.State = upgrade.RestartDone
		}
	}
}

// paused is the error of restarts that do not end by themselves.
func (s *restarts) paused(why string) *Paused {
	var names, undo []string
	for r := range s.in(upgrade.RestartBegun) {
		names = append(names, r.Workload.String())
		if !r.Undoes {
			undo = append(undo, fmt.Sprintf("kubectl rollout undo deployment/%s -n %s", r.Workload.Name, r.Workload.Namespace))
		}
	}
	const shown = 3
	if len(names) > shown {
		names = append(names[:shown], fmt.Sprintf("%d more", len(names)-shown))
	}
	p := &Paused{Problem: fmt.Sprintf("%s: the restart that takes its pods from %s does not end: %s", strings.Join(names, ", "), s.step.Pool, why)}
	for _, w := range s.waiting {
		if !w.Passing || !slices.ContainsFunc(s.waiting, blocks) {
			p.Waiting = append(p.Waiting, w)
		}
	}
	if reasons := p.Waiting; len(reasons) > 0 {
		texts := make([]string, min(len(reasons), shown))
		for i := range texts {
			texts[i] = reasons[i].String()
		}
		p.Problem += ": " + strings.Join(texts, "; ")
	}
	p.Next = remedies(p.Waiting)
	if len(undo) > 0 {
		p.Next = append(p.Next, "to have its pods evicted instead: "+strings.Join(undo, " && ")+", and then upshift resume")
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
	pool := e.poolToLeave(state, w.UID)
	if pool == "" {
		return fmt.Sprintf("no node that the run has yet to drain has a pod of %s", w.Ref)
	}
	before := e.restart(w.UID, pool)
	if before != nil && (before.State == upgrade.RestartIntended || before.State == upgrade.RestartBegun) {
		return fmt.Sprintf("%s is being restarted already", w.Ref)
	}
	r := e.intention(e.standing(state, w.UID), w, pool, by)
	if r.Why != "" {
		return fmt.Sprintf("%s is not restarted, since %s", w.Ref, r.Why)
	}
	if before != nil {
		*before = r
	} else {
		e.run.Restarts = append(e.run.Restarts, r)
	}
	step := upgrade.NewStep(upgrade.SurgeFirst, pool, "")
	if e.run.Step(step.ID) == nil {
		at := slices.IndexFunc(e.run.Steps, func(s upgrade.Step) bool { return s.Kind == upgrade.CordonPool && s.Pool == pool }) + 1
		e.run.Steps = slices.Insert(e.run.Steps, at, step)
	}
	e.update(step.ID, func(s *upgrade.Step) { s.State, s.FinishedAt = upgrade.StepPending, nil })
	return ""
}

// poolToLeave is the pool with a node that the run has yet to drain and that has a pod of the workload, empty for none.
func (e *Engine) poolToLeave(state upgrade.State, uid string) string {
	for _, p := range state.Pods {
		for _, s := range e.run.Drains() {
			if p.Workload.UID == uid && s.Node == p.Node && s.State != upgrade.StepDone {
				return s.Pool
			}
		}
	}
	return ""
}
