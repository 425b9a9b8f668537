package drain

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// TestANodeWhoseTurnHasNotComeIsLeftAloneAfterAResume: what an earlier process found on it is there still.
func TestANodeWhoseTurnHasNotComeIsLeftAloneAfterAResume(t *testing.T) {
	s := newScene(t)
	s.options.Parallel = 2
	s.workload("StatefulSet/db", 3, "a", "b", "c")
	first := Observe(s.State, "c")
	s.tracker = newTracker([]Node{{Name: "a"}, {Name: "b"}, {Name: "c", Baseline: &first}}, s.options, s.State)
	s.next("db-1")
	if len(s.last.events) > 0 || len(s.tracker.moves) > 0 {
		t.Errorf("told %v, moved %v", s.last.events, s.tracker.moves)
	}
}

// TestAWorkloadThatWasDownWhenTheDrainBeganIsHeldToWhatItHasSince, or it would lose all its pods at once.
func TestAWorkloadThatWasDownWhenTheDrainBeganIsHeldToWhatItHasSince(t *testing.T) {
	for _, at := range []upgrade.Drains{1, upgrade.AutoDrains} {
		t.Run(at.String(), func(t *testing.T) {
			s := together(t, at, "a")
			s.options.Parallel = at
			s.workload("web", 8, "a", "a", "a", "a", "a", "a", "a", "a")
			for i := range s.Pods {
				s.Pods[i].Ready = false
			}
			s.tracker = newTracker(s.nodes(), s.options, s.State)
			for i := range s.Pods {
				s.Pods[i].Ready = true
			}
			gone := 0
			for range 20 {
				s.decide()
				for _, p := range s.last.evict {
					s.answer(p.Name, upgrade.Accepted, "")
					gone++
				}
			}
			if want := map[upgrade.Drains]int{1: 1, upgrade.AutoDrains: 2}[at]; gone != want {
				t.Errorf("%d pods are away, want %d", gone, want)
			}
		})
	}
}

// TestAWorkloadThatGrowsOrShrinksBeforeItsTurnIsHeldToWhatItHas, and one of a kind that is not listed to what it had when it lost its first pod.
func TestAWorkloadThatGrowsOrShrinksBeforeItsTurnIsHeldToWhatItHas(t *testing.T) {
	s := together(t, 2, "a", "b")
	s.workload("CloneSet/big", 4, "a", "x", "x", "x")
	delete(s.Workloads, "big")
	s.budget("wait", 0)
	s.workload("wait", 1, "b")
	s.tracker = newTracker(s.nodes(), s.options, s.State)
	s.gone("big-4") // scaled down before its first pod goes
	s.next("big-1")
	s.answer("big-1", upgrade.Accepted, "")
	s.gone("big-1")
	s.Pods = append(s.Pods, upgrade.Pod{Namespace: "ns", Name: "big-5", UID: "big-5", Node: "new", Ready: true, Workload: s.get("big-2").Workload})
	s.next()
	s.ended("a")
}

// TestTheDeadlineNamesWhatANodeWaitsForTogetherWithOthers, and nothing else (point 6).
func TestTheDeadlineNamesWhatANodeWaitsForTogetherWithOthers(t *testing.T) {
	for name, gone := range map[string]bool{"a budget over pods of both": false, "replacements of both": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t)
				s.budget("web", 0)
				s.budget("other", 0)
				s.workload("web", 2, "b", "a")
				s.workload("other", 1, "c")
				a, b := Observe(s.State, "a"), Observe(s.State, "b")
				nodes := []Node{{Name: "a"}, {Name: "b"}, {Name: "c"}}
				if gone {
					s.gone("web-1")
					s.gone("web-2")
					nodes[0].Baseline, nodes[1].Baseline = &a, &b
				}
				m := newMute(0)
				m.state = s.State
				_, err := Nodes(t.Context(), m, nodes, Options{Timeout: 10 * time.Second, Parallel: upgrade.AutoDrains, Notify: func(string, upgrade.Event) {}})
				blocked := AsBlocked(err)
				if blocked == nil || blocked.Node != "a" || len(blocked.Next) == 0 || !strings.Contains(err.Error(), "web") || strings.Contains(err.Error(), "other") {
					t.Errorf("%v; next %v", err, blocked.Next)
				}
			})
		})
	}
}

