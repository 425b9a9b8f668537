package preflight

import (
	"fmt"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// runningJobs: work that a drain waits for.
func runningJobs() Check {
	return Check{
		Name: "running-jobs", Severities: []upgrade.Severity{upgrade.Warning, upgrade.Info},
		Title: "A Job, or something like one, is running on a node that is to be drained",
		Why:   "It is left to finish, and the drain of its node waits for it; with `jobs: evict` it begins anew elsewhere.",
		find:  findJobs,
	}
}

func findJobs(in Input) []upgrade.Finding {
	running := func(p upgrade.Pod) bool { return p.Disposition() == upgrade.Awaited }
	return byWorkload(in.Moving, running, func(owner upgrade.Ref, of []upgrade.Pod) upgrade.Finding {
		if pool, byProvider := in.drainedBy(of[0]); byProvider {
			return upgrade.Finding{
				Severity: upgrade.Warning, Momentary: true, Object: owner, Evidence: keys(of),
				Problem: fmt.Sprintf("is running and is evicted by GKE, which drains pool %s and waits for no Job: its pods begin anew elsewhere", pool.Name),
				Advice:  "strategy: migrate leaves it to finish",
			}
		}
		if in.Options.Jobs == upgrade.EvictJobs {
			return upgrade.Finding{
				Severity: upgrade.Warning, Momentary: true, Object: owner, Evidence: keys(of),
				Problem: "is running and is evicted, as jobs: evict says: its pods begin anew elsewhere, and each counts against its backoffLimit unless its podFailurePolicy ignores disruptions",
				Advice:  "jobs: wait leaves it to finish",
			}
		}
		return upgrade.Finding{
			Severity: upgrade.Info, Object: owner,
			Problem: "is running: the drain of its node waits for it to finish", Evidence: keys(of),
		}
	})
}
