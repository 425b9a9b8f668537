package preflight

import (
	"fmt"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// noEndpoints: Services that are down before anything is touched.
func noEndpoints() Check {
	return Check{
		Name: "no-endpoints", Severities: []upgrade.Severity{upgrade.Warning},
		Title: "A Service over pods that are to be moved has no ready endpoint",
		Why:   "It is down already, so nothing tells whether the upgrade makes it worse.",
		find:  findNoEndpoints,
	}
}

func findNoEndpoints(in Input) []upgrade.Finding {
	moving := map[string]bool{}
	for _, p := range in.Moving {
		moving[p.UID] = in.moves(p)
	}
	var found []upgrade.Finding
	for _, s := range in.Inventory.Services {
		concerned := false
		for _, uid := range s.Pods {
			concerned = concerned || moving[uid]
		}
		if s.Ready > 0 || !concerned {
			continue
		}
		found = append(found, upgrade.Finding{
			Severity: upgrade.Warning, Momentary: true, Object: upgrade.Ref{Kind: "Service", Namespace: s.Namespace, Name: s.Name},
			Problem: "has no ready endpoint: it is down already, and nobody can tell whether the upgrade makes it worse",
			Remedy:  fmt.Sprintf("kubectl get endpointslices -n %s -l kubernetes.io/service-name=%s -o yaml # and mend its pods", s.Namespace, s.Name),
		})
	}
	return found
}
