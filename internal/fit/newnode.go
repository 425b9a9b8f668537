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

// ByHand are the labels of a pool's node that somebody has put there by hand: neither Kubernetes, nor the provider, nor the pool's
// configuration gives them, so the nodes of a new pool do not have them.
func ByHand(pool upgrade.Pool, labels map[string]string) map[string]string {
	var put map[string]string
	for key, value := range labels {
		if given, ok := pool.Labels[key]; official(key) || ok && given == value {
			continue
		}
		if put == nil {
			put = map[string]string{}
		}
		put[key] = value
	}
	return put
}

// official tells whether Kubernetes or a provider gives a label to nodes by itself, by its domain.
func official(key string) bool {
	domain, _, ok := strings.Cut(key, "/")
	return ok && slices.ContainsFunc([]string{"kubernetes.io", "k8s.io", "cloud.google.com", "gke.io"}, func(d string) bool {
		return domain == d || strings.HasSuffix(domain, "."+d)
	})
}

// Node is a node of a new pool that is not there yet.
type Node struct {
	Name, Zone string
	upgrade.NodeShape
}

// NewNodes are the nodes that a new pool will have beside those that are there already (of a pool that is adopted). What they will be
// like is known from the old pool's nodes: nil if nothing is known of any of them.
func NewNodes(s upgrade.Snapshot, p upgrade.PoolPlan) []Node {
	pool := poolOf(s.Cluster, p.Name)
	old := oldNodes(s, p.Name)
	if len(old) == 0 {
		return nil
	}
	least := leastOf(old)
	there := map[string]int{}
	for _, n := range s.State.PoolNodes(p.NewName) {
		there[n.Zone]++
	}
	var nodes []Node
	for _, zone := range p.Zones {
		like := inZone(old, zone)
		for i := there[zone] + 1; i <= p.NodesPerZone; i++ {
			n := Node{Name: fmt.Sprintf("%s-%s-%d", p.NewName, zone, i), Zone: zone}
			n.Labels = newLabels(s.Cluster, pool, p.NewName, n.Name, like)
			n.Taints, n.Allocatable = pool.Taints, least
			n.Image, n.Kernel, n.Runtime = like.Image, like.Kernel, like.Runtime
			nodes = append(nodes, n)
		}
	}
	return nodes
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

// inZone is a node of the zone, or another one as it would be there.
func inZone(nodes []Node, zone string) Node {
	if i := slices.IndexFunc(nodes, func(n Node) bool { return n.Zone == zone }); i >= 0 {
		return nodes[i]
	}
	like := nodes[0]
	like.Labels = maps.Clone(like.Labels)
	for _, key := range zoneLabels {
		if _, ok := like.Labels[key]; ok {
			like.Labels[key] = zone
		}
	}
	return like
}

func newLabels(c upgrade.Cluster, pool upgrade.Pool, newPool, name string, like Node) map[string]string {
	labels := map[string]string{}
	for key, value := range like.Labels {
		if official(key) {
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
