package preflight_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/upshift-k8s/upshift/internal/preflight"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// synthetic is a cluster of so many nodes in three zones, 30 pods to each: Deployments and StatefulSets with PDBs, Services and spread, agents
// on every node, a little of everything that checks look for.
func synthetic(nodes int) upgrade.Snapshot {
	const perNode, agents, replicas = 30, 3, 50
	zones := []string{"a", "b", "c"}
	team := upgrade.Taint{Key: "team", Value: "shop", Effect: "NoSchedule"}
	tolerates := []upgrade.Toleration{{Key: "team", Operator: "Exists"}}
	s := crowd{upgrade.Snapshot{
		TakenAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Cluster: upgrade.Cluster{
			Provider: "gke", Project: "p", Location: "l", Name: "large", Regional: true, ControlPlaneVersion: "1.34.2-gke.100", PoolLabel: "cloud.google.com/gke-nodepool", Skew: 2,
			Versions: upgrade.Versions{Default: "1.34.2-gke.100", Valid: []string{"1.34.2-gke.100"}},
			Pools:    []upgrade.Pool{{Name: "pool", Version: "1.33.5-gke.1", Zones: zones, Taints: []upgrade.Taint{team}, Config: json.RawMessage("{}")}},
		},
		State: upgrade.State{Workloads: map[string]upgrade.Workload{}, Budgets: map[string]upgrade.Budget{}},
		Inventory: upgrade.Inventory{
			Nodes: map[string]upgrade.NodeShape{}, Pods: map[string]*upgrade.PodShape{}, Volumes: map[string][]upgrade.Volume{},
			Namespaces: map[string]map[string]string{"kube-system": {}, "shop": {}},
		},
	}}
	for i := range nodes {
		name, zone := fmt.Sprintf("n%05d", i), zones[i%len(zones)]
		s.State.Nodes = append(s.State.Nodes, upgrade.Node{Name: name, Pool: "pool", Zone: zone, Version: "1.33.5-gke.1", Ready: true})
		s.Inventory.Nodes[name] = upgrade.NodeShape{
			Labels: map[string]string{
				"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone, "cloud.google.com/gke-nodepool": "pool", "kubernetes.io/os": "linux",
				"kubernetes.io/arch": "amd64", "node.kubernetes.io/instance-type": "e2-standard-8", "cloud.google.com/machine-family": "e2", "topology.gke.io/zone": zone,
			},
			Taints:      []upgrade.Taint{team},
			Allocatable: upgrade.Resources{"cpu": 8000, "memory": 32 << 30, "pods": 110, "ephemeral-storage": 100 << 30},
		}
	}
	for i := range agents {
		ref := upgrade.Ref{Kind: "DaemonSet", Namespace: "kube-system", Name: fmt.Sprint("agent-", i), UID: fmt.Sprint("agent-", i)}
		shape := &upgrade.PodShape{Namespace: "kube-system", Labels: map[string]string{"app": ref.Name}, Requests: upgrade.Resources{"cpu": 100, "memory": 100 << 20}, Tolerations: []upgrade.Toleration{{Operator: "Exists"}}}
		s.State.Workloads[ref.UID] = upgrade.Workload{Ref: ref, Wanted: nodes}
		s.Inventory.Daemons = append(s.Inventory.Daemons, upgrade.Daemon{Ref: ref, Shape: shape})
		for n := range nodes {
			s.addPod(ref, shape, n, n, nil)
		}
	}
	proxy := &upgrade.PodShape{Namespace: "kube-system", Requests: upgrade.Resources{"cpu": 100}, HostPorts: []upgrade.HostPort{{Port: 10256, Protocol: "TCP"}}}
	for n := range nodes {
		s.addPod(upgrade.Ref{Namespace: "kube-system", Name: "proxy", UID: "proxy"}, proxy, n, n, nil).Mirror = true
		s.last().Workload = upgrade.Ref{}
	}
	for i := range nodes / 100 {
		s.addPod(upgrade.Ref{Namespace: "shop", Name: "bare", UID: "bare"}, &upgrade.PodShape{Namespace: "shop", Tolerations: tolerates}, i, i*100, nil).Workload = upgrade.Ref{}
	}
	apps := nodes * (perNode - agents) / replicas
	for i := range apps {
		kind := "Deployment"
		if i%10 == 0 {
			kind = "StatefulSet"
		}
		ref := upgrade.Ref{Kind: kind, Namespace: "shop", Name: fmt.Sprint("app-", i), UID: fmt.Sprint("app-", i)}
		labels := map[string]string{"app": ref.Name}
		shape := &upgrade.PodShape{Namespace: "shop", Labels: labels, Requests: upgrade.Resources{"cpu": 200, "memory": 512 << 20}, Tolerations: tolerates}
		itself := upgrade.Selector{Requirements: []upgrade.Requirement{{Key: "app", Operator: "In", Values: []string{ref.Name}}}}
		switch {
		case i%20 == 1:
			shape.AntiAffinity = []upgrade.PodTerm{{Selector: itself, TopologyKey: "kubernetes.io/hostname", Namespaces: []string{"shop"}, NamespaceSelector: upgrade.Selector{Nothing: true}}}
		case i%10 == 2:
			shape.Spread = []upgrade.Spread{{TopologyKey: "topology.kubernetes.io/zone", MaxSkew: 1, Selector: itself}}
		case i%10 == 3:
			shape.NodeSelector = map[string]string{"kubernetes.io/os": "linux"}
		}
		s.State.Workloads[ref.UID] = upgrade.Workload{Ref: ref, Wanted: replicas}
		var budgets []string
		if i%3 > 0 {
			budgets = []string{"shop/" + ref.Name}
			s.State.Budgets[budgets[0]] = upgrade.Budget{Namespace: "shop", Name: ref.Name, Allowed: 5, Healthy: replicas, Needed: replicas - 5, Expected: replicas, Current: true, Rule: "maxUnavailable 10%", Spec: json.RawMessage(`{"maxUnavailable":"10%"}`)}
		}
		service := upgrade.Service{Namespace: "shop", Name: ref.Name, Type: "ClusterIP", Targets: []string{"8080"}, Ready: replicas}
		for r := range replicas {
			node := (i*replicas + r) % nodes
			p := s.addPod(ref, shape, r, node, budgets)
			switch {
			case kind == "StatefulSet":
				own := *shape // each has labels of its own
				s.Inventory.Pods[p.UID] = &own
				s.Inventory.Volumes[p.UID] = []upgrade.Volume{{Claim: "data-" + p.Name, Exclusive: i%20 == 0, Attached: true, Terms: []upgrade.NodeTerm{{
					Labels: []upgrade.Requirement{{Key: "topology.gke.io/zone", Operator: "In", Values: []string{zones[node%len(zones)]}}},
				}}}}
			case i%10 == 4:
				p.EmptyDirs = []string{"cache", "tmp"}
			}
			service.Pods = append(service.Pods, fmt.Sprintf("%s-%d", ref.UID, r))
		}
		s.Inventory.Services = append(s.Inventory.Services, service)
		if i%10 == 5 {
			s.Inventory.Webhooks = append(s.Inventory.Webhooks, upgrade.Webhook{
				Configuration: upgrade.Ref{Kind: "ValidatingWebhookConfiguration", Name: ref.Name}, Name: ref.Name + ".example.com", FailsClosed: true, Timeout: 10 * time.Second,
				Sees: []string{"create pods", "create pods/eviction"}, Namespaces: []string{"shop"}, Service: "shop/" + ref.Name, Ready: service.Pods,
			})
		}
	}
	s.Inventory.Permissions = []upgrade.Permission{{Verb: "create", Resource: "pods/eviction", Allowed: true, Why: "to evict pods"}, {Verb: "patch", Resource: "nodes", Allowed: true, Why: "to cordon nodes"}}
	return s.Snapshot
}

