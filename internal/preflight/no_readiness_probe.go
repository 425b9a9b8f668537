package preflight

import (
	"fmt"
	"strings"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// noReadinessProbe: pods that count as Ready before they serve.
func noReadinessProbe() Check {
	return Check{
		Name: "no-readiness-probe", Severities: []upgrade.Severity{upgrade.Warning, upgrade.Info},
		Title: "A container behind a Service has no readiness probe",
		Why:   "Its pod is Ready at once and gets traffic before it can serve, and nothing holds the drain back until it does.",
		find:  findNoReadinessProbe,
	}
}

func findNoReadinessProbe(in Input) []upgrade.Finding {
	served := map[string]bool{}
	for _, s := range in.Inventory.Services {
		for _, uid := range s.Pods {
			served[uid] = true
		}
	}
	blind := func(p upgrade.Pod) bool {
		shape := in.Inventory.Pods[p.UID]
		return moves(p) && served[p.UID] && shape != nil && len(shape.Unprobed) > 0
	}
	return byWorkload(in.Moving, blind, func(owner upgrade.Ref, of []upgrade.Pod) upgrade.Finding {
		containers := strings.Join(distinct(of, func(p upgrade.Pod) []string { return in.Inventory.Pods[p.UID].Unprobed }), ", ")
		return upgrade.Finding{
			Severity: grave(owner), Object: owner,
			Problem:  fmt.Sprintf("is behind a Service and has no readiness probe (container %s): its new pods get traffic before they can serve", containers),
			Evidence: keys(of), Remedy: edit(owner, "give it a readinessProbe"),
		}
	})
}
