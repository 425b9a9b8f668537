package preflight

import (
	"fmt"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// pdbWithoutController: budgets that Kubernetes cannot work out.
func pdbWithoutController() Check {
	return Check{
		Name: "pdb-without-controller", Severities: []upgrade.Severity{upgrade.Warning},
		Title: "Kubernetes cannot work out what a PodDisruptionBudget allows",
		Why:   "It allows nothing then, ever: a percentage or maxUnavailable needs a controller that says how many pods there should be. The drain blocks and the run pauses.",
		find:  findPDBsWithoutController,
	}
}

func findPDBsWithoutController(in Input) []upgrade.Finding {
	return in.budgets(hopeless, func(b upgrade.Budget, over []upgrade.Pod) upgrade.Finding {
		remedy, advice := in.keepAllButOne(b)
		why := b.Trouble
		if why == "" {
			why = "it counts no pods, though it selects some that move"
		}
		return upgrade.Finding{
			Severity: upgrade.Warning,
			Problem:  fmt.Sprintf("allows no eviction, ever, since Kubernetes cannot work it out (%s): %s", why, in.whenBlocked(over, "the drain will block and the run pause")),
			Remedy:   remedy, Advice: advice,
		}
	})
}
