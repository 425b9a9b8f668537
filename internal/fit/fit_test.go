package fit_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/fit"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// scene is a cluster of one pool with two nodes of four cores in each of the zones a and b, half full: on each node a DaemonSet's pod and a
// pod of a Deployment that asks for 1.8 cores.
type scene struct {
	upgrade.Snapshot
	pools []upgrade.PoolPlan
}

func newScene() *scene {
	s := &scene{Snapshot: upgrade.Snapshot{
		Cluster: upgrade.Cluster{PoolLabel: "pool", Pools: []upgrade.Pool{{Name: "old", Zones: []string{"a", "b"}}}},
		Inventory: upgrade.Inventory{
			Nodes: map[string]upgrade.NodeShape{}, Pods: map[string]*upgrade.PodShape{}, Volumes: map[string][]upgrade.Volume{}, Namespaces: map[string]map[string]string{},
		},
	}}
	agent := upgrade.Ref{Kind: "DaemonSet", Namespace: "kube-system", Name: "agent", UID: "agent"}
	shape := &upgrade.PodShape{Namespace: "kube-system", Requests: upgrade.Resources{"cpu": 200}, Tolerations: []upgrade.Toleration{{Operator: "Exists"}}}
	s.Inventory.Daemons = []upgrade.Daemon{{Ref: agent, Shape: shape}}
	s.pools = []upgrade.PoolPlan{{Name: "old", NewName: "new", Action: upgrade.Migrate, Zones: []string{"a", "b"}, NodesPerZone: 2}}
	for i, zone := range []string{"a", "b", "a", "b"} {
		name := fmt.Sprintf("old-%d", i)
		s.node(name, "old", zone)
		s.pools[0].Nodes = append(s.pools[0].Nodes, name)
		s.pod(agent, fmt.Sprintf("agent-%d", i), name, shape)
	}
	s.deployment("web", 1800, 4)
	return s
}

