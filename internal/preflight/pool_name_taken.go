package preflight

import (
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// poolNameTaken: the name that the new pool gets is not free.
func poolNameTaken() Check {
	return Check{
		Name: "pool-name-taken", Severities: []upgrade.Severity{upgrade.Blocker}, Binding: true,
		Title: "The new pool's name is taken",
		Why:   "A pool of that name that no run made, or that has another version, is somebody else's: it is neither used nor deleted.",
		find:  findTakenNames,
	}
}

func findTakenNames(in Input) []upgrade.Finding {
	var found []upgrade.Finding
	for _, p := range in.Pools {
		if p.Action == upgrade.Migrate && p.Conflict != "" { // a name that somebody else has, or two pools of this plan
			f := upgrade.Finding{Severity: upgrade.Blocker, Object: nodePool(p.NewName), Problem: p.Conflict, Advice: "name one of the two in node-pools"}
			if in.pool(p.NewName).Name != "" {
				f.Remedy = gcloud(in.Cluster, "node-pools describe", p.NewName, "--cluster", in.Cluster.Name)
				f.Advice = "see what it is for; once it is empty and gone, plan again"
			}
			found = append(found, f)
		}
	}
	return found
}
