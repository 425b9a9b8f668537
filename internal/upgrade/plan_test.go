package upgrade_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/preflight"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// sample is a regional cluster whose default-pool has two nodes in one zone and one in another, and something of everything
// on them.
func sample() upgrade.Snapshot {
	web := upgrade.Ref{Kind: "Deployment", Namespace: "default", Name: "web", UID: "w1"}
	one := upgrade.Ref{Kind: "Deployment", Namespace: "default", Name: "one", UID: "w2"}
	job := upgrade.Ref{Kind: "Job", Namespace: "default", Name: "job", UID: "w3"}
	agent := upgrade.Ref{Kind: "DaemonSet", Namespace: "kube-system", Name: "agent", UID: "w4"}
	pod := func(name, node string, w upgrade.Ref) upgrade.Pod {
		return upgrade.Pod{Namespace: "default", Name: name, UID: "uid-" + name, Node: node, Workload: w, Ready: true, Grace: 30 * time.Second}
	}
	web1, web2 := pod("web-1", "n1", web), pod("web-2", "n2", web)
	web1.Budgets, web2.Budgets = []string{"default/web"}, []string{"default/web"}
	web2.EmptyDirs = []string{"cache"}
	return upgrade.Snapshot{
		TakenAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Cluster: upgrade.Cluster{
			Provider: "gke", Project: "p", Location: "europe-west1", Name: "cluster-1", Regional: true, ControlPlaneVersion: "1.34.2-gke.100",
			Versions: upgrade.Versions{Default: "1.34.2-gke.100", Valid: []string{"1.33.5-gke.900", "1.34.2-gke.100", "1.35.0-gke.7"}},
			Pools: []upgrade.Pool{
				{Name: "default-pool", Version: "1.33.5-gke.900", Zones: []string{"b", "c"}, Config: json.RawMessage(`{"config":{"machineType":"e2"}}`)},
				{Name: "done", Version: "1.34.2-gke.100", Zones: []string{"b"}},
			},
		},
		State: upgrade.State{
			Nodes: []upgrade.Node{{Name: "n1", Pool: "default-pool", Zone: "b", Ready: true}, {Name: "n2", Pool: "default-pool", Zone: "c", Ready: true}, {Name: "n3", Pool: "default-pool", Zone: "b", Ready: true}, {Name: "n4", Pool: "done", Zone: "b", Ready: true}},
			Pods: []upgrade.Pod{
				web1, web2, pod("one-1", "n1", one), pod("job-1", "n3", job), pod("agent-1", "n1", agent),
				{Namespace: "default", Name: "finished", UID: "f", Node: "n1", Finished: true},
				pod("bare-on-other-pool", "n4", upgrade.Ref{}),
			},
			Workloads: map[string]upgrade.Workload{
				"w1": {Ref: web, Wanted: 2}, "w2": {Ref: one, Wanted: 1}, "w3": {Ref: job, Wanted: upgrade.Unknown}, "w4": {Ref: agent, Wanted: 4},
			},
			Budgets: map[string]upgrade.Budget{"default/web": {Namespace: "default", Name: "web", Allowed: 1, Rule: "minAvailable 1", Spec: json.RawMessage(`{"minAvailable":1}`)}},
		},
	}
}

func options() upgrade.Options {
	return upgrade.Options{Target: "control-plane", Strategy: "auto", MaxSurge: 1, Delete: upgrade.DeleteEach, Soak: upgrade.Seconds(time.Hour)}
}

