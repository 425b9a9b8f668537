package preflight

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/upshift-k8s/upshift/internal/fit"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// lostLabels: labels that somebody put on nodes, and that end with them.
func lostLabels() Check {
	return Check{
		Name: "lost-labels", Severities: []upgrade.Severity{upgrade.Blocker},
		Title: "A pod selects nodes by a label that somebody put on them by hand",
		Why:   "The new pool's nodes have only the labels of its configuration, so once evicted the pod finds no node.",
		find:  findLostLabels,
	}
}

func findLostLabels(in Input) []upgrade.Finding {
	l := newLabelLoss(in)
	return byWorkload(in.Moving, func(p upgrade.Pod) bool { return len(l.of(p)) > 0 }, func(owner upgrade.Ref, of []upgrade.Pod) upgrade.Finding {
		labels, nodes := map[string]string{}, map[string]bool{}
		for _, p := range of {
			maps.Copy(labels, l.of(p))
			nodes[p.Node] = true
		}
		return upgrade.Finding{
			Severity: upgrade.Blocker, Object: owner,
			Problem: fmt.Sprintf("can run only on nodes with the label %s, which was put on %s by hand and which new nodes will not have",
				pairs(labels, ", "), few(slices.Sorted(maps.Keys(nodes)))),
			Evidence: keys(of),
			Remedy:   in.label(l.planOf[of[0].Node].Name, labels),
		}
	})
}

// labelLoss finds the labels that pods lose. It remembers what it has found, since many pods are alike.
type labelLoss struct {
	Input
	pinned func(upgrade.Pod) bool
	planOf map[string]upgrade.PoolPlan
	// fresh is a new node of each zone, by the old pool, and stays are the nodes that are not drained.
	fresh map[string][]fit.Node
	stays []upgrade.Node
	found map[shapeOn]map[string]string
}

type shapeOn struct {
	shape *upgrade.PodShape
	node  string
}

func newLabelLoss(in Input) *labelLoss {
	l := &labelLoss{Input: in, pinned: in.pinned(), planOf: map[string]upgrade.PoolPlan{}, fresh: map[string][]fit.Node{}, found: map[shapeOn]map[string]string{}}
	for _, p := range in.Pools {
		if p.Action != upgrade.Migrate {
			continue
		}
		l.fresh[p.Name] = slices.CompactFunc(fit.NewNodes(in.Snapshot, p), func(a, b fit.Node) bool { return a.Zone == b.Zone })
		for _, n := range p.Nodes {
			l.planOf[n] = p
		}
	}
	for _, n := range in.State.Nodes {
		if _, ok := l.planOf[n.Name]; !ok {
			l.stays = append(l.stays, n)
		}
	}
	return l
}

// of are the labels put by hand without which the pod, which moves, can run on no node; none if it can run without them, or is pinned.
func (l *labelLoss) of(p upgrade.Pod) map[string]string {
	shape := l.Inventory.Pods[p.UID]
	if shape == nil || len(shape.NodeSelector)+len(shape.NodeTerms) == 0 || !l.moves(p) || l.pinned(p) {
		return nil
	}
	at := shapeOn{shape, p.Node}
	if _, ok := l.found[at]; !ok {
		l.found[at] = l.lost(shape, p.Node)
	}
	return l.found[at]
}

func (l *labelLoss) lost(shape *upgrade.PodShape, node string) map[string]string {
	pool := l.planOf[node].Name
	lost := fit.ByHand(l.pool(pool), l.Inventory.Nodes[node].Labels)
	maps.DeleteFunc(lost, func(key, _ string) bool { return !asksFor(shape, key) })
	if len(lost) == 0 || l.elsewhere(shape) {
		return nil
	}
	// They are what it lacks if new nodes with them would do.
	for _, n := range l.fresh[pool] {
		labels := maps.Clone(n.Labels)
		maps.Copy(labels, lost)
		if fit.Selects(shape, n.Name, labels) {
			return lost
		}
	}
	return nil
}

// elsewhere tells whether the pod may run on some node that the plan makes or leaves.
func (l *labelLoss) elsewhere(shape *upgrade.PodShape) bool {
	for _, nodes := range l.fresh {
		if slices.ContainsFunc(nodes, func(n fit.Node) bool { return fit.Selects(shape, n.Name, n.Labels) }) {
			return true
		}
	}
	return slices.ContainsFunc(l.stays, func(n upgrade.Node) bool { return fit.Selects(shape, n.Name, l.Inventory.Nodes[n.Name].Labels) })
}

// asksFor tells whether the pod's node selector or required node affinity names the label.
func asksFor(shape *upgrade.PodShape, key string) bool {
	if _, ok := shape.NodeSelector[key]; ok {
		return true
	}
	return slices.ContainsFunc(shape.NodeTerms, func(t upgrade.NodeTerm) bool {
		return slices.ContainsFunc(t.Labels, func(r upgrade.Requirement) bool { return r.Key == key })
	})
}

// label is the command that gives the pool the labels. It replaces all that the pool was given, so it names those as well.
func (in Input) label(pool string, labels map[string]string) string {
	all := map[string]string{}
	maps.Copy(all, in.pool(pool).Labels)
	maps.Copy(all, labels)
	return fmt.Sprintf("gcloud container node-pools update %s --cluster %s --location %s --project %s --node-labels %s",
		pool, in.Cluster.Name, in.Cluster.Location, in.Cluster.Project, pairs(all, ","))
}

func pairs(labels map[string]string, between string) string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		list = append(list, key+"="+labels[key])
	}
	return strings.Join(list, between)
}

// few names up to three nodes.
func few(nodes []string) string {
	switch n := len(nodes); {
	case n == 1:
		return "node " + nodes[0]
	case n <= 3:
		return "nodes " + strings.Join(nodes, ", ")
	}
	return fmt.Sprintf("nodes %s and %d more", strings.Join(nodes[:3], ", "), len(nodes)-3)
}
