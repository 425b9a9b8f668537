package preflight

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// noPDB: nothing says how many replicas a workload can do without.
func noPDB() Check {
	return Check{
		Name: "no-pdb", Severities: []upgrade.Severity{upgrade.Info},
		Title: "A workload with several replicas has no PodDisruptionBudget",
		Why:   "Nothing says how many of them it can do without. Upshift moves one at a time, or up to a quarter of them where it drains several nodes at once (a StatefulSet's one at a time all the same); others, such as the provider's own upgrades, may not hold back.",
		find:  findNoPDB,
	}
}

func findNoPDB(in Input) []upgrade.Finding {
	bare := func(p upgrade.Pod) bool {
		w, ok := in.State.Workloads[p.Workload.UID]
		first, _ := in.surged(p.Workload)
		return ok && !first && w.Wanted > 1 && len(p.Budgets) == 0 && p.Disposition() == upgrade.Moves
	}
	return byWorkload(in.Moving, bare, func(owner upgrade.Ref, of []upgrade.Pod) upgrade.Finding {
		return upgrade.Finding{
			Severity: upgrade.Info, Object: owner,
			Problem: fmt.Sprintf("has %d replicas and no PodDisruptionBudget: %s, whatever it could do without", in.State.Workloads[owner.UID].Wanted, in.unguardedPace(of)),
			Remedy:  fmt.Sprintf("kubectl create poddisruptionbudget %s -n %s --max-unavailable 1 --selector %s", owner.Name, owner.Namespace, in.selector(of)),
		}
	})
}

// unguardedPace says how a drain moves pods of a workload that has no PodDisruptionBudget.
func (in Input) unguardedPace(of []upgrade.Pod) string {
	stateful := slices.ContainsFunc(of, func(p upgrade.Pod) bool { return p.Workload.Kind == "StatefulSet" || len(p.Disks) > 0 })
	pools := map[string]string{}
	for _, n := range in.State.Nodes {
		pools[n.Name] = n.Pool
	}
	plan := upgrade.Plan{Options: in.Options, Pools: in.Pools}
	atOnce := func(p upgrade.Pod) bool { return !plan.For(pools[p.Node]).Parallel.One() }
	if stateful || !slices.ContainsFunc(of, atOnce) {
		return "its pods are moved one at a time"
	}
	return "up to a quarter of its pods, at least one, is moved at a time"
}

// generated are the labels that controllers give their pods: each revision or each pod has other ones.
var generated = []string{"pod-template-hash", "controller-revision-hash", "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index", "pod-template-generation"}

// admitted are the labels that admission puts on pods: by where they run, or as a mesh marks them.
var admitted = []string{"topology.kubernetes.io/", "security.istio.io/", "service.istio.io/", "linkerd.io/"}

// ofTemplate tells of a label that every pod of a workload has, whenever and wherever it is made.
func ofTemplate(key string) bool {
	return !slices.Contains(generated, key) && !slices.ContainsFunc(admitted, func(p string) bool { return strings.HasPrefix(key, p) })
}

// selector is what kubectl selects the pods by: the labels that all of them have.
func (in Input) selector(of []upgrade.Pod) string {
	var common map[string]string
	for _, p := range of {
		shape := in.Inventory.Pods[p.UID]
		if shape == nil {
			continue
		}
		if common == nil {
			common = maps.Clone(shape.Labels)
		}
		maps.DeleteFunc(common, func(key, value string) bool { return shape.Labels[key] != value || !ofTemplate(key) })
	}
	var terms []string
	for _, key := range slices.Sorted(maps.Keys(common)) {
		terms = append(terms, key+"="+common[key])
	}
	if len(terms) == 0 {
		return "KEY=VALUE" // nothing is known of them
	}
	return strings.Join(terms, ",")
}
