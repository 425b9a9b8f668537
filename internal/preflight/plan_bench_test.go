package preflight_test

import (
	"encoding/json"
	"fmt"
	"runtime"
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
	s := crowd{upgrade.Snapshot{
		TakenAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Cluster: upgrade.Cluster{
			Provider: "gke", Project: "p", Location: "l", Name: "large", Regional: true, ControlPlaneVersion: "1.34.2-gke.100", PoolLabel: "cloud.google.com/gke-nodepool", Skew: 2,
			Versions: upgrade.Versions{Default: "1.34.2-gke.100", Valid: []string{"1.34.2-gke.100"}},
			Pools:    []upgrade.Pool{{Name: "pool", Version: "1.33.5-gke.1", Zones: zones, Config: json.RawMessage("{}")}},
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
			Labels:      map[string]string{"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone, "cloud.google.com/gke-nodepool": "pool", "kubernetes.io/os": "linux"},
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
	apps := nodes * (perNode - agents) / replicas
	for i := range apps {
		kind := "Deployment"
		if i%10 == 0 {
			kind = "StatefulSet"
		}
		ref := upgrade.Ref{Kind: kind, Namespace: "shop", Name: fmt.Sprint("app-", i), UID: fmt.Sprint("app-", i)}
		labels := map[string]string{"app": ref.Name}
		shape := &upgrade.PodShape{Namespace: "shop", Labels: labels, Requests: upgrade.Resources{"cpu": 200, "memory": 512 << 20}}
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
			s.addPod(ref, shape, r, (i*replicas+r)%nodes, budgets)
			service.Pods = append(service.Pods, fmt.Sprintf("%s-%d", ref.UID, r))
		}
		s.Inventory.Services = append(s.Inventory.Services, service)
	}
	return s.Snapshot
}

// crowd is a snapshot that is being filled.
type crowd struct{ upgrade.Snapshot }

// addPod puts the workload's pod of that number on a node.
func (c *crowd) addPod(w upgrade.Ref, shape *upgrade.PodShape, number, node int, budgets []string) {
	p := upgrade.Pod{
		Namespace: w.Namespace, Name: fmt.Sprintf("%s-%d", w.Name, number), UID: fmt.Sprintf("%s-%d", w.UID, number), Node: c.State.Nodes[node].Name, Workload: w,
		Ready: true, Grace: 30 * time.Second, StartUp: 20 * time.Second, Budgets: budgets,
	}
	c.State.Pods = append(c.State.Pods, p)
	c.Inventory.Pods[p.UID] = shape
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
	if p.Verdict == upgrade.Blocked || len(p.Steps) < len(s.State.Nodes) {
		tb.Fatalf("the plan is %s and has %d steps: %+v", p.Verdict, len(p.Steps), p.Findings[0])
	}
	return p
}
