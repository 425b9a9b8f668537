package slackemu

import (
	"bytes"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slack-go/slack"
	"github.com/slack-go/slack/slackevents"
	"github.com/slack-go/slack/socketmode"
)

func TestCommandOverSocket(t *testing.T) {
	s, ctx := start(t, Options{})
	if err := s.Command(ctx, "U1", "C1", "/upgrade cluster-1"); !errors.Is(err, ErrDispatchFailed) ||
		!strings.Contains(err.Error(), "/upgrade failed because the app did not respond") {
		t.Errorf("without a connection: %v", err)
	}
	b := connect(ctx, t, s, nil)
	if err := s.Command(ctx, "U3", "C2", "/upgrade  cluster-1 --now"); err != nil {
		t.Fatal(err)
	}
	cmd := b.next(ctx, t).Data.(slack.SlashCommand)
	if cmd.Command != "/upgrade" || cmd.Text != "cluster-1 --now" || cmd.UserID != "U3" || cmd.UserName != "eve" || cmd.TeamID != "T9" ||
		cmd.ChannelID != "C2" || cmd.ChannelName != "elsewhere" || cmd.TriggerID == "" || cmd.APIAppID != s.AppID() || cmd.IsEnterpriseInstall {
		t.Errorf("command: %+v", cmd)
	}
	if got := s.Deliveries(); len(got) != 1 || got[0].Kind != "slash_commands" || got[0].Attempts != 1 || got[0].Acked.Before(got[0].Sent) {
		t.Errorf("deliveries: %+v", got)
	}
	if err := s.Command(ctx, "U4", "C1", "/upgrade"); err == nil {
		t.Error("a deactivated user typed a command")
	}
	wantNoUnknown(t, s)
}

