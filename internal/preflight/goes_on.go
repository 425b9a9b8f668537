package preflight

import (
	"fmt"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// goesOn: the new pool of a run that did not finish is taken over.
func goesOn() Check {
	return Check{
		Name: "goes-on", Severities: []upgrade.Severity{upgrade.Info},
		Title: "An earlier run began what the plan does",
		Why:   "Its new pool is taken over, and nothing is made or moved twice.",
		find:  findGoesOn,
	}
}

func findGoesOn(in Input) []upgrade.Finding {
	var found []upgrade.Finding
	for _, p := range in.Pools {
		if !p.Adopt {
			continue
		}
		cordoned := 0
		for _, n := range in.State.PoolNodes(p.Name) {
			if n.CordonedBy != "" {
				cordoned++
			}
		}
		found = append(found, upgrade.Finding{
			Severity: upgrade.Info, Object: upgrade.Ref{Kind: "NodePool", Name: p.NewName},
			Problem: fmt.Sprintf("was made by an earlier run, which did not finish, and is taken over; %d of the %d nodes of %s are cordoned already", cordoned, len(p.Nodes), p.Name),
		})
	}
	return found
}
