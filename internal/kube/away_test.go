package kube

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

var errRefused = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}

// transport is a RoundTripper made of a function.
type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// body knows whether it was read to its end and closed.
type body struct {
	io.Reader
	read, closed bool
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.read = b.read || err == io.EOF
	return n, err
}

func (b *body) Close() error {
	b.closed = true
	return nil
}

func answer(code int, text string) *http.Response {
	return &http.Response{
		StatusCode: code, Status: fmt.Sprintf("%d %s", code, http.StatusText(code)),
		Header: http.Header{"Content-Type": {"application/json"}}, Body: &body{Reader: strings.NewReader(text)},
	}
}

// request sends one through a transport that waits for the API, and closes what it gets.
func request(ctx context.Context, c *Cluster, method, path string, base transport) (code int, err error) {
	r := httptest.NewRequestWithContext(ctx, method, "https://api"+path, nil)
	resp, err := patient{base, &c.outage}.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// follow notes when c.Changed fires, and what the API is then.
func follow(ctx context.Context, c *Cluster) (history func() []string) {
	var mu sync.Mutex
	var seen []string
	start := time.Now()
	changed := c.Changed()
	go func() {
		for {
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
			changed = c.Changed()
			trouble, away := c.staleness()
			mu.Lock()
			seen = append(seen, fmt.Sprintf("%s %t %s", time.Since(start), away, trouble))
			mu.Unlock()
		}
	}()
	return func() []string {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(seen)
	}
}

func TestListsAndWatchesWaitForAnAPIThatIsAway(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		code int
		body string
		why  string
	}{
		"nobody listens":                {err: errRefused, why: "dial tcp: connection refused"},
		"the connection breaks":         {err: io.ErrUnexpectedEOF, why: "unexpected EOF"},
		"nothing behind the front end":  {code: 502, body: "<html>", why: "the API answers 502 Bad Gateway"},
		"the API server is not ready":   {code: 503, body: `{"kind":"Status","message":"not yet"}`, why: "the API answers 503 Service Unavailable: not yet"},
		"the API server takes too long": {code: 504, why: "the API answers 504 Gateway Timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(nil, Pools{Label: label})
				history := follow(t.Context(), c)
				start := time.Now()
				var bodies []*body
				code, err := request(t.Context(), c, "GET", "/api/v1/nodes?watch=true", func(*http.Request) (*http.Response, error) {
					if time.Since(start) >= 5*time.Minute {
						return answer(200, ""), nil
					}
					if test.err != nil {
						return nil, test.err
					}
					resp := answer(test.code, test.body)
					bodies = append(bodies, resp.Body.(*body))
					return resp, nil
				})
				if code != 200 || err != nil || time.Since(start) != 5*time.Minute {
					t.Errorf("got %d, %v after %s", code, err, time.Since(start))
				}
				if want := []string{"1s true " + test.why, "5m0s false "}; !slices.Equal(history(), want) {
					t.Errorf("got %q, want %q", history(), want)
				}
				for _, b := range bodies {
					if !b.read || !b.closed {
						t.Fatalf("a refusal is left: %+v", b)
					}
				}
			})
		})
	}
}

func TestAConnectionThatIsOpenedAgainAtOnceIsNoOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(nil, Pools{Label: label})
		history := follow(t.Context(), c)
		tries := 0
		code, err := request(t.Context(), c, "GET", "/api/v1/nodes", func(*http.Request) (*http.Response, error) {
			if tries++; tries == 1 {
				return nil, io.EOF
			}
			return answer(200, ""), nil
		})
		if code != 200 || err != nil || len(history()) > 0 {
			t.Errorf("got %d, %v; %q", code, err, history())
		}
		time.Sleep(time.Minute)
		if len(history()) > 0 {
			t.Errorf("it was told later: %q", history())
		}
	})
}

func TestATryThatHangsIsAnOutageToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(nil, Pools{Label: label})
		history := follow(t.Context(), c)
		tries := 0
		_, err := request(t.Context(), c, "GET", "/api/v1/nodes", func(*http.Request) (*http.Response, error) {
			if tries++; tries == 1 {
				return nil, errRefused
			}
			time.Sleep(time.Minute)
			return answer(200, ""), nil
		})
		if want := []string{"2s true dial tcp: connection refused", "1m1s false "}; err != nil || !slices.Equal(history(), want) {
			t.Errorf("got %q, %v, want %q", history(), err, want)
		}
	})
}

