package drain

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// together is a scene in which several nodes are drained at once.
func together(t *testing.T, at upgrade.Drains, nodes ...string) *scene {
	s := newScene(t)
	s.olds, s.options.Parallel = nodes, at
	return s
}

// replaced has a new pod of the workload be Ready on a node.
func (s *scene) replaced(old, name, node string) {
	workload := s.get(old).Workload.UID
	s.gone(old)
	s.pod(name, workload, node).ReadySince = s.now.Add(-time.Second)
}

func (s *scene) begun(want ...string) {
	s.Helper()
	var got []string
	for _, n := range s.last.begin {
		got = append(got, n.Name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.Errorf("begun (-want +got):\n%s", diff)
	}
}

func (s *scene) ended(want ...string) {
	s.Helper()
	if diff := cmp.Diff(want, s.last.ended); diff != "" {
		s.Errorf("ended (-want +got):\n%s", diff)
	}
}

func TestSoManyNodesAreDrainedAtOnce(t *testing.T) {
	s := together(t, 2, "a", "b", "c")
	s.workload("w1", 1, "a")
	s.workload("w2", 1, "b")
	s.workload("w3", 1, "c")
	s.next("w1-1", "w2-1")
	s.begun("a", "b")
	s.answer("w1-1", upgrade.Accepted, "")
	s.answer("w2-1", upgrade.Accepted, "")
	s.replaced("w2-1", "w2-2", "new")
	s.next()
	s.ended("b")
	s.next("w3-1")
	s.begun("c")
	s.answer("w3-1", upgrade.Accepted, "")
	s.replaced("w1-1", "w1-2", "new")
	s.replaced("w3-1", "w3-2", "new")
	s.next()
	s.ended("a", "c")
	s.done(true)
}

func TestOneEvictionOfABudgetAtATimeOnAllNodesTogether(t *testing.T) {
	s := together(t, upgrade.AutoDrains, "a", "b")
	s.budget("web", 5)
	s.budget("db", 5)
	s.workload("web", 12, "a", "b", "a", "b", "x", "x", "x", "x", "x", "x", "x", "x")
	s.workload("db", 8, "b", "x", "x", "x", "x", "x", "x", "x")
	s.next("db-1", "web-1")
	s.waits("Pod ns/web-2: waits its turn: another eviction of PodDisruptionBudget ns/web is under way; so do 2 more pods")
}

func TestANodeIsDrainedWhenItsOwnPodsAreReplacedWhateverIsMissingOfOthers(t *testing.T) {
	s := together(t, upgrade.AutoDrains, "a", "b")
	s.budget("web", 2)
	s.workload("web", 8, "a", "b", "x", "x", "x", "x", "x", "x")
	s.next("web-1")
	s.answer("web-1", upgrade.Accepted, "")
	s.budget("web", 1) // the budget shows the first eviction
	s.next("web-2")
	s.answer("web-2", upgrade.Accepted, "")
	s.gone("web-2")
	s.next()
	s.ended()
	s.waits("Deployment ns/web: 6 of 8 pods are Ready, and no replacement is there yet")
	s.replaced("web-1", "web-9", "new")
	s.next()
	s.ended("a") // the first that left is the first that is replaced
	s.pod("web-10", "web", "new")
	s.next()
	s.ended("b")
	s.done(true)
}

// TestWithoutABudgetAQuarterOfAWorkloadMayBeAway: no budget is no licence (point 15).
func TestWithoutABudgetAQuarterOfAWorkloadMayBeAway(t *testing.T) {
	for kind, want := range map[string]int{"Deployment/web": 2, "StatefulSet/web": 1} {
		t.Run(kind, func(t *testing.T) {
			s := together(t, upgrade.AutoDrains, "a")
			s.workload(kind, 8, "a", "a", "a", "a", "a", "a", "a", "a")
			gone := 0
			for {
				s.decide()
				if len(s.last.evict) == 0 {
					break
				}
				if len(s.last.evict) > 1 {
					t.Fatalf("evicts %d at once", len(s.last.evict))
				}
				s.answer(s.last.evict[0].Name, upgrade.Accepted, "")
				gone++
			}
			if gone != want {
				t.Errorf("%d are away, want %d", gone, want)
			}
			s.waits(fmt.Sprintf("%d of 8 are available", 8-want))
		})
	}
}

func TestNoMoreThanAQuarterOfAllPodsIsAwayWhereNobodySaidHowManyNodes(t *testing.T) {
	for at, want := range map[upgrade.Drains]int{upgrade.AutoDrains: 2, 2: 4} {
		t.Run(at.String(), func(t *testing.T) {
			s := together(t, at, "a", "b")
			for i := range 4 { // eight pods, none of which any budget or workload would hold
				s.workload(fmt.Sprintf("w%d", i), 2, "a", "b")
			}
			s.decide()
			if got := len(s.last.evict); got != want {
				t.Errorf("%d evictions, want %d", got, want)
			}
		})
	}
}

// TestPodsThatAreNotReadyAreNoLoss: they are evicted first, and not counted as taken away.
func TestPodsThatAreNotReadyAreNoLoss(t *testing.T) {
	s := together(t, upgrade.AutoDrains, "a")
	for i := range 4 {
		s.workload(fmt.Sprintf("w%d", i), 1, "a")
	}
	s.get("w3-1").Ready = false
	s.next("w3-1", "w0-1")
	s.waits("Pod ns/w1-1: waits its turn among all: 1 are away, and no more than a quarter of all that move may be")
	s.answer("w0-1", upgrade.Accepted, "")
	s.get("w2-1").Ready = false
	s.next("w2-1")
}

func TestNoMoreThanTenEvictionsAreUnderWay(t *testing.T) {
	s := together(t, 2, "a")
	for i := range 60 {
		s.workload(fmt.Sprintf("w%02d", i), 1, "a")
	}
	s.decide()
	if len(s.last.evict) != mostInFlight {
		t.Errorf("%d evictions", len(s.last.evict))
	}
	s.waits("waits its turn among all: 10 evictions are under way")
}

func TestNoDrainBeginsWhileTheAPIIsAway(t *testing.T) {
	s := together(t, upgrade.AutoDrains, "a")
	s.workload("web", 1, "a")
	s.Away = true
	s.next()
	s.begun()
	s.done(false)
	s.Away = false
	s.next("web-1")
	s.begun("a")
}

// TestAReplacementWithoutANodeHoldsItsNodeAlsoIfEnoughAreAvailable: an autoscaler asked for one more meanwhile, say.
func TestAReplacementWithoutANodeHoldsItsNodeAlsoIfEnoughAreAvailable(t *testing.T) {
	s := newScene(t)
	s.workload("web", 2, "old", "x")
	s.next("web-1")
	s.answer("web-1", upgrade.Accepted, "")
	s.Workloads["web"] = upgrade.Workload{Ref: s.Workloads["web"].Ref, Wanted: 3}
	s.replaced("web-1", "web-3", "new")
	p := s.pod("web-4", "web", "")
	p.Ready, p.Unschedulable = false, "0/3 nodes are available"
	s.next()
	s.ended()
	s.done(false)
	s.gone("web-4")
	s.next()
	s.done(true)
}

// TestDrainsThatGoOnAreMeasuredAgainstTheFirstOfThem: those that began later found less, since the others had begun.
func TestDrainsThatGoOnAreMeasuredAgainstTheFirstOfThem(t *testing.T) {
	s := newScene(t)
	s.workload("web", 4, "a", "b", "x", "x")
	full, less := Observe(s.State, "a"), Observe(s.State, "b")
	less.Ready["web"] = 3
	s.gone("web-1")
	s.options.Parallel = upgrade.AutoDrains
	s.tracker = newTracker([]Node{{Name: "a", Baseline: &full}, {Name: "b", Baseline: &less}}, s.options, s.State)
	s.next()
	s.waits("3 of 4 are available")
	s.ended()
}

func TestWhatTakesTheLongestGoesFirst(t *testing.T) {
	s := together(t, upgrade.AutoDrains, "a", "b")
	s.options.Parallel = 2
	s.workload("brief", 1, "a")
	s.workload("many", 8, "a", "b", "a", "b", "a", "b", "a", "b") // two at a time: four waves
	s.workload("slow", 1, "b")
	for i := range s.Pods {
		s.Pods[i].StartUp = time.Second
	}
	s.get("slow-1").StartUp = 5 * time.Second // less than the four waves of the many with a rest before each
	s.next("slow-1", "many-1")
	s.waits("Pod ns/brief-1: waits its turn among all: those that take longest go first")
}

// TestWhoHasTimeToSpareLetsTheOthersBeReplacedFirst, for the control plane replaces many at once later than few, and never for long.
func TestWhoHasTimeToSpareLetsTheOthersBeReplacedFirst(t *testing.T) {
	fresh := func(t *testing.T) *scene {
		s := together(t, upgrade.AutoDrains, "a", "b")
		s.options.Parallel = 2
		s.workload("slow", 8, "a", "b", "a", "b", "a", "b", "a", "b")
		s.workload("quick", 1, "b")
		for i := range s.Pods {
			s.Pods[i].StartUp = 10 * time.Second
		}
		return s
	}
	t.Run("until they have been", func(t *testing.T) {
		s := fresh(t)
		s.next("slow-1")
		s.answer("slow-1", upgrade.Accepted, "")
		s.next("slow-2")
		s.now = s.now.Add(300 * time.Millisecond)
		s.next() // the answer is not there yet
		s.answer("slow-2", upgrade.Accepted, "")
		s.now = s.now.Add(settle - time.Millisecond)
		s.next()
		s.now = s.now.Add(time.Millisecond)
		s.next("quick-1")
	})
	t.Run("a few at a time", func(t *testing.T) {
		s := fresh(t)
		for _, name := range []string{"brief", "short"} {
			s.workload(name, 1, "a")
			s.get(name + "-1").StartUp = 10 * time.Second
		}
		s.next("slow-1")
		s.answer("slow-1", upgrade.Accepted, "")
		s.next("slow-2")
		s.answer("slow-2", upgrade.Accepted, "")
		s.now = s.now.Add(settle)
		s.next("brief-1", "quick-1")
		s.answer("brief-1", upgrade.Accepted, "")
		s.next("short-1")
	})
	t.Run("no longer than patience", func(t *testing.T) {
		s := fresh(t)
		s.next("slow-1")
		s.now = s.now.Add(patience - time.Millisecond)
		s.next()
		s.now = s.now.Add(time.Millisecond)
		s.next("quick-1")
	})
	t.Run("and not if the control plane decides how long it takes", func(t *testing.T) {
		s := fresh(t)
		for i := range int(40 * time.Second / replacing) {
			s.workload(fmt.Sprintf("one-%03d", i), 1, "a")
		}
		for i := range s.Pods {
			s.Pods[i].StartUp = 10 * time.Second
		}
		s.decide()
		if len(s.last.evict) != mostInFlight {
			t.Errorf("%d evictions, want %d", len(s.last.evict), mostInFlight)
		}
	})
	t.Run("and not if its own waves would take too long", func(t *testing.T) {
		s := fresh(t)
		for i := range s.Pods {
			s.Pods[i].StartUp = 300 * time.Millisecond // four waves of the slow one are over before the second is
		}
		s.next("slow-1", "quick-1")
	})
}

// TestNothingIsEvictedForWhichThereIsNoRoom: a fit is reserved before the eviction (point 16).
func TestNothingIsEvictedForWhichThereIsNoRoom(t *testing.T) {
	fresh := func(t *testing.T, cpu int64) *scene {
		s := together(t, 2, "a", "b")
		for i := range 3 {
			s.workload(fmt.Sprintf("w%d", i), 1, "a")
		}
		for i := range s.Pods {
			s.Pods[i].Requests = upgrade.Resources{"cpu": 1000}
		}
		s.Nodes = []upgrade.Node{
			{Name: "a", Ready: true, Unschedulable: true, Allocatable: upgrade.Resources{"cpu": 9000, "pods": 9}},
			{Name: "new", Ready: true, Allocatable: upgrade.Resources{"cpu": cpu, "pods": 9}},
			{Name: "away", Allocatable: upgrade.Resources{"cpu": 9000, "pods": 9}},
		}
		return s
	}
	t.Run("enough", func(t *testing.T) { fresh(t, 3000).next("w0-1", "w1-1", "w2-1") })
	t.Run("for two", func(t *testing.T) {
		s := fresh(t, 2500)
		s.next("w0-1", "w1-1")
		s.waits("Pod ns/w2-1: waits for room: no node that it could go to has enough left for what it requests")
		if s.last.waiting[0].Passing {
			t.Error("that does not end by itself")
		}
		s.answer("w0-1", upgrade.Accepted, "")
		s.answer("w1-1", upgrade.Accepted, "")
		s.gone("w0-1")
		s.next() // its replacement is still to come, and has its room
		s.Nodes = append(s.Nodes, upgrade.Node{Name: "late", Ready: true, Allocatable: upgrade.Resources{"cpu": 1000, "pods": 1}})
		s.next("w2-1")
	})
	t.Run("what is pending comes first", func(t *testing.T) {
		s := fresh(t, 2500)
		s.workload("other", 1, "")
		p := s.get("other-1")
		p.Ready, p.Requests = false, upgrade.Resources{"cpu": 1000}
		s.next("w0-1")
	})
	t.Run("a node full of pods", func(t *testing.T) {
		s := fresh(t, 9000)
		s.Nodes[1].Allocatable["pods"] = 1
		s.next("w0-1")
	})
	t.Run("an autoscaler adds nodes for pods that find none", func(t *testing.T) {
		s := fresh(t, 500)
		s.options.Growing = "new-pool"
		s.next("w0-1", "w1-1", "w2-1")
	})
	t.Run("one node after the other asks the scheduler", func(t *testing.T) {
		s := fresh(t, 500)
		s.options.Parallel = 1
		s.next("w0-1", "w1-1", "w2-1")
	})
}

// TestADrainThatBeginsLateIsMeasuredAgainstWhatWasThereBeforeAll: what the others took away would be missing from its own look.
func TestADrainThatBeginsLateIsMeasuredAgainstWhatWasThereBeforeAll(t *testing.T) {
	s := together(t, 2, "a", "b", "c")
	s.budget("web", 2)
	s.workload("web", 4, "a", "c", "x", "x")
	s.workload("one", 1, "b")
	s.next("one-1", "web-1")
	s.answer("web-1", upgrade.Accepted, "")
	s.answer("one-1", upgrade.Accepted, "")
	s.gone("web-1")
	p := s.pod("web-5", "web", "")
	p.Ready, p.Unschedulable = false, "0/3 nodes are available"
	s.get("web-4").Unserved = []string{"ns/web"}
	s.replaced("one-1", "one-2", "new")
	s.next()
	s.ended("b")
	s.next()
	s.begun("c")
	want := upgrade.Baseline{Pods: []upgrade.Resident{{Pod: s.get("web-2").Ref(), Workload: s.Workloads["web"].Ref}}, Ready: map[string]int{"web": 4}}
	if diff := cmp.Diff(want, *s.last.begin[0].Baseline, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

// TestANodesTimeBeginsAnewWithWhatItWaitsFor: many nodes wait for each other's pods where they share a budget.
func TestANodesTimeBeginsAnewWithWhatItWaitsFor(t *testing.T) {
	for at, want := range map[upgrade.Drains]time.Duration{1: 0, upgrade.AutoDrains: 20 * time.Minute} {
		t.Run(at.String(), func(t *testing.T) {
			s := together(t, at, "a", "b")
			s.budget("web", 1)
			s.budget("other", 0)
			s.workload("web", 2, "a", "a")
			s.workload("other", 1, "b")
			s.next("web-1")
			s.answer("web-1", upgrade.Accepted, "")
			s.now = s.now.Add(20 * time.Minute)
			s.replaced("web-1", "web-3", "new")
			s.decide()
			if got := s.tracker.active["a"].Sub(t0); got != want {
				t.Errorf("a has time from %s on, want %s", got, want)
			}
			if since, on := s.tracker.active["b"]; on && !since.Equal(t0) {
				t.Errorf("b has time from %s on, though nothing of it got on", since.Sub(t0))
			}
			if node, _ := s.tracker.late(); at == upgrade.AutoDrains && node != "b" {
				t.Errorf("%s is late first", node)
			}
		})
	}
}

func TestANodeThatIsLateIsToldWhatItWaitsForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.budget("web", 0)
		s.budget("db", 0)
		s.workload("web", 1, "a")
		s.workload("db", 1, "b")
		m := newMute(0)
		m.state = s.State
		_, err := Nodes(t.Context(), m, []Node{{Name: "a"}, {Name: "b"}}, Options{
			Timeout: 10 * time.Second, Parallel: upgrade.AutoDrains, Notify: func(string, upgrade.Event) {},
		})
		blocked := AsBlocked(err)
		if blocked == nil || blocked.Node != "a" || len(blocked.Waiting) != 1 || blocked.Waiting[0].Object.Name != "web-1" {
			t.Errorf("%v", err)
		}
	})
}

