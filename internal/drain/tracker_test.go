package drain

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// scene is a cluster's state that a test changes by hand, and a tracker of node "old" or, where a test says so, of others.
type scene struct {
	*testing.T
	upgrade.State
	olds    []string
	first   *upgrade.Baseline
	now     time.Time
	options Options
	tracker *tracker
	last    decision
}

func newScene(t *testing.T) *scene {
	return &scene{T: t, options: Options{LoseEmptyDirs: true}, now: t0, State: upgrade.State{Workloads: map[string]upgrade.Workload{}, Budgets: map[string]upgrade.Budget{}}}
}

// workload makes a Deployment (or what the name says before a slash) and its Ready pods on the nodes.
func (s *scene) workload(name string, wanted int, nodes ...string) {
	kind, short, ok := strings.Cut(name, "/")
	if !ok {
		kind, short = "Deployment", name
	}
	ref := upgrade.Ref{Kind: kind, Namespace: "ns", Name: short, UID: short}
	s.Workloads[short] = upgrade.Workload{Ref: ref, Wanted: wanted}
	for i, node := range nodes {
		s.pod(fmt.Sprintf("%s-%d", short, i+1), short, node)
	}
}

func (s *scene) pod(name, workload, node string) *upgrade.Pod {
	p := upgrade.Pod{Namespace: "ns", Name: name, UID: name, Node: node, Ready: true, ReadySince: s.now.Add(-time.Hour), Workload: s.Workloads[workload].Ref}
	for key := range s.Budgets {
		if strings.HasPrefix(key, "ns/"+workload) && workload != "" {
			p.Budgets = append(p.Budgets, key)
		}
	}
	slices.Sort(p.Budgets)
	s.Pods = append(s.Pods, p)
	return s.get(name)
}

func (s *scene) budget(name string, allowed int) {
	b := s.Budgets["ns/"+name]
	b.Namespace, b.Name, b.Allowed, b.Current, b.Rule = "ns", name, allowed, true, "maxUnavailable 1"
	b.Revision += "x"
	s.Budgets["ns/"+name] = b
}

func (s *scene) get(name string) *upgrade.Pod {
	i := slices.IndexFunc(s.Pods, func(p upgrade.Pod) bool { return p.Name == name })
	if i < 0 {
		s.Fatalf("no pod %s", name)
	}
	return &s.Pods[i]
}

func (s *scene) gone(name string) {
	s.Pods = slices.DeleteFunc(s.Pods, func(p upgrade.Pod) bool { return p.Name == name })
}

func (s *scene) terminating(name string) {
	s.get(name).EndsBy = s.now.Add(30 * time.Second)
}

func (s *scene) nodes() []Node {
	if len(s.olds) == 0 {
		return []Node{{Name: "old", Baseline: s.first}}
	}
	var nodes []Node
	for _, name := range s.olds {
		nodes = append(nodes, Node{Name: name})
	}
	return nodes
}

// next decides and checks which pods are evicted.
func (s *scene) next(evicted ...string) {
	s.Helper()
	s.decide()
	var got []string
	for _, p := range s.last.evict {
		got = append(got, p.Name)
	}
	if diff := cmp.Diff(evicted, got); diff != "" {
		s.Errorf("evicted (-want +got):\n%s", diff)
	}
}

// decide has the tracker decide by a State that is as those of a cluster: sorted, and never changed afterwards.
func (s *scene) decide() {
	if s.tracker == nil {
		s.tracker = newTracker(s.nodes(), s.options, s.State)
	}
	state := s.State
	state.Pods = slices.SortedStableFunc(slices.Values(s.Pods), func(a, b upgrade.Pod) int { return strings.Compare(a.Name, b.Name) })
	s.last = s.tracker.next(state, s.now)
}

func (s *scene) answer(pod string, kind upgrade.AnswerKind, message string) {
	s.tracker.answered(*s.get(pod), upgrade.Answer{Kind: kind, Message: message}, s.now)
}

func (s *scene) waits(want string) {
	s.Helper()
	for _, w := range s.last.waiting {
		if strings.Contains(w.String(), want) {
			return
		}
	}
	s.Errorf("waits for %v, want %q among it", s.last.waiting, want)
}

