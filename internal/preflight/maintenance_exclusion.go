package preflight

import (
	"fmt"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// maintenanceExclusion: a time that the cluster's owners have closed to upgrades.
func maintenanceExclusion() Check {
	return Check{
		Name: "maintenance-exclusion", Severities: []upgrade.Severity{upgrade.Blocker, upgrade.Warning},
		Title: "A maintenance exclusion is in force, or begins before the plan's estimated end",
		Why:   "Somebody has closed that time to upgrades, a freeze or a sale; the provider holds only itself to it. Under maintenance: respect one that is in force blocks, and a run pauses before one begins.",
		find:  findExclusions,
	}
}

func findExclusions(in Input) []upgrade.Finding {
	if len(in.Steps) == 0 {
		return nil
	}
	var found []upgrade.Finding
	end, respected := in.TakenAt.Add(in.estimate()), in.Options.Maintenance == upgrade.RespectMaintenance
	minor, nodes := upgrade.Plan{ControlPlane: in.ControlPlane, Pools: in.Pools}.Changes()
	for _, e := range in.Cluster.Maintenance.Exclusions {
		if !e.Start.Before(end) || !e.Forbids(minor, nodes) {
			continue
		}
		until := "the end of the version's support"
		if !e.End.IsZero() {
			until = when(e.End)
		}
		f := upgrade.Finding{
			Severity: upgrade.Warning, Momentary: true, Object: upgrade.Ref{Kind: "MaintenanceExclusion", Name: e.Name},
			Problem: fmt.Sprintf("is in force until %s: %s", until, e.Scope),
			Advice:  "start once it is over, or accept it",
		}
		starts := e.Start.After(in.TakenAt)
		if starts {
			f.Problem = fmt.Sprintf("begins at %s, before the plan's end, which is about %s if all goes well, and lasts until %s: %s", when(e.Start), when(end), until, e.Scope)
		}
		switch {
		case !respected:
		case starts:
			f.Problem += "; the run pauses before it"
		default: // a waiver would not have the run begin anything either
			f.Severity, f.Binding, f.Advice = upgrade.Blocker, true, "start once it is over, or give maintenance: ignore"
		}
		found = append(found, f)
	}
	return found
}
