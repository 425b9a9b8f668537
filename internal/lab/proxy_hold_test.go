package lab

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// held is a proxy in front of a server that counts what reaches it, with a client that speaks HTTP/1 or HTTP/2.
type held struct {
	*Proxy
	t       *testing.T
	client  *http.Client
	reached atomic.Int32
}

func newHeld(t *testing.T, http2 bool) *held {
	t.Helper()
	ca, err := newAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h := &held{t: t}
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { h.reached.Add(1) }))
	api.TLS = &tls.Config{Certificates: []tls.Certificate{ca.serving}}
	api.StartTLS()
	t.Cleanup(api.Close)
	if h.Proxy, err = newProxy(api.Listener.Addr().String(), ca, users{Upshift: "u", Kubectl: "k"}, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.close)
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: http2}
	t.Cleanup(transport.CloseIdleConnections)
	h.client = &http.Client{Transport: transport}
	return h
}

// evict asks for an eviction and tells the outcome: "200 OK", or an error.
func (h *held) evict(token string) <-chan string {
	outcome := make(chan string, 1)
	request, err := http.NewRequestWithContext(h.t.Context(), http.MethodPost, "https://"+h.Addr()+"/api/v1/namespaces/default/pods/a/eviction", strings.NewReader("{}"))
	if err != nil {
		h.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	go func() {
		response, err := h.client.Do(request)
		if err != nil {
			outcome <- err.Error()
			return
		}
		_ = response.Body.Close()
		outcome <- response.Status
	}()
	return outcome
}

func within[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		t.Fatalf("not within 10 s: %s", what)
		panic("unreachable")
	}
}

var evictions = Request{User: Upshift, Verb: "create", Resource: "pods/eviction"}

func TestARequestIsHeldUntilItIsReleased(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			h := newHeld(t, http2)
			arrived, release := h.Hold(evictions)
			if got := within(t, "another user's answer", h.evict("k")); got != "200 OK" {
				t.Errorf("another user is told %s", got)
			}
			answer := h.evict("u")
			within(t, "held", arrived)
			if got := within(t, "the next one's answer", h.evict("u")); got != "200 OK" {
				t.Errorf("a second request is told %s", got)
			}
			if got := h.reached.Load(); got != 2 {
				t.Errorf("%d requests reached the API server, want 2: the held one is not to", got)
			}
			release()
			release() // once more does no harm
			if got := within(t, "the answer", answer); got != "200 OK" || h.reached.Load() != 3 {
				t.Errorf("released: %s, and %d requests reached the API server", got, h.reached.Load())
			}
		})
	}
}

func TestAHeldRequestGoesWithItsClient(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			h := newHeld(t, http2)
			// The client is killed: its connection ends, whatever it was about to say.
			connections := make(chan net.Conn, 1)
			h.client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
				connections <- c
				return c, err
			}
			over := make(chan struct{})
			h.mu.Lock()
			handler := h.server.Handler
			h.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(over)
				handler.ServeHTTP(w, r)
			})
			h.mu.Unlock()
			arrived, release := h.Hold(evictions)
			answer := h.evict("u")
			within(t, "held", arrived)
			if err := (<-connections).Close(); err != nil {
				t.Fatal(err)
			}
			within(t, "the end of the request", over)
			within(t, "the client's error", answer)
			release()
			if got := h.reached.Load(); got != 0 {
				t.Errorf("it reached the API server")
			}
		})
	}
}

func TestACutEndsHeldRequests(t *testing.T) {
	h := newHeld(t, true)
	arrived, release := h.Hold(evictions)
	answer := h.evict("u")
	within(t, "held", arrived)
	cut := make(chan struct{})
	go func() {
		h.Cut()
		close(cut)
	}()
	within(t, "the cut", cut)
	if got := within(t, "the client's error", answer); got == "200 OK" {
		t.Error("a held request is answered although its connection is cut")
	}
	// One that has not come yet is still waited for.
	arrived, later := h.Hold(evictions)
	if err := h.Restore(); err != nil {
		t.Fatal(err)
	}
	answer = h.evict("u")
	within(t, "held after the cut", arrived)
	release()
	later()
	if got := within(t, "the answer", answer); got != "200 OK" {
		t.Errorf("after the cut: %s", got)
	}
	if got := h.reached.Load(); got != 1 {
		t.Errorf("%d requests reached the API server, want the last one alone", got)
	}
}

func TestAHoldCanBeGivenUp(t *testing.T) {
	h := newHeld(t, true)
	_, release := h.Hold(evictions)
	release()
	if got := within(t, "the answer", h.evict("u")); got != "200 OK" {
		t.Error(got)
	}
}
