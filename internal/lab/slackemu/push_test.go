package slackemu

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slack-go/slack"
	"github.com/slack-go/slack/slackevents"
)

// pushed is a request that reached the app, verified.
type pushed struct {
	path   string
	header http.Header
	body   []byte
}

// app is a bot behind HTTP, which answers what answer writes; nil: an empty 200.
type app struct {
	*httptest.Server
	got chan pushed
}

func newApp(t *testing.T, s *Server, answer func(http.ResponseWriter, pushed)) *app {
	t.Helper()
	a := &app{got: make(chan pushed, 100)}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		verifier, err := slack.NewSecretsVerifier(r.Header, s.SigningSecret())
		if err == nil {
			_, _ = verifier.Write(body)
			err = verifier.Ensure()
		}
		if err != nil {
			t.Errorf("signature: %v", err)
		}
		var challenge slackevents.EventsAPIURLVerificationEvent
		if json.Unmarshal(body, &challenge) == nil && challenge.Type == slackevents.URLVerification {
			_, _ = io.WriteString(w, challenge.Challenge)
			return
		}
		p := pushed{path: r.URL.Path, header: r.Header, body: body}
		a.got <- p
		if answer != nil {
			answer(w, p)
		}
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *app) next(ctx context.Context, t *testing.T) pushed {
	t.Helper()
	select {
	case p := <-a.got:
		return p
	case <-ctx.Done():
		t.Fatal("nothing came")
		return pushed{}
	}
}

func TestCommandOverHTTP(t *testing.T) {
	s, ctx := start(t, Options{})
	a := newApp(t, s, func(w http.ResponseWriter, p pushed) {
		if p.path == "/slack/commands" {
			_, _ = io.WriteString(w, "on it")
		}
	})
	if err := s.UseHTTP(a.URL + "/"); err != nil {
		t.Fatal(err)
	}
	if err := s.Command(ctx, "U1", "C1", "/upgrade cluster-1"); err != nil {
		t.Fatal(err)
	}
	p := a.next(ctx, t)
	form, err := url.ParseQuery(string(p.body))
	if err != nil || p.path != "/slack/commands" || form.Get("command") != "/upgrade" || form.Get("text") != "cluster-1" ||
		form.Get("user_id") != "U1" || form.Get("is_enterprise_install") != "false" || form.Get("response_url") == "" {
		t.Errorf("%s %v, %v", p.path, form, err)
	}
	all := s.Messages("C1")
	if len(all) != 1 || all[0].Text != "on it" || all[0].Ephemeral != "U1" {
		t.Errorf("answer: %+v", all)
	}
	_, ts, err := client(s).PostMessageContext(ctx, "C1", slack.MsgOptionBlocks(slack.NewActionBlock("", button("yes", "Approve"))))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Click(ctx, "U1", "C1", ts, "yes"); err != nil {
		t.Fatal(err)
	}
	p = a.next(ctx, t)
	form, _ = url.ParseQuery(string(p.body))
	var pressed slack.InteractionCallback
	if err := json.Unmarshal([]byte(form.Get("payload")), &pressed); err != nil || p.path != "/slack/interactions" ||
		pressed.ActionCallback.BlockActions[0].ActionID != "yes" || pressed.ActionCallback.BlockActions[0].BlockID == "" {
		t.Errorf("%s %+v, %v", p.path, pressed, err)
	}
	wantNoUnknown(t, s)
}

func TestEventsOverHTTPAreRetried(t *testing.T) {
	s, ctx := start(t, Options{AckTimeout: 50 * time.Millisecond})
	late := make(chan struct{}) // an answer that comes when nobody waits for it any more
	defer close(late)
	var mu sync.Mutex
	seen := 0
	a := newApp(t, s, func(w http.ResponseWriter, _ pushed) {
		mu.Lock()
		seen++
		nth := seen
		mu.Unlock()
		switch nth {
		case 1:
			w.WriteHeader(http.StatusInternalServerError)
		case 2:
			<-late
		}
	})
	if err := s.UseHTTP(a.URL); err != nil {
		t.Fatal(err)
	}
	ts := s.Post(ctx, "U1", "C1", "hello")
	if err := s.React(ctx, "U1", "C1", ts, "eyes"); err != nil {
		t.Fatal(err)
	}
	first := a.next(ctx, t)
	if first.path != "/slack/events" || first.header.Get("X-Slack-Retry-Num") != "" {
		t.Errorf("first: %+v", first)
	}
	for _, want := range []string{"1 http_error", "2 http_timeout"} {
		p := a.next(ctx, t)
		if got := p.header.Get("X-Slack-Retry-Num") + " " + p.header.Get("X-Slack-Retry-Reason"); got != want || string(p.body) != string(first.body) {
			t.Errorf("retry %q, want %q; body %s", got, want, p.body)
		}
	}
	await(ctx, t, s, "acknowledgement", func() bool { return !s.Deliveries()[0].Acked.IsZero() })
}

func TestFailuresOverHTTP(t *testing.T) {
	s, ctx := start(t, Options{AckTimeout: 50 * time.Millisecond})
	status := newApp(t, s, func(w http.ResponseWriter, _ pushed) { w.WriteHeader(http.StatusBadGateway) })
	if err := s.UseHTTP(status.URL); err != nil {
		t.Fatal(err)
	}
	if err := s.Command(ctx, "U1", "C1", "/upgrade"); !errors.Is(err, ErrServiceError) {
		t.Errorf("status 502: %v", err)
	}
	if got := s.Deliveries()[0]; got.Attempts != 1 {
		t.Errorf("a command was sent %d times", got.Attempts)
	}
	hang := make(chan struct{})
	slow := newApp(t, s, func(http.ResponseWriter, pushed) { <-hang })
	t.Cleanup(func() { close(hang) })
	if err := s.UseHTTP(slow.URL); err != nil {
		t.Fatal(err)
	}
	if err := s.Command(ctx, "U1", "C1", "/upgrade"); !errors.Is(err, ErrOperationTimeout) {
		t.Errorf("no answer: %v", err)
	}
	status.Close()
	if err := s.UseHTTP(status.URL); err == nil {
		t.Error("nobody answered the challenge")
	}
	dead, ctx := start(t, Options{HTTP: status.URL})
	if err := dead.Command(ctx, "U1", "C1", "/upgrade"); !errors.Is(err, ErrDispatchFailed) {
		t.Errorf("nobody is there: %v", err)
	}
}

func TestEventsOverHTTPKeepTheirOrder(t *testing.T) {
	s, ctx := start(t, Options{})
	a := newApp(t, s, nil)
	if err := s.UseHTTP(a.URL); err != nil {
		t.Fatal(err)
	}
	ts := s.Post(ctx, "U1", "C1", "hello")
	for range 10 {
		if err := errors.Join(s.React(ctx, "U1", "C1", ts, "x"), s.Unreact(ctx, "U1", "C1", ts, "x")); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		for _, want := range []string{"reaction_added", "reaction_removed"} {
			if p := a.next(ctx, t); !strings.Contains(string(p.body), want) {
				t.Fatalf("want %s, got %s", want, p.body)
			}
		}
	}
}

func TestChallengeHasToBeAnswered(t *testing.T) {
	s, _ := start(t, Options{})
	deaf := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	t.Cleanup(deaf.Close)
	if err := s.UseHTTP(deaf.URL); err == nil || !strings.Contains(err.Error(), "url_verification") {
		t.Errorf("not answered: %v", err)
	}
	if s.app != "" {
		t.Error("uses an app that did not answer")
	}
}
