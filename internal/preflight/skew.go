package preflight

import (
	"fmt"
	"slices"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// skew: pools that after the plan are further from the control plane than is supported.
func skew() Check {
	return Check{
		Name: "skew", Always: true, Severities: []upgrade.Severity{upgrade.Warning},
		Title: "A pool is further behind the control plane than nodes may be, or newer than it, and the plan leaves it so",
		Why:   "Such nodes are not supported, and the control plane cannot be upgraded before they are.",
		find:  findSkew,
	}
}

func findSkew(in Input) []upgrade.Finding {
	c, changed := in.Cluster, in.changed()
	controlPlane := c.ControlPlaneVersion
	if in.ControlPlane != nil {
		controlPlane = in.ControlPlane.To
	}
	var found []upgrade.Finding
	for _, p := range c.Pools {
		runs, is, advice := p.Version, "runs", "name it in node-pools too"
		if slices.ContainsFunc(changed, func(m upgrade.PoolPlan) bool { return m.NewName == p.Name }) {
			continue // told of with the pool that it takes over from
		}
		if slices.ContainsFunc(changed, func(m upgrade.PoolPlan) bool { return m.Name == p.Name }) {
			runs, is, advice = in.Target, "is to run", "choose a newer target-version"
		}
		behind, ok := upgrade.MinorsBetween(runs, controlPlane)
		switch {
		case ok && c.Skew > 0 && behind > c.Skew && in.ControlPlane == nil: // else its way says so
			found = append(found, upgrade.Finding{
				Severity: upgrade.Warning, Object: nodePool(p.Name), Advice: advice,
				Problem: fmt.Sprintf("%s %s, %d minors behind the control plane at %s, and nodes may be %d behind", is, runs, behind, controlPlane, c.Skew),
			})
		case ok && runs == p.Version && upgrade.CompareVersions(runs, controlPlane) > 0:
			f := upgrade.Finding{
				Severity: upgrade.Warning, Object: nodePool(p.Name),
				Problem: fmt.Sprintf("runs %s, newer than the control plane at %s, and nodes must not be newer than it", runs, controlPlane),
				Remedy:  gcloud(c, "clusters upgrade", c.Name, "--master --cluster-version", runs),
			}
			if c.Provider == upgrade.SelfManaged {
				f.Remedy, f.Advice = "", "upgrade the control plane"
			}
			found = append(found, f)
		}
	}
	return found
}