func TestTheAPIIsBackOnceAllRequestsGotThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(nil, Pools{Label: label})
		c.trouble, c.troubled = errors.New("read: connection reset by peer"), time.Now() // of a list that broke off
		history := follow(t.Context(), c)
		start := time.Now()
		var all sync.WaitGroup
		for _, back := range []time.Duration{10 * time.Second, 20 * time.Second} {
			all.Go(func() {
				_, _ = request(t.Context(), c, "GET", "/api/v1/nodes", func(*http.Request) (*http.Response, error) {
					if time.Since(start) >= back {
						return answer(200, ""), nil
					}
					return nil, errRefused
				})
			})
		}
		all.Wait()
		if want := []string{"1s true dial tcp: connection refused", "20s false "}; !slices.Equal(history(), want) {
			t.Errorf("got %q, want %q", history(), want)
		}
	})
}

func TestWaitingForTheAPIEndsWithTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, base := range map[string]transport{
			"between tries": func(*http.Request) (*http.Response, error) { return nil, errRefused },
			"during a try": func(r *http.Request) (*http.Response, error) {
				select {
				case <-r.Context().Done():
					return nil, r.Context().Err()
				case <-time.After(20 * time.Second):
					return nil, errRefused
				}
			},
		} {
			c := newCluster(nil, Pools{Label: label})
			ctx, cancel := context.WithTimeout(t.Context(), 30500*time.Millisecond)
			start := time.Now()
			_, err := request(ctx, c, "GET", "/api/v1/nodes", base)
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 30500*time.Millisecond {
				t.Errorf("%s: got %v after %s", name, err, time.Since(start))
			}
			if name == "between tries" && !strings.Contains(err.Error(), "connection refused") {
				t.Errorf("the error does not tell what was waited for: %v", err)
			}
			if trouble, away := c.staleness(); away {
				t.Errorf("%s: nobody waits, and it is away: %s", name, trouble)
			}
			cancel()
		}
	})
}

func TestWhatIsNoOutageIsNotWaitedOut(t *testing.T) {
	tooLarge := `{"kind":"Status","details":{"causes":[{"reason":"ResourceVersionTooLarge","message":"Too large resource version"}],"retryAfterSeconds":1}}`
	for name, test := range map[string]struct {
		method string
		err    error
		code   int
		body   string
	}{
		"an eviction":               {method: "POST", err: errRefused},
		"a patch":                   {method: "PATCH", code: 503},
		"a deletion":                {method: "DELETE", err: errRefused},
		"an update":                 {method: "PUT", code: 502},
		"all is well":               {method: "GET", code: 200, body: "{}"},
		"a revision is gone":        {method: "GET", code: 410},
		"no credentials":            {method: "GET", code: 401},
		"not found":                 {method: "GET", code: 404},
		"too many requests":         {method: "GET", code: 429},
		"an internal error":         {method: "GET", code: 500},
		"a revision is not there":   {method: "GET", code: 504, body: tooLarge},
		"a certificate":             {method: "GET", err: &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}},
		"a token that is not given": {method: "GET", err: &tokenError{errors.New("invalid_grant")}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(nil, Pools{Label: label})
				start, tries := time.Now(), 0
				r := httptest.NewRequestWithContext(t.Context(), test.method, "https://api/api/v1/nodes/n", nil)
				resp, err := patient{transport(func(*http.Request) (*http.Response, error) {
					tries++
					if test.err != nil {
						return nil, test.err
					}
					return answer(test.code, test.body), nil
				}), &c.outage}.RoundTrip(r)
				if !errors.Is(err, test.err) || tries != 1 || time.Since(start) != 0 {
					t.Fatalf("got %v after %d tries and %s", err, tries, time.Since(start))
				}
				if err != nil {
					return
				}
				defer func() { _ = resp.Body.Close() }()
				if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != test.code || string(body) != test.body {
					t.Errorf("got %d %q, %v", resp.StatusCode, body, err)
				}
			})
		})
	}
}

