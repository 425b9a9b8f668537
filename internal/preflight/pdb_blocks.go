package preflight

import (
	"fmt"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// pdbBlocks: budgets that allow no eviction now, or never.
func pdbBlocks() Check {
	return Check{
		Name: "pdb-blocks", Severities: []upgrade.Severity{upgrade.Warning, upgrade.Info},
		Title: "A PodDisruptionBudget allows no eviction",
		Why:   "If it stays so, the drain of a node with its pods blocks and the run pauses, unless all of them leave before, with a restart of their Deployment (`surge-first`).",
		find:  findBlockingPDBs,
	}
}

func findBlockingPDBs(in Input) []upgrade.Finding {
	found := in.budgets(never, func(b upgrade.Budget, over []upgrade.Pod) upgrade.Finding {
		first, why := in.allSurged(over)
		if first {
			return upgrade.Finding{
				Severity: upgrade.Info, Momentary: true,
				Problem: fmt.Sprintf("can allow no eviction at all with this many pods (%s), and none is evicted: they leave with a restart of their Deployment", b.Why()),
			}
		}
		remedy, advice := b.LetOneGo(), "or give it a replica more"
		if w, ok := in.State.Workloads[over[0].Workload.UID]; !ok || w.Wanted == upgrade.Unknown {
			remedy, advice = in.keepAllButOne(b) // maxUnavailable needs a controller that says how many pods there should be
		}
		return upgrade.Finding{
			Severity: upgrade.Warning, Momentary: true,
			Problem: fmt.Sprintf("can allow no eviction at all with this many pods (%s): %s", b.Why(), in.whenBlocked(over, "the drain will block and the run pause")) + notFirst(why),
			Remedy:  remedy, Advice: advice,
		}
	})
	return append(found, in.budgets(spent, func(b upgrade.Budget, over []upgrade.Pod) upgrade.Finding {
		if first, _ := in.allSurged(over); first {
			return upgrade.Finding{
				Severity: upgrade.Info, Momentary: true,
				Problem: fmt.Sprintf("allows no eviction now (%s), and none of its pods is evicted: they leave with a restart of their Deployment", b.Why()),
			}
		}
		return upgrade.Finding{
			Severity: upgrade.Warning, Momentary: true,
			Problem: fmt.Sprintf("allows no eviction now (%s): if it stays so, %s", b.Why(), in.whenBlocked(over, "the drain blocks and the run pauses")),
			Remedy:  fmt.Sprintf("kubectl describe pdb %s -n %s # and wait until its pods are healthy", b.Name, b.Namespace),
		}
	})...)
}
