package slackemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	randv2 "math/rand/v2"
	"time"
)

// The kinds of deliveries, which are also the types of their envelopes.
const (
	kindCommand     = "slash_commands"
	kindEvent       = "events_api"
	kindInteraction = "interactive"
)

// maxRetries is how often Slack sends a delivery again.
const maxRetries = 3

// shuffleWindow is how far deliveries in flight may be out of order.
const shuffleWindow = 40 * time.Millisecond

// What a person is told when the app fails; see [errors.Is].
var (
	ErrDispatchFailed   = errors.New("dispatch_failed")    // there was no app to send it to
	ErrOperationTimeout = errors.New("operation_timeout")  // the app did not acknowledge in time
	ErrServiceError     = errors.New("http_service_error") // the app answered with a bad status
)

// Disturbance is what Slack's at-least-once deliveries without order may look like.
type Disturbance struct {
	// Copies is how often each delivery is sent; 0 is as 1.
	Copies int
	// Shuffle reorders deliveries that are in flight at the same time.
	Shuffle bool
	// Seed makes Shuffle repeatable.
	Seed uint64
}

// Disturb sets what happens to deliveries from now on; the zero Disturbance ends it.
func (s *Server) Disturb(d Disturbance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disturbing = d
	s.shuffle = randv2.New(randv2.NewPCG(d.Seed, d.Seed))
}

// delivery is one on its way to the app. Its fields are guarded by the server's lock, but for those that never change.
type delivery struct {
	kind    string
	payload json.RawMessage
	person  responder // who gets the answer of an acknowledgement
	retries int
	copies  int
	record  *Delivery

	done      chan struct{} // closed when it is acknowledged or has failed
	err       error         // of a delivery that has failed
	wake      chan string   // why it has to be sent again at once
	sent      int           // times
	carriers  map[*link]int // links that have it, with the number of copies
	delayed   int           // copies that wait for their turn
	envelopes []string

	app   string          // base URL, over HTTP
	after <-chan struct{} // closed when the event before this one was tried, over HTTP
	tried chan struct{}   // closed when this one was
}

// begin sends a payload to the app and sends it again as long as it takes. It is called with the lock held.
func (s *Server) begin(kind string, payload any, retries int, person responder) *delivery {
	raw, err := json.Marshal(payload)
	d := &delivery{
		kind: kind, payload: raw, person: person, retries: retries, copies: max(1, s.disturbing.Copies),
		record: &Delivery{Kind: kind}, done: make(chan struct{}), wake: make(chan string, 1), carriers: map[*link]int{}, app: s.app,
	}
	s.deliveries = append(s.deliveries, d.record)
	s.pending[d] = true
	if err != nil {
		s.finish(d, fmt.Errorf("encode the payload: %w", err))
		return d
	}
	s.start(d)
	return d
}

func (s *Server) start(d *delivery) {
	if d.app != "" {
		if d.kind == kindEvent {
			d.after, d.tried = s.lastEvent, make(chan struct{})
			s.lastEvent = d.tried
		}
		s.spawn(func(ctx context.Context) { s.push(ctx, d) })
		return
	}
	s.dispatch(d, "")
	s.spawn(func(ctx context.Context) { s.pursue(ctx, d) })
}

// finish ends a delivery: with nil it was acknowledged. It is called with the lock held.
func (s *Server) finish(d *delivery, err error) {
	if !s.pending[d] {
		return
	}
	delete(s.pending, d)
	for _, id := range d.envelopes {
		delete(s.envelopes, id)
	}
	d.err = err
	if err == nil {
		d.record.Acked = time.Now()
	} else {
		s.log.Info("delivery lost", "kind", d.kind, "attempts", d.record.Attempts, "error", err)
	}
	close(d.done)
	s.touch()
}

// count is for a delivery that is about to be sent. It is called with the lock held.
func (s *Server) count(d *delivery) {
	d.sent++
	d.record.Attempts++
	if d.record.Sent.IsZero() {
		d.record.Sent = time.Now()
	}
	s.touch()
}

// delays are those of the copies of a delivery. It is called with the lock held.
func (s *Server) delays(copies int) []time.Duration {
	all := make([]time.Duration, copies)
	if s.disturbing.Shuffle {
		for i := range all {
			all[i] = time.Duration(s.shuffle.Int64N(int64(shuffleWindow)))
		}
	}
	return all
}

// await waits for the acknowledgement of a delivery as long as a person would.
func (s *Server) await(ctx context.Context, d *delivery) error {
	timer := time.NewTimer(s.options.AckTimeout)
	defer timer.Stop()
	select {
	case <-d.done:
		s.mu.Lock()
		defer s.mu.Unlock()
		return d.err
	case <-timer.C:
		return ErrOperationTimeout
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ctx.Done():
		return ErrDispatchFailed
	}
}

// Deliver sends a payload as it is, copies times and never again, for tests with odd payloads. It waits for the
// acknowledgement of one of them. The type is "slash_commands", "events_api" or "interactive", or one that is none.
func (s *Server) Deliver(ctx context.Context, envelopeType string, payload any, copies int) error {
	s.mu.Lock()
	if !s.reachable() {
		s.mu.Unlock()
		return fmt.Errorf("deliver %s: %w", envelopeType, ErrDispatchFailed)
	}
	before := s.disturbing
	s.disturbing.Copies = copies
	d := s.begin(envelopeType, payload, 0, responder{})
	s.disturbing = before
	s.mu.Unlock()
	if err := s.await(ctx, d); err != nil {
		return fmt.Errorf("deliver %s: %w", envelopeType, err)
	}
	return nil
}

// reachable is called with the lock held.
func (s *Server) reachable() bool { return s.app != "" || len(s.links) > 0 }

// event tells the app what happened in a channel. It is called with the lock held.
func (s *Server) event(channel string, inner map[string]any) {
	s.begin(kindEvent, map[string]any{
		"token": "verification-token", "team_id": team, "api_app_id": appID, "type": "event_callback",
		"event": inner, "event_id": s.newID("Ev"), "event_time": time.Now().Unix(), "event_context": s.newID("4-"),
		"authorizations": []map[string]any{{
			"enterprise_id": nil, "team_id": team, "user_id": botUser, "is_bot": true, "is_enterprise_install": false,
		}},
		"is_ext_shared_channel": s.directory.channels[channel].ExtShared,
	}, maxRetries, responder{})
}