func (s *scene) node(name, pool, zone string) {
	s.State.Nodes = append(s.State.Nodes, upgrade.Node{Name: name, Pool: pool, Zone: zone, Ready: true})
	s.Inventory.Nodes[name] = upgrade.NodeShape{
		Labels:      map[string]string{"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone, "pool": pool},
		Allocatable: upgrade.Resources{"cpu": 4000, "memory": 16 << 30, "pods": 20},
	}
}

func (s *scene) pod(owner upgrade.Ref, name, node string, shape *upgrade.PodShape) {
	s.State.Pods = append(s.State.Pods, upgrade.Pod{Namespace: owner.Namespace, Name: name, UID: name, Node: node, Workload: owner, Ready: true})
	s.Inventory.Pods[name] = shape
}

// deployment adds one, spread over the old nodes.
func (s *scene) deployment(name string, cpu int64, replicas int) *upgrade.PodShape {
	owner := upgrade.Ref{Kind: "Deployment", Namespace: "shop", Name: name, UID: name}
	shape := &upgrade.PodShape{Namespace: "shop", Labels: map[string]string{"app": name}, Requests: upgrade.Resources{"cpu": cpu}}
	for i := range replicas {
		s.pod(owner, fmt.Sprintf("%s-%d", name, i), fmt.Sprintf("old-%d", i%4), shape)
	}
	return shape
}

// kept adds a pool that stays, a node for one Deployment alone whose only pod is on the old pool.
func (s *scene) kept(cpu int64) {
	s.deployment("big", cpu, 1).Tolerations = []upgrade.Toleration{{Key: "big", Operator: "Exists"}}
	s.node("other-0", "other", "a")
	shape := s.Inventory.Nodes["other-0"]
	shape.Taints = []upgrade.Taint{{Key: "big", Effect: "NoSchedule"}}
	s.Inventory.Nodes["other-0"] = shape
	s.Cluster.Pools = append(s.Cluster.Pools, upgrade.Pool{Name: "other", Zones: []string{"a"}})
}

// grows is kept with an autoscaler, and with a taint on the new pool that only web tolerates.
func (s *scene) grows(cpu int64) {
	s.kept(cpu)
	s.Cluster.Pools[1].Autoscaling.Enabled = true
	s.Cluster.Pools[0].Taints = []upgrade.Taint{{Key: "everybody", Effect: "NoSchedule"}}
	s.web().Tolerations = []upgrade.Toleration{{Key: "everybody", Operator: "Exists"}}
}

// adopted gives the new pool so many nodes that an earlier run has made.
func (s *scene) adopted(nodes int) {
	s.pools[0].Adopt = true
	for i := range nodes {
		s.node(fmt.Sprintf("new-%d", i), "new", []string{"a", "b"}[i%2])
		s.State.Nodes[4+i].Ready = false // they are waited for
		s.pod(s.Inventory.Daemons[0].Ref, fmt.Sprintf("agent-new-%d", i), fmt.Sprintf("new-%d", i), s.Inventory.Daemons[0].Shape)
	}
}

// static puts a static pod on the node.
func (s *scene) static(node string, requests upgrade.Resources) *upgrade.PodShape {
	shape := &upgrade.PodShape{Namespace: "kube-system", Requests: requests}
	s.pod(upgrade.Ref{}, "proxy-"+node, node, shape)
	last := &s.State.Pods[len(s.State.Pods)-1]
	last.Namespace, last.Mirror = "kube-system", true
	return shape
}

func (s *scene) web() *upgrade.PodShape { return s.Inventory.Pods["web-0"] }

// relabel changes the labels of an old node.
func (s *scene) relabel(node, key, value string) {
	labels := maps.Clone(s.Inventory.Nodes[node].Labels)
	labels[key] = value
	shape := s.Inventory.Nodes[node]
	shape.Labels = labels
	s.Inventory.Nodes[node] = shape
}

func alike(app string) upgrade.Selector {
	return upgrade.Selector{Requirements: []upgrade.Requirement{{Key: "app", Operator: "In", Values: []string{app}}}}
}

func in(key string, values ...string) upgrade.NodeTerm {
	return upgrade.NodeTerm{Labels: []upgrade.Requirement{{Key: key, Operator: "In", Values: values}}}
}

// apart keeps pods of an app off each other's domains.
func apart(app, key string) []upgrade.PodTerm {
	return []upgrade.PodTerm{{Selector: alike(app), TopologyKey: key, Namespaces: []string{"shop"}, NamespaceSelector: upgrade.Selector{Nothing: true}}}
}

// TestSimulate: each case changes one thing in a cluster that fits.
func TestSimulate(t *testing.T) {
	const zone, host = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
	for name, test := range map[string]struct {
		change  func(*scene)
		verdict fit.Verdict
		// want are the workloads that are stuck, how many pods, the node, and why.
		want []string
	}{
		"a pool that is half full": {func(*scene) {}, fit.Fits, nil},
		"a pod that is larger than what any new node has free": {func(s *scene) { s.deployment("big", 3900, 1) }, fit.DoesNotFit,
			[]string{"Deployment shop/big 1 old-0: 0 of 4 nodes: 4 insufficient cpu (asks 3.9, most free is 3.8)"}},
		"a pod that is larger than a node": {func(s *scene) { s.deployment("big", 5000, 1) }, fit.DoesNotFit,
			[]string{"Deployment shop/big 1 old-0: 0 of 4 nodes: 4 insufficient cpu (asks 5, such a node has 4 free when it is empty)"}},
		"nodes that end up above 90 percent": {func(s *scene) { s.deployment("more", 1900, 4) }, fit.Tight, nil},
		"room that only a lucky order finds": {func(s *scene) { s.deployment("more", 900, 3); s.deployment("z-big", 1900, 2) }, fit.Tight,
			[]string{"Deployment shop/web 1 old-3: 0 of 4 nodes: 4 insufficient cpu (asks 1.8, most free is 1.1)"}},
		"a node selector for the old pool": {func(s *scene) { s.web().NodeSelector = map[string]string{"pool": "old"} }, fit.DoesNotFit,
			[]string{"Deployment shop/web 4 old-0: 0 of 4 nodes: 4 did not match the node selector or affinity"}},
		"the same, known already": {func(s *scene) {
			s.web().NodeSelector = map[string]string{"pool": "old", "known": ""}
		}, fit.Fits, nil},
		"a label that somebody put on the nodes": {func(s *scene) {
			s.web().NodeSelector = map[string]string{"disk": "ssd"}
			for _, n := range s.pools[0].Nodes {
				s.relabel(n, "disk", "ssd")
			}
		}, fit.DoesNotFit, []string{"Deployment shop/web 4 old-0: 0 of 4 nodes: 4 did not match the node selector or affinity"}},
		"the same label in the pool's configuration": {func(s *scene) {
			s.web().NodeSelector = map[string]string{"disk": "ssd"}
			s.Cluster.Pools[0].Labels = map[string]string{"disk": "ssd"}
		}, fit.Fits, nil},
		"a taint in the pool's configuration": {func(s *scene) {
			s.Cluster.Pools[0].Taints = []upgrade.Taint{{Key: "dedicated", Effect: "NoSchedule"}}
		}, fit.DoesNotFit, []string{"Deployment shop/web 4 old-0: 0 of 4 nodes: 4 had an untolerated taint"}},
		"a new pool that has as many nodes as the fullest zone": {func(s *scene) {
			s.State.Nodes, s.pools[0].Nodes = s.State.Nodes[:3], s.pools[0].Nodes[:3]
		}, fit.Fits, nil},
		"a disk in a zone that the new pool is not in": {func(s *scene) {
			s.pools[0].Zones, s.pools[0].NodesPerZone = []string{"a"}, 4
			s.Inventory.Volumes["web-1"] = []upgrade.Volume{{Claim: "data", Terms: []upgrade.NodeTerm{in(zone, "b")}}}
		}, fit.DoesNotFit, []string{"Deployment shop/web 1 old-1: 0 of 4 nodes: 4 could not mount a volume there"}},
		"a disk of the old node": {func(s *scene) {
			s.Inventory.Volumes["web-2"] = []upgrade.Volume{{Claim: "data", Local: true, Terms: []upgrade.NodeTerm{in(host, "old-2")}}}
		}, fit.DoesNotFit, []string{"Deployment shop/web 1 old-2: 0 of 4 nodes: 4 could not mount a volume there"}},
		"five replicas that keep apart on four nodes": {func(s *scene) { s.deployment("db", 100, 5).AntiAffinity = apart("db", host) }, fit.DoesNotFit,
			[]string{"Deployment shop/db 1 old-3: 0 of 4 nodes: 4 did not match its pod anti-affinity"}},
		"pods that keep away from those of others": {func(s *scene) {
			guard := &upgrade.PodShape{Namespace: "shop", AntiAffinity: apart("web", zone)}
			for _, z := range []string{"a", "b"} {
				s.node("guarded-"+z, "other", z)
				s.pod(upgrade.Ref{Kind: "Deployment", Namespace: "shop", Name: "guard", UID: "guard"}, "guard-"+z, "guarded-"+z, guard)
			}
		}, fit.DoesNotFit, []string{"Deployment shop/web 4 old-0: 0 of 6 nodes: 6 did not satisfy the anti-affinity of other pods"}},
		"three replicas spread over the hosts, drained ones among them": {func(s *scene) {
			s.deployment("db", 100, 9).Spread = []upgrade.Spread{{TopologyKey: host, MaxSkew: 1, Selector: alike("db")}}
		}, fit.DoesNotFit, []string{"Deployment shop/db 5 old-1: 0 of 4 nodes: 4 did not satisfy its topology spread"}},
		"the same, with a spread that leaves out cordoned nodes": {func(s *scene) {
			s.deployment("db", 100, 9).Spread = []upgrade.Spread{{TopologyKey: host, MaxSkew: 1, Selector: alike("db"), HonorTaints: true}}
		}, fit.Fits, nil},
		"the same, with more domains wanted than there are": {func(s *scene) {
			s.deployment("db", 100, 9).Spread = []upgrade.Spread{{TopologyKey: host, MaxSkew: 1, MinDomains: 5, Selector: alike("db"), HonorTaints: true}}
		}, fit.DoesNotFit, []string{"Deployment shop/db 5 old-1: 0 of 4 nodes: 4 did not satisfy its topology spread"}},
		"a host port that two of its pods want on each node": {func(s *scene) { s.deployment("db", 100, 5).HostPorts = []upgrade.HostPort{{Port: 80}} }, fit.DoesNotFit,
			[]string{"Deployment shop/db 1 old-3: 0 of 4 nodes: 4 had no free host port"}},
		"a volume that another pod has, which only one can": {func(s *scene) {
			only := []upgrade.Volume{{Claim: "data", Exclusive: true}}
			s.Inventory.Volumes["web-1"], s.Inventory.Volumes["web-0"] = only, only
		}, fit.DoesNotFit, []string{"Deployment shop/web 1 old-0: 0 of 4 nodes: 4 had a volume in use by another pod"}},
		"pods that want to be near each other": {func(s *scene) {
			s.deployment("db", 100, 4).Affinity = apart("db", zone)
		}, fit.Fits, nil},
		"room in a pool that stays": {func(s *scene) { s.kept(3900) }, fit.Fits, nil},
		"no room in a pool that stays": {func(s *scene) { s.kept(4100) }, fit.DoesNotFit,
			[]string{"Deployment shop/big 1 old-0: 0 of 5 nodes: 5 insufficient cpu (asks 4.1, such a node has 4 free when it is empty)"}},
		"no room in a pool that stays and grows, unless it does": {func(s *scene) {
			s.grows(3900)
			s.pod(upgrade.Ref{Kind: "Deployment", Namespace: "shop", Name: "there", UID: "there"}, "there", "other-0", &upgrade.PodShape{Namespace: "shop", Requests: upgrade.Resources{"cpu": 2000}})
		}, fit.Tight, []string{"Deployment shop/big 1 old-0: 0 of 5 nodes: 4 had an untolerated taint, 1 insufficient cpu (asks 3.9, most free is 2) (grows other)"}},
		"no room in a pool that stays and grows, whose nodes have too much on them from the beginning": {func(s *scene) {
			s.grows(3900)
			s.pod(s.Inventory.Daemons[0].Ref, "agent-9", "other-0", s.Inventory.Daemons[0].Shape)
		}, fit.DoesNotFit, []string{"Deployment shop/big 1 old-0: 0 of 5 nodes: 4 had an untolerated taint, 1 insufficient cpu (asks 3.9, most free is 3.8)"}},
		"static pods, which new nodes have too": {func(s *scene) {
			s.static("old-1", upgrade.Resources{"cpu": 100})
			s.static("old-3", upgrade.Resources{"cpu": 300})
			s.deployment("big", 3700, 1)
		}, fit.DoesNotFit, []string{"Deployment shop/big 1 old-0: 0 of 4 nodes: 4 insufficient cpu (asks 3.7, most free is 3.5)"}},
		"a static pod's host port": {func(s *scene) {
			s.static("old-1", nil).HostPorts = []upgrade.HostPort{{Port: 10256}}
			s.web().HostPorts = []upgrade.HostPort{{Port: 10256}}
		}, fit.DoesNotFit, []string{"Deployment shop/web 4 old-0: 0 of 4 nodes: 4 had no free host port"}},
		"a DaemonSet of nodes with a label put by hand, which may be put on new ones": {func(s *scene) {
			s.Inventory.Daemons = append(s.Inventory.Daemons, upgrade.Daemon{
				Ref:   upgrade.Ref{Kind: "DaemonSet", Namespace: "shop", Name: "edge", UID: "edge"},
				Shape: &upgrade.PodShape{Namespace: "shop", NodeSelector: map[string]string{"edge": "yes"}, Requests: upgrade.Resources{"cpu": 3000}},
			})
			s.relabel("old-0", "edge", "yes")
			s.relabel("old-2", "edge", "yes")
			s.web().NodeSelector = map[string]string{zone: "a"}
		}, fit.DoesNotFit, []string{"Deployment shop/web 4 old-0: 0 of 4 nodes: 2 did not match the node selector or affinity, 2 insufficient cpu (asks 1.8, most free is 0.8)"}},
		"a label that the software on nodes puts there": {func(s *scene) {
			s.web().NodeSelector = map[string]string{"nvidia.com/gpu.product": "L4"}
			for _, n := range s.pools[0].Nodes {
				s.relabel(n, "nvidia.com/gpu.product", "L4")
			}
		}, fit.Fits, nil},
		"a pod that wants to be near one that leaves the same node later in the alphabet": {func(s *scene) {
			s.deployment("a-cache", 100, 1).Affinity = apart("db", zone)
			s.deployment("db", 100, 1)
		}, fit.Fits, nil},
		"two pods that want to be on one node, of which the last one may go anywhere": {func(s *scene) {
			shape := s.deployment("pair", 100, 1)
			shape.Affinity = apart("pair", host)
			s.pod(upgrade.Ref{Kind: "Deployment", Namespace: "shop", Name: "pair", UID: "pair"}, "pair-1", "old-0", shape)
		}, fit.DoesNotFit, []string{"Deployment shop/pair 1 old-0: 0 of 4 nodes: 4 did not match its pod affinity"}},
		"a pod that wants to be near one that finds no node": {func(s *scene) {
			s.deployment("a-cache", 100, 1).Affinity = apart("db", host)
			s.deployment("db", 9000, 1)
		}, fit.DoesNotFit, []string{
			"Deployment shop/a-cache 1 old-0: 0 of 4 nodes: 4 did not match its pod affinity",
			"Deployment shop/db 1 old-0: 0 of 4 nodes: 4 insufficient cpu (asks 9, such a node has 4 free when it is empty)"}},
		"room on a node that is not Ready": {func(s *scene) {
			s.deployment("big", 3900, 1)
			s.node("other-0", "other", "a")
			s.State.Nodes[4].Ready = false
		}, fit.DoesNotFit, []string{"Deployment shop/big 1 old-0: 0 of 4 nodes: 4 insufficient cpu (asks 3.9, most free is 3.8)"}},
		"a Job's pod, which is not moved": {func(s *scene) {
			s.pod(upgrade.Ref{Kind: "Job", Namespace: "shop", Name: "once", UID: "once"}, "once", "old-0", &upgrade.PodShape{Namespace: "shop", Requests: upgrade.Resources{"cpu": 9000}})
		}, fit.Fits, nil},
		"a pool that an earlier run has made": {func(s *scene) { s.adopted(4) }, fit.Fits, nil},
		"a pool that an earlier run has made half, which nobody makes larger": {func(s *scene) { s.adopted(1) }, fit.DoesNotFit,
			[]string{"Deployment shop/web 2 old-2: 0 of 1 nodes: 1 insufficient cpu (asks 1.8, most free is 0.2)"}},
		"a pool that is being made": {func(s *scene) {
			s.adopted(2)
			s.Cluster.Operations = []upgrade.Operation{{Name: "operation-1", Kind: "CREATE_NODE_POOL", Target: "new"}}
		}, fit.Fits, nil},
		"a pod that a driver of its own places": {func(s *scene) {
			s.deployment("big", 9000, 1).Unmodelled = []string{"a scheduler of its own (volcano)"}
		}, fit.Fits, nil},
		"nothing was read of pods": {func(s *scene) { s.deployment("big", 9000, 1); s.Inventory.Pods = nil }, fit.Fits, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene()
			test.change(s)
			o := fit.Options{Explained: map[string]bool{}}
			for uid, shape := range s.Inventory.Pods {
				if _, known := shape.NodeSelector["known"]; known {
					o.Explained[uid] = true
				}
			}
			r := fit.Simulate(s.Snapshot, s.pools, o)
			var got []string
			for _, stuck := range r.Stuck {
				line := fmt.Sprintf("%s %d %s: %s", stuck.Workload, stuck.Pods, stuck.Node, stuck.Why)
				if stuck.Grows != "" {
					line += " (grows " + stuck.Grows + ")"
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(test.want, got); diff != "" || r.Verdict != test.verdict {
				t.Errorf("%s, want %s\n%s", r.Verdict, test.verdict, diff)
			}
			slices.Reverse(s.State.Pods)
			slices.Reverse(s.State.Nodes)
			if diff := cmp.Diff(r, fit.Simulate(s.Snapshot, s.pools, o)); diff != "" {
				t.Errorf("another order of pods and nodes makes a difference\n%s", diff)
			}
		})
	}
}

// TestSecondPool: what a first pool leaves on its nodes counts for the next one until they are deleted, and what has landed on the second
// pool's nodes moves again.
func TestSecondPool(t *testing.T) {
	const zone = "topology.kubernetes.io/zone"
	for deleted, want := range map[bool]fit.Verdict{true: fit.Fits, false: fit.DoesNotFit} {
		s := newScene()
		s.pools = append(s.pools, upgrade.PoolPlan{Name: "second", NewName: "second-new", Action: upgrade.Migrate, Zones: []string{"a"}, NodesPerZone: 1, Nodes: []string{"second-0"}})
		s.Cluster.Pools = append(s.Cluster.Pools, upgrade.Pool{Name: "second", Zones: []string{"a"}})
		s.node("second-0", "second", "a")
		db := upgrade.Ref{Kind: "StatefulSet", Namespace: "shop", Name: "db", UID: "db"}
		s.pod(db, "db-0", "second-0", &upgrade.PodShape{
			Namespace: "shop", Labels: map[string]string{"app": "db"}, NodeSelector: map[string]string{zone: "a"}, Requests: upgrade.Resources{"cpu": 2000},
		})
		job := upgrade.Ref{Kind: "Job", Namespace: "shop", Name: "once", UID: "once"}
		s.pod(job, "once", "old-0", &upgrade.PodShape{Namespace: "shop", AntiAffinity: apart("db", zone)})
		if r := fit.Simulate(s.Snapshot, s.pools, fit.Options{DeleteEach: deleted}); r.Verdict != want {
			t.Errorf("deleted %t: %+v, want %s", deleted, r, want)
		}
	}
	s := newScene()
	s.pools = append(s.pools, upgrade.PoolPlan{Name: "second", NewName: "second-new", Action: upgrade.Migrate, Zones: []string{"a"}, NodesPerZone: 1, Nodes: []string{"second-0"}})
	s.Cluster.Pools = append(s.Cluster.Pools, upgrade.Pool{Name: "second", Zones: []string{"a"}})
	s.node("second-0", "second", "a")
	s.Cluster.Pools[0].Taints = []upgrade.Taint{{Key: "nothing", Effect: "NoSchedule"}}
	s.web().Requests = upgrade.Resources{"cpu": 900}
	s.Inventory.Nodes["second-0"].Allocatable["cpu"] = 3900
	s.Inventory.Nodes["second-0"].Allocatable["pods"] = 5
	if r := fit.Simulate(s.Snapshot, s.pools, fit.Options{}); len(r.Stuck) != 0 || len(r.Full) == 0 || r.Full[0].NewPool != "second-new" {
		t.Errorf("all of web has room in the second pool alone, and fills its new nodes: %+v", r)
	}
}

func TestWhatCannotBeTold(t *testing.T) {
	s := newScene()
	s.web().Unmodelled = []string{"a scheduler of its own (volcano)"}
	s.deployment("db", 100, 2)
	s.Inventory.Volumes["db-0"] = []upgrade.Volume{{Claim: "data", Unbound: "the claim is not bound"}}
	s.deployment("old", 100, 3)
	for i := range 3 {
		delete(s.Inventory.Pods, fmt.Sprintf("old-%d", i))
	}
	r := fit.Simulate(s.Snapshot, s.pools, fit.Options{})
	want := []fit.Unmodelled{
		{Workload: upgrade.Ref{Kind: "Deployment", Namespace: "shop", Name: "db", UID: "db"}, Pods: 1, Why: []string{"volume data: the claim is not bound"}},
		{Workload: upgrade.Ref{Kind: "Deployment", Namespace: "shop", Name: "web", UID: "web"}, Pods: 4, Why: []string{"a scheduler of its own (volcano)"}},
	}
	if diff := cmp.Diff(want, r.Unmodelled); diff != "" || r.Unread != 3 {
		t.Errorf("%d pods unread\n%s", r.Unread, diff)
	}
}

// TestNewNodes: what is known of the nodes to come is what the old ones have in common.
func TestNewNodes(t *testing.T) {
	s := newScene()
	s.Cluster.Pools[0].Labels, s.Cluster.Pools[0].Taints = map[string]string{"team": "shop"}, []upgrade.Taint{{Key: "dedicated", Effect: "NoSchedule"}}
	s.relabel("old-0", "team", "shop")
	s.relabel("old-0", "disk", "ssd")
	s.relabel("old-0", "node.kubernetes.io/instance-type", "e2-standard-4")
	shape := s.Inventory.Nodes["old-2"]
	shape.Allocatable = upgrade.Resources{"cpu": 3900, "memory": 17 << 30, "pods": 20, "nvidia.com/gpu": 0}
	shape.Taints = []upgrade.Taint{{Key: "by-hand", Effect: "NoSchedule"}}
	s.Inventory.Nodes["old-2"] = shape
	got := fit.NewNodes(s.Snapshot, s.pools[0])[0]
	want := fit.Node{Name: "new-a-1", Zone: "a", NodeShape: upgrade.NodeShape{
		Labels: map[string]string{
			"kubernetes.io/hostname": "new-a-1", "topology.kubernetes.io/zone": "a", "node.kubernetes.io/instance-type": "e2-standard-4", "pool": "new", "team": "shop",
		},
		Taints:      []upgrade.Taint{{Key: "dedicated", Effect: "NoSchedule"}},
		Allocatable: upgrade.Resources{"cpu": 3900, "memory": 16 << 30, "pods": 20},
	}, ByHand: map[string]string{"disk": "ssd"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestByHand: what new nodes do not get by themselves.
func TestByHand(t *testing.T) {
	labels := map[string]string{
		"team": "shop", "kubernetes.io/os": "linux", "cloud.google.com/gke-nodepool": "old", "node.kubernetes.io/masq-agent-ds-ready": "true", "topology.gke.io/zone": "a",
		"feature.node.kubernetes.io/cpu-model.id": "1", "nvidia.com/gpu.product": "L4", "topology.hostpath.csi/node": "n1",
		"disk": "ssd", "node-role.kubernetes.io/ingress": "", "node.kubernetes.io/exclude-from-external-load-balancers": "", "example.k8s.io/x": "", "color": "red",
	}
	want := map[string]string{"disk": "ssd", "node-role.kubernetes.io/ingress": "", "node.kubernetes.io/exclude-from-external-load-balancers": "", "example.k8s.io/x": "", "color": "red"}
	pool := upgrade.Pool{Labels: map[string]string{"team": "shop", "color": "blue"}}
	if diff := cmp.Diff(want, fit.ByHand(pool, labels)); diff != "" {
		t.Error(diff)
	}
	taints := []upgrade.Taint{{Key: "dedicated", Effect: "NoSchedule"}, {Key: "node.kubernetes.io/unschedulable", Effect: "NoSchedule"}, {Key: "team", Value: "shop", Effect: "NoExecute"}, {Key: "nvidia.com/gpu", Value: "present", Effect: "NoSchedule"}}
	pool.Taints = taints[2:3]
	if diff := cmp.Diff(taints[:1], fit.TaintsByHand(pool, taints)); diff != "" {
		t.Error(diff)
	}
}
