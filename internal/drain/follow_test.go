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

// followed is a scene of two old nodes that GKE drains one after the other.
func followed(t *testing.T) *scene {
	s := newScene(t)
	s.olds = []string{"a", "b"}
	s.options.Parallel = upgrade.AutoDrains
	s.options.Followed = &Followed{By: "GKE", Version: "2", ForceAfter: time.Hour, InTurn: true}
	s.options.Timeout = 30 * time.Minute
	for _, name := range s.olds {
		s.Nodes = append(s.Nodes, upgrade.Node{Name: name, Version: "1", Ready: true})
	}
	return s
}

func (s *scene) cordon(node string) {
	s.Nodes = slices.Clone(s.Nodes)
	for i, n := range s.Nodes {
		s.Nodes[i].Unschedulable = n.Unschedulable || n.Name == node
	}
}

func (s *scene) removed(node string) {
	s.Nodes = slices.DeleteFunc(slices.Clone(s.Nodes), func(n upgrade.Node) bool { return n.Name == node })
}

// told are the events of the last decision.
func (s *scene) told() []string {
	var all []string
	for _, e := range s.last.events {
		all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s %s", e.node, e.Kind, e.Pod.Name)))
	}
	return all
}

func (s *scene) tells(want ...string) {
	s.Helper()
	s.decide()
	if diff := cmp.Diff(want, s.told()); diff != "" {
		s.Error(diff)
	}
}

func TestADrainOfSomebodyElseIsToldLikeOurs(t *testing.T) {
	s := followed(t)
	s.workload("web", 2, "a", "b")
	s.next()
	if len(s.last.begin) > 0 || len(s.last.waiting) > 0 {
		t.Errorf("it begins before the node is cordoned: %v, %v", s.last.begin, s.last.waiting)
	}
	s.cordon("a")
	s.tells("a node-cordoned")
	if len(s.last.begin) != 1 || s.last.begin[0].Name != "a" {
		t.Errorf("begun: %v", s.last.begin)
	}
	s.waits("web-1: is not evicted yet by GKE")
	s.terminating("web-1")
	s.tells("a pod-evicted web-1")
	s.gone("web-1")
	s.pod("web-3", "web", "new").Ready = false
	s.tells("a pod-gone web-1")
	s.get("web-3").Ready = true
	s.tells("a pod-replaced web-3")
	if len(s.last.ended) > 0 {
		t.Error("the node is still there, and its drain is over")
	}
	s.removed("a")
	s.tells()
	if diff := cmp.Diff([]string{"a"}, s.last.ended); diff != "" {
		t.Error(diff)
	}
	s.done(false)
	s.next() // and nothing is ever evicted
}

// TestANodeThatIsMadeAgainUnderItsNameTakesPods: max-unavailable makes nodes anew under the same names.
func TestANodeThatIsMadeAgainUnderItsNameTakesPods(t *testing.T) {
	s := followed(t)
	s.workload("web", 1, "a")
	s.cordon("a")
	s.decide()
	s.removed("a")
	s.gone("web-1")
	s.decide()
	s.Nodes = append(s.Nodes, upgrade.Node{Name: "a", Version: "2", Ready: true})
	s.pod("web-2", "web", "a")
	s.decide()
	s.decide()
	if s.tracker.active["a"] != (time.Time{}) || len(s.last.waiting) > 0 {
		t.Errorf("it is still drained, and waits for %v", s.last.waiting)
	}
}

func TestABudgetThatHoldsSomebodyElsesDrainIsToldWithTheTimeLeft(t *testing.T) {
	s := followed(t)
	s.budget("web", 0)
	s.workload("web", 1, "a")
	s.cordon("a")
	s.decide()
	s.waits("web-1: PodDisruptionBudget ns/web allows no eviction now (maxUnavailable 1: 0 of 0 healthy, 0 needed); GKE ends it past that in 1h0m, at 04:04:05 UTC")
	if w := s.last.waiting[0]; w.Passing || w.Budget != "ns/web" || w.Help == "" {
		t.Errorf("%+v", w)
	}
	s.now = s.now.Add(59 * time.Minute)
	s.decide()
	s.waits("in 1m0s, at")
	if late, at := s.tracker.late(); late != "a" || !at.After(s.now) {
		t.Errorf("%s is late at %s, while GKE still asks the budget", late, at)
	}
	s.now = s.now.Add(2 * time.Minute)
	s.decide()
	s.waits("GKE ends it past that from now on")
	s.gone("web-1")
	s.decide()
	if text := s.last.events[len(s.last.events)-1].Text; text != "past PodDisruptionBudget ns/web: GKE waits no longer than 1h0m" {
		t.Errorf("told %q", text)
	}
}

func TestTheTimeLeftDoesNotBeginAnewWithAnotherProcess(t *testing.T) {
	s := followed(t)
	s.budget("web", 0)
	s.workload("web", 1, "a")
	s.cordon("a")
	first := Observe(s.State, "a")
	s.tracker = newTracker([]Node{{Name: "a", Baseline: &first, Since: t0.Add(-50 * time.Minute)}}, s.options, s.State)
	s.decide()
	s.waits("GKE ends it past that in 10m, at")
}

func TestWhatLeftUnseenIsCountedOnceTheNodeIsGone(t *testing.T) {
	s := followed(t)
	s.workload("web", 1, "a")
	first := Observe(s.State, "a")
	s.removed("a")
	s.gone("web-1")
	s.pod("web-2", "web", "new")
	s.tracker = newTracker([]Node{{Name: "a", Baseline: &first}, {Name: "b"}}, s.options, s.State)
	s.decide()
	if len(s.tracker.moves) != 1 || !slices.Equal(s.last.ended, []string{"a"}) {
		t.Errorf("moves %v, ended %v", s.tracker.moves, s.last.ended)
	}
}

func TestAPersonLetsAPodGoPastTheBudgetOfSomebodyElsesDrain(t *testing.T) {
	s := followed(t)
	s.budget("web", 0)
	s.workload("web", 1, "a")
	s.options.Forced = map[string]bool{"web-1": true}
	s.cordon("a")
	s.next("web-1")
	s.next()
}

func TestTheGateOfSomebodyElsesDrainHasADeadline(t *testing.T) {
	s := followed(t)
	s.workload("web", 1, "a")
	s.cordon("a")
	s.decide()
	s.gone("web-1")
	s.removed("a")
	s.pod("web-2", "web", "new").Ready = false
	s.decide()
	s.now = s.now.Add(30 * time.Minute)
	s.decide()
	if late, at := s.tracker.late(); late != "a" || at.After(s.now) {
		t.Errorf("%q is late at %s", late, at)
	}
}

// TestOldNodesThatAreKeptAreDrained: under blue-green they stay, empty and cordoned.
func TestOldNodesThatAreKeptAreDrained(t *testing.T) {
	s := followed(t)
	s.options.Followed.InTurn = false
	s.workload("web", 1, "a")
	s.cordon("a")
	s.cordon("b")
	s.decide()
	if diff := cmp.Diff([]string{"b"}, s.last.ended); diff != "" {
		t.Error(diff)
	}
	s.gone("web-1")
	s.pod("web-2", "web", "new")
	s.decide()
	s.done(true)
}
