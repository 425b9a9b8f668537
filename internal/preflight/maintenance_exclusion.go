package preflight

import (
	"fmt"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// maintenanceExclusion: a time that the cluster's owners have closed to upgrades.
func maintenanceExclusion() Check {
	return Check{
		Name: "maintenance-exclusion", Severities: []upgrade.Severity{upgrade.Warning},
		Title: "A maintenance exclusion is in force, or begins before the plan's estimated end",
		Why:   "Somebody has closed that time to upgrades, a freeze or a sale; the provider holds only itself to it.",
		find:  findExclusions,
	}
}

// noMinorUpgrades is GKE's word for an exclusion that lets patches through.
const noMinorUpgrades = "NO_MINOR_UPGRADES"

func findExclusions(in Input) []upgrade.Finding {
	if len(in.Steps) == 0 {
		return nil
	}
	var found []upgrade.Finding
	end := in.TakenAt.Add(in.estimate())
	for _, e := range in.Cluster.Maintenance.Exclusions {
		if !e.Start.Before(end) || e.Scope == noMinorUpgrades && !in.changesMinor() {
			continue
		}
		until := "the end of the version's support"
		if !e.End.IsZero() {
			until = when(e.End)
		}
		problem := "is in force until " + until
		if e.Start.After(in.TakenAt) {
			problem = fmt.Sprintf("begins at %s, before the plan's end, which is about %s if all goes well, and lasts until %s", when(e.Start), when(end), until)
		}
		found = append(found, upgrade.Finding{
			Severity: upgrade.Warning, Momentary: true, Object: upgrade.Ref{Kind: "MaintenanceExclusion", Name: e.Name},
			Problem: fmt.Sprintf("%s: %s", problem, e.Scope),
			Advice:  "start once it is over, or accept it",
		})
	}
	return found
}

// changesMinor tells whether any pool gets another minor.
func (in Input) changesMinor() bool {
	for _, p := range in.changed() {
		if minors, ok := upgrade.MinorsBetween(p.From, p.To); !ok || minors != 0 {
			return true
		}
	}
	return false
}
