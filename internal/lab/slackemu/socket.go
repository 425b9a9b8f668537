package slackemu

import (
	"context"
	"encoding/json"
	"maps"
	randv2 "math/rand/v2"
	"slices"
	"time"
)

// maxAck is the size from which on Slack ignores acknowledgements without a word.
const maxAck = 20 * 1024

func (s *Server) acknowledge(raw []byte) {
	var ack struct {
		EnvelopeID string          `json:"envelope_id"`
		Payload    json.RawMessage `json:"payload"`
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(raw) >= maxAck {
		s.complain("socket: an acknowledgement of %d bytes, which Slack ignores", len(raw))
		return
	}
	if err := json.Unmarshal(raw, &ack); err != nil || ack.EnvelopeID == "" {
		s.complain("socket: not an acknowledgement: %.200s", raw)
		return
	}
	d := s.envelopes[ack.EnvelopeID]
	if d == nil {
		return // for a copy, or too late
	}
	s.finish(d, nil)
	s.respondInline(d.person, ack.Payload)
}

func (d *delivery) rouse(reason string) {
	select {
	case d.wake <- reason:
	default:
	}
}

// pursue sends a delivery again until it is acknowledged or has been sent often enough.
func (s *Server) pursue(ctx context.Context, d *delivery) {
	for tries := 0; ; {
		reason := "timeout"
		timer := time.NewTimer(s.options.AckTimeout)
		select {
		case <-d.done:
			timer.Stop()
			return
		case <-ctx.Done():
			timer.Stop()
			return
		case reason = <-d.wake:
		case <-timer.C:
		}
		timer.Stop()
		s.mu.Lock()
		if tries >= d.retries {
			s.finish(d, ErrOperationTimeout)
			s.mu.Unlock()
			return
		}
		if s.dispatch(d, reason) || reason == "timeout" {
			tries++
		}
		s.mu.Unlock()
	}
}

// dispatch gives each copy of a delivery to a connection at random, if there is one. It is called with the lock held.
func (s *Server) dispatch(d *delivery, reason string) bool {
	if !s.pending[d] || len(s.links) == 0 {
		return false
	}
	attempt := d.sent
	if attempt == 0 {
		reason = ""
	}
	s.count(d)
	for _, delay := range s.delays(d.copies) {
		if delay == 0 {
			s.hand(d, attempt, reason)
			continue
		}
		d.delayed++
		s.spawn(func(ctx context.Context) {
			wait(ctx, delay)
			s.mu.Lock()
			defer s.mu.Unlock()
			d.delayed--
			if ctx.Err() == nil && (s.pending[d] || d.copies > 1) {
				s.hand(d, attempt, reason)
			}
		})
	}
	return true
}

func (s *Server) hand(d *delivery, attempt int, reason string) {
	if len(s.links) == 0 {
		return
	}
	links := slices.Collect(maps.Keys(s.links))
	l := links[randv2.IntN(len(links))]
	id := s.newID("envelope-")
	if s.pending[d] {
		d.envelopes = append(d.envelopes, id)
		s.envelopes[id] = d
		d.carriers[l]++
	}
	envelope := map[string]any{
		"envelope_id": id, "type": d.kind, "payload": d.payload, "accepts_response_payload": d.kind != kindEvent,
	}
	if attempt > 0 || d.kind == kindEvent {
		envelope["retry_attempt"], envelope["retry_reason"] = attempt, reason
	}
	s.post(l, envelope)
}
