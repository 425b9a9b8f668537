package preflight

import (
	"fmt"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// externalTrafficLocal: Services that get traffic only on nodes with their pods.
func externalTrafficLocal() Check {
	return Check{
		Name: "external-traffic-local", Severities: []upgrade.Severity{upgrade.Warning},
		Title: "All ready pods of a Service with externalTrafficPolicy: Local are on nodes that are to be drained",
		Why:   "Traffic from outside reaches it only on nodes with its pods. Load balancers that leave out cordoned nodes cut it off, and the others lose traffic until their health checks have found the new nodes.",
		find:  findLocalTraffic,
	}
}

func findLocalTraffic(in Input) []upgrade.Finding {
	var found []upgrade.Finding
	pods, leaving := in.podsByUID(), in.leaving()
	for _, s := range in.Inventory.Services {
		if !s.LocalTraffic {
			continue
		}
		var ready []upgrade.Pod
		stays := false
		for _, uid := range s.Pods {
			p, ok := pods[uid]
			if !ok || !p.Ready || p.Terminating() {
				continue
			}
			ready = append(ready, p)
			stays = stays || !leaving[p.Node] || p.Workload.Kind == "DaemonSet" // which has pods on the new nodes before
		}
		if len(ready) == 0 || stays {
			continue
		}
		found = append(found, upgrade.Finding{
			Severity: upgrade.Warning, Momentary: true, Object: upgrade.Ref{Kind: "Service", Namespace: s.Namespace, Name: s.Name},
			Problem:  "gets traffic from outside only on nodes with its pods (externalTrafficPolicy: Local), and all of those nodes are cordoned and drained: traffic can be lost until its load balancer has found the new ones",
			Evidence: keys(ready),
			Remedy: fmt.Sprintf(`kubectl patch service %s -n %s -p '{"spec":{"externalTrafficPolicy":"Cluster"}}' # for the time of the upgrade, if it can do without its clients' addresses`,
				s.Name, s.Namespace),
		})
	}
	return found
}
