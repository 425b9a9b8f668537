package preflight_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/upshift-k8s/upshift/internal/preflight"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// TestWhatIsFoundWhereTheProviderDrains: each case changes one thing of a healthy cluster whose pool is upgraded in place.
func TestWhatIsFoundWhereTheProviderDrains(t *testing.T) {
	pod := func(s *upgrade.Snapshot, name string) *upgrade.Pod {
		return &s.State.Pods[slices.IndexFunc(s.State.Pods, func(p upgrade.Pod) bool { return p.Name == name })]
	}
	for name, test := range map[string]struct {
		change  func(*upgrade.Snapshot, *upgrade.Options)
		want    string
		without string
	}{
		"what does not exist there": {nil, "info provider-drains NodePool pool is drained by GKE: there is no gate between its nodes but one after them all", "surge-first"},
		"the time after which GKE uses force": {func(_ *upgrade.Snapshot, o *upgrade.Options) { o.DrainTimeout = upgrade.Seconds(20 * time.Minute) },
			"holds for 20m on one node is ended past it", ""},
		"no extra nodes": {func(_ *upgrade.Snapshot, o *upgrade.Options) { o.MaxSurge, o.MaxUnavailable = 0, 2 },
			"warning provider-drains NodePool pool has up to 2 nodes fewer while it is upgraded, since max-surge is 0", ""},
		"a PDB that never lets a pod go": {func(s *upgrade.Snapshot, _ *upgrade.Options) {
			s.State.Budgets["shop/web"] = upgrade.Budget{Namespace: "shop", Name: "web", Healthy: 3, Needed: 3, Expected: 3, Current: true, Rule: "minAvailable 3"}
		}, "warning pdb-blocks PodDisruptionBudget shop/web can allow no eviction at all with this many pods (minAvailable 3: 3 of 3 healthy, 3 needed): GKE ends its pods past it after 1h on each node of pool pool", "pause"},
		"a Job": {func(s *upgrade.Snapshot, _ *upgrade.Options) {
			job := upgrade.Ref{Kind: "Job", Namespace: "shop", Name: "report", UID: "w9"}
			s.State.Workloads["w9"] = upgrade.Workload{Ref: job, Wanted: upgrade.Unknown}
			s.State.Pods = append(s.State.Pods, upgrade.Pod{Namespace: "shop", Name: "report-1", UID: "report-1", Node: "n1", Workload: job, Ready: true})
		}, "warning running-jobs Job shop/report is running and is evicted by GKE, which drains pool pool and waits for no Job", ""},
		"a bare pod": {func(s *upgrade.Snapshot, _ *upgrade.Options) { pod(s, "web-1").Workload = upgrade.Ref{} },
			"warning bare-pods Pod shop/web-1 has no controller: once evicted it is gone for good", ""},
		"Terraform's pool": {func(s *upgrade.Snapshot, _ *upgrade.Options) { s.Cluster.Pools[0].ManagedBy = "Terraform" },
			"info managed-elsewhere NodePool pool is managed by Terraform: its name stays, and its version is another one afterwards", "terraform import"},
		"a quota that has room for one node": {func(s *upgrade.Snapshot, _ *upgrade.Options) {
			s.Cluster.Quotas = []upgrade.Quota{{Metric: "INSTANCES", Limit: 4, Used: 3}}
		}, "", "leaves"},
		"a quota that has none": {func(s *upgrade.Snapshot, o *upgrade.Options) {
			s.Cluster.Quotas = []upgrade.Quota{{Metric: "INSTANCES", Limit: 4, Used: 3}}
			o.MaxSurge = 2
		}, "warning surge-quota Quota INSTANCES leaves 1 of 4 machines in", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, o := healthy(), upgrade.Options{Target: "control-plane", Strategy: "rolling", MaxSurge: 1, Delete: upgrade.DeleteEach}
			if test.change != nil {
				test.change(&s, &o)
			}
			p, err := upgrade.BuildPlan(s, o, preflight.Inspect)
			if err != nil {
				t.Fatal(err)
			}
			var found []string
			for _, f := range p.Findings {
				found = append(found, fmt.Sprintf("%s %s %s %s # %s", f.Severity, f.Check, f.Object, f.Problem, f.Remedy))
			}
			text := strings.Join(found, "\n")
			if !strings.Contains(text, test.want) {
				t.Errorf("want %q among\n%s", test.want, text)
			}
			if test.without != "" && strings.Contains(strings.ReplaceAll(text, "a pause lets GKE", ""), test.without) {
				t.Errorf("there is %q among\n%s", test.without, text)
			}
		})
	}
}

// TestNodesThatAreMadeAnewLoseWhatWasPutOnThemByHand: also within their pool.
func TestNodesThatAreMadeAnewLoseWhatWasPutOnThemByHand(t *testing.T) {
	s := healthy()
	s.Cluster.PoolLabel = "cloud.google.com/gke-nodepool"
	s.Cluster.Pools[0].Config = json.RawMessage(`{}`)
	s.Inventory.Nodes, s.Inventory.Pods = map[string]upgrade.NodeShape{}, map[string]*upgrade.PodShape{}
	for _, n := range s.State.Nodes {
		s.Inventory.Nodes[n.Name] = upgrade.NodeShape{Labels: map[string]string{"cloud.google.com/gke-nodepool": "pool", "disk": "fast", "kubernetes.io/hostname": n.Name}}
	}
	for _, p := range s.State.Pods {
		s.Inventory.Pods[p.UID] = &upgrade.PodShape{NodeSelector: map[string]string{"disk": "fast"}}
	}
	p, err := upgrade.BuildPlan(s, upgrade.Options{Target: "control-plane", Strategy: "rolling", MaxSurge: 1}, preflight.Inspect)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(p.Findings, func(f upgrade.Finding) bool {
		return f.Check == "lost-labels" && f.Severity == upgrade.Blocker && strings.Contains(f.Problem, "disk=fast")
	}) {
		t.Errorf("%v", p.Findings)
	}
}
