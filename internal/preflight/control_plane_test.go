package preflight_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/preflight"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// behind is ofGKE with a control plane that is a minor behind the target, at the version of its pool.
func behind() (upgrade.Snapshot, upgrade.Options) {
	s := ofGKE()
	s.Cluster.ControlPlaneVersion, s.Cluster.Pools[0].Version = "1.33.5-gke.1", "1.33.5-gke.1"
	return s, upgrade.Options{Target: "1.34", Scope: upgrade.ScopeAll, Delete: upgrade.DeleteEach}
}

// found are the findings of a check.
func found(t *testing.T, s upgrade.Snapshot, o upgrade.Options, check string) []upgrade.Finding {
	t.Helper()
	plan, err := upgrade.BuildPlan(s, o, preflight.Inspect)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range plan.Findings {
		pastable(t, f)
	}
	return slices.DeleteFunc(plan.Findings, func(f upgrade.Finding) bool { return f.Check != check })
}

func TestWhatIsExposedWhileTheAPIIsAway(t *testing.T) {
	s, o := behind()
	if f := found(t, s, o, "control-plane-downtime"); len(f) > 0 {
		t.Errorf("a regional control plane stays up: %+v", f)
	}
	s.Cluster.Regional = false
	operator := upgrade.Ref{Kind: "Deployment", Namespace: "ops", Name: "operator", UID: "op"}
	s.State.Pods = append(s.State.Pods, upgrade.Pod{Namespace: "ops", Name: "operator-abc", UID: "op-1", Node: "n1", Workload: operator, Ready: true})
	lease := func(name string) upgrade.Ref { return upgrade.Ref{Kind: "Lease", Namespace: "ops", Name: name} }
	cronJob := func(name string) upgrade.Ref { return upgrade.Ref{Kind: "CronJob", Namespace: "shop", Name: name} }
	s.Inventory = upgrade.Inventory{
		Leaders: []upgrade.Leader{
			{Lease: lease("operator"), Holder: "operator-abc_0f1e", Renewed: noon.Add(-3 * time.Second)},
			{Lease: lease("outside"), Holder: "a-laptop", Renewed: noon.Add(-3 * time.Second)},
			{Lease: lease("left"), Holder: "gone", Renewed: noon.Add(-time.Hour)},
		},
		CronJobs: []upgrade.CronJob{
			{Ref: cronJob("often"), Schedule: "* * * * *", Next: []time.Time{in(time.Minute), in(2 * time.Minute), in(10 * time.Minute)}},
			{Ref: cronJob("prompt"), Schedule: "1 12 * * *", Next: []time.Time{in(time.Minute)}, Deadline: 30 * time.Second},
			{Ref: cronJob("later"), Schedule: "30 * * * *", Next: []time.Time{in(30 * time.Minute)}},
			{Ref: cronJob("odd"), Schedule: "x", Trouble: "its schedule cannot be read: x"},
		},
		Webhooks: []upgrade.Webhook{
			{Configuration: upgrade.Ref{Kind: "ValidatingWebhookConfiguration", Name: "policy"}, Name: "v.policy", FailsClosed: true, Service: "ops/policy", Sees: []string{"create pods"}, Ready: []string{"x"}},
			{Configuration: upgrade.Ref{Kind: "ValidatingWebhookConfiguration", Name: "hint"}, Name: "v.hint", Service: "ops/hint", Sees: []string{"create pods"}},
		},
		Autoscalers: []upgrade.Autoscaler{{Ref: upgrade.Ref{Kind: "HorizontalPodAutoscaler", Namespace: "shop", Name: "web"}, Target: upgrade.Ref{Kind: "Deployment", Namespace: "shop", Name: "web"}, Now: 3, Most: 10}},
		Unread:      map[upgrade.Source]string{upgrade.ReadLeases: "forbidden"},
	}
	got := found(t, s, o, "control-plane-downtime")
	if len(got) != 2 || got[0].Severity != upgrade.UnknownSeverity || got[0].Stops() || !strings.HasPrefix(got[0].Remedy, "kubectl create clusterrole upshift-read-leases ") {
		t.Fatalf("%+v", got)
	}
	f := got[1]
	want := "is zonal, so its Kubernetes API is away while its control plane is upgraded (about 5m): pods go on serving, and nothing is deployed, scheduled, scaled or healed until it is back; " +
		"exposed meanwhile: 2 leader elections, 3 due CronJobs, 1 fail-closed webhook, 1 HorizontalPodAutoscaler"
	if diff := cmp.Diff(want, f.Problem); diff != "" || f.Consent != upgrade.AllowControlPlaneDowntime || f.Severity != upgrade.Warning || !strings.Contains(f.Advice, "regional-clusters") {
		t.Errorf("%+v\n%s", f, diff)
	}
	evidence := []string{
		"Lease ops/operator is held by Deployment ops/operator, who cannot renew it: as a rule it gives up and starts again",
		"Lease ops/outside is held by a-laptop, who cannot renew it: as a rule it gives up and starts again",
		"CronJob shop/often (* * * * *) is due 2 times, first at 2026-03-04 12:01 UTC",
		"CronJob shop/prompt (1 12 * * *) is due at 2026-03-04 12:01 UTC, and is left out if it cannot start within 30s",
		"CronJob shop/odd (x) can be due: its schedule cannot be read: x",
		"ValidatingWebhookConfiguration policy: once the API is back, create pods fails until the Service ops/policy of webhook v.policy answers",
		"HorizontalPodAutoscaler shop/web does not scale Deployment shop/web (3 pods now, 10 at most)",
	}
	if diff := cmp.Diff(evidence, f.Evidence); diff != "" {
		t.Error(diff)
	}
}

