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
		Name: "lost-labels", Severities: []upgrade.Severity{upgrade.Blocker, upgrade.Warning},
		Title: "Pods select nodes by a label that somebody put on them by hand",
		Why: "The new pool's nodes have only the labels of its configuration: an evicted pod finds no node, and a DaemonSet has no pod on them. " +
			"For the provider's own DaemonSets it is a warning.",
		find: findLostLabels,
	}
}

func findLostLabels(in Input) []upgrade.Finding {
	l := in.lost
	found := byWorkload(in.Moving, func(p upgrade.Pod) bool { return len(l.of(p)) > 0 }, func(owner upgrade.Ref, of []upgrade.Pod) upgrade.Finding {
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
			Remedy:   l.remedy(l.planOf[of[0].Node].Name, labels),
		}
	})
	for _, d := range l.daemons() {
		if len(d.labels) > 0 {
			found = append(found, d.finding(fmt.Sprintf("runs only on nodes with the label %s, which was put on %s by hand: no new node of pool %s will have it, nor a pod of this DaemonSet",
				pairs(d.labels, ", "), few(d.nodes), d.pool), l.remedy(d.pool, d.labels)))
		}
	}
	return found
}

// labelLoss finds the labels that pods lose. It remembers what it has found, since many pods are alike.
type labelLoss struct {
	Input
	pinned  func(upgrade.Pod) bool
	removed []removedLabel
	planOf  map[string]upgrade.PoolPlan
	// fresh are the new nodes of each old pool, one of those that are alike, and stays the labels of the nodes that are not drained.
	fresh map[string][]fit.Node
	stays []fit.Node
	// byHand are the labels put by hand on nodes that are drained.
	byHand map[string]map[string]string
	// everywhere are those that all of a pool's nodes have, with one value.
	everywhere map[string]map[string]string
	// lost is what pods that select alike lose of them, by node, and goes whether such pods can run on some node that the plan makes or leaves.
	lost map[selectionOn]map[string]string
	goes map[string]bool
	// selections are what shapes select nodes by.
	selections map[*upgrade.PodShape]string
}

type selectionOn struct{ selection, node string }

func newLabelLoss(in Input) *labelLoss {
	l := &labelLoss{
		Input: in, pinned: in.pinned(), removed: in.removed(), planOf: map[string]upgrade.PoolPlan{}, fresh: map[string][]fit.Node{}, byHand: map[string]map[string]string{}, everywhere: map[string]map[string]string{},
		lost: map[selectionOn]map[string]string{}, goes: map[string]bool{}, selections: map[*upgrade.PodShape]string{},
	}
	for _, p := range in.changed() {
		fresh := fit.NewNodes(in.Snapshot, p)
		if p.NewName != "" {
			fresh = append(fresh, in.nodesOf(p.NewName)...)
		}
		l.fresh[p.Name] = distinctNodes(fresh)
		for _, n := range p.Nodes {
			l.planOf[n] = p
			l.byHand[n] = fit.ByHand(in.pool(p.Name), in.Inventory.Nodes[n].Labels)
			delete(l.byHand[n], in.Cluster.PoolLabel)
		}
		l.everywhere[p.Name] = l.common(p.Nodes)
	}
	for _, n := range in.State.Nodes {
		if _, ok := l.planOf[n.Name]; !ok {
			l.stays = append(l.stays, fit.Node{Name: n.Name, NodeShape: in.Inventory.Nodes[n.Name]})
		}
	}
	return l
}

// common are the labels put by hand that all of the nodes have, with one value.
func (l *labelLoss) common(nodes []string) map[string]string {
	var all map[string]string
	for i, n := range nodes {
		if i == 0 {
			all = maps.Clone(l.byHand[n])
		}
		maps.DeleteFunc(all, func(key, value string) bool {
			there, ok := l.byHand[n][key]
			return !ok || there != value
		})
	}
	return all
}

// nodesOf are a pool's nodes of which something is known.
func (in Input) nodesOf(pool string) []fit.Node {
	var nodes []fit.Node
	for _, n := range in.State.PoolNodes(pool) {
		if shape, ok := in.Inventory.Nodes[n.Name]; ok {
			nodes = append(nodes, fit.Node{Name: n.Name, Zone: n.Zone, NodeShape: shape})
		}
	}
	return nodes
}

// distinctNodes are one node of those that differ in nothing but their names.
func distinctNodes(nodes []fit.Node) []fit.Node {
	var list []fit.Node
	seen := map[string]bool{}
	for _, n := range nodes {
		labels := maps.Clone(n.Labels)
		maps.DeleteFunc(labels, func(_, value string) bool { return value == n.Name })
		if like := fmt.Sprint(labels); !seen[like] {
			seen[like] = true
			list = append(list, n)
		}
	}
	return list
}

