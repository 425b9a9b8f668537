package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// request is the cause with which a request ends the work that is under way.
type request struct{ upgrade.Request }

func (r *request) Error() string { return r.String() }

// askedToPause is the error of a run that a person paused.
type askedToPause struct{ by string }

func (a *askedToPause) Error() string { return "paused by " + a.by }

// Refused is the error of a run that was to obey a request first, and cannot. Nothing was done.
type Refused struct{ Reason string }

func (r *Refused) Error() string { return r.Reason }

// obeyFirst obeys First, if there is one, before the run is taken up. A request that is refused leaves the run as it was.
func (e *Engine) obeyFirst(ctx context.Context) error {
	if e.First == nil {
		return nil
	}
	refused, err := e.obey(ctx, *e.First)
	switch {
	case err != nil:
		return err
	case refused != "":
		if err := e.save(ctx); err != nil {
			return err
		}
		return &Refused{refused}
	}
	return nil
}

// obey does what a request asks, between two steps, and notes in the run what came of it. Its error ends the run for now.
func (e *Engine) obey(ctx context.Context, r upgrade.Request) (refused string, err error) {
	refused, err = e.consider(ctx, r)
	e.run.Acknowledge(r, refused)
	text := r.String()
	if refused != "" {
		text += ": refused, " + refused
	}
	e.notify(upgrade.Event{Kind: upgrade.RequestHandled, Text: text})
	return refused, err
}

// consider changes the run as r asks, or says why not.
func (e *Engine) consider(ctx context.Context, r upgrade.Request) (refused string, err error) {
	if r.Run != e.run.ID {
		return fmt.Sprintf("it is about run %s, and this is %s", r.Run, e.run.ID), nil
	}
	if r.Verb == upgrade.AskCancel || r.Verb == upgrade.AskRollback {
		if err := e.learnDeletions(ctx); err != nil {
			return err.Error(), nil
		}
	}
	switch r.Verb {
	case upgrade.AskPause:
		if e.run.Ending == upgrade.Cancelled || e.run.Ending == upgrade.Failed {
			return "the run has ended, and only what is ours is put back", nil
		}
		if err := e.learnUpgrades(ctx); err != nil {
			return err.Error(), nil
		}
		if err := e.stopUpgrades(ctx); err != nil {
			return fmt.Sprintf("%s, and goes on with it", err), nil
		}
		return "", &askedToPause{by: r.By}
	case upgrade.AskCancel:
		if e.run.Ending == upgrade.Failed {
			return "", nil // what is ours is put back already
		}
		e.run.Ending, e.run.Problem, e.run.Waiting = upgrade.Cancelled, "cancelled by "+r.By, nil
		return "", nil
	case upgrade.AskRollback:
		return e.considerRollback(r), nil
	case upgrade.AskUnblock:
		return e.considerUnblock(r), nil
	}
	return fmt.Sprintf("there is no %q", r.Verb), nil
}

func (e *Engine) considerRollback(r upgrade.Request) string {
	switch e.run.Ending {
	case upgrade.RolledBack:
		return "" // it is on its way
	case "":
		refused := e.canTurnBack()
		if refused == "" {
			e.turnBack("rolled back by " + r.By)
		}
		return refused
	}
	return fmt.Sprintf("the run is being %s", e.run.Ending)
}

func (e *Engine) considerUnblock(r upgrade.Request) string {
	u, err := r.Unblock()
	switch {
	case err != nil:
		return err.Error()
	case e.run.Ending != "" && e.run.Ending != upgrade.RolledBack:
		return fmt.Sprintf("the run is being %s", e.run.Ending)
	case u.Skip != "":
		i := slices.IndexFunc(e.run.Steps, func(s upgrade.Step) bool { return s.Kind == upgrade.DrainNode && s.Node == u.Skip })
		if i >= 0 && e.skipInPlace(e.run.Steps[i]) {
			break
		}
		switch {
		case i < 0:
			return fmt.Sprintf("the run does not drain a node %s", u.Skip)
		case e.byProvider(e.run.Steps[i].Pool):
			return fmt.Sprintf("GKE drains node %s, and leaves none out", u.Skip)
		case e.run.Steps[i].State == upgrade.StepDone:
			return fmt.Sprintf("node %s is drained already", u.Skip)
		case e.run.Steps[i].State == upgrade.StepDropped:
			return fmt.Sprintf("the run is rolled back, and does not drain node %s any more", u.Skip)
		}
		e.run.Steps[i].State = upgrade.StepSkipped
	case !u.Surge.IsZero():
		if why := e.considerSurge(u.Surge, r.By); why != "" {
			return why
		}
	case !u.Force.IsZero() && !e.drains(u.Force):
		return fmt.Sprintf("no node that the run has yet to drain has this pod %s/%s on it", u.Force.Namespace, u.Force.Name)
	case !u.Force.IsZero():
		e.run.Forced = append(e.run.Forced, upgrade.Forced{Pod: u.Force, By: r.By, At: r.At})
	}
	e.run.Waiting = nil
	return "" // the step begins anew, with a new deadline
}

// skipInPlace leaves out what is left of a node that people upgrade, and tells whether there was anything.
func (e *Engine) skipInPlace(drain upgrade.Step) bool {
	pool, _ := e.poolPlan(drain.Pool)
	if !pool.ByPeople || pool.Action != upgrade.Rolling {
		return false
	}
	some := false
	for i, s := range e.run.Steps {
		if s.Pool == drain.Pool && s.Node == drain.Node && s.State != upgrade.StepDone && s.State != upgrade.StepDropped {
			e.run.Steps[i].State, some = upgrade.StepSkipped, true
		}
	}
	return some
}

// triesAll tells that the nodes that a person had skipped are tried again: when the run is taken up for no other purpose.
func (e *Engine) triesAll() bool {
	if e.First == nil {
		return true
	}
	u, err := e.First.Unblock()
	return err == nil && u.Retry
}

// drains tells that the pod is on a node that the run has yet to drain.
func (e *Engine) drains(pod upgrade.Ref) bool {
	for _, p := range e.Cluster.State().Pods {
		if p.UID == pod.UID {
			return slices.ContainsFunc(e.run.Steps, func(s upgrade.Step) bool {
				return s.Kind == upgrade.DrainNode && s.Node == p.Node && s.State != upgrade.StepDone && s.State != upgrade.StepDropped
			})
		}
	}
	return false
}

// forced are the UIDs of the pods that a person let go.
func (e *Engine) forced() map[string]bool {
	uids := map[string]bool{}
	for _, f := range e.run.Forced {
		uids[f.Pod.UID] = true
	}
	return uids
}

// moved are the UIDs of the pods that are known to have left a node.
func (e *Engine) moved() map[string]bool {
	uids := map[string]bool{}
	for _, m := range e.run.Moves {
		uids[m.Pod.UID] = true
	}
	return uids
}
