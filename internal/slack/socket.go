package slack

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	slackapi "github.com/slack-go/slack"
	"github.com/slack-go/slack/slackevents"
	"github.com/slack-go/slack/socketmode"
)

// Socket is Socket Mode: a connection that the bot opens, so that nothing of it has to be reachable from outside.
type Socket struct {
	api     *slackapi.Client
	handler Handler
	log     *slog.Logger
	// silence is after how long without a ping the connection counts as dead.
	silence time.Duration
	// up tells that there is a connection, and heard when anything came over it last, in nanoseconds since 1970.
	up    atomic.Bool
	heard atomic.Int64
}

// ackTimeout is for handing an acknowledgement to the connection: while there is none, Slack sends the delivery again.
const ackTimeout = 3 * time.Second

// usualSilence is slack-go's own limit for pings, which Slack sends every few seconds.
const usualSilence = 30 * time.Second

// reconnect is between two attempts to connect, at most, also after one that Slack refused for good: tokens can be replaced.
const reconnect = 15 * time.Second

// NewSocket prepares Socket Mode for a client that was made with an app-level token.
func NewSocket(c *Client, h Handler, log *slog.Logger) *Socket {
	return &Socket{api: c.api, handler: h, log: log, silence: usualSilence}
}

// Run keeps the connection until ctx ends.
func (s *Socket) Run(ctx context.Context) {
	for ctx.Err() == nil {
		client := socketmode.New(s.api, socketmode.OptionDialer(s.dialer()), socketmode.OptionPingInterval(s.silence))
		attempt, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- client.RunContext(attempt) }()
		err := s.receive(attempt, client, done)
		cancel()
		s.up.Store(false)
		if ctx.Err() != nil {
			return
		}
		s.log.Error("no connection to Slack", "error", err, "again", reconnect)
		select {
		case <-time.After(reconnect):
		case <-ctx.Done():
		}
	}
}

// receive acknowledges what comes, at once, and passes it on.
func (s *Socket) receive(ctx context.Context, client *socketmode.Client, done <-chan error) error {
	for {
		select {
		case event := <-client.Events:
			if failed, ok := event.Data.(*slackapi.ConnectionErrorEvent); ok && failed.Backoff > reconnect && !errors.As(failed.ErrorObj, new(*slackapi.RateLimitedError)) {
				return failed.ErrorObj // the library would wait up to five minutes in the end, also where Slack does not ask for it
			}
			s.handle(ctx, client, event)
		case err := <-done:
			return err
		}
	}
}

func (s *Socket) handle(ctx context.Context, client *socketmode.Client, event socketmode.Event) {
	switch event.Type {
	case socketmode.EventTypeConnected:
		s.heard.Store(time.Now().UnixNano())
		s.up.Store(true)
		s.log.Info("connected to Slack", "transport", "socket")
		s.handler.Connected()
		return
	case socketmode.EventTypeConnecting:
		s.up.Store(false)
		return
	case socketmode.EventTypeConnectionError:
		var err error
		if e, ok := event.Data.(*slackapi.ConnectionErrorEvent); ok {
			err = e.ErrorObj
		}
		if ctx.Err() == nil {
			s.log.Warn("cannot connect to Slack", "error", err)
		}
		return
	case socketmode.EventTypeErrorBadMessage:
		s.log.Warn("Slack sent what cannot be read") // what it was may hold a person's words
		return
	}
	if event.Request == nil || event.Request.EnvelopeID == "" {
		return
	}
	acking, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	if err := client.AckCtx(acking, event.Request.EnvelopeID, nil); err != nil && ctx.Err() == nil {
		s.log.Warn("cannot acknowledge", "error", err)
	}
	switch data := event.Data.(type) {
	case slackapi.SlashCommand:
		s.handler.Command(command(data))
	case slackapi.InteractionCallback:
		if c, ok := click(data); ok {
			s.handler.Click(c)
		}
	case slackevents.EventsAPIEvent:
		if r, ok := reaction(data); ok {
			s.handler.Reaction(r)
		}
	}
}

// errSilent is why the bot is not ready.
var errSilent = errors.New("no connection to Slack, or nothing was heard on it for too long")

// Ready returns nil while the connection is alive: Slack pings it every few seconds.
func (s *Socket) Ready() error {
	if !s.up.Load() || time.Since(time.Unix(0, s.heard.Load())) > s.silence {
		return errSilent
	}
	return nil
}

// dialer notes when anything is heard: the library keeps Slack's pings to itself.
func (s *Socket) dialer() *websocket.Dialer {
	return &websocket.Dialer{
		Proxy: http.ProxyFromEnvironment, HandshakeTimeout: 30 * time.Second,
		NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &listening{Conn: conn, heard: &s.heard}, nil
		},
	}
}

// listening is a connection that notes when something came.
type listening struct {
	net.Conn
	heard *atomic.Int64
}

func (l *listening) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if n > 0 {
		l.heard.Store(time.Now().UnixNano())
	}
	return n, err
}
