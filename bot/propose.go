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
		return fmt.Errorf("%s cannot be upgraded like this: %s; there is nothing to approve", c.name(), report.Plural(plan.Stopping(), "blocker"))
	case plan.NothingToDo():
		return fmt.Errorf("nothing to do: %s", report.InPlace(plan))
	}
	key, err := c.ask(ctx, s, upgrade.Proposal{Plan: plan, Approvals: upgrade.Approvals{Requester: who.Name, RequesterID: who.ID, SlackChannel: o.channel}}, o.answer)
	if err != nil || key == "" {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	if _, err := c.board.Await(waiting, key); err != nil {
		return fmt.Errorf("the plan is recorded, and not in the channel yet: it waits until Slack takes it, or until it expires: %w", err)
	}
	return nil
}

// ask asks about a plan, in place of another one that may be pending, unless that is the same. The key is that of the message that asks,
// which is posted by and by; it is empty where it was there already and told.
func (c *cluster) ask(ctx context.Context, s *session.Session, p upgrade.Proposal, a answer) (key string, err error) {
	c.deciding.Lock()
	defer c.deciding.Unlock()
	pending, err := s.Store().Proposal(ctx)
	if err != nil {
		return "", fmt.Errorf("what waits for approval cannot be read: %w", err)
	}
	if pending != nil && pending.Approvals.ID != "" && pending.Approvals.Digest == p.Plan.Digest && time.Now().Before(pending.Approvals.Expires) {
		if pending.Approvals.SlackTimestamp == "" {
			return questionKey(pending.Approvals.ID), nil // on its way into the channel
		}
		a.say(ctx, slack.SayLink(c.link(pending.Approvals), "the plan", "This plan waits for approval already, asked for by %s:", pending.Approvals.Requester))
		return "", nil
	}
	if err := c.put(ctx, s, &p); err != nil {
		return "", err
	}
	if pending != nil && pending.Approvals.ID != "" {
		c.showClosed(*pending, fmt.Sprintf(":arrows_counterclockwise: A newer plan takes its place, asked for by %s.", slack.Mention(p.Approvals.RequesterID)))
	}
	return questionKey(p.Approvals.ID), nil
}

// put records a question as the one that is pending, and has it posted: votes count once it is known where. The caller holds deciding.
func (c *cluster) put(ctx context.Context, s *session.Session, p *upgrade.Proposal) error {
	now := time.Now().UTC().Truncate(time.Second)
	a := &p.Approvals
	a.ID, a.Digest, a.AskedAt, a.Expires, a.Votes, a.SlackTimestamp = upgrade.NewQuestion(), p.Plan.Digest, now, now.Add(c.cfg.expiry), []upgrade.Approval{}, ""
	if err := s.Store().Propose(ctx, *p); err != nil {
		return fmt.Errorf("the plan cannot be recorded: %w", err)
	}
	c.log.Info("a plan waits for approval", "digest", a.Digest, "question", a.ID, "requester", a.RequesterID)
	c.showQuestion(*p, "")
	key := questionKey(a.ID)
	c.bot.do(func(ctx context.Context) {
		if _, err := c.board.Await(ctx, key); err == nil {
			c.poke()
		}
	})
	c.later(c.cfg.expiry + time.Second)
	return nil
}

// posted records where a question is in the channel, if it is there; from then on votes count. The caller holds deciding.
func (c *cluster) posted(ctx context.Context, s *session.Session, p *upgrade.Proposal) (bool, error) {
	c.showQuestion(*p, "")
	at, there := c.board.Where(questionKey(p.Approvals.ID))
	if !there {
		return false, nil
	}
	amended, err := s.Store().Amend(ctx, p.Approvals.ID, func(a *upgrade.Approvals) error {
		a.SlackTimestamp = at.Timestamp
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("record where the plan was posted: %w", err)
	}
	p.Approvals = amended
	for _, name := range []string{"white_check_mark", "x"} {
		// For people to click on; they can do without.
		if err := c.bot.slack.React(ctx, at.Channel, at.Timestamp, name); err != nil {
			c.log.Warn("the bot's own reactions are missing", "error", err)
		}
	}
	return true, nil
}

// close ends a question: it is not pending any more, and its message says why. The caller holds deciding.
func (c *cluster) close(ctx context.Context, s *session.Session, p upgrade.Proposal, why string) error {
	c.log.Info("a plan waits no more", "question", p.Approvals.ID, "why", why)
	closed, err := s.Store().Withdraw(ctx, func(a upgrade.Approvals) bool { return a.ID == p.Approvals.ID })
	if err != nil {
		return fmt.Errorf("close the question %s: %w", p.Approvals.ID, err)
	}
	run, err := s.Store().Current(ctx)
	if err != nil {
		return fmt.Errorf("close the question %s: %w", p.Approvals.ID, err)
	}
	if closed && !becameOf(p, run) {
		c.showClosed(p, why)
	}
	return nil
}

// becameOf tells that the question became the run, in whichever process.
func becameOf(p upgrade.Proposal, run *upgrade.Run) bool {
	return run != nil && run.Slack != nil && run.Slack.Question == p.Approvals.ID
}

// link is the address of a question.
func (c *cluster) link(a upgrade.Approvals) string {
	return slack.Link(c.bot.directory.me, upgrade.Thread{Channel: a.SlackChannel, Timestamp: a.SlackTimestamp})
}