// crowd is a snapshot that is being filled.
type crowd struct{ upgrade.Snapshot }

func (c *crowd) last() *upgrade.Pod { return &c.State.Pods[len(c.State.Pods)-1] }

// addPod puts the workload's pod of that number on a node. What it returns is good until the next one.
func (c *crowd) addPod(w upgrade.Ref, shape *upgrade.PodShape, number, node int, budgets []string) *upgrade.Pod {
	p := upgrade.Pod{
		Namespace: w.Namespace, Name: fmt.Sprintf("%s-%d", w.Name, number), UID: fmt.Sprintf("%s-%d", w.UID, number), Node: c.State.Nodes[node].Name, Workload: w,
		Ready: true, Grace: 30 * time.Second, StartUp: 20 * time.Second, Budgets: budgets,
	}
	c.State.Pods = append(c.State.Pods, p)
	c.Inventory.Pods[p.UID] = shape
	return c.last()
}

// BenchmarkPlan is preflight and plan of clusters of 500 and of 5,000 nodes, with 15,000 and 150,000 pods.
func BenchmarkPlan(b *testing.B) {
	for _, nodes := range []int{500, 5000} {
		b.Run(fmt.Sprint(nodes, "-nodes"), func(b *testing.B) {
			s := synthetic(nodes)
			b.ReportAllocs()
			for b.Loop() {
				planOf(b, s)
			}
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			b.ReportMetric(float64(m.Sys)/(1<<20), "MiB-of-process")
		})
	}
}

