package preflight

import (
	"fmt"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// unboundVolumes: claims that will not be there for the next pod.
func unboundVolumes() Check {
	return Check{
		Name: "unbound-volumes", Severities: []upgrade.Severity{upgrade.Warning},
		Title: "A pod that is to be moved uses a claim that is not bound, is being deleted or is not there",
		Why:   "Its replacement waits for the claim. One that is being deleted lasts only as long as a pod uses it, and its data goes with it.",
		find:  findUnboundVolumes,
	}
}

func findUnboundVolumes(in Input) []upgrade.Finding {
	unbound := func(v upgrade.Volume) bool { return v.Unbound != "" }
	why := map[string]string{}
	for _, p := range in.Moving {
		for _, v := range in.Inventory.Volumes[p.UID] {
			why[p.Namespace+"/"+v.Claim] = v.Unbound
		}
	}
	return in.byVolume(unbound, func(owner upgrade.Ref, claims []string) upgrade.Finding {
		return upgrade.Finding{
			Severity: upgrade.Warning,
			Problem:  fmt.Sprintf("uses the claim %s, of which its replacement cannot be sure: %s", several(claims), why[claims[0]]),
			Remedy:   showClaims(owner, claims), Advice: "bind or make the claim again, and plan again",
		}
	})
}
