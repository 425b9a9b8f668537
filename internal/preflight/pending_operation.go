package preflight

import (
	"fmt"
	"slices"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// pendingOperation: somebody is at work on the cluster already.
func pendingOperation() Check {
	return Check{
		Name: "pending-operation", Severities: []upgrade.Severity{upgrade.Warning, upgrade.UnknownSeverity},
		Title: "The provider is changing the cluster, or a pool of the plan",
		Why:   "It refuses other changes meanwhile; a run waits for that, up to an hour, and what the operation changes can void the plan.",
		find:  findPendingOperations,
	}
}

func findPendingOperations(in Input) []upgrade.Finding {
	if len(in.Steps) == 0 {
		return nil
	}
	found := in.unknown("whether it is being changed already", upgrade.ReadOperations)
	for i := range found {
		found[i].Momentary = true
	}
	ours := []string{in.Cluster.Name}
	for _, p := range in.changed() {
		ours = append(ours, p.Name, p.NewName)
	}
	for _, o := range in.Cluster.Operations {
		if !slices.Contains(ours, o.Target) {
			continue
		}
		object := nodePool(o.Target)
		if o.Target == in.Cluster.Name {
			object = cluster(in.Cluster)
		}
		since := ""
		if !o.StartedAt.IsZero() {
			since = " since " + when(o.StartedAt)
		}
		found = append(found, upgrade.Finding{
			Severity: upgrade.Warning, Momentary: true, Object: object,
			Problem:  fmt.Sprintf("is being changed%s (%s): a run waits for that, up to an hour", since, o.Kind),
			Evidence: []string{"operation " + o.Name},
			Remedy:   gcloud(in.Cluster, "operations wait", o.Name),
		})
	}
	return found
}
