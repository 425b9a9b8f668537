package preflight

import (
	"fmt"
	"slices"
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
	targets := map[string][]string{} // of the Services of each pod
	for _, s := range in.Inventory.Services {
		for _, uid := range s.Pods {
			targets[uid] = append(targets[uid], s.Targets...)
		}
	}
	blind := func(p upgrade.Pod) []string {
		shape := in.Inventory.Pods[p.UID]
		if shape == nil || len(targets[p.UID]) == 0 {
			return nil
		}
		return serving(shape.Unprobed, targets[p.UID])
	}
	return byWorkload(in.Moving, func(p upgrade.Pod) bool { return in.moves(p) && len(blind(p)) > 0 }, func(owner upgrade.Ref, of []upgrade.Pod) upgrade.Finding {
		return upgrade.Finding{
			Severity: grave(owner), Object: owner,
			Problem:  fmt.Sprintf("is behind a Service and has no readiness probe (container %s): its new pods get traffic before they can serve", strings.Join(distinct(of, blind), ", ")),
			Evidence: keys(of), Remedy: edit(owner, "give it a readinessProbe"),
		}
	})
}

// serving are the names of the containers to which Services send.
func serving(containers []upgrade.Unprobed, targets []string) []string {
	var names []string
	for _, c := range containers {
		if c.Only || slices.ContainsFunc(c.Ports, func(port string) bool { return slices.Contains(targets, port) }) {
			names = append(names, c.Container)
		}
	}
	return names
}
