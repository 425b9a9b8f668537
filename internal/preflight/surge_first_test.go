package preflight_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/preflight"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// TestWhatIsRestartedFirstIsNotWarnedOf: what a plan says of a Deployment of one pod, of one whose PodDisruptionBudget never lets a pod be evicted, of
// one whose pods two of them select, and of one without any, depends on whether it is restarted first; where it cannot be, the reason is told.
func TestWhatIsRestartedFirstIsNotWarnedOf(t *testing.T) {
	const all, singles = upgrade.SurgeDeployments, upgrade.SurgeSingletons
	single := func(s *upgrade.Snapshot) {
		w := s.State.Workloads["w1"]
		w.Wanted = 1
		s.State.Workloads["w1"] = w
		for i := range s.State.Pods {
			s.State.Pods[i].Budgets = nil
		}
	}
	never := func(s *upgrade.Snapshot) {
		b := s.State.Budgets["shop/web"]
		b.Allowed, b.Needed, b.Spec = 0, 3, json.RawMessage(`{"minAvailable":3}`)
		s.State.Budgets["shop/web"] = b
	}
	rollout := func(change func(*upgrade.Rollout)) func(*upgrade.Snapshot) {
		return func(s *upgrade.Snapshot) { change(s.State.Workloads["w1"].Rollout) }
	}
	both := func(changes ...func(*upgrade.Snapshot)) func(*upgrade.Snapshot) {
		return func(s *upgrade.Snapshot) {
			for _, change := range changes {
				change(s)
			}
		}
	}
	two := func(s *upgrade.Snapshot) {
		s.State.Budgets["shop/all"] = s.State.Budgets["shop/web"]
		for i := range s.State.Pods {
			if s.State.Pods[i].Namespace == "shop" {
				s.State.Pods[i].Budgets = []string{"shop/all", "shop/web"}
			}
		}
	}
	const web = "Deployment shop/web "
	const restarts = "info surge-first " + web + "is restarted before pool is drained, as kubectl rollout restart does, and GitOps tools can show that as drift"
	const away = "warning single-replica " + web + "has one replica: it is away from the eviction until its replacement is Ready"
	const blocks = "PodDisruptionBudget shop/web can allow no eviction at all with this many pods (maxUnavailable 1: 3 of 3 healthy, 3 needed)"
	underWay := rollout(func(r *upgrade.Rollout) { r.Complete, r.Updated = false, 2 })
	const unless = "a rollout of it is under way (of %d pods 2 are new and 3 available)"
	for name, test := range map[string]struct {
		policy upgrade.SurgePolicy
		change func(*upgrade.Snapshot)
		want   []string
	}{
		"nothing special":      {singles, func(*upgrade.Snapshot) {}, nil},
		"one replica, evicted": {upgrade.SurgeNone, single, []string{away}},
		"one replica, restarted": {singles, single, []string{
			"info single-replica " + web + "has one replica, and is restarted first: its replacement is Ready before it ends", restarts,
		}},
		"one replica that cannot be restarted": {singles, both(single, rollout(func(r *upgrade.Rollout) { r.Recreate = true })), []string{
			away + "; it is not restarted first, since its strategy is Recreate, which ends all old pods before the first new one begins",
		}},
		"one replica that is being rolled out": {singles, both(single, underWay), []string{
			away + "; it is not restarted first, since " + fmt.Sprintf(unless, 1),
			restarts + "; but if it is so still by then, its pods are evicted: " + fmt.Sprintf(unless, 1),
		}},
		"never evicted": {upgrade.SurgeNone, never, []string{"warning pdb-blocks " + blocks + ": the drain will block and the run pause"}},
		"never evicted, and not restarted": {singles, both(never, rollout(func(r *upgrade.Rollout) { r.Paused = true })), []string{
			"warning pdb-blocks " + blocks + ": the drain will block and the run pause; it is not restarted first, since its rollout is paused",
			restarts + "; but if it is so still by then, its pods are evicted: its rollout is paused",
		}},
		"never evicted, but restarted": {singles, never, []string{
			"info pdb-blocks " + blocks + ", and none is evicted: they leave with a restart of their Deployment", restarts,
		}},
		"not evicted now, but restarted": {all, func(s *upgrade.Snapshot) {
			b := s.State.Budgets["shop/web"]
			b.Allowed, b.Healthy = 0, 2
			s.State.Budgets["shop/web"] = b
		}, []string{
			"info pdb-blocks PodDisruptionBudget shop/web allows no eviction now (maxUnavailable 1: 2 of 3 healthy, 2 needed), and none of its pods is evicted: they leave with a restart of their Deployment", restarts,
		}},
		"every one, and its pods elsewhere": {all, func(s *upgrade.Snapshot) { s.State.Nodes[2].Pool = "" }, []string{restarts + "; 1 pod elsewhere restarts too"}},
		"every one that can be": {all, rollout(func(r *upgrade.Rollout) { r.HostPorts = true }), []string{
			"info surge-first " + web + "is evicted pod by pod from pool, and not restarted first, since its pods take ports of their nodes",
		}},
		"without a PDB, restarted": {all, func(s *upgrade.Snapshot) {
			for i := range s.State.Pods {
				s.State.Pods[i].Budgets = nil
			}
		}, []string{restarts}},
		"with two PDBs, restarted": {all, two, []string{restarts}},
		"with two PDBs, and a rollout": {all, both(two, underWay), []string{
			"warning overlapping-pdbs Pod shop/web-1 has more than one PodDisruptionBudget, and the eviction API then refuses every eviction: its node's drain will block; it is not restarted first, since " + fmt.Sprintf(unless, 3),
			restarts + "; but if it is so still by then, its pods are evicted: " + fmt.Sprintf(unless, 3),
		}},
		"a permission that is missing": {singles, both(single, func(s *upgrade.Snapshot) {
			s.Inventory.Permissions = []upgrade.Permission{{Verb: "patch", Group: "apps", Resource: "deployments", Why: "to restart", Only: upgrade.SurgeFirst}}
		}), []string{
			"blocker permissions User ci@example.com may not patch deployments, which is needed to restart",
			"info single-replica " + web + "has one replica, and is restarted first: its replacement is Ready before it ends", restarts,
		}},
		"a permission that nothing needs": {upgrade.SurgeNone, both(single, func(s *upgrade.Snapshot) {
			s.Inventory.Permissions = []upgrade.Permission{{Verb: "patch", Group: "apps", Resource: "deployments", Why: "to restart", Only: upgrade.SurgeFirst}}
		}), []string{away}},
	} {
		t.Run(name, func(t *testing.T) {
			s := known()
			w := s.State.Workloads["w1"]
			w.Rollout = &upgrade.Rollout{Surge: 1, Updated: 3, Available: 3, Complete: true}
			s.State.Workloads["w1"] = w
			test.change(&s)
			plan, err := upgrade.BuildPlan(s, upgrade.Options{Target: "control-plane", Delete: upgrade.DeleteEach, SurgeFirst: test.policy}, preflight.Inspect)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range plan.Findings {
				if f.Check != "fit" && f.Check != "other-cluster" { // of which nothing is said here
					got = append(got, fmt.Sprintf("%s %s %s %s", f.Severity, f.Check, f.Object, f.Problem))
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