// TestPoolsThatTheControlPlaneWouldLeaveBehindBlock, and the command says what is upgraded first.
func TestPoolsThatTheControlPlaneWouldLeaveBehindBlock(t *testing.T) {
	valid := []string{"1.32.9-gke.1", "1.33.5-gke.1", "1.34.2-gke.100", "1.35.1-gke.3"}
	const upshift = "upshift upgrade --cluster projects/p/locations/europe-west1/clusters/cluster-1 "
	for name, test := range map[string]struct {
		controlPlane, pool, target string
		scope                      upgrade.Scope
		problem, remedy            string
	}{
		"two minors are allowed": {"1.32.9-gke.1", "1.32.9-gke.1", "1.34", upgrade.ScopeAll, "", ""},
		"three are not, and two hops are near enough": {"1.32.9-gke.1", "1.32.9-gke.1", "1.35", upgrade.ScopeControlPlane,
			"runs 1.32.9-gke.1, 3 minors behind 1.35.1-gke.3, and nodes may be 2 behind: upgrade it before that", upshift + "--scope all --target-version 1.34.2-gke.100"},
		"nodes that are two behind already": {"1.33.5-gke.1", "1.31.1-gke.1", "1.34", upgrade.ScopeAll,
			"runs 1.31.1-gke.1, 3 minors behind 1.34.2-gke.100, and nodes may be 2 behind: upgrade it before that", upshift + "--scope nodes --node-pools pool --target-version 1.33.5-gke.1"},
	} {
		t.Run(name, func(t *testing.T) {
			s, o := behind()
			s.Cluster.Versions.Valid = valid
			s.Cluster.ControlPlaneVersion, s.Cluster.Pools[0].Version, o.Target, o.Scope = test.controlPlane, test.pool, test.target, test.scope
			got := found(t, s, o, "left-behind")
			if test.problem == "" {
				if len(got) > 0 {
					t.Errorf("%+v", got)
				}
				return
			}
			if len(got) != 1 || got[0].Problem != test.problem || got[0].Remedy != test.remedy || !got[0].Stops() {
				t.Errorf("got %+v, want %s, %s", got, test.problem, test.remedy)
			}
			if skewed := found(t, s, o, "skew"); len(skewed) > 0 {
				t.Errorf("it is told twice: %+v", skewed)
			}
			s.Cluster.Autopilot = true
			if got := found(t, s, o, "left-behind"); len(got) > 0 {
				t.Errorf("on Autopilot, whose nodes GKE upgrades in between: %+v", got)
			}
		})
	}
}

// TestPoolsThatAControlPlaneOfPeopleWouldLeaveBehindBlock, too.
func TestPoolsThatAControlPlaneOfPeopleWouldLeaveBehindBlock(t *testing.T) {
	for version, want := range map[string]string{
		"1.31.1": "",
		"1.30.1": "runs 1.30.1, 4 minors behind 1.34.2, and nodes may be 3 behind: upgrade it before that; " +
			"upshift upgrade --provider self-managed --cluster own --pool-label pool --scope nodes --node-pools workers --target-version 1.33.5",
	} {
		s := upgrade.Snapshot{Cluster: upgrade.Cluster{
			Provider: upgrade.SelfManaged, Name: "own", PoolLabel: "pool", ControlPlaneVersion: "1.33.5", Skew: 3, Versions: upgrade.Versions{Any: true},
			Pools: []upgrade.Pool{{Name: upgrade.ControlPlanePool, Version: "1.30.1"}, {Name: "workers", Version: version}},
		}}
		got := ""
		for _, f := range found(t, s, upgrade.Options{Target: "1.34.2", Scope: upgrade.ScopeControlPlane}, "left-behind") {
			got = f.Problem + "; " + f.Remedy
		}
		if got != want {
			t.Errorf("workers at %s: %q, want %q", version, got, want)
		}
	}
}

