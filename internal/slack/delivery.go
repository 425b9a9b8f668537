package slack

import (
	"context"
	"errors"
	"fmt"
	"time"

	slackapi "github.com/slack-go/slack"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// Run says what is to be said, until ctx ends.
func (b *Board) Run(ctx context.Context) {
	for ctx.Err() == nil {
		key, wait, changed := b.next(time.Now())
		if key == "" {
			timer := time.NewTimer(wait)
			select {
			case <-changed:
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
			continue
		}
		b.serve(ctx, key)
		select {
		case <-time.After(pace):
		case <-ctx.Done():
		}
	}
}

// next is the message that has waited longest for its turn, or how long to wait for one.
func (b *Board) next(now time.Time) (key string, wait time.Duration, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if left := b.held.Sub(now); left > 0 {
		return "", left, b.changed
	}
	wait = time.Hour
	var first *entry
	for k, e := range b.entries {
		if !b.due(e) || e.card.Under != "" && b.thread(e.card) == "" {
			continue
		}
		if left := e.notBefore.Sub(now); left > 0 {
			wait = min(wait, left)
			continue
		}
		if first == nil || before(e, first) {
			first, key = e, k
		}
	}
	return key, wait, b.changed
}

// before tells which of two messages is served first: one in the channel itself, however many replies wait, or the one that has waited longer.
func before(a, b *entry) bool {
	if root := a.card.Under == ""; root != (b.card.Under == "") {
		return root
	}
	return a.turn < b.turn
}

// thread is the timestamp of the message that the card's is posted under, empty if that is not posted yet, or for the channel itself.
func (b *Board) thread(c Card) string {
	if root := b.entries[c.Under]; root != nil {
		return root.ts
	}
	return ""
}

// serve brings one message up to date.
func (b *Board) serve(ctx context.Context, key string) {
	b.mu.Lock()
	e := b.entries[key]
	if e == nil {
		b.mu.Unlock()
		return
	}
	e.turn = b.turn
	b.turn++
	work, thread := *e, b.thread(e.card)
	b.mu.Unlock()
	err := b.deliver(ctx, key, thread, &work)
	if ctx.Err() != nil && err != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	e = b.entries[key]
	if e == nil {
		return
	}
	e.ts, e.intended, e.asked, e.said, e.finalSaid = work.ts, work.intended, work.asked, work.said, work.finalSaid
	e.notBefore = time.Now().Add(editPace)
	b.outcome(key, e, err)
	b.notify()
}

// outcome notes how it went. A limit of Slack's holds all messages.
func (b *Board) outcome(key string, e *entry, err error) {
	if err == nil {
		e.failures, e.err = 0, nil
		return
	}
	after, passing := again(err)
	if !passing {
		if e.err == nil || e.err.Error() != err.Error() {
			b.log.Error("Slack does not take a message", "message", key, "error", err, "again", refusedPace)
		}
		e.err, e.notBefore = err, time.Now().Add(refusedPace)
		return
	}
	wait := max(after, min(lastBackoff, firstBackoff<<min(e.failures, 6)))
	e.failures++
	b.log.Warn("a message has to wait for Slack", "message", key, "error", err, "wait", wait)
	e.notBefore = time.Now().Add(wait)
	if after > 0 {
		b.held = e.notBefore
	}
}

// deliver posts or edits one message. What was posted is known to the memory before and after: a process that ends in between leaves
// a trace by which the next one finds the message.
func (b *Board) deliver(ctx context.Context, key, thread string, e *entry) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c := e.card
	if e.ts == "" && e.asked {
		ts, err := b.poster.Find(ctx, c.Channel, thread, key, e.intended)
		switch {
		case is(err, "missing_scope"):
			b.log.Warn("whether a message was posted cannot be looked up without the scopes channels:history and groups:history: it may be there twice", "message", key)
		case err != nil:
			return err
		case ts != "":
			e.ts = ts
			if err := b.remember(ctx, key, e); err != nil {
				return err
			}
		}
		e.asked = false
	}
	if e.ts == "" {
		if err := b.post(ctx, key, thread, e); err != nil {
			return err
		}
	} else if says := fingerprint(c.Message); says != e.said {
		if err := b.poster.Update(ctx, c.Channel, e.ts, c.Message); err != nil {
			return err
		}
		e.said = says
	}
	if c.Final {
		e.finalSaid = true
		if err := b.remember(ctx, key, e); err != nil {
			e.finalSaid = false
			return err
		}
	}
	return nil
}

func (b *Board) post(ctx context.Context, key, thread string, e *entry) error {
	if e.intended.IsZero() {
		e.intended = time.Now().UTC().Truncate(time.Second)
		if err := b.remember(ctx, key, e); err != nil {
			e.intended = time.Time{}
			return err
		}
	}
	ts, err := b.poster.Post(ctx, e.card.Channel, thread, key, e.card.Message)
	if err != nil {
		e.asked = unanswered(err)
		return err
	}
	e.ts, e.said = ts, fingerprint(e.card.Message)
	if err := b.remember(ctx, key, e); err != nil {
		b.log.Warn("what was posted cannot be remembered", "message", key, "error", err)
	}
	return nil
}

// unanswered tells an error after which a message may have been posted all the same.
func unanswered(err error) bool {
	_, passing := again(err)
	return passing && !errors.As(err, new(*slackapi.RateLimitedError))
}

func (b *Board) remember(ctx context.Context, key string, e *entry) error {
	err := b.memory.AmendMessages(ctx, func(all map[string]upgrade.Posted) {
		all[key] = upgrade.Posted{Channel: e.card.Channel, Timestamp: e.ts, Since: e.intended, Final: e.finalSaid}
	})
	if err != nil {
		return fmt.Errorf("remember what is posted: %w", err)
	}
	return nil
}
