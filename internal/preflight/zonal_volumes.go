package preflight

import (
	"fmt"
	"slices"
	"strings"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// zonalVolumes: volumes in a zone without nodes.
func zonalVolumes() Check {
	return Check{
		Name: "zonal-volumes", Severities: []upgrade.Severity{upgrade.Blocker, upgrade.UnknownSeverity},
		Title: "A pod that is to be moved has a volume in a zone in which no node will be",
		Why:   "A disk of one zone is mounted by no node of another, so its replacement stays Pending for ever.",
		find:  findZonalVolumes,
	}
}

// zoneKeys are the labels by which nodes and volumes name their zone.
var zoneKeys = []string{"topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone", "topology.gke.io/zone"}

func findZonalVolumes(in Input) []upgrade.Finding {
	found := in.unknown("whether volumes can be mounted in the zones of the new pools", upgrade.ReadVolumes)
	zones := in.zonesAfterwards()
	return append(found, in.byVolume(ofOtherZones(zones), func(owner upgrade.Ref, claims []string) upgrade.Finding {
		return upgrade.Finding{
			Severity: upgrade.Blocker,
			Problem:  fmt.Sprintf("has volumes (%s) that can be mounted in none of the zones with nodes afterwards (%s): once evicted, its pods stay Pending", several(claims), strings.Join(zones, ", ")),
			Remedy:   move(owner, claims),
		}
	})...)
}

// ofOtherZones tells the volumes that can be mounted in none of the zones.
func ofOtherZones(zones []string) func(upgrade.Volume) bool {
	if slices.Contains(zones, "") || len(zones) == 0 {
		return func(upgrade.Volume) bool { return false } // where nodes are is not known, so nothing is known to be wrong
	}
	return func(v upgrade.Volume) bool {
		return !v.Local && len(v.Terms) > 0 && !slices.ContainsFunc(zones, func(zone string) bool { return mountable(v.Terms, zone) })
	}
}

// zonesAfterwards are those of the new pools and of the nodes that stay.
func (in Input) zonesAfterwards() []string {
	var zones []string
	for _, p := range in.Pools {
		if p.Action.Changes() {
			zones = append(zones, p.Zones...)
		}
	}
	leaving := in.leaving()
	for _, n := range in.State.Nodes {
		if !leaving[n.Name] && !n.Unschedulable {
			zones = append(zones, n.Zone)
		}
	}
	slices.Sort(zones)
	return slices.Compact(zones)
}

// mountable tells whether the zone alone does not speak against any of the terms.
func mountable(terms []upgrade.NodeTerm, zone string) bool {
	return slices.ContainsFunc(terms, func(t upgrade.NodeTerm) bool {
		return !slices.ContainsFunc(t.Labels, func(r upgrade.Requirement) bool {
			return slices.Contains(zoneKeys, r.Key) && r.Operator == "In" && !slices.Contains(r.Values, zone)
		})
	})
}
