package preflight

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// surgeQuota: new nodes count beside the old ones. It is no blocker, since quotas are raised, and other machines go, within minutes.
func surgeQuota() Check {
	return Check{
		Name: "surge-quota", Severities: []upgrade.Severity{upgrade.Warning, upgrade.UnknownSeverity, upgrade.Info},
		Title: "The new nodes need more CPUs or machines than the region's quotas leave",
		Why:   "A migration has old and new nodes at the same time. The provider makes as many as the quota allows and fails then, before an old node of that pool is touched.",
		find:  findQuotas,
	}
}

func findQuotas(in Input) []upgrade.Finding {
	if len(in.Steps) == 0 {
		return nil
	}
	const what = "whether the new nodes are within them"
	if found := in.unknownOfProject(what, upgrade.ReadQuotas, "compute.googleapis.com", in.showQuotas()); len(found) > 0 {
		return found
	}
	var found []upgrade.Finding
	done := map[string]bool{}
	for _, p := range in.changed() {
		q, ok := in.cpuQuota(p)
		switch {
		case len(in.Cluster.Quotas) == 0 || in.newNodes(p) == 0: // the provider has no quotas, or nothing is asked of them
		case !ok:
			found = append(found, upgrade.Finding{
				Severity: upgrade.Info, Momentary: true, Object: nodePool(p.Name),
				Problem: "has CPUs of which none of the region's quotas is known to count them: whether the new nodes are within theirs cannot be told",
				Remedy:  in.showQuotas(),
			})
		case !done[q.Metric]:
			done[q.Metric] = true
			found = append(found, in.within(q, "CPUs", func(p upgrade.PoolPlan) int64 {
				if other, ok := in.cpuQuota(p); !ok || other.Metric != q.Metric {
					return 0
				}
				return in.cpus(p)
			})...)
		}
	}
	if q, ok := in.quota("INSTANCES"); ok {
		found = append(found, in.within(q, "machines", func(upgrade.PoolPlan) int64 { return 1 })...)
	}
	return found
}

// within looks whether a quota leaves what the plan's nodes need, each node what each says of its pool.
func (in Input) within(q upgrade.Quota, things string, each func(upgrade.PoolPlan) int64) []upgrade.Finding {
	needs, free := in.surge(in.Steps, each), max(0, q.Limit-q.Used)
	if float64(needs) <= free { // no limit is told as a very large one
		return nil
	}
	f := upgrade.Finding{
		Severity: upgrade.Warning, Momentary: true, Object: upgrade.Ref{Kind: "Quota", Name: q.Metric},
		Problem: fmt.Sprintf("leaves %.0f of %.0f %s in %s, and the new nodes need %d: they are not all made", math.Floor(free), q.Limit, things, region(in.Cluster), needs),
		Remedy:  in.showQuotas() + " # and ask the provider for more",
	}
	if float64(in.surge(in.oneByOne(), each)) <= free {
		f.Remedy = " # delete-old-pools: each, so that a pool's " + things + " are free again before the next one is made"
	}
	for _, p := range in.changed() {
		if n := in.newNodes(p); n > 0 && each(p) > 0 {
			f.Evidence = append(f.Evidence, fmt.Sprintf("pool %s: new nodes %d, %s a node %d", p.Name, n, things, each(p)))
		}
	}
	return []upgrade.Finding{f}
}

// cpuQuota is the quota that counts the CPUs of a pool's nodes, false if that cannot be told. N1 and E2 share one, and E2_CPUS, which is told
// besides, counts nothing. Other families have their own, but newer ones have theirs where a region does not tell it: a quota counts only
// if it has counted the nodes that are there. Spot nodes have theirs in a project that was given one.
func (in Input) cpuQuota(p upgrade.PoolPlan) (upgrade.Quota, bool) {
	node, ok := in.nodeLike(p)
	if !ok {
		return upgrade.Quota{}, false
	}
	if q, ok := in.quota("PREEMPTIBLE_CPUS"); ok && q.Limit > 0 && spot(node.Labels) {
		return q, true
	}
	switch family := family(node.Labels); family {
	case "":
		return upgrade.Quota{}, false
	case "n1", "e2":
		return in.quota("CPUS")
	default:
		q, ok := in.quota(strings.ToUpper(family) + "_CPUS")
		return q, ok && q.Used >= float64(int64(len(p.Nodes))*in.cpus(p))
	}
}

// quota is one of the region's by its metric.
func (in Input) quota(metric string) (upgrade.Quota, bool) {
	i := slices.IndexFunc(in.Cluster.Quotas, func(q upgrade.Quota) bool { return q.Metric == metric })
	if i < 0 {
		return upgrade.Quota{}, false
	}
	return in.Cluster.Quotas[i], true
}

// cpus is how many a node of the pool has: what pods may have, and the part of a core that the system keeps.
func (in Input) cpus(p upgrade.PoolPlan) int64 {
	node, _ := in.nodeLike(p)
	return (node.Allocatable["cpu"] + 999) / 1000
}

// nodeLike is the smallest of the pool's nodes, as which new ones are made.
func (in Input) nodeLike(p upgrade.PoolPlan) (upgrade.NodeShape, bool) {
	var least upgrade.NodeShape
	found := false
	for _, name := range p.Nodes {
		n, ok := in.Inventory.Nodes[name]
		if cpu := n.Allocatable["cpu"]; ok && cpu > 0 && (!found || cpu < least.Allocatable["cpu"]) {
			least, found = n, true
		}
	}
	return least, found
}

// family is a node's machine family: "n2".
func family(labels map[string]string) string {
	if f := labels["cloud.google.com/machine-family"]; f != "" {
		return f
	}
	f, _, _ := strings.Cut(labels["node.kubernetes.io/instance-type"], "-")
	return f
}

// spot tells nodes that can be taken away.
func spot(labels map[string]string) bool {
	return labels["cloud.google.com/gke-spot"] == "true" || labels["cloud.google.com/gke-preemptible"] == "true"
}

// region is the one that the cluster is in, or its zone.
func region(c upgrade.Cluster) string {
	if i := strings.LastIndex(c.Location, "-"); !c.Regional && i > 0 {
		return c.Location[:i]
	}
	return c.Location
}

// showQuotas is the command that shows the region's quotas.
func (in Input) showQuotas() string {
	return fmt.Sprintf("gcloud compute regions describe %s --project %s --format 'yaml(quotas)'", region(in.Cluster), in.Cluster.Project)
}
