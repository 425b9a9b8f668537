package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/upshift-k8s/upshift/internal/session"
	"github.com/upshift-k8s/upshift/internal/slack"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// reviews looks at what waits for approval whenever there is a reason to, until ctx ends.
func (c *cluster) reviews(ctx context.Context) {
	for {
		select {
		case <-c.wake:
		case <-ctx.Done():
			return
		}
		if err := c.review(ctx); err != nil && ctx.Err() == nil {
			c.log.Warn("what waits for approval cannot be looked at", "error", err, "again", retryEvery)
			c.later(retryEvery)
		}
		select {
		case <-time.After(reviewPace):
		case <-ctx.Done():
			return
		}
	}
}

// review brings the plan that waits for approval up to date: posted, with the votes that Slack shows now, and decided. It looks at
// everything anew, so it does not matter which events came, how often, and in which order.
func (c *cluster) review(ctx context.Context) error {
	c.deciding.Lock()
	defer c.deciding.Unlock()
	s, err := c.connected(ctx)
	if err != nil {
		return err
	}
	if err := c.sweep(ctx, s); err != nil {
		return err
	}
	p, err := s.Store().Proposal(ctx)
	if err != nil || p == nil || p.Approvals.ID == "" {
		return err
	}
	run, err := s.Store().Current(ctx)
	if err != nil {
		return err
	}
	if becameOf(*p, run) {
		// Its run has begun, and the process that began it ended before it could say so.
		_, err := s.Store().Withdraw(ctx, func(a upgrade.Approvals) bool { return a.ID == p.Approvals.ID })
		return err
	}
	if c.isWorking() {
		return nil // what waits is looked at again when the run ends here
	}
	if p.Approvals.SlackTimestamp == "" && time.Now().After(p.Approvals.Expires) {
		return c.close(ctx, s, *p, expired(*p))
	}
	if p.Approvals.SlackTimestamp == "" {
		if there, err := c.posted(ctx, s, p); err != nil || !there {
			return err
		}
	}
	return c.consider(ctx, s, *p)
}

// consider collects the votes and does what they come to. The caller holds deciding.
func (c *cluster) consider(ctx context.Context, s *session.Session, p upgrade.Proposal) error {
	a, err := c.collect(ctx, s, p.Approvals)
	var may func(string) bool
	if err == nil {
		may, err = c.rights(ctx, a)
	}
	switch {
	case slack.Gone(err):
		return c.close(ctx, s, p, "Its message was deleted.")
	case err != nil && p.Approvals.Decide(c.cfg.quorum, nobody, time.Now()) == upgrade.Expired:
		return c.close(ctx, s, p, expired(p))
	case err != nil:
		return err
	}
	p.Approvals = a
	switch a.Decide(c.cfg.quorum, may, time.Now()) {
	case upgrade.Agreed:
		if err := c.begin(ctx, s, p); err != nil {
			c.log.Warn("an approved plan cannot start", "question", a.ID, "error", err, "again", refreshEvery)
			c.showQuestion(p, fmt.Sprintf(":warning: Approved, and cannot start yet: %s", slack.Escape(err.Error())))
			c.later(refreshEvery)
		}
		return nil
	case upgrade.Declined:
		return c.close(ctx, s, p, fmt.Sprintf(":x: Rejected by %s. Nothing was changed.", slack.Mention(rejecter(a, may))))
	case upgrade.Expired:
		return c.close(ctx, s, p, expired(p))
	}
	c.showQuestion(p, "")
	return nil
}

func nobody(string) bool { return false }

func expired(p upgrade.Proposal) string {
	why := "it was not approved in time"
	if len(p.Approvals.Approving()) > 0 {
		why = "it was not approved by enough people, or could not start, in time"
	}
	return fmt.Sprintf(":alarm_clock: Expired: %s. Nothing was changed; for a new plan: /upgrade %s", why, p.Plan.Cluster.Name)
}

// rejecter is who turned a plan down that was.
func rejecter(a upgrade.Approvals, may func(id string) bool) string {
	i := slices.IndexFunc(a.Votes, func(v upgrade.Approval) bool { return !v.Approved && (v.ID == a.RequesterID || may(v.ID)) })
	return a.Votes[max(0, i)].ID
}

