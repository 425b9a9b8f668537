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

// begin starts the run of a plan that was agreed on, if the cluster is still what the plan says and the approvals still stand: both
// are looked at again while nobody else can work on the cluster. The caller holds deciding. An error means that it is to be tried again.
func (c *cluster) begin(ctx context.Context, s *session.Session, p upgrade.Proposal) error {
	work, err := c.work(s, "")
	var held *runstore.Held
	switch {
	case errors.As(err, &held):
		c.close(ctx, s, p, fmt.Sprintf(":no_entry: Not started: %s. Nothing was changed.", slack.Escape(held.Error())))
		return nil
	case err != nil:
		return err
	}
	run, err := c.prepare(work, s, p)
	if run == nil {
		c.end(work)
		return err
	}
	c.carry(work, run, nil, nil)
	return nil
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

// prepare makes the run of an approved plan, nil if it must not start: then the question is closed, asked anew, or open again.
func (c *cluster) prepare(work *session.Work, s *session.Session, p upgrade.Proposal) (*upgrade.Run, error) {
	ctx, cancel := context.WithTimeout(work.Context(), commandTimeout)
	defer cancel()
	recorded, err := work.Recorded()
	if err != nil {
		return nil, err
	}
	if recorded != nil && !recorded.State.Final() {
		c.close(ctx, s, p, fmt.Sprintf(":no_entry: Not started: run %s is %s and comes first. Nothing was changed.", recorded.ID, recorded.State))
		return nil, nil
	}
	if recorded != nil {
		if err := work.Archive(ctx, recorded); err != nil {
			c.log.Warn("the last run cannot be kept under its own name", "run", recorded.ID, "error", err)
		}
	}
	plan, err := s.Plan(ctx, p.Plan.Options)
	switch {
	case errors.As(err, new(*session.BadRequest)):
		c.close(ctx, s, p, fmt.Sprintf(":no_entry: Not started: %s. Nothing was changed.", slack.Escape(err.Error())))
		return nil, nil
	case err != nil:
		return nil, err
	case plan.Digest != p.Plan.Digest:
		return nil, c.askAnew(ctx, s, p, plan)
	}
	c.bot.directory.forget()
	a, err := c.collect(ctx, s, p.Approvals)
	if err != nil {
		return nil, err
	}
	entitled := c.entitled(ctx, a)
	if a.Decide(c.cfg.quorum, entitled, time.Now()) != upgrade.Agreed {
		c.poke() // and is looked at as what it is now
		return nil, nil
	}
	now := time.Now().UTC()
	run := upgrade.NewRun(upgrade.NewRunID(now), plan, now)
	run.Granted = plan.Consents
	run.Approvals = slices.DeleteFunc(a.Approving(), func(v upgrade.Approval) bool { return !entitled(v.ID) })
	run.Requester = &upgrade.Person{Name: a.Requester, ID: a.RequesterID}
	run.Slack = &upgrade.Thread{Channel: a.SlackChannel, Timestamp: a.SlackTimestamp, Question: a.ID}
	return run, nil
}

// askAnew ends a question whose plan is not what would run any more, and asks about the new one, with the difference.
func (c *cluster) askAnew(ctx context.Context, s *session.Session, p upgrade.Proposal, plan upgrade.Plan) error {
	differences := upgrade.Differences(p.Plan, plan)
	void := ":arrows_counterclockwise: Void: the cluster has changed since, and the approvals were for another plan. Nothing was changed"
	switch {
	case plan.Verdict == upgrade.Blocked:
		c.close(ctx, s, p, fmt.Sprintf("%s. It cannot start now: %s.", void, slack.Escape(report.Blockers(plan)[0])))
		return nil
	case plan.NothingToDo():
		c.close(ctx, s, p, void+"; there is nothing to do any more.")
		return nil
	}
	c.close(ctx, s, p, void+". The new plan is asked about below.")
	a := p.Approvals
	return c.ask(ctx, s, upgrade.Proposal{Plan: plan, Approvals: upgrade.Approvals{Requester: a.Requester, RequesterID: a.RequesterID, SlackChannel: a.SlackChannel}}, differences)
}

// carry carries out a run on a goroutine of its own; over is told how that ended. First is what a person asks of it, nil for nothing.
func (c *cluster) carry(work *session.Work, run *upgrade.Run, first *upgrade.Request, over func(error)) {
	c.mu.Lock()
	c.working = true
	c.mu.Unlock()
	c.log.Info("a run is carried out", "run", run.ID, "digest", run.Digest, "requester", requesterOf(run))
	c.running.Go(func() {
		err := work.CarryOut(work.Context(), run, first, session.Hooks{
			Notify: c.notice,
			Unkept: func(err error) { c.log.Warn("the finished run cannot be kept under its own name", "error", err) },
		})
		c.log.Info("a run ends here", "run", run.ID, "state", run.State, "error", err)
		c.end(work)
		c.mu.Lock()
		c.working, c.away, c.tried = false, time.Time{}, time.Now()
		c.mu.Unlock()
		if errors.As(err, new(*session.NotBegun)) {
			c.later(retryEvery)
		} else if !errors.As(err, new(*upgrade.Halt)) && !errors.As(err, new(*engine.Refused)) {
			c.see(run)
		}
		if over != nil {
			over(err)
		}
	})
}

func requesterOf(run *upgrade.Run) string {
	if run.Requester == nil {
		return ""
	}
	return run.Requester.ID
}

// takeUp goes on with a run that a bot left: after a crash, a restart or a lost lease. What people paused, and what others carry out,
// it leaves alone.
func (c *cluster) takeUp(ctx context.Context) {
	c.mu.Lock()
	run := c.last
	wanted := run != nil && (run.State == upgrade.Running || run.State == upgrade.Interrupted) && run.Holder().Resumes && !c.working && time.Since(c.tried) > retryEvery
	c.mu.Unlock()
	if !wanted || ctx.Err() != nil || !c.deciding.TryLock() {
		return
	}
	c.bot.do(func(ctx context.Context) {
		defer c.deciding.Unlock()
		c.mu.Lock()
		c.tried = time.Now()
		c.mu.Unlock()
		if err := c.goOn(ctx); err != nil && ctx.Err() == nil {
			c.log.Info("a run that was left is not gone on with yet", "run", run.ID, "why", err)
		}
	})
}

// goOn takes the lease and goes on with the run of the record, if it is still a bot's.
func (c *cluster) goOn(ctx context.Context) error {
	s, err := c.connected(ctx)
	if err != nil {
		return err
	}
	work, err := c.work(s, "")
	if err != nil {
		return err
	}
	run, err := work.Recorded()
	if err != nil || run == nil || run.State != upgrade.Running && run.State != upgrade.Interrupted || !run.Holder().Resumes {
		c.end(work)
		return err
	}
	c.carry(work, run, nil, nil)
	return nil
}