func TestAnUnschedulableReplacementStopsEvictionsOnAllNodes(t *testing.T) {
	s := together(t, upgrade.AutoDrains, "a", "b")
	s.workload("web", 8, "a", "x", "x", "x", "x", "x", "x", "x")
	s.workload("other", 8, "b", "b", "b", "x", "x", "x", "x", "x")
	s.next("other-1", "web-1")
	s.answer("web-1", upgrade.Accepted, "")
	s.answer("other-1", upgrade.Accepted, "")
	s.replaced("other-1", "other-9", "new")
	s.gone("web-1")
	p := s.pod("web-9", "web", "")
	p.Ready, p.Unschedulable = false, "0/3 nodes are available: 3 Insufficient cpu."
	s.next()
	s.waits("Pod ns/other-2: is held back, since Pod ns/web-9 finds no node: 0/3 nodes are available")
}

// TestAReplacementThatAnAutoscalerAddsANodeForIsAwaited: it holds further evictions all the same, and that ends by itself.
func TestAReplacementThatAnAutoscalerAddsANodeForIsAwaited(t *testing.T) {
	s := together(t, upgrade.AutoDrains, "a")
	s.options.Growing = "new-pool"
	s.workload("web", 8, "a", "a", "x", "x", "x", "x", "x", "x")
	s.next("web-1")
	s.answer("web-1", upgrade.Accepted, "")
	s.gone("web-1")
	p := s.pod("web-9", "web", "")
	p.Ready, p.Unschedulable = false, "0/3 nodes are available: 3 Insufficient cpu."
	s.next()
	s.waits("Pod ns/web-9: finds no node yet, for which the autoscaler of new-pool has to add one: 0/3 nodes are available")
	if i := slices.IndexFunc(s.last.waiting, func(w upgrade.Waiting) bool { return w.Object.Name == "web-9" }); i < 0 || !s.last.waiting[i].Passing {
		t.Errorf("it does not count as passing: %v", s.last.waiting)
	}
	p.Node, p.Unschedulable, p.Ready = "added", "", true
	s.next("web-2")
}

