package slackemu

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/slack-go/slack"
)

// callMethod returns Slack's error word. The bot token is sent unless args have one.
func callMethod(ctx context.Context, t *testing.T, s *Server, method, args string) string {
	t.Helper()
	values, err := url.ParseQuery(args)
	if err != nil {
		t.Fatal(err)
	}
	if !values.Has("token") {
		values.Set("token", s.BotToken())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL()+method, strings.NewReader(values.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var body struct{ Error string }
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return body.Error
}

func post(ctx context.Context, s *Server, channel string) error {
	_, _, err := client(s).PostMessageContext(ctx, channel, slack.MsgOptionText("x", false))
	return err
}

func TestFaults(t *testing.T) {
	s, ctx := start(t, Options{})
	s.Inject(Fault{Method: "chat.postMessage", Times: 1, Status: http.StatusBadGateway})
	s.Inject(Fault{Method: "chat.postMessage", Times: 1, RetryAfter: 1500 * time.Millisecond})
	s.Inject(Fault{Method: "chat.postMessage", Times: 2, Error: "internal_error"})
	if err := post(ctx, s, "C1"); !isStatus(err, http.StatusBadGateway) {
		t.Errorf("status: %v", err)
	}
	if limited, ok := errors.AsType[*slack.RateLimitedError](post(ctx, s, "C1")); !ok || limited.RetryAfter != 2*time.Second {
		t.Errorf("rate limit: %+v", limited)
	}
	for range 2 {
		if err := post(ctx, s, "C1"); errorText(err) != "internal_error" {
			t.Errorf("error word: %v", err)
		}
	}
	if got := len(s.Messages("C1")); got != 0 {
		t.Fatalf("%d messages were posted", got)
	}
	if err := post(ctx, s, "C1"); err != nil {
		t.Errorf("after the faults: %v", err)
	}
	s.Inject(Fault{Times: 1, LoseAnswer: true})
	if err := post(ctx, s, "C1"); err == nil {
		t.Error("the answer came")
	}
	if got := len(s.Messages("C1")); got != 2 {
		t.Errorf("%d messages: a lost answer is of a call that was carried out", got)
	}
	s.Inject(Fault{Hang: true})
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if err := post(short, s, "C1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hang: %v", err)
	}
	s.Heal()
	s.Inject(Fault{Times: 1, Delay: 20 * time.Millisecond})
	began := time.Now()
	if err := post(ctx, s, "C1"); err != nil || time.Since(began) < 20*time.Millisecond {
		t.Errorf("delay: %v after %s", err, time.Since(began))
	}
	if got := s.Calls("chat.postMessage"); got != 8 {
		t.Errorf("%d calls", got)
	}
}

func isStatus(err error, status int) bool {
	got, ok := errors.AsType[slack.StatusCodeError](err)
	return ok && got.Code == status
}

func TestFaultsOfResponseURLs(t *testing.T) {
	s, ctx := start(t, Options{})
	b := connect(ctx, t, s, nil)
	if err := s.Command(ctx, "U1", "C1", "/upgrade"); err != nil {
		t.Fatal(err)
	}
	url := b.next(ctx, t).Data.(slack.SlashCommand).ResponseURL
	s.Inject(Fault{Method: "response_url", Times: 1, Status: http.StatusInternalServerError})
	if err := slack.PostWebhookContext(ctx, url, &slack.WebhookMessage{Text: "x"}); !isStatus(err, http.StatusInternalServerError) {
		t.Errorf("fault: %v", err)
	}
	if err := slack.PostWebhookContext(ctx, url, &slack.WebhookMessage{Text: "x"}); err != nil || s.Calls("response_url") != 2 {
		t.Errorf("healed: %v", err)
	}
}

func TestRateLimits(t *testing.T) {
	s, ctx := start(t, Options{RateLimits: true})
	for range 5 {
		if err := post(ctx, s, "C1"); err != nil {
			t.Fatal(err)
		}
	}
	if limited, ok := errors.AsType[*slack.RateLimitedError](post(ctx, s, "C1")); !ok || limited.RetryAfter < time.Second || limited.RetryAfter > 5*time.Second {
		t.Errorf("sixth message in a channel: %+v", limited)
	}
	if err := post(ctx, s, "C3"); err != nil {
		t.Errorf("another channel: %v", err)
	}
	ts := s.Messages("C1")[0].TS
	update := func() error {
		_, _, _, err := client(s).UpdateMessageContext(ctx, "C1", ts, slack.MsgOptionText("y", false))
		return err
	}
	for range 50 {
		if err := update(); err != nil {
			t.Fatal(err)
		}
	}
	if limited, ok := errors.AsType[*slack.RateLimitedError](update()); !ok || limited.RetryAfter < 30*time.Second {
		t.Errorf("51st update in a minute: %+v", limited)
	}
	s.mu.Lock()
	for key, calls := range s.recent {
		for i := range calls {
			s.recent[key][i] = calls[i].Add(-time.Minute)
		}
	}
	s.mu.Unlock()
	if err := errors.Join(update(), post(ctx, s, "C1")); err != nil {
		t.Errorf("a minute later: %v", err)
	}
}

func TestAwait(t *testing.T) {
	s, ctx := start(t, Options{})
	go func() { _ = post(ctx, s, "C1") }()
	await(ctx, t, s, "a message", func() bool { return len(s.Messages("C1")) == 1 })
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if err := s.Await(short, func() bool { return false }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("never true: %v", err)
	}
}

func TestBadOptions(t *testing.T) {
	for _, o := range []Options{
		{Users: []User{{Name: "nobody"}}},
		{Users: []User{{ID: "U1"}, {ID: "U1"}}},
		{Channels: []Channel{{ID: "C1"}, {ID: "C1"}}},
		{Groups: []Group{{ID: "S1"}}, Users: []User{{ID: "S1"}}},
	} {
		if s, err := Start(t.Context(), o); err == nil {
			s.Close()
			t.Errorf("started with %+v", o)
		}
	}
}