func TestAnswersToACommand(t *testing.T) {
	s, ctx := start(t, Options{})
	b := connect(ctx, t, s, func(socketmode.Event) bool { return false })
	typed := make(chan error, 1)
	go func() { typed <- s.Command(ctx, "U1", "C2", "/upgrade status") }()
	e := b.next(ctx, t)
	if err := b.Ack(*e.Request, map[string]any{"text": "looking"}); err != nil {
		t.Fatal(err)
	}
	if err := <-typed; err != nil {
		t.Fatal(err)
	}
	url := e.Data.(slack.SlashCommand).ResponseURL
	post := func(m *slack.WebhookMessage) error { return slack.PostWebhookContext(ctx, url, m) }
	await(ctx, t, s, "the inline answer", func() bool { return len(s.Messages("C2")) == 1 })
	for _, m := range []*slack.WebhookMessage{
		{Text: "one"}, {Text: "two", ResponseType: slack.ResponseTypeInChannel},
		{Blocks: &slack.Blocks{BlockSet: []slack.Block{section("three")}}}, {Text: "four"},
	} {
		if err := post(m); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, _, err := client(s).SendMessageContext(ctx, "C2", slack.MsgOptionResponseURL(url, ""), slack.MsgOptionText("five", false)); err != nil {
		t.Fatal(err)
	}
	wantNoUnknown(t, s)
	if err := post(&slack.WebhookMessage{Text: "six"}); err == nil || !strings.Contains(strings.Join(s.Unknown(), "\n"), "used_url") {
		t.Errorf("sixth use: %v, %v", err, s.Unknown())
	}
	var got []string
	for _, m := range s.Messages("C2") {
		got = append(got, m.PlainText()+"|"+m.Ephemeral)
	}
	if want := "looking|U1 one|U1 two| three|U1 four|U1 five|U1"; strings.Join(got, " ") != want {
		t.Errorf("answers: %v, want %v", got, want)
	}
}

func TestResponseURLExpires(t *testing.T) {
	s, ctx := start(t, Options{})
	b := connect(ctx, t, s, nil)
	if err := s.Command(ctx, "U1", "C1", "/upgrade"); err != nil {
		t.Fatal(err)
	}
	url := b.next(ctx, t).Data.(slack.SlashCommand).ResponseURL
	s.mu.Lock()
	for _, u := range s.urls {
		u.expires = time.Now().Add(-time.Second)
	}
	s.mu.Unlock()
	if err := slack.PostWebhookContext(ctx, url, &slack.WebhookMessage{Text: "late"}); err == nil || len(s.Messages("C1")) != 0 {
		t.Errorf("after 30 minutes: %v", err)
	}
}

func TestReactionEvents(t *testing.T) {
	s, ctx := start(t, Options{})
	b := connect(ctx, t, s, nil)
	_, ts, err := client(s).PostMessageContext(ctx, "C3", slack.MsgOptionText("vote", false))
	if err != nil {
		t.Fatal(err)
	}
	if err := client(s).AddReactionContext(ctx, "+1", slack.NewRefToMessage("C3", ts)); err != nil {
		t.Fatal(err)
	}
	outer := b.next(ctx, t).Data.(slackevents.EventsAPIEvent)
	seed := outer.InnerEvent.Data.(*slackevents.ReactionAddedEvent)
	if seed.User != s.BotUser() || !outer.IsExtSharedChannel {
		t.Errorf("the bot's own reaction: %+v in %+v", seed, outer)
	}
	if err := s.React(ctx, "U3", "C3", ts, "+1::skin-tone-3"); err != nil {
		t.Fatal(err)
	}
	outer = b.next(ctx, t).Data.(slackevents.EventsAPIEvent)
	added := outer.InnerEvent.Data.(*slackevents.ReactionAddedEvent)
	if added.User != "U3" || added.Reaction != "+1::skin-tone-3" || added.ItemUser != s.BotUser() || added.Item.Channel != "C3" ||
		added.Item.Timestamp != ts || added.Item.Type != "message" || added.EventTimestamp <= ts {
		t.Errorf("added: %+v", added)
	}
	callback := outer.Data.(*slackevents.EventsAPICallbackEvent)
	if callback.EventID == "" || callback.TeamID != s.Team() || len(callback.Authorizations) != 1 || callback.Authorizations[0].UserID != s.BotUser() {
		t.Errorf("callback: %+v", callback)
	}
	if err := s.Unreact(ctx, "U3", "C3", ts, "+1::skin-tone-3"); err != nil {
		t.Fatal(err)
	}
	outer = b.next(ctx, t).Data.(slackevents.EventsAPIEvent)
	if removed, ok := outer.InnerEvent.Data.(*slackevents.ReactionRemovedEvent); !ok || removed.User != "U3" {
		t.Errorf("removed: %+v", outer.InnerEvent.Data)
	}
	elsewhere := s.Post(ctx, "U1", "C2", "the bot is not here")
	if err := s.React(ctx, "U1", "C2", elsewhere, "x"); err != nil {
		t.Fatal(err)
	}
	if got := s.Deliveries(); len(got) != 3 {
		t.Errorf("an event came from a channel without the bot: %+v", got)
	}
}

func TestClick(t *testing.T) {
	s, ctx := start(t, Options{})
	b := connect(ctx, t, s, nil)
	api := client(s)
	votes := slack.NewActionBlock("votes", button("yes", "Approve").WithStyle(slack.StylePrimary), button("no", "Reject"))
	_, ts, err := api.PostMessageContext(ctx, "C1", slack.MsgOptionBlocks(section("plan"), votes))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Click(ctx, "U3", "C1", ts, "yes"); err != nil {
		t.Fatal(err)
	}
	pressed := b.next(ctx, t).Data.(slack.InteractionCallback)
	action := pressed.ActionCallback.BlockActions[0]
	if pressed.Type != slack.InteractionTypeBlockActions || pressed.User.ID != "U3" || pressed.User.TeamID != "T9" || pressed.Team.ID != s.Team() ||
		pressed.Channel.ID != "C1" || pressed.Container.MessageTs != ts || pressed.Message.User != s.BotUser() || pressed.TriggerID == "" ||
		action.ActionID != "yes" || action.BlockID != "votes" || action.Value != "value of yes" {
		t.Errorf("interaction: %+v, action %+v", pressed, action)
	}
	replace := &slack.WebhookMessage{Text: "approved", ReplaceOriginal: true}
	if err := slack.PostWebhookContext(ctx, pressed.ResponseURL, replace); err != nil {
		t.Fatal(err)
	}
	if err := s.Click(ctx, "U1", "C1", ts, "yes"); err == nil || !strings.Contains(err.Error(), "no such button") {
		t.Errorf("pressed a button that is gone: %v", err)
	}
	eph, err := api.PostEphemeralContext(ctx, "C1", "U1", slack.MsgOptionBlocks(votes))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Click(ctx, "U2", "C1", eph, "no"); err == nil {
		t.Error("pressed a button of someone else's ephemeral message")
	}
	if err := s.Click(ctx, "U1", "C1", eph, "no"); err != nil {
		t.Fatal(err)
	}
	pressed = b.next(ctx, t).Data.(slack.InteractionCallback)
	if !pressed.Container.IsEphemeral || pressed.Message.Timestamp != "" {
		t.Errorf("ephemeral interaction: %+v", pressed)
	}
	remove := &slack.WebhookMessage{DeleteOriginal: true}
	if err := slack.PostWebhookContext(ctx, pressed.ResponseURL, remove); err != nil {
		t.Fatal(err)
	}
	if m, _ := s.Message("C1", eph); !m.Deleted {
		t.Error("the ephemeral message is still there")
	}
	wantNoUnknown(t, s)
}

func TestRedelivery(t *testing.T) {
	s, ctx := start(t, Options{AckTimeout: 50 * time.Millisecond})
	var seen atomic.Int32
	b := connect(ctx, t, s, func(socketmode.Event) bool { return seen.Add(1) > 1 })
	ts := s.Post(ctx, "U1", "C1", "hello")
	if err := s.React(ctx, "U1", "C1", ts, "eyes"); err != nil {
		t.Fatal(err)
	}
	first, second := b.next(ctx, t), b.next(ctx, t)
	if first.Request.RetryAttempt != 0 || second.Request.RetryAttempt != 1 || second.Request.RetryReason != "timeout" ||
		!bytes.Equal(first.Request.Payload, second.Request.Payload) || first.Request.EnvelopeID == second.Request.EnvelopeID {
		t.Errorf("first %+v, second %+v", first.Request, second.Request)
	}
	await(ctx, t, s, "acknowledgement", func() bool { return !s.Deliveries()[0].Acked.IsZero() })
	if got := s.Deliveries()[0].Attempts; got != 2 {
		t.Errorf("%d attempts", got)
	}
}

func TestRedeliveryEnds(t *testing.T) {
	s, ctx := start(t, Options{AckTimeout: 10 * time.Millisecond})
	b := connect(ctx, t, s, func(socketmode.Event) bool { return false })
	if err := s.Command(ctx, "U1", "C1", "/upgrade"); !errors.Is(err, ErrOperationTimeout) {
		t.Errorf("never acknowledged: %v", err)
	}
	for range 4 {
		b.next(ctx, t)
	}
	await(ctx, t, s, "the end of redelivery", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.pending) == 0 && len(s.envelopes) == 0
	})
	if got := s.Deliveries()[0]; got.Attempts != 4 || !got.Acked.IsZero() {
		t.Errorf("delivery: %+v", got)
	}
}

