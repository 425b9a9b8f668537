package preflight

import (
	"fmt"
	"slices"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// otherCluster: the Kubernetes API and the provider speak of two clusters.
func otherCluster() Check {
	return Check{
		Name: "other-cluster", Severities: []upgrade.Severity{upgrade.Blocker}, Always: true,
		Title: "Kubernetes shows other nodes than the provider has",
		Why:   "Its API is then another cluster's, and a pool that is full in one would look empty in the other, and be deleted.",
		find:  findOtherCluster,
	}
}

func findOtherCluster(in Input) []upgrade.Finding {
	blocker := func(object upgrade.Ref, problem string, args ...any) upgrade.Finding {
		return upgrade.Finding{
			Severity: upgrade.Blocker, Binding: true, Object: object, Problem: fmt.Sprintf(problem, args...),
			Remedy: "kubectl config current-context # and see whether it is " + in.Cluster.Name,
		}
	}
	var found []upgrade.Finding
	ofPools := 0
	for _, n := range in.State.Nodes {
		if n.Pool == "" {
			continue
		}
		if !slices.ContainsFunc(in.Cluster.Pools, func(p upgrade.Pool) bool { return p.Name == n.Pool }) {
			return []upgrade.Finding{blocker(upgrade.Ref{Kind: "Node", Name: n.Name}, "belongs to a pool %s, which %s does not have: is this the Kubernetes API of another cluster?", n.Pool, in.Cluster.Name)}
		}
		ofPools++
	}
	for _, p := range in.Pools {
		if p.Action != upgrade.Migrate || len(p.Nodes) > 0 || ofPools > 0 && p.Autoscaling.Enabled {
			continue
		}
		f := blocker(nodePool(p.Name), "has no node that Kubernetes knows: is this the Kubernetes API of another cluster?")
		if ofPools > 0 { // a person can tell that it is empty on purpose
			f.Binding, f.Advice = false, "if it is empty on purpose, leave it out of node-pools, or accept this"
			f.Remedy = "kubectl config current-context"
		}
		found = append(found, f)
	}
	return found
}
