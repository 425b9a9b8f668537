package drain

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// TestWhatKeepsARestartFromEndingIsNamed: the new pods and what is wrong with them, rather than the old ones that wait for them.
func TestWhatKeepsARestartFromEndingIsNamed(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(*upgrade.Pod)
		want    string
		passing bool
	}{
		"it finds no node":     {func(p *upgrade.Pod) { p.Node, p.Unschedulable = "", "0/3 nodes are available" }, "Pod ns/web-9: finds no node: 0/3 nodes are available", false},
		"it crashes":           {func(p *upgrade.Pod) { p.Trouble = "container web: CrashLoopBackOff" }, "Pod ns/web-9: is not Ready: container web: CrashLoopBackOff", false},
		"it starts":            {func(*upgrade.Pod) {}, "Pod ns/web-9: is not Ready yet", true},
		"it is none of theirs": {func(p *upgrade.Pod) { p.Workload.UID = "other" }, "Pod ns/web-1: Deployment ns/web has not replaced it yet", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.olds, s.options.Parallel, s.options.Restarted = []string{"old"}, upgrade.AutoDrains, map[string]bool{"web": true}
			s.workload("web", 1, "old")
			s.next()
			p := s.pod("web-9", "web", "new")
			p.Ready = false
			test.change(p)
			s.next()
			s.waits(test.want)
			if len(s.last.waiting) != 1 || s.last.waiting[0].Passing != test.passing {
				t.Errorf("waits for %v", s.last.waiting)
			}
		})
	}
}

func TestWhatRestartsAreMeasuredAgainstIsOfTheirWorkloadsAlone(t *testing.T) {
	s := newScene(t)
	s.Nodes = []upgrade.Node{{Name: "a", Pool: "old"}, {Name: "b", Pool: "old"}, {Name: "c", Pool: "new"}}
	s.workload("web", 3, "a", "b", "c")
	s.workload("other", 1, "a")
	s.workload("elsewhere", 1, "c")
	lost := s.pod("web-4", "web", "")
	lost.Ready, lost.Unschedulable = false, "0/3 nodes are available"
	s.get("web-3").Unserved = []string{"ns/web"}
	web := s.Workloads["web"].Ref
	want := upgrade.Baseline{
		Pods: []upgrade.Resident{
			{Pod: s.get("web-1").Ref(), Workload: web, Node: "a"}, {Pod: s.get("web-2").Ref(), Workload: web, Node: "b"},
		},
		Ready: map[string]int{"web": 3}, Homeless: []string{"web-4"}, Unserved: []string{"web/ns/web"},
	}
	if diff := cmp.Diff(want, ObserveAll(s.State, s.PoolNodes("old"), map[string]bool{"web": true, "elsewhere": true})); diff != "" {
		t.Error(diff)
	}
}
