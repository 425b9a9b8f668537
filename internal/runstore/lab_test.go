package runstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/labtest"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// TestOnARealAPIServer has a namespace for each case.
func TestOnARealAPIServer(t *testing.T) {
	l := labtest.Start(t)
	admin, err := kubernetes.NewForConfig(l.DirectConfig(lab.Admin))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		test func(*testing.T, labCase)
	}{
		{"a run of 1000 nodes is recorded", bigRunIsRecorded},
		{"who comes second is told who is at work", secondIsTold},
		{"a write waits for an API that is away", writeWaits},
		{"a request is seen at once", requestIsSeen},
		{"the lease of a dead holder is taken", deadHolder},
		{"a deleted lease halts its holder", deletedLease},
		{"a record that was deleted halts the run", deletedRecord},
		{"no namespace", noNamespace},
	} {
		t.Run(c.name, func(t *testing.T) {
			namespace := strings.ReplaceAll(strings.ToLower(c.name), " ", "-")
			if c.name != "no namespace" {
				n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
				if _, err := admin.CoreV1().Namespaces().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			c.test(t, labCase{l, admin, namespace})
		})
	}
}

type labCase struct {
	*lab.Lab
	admin     kubernetes.Interface
	namespace string
}

// open is the store of a process of its own.
func (l labCase) open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(l.Config(lab.Upshift), l.namespace)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// receive is the next value, which has to come within the limit.
func receive[T any](t *testing.T, what string, from <-chan T, limit time.Duration) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(limit):
		t.Fatalf("not within %s: %s", limit, what)
		panic("unreachable")
	}
}

// bigRun is a run of so many nodes, each of which had 30 pods.
func bigRun(nodes int) *upgrade.Run {
	run := aRun()
	for i := range nodes {
		node := fmt.Sprintf("gke-production-europe-default-pool-%08x-%04x", i*7919, i)
		step := upgrade.NewStep(upgrade.DrainNode, "default-pool", node)
		step.State, step.StartedAt, step.FinishedAt = upgrade.StepDone, &run.StartedAt, &run.StartedAt
		run.Steps = append(run.Steps, step)
		for j := range 30 {
			run.Moves = append(run.Moves, upgrade.Move{
				Pod:      upgrade.Ref{Kind: "Pod", Namespace: "team-checkout", Name: fmt.Sprintf("recommendation-frontend-service-%010x-%05x", i, j), UID: fmt.Sprintf("%08x-6b1f-4c02-9d3e-%012x", i, j)},
				Workload: upgrade.Ref{Kind: "Deployment", Namespace: "team-checkout", Name: fmt.Sprintf("recommendation-frontend-service-of-team-%d", j), UID: fmt.Sprintf("00000000-6b1f-4c02-9d3e-%012x", j)},
				Node:     node, At: run.StartedAt,
			})
		}
	}
	run.Plan.Steps = run.Steps
	run.CountDrained()
	return run
}

func bigRunIsRecorded(t *testing.T, c labCase) {
	run := bigRun(1000)
	l := acquire(t.Context(), t, c.open(t), alice)
	for range 3 {
		start := time.Now()
		save(t, l, run)
		t.Logf("saved in %s", time.Since(start).Round(time.Millisecond))
	}
	got, err := c.open(t).Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.PodsMoved() != 30_000 || len(got.Steps) != 1000 || got.NodesDrained != 1000 {
		t.Errorf("read %d pods, %d steps, %d nodes", got.PodsMoved(), len(got.Steps), got.NodesDrained)
	}
	if err := l.Archive(t.Context(), run); err != nil {
		t.Error(err)
	}
	if err := l.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if next := acquire(t.Context(), t, c.open(t), bob); next.Holder().Epoch != 2 {
		t.Errorf("epoch %d", next.Holder().Epoch)
	}
}

func secondIsTold(t *testing.T, c labCase) {
	acquire(t.Context(), t, c.open(t), alice)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := c.open(t).Acquire(ctx, bob, quietly)
	var held *Held
	if !errors.As(err, &held) || held.Holder.Who != "alice" || held.Holder.Link != alice.Link {
		t.Errorf("got %v, want Held", err)
	}
}