func planOf(tb testing.TB, s upgrade.Snapshot) upgrade.Plan {
	tb.Helper()
	p, err := upgrade.BuildPlan(s, upgrade.Options{Target: "control-plane", Delete: upgrade.DeleteEach, Soak: upgrade.Seconds(time.Hour)}, preflight.Inspect)
	if err != nil {
		tb.Fatal(err)
	}
	if len(p.Steps) < len(s.State.Nodes)/2 {
		tb.Fatalf("the plan is %s and has %d steps: %+v", p.Verdict, len(p.Steps), p.Findings[0])
	}
	return p
}

// TestPlansOfLargeClustersAreQuickAlone: what a person waits for a plan of 5,000 nodes and 150,000 pods, beside reading the cluster, and what
// memory it takes. It grows with the cluster, not with its square. The best of three counts, since machines have other things to do; and
// since some are several times faster than others, the limit is in those of a fixed piece of work: a plan takes about six times as long.
func TestPlansOfLargeClustersAreQuickAlone(t *testing.T) {
	if testing.Short() {
		t.Skip("plans for clusters of 5,000 nodes")
	}
	const largest = 1 << 30
	slowest := 9 * yardstick()
	best := func(s upgrade.Snapshot, want upgrade.Verdict) time.Duration {
		took := time.Hour
		for range 3 {
			began := time.Now()
			if p := planOf(t, s); p.Verdict != want {
				t.Fatalf("the plan is %s, want %s: %+v", p.Verdict, want, p.Findings[0])
			}
			took = min(took, time.Since(began))
		}
		return took
	}
	small, large := best(synthetic(500), upgrade.Warnings), synthetic(5000)
	fits := best(large, upgrade.Warnings)
	if fits > slowest || fits > 12*small {
		t.Errorf("a plan of 5,000 nodes takes %s, one of 500 nodes %s", fits, small)
	}
	for _, shape := range large.Inventory.Pods {
		if shape.Namespace == "shop" && shape.Requests["cpu"] == 200 {
			shape.Requests["cpu"] = 320
		}
	}
	blocked := best(large, upgrade.Blocked)
	if blocked > slowest {
		t.Errorf("a plan of 5,000 nodes that does not fit takes %s", blocked)
	}
	lost := best(labelled(synthetic(5000)), upgrade.Blocked)
	if lost > slowest {
		t.Errorf("a plan of 5,000 nodes with a label put by hand takes %s", lost)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.Sys > largest {
		t.Errorf("the process has taken %d MiB", m.Sys>>20)
	}
	t.Logf("of %s: 500 nodes %s, 5,000 nodes %s, 5,000 nodes that do not fit %s, with a label put by hand %s, %d MiB", slowest, small, fits, blocked, lost, m.Sys>>20)
}

// yardstick is how long this machine takes for work like a plan's: strings, maps and sorting.
func yardstick() time.Duration {
	took := time.Hour
	for range 3 {
		began := time.Now()
		count := map[string]int{}
		for i := range 500_000 {
			count[fmt.Sprintf("pod-%d", i*7919%500_009)]++
		}
		slices.Sort(slices.Collect(maps.Keys(count)))
		took = min(took, time.Since(began))
	}
	return took
}

// labelled has a label put by hand on the pool's nodes, which all pods select, and every other node in a pool that stays.
func labelled(s upgrade.Snapshot) upgrade.Snapshot {
	s.Cluster.Pools = append(s.Cluster.Pools, upgrade.Pool{Name: "other", Version: s.Cluster.ControlPlaneVersion, Zones: s.Cluster.Pools[0].Zones})
	for i := range s.State.Nodes {
		n := &s.State.Nodes[i]
		if i%2 == 0 {
			s.Inventory.Nodes[n.Name].Labels["disk"] = "ssd"
			continue
		}
		n.Pool = "other"
		s.Inventory.Nodes[n.Name].Labels[s.Cluster.PoolLabel] = "other"
	}
	for _, p := range s.Inventory.Pods {
		if p.Namespace == "shop" {
			p.NodeSelector = map[string]string{"disk": "ssd"}
		}
	}
	return s
}
