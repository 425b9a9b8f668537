package preflight

import (
	"fmt"
	"slices"
	"strings"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// leaving are the nodes that are to be drained, by name.
func (in Input) leaving() map[string]bool {
	migrated := map[string]bool{}
	for _, p := range in.Pools {
		migrated[p.Name] = p.Action == upgrade.Migrate
	}
	nodes := map[string]bool{}
	for _, n := range in.State.Nodes {
		nodes[n.Name] = migrated[n.Pool]
	}
	return nodes
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

// scalable are the kinds that kubectl scales.
var scalable = []string{"Deployment", "StatefulSet", "ReplicaSet", "ReplicationController"}

// scale is the remedy of a workload with too few pods.
func scale(r upgrade.Ref, to int) string {
	if !slices.Contains(scalable, r.Kind) {
		return fmt.Sprintf(" # give %s %d replicas for the time of the upgrade", r, to)
	}
	return fmt.Sprintf("kubectl scale %s --replicas %d # for the time of the upgrade", on(r), to)
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
