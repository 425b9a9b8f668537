package slack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	slackapi "github.com/slack-go/slack"

	"github.com/upshift-k8s/upshift/internal/lab/slackemu"
	"github.com/upshift-k8s/upshift/internal/lab/testbed"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// channel is a Slack of one channel, in memory.
type channel struct {
	mu    sync.Mutex
	posts []*posting
	calls []call
	// fate tells, before a call, whether it is carried out, and what its caller is told; nil: all is well.
	fate func(ctx context.Context, c call) (carriedOut bool, err error)
}

// posting is a message in a channel.
type posting struct {
	ts, thread, key, text string
	at                    time.Time
	edits                 int
}

// call is one of a Poster.
type call struct {
	kind, key string
	at        time.Time
}

func (c *channel) arrive(ctx context.Context, kind, key string) (bool, error) {
	c.mu.Lock()
	made := call{kind, key, time.Now()}
	c.calls = append(c.calls, made)
	fate := c.fate
	c.mu.Unlock()
	if fate == nil {
		return true, nil
	}
	return fate(ctx, made)
}

func (c *channel) Post(ctx context.Context, room, thread, key string, m Message) (string, error) {
	carriedOut, err := c.arrive(ctx, "post", key)
	c.mu.Lock()
	defer c.mu.Unlock()
	if room != testbed.Ops {
		return "", slackapi.SlackErrorResponse{Err: "channel_not_found"}
	}
	if !carriedOut {
		return "", err
	}
	p := &posting{ts: fmt.Sprintf("%d.%06d", time.Now().Unix(), len(c.posts)+1), thread: thread, key: key, text: m.Text, at: time.Now()}
	c.posts = append(c.posts, p)
	return p.ts, err
}

func (c *channel) Update(ctx context.Context, _, ts string, m Message) error {
	c.mu.Lock()
	key := ""
	i := slices.IndexFunc(c.posts, func(p *posting) bool { return p.ts == ts })
	if i >= 0 {
		key = c.posts[i].key
	}
	c.mu.Unlock()
	carriedOut, err := c.arrive(ctx, "update", key)
	c.mu.Lock()
	defer c.mu.Unlock()
	if i < 0 {
		return slackapi.SlackErrorResponse{Err: "message_not_found"}
	}
	if carriedOut {
		c.posts[i].text = m.Text
		c.posts[i].edits++
	}
	return err
}

func (c *channel) Find(ctx context.Context, _, thread, key string, since time.Time) (string, error) {
	if carriedOut, err := c.arrive(ctx, "find", key); !carriedOut || err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.posts {
		if p.key == key && p.thread == thread && !p.at.Before(since.Add(-time.Minute)) {
			return p.ts, nil
		}
	}
	return "", nil
}

// shown are the texts in the channel, in order; replies are indented.
func (c *channel) shown() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, p := range c.posts {
		text := p.text
		if p.thread != "" {
			text = p.thread + " > " + text
		}
		all = append(all, text)
	}
	return all
}

// count is how many calls of a kind were made about a key; empty is any.
func (c *channel) count(kind, key string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, made := range c.calls {
		if (kind == "" || made.kind == kind) && (key == "" || made.key == key) {
			n++
		}
	}
	return n
}

func (c *channel) setFate(fate func(ctx context.Context, c call) (bool, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fate = fate
}

// shelf is a Memory that outlives a Board.
type shelf struct {
	mu  sync.Mutex
	all map[string]upgrade.Posted
	// broken is why nothing can be written.
	broken error
}

func (s *shelf) Messages(context.Context) (map[string]upgrade.Posted, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.all), s.broken
}

func (s *shelf) AmendMessages(ctx context.Context, change func(map[string]upgrade.Posted)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil || ctx.Err() != nil {
		return errors.Join(s.broken, ctx.Err())
	}
	if s.all == nil {
		s.all = map[string]upgrade.Posted{}
	}
	change(s.all)
	return nil
}

func (s *shelf) setBroken(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = err
}

