package preflight

import (
	"fmt"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// controlPlaneBehind: nodes must not be newer than their control plane.
func controlPlaneBehind() Check {
	return Check{
		Name: "control-plane-behind", Severities: []upgrade.Severity{upgrade.Blocker}, Binding: true,
		Title: "The control plane is older than the target",
		Why:   "Nodes must not be newer than their control plane: the kubelet would speak to an API that does not know it.",
		find:  findControlPlaneBehind,
	}
}

func findControlPlaneBehind(in Input) []upgrade.Finding {
	c := in.Cluster
	if upgrade.CompareVersions(c.ControlPlaneVersion, in.Target) >= 0 {
		return nil
	}
	return []upgrade.Finding{{
		Severity: upgrade.Blocker, Object: upgrade.Ref{Kind: "Cluster", Name: c.Name},
		Problem: fmt.Sprintf("has a control plane at %s, behind the target %s, and nodes must not be newer than it; "+
			"upgrading control planes is not supported yet", c.ControlPlaneVersion, in.Target),
		Remedy: fmt.Sprintf("gcloud container clusters upgrade %s --master --cluster-version %s --project %s --location %s",
			c.Name, in.Target, c.Project, c.Location),
	}}
}
