package drain

import (
	"fmt"
	"slices"
	"strings"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// remedies are commands for people: each ends one of the things that are waited for, with what it does after a "#" where it does not say so
// itself. What waits for the others only has none. A pod that somebody has to give up on is never forced without being named.
func (t *tracker) remedies(s upgrade.State, waiting []upgrade.Waiting) []string {
	var next, others []string
	for _, w := range waiting {
		commands := t.remedy(s, w)
		if len(commands) == 0 {
			others = append(others, describe(w.Object))
		}
		next = append(next, commands...)
	}
	if len(next) == 0 {
		next = others
	}
	return unique(next)
}

// remedy returns nothing where what is waited for ends with something else, or by itself.
func (t *tracker) remedy(s upgrade.State, w upgrade.Waiting) []string {
	i := slices.IndexFunc(s.Pods, func(p upgrade.Pod) bool { return p.UID == w.Object.UID })
	if i < 0 || w.Object.Kind != "Pod" {
		return nil
	}
	p := &s.Pods[i]
	force := "upshift unblock force:" + p.Key()
	switch {
	case p.Terminating():
		return []string{
			fmt.Sprintf("kubectl get pod -n %s %s -o jsonpath='{.metadata.finalizers}' # whoever put one there has to take it off", p.Namespace, p.Name),
			force + " # without a finalizer: deletes it at once, since its grace period is over; nothing of it may run any more then",
		}
	case p.Unschedulable != "":
		return append(t.moreRoom(p.Unschedulable), describe(w.Object)+" # says at its end what each node lacks")
	case w.Budget != "" && !w.Passing:
		return append(t.loosen(s, p, w), force+" # or past its PodDisruptionBudget, with its own grace period")
	case !p.Ready && p.Trouble != "":
		return []string{fmt.Sprintf("kubectl logs -n %s %s --all-containers --previous # or: %s", p.Namespace, p.Name, describe(w.Object))}
	case strings.HasPrefix(w.Reason, roomReason):
		return t.moreRoom(insufficient)
	}
	if _, on := t.active[p.Node]; !on || w.Passing {
		return nil
	}
	return t.consent(p, force)
}

// consent is what lets a pod go that is kept for what would be lost with it.
func (t *tracker) consent(p *upgrade.Pod, force string) []string {
	another := func(input string) []string {
		return []string{fmt.Sprintf("%s # this one alone; for all: upshift cancel, and a new run with %s", force, input)}
	}
	switch {
	case p.Disposition() == upgrade.Awaited && !t.options.EvictJobs:
		done := "jsonpath={.status.phase}=Succeeded pod/" + p.Name
		if p.Workload.Kind == "Job" {
			done = "condition=complete job/" + p.Workload.Name
		}
		return append([]string{fmt.Sprintf("kubectl wait -n %s --timeout=24h --for=%s && upshift resume", p.Namespace, done)}, another("jobs: evict")...)
	case p.Disposition() == upgrade.Lost && !t.options.LoseBarePods:
		return another(string(upgrade.AllowBarePods) + ": true")
	case len(p.EmptyDirs) > 0 && !t.options.LoseEmptyDirs:
		return another(string(upgrade.AllowEmptyDirLoss) + ": true")
	case t.returning[p.Workload.UID]:
		return []string{fmt.Sprintf("upshift unblock skip:%s # or keep its pods away from nodes with the taint node.kubernetes.io/unschedulable: %s", p.Node, describe(p.Workload))}
	}
	return nil
}

// loosen is what makes the budget let the pod go.
func (t *tracker) loosen(s upgrade.State, p *upgrade.Pod, w upgrade.Waiting) []string {
	if len(p.Budgets) > 1 {
		names := make([]string, len(p.Budgets))
		for i, key := range p.Budgets {
			_, names[i], _ = strings.Cut(key, "/")
		}
		return []string{fmt.Sprintf("kubectl get pdb -n %s %s # and delete or narrow all but one of them", p.Namespace, strings.Join(names, " "))}
	}
	b := s.Budgets[w.Budget]
	selected, unready := 0, ""
	for i := range s.Pods {
		if of := &s.Pods[i]; slices.Contains(of.Budgets, w.Budget) && !of.Finished && !of.Terminating() {
			if selected++; !of.Ready && unready == "" {
				unready = describe(of.Ref()) + " # it is not Ready, and the PodDisruptionBudget waits for it"
			}
		}
	}
	switch workload := s.Workloads[p.Workload.UID]; {
	case b.Trouble != "" || b.Current && b.Expected == 0:
		if selected < 2 {
			return nil // it would be over no pod that may be away
		}
		return []string{b.Keep(selected - 1)}
	case b.Current && b.Needed >= b.Expected && workload.Wanted > 0 && workload.Kind != "DaemonSet":
		return []string{b.LetOneGo(), fmt.Sprintf("kubectl scale %s -n %s %s --replicas %d # or one more than has to be there, if it can have one",
			strings.ToLower(workload.Kind), workload.Namespace, workload.Name, workload.Wanted+1)}
	case b.Current && b.Needed >= b.Expected:
		return []string{b.Keep(max(0, selected-1))}
	case !p.Ready && !b.Frees(*p):
		return []string{b.FreeUnready()}
	case unready != "":
		return []string{unready}
	}
	return []string{fmt.Sprintf("kubectl describe pdb -n %s %s", b.Namespace, b.Name)}
}

// insufficient is how the scheduler says that requests are larger than what nodes have left.
const insufficient = "Insufficient "

// moreRoom is the command that adds nodes, if that helps against what the scheduler says.
func (t *tracker) moreRoom(message string) []string {
	if t.options.MoreRoom == "" || !strings.Contains(message, insufficient) && !strings.Contains(message, "Too many pods") {
		return nil
	}
	return []string{t.options.MoreRoom}
}

func describe(r upgrade.Ref) string {
	if r.Namespace == "" {
		return fmt.Sprintf("kubectl describe %s %s", strings.ToLower(r.Kind), r.Name)
	}
	return fmt.Sprintf("kubectl describe %s -n %s %s", strings.ToLower(r.Kind), r.Namespace, r.Name)
}

func unique(list []string) []string {
	var all []string
	for _, s := range list {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}
