package preflight

import (
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// overlappingPDBs: the eviction API answers 500 for a pod that more than one budget selects.
func overlappingPDBs() Check {
	return Check{
		Name: "overlapping-pdbs", Severities: []upgrade.Severity{upgrade.Warning},
		Title: "More than one PodDisruptionBudget selects a pod",
		Why:   "The eviction API refuses every eviction of such a pod, so the drain of its node blocks until somebody narrows them.",
		find:  findOverlappingPDBs,
	}
}

func findOverlappingPDBs(in Input) []upgrade.Finding {
	var found []upgrade.Finding
	seen := map[string]bool{}
	for _, p := range in.Moving {
		if len(p.Budgets) < 2 || seen[p.Workload.UID] || in.Options.Disposition(p) == upgrade.Awaited {
			continue
		}
		seen[p.Workload.UID] = true
		first, why := in.surged(p.Workload)
		if first {
			continue // nobody evicts it
		}
		found = append(found, upgrade.Finding{
			Severity: upgrade.Warning, Object: p.Ref(), Momentary: in.surges[p.Workload.UID].planned,
			Problem:  "has more than one PodDisruptionBudget, and the eviction API then refuses every eviction: " + in.whenBlocked([]upgrade.Pod{p}, "its node's drain will block") + notFirst(why),
			Evidence: p.Budgets, Remedy: "kubectl get pdb -n " + p.Namespace + " " + names(p.Budgets) + " # and delete or narrow all but one of them",
		})
	}
	return found
}
