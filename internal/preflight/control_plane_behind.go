package preflight

import (
	"fmt"
	"strings"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// controlPlaneBehind: nodes must not be newer than their control plane.
func controlPlaneBehind() Check {
	return Check{
		Name: "control-plane-behind", Severities: []upgrade.Severity{upgrade.Blocker}, Binding: true, Always: true,
		Title: "The control plane is older than the target",
		Why:   "Nodes must not be newer than their control plane: the kubelet would speak to an API that does not know it.",
		find:  findControlPlaneBehind,
	}
}

func findControlPlaneBehind(in Input) []upgrade.Finding {
	c := in.Cluster
	if upgrade.CompareVersions(c.ControlPlaneVersion, in.Target) >= 0 || in.upgradesControlPlane() {
		return nil
	}
	if c.Provider == upgrade.SelfManaged {
		return []upgrade.Finding{{
			Severity: upgrade.Blocker, Object: cluster(c),
			Problem: fmt.Sprintf("has a control plane at %s, behind the target %s, and nodes must not be newer than it", c.ControlPlaneVersion, in.Target),
			Advice:  fmt.Sprintf("upgrade it first: node-pools: %s, or leave node-pools out; where its nodes cannot be seen, with whatever runs them", upgrade.ControlPlanePool),
		}}
	}
	f := upgrade.Finding{
		Severity: upgrade.Blocker, Object: cluster(c),
		Problem: fmt.Sprintf("has a control plane at %s, behind the target %s, and nodes must not be newer than it; "+
			"upgrading control planes is not supported yet", c.ControlPlaneVersion, in.Target),
	}
	hops, err := upgrade.Path(c, in.Target)
	if err != nil {
		f.Evidence = []string{err.Error()}
		f.Remedy = gcloud(c, "get-server-config", "--format", "'yaml(channels)'") + " # and choose a target that it leads to"
		return []upgrade.Finding{f}
	}
	f.Problem += ": it goes by " + strings.Join(hops, ", then ")
	if !c.Regional {
		f.Problem += "; it is zonal, so the Kubernetes API is away for some minutes during each, while the control plane of a regional cluster stays up"
	}
	var commands []string
	for _, hop := range hops {
		if len(leftBehind(c, []string{hop})) > 0 {
			f.Advice = "upgrade these pools before the next hop, and plan again"
			break
		}
		commands = append(commands, gcloud(c, "clusters upgrade "+c.Name, "--master --cluster-version", hop))
	}
	f.Evidence = leftBehind(c, hops)
	f.Remedy = strings.Join(commands, " && ")
	return []upgrade.Finding{f}
}

// leftBehind names the pools that a control plane on its way would leave too far behind: their nodes have to be upgraded in between.
func leftBehind(c upgrade.Cluster, hops []string) []string {
	var found []string
	for _, p := range c.Pools {
		for _, hop := range hops {
			if behind, ok := upgrade.MinorsBetween(p.Version, hop); ok && c.Skew > 0 && behind > c.Skew {
				found = append(found, fmt.Sprintf("pool %s runs %s, %d minors behind %s, and nodes may be %d behind: upgrade it before that", p.Name, p.Version, behind, hop, c.Skew))
				break
			}
		}
	}
	return found
}