func TestABrokenWatchEndsInGoodOrder(t *testing.T) {
	for name, test := range map[string]struct {
		breaks  time.Duration // after it was opened
		err     error
		closed  time.Duration // by client-go; zero for never
		ends    time.Duration
		wantErr error
	}{
		"it ends as watches do":        {time.Minute, io.EOF, 0, time.Minute, io.EOF},
		"its connection breaks":        {time.Minute, errRefused, 0, time.Minute, io.EOF},
		"at once":                      {0, errRefused, 0, veryShort, io.EOF},
		"at once, and nobody reads on": {0, errRefused, time.Second, time.Second, errRefused},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(nil, Pools{Label: label})
				r := httptest.NewRequestWithContext(t.Context(), "GET", "https://api/api/v1/nodes?watch=true", nil)
				resp, err := patient{transport(func(*http.Request) (*http.Response, error) {
					resp := answer(200, "")
					resp.Body = io.NopCloser(readerFunc(func([]byte) (int, error) {
						time.Sleep(test.breaks)
						return 0, test.err
					}))
					return resp, nil
				}), &c.outage}.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				if test.closed > 0 {
					time.AfterFunc(test.closed, func() { _ = resp.Body.Close() })
				}
				start := time.Now()
				if _, err := resp.Body.Read(make([]byte, 10)); !errors.Is(err, test.wantErr) || time.Since(start) != test.ends {
					t.Errorf("it ends with %v after %s", err, time.Since(start))
				}
				_ = resp.Body.Close()
			})
		})
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestAStartWithoutAnAPIEndsAndSaysWhy(t *testing.T) {
	for name, test := range map[string]struct {
		answer transport
		after  time.Duration
		want   []string
	}{
		"nobody listens": {
			func(*http.Request) (*http.Response, error) { return nil, errRefused }, syncTimeout,
			[]string{"gave no complete answer in 1m0s", "connection refused"},
		},
		"nothing behind the front end": {
			func(*http.Request) (*http.Response, error) { return answer(503, ""), nil }, syncTimeout,
			[]string{"gave no complete answer in 1m0s", "503 Service Unavailable"},
		},
		"nothing answers": {
			func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }, syncTimeout,
			[]string{"gave no complete answer in 1m0s"},
		},
		"wrong certificates": {
			func(*http.Request) (*http.Response, error) {
				return nil, &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}
			}, 0, []string{"read the cluster: ", "certificate signed by unknown authority"},
		},
		"wrong credentials": {
			func(*http.Request) (*http.Response, error) { return answer(401, ""), nil }, 0, []string{"read the cluster: ", "provide credentials"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				_, err := Watch(t.Context(), &rest.Config{Host: "https://api", Transport: test.answer}, Pools{Label: label})
				defer time.Sleep(time.Minute) // client-go ends what is left in its own time
				if err == nil || time.Since(start) != test.after {
					t.Fatalf("got %v after %s", err, time.Since(start))
				}
				for _, want := range test.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("got %v, want %q in it", err, want)
					}
				}
			})
		})
	}
}

// nodeAPI is an API with one node.
func nodeAPI(fail func(r *http.Request) (*http.Response, error)) (config *rest.Config, patches *int) {
	patches = new(int)
	const node = `{"kind":"Node","apiVersion":"v1","metadata":{"name":"n","resourceVersion":"1"}}`
	return &rest.Config{Host: "https://api", Transport: transport(func(r *http.Request) (*http.Response, error) {
		if resp, err := fail(r); resp != nil || err != nil {
			return resp, err
		}
		if r.Method == http.MethodPatch {
			*patches++
		}
		return answer(200, node), nil
	})}, patches
}

func TestACordonWaitsForAnAPIThatIsAway(t *testing.T) {
	retryAfter := func(code int) *http.Response {
		resp := answer(code, "")
		resp.Header.Set("Retry-After", "1")
		return resp
	}
	lasts := 10 * time.Minute
	for name, test := range map[string]struct {
		fail    transport
		patient bool // else it gives up after about a minute
	}{
		"nobody listens": {func(*http.Request) (*http.Response, error) { return nil, errRefused }, true},
		"nothing answers": {func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}, true},
		"nothing behind the front end":         {func(*http.Request) (*http.Response, error) { return answer(502, "<html>"), nil }, true},
		"a front end that asks to come again":  {func(*http.Request) (*http.Response, error) { return retryAfter(503), nil }, true},
		"an API server that takes too long":    {func(*http.Request) (*http.Response, error) { return answer(504, ""), nil }, true},
		"an API server with an internal error": {func(*http.Request) (*http.Response, error) { return answer(500, ""), nil }, false},
		"an API server that is too busy":       {func(*http.Request) (*http.Response, error) { return retryAfter(429), nil }, false},
		"no token":                             {func(*http.Request) (*http.Response, error) { return nil, &tokenError{errors.New("invalid_grant")} }, false},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPatch} {
			t.Run(name+", "+method, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					start := time.Now()
					config, patches := nodeAPI(func(r *http.Request) (*http.Response, error) {
						if r.Method == method && time.Since(start) < lasts {
							return test.fail(r)
						}
						return nil, nil
					})
					c := cordoning(t, config)
					err := c.Cordon(t.Context(), "n", "run-1")
					took := time.Since(start)
					if test.patient && (err != nil || *patches != 1 || took < lasts || took > lasts+requestTimeout+retryEvery) {
						t.Errorf("got %v after %s, with %d patches", err, took, *patches)
					}
					if !test.patient && (err == nil || took < 40*time.Second || took > 90*time.Second) {
						t.Errorf("got %v after %s", err, took)
					}
				})
			})
		}
	}
}

