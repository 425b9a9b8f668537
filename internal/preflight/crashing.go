package preflight

import (
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// crashing: workloads that are in trouble before anything is touched.
func crashing() Check {
	return Check{
		Name: "crashing", Severities: []upgrade.Severity{upgrade.Warning},
		Title: "A container of a pod that is to be moved does not run",
		Why:   "Its replacement will not run either, and once pods move, old trouble cannot be told from new.",
		find:  findCrashing,
	}
}

func findCrashing(in Input) []upgrade.Finding {
	sick := func(p upgrade.Pod) bool { return in.moves(p) && p.Trouble != "" }
	return byWorkload(in.Moving, sick, func(owner upgrade.Ref, of []upgrade.Pod) upgrade.Finding {
		return upgrade.Finding{
			Severity: upgrade.Warning, Momentary: true, Object: owner,
			Problem:  "is in trouble already (" + of[0].Trouble + "): its new pods will be too, and old trouble cannot be told from new",
			Evidence: keys(of), Remedy: "kubectl describe " + on(of[0].Ref()) + " # and mend it first",
		}
	})
}