func (s *scene) done(want bool) {
	s.Helper()
	if s.last.done != want {
		s.Errorf("done is %t, want %t; waiting: %v", s.last.done, want, s.last.waiting)
	}
}

func TestPodsThatLeaveWithTheirNodeAreNotEvictedNorWaitedFor(t *testing.T) {
	for name, pod := range map[string]func(*scene){
		"a static pod":                     func(s *scene) { s.pod("static", "", "old").Mirror = true },
		"a DaemonSet's pod":                func(s *scene) { s.workload("DaemonSet/agent", 1, "old") },
		"a finished pod":                   func(s *scene) { s.pod("finished", "", "old").Finished = true },
		"a finished pod of a spent budget": func(s *scene) { s.budget("web", 0); s.workload("web", 1, "old"); s.get("web-1").Finished = true },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			pod(s)
			s.next()
			s.done(true)
		})
	}
}

func TestADrainIsDoneOnlyWhenTheReplacementIsReadyAndServes(t *testing.T) {
	s := newScene(t)
	s.workload("web", 2, "old", "new")
	w := s.Workloads["web"]
	w.MinReady = 5 * time.Second
	s.Workloads["web"] = w
	s.next("web-1")
	s.answer("web-1", upgrade.Accepted, "")
	s.terminating("web-1")
	s.next()
	s.waits("Pod ns/web-1: is stopping")

	s.gone("web-1")
	s.next()
	s.waits("Deployment ns/web: 1 of 2 pods are Ready, and no replacement is there yet")

	p := s.pod("web-3", "web", "")
	p.Ready = false
	s.next()
	s.waits("web-3: is not scheduled yet")

	s.get("web-3").Node = "new"
	s.get("web-3").Trouble = "container app: CrashLoopBackOff"
	s.next()
	s.waits("web-3: is not Ready: container app: CrashLoopBackOff")

	s.get("web-3").Ready, s.get("web-3").ReadySince = true, s.now
	s.get("web-3").Unserved = []string{"ns/web"}
	s.next()
	s.waits("web-3: has to be Ready for 5s")
	if want := s.now.Add(5 * time.Second); !s.last.wake.Equal(want) {
		t.Errorf("wakes at %s, want %s, when minReadySeconds are over", s.last.wake, want)
	}

	s.now = s.now.Add(5 * time.Second)
	s.next()
	s.waits("web-3: is Ready, and not yet an endpoint of Service ns/web")
	s.done(false)

	s.get("web-3").Unserved = nil
	s.next()
	s.done(true)
}

func TestAServiceThatNeverListedTheWorkloadDoesNotHoldTheGate(t *testing.T) {
	s := newScene(t)
	s.workload("web", 1, "old")
	s.get("web-1").Unserved = []string{"ns/broken"}
	s.next("web-1")
	s.answer("web-1", upgrade.Accepted, "")
	s.gone("web-1")
	s.pod("web-2", "web", "new").Unserved = []string{"ns/broken"}
	s.next()
	s.done(true)
}

func TestAWorkloadThatIsGoneOrScaledDownPassesTheGate(t *testing.T) {
	for name, change := range map[string]func(*scene){
		"gone":        func(s *scene) { delete(s.Workloads, "web") },
		"scaled down": func(s *scene) { s.Workloads["web"] = upgrade.Workload{Ref: s.Workloads["web"].Ref} },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.workload("web", 1, "old")
			s.next("web-1")
			s.answer("web-1", upgrade.Accepted, "")
			s.gone("web-1")
			change(s)
			s.next()
			s.done(true)
		})
	}
}

func TestAWorkloadOfAnUnknownKindHasToBeAsReadyAsBefore(t *testing.T) {
	s := newScene(t)
	s.workload("CloneSet/web", upgrade.Unknown, "old", "new", "new")
	s.next("web-1")
	s.answer("web-1", upgrade.Accepted, "")
	s.gone("web-1")
	s.next()
	s.waits("2 of 3")
	s.pod("web-4", "web", "new")
	s.next()
	s.done(true)
}

