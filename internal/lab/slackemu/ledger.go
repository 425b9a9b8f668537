package slackemu

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Delivery is a command, an event or an interaction that was sent to the app.
type Delivery struct {
	Kind     string    // "slash_commands", "events_api" or "interactive"
	Sent     time.Time // for the first time; zero: there was no connection
	Acked    time.Time // zero: not yet, or never
	Attempts int       // copies of a [Disturbance] do not count
}

// Calls is how many requests for a method have arrived, those that met a fault included; "response_url" counts those.
func (s *Server) Calls(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

// Unknown are the calls that are not emulated, and those whose arguments Slack would not accept, such as
// "chat.postMessage: invalid_blocks: …"; a test should fail on any.
func (s *Server) Unknown() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.unknown)
}

// Deliveries are those so far, in the order in which they began: they tell how fast the app acknowledges.
func (s *Server) Deliveries() []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Delivery, len(s.deliveries))
	for i, d := range s.deliveries {
		all[i] = *d
	}
	return all
}

// complain records what a correct app would not do. It is called with the lock held.
func (s *Server) complain(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.unknown = append(s.unknown, text)
	s.log.Error("CALL THAT SLACK WOULD NOT ACCEPT, OR THAT IS NOT EMULATED", "call", text)
}

// Await returns when cond is true, which is looked at after every change of the emulator, and now and then besides, for
// conditions that are about something else. The error says that the deadline of ctx came first.
func (s *Server) Await(ctx context.Context, cond func() bool) error {
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if cond() {
			return nil
		}
		timer := time.NewTimer(50 * time.Millisecond)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("await a condition: %w", ctx.Err())
		case <-s.ctx.Done():
			timer.Stop()
			return fmt.Errorf("await a condition: the emulator is closed: %w", s.ctx.Err())
		}
		timer.Stop()
	}
}
