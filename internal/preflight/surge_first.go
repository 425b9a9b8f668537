package preflight

import (
	"cmp"
	"fmt"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// surgeFirst: which Deployments are restarted before the drains, and which are evicted after all.
func surgeFirst() Check {
	return Check{
		Name: "surge-first", Severities: []upgrade.Severity{upgrade.Info},
		Title: "A Deployment is restarted before the drains (`surge-first`), or could not be",
		Why: "Its new pods are Ready on new nodes before the old ones end, as with kubectl rollout restart. Tools that compare it with what is stored elsewhere (GitOps) " +
			"can show the annotation kubectl.kubernetes.io/restartedAt of its pod template as drift.",
		find: findSurgeFirst,
	}
}

func findSurgeFirst(in Input) []upgrade.Finding {
	var found []upgrade.Finding
	for _, p := range in.Pools {
		for _, r := range p.Restarts {
			found = append(found, upgrade.Finding{
				Severity: upgrade.Info, Object: r.Workload, Momentary: true,
				Problem: fmt.Sprintf("is restarted before %s is drained, as kubectl rollout restart does, and GitOps tools can show that as drift%s%s", p.Name, alongside(r), unless(r)),
			})
		}
		for _, e := range p.Evicted {
			if in.Options.SurgeFirst == upgrade.SurgeDeployments {
				found = append(found, upgrade.Finding{
					Severity: upgrade.Info, Object: e.Workload, Momentary: true,
					Problem: fmt.Sprintf("is evicted pod by pod from %s, and not restarted first, since %s", p.Name, e.Why),
				})
			}
		}
	}
	return found
}

// alongside tells of pods that restart with those that have to move.
func alongside(r upgrade.Restart) string {
	switch r.Elsewhere {
	case 0:
		return ""
	case 1:
		return "; 1 pod elsewhere restarts too"
	}
	return fmt.Sprintf("; %d pods elsewhere restart too", r.Elsewhere)
}

// unless tells of what has to pass before a restart.
func unless(r upgrade.Restart) string {
	if r.Unless == "" {
		return ""
	}
	return "; but if it is so still by then, its pods are evicted: " + r.Unless
}

// surge is what the plan says of restarting a workload, of all the pools that its pods are on: whether it does, and what speaks or may come to
// speak against it.
type surge struct {
	planned bool
	why     string
}

func surges(pools []upgrade.PoolPlan) map[string]surge {
	all := map[string]surge{}
	for _, p := range pools {
		for _, r := range p.Restarts {
			all[r.Workload.UID] = surge{true, cmp.Or(all[r.Workload.UID].why, r.Unless)}
		}
		for _, e := range p.Evicted {
			all[e.Workload.UID] = surge{all[e.Workload.UID].planned, e.Why}
		}
	}
	return all
}

// surged tells that all pods of the workload that move do so by a restart, and otherwise why not, where somebody thought of one.
func (in Input) surged(w upgrade.Ref) (first bool, why string) {
	s := in.surges[w.UID]
	return s.planned && s.why == "", s.why
}

// notFirst says, as the end of a sentence, why a workload is not restarted first, empty where nobody thought of it.
func notFirst(why string) string {
	if why == "" {
		return ""
	}
	return "; it is not restarted first, since " + why
}

// allSurged tells that nothing of the pods is left to be evicted, and why not.
func (in Input) allSurged(pods []upgrade.Pod) (bool, string) {
	for _, p := range pods {
		if first, why := in.surged(p.Workload); !first {
			return false, why
		}
	}
	return true, ""
}
