package slack

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/lab/slackemu"
	"github.com/upshift-k8s/upshift/internal/lab/testbed"
)

// plugged is a bot's socket on an emulator.
type plugged struct {
	*slackemu.Server
	box    *inbox
	socket *Socket
	log    *diary
}

// plug connects a socket that handles once what comes.
func plug(ctx context.Context, t *testing.T, silence time.Duration, options slackemu.Options) *plugged {
	t.Helper()
	slack, client := emulator(t, options)
	p := &plugged{Server: slack, box: &inbox{}, log: &diary{}}
	p.socket = NewSocket(client, Once(p.box), p.log.logger())
	p.socket.silence = silence
	running, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.socket.Run(running)
	}()
	t.Cleanup(func() {
		stop()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("the socket does not end with its context")
		}
	})
	return p
}

func (p *plugged) await(ctx context.Context, t *testing.T, what string, cond func() bool) {
	t.Helper()
	if err := p.Await(ctx, cond); err != nil {
		t.Fatalf("%s: %v; handled %v; %s", what, err, p.got(), p.log)
	}
}

func (p *plugged) got() [4]int { return p.box.got() }

func (p *plugged) ready() bool { return p.socket.Ready() == nil }

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// pings are often enough for a short silence.
func pings(every time.Duration) slackemu.Options {
	o := testbed.Workspace()
	o.PingInterval = every
	return o
}

func TestTheBotIsReadyWhileSlackIsHeard(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	if err := NewSocket(NewClient(Tokens{}, ""), &inbox{}, (&diary{}).logger()).Ready(); err == nil || err.Error() != "no connection to Slack, or nothing was heard on it for too long" {
		t.Errorf("before it is run: %v", err)
	}
	p := plug(ctx, t, 300*time.Millisecond, pings(50*time.Millisecond))
	p.await(ctx, t, "connect", func() bool { return p.got()[3] == 1 })
	if err := p.socket.Ready(); err != nil {
		t.Errorf("when it is connected: %v", err)
	}
	for range 20 { // pings alone keep it ready
		connected, calls := p.ready(), p.Calls("apps.connections.open")
		if !connected || calls != 1 {
			t.Fatalf("ready %t after %d connections", connected, calls)
		}
		if err := p.Await(ctx, tick(25*time.Millisecond)); err != nil {
			t.Fatal(err)
		}
	}
	p.Inject(slackemu.Fault{Method: "apps.connections.open", Status: 503})
	silenced := time.Now()
	p.Silence(true)
	p.await(ctx, t, "silence", func() bool { return !p.ready() })
	if took := time.Since(silenced); took < 200*time.Millisecond || took > 5*time.Second {
		t.Errorf("not ready %s after the last word", took)
	}
	p.await(ctx, t, "attempt", func() bool { return p.Calls("apps.connections.open") > 1 })
	if p.ready() {
		t.Error("ready without a connection")
	}
	p.Heal()
	p.await(ctx, t, "reconnect", func() bool { return p.got()[3] == 2 && p.ready() })
}

// tick is a condition that is true after a while.
func tick(d time.Duration) func() bool {
	until := time.Now().Add(d)
	return func() bool { return !time.Now().Before(until) }
}

func TestTheBotIsReadyForAsLongAsSlackMayBeSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSocket(NewClient(Tokens{}, ""), &inbox{}, (&diary{}).logger())
		if s.Ready() == nil {
			t.Error("ready before anything was heard")
		}
		s.heard.Store(time.Now().UnixNano())
		if s.Ready() == nil {
			t.Error("ready while the connection is being made")
		}
		s.up.Store(true)
		time.Sleep(usualSilence)
		if err := s.Ready(); err != nil {
			t.Errorf("after %s: %v", usualSilence, err)
		}
		time.Sleep(time.Millisecond)
		if s.Ready() == nil {
			t.Error("ready after a longer silence")
		}
	})
}

