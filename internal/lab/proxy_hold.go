package lab

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"sync"
)

// hold is for one request.
type hold struct {
	request        Request
	held, released chan struct{}
}

// Hold holds the next request of that kind before it reaches the API server, so that a test can look at a client in the middle of
// a call, or kill it there. Held is closed once the request is there. Release lets it through; before it came, release forgets
// it. A held request whose client goes away, by [Proxy.Cut] too, never reaches the API server. One Hold holds one request:
// further ones pass, and two Holds of a kind hold two.
func (p *Proxy) Hold(request Request) (held <-chan struct{}, release func()) {
	h := &hold{request: request, held: make(chan struct{}), released: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.holds = append(p.holds, h)
	return h.held, sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.holds = slices.DeleteFunc(p.holds, func(other *hold) bool { return other == h })
		close(h.released)
	})
}

// takeHold is the hold for the request, nil if nobody asked for one. It is called with the lock.
func (p *Proxy) takeHold(request Request) *hold {
	i := slices.IndexFunc(p.holds, func(h *hold) bool { return h.request == request })
	if i < 0 {
		return nil
	}
	h := p.holds[i]
	p.holds = slices.Delete(p.holds, i, i+1)
	return h
}

// wait returns once the request may go on, and false if its client has gone away.
func (h *hold) wait(r *http.Request) bool {
	// Over HTTP/1 the server sees a client go away only after it has read the body.
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return false
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	close(h.held)
	select {
	case <-h.released:
	case <-r.Context().Done():
	}
	return r.Context().Err() == nil
}
