package lab

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/version"
)

// Proxy stands in front of the API server, with TLS and HTTP/2, and passes everything through but GET /version and, for as long
// as they are held, the requests that [Proxy.Hold] asks for. Which API server answers can change ([Lab.Renew]).
// Its methods may be called by several goroutines at once.
type Proxy struct {
	port     *port
	ca       authority
	users    users
	passes   passes
	upstream *httputil.ReverseProxy

	mu      sync.Mutex
	backend *backend
	server  *http.Server // nil while cut
	counts  map[Request]int
	holds   []*hold // whose request has not come yet
}

// RequestCount says how often a request was made.
type RequestCount struct {
	Request
	Count int
}

// newProxy serves at once.
func newProxy(api string, ca authority, users users, version string) (*Proxy, error) {
	port, err := reservePort()
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.pem)
	quiet := log.New(io.Discard, "", 0)
	p := &Proxy{
		port:    port,
		ca:      ca,
		users:   users,
		backend: newBackend(api, version, func() {}),
		counts:  map[Request]int{},
		upstream: &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(&url.URL{Scheme: "https", Host: exchangeOf(r.In).backend.addr})
				r.SetXForwarded()
			},
			ModifyResponse: func(r *http.Response) error {
				exchangeOf(r.Request).began()
				return nil
			},
			Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true},
			FlushInterval: -1, // watches are streams
			ErrorLog:      quiet,
		},
	}
	if err := p.Restore(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// Addr is where the proxy listens, or will again after [Proxy.Restore]: "127.0.0.1:PORT".
func (p *Proxy) Addr() string { return p.port.addr() }

// SetVersion changes what GET /version claims, such as "v1.34.2-gke.100"; empty: what the API server says.
func (p *Proxy) SetVersion(v string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.backend.version = v
}

// Cut ends every connection and refuses new ones until [Proxy.Restore], as if the control plane were away.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server != nil {
		_ = p.server.Close() // its connections are gone, whatever their ends had to say
		p.server = nil
	}
}

// Restore ends what [Proxy.Cut] began. It does nothing when nothing is cut.
func (p *Proxy) Restore() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server != nil {
		return nil
	}
	listener, err := net.Listen("tcp4", p.Addr())
	if err != nil {
		return fmt.Errorf("serve the lab's proxy: %w", err)
	}
	server := &http.Server{
		Handler:   p,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{p.ca.serving}},
		ErrorLog:  p.upstream.ErrorLog,
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, connectedKey{}, p.now())
		},
	}
	p.server = server
	go func() { _ = server.ServeTLS(listener, "", "") }() // ends with Cut
	return nil
}

func (p *Proxy) close() {
	p.Cut()
	p.port.release()
}

// Requests are all requests so far, held ones included, sorted by user, resource and verb.
func (p *Proxy) Requests() []RequestCount {
	p.mu.Lock()
	defer p.mu.Unlock()
	var counts []RequestCount
	for _, r := range slices.SortedFunc(maps.Keys(p.counts), Request.compare) {
		counts = append(counts, RequestCount{Request: r, Count: p.counts[r]})
	}
	return counts
}

// ServeHTTP implements [http.Handler].
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	user, _ := p.users.byToken(token)
	if issued, ok := p.passes.find(token); ok {
		if !issued.valid {
			refuse(w)
			return
		}
		user = issued.user
		r.Header.Set("Authorization", "Bearer "+p.users[user])
	}

	request := parseRequest(user, r)

	p.mu.Lock()
	p.counts[request]++
	hold := p.takeHold(request)
	p.mu.Unlock()

	if hold != nil && !hold.wait(r) {
		panic(http.ErrAbortHandler) // nobody is left to answer
	}
	e, r := p.begin(r, request.Verb == "watch")
	defer e.end()
	if e.moved {
		w.Header().Set("Connection", "close") // over HTTP/2 that is a GOAWAY
	}
	if e.version != "" && r.Method == http.MethodGet && r.URL.Path == "/version" {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(versionInfo(e.version)) // a client that went away needs no answer
		return
	}
	p.upstream.ServeHTTP(w, r)
}

// versionInfo is what an API server of that version answers.
func versionInfo(v string) version.Info {
	parts := strings.SplitN(strings.TrimPrefix(v, "v"), ".", 3)
	info := version.Info{
		Major:        parts[0],
		GitVersion:   v,
		GitTreeState: "clean",
		GoVersion:    runtime.Version(),
		Compiler:     runtime.Compiler,
		Platform:     runtime.GOOS + "/" + runtime.GOARCH,
	}
	if len(parts) > 1 {
		info.Minor = parts[1]
	}
	return info
}

func (r Request) compare(other Request) int {
	return cmp.Or(cmp.Compare(r.User, other.User), cmp.Compare(r.Resource, other.Resource), cmp.Compare(r.Verb, other.Verb))
}
