package drain

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// goOn makes the scene that of another process, which knows what the record of the first one has: the baseline, as JSON.
func (s *scene) goOn(first upgrade.Baseline, moved ...string) {
	s.Helper()
	data, err := json.Marshal(first)
	if err != nil {
		s.Fatal(err)
	}
	var read upgrade.Baseline
	if err := json.Unmarshal(data, &read); err != nil {
		s.Fatal(err)
	}
	s.first, s.options.Moved = &read, map[string]bool{}
	for _, uid := range moved {
		s.options.Moved[uid] = true
	}
	s.tracker = nil
}

func TestADrainThatGoesOnHoldsTheGateOfTheFirstOne(t *testing.T) {
	for _, kind := range []string{"Deployment", "CloneSet"} {
		t.Run(kind, func(t *testing.T) {
			s := newScene(t)
			s.workload(kind+"/web", 2, "old", "new")
			if kind == "CloneSet" {
				delete(s.Workloads, "web")
			}
			first := Observe(s.State, "old")
			s.gone("web-1") // evicted, and then the process was killed
			s.goOn(first)
			s.next()
			s.waits("1 of 2 pods are Ready, and no replacement is there yet")
			s.done(false)
			s.Pods = append(s.Pods, upgrade.Pod{
				Namespace: "ns", Name: "web-3", UID: "web-3", Node: "new", Ready: true,
				Workload: upgrade.Ref{Kind: kind, Namespace: "ns", Name: "web", UID: "web"},
			})
			s.next()
			s.done(true)
			if len(s.tracker.moves) != 1 || s.tracker.moves[0].Pod.Name != "web-1" {
				t.Errorf("moves: %v", s.tracker.moves)
			}
		})
	}
}

func TestAReplacementThatFoundNoNodeBeforeThePauseStillHoldsTheGate(t *testing.T) {
	s := newScene(t)
	s.workload("web", 2, "old", "new")
	s.workload("api", 1, "old")
	first := Observe(s.State, "old")
	s.gone("web-1")
	p := s.pod("web-3", "web", "")
	p.Ready, p.Unschedulable = false, "no room"
	s.goOn(first)
	s.next()
	s.waits("web-3: finds no node: no room")
	s.waits("api-1: is held back, since Pod ns/web-3 finds no node")
}

func TestAPodThatIsKnownToHaveMovedIsNotCountedAgain(t *testing.T) {
	s := newScene(t)
	s.workload("web", 2, "old", "new")
	first := Observe(s.State, "old")
	s.gone("web-1")
	s.pod("web-3", "web", "new")
	s.goOn(first, "web-1")
	s.next()
	s.done(true)
	if len(s.tracker.moves) != 0 {
		t.Errorf("moves: %v", s.tracker.moves)
	}
}

func TestAWorkloadThatWasDeletedWhileNobodyWasAtWorkPassesTheGate(t *testing.T) {
	s := newScene(t)
	s.workload("web", 1, "old")
	first := Observe(s.State, "old")
	s.gone("web-1")
	delete(s.Workloads, "web")
	s.goOn(first)
	s.next()
	s.done(true)
}

func TestAPodThatComesToTheNodeAfterThePauseIsHeldToTheGateToo(t *testing.T) {
	s := newScene(t)
	s.workload("web", 1, "old")
	first := Observe(s.State, "old")
	s.workload("late", 1, "old")
	s.goOn(first)
	s.next("late-1", "web-1")
	s.answer("late-1", upgrade.Accepted, "")
	s.answer("web-1", upgrade.Accepted, "")
	s.gone("late-1")
	s.gone("web-1")
	s.pod("web-2", "web", "new")
	s.next()
	s.waits("Deployment ns/late: 0 of 1 pods are Ready, and no replacement is there yet")
}

func TestAForcedPodGoesPastWhatHoldsIt(t *testing.T) {
	s := newScene(t)
	s.budget("web", 0)
	s.workload("web", 2, "old", "old")
	s.next()
	s.options.Forced = map[string]bool{"web-1": true}
	s.tracker = nil
	s.next("web-1")
	s.answer("web-1", upgrade.NotNow, "try later")
	s.next()
	s.waits("web-1: try later")
	s.now = s.now.Add(retryFirst)
	s.next("web-1")
	s.answer("web-1", upgrade.Accepted, "")
	s.terminating("web-1")
	s.next()
	// Its kubelet does not stop it: forced, it is deleted at once, and not a moment before.
	s.now = s.now.Add(30*time.Second + overdue - time.Second)
	s.next("web-2") // the API is asked now and then
	s.now = s.now.Add(2 * time.Second)
	s.next("web-1")
}

