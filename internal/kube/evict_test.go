package kube

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// TestWhatIsAskedAboutAPod: what the API is sent to evict or delete a pod is for one UID, and does not shorten its grace period unless it
// is to be deleted at once. It is asked once, whatever it answers, and that is what is returned, at once.
func TestWhatIsAskedAboutAPod(t *testing.T) {
	deleting := func(atOnce bool) func(*Cluster, context.Context, upgrade.Pod) upgrade.Answer {
		return func(c *Cluster, ctx context.Context, p upgrade.Pod) upgrade.Answer { return c.Delete(ctx, p, atOnce) }
	}
	const path = "/api/v1/namespaces/ns/pods/web-1"
	uid := map[string]any{"uid": "u1"}
	for name, test := range map[string]struct {
		ask  func(*Cluster, context.Context, upgrade.Pod) upgrade.Answer
		want string
		// options are the DeleteOptions that are sent, but for their kind.
		options map[string]any
	}{
		"an eviction": {(*Cluster).Evict,
			"POST " + path + "/eviction", map[string]any{"preconditions": uid}},
		"a deletion": {deleting(false),
			"DELETE " + path, map[string]any{"preconditions": uid}},
		"a deletion at once": {deleting(true),
			"DELETE " + path, map[string]any{"preconditions": uid, "gracePeriodSeconds": 0.0}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked []string
				var sent map[string]any
				c := cordoning(t, &rest.Config{Host: "https://api", Transport: transport(func(r *http.Request) (*http.Response, error) {
					asked = append(asked, r.Method+" "+r.URL.Path)
					data, err := io.ReadAll(r.Body)
					if err != nil {
						return nil, err
					}
					if err := json.Unmarshal(data, &sent); err != nil {
						return nil, err
					}
					busy := answer(http.StatusTooManyRequests, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":429,"details":{"retryAfterSeconds":10}}`)
					busy.Header.Set("Retry-After", "10")
					return busy, nil
				})})
				start := time.Now()
				got := test.ask(c, t.Context(), upgrade.Pod{Namespace: "ns", Name: "web-1", UID: "u1"})
				if got.Kind != upgrade.NotNow || got.RetryAfter != 10*time.Second || time.Since(start) != 0 {
					t.Errorf("answer %+v after %s", got, time.Since(start))
				}
				if diff := cmp.Diff([]string{test.want}, asked); diff != "" {
					t.Error(diff)
				}
				options := sent
				if nested, ok := sent["deleteOptions"].(map[string]any); ok {
					options = nested
				}
				delete(options, "kind")
				delete(options, "apiVersion")
				if diff := cmp.Diff(test.options, options); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}
