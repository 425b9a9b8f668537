package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/upshift-k8s/upshift/internal/engine"
	"github.com/upshift-k8s/upshift/internal/report"
	"github.com/upshift-k8s/upshift/internal/runstore"
	"github.com/upshift-k8s/upshift/internal/session"
	"github.com/upshift-k8s/upshift/internal/slack"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// recordTimeout is how long recording a new run may take: an approval is for now, and not for when the API is back.
const recordTimeout = 30 * time.Second

// begin starts the run of a plan that was agreed on, if the cluster is still what the plan says and the approvals still stand: both
// are looked at again while nobody else can work on the cluster. The caller holds deciding, and when begin returns, the run is recorded
// and the question is pending no more, or everything is as it was. An error means that it is to be tried again.
func (c *cluster) begin(ctx context.Context, s *session.Session, p upgrade.Proposal) error {
	work, err := c.work(s, "")
	var held *runstore.Held
	switch {
	case errors.As(err, &held):
		c.showQuestion(p, fmt.Sprintf(":hourglass: Approved, and waits: %s.", slack.Escape(held.Error())))
		c.later(refreshEvery)
		return nil
	case err != nil:
		return err
	}
	run, anew, err := c.prepare(ctx, work, s, p)
	if run != nil {
		c.carry(work, run, nil, audience{})
		return nil
	}
	c.end(work)
	if anew != nil {
		return c.askAnew(ctx, s, p, *anew)
	}
	return err
}

// work takes the cluster's lease, for a run.
func (c *cluster) work(s *session.Session, why string) (*session.Work, error) {
	return s.Work(c.runs, c.holder(why), func(text string) { c.log.Info("taking the lease", "text", text) })
}

func (c *cluster) end(work *session.Work) {
	if err := work.End(); err != nil {
		c.log.Warn("the lease could not be released, and is free by itself half a minute from now", "error", err)
	}
}

// prepare makes and records the run of an approved plan, nil if it must not start: then the question is closed or open again, or the
// plan that it would be now is returned, to be asked about anew.
func (c *cluster) prepare(ctx context.Context, work *session.Work, s *session.Session, p upgrade.Proposal) (run *upgrade.Run, anew *upgrade.Plan, err error) {
	// Another process may have run the plan, and given the lease back, since the question was read.
	pending, err := s.Store().Proposal(ctx)
	if err != nil || pending == nil || pending.Approvals.ID != p.Approvals.ID {
		return nil, nil, err
	}
	p = *pending
	recorded, err := work.Recorded()
	if err != nil {
		return nil, nil, err
	}
	if becameOf(p, recorded) {
		c.poke()
		return nil, nil, nil
	}
	if recorded != nil && !recorded.State.Final() {
		return nil, nil, c.close(ctx, s, p, fmt.Sprintf(":no_entry: Not started: run %s is %s and comes first. Nothing was changed.", recorded.ID, recorded.State))
	}
	if recorded != nil {
		if err := work.Archive(ctx, recorded); err != nil {
			c.log.Warn("the last run cannot be kept under its own name", "run", recorded.ID, "error", err)
		}
	}
	plan, err := work.Plan(ctx, p.Plan.Options)
	switch {
	case errors.As(err, new(*session.BadRequest)):
		return nil, nil, c.close(ctx, s, p, fmt.Sprintf(":no_entry: Not started: %s. Nothing was changed.", slack.Escape(err.Error())))
	case err != nil:
		return nil, nil, err
	case plan.Digest != p.Plan.Digest:
		return nil, &plan, nil
	}
	c.bot.directory.forget()
	a, err := c.collect(ctx, s, p.Approvals)
	if err != nil {
		return nil, nil, err
	}
	may, err := c.rights(ctx, a)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now().UTC()
	if a.Decide(c.cfg.quorum, may, now) != upgrade.Agreed {
		c.poke() // and is looked at as what it is now
		return nil, nil, nil
	}
	run = upgrade.NewRun(upgrade.NewRunID(now), plan, now)
	run.Granted = plan.Consents
	run.Approvals = slices.DeleteFunc(a.Approving(), func(v upgrade.Approval) bool { return !may(v.ID) })
	run.Requester = &upgrade.Person{Name: a.Requester, ID: a.RequesterID}
	run.Slack = &upgrade.Thread{Channel: a.SlackChannel, Timestamp: a.SlackTimestamp, Question: a.ID}
	recording, cancel := context.WithTimeout(work.Context(), recordTimeout)
	defer cancel()
	if err := work.Record(recording, run); err != nil {
		return nil, nil, err // should it be recorded all the same, it has begun, and is gone on with
	}
	return run, nil, nil
}