func TestRedeliveryAfterABrokenConnection(t *testing.T) {
	for name, cut := range map[string]func(*Server){"break": (*Server).Break, "disconnect": (*Server).Disconnect} {
		t.Run(name, func(t *testing.T) {
			s, ctx := start(t, Options{AckTimeout: 10 * time.Second})
			var seen atomic.Int32
			b := connect(ctx, t, s, func(socketmode.Event) bool { return seen.Add(1) > 1 })
			typed := make(chan error, 1)
			go func() { typed <- s.Command(ctx, "U1", "C1", "/upgrade") }()
			first := b.next(ctx, t)
			cut(s)
			second := b.next(ctx, t)
			if err := <-typed; err != nil {
				t.Error(err)
			}
			if second.Request.RetryAttempt != 1 || second.Request.RetryReason != "connection_failed" ||
				first.Data.(slack.SlashCommand).TriggerID != second.Data.(slack.SlashCommand).TriggerID {
				t.Errorf("first %+v, second %+v", first.Request, second.Request)
			}
			if s.Connections() != 1 || s.Calls("apps.connections.open") != 2 {
				t.Errorf("%d connections after %d calls", s.Connections(), s.Calls("apps.connections.open"))
			}
		})
	}
}

func TestEventsWaitForAConnection(t *testing.T) {
	s, ctx := start(t, Options{AckTimeout: 10 * time.Second})
	ts := s.Post(ctx, "U1", "C1", "hello")
	if err := s.React(ctx, "U1", "C1", ts, "eyes"); err != nil {
		t.Fatal(err)
	}
	if got := s.Deliveries()[0]; got.Attempts != 0 || !got.Sent.IsZero() {
		t.Errorf("sent to nobody: %+v", got)
	}
	b := connect(ctx, t, s, nil)
	if e := b.next(ctx, t); e.Request.RetryAttempt != 0 || e.Request.RetryReason != "" {
		t.Errorf("event: %+v", e.Request)
	}
	lossy, ctx := start(t, Options{AckTimeout: 5 * time.Millisecond})
	ts = lossy.Post(ctx, "U1", "C1", "hello")
	if err := lossy.React(ctx, "U1", "C1", ts, "eyes"); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, lossy, "the loss", func() bool {
		lossy.mu.Lock()
		defer lossy.mu.Unlock()
		return len(lossy.pending) == 0
	})
	if b := connect(ctx, t, lossy, nil); len(b.got) != 0 || lossy.Deliveries()[0].Attempts != 0 {
		t.Errorf("a lost event came: %+v", lossy.Deliveries())
	}
}

