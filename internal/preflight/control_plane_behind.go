package preflight

import (
	"fmt"
	"slices"
	"strings"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// controlPlaneBehind: nodes must not be newer than their control plane.
func controlPlaneBehind() Check {
	return Check{
		Name: "control-plane-behind", Severities: []upgrade.Severity{upgrade.Blocker}, Binding: true, Always: true,
		Title: "The control plane is older than the target, and the scope leaves it out",
		Why:   "Nodes must not be newer than their control plane: the kubelet would speak to an API that does not know it.",
		find:  findControlPlaneBehind,
	}
}

func findControlPlaneBehind(in Input) []upgrade.Finding {
	c := in.Cluster
	if in.ControlPlane != nil || upgrade.CompareVersions(c.ControlPlaneVersion, in.Target) >= 0 || in.upgradesControlPlane() {
		return nil
	}
	if c.Provider == upgrade.SelfManaged {
		return []upgrade.Finding{{
			Severity: upgrade.Blocker, Object: cluster(c),
			Problem: fmt.Sprintf("has a control plane at %s, behind the target %s, and nodes must not be newer than it", c.ControlPlaneVersion, in.Target),
			Advice:  fmt.Sprintf("upgrade it first: scope: %s, or scope: %s without node-pools; where its nodes cannot be seen, with whatever runs them", upgrade.ScopeControlPlane, upgrade.ScopeAll),
		}}
	}
	f := upgrade.Finding{
		Severity: upgrade.Blocker, Object: cluster(c),
		Problem: fmt.Sprintf("has a control plane at %s, behind the target %s, and nodes must not be newer than it; "+
			"with scope: all it is upgraded first", c.ControlPlaneVersion, in.Target),
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
		if slices.ContainsFunc(c.Pools, func(p upgrade.Pool) bool { return tooFar(c, p, []string{hop}) >= 0 }) {
			f.Advice = "upgrade these pools before the next hop, and plan again"
			break
		}
		commands = append(commands, gcloud(c, "clusters upgrade "+c.Name, "--master --cluster-version", hop))
	}
	for _, p := range c.Pools {
		if i := tooFar(c, p, hops); i >= 0 {
			f.Evidence = append(f.Evidence, "pool "+p.Name+" "+behindBy(c, p, hops[i]))
		}
	}
	f.Remedy = strings.Join(commands, " && ")
	return []upgrade.Finding{f}
}
