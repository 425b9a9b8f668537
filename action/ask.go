package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/upshift-k8s/upshift/internal/runstore"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

const (
	// answerTimeout is how long a process that is at work may take to obey; it should take less than 2 s.
	answerTimeout = 10 * time.Second
	// settleTimeout is how long cancel waits for cordons and autoscaling to be put back.
	settleTimeout = 5 * time.Minute
)

// ask is a command that asks something of a run: of the process that is at work, or, where none is, of the record.
func (s *session) ask(ctx context.Context) int {
	verb := s.cfg.command
	run, err := s.store.Current(ctx)
	if err != nil {
		return s.out.fail(code(ctx, err), "cannot read the record", err)
	}
	if why := nothingTo(verb, run); why != nil {
		return s.out.fail(exitBlocked, "nothing to "+verb, why)
	}
	if verb == "pause" && run.State == upgrade.Paused {
		s.out.run(run)
		return s.out.done(run, "Run %s is paused already.", run.ID)
	}
	request := upgrade.Request{Verb: upgrade.Verb(verb), Run: run.ID, By: s.who.Who + " (" + s.who.Where + ")", At: time.Now().UTC().Truncate(time.Second)}
	if verb == "unblock" {
		if err := s.bindPod(ctx, run); err != nil {
			return s.out.fail(code(ctx, err), "cannot find the pod", err)
		}
		request.Arguments = s.cfg.unblock.Arguments()
	}
	held, err := s.store.Holding(ctx)
	if err != nil {
		return s.out.fail(code(ctx, err), "cannot read the cluster's lease", err)
	}
	if held != nil {
		if request, err = s.store.Ask(ctx, request); err != nil {
			return s.out.fail(code(ctx, err), "cannot ask the run", err)
		}
		s.out.line("Asked %s to %s run %s.", held.Holder, verb, run.ID)
		if exit, answered := s.await(ctx, request); answered {
			return exit
		}
		s.out.line("No answer in %s.", answerTimeout)
	}
	return s.withLock(ctx, func(ctx context.Context, lock *runstore.Lock) int {
		recorded, err := lock.Run()
		if err != nil {
			return s.out.fail(exitFailed, "cannot read the record", err)
		}
		if why := nothingTo(verb, recorded); why != nil {
			return s.out.fail(exitBlocked, "nothing to "+verb, why)
		}
		return s.goOn(ctx, lock, recorded, &request)
	})
}

// bindPod puts the UID of the pod that is to be forced into the request: a later pod of the same name is not meant.
func (s *session) bindPod(ctx context.Context, run *upgrade.Run) error {
	u := &s.cfg.unblock
	if u.Force.IsZero() {
		return nil
	}
	if err := s.watch(ctx, run.Plan.Cluster.PoolLabel); err != nil {
		return err
	}
	for _, p := range s.cluster.State().Pods {
		if p.Namespace == u.Force.Namespace && p.Name == u.Force.Name {
			u.Force.UID = p.UID
			return nil
		}
	}
	return &badInput{[]string{fmt.Sprintf("unblock: there is no pod %s/%s", u.Force.Namespace, u.Force.Name)}}
}

// await follows the record until the request is answered, and for cancel until the run is over. It tells whether there was an
// answer in time.
func (s *session) await(ctx context.Context, r upgrade.Request) (exit int, answered bool) {
	following, cancel := context.WithCancel(ctx)
	defer cancel()
	deadline := time.After(answerTimeout)
	var settling *upgrade.Run
	runs := s.store.Follow(following)
	for {
		select {
		case run, ok := <-runs:
			if !ok {
				return s.out.fail(exitInterrupted, "interrupted", context.Cause(ctx)), true
			}
			handled := outcome(run, r)
			switch {
			case handled == nil && run.ID == r.Run && !run.State.Final() && run.Acknowledged < r.Sequence:
				continue
			case handled == nil:
				return s.out.fail(exitFailed, "not obeyed", fmt.Errorf("run %s is %s, and did not come to it", run.ID, run.State)), true
			case handled.Refused != "":
				return s.out.fail(exitFailed, "not obeyed", errors.New(handled.Refused)), true
			case r.Verb == upgrade.AskCancel && run.State == upgrade.Running:
				if settling == nil {
					deadline = time.After(settleTimeout)
				}
				settling = run
				continue
			}
			return s.obeyed(run, r), true
		case <-deadline:
			if settling != nil {
				return s.out.done(settling, "Run %s is being cancelled, by %s: nothing is drained any more, and what is ours is put back. Watch it with status.", settling.ID, settling.Holder()), true
			}
			return 0, false
		}
	}
}

func outcome(run *upgrade.Run, r upgrade.Request) *upgrade.Handled {
	for _, h := range run.Handled {
		if h.Sequence == r.Sequence && run.ID == r.Run {
			return &h
		}
	}
	return nil
}

// obeyed tells that a request was obeyed by another process.
func (s *session) obeyed(run *upgrade.Run, r upgrade.Request) int {
	if r.Verb == upgrade.AskRollback {
		return s.out.done(run, "Run %s turns back, in the process that carried it out: %s. Watch it with status.", run.ID, run.Holder())
	}
	if r.Verb == upgrade.AskUnblock {
		return s.out.done(run, "Run %s goes on, in the process that carries it out: %s.", run.ID, run.Holder())
	}
	s.out.run(run)
	return s.out.done(run, "Run %s is %s.", run.ID, run.State)
}

// status is the command status.
func (s *session) status(ctx context.Context) int {
	run, err := s.store.Current(ctx)
	if err != nil {
		return s.out.fail(code(ctx, err), "cannot read the record", err)
	}
	held, err := s.store.Holding(ctx)
	if err != nil {
		return s.out.fail(code(ctx, err), "cannot read the cluster's lease", err)
	}
	if run == nil {
		s.out.line("No run is recorded in namespace %s of %s.", s.cfg.namespace, s.cfg.cluster)
		return s.out.finish(exitDone)
	}
	s.out.run(run)
	s.out.holding(run, held)
	if err := writeReport(s.cfg.reportDir, "run.json", run); err != nil {
		return s.out.fail(exitFailed, "cannot report the run", err)
	}
	return s.out.done(run, "")
}