// diary is a log that can be read while it is written.
type diary struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (d *diary) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.Write(p)
}

func (d *diary) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.String()
}

func (d *diary) logger() *slog.Logger { return slog.New(slog.NewTextHandler(d, nil)) }

// process is a Board that runs, in a channel and on a shelf.
type process struct {
	*Board
	*channel
	shelf *shelf
	diary *diary
	end   func()
}

// begin starts a process. It ends with the test, or when it is told to.
func begin(t *testing.T, c *channel, s *shelf) *process {
	t.Helper()
	p := &process{channel: c, shelf: s, diary: &diary{}}
	p.Board = NewBoard(c, s, p.diary.logger())
	if err := p.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.Run(ctx)
	}()
	p.end = func() {
		cancel()
		<-ended
	}
	t.Cleanup(p.end)
	return p
}

func card(key, text string) Card {
	return Card{Key: key, Channel: testbed.Ops, Message: textMessage(text)}
}

func reply(under, key, text string) Card {
	c := card(key, text)
	c.Under = under
	return c
}

func final(c Card) Card {
	c.Final = true
	return c
}

// settle gives all messages as long as they need, and fails if that is longer than within.
func (p *process) settle(t *testing.T, within time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if p.Settle(ctx); ctx.Err() != nil {
		t.Fatalf("not settled within %s: %q; %s", within, p.shown(), p.diary)
	}
}

func wantShown(t *testing.T, p *process, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, p.shown()); diff != "" {
		t.Error(diff)
	}
}

func TestAMessageIsPostedOnceAndThenEditedToTheNewestCard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := begin(t, &channel{}, &shelf{})
		began := time.Now().UTC()
		for i := range 100 {
			p.Show(card("root", fmt.Sprintf("card %d", i)))
			time.Sleep(10 * time.Millisecond)
		}
		p.settle(t, 5*time.Second)
		wantShown(t, p, "card 99")
		if posts, updates := p.count("post", ""), p.count("update", ""); posts != 1 || updates > 2 {
			t.Errorf("%d posts and %d updates", posts, updates)
		}
		want := map[string]upgrade.Posted{"root": {Channel: testbed.Ops, Timestamp: p.posts[0].ts, Since: began}}
		if diff := cmp.Diff(want, p.shelf.all); diff != "" {
			t.Error(diff)
		}
		at, err := p.Await(t.Context(), "root")
		where, known := p.Where("root")
		if at != (upgrade.Thread{Channel: testbed.Ops, Timestamp: p.posts[0].ts}) || at != where || !known || err != nil || p.At(at) != "root" {
			t.Errorf("it is at %v, %v, known %t, %v, of key %q", at, where, known, err, p.At(at))
		}
		for range 3 { // what it says already is not sent again
			p.Show(card("root", "card 99"))
			time.Sleep(time.Minute)
		}
		if updates := p.count("update", ""); updates > 2 {
			t.Errorf("%d updates", updates)
		}
	})
}

// TestMessagesThatChangeAllTheTimeKeepToSlacksPace, each gets its turn, and all end up as they should.
func TestMessagesThatChangeAllTheTimeKeepToSlacksPace(t *testing.T) {
	const lasting = 5 * time.Minute
	for messages, edits := range map[int]int{1: int(lasting / editPace), 2: int(lasting / editPace), 10: int(lasting / pace / 10)} {
		t.Run(fmt.Sprint(messages), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := begin(t, &channel{}, &shelf{})
				for began := time.Now(); time.Since(began) < lasting; time.Sleep(100 * time.Millisecond) {
					for n := range messages {
						p.Show(card(fmt.Sprint("message ", n), fmt.Sprintf("%d at %s", n, time.Now())))
					}
				}
				for n := range messages {
					p.Show(final(card(fmt.Sprint("message ", n), fmt.Sprintf("%d is over", n))))
				}
				p.settle(t, time.Duration(messages)*pace+editPace)
				last := map[string]time.Time{}
				for i, made := range p.calls {
					if i > 0 && made.at.Sub(p.calls[i-1].at) < pace {
						t.Errorf("two calls within %s", made.at.Sub(p.calls[i-1].at))
					}
					if before := last[made.key]; !before.IsZero() && made.at.Sub(before) < editPace {
						t.Errorf("%s was edited again after %s", made.key, made.at.Sub(before))
					}
					last[made.key] = made.at
				}
				for _, post := range p.posts {
					if !strings.HasSuffix(post.text, " is over") || post.edits < edits*4/5 || post.edits > edits+1 {
						t.Errorf("%s says %q after %d edits, want %d", post.key, post.text, post.edits, edits)
					}
				}
				if len(p.posts) != messages {
					t.Errorf("%d posts", len(p.posts))
				}
			})
		})
	}
}

