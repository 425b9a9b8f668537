package preflight

import (
	"slices"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// poolTrouble: pools that their provider itself is not content with.
func poolTrouble() Check {
	return Check{
		Name: "pool-trouble", Severities: []upgrade.Severity{upgrade.Blocker, upgrade.Warning},
		Title: "A pool of the plan is in an error state, or is being deleted",
		Why: "A pool that is being deleted takes its pods along without a drain; what stopped the provider at one pool " +
			"can stop it again at one like it. Where no node of it is Ready there is nothing that could be moved in order.",
		find: findPoolTrouble,
	}
}

func findPoolTrouble(in Input) []upgrade.Finding {
	var found []upgrade.Finding
	for _, p := range in.changed() {
		old := in.pool(p.Name)
		found = append(found, in.beingDeleted(old)...)
		if old.Trouble != "" {
			f := in.troubled(old, "what stopped GKE there can stop it again at the new pool, which is made like it", "mend it first")
			nodes := in.State.PoolNodes(p.Name)
			if len(nodes) > 0 && !slices.ContainsFunc(nodes, func(n upgrade.Node) bool { return n.Ready }) {
				f.Severity = upgrade.Blocker
				f.Problem = "is in an error state, and none of its nodes is Ready: its pods cannot be moved in order"
			}
			found = append(found, f)
		}
		if !p.Adopt {
			continue
		}
		taken := in.pool(p.NewName)
		found = append(found, in.beingDeleted(taken)...)
		if taken.Trouble != "" {
			found = append(found, in.troubled(taken, "a run would wait for its nodes, and pause if they do not come",
				"or delete it, and the run makes it anew: "+gcloud(in.Cluster, "node-pools delete", taken.Name, "--cluster", in.Cluster.Name)))
		}
	}
	return found
}

func (in Input) beingDeleted(p upgrade.Pool) []upgrade.Finding {
	if !p.Deleting {
		return nil
	}
	return []upgrade.Finding{{
		Severity: upgrade.Blocker, Binding: true, Object: nodePool(p.Name),
		Problem: "is being deleted: its nodes go with all that runs on them, without a drain",
		Remedy:  gcloud(in.Cluster, "operations list") + " # and make a new plan once it is gone",
	}}
}

func (in Input) troubled(p upgrade.Pool, so, or string) upgrade.Finding {
	return upgrade.Finding{
		Severity: upgrade.Warning, Object: nodePool(p.Name), Problem: "is in an error state: " + so, Evidence: []string{p.Trouble},
		Remedy: gcloud(in.Cluster, "node-pools describe", p.Name, "--cluster", in.Cluster.Name) + " # " + or,
	}
}
