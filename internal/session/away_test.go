package session

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/upshift-k8s/upshift/internal/gke"
)

// upgrader is a GKE that upgrades the control plane for so many looks.
type upgrader struct {
	provider
	looks atomic.Int32
	fails error
}

func (u *upgrader) UpgradingControlPlane(context.Context) (string, error) {
	if u.looks.Add(-1) < 0 {
		return "", u.fails
	}
	return "operation-7", u.fails
}

// TestAnAPIThatGKEHasTakenAwayIsWaitedFor: as long as GKE says so, and no other one is.
func TestAnAPIThatGKEHasTakenAwayIsWaitedFor(t *testing.T) {
	for name, test := range map[string]struct {
		refusals, looks int32
		fails           error
		waits           bool
		told            string
	}{
		"there":                {refusals: 0, looks: 9},
		"away, and upgraded":   {refusals: 2, looks: 9, waits: true, told: "operations describe operation-7 --project demo --location europe-west1-b; the Kubernetes API is back, after "},
		"away by itself":       {refusals: 99},
		"GKE may not be asked": {refusals: 99, looks: 9, fails: errors.New("denied")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var refused atomic.Int32
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if refused.Add(1) <= test.refusals {
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				w.Header().Set("Content-Type", "application/json")
				_, _ = fmt.Fprint(w, `{"major":"1","minor":"33","gitVersion":"v1.33.5"}`)
			}))
			defer api.Close()
			u := &upgrader{fails: test.fails}
			u.looks.Store(test.looks)
			s := &Session{provider: u, kube: &rest.Config{Host: api.URL}, target: Target{Name: gke.Name{Project: "demo", Location: "europe-west1-b", Cluster: "c"}}}
			var told []string
			waited, err := s.AwaitAPI(t.Context(), func(text string) { told = append(told, text) })
			if err != nil || waited != test.waits || !strings.Contains(strings.Join(told, "; "), test.told) || (len(told) > 0) != test.waits {
				t.Errorf("waited %t, error %v, told %q", waited, err, told)
			}
		})
	}
}

func TestASignalEndsTheWaitForTheAPI(t *testing.T) {
	t.Parallel()
	api := httptest.NewServer(http.NotFoundHandler())
	api.Close() // and nobody listens there
	u := &upgrader{}
	u.looks.Store(99)
	ctx, stop := context.WithCancelCause(t.Context())
	signal := errors.New("interrupted")
	s := &Session{provider: u, kube: &rest.Config{Host: api.URL}}
	if _, err := s.AwaitAPI(ctx, func(string) { stop(signal) }); !errors.Is(err, signal) {
		t.Errorf("error %v", err)
	}
}
