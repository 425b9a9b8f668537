package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/upshift-k8s/upshift/internal/engine"
	"github.com/upshift-k8s/upshift/internal/report"
	"github.com/upshift-k8s/upshift/internal/runstore"
	"github.com/upshift-k8s/upshift/internal/session"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

const (
	// leastTimeLimit leaves time to begin anything at all, and limitMargin time to write the checkpoint before the limit.
	leastTimeLimit = 10 * time.Second
	limitMargin    = time.Minute
	// holderState is what the job's step tells its clean-up: the name under which it holds the lease.
	holderState = "holder"
)

// holder is who runs this process, from where.
func holder(getenv func(string) string) upgrade.Holder {
	if getenv("GITHUB_ACTIONS") == "true" {
		return upgrade.Holder{
			Who:   cmp.Or(getenv("GITHUB_ACTOR"), "somebody"),
			Where: fmt.Sprintf("GitHub Actions, %s, workflow %s, run %s attempt %s", getenv("GITHUB_REPOSITORY"), getenv("GITHUB_WORKFLOW"), getenv("GITHUB_RUN_ID"), getenv("GITHUB_RUN_ATTEMPT")),
			Link:  fmt.Sprintf("%s/%s/actions/runs/%s/attempts/%s", getenv("GITHUB_SERVER_URL"), getenv("GITHUB_REPOSITORY"), getenv("GITHUB_RUN_ID"), getenv("GITHUB_RUN_ATTEMPT")),
		}
	}
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown machine"
	}
	return upgrade.Holder{Who: cmp.Or(getenv("USER"), "somebody"), Where: fmt.Sprintf("%s, process %d", host, os.Getpid())}
}

// working runs do while this process has the right to work on the cluster, with a context that ends when that is lost.
func (c *command) working(ctx context.Context, do func(context.Context, *session.Work) int) int {
	work, err := c.cluster.Work(ctx, c.who, func(text string) { c.out.line("%s", text) })
	if err != nil {
		return c.refused(ctx, err)
	}
	c.out.saveState(holderState, work.Name())
	exit := do(work.Context(), work)   //nolint:contextcheck // it is derived from ctx
	if err := work.End(); err != nil { //nolint:contextcheck // it outlives ctx on purpose
		c.out.line("upshift: the lease could not be released, and is free by itself half a minute from now: %s", err)
	}
	return exit
}

// refused tells why the cluster may not be worked on.
func (c *command) refused(ctx context.Context, err error) int {
	var held *runstore.Held
	switch {
	case errors.As(err, &held):
		return c.out.fail(exitBlocked, "somebody else is at work", held)
	case errors.As(err, new(*runstore.NoNamespace)):
		return c.out.fail(exitBlocked, "blocked", err)
	}
	return c.out.fail(code(ctx, err), "cannot take the cluster's lease", err)
}

// upgrade is the command upgrade: it goes on with the run of the record, or starts a new one.
func (c *command) upgrade(ctx context.Context) int {
	return c.working(ctx, func(ctx context.Context, work *session.Work) int {
		recorded, err := work.Recorded()
		switch {
		case err != nil:
			return c.out.fail(exitFailed, "cannot read the record", err)
		case recorded == nil:
			return c.startRun(ctx, work)
		case recorded.State.Final():
			// Once more: the process that finished it may have ended before it could.
			if err := work.Archive(ctx, recorded); err != nil {
				c.out.line("Note     the last run, %s, cannot be kept under its own name: %s", recorded.ID, err)
			}
			return c.startRun(ctx, work)
		case recorded.State == upgrade.Paused && !recorded.Yielded:
			c.out.run(recorded)
			return c.out.fail(exitPaused, "paused, a person is needed", fmt.Errorf("run %s is paused (%s): upshift resume, unblock, rollback or cancel", recorded.ID, recorded.Problem))
		}
		if err := c.continues(recorded); err != nil {
			return c.out.fail(exitBlocked, "blocked", err)
		}
		if c.cfg.approvedDigest != "" && c.cfg.approvedDigest != recorded.Digest {
			return c.out.fail(exitBlocked, "not approved", fmt.Errorf(
				"the approved plan is %s, and run %s, which is not finished, has the plan %s: look at it with plan, and approve it", c.cfg.approvedDigest, recorded.ID, recorded.Digest))
		}
		return c.goOn(ctx, work, recorded, nil)
	})
}

