package slack

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// Poster is what a board needs of Slack. Its errors are those of Client.
type Poster interface {
	Post(ctx context.Context, channel, thread, key string, m Message) (string, error)
	Update(ctx context.Context, channel, ts string, m Message) error
	// Find returns the timestamp of a message that was posted under a key, "" for none.
	Find(ctx context.Context, channel, thread, key string, since time.Time) (string, error)
}

// Memory keeps which messages were posted where another process finds it. Implementations are safe for concurrent use.
type Memory interface {
	Messages(ctx context.Context) (map[string]upgrade.Posted, error)
	AmendMessages(ctx context.Context, change func(map[string]upgrade.Posted)) error
}

// Card is what a message should say.
type Card struct {
	// Key names the message: another card of the same key is the same message.
	Key     string
	Channel string
	// Under is the key of the message in whose thread it is posted, empty for the channel itself. It waits for that one.
	Under   string
	Message Message
	// Final tells that it says its last word with this.
	Final bool
}

const (
	// pace is between two calls, and editPace between two edits of one message: Slack takes about one message a second for a channel,
	// and about 50 edits a minute.
	pace     = time.Second
	editPace = 2500 * time.Millisecond
	// firstBackoff and lastBackoff are between attempts when Slack does not say how long to wait.
	firstBackoff = time.Second
	lastBackoff  = 30 * time.Second
	// refusedPace is between attempts after an answer that is final in Slack's terms: the bot can be invited to the channel again.
	refusedPace = time.Minute
)

// Board keeps messages saying what they should: the newest card of each key wins, each message is posted once, and what could not be
// said is said later. Nobody waits for Slack who only shows a card. It is safe for concurrent use.
type Board struct {
	poster Poster
	memory Memory
	log    *slog.Logger

	mu      sync.Mutex
	entries map[string]*entry
	turn    int
	// held is until when Slack wants no call.
	held    time.Time
	changed chan struct{}
}

// entry is one message.
type entry struct {
	card Card
	ts   string
	// intended tells that the memory knows that the message was about to be posted, and since when; asked that it may have been.
	intended time.Time
	asked    bool
	// said is what the message says, as far as is known.
	said      string
	finalSaid bool
	// turn orders the entries by when they were last served.
	turn      int
	notBefore time.Time
	failures  int
	err       error
}

// NewBoard makes a board. Nothing is posted before Run.
func NewBoard(p Poster, m Memory, log *slog.Logger) *Board {
	return &Board{poster: p, memory: m, log: log, entries: map[string]*entry{}, changed: make(chan struct{})}
}

// Show has a message say what the card says, some time from now.
func (b *Board) Show(c Card) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[c.Key]
	if e == nil {
		e = &entry{turn: b.turn}
		b.turn++
		b.entries[c.Key] = e
	}
	if e.finalSaid {
		return
	}
	e.card = c
	b.notify()
}

// Known tells the board of a message that is there already.
func (b *Board) Known(key string, at upgrade.Thread) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[key]
	if e == nil {
		e = &entry{turn: b.turn}
		b.turn++
		b.entries[key] = e
	}
	e.ts, e.card.Channel = at.Timestamp, at.Channel
	b.notify()
}

// Await returns where the message of a key is once it is posted and says what its card says. The error is the context's, or why Slack
// will not have it.
func (b *Board) Await(ctx context.Context, key string) (upgrade.Thread, error) {
	for {
		b.mu.Lock()
		changed := b.changed
		e := b.entries[key]
		switch {
		case e == nil:
			b.mu.Unlock()
			return upgrade.Thread{}, fmt.Errorf("there is no message %s", key)
		case b.refusal(e) != nil:
			defer b.mu.Unlock()
			return upgrade.Thread{}, b.refusal(e)
		case e.ts != "" && !b.due(e):
			defer b.mu.Unlock()
			return upgrade.Thread{Channel: e.card.Channel, Timestamp: e.ts}, nil
		}
		b.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return upgrade.Thread{}, context.Cause(ctx)
		}
	}
}

// Busy tells that the message of a key has something to say still.
func (b *Board) Busy(key string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[key]
	return e != nil && b.due(e)
}

// Where returns where the message of a key is, false if it is not posted or not known.
func (b *Board) Where(key string) (upgrade.Thread, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[key]
	if e == nil || e.ts == "" {
		return upgrade.Thread{}, false
	}
	return upgrade.Thread{Channel: e.card.Channel, Timestamp: e.ts}, true
}

// At returns the key of the message at a place, "" for none of the board's.
func (b *Board) At(place upgrade.Thread) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, e := range b.entries {
		if e.ts == place.Timestamp && e.card.Channel == place.Channel {
			return key
		}
	}
	return ""
}

// Settle returns when every message says what it should, or ctx ends.
func (b *Board) Settle(ctx context.Context) {
	for {
		b.mu.Lock()
		changed, all := b.changed, true
		for _, e := range b.entries {
			all = all && (!b.due(e) || b.refusal(e) != nil)
		}
		b.mu.Unlock()
		if all {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// Forget drops the messages that keep does not want, also from the memory, but for those that have something to say still.
func (b *Board) Forget(ctx context.Context, keep func(key string) bool) error {
	b.mu.Lock()
	dropped := map[string]bool{}
	for key, e := range b.entries {
		if !keep(key) && (!b.due(e) || b.refusal(e) != nil) {
			delete(b.entries, key)
			dropped[key] = true
		}
	}
	b.mu.Unlock()
	if len(dropped) == 0 {
		return nil
	}
	return b.memory.AmendMessages(ctx, func(all map[string]upgrade.Posted) {
		for key := range dropped {
			delete(all, key)
		}
	})
}

// Load reads what earlier processes posted.
func (b *Board) Load(ctx context.Context) error {
	all, err := b.memory.Messages(ctx)
	if err != nil {
		return fmt.Errorf("read what was posted: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, p := range all {
		if b.entries[key] == nil {
			b.entries[key] = &entry{turn: b.turn}
			b.turn++
		}
		e := b.entries[key]
		e.card.Key, e.card.Channel = key, p.Channel
		e.ts, e.intended, e.asked, e.finalSaid = p.Timestamp, p.Since, true, p.Final
	}
	b.notify()
	return nil
}

// due tells that the message does not say what it should.
func (b *Board) due(e *entry) bool {
	if e.finalSaid || len(e.card.Message.Blocks) == 0 {
		return false
	}
	return e.ts == "" || fingerprint(e.card.Message) != e.said || e.card.Final
}

// refusal is why Slack will not have the message: a reply goes the way of its root.
func (b *Board) refusal(e *entry) error {
	if root := b.entries[e.card.Under]; e.err == nil && e.ts == "" && root != nil && root.ts == "" {
		return root.err
	}
	return e.err
}

func fingerprint(m Message) string {
	data, err := json.Marshal(m)
	if err != nil {
		return err.Error() // blocks are plain values; should one not be, the message is sent each time
	}
	return string(data)
}

// notify wakes all who wait for a change.
func (b *Board) notify() {
	close(b.changed)
	b.changed = make(chan struct{})
}