// fails is a fate: so many calls of a kind fail, and the next ones do not.
func fails(kind string, times int, carriedOut bool, err error) func(context.Context, call) (bool, error) {
	return func(_ context.Context, c call) (bool, error) {
		if c.kind != kind && kind != "" || times == 0 {
			return true, nil
		}
		times--
		return carriedOut, err
	}
}

// hangs is a fate: so many calls are never answered.
func hangs(kind string, times int, carriedOut bool) func(context.Context, call) (bool, error) {
	return func(ctx context.Context, c call) (bool, error) {
		if c.kind != kind && kind != "" || times == 0 {
			return true, nil
		}
		times--
		<-ctx.Done()
		return carriedOut, ctx.Err()
	}
}

func refused(word string) error { return slackapi.SlackErrorResponse{Err: word} }

func limited(after time.Duration) error {
	return fmt.Errorf("post: %w", &slackapi.RateLimitedError{RetryAfter: after})
}

func status(code int) error { return fmt.Errorf("post: %w", slackapi.StatusCodeError{Code: code}) }

func TestTheLastWordLandsWhateverGoesWrong(t *testing.T) {
	for name, c := range map[string]struct {
		fate   func(context.Context, call) (bool, error)
		within time.Duration
	}{
		"all is well":                  {nil, 10 * time.Second},
		"limited once":                 {fails("", 1, false, limited(30*time.Second)), 45 * time.Second},
		"limited many times":           {fails("", 20, false, limited(60*time.Second)), 21 * time.Minute},
		"limited without a word":       {fails("", 3, false, status(429)), time.Minute},
		"unavailable":                  {fails("", 10, false, status(503)), 6 * time.Minute},
		"unavailable, and yet done":    {fails("", 10, true, status(502)), 6 * time.Minute},
		"posts time out":               {hangs("post", 3, false), 3 * time.Minute},
		"posts time out, and yet done": {hangs("post", 3, true), 3 * time.Minute},
		"edits time out":               {hangs("update", 3, false), 3 * time.Minute},
		"edits time out, and yet done": {hangs("update", 3, true), 3 * time.Minute},
		"connections break":            {fails("", 10, true, fmt.Errorf("post: %w", io.ErrUnexpectedEOF)), 6 * time.Minute},
		"Slack has trouble":            {fails("", 10, false, refused("internal_error")), 6 * time.Minute},
		"for five minutes, looking is limited too": {func(_ context.Context, c call) (bool, error) {
			switch {
			case c.at.Minute() >= 5: // tests begin on the hour
				return true, nil
			case c.kind == "find":
				return false, limited(2 * time.Second)
			}
			return true, status(500)
		}, 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := begin(t, &channel{fate: c.fate}, &shelf{})
				p.Show(card("root", "at work"))
				p.Show(reply("root", "node", "draining"))
				time.Sleep(3 * time.Second)
				p.Show(final(card("root", "done")))
				p.Show(final(reply("root", "node", "drained")))
				p.settle(t, c.within)
				wantShown(t, p, "done", p.posts[0].ts+" > drained")
				for key, posted := range p.shelf.all {
					if !posted.Final || posted.Timestamp == "" {
						t.Errorf("of %s is known %+v", key, posted)
					}
				}
				p.Show(card("root", "a card too late"))
				time.Sleep(time.Hour)
				wantShown(t, p, "done", p.posts[0].ts+" > drained")
			})
		})
	}
}

func TestALimitOfSlacksHoldsEveryMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := begin(t, &channel{}, &shelf{})
		for n := range 3 {
			p.Show(card(fmt.Sprint("before ", n), "old"))
		}
		p.settle(t, 10*time.Second)
		time.Sleep(time.Minute)
		p.setFate(fails("update", 1, false, limited(90*time.Second)))
		for n := range 3 {
			p.Show(card(fmt.Sprint("before ", n), "new"))
		}
		time.Sleep(500 * time.Millisecond)
		heard, made := time.Now(), p.count("", "")
		for n := range 3 { // Slack's word is also for those that come later
			p.Show(card(fmt.Sprint("after ", n), "new"))
			time.Sleep(20 * time.Second)
		}
		p.settle(t, 2*time.Minute)
		for _, next := range p.calls[made:] {
			if after := next.at.Sub(heard); after < 89*time.Second {
				t.Errorf("%s of %s after %s, and Slack wanted 90 s", next.kind, next.key, after)
			}
		}
		wantShown(t, p, "new", "new", "new", "new", "new", "new")
	})
}

func TestAReplyWaitsForItsRoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := begin(t, &channel{}, &shelf{})
		p.Show(reply("root", "first", "one"))
		p.Show(reply("root", "second", "two"))
		p.Show(card("other", "another message"))
		time.Sleep(10 * time.Minute)
		wantShown(t, p, "another message")
		p.setFate(fails("post", 5, false, status(503)))
		p.Show(card("root", "the root"))
		p.settle(t, 3*time.Minute)
		root := p.posts[1].ts
		wantShown(t, p, "another message", "the root", root+" > one", root+" > two")
	})
}

func TestAPostWhoseAnswerWasLostIsFoundAndNotPostedAgain(t *testing.T) {
	for name, err := range map[string]error{
		"502": status(502), "broken connection": io.ErrUnexpectedEOF, "Slack's own trouble": refused("fatal_error"), "time-out": context.DeadlineExceeded,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := begin(t, &channel{fate: fails("post", 1, true, err)}, &shelf{})
				p.Show(card("root", "a plan"))
				at, err := p.Await(t.Context(), "root")
				if err != nil || at.Timestamp != p.posts[0].ts {
					t.Errorf("it is at %v, %v", at, err)
				}
				p.setFate(fails("post", 1, true, status(502)))
				p.Show(reply("root", "node", "a node"))
				p.settle(t, time.Minute)
				wantShown(t, p, "a plan", p.posts[0].ts+" > a node")
				if n := p.count("post", ""); n != 2 {
					t.Errorf("%d posts", n)
				}
			})
		})
	}
}

// TestAProcessThatEndedWhilePostingLeavesATrace, by which the next one finds the message, or sees that there is none.
func TestAProcessThatEndedWhilePostingLeavesATrace(t *testing.T) {
	for name, carriedOut := range map[string]bool{"posted": true, "not posted": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slack, kept := &channel{}, &shelf{}
				first := begin(t, slack, kept)
				first.Show(card("root", "the root"))
				first.settle(t, 5*time.Second)
				slack.setFate(hangs("post", 1, carriedOut))
				first.Show(reply("root", "node", "draining"))
				time.Sleep(3 * time.Second)
				began := time.Now().Add(-3 * time.Second)
				first.end()
				if got := kept.all["node"]; got.Timestamp != "" || got.Since.Before(began.Add(-time.Second)) {
					t.Errorf("of the message is known %+v", got)
				}
				time.Sleep(time.Hour)
				second := begin(t, slack, kept)
				if _, known := second.Where("node"); known {
					t.Error("it is known where the message is, before anybody looked")
				}
				second.Show(reply("root", "node", "drained"))
				second.settle(t, time.Minute)
				root := slack.posts[0].ts
				wantShown(t, second, "the root", root+" > drained")
				if finds, updates := second.count("find", "node"), second.count("update", ""); finds != 1 || (updates == 1) != carriedOut {
					t.Errorf("%d finds, %d updates", finds, updates)
				}
				if kept.all["node"].Timestamp != slack.posts[1].ts {
					t.Errorf("of the message is known %+v", kept.all["node"])
				}
				second.end()
				third := begin(t, slack, kept)
				third.Show(reply("root", "node", "drained")) // what it says is not known to the third, which says it again
				third.settle(t, time.Minute)
				wantShown(t, third, "the root", root+" > drained")
				if finds := third.count("find", ""); finds != 1 {
					t.Errorf("%d finds", finds)
				}
			})
		})
	}
}

