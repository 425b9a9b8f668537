package drain

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// TestADrainGoesByTheClusterAsItIsNow: after web-1 of three pods of Deployment web has been evicted, something else moves, too.
func TestADrainGoesByTheClusterAsItIsNow(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*scene)
		evicts []string
		waits  string // empty for a drain that is done
	}{
		"the replacement is there": {func(*scene) {}, []string{"web-2"}, "web-3: waits its turn"},
		"the budget is tightened": {func(s *scene) { s.budget("web", 0) },
			nil, "web-2: PodDisruptionBudget ns/web allows no eviction now"},
		"the budget is deleted, and a pod is unready": {func(s *scene) {
			delete(s.Budgets, "ns/web")
			for i := range s.Pods {
				s.Pods[i].Budgets = nil
			}
			s.get("web-4").Ready = false
		}, nil, "web-2: waits its turn: Deployment ns/web has no PodDisruptionBudget, so its pods go one at a time, and 2 of 3 are available"},
		"the Deployment is deleted and leaves its pods": {func(s *scene) {
			delete(s.Workloads, "web")
			for i := range s.Pods {
				s.Pods[i].Workload, s.Pods[i].Budgets = upgrade.Ref{}, nil
			}
		}, nil, "web-2: no controller will make it again, and allow-bare-pods was not given"},
		"the Deployment is scaled down": {func(s *scene) {
			s.Workloads["web"] = upgrade.Workload{Ref: s.Workloads["web"].Ref, Wanted: 1}
			s.gone("web-2")
			s.gone("web-3")
		}, nil, ""},
		"a rollout replaces all pods": {func(s *scene) {
			for _, pod := range []string{"web-2", "web-3", "web-4"} {
				s.gone(pod)
			}
			for _, pod := range []string{"next-1", "next-2", "next-3"} {
				s.pod(pod, "web", "new")
			}
		}, nil, ""},
		"the node is lost with its pods": {func(s *scene) {
			s.gone("web-2")
			s.gone("web-3")
		}, nil, "Deployment ns/web: 1 of 3 pods are Ready, and no replacement is there yet"},
		"a taint drives a pod off the node": {func(s *scene) { s.terminating("web-2") },
			[]string{"web-3"}, "web-2: is stopping"},
		"a pod of another workload lands on the node": {func(s *scene) { s.workload("late", 1, "old") }, []string{"late-1", "web-2"}, ""},
		"a replacement finds no node": {func(s *scene) {
			s.get("web-4").Ready, s.get("web-4").Node, s.get("web-4").Unschedulable = false, "", "no room"
		}, nil, "web-2: is held back, since Pod ns/web-4 finds no node: no room"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.budget("web", 1)
			s.workload("web", 3, "old", "old", "old")
			s.next("web-1")
			s.answer("web-1", upgrade.Accepted, "")
			s.gone("web-1")
			s.pod("web-4", "web", "new")
			s.budget("web", 1)
			test.change(s)
			s.next(test.evicts...)
			s.done(test.waits == "" && test.evicts == nil)
			if test.waits != "" {
				s.waits(test.waits)
			}
		})
	}
}

func TestAnEventEndsAWaitAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMute(0)
		close(m.answers) // every eviction is accepted
		start, budget := time.Now(), m.state.Budgets["ns/web"]
		budget.Allowed, budget.Revision = 1, "another"
		time.AfterFunc(7*time.Second, func() { m.set(func(s *upgrade.State) { s.Budgets = map[string]upgrade.Budget{"ns/web": budget} }) })
		var after time.Duration
		_, _ = Nodes(t.Context(), m, []Node{{Name: "old"}}, Options{Timeout: time.Minute, Notify: func(_ string, e upgrade.Event) {
			if e.Kind == upgrade.PodEvicted && after == 0 {
				after = time.Since(start)
			}
		}})
		if after != 7*time.Second {
			t.Errorf("evicted after %s, want 7s, when the budget allows it", after)
		}
	})
}

func TestAPodThatIsFoundGoneCountsAtOnceAlsoIfTheCacheIsBehind(t *testing.T) {
	s := newScene(t)
	s.workload("web", 2, "old", "old")
	s.next("web-1")
	s.answer("web-1", upgrade.AlreadyGone, `eviction refused: pods "web-1" not found`)
	s.next() // web-1 is still in the cache: web-2 must stay
	s.waits("web-2: waits its turn: Deployment ns/web has no PodDisruptionBudget, so its pods go one at a time, and 1 of 2 are available")
	s.gone("web-1")
	s.next()
	s.waits("web-2: waits its turn")
	s.pod("web-3", "web", "new")
	s.next("web-2")
	if len(s.tracker.moves) != 1 {
		t.Errorf("%d pods moved, want 1", len(s.tracker.moves))
	}
}

func TestAnEvictionThatNobodyAnsweredMayHaveBeenCarriedOut(t *testing.T) {
	s := newScene(t)
	s.workload("web", 2, "old", "old")
	s.workload("api", 1, "old")
	s.next("api-1", "web-1")
	s.answer("web-1", upgrade.NotNow, "eviction not answered: connection reset")
	s.next()
	s.waits("web-1: eviction not answered: connection reset")
	s.waits("web-2: waits its turn: Deployment ns/web has no PodDisruptionBudget, so its pods go one at a time, and another of them may be leaving")
	s.now = s.last.wake
	s.next("web-1")
	s.answer("web-1", upgrade.NotNow, "eviction not answered: connection reset")
	s.terminating("web-1") // it was carried out
	s.next()
	s.waits("web-2: waits its turn: Deployment ns/web has no PodDisruptionBudget, so its pods go one at a time, and 1 of 2 are available")
	s.pod("web-3", "web", "new")
	s.next("web-2")
}

func TestABudgetWhoseStatusIsOfAnEarlierSpecIsNotBelieved(t *testing.T) {
	s := newScene(t)
	s.budget("web", 1)
	s.workload("web", 2, "old", "new")
	b := s.Budgets["ns/web"]
	b.Current = false
	s.Budgets["ns/web"] = b
	s.next()
	s.waits("web-1: PodDisruptionBudget ns/web was changed, and does not show yet what it allows")
	s.budget("web", 1)
	s.next("web-1")
}

func TestABudgetThatKubernetesCannotWorkOutIsNotSaidToBeSpent(t *testing.T) {
	s := newScene(t)
	s.budget("web", 0)
	s.workload("web", 1, "old")
	b := s.Budgets["ns/web"]
	b.Trouble = "found no controllers for pod web-1"
	s.Budgets["ns/web"] = b
	s.next()
	s.waits("web-1: PodDisruptionBudget ns/web allows no eviction, since Kubernetes cannot work it out (found no controllers for pod web-1)")
}
