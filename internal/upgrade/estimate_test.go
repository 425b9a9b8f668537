package upgrade_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// TestDrainEstimates: k pods of a workload on a node, u of which its budget lets go at a time, take (ceil(k/u)-1)·r + max(g, r), where g is
// their grace and r the time until a replacement is up: its start-up and, where the old pod has to go first, the grace too.
func TestDrainEstimates(t *testing.T) {
	for name, test := range map[string]struct {
		kind     string
		pods     int
		allowed  int // by the budget, 0 for no budget
		startUp  time.Duration
		grace    time.Duration
		minReady time.Duration
		want     time.Duration
	}{
		"one pod": {"Deployment", 1, 1, 20 * time.Second, 5 * time.Second, 0, 20 * time.Second},
		"one pod that takes longer to stop than to start": {"Deployment", 1, 1, 5 * time.Second, 30 * time.Second, 0, 30 * time.Second},
		"of a longer grace only some is used":             {"Deployment", 1, 1, 5 * time.Second, time.Hour, 0, 30 * time.Second},
		"four, two at a time":                             {"Deployment", 4, 2, 20 * time.Second, 5 * time.Second, 0, 40 * time.Second},
		"five, two at a time":                             {"Deployment", 5, 2, 20 * time.Second, 5 * time.Second, 0, time.Minute},
		"without a budget, one at a time":                 {"Deployment", 4, 0, 20 * time.Second, 5 * time.Second, 0, 80 * time.Second},
		"minReadySeconds count":                           {"Deployment", 2, 1, 20 * time.Second, 5 * time.Second, 10 * time.Second, time.Minute},
		"a StatefulSet's start after the old ones end":    {"StatefulSet", 3, 1, 20 * time.Second, 5 * time.Second, 0, 75 * time.Second},
		"nothing shows how long they take to start":       {"Deployment", 2, 1, 0, 5 * time.Second, 0, time.Minute},
		"a start-up that cannot be meant":                 {"Deployment", 1, 1, 24 * time.Hour, 5 * time.Second, 0, 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			s := sample()
			w := upgrade.Ref{Kind: test.kind, Namespace: "default", Name: "w", UID: "w"}
			s.State.Workloads["w"] = upgrade.Workload{Ref: w, Wanted: test.pods, MinReady: test.minReady}
			s.State.Budgets["default/w"] = upgrade.Budget{Namespace: "default", Name: "w", Allowed: test.allowed}
			s.State.Pods = nil
			for i := range test.pods {
				p := upgrade.Pod{Namespace: "default", Name: fmt.Sprint("w-", i), UID: fmt.Sprint("w-", i), Node: "n1", Workload: w, Ready: true, StartUp: test.startUp, Grace: test.grace}
				if test.allowed > 0 {
					p.Budgets = []string{"default/w"}
				}
				s.State.Pods = append(s.State.Pods, p)
			}
			for _, step := range build(t, s, options()).Steps {
				if step.ID == "drain-node/default-pool/n1" && time.Duration(step.Estimate) != test.want {
					t.Errorf("the drain takes %s, want %s", time.Duration(step.Estimate), test.want)
				}
			}
		})
	}
}

// TestOnePodThatWasAwayForADayDoesNotMakeAStartUpADay: what most of its workload's pods took is what counts.
func TestOnePodThatWasAwayForADayDoesNotMakeAStartUpADay(t *testing.T) {
	s := sample()
	for i, startUp := range []time.Duration{40 * time.Second, 24 * time.Hour, 45 * time.Second} {
		p := s.State.Pods[0]
		p.Name, p.UID, p.Node, p.StartUp = fmt.Sprint("web-", i), fmt.Sprint("w-", i), "n4", startUp
		s.State.Pods = append(s.State.Pods, p)
	}
	for _, step := range build(t, s, options()).Steps {
		if step.ID == "drain-node/default-pool/n2" && time.Duration(step.Estimate) != 45*time.Second {
			t.Errorf("the drain takes %s, want 45s", time.Duration(step.Estimate))
		}
	}
}

func TestSurgeIsTheNewPoolForAsLongAsTheOldOneIsThere(t *testing.T) {
	o := options()
	// Two zones of two nodes; 4 min to make them, a minute and 2 s of drains, an hour of soak, 4 min to delete the old ones.
	want := upgrade.Surge{Nodes: 4, NodeHours: 4 * (69*time.Minute + 2*time.Second).Hours()}
	if got := build(t, sample(), o).Pools[0].Surge; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	o.Delete = upgrade.DeleteNever
	got := build(t, sample(), o).Pools[0].Surge
	if !got.Stays || got.Nodes != 4 || got.NodeHours > 0.5 {
		t.Errorf("an old pool that is kept: got %+v", got)
	}
}

func TestEveryPointOfNoReturnIsSaid(t *testing.T) {
	s := sample()
	s.State.Pods = append(s.State.Pods, upgrade.Pod{Namespace: "default", Name: "bare", UID: "b", Node: "n2", Ready: true})
	got := map[string]string{}
	for _, step := range build(t, s, options()).Steps {
		if step.NoReturn != "" {
			got[step.ID] = step.NoReturn
		}
	}
	if len(got) != 2 || got["drain-node/default-pool/n2"] != "nothing makes these again: default/bare" || got["delete-pool/default-pool"] != "a rollback does not bring default-pool back" {
		t.Errorf("got %v", got)
	}
}