// continues returns nil if what was asked for is what the unfinished run does, or why not.
func (c *command) continues(run *upgrade.Run) error {
	o := run.Plan.Options
	asked := c.cfg.options
	sameScope := o.Scope == "" || asked.Scope == o.Scope // there were no scopes in a record of old
	if asked.Target == o.Target && slices.Equal(asked.Pools, o.Pools) && sameScope {
		return nil
	}
	pools := "all node pools"
	if len(o.Pools) > 0 {
		pools = fmt.Sprintf("node pools %v", o.Pools)
	}
	if o.Scope == upgrade.ScopeControlPlane {
		pools = "the control plane alone"
	}
	return fmt.Errorf("run %s to %s (%s, %s) is %s and comes first: resume it, or end it with rollback or cancel", run.ID, run.Plan.Target.Version, o.Target, pools, run.State)
}

// startRun plans, and carries the plan out unless something forbids it.
func (c *command) startRun(ctx context.Context, work *session.Work) int {
	plan, title, exit, err := c.newPlan(ctx, work)
	if err != nil {
		return c.out.fail(exit, title, err)
	}
	if c.cfg.approvedDigest != "" && c.cfg.approvedDigest != plan.Digest {
		return c.out.fail(exitBlocked, "not approved", fmt.Errorf(
			"the approved plan is %s, and the cluster or the inputs have changed since: the plan is now %s; look at it and approve it", c.cfg.approvedDigest, plan.Digest))
	}
	if plan.Verdict == upgrade.Blocked {
		return c.out.fail(exitBlocked, "blocked", errors.New(strings.Join(report.Blockers(plan), "\n")))
	}
	if missing := plan.MissingConsents(c.cfg.granted); len(missing) > 0 {
		return c.out.fail(exitBlocked, "consent is missing", errors.New(strings.Join(report.MissingConsents(plan, missing), "\n")))
	}
	now := time.Now().UTC()
	run := upgrade.NewRun(upgrade.NewRunID(now), plan, now)
	if plan.NothingToDo() {
		return c.out.nothingToDo(run)
	}
	run.Granted = c.cfg.granted
	c.takeApprovals(ctx, run)
	if err := work.Record(ctx, run); err != nil {
		return c.out.fail(code(ctx, err), "cannot record the run", err)
	}
	c.out.line("Run %s of %s begins.", run.ID, plan.Digest)
	return c.carryOut(ctx, work, run, nil)
}

// takeApprovals puts the approvals of the plan, if people gave any, into the run that it becomes, and where people are asked about it.
func (c *command) takeApprovals(ctx context.Context, run *upgrade.Run) {
	proposal, err := c.cluster.Store().Proposal(ctx)
	if err != nil {
		c.out.line("Note     the approvals cannot be read: %s", err)
		return
	}
	if proposal == nil || proposal.Approvals.Digest != run.Digest {
		return
	}
	run.Approvals = proposal.ApprovalsOf(run.Digest, run.StartedAt)
	if a := proposal.Approvals; a.SlackTimestamp != "" {
		run.Requester = &upgrade.Person{Name: a.Requester, ID: a.RequesterID}
		run.Slack = &upgrade.Thread{Channel: a.SlackChannel, Timestamp: a.SlackTimestamp, Question: a.ID}
	}
}

// resume is the command resume.
func (c *command) resume(ctx context.Context) int {
	return c.working(ctx, func(ctx context.Context, work *session.Work) int {
		recorded, err := work.Recorded()
		if err != nil {
			return c.out.fail(exitFailed, "cannot read the record", err)
		}
		if why := session.NothingTo("resume", recorded); why != nil {
			return c.out.fail(exitBlocked, "nothing to resume", why)
		}
		return c.goOn(ctx, work, recorded, nil)
	})
}

