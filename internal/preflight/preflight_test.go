package preflight_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/preflight"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

var update = flag.Bool("update", false, "write docs/preflight.md anew")

// document is where the checks are described for people.
const document = "../../docs/preflight.md"

func TestThePageSaysWhatTheCodeDoes(t *testing.T) {
	if *update {
		if err := os.WriteFile(document, []byte(page()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	there, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(there), page()); diff != "" {
		t.Errorf("%s is out of date: go test ./internal/preflight -update\n%s", document, diff)
	}
}

// page describes all checks in Markdown.
func page() string {
	var b strings.Builder
	b.WriteString("# Preflight checks\n\nWhat `plan` looks for before anything is touched. A **blocker** stops `upgrade` from starting, a **warning** should be known to\n" +
		"who starts it, an **info** is worth a line. What cannot be told, because something may not be read, is **unknown**: it counts as a\n" +
		"blocker where the check can block, and as a warning otherwise.\n\n" +
		"What a person may allow is in the last column. A consent is an input of its own, for all that the check finds, and `upgrade` starts only with it.\n" +
		"`accept` is for one object, with a reason and for a time; a line each:\n\n```\nsingle-replica default/reports until=2026-12-31 reason=a batch worker that nobody waits for\n```\n\n" +
		"The object is NAME, NAMESPACE/NAME, KIND/NAME or KIND/NAMESPACE/NAME. A waiver counts to the end of its day in UTC, shows in the plan, and\n" +
		"is part of what the digest covers. One that does nothing is told too.\n\n" +
		"This page is made from the code: `go test ./internal/preflight -update`.\n\n| check | severity | finds | why | allowed with |\n| --- | --- | --- | --- | --- |\n")
	for _, c := range preflight.Checks() {
		severities := make([]string, len(c.Severities))
		for i, s := range c.Severities {
			severities[i] = string(s)
		}
		consent := "`accept`"
		switch {
		case c.Consent != "":
			consent = "`" + string(c.Consent) + "`"
		case c.Binding, slices.Equal(c.Severities, []upgrade.Severity{upgrade.Info}):
			consent = ""
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", c.Name, strings.Join(severities, ", "), c.Title, c.Why, consent)
	}
	return b.String()
}

func TestEveryCheckIsDescribed(t *testing.T) {
	var names []string
	for _, c := range preflight.Checks() {
		if c.Name == "" || c.Title == "" || !strings.HasSuffix(c.Why, ".") || len(c.Severities) == 0 || slices.Contains(names, c.Name) {
			t.Errorf("%+v", c)
		}
		names = append(names, c.Name)
	}
}

// healthy is a cluster in which there is nothing to say: three nodes, a Deployment spread over them with a PDB, and a DaemonSet.
func healthy() upgrade.Snapshot {
	web := upgrade.Ref{Kind: "Deployment", Namespace: "shop", Name: "web", UID: "w1"}
	agent := upgrade.Ref{Kind: "DaemonSet", Namespace: "kube-system", Name: "agent", UID: "w2"}
	s := upgrade.Snapshot{
		Cluster: upgrade.Cluster{
			Provider: "gke", Name: "cluster-1", ControlPlaneVersion: "1.34.2-gke.100",
			Versions: upgrade.Versions{Default: "1.34.2-gke.100", Valid: []string{"1.34.2-gke.100"}},
			Pools:    []upgrade.Pool{{Name: "pool", Version: "1.33.5-gke.1", Zones: []string{"a"}}},
		},
		State: upgrade.State{
			Workloads: map[string]upgrade.Workload{"w1": {Ref: web, Wanted: 3}, "w2": {Ref: agent, Wanted: 3}},
			Budgets:   map[string]upgrade.Budget{"shop/web": {Namespace: "shop", Name: "web", Allowed: 1, Healthy: 3, Needed: 2, Expected: 3, Current: true, Rule: "maxUnavailable 1"}},
		},
	}
	for _, n := range []string{"1", "2", "3"} {
		s.State.Nodes = append(s.State.Nodes, upgrade.Node{Name: "n" + n, Pool: "pool", Zone: "a", Ready: true})
		s.State.Pods = append(s.State.Pods,
			upgrade.Pod{Namespace: "shop", Name: "web-" + n, UID: "web-" + n, Node: "n" + n, Workload: web, Ready: true, Grace: 30 * time.Second, Budgets: []string{"shop/web"}},
			upgrade.Pod{Namespace: "kube-system", Name: "agent-" + n, UID: "agent-" + n, Node: "n" + n, Workload: agent, Ready: true})
	}
	return s
}

// TestWhatIsFound: each case changes one thing in a healthy cluster, and names what is found with its object, and that each finding is
// of a severity that the check says it can have, with a remedy or a consent where a person has to do something.
func TestWhatIsFound(t *testing.T) {
	pod := func(s *upgrade.Snapshot, name string) *upgrade.Pod {
		return &s.State.Pods[slices.IndexFunc(s.State.Pods, func(p upgrade.Pod) bool { return p.Name == name })]
	}
	runs := func(s *upgrade.Snapshot) {
		job := upgrade.Ref{Kind: "Job", Namespace: "shop", Name: "report", UID: "w9"}
		s.State.Workloads["w9"] = upgrade.Workload{Ref: job, Wanted: upgrade.Unknown}
		s.State.Pods = append(s.State.Pods, upgrade.Pod{Namespace: "shop", Name: "report-1", UID: "report-1", Node: "n1", Workload: job, Ready: true})
	}
	for name, test := range map[string]struct {
		change func(*upgrade.Snapshot)
		want   []string
	}{
		"a healthy cluster":                     {func(*upgrade.Snapshot) {}, nil},
		"a node that is not Ready":              {func(s *upgrade.Snapshot) { s.State.Nodes[1].Ready = false }, []string{"warning unready-nodes Node n2"}},
		"a node that somebody cordoned":         {func(s *upgrade.Snapshot) { s.State.Nodes[1].Unschedulable = true }, []string{"info foreign-cordons Node n2"}},
		"a node that an earlier run cordoned":   {func(s *upgrade.Snapshot) { s.State.Nodes[1].Unschedulable, s.State.Nodes[1].CordonedBy = true, "run-1" }, nil},
		"a pod that takes an hour to stop":      {func(s *upgrade.Snapshot) { pod(s, "web-1").Grace = time.Hour }, []string{"warning long-grace Deployment shop/web"}},
		"a grace period of exactly ten minutes": {func(s *upgrade.Snapshot) { pod(s, "web-1").Grace = 10 * time.Minute }, nil},
		"a DaemonSet's pod that takes an hour":  {func(s *upgrade.Snapshot) { pod(s, "agent-1").Grace = time.Hour }, nil},
		"replicas without a PDB": {func(s *upgrade.Snapshot) {
			for _, n := range []string{"1", "2", "3"} {
				pod(s, "web-"+n).Budgets = nil
			}
		}, []string{"info no-pdb Deployment shop/web"}},
		"all replicas on one node": {func(s *upgrade.Snapshot) { pod(s, "web-2").Node, pod(s, "web-3").Node = "n1", "n1" }, []string{"info one-node Deployment shop/web"}},
		"two of three on one node": {func(s *upgrade.Snapshot) { pod(s, "web-2").Node = "n1" }, nil},
		"one replica": {func(s *upgrade.Snapshot) {
			s.State.Workloads["w1"] = upgrade.Workload{Ref: s.State.Workloads["w1"].Ref, Wanted: 1}
		}, []string{"warning single-replica Deployment shop/web"}},
		"a pod pinned to the old pool": {func(s *upgrade.Snapshot) { pod(s, "web-1").Pinned, pod(s, "web-1").PinnedTo = true, []string{"pool"} }, []string{"blocker pinned-to-pool Deployment shop/web"}},
		"a pod pinned to its node":     {func(s *upgrade.Snapshot) { pod(s, "web-1").Pinned = true }, []string{"blocker pinned-to-pool Deployment shop/web"}},
		"a pod that may run in the new pool too": {func(s *upgrade.Snapshot) {
			pod(s, "web-1").Pinned, pod(s, "web-1").PinnedTo = true, []string{"pool", "pool-1-34-2-gke-100"}
		}, nil},
		"a DaemonSet's pod, which is pinned to its node": {func(s *upgrade.Snapshot) { pod(s, "agent-1").Pinned = true }, nil},
		"a running Job": {runs, []string{"info running-jobs Job shop/report"}},
		"a running Job with an emptyDir, an hour to stop and a pin, which is none of a drain's business": {func(s *upgrade.Snapshot) {
			runs(s)
			p := pod(s, "report-1")
			p.EmptyDirs, p.Grace, p.Pinned = []string{"x"}, time.Hour, true
		}, []string{"info running-jobs Job shop/report"}},
		"a bare pod": {func(s *upgrade.Snapshot) { pod(s, "web-1").Workload, pod(s, "web-1").Budgets = upgrade.Ref{}, nil }, []string{"warning bare-pods Pod shop/web-1"}},
		"a PDB that can never allow anything": {func(s *upgrade.Snapshot) {
			b := s.State.Budgets["shop/web"]
			b.Allowed, b.Needed = 0, 3
			s.State.Budgets["shop/web"] = b
		}, []string{"warning pdb-blocks PodDisruptionBudget shop/web"}},
		"two PDBs over one pod": {func(s *upgrade.Snapshot) {
			pod(s, "web-1").Budgets = []string{"shop/web", "shop/all"}
			s.State.Budgets["shop/all"] = upgrade.Budget{Namespace: "shop", Name: "all", Allowed: 1}
		}, []string{"warning overlapping-pdbs Pod shop/web-1"}},
		"a pod that gets two PDBs and is a Job's, which nobody evicts": {func(s *upgrade.Snapshot) {
			runs(s)
			pod(s, "report-1").Budgets = []string{"shop/web", "shop/all"}
			s.State.Budgets["shop/all"] = upgrade.Budget{Namespace: "shop", Name: "all"}
		}, []string{"info running-jobs Job shop/report"}},
		"a runner's pod, which works and ends": {func(s *upgrade.Snapshot) {
			runner := upgrade.Ref{Kind: "EphemeralRunner", Namespace: "shop", Name: "runner-abc", UID: "r"}
			s.State.Pods = append(s.State.Pods, upgrade.Pod{Namespace: "shop", Name: "runner-abc", UID: "runner", Node: "n1", Workload: runner, Ready: true, OneOff: true, EmptyDirs: []string{"work"}})
		}, []string{"info running-jobs EphemeralRunner shop/runner-abc"}},
		"a cluster that is degraded": {func(s *upgrade.Snapshot) { s.Cluster.Trouble = "GKE has it in status DEGRADED: CA expired" }, []string{"warning cluster-trouble Cluster cluster-1"}},
		"a cluster that is being deleted": {func(s *upgrade.Snapshot) {
			s.Cluster.Trouble, s.Cluster.Unusable = "GKE has it in status STOPPING", true
		}, []string{"blocker cluster-trouble Cluster cluster-1"}},
		"a pool that is empty, in a cluster whose other nodes are known": {func(s *upgrade.Snapshot) {
			s.Cluster.Pools = append(s.Cluster.Pools, upgrade.Pool{Name: "gpu", Version: "1.33.5-gke.1", Zones: []string{"a"}})
		}, []string{"blocker other-cluster NodePool gpu"}},
		"nothing on pools that stay": {func(s *upgrade.Snapshot) {
			s.Cluster.Pools[0].Version = "1.34.2-gke.100"
			s.State.Nodes[1].Ready, pod(s, "web-1").Grace = false, time.Hour
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := healthy()
			test.change(&s)
			plan, err := upgrade.BuildPlan(s, upgrade.Options{Target: "control-plane", Delete: upgrade.DeleteEach}, preflight.Inspect)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range plan.Findings {
				got = append(got, string(f.Severity)+" "+f.Check+" "+f.Object.String())
				i := slices.IndexFunc(preflight.Checks(), func(c preflight.Check) bool { return c.Name == f.Check })
				pastable(t, f)
				if c := preflight.Checks()[i]; !slices.Contains(c.Severities, f.Severity) || c.Consent != f.Consent || f.Problem == "" || strings.HasSuffix(f.Problem, ".") {
					t.Errorf("%+v is not as its check says", f)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// pastable demands that a remedy is a command of a tool that people have, and nothing but that.
func pastable(t *testing.T, f upgrade.Finding) {
	t.Helper()
	tool, _, _ := strings.Cut(f.Remedy, " ")
	if !slices.Contains([]string{"", "kubectl", "gcloud", "terraform", "upshift"}, tool) || strings.Contains(f.Remedy, ", ") || strings.Contains(f.Remedy, "…") {
		t.Errorf("%q cannot be pasted", f.Remedy)
	}
}

// remedy is the command and the advice of a finding.
func remedy(f upgrade.Finding) string {
	return strings.Trim(f.Remedy+" # "+f.Advice, "# ")
}

// TestJobsThatAreEvictedMoveLikeAllOthers with jobs: evict.
func TestJobsThatAreEvictedMoveLikeAllOthers(t *testing.T) {
	s := healthy()
	job := upgrade.Ref{Kind: "Job", Namespace: "shop", Name: "report", UID: "w9"}
	s.State.Workloads["w9"] = upgrade.Workload{Ref: job, Wanted: upgrade.Unknown}
	s.State.Pods = append(s.State.Pods, upgrade.Pod{
		Namespace: "shop", Name: "report-1", UID: "report-1", Node: "n1", Workload: job, Ready: true, EmptyDirs: []string{"x"}, Grace: time.Hour, Pinned: true, PinnedTo: []string{"pool"},
	})
	o := upgrade.Options{Target: "control-plane", Delete: upgrade.DeleteEach, Jobs: upgrade.EvictJobs}
	plan, err := upgrade.BuildPlan(s, o, preflight.Inspect)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range plan.Findings {
		got = append(got, string(f.Severity)+" "+f.Check+" "+f.Object.String())
	}
	want := []string{
		"blocker pinned-to-pool Job shop/report", "warning emptydir Job shop/report", "warning long-grace Job shop/report", "warning running-jobs Job shop/report",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if plan.Pools[0].PodsToMove != 4 {
		t.Errorf("%d pods to move, want the Job's among them", plan.Pools[0].PodsToMove)
	}
}

// TestNothingIsWrongWithDoingNothing: a cluster that is where it should be is not blocked by what nobody is going to do.
func TestNothingIsWrongWithDoingNothing(t *testing.T) {
	s := healthy()
	s.Cluster.Pools[0].Version = "1.34.2-gke.100"
	s.Inventory = upgrade.Inventory{
		Unread:      map[upgrade.Source]string{upgrade.ReadVolumes: "forbidden", upgrade.ReadWebhooks: "forbidden", upgrade.ReadPermissions: "forbidden"},
		Permissions: []upgrade.Permission{{Verb: "create", Resource: "pods/eviction"}},
	}
	plan, err := upgrade.BuildPlan(s, upgrade.Options{Target: "control-plane"}, preflight.Inspect)
	if err != nil {
		t.Fatal(err)
	}
	if !plan.NothingToDo() || plan.Verdict != upgrade.Ready {
		t.Errorf("the plan is %s: %+v", plan.Verdict, plan.Findings)
	}
}

// TestAnEmptyPoolCanBeAccepted, and nothing else about two APIs that do not fit together.
func TestAnEmptyPoolCanBeAccepted(t *testing.T) {
	waivers, err := upgrade.ParseWaivers("other-cluster gpu until=2099-12-31 reason=idle\nother-cluster n1 until=2099-12-31 reason=x")
	if err != nil {
		t.Fatal(err)
	}
	s := healthy()
	s.Cluster.Pools = append(s.Cluster.Pools, upgrade.Pool{Name: "gpu", Version: "1.33.5-gke.1", Zones: []string{"a"}})
	o := upgrade.Options{Target: "control-plane", Delete: upgrade.DeleteEach, Accept: waivers[:1]}
	if plan, err := upgrade.BuildPlan(s, o, preflight.Inspect); err != nil || plan.Verdict != upgrade.Ready {
		t.Errorf("an empty pool that was accepted: %s, %v", plan.Verdict, err)
	}
	s.State.Nodes[0].Pool = "elsewhere"
	o.Accept = waivers[1:]
	if plan, err := upgrade.BuildPlan(s, o, preflight.Inspect); err != nil || plan.Verdict != upgrade.Blocked {
		t.Errorf("another cluster's node that was accepted: %s, %v", plan.Verdict, err)
	}
}

func TestWaiversAreOfChecksThatCanBeAccepted(t *testing.T) {
	for check, want := range map[string]string{
		"single-replica": "",
		"no-such-check":  "there is no check no-such-check; want one of ",
		"bare-pods":      "what bare-pods finds is not accepted one by one, but allowed with allow-bare-pods: true",
		"autopilot":      "what autopilot finds cannot be accepted: ",
	} {
		err := preflight.CheckWaivers([]upgrade.Waiver{{Check: check, Object: "x"}})
		if got := fmt.Sprint(err); want == "" && err != nil || want != "" && !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", check, got, want)
		}
	}
}
