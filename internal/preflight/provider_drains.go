package preflight

import (
	"fmt"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// providerDrains: what does not exist where the provider drains the nodes.
func providerDrains() Check {
	return Check{
		Name: "provider-drains", Severities: []upgrade.Severity{upgrade.Warning, upgrade.Info},
		Title: "The provider drains a pool's nodes (strategy `rolling` or `blue-green`), or takes nodes away before new ones are there",
		Why: "Upshift follows such drains and names what blocks them, and cannot hold one back: there is no gate between two nodes, none of what `surge-first`, `jobs` and " +
			"`max-parallel-drains` do, and after a time the provider ends pods past their PodDisruptionBudgets.",
		find: findProviderDrains,
	}
}

func findProviderDrains(in Input) []upgrade.Finding {
	var found []upgrade.Finding
	for _, p := range in.Pools {
		if !p.ByProvider() {
			continue
		}
		found = append(found, upgrade.Finding{
			Severity: upgrade.Info, Object: nodePool(p.Name),
			Problem: fmt.Sprintf("is drained by GKE: there is no gate between its nodes but one after them all, no Deployment is restarted first, Jobs and bare pods are evicted like any other, "+
				"a pause lets GKE finish the nodes that it has begun, and what a PodDisruptionBudget holds for %s on one node is ended past it", about(time.Duration(p.ForceAfter))),
			Advice: "strategy: migrate drains it under Upshift's own gates",
		})
		if p.Action == upgrade.Rolling && p.Upgrade.MaxSurge == 0 {
			found = append(found, upgrade.Finding{
				Severity: upgrade.Warning, Object: nodePool(p.Name),
				Problem: fmt.Sprintf("has up to %s fewer while it is upgraded, since max-surge is 0: their pods need room on the others until new ones are there", count(p.Upgrade.MaxUnavailable, "node")),
				Advice:  "max-surge: 1 makes a new node before an old one is drained",
			})
		}
	}
	return found
}

// drainedBy is the plan of the pool whose nodes the provider drains and that the pod is on, false for any other pod.
func (in Input) drainedBy(p upgrade.Pod) (upgrade.PoolPlan, bool) {
	for _, n := range in.State.Nodes {
		if n.Name != p.Node {
			continue
		}
		for _, pool := range in.Pools {
			if pool.Name == n.Pool {
				return pool, pool.ByProvider()
			}
		}
	}
	return upgrade.PoolPlan{}, false
}

// whenBlocked says what comes of a drain that a PodDisruptionBudget over these pods blocks: what ours says of our own.
func (in Input) whenBlocked(over []upgrade.Pod, ours string) string {
	if pool, byProvider := in.drainedBy(over[0]); byProvider {
		return fmt.Sprintf("GKE ends its pods past it after %s on each node of pool %s", about(time.Duration(pool.ForceAfter)), pool.Name)
	}
	return ours
}
