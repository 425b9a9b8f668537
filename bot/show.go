package main

import (
	"context"
	"fmt"
	"time"

	"github.com/upshift-k8s/upshift/internal/session"
	"github.com/upshift-k8s/upshift/internal/slack"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// questionKey names the message that asks about a plan. The run that the plan becomes is shown in the same message.
func questionKey(id string) string { return "plan/" + id }

// rootKey names the message that shows a run.
func rootKey(run *upgrade.Run) string {
	if run.Slack != nil && run.Slack.Question != "" {
		return questionKey(run.Slack.Question)
	}
	return "run/" + run.ID
}

// place is the channel in which a run is shown.
func (c *cluster) place(run *upgrade.Run) string {
	if run.Slack != nil {
		return run.Slack.Channel
	}
	return c.cfg.channels[0]
}

// show has the messages about a run say how it is. Everything is derived from the record, so that runs of other processes are shown
// alike, and what was missed meanwhile is made up for.
func (c *cluster) show(run *upgrade.Run) {
	root, channel := rootKey(run), c.place(run)
	c.mu.Lock()
	away, working, announced := c.away, c.working, c.announced == run.ID
	c.mu.Unlock()
	_, posted := c.board.Where(root)
	switch {
	case !posted && run.Slack != nil:
		c.board.Known(root, *run.Slack)
	case !posted && !announced:
		return // the channel is not known to be the right place, or the run was over before the bot first saw it
	}
	p := slack.Progress{Run: run, Now: time.Now(), Away: away, Unattended: !working && run.State == upgrade.Running && run.Holder().Resumes}
	c.board.Show(slack.Card{Key: root, Channel: channel, Message: p.Message(), Final: run.State.Final()})
	reply := func(key string, m slack.Message, final bool) {
		c.board.Show(slack.Card{Key: "run/" + run.ID + "/" + key, Channel: channel, Under: root, Message: m, Final: final})
	}
	if run.Slack != nil {
		reply("plan", slack.PlanMessage(run.Plan), true)
	}
	c.showDrains(p, reply)
	for _, t := range run.Tasks {
		if run.State == upgrade.Running {
			reply("task/"+t.Step, p.Task(t), true)
		}
	}
	for _, h := range run.Handled {
		text := fmt.Sprintf("%s: done", h.Request)
		if h.Refused != "" {
			text = fmt.Sprintf("%s: refused, %s", h.Request, h.Refused)
		}
		reply(fmt.Sprintf("asked/%d-%d", h.At.Unix(), h.Sequence), slack.Say("%s", text), true)
	}
	switch {
	case run.State == upgrade.Paused:
		reply(fmt.Sprintf("trouble/%d", run.Holder().Epoch), p.Trouble(), true)
	case run.State.Final():
		reply("report", p.Report(), true)
	}
}

// showDrains shows each node's drain that was begun.
func (c *cluster) showDrains(p slack.Progress, reply func(key string, m slack.Message, final bool)) {
	for _, s := range p.Run.Steps {
		if s.Kind == upgrade.DrainNode && (s.StartedAt != nil || s.State == upgrade.StepSkipped) {
			reply(s.ID, p.Node(s), s.State == upgrade.StepDone || p.Run.State.Final())
		}
	}
}

// showQuestion has the message that asks say what it is about, and a note, if there is one.
func (c *cluster) showQuestion(p upgrade.Proposal, note string) { c.showAsked(p, note, "") }

// showClosed has the message say why it does not ask any more.
func (c *cluster) showClosed(p upgrade.Proposal, why string) { c.showAsked(p, "", why) }

func (c *cluster) showAsked(p upgrade.Proposal, note, closed string) {
	q := slack.Question{
		Plan: p.Plan, Approvals: p.Approvals, Quorum: c.cfg.quorum, Users: c.cfg.approvers.Users, Groups: c.cfg.approvers.Groups, Note: note, Closed: closed,
	}
	key := questionKey(p.Approvals.ID)
	m, more := q.Message()
	c.board.Show(slack.Card{Key: key, Channel: p.Approvals.SlackChannel, Message: m, Final: closed != ""})
	for i, m := range more {
		c.board.Show(slack.Card{Key: fmt.Sprintf("%s/more/%d", key, i), Channel: p.Approvals.SlackChannel, Under: key, Message: m, Final: true})
	}
}

// status tells one person what is going on.
func (c *cluster) status(ctx context.Context, s *session.Session, run *upgrade.Run, a answer) error {
	proposal, err := s.Store().Proposal(ctx)
	if err != nil {
		return fmt.Errorf("what waits for approval cannot be read: %w", err)
	}
	if proposal != nil && proposal.Approvals.SlackTimestamp != "" {
		a.say(ctx, slack.SayLink(c.link(proposal.Approvals), "the plan", "A plan of %s for %s to %s waits for approval until %s:", proposal.Approvals.Requester, c.name(),
			proposal.Plan.Target.Version, proposal.Approvals.Expires.UTC().Format("15:04 UTC")))
	}
	if run == nil {
		if proposal == nil {
			a.say(ctx, slack.Say("No run is recorded on %s.", c.name()))
		}
		return nil
	}
	held, err := s.Store().Holding(ctx)
	if err != nil {
		return fmt.Errorf("who is at work cannot be read: %w", err)
	}
	lease := "Nobody is at work."
	if held != nil {
		lease = fmt.Sprintf("At work: %s, last seen at %s.", held.Holder, held.Renewed.UTC().Format("15:04:05 UTC"))
	}
	c.mu.Lock()
	away := c.away
	c.mu.Unlock()
	a.say(ctx, slack.Progress{Run: run, Now: time.Now(), Away: away, Unattended: held == nil}.Status(lease))
	return nil
}
