package preflight

import (
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// autopilot: nodes that are the provider's alone.
func autopilot() Check {
	return Check{
		Name: "autopilot", Severities: []upgrade.Severity{upgrade.Blocker, upgrade.Info}, Binding: true,
		Title: "The cluster is an Autopilot one",
		Why:   "GKE makes its nodes and upgrades them after the control plane, and lets nobody else make or delete a pool.",
		find:  findAutopilot,
	}
}

func findAutopilot(in Input) []upgrade.Finding {
	if !in.Cluster.Autopilot {
		return nil
	}
	if in.Options.Scope.ControlPlane() {
		return []upgrade.Finding{{
			Severity: upgrade.Info, Object: cluster(in.Cluster),
			Problem: "is an Autopilot cluster: its control plane alone is upgraded, and GKE upgrades the nodes by itself afterwards",
		}}
	}
	return []upgrade.Finding{{
		Severity: upgrade.Blocker, Object: cluster(in.Cluster),
		Problem: "is an Autopilot cluster: GKE makes and upgrades its nodes by itself, and there is no node pool that could be migrated",
		Remedy:  gcloud(in.Cluster, "clusters upgrade "+in.Cluster.Name, "--master --cluster-version "+in.Target) + " # the nodes follow; scope: control-plane does the same",
	}}
}