func TestTheBotConnectsAgainHoweverTheConnectionEnded(t *testing.T) {
	for name, cut := range map[string]func(*slackemu.Server){"disconnect": (*slackemu.Server).Disconnect, "break": (*slackemu.Server).Break} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := deadline(t)
			p := plug(ctx, t, 5*time.Second, pings(100*time.Millisecond))
			for n := 1; n <= 5; n++ {
				p.await(ctx, t, "connect", func() bool { return p.got()[3] == n && p.Connections() == 1 && p.ready() })
				if err := p.Command(ctx, testbed.Alice, testbed.Ops, fmt.Sprint("/upgrade cluster-", n)); err != nil {
					t.Fatal(err)
				}
				cut(p.Server)
			}
			p.await(ctx, t, "connect", func() bool { return p.got()[3] == 6 })
			var got []string
			for _, c := range p.box.commands {
				got = append(got, c.Text)
			}
			if diff := cmp.Diff([]string{"cluster-1", "cluster-2", "cluster-3", "cluster-4", "cluster-5"}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatHappensWhileThereIsNoConnectionComesLater(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	p := plug(ctx, t, time.Minute, pings(100*time.Millisecond))
	p.await(ctx, t, "connect", func() bool { return p.got()[3] == 1 && p.ready() })
	ts := p.Post(ctx, testbed.Alice, testbed.Ops, "hello")
	p.Inject(slackemu.Fault{Method: "apps.connections.open", Status: 500})
	p.Break()
	p.await(ctx, t, "an attempt that fails", func() bool {
		return !p.ready() && p.Calls("apps.connections.open") > 1 && strings.Contains(p.log.String(), "cannot connect")
	})
	if err := p.React(ctx, testbed.Bob, testbed.Ops, ts, "white_check_mark"); err != nil {
		t.Fatal(err)
	}
	p.Heal()
	p.await(ctx, t, "reaction", func() bool { return p.got()[2] == 1 })
	if !strings.Contains(p.log.String(), "cannot connect to Slack") {
		t.Errorf("the log says %s", p.log)
	}
}

func TestWhatPeopleDoArrivesOverTheSocketAsOverHTTP(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	p := plug(ctx, t, 5*time.Second, pings(100*time.Millisecond))
	p.await(ctx, t, "connect", func() bool { return p.got()[3] == 1 })
	message, _ := aQuestion(plainly).Message()
	client := NewClient(Tokens{Bot: p.BotToken()}, p.URL())
	ts, err := client.Post(ctx, testbed.Shared, "", "question", message)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Command(ctx, testbed.Eve, testbed.Shared, "/upgrade cluster-1 to <!channel>"); err != nil {
		t.Fatal(err)
	}
	if err := p.Click(ctx, testbed.Bob, testbed.Shared, ts, Approve); err != nil {
		t.Fatal(err)
	}
	for _, do := range []func(context.Context, string, string, string, string) error{p.React, p.Unreact} {
		if err := do(ctx, testbed.Bob, testbed.Shared, ts, "+1::skin-tone-3"); err != nil {
			t.Fatal(err)
		}
	}
	p.await(ctx, t, "all of it", func() bool { return p.got() == [4]int{1, 1, 2, 1} })
	command, click, added, removed := p.box.commands[0], p.box.clicks[0], p.box.reactions[0], p.box.reactions[1]
	if removed.Added { // their order is nobody's promise
		added, removed = removed, added
	}
	for _, id := range []string{command.ID, click.ID, added.ID, removed.ID} {
		if _, of, _ := strings.Cut(id, "/"); of == "" || of[0] == '/' {
			t.Errorf("an ID of nothing: %q", id)
		}
	}
	for _, url := range []string{command.ResponseURL, click.ResponseURL} {
		if err := client.Respond(ctx, url, Say("seen")); err != nil {
			t.Error(err)
		}
	}
	if age := time.Since(added.At); age < 0 || age > time.Minute || removed.At.Before(added.At) {
		t.Errorf("added at %s, removed at %s", added.At, removed.At)
	}
	want := Reaction{ID: added.ID, Who: Person{ID: testbed.Bob}, Channel: testbed.Shared, Timestamp: ts, Name: "+1", Added: true, At: added.At, Shared: true}
	gone := want
	gone.ID, gone.At, gone.Added = removed.ID, removed.At, false
	for _, diff := range []string{
		cmp.Diff(Command{ID: command.ID, Who: Person{testbed.Eve, "eve", "T0OTHER"}, Channel: testbed.Shared, Text: "cluster-1 to <!channel>", ResponseURL: command.ResponseURL}, command),
		cmp.Diff(Click{
			ID: click.ID, Who: Person{testbed.Bob, "bob", p.Team()}, Channel: testbed.Shared, Timestamp: ts, Action: Approve, Value: "cluster-1/abcdefghijklmnop", ResponseURL: click.ResponseURL,
		}, click),
		cmp.Diff(want, added), cmp.Diff(gone, removed),
	} {
		if diff != "" {
			t.Error(diff)
		}
	}
	if subject, ok := ParseSubject(click.Value); !ok || subject != (Subject{"cluster-1", "abcdefghijklmnop"}) {
		t.Errorf("the button is about %v, %t", subject, ok)
	}
}

func TestWhatTheBotCannotReadEndsNothing(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	p := plug(ctx, t, 5*time.Second, pings(100*time.Millisecond))
	p.await(ctx, t, "connect", func() bool { return p.got()[3] == 1 })
	odd, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	_ = p.Deliver(odd, "events_api", map[string]any{"type": "event_callback", "event": 7}, 1)
	_ = p.Deliver(odd, "a_new_type", map[string]any{}, 1)
	for kind, payload := range map[string]any{
		"interactive": map[string]any{"type": "view_submission", "trigger_id": "1"},
		"events_api":  map[string]any{"type": "event_callback", "event_id": "Ev1", "event": map[string]any{"type": "pin_added", "user": "U1"}},
	} {
		if err := p.Deliver(ctx, kind, payload, 1); err != nil {
			t.Error(err)
		}
	}
	if err := p.Command(ctx, testbed.Alice, testbed.Ops, "/upgrade help"); err != nil {
		t.Fatal(err)
	}
	p.await(ctx, t, "command", func() bool { return p.got() == [4]int{1, 0, 0, 1} })
	if p.Calls("apps.connections.open") != 1 || !strings.Contains(p.log.String(), "Slack sent what cannot be read") {
		t.Errorf("%d connections; the log says %s", p.Calls("apps.connections.open"), p.log)
	}
}

// queue is a handler that returns at once and leaves the work to somebody who is slow.
type queue struct {
	inbox
	mu     sync.Mutex
	undone []Command
}

func (q *queue) Command(c Command) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.undone = append(q.undone, c)
}

func TestCommandsAreAcknowledgedBeforeTheyAreObeyed(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	slack, client := emulator(t, pings(100*time.Millisecond))
	q := &queue{}
	running, stop := context.WithCancel(ctx)
	defer stop()
	go NewSocket(client, q, (&diary{}).logger()).Run(running)
	if err := slack.Await(ctx, func() bool { return q.got()[3] == 1 }); err != nil {
		t.Fatal(err)
	}
	var typing sync.WaitGroup
	for i := range 200 {
		typing.Go(func() {
			if err := slack.Command(ctx, testbed.Alice, testbed.Ops, fmt.Sprint("/upgrade cluster-", i)); err != nil {
				t.Error(err)
			}
		})
	}
	typing.Wait()
	for _, d := range slack.Deliveries() {
		if d.Acked.IsZero() || d.Attempts != 1 {
			t.Errorf("%+v", d)
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.undone) != 200 {
		t.Errorf("%d commands arrived", len(q.undone))
	}
}

func TestTenThousandEventsInAnyOrderAndManyTimesAreHandledOnceEach(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	p := plug(ctx, t, 20*time.Second, pings(time.Second))
	p.await(ctx, t, "connect", func() bool { return p.got()[3] == 1 })
	const events, inFlight = 10_000, 300
	people := []string{testbed.Alice, testbed.Bob, testbed.Carol, testbed.Dave, testbed.Gina}
	ts := p.Post(ctx, testbed.Alice, testbed.Ops, "hello")
	p.Disturb(slackemu.Disturbance{Copies: 2, Shuffle: true, Seed: 1})
	for i := range events {
		p.await(ctx, t, "events", func() bool { return i-p.got()[2] < inFlight })
		do := p.React
		if i/len(people)%2 == 1 {
			do = p.Unreact
		}
		if err := do(ctx, people[i%len(people)], testbed.Ops, ts, "+1"); err != nil {
			t.Fatal(err)
		}
	}
	p.await(ctx, t, "events", func() bool { return p.got()[2] >= events })
	var took []time.Duration
	p.await(ctx, t, "acknowledgements", func() bool {
		took = nil
		for _, d := range p.Deliveries() {
			if d.Acked.IsZero() {
				return false
			}
			took = append(took, d.Acked.Sub(d.Sent))
		}
		return true
	})
	times := map[string]int{}
	added := 0
	for _, r := range p.box.reactions {
		times[r.ID]++
		if r.Added {
			added++
		}
	}
	if len(times) != events || len(p.box.reactions) != events || added != events/2 {
		t.Errorf("%d events were handled %d times, %d of them as added", len(times), len(p.box.reactions), added)
	}
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	t.Logf("acknowledged after: median %s, p99 %s, at most %s", took[len(took)/2], p99, took[len(took)-1])
	if p99 > time.Second {
		t.Errorf("the p99 of acknowledgement is %s", p99)
	}
}

func TestABotWhoseTokenIsRefusedTriesAgainLater(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	slack, _ := emulator(t, testbed.Workspace())
	log, ended := &diary{}, make(chan struct{})
	running, stop := context.WithCancel(ctx)
	go func() {
		defer close(ended)
		NewSocket(NewClient(Tokens{Bot: slack.BotToken(), App: "xapp-revoked"}, slack.URL()), &inbox{}, log.logger()).Run(running)
	}()
	if err := slack.Await(ctx, func() bool { return strings.Contains(log.String(), "level=ERROR") }); err != nil {
		t.Fatal(err)
	}
	if got := log.String(); !strings.Contains(got, "error=invalid_auth again=15s") || strings.Contains(got, "xapp-revoked") {
		t.Errorf("the log says %s", got)
	}
	stop()
	select {
	case <-ended:
	case <-ctx.Done():
		t.Error("it does not end while it waits")
	}
}