func TestWithoutAnyNodeToGoToNothingIsEvicted(t *testing.T) {
	s := together(t, 2, "a")
	s.workload("web", 2, "a", "a")
	s.Nodes = []upgrade.Node{
		{Name: "a", Ready: true, Unschedulable: true, Allocatable: upgrade.Resources{"cpu": 9000, "pods": 9}},
		{Name: "new", Allocatable: upgrade.Resources{"cpu": 9000, "pods": 9}}, // not Ready
	}
	s.next()
	s.waits("Pod ns/web-1: waits for room: no node that it could go to has enough left for what it requests; so do 1 more pods")
}

// TestPodsThatTheSchedulerRefusedTakeNoRoom: a placeholder of an autoscaler waits for ever.
func TestPodsThatTheSchedulerRefusedTakeNoRoom(t *testing.T) {
	s := together(t, 2, "a")
	s.workload("web", 1, "a")
	s.get("web-1").Requests = upgrade.Resources{"cpu": 1000}
	s.Nodes = []upgrade.Node{{Name: "new", Ready: true, Allocatable: upgrade.Resources{"cpu": 9000, "pods": 9}}}
	s.workload("placeholder", 1, "")
	p := s.get("placeholder-1")
	p.Ready, p.Unschedulable, p.Requests = false, "0/2 nodes are available: 2 Insufficient cpu.", upgrade.Resources{"cpu": 8500}
	s.next("web-1")
}

// TestPodsUnderOneBudgetGiveEachOthersNodesTime, of whatever workloads they are.
func TestPodsUnderOneBudgetGiveEachOthersNodesTime(t *testing.T) {
	s := together(t, upgrade.AutoDrains, "a", "b")
	s.budget("web", 1)
	s.workload("web", 1, "a")
	s.workload("web2", 1, "b")
	s.get("web2-1").Budgets = []string{"ns/web"}
	s.next("web-1")
	s.answer("web-1", upgrade.Accepted, "")
	s.now = s.now.Add(20 * time.Minute)
	s.budget("web", 0)
	s.replaced("web-1", "web-3", "new")
	s.decide()
	if got := s.tracker.active["b"].Sub(t0); got != 20*time.Minute {
		t.Errorf("b has time from %s on", got)
	}
}

// TestANodeThatWaitsForItsShareOnlyHasTime: what holds the share has a time of its own.
func TestANodeThatWaitsForItsShareOnlyHasTime(t *testing.T) {
	s := together(t, upgrade.AutoDrains, "a", "b", "c", "d")
	for i, node := range []string{"a", "b", "c", "d"} {
		s.workload(fmt.Sprintf("w%d", i), 1, node)
	}
	s.next("w0-1")
	s.answer("w0-1", upgrade.Accepted, "")
	s.now = s.now.Add(time.Hour)
	s.next()
	if node, _ := s.tracker.late(); node != "a" || s.tracker.active["b"].Sub(t0) != time.Hour {
		t.Errorf("%s is late first, and b has time from %s on", node, s.tracker.active["b"].Sub(t0))
	}
}

// TestPodsOfOneNodeThatShareAVolumeFollowEachOther: no replacement can start before all of them are gone.
func TestPodsOfOneNodeThatShareAVolumeFollowEachOther(t *testing.T) {
	s := newScene(t)
	s.budget("web", 2)
	s.workload("web", 2, "old", "old")
	s.get("web-1").Disks, s.get("web-2").Disks = []string{"pv"}, []string{"pv"}
	s.next("web-1")
	s.answer("web-1", upgrade.Accepted, "")
	s.budget("web", 1)
	s.next("web-2")
}

func TestWhatHoldsAllBackIsToldOnce(t *testing.T) {
	s := together(t, upgrade.AutoDrains, "a")
	s.workload("web", 8, "a", "x", "x", "x", "x", "x", "x", "x")
	for i := range 20 {
		s.workload(fmt.Sprintf("w%02d", i), 8, "a", "x", "x", "x", "x", "x", "x", "x")
	}
	s.tracker = newTracker(s.nodes(), s.options, s.State)
	s.decide()
	for _, p := range s.last.evict {
		s.answer(p.Name, upgrade.NotNow, "")
	}
	s.gone("web-1")
	p := s.pod("web-9", "web", "")
	p.Ready, p.Unschedulable = false, "0/3 nodes are available"
	s.now = s.now.Add(time.Minute)
	s.decide()
	held := 0
	for _, w := range s.last.waiting {
		if strings.Contains(w.Reason, "is held back") && !strings.Contains(w.Reason, "so do") && s.tracker.attempts[w.Object.UID] == nil {
			held++
		}
	}
	if held > 1 {
		t.Errorf("told %d times: %v", held, s.last.waiting)
	}
	s.waits("is held back, since Pod ns/web-9 finds no node: 0/3 nodes are available; so do")
}

