package fit_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/upshift-k8s/upshift/internal/fit"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// synthetic is a regional cluster with one pool of that many nodes and 30 pods on each: five DaemonSets and a hundred Deployments and
// StatefulSets, some spread over zones or kept apart, some with a disk. It is about 70 % full.
func synthetic(nodes int) (upgrade.Snapshot, []upgrade.PoolPlan) {
	random := rand.New(rand.NewPCG(1, 2))
	zones := []string{"a", "b", "c"}
	s := upgrade.Snapshot{
		Cluster: upgrade.Cluster{PoolLabel: "pool", Pools: []upgrade.Pool{{Name: "old", Zones: zones}}},
		Inventory: upgrade.Inventory{
			Nodes: map[string]upgrade.NodeShape{}, Pods: map[string]*upgrade.PodShape{}, Volumes: map[string][]upgrade.Volume{},
		},
	}
	plan := upgrade.PoolPlan{Name: "old", NewName: "new", Action: upgrade.Migrate, Zones: zones, NodesPerZone: (nodes + 2) / 3}
	for i := range nodes {
		name, zone := fmt.Sprintf("old-%04d", i), zones[i%3]
		s.State.Nodes = append(s.State.Nodes, upgrade.Node{Name: name, Pool: "old", Zone: zone, Ready: true})
		s.Inventory.Nodes[name] = upgrade.NodeShape{
			Labels:      map[string]string{"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone, "pool": "old", "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"},
			Allocatable: upgrade.Resources{"cpu": 15890, "memory": 60<<30 - int64(i%7)<<12, "ephemeral-storage": 100 << 30, "pods": 110},
		}
		plan.Nodes = append(plan.Nodes, name)
	}
	add := func(owner upgrade.Ref, shape *upgrade.PodShape, name, node string) {
		uid := owner.Name + "/" + name
		s.State.Pods = append(s.State.Pods, upgrade.Pod{Namespace: owner.Namespace, Name: name, UID: uid, Node: node, Workload: owner, Ready: true})
		s.Inventory.Pods[uid] = shape
	}
	for d := range 5 {
		owner := upgrade.Ref{Kind: "DaemonSet", Namespace: "kube-system", Name: fmt.Sprintf("agent-%d", d), UID: fmt.Sprintf("d%d", d)}
		shape := &upgrade.PodShape{
			Namespace: "kube-system", Labels: map[string]string{"app": owner.Name}, Requests: upgrade.Resources{"cpu": 100, "memory": 200 << 20},
			Tolerations: []upgrade.Toleration{{Operator: "Exists"}},
		}
		s.Inventory.Daemons = append(s.Inventory.Daemons, upgrade.Daemon{Ref: owner, Shape: shape})
		for i, n := range plan.Nodes {
			add(owner, shape, fmt.Sprintf("%s-%d", owner.Name, i), n)
		}
	}
	next := 0
	for w := 0; next < nodes*25; w = (w + 1) % 100 {
		kind := "Deployment"
		if w%10 == 9 {
			kind = "StatefulSet"
		}
		owner := upgrade.Ref{Kind: kind, Namespace: fmt.Sprintf("team-%d", w%20), Name: fmt.Sprintf("app-%d-%d", w, next), UID: fmt.Sprintf("w%d-%d", w, next)}
		replicas := min(nodes*25-next, 1+random.IntN(nodes/2))
		labels := map[string]string{"app": owner.Name}
		alike := upgrade.Selector{Requirements: []upgrade.Requirement{{Key: "app", Operator: "In", Values: []string{owner.Name}}}}
		shape := &upgrade.PodShape{
			Namespace: owner.Namespace, Labels: labels,
			Requests: upgrade.Resources{"cpu": 100 * int64(1+random.IntN(7)), "memory": int64(1+random.IntN(12)) << 28},
		}
		switch w % 10 {
		case 0, 1:
			shape.Spread = []upgrade.Spread{{TopologyKey: "topology.kubernetes.io/zone", MaxSkew: 1, Selector: alike}}
		case 2, 3:
			shape.AntiAffinity = []upgrade.PodTerm{{Selector: alike, TopologyKey: "kubernetes.io/hostname", Namespaces: []string{owner.Namespace}, NamespaceSelector: upgrade.Selector{Nothing: true}}}
		case 4:
			shape.NodeSelector = map[string]string{"kubernetes.io/arch": "amd64"}
		}
		for i := range replicas {
			node := plan.Nodes[next%nodes]
			name := fmt.Sprintf("%s-%05d", owner.Name, i)
			of := shape
			if kind == "StatefulSet" {
				own := *shape
				own.Labels = map[string]string{"app": owner.Name, "apps.kubernetes.io/pod-index": fmt.Sprint(i)}
				of = &own
				zone := zones[next%nodes%3]
				s.Inventory.Volumes[owner.Name+"/"+name] = []upgrade.Volume{{Claim: "data-" + name, Terms: []upgrade.NodeTerm{{Labels: []upgrade.Requirement{{Key: "topology.kubernetes.io/zone", Operator: "In", Values: []string{zone}}}}}}}
			}
			add(owner, of, name, node)
			next++
		}
	}
	return s, []upgrade.PoolPlan{plan}
}

func BenchmarkFit(b *testing.B) {
	for _, nodes := range []int{500, 5000} {
		b.Run(fmt.Sprintf("%d-nodes", nodes), func(b *testing.B) {
			s, pools := synthetic(nodes)
			b.ReportAllocs()
			for b.Loop() {
				if r := fit.Simulate(s, pools, fit.Options{DeleteEach: true}); r.Verdict != fit.Fits {
					b.Fatalf("%+v", r)
				}
			}
		})
	}
}
