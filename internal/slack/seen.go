package slack

import (
	"sync"
	"time"
)

// remembered is how long a delivery is told from another of the same: Slack tries again for up to an hour or so.
const remembered = 2 * time.Hour

// seen remembers deliveries, so that each is handled once. It is safe for concurrent use.
type seen struct {
	mu    sync.Mutex
	at    map[string]time.Time
	swept time.Time
}

func newSeen() *seen { return &seen{at: map[string]time.Time{}} }

// first tells whether the delivery has not been seen before, and remembers it.
func (s *seen) first(id string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.swept) > remembered/4 {
		s.swept = now
		for id, at := range s.at {
			if now.Sub(at) > remembered {
				delete(s.at, id)
			}
		}
	}
	if _, again := s.at[id]; again {
		return false
	}
	s.at[id] = now
	return true
}

// once passes each delivery on to a handler once.
type once struct {
	handler Handler
	seen    *seen
}

// Once returns a handler that passes each delivery on once, however often and on whichever connection it comes.
func Once(h Handler) Handler { return &once{h, newSeen()} }

func (o *once) Command(c Command) {
	if o.seen.first(c.ID, time.Now()) {
		o.handler.Command(c)
	}
}

func (o *once) Click(c Click) {
	if o.seen.first(c.ID, time.Now()) {
		o.handler.Click(c)
	}
}

func (o *once) Reaction(r Reaction) {
	if o.seen.first(r.ID, time.Now()) {
		o.handler.Reaction(r)
	}
}

func (o *once) Connected() { o.handler.Connected() }
