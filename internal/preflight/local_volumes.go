package preflight

import (
	"fmt"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// localVolumes: volumes that are disks of a node.
func localVolumes() Check {
	return Check{
		Name: "local-volumes", Severities: []upgrade.Severity{upgrade.Blocker, upgrade.UnknownSeverity, upgrade.Warning},
		Title: "A pod that is to be moved has a volume that is a disk of its node",
		Why:   "Its replacement can run on no other node, so it stays Pending for ever, and the data is gone with the node.",
		find:  findLocalVolumes,
	}
}

func findLocalVolumes(in Input) []upgrade.Finding {
	found := in.unknown("whether pods have disks of their nodes", upgrade.ReadVolumes)
	found = append(found, in.byVolume(diskOfNode, func(owner upgrade.Ref, claims []string) upgrade.Finding {
		return upgrade.Finding{
			Severity: upgrade.Blocker,
			Problem:  fmt.Sprintf("has volumes that are disks of its nodes (%s): once evicted, its pods stay Pending, and the data is gone with the nodes", several(claims)),
			Remedy:   move(owner, claims),
		}
	})...)
	return append(found, in.byVolume(func(v upgrade.Volume) bool { return v.Local && v.Terms == nil }, func(owner upgrade.Ref, claims []string) upgrade.Finding {
		return upgrade.Finding{
			Severity: upgrade.Warning,
			Problem:  fmt.Sprintf("has volumes that are directories of its nodes (%s): its pods find them empty elsewhere, and the data is gone with the nodes", several(claims)),
			Remedy:   move(owner, claims),
		}
	})...)
}

// diskOfNode tells a volume that no other node can mount.
func diskOfNode(v upgrade.Volume) bool { return v.Local && v.Terms != nil }

// move is the remedy of a workload whose volumes cannot go where its pods go.
func move(owner upgrade.Ref, claims []string) string {
	return showClaims(owner, claims) + " # and copy what is in them to volumes that can be mounted elsewhere"
}

// showClaims is the command that shows claims, which are given as namespace/name.
func showClaims(owner upgrade.Ref, claims []string) string {
	return fmt.Sprintf("kubectl get pvc -n %s %s", owner.Namespace, names(claims))
}