func TestWithoutTheScopeToLookAMessageIsPostedAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slack := &channel{fate: func(_ context.Context, c call) (bool, error) {
			if c.kind == "find" {
				return false, fmt.Errorf("look: %w", refused("missing_scope"))
			}
			return true, nil
		}}
		p := begin(t, slack, &shelf{all: map[string]upgrade.Posted{"root": {Channel: testbed.Ops, Since: time.Now().Add(-time.Minute)}}})
		p.Show(card("root", "a plan"))
		p.settle(t, 10*time.Second)
		wantShown(t, p, "a plan")
		if log := p.diary.String(); strings.Count(log, "channels:history") != 1 || !strings.Contains(log, "it may be there twice") {
			t.Errorf("the log says %s", log)
		}
	})
}

func TestAMessageThatSlackWillNotHaveIsToldOnceTriedAgainAndHoldsUpNothing(t *testing.T) {
	for _, word := range []string{"channel_not_found", "not_in_channel", "is_archived", "invalid_blocks", "token_revoked", "missing_scope"} {
		t.Run(word, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slack := &channel{fate: func(_ context.Context, c call) (bool, error) {
					if c.key == "root" {
						return false, fmt.Errorf("post: %w", refused(word))
					}
					return true, nil
				}}
				p := begin(t, slack, &shelf{})
				p.Show(reply("root", "node", "a reply to it"))
				waiting := make(chan error, 1)
				go func() {
					_, err := p.Await(t.Context(), "node")
					waiting <- err
				}()
				p.Show(card("root", "the root"))
				p.Show(card("other", "another"))
				_, err := p.Await(t.Context(), "root")
				if !is(err, word) || Passing(err) {
					t.Errorf("got %v", err)
				}
				for i := range 10 {
					p.Show(card("root", fmt.Sprint("again ", i)))
					time.Sleep(time.Minute)
				}
				p.settle(t, time.Second)
				wantShown(t, p, "another")
				select {
				case err := <-waiting:
					if !is(err, word) {
						t.Errorf("of the reply is told %v", err)
					}
				case <-time.After(time.Hour):
					t.Error("who waits for a reply to it waits for ever")
				}
				if n, log := p.count("post", "root"), p.diary.String(); n < 10 || n > 12 || strings.Count(log, "level=ERROR") != 1 || !strings.Contains(log, word) {
					t.Errorf("%d posts; the log says %s", n, log)
				}
			})
		})
	}
}

func TestAMessageThatWasRefusedLandsOnceTheBotIsInvitedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuses := true
		slack := &channel{fate: func(context.Context, call) (bool, error) {
			if refuses {
				return false, fmt.Errorf("post: %w", refused("not_in_channel"))
			}
			return true, nil
		}}
		p := begin(t, slack, &shelf{})
		p.Show(card("root", "a plan"))
		if _, err := p.Await(t.Context(), "root"); !is(err, "not_in_channel") {
			t.Errorf("got %v", err)
		}
		refuses = false
		p.Show(card("root", "the run"))
		p.settle(t, 2*refusedPace)
		time.Sleep(2 * refusedPace)
		wantShown(t, p, "the run")
		if _, err := p.Await(t.Context(), "root"); err != nil {
			t.Errorf("got %v", err)
		}
	})
}

func TestALastWordIsNotEditedByALaterProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slack, kept := &channel{}, &shelf{}
		first := begin(t, slack, kept)
		first.Show(final(card("root", "done")))
		first.settle(t, 5*time.Second)
		first.end()
		second := begin(t, slack, kept)
		for i := range 5 {
			second.Show(card("root", fmt.Sprint("another word ", i)))
			second.Show(final(card("root", fmt.Sprint("another last word ", i))))
			time.Sleep(time.Minute)
		}
		second.settle(t, time.Second)
		at, err := second.Await(t.Context(), "root")
		if wantShown(t, second, "done"); len(slack.calls) != 1 || at.Timestamp != slack.posts[0].ts || err != nil {
			t.Errorf("calls %v; it is at %v, %v", slack.calls, at, err)
		}
		second.Show(reply("root", "late", "a reply is no edit"))
		second.settle(t, 5*time.Second)
		wantShown(t, second, "done", slack.posts[0].ts+" > a reply is no edit")
	})
}

func TestWhatIsForgottenIsANewMessageWhenItIsShownAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := begin(t, &channel{}, &shelf{})
		p.Show(card("old", "an old run"))
		p.Show(card("new", "a new run"))
		p.settle(t, 5*time.Second)
		if err := p.Forget(t.Context(), func(key string) bool { return key == "new" }); err != nil {
			t.Fatal(err)
		}
		if _, known := p.Where("old"); known || len(p.shelf.all) != 1 || p.shelf.all["new"].Timestamp == "" {
			t.Errorf("known %t, kept %v", known, p.shelf.all)
		}
		if _, err := p.Await(t.Context(), "old"); err == nil || err.Error() != "there is no message old" {
			t.Errorf("got %v", err)
		}
		p.Show(card("old", "a second old run"))
		p.settle(t, 5*time.Second)
		wantShown(t, p, "an old run", "a new run", "a second old run")
		p.shelf.setBroken(errors.New("the API is away"))
		if err := p.Forget(t.Context(), func(string) bool { return false }); err == nil {
			t.Error("it is not told that nothing was forgotten")
		}
	})
}

func TestShowNeverWaitsForSlack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := begin(t, &channel{fate: hangs("", 1000, false)}, &shelf{})
		p.Show(card("root", "a plan"))
		synctest.Wait() // the poster hangs now
		start := time.Now()
		for i := range 10_000 {
			p.Show(card("root", fmt.Sprint("card ", i)))
			p.Show(reply("root", fmt.Sprint("node ", i%50), "draining"))
			p.Where("root")
			p.At(upgrade.Thread{Channel: testbed.Ops, Timestamp: "1.1"})
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("it took %s", took)
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("the person has gone"))
		defer cancel()
		if _, err := p.Await(ctx, "root"); err == nil || err.Error() != "the person has gone" {
			t.Errorf("who waits is told %v", err)
		}
		settling, enough := context.WithTimeout(t.Context(), time.Minute)
		defer enough()
		if p.Settle(settling); time.Since(start) != 2*time.Minute {
			t.Errorf("settling took until %s", time.Since(start))
		}
	})
}

func TestABoardWithNothingToSayIsSettledAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := begin(t, &channel{}, &shelf{all: map[string]upgrade.Posted{
			"posted": {Channel: testbed.Ops, Timestamp: "1.1"}, "final": {Channel: testbed.Ops, Timestamp: "1.2", Final: true}, "perhaps": {Channel: testbed.Ops},
		}})
		start := time.Now()
		if p.Settle(t.Context()); time.Since(start) != 0 || len(p.calls) != 0 {
			t.Errorf("it took %s and %v", time.Since(start), p.calls)
		}
	})
}

