package preflight

import (
	"fmt"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// unhealthyBlocks: pods that are not Ready, and whose budget waits for them to be.
func unhealthyBlocks() Check {
	return Check{
		Name: "unhealthy-blocks", Severities: []upgrade.Severity{upgrade.Warning},
		Title: "A pod that is not Ready is kept by a PodDisruptionBudget that too few Ready pods fulfil",
		Why:   "The budget lets none of its pods go until enough are Ready. Pods that cannot become Ready are kept for ever: the drain blocks and the run pauses.",
		find:  findUnhealthyBlocks,
	}
}

func findUnhealthyBlocks(in Input) []upgrade.Finding {
	return in.budgets(deadlocked, func(b upgrade.Budget, over []upgrade.Pod) upgrade.Finding {
		var unready []upgrade.Pod
		for _, p := range over {
			if kept(b, p) {
				unready = append(unready, p)
			}
		}
		return upgrade.Finding{
			Severity: upgrade.Warning, Momentary: true,
			Problem:  fmt.Sprintf("keeps pods that are not Ready, and allows no eviction until they are (%s): if they stay so, %s", b.Why(), in.whenBlocked(over, "the drain blocks and the run pauses")),
			Evidence: keys(unready),
			Remedy:   b.FreeUnready() + " # or mend its pods",
		}
	})
}