// goOn carries out what is left of a run of the record, and first what a person asks, if anything.
func (c *command) goOn(ctx context.Context, work *session.Work, run *upgrade.Run, first *upgrade.Request) int {
	err := work.Prepare(ctx, run)
	switch {
	case errors.As(err, new(*session.AnotherCluster)):
		return c.out.fail(exitBlocked, "blocked", err)
	case err != nil:
		return c.out.fail(code(ctx, err), "cannot read the cluster", err)
	}
	if c.cfg.command == "upgrade" {
		c.tellIgnored(run)
	}
	if first == nil {
		c.out.line("Run %s of %s goes on, with the plan and the options of its record; it was %s.", run.ID, run.Digest, report.Was(run))
	}
	return c.carryOut(ctx, work, run, first)
}

// tellIgnored names the inputs that differ from the record's options, which are the ones that count.
func (c *command) tellIgnored(run *upgrade.Run) {
	asked, recorded := c.cfg.options, run.Plan.Options
	for _, o := range []struct {
		input     string
		ask, have any
	}{
		{"scope", asked.Scope, cmp.Or(recorded.Scope, upgrade.ScopeNodes)}, {"max-surge", asked.MaxSurge, recorded.MaxSurge},
		{"max-unavailable", asked.MaxUnavailable, recorded.MaxUnavailable},
		{"strategy", asked.Strategy, recorded.Strategy}, {"max-parallel-drains", asked.Parallel.String(), recorded.Parallel.String()},
		{"drain-timeout", time.Duration(asked.DrainTimeout), time.Duration(recorded.DrainTimeout)},
		{"soak", time.Duration(asked.Soak), time.Duration(recorded.Soak)}, {"delete-old-pools", asked.Delete, recorded.Delete},
		{"new-pool-size", asked.Size, cmp.Or(recorded.Size, upgrade.SizeSame)}, {"maintenance", asked.Maintenance, cmp.Or(recorded.Maintenance, upgrade.IgnoreMaintenance)},
		{"pools", pools(asked), pools(recorded)},
		{"on-failure", asked.OnFailure, recorded.OnFailure}, {"jobs", asked.Jobs, cmp.Or(recorded.Jobs, upgrade.WaitForJobs)},
		{"new-pool", asked.NewPool, recorded.NewPool}, {"wait", cmp.Or(asked.Wait, upgrade.WaitHold), cmp.Or(recorded.Wait, upgrade.WaitHold)},
	} {
		if o.ask != o.have {
			c.out.line("Note     %s: %v does not apply: run %s began with %v, and goes on with it", o.input, o.ask, run.ID, o.have)
		}
	}
}

// pools are the options that pools have of their own, as JSON: the same text for the same options.
func pools(o upgrade.Options) string {
	data, _ := json.Marshal(o.PerPool) // strings alone
	return string(data)
}

// carryOut runs the engine on a run that this process holds the lock for.
func (c *command) carryOut(ctx context.Context, work *session.Work, run *upgrade.Run, first *upgrade.Request) int {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer c.limit(stop)()
	c.out.startRun(run)
	file := c.fileRun()
	err := work.CarryOut(ctx, run, first, session.Hooks{
		Notify: c.out.event,
		Saved:  file,
		Unkept: func(err error) {
			c.out.line("upshift: the finished run is in the record, and could not be kept under its own name: %s", err)
		},
	})
	file(run) // also if its last write to the cluster failed
	var refused *engine.Refused
	if errors.As(err, &refused) {
		return c.out.fail(exitFailed, "not obeyed", refused)
	}
	return c.out.endRun(run, err, first)
}

// limit stops the run before the process's time is up. It returns what ends the watch of the clock.
func (c *command) limit(stop context.CancelCauseFunc) func() {
	if c.cfg.timeLimit == 0 {
		return func() {}
	}
	left := c.cfg.timeLimit - min(limitMargin, c.cfg.timeLimit/10) - time.Since(c.start)
	timer := time.AfterFunc(left, func() {
		stop(&engine.Stop{Reason: fmt.Sprintf("the time limit of %s is near", c.cfg.timeLimit)})
	})
	return func() { timer.Stop() }
}

// fileRun returns what keeps the run as a file of the report, too.
func (c *command) fileRun() func(*upgrade.Run) {
	told := false
	return func(run *upgrade.Run) {
		if err := writeReport(c.cfg.reportDir, "run.json", run); err != nil && !told {
			told = true
			c.out.line("upshift: the run goes on and is recorded in the cluster, but not in its file: %s", err)
		}
	}
}