func TestOneEvictionAtATimeForEachBudgetManyBudgetsAtOnce(t *testing.T) {
	s := newScene(t)
	s.budget("a", 2)
	s.budget("b", 1)
	s.workload("a", 3, "old", "old", "new")
	s.workload("b", 2, "old", "new")
	s.next("a-1", "b-1")
	s.next()
	s.waits("a-2: waits its turn")

	s.answer("a-1", upgrade.Accepted, "")
	s.next() // the cache has not yet seen what the eviction took from the budget
	s.budget("a", 1)
	s.next("a-2")
}

func TestASpentBudgetIsNamedAndWaitedForAndTheAPIIsAskedNowAndThen(t *testing.T) {
	s := newScene(t)
	s.budget("web", 0)
	s.workload("web", 1, "old")
	s.next()
	s.waits("Pod ns/web-1: PodDisruptionBudget ns/web allows no eviction now (maxUnavailable 1: 0 of 0 healthy, 0 needed)")
	if s.last.waiting[0].Budget != "ns/web" {
		t.Errorf("the budget is %q", s.last.waiting[0].Budget)
	}
	s.now = s.last.wake
	s.next("web-1") // the cache might be behind
	s.waits("Pod ns/web-1: PodDisruptionBudget ns/web allows no eviction now")
	s.answer("web-1", upgrade.BudgetSpent, "no")
	s.next()
	s.now = s.now.Add(time.Second)
	s.budget("web", 1)
	s.next("web-1") // the budget's event ends the wait at once
}

func TestRefusalsAreRetriedWithTheAPIsOwnPatience(t *testing.T) {
	s := newScene(t)
	s.workload("web", 1, "old")
	s.next("web-1")
	s.tracker.answered(*s.get("web-1"), upgrade.Answer{Kind: upgrade.NotNow, Message: "eviction refused: overload", RetryAfter: 12 * time.Second}, s.now)
	s.next()
	s.waits("web-1: eviction refused: overload")
	if want := s.now.Add(12 * time.Second); !s.last.wake.Equal(want) {
		t.Errorf("wakes at %s, want %s", s.last.wake, want)
	}
	s.now = s.last.wake
	s.next("web-1")
	for try, want := range []time.Duration{10 * time.Second, 20 * time.Second, 20 * time.Second} {
		s.answer("web-1", upgrade.Refused, "eviction refused: no")
		s.next()
		if got := s.last.wake.Sub(s.now); got != want {
			t.Errorf("try %d waits %s, want %s", try, got, want)
		}
		s.now = s.last.wake
		s.next("web-1")
	}
}

func TestUnreadyPodsThatABudgetFreesAreEvicted(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*upgrade.Pod, *upgrade.Budget)
		free   bool
	}{
		"Ready":                    {func(*upgrade.Pod, *upgrade.Budget) {}, false},
		"unready, too few healthy": {func(p *upgrade.Pod, b *upgrade.Budget) { p.Ready, b.Needed = false, 2 }, false},
		"unready, enough healthy":  {func(p *upgrade.Pod, b *upgrade.Budget) { p.Ready, b.Needed, b.Healthy = false, 2, 2 }, true},
		"unready, and none needed": {func(p *upgrade.Pod, _ *upgrade.Budget) { p.Ready = false }, false},
		"unready, AlwaysAllow":     {func(p *upgrade.Pod, b *upgrade.Budget) { p.Ready, b.FreesUnready = false, true }, true},
		"Ready, AlwaysAllow":       {func(_ *upgrade.Pod, b *upgrade.Budget) { b.FreesUnready = true }, false},
		"not started":              {func(p *upgrade.Pod, _ *upgrade.Budget) { p.Ready, p.Pending = false, true }, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.budget("web", 0)
			s.workload("web", 1, "old")
			b := s.Budgets["ns/web"]
			test.change(s.get("web-1"), &b)
			s.Budgets["ns/web"] = b
			if test.free {
				s.next("web-1")
			} else {
				s.next()
			}
		})
	}
}

func TestAPodWithTwoBudgetsIsNotEvictedAndBothAreNamed(t *testing.T) {
	s := newScene(t)
	s.budget("web", 1)
	s.budget("web-too", 1)
	s.workload("web", 1, "old")
	s.next()
	s.waits("PodDisruptionBudgets ns/web and ns/web-too both select it")
}

