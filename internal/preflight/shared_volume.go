package preflight

import (
	"fmt"
	"slices"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// sharedVolume: pods that can only move together.
func sharedVolume() Check {
	return Check{
		Name: "shared-volume", Severities: []upgrade.Severity{upgrade.Warning},
		Title: "Several pods that are to be moved share a volume that one node at a time can attach",
		Why:   "A replacement on another node cannot start before all of them have left theirs, and the drain waits for it before it evicts the next one.",
		find:  findSharedVolume,
	}
}

func findSharedVolume(in Input) []upgrade.Finding {
	users := map[string][]upgrade.Pod{}
	for _, p := range in.Moving {
		if !in.moves(p) {
			continue
		}
		for _, claim := range in.attached(p) {
			users[claim] = append(users[claim], p)
		}
	}
	shared := func(p upgrade.Pod) []string {
		return slices.DeleteFunc(in.attached(p), func(claim string) bool { return len(users[claim]) < 2 })
	}
	match := func(p upgrade.Pod) bool { return in.moves(p) && len(shared(p)) > 0 }
	return byWorkload(in.Moving, match, func(owner upgrade.Ref, of []upgrade.Pod) upgrade.Finding {
		claims := distinct(of, shared)
		return upgrade.Finding{
			Severity: upgrade.Warning, Object: owner, Evidence: keys(of), Remedy: share(owner, claims),
			Problem: fmt.Sprintf("shares volumes that one node at a time can attach (%s) among %s: a replacement on another node cannot start before all of these have left theirs",
				several(claims), count(len(users[claims[0]]), "pod")),
		}
	})
}

// attached are the claims, as namespace/name, of the pod's volumes that one node at a time can attach.
func (in Input) attached(p upgrade.Pod) []string {
	var claims []string
	for _, v := range in.Inventory.Volumes[p.UID] {
		if v.Attached && !v.Exclusive && !v.Local {
			claims = append(claims, p.Namespace+"/"+v.Claim)
		}
	}
	return claims
}

// share is the remedy of pods that no scaling keeps from sharing.
func share(owner upgrade.Ref, claims []string) string {
	return fmt.Sprintf("kubectl describe pvc -n %s %s # and keep all of its pods but one from using it for the time of the upgrade", owner.Namespace, names(claims))
}
