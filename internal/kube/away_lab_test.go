package kube

import (
	"context"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/labtest"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// until waits for a state, at most for limit.
func until(t *testing.T, c *Cluster, what string, limit time.Duration, matches func(upgrade.State) bool) {
	t.Helper()
	late := time.After(limit)
	for {
		changed := c.Changed()
		s := c.State()
		if matches(s) {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("not within %s: %s; away %t, trouble %q, %d nodes", limit, what, s.Away, s.Trouble, len(s.Nodes))
		}
	}
}

// sees matches once the API is there, with a node that is cordoned or not.
func sees(name string, cordoned bool) func(upgrade.State) bool {
	return func(s upgrade.State) bool {
		return !s.Away && s.Trouble == "" && slices.ContainsFunc(s.Nodes, func(n upgrade.Node) bool {
			return n.Name == name && n.Unschedulable == cordoned
		})
	}
}

// TestAnAPIThatWasAwayIsFollowedAgainAtOnce has several outages in a row: client-go would wait longer each time.
func TestAnAPIThatWasAwayIsFollowedAgainAtOnce(t *testing.T) {
	l := labtest.Start(t)
	direct, err := kubernetes.NewForConfig(l.DirectConfig(lab.Admin))
	if err != nil {
		t.Fatal(err)
	}
	create := func(name string) {
		t.Helper()
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{label: "p"}}}
		if _, err := direct.CoreV1().Nodes().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create("n0")
	c, err := Watch(t.Context(), l.Config(lab.Upshift), Pools{Label: label})
	if err != nil {
		t.Fatal(err)
	}
	until(t, c, "the first node", 10*time.Second, sees("n0", false))

	cordon := func(ctx context.Context) error { return c.Cordon(ctx, "n0", "run-1") }
	uncordon := func(ctx context.Context) error { return c.Uncordon(ctx, "n0") }
	for _, outage := range []struct {
		create   string
		change   func(context.Context) error
		cordoned bool
	}{{"n1", cordon, true}, {"n2", uncordon, false}, {"n3", cordon, true}, {"n4", uncordon, false}} {
		l.Proxy().Cut()
		changed := make(chan error, 1)
		go func() { changed <- outage.change(t.Context()) }()
		until(t, c, "away", 10*time.Second, func(s upgrade.State) bool { return s.Away && s.Trouble != "" })
		select {
		case err := <-changed:
			t.Fatalf("a cordon did not wait for the API: %v", err)
		default:
		}
		create(outage.create)
		if err := l.Proxy().Restore(); err != nil {
			t.Fatal(err)
		}
		until(t, c, "the node that was made meanwhile", 5*time.Second, sees(outage.create, false))
		if err := <-changed; err != nil {
			t.Errorf("cordon: %v", err)
		}
		until(t, c, "the change to the first node", 5*time.Second, sees("n0", outage.cordoned))
	}
}
