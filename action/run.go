package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/upshift-k8s/upshift/internal/engine"
	"github.com/upshift-k8s/upshift/internal/runstore"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

const (
	// leastTimeLimit leaves time to begin anything at all, and limitMargin time to write the checkpoint before the limit.
	leastTimeLimit = 10 * time.Second
	limitMargin    = time.Minute
	// releaseTimeout is for giving the lease back. With the drain's last calls and the engine's checkpoint it stays below the 5 s in
	// which an interrupted process has to be done.
	releaseTimeout = 1250 * time.Millisecond
	// calmReleaseTimeout is the same for a process that has time: a change whose answer was lost may have to be waited for.
	calmReleaseTimeout = 15 * time.Second
	// holderState is what the job's step tells its clean-up: the name under which it holds the lease.
	holderState = "holder"
	// archiveTimeout is for keeping a finished run under its own name.
	archiveTimeout = 30 * time.Second
)

// holder is who runs this process, from where.
func holder(getenv func(string) string) upgrade.Holder {
	if getenv("GITHUB_ACTIONS") == "true" {
		return upgrade.Holder{
			Who:   or(getenv("GITHUB_ACTOR"), "somebody"),
			Where: fmt.Sprintf("GitHub Actions, %s, workflow %s, run %s attempt %s", getenv("GITHUB_REPOSITORY"), getenv("GITHUB_WORKFLOW"), getenv("GITHUB_RUN_ID"), getenv("GITHUB_RUN_ATTEMPT")),
			Link:  fmt.Sprintf("%s/%s/actions/runs/%s/attempts/%s", getenv("GITHUB_SERVER_URL"), getenv("GITHUB_REPOSITORY"), getenv("GITHUB_RUN_ID"), getenv("GITHUB_RUN_ATTEMPT")),
		}
	}
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown machine"
	}
	return upgrade.Holder{Who: or(getenv("USER"), "somebody"), Where: fmt.Sprintf("%s, process %d", host, os.Getpid())}
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// withLock runs do while this process holds the cluster's lease, with a context that ends when that is lost.
func (s *session) withLock(ctx context.Context, do func(context.Context, *runstore.Lock) int) int {
	lock, err := s.store.Acquire(ctx, s.who, func(text string) { s.out.line("%s", text) })
	if err != nil {
		return s.refused(ctx, err)
	}
	s.out.saveState(holderState, lock.Name())
	// What nobody was there to read is asked anew by who still wants it.
	if s.sequence, err = s.store.LastSequence(ctx); err != nil {
		s.out.line("Note     what was asked of earlier runs cannot be read: %s", err)
	}
	exit := do(lock.Context(), lock) //nolint:contextcheck // it is derived from ctx
	timeout := calmReleaseTimeout
	if ctx.Err() != nil {
		timeout = releaseTimeout
	}
	releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	if err := lock.Release(releasing); err != nil {
		s.out.line("upshift: the lease could not be released, and is free by itself half a minute from now: %s", err)
	}
	return exit
}

// refused tells why the cluster may not be worked on.
func (s *session) refused(ctx context.Context, err error) int {
	var held *runstore.Held
	switch {
	case errors.As(err, &held):
		return s.out.fail(exitBlocked, "somebody else is at work", held)
	case errors.As(err, new(*runstore.NoNamespace)):
		return s.out.fail(exitBlocked, "blocked", err)
	}
	return s.out.fail(code(ctx, err), "cannot take the cluster's lease", err)
}

// upgrade is the command upgrade: it goes on with the run of the record, or starts a new one.
func (s *session) upgrade(ctx context.Context) int {
	return s.withLock(ctx, func(ctx context.Context, lock *runstore.Lock) int {
		recorded, err := lock.Run()
		switch {
		case err != nil:
			return s.out.fail(exitFailed, "cannot read the record", err)
		case recorded == nil:
			return s.startRun(ctx, lock)
		case recorded.State.Final():
			// Once more: the process that finished it may have ended before it could.
			if err := lock.Archive(ctx, recorded); err != nil {
				s.out.line("Note     the last run, %s, cannot be kept under its own name: %s", recorded.ID, err)
			}
			return s.startRun(ctx, lock)
		case recorded.State == upgrade.Paused:
			s.out.run(recorded)
			return s.out.fail(exitPaused, "paused, a person is needed", fmt.Errorf("run %s is paused (%s): upshift resume, unblock, rollback or cancel", recorded.ID, recorded.Problem))
		}
		if err := s.continues(recorded); err != nil {
			return s.out.fail(exitBlocked, "blocked", err)
		}
		if s.cfg.approvedDigest != "" && s.cfg.approvedDigest != recorded.Digest {
			return s.out.fail(exitBlocked, "not approved", fmt.Errorf(
				"the approved plan is %s, and run %s, which is not finished, has the plan %s: look at it with plan, and approve it", s.cfg.approvedDigest, recorded.ID, recorded.Digest))
		}
		return s.goOn(ctx, lock, recorded, nil)
	})
}

