package lab

import (
	"context"
	"net/http"
	"sync"
)

// backend is an API server behind the proxy.
type backend struct {
	addr    string
	version string // what GET /version claims, guarded by the proxy's mutex; empty: nothing
	gone    func() // called once another one has taken over and the last request is answered

	requests sync.WaitGroup
	ctx      context.Context // ends when another one takes over
	leave    context.CancelFunc
}

func newBackend(addr, version string, gone func()) *backend {
	b := &backend{addr: addr, version: version, gone: gone}
	b.ctx, b.leave = context.WithCancel(context.Background())
	return b
}

// now is the backend that answers.
func (p *Proxy) now() *backend {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.backend
}

// take sends everything that comes from now on to another backend, and cuts the watches of the one that answered before.
func (p *Proxy) take(next *backend) {
	p.mu.Lock()
	last := p.backend
	p.backend = next
	p.mu.Unlock()
	last.leave()
	go func() {
		last.requests.Wait()
		last.gone()
	}()
}

type (
	connectedKey struct{} // of the backend that answered when the client connected
	exchangeKey  struct{}
)

// exchange is one request and its answer.
type exchange struct {
	backend *backend
	version string // as the backend claims it
	moved   bool   // the client connected when another backend answered
	watch   bool
	cancel  context.CancelFunc
	forget  func() bool // takes back what began has asked for
}

// begin decides which backend answers.
func (p *Proxy) begin(r *http.Request, watch bool) (*exchange, *http.Request) {
	p.mu.Lock()
	e := &exchange{backend: p.backend, version: p.backend.version, watch: watch, forget: func() bool { return true }}
	e.backend.requests.Add(1)
	p.mu.Unlock()
	e.moved = r.Context().Value(connectedKey{}) != e.backend
	ctx, cancel := context.WithCancel(context.WithValue(r.Context(), exchangeKey{}, e))
	e.cancel = cancel
	return e, r.WithContext(ctx)
}

func exchangeOf(r *http.Request) *exchange { return r.Context().Value(exchangeKey{}).(*exchange) }

// began is called when the answer begins. A watch that is not answered yet when another backend takes over is cut right after its
// answer, since no request is to fail.
func (e *exchange) began() {
	if e.watch {
		e.forget = context.AfterFunc(e.backend.ctx, e.cancel)
	}
}

func (e *exchange) end() {
	e.forget()
	e.cancel()
	e.backend.requests.Done()
}
