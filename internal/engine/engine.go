// Package engine carries out a run, step by step, and says what happened. Every step looks first, acts on what is missing,
// then checks: carrying out a step a second time finds its work done. So whatever people ask of a run ends the step that is under
// way, is obeyed between two steps, and the step is carried out again if the run goes on.
package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/upshift-k8s/upshift/internal/drain"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// Provider changes the control plane and the node pools of one cluster. The calls that change something return the operation that does it, and are
// re-entrant: what is there already is adopted, with the operation that is still busy with it, or "" if none is. They do not
// wait: while another operation is under way they return *upgrade.Busy.
type Provider interface {
	// ControlPlaneVersion is what the control plane runs: the lowest version of its API servers, as far as they can be told apart.
	ControlPlaneVersion(ctx context.Context) (string, error)
	// UpgradeControlPlane upgrades the control plane; one that has the version or a newer one is left alone. An operation that upgrades it already and
	// began since is adopted, whichever version it goes to.
	UpgradeControlPlane(ctx context.Context, version string, since time.Time) (operation string, err error)
	Pools(ctx context.Context) ([]upgrade.Pool, error)
	// CreatePool makes a pool like another one. A pool of that name that no run made is an error.
	CreatePool(ctx context.Context, clone upgrade.Clone) (operation string, err error)
	DeletePool(ctx context.Context, name string) (operation string, err error)
	SetAutoscaling(ctx context.Context, pool string, a upgrade.Autoscaling) (operation string, err error)
	// Wait returns when the operation is over, with its error if it failed. It calls progress with what people should know.
	Wait(ctx context.Context, operation string, progress func(string)) error
}

// Cluster is what the engine needs of the Kubernetes API. Implementations are safe for concurrent use.
type Cluster interface {
	drain.Cluster
	// Version asks the API server for its version, once; it has no leading "v".
	Version(ctx context.Context) (string, error)
	// Cordon makes the node unschedulable in the name of the run. A node that is cordoned already, or gone, is left alone.
	Cordon(ctx context.Context, node, run string) error
	// Uncordon undoes a Cordon of any run; a cordon that no run made is left alone.
	Uncordon(ctx context.Context, node string) error
	// Restart gives the annotation kubectl.kubernetes.io/restartedAt of the Deployment's pod template the value that decide makes of the Deployment
	// as it is right before; empty removes it. One that is gone is left alone. The error upgrade.Denied says that Kubernetes refuses.
	Restart(ctx context.Context, deployment upgrade.Ref, decide func(upgrade.Workload) (at string, change bool)) error
	// Occupants reads from the API itself, not from a cache, what is on the pool's nodes.
	Occupants(ctx context.Context, pool string) (upgrade.Occupants, error)
}

// Lock is the right to change the cluster. Implementations are safe for concurrent use.
type Lock interface {
	// Hold returns a context for one change, which ends before the right can be another's. It does not call the API; its error
	// says why nothing may be changed now.
	Hold(ctx context.Context) (context.Context, context.CancelFunc, error)
	// Confirm is Hold after having asked the API, within the given time before the call or else by it, whether the right is still ours. It waits
	// while the API is away. A caller who does not know what came of the change ends ctx before it calls the CancelFunc.
	Confirm(ctx context.Context, within time.Duration) (context.Context, context.CancelFunc, error)
}

// Record keeps a run where another process finds it.
type Record interface {
	// Save stores the run. It waits while the API is away, until ctx ends; any error means that the run must not go on here.
	Save(ctx context.Context, run *upgrade.Run) error
}

// Engine carries out one run. Its fields are set before Run and not changed after.
type Engine struct {
	Provider Provider
	// Upgrader has the provider upgrade pools in place, nil where no plan asks for that.
	Upgrader Upgrader
	Cluster  Cluster
	Lock     Lock
	// Surroundings are what others do to the cluster; nil where its provider has no operations and windows.
	Surroundings Surroundings
	// Record is written before and after everything that changes something.
	Record Record
	// Holder is who carries the run out; it is noted in the run once that is taken up.
	Holder upgrade.Holder
	// First is a request that is obeyed before anything else, nil for none.
	First *upgrade.Request
	// Requests are what people ask of the run while it is on, and Outages the times in which the API is away. Both may be nil.
	Requests <-chan upgrade.Request
	Outages  <-chan upgrade.Outage
	// Calls counts all requests of the Kubernetes API that this process has made so far; nil where nobody counts. It is safe for concurrent use.
	Calls func() upgrade.Calls
	// Notify is told every event, one at a time.
	Notify func(upgrade.Event)

	run *upgrade.Run
	// seen is what the surroundings were when they were last seen, nil if they never were.
	seen *upgrade.Cluster
	// stop ends the work that is under way, and notifying is held while Notify is called.
	stop      context.CancelCauseFunc
	notifying sync.Mutex
	// givenUp is when a change was last given up without an answer.
	givenUp time.Time
}