// rights tells whose votes count now, whatever they did when they were given. The error is for what cannot be told now.
func (c *cluster) rights(ctx context.Context, a upgrade.Approvals) (func(id string) bool, error) {
	may := map[string]bool{}
	for _, v := range a.Votes {
		if _, known := may[v.ID]; known {
			continue
		}
		_, err := c.mayVote(ctx, slack.Person{ID: v.ID}, a.RequesterID, true)
		if errors.As(err, new(*unsure)) {
			return nil, fmt.Errorf("whether the vote of %s counts: %w", v.ID, err)
		}
		may[v.ID] = err == nil
	}
	return func(id string) bool { return may[id] }, nil
}

// collect makes the recorded votes by reaction those that Slack shows now, and tells voters why theirs do not count. Votes by button
// stay.
func (c *cluster) collect(ctx context.Context, s *session.Session, a upgrade.Approvals) (upgrade.Approvals, error) {
	if err := c.bot.directory.room(ctx, a.SlackChannel, c.cfg.channels); err != nil {
		return a, fmt.Errorf("no vote counts: %w", err)
	}
	reactions, err := c.bot.slack.Reactions(ctx, a.SlackChannel, a.SlackTimestamp)
	if err != nil {
		return a, err
	}
	var found []upgrade.Approval
	for name, users := range reactions {
		approves, vote := slack.Vote(name)
		if !vote {
			continue
		}
		for _, id := range users {
			known := slices.ContainsFunc(a.Votes, func(v upgrade.Approval) bool { return v.ID == id && v.Via == name })
			if known || id == c.bot.directory.me.User {
				continue
			}
			m, err := c.mayVote(ctx, slack.Person{ID: id}, a.RequesterID, approves)
			if errors.As(err, new(*unsure)) {
				return a, err
			}
			if err != nil {
				c.tell(ctx, a, id, name, err)
				continue
			}
			found = append(found, upgrade.Approval{By: m.Name, ID: id, Approved: approves, At: c.when(a, id, name), Via: name, Where: c.where(a, ":"+name+":")})
		}
	}
	there := func(id, reaction string) bool { return slices.Contains(reactions[reaction], id) }
	stale := slices.ContainsFunc(a.Votes, func(v upgrade.Approval) bool { return v.Via != "" && !there(v.ID, v.Via) })
	if len(found) == 0 && !stale {
		return a, nil
	}
	slices.SortFunc(found, func(a, b upgrade.Approval) int { return a.At.Compare(b.At) })
	return s.Store().Amend(ctx, a.ID, func(a *upgrade.Approvals) error {
		a.Keep(there)
		for _, v := range found {
			a.Add(v)
		}
		return nil
	})
}

// where says where a vote was given.
func (c *cluster) where(a upgrade.Approvals, how string) string {
	return "Slack, " + how + ", " + c.link(a)
}

// when is when somebody reacted, as the event said, or now.
func (c *cluster) when(a upgrade.Approvals, id, name string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.reactedAt[a.SlackTimestamp+"/"+id+"/"+name]; ok {
		return at
	}
	return time.Now().UTC().Truncate(time.Second)
}

// tell tells a voter, and nobody else, why a vote does not count, once.
func (c *cluster) tell(ctx context.Context, a upgrade.Approvals, user, how string, why error) {
	key := a.SlackTimestamp + "/" + user + "/" + how
	if !c.firstTime(key) {
		return
	}
	c.log.Info("a vote does not count", "user", user, "question", a.ID, "why", why)
	err := c.bot.slack.Whisper(ctx, a.SlackChannel, user, slack.Say("Your :%s: does not count: %s.", how, why))
	if err != nil {
		c.log.Warn("a voter could not be told", "user", user, "error", err)
		if slack.Passing(err) {
			c.mu.Lock()
			delete(c.told, key) // the next look at the plan tells them
			c.mu.Unlock()
		}
	}
}

func (c *cluster) knowsAlready(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told[key]
}

func (c *cluster) firstTime(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.told[key] {
		return false
	}
	if len(c.told) > 10000 {
		clear(c.told) // of plans long ago
	}
	c.told[key] = true
	return true
}

