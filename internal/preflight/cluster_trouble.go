package preflight

import (
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// clusterTrouble: a cluster that is not well before anything is touched.
func clusterTrouble() Check {
	return Check{
		Name: "cluster-trouble", Severities: []upgrade.Severity{upgrade.Blocker, upgrade.Warning},
		Title: "The provider has the cluster in an error state, degraded, or being deleted",
		Why:   "What is wrong with it can stop the upgrade half-way.",
		find:  findClusterTrouble,
	}
}

func findClusterTrouble(in Input) []upgrade.Finding {
	if in.Cluster.Trouble == "" {
		return nil
	}
	f := upgrade.Finding{
		Severity: upgrade.Warning, Object: cluster(in.Cluster), Evidence: []string{in.Cluster.Trouble},
		Problem: "is not well, and what is wrong with it can stop the upgrade half-way",
		Remedy:  gcloud(in.Cluster, "clusters describe", in.Cluster.Name),
	}
	if in.Cluster.Unusable {
		f.Severity = upgrade.Blocker
		f.Problem = "is in an error state or being deleted, and nothing can be upgraded in it"
	}
	return []upgrade.Finding{f}
}