// TestRestartedWorkloadsAreOnlyWatched: their own controllers replace the pods, and nothing is evicted.
func TestRestartedWorkloadsAreOnlyWatched(t *testing.T) {
	s := together(t, upgrade.AutoDrains, "a", "b")
	s.options.Restarted = map[string]bool{"web": true}
	s.workload("web", 2, "a", "b")
	s.workload("other", 2, "a", "b")
	s.next()
	s.done(false)
	s.waits("Pod ns/web-1: Deployment ns/web has not replaced it yet")
	s.terminating("web-1")
	s.pod("web-3", "web", "new")
	s.next()
	s.waits("Pod ns/web-1: is stopping")
	s.gone("web-1")
	s.next()
	s.ended("a")
	s.replaced("web-2", "web-4", "new")
	s.next()
	s.ended("b")
	s.done(true)
	if moves := s.tracker.result().Moves; len(moves) != 2 || moves[0].Node != "a" || moves[0].To != "new" {
		t.Errorf("moves %+v", moves)
	}
}

// BenchmarkDecision is one decision about 200 nodes with 3,900 pods: it must not take longer than the events of such a cluster are apart.
func BenchmarkDecision(b *testing.B) {
	s := upgrade.State{Workloads: map[string]upgrade.Workload{}, Budgets: map[string]upgrade.Budget{}}
	var nodes []Node
	for i := range 400 {
		n := upgrade.Node{Name: fmt.Sprintf("n%03d", i), Ready: true, Unschedulable: i < 200, Allocatable: upgrade.Resources{"cpu": 32000, "memory": 64 << 30, "pods": 110}}
		s.Nodes = append(s.Nodes, n)
		if n.Unschedulable {
			nodes = append(nodes, Node{Name: n.Name})
		}
	}
	for w := range 300 {
		ref := upgrade.Ref{Kind: "Deployment", Namespace: "ns", Name: fmt.Sprintf("w%03d", w), UID: fmt.Sprintf("w%03d", w)}
		s.Workloads[ref.UID] = upgrade.Workload{Ref: ref, Wanted: 13}
		s.Budgets["ns/"+ref.Name] = upgrade.Budget{Namespace: "ns", Name: ref.Name, Allowed: 0, Current: true, Expected: 13, Needed: 12, Healthy: 12}
		for p := range 13 {
			name := fmt.Sprintf("%s-%02d", ref.Name, p)
			s.Pods = append(s.Pods, upgrade.Pod{
				Namespace: "ns", Name: name, UID: name, Node: fmt.Sprintf("n%03d", (w*13+p)%200), Ready: true, Workload: ref, Budgets: []string{"ns/" + ref.Name},
				Requests: upgrade.Resources{"cpu": 100, "memory": 1 << 20},
			})
		}
	}
	t := newTracker(nodes, Options{Parallel: upgrade.AutoDrains, Timeout: time.Hour}, s)
	now := t0
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Millisecond)
		t.next(s, now)
	}
}

