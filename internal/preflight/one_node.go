package preflight

import (
	"fmt"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// oneNode: replicas that fall together.
func oneNode() Check {
	return Check{
		Name: "one-node", Severities: []upgrade.Severity{upgrade.Info},
		Title: "All replicas of a workload are on one node",
		Why:   "They would be lost together with that node at any other time; the drain moves them as their PodDisruptionBudget allows, or some at a time without one, and they may end up spread.",
		find:  findOneNode,
	}
}

func findOneNode(in Input) []upgrade.Finding {
	type placed struct {
		node   string
		pods   int
		spread bool
	}
	all := map[string]placed{}
	for i := range in.State.Pods {
		p := &in.State.Pods[i]
		if p.Finished || p.Terminating() {
			continue
		}
		at := all[p.Workload.UID]
		at.spread = at.spread || at.pods > 0 && at.node != p.Node
		at.node, at.pods = p.Node, at.pods+1
		all[p.Workload.UID] = at
	}
	together := func(p upgrade.Pod) bool {
		w, ok := in.State.Workloads[p.Workload.UID]
		at := all[p.Workload.UID]
		return ok && w.Wanted > 1 && p.Disposition() == upgrade.Moves && at.pods > 1 && !at.spread
	}
	return byWorkload(in.Moving, together, func(owner upgrade.Ref, of []upgrade.Pod) upgrade.Finding {
		return upgrade.Finding{
			Severity: upgrade.Info, Object: owner, Evidence: []string{"node " + of[0].Node},
			Problem: fmt.Sprintf("has all of its %d pods on one node, and would lose them together with it", all[owner.UID].pods),
			Remedy:  edit(owner, "spread its pods with topologySpreadConstraints over kubernetes.io/hostname"),
		}
	})
}
