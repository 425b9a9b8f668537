package preflight

import (
	"fmt"

	"github.com/upshift-k8s/upshift/internal/fit"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// toleratesCordon: pods that a cordon does not keep away.
func toleratesCordon() Check {
	return Check{
		Name: "tolerates-cordon", Severities: []upgrade.Severity{upgrade.Blocker, upgrade.Warning},
		Title: "A pod that is to be moved tolerates the cordon of a node",
		Why: "The scheduler may put its replacements on cordoned nodes, even on the one that they have just left, so the drain may never end. " +
			"For what the provider runs itself it is a warning.",
		find: findToleratesCordon,
	}
}

func findToleratesCordon(in Input) []upgrade.Finding {
	tolerates := func(p upgrade.Pod) bool {
		shape := in.Inventory.Pods[p.UID]
		return in.moves(p) && shape != nil && fit.ToleratesCordon(shape)
	}
	return byWorkload(in.Moving, tolerates, func(owner upgrade.Ref, of []upgrade.Pod) upgrade.Finding {
		f := upgrade.Finding{
			Severity: upgrade.Blocker, Object: owner,
			Problem:  "tolerates the cordon: its pods come back to the nodes that are drained, and the drain waits for them",
			Evidence: keys(of),
			Remedy:   edit(owner, fmt.Sprintf("tolerate the taints that it has to, by their keys, and not %s", fit.CordonTaint.Key)),
		}
		if grave(owner) == upgrade.Info {
			f.Severity = upgrade.Warning
		}
		return f
	})
}