// Paused is the error of a run that a person has to look at. Nothing that was done is undone.
type Paused struct {
	Problem string
	Waiting []upgrade.Waiting
	Next    []string
}

func (p *Paused) Error() string { return p.Problem }

// Stop is the cause with which the context of Run is cancelled to interrupt it: a signal, or the end of its time.
type Stop struct{ Reason string }

func (s *Stop) Error() string { return s.Reason }

// unrecorded is the error of a record that could not be written: without it nothing may be changed.
type unrecorded struct{ err error }

func (u *unrecorded) Error() string { return u.err.Error() }

func (u *unrecorded) Unwrap() error { return u.err }

const (
	// othersTimeout is for an operation that is not ours, such as GKE's own upgrade of another pool: after that a person should
	// know.
	othersTimeout = time.Hour
	// checkpointTimeout is for the last write of an interrupted run: a cancelled job has 10 s from the first signal to the end, and
	// the lease is to be released too.
	checkpointTimeout = 2500 * time.Millisecond
)

// Run carries out what is not done of the run, and ends with it in a state that says how it went. The error is nil only if the
// run succeeded: Paused, Stop, upgrade.Halt, the context's, or what failed. A run that was paused, interrupted or left by a crash goes on
// where it was, also on its way back.
func (e *Engine) Run(ctx context.Context, run *upgrade.Run) error {
	e.run = run
	err := e.obeyFirst(ctx)
	if errors.As(err, new(*Refused)) {
		return err
	}
	e.takeUp()
	for {
		if err == nil {
			err = e.save(ctx)
		}
		var asked *upgrade.Request
		if err == nil {
			asked, err = e.advance(ctx)
		}
		switch {
		case asked != nil:
			if _, err = e.obey(ctx, *asked); err == nil {
				continue
			}
		case err == nil:
			return e.finish(ctx)
		}
		switch {
		case ctx.Err() != nil && !errors.As(err, new(*askedToPause)): // a pause that was noted is obeyed
			return e.interrupted(ctx)
		case errors.As(err, new(*unrecorded)):
			return e.halted(err)
		}
		over, trouble := e.troubled(ctx, err)
		if over {
			return trouble
		}
		err = nil
	}
}

// takeUp makes a run that was left one that is on.
func (e *Engine) takeUp() {
	if e.run.Holder().Epoch != e.Holder.Epoch {
		e.run.TakenBy(e.Holder)
	}
	e.run.State, e.run.FinishedAt, e.run.Waiting, e.run.Next = upgrade.Running, nil, nil, nil
	e.run.Yielded = false
	if e.run.Ending == "" {
		e.run.Problem = ""
	}
	for i, s := range e.run.Steps {
		if s.State == upgrade.StepSkipped && e.triesAll() {
			e.run.Steps[i].State = upgrade.StepPending // a person who goes on has it tried again
		}
	}
}

// advance carries out what is left in the direction of the run, until it is done, fails, or a request comes in.
func (e *Engine) advance(ctx context.Context) (*upgrade.Request, error) {
	work, stop := context.WithCancelCause(ctx)
	e.stop = stop
	defer stop(nil)
	var listening sync.WaitGroup
	listening.Go(func() { e.listen(work, stop) })
	err := e.work(work)
	cause := context.Cause(work)
	stop(nil)
	listening.Wait()
	e.tellOutages()
	var asked *request
	var lost *unrecorded
	switch {
	case err != nil && ctx.Err() == nil && errors.As(cause, &asked):
		return &asked.Request, nil
	case err != nil && errors.As(cause, &lost):
		return nil, lost
	}
	return nil, err
}

// work is the run in one direction.
func (e *Engine) work(ctx context.Context) error {
	if e.run.Ending == "" || e.run.Ending == upgrade.RolledBack {
		if err := e.steps(ctx); err != nil {
			return err
		}
	}
	return e.release(ctx)
}

// listen ends the work at the first request, and tells of outages meanwhile.
func (e *Engine) listen(ctx context.Context, stop context.CancelCauseFunc) {
	for {
		select {
		case r, ok := <-e.Requests:
			if ok {
				stop(&request{r})
			}
			return
		case o := <-e.Outages:
			e.tellOutage(o)
		case <-ctx.Done():
			return
		}
	}
}

// tellOutages tells what is known of outages and was not told yet.
func (e *Engine) tellOutages() {
	for {
		select {
		case o := <-e.Outages:
			e.tellOutage(o)
		default:
			return
		}
	}
}

func (e *Engine) tellOutage(o upgrade.Outage) {
	away := upgrade.Seconds(time.Since(o.Since))
	if o.Over {
		e.notify(upgrade.Event{Kind: upgrade.APIBack, Took: away})
		return
	}
	e.notify(upgrade.Event{Kind: upgrade.APIAway, Took: away, Text: o.Err.Error()})
}

