package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/upshift-k8s/upshift/internal/engine"
	"github.com/upshift-k8s/upshift/internal/slack"
)

const (
	// settleTimeout is for the last messages of a bot that ends.
	settleTimeout = 4 * time.Second
	// slackPatience is how long the bot waits for Slack when it starts.
	slackPatience = 5 * time.Second
	// headerTimeout bounds how long a client may take to say what it wants.
	headerTimeout = 10 * time.Second
)

// serve is the bot: it runs until ctx ends, and then interrupts its runs, which another process of the bot goes on with.
func serve(ctx context.Context, cfg config, log *slog.Logger) error {
	client := slack.NewClient(cfg.tokens, cfg.slackAPI)
	me, err := whoAmI(ctx, client, log)
	if err != nil {
		return err
	}
	runs, stopRuns := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopRuns(nil)
	boards, stopBoards := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBoards()
	b := &bot{ctx: ctx, slack: client, directory: newDirectory(client, me), log: log}
	for _, cc := range cfg.clusters {
		b.clusters = append(b.clusters, newSteward(runs, b, cc, cfg.apis))
	}
	handler := slack.Once(b)
	routes, ready, connect := transport(cfg, client, handler, log)
	server, err := listen(ctx, cfg.listen, routes, ready)
	if err != nil {
		return err
	}
	log.Info("the bot is up", "version", version, "listen", server.addr, "transport", cfg.transport, "clusters", len(b.clusters), "team", me.Team, "user", me.User)

	var parts, posting sync.WaitGroup
	for _, c := range b.clusters {
		posting.Go(func() { c.board.Run(boards) })
		parts.Go(func() { c.serve(ctx) })
	}
	parts.Go(func() { connect(ctx) })
	<-ctx.Done()
	log.Info("the bot is told to stop")
	closed := server.close(boards) // no more orders
	stopRuns(&engine.Stop{Reason: "the bot was told to stop"})
	for range 2 { // what was being done may have begun a run
		for _, c := range b.clusters {
			c.running.Wait()
		}
		parts.Wait()
		b.working.Wait()
	}
	settling, cancel := context.WithTimeout(boards, settleTimeout)
	defer cancel()
	for _, c := range b.clusters {
		c.board.Settle(settling)
	}
	stopBoards()
	posting.Wait()
	return closed
}

// whoAmI asks Slack who the bot is. Slack may be away for a while when the bot starts; a token that it refuses ends the bot.
func whoAmI(ctx context.Context, client *slack.Client, log *slog.Logger) (slack.Me, error) {
	for {
		me, err := client.Me(ctx)
		if err == nil {
			return me, nil
		}
		if ctx.Err() != nil || !slack.Passing(err) {
			return me, err
		}
		log.Warn("Slack cannot be reached", "error", err, "again", slackPatience)
		select {
		case <-time.After(slackPatience):
		case <-ctx.Done():
			return me, ctx.Err()
		}
	}
}

// transport is how events come: the routes that it needs, whether it is ready, and what keeps it up.
func transport(cfg config, client *slack.Client, h slack.Handler, log *slog.Logger) (routes http.Handler, ready func() error, connect func(context.Context)) {
	if cfg.transport == byHTTP {
		return slack.HTTP(cfg.signingSecret, h, log), func() error { return nil }, func(context.Context) { h.Connected() }
	}
	socket := slack.NewSocket(client, h, log)
	return http.NotFoundHandler(), socket.Ready, socket.Run
}

// server is what listens on the bot's address.
type server struct {
	http *http.Server
	addr string
	done chan error
}

func listen(ctx context.Context, addr string, routes http.Handler, ready func() error) (*server, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.Handle("/slack/", routes)
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	s := &server{http: &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout, ReadTimeout: 2 * headerTimeout}, addr: l.Addr().String(), done: make(chan error, 1)}
	go func() { s.done <- s.http.Serve(l) }()
	return s, nil
}

// close ends the server.
func (s *server) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = s.http.Shutdown(ctx) // who is still connected after a second is cut off
	_ = s.http.Close()
	if err := <-s.done; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}
