package preflight

import (
	"fmt"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// noPDB: nothing says how many replicas a workload can do without.
func noPDB() Check {
	return Check{
		Name: "no-pdb", Severities: []upgrade.Severity{upgrade.Info},
		Title: "A workload with several replicas has no PodDisruptionBudget",
		Why:   "Nothing says how many of them it can do without. Upshift moves one of a node at a time; others, such as the provider's own upgrades, may not.",
		find:  findNoPDB,
	}
}

func findNoPDB(in Input) []upgrade.Finding {
	bare := func(p upgrade.Pod) bool {
		w, ok := in.State.Workloads[p.Workload.UID]
		return ok && w.Wanted > 1 && len(p.Budgets) == 0 && p.Disposition() == upgrade.Moves
	}
	return byWorkload(in.Moving, bare, func(owner upgrade.Ref, _ []upgrade.Pod) upgrade.Finding {
		return upgrade.Finding{
			Severity: upgrade.Info, Object: owner,
			Problem: fmt.Sprintf("has %d replicas and no PodDisruptionBudget: its pods are moved one at a time, whatever it could do without", in.State.Workloads[owner.UID].Wanted),
			Remedy:  fmt.Sprintf("kubectl create poddisruptionbudget %s -n %s --max-unavailable 1 --selector …", owner.Name, owner.Namespace),
		}
	})
}
