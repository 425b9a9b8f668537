package preflight

import (
	"fmt"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// longGrace: pods that may take very long to stop.
func longGrace() Check {
	return Check{
		Name: "long-grace", Severities: []upgrade.Severity{upgrade.Warning},
		Title: "A pod may take more than ten minutes to stop",
		Why:   "Its grace period is never shortened, so its node's drain can take that long.",
		find:  findLongGraces,
	}
}

// patience is the grace period above which somebody should know: a drain of an hour is easily taken for one that hangs.
const patience = 10 * time.Minute

func findLongGraces(in Input) []upgrade.Finding {
	long := func(p upgrade.Pod) bool { return p.Grace > patience && in.Options.Disposition(p) != upgrade.Awaited }
	return byWorkload(in.Moving, long, func(owner upgrade.Ref, of []upgrade.Pod) upgrade.Finding {
		return upgrade.Finding{
			Severity: upgrade.Warning, Object: owner,
			Problem:  fmt.Sprintf("has a termination grace period of %s, which is never shortened: the drain of its node can take that long", of[0].Grace),
			Evidence: keys(of),
		}
	})
}