// continues returns nil if what was asked for is what the unfinished run does, or why not.
func (s *session) continues(run *upgrade.Run) error {
	o := run.Plan.Options
	if s.cfg.options.Target == o.Target && slices.Equal(s.cfg.options.Pools, o.Pools) {
		return nil
	}
	pools := "all node pools"
	if len(o.Pools) > 0 {
		pools = fmt.Sprintf("node pools %v", o.Pools)
	}
	return fmt.Errorf("run %s to %s (%s, %s) is %s and comes first: resume it, or end it with rollback or cancel", run.ID, run.Plan.Target.Version, o.Target, pools, run.State)
}

// startRun plans, and carries the plan out unless something forbids it.
func (s *session) startRun(ctx context.Context, lock *runstore.Lock) int {
	plan, title, exit, err := s.newPlan(ctx)
	if err != nil {
		return s.out.fail(exit, title, err)
	}
	if s.cfg.approvedDigest != "" && s.cfg.approvedDigest != plan.Digest {
		return s.out.fail(exitBlocked, "not approved", fmt.Errorf(
			"the approved plan is %s, and the cluster or the inputs have changed since: the plan is now %s; look at it and approve it", s.cfg.approvedDigest, plan.Digest))
	}
	if plan.Verdict == upgrade.Blocked {
		return s.out.fail(exitBlocked, "blocked", errors.New(blockers(plan)))
	}
	if missing := plan.MissingConsents(s.cfg.granted); len(missing) > 0 {
		return s.out.fail(exitBlocked, "consent is missing", errors.New(missingConsents(plan, missing)))
	}
	now := time.Now().UTC()
	run := upgrade.NewRun(upgrade.NewRunID(now), plan, now)
	if plan.NothingToDo() {
		return s.out.nothingToDo(run)
	}
	run.Granted = s.cfg.granted
	s.takeApprovals(ctx, run)
	s.out.line("Run %s of %s begins.", run.ID, plan.Digest)
	return s.carryOut(ctx, lock, run, nil)
}

// takeApprovals puts the approvals of the plan, if people gave any, into the run that it becomes.
func (s *session) takeApprovals(ctx context.Context, run *upgrade.Run) {
	proposal, err := s.store.Proposal(ctx)
	if err != nil {
		s.out.line("Note     the approvals cannot be read: %s", err)
		return
	}
	if proposal != nil {
		run.Approvals = proposal.ApprovalsOf(run.Digest, run.StartedAt)
	}
}

// resume is the command resume.
func (s *session) resume(ctx context.Context) int {
	return s.withLock(ctx, func(ctx context.Context, lock *runstore.Lock) int {
		recorded, err := lock.Run()
		if err != nil {
			return s.out.fail(exitFailed, "cannot read the record", err)
		}
		if why := nothingTo("resume", recorded); why != nil {
			return s.out.fail(exitBlocked, "nothing to resume", why)
		}
		return s.goOn(ctx, lock, recorded, nil)
	})
}

// nothingTo says why a run cannot be paused, resumed and so on, nil if it can.
func nothingTo(verb string, run *upgrade.Run) error {
	if verb == string(upgrade.AskRollback) {
		verb = "roll back"
	}
	switch {
	case run == nil:
		return fmt.Errorf("nothing to %s: no run is recorded on this cluster", verb)
	case run.State.Final():
		return fmt.Errorf("nothing to %s: the last run, %s, is %s", verb, run.ID, run.State)
	}
	return nil
}

