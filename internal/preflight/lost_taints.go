package preflight

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/upshift-k8s/upshift/internal/fit"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// lostTaints: taints that somebody put on nodes, and that end with them.
func lostTaints() Check {
	return Check{
		Name: "lost-taints", Severities: []upgrade.Severity{upgrade.Warning},
		Title: "Nodes have a taint that somebody put on them by hand",
		Why:   "The new pool's nodes have only the taints of its configuration, so pods that the taint kept away may come to them and take the room of those for which it was.",
		find:  findLostTaints,
	}
}

func findLostTaints(in Input) []upgrade.Finding {
	var found []upgrade.Finding
	for _, p := range in.changed() {
		pool := in.pool(in.grown(p.Name))
		taints, on := in.taintsByHand(p, pool)
		for _, t := range taints {
			found = append(found, upgrade.Finding{
				Severity: upgrade.Warning, Object: nodePool(p.Name), Evidence: on[t],
				Problem: fmt.Sprintf("has the taint %s on %s, put there by hand: its new nodes are without it, so pods that do not tolerate it may come to them", written(t), few(on[t])),
				Remedy:  in.taint(pool, taints, len(on[t]) == len(p.Nodes)),
			})
		}
	}
	return found
}

// taintsByHand are those of a pool's nodes that its successor does not get, with the nodes that have them.
func (in Input) taintsByHand(p upgrade.PoolPlan, successor upgrade.Pool) ([]upgrade.Taint, map[upgrade.Taint][]string) {
	var taints []upgrade.Taint
	on := map[upgrade.Taint][]string{}
	for _, node := range slices.Sorted(slices.Values(p.Nodes)) {
		for _, t := range fit.TaintsByHand(successor, in.Inventory.Nodes[node].Taints) {
			if on[t] == nil {
				taints = append(taints, t)
			}
			on[t] = append(on[t], node)
		}
	}
	slices.SortFunc(taints, func(a, b upgrade.Taint) int { return cmp.Compare(written(a), written(b)) })
	return taints, on
}

// taint is the command that gives the pool the taints, if all its nodes have them. It replaces all that the pool was given, so it names those
// as well.
func (in Input) taint(pool upgrade.Pool, taints []upgrade.Taint, all bool) string {
	const orAccept = "or accept it if something puts it on new nodes by itself"
	if !all {
		return fmt.Sprintf("kubectl get nodes -l %s=%s -o custom-columns=NAME:.metadata.name,TAINTS:.spec.taints # make a pool of their own, with the taint, for the nodes that need it; %s",
			in.Cluster.PoolLabel, pool.Name, orAccept)
	}
	var list []string
	for _, t := range slices.Concat(pool.Taints, taints) {
		list = append(list, written(t))
	}
	for _, p := range in.migrated() {
		if p.ByPeople && (p.Name == pool.Name || p.NewName == pool.Name) {
			return fmt.Sprintf("kubectl taint nodes -l %s=%s %s # once they have joined; %s", in.Cluster.PoolLabel, p.NewName, strings.Join(list, " "), orAccept)
		}
	}
	return fmt.Sprintf("gcloud container node-pools update %s --cluster %s --location %s --project %s --node-taints %s # and plan again; %s",
		pool.Name, in.Cluster.Name, in.Cluster.Location, in.Cluster.Project, strings.Join(list, ","), orAccept)
}

// written is a taint as gcloud takes it.
func written(t upgrade.Taint) string { return t.Key + "=" + t.Value + ":" + t.Effect }