func writeWaits(t *testing.T, c labCase) {
	l := acquire(t.Context(), t, c.open(t), alice)
	run := aRun()
	save(t, l, run)
	c.Proxy().Cut()
	t.Cleanup(func() { _ = c.Proxy().Restore() })
	saved := make(chan error, 1)
	go func() {
		run.NodesDrained = 1
		saved <- l.Save(t.Context(), run)
	}()
	told := receive(t, "the outage", l.Outages(), 20*time.Second)
	if told.Over || told.Err == nil {
		t.Errorf("told %+v", told)
	}
	select {
	case err := <-saved:
		t.Fatalf("the write did not wait: %v", err)
	default:
	}
	if err := c.Proxy().Restore(); err != nil {
		t.Fatal(err)
	}
	if told := receive(t, "the end of the outage", l.Outages(), 10*time.Second); !told.Over {
		t.Errorf("told %+v", told)
	}
	if err := receive(t, "the write", saved, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	got, err := c.open(t).Current(t.Context())
	if err != nil || got.NodesDrained != 1 {
		t.Errorf("read %+v, %v", got, err)
	}
	held, cancel, err := l.Confirm(t.Context(), 0)
	if err != nil || held.Err() != nil {
		t.Fatal(err)
	}
	cancel()
	if len(l.Outages()) > 0 {
		t.Errorf("told %+v as well", <-l.Outages())
	}
}

func requestIsSeen(t *testing.T, c labCase) {
	s := c.open(t)
	l := acquire(t.Context(), t, s, alice)
	save(t, l, aRun())
	asking := c.open(t)
	ask(t, asking, upgrade.AskPause) // before anybody listens
	after, err := s.LastSequence(t.Context())
	if err != nil || after != 1 {
		t.Fatal(after, err)
	}
	run := aRun()
	run.Acknowledged = after
	save(t, l, run)
	requests, runs := s.Requests(t.Context(), after), asking.Follow(t.Context())
	for want := int64(2); want < 5; want++ {
		ask(t, asking, upgrade.AskCancel)
		r := receive(t, "the request", requests, 2*time.Second)
		if r.Sequence != want || r.By != "bob" {
			t.Errorf("got %+v, want %d", r, want)
		}
		run.Acknowledge(r, "")
		save(t, l, run)
		for receive(t, "the answer", runs, 2*time.Second).Acknowledged < want {
		}
	}
}

func deadHolder(t *testing.T, c labCase) {
	quick := timing{duration: 3 * time.Second, renew: 200 * time.Millisecond, retry: 200 * time.Millisecond, call: time.Second, margin: time.Second, outage: time.Second}
	s, other := c.open(t), c.open(t)
	s.timing, other.timing = quick, quick
	ctx, die := context.WithCancel(t.Context())
	old := acquire(ctx, t, s, alice)
	die()
	<-old.stopped
	start := time.Now()
	l := acquire(t.Context(), t, other, bob)
	if took := time.Since(start); took < quick.duration || l.Holder().Epoch != 2 {
		t.Errorf("taken after %s, with epoch %d", took, l.Holder().Epoch)
	}
	wantHalt(t, old.Save(t.Context(), aRun()), "claimed by another holder, of epoch 2; this one's is 1")
}

func deletedLease(t *testing.T, c labCase) {
	l := acquire(t.Context(), t, c.open(t), alice)
	if err := c.admin.CoordinationV1().Leases(c.namespace).Delete(t.Context(), leaseName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	receive(t, "the end of the lock", l.Context().Done(), 10*time.Second)
	wantHalt(t, context.Cause(l.Context()), "was deleted")
	if next := acquire(t.Context(), t, c.open(t), bob); next.Holder().Epoch != 2 {
		t.Errorf("epoch %d", next.Holder().Epoch)
	}
}

func deletedRecord(t *testing.T, c labCase) {
	l := acquire(t.Context(), t, c.open(t), alice)
	save(t, l, aRun())
	if err := c.admin.CoreV1().ConfigMaps(c.namespace).Delete(t.Context(), runName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wantHalt(t, l.Save(t.Context(), aRun()), "was deleted")
	if got, err := c.open(t).Current(t.Context()); got != nil || err != nil {
		t.Errorf("read %v, %v", got, err)
	}
}

func noNamespace(t *testing.T, c labCase) {
	_, err := c.open(t).Acquire(t.Context(), alice, quietly)
	if !errors.As(err, new(*NoNamespace)) {
		t.Errorf("got %v", err)
	}
}