// TestAOneOffPodThatWasEvictedBeforeACrashHoldsNoGate: nobody makes such a pod again.
func TestAOneOffPodThatWasEvictedBeforeACrashHoldsNoGate(t *testing.T) {
	s := newScene(t)
	s.options.EvictJobs = true
	p := upgrade.Pod{Namespace: "ns", Name: "build", UID: "build", Node: "old", Ready: true, OneOff: true, Workload: upgrade.Ref{Kind: "TaskRun", Namespace: "ns", Name: "build", UID: "run"}}
	s.Pods = append(s.Pods, p)
	first := Observe(s.State, "old")
	s.gone("build")
	s.goOn(first)
	s.next()
	s.done(true)
}

// TestABudgetIsBlamedOnlyWhereItIsInTheWay, and nobody is told to force what only has to wait.
func TestABudgetIsBlamedOnlyWhereItIsInTheWay(t *testing.T) {
	s := newScene(t)
	s.budget("web", 1)
	s.workload("web", 3, "old", "old", "x")
	s.next("web-1")
	s.answer("web-1", upgrade.Refused, "admission webhook says no")
	s.now = s.now.Add(time.Second)
	s.decide()
	i := slices.IndexFunc(s.last.waiting, func(w upgrade.Waiting) bool { return w.Object.Name == "web-1" })
	if i < 0 || s.last.waiting[i].Budget != "" {
		t.Errorf("waits %+v", s.last.waiting)
	}
	passing := upgrade.Waiting{Object: s.get("web-2").Ref(), Node: "old", Budget: "ns/web", Passing: true, Reason: "PodDisruptionBudget ns/web allows no eviction now"}
	if next := s.tracker.remedies(s.State, []upgrade.Waiting{passing}); slices.ContainsFunc(next, func(c string) bool { return strings.Contains(c, "force") }) {
		t.Errorf("next %v", next)
	}
}

// TestAnAPIThatHasTooMuchToDoIsLeftAloneByAll: it asks for patience of everybody, not of the one pod whose eviction it could not take.
func TestAnAPIThatHasTooMuchToDoIsLeftAloneByAll(t *testing.T) {
	s := newScene(t)
	s.workload("web", 1, "old")
	s.workload("api", 1, "old")
	s.workload("db", 1, "old")
	s.budget("late", 1)
	s.next("api-1", "db-1", "web-1")
	s.tracker.answered(*s.get("api-1"), upgrade.Answer{Kind: upgrade.NotNow, Message: "too many requests", RetryAfter: 10 * time.Second}, s.now)
	s.answer("web-1", upgrade.BudgetSpent, "")
	s.workload("late", 1, "old")
	s.now = s.now.Add(9 * time.Second)
	s.next()
	s.waits("Pod ns/late-1: too many requests")
	s.now = s.now.Add(2 * time.Second)
	s.next("api-1", "late-1", "web-1")
}

// TestAfterAnEvictionTheCacheHasTimeToShowIt, however long ago its budget changed last.
func TestAfterAnEvictionTheCacheHasTimeToShowIt(t *testing.T) {
	s := newScene(t)
	s.budget("web", 2)
	s.workload("web", 4, "old", "old", "x", "x")
	s.get("web-2").EmptyDirs = []string{"d"}
	s.next("web-1")
	s.now = s.now.Add(time.Minute)
	s.answer("web-1", upgrade.Accepted, "")
	s.now = s.now.Add(time.Second)
	s.next()
	s.waits("PodDisruptionBudget ns/web does not show yet what the last eviction took from it")
}

func TestAnEvictionThatIsNotAnsweredIsAReason(t *testing.T) {
	s := newScene(t)
	s.workload("web", 1, "old")
	s.next("web-1")
	s.next()
	s.waits("Pod ns/web-1: is asked to go, and the API has not answered yet")
}