// TestNodesAreBegunBeforeTheirPodsAreEvictedAndEndedOnceEach is about what the caller is told.
func TestNodesAreBegunBeforeTheirPodsAreEvictedAndEndedOnceEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.workload("w1", 1, "a")
		s.workload("w2", 1, "b")
		m := &moving{mute{state: s.State, changed: make(chan struct{})}}
		var told []string
		o := Options{
			Timeout: time.Minute, Parallel: 1,
			Begin: func(nodes []Node) error {
				for _, n := range nodes {
					told = append(told, "begin "+n.Name)
				}
				return nil
			},
			End: func(node string, r Result) {
				told = append(told, fmt.Sprintf("end %s, %d moved, %d replaced", node, len(r.Moves), r.Replaced))
			},
			Notify: func(node string, e upgrade.Event) { told = append(told, string(e.Kind)+" "+node) },
		}
		if _, err := Nodes(t.Context(), m, []Node{{Name: "a"}, {Name: "b"}}, o); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"begin a", "pod-evicted a", "pod-gone a", "pod-replaced a", "end a, 1 moved, 1 replaced",
			"begin b", "pod-evicted b", "pod-gone b", "pod-replaced b", "end b, 2 moved, 2 replaced",
		}
		if diff := cmp.Diff(want, told); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"w1-1", "w2-1"}, m.evicted); diff != "" {
			t.Error(diff)
		}
		told = nil
		m = &moving{mute{state: s.State, changed: make(chan struct{})}}
		o.Begin = func([]Node) error { return fmt.Errorf("no record") }
		if _, err := Nodes(t.Context(), m, []Node{{Name: "a"}}, o); err == nil || len(m.evicted) > 0 {
			t.Errorf("error %v, evicted %v", err, m.evicted)
		}
	})
}