func build(t *testing.T, s upgrade.Snapshot, o upgrade.Options) upgrade.Plan {
	t.Helper()
	p, err := upgrade.BuildPlan(s, o, preflight.Inspect)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPlanListsEveryStepInOrder(t *testing.T) {
	s := sample()
	s.Cluster.Pools[0].Autoscaling = upgrade.Autoscaling{Enabled: true, Summary: "1 to 5"}
	p := build(t, s, options())
	var got []string
	for _, step := range p.Steps {
		got = append(got, step.ID)
	}
	want := []string{
		"freeze-autoscaling/default-pool", "create-pool/default-pool", "wait-nodes/default-pool", "cordon-pool/default-pool",
		"drain-node/default-pool/n1", "drain-node/default-pool/n2", "drain-node/default-pool/n3",
		"soak/default-pool", "delete-pool/default-pool", "restore-autoscaling/default-pool",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPlanOfTwoPoolsDeletesAsTold(t *testing.T) {
	s := sample()
	s.Cluster.Pools[1].Version = "1.33.5-gke.900"
	kinds := func(o upgrade.Options) string {
		var out []string
		for _, step := range build(t, s, o).Steps {
			out = append(out, fmt.Sprintf("%s/%s", step.Kind, step.Pool))
		}
		out = slices.DeleteFunc(out, func(id string) bool {
			return !strings.HasPrefix(id, "drain") && !strings.HasPrefix(id, "soak") && !strings.HasPrefix(id, "delete")
		})
		return strings.Join(slices.Compact(out), " ")
	}
	for policy, want := range map[upgrade.DeletePolicy]string{
		upgrade.DeleteEach:  "drain-node/default-pool soak/default-pool delete-pool/default-pool drain-node/done soak/done delete-pool/done",
		upgrade.DeleteAtEnd: "drain-node/default-pool drain-node/done soak/default-pool delete-pool/default-pool delete-pool/done",
		upgrade.DeleteNever: "drain-node/default-pool drain-node/done",
	} {
		o := options()
		o.Delete = policy
		if got := kinds(o); got != want {
			t.Errorf("%s:\n got %s\nwant %s", policy, got, want)
		}
	}
	o := options()
	o.Pools = []string{"done", "default-pool"}
	if p := build(t, s, o); p.Pools[0].Name != "done" || p.Steps[0].Pool != "done" {
		t.Error("the pools are not in the order that was asked for")
	}
}

func TestPlanSizesTheNewPoolByTheFullestZone(t *testing.T) {
	p := build(t, sample(), options())
	pool := p.Pools[0]
	if pool.NodesPerZone != 2 || pool.NewName != "default-pool-1-34-2-gke-100" || pool.PodsToMove != 3 {
		t.Errorf("got %d nodes a zone in %s and %d pods to move, want 2 in default-pool-1-34-2-gke-100 and 3", pool.NodesPerZone, pool.NewName, pool.PodsToMove)
	}
	if pool.DrainTimeout != upgrade.Seconds(30*time.Minute) {
		t.Errorf("drain-timeout auto came to %s, want 30m", time.Duration(pool.DrainTimeout))
	}
	s := sample()
	s.State.Pods[0].Grace = time.Hour
	if got := build(t, s, options()).Pools[0].DrainTimeout; got != upgrade.Seconds(70*time.Minute) {
		t.Errorf("with a grace of 1h, drain-timeout auto came to %s, want 1h10m", time.Duration(got))
	}
}

func TestFindings(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(*upgrade.Snapshot, *upgrade.Options)
		want    []string
		verdict upgrade.Verdict
	}{
		"as it is": {
			func(*upgrade.Snapshot, *upgrade.Options) {},
			[]string{"warning emptydir Deployment default/web", "warning single-replica Deployment default/one", "info running-jobs Job default/job"},
			upgrade.Warnings,
		},
		"nothing to do": {
			func(_ *upgrade.Snapshot, o *upgrade.Options) { o.Pools = []string{"done"} }, nil, upgrade.Ready,
		},
		"a control plane behind the target": {
			func(_ *upgrade.Snapshot, o *upgrade.Options) { o.Target = "1.35"; o.Pools = []string{"done"} },
			[]string{"blocker control-plane-behind Cluster cluster-1", "warning bare-pods Pod default/bare-on-other-pool"},
			upgrade.Blocked,
		},
		"a newer pool": {
			func(_ *upgrade.Snapshot, o *upgrade.Options) { o.Target = "1.33" },
			[]string{"info newer-pool NodePool done"},
			upgrade.Ready,
		},
		"a pod whose controller is gone": {
			func(s *upgrade.Snapshot, _ *upgrade.Options) {
				s.State.Pods = []upgrade.Pod{{Namespace: "default", Name: "left", UID: "l", Node: "n1", Orphan: upgrade.Ref{Kind: "ReplicaSet", Namespace: "default", Name: "gone"}}}
			},
			[]string{"warning bare-pods Pod default/left"},
			upgrade.Warnings,
		},
		"a budget that allows nothing, and a pod with two": {
			func(s *upgrade.Snapshot, _ *upgrade.Options) {
				s.State.Budgets["default/web"] = upgrade.Budget{Namespace: "default", Name: "web"}
				s.State.Budgets["default/all"] = upgrade.Budget{Namespace: "default", Name: "all", Allowed: 1}
				s.State.Pods = s.State.Pods[:1]
				s.State.Pods[0].Budgets = []string{"default/all", "default/web"}
			},
			[]string{"warning overlapping-pdbs Pod default/web-1", "warning pdb-blocks PodDisruptionBudget default/web"},
			upgrade.Warnings,
		},
		"a new pool's name that somebody else took": {
			func(s *upgrade.Snapshot, _ *upgrade.Options) {
				s.State.Pods = nil
				s.Cluster.Pools = append(s.Cluster.Pools, upgrade.Pool{Name: "default-pool-1-34-2-gke-100", Version: "1.34.2-gke.100"})
			},
			[]string{"blocker pool-name-taken NodePool default-pool-1-34-2-gke-100"},
			upgrade.Blocked,
		},
		"two pools with the same new name": {
			func(s *upgrade.Snapshot, _ *upgrade.Options) {
				s.State.Pods = nil
				s.Cluster.Pools = append(s.Cluster.Pools, upgrade.Pool{Name: "default-pool-1-33-5-gke-1", Version: "1.33.5-gke.1", Zones: []string{"b"}})
				s.State.Nodes = append(s.State.Nodes, upgrade.Node{Name: "n5", Pool: "default-pool-1-33-5-gke-1", Zone: "b", Ready: true})
			},
			[]string{"blocker pool-name-taken NodePool default-pool-1-34-2-gke-100"},
			upgrade.Blocked,
		},
		"nodes of a pool that the cluster does not have": {
			func(s *upgrade.Snapshot, _ *upgrade.Options) {
				s.State.Pods = nil
				s.State.Nodes = append(s.State.Nodes, upgrade.Node{Name: "n5", Pool: "elsewhere"})
			},
			[]string{"blocker other-cluster Node n5"},
			upgrade.Blocked,
		},
		"a pool without nodes": {
			func(s *upgrade.Snapshot, _ *upgrade.Options) { s.State.Pods, s.State.Nodes = nil, s.State.Nodes[3:] },
			[]string{"blocker other-cluster NodePool default-pool"},
			upgrade.Blocked,
		},
		"a pool that its autoscaler has brought to no nodes": {
			func(s *upgrade.Snapshot, _ *upgrade.Options) {
				s.State.Pods, s.State.Nodes = nil, s.State.Nodes[3:]
				s.Cluster.Pools[0].Autoscaling.Enabled = true
			},
			nil, upgrade.Ready,
		},
		"an emptyDir of a Job's pod, which is left to finish": {
			func(s *upgrade.Snapshot, _ *upgrade.Options) {
				s.State.Pods = s.State.Pods[3:4]
				s.State.Pods[0].EmptyDirs = []string{"scratch"}
			},
			[]string{"info running-jobs Job default/job"},
			upgrade.Ready,
		},
		"a new pool that an earlier run made": {
			func(s *upgrade.Snapshot, _ *upgrade.Options) {
				s.State.Pods = nil
				s.Cluster.Pools = append(s.Cluster.Pools, upgrade.Pool{Name: "default-pool-1-34-2-gke-100", Version: "1.34.2-gke.100", MadeBy: "run-1"})
			},
			[]string{"info goes-on NodePool default-pool-1-34-2-gke-100"}, upgrade.Ready,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, o := sample(), options()
			test.change(&s, &o)
			p := build(t, s, o)
			var got []string
			for _, f := range p.Findings {
				got = append(got, fmt.Sprintf("%s %s %s", f.Severity, f.Check, f.Object))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if p.Verdict != test.verdict {
				t.Errorf("verdict %s, want %s", p.Verdict, test.verdict)
			}
		})
	}
}

func TestAutoscalingThatAnEarlierRunFrozeIsPlannedToComeBack(t *testing.T) {
	s := sample()
	s.Cluster.Pools = append(s.Cluster.Pools, upgrade.Pool{
		Name: "default-pool-1-34-2-gke-100", Version: "1.34.2-gke.100", MadeBy: "r", Inherits: upgrade.Autoscaling{Enabled: true, Summary: "1 to 5"},
	})
	p := build(t, s, options())
	if last := p.Steps[len(p.Steps)-1]; last.Kind != upgrade.RestoreAutoscaling || p.Pools[0].Autoscaling.Summary != "1 to 5" {
		t.Errorf("the last step is %s, autoscaling %+v", last.ID, p.Pools[0].Autoscaling)
	}
}

func TestConsentsAreAskedByName(t *testing.T) {
	s := sample()
	s.State.Pods = append(s.State.Pods, upgrade.Pod{Namespace: "default", Name: "bare", UID: "bare", Node: "n1"})
	p := build(t, s, options())
	if diff := cmp.Diff([]upgrade.Consent{upgrade.AllowBarePods, upgrade.AllowEmptyDirLoss}, p.Consents); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]upgrade.Consent{upgrade.AllowBarePods}, p.MissingConsents([]upgrade.Consent{upgrade.AllowEmptyDirLoss})); diff != "" {
		t.Error(diff)
	}
}

