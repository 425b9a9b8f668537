package preflight

import (
	"testing"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// How a workload without a PDB is moved depends on how many nodes are drained at once, and on whether its pods are alike.
func TestNoPDBTellsHowThePodsAreMoved(t *testing.T) {
	const one, quarter = "its pods are moved one at a time", "up to a quarter of its pods, at least one, is moved at a time"
	for name, tt := range map[string]struct {
		parallel upgrade.Drains
		kind     string
		disks    []string
		want     string
	}{
		"one node at a time, as recorded of old": {0, "Deployment", nil, one},
		"one node at a time":                     {1, "Deployment", nil, one},
		"two nodes at once":                      {2, "Deployment", nil, quarter},
		"all nodes at once":                      {upgrade.AutoDrains, "Deployment", nil, quarter},
		"a StatefulSet, all nodes at once":       {upgrade.AutoDrains, "StatefulSet", nil, one},
		"pods with disks, all nodes at once":     {upgrade.AutoDrains, "Deployment", []string{"pv-1"}, one},
	} {
		t.Run(name, func(t *testing.T) {
			ref := upgrade.Ref{Kind: tt.kind, Namespace: "shop", Name: "web", UID: "w"}
			in := Input{Options: upgrade.Options{Parallel: tt.parallel}, Moving: []upgrade.Pod{{Namespace: "shop", Name: "web-0", UID: "p", Workload: ref, Ready: true, Disks: tt.disks}}}
			in.State.Workloads = map[string]upgrade.Workload{"w": {Ref: ref, Wanted: 12}}
			found := findNoPDB(in)
			want := "has 12 replicas and no PodDisruptionBudget: " + tt.want + ", whatever it could do without"
			if len(found) != 1 || found[0].Problem != want {
				t.Errorf("findings %+v, want one that %s", found, want)
			}
		})
	}
}