// askAnew ends a question whose plan is not what would run any more, and asks about the new one, with the difference.
func (c *cluster) askAnew(ctx context.Context, s *session.Session, p upgrade.Proposal, plan upgrade.Plan) error {
	void := ":arrows_counterclockwise: Void: the cluster has changed since, and the approvals were for another plan. Nothing was changed"
	switch {
	case plan.Verdict == upgrade.Blocked:
		return c.close(ctx, s, p, fmt.Sprintf("%s. It cannot start now: %s.", void, slack.Escape(report.Blockers(plan)[0])))
	case plan.NothingToDo():
		return c.close(ctx, s, p, void+"; there is nothing to do any more.")
	}
	a := p.Approvals
	next := upgrade.Proposal{Plan: plan, Approvals: upgrade.Approvals{
		Requester: a.Requester, RequesterID: a.RequesterID, SlackChannel: a.SlackChannel, Differences: upgrade.Differences(p.Plan, plan),
	}}
	if err := c.put(ctx, s, &next); err != nil {
		return err
	}
	c.showClosed(p, void+". The new plan is asked about below.")
	return nil
}

// audience is who wants to know what comes of a run that they asked something of. Each may be nil.
type audience struct {
	// saved is told the run after each write of the record, and over how carrying it out here ended.
	saved func(*upgrade.Run)
	over  func(error)
}

// carry carries out a run of the record on a goroutine of its own. First is what a person asks of it, nil for nothing.
func (c *cluster) carry(work *session.Work, run *upgrade.Run, first *upgrade.Request, a audience) {
	c.mu.Lock()
	c.working = true
	c.mu.Unlock()
	c.log.Info("a run is carried out", "run", run.ID, "digest", run.Digest, "requester", requesterOf(run))
	c.running.Go(func() {
		err := work.CarryOut(work.Context(), run, first, session.Hooks{
			Notify: c.notice, Saved: a.saved,
			Unkept: func(err error) { c.log.Warn("the finished run cannot be kept under its own name", "error", err) },
		})
		c.log.Info("a run ends here", "run", run.ID, "state", run.State, "error", err)
		// Before the lease is free, and somebody else can go on.
		c.mu.Lock()
		c.working, c.away, c.tried = false, time.Time{}, time.Now()
		c.mu.Unlock()
		if !errors.As(err, new(*upgrade.Halt)) && !errors.As(err, new(*engine.Refused)) {
			c.see(run)
		}
		c.end(work)
		if a.over != nil {
			a.over(err)
		}
		c.poke()
	})
}

func (c *cluster) isWorking() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.working
}

func requesterOf(run *upgrade.Run) string {
	if run.Requester == nil {
		return ""
	}
	return run.Requester.ID
}

// left tells that a bot left the run: that it is neither over nor paused, and that a service carried it out last.
func left(run *upgrade.Run) bool {
	return run != nil && (run.State == upgrade.Running || run.State == upgrade.Interrupted) && run.Holder().Resumes
}

// takeUp goes on with a run that a bot left: after a crash, a restart or a lost lease. What people paused, and what others carry out,
// it leaves alone.
func (c *cluster) takeUp(ctx context.Context) {
	c.mu.Lock()
	run := c.last
	wanted := left(run) && !c.working && c.heldOff != run.ID && time.Since(c.tried) > retryEvery
	c.mu.Unlock()
	if !wanted || ctx.Err() != nil || !c.deciding.TryLock() {
		return
	}
	c.bot.do(func(ctx context.Context) {
		defer c.deciding.Unlock()
		c.mu.Lock()
		c.tried = time.Now()
		c.mu.Unlock()
		if err := c.goOn(ctx, run.ID); err != nil && ctx.Err() == nil {
			c.log.Info("a run that was left is not gone on with yet", "run", run.ID, "why", err)
		}
	})
}

// goOn takes the lease and goes on with the run of the record, if it is still that one and a bot's.
func (c *cluster) goOn(ctx context.Context, id string) error {
	s, err := c.connected(ctx)
	if err != nil {
		return err
	}
	work, err := c.work(s, "")
	if err != nil {
		return err
	}
	run, err := work.Recorded()
	c.mu.Lock()
	heldOff := c.heldOff == id
	c.mu.Unlock()
	if err == nil && left(run) && run.ID == id && !heldOff {
		if err = work.Prepare(ctx, run); err == nil {
			c.carry(work, run, nil, audience{})
			return nil
		}
	}
	c.end(work)
	if errors.As(err, new(*session.AnotherCluster)) {
		c.holdOff(id)
	}
	return err
}

// holdOff has the bot leave a run alone until somebody resumes it.
func (c *cluster) holdOff(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heldOff = id
}