func TestUnknownPoolsAreNamedWithThoseThereAre(t *testing.T) {
	o := options()
	o.Pools = []string{"default-pool", "main-pool", "x"}
	_, err := upgrade.BuildPlan(sample(), o, preflight.Inspect)
	want := "node-pools: the cluster has no pool main-pool, x; it has default-pool, done"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestDowngradesAreBadInput(t *testing.T) {
	for name, test := range map[string]struct {
		target, older string // what default-pool runs
		pools         []string
		want          string // the error, empty for a plan
	}{
		"older than the one pool that was chosen": {"1.33", "1.33.5-gke.900", []string{"done"},
			"target-version 1.33.5-gke.900 is older than what runs already, and nodes are not downgraded: done runs 1.34.2-gke.100; the nearest versions that are not older: 1.34.2-gke.100, 1.35.0-gke.7"},
		"older than all pools": {"1.33", "1.34.1-gke.7", nil,
			"target-version 1.33.5-gke.900 is older than what runs already, and nodes are not downgraded: default-pool runs 1.34.1-gke.7, done runs 1.34.2-gke.100; the nearest versions that are not older: 1.34.2-gke.100, 1.35.0-gke.7"},
		"older than one pool, and what the other runs":                        {"1.33", "1.33.5-gke.900", nil, ""},
		"older than the control plane and one pool, newer than the other":     {"1.33", "1.33.1-gke.1", nil, ""},
		"older than the control plane, newer than the pool that was chosen":   {"1.33", "1.33.1-gke.1", []string{"default-pool"}, ""},
		"what the pool that was chosen runs":                                  {"1.34", "1.33.5-gke.900", []string{"done"}, ""},
		"a target that is not offered is told as such, whatever the pools do": {"1.32", "1.33.5-gke.900", nil, "target-version 1.32 is not offered to cluster-1 by the provider; the nearest versions: 1.33.5-gke.900, 1.34.2-gke.100"},
	} {
		t.Run(name, func(t *testing.T) {
			s, o := sample(), options()
			s.Cluster.Pools[0].Version, o.Target, o.Pools = test.older, test.target, test.pools
			got := ""
			if _, err := upgrade.BuildPlan(s, o, preflight.Inspect); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDigest(t *testing.T) {
	before := build(t, sample(), options()).Digest
	for name, test := range map[string]struct {
		change func(*upgrade.Snapshot, *upgrade.Options)
		same   bool
	}{
		"later":                       {func(s *upgrade.Snapshot, _ *upgrade.Options) { s.TakenAt = s.TakenAt.Add(time.Hour) }, true},
		"the version by another word": {func(_ *upgrade.Snapshot, o *upgrade.Options) { o.Target = "default" }, true},
		"a preempted node": {func(s *upgrade.Snapshot, _ *upgrade.Options) {
			s.State.Nodes[0].Name = "n9"
			for i := range s.State.Pods {
				if s.State.Pods[i].Node == "n1" {
					s.State.Pods[i].Node = "n9"
				}
			}
		}, true},
		"an autoscaler's step": {func(s *upgrade.Snapshot, _ *upgrade.Options) {
			s.State.Nodes = append(s.State.Nodes, upgrade.Node{Name: "n9", Pool: "default-pool", Zone: "b", Ready: true})
		}, true},
		"a new replica": {func(s *upgrade.Snapshot, _ *upgrade.Options) {
			p := s.State.Pods[1]
			p.Name, p.UID = "web-3", "web-3"
			s.State.Pods = append(s.State.Pods, p)
		}, true},
		"a budget's last disruption taken": {func(s *upgrade.Snapshot, _ *upgrade.Options) {
			b := s.State.Budgets["default/web"]
			b.Allowed = 0
			s.State.Budgets["default/web"] = b
		}, true},
		"the new pool of an interrupted run": {func(s *upgrade.Snapshot, _ *upgrade.Options) {
			s.Cluster.Pools = append(s.Cluster.Pools, upgrade.Pool{Name: "default-pool-1-34-2-gke-100", Version: "1.34.2-gke.100", MadeBy: "r"})
		}, true},
		"a second replica of a single one": {func(s *upgrade.Snapshot, _ *upgrade.Options) {
			w := s.State.Workloads["w2"]
			w.Wanted = 2
			s.State.Workloads["w2"] = w
		}, true},
		"another target": {func(_ *upgrade.Snapshot, o *upgrade.Options) { o.Target = "1.35.0-gke.7" }, false},
		"another soak":   {func(_ *upgrade.Snapshot, o *upgrade.Options) { o.Soak = 0 }, false},
		"another PDB": {func(s *upgrade.Snapshot, _ *upgrade.Options) {
			b := s.State.Budgets["default/web"]
			b.Spec = json.RawMessage(`{"minAvailable":2}`)
			s.State.Budgets["default/web"] = b
		}, false},
		"a bare pod": {func(s *upgrade.Snapshot, _ *upgrade.Options) {
			s.State.Pods = append(s.State.Pods, upgrade.Pod{Namespace: "default", Name: "bare", UID: "bare", Node: "n1"})
		}, false},
		"another machine type": {func(s *upgrade.Snapshot, _ *upgrade.Options) {
			s.Cluster.Pools[0].Config = json.RawMessage(`{"config":{"machineType":"n2"}}`)
		}, false},
		"another cluster": {func(s *upgrade.Snapshot, _ *upgrade.Options) { s.Cluster.Project = "q" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, o := sample(), options()
			test.change(&s, &o)
			if same := build(t, s, o).Digest == before; same != test.same {
				t.Errorf("the digest is the same: %t, want %t", same, test.same)
			}
		})
	}
	if !strings.HasPrefix(before, "sha256:") || len(before) != 71 {
		t.Errorf("digest %q", before)
	}
}
