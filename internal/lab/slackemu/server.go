// Package slackemu emulates as much of Slack as the bot needs: a real HTTP and WebSocket server on loopback that serves the
// real client library, and a workspace whose people type commands, react and press buttons:
//
//	srv, err := slackemu.Start(ctx, slackemu.Options{
//		Users:    []slackemu.User{{ID: "U1", Name: "alice"}},
//		Channels: []slackemu.Channel{{ID: "C1", Name: "ops"}},
//	})
//	// start the bot with srv.Env()
//	err = srv.Command(ctx, "U1", "C1", "/upgrade cluster-1")
//	srv.Transcript(os.Stdout, "C1")
//
// Served are auth.test, apps.connections.open, chat.postMessage, chat.update, chat.postEphemeral, chat.delete,
// chat.getPermalink, reactions.add, reactions.remove, reactions.get, users.info, usergroups.users.list, conversations.info,
// conversations.history, conversations.replies and response URLs. Any other method answers unknown_method, is logged as an
// error and shows up in [Server.Unknown], as do requests whose arguments Slack would not accept; a test should fail on any.
//
// It differs from Slack where a test is better served. Every person is in every channel, and any well-formed emoji name
// exists. Of Block Kit it knows section, header, context, actions, divider, image and markdown, with buttons and images as
// elements; anything else is refused. Each time a delivery is sent it has a new envelope_id, so that a bot that tells
// deliveries apart by it is found out. Redeliveries come AckTimeout apart, not after one and five minutes, and what nobody
// acknowledged by then is lost.
package slackemu

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	randv2 "math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Options of an emulator.
type Options struct {
	Users    []User
	Channels []Channel
	Groups   []Group
	// NoUserGroups is a workspace on a plan that has none: usergroups.users.list answers plan_upgrade_required.
	NoUserGroups bool
	// Scopes are the bot token's; nil: [DefaultScopes].
	Scopes []string
	// HTTP is the app's base URL, such as "http://127.0.0.1:8080": commands, events and interactions are posted there, signed.
	// Empty: Socket Mode. Unlike [Server.UseHTTP] this does not ask the app for the answer to a challenge.
	HTTP string
	// RateLimits answers 429 with Retry-After where Slack does; off: no limits.
	RateLimits bool
	// AckTimeout is how long the app has for an acknowledgement before a delivery is sent again; 0: 3 s.
	AckTimeout time.Duration
	// PingInterval is between two WebSocket pings; 0: 5 s.
	PingInterval time.Duration
	// Log gets a line for each delivery that is lost, and an error for each call that is not emulated; nil: slog.Default().
	Log *slog.Logger
}

// DefaultScopes are those that the bot's manifest asks for.
func DefaultScopes() []string {
	return []string{
		"commands", "chat:write", "reactions:read", "reactions:write", "users:read", "usergroups:read",
		"channels:read", "groups:read", "channels:history", "groups:history",
	}
}

// Server is a running emulator. Its methods may be called by several goroutines at once.
type Server struct {
	options  Options
	log      *slog.Logger
	listener net.Listener
	http     *http.Server
	client   *http.Client // for deliveries over HTTP
	methods  map[string]method
	secrets  secrets
	ctx      context.Context // of deliveries, which outlive the requests that began them
	cancel   context.CancelFunc
	work     sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	changed   chan struct{} // closed and replaced by every change
	lastTS    int64         // in microseconds
	lastID    int
	directory directory
	posted    map[string][]*message // by channel, in the order of their ts
	urls      map[string]*responseURL

	links      map[*link]bool
	tickets    map[string]bool
	pending    map[*delivery]bool
	envelopes  map[string]*delivery
	lastEvent  chan struct{} // closed when the newest event over HTTP has been tried once
	app        string        // base URL of the app; empty: Socket Mode
	disturbing Disturbance
	shuffle    *randv2.Rand

	faults     []*Fault
	calls      map[string]int
	unknown    []string
	recent     map[string][]time.Time // calls that count for a rate limit
	deliveries []*Delivery
}

type secrets struct{ bot, app, signing string }

// Start listens on a free port of 127.0.0.1. The emulator ends with [Server.Close] or with ctx.
func Start(ctx context.Context, options Options) (*Server, error) {
	options = options.withDefaults()
	directory, err := newDirectory(options)
	if err != nil {
		return nil, fmt.Errorf("start the Slack emulator: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the Slack emulator: %w", err)
	}
	s := &Server{
		options:   options,
		log:       options.Log.With("component", "slack-emulator"),
		listener:  listener,
		client:    &http.Client{Transport: &http.Transport{}},
		methods:   methods(),
		secrets:   secrets{bot: "xoxb-" + rand.Text(), app: "xapp-1-" + appID + "-" + rand.Text(), signing: strings.ToLower(rand.Text())},
		changed:   make(chan struct{}),
		directory: directory,
		posted:    map[string][]*message{},
		urls:      map[string]*responseURL{},
		links:     map[*link]bool{},
		tickets:   map[string]bool{},
		pending:   map[*delivery]bool{},
		envelopes: map[string]*delivery{},
		app:       strings.TrimRight(options.HTTP, "/"),
		calls:     map[string]int{},
		recent:    map[string][]time.Time{},
	}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.http = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return s.ctx },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.work.Go(func() {
		if err := s.http.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("serve", "error", err)
		}
	})
	context.AfterFunc(s.ctx, s.stop) //nolint:contextcheck // s.ctx is a child of ctx
	return s, nil
}

func (o Options) withDefaults() Options {
	if o.Scopes == nil {
		o.Scopes = DefaultScopes()
	}
	if o.AckTimeout == 0 {
		o.AckTimeout = 3 * time.Second
	}
	if o.PingInterval == 0 {
		o.PingInterval = 5 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return o
}

// Close breaks every connection, gives up deliveries, and waits for what was under way. It may be called more than once.
func (s *Server) Close() {
	s.cancel()
	s.stop()
	s.work.Wait()
	s.client.CloseIdleConnections()
}

func (s *Server) stop() {
	s.mu.Lock()
	s.closed = true
	for l := range s.links {
		l.close()
	}
	s.mu.Unlock()
	_ = s.http.Close()
}

// spawn runs f in the background, until the emulator ends. It is called with the lock held.
func (s *Server) spawn(f func(ctx context.Context)) {
	if !s.closed {
		s.work.Go(func() { f(s.ctx) })
	}
}

// touch wakes those that wait for a change. It is called with the lock held.
func (s *Server) touch() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// URL is fit for SLACK_API_URL: "http://127.0.0.1:PORT/api/".
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() + "/api/" }

// Env is what the bot's environment needs, as NAME=value.
func (s *Server) Env() []string {
	return []string{
		"SLACK_API_URL=" + s.URL(),
		"SLACK_BOT_TOKEN=" + s.secrets.bot,
		"SLACK_APP_TOKEN=" + s.secrets.app,
		"SLACK_SIGNING_SECRET=" + s.secrets.signing,
	}
}

// BotToken is the bot's token, "xoxb-…", made anew for each emulator.
func (s *Server) BotToken() string { return s.secrets.bot }

// AppToken is the app-level token, "xapp-…", made anew for each emulator.
func (s *Server) AppToken() string { return s.secrets.app }

// SigningSecret signs requests to the app.
func (s *Server) SigningSecret() string { return s.secrets.signing }

// BotUser is the ID of the user that the bot is.
func (s *Server) BotUser() string { return botUser }

// Team is the ID of the workspace.
func (s *Server) Team() string { return team }

// AppID is the ID of the app.
func (s *Server) AppID() string { return appID }
