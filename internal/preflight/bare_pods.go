package preflight

import (
	"fmt"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// barePods: pods that nothing makes again.
func barePods() Check {
	return Check{
		Name: "bare-pods", Severities: []upgrade.Severity{upgrade.Warning},
		Title:   "A pod has no controller, or one that does not exist",
		Why:     "Once evicted it is gone for good, so it goes only with consent.",
		Consent: upgrade.AllowBarePods,
		find:    findBarePods,
	}
}

func findBarePods(in Input) []upgrade.Finding {
	var found []upgrade.Finding
	for _, p := range in.Moving {
		if p.Disposition() != upgrade.Lost {
			continue
		}
		problem := "has no controller: once evicted it is gone for good"
		if !p.Orphan.IsZero() {
			problem = fmt.Sprintf("has a controller, %s, that does not exist: once evicted it is gone for good", p.Orphan)
		}
		found = append(found, upgrade.Finding{
			Severity: upgrade.Warning, Object: p.Ref(), Problem: problem, Evidence: []string{"on node " + p.Node},
			Remedy:  fmt.Sprintf("kubectl get pod -n %s %s -o yaml > %s.yaml # to make it again afterwards; or put it under a Deployment", p.Namespace, p.Name, p.Name),
			Consent: upgrade.AllowBarePods,
		})
	}
	return found
}
