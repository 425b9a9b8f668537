package preflight

import (
	"fmt"
	"strings"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// leftBehind: pools that the control plane would leave too far behind on its way.
func leftBehind() Check {
	return Check{
		Name: "left-behind", Severities: []upgrade.Severity{upgrade.Blocker}, Binding: true,
		Title: "The control plane's upgrade would leave a pool further behind than nodes may be",
		Why:   "Such nodes are not supported: their kubelets may not understand the API any more. They are upgraded before the control plane goes on.",
		find:  findLeftBehind,
	}
}

func findLeftBehind(in Input) []upgrade.Finding {
	c := in.Cluster
	var hops []string
	switch {
	case in.upgradesControlPlane():
		hops = []string{in.Target}
	case in.ControlPlane == nil || c.Autopilot:
		return nil // the provider upgrades the nodes in between
	default:
		hops = in.ControlPlane.Hops
	}
	near := len(hops) // that many hops leave no pool behind
	var names []string
	for _, p := range c.Pools {
		if i := tooFar(c, p, hops); i >= 0 {
			near = min(near, i)
			names = append(names, p.Name)
		}
	}
	first := fmt.Sprintf("upshift upgrade --cluster projects/%s/locations/%s/clusters/%s", c.Project, c.Location, c.Name)
	if c.Provider == upgrade.SelfManaged {
		first = fmt.Sprintf("upshift upgrade --provider %s --cluster %s", c.Provider, c.Name)
		if c.PoolLabel != "" {
			first += " --pool-label " + c.PoolLabel
		}
	}
	advice := "then plan again for " + in.Target
	if near == 0 {
		first += fmt.Sprintf(" --scope nodes --node-pools %s --target-version %s", strings.Join(names, ","), c.ControlPlaneVersion)
	} else {
		first += fmt.Sprintf(" --scope all --target-version %s", hops[near-1])
	}
	var found []upgrade.Finding
	for _, p := range c.Pools {
		if i := tooFar(c, p, hops); i >= 0 {
			found = append(found, upgrade.Finding{
				Severity: upgrade.Blocker, Object: nodePool(p.Name), Remedy: first, Advice: advice, Problem: behindBy(c, p, hops[i]),
			})
		}
	}
	return found
}

// tooFar returns the first of the hops that leaves the pool further behind than nodes may be, or -1. The control plane's own nodes go with it.
func tooFar(c upgrade.Cluster, p upgrade.Pool, hops []string) int {
	if c.Provider == upgrade.SelfManaged && p.Name == upgrade.ControlPlanePool {
		return -1
	}
	for i, hop := range hops {
		if behind, ok := upgrade.MinorsBetween(p.Version, hop); ok && c.Skew > 0 && behind > c.Skew {
			return i
		}
	}
	return -1
}

func behindBy(c upgrade.Cluster, p upgrade.Pool, hop string) string {
	behind, _ := upgrade.MinorsBetween(p.Version, hop)
	return fmt.Sprintf("runs %s, %d minors behind %s, and nodes may be %d behind: upgrade it before that", p.Version, behind, hop, c.Skew)
}
