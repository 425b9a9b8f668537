package oracle

import (
	"encoding/json"
	"testing"

	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/names"

	"github.com/upshift-k8s/upshift/internal/fit"
)

// pluginOf is the plugin of the scheduler that finds an obstacle.
var pluginOf = map[fit.Obstacle]string{
	fit.NoObstacle: "", fit.Cordoned: names.NodeUnschedulable, fit.Tainted: names.TaintToleration, fit.NotSelected: names.NodeAffinity, fit.PortTaken: names.NodePorts,
	fit.TooManyPods: names.NodeResourcesFit, fit.Insufficient: names.NodeResourcesFit, fit.VolumeInUse: names.VolumeRestrictions, fit.VolumeElsewhere: names.VolumeBinding,
	fit.NotSpread: names.PodTopologySpread, fit.NoAffinity: names.InterPodAffinity, fit.AntiAffinity: names.InterPodAffinity, fit.AntiAffinityOfOthers: names.InterPodAffinity,
}

// TestVerdicts: of each pod that waits for a node, and each node of 1,000 random clusters, the simulation says what the scheduler's
// filters say, and by which of them.
func TestVerdicts(t *testing.T) {
	if testing.Short() {
		t.Skip("asks the real scheduler 100,000 times")
	}
	var clusters []*cluster
	for id := range 1000 {
		clusters = append(clusters, arbitrary(id))
	}
	snapshots := read(t, clusters)
	s := newScheduler(t, clusters)
	asked, differ := 0, 0
	found := map[string]int{}
	for id, c := range clusters {
		s.look(c.nodes, c.pods)
		now := fit.NewNow(snapshots[id])
		for _, p := range c.pods {
			if p.Spec.NodeName != "" {
				continue
			}
			want, _ := s.verdicts(t.Context(), p)
			for _, n := range c.nodes {
				asked++
				got, _ := now.Obstacle(string(p.UID), n.Name)
				found[want[n.Name]]++
				if pluginOf[got] != want[n.Name] {
					differ++
					if differ <= 20 {
						pod, _ := json.Marshal(p)
						node, _ := json.Marshal(n)
						t.Errorf("cluster %d: %s on %s: %s (%s), but the scheduler says %q\n%s\n%s", id, p.Name, n.Name, got, pluginOf[got], want[n.Name], pod, node)
					}
				}
			}
		}
	}
	t.Logf("%d verdicts, %d differ; by plugin: %v", asked, differ, found)
	for o, plugin := range pluginOf {
		if plugin != "" && found[plugin] == 0 {
			t.Errorf("nothing was kept away by %s (%s): the clusters are too simple", plugin, o)
		}
	}
}