// of are the labels put by hand without which the pod, which moves, can run on no node; none if it can run without them, or is pinned.
func (l *labelLoss) of(p upgrade.Pod) map[string]string {
	shape := l.Inventory.Pods[p.UID]
	if shape == nil || len(shape.NodeSelector)+len(shape.NodeTerms) == 0 || len(l.byHand[p.Node]) == 0 || !l.moves(p) || l.pinned(p) {
		return nil
	}
	at := selectionOn{l.selection(shape), p.Node}
	if _, ok := l.lost[at]; !ok {
		l.lost[at] = l.find(shape, at)
	}
	return l.lost[at]
}

// selection is the same for shapes that select nodes alike.
func (l *labelLoss) selection(shape *upgrade.PodShape) string {
	if _, ok := l.selections[shape]; !ok {
		l.selections[shape] = fmt.Sprintf("%q %q", shape.NodeSelector, shape.NodeTerms)
	}
	return l.selections[shape]
}

func (l *labelLoss) find(shape *upgrade.PodShape, at selectionOn) map[string]string {
	lost := l.missing(shape, at.node)
	if len(lost) == 0 {
		return nil
	}
	if _, ok := l.goes[at.selection]; !ok {
		l.goes[at.selection] = l.elsewhere(shape)
	}
	if l.goes[at.selection] {
		return nil
	}
	return lost
}

// missing are the labels put by hand on the node that the pods ask for, if new nodes of its pool would do with them.
func (l *labelLoss) missing(shape *upgrade.PodShape, node string) map[string]string {
	lost := maps.Clone(l.byHand[node])
	maps.DeleteFunc(lost, func(key, _ string) bool { return !asksFor(shape, key) })
	if len(lost) == 0 || l.asksForRemoved(shape) {
		return nil
	}
	for _, n := range l.fresh[l.planOf[node].Name] {
		labels := maps.Clone(n.Labels)
		maps.Copy(labels, lost)
		if fit.Selects(shape, n.Name, labels) {
			return lost
		}
	}
	return nil
}

// asksForRemoved tells of pods that removed-labels finds, whoever put the label there.
func (l *labelLoss) asksForRemoved(shape *upgrade.PodShape) bool {
	return slices.ContainsFunc(l.removed, func(r removedLabel) bool { return requires(shape, r.key) })
}

// elsewhere tells whether the pods may run on some node that the plan makes or leaves.
func (l *labelLoss) elsewhere(shape *upgrade.PodShape) bool {
	selects := func(n fit.Node) bool { return fit.Selects(shape, n.Name, n.Labels) }
	for _, nodes := range l.fresh {
		if slices.ContainsFunc(nodes, selects) {
			return true
		}
	}
	return slices.ContainsFunc(l.stays, selects)
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

// remedy gives the pool the labels, if all its nodes have them; there may be others who need nodes without them otherwise.
func (l *labelLoss) remedy(pool string, labels map[string]string) string {
	const orAccept = "or accept it if something gives this label to new nodes by itself"
	everywhere := l.everywhere[pool]
	uniform := true
	for key, value := range labels {
		there, ok := everywhere[key]
		uniform = uniform && ok && there == value
	}
	if uniform {
		return l.label(pool, labels) + " # and plan again; " + orAccept
	}
	return fmt.Sprintf("kubectl get nodes -l %s=%s -L %s # make a pool of their own, with the label, for the nodes that need it; %s",
		l.Cluster.PoolLabel, pool, strings.Join(slices.Sorted(maps.Keys(labels)), ","), orAccept)
}

// label is the command that gives the pool the labels, or the one that takes over from it if that is there already. It replaces all that the
// pool was given, so it names those as well.
func (in Input) label(pool string, labels map[string]string) string {
	to := in.grown(pool)
	if in.planned(pool).ByPeople {
		return fmt.Sprintf("kubectl label nodes -l %s=%s %s", in.Cluster.PoolLabel, in.planned(pool).NewName, pairs(labels, " "))
	}
	all := map[string]string{}
	maps.Copy(all, in.pool(to).Labels)
	maps.Copy(all, labels)
	return fmt.Sprintf("gcloud container node-pools update %s --cluster %s --location %s --project %s --node-labels %s",
		to, in.Cluster.Name, in.Cluster.Location, in.Cluster.Project, pairs(all, ","))
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
