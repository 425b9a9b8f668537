package preflight

import (
	"fmt"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// pdbBlocks: budgets that allow no eviction now, or never.
func pdbBlocks() Check {
	return Check{
		Name: "pdb-blocks", Severities: []upgrade.Severity{upgrade.Warning},
		Title: "A PodDisruptionBudget allows no eviction",
		Why:   "If it stays so, the drain of a node with its pods blocks and the run pauses.",
		find:  findBlockingPDBs,
	}
}

func findBlockingPDBs(in Input) []upgrade.Finding {
	var found []upgrade.Finding
	seen := map[string]bool{}
	for _, p := range in.Moving {
		for _, key := range p.Budgets {
			b, ok := in.State.Budgets[key]
			if seen[key] || !ok || b.Allowed > 0 {
				continue
			}
			seen[key] = true
			problem, remedy := "allows no eviction now (%s): if it stays so, the drain blocks and the run pauses", "wait until its pods are healthy"
			switch {
			case b.Current && b.Expected > 0 && b.Needed >= b.Expected:
				problem, remedy = "can allow no eviction at all with this many pods (%s): the drain will block and the run pause", "give it a replica more, or allow maxUnavailable 1"
			case b.Healthy < b.Needed:
				remedy = "mend its pods, or set unhealthyPodEvictionPolicy: AlwaysAllow"
			}
			found = append(found, upgrade.Finding{
				Severity: upgrade.Warning, Momentary: true, Object: upgrade.Ref{Kind: "PodDisruptionBudget", Namespace: b.Namespace, Name: b.Name},
				Problem:  fmt.Sprintf(problem, b.Why()),
				Evidence: []string{p.Key() + " on node " + p.Node},
				Remedy:   fmt.Sprintf("kubectl describe pdb -n %s %s; %s", b.Namespace, b.Name, remedy),
			})
		}
	}
	return found
}
