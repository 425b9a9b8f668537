package preflight

import (
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// runningJobs: work that a drain waits for.
func runningJobs() Check {
	return Check{
		Name: "running-jobs", Severities: []upgrade.Severity{upgrade.Info},
		Title: "A Job is running on a node that is to be drained",
		Why:   "It is left to finish, and the drain of its node waits for it.",
		find:  findJobs,
	}
}

func findJobs(in Input) []upgrade.Finding {
	return byWorkload(in.Moving, func(p upgrade.Pod) bool { return p.Disposition() == upgrade.Awaited }, func(owner upgrade.Ref, of []upgrade.Pod) upgrade.Finding {
		return upgrade.Finding{
			Severity: upgrade.Info, Object: owner,
			Problem: "is running: the drain of its node waits for it to finish", Evidence: keys(of),
		}
	})
}