func TestAMessageThatIsThereAlreadyIsEditedAndAnsweredTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slack := &channel{}
		ts, err := slack.Post(t.Context(), testbed.Ops, "", "question", textMessage("a question"))
		if err != nil {
			t.Fatal(err)
		}
		p := begin(t, slack, &shelf{})
		at := upgrade.Thread{Channel: testbed.Ops, Timestamp: ts}
		p.Known("root", at)
		if where, known := p.Where("root"); !known || where != at || p.At(at) != "root" {
			t.Errorf("it is at %v, %t, of key %q", where, known, p.At(at))
		}
		p.Show(reply("root", "node", "a node"))
		p.Show(card("root", "a run"))
		p.settle(t, 10*time.Second)
		wantShown(t, p, "a run", ts+" > a node")
		if p.At(upgrade.Thread{Channel: testbed.Random, Timestamp: ts}) != "" || p.At(upgrade.Thread{Channel: testbed.Ops, Timestamp: ""}) != "" {
			t.Error("a message of another channel is taken for the board's")
		}
	})
}

// TestNothingIsPostedThatCouldNotBeFoundAgain: where the memory is away, messages wait; what was posted by then is not posted again.
func TestNothingIsPostedThatCouldNotBeFoundAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := &shelf{}
		p := begin(t, &channel{}, kept)
		kept.setBroken(errors.New("the API is away"))
		p.Show(card("root", "a plan"))
		time.Sleep(10 * time.Minute)
		wantShown(t, p)
		p.setFate(func(context.Context, call) (bool, error) {
			kept.setBroken(errors.New("the API is away again"))
			return true, nil
		})
		kept.setBroken(nil)
		p.settle(t, time.Minute)
		p.Show(final(card("root", "over")))
		time.Sleep(10 * time.Minute)
		wantShown(t, p, "over")
		if kept.all["root"].Final {
			t.Error("it is remembered what could not be written")
		}
		p.setFate(nil)
		kept.setBroken(nil)
		p.settle(t, time.Minute)
		if wantShown(t, p, "over"); !kept.all["root"].Final || kept.all["root"].Timestamp != p.posts[0].ts || len(p.posts) != 1 {
			t.Errorf("of the message is known %+v", kept.all["root"])
		}
	})
}

func TestABoardDoesNotBeginWithoutItsMemory(t *testing.T) {
	b := NewBoard(&channel{}, &shelf{broken: errors.New("the API is away")}, slog.New(slog.DiscardHandler))
	if err := b.Load(t.Context()); err == nil || err.Error() != "read what was posted: the API is away" {
		t.Errorf("got %v", err)
	}
}

// TestABoardOnSlack: the first post is answered by nobody, and there is one message in the end, with its reply under it.
func TestABoardOnSlack(t *testing.T) {
	t.Parallel()
	slack, client := emulator(t, testbed.Workspace())
	slack.Inject(slackemu.Fault{Method: "chat.postMessage", Times: 1, LoseAnswer: true})
	log := &diary{}
	board := NewBoard(client, &shelf{}, log.logger())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go board.Run(ctx)
	run := shown(plainly, func(*upgrade.Run) {})
	board.Show(Card{Key: "run", Channel: testbed.Ops, Message: run.Message()})
	board.Show(Card{Key: "node", Under: "run", Channel: testbed.Ops, Message: node(run, 3), Final: true})
	root, err := board.Await(ctx, "run")
	if err != nil {
		t.Fatal(err)
	}
	if board.Settle(ctx); ctx.Err() != nil {
		t.Fatalf("not settled: %s", log)
	}
	all := slack.Messages(testbed.Ops)
	if len(all) != 2 || all[0].TS != root.Timestamp || all[1].ThreadTS != root.Timestamp || !strings.Contains(all[0].PlainText(), "2 of 3 nodes") || !strings.Contains(all[1].PlainText(), "node-1") {
		t.Errorf("in the channel are %+v", all)
	}
	if posts := slack.Calls("chat.postMessage"); posts != 2 {
		t.Errorf("%d posts", posts)
	}
}
