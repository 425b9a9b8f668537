package preflight

import (
	"fmt"
	"slices"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// oneNode: replicas that fall together.
func oneNode() Check {
	return Check{
		Name: "one-node", Severities: []upgrade.Severity{upgrade.Info},
		Title: "All replicas of a workload are on one node",
		Why:   "They would be lost together with that node at any other time; the drain moves them one after the other, and they end up spread.",
		find:  findOneNode,
	}
}

func findOneNode(in Input) []upgrade.Finding {
	var found []upgrade.Finding
	all := map[string][]upgrade.Pod{}
	for _, p := range in.State.Pods {
		if !p.Finished && !p.Terminating() {
			all[p.Workload.UID] = append(all[p.Workload.UID], p)
		}
	}
	several := func(p upgrade.Pod) bool {
		w, ok := in.State.Workloads[p.Workload.UID]
		return ok && w.Wanted > 1 && p.Disposition() == upgrade.Moves
	}
	for _, f := range byWorkload(in.Moving, several, func(owner upgrade.Ref, _ []upgrade.Pod) upgrade.Finding { return upgrade.Finding{Object: owner} }) {
		pods := all[f.Object.UID]
		if len(pods) < 2 || slices.ContainsFunc(pods, func(p upgrade.Pod) bool { return p.Node != pods[0].Node }) {
			continue
		}
		f.Severity, f.Evidence = upgrade.Info, []string{"node " + pods[0].Node}
		f.Problem = fmt.Sprintf("has all of its %d pods on one node, and would lose them together with it", len(pods))
		f.Remedy = edit(f.Object, "spread its pods with topologySpreadConstraints over kubernetes.io/hostname")
		found = append(found, f)
	}
	return found
}