func TestWithoutABudgetPodsOfOneWorkloadGoOneAtATime(t *testing.T) {
	s := newScene(t)
	s.workload("web", 3, "old", "old", "old")
	s.workload("api", 1, "old")
	s.next("api-1", "web-1")
	s.answer("web-1", upgrade.Accepted, "")
	s.gone("web-1")
	s.next()
	s.waits("web-2: waits its turn: Deployment ns/web has no PodDisruptionBudget, so its pods go one at a time, and 2 of 3 are available")
	s.pod("web-4", "web", "new").Unserved = []string{"ns/web"} // Ready is not serving
	s.next()
	s.get("web-4").Unserved = nil
	s.next("web-2")
}

func TestAnUnschedulableReplacementStopsFurtherEvictions(t *testing.T) {
	s := newScene(t)
	s.budget("web", 2)
	s.workload("web", 3, "old", "old", "new")
	s.workload("late", 1)
	s.next("web-1")
	s.answer("web-1", upgrade.Accepted, "")
	s.gone("web-1")
	p := s.pod("web-4", "web", "")
	p.Ready, p.Unschedulable = false, "0/3 nodes are available: insufficient cpu"
	s.budget("web", 1)
	s.next()
	s.waits("web-4: finds no node: 0/3 nodes are available: insufficient cpu")
	s.waits("web-2: is held back, since Pod ns/web-4 finds no node")
	s.get("web-4").Node, s.get("web-4").Unschedulable, s.get("web-4").Ready = "new", "", true
	s.next("web-2")
}

func TestAStatefulSetsReplacementWithTheSameNameIsAnotherPod(t *testing.T) {
	for node, evicted := range map[string][]string{"new": nil, "old": {"db-1"}} { // old: it was bound a moment before the cordon
		t.Run(node, func(t *testing.T) {
			s := newScene(t)
			s.workload("StatefulSet/db", 1, "old")
			s.next("db-1")
			s.answer("db-1", upgrade.Accepted, "")
			s.gone("db-1")
			s.pod("db-1", "db", node).UID = "another"
			s.next(evicted...)
			s.done(evicted == nil)
			if len(s.tracker.moves) != 1 || s.tracker.moves[0].Pod.UID != "db-1" {
				t.Errorf("moves: %v", s.tracker.moves)
			}
		})
	}
}

func TestPodsThatNobodyMakesAgainStayWithoutConsentAndGoWithIt(t *testing.T) {
	for name, controller := range map[string]upgrade.Ref{
		"a bare pod":                            {},
		"a pod whose controller does not exist": {Kind: "ReplicaSet", Namespace: "ns", Name: "deleted"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.pod("bare", "", "old").Orphan = controller
			s.next()
			s.waits("Pod ns/bare: no controller will make it again, and allow-bare-pods was not given")
			s.tracker = newTracker(s.nodes(), Options{LoseBarePods: true}, s.State)
			s.next("bare")
			s.answer("bare", upgrade.Accepted, "")
			s.gone("bare")
			s.next()
			s.done(true)
		})
	}
}

func TestARunningJobIsLeftToFinish(t *testing.T) {
	s := newScene(t)
	s.workload("Job/report", upgrade.Unknown, "old")
	s.next()
	s.waits("Pod ns/report-1: Job ns/report is running and is left to finish")
	s.get("report-1").Finished = true
	s.next()
	s.done(true)
	if len(s.tracker.moves) != 0 {
		t.Error("a finished pod counts as moved")
	}
}

// TestARunningJobIsEvictedWhereThatIsChosen: by the rules of its budget, and no gate waits for what a Job makes next, which may be done before
// anybody has seen it Ready.
func TestARunningJobIsEvictedWhereThatIsChosen(t *testing.T) {
	s := newScene(t)
	s.options.EvictJobs = true
	s.budget("report", 0)
	s.workload("Job/report", upgrade.Unknown, "old")
	s.next()
	s.waits("PodDisruptionBudget ns/report allows no eviction now")
	s.budget("report", 1)
	s.next("report-1")
	s.answer("report-1", upgrade.Accepted, "")
	s.terminating("report-1")
	s.get("report-1").Finished = true // as the pod of a Job ends
	s.next()
	s.gone("report-1")
	s.next()
	s.done(true)
	if len(s.tracker.moves) != 1 {
		t.Errorf("%d moves, want that of the Job's pod", len(s.tracker.moves))
	}
}

