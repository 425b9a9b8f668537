package preflight

import (
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// foreignCordons: nodes that somebody else has closed.
func foreignCordons() Check {
	return Check{
		Name: "foreign-cordons", Severities: []upgrade.Severity{upgrade.Info},
		Title: "Somebody else has cordoned a node that is to be drained",
		Why:   "Upshift never undoes a cordon that is not its own; after a rollback or a cancel the node stays closed.",
		find:  findForeignCordons,
	}
}

func findForeignCordons(in Input) []upgrade.Finding {
	var found []upgrade.Finding
	for _, p := range in.Pools {
		if !p.Action.Changes() {
			continue
		}
		for _, n := range in.State.PoolNodes(p.Name) {
			if n.Unschedulable && n.CordonedBy == "" {
				found = append(found, upgrade.Finding{
					Severity: upgrade.Info, Object: upgrade.Ref{Kind: "Node", Name: n.Name},
					Problem: "is cordoned, and not by Upshift: the cordon is left as it is, also after a rollback or a cancel",
					Remedy:  "kubectl uncordon " + n.Name + " # if nobody needs it",
				})
			}
		}
	}
	return found
}
