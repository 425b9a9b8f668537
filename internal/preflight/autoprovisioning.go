package preflight

import (
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// autoprovisioning: pools that come by themselves.
func autoprovisioning() Check {
	return Check{
		Name: "autoprovisioning", Severities: []upgrade.Severity{upgrade.Info},
		Title: "Node auto-provisioning is on",
		Why:   "Where a pod finds no room it makes a pool of its own, which is not in the plan, and on whose nodes pods can land.",
		find:  findAutoprovisioning,
	}
}

func findAutoprovisioning(in Input) []upgrade.Finding {
	if !in.Cluster.Autoprovisioning || in.Cluster.Autopilot || len(in.Steps) == 0 {
		return nil
	}
	return []upgrade.Finding{{
		Severity: upgrade.Info, Object: cluster(in.Cluster),
		Problem: "has node auto-provisioning on: while pods move it may make pools that are not in the plan, on whose nodes they can land",
		Remedy:  gcloud(in.Cluster, "clusters update", in.Cluster.Name, "--no-enable-autoprovisioning") + " # if that is not wanted",
	}}
}
