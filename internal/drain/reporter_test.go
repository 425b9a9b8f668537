package drain

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// TestWhatIsToldOfWaitingAndWhen goes through a minute and a half in steps of a tenth of a second.
func TestWhatIsToldOfWaitingAndWhen(t *testing.T) {
	pod := func(name, reason string, passing bool) upgrade.Waiting {
		return upgrade.Waiting{Object: upgrade.Ref{Kind: "Pod", Namespace: "ns", Name: name}, Node: "old", Reason: reason, Passing: passing}
	}
	stuck, starts := pod("stuck", "has not stopped", false), pod("starts", "is not Ready yet", true)
	tenth := func(at time.Duration) int { return int(at / (100 * time.Millisecond)) }
	for name, test := range map[string]struct {
		waiting func(at time.Duration) []upgrade.Waiting
		want    []string
	}{
		"what lasts, and again after a minute": {func(time.Duration) []upgrade.Waiting { return []upgrade.Waiting{stuck} }, []string{"1s: stuck", "1m1s: stuck"}},
		"what should pass has ten seconds":     {func(time.Duration) []upgrade.Waiting { return []upgrade.Waiting{starts} }, []string{"10s: starts", "1m10s: starts"}},
		"what is over sooner": {func(at time.Duration) []upgrade.Waiting {
			if at < 900*time.Millisecond {
				return []upgrade.Waiting{stuck}
			}
			return nil
		}, nil},
		"what lasts while others come and go": {func(at time.Duration) []upgrade.Waiting {
			return []upgrade.Waiting{stuck, pod(fmt.Sprint("briefly-", tenth(at)), "has not stopped", false)}
		}, []string{"1s: stuck", "1m1s: stuck"}},
		"what differs in its numbers only": {func(at time.Duration) []upgrade.Waiting {
			return []upgrade.Waiting{pod("web", fmt.Sprintf("%d of 900 are available", tenth(at)), false)}
		}, []string{"1s: web", "1m1s: web"}},
		"what is gone for a moment": {func(at time.Duration) []upgrade.Waiting {
			if at > 20*time.Second && at < 22*time.Second {
				return nil
			}
			return []upgrade.Waiting{stuck}
		}, []string{"1s: stuck", "1m1s: stuck"}},
		"one after the other": {func(at time.Duration) []upgrade.Waiting {
			if at < 20*time.Second {
				return []upgrade.Waiting{stuck}
			}
			return []upgrade.Waiting{stuck, pod("later", "has not stopped", false)}
		}, []string{"1s: stuck", "21s: stuck later", "1m21s: stuck later"}},
		"one that ends before the other": {func(at time.Duration) []upgrade.Waiting {
			if at < 20*time.Second {
				return []upgrade.Waiting{pod("early", "has not stopped", false), stuck}
			}
			return []upgrade.Waiting{stuck}
		}, []string{"1s: early stuck", "20s: stuck", "1m20s: stuck"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			at := time.Duration(0)
			reporters := newReporters(func(node string, e upgrade.Event) {
				line := at.String() + ":"
				for _, w := range e.Waiting {
					line += " " + w.Object.Name
				}
				got = append(got, line)
				if node != "old" {
					t.Errorf("it is told of node %q", node)
				}
			})
			for ; at < 90*time.Second; at += 100 * time.Millisecond {
				for _, r := range reporters {
					if wake := r.waiting(test.waiting(at), t0.Add(at)); !wake.After(t0.Add(at)) {
						t.Fatalf("at %s it wants to be asked again at once", at)
					}
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestABudgetThatIsSpentOnAPodWhoseReplacementIsOnItsWayIsExpectedToPass, and one that can never allow anything is not.
func TestABudgetThatIsSpentOnAPodWhoseReplacementIsOnItsWayIsExpectedToPass(t *testing.T) {
	for name, test := range map[string]struct {
		needed  int
		passing bool
	}{"it allows one at a time": {2, true}, "it was changed and allows none": {3, false}} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.budget("web", 1)
			s.workload("web", 3, "old", "old", "new")
			s.next("web-1")
			s.answer("web-1", upgrade.Accepted, "")
			s.gone("web-1")
			s.pod("web-4", "web", "new").Ready = false
			s.budget("web", 0)
			b := s.Budgets["ns/web"]
			b.Healthy, b.Needed, b.Expected = 2, test.needed, 3
			s.Budgets["ns/web"] = b
			s.next()
			s.waits("Pod ns/web-2: PodDisruptionBudget ns/web allows no eviction now")
			if s.last.waiting[0].Passing != test.passing {
				t.Errorf("%+v", s.last.waiting[0])
			}
			s.now = s.last.wake
			s.next("web-2") // the API is asked, in case the cache is behind
			s.answer("web-2", upgrade.BudgetSpent, "no")
			s.next()
			if w := s.last.waiting[0]; w.Object.Name != "web-2" || w.Passing != test.passing {
				t.Errorf("by the API's word: %+v", w)
			}
		})
	}
}
