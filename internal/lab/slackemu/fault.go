package slackemu

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// Fault is what goes wrong with calls of the Web API and of response URLs. The first fault that fits a call is the only one
// that it meets.
type Fault struct {
	// Method is such as "chat.postMessage", or "response_url"; empty: any.
	Method string
	// Times is how many calls meet the fault; 0: all, until [Server.Heal].
	Times int

	// Delay comes before everything else.
	Delay time.Duration
	// Hang never answers, and does nothing.
	Hang bool
	// Status is an HTTP status that is answered, with nothing done; 0 with RetryAfter: 429.
	Status     int
	RetryAfter time.Duration
	// Error is one of Slack's error words, answered with status 200, with nothing done.
	Error string
	// LoseAnswer does what the call asks for, and then closes the connection without an answer.
	LoseAnswer bool
}

// Inject adds a fault behind those that are there.
func (s *Server) Inject(fault Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &fault)
}

// Heal removes every fault; calls that have met theirs keep it.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// arrive counts a call and finds the fault that it meets: the zero one when nothing goes wrong.
func (s *Server) arrive(method string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[method]++
	s.touch()
	for i, f := range s.faults {
		if f.Method != "" && f.Method != method {
			continue
		}
		taken := *f
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
			}
		}
		return taken
	}
	return Fault{}
}

// strike returns true when the call is over. The request's body has to be read by then, or the server would not notice
// that a caller lost patience.
func (f Fault) strike(w http.ResponseWriter, r *http.Request) bool {
	if !wait(r.Context(), f.Delay) {
		panic(http.ErrAbortHandler)
	}
	if f.Hang {
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
	status := f.Status
	if f.RetryAfter > 0 {
		seconds := (f.RetryAfter + time.Second - 1) / time.Second
		w.Header().Set("Retry-After", fmt.Sprint(int64(seconds)))
		if status == 0 {
			status = http.StatusTooManyRequests
		}
	}
	switch {
	case status == http.StatusTooManyRequests:
		writeJSON(w, status, map[string]any{"ok": false, "error": "ratelimited"})
	case status != 0:
		http.Error(w, http.StatusText(status), status)
	case f.Error != "":
		writeJSON(w, http.StatusOK, map[string]any{"ok": false, "error": f.Error})
	default:
		return false
	}
	return true
}

// wait returns false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
