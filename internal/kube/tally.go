package kube

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"

	"k8s.io/client-go/rest"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// Tally counts requests of the Kubernetes API. The zero one is ready; it is safe for concurrent use.
type Tally struct{ made, failed atomic.Int64 }

// Calls are how many requests were made so far, and how many of them the API did not answer: no connection, no answer in time, or nothing behind
// it. A watch that is cut once it was answered is none of them, and neither is a request that we gave up ourselves.
func (t *Tally) Calls() upgrade.Calls {
	return upgrade.Calls{Made: int(t.made.Load()), Failed: int(t.failed.Load())}
}

// Counted is config with every request counted in t. What is retried counts as often as it is sent.
func Counted(config *rest.Config, t *Tally) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(base http.RoundTripper) http.RoundTripper { return counting{base, t} })
	return config
}

// counting is the transport that counts.
type counting struct {
	base  http.RoundTripper
	tally *Tally
}

// RoundTrip implements [http.RoundTripper].
func (c counting) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.base.RoundTrip(r)
	if err != nil && (lasting(err) || errors.Is(r.Context().Err(), context.Canceled)) {
		return resp, err
	}
	c.tally.made.Add(1)
	if err != nil || awayCode(resp.StatusCode) && !behind(resp) {
		c.tally.failed.Add(1)
	}
	return resp, err
}

// behind tells the answer of an API server that is there and does not know a revision yet. Its body can be read again.
func behind(resp *http.Response) bool {
	if resp.StatusCode != http.StatusGatewayTimeout {
		return false
	}
	start, _ := io.ReadAll(io.LimitReader(resp.Body, bodyLimit)) // as much of it as there is
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(start), resp.Body), resp.Body}
	return tooNew(start)
}