func TestSeveralConnections(t *testing.T) {
	s, ctx := start(t, Options{})
	a, b := connect(ctx, t, s, nil), connect(ctx, t, s, nil)
	if s.Connections() != 2 {
		t.Fatalf("%d connections", s.Connections())
	}
	const n = 40
	for range n {
		if err := s.Command(ctx, "U1", "C1", "/upgrade"); err != nil {
			t.Fatal(err)
		}
	}
	await(ctx, t, s, "all commands", func() bool { return len(a.got)+len(b.got) == n })
	if len(a.got) == 0 || len(b.got) == 0 {
		t.Errorf("%d and %d of %d", len(a.got), len(b.got), n)
	}
	a.stop()
	await(ctx, t, s, "one connection", func() bool { return s.Connections() == 1 })
}

func TestSilence(t *testing.T) {
	s, ctx := start(t, Options{PingInterval: 50 * time.Millisecond, AckTimeout: 100 * time.Millisecond})
	b := connect(ctx, t, s, nil)
	s.Silence(true)
	ts := s.Post(ctx, "U1", "C1", "hello")
	if err := s.React(ctx, "U1", "C1", ts, "eyes"); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, s, "a second attempt", func() bool { return s.Deliveries()[0].Attempts > 1 })
	if s.Connections() != 1 || len(b.got) != 0 {
		t.Errorf("%d connections, %d deliveries", s.Connections(), len(b.got))
	}
	s.Silence(false)
	b.next(ctx, t)
	s.Silence(true)
	opened := s.Calls("apps.connections.open")
	await(ctx, t, s, "the client to notice", func() bool { return s.Calls("apps.connections.open") > opened && s.Connections() == 1 })
	if err := s.Command(ctx, "U1", "C1", "/upgrade"); err != nil {
		t.Errorf("a new connection is silent: %v", err)
	}
}

func TestCopiesAndShuffle(t *testing.T) {
	s, ctx := start(t, Options{})
	b := connect(ctx, t, s, nil)
	s.Disturb(Disturbance{Copies: 3, Shuffle: true, Seed: 7})
	ts := s.Post(ctx, "U1", "C1", "hello")
	names := []string{"one", "two", "three", "four", "five"}
	for _, name := range names {
		if err := s.React(ctx, "U1", "C1", ts, name); err != nil {
			t.Fatal(err)
		}
	}
	var order []string
	events := map[string]int{}
	for range 3 * len(names) {
		callback := b.next(ctx, t).Data.(slackevents.EventsAPIEvent)
		events[callback.Data.(*slackevents.EventsAPICallbackEvent).EventID]++
		order = append(order, callback.InnerEvent.Data.(*slackevents.ReactionAddedEvent).Reaction)
	}
	if len(events) != len(names) {
		t.Errorf("events: %v", events)
	}
	if strings.HasPrefix(strings.Join(order, " "), "one one one two two two three three three") {
		t.Errorf("in order: %v", order)
	}
	s.Disturb(Disturbance{})
	if err := s.Deliver(ctx, "events_api", map[string]any{"type": "event_callback", "event": map[string]any{"type": "app_mention"}}, 2); err != nil {
		t.Fatal(err)
	}
	b.next(ctx, t)
	b.next(ctx, t)
	if len(b.got) != 0 {
		t.Errorf("%d deliveries too many", len(b.got))
	}
}