// finish ends a run whose direction is done.
func (e *Engine) finish(ctx context.Context) error {
	now := time.Now()
	e.run.State, e.run.FinishedAt, e.run.Waiting = upgrade.Succeeded, &now, nil
	e.run.Next, e.run.Tasks = e.kept(), e.machinesToRemove()
	var outcome error
	if e.run.Ending != "" {
		e.run.State, e.run.Next = e.run.Ending, e.leftBehind()
		outcome = errors.New(e.run.Problem)
	}
	if err := e.saveLast(ctx); err != nil {
		return e.halted(err)
	}
	return outcome
}

// interrupted ends a run whose context has ended: a signal, the end of its time, or a lost lease. Nothing is undone.
func (e *Engine) interrupted(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.As(cause, new(*upgrade.Halt)) {
		return e.halted(cause)
	}
	e.run.State, e.run.Problem, e.run.Next = upgrade.Interrupted, cause.Error(), e.carryOn()
	if err := e.saveLast(ctx); err != nil {
		e.run.Problem += fmt.Sprintf("; the checkpoint could not be written (%s), so the record is as it was before this step", err)
	}
	return cause
}

// halted ends a run whose record can no longer be written. What the record says stays as it is, and so does everything else.
func (e *Engine) halted(err error) error {
	e.run.State, e.run.Problem = upgrade.Interrupted, err.Error()
	e.run.Next = []string{"once the record can be written again: upshift resume"}
	if errors.As(err, new(*upgrade.Halt)) {
		e.run.Next = []string{"see who else works on this cluster: upshift status; then go on with resume, or end the run with cancel or rollback"}
	}
	return &upgrade.Halt{Problem: err.Error()}
}

// troubled decides what an error means for the run, and tells whether the run is over for now.
func (e *Engine) troubled(ctx context.Context, err error) (bool, error) {
	var paused *Paused
	byPerson := errors.As(err, new(*askedToPause))
	if !byPerson {
		if unknown := e.learnDeletions(ctx); unknown != nil {
			err = fmt.Errorf("%w; and before: %w", unknown, err)
		}
	}
	pausing := errors.As(err, &paused)
	switch {
	case byPerson:
		e.run.State, e.run.Problem, e.run.Next = upgrade.Paused, err.Error(), e.carryOn()
	case errors.As(err, new(*yielded)): // which is no trouble, whatever is done about such
		e.run.State, e.run.Problem, e.run.Next = upgrade.Paused, err.Error(), slices.Concat([]string{"once it is done: upshift upgrade, with the same inputs, or upshift resume"}, e.carryOn()[1:])
		e.run.Waiting, e.run.Yielded = paused.Waiting, true
	case errors.As(err, new(*undecided)):
		e.run.State, e.run.Problem, e.run.Next = upgrade.Paused, err.Error(), e.carryOn()
		err = &Paused{Problem: err.Error()}
	case e.run.Ending == "" && e.run.Plan.Options.OnFailure == upgrade.RollbackOnFailure && !errors.As(err, new(*notNow)) && e.canTurnBack() == "":
		e.turnBack(err.Error())
		return false, nil
	case pausing:
		e.run.State, e.run.Problem, e.run.Waiting = upgrade.Paused, paused.Problem, paused.Waiting
		e.run.Next = slices.Concat(paused.Next, e.carryOn())
	case e.run.Ending == upgrade.RolledBack:
		err = &Paused{Problem: "the rollback cannot go on: " + err.Error()}
		e.run.State, e.run.Problem, e.run.Next = upgrade.Paused, err.Error(), e.carryOn()
	case e.run.Ending == "":
		e.run.Ending, e.run.Problem = upgrade.Failed, err.Error()
		return false, nil // and then what is ours is put back
	default:
		// It is not over before what is ours is put back.
		err = &Paused{Problem: "what is ours could not all be put back: " + err.Error()}
		e.run.State, e.run.Problem, e.run.Next = upgrade.Paused, err.Error(), e.carryOn()
	}
	if saveErr := e.saveLast(ctx); saveErr != nil {
		return true, e.halted(saveErr)
	}
	return true, err
}

// saveLast saves the run as it ends, also when it ends because ctx did: then it has checkpointTimeout.
func (e *Engine) saveLast(ctx context.Context) error {
	if ctx.Err() == nil {
		err := e.save(ctx)
		if ctx.Err() == nil {
			return err
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkpointTimeout)
	defer cancel()
	return e.save(last)
}

func (e *Engine) save(ctx context.Context) error {
	if err := e.Record.Save(ctx, e.run); err != nil {
		return &unrecorded{err}
	}
	return nil
}
