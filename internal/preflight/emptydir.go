package preflight

import (
	"fmt"
	"strings"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// emptyDirs: what is lost when a pod moves.
func emptyDirs() Check {
	return Check{
		Name: "emptydir", Severities: []upgrade.Severity{upgrade.Warning},
		Title:   "A pod keeps something in emptyDir volumes",
		Why:     "What is in them is lost when the pod moves, so it goes only with consent.",
		Consent: upgrade.AllowEmptyDirLoss,
		find:    findEmptyDirs,
	}
}

func findEmptyDirs(in Input) []upgrade.Finding {
	loses := func(p upgrade.Pod) bool { return len(p.EmptyDirs) > 0 && in.Options.Disposition(p) != upgrade.Awaited }
	return byWorkload(in.Moving, loses, func(owner upgrade.Ref, of []upgrade.Pod) upgrade.Finding {
		return upgrade.Finding{
			Severity: upgrade.Warning, Object: owner,
			Problem:  fmt.Sprintf("loses what its pods keep in emptyDir volumes (%s) when they move", strings.Join(of[0].EmptyDirs, ", ")),
			Evidence: keys(of), Consent: upgrade.AllowEmptyDirLoss,
		}
	})
}