// goOn carries out what is left of a run of the record, and first what a person asks, if anything.
func (s *session) goOn(ctx context.Context, lock *runstore.Lock, run *upgrade.Run, first *upgrade.Request) int {
	if c := run.Plan.Cluster; c.Project != s.cfg.cluster.Project || c.Location != s.cfg.cluster.Location || c.Name != s.cfg.cluster.Cluster {
		return s.out.fail(exitBlocked, "blocked", fmt.Errorf("the record is about another cluster, projects/%s/locations/%s/clusters/%s: this one was made from a copy of that, or the record was", c.Project, c.Location, c.Name))
	}
	if err := s.watch(ctx, run.Plan.Cluster.PoolLabel); err != nil {
		return s.out.fail(code(ctx, err), "cannot read the cluster", err)
	}
	if s.cfg.command == "upgrade" {
		s.tellIgnored(run)
	}
	if first == nil {
		s.out.line("Run %s of %s goes on, with the plan and the options of its record; it was %s.", run.ID, run.Digest, was(run))
	}
	return s.carryOut(ctx, lock, run, first)
}

// tellIgnored names the inputs that differ from the record's options, which are the ones that count.
func (s *session) tellIgnored(run *upgrade.Run) {
	asked, recorded := s.cfg.options, run.Plan.Options
	for _, o := range []struct {
		input     string
		ask, have any
	}{
		{"strategy", asked.Strategy, recorded.Strategy}, {"drain-timeout", time.Duration(asked.DrainTimeout), time.Duration(recorded.DrainTimeout)},
		{"soak", time.Duration(asked.Soak), time.Duration(recorded.Soak)}, {"delete-old-pools", asked.Delete, recorded.Delete},
		{"on-failure", asked.OnFailure, recorded.OnFailure},
	} {
		if o.ask != o.have {
			s.out.line("Note     %s: %v does not apply: run %s began with %v, and goes on with it", o.input, o.ask, run.ID, o.have)
		}
	}
}

// was says how a run was left.
func was(run *upgrade.Run) string {
	if run.State == upgrade.Running {
		return "left running by " + run.Holder().String()
	}
	return fmt.Sprintf("%s (%s)", run.State, run.Problem)
}

// carryOut runs the engine on a run that this process holds the lock for.
func (s *session) carryOut(ctx context.Context, lock *runstore.Lock, run *upgrade.Run, first *upgrade.Request) int {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	run.Acknowledged = max(s.sequence, run.Acknowledged)
	run.TakenBy(lock.Holder())
	if len(run.Approvals) > 0 && run.Steps[0].StartedAt == nil {
		// Recorded first, and then no longer pending.
		if err := errors.Join(lock.Save(ctx, run), s.store.Withdraw(ctx, run.Digest)); err != nil {
			return s.out.fail(code(ctx, err), "cannot record the approvals", err)
		}
	}
	defer s.limit(stop)()
	s.out.startRun(run)
	e := engine.Engine{
		Provider: s.provider, Cluster: s.cluster, Lock: lock, Record: &journal{lock: lock, session: s}, First: first,
		Requests: s.store.Requests(ctx, run.Acknowledged), Outages: lock.Outages(), Notify: s.out.event,
	}
	err := e.Run(ctx, run)
	if run.State.Final() {
		archiving, cancel := context.WithTimeout(ctx, archiveTimeout)
		defer cancel()
		if err := lock.Archive(archiving, run); err != nil {
			s.out.line("upshift: the finished run is in the record, and could not be kept under its own name: %s", err)
		}
	}
	var refused *engine.Refused
	if errors.As(err, &refused) {
		return s.out.fail(exitFailed, "not obeyed", refused)
	}
	return s.out.endRun(run, err, first)
}

// limit stops the run before the process's time is up. It returns what ends the watch of the clock.
func (s *session) limit(stop context.CancelCauseFunc) func() {
	if s.cfg.timeLimit == 0 {
		return func() {}
	}
	left := s.cfg.timeLimit - min(limitMargin, s.cfg.timeLimit/10) - time.Since(s.start)
	timer := time.AfterFunc(left, func() {
		stop(&engine.Stop{Reason: fmt.Sprintf("the time limit of %s is near", s.cfg.timeLimit)})
	})
	return func() { timer.Stop() }
}

// journal is the engine's record: in the cluster, and as a file of the report.
type journal struct {
	lock    *runstore.Lock
	session *session
	told    bool
}

func (j *journal) Save(ctx context.Context, run *upgrade.Run) error {
	err := j.lock.Save(ctx, run)
	if fileErr := writeReport(j.session.cfg.reportDir, "run.json", run); fileErr != nil && !j.told {
		j.told = true
		j.session.out.line("upshift: the run goes on and is recorded in the cluster, but not in its file: %s", fileErr)
	}
	return err
}
