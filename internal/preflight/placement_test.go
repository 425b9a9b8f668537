package preflight_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/preflight"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// TestWherePodsMayGo: each case changes one thing in a roomy cluster, and names what is found, with what is said of it and what to do.
func TestWherePodsMayGo(t *testing.T) {
	web := func(s *upgrade.Snapshot) *upgrade.PodShape { return s.Inventory.Pods["web-1"] }
	everything := []upgrade.Toleration{{Operator: "Exists"}}
	const comeBack = " tolerates the cordon: its pods come back to the nodes that are drained, and the drain waits for them -> "
	const edit = " # tolerate the taints that it has to, by their keys, and not node.kubernetes.io/unschedulable"
	for name, test := range map[string]struct {
		change func(*upgrade.Snapshot)
		want   []string
	}{
		"pods that tolerate everything": {func(s *upgrade.Snapshot) { web(s).Tolerations = everything }, []string{
			"blocker tolerates-cordon Deployment shop/web" + comeBack + "kubectl edit deployment web -n shop" + edit}},
		"pods that tolerate the cordon": {func(s *upgrade.Snapshot) {
			web(s).Tolerations = []upgrade.Toleration{{Key: "node.kubernetes.io/unschedulable", Operator: "Exists", Effect: "NoSchedule"}}
		}, []string{
			"blocker tolerates-cordon Deployment shop/web" + comeBack + "kubectl edit deployment web -n shop" + edit}},
		"pods that tolerate everything but being put somewhere": {func(s *upgrade.Snapshot) {
			web(s).Tolerations = []upgrade.Toleration{{Operator: "Exists", Effect: "NoExecute"}, {Key: "node.kubernetes.io/not-ready", Operator: "Exists"}}
		}, nil},
		"the provider's own that do": {func(s *upgrade.Snapshot) {
			own := upgrade.Ref{Kind: "Deployment", Namespace: "kube-system", Name: "konnectivity-agent", UID: "w1"}
			s.State.Workloads["w1"] = upgrade.Workload{Ref: own, Wanted: 3}
			for i := range s.State.Pods {
				if s.State.Pods[i].Workload.UID == "w1" {
					s.State.Pods[i].Workload, s.State.Pods[i].Namespace = own, "kube-system"
				}
			}
			web(s).Tolerations = everything
		}, []string{
			"warning tolerates-cordon Deployment kube-system/konnectivity-agent" + comeBack + "kubectl edit deployment konnectivity-agent -n kube-system" + edit}},
		"a DaemonSet's pods, which stay": {func(s *upgrade.Snapshot) { s.Inventory.Daemons[0].Shape.Tolerations = everything }, nil},
		"pods that are on nodes that stay": {func(s *upgrade.Snapshot) {
			web(s).Tolerations = everything
			s.Cluster.Pools[0].Version = "1.34.2-gke.100"
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := roomy()
			test.change(&s)
			if diff := cmp.Diff(test.want, told(t, s)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// told is what a person reads of a plan's findings.
func told(t *testing.T, s upgrade.Snapshot) []string {
	t.Helper()
	plan, err := upgrade.BuildPlan(s, upgrade.Options{Target: "control-plane", Delete: upgrade.DeleteEach}, preflight.Inspect)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range plan.Findings {
		pastable(t, f)
		got = append(got, strings.Join([]string{string(f.Severity), f.Check, f.Object.String(), f.Problem, "->", remedy(f)}, " "))
	}
	return got
}