// moving is a cluster in which an evicted pod is replaced after a second.
type moving struct{ mute }

func (m *moving) Evict(_ context.Context, pod upgrade.Pod) upgrade.Answer {
	m.mu.Lock()
	m.evicted = append(m.evicted, pod.Name)
	m.mu.Unlock()
	time.AfterFunc(time.Second, func() {
		m.set(func(s *upgrade.State) {
			s.Pods = slices.DeleteFunc(slices.Clone(s.Pods), func(p upgrade.Pod) bool { return p.UID == pod.UID })
			pod.Name, pod.UID, pod.Node, pod.ReadySince = pod.Name+"-new", pod.UID+"-new", "new", time.Now()
			s.Pods = append(s.Pods, pod)
		})
	})
	return upgrade.Answer{Kind: upgrade.Accepted}
}

// TestASpentBudgetIsAskedForOnceInAWhileHoweverManyPodsWaitForIt, also after the first moments of a drain.
func TestASpentBudgetIsAskedForOnceInAWhileHoweverManyPodsWaitForIt(t *testing.T) {
	for _, at := range []upgrade.Drains{1, upgrade.AutoDrains} {
		t.Run(at.String(), func(t *testing.T) {
			s := together(t, at, "a")
			s.budget("web", 1)
			s.workload("web", 9, "a", "a", "a", "a", "a", "a", "a", "a", "a")
			s.next("web-1")
			s.answer("web-1", upgrade.Accepted, "")
			s.budget("web", 0)
			s.gone("web-1")
			asked := 0
			for range 119 {
				s.decide()
				for _, p := range s.last.evict {
					asked++
					s.answer(p.Name, upgrade.BudgetSpent, "")
				}
				s.now = s.now.Add(time.Second)
			}
			if asked < 4 || asked > 6 {
				t.Errorf("asked %d times in two minutes", asked)
			}
			s.pod("web-10", "web", "new")
			s.budget("web", 1)
			s.decide()
			if len(s.last.evict) != 1 {
				t.Errorf("evicts %d", len(s.last.evict))
			}
		})
	}
}