func TestAPodThatDoesNotStopIsNamedAndNotForced(t *testing.T) {
	s := newScene(t)
	s.workload("web", 1, "old")
	s.next("web-1")
	s.answer("web-1", upgrade.Accepted, "")
	s.terminating("web-1")
	s.next()
	s.now = s.last.wake
	s.next()
	s.waits("Pod ns/web-1: should have stopped at 03:04:35 UTC and has not")
}

func TestAPodThatLeftByItselfIsHeldToTheGate(t *testing.T) {
	s := newScene(t)
	s.budget("web", 0)
	s.workload("web", 1, "old")
	s.next()
	s.gone("web-1")
	s.next()
	s.waits("Deployment ns/web: 0 of 1")
	s.done(false)
}

func TestAPodThatLandsOnTheNodeLateIsDrainedToo(t *testing.T) {
	s := newScene(t)
	s.workload("web", 2, "old", "new")
	s.next("web-1")
	s.answer("web-1", upgrade.Accepted, "")
	s.gone("web-1")
	s.pod("web-3", "web", "old") // bound a moment before the cordon
	s.next("web-3")
	s.done(false)
}

func TestEventsTellWhichPodsLeaveAndWhereReplacementsComeUp(t *testing.T) {
	s := newScene(t)
	s.workload("web", 2, "old", "new")
	var got []string
	look := func(evicted ...string) {
		s.next(evicted...)
		for _, e := range s.last.events {
			got = append(got, fmt.Sprintf("%s %s %s %s", e.Kind, e.Pod.Name, e.Node, time.Duration(e.Took)))
		}
	}
	look("web-1")
	s.answer("web-1", upgrade.Accepted, "")
	look()
	s.now = s.now.Add(2 * time.Second)
	s.gone("web-1")
	look()
	s.now = s.now.Add(3 * time.Second)
	s.pod("web-3", "web", "new")
	look()
	look()
	want := []string{"pod-evicted web-1  0s", "pod-gone web-1  2s", "pod-replaced web-3 new 5s"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAnEvictedPodThatEndsInAFinalPhaseHasMoved(t *testing.T) {
	s := newScene(t)
	s.workload("web", 1, "old")
	s.next("web-1")
	s.answer("web-1", upgrade.Accepted, "")
	s.terminating("web-1")
	s.next()
	s.get("web-1").Finished = true // as a kubelet does with a pod that has stopped, a moment before it is gone
	s.next()
	if len(s.tracker.moves) != 1 {
		t.Errorf("%d pods moved, want 1", len(s.tracker.moves))
	}
	s.done(false)
}

func TestAnAcceptedEvictionCountsAtOnceAlsoIfTheCacheIsBehind(t *testing.T) {
	s := newScene(t)
	s.workload("web", 2, "old", "old")
	s.next("web-1")
	s.answer("web-1", upgrade.Accepted, "")
	s.next() // nothing of it is in the cache yet: web-2 must stay
	s.waits("web-2: waits its turn")
	s.gone("web-1")
	s.next()
	s.pod("web-3", "web", "new")
	s.next("web-2")
}

func TestAfterAnEarlierRunAWorkloadHasToBeWholeBeforeItLosesAPod(t *testing.T) {
	s := newScene(t)
	s.options.Resumed = true
	s.workload("web", 3, "old", "new")
	s.pod("web-3", "web", "new").Ready = false // what the earlier run waited for
	s.next()
	s.waits("web-1: waits its turn: Deployment ns/web has no PodDisruptionBudget, so its pods go one at a time, and 2 of 3 are Ready")
	s.get("web-3").Ready = true
	s.next("web-1")
}

func TestAPodThatFoundNoNodeBeforeTheDrainHoldsNothing(t *testing.T) {
	s := newScene(t)
	s.workload("web", 3, "old", "new")
	p := s.pod("web-3", "web", "")
	p.Ready, p.Unschedulable = false, "needs a GPU"
	s.workload("api", 1, "old")
	s.next("api-1", "web-1")
	s.answer("web-1", upgrade.Accepted, "")
	s.answer("api-1", upgrade.Accepted, "")
	s.gone("web-1")
	s.gone("api-1")
	s.pod("api-2", "api", "new")
	s.pod("web-4", "web", "new")
	s.next()
	s.done(true)
}

func TestAStatefulSetWithoutAPodAtThisMomentIsNotGone(t *testing.T) {
	for _, kind := range []string{"StatefulSet", "CloneSet"} {
		s := newScene(t)
		wanted := 1
		if kind == "CloneSet" {
			wanted = upgrade.Unknown
		}
		s.workload(kind+"/db", wanted, "old")
		if kind == "CloneSet" {
			delete(s.Workloads, "db") // kinds that are not Kubernetes' own are known by their pods alone
		}
		s.next("db-1")
		s.answer("db-1", upgrade.Accepted, "")
		s.gone("db-1")
		s.next()
		s.waits("0 of 1 pods are Ready, and no replacement is there yet")
		s.done(false)
	}
}

func TestAFreedPodDoesNotHoldTheOthersOfItsBudget(t *testing.T) {
	s := newScene(t)
	s.budget("web", 1)
	s.workload("web", 2, "old", "old")
	s.get("web-1").Ready, s.get("web-1").Pending = false, true
	s.next("web-1")
	s.answer("web-1", upgrade.Accepted, "")
	s.next("web-2") // the budget was not asked for web-1, so nothing of it need be waited for
}

func TestEmptyDirsStayWithoutConsent(t *testing.T) {
	s := newScene(t)
	s.options.LoseEmptyDirs = false
	s.workload("web", 1, "old")
	s.get("web-1").EmptyDirs = []string{"cache"}
	s.next()
	s.waits("web-1: keeps data in emptyDir volumes, and allow-emptydir-loss was not given")
}

func TestAnAPIThatCannotBeReadIsNamedFirst(t *testing.T) {
	s := newScene(t)
	s.budget("web", 0)
	s.workload("web", 1, "old")
	s.Trouble = "Unauthorized"
	s.next()
	if got := s.last.waiting[0].String(); got != "Kubernetes API: cannot be read, so the rest may be out of date: Unauthorized" {
		t.Errorf("waits first for %s", got)
	}
}

// TestPodsThatComeBackAreNotEvictedWithoutEnd: the scheduler puts a pod that tolerates the cordon back where its workload has just lost one.
func TestPodsThatComeBackAreNotEvictedWithoutEnd(t *testing.T) {
	s := newScene(t)
	s.Nodes = []upgrade.Node{{Name: "old", Unschedulable: true}}
	s.workload("web", 3, "old", "old", "old")
	s.next("web-1")
	s.replace("web-1", "web-z1", "old")
	s.next("web-z1") // before the rest: the next one shows whether it was chance
	s.replace("web-z1", "web-z2", "old")
	s.next()
	s.waits("web-z2: tolerates the cordon and came back to this node: it is not evicted again")
	s.waits("web-2: stays, since replacements of Deployment ns/web tolerate the cordon and come back to this node")
	s.done(false)

	s.Nodes[0].Unschedulable = false
	s.next()
	s.waits("web-z2: found the node uncordoned and came back to this node")
}

// TestAPodThatWasBoundBeforeTheCordonWasKnownIsEvictedToo, and so are those after it.
func TestAPodThatWasBoundBeforeTheCordonWasKnownIsEvictedToo(t *testing.T) {
	s := newScene(t)
	s.workload("web", 2, "old", "old")
	s.next("web-1")
	s.replace("web-1", "web-3", "old")
	s.next("web-3")
	s.replace("web-3", "web-4", "new")
	s.next("web-2")
	s.replace("web-2", "web-5", "new")
	s.next()
	s.done(true)
}

// replace ends a pod whose eviction was asked for, and makes another one.
func (s *scene) replace(pod, by, node string) {
	s.answer(pod, upgrade.Accepted, "")
	workload := s.get(pod).Workload.UID
	s.gone(pod)
	s.next()
	s.pod(by, workload, node)
}
