package preflight

import (
	"fmt"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// newerPool: a pool that is ahead of the target stays.
func newerPool() Check {
	return Check{
		Name: "newer-pool", Severities: []upgrade.Severity{upgrade.Info}, Always: true,
		Title: "A pool is newer than the target",
		Why:   "Nodes are not downgraded, so the pool is left as it is.",
		find:  findNewerPools,
	}
}

func findNewerPools(in Input) []upgrade.Finding {
	var found []upgrade.Finding
	for _, p := range in.Pools {
		if p.Action == upgrade.LeaveNewer {
			found = append(found, upgrade.Finding{
				Severity: upgrade.Info, Object: upgrade.Ref{Kind: "NodePool", Name: p.Name},
				Problem: fmt.Sprintf("runs %s, newer than the target %s, and is left as it is: nodes are not downgraded", p.From, in.Target),
			})
		}
	}
	return found
}
