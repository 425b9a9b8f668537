package drain

import (
	"testing"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// attach attaches a volume to a node.
func (s *scene) attach(volume, node string) {
	s.Attachments = append(s.Attachments, upgrade.Attachment{Name: "csi-" + volume, Node: node, Volume: volume})
}

// detach detaches all volumes from a node.
func (s *scene) detach(node string) {
	var left []upgrade.Attachment
	for _, a := range s.Attachments {
		if a.Node != node {
			left = append(left, a)
		}
	}
	s.Attachments = left
}

func TestADrainWaitsUntilTheDisksOfPodsThatLeftAreDetached(t *testing.T) {
	for name, test := range map[string]struct {
		attached map[string]string // node to volume
		other    []string          // the disks of another pod on the node that stays there
		want     string            // empty if there is nothing to wait for
	}{
		"it is still attached":             {map[string]string{"old": "pv"}, nil, "VolumeAttachment csi-pv: volume pv of Pod ns/db-1 is still attached to node old"},
		"it is detached":                   {nil, nil, ""},
		"it is attached where it is now":   {map[string]string{"new": "pv"}, nil, ""},
		"another volume is attached":       {map[string]string{"old": "other"}, nil, ""},
		"a pod that stays has another one": {map[string]string{"old": "pv"}, []string{"other"}, "csi-pv"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.workload("db", 1, "old")
			s.get("db-1").Disks = []string{"pv"}
			s.workload("DaemonSet/agent", 1, "old")
			s.get("agent-1").Disks = test.other
			s.attach("pv", "old")
			s.next("db-1")
			s.answer("db-1", upgrade.Accepted, "")
			s.terminating("db-1")
			s.pod("db-2", "db", "new").Disks = []string{"pv"}
			s.next()
			if len(s.last.waiting) != 1 {
				t.Errorf("while the pod is there its volume is nothing to wait for: %v", s.last.waiting)
			}

			s.get("db-1").Finished = true // a moment before it is gone
			s.next()
			s.waits("volume pv of Pod ns/db-1 is still attached to node old")
			s.gone("db-1")
			s.Attachments = nil
			for node, volume := range test.attached {
				s.attach(volume, node)
			}
			s.next()
			s.done(test.want == "")
			if test.want == "" {
				return
			}
			s.waits(test.want)
			if w := s.last.waiting[0]; !w.Passing || w.Node != "old" {
				t.Errorf("a volume takes a moment to be detached: %+v", w)
			}
			gone := s.now
			s.now = s.last.wake
			s.next()
			s.waits("is still attached to node old, though the pod has been gone since 03:04:05 UTC")
			if w := s.last.waiting[0]; w.Passing || s.now.Sub(gone) != time.Minute {
				t.Errorf("after %s: %+v", s.now.Sub(gone), w)
			}
			s.detach("old")
			s.next()
			s.done(true)
		})
	}
}

func TestADiskThatAnotherPodOnTheNodeHasIsNotAwaited(t *testing.T) {
	s := newScene(t)
	s.workload("db", 1, "old")
	s.workload("DaemonSet/agent", 1, "old")
	for i := range s.Pods {
		s.Pods[i].Disks = []string{"pv"}
	}
	s.attach("pv", "old")
	s.next("db-1")
	s.answer("db-1", upgrade.Accepted, "")
	s.gone("db-1")
	s.pod("db-2", "db", "new")
	s.next()
	s.done(true)
}

func TestADrainThatGoesOnWaitsForTheDisksOfPodsThatLeftBefore(t *testing.T) {
	s := newScene(t)
	s.workload("db", 1, "old")
	s.get("db-1").Disks = []string{"pv"}
	s.attach("pv", "old")
	first := Observe(s.State, "old")
	s.gone("db-1") // evicted, and then the process was killed
	s.pod("db-2", "db", "new").Disks = []string{"pv"}
	s.goOn(first, "db-1")
	s.next()
	s.waits("volume pv of Pod ns/db-1 is still attached to node old")
	s.done(false)
	s.detach("old")
	s.next()
	s.done(true)
}

func TestStatefulPodsGoOneAtATimeWhateverTheirBudgetAllows(t *testing.T) {
	for name, test := range map[string]struct {
		workload string
		disks    bool
		why      string
	}{
		"a StatefulSet":              {"StatefulSet/db", false, "StatefulSet ns/db is a StatefulSet, so its pods go one at a time, and "},
		"a StatefulSet with volumes": {"StatefulSet/db", true, "StatefulSet ns/db keeps its data in volumes of its pods, so its pods go one at a time, and "},
		"a CloneSet with volumes":    {"CloneSet/db", true, "CloneSet ns/db keeps its data in volumes of its pods, so its pods go one at a time, and "},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.budget("db", 3)
			s.workload(test.workload, 3, "old", "old", "old")
			if test.disks {
				for i := range s.Pods {
					s.Pods[i].Disks = []string{"pv-" + s.Pods[i].Name}
					s.attach("pv-"+s.Pods[i].Name, "old")
				}
			}
			s.next("db-1")
			s.answer("db-1", upgrade.Accepted, "")
			s.budget("db", 2) // it has seen the eviction, and allows more
			s.next()
			s.waits("Pod ns/db-2: waits its turn: " + test.why + "2 of 3 are available")
			s.gone("db-1")
			s.pod("db-4", "db", "new")
			s.budget("db", 3)
			if test.disks {
				s.next()
				s.waits("Pod ns/db-2: waits its turn: " + test.why + "volume pv-db-1 is still attached to node old")
				s.Attachments = s.Attachments[1:]
			}
			s.next("db-2")
		})
	}
}

func TestStatefulPodsGoOneAtATimeAlsoIfEachHasABudgetOfItsOwn(t *testing.T) {
	s := newScene(t)
	s.workload("StatefulSet/db", 2, "old", "old")
	for _, pod := range []string{"db-1", "db-2"} {
		s.budget(pod, 1)
		s.get(pod).Budgets = []string{"ns/" + pod}
	}
	s.next("db-1")
	s.next()
	s.waits("Pod ns/db-2: waits its turn: StatefulSet ns/db is a StatefulSet, so its pods go one at a time, and another of them is being evicted")
}

// TestAStatefulPodThatIsNotReadyGoesAtOnce since nothing is lost with it, and the others may wait for it to come up.
func TestAStatefulPodThatIsNotReadyGoesAtOnce(t *testing.T) {
	s := newScene(t)
	s.workload("StatefulSet/db", 2, "old", "old")
	s.next("db-1")
	s.answer("db-1", upgrade.Accepted, "")
	s.get("db-2").Ready = false
	s.next("db-2")
}

func TestAStatefulSetDoesNotHoldAnotherOneOfItsBudget(t *testing.T) {
	for name, drains := range map[string]upgrade.Drains{"one node": 1, "two nodes": 2} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.options.Parallel, s.options.Timeout, s.olds = drains, time.Hour, []string{"old", "older"}
			s.budget("d", 9)
			s.workload("StatefulSet/da", 2, "old", "old")
			s.workload("StatefulSet/db", 2, "old", "old")
			for i := range s.Pods {
				s.Pods[i].Budgets = []string{"ns/d"}
			}
			s.next("da-1")
			s.answer("da-1", upgrade.Accepted, "")
			s.budget("d", 8)
			s.next("db-1")
		})
	}
}