// cordoning is a cluster without caches.
func cordoning(t *testing.T, config *rest.Config) *Cluster {
	t.Helper()
	client, err := kubernetes.NewForConfig(reaching(config, func(base http.RoundTripper) http.RoundTripper { return marking{base} }))
	if err != nil {
		t.Fatal(err)
	}
	return newCluster(client, Pools{Label: label})
}

func TestACordonEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config, _ := nodeAPI(func(*http.Request) (*http.Response, error) { return nil, errRefused })
		c := cordoning(t, config)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour+retryEvery/2)
		defer cancel()
		start := time.Now()
		if err := c.Cordon(ctx, "n", "run-1"); !errors.Is(err, syscall.ECONNREFUSED) || time.Since(start) != time.Hour+retryEvery/2 {
			t.Errorf("got %v after %s", err, time.Since(start))
		}
	})
}

func TestACordonThatIsForbiddenFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config, _ := nodeAPI(func(*http.Request) (*http.Response, error) { return answer(403, ""), nil })
		start := time.Now()
		if err := cordoning(t, config).Cordon(t.Context(), "n", "run-1"); !apierrors.IsForbidden(err) || time.Since(start) != 0 {
			t.Errorf("got %v after %s", err, time.Since(start))
		}
	})
}

func TestOccupantsOfADeadConnectionAreNotWaitedForForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config, _ := nodeAPI(func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() })
		start := time.Now()
		if _, err := cordoning(t, config).Occupants(t.Context(), "p"); err == nil || time.Since(start) != listTimeout {
			t.Errorf("got %v after %s", err, time.Since(start))
		}
	})
}

// sourceFunc is a source of tokens made of a function.
type sourceFunc func() (*oauth2.Token, error)

func (f sourceFunc) Token() (*oauth2.Token, error) { return f() }

// TestOverTLS has a real server, with a certificate and tokens.
func TestOverTLS(t *testing.T) {
	var fail atomic.Bool
	var got []string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Proto+" "+r.Header.Get("Authorization"))
		if fail.CompareAndSwap(true, false) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	number := 0
	source := sourceFunc(func() (*oauth2.Token, error) {
		if number++; number > 2 {
			return nil, errors.New("no more")
		}
		return &oauth2.Token{AccessToken: fmt.Sprint("token-", number)}, nil
	})
	c := newCluster(nil, Pools{Label: label})
	get := func(config *rest.Config) error {
		t.Helper()
		client, err := rest.HTTPClientFor(reaching(config, func(base http.RoundTripper) http.RoundTripper { return patient{base, &c.outage} }))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Get(server.URL)
		if err == nil {
			err = resp.Body.Close()
		}
		return err
	}

	config := ConfigForEndpoint(server.URL, ca, source, "test")
	fail.Store(true)
	if err := get(config); err != nil {
		t.Fatal(err)
	}
	if want := []string{"HTTP/2.0 Bearer token-1", "HTTP/2.0 Bearer token-2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q: each try has a fresh token", got, want)
	}
	var token *tokenError
	if err := get(config); !errors.As(err, &token) || !strings.Contains(err.Error(), "no more") {
		t.Errorf("without a token: %v", err)
	}
	number = 0
	if err := get(ConfigForEndpoint(server.URL, nil, source, "test")); !untrusted(err) {
		t.Errorf("without the authority: %v", err)
	}
}
