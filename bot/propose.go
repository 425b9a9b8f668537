package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/upshift-k8s/upshift/internal/report"
	"github.com/upshift-k8s/upshift/internal/session"
	"github.com/upshift-k8s/upshift/internal/slack"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// postTimeout is how long a new question may take to appear in the channel before the one who asked is told that Slack does not have it.
const postTimeout = time.Minute

// options are the cluster's, changed by what was typed.
func (c *cluster) options(typed []slack.Option) (upgrade.Options, error) {
	options := c.cfg.options
	var problems []error
	for _, o := range typed {
		if err := options.Set(o.Name, o.Value); err != nil {
			problems = append(problems, fmt.Errorf("%s: “%s”: %w", o.Name, o.Value, err))
		}
	}
	return options, errors.Join(problems...)
}

// look shows a plan to one person, with nothing to approve.
func (c *cluster) look(ctx context.Context, s *session.Session, run *upgrade.Run, o order) error {
	options, err := c.options(o.options)
	if err != nil {
		return err
	}
	plan, err := s.Plan(ctx, options)
	if err != nil {
		return fmt.Errorf("no plan for %s: %w", c.name(), err)
	}
	if run != nil && !run.State.Final() {
		o.answer.say(ctx, slack.Say("Run %s is %s and comes first: what follows cannot start yet.", run.ID, run.State))
	}
	o.answer.say(ctx, slack.PlanMessage(plan))
	return nil
}

// propose makes a plan and asks people to approve it.
func (c *cluster) propose(ctx context.Context, s *session.Session, run *upgrade.Run, o order, who slack.Member) error {
	options, err := c.options(o.options)
	if err != nil {
		return err
	}
	if run != nil && !run.State.Final() {
		return fmt.Errorf("run %s on %s is %s and comes first: /upgrade status %s shows it; it goes on with resume, and ends with rollback or cancel", run.ID, c.name(), run.State, c.name())
	}
	o.answer.say(ctx, slack.Say("Reading %s…", c.name()))
	plan, err := s.Plan(ctx, options)
	if err != nil {
		return fmt.Errorf("no plan for %s: %w", c.name(), err)
	}
	switch {
	case plan.Verdict == upgrade.Blocked:
		o.answer.say(ctx, slack.PlanMessage(plan))
		return fmt.Errorf("%s cannot be upgraded like this: %s; there is nothing to approve", c.name(), report.Plural(plan.Count(upgrade.Blocker), "blocker"))
	case plan.NothingToDo():
		return fmt.Errorf("nothing to do: every node pool of the plan is at %s or newer", plan.Target.Version)
	}
	c.deciding.Lock()
	defer c.deciding.Unlock()
	pending, err := s.Store().Proposal(ctx)
	if err != nil {
		return fmt.Errorf("what waits for approval cannot be read: %w", err)
	}
	if pending != nil && pending.Approvals.ID != "" {
		if pending.Approvals.Digest == plan.Digest && pending.Approvals.SlackTimestamp != "" && time.Now().Before(pending.Approvals.Expires) {
			at := upgrade.Thread{Channel: pending.Approvals.SlackChannel, Timestamp: pending.Approvals.SlackTimestamp}
			return fmt.Errorf("this plan waits for approval already, asked for by %s: %s", pending.Approvals.Requester, slack.Link(c.bot.directory.me, at))
		}
		c.close(ctx, s, *pending, fmt.Sprintf(":arrows_counterclockwise: A newer plan takes its place, asked for by %s.", slack.Mention(who.ID)))
	}
	return c.ask(ctx, s, upgrade.Proposal{Plan: plan, Approvals: upgrade.Approvals{Requester: who.Name, RequesterID: who.ID, SlackChannel: o.channel}}, nil)
}

// ask posts a question. It is recorded before it is posted and after, so that it is posted once. The caller holds deciding.
func (c *cluster) ask(ctx context.Context, s *session.Session, p upgrade.Proposal, differences []string) error {
	now := time.Now().UTC().Truncate(time.Second)
	a := &p.Approvals
	a.ID, a.Digest, a.AskedAt, a.Expires, a.Votes, a.SlackTimestamp = upgrade.NewQuestion(), p.Plan.Digest, now, now.Add(c.cfg.expiry), []upgrade.Approval{}, ""
	if err := s.Store().Propose(ctx, p); err != nil {
		return fmt.Errorf("the plan cannot be recorded: %w", err)
	}
	c.log.Info("a plan waits for approval", "digest", a.Digest, "question", a.ID, "requester", a.RequesterID)
	if err := c.post(ctx, s, &p, differences); err != nil {
		return fmt.Errorf("the plan is not in the channel yet, and waits until Slack takes it: %w", err)
	}
	return nil
}

// post puts a question that was recorded into the channel, or finds it there, and records where it is: from then on votes count.
func (c *cluster) post(ctx context.Context, s *session.Session, p *upgrade.Proposal, differences []string) error {
	c.showQuestion(*p, differences, "")
	waiting, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	at, err := c.board.Await(waiting, questionKey(p.Approvals.ID))
	if err != nil {
		return err
	}
	p.Approvals, err = s.Store().Amend(ctx, p.Approvals.ID, func(a *upgrade.Approvals) error {
		a.SlackTimestamp = at.Timestamp
		return nil
	})
	if err != nil {
		return fmt.Errorf("record where the plan was posted: %w", err)
	}
	c.later(time.Until(p.Approvals.Expires) + time.Second)
	for _, name := range []string{"white_check_mark", "x"} {
		// For people to click on; they can do without.
		if err := c.bot.slack.React(ctx, at.Channel, at.Timestamp, name); err != nil {
			c.log.Warn("the bot's own reactions are missing", "error", err)
		}
	}
	c.poke() // somebody may have reacted before it was known where the message is
	return nil
}

// close ends a question: it is not pending any more, and its message says why. The caller holds deciding.
func (c *cluster) close(ctx context.Context, s *session.Session, p upgrade.Proposal, why string) {
	c.log.Info("a plan waits no more", "question", p.Approvals.ID, "why", why)
	err := s.Store().Withdraw(ctx, func(a upgrade.Approvals) bool { return a.ID == p.Approvals.ID })
	if err != nil {
		c.log.Error("a plan that waits no more is still recorded", "question", p.Approvals.ID, "error", err)
		c.later(retryEvery)
		return
	}
	c.showQuestion(p, nil, why)
}
