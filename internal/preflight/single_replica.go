package preflight

import (
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// singleReplica: workloads that are away while their one pod moves.
func singleReplica() Check {
	return Check{
		Name: "single-replica", Severities: []upgrade.Severity{upgrade.Warning, upgrade.Info},
		Title: "A workload has one replica",
		Why:   "It is away from the eviction until its replacement is Ready, unless it is a Deployment that can be restarted first (`surge-first`).",
		find:  findSingleReplicas,
	}
}

func findSingleReplicas(in Input) []upgrade.Finding {
	single := func(p upgrade.Pod) bool {
		w, ok := in.State.Workloads[p.Workload.UID]
		return ok && w.Wanted == 1 && p.Disposition() == upgrade.Moves
	}
	return byWorkload(in.Moving, single, func(owner upgrade.Ref, of []upgrade.Pod) upgrade.Finding {
		first, why := in.surged(owner)
		if first {
			return upgrade.Finding{
				Severity: upgrade.Info, Momentary: true, Object: owner, Evidence: []string{of[0].Key() + " on node " + of[0].Node},
				Problem: "has one replica, and is restarted first: its replacement is Ready before it ends",
			}
		}
		remedy, advice := in.scale(owner, of)
		return upgrade.Finding{
			Severity: grave(owner), Momentary: true, Object: owner,
			Problem:  "has one replica: it is away from the eviction until its replacement is Ready" + notFirst(why),
			Evidence: []string{of[0].Key() + " on node " + of[0].Node},
			Remedy:   remedy, Advice: advice,
		}
	})
}
