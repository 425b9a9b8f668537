package preflight

import (
	"fmt"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// heldBackUpdate: changes that wait for pods to be deleted, which is what a drain does.
func heldBackUpdate() Check {
	return Check{
		Name: "held-back-update", Severities: []upgrade.Severity{upgrade.Warning},
		Title: "A StatefulSet has a change that waits for its pods to be deleted (updateStrategy OnDelete)",
		Why:   "An evicted pod is made anew with that change, so the drain rolls out what somebody holds back.",
		find:  findHeldBackUpdates,
	}
}

func findHeldBackUpdates(in Input) []upgrade.Finding {
	held := func(p upgrade.Pod) bool { return in.moves(p) && in.State.Workloads[p.Workload.UID].HeldBack > 0 }
	return byWorkload(in.Moving, held, func(owner upgrade.Ref, of []upgrade.Pod) upgrade.Finding {
		return upgrade.Finding{
			Severity: upgrade.Warning, Object: owner, Evidence: keys(of),
			Problem: fmt.Sprintf("has %s that its last change has not reached, since it waits for them to be deleted (updateStrategy OnDelete): the drain would roll it out",
				count(in.State.Workloads[owner.UID].HeldBack, "pod")),
			Remedy: "kubectl rollout history " + on(owner) + " # and roll the change out, or back, before; or accept it",
		}
	})
}
