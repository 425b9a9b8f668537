package preflight

import (
	"fmt"
	"slices"
	"strings"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// standing is what there is to be said of a PodDisruptionBudget over pods that move: one thing of each.
type standing int

const (
	// fine: it allows an eviction.
	fine standing = iota
	// hopeless: Kubernetes cannot work it out.
	hopeless
	// never: with as many pods as there are it can allow none.
	never
	// deadlocked: it waits for pods that are not Ready, and does not let them go.
	deadlocked
	// spent: it allows none now.
	spent
)

// stands says how a budget stands to the moving pods that it selects.
func stands(b upgrade.Budget, over []upgrade.Pod) standing {
	switch {
	case b.Allowed > 0:
		return fine
	case b.Trouble == "" && b.Current && b.Expected == 0 && !slices.ContainsFunc(over, func(p upgrade.Pod) bool { return len(p.Budgets) == 1 }):
		return fine // of two budgets over a pod Kubernetes keeps the status of one; that there are two is told
	case b.Trouble != "", b.Current && b.Expected == 0:
		return hopeless
	case b.Never():
		return never
	}
	for _, p := range over {
		if kept(b, p) {
			return deadlocked
		}
	}
	return spent
}

// kept tells that the pod is not Ready and that the budget does not let it go.
func kept(b upgrade.Budget, p upgrade.Pod) bool { return !p.Ready && !b.Frees(p) }

// budgets makes one finding for each budget over moving pods that stands so, in the order of the pods.
func (in Input) budgets(so standing, finding func(upgrade.Budget, []upgrade.Pod) upgrade.Finding) []upgrade.Finding {
	var order []string
	over := map[string][]upgrade.Pod{}
	for _, p := range in.Moving {
		if p.Terminating() || in.Options.Disposition(p) == upgrade.Awaited {
			continue // nobody evicts it
		}
		for _, key := range p.Budgets {
			if over[key] == nil {
				order = append(order, key)
			}
			over[key] = append(over[key], p)
		}
	}
	var found []upgrade.Finding
	for _, key := range order {
		b, ok := in.State.Budgets[key]
		if !ok || stands(b, over[key]) != so {
			continue
		}
		f := finding(b, over[key])
		f.Object = upgrade.Ref{Kind: "PodDisruptionBudget", Namespace: b.Namespace, Name: b.Name}
		if f.Evidence == nil {
			f.Evidence = []string{over[key][0].Key() + " on node " + over[key][0].Node}
		}
		found = append(found, f)
	}
	return found
}

// selected is how many pods the budget selects, wherever they are.
func (in Input) selected(b upgrade.Budget) int {
	n := 0
	for i := range in.State.Pods {
		if p := &in.State.Pods[i]; !p.Finished && !p.Terminating() && slices.Contains(p.Budgets, b.Key()) {
			n++
		}
	}
	return n
}

// keepAllButOne is the remedy of a budget that has to be told its number of pods.
func (in Input) keepAllButOne(b upgrade.Budget) (remedy, advice string) {
	n := in.selected(b)
	if n < 2 {
		return "", "it is over one pod, which is away while it moves: delete the PodDisruptionBudget for the time of the upgrade, or give the pod a second one"
	}
	return b.Keep(n - 1),
		fmt.Sprintf("it selects %d pods, of which one may be away at a time then", n)
}

// names are those of objects of one namespace that are given as namespace/name.
func names(keys []string) string {
	var all []string
	for _, key := range keys {
		_, name, _ := strings.Cut(key, "/")
		all = append(all, name)
	}
	return strings.Join(all, " ")
}
