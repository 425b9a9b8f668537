package slackemu

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

const (
	// outboxSize is more than any test has in flight; what does not fit is lost like on a stalled connection.
	outboxSize = 4096
	// linger is how long a connection that was told to go may still acknowledge.
	linger = time.Second
	// writeTimeout is for one message.
	writeTimeout = 5 * time.Second
)

// link is a Socket Mode connection.
type link struct {
	conn   *websocket.Conn
	outbox chan []byte
	silent atomic.Bool
	last   chan struct{} // closed when the connection shall end after what is in the outbox
	done   chan struct{} // closed when it has ended
	once   sync.Once
}

func (l *link) close() {
	l.once.Do(func() {
		close(l.done)
		_ = l.conn.Close()
	})
}

func appsConnectionsOpen(s *Server, _ *call) (answer, error) {
	ticket := s.newID("ticket-")
	s.tickets[ticket] = true
	return answer{"url": fmt.Sprintf("ws://%s/link?ticket=%s&app_id=%s", s.listener.Addr(), ticket, appID)}, nil
}

// serveLink accepts a connection for a ticket, which is good for one.
func (s *Server) serveLink(w http.ResponseWriter, r *http.Request) {
	ticket := r.URL.Query().Get("ticket")
	s.mu.Lock()
	known := s.tickets[ticket]
	delete(s.tickets, ticket)
	s.mu.Unlock()
	if !known {
		http.Error(w, "invalid ticket", http.StatusUnauthorized)
		return
	}
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // and has been answered
	}
	l := &link{conn: conn, outbox: make(chan []byte, outboxSize), last: make(chan struct{}), done: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		l.close()
		return
	}
	s.links[l] = true
	s.post(l, map[string]any{
		"type": "hello", "num_connections": len(s.links), "connection_info": map[string]any{"app_id": appID},
		"debug_info": map[string]any{"host": "applink-emulated", "build_number": 1, "approximate_connection_time": 18060},
	})
	s.spawn(func(ctx context.Context) { s.write(ctx, l) })
	s.spawn(func(context.Context) { s.read(l) })
	for d := range s.pending {
		if d.app == "" && len(d.carriers) == 0 && d.delayed == 0 {
			d.rouse("connection_failed")
		}
	}
	s.touch()
}

// post puts a message into the outbox of a connection.
func (s *Server) post(l *link, message any) {
	raw, err := json.Marshal(message)
	if err != nil {
		s.log.Error("encode a message", "error", err)
		return
	}
	select {
	case l.outbox <- raw:
	default:
		s.log.Error("outbox is full")
	}
}

// write sends what is in the outbox, and pings in between.
func (s *Server) write(ctx context.Context, l *link) {
	defer l.close()
	ticker := time.NewTicker(s.options.PingInterval)
	defer ticker.Stop()
	for {
		var err error
		select {
		case raw := <-l.outbox:
			err = l.send(raw)
		case <-ticker.C:
			err = l.ping()
		case <-l.last:
			l.part(ctx)
			return
		case <-l.done:
			return
		}
		if err != nil {
			return
		}
	}
}

func (l *link) send(raw []byte) error {
	if l.silent.Load() {
		return nil
	}
	if err := l.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	return l.conn.WriteMessage(websocket.TextMessage, raw)
}

func (l *link) ping() error {
	if l.silent.Load() {
		return nil
	}
	return l.conn.WriteControl(websocket.PingMessage, []byte("ping"), time.Now().Add(writeTimeout))
}

// part sends the rest of the outbox and leaves the app a moment to close the connection itself.
func (l *link) part(ctx context.Context) {
	for len(l.outbox) > 0 {
		if l.send(<-l.outbox) != nil {
			return
		}
	}
	timer := time.NewTimer(linger)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.done:
	case <-ctx.Done():
	}
}

// read takes acknowledgements until the connection ends.
func (s *Server) read(l *link) {
	defer s.unlink(l)
	for {
		_, raw, err := l.conn.ReadMessage()
		if err != nil {
			return
		}
		s.acknowledge(raw)
	}
}

// unlink sends again at once what only this connection had.
func (s *Server) unlink(l *link) {
	l.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.links, l)
	for d := range s.pending {
		if d.carriers[l] == 0 {
			continue
		}
		delete(d.carriers, l)
		if len(d.carriers) == 0 && d.delayed == 0 {
			d.rouse("connection_failed")
		}
	}
	s.touch()
}

// Disconnect tells every connection to go, as Slack does every few hours, and closes it.
func (s *Server) Disconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.links {
		s.post(l, map[string]any{
			"type": "disconnect", "reason": "refresh_requested", "debug_info": map[string]any{"host": "applink-emulated"},
		})
		close(l.last)
		delete(s.links, l) // gets no more deliveries
	}
	s.touch()
}

// Break cuts every connection without a word.
func (s *Server) Break() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.links {
		l.close()
		delete(s.links, l)
	}
	s.touch()
}

// Silence stops pings and deliveries on the connections that are open now, without closing them, or ends that. What was to
// be sent meanwhile is lost on them. New connections are not silent.
func (s *Server) Silence(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.links {
		l.silent.Store(on)
	}
}

// Connections is how many are open.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.links)
}