// clicked is a vote by button. The error is for the voter.
func (c *cluster) clicked(ctx context.Context, click slack.Click, question string) error {
	if err := c.bot.directory.room(ctx, click.Channel, c.cfg.channels); err != nil {
		return fmt.Errorf("your vote does not count: %w", err)
	}
	s, err := c.connected(ctx)
	if err != nil {
		return err
	}
	c.deciding.Lock()
	defer c.deciding.Unlock()
	p, err := s.Store().Proposal(ctx)
	if err != nil {
		return fmt.Errorf("your vote cannot be recorded: %w", err)
	}
	if p == nil || p.Approvals.ID != question || time.Now().After(p.Approvals.Expires) {
		return fmt.Errorf("your vote does not count: this plan is not open any more; /upgrade %s makes a new one", c.name())
	}
	approves := click.Action == slack.Approve
	m, err := c.mayVote(ctx, click.Who, p.Approvals.RequesterID, approves)
	if err != nil {
		return fmt.Errorf("your vote does not count: %w", err)
	}
	vote := upgrade.Approval{By: m.Name, ID: m.ID, Approved: approves, At: time.Now().UTC().Truncate(time.Second), Where: c.where(p.Approvals, "button")}
	p.Approvals, err = s.Store().Amend(ctx, question, func(a *upgrade.Approvals) error { a.Add(vote); return nil })
	if err != nil {
		return fmt.Errorf("your vote cannot be recorded: %w", err)
	}
	c.poke()
	return nil
}

// reacted takes a hint that somebody reacted to a message.
func (c *cluster) reacted(r slack.Reaction) {
	key := c.board.At(upgrade.Thread{Channel: r.Channel, Timestamp: r.Timestamp})
	if r.Added && !r.At.IsZero() {
		c.mu.Lock()
		if len(c.reactedAt) > 10000 {
			clear(c.reactedAt) // of plans long ago
		}
		c.reactedAt[r.Timestamp+"/"+r.Who.ID+"/"+r.Name] = r.At
		c.mu.Unlock()
	}
	c.poke()
	// People react to all kinds of messages; only those that ask, or show a run, are ours to speak of.
	if root, _ := strings.CutPrefix(key, "plan/"); root != key && !strings.Contains(root, "/") || isRunRoot(key) {
		c.bot.do(func(ctx context.Context) { c.tooLate(ctx, r, key) })
	}
}

func isRunRoot(key string) bool {
	id, ok := strings.CutPrefix(key, "run/")
	return ok && !strings.Contains(id, "/")
}

// tooLate tells somebody who reacted to a plan that is not open, or to a run, that this changes nothing.
func (c *cluster) tooLate(ctx context.Context, r slack.Reaction, key string) {
	how := map[bool]string{true: "added", false: "removed"}[r.Added]
	once := r.Timestamp + "/" + r.Who.ID + "/" + r.Name + "/" + how + "/late"
	if c.knowsAlready(once) {
		return
	}
	c.deciding.Lock() // what is being decided is decided first
	defer c.deciding.Unlock()
	s, err := c.connected(ctx)
	if err != nil {
		return
	}
	p, err := s.Store().Proposal(ctx)
	if err != nil || p != nil && p.Approvals.SlackTimestamp == r.Timestamp {
		return
	}
	run, err := s.Store().Current(ctx)
	if err != nil {
		return
	}
	counted := func(a upgrade.Approval) bool { return a.ID == r.Who.ID && a.Via == r.Name }
	why := fmt.Sprintf("this plan is not open any more; /upgrade %s makes a new one", c.name())
	switch ours := run != nil && rootKey(run) == key; {
	case ours && r.Added && slices.ContainsFunc(run.Approvals, counted):
		return // it is what the run began with
	case ours && run.State.Final():
		why = "the run is over"
	case ours:
		why = fmt.Sprintf("the run has begun, and reactions do not change it any more; to stop it: /upgrade pause %s, or /upgrade cancel %s", c.name(), c.name())
	case !r.Added:
		return
	}
	if !c.firstTime(once) {
		return
	}
	if err := c.bot.slack.Whisper(ctx, r.Channel, r.Who.ID, slack.Say("Your :%s: (%s) changes nothing: %s.", r.Name, how, why)); err != nil {
		c.log.Warn("somebody who reacted could not be told", "user", r.Who.ID, "error", err)
	}
}
