package kube

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

const (
	// retryEvery is how often an API that is away is tried. client-go would wait up to a minute between its tries.
	retryEvery = time.Second
	// dialTimeout is shorter than client-go's 30 s: the kernel doubles the time between its own tries, and what comes back in the
	// middle of one would be seen late.
	dialTimeout = 5 * time.Second
	// veryShort is longer than the second within which client-go takes the end of a watch for an error, by what it may need to
	// fill a cache.
	veryShort = 1500 * time.Millisecond
	// bodyLimit is how much of a refusal is read: a Status is short.
	bodyLimit = 64 << 10
)

// reaching is config with another transport around its own, outside of the tokens that it may add: each try gets a fresh one.
// With a dialer of its own it never is http.DefaultTransport, which would not notice a dead connection.
func reaching(config *rest.Config, wrap func(http.RoundTripper) http.RoundTripper) *rest.Config {
	config = rest.CopyConfig(config)
	if config.Dial == nil {
		config.Dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext
	}
	config.Wrap(wrap)
	return config
}

// awayCode tells the answers of an API without anything behind it.
func awayCode(code int) bool {
	return code == http.StatusBadGateway || code == http.StatusServiceUnavailable || code == http.StatusGatewayTimeout
}

// away tells that a call failed because the API is away: it says so itself, or the transport marked the error.
func away(err error) bool {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return awayCode(int(status.Status().Code))
	}
	var mark unreachable
	return errors.As(err, &mark)
}

// unreachable marks the error of a connection. The errors of what a config puts around our transport (a plugin that gives no
// credentials) are not marked.
type unreachable struct{ error }

func (u unreachable) Unwrap() error { return u.error }

// lasting tells the errors of a transport that are no outage: a certificate that is not trusted, and credentials that cannot be had.
func lasting(err error) bool {
	var token *tokenError
	return untrusted(err) || errors.As(err, &token)
}

func untrusted(err error) bool {
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &certificate)
}

// tokenError marks the errors of a source of tokens.
type tokenError struct{ error }

func (e *tokenError) Unwrap() error { return e.error }

// frank is the key of a context whose caller sees what happens: client-go obeys a Retry-After ten times inside a call, and hides
// an API that is away as well as a busy one.
type frank struct{}

// marking is the transport of what is not watched. It does something for frank calls alone.
type marking struct{ base http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (m marking) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := m.base.RoundTrip(r)
	switch {
	case r.Context().Value(frank{}) == nil:
	case err == nil:
		resp.Header.Del("Retry-After")
	case !lasting(err):
		err = unreachable{err}
	}
	return resp, err
}

// outage is what the requests that wait for an API that is away have in common.
type outage struct {
	// changed is called when it begins or ends.
	changed func(away bool)

	mu      sync.Mutex
	waiting int
	last    error
}

// reason is why the API cannot be reached, nil if it is there.
func (o *outage) reason() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.waiting == 0 {
		return nil
	}
	return o.last
}

// add counts one request more, or one less.
func (o *outage) add(n int) {
	o.mu.Lock()
	before := o.waiting > 0
	o.waiting += n
	after := o.waiting > 0
	o.mu.Unlock()
	if before != after {
		o.changed(after)
	}
}

// patient is a transport that waits for an API that is away, for as long as the request's context lasts. It does so for lists and
// watches; another transport has to carry what changes something.
type patient struct {
	base   http.RoundTripper
	outage *outage
}

// RoundTrip implements [http.RoundTripper].
func (p patient) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet || r.Body != nil && r.Body != http.NoBody {
		return p.base.RoundTrip(r)
	}
	ctx := r.Context()
	w := waiting{outage: p.outage}
	defer w.end()
	for {
		resp, err := p.base.RoundTrip(r)
		reason := err
		if err == nil {
			reason = refusal(resp)
		}
		if reason == nil {
			if resp.StatusCode == http.StatusOK && r.URL.Query().Get("watch") != "" {
				resp.Body = &stream{ReadCloser: resp.Body, ctx: ctx, last: time.Now(), closed: make(chan struct{})}
			}
			return resp, nil
		}
		if err != nil && (lasting(err) || ctx.Err() != nil) {
			return nil, err
		}
		w.failed(reason)
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %s", context.Cause(ctx), reason.Error())
		case <-time.After(retryEvery):
		}
	}
}

// waiting is one request that is waited out.
type waiting struct {
	outage *outage
	late   *time.Timer

	mu      sync.Mutex
	counted bool
	ended   bool
}

// failed notes one more try. A request counts when its second one has failed or takes long: a connection that is closed and
// opened again is no outage.
func (w *waiting) failed(err error) {
	w.outage.mu.Lock()
	w.outage.last = err
	w.outage.mu.Unlock()
	if w.late == nil {
		w.late = time.AfterFunc(2*retryEvery, w.count)
		return
	}
	w.count()
}

func (w *waiting) count() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.counted && !w.ended {
		w.counted = true
		w.outage.add(1)
	}
}

func (w *waiting) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	if w.late != nil {
		w.late.Stop()
	}
	if w.counted {
		w.outage.add(-1)
	}
}

// stream is the body of a watch. If a watch breaks, or ends within a second of its start or of the first contents of a cache,
// client-go takes that for an error and waits for up to a minute before it asks again. So this one ends in good order, and not that
// early.
type stream struct {
	io.ReadCloser
	ctx    context.Context
	last   time.Time // when something came, of the one reader alone
	once   sync.Once
	closed chan struct{}
}

// Read implements [io.Reader].
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if n > 0 {
		s.last = time.Now()
	}
	if err == nil || n > 0 {
		return n, nil // an error comes again
	}
	select {
	case <-time.After(time.Until(s.last.Add(veryShort))):
		return 0, io.EOF
	case <-s.closed:
	case <-s.ctx.Done():
	}
	return 0, err
}

// Close implements [io.Closer].
func (s *stream) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.ReadCloser.Close()
}

// tooNew tells what an API server answers that does not know a revision yet.
func tooNew(body []byte) bool {
	return bytes.Contains(body, []byte(metav1.CauseTypeResourceVersionTooLarge)) || bytes.Contains(body, []byte("Too large resource version"))
}

// refusal is why there is nothing behind a response, nil for any other response. The body of a refusal is read and closed.
func refusal(resp *http.Response) error {
	if !awayCode(resp.StatusCode) {
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, bodyLimit)) // as much of it as there is
	_ = resp.Body.Close()
	// An API server that does not know a revision yet is there, and client-go has to see that it says so, to ask for another one.
	if resp.StatusCode == http.StatusGatewayTimeout && tooNew(body) {
		resp.Body = io.NopCloser(bytes.NewReader(body))
		return nil
	}
	err := fmt.Errorf("the API answers %s", resp.Status)
	var status metav1.Status
	if json.Unmarshal(body, &status) == nil && status.Message != "" {
		err = fmt.Errorf("%w: %s", err, status.Message)
	}
	return err
}
