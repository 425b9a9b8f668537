package preflight

import (
	"fmt"
	"slices"
	"strings"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// leaving are the nodes that are to be drained, by name.
func (in Input) leaving() map[string]bool {
	changed := map[string]bool{}
	for _, p := range in.changed() {
		changed[p.Name] = true
	}
	nodes := map[string]bool{}
	for _, n := range in.State.Nodes {
		nodes[n.Name] = changed[n.Pool]
	}
	return nodes
}

// has tells that the plan has a step of that kind.
func (in Input) has(kind upgrade.StepKind) bool {
	return slices.ContainsFunc(in.Steps, func(s upgrade.Step) bool { return s.Kind == kind })
}

// podsByUID are the pods that there are.
func (in Input) podsByUID() map[string]upgrade.Pod {
	pods := map[string]upgrade.Pod{}
	for _, p := range in.State.Pods {
		pods[p.UID] = p
	}
	return pods
}

// moves tells the pods that come back elsewhere.
func (in Input) moves(p upgrade.Pod) bool {
	return in.Options.Disposition(p) == upgrade.Moves && !p.Terminating()
}

// on is how kubectl is told of an object: "deployment web -n shop".
func on(r upgrade.Ref) string {
	if r.Namespace == "" {
		return strings.ToLower(r.Kind) + " " + r.Name
	}
	return strings.ToLower(r.Kind) + " " + r.Name + " -n " + r.Namespace
}

// edit is the remedy of a workload whose pods have to be described in another way.
func edit(r upgrade.Ref, change string) string { return "kubectl edit " + on(r) + " # " + change }

// scale is the remedy of a workload with too few pods, of which these are some: another one, where one more can be meant.
func (in Input) scale(r upgrade.Ref, pods []upgrade.Pod) (remedy, advice string) {
	owned := func(p upgrade.Pod) bool { return len(in.Inventory.Volumes[p.UID]) > 0 }
	switch w := in.State.Workloads[r.UID]; {
	case upgrade.Provided(r.Namespace):
		return "", "it is the provider's own, and back as soon as its replacement is Ready"
	case r.Kind == "Deployment" && w.Wanted > 0 && !slices.ContainsFunc(pods, owned):
		return fmt.Sprintf("kubectl scale %s --replicas %d", on(r), max(2, w.Wanted+1)), "for the time of the upgrade, if two of it may run at once"
	}
	return "", "a second one for the time of the upgrade would help, if it can have one; else choose a time when it may be away"
}

// several joins a list that people read, and is short where it is long.
func several(items []string) string {
	const most = 3
	if len(items) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(items[:most], ", "), len(items)-most)
	}
	return strings.Join(items, ", ")
}

// distinct are the strings of the pods, each once, in the order in which they come.
func distinct(pods []upgrade.Pod, of func(upgrade.Pod) []string) []string {
	var all []string
	for _, p := range pods {
		for _, s := range of(p) {
			if !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return all
}
