package fit

import (
	"cmp"
	"slices"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// model is everything about a cluster that stays as it is while pods are placed. Things refer to each other by index.
type model struct {
	// resources are the names of what pods ask for; the first two are always cpu and memory.
	resources []string
	// keys are the topology keys that pods care about, and domains, by key and node, the node's domain, none where it has no such label.
	// The first key is the hostname.
	keys    []string
	domains [][]int32
	nodes   []node
	groups  []group
	pods    []pod
	kinds   []*kind
	socials []*social
	tallies []tally
	spreads []spread
	scopes  []scope
	// workloads are those of pods, and claims how many there are that only one pod can have.
	workloads []upgrade.Ref
	claims    int
	// every is all nodes; nodeNamed finds them by name.
	nodeNamed map[string]int32
	every     []int32
}

// none stands for no index.
const none = int32(-1)

// index is n in half the room: there are fewer than 2^31 of anything.
func index(n int) int32 { return int32(n) } //nolint:gosec // see above

const (
	cpu = iota
	memory
)

// node is a node, there or to come.
type node struct {
	name, pool, zone string
	labels           map[string]string
	// byHand are labels that a node to come has only if somebody puts them there again.
	byHand           map[string]string
	taints           []upgrade.Taint
	cordoned, usable bool
	allocatable      []int64
	slots            int32
	zoneIndex        int32
	group            int32
	// elastic tells that the node's pool stays, and has an autoscaler that may add more such nodes.
	elastic bool
	// toCome tells that the node is not there before its pool is made.
	toCome bool
}

// group is nodes that are alike for every pod that does not care for a node's name: in taints and in the labels that anybody asks for.
type group struct {
	// of is one of them.
	of int32
}

// pod is a pod where it is in the beginning.
type pod struct {
	// kind and social are none for a pod of which only its place is known.
	kind, social int32
	node         int32
	workload     int32
	// of is the pod's index in the State, none for that of a DaemonSet and a static one on a node to come.
	of     int32
	claims []int32
	fate   fate
	// everywhere tells that other nodes of the pool have such a pod as well: it is a DaemonSet's or a static one.
	everywhere bool
	// terminating pods do not count for topology spread.
	terminating bool
}

// fate is what becomes of a pod when its node is drained.
type fate uint8

const (
	stays fate = iota
	moves
	goes
)

type request struct {
	resource int32
	amount   int64
}

// kind is what pods have in common of which it depends where they can run, other pods left aside but for the room that they take.
type kind struct {
	shape    *upgrade.PodShape
	requests []request
	// scored are cpu and memory as the scheduler's scoring has them, which assumes some for pods that ask for none.
	scored [2]int64
	// volumes are the terms of each volume that cannot be mounted everywhere.
	volumes [][]upgrade.NodeTerm
	// byName tells that a node's own name counts, so that alike nodes may differ.
	byName bool
	// named are the only nodes that come into question by their names, if it can be told.
	named []int32
}

// social is what pods have in common of which it depends where they can run because of other pods. All lists are empty for most.
type social struct {
	shape *upgrade.PodShape
	// counted and spreadCounted are where pods of it count.
	counted, spreadCounted []int32
	// avoids are the tallies that have to be zero in a node's domain by their own anti-affinity, avoided by that of others.
	avoids, avoided []int32
	// needs are the tallies that must not be zero, unless all are everywhere and the pods are what they need themselves.
	needs     []int32
	needsSelf bool
	spreads   []spreadRule
}

// solitary tells that other pods count only by the room that they take.
func (s *social) solitary() bool {
	return len(s.avoids)+len(s.avoided)+len(s.needs)+len(s.spreads) == 0
}

// tally counts certain pods in each domain of a key.
type tally struct{ key int32 }

// spread counts the pods that a topology spread constraint is about, in each domain of its scope.
type spread struct{ scope int32 }

// scope is which nodes a topology spread constraint looks at.
type scope struct {
	key  int32
	keys []int32
	// selecting and tolerating are pods whose node selector and tolerations the nodes have to suit, nil if any do.
	selecting, tolerating *upgrade.PodShape
}

type spreadRule struct {
	spread                    int32
	self, maxSkew, minDomains int32
}

// newModel is the cluster with the nodes that are to come.
func newModel(s upgrade.Snapshot, pools []upgrade.PoolPlan, jobs upgrade.JobPolicy) *model {
	b := newBuilder(jobs)
	for _, n := range s.State.Nodes {
		b.addNode(existing(s, pools, n))
	}
	static := map[string][]*upgrade.Pod{}
	for _, p := range pools {
		if p.Action != upgrade.Migrate {
			continue
		}
		for _, n := range NewNodes(s, p) {
			b.addNode(node{name: n.Name, pool: p.NewName, zone: n.Zone, labels: n.Labels, byHand: n.ByHand, taints: n.Taints, usable: true, toCome: true}, n.Allocatable)
		}
		static[p.NewName] = staticPods(s, p.Name)
	}
	b.orderNodes()
	b.pods = make([]pod, 0, len(s.State.Pods))
	b.namespaces = s.Inventory.Namespaces
	for i := range s.State.Pods {
		b.addPod(s, int32(i))
	}
	b.addDaemons(s.Inventory.Daemons)
	b.addStatic(s, static)
	return b.finish()
}

// existing is a node as it is, or as it will be once its pool is taken over.
func existing(s upgrade.Snapshot, pools []upgrade.PoolPlan, n upgrade.Node) (node, upgrade.Resources) {
	shape, known := s.Inventory.Nodes[n.Name]
	there := node{
		name: n.Name, pool: n.Pool, zone: n.Zone, labels: shape.Labels, taints: shape.Taints, cordoned: n.Unschedulable,
		usable: known && n.Ready && !poolOf(s.Cluster, n.Pool).Deleting,
	}
	there.elastic = there.usable && poolOf(s.Cluster, n.Pool).Autoscaling.Enabled && !slices.ContainsFunc(pools, func(p upgrade.PoolPlan) bool {
		return p.Action == upgrade.Migrate && (p.Name == n.Pool || p.NewName == n.Pool)
	})
	adopted := slices.ContainsFunc(pools, func(p upgrade.PoolPlan) bool {
		return p.Action == upgrade.Migrate && (p.Adopt || p.ByPeople) && p.NewName == n.Pool
	})
	if adopted {
		// The run waits for such a node to be Ready, and undoes its own cordon.
		there.usable, there.cordoned = known, n.Unschedulable && n.CordonedBy == ""
		there.taints = slices.DeleteFunc(slices.Clone(shape.Taints), conditions)
	}
	return there, shape.Allocatable
}

// interleave orders nodes as the scheduler goes through them: one of each zone in turn.
func interleave(nodes []node) []int32 {
	order := make([]int32, len(nodes))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(nodes[a].zone, nodes[b].zone), cmp.Compare(nodes[a].name, nodes[b].name))
	})
	rank := make([]int, len(nodes))
	for i := 1; i < len(order); i++ {
		if nodes[order[i]].zone == nodes[order[i-1]].zone {
			rank[order[i]] = rank[order[i-1]] + 1
		}
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(rank[a], rank[b]) })
	return order
}
