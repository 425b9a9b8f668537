package lab

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"strings"
	"testing"
	"time"
)

// server is an API server that says its name, and answers each request when it is told to.
type server struct {
	backend *backend
	asked   chan string   // paths
	answer  chan struct{} // closed: everything is answered
	gone    chan struct{}
}

func startServer(t *testing.T, ca authority, name string) server {
	t.Helper()
	s := server{asked: make(chan string, 10), answer: make(chan struct{}), gone: make(chan struct{})}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case s.asked <- r.URL.Path:
		default: // nobody waits for so many
		}
		<-s.answer
		_, _ = io.WriteString(w, name)
		if r.URL.Query().Get("watch") != "" {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	}))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{ca.serving}}
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.CloseClientConnections)
	s.backend = newBackend(strings.TrimPrefix(srv.URL, "https://"), "", func() { close(s.gone) })
	return s
}

// caller is a client of a proxy. It answers what came, and from which address it connected.
func caller(t *testing.T, p *Proxy, ca authority) func(path string) (body io.ReadCloser, from string, err error) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.pem)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}, Timeout: 20 * time.Second}
	return func(path string) (io.ReadCloser, string, error) {
		var from string
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { from = info.Conn.LocalAddr().String() }})
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+p.Addr()+path, nil)
		if err != nil {
			return nil, "", err
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, from, err
		}
		if resp.StatusCode != http.StatusOK {
			t.Errorf("GET %s: %s", path, resp.Status)
		}
		return resp.Body, from, nil
	}
}

func TestProxyGoesOverToAnotherServer(t *testing.T) {
	ca, err := newAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	first, second := startServer(t, ca, "first"), startServer(t, ca, "second")
	close(second.answer)
	p, err := newProxy(first.backend.addr, ca, newUsers(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	p.backend = first.backend
	get := caller(t, p, ca)

	type answer struct {
		body io.ReadCloser
		from string
		err  error
	}
	const pods, watch = "/api/v1/pods", "/api/v1/pods?watch=true"
	asked := map[string]chan answer{pods: make(chan answer, 1), watch: make(chan answer, 1)}
	for path, answers := range asked {
		go func() {
			body, from, err := get(path)
			answers <- answer{body, from, err}
		}()
	}
	for range asked {
		<-first.asked
	}
	p.take(second.backend)

	// What is asked now is for the second server, and on a connection of its own as soon as the client knows.
	body, before, err := get(pods)
	if got := read(t, body, err); got != "second" {
		t.Errorf("%q answers, want the second server", got)
	}
	after := before
	for deadline := time.Now().Add(20 * time.Second); after == before; {
		if time.Now().After(deadline) {
			t.Fatal("the client stays on the connection that it had")
		}
		body, after, err = get(pods)
		read(t, body, err)
	}
	select {
	case <-first.gone:
		t.Error("the first server is gone before it has answered")
	default:
	}

	// What was asked before is still answered by the first one: a watch too, which then ends.
	close(first.answer)
	list := <-asked[pods]
	if got := read(t, list.body, list.err); got != "first" {
		t.Errorf("%q answers, want the first server", got)
	}
	watching := <-asked[watch]
	if watching.err != nil {
		t.Fatalf("the watch failed: %v", watching.err)
	}
	if got, err := io.ReadAll(watching.body); err == nil || os.IsTimeout(err) || string(got) != "first" {
		t.Errorf("the watch said %q and ended with %v, want it cut", got, err)
	}
	select {
	case <-first.gone:
	case <-time.After(20 * time.Second):
		t.Error("the first server stays")
	}
}

func read(t *testing.T, body io.ReadCloser, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = body.Close() }()
	got, err := io.ReadAll(body)
	if err != nil {
		t.Error(err)
	}
	return string(got)
}