// mute is a cluster that is away, or that takes evictions and never answers.
type mute struct {
	mu      sync.Mutex
	state   upgrade.State
	changed chan struct{}
	evicted []string
	deleted []string
	answers chan struct{}
}

func (m *mute) State() upgrade.State {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.state
	s.Pods = slices.Clone(s.Pods)
	return s
}

func (m *mute) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

func (m *mute) set(change func(*upgrade.State)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.state)
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *mute) Evict(ctx context.Context, pod upgrade.Pod) upgrade.Answer {
	m.mu.Lock()
	m.evicted = append(m.evicted, pod.Name)
	m.mu.Unlock()
	select {
	case <-m.answers:
		return upgrade.Answer{Kind: upgrade.Accepted}
	case <-ctx.Done():
		return upgrade.Answer{Kind: upgrade.NotNow, Message: "cut off"}
	}
}

func (m *mute) Delete(_ context.Context, pod upgrade.Pod, _ bool) upgrade.Answer {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deleted = append(m.deleted, pod.Name)
	return upgrade.Answer{Kind: upgrade.Accepted}
}

// newMute has one pod on node "old" whose budget allows nothing.
func newMute(allowed int) *mute {
	s := newScene(nil)
	s.budget("web", allowed)
	s.workload("web", 1, "old")
	return &mute{state: s.State, changed: make(chan struct{}), answers: make(chan struct{})}
}

func TestTimeInWhichTheAPIIsAwayDoesNotCountAndNothingIsToldOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMute(0)
		var told []time.Duration
		start := time.Now()
		time.AfterFunc(30*time.Second, func() { m.set(func(s *upgrade.State) { s.Away = true }) })
		time.AfterFunc(10*time.Minute, func() { m.set(func(s *upgrade.State) { s.Away = false }) })
		_, err := Nodes(t.Context(), m, []Node{{Name: "old"}}, Options{Timeout: time.Minute, Notify: func(_ string, e upgrade.Event) {
			if e.Kind == upgrade.DrainWaits {
				told = append(told, time.Since(start))
			}
		}})
		if AsBlocked(err) == nil || time.Since(start) != 10*time.Minute+30*time.Second {
			t.Errorf("error %v after %s", err, time.Since(start))
		}
		for _, at := range told {
			if at > 30*time.Second && at < 10*time.Minute {
				t.Errorf("told after %s", at)
			}
		}
		if len(told) == 0 {
			t.Error("nothing was told at all")
		}
	})
}

func TestReasonsThatChangeForAMomentAreNotToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMute(0)
		told := 0
		time.AfterFunc(20*time.Second, func() { m.set(func(s *upgrade.State) { s.Pods[0].EndsBy = time.Now().Add(time.Hour) }) })
		time.AfterFunc(21*time.Second, func() { m.set(func(s *upgrade.State) { s.Pods[0].EndsBy = time.Time{} }) })
		_, _ = Nodes(t.Context(), m, []Node{{Name: "old"}}, Options{Timeout: 50 * time.Second, Notify: func(_ string, e upgrade.Event) {
			if e.Kind == upgrade.DrainWaits {
				told++
			}
		}})
		if told > 2 { // once by the cache's word, once by the API's
			t.Errorf("told %d times", told)
		}
	})
}

func TestAnEvictionUnderWayIsGivenAMomentWhenTheDrainIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMute(1)
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := time.Now()
		time.AfterFunc(time.Second, func() {
			stopped = time.Now()
			cancel(errors.New("stop"))
		})
		_, err := Nodes(ctx, m, []Node{{Name: "old"}}, Options{Timeout: time.Minute, Notify: func(string, upgrade.Event) {}})
		if took := time.Since(stopped); err == nil || took != lastCalls {
			t.Errorf("error %v, %s after it was stopped", err, took)
		}
		if diff := cmp.Diff([]string{"web-1"}, m.evicted); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAForcedPodIsDeletedAndNotEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMute(0)
		_, _ = Nodes(t.Context(), m, []Node{{Name: "old"}}, Options{Timeout: 5 * time.Second, Forced: map[string]bool{"web-1": true}, Notify: func(string, upgrade.Event) {}})
		if len(m.deleted) != 1 || len(m.evicted) != 0 {
			t.Errorf("deleted %v, evicted %v", m.deleted, m.evicted)
		}
	})
}