func TestWhatGKEWouldDoByItself(t *testing.T) {
	s, o := behind()
	if f := found(t, s, o, "auto-upgrade"); len(f) > 0 {
		t.Errorf("GKE says nothing: %+v", f)
	}
	s.Cluster.Channel = "REGULAR"
	s.Cluster.AutoUpgrade = upgrade.AutoUpgrade{
		Minor: "1.34.2-gke.100", Patch: "1.33.6-gke.1", Status: []string{"active"}, Paused: []string{"maintenance window"},
		EndOfStandard: noon.Add(-24 * time.Hour), EndOfExtended: noon.Add(240 * time.Hour),
	}
	f := found(t, s, o, "auto-upgrade")
	want := "is on the channel REGULAR: the provider would upgrade the control plane by itself to the patch 1.33.6-gke.1 and to the minor 1.34.2-gke.100; it holds that back (maintenance window); " +
		"standard support of what it runs now ended on 2026-03-03; extended support of what it runs now ends on 2026-03-14"
	if len(f) != 1 || f[0].Problem != want || f[0].Severity != upgrade.Info {
		t.Errorf("got %+v, want %s", f, want)
	}
	s.Cluster.Unread = map[upgrade.Source]string{upgrade.ReadAutoUpgrade: "permission denied"}
	if f := found(t, s, o, "auto-upgrade"); len(f) != 1 || f[0].Evidence[0] != "permission denied" {
		t.Errorf("unread: %+v", f)
	}
}

// TestOnAutopilotOnlyTheControlPlaneIsUpgraded, and nodes alone cannot be.
func TestOnAutopilotOnlyTheControlPlaneIsUpgraded(t *testing.T) {
	s, o := behind()
	s.Cluster.Autopilot = true
	if f := found(t, s, o, "autopilot"); len(f) != 1 || f[0].Severity != upgrade.Info {
		t.Errorf("all: %+v", f)
	}
	o.Scope = upgrade.ScopeNodes
	if f := found(t, s, o, "autopilot"); len(f) != 1 || f[0].Severity != upgrade.Blocker {
		t.Errorf("nodes: %+v", f)
	}
}

// TestWhatIsOnlyNeededForNodesDoesNotBlockTheControlPlane: a permission on nodes, say.
func TestWhatIsOnlyNeededForNodesDoesNotBlockTheControlPlane(t *testing.T) {
	s, o := behind()
	s.Inventory.Permissions = []upgrade.Permission{{Verb: "patch", Resource: "nodes", Why: "to cordon nodes"}, {Verb: "get", Resource: "configmaps", Namespace: "upshift", Why: "to keep the record"}}
	if f := found(t, s, o, "permissions"); len(f) != 2 {
		t.Errorf("all: %+v", f)
	}
	o.Scope = upgrade.ScopeControlPlane
	if f := found(t, s, o, "permissions"); len(f) != 1 || !strings.Contains(f[0].Problem, "configmaps") {
		t.Errorf("the control plane alone: %+v", f)
	}
}

// TestAnExclusionOfMinorsIsAboutTheControlPlaneToo, also where no node is upgraded.
func TestAnExclusionOfMinorsIsAboutTheControlPlaneToo(t *testing.T) {
	s, o := behind()
	o.Scope, o.Maintenance = upgrade.ScopeControlPlane, upgrade.RespectMaintenance
	s.Cluster.Maintenance.Exclusions = []upgrade.Exclusion{{
		Name: "freeze", Scope: "NO_MINOR_UPGRADES", Interval: upgrade.Interval{Start: s.TakenAt.Add(-time.Hour), End: s.TakenAt.Add(24 * time.Hour)},
	}}
	if f := found(t, s, o, "maintenance-exclusion"); len(f) != 1 || f[0].Severity != upgrade.Blocker {
		t.Errorf("%+v", f)
	}
}
