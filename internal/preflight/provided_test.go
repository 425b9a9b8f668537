package preflight_test

import (
	"testing"

	"github.com/upshift-k8s/upshift/internal/preflight"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// TestWhatTheProviderRunsIsNobodysToMend: the same single, unprobed replica that writes to its node, in a namespace of the cluster's users and
// in one of the provider's.
func TestWhatTheProviderRunsIsNobodysToMend(t *testing.T) {
	for namespace, want := range map[string]upgrade.Severity{"shop": upgrade.Warning, "kube-system": upgrade.Info, "gmp-system": upgrade.Info} {
		s := known()
		owner := upgrade.Ref{Kind: "Deployment", Namespace: namespace, Name: "one", UID: "one"}
		s.State.Workloads["one"] = upgrade.Workload{Ref: owner, Wanted: 1}
		s.State.Pods = append(s.State.Pods, upgrade.Pod{Namespace: namespace, Name: "one-1", UID: "one-1", Node: "n1", Workload: owner, Ready: true})
		s.Inventory.Pods["one-1"] = &upgrade.PodShape{Namespace: namespace, Unprobed: []upgrade.Unprobed{{Container: "app", Only: true}}, HostPaths: []string{"/var/lib/one"}}
		s.Inventory.Services = append(s.Inventory.Services, upgrade.Service{Namespace: namespace, Name: "one", Targets: []string{"80"}, Pods: []string{"one-1"}, Ready: 1})
		plan, err := upgrade.BuildPlan(s, upgrade.Options{Target: "control-plane", Delete: upgrade.DeleteEach}, preflight.Inspect)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]upgrade.Severity{}
		for _, f := range plan.Findings {
			got[f.Check] = f.Severity
		}
		for _, check := range []string{"single-replica", "no-readiness-probe", "host-paths"} {
			if got[check] != want {
				t.Errorf("in %s, %s is %q, want %q", namespace, check, got[check], want)
			}
		}
	}
}
