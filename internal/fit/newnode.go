package fit

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

const hostname = "kubernetes.io/hostname"

// zoneLabels are the labels of a node that name its zone.
var zoneLabels = []string{"topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone", "topology.gke.io/zone"}

// Node is a node of a new pool that is not there yet.
type Node struct {
	Name, Zone string
	upgrade.NodeShape
	// ByHand are labels that an old node has which it takes after, and that it has only if they are put by hand, or by something unknown,
	// again.
	ByHand map[string]string
}

// NewNodes are the nodes that a new pool will have. What they will be like is known from the old pool's nodes: nil if nothing is known of
// any of them. A pool that is adopted has its nodes already and gets no others, but for those that are still to come while it is being made, or that its
// autoscaler adds.
func NewNodes(s upgrade.Snapshot, p upgrade.PoolPlan) []Node {
	pool := poolOf(s.Cluster, p.Name)
	old := oldNodes(s, p.Name)
	if len(old) == 0 || p.Adopt && !p.Grows && !BeingMade(s.Cluster, p.NewName) {
		return nil
	}
	least, there := leastOf(old), map[string]int{}
	name := p.Name // of a pool that is upgraded in place, all of whose nodes are made again
	if !p.ByProvider() {
		name = p.NewName
		for _, n := range s.State.PoolNodes(name) {
			there[n.Zone]++
		}
	}
	var nodes []Node
	for _, zone := range p.Zones {
		models := inZone(old, zone)
		for i := there[zone]; i < p.MostPerZone(); i++ {
			like := models[i%len(models)]
			n := Node{Name: fmt.Sprintf("%s-%s-%d", name, zone, i+1), Zone: zone, ByHand: ByHand(pool, like.Labels)}
			delete(n.ByHand, s.Cluster.PoolLabel)
			n.Labels = newLabels(s.Cluster, pool, name, n.Name, like)
			n.Taints, n.Allocatable = newTaints(pool, like.Taints), least
			n.Image, n.Kernel, n.Runtime = like.Image, like.Kernel, like.Runtime
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// BeingMade tells whether the provider is at work on the pool, so that it may not have all its nodes yet.
func BeingMade(c upgrade.Cluster, pool string) bool {
	return slices.ContainsFunc(c.Operations, func(o upgrade.Operation) bool { return o.Target == pool })
}

func poolOf(c upgrade.Cluster, name string) upgrade.Pool {
	i := slices.IndexFunc(c.Pools, func(p upgrade.Pool) bool { return p.Name == name })
	if i < 0 {
		return upgrade.Pool{Name: name}
	}
	return c.Pools[i]
}

// oldNodes are the pool's nodes of which something is known, by name.
func oldNodes(s upgrade.Snapshot, pool string) []Node {
	var old []Node
	for _, n := range s.State.PoolNodes(pool) {
		if shape, ok := s.Inventory.Nodes[n.Name]; ok {
			old = append(old, Node{Name: n.Name, Zone: n.Zone, NodeShape: shape})
		}
	}
	slices.SortFunc(old, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return old
}

// leastOf is, for each resource, what the node with the least of it has: machines of one type differ a little. A node without any does
// not count, since its device plugin may not have started yet.
func leastOf(nodes []Node) upgrade.Resources {
	least := upgrade.Resources{}
	for _, n := range nodes {
		for name, amount := range n.Allocatable {
			if was, ok := least[name]; amount > 0 && (!ok || amount < was) {
				least[name] = amount
			}
		}
	}
	return least
}

// inZone are the nodes of the zone, or another one as it would be there.
func inZone(nodes []Node, zone string) []Node {
	var there []Node
	for _, n := range nodes {
		if n.Zone == zone {
			there = append(there, n)
		}
	}
	if len(there) > 0 {
		return there
	}
	like := nodes[0]
	like.Labels = maps.Clone(like.Labels)
	for key, value := range like.Labels {
		if slices.Contains(zoneLabels, key) || discovered.has(key) && value == like.Zone {
			like.Labels[key] = zone
		}
	}
	return []Node{like}
}

func newLabels(c upgrade.Cluster, pool upgrade.Pool, newPool, name string, like Node) map[string]string {
	labels := map[string]string{}
	for key, value := range like.Labels {
		switch {
		case discovered.has(key) && value == like.Name:
			labels[key] = name // a driver whose volumes are disks of one node
		case comesAlong(pool, key, value):
			labels[key] = value
		}
	}
	maps.Copy(labels, pool.Labels)
	labels[hostname] = name
	if c.PoolLabel != "" {
		labels[c.PoolLabel] = newPool
	}
	return labels
}

// conditions tells of a taint that it comes and goes with a cordon or a condition of its node.
func conditions(t upgrade.Taint) bool { return strings.HasPrefix(t.Key, "node.kubernetes.io/") }
