package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/upshift-k8s/upshift/internal/engine"
	"github.com/upshift-k8s/upshift/internal/runstore"
	"github.com/upshift-k8s/upshift/internal/session"
	"github.com/upshift-k8s/upshift/internal/slack"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// order is what somebody wants, by command or button.
type order struct {
	verb    slack.Verb
	options []slack.Option
	who     slack.Person
	channel string
	// run is the run that a button is about, empty for a command: that is about the current one.
	run    string
	answer answer
}

// obey does what somebody wants, if they may. The error is for that person.
func (c *cluster) obey(ctx context.Context, o order) error {
	// First as somebody who only looks: a stranger learns nothing of the cluster.
	if _, err := c.admit(ctx, o.who, o.channel, slack.Status, ""); err != nil {
		return err
	}
	s, err := c.connected(ctx)
	if err != nil {
		return err
	}
	run, err := s.Store().Current(ctx)
	if err != nil {
		return fmt.Errorf("the record of %s cannot be read: %w", c.name(), err)
	}
	requester := ""
	if run != nil {
		requester = requesterOf(run)
	}
	who, err := c.admit(ctx, o.who, o.channel, o.verb, requester)
	if err != nil {
		return err
	}
	if o.run != "" && (run == nil || run.ID != o.run) {
		return fmt.Errorf("this button is about run %s, which is not the current one any more", o.run)
	}
	c.log.Info("order", "verb", o.verb, "user", who.ID, "channel", o.channel)
	switch o.verb {
	case slack.Plan:
		return c.look(ctx, s, run, o)
	case slack.Upgrade:
		return c.propose(ctx, s, run, o, who)
	case slack.Status:
		return c.status(ctx, s, run, o.answer)
	case slack.Resume:
		return c.takeOver(ctx, s, nil, "resumed by "+who.Name, o)
	case slack.Pause, slack.Cancel, slack.Rollback:
		return c.control(ctx, s, run, o, who)
	}
	return fmt.Errorf("there is no %q", o.verb)
}

// control asks something of the process that is at work, or does it where nobody is. Who is at work can change meanwhile: it is asked of
// whoever is.
func (c *cluster) control(ctx context.Context, s *session.Session, run *upgrade.Run, o order, who slack.Member) error {
	verb := string(o.verb)
	if err := session.NothingTo(verb, run); err != nil {
		return err
	}
	if o.verb == slack.Pause && run.State == upgrade.Paused && !run.Yielded {
		return fmt.Errorf("run %s is paused already: %s", run.ID, run.Problem)
	}
	request := upgrade.Request{Verb: upgrade.Verb(verb), Run: run.ID, By: who.Name + " (Slack)", At: time.Now().UTC().Truncate(time.Second)}
	for {
		held, err := s.Store().Holding(ctx)
		if err != nil {
			return fmt.Errorf("who is at work cannot be read: %w", err)
		}
		if held != nil {
			answer, err := s.Ask(ctx, request, func() {})
			switch {
			case err != nil:
				return err
			case answer.Outcome == session.Refused:
				return fmt.Errorf("not obeyed: %s", answer.Reason)
			case answer.Outcome == session.Missed:
				continue
			case answer.Outcome != session.Silent:
				o.answer.say(ctx, slack.Say("Run %s: %s, asked of %s. It is %s.", run.ID, verb, held.Holder.Who, answer.Run.State))
				return nil
			}
		}
		err = c.takeOver(ctx, s, &request, verb+" by "+who.Name, o)
		if !errors.As(err, new(*runstore.Held)) || ctx.Err() != nil {
			return err
		}
	}
}

// takeOver has the bot carry out the run of the record, and first what a person asks, nil for nothing but to go on.
func (c *cluster) takeOver(ctx context.Context, s *session.Session, first *upgrade.Request, why string, o order) error {
	verb := string(o.verb)
	work, err := c.work(s, why)
	switch {
	case errors.As(err, new(*runstore.Held)):
		return fmt.Errorf("somebody is at work: %w", err)
	case err != nil:
		return fmt.Errorf("the cluster's lease cannot be taken: %w", err)
	}
	run, err := work.Recorded()
	if err == nil {
		err = session.NothingTo(verb, run)
	}
	if err == nil && first != nil && (obeyed(run, *first) || first.Verb == upgrade.AskPause && run.State == upgrade.Paused) {
		c.end(work)
		o.answer.say(ctx, slack.Say("Run %s: %s. It is %s.", run.ID, verb, run.State))
		return nil
	}
	if err != nil {
		c.end(work)
		return err
	}
	if first != nil {
		// Should it come to nothing, the bot must not go on by itself with what somebody wants to stop.
		c.holdOff(run.ID)
	}
	if err := work.Prepare(ctx, run); err != nil {
		c.end(work)
		return fmt.Errorf("not obeyed, since the cluster cannot be read; run %s is left as it is%s: %w", run.ID, heldOff(first), err)
	}
	c.carry(work, run, first, c.tellWhen(verb, first, o.answer))
	return nil
}

// obeyed tells that the run has noted that it did what was asked.
func obeyed(run *upgrade.Run, r upgrade.Request) bool {
	return slices.ContainsFunc(run.Handled, func(h upgrade.Handled) bool {
		return h.Refused == "" && h.Verb == r.Verb && h.By == r.By && h.At.Equal(r.At)
	})
}

// heldOff says what becomes of a run that somebody wanted something of, in vain.
func heldOff(first *upgrade.Request) string {
	if first == nil {
		return ""
	}
	return "; the bot does not go on with it by itself until somebody resumes it, or the bot is restarted"
}

// tellWhen tells the one who asked once it is recorded that the run does what they want, or why it does not.
func (c *cluster) tellWhen(verb string, first *upgrade.Request, a answer) audience {
	var once sync.Once
	say := func(m slack.Message) { once.Do(func() { c.bot.do(func(ctx context.Context) { a.say(ctx, m) }) }) }
	return audience{
		saved: func(run *upgrade.Run) {
			if first != nil && !obeyed(run, *first) {
				return
			}
			c.holdOff("")
			say(slack.Say("Run %s: %s, carried out by the bot. Its message shows how it goes.", run.ID, verb))
		},
		over: func(err error) {
			var refused *engine.Refused
			switch {
			case errors.As(err, &refused):
				c.holdOff("")
				say(slack.Say("Not obeyed: %s", refused))
			case err != nil:
				say(slack.Say("Not obeyed: %s%s", err, heldOff(first)))
			}
		},
	}
}
