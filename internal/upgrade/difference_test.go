package upgrade_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// TestWhateverChangesTheDigestHasASentence: an approval that is void is explained, and one that stands is not.
func TestWhateverChangesTheDigestHasASentence(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(s *upgrade.Snapshot)
		options func(o *upgrade.Options)
		want    []string
	}{
		"nothing":          {},
		"a preempted node": {change: func(s *upgrade.Snapshot) { s.State.Nodes[0].Name, s.State.Pods[0].Node = "n9", "n9" }},
		"a new replica": {change: func(s *upgrade.Snapshot) {
			p := s.State.Pods[0]
			p.Name, p.UID = "web-3", "uid-web-3"
			s.State.Pods = append(s.State.Pods, p)
		}},
		"a PDB's last disruption": {change: func(s *upgrade.Snapshot) {
			b := s.State.Budgets["default/web"]
			b.Allowed = 0
			s.State.Budgets = map[string]upgrade.Budget{"default/web": b}
		}},
		"a new PDB": {change: func(s *upgrade.Snapshot) {
			s.State.Pods[2].Budgets = []string{"default/one"}
			s.State.Budgets = map[string]upgrade.Budget{"default/web": s.State.Budgets["default/web"], "default/one": {Namespace: "default", Name: "one", Allowed: 1, Spec: json.RawMessage(`{}`)}}
		}, want: []string{"PodDisruptionBudget default/one is new among those that count"}},
		"a PDB that is gone": {change: func(s *upgrade.Snapshot) { s.State.Pods[0].Budgets, s.State.Pods[1].Budgets = nil, nil },
			want: []string{"PodDisruptionBudget default/web does not count any more"}},
		"another rule": {change: func(s *upgrade.Snapshot) {
			b := s.State.Budgets["default/web"]
			b.Spec = json.RawMessage(`{"minAvailable":2}`)
			s.State.Budgets = map[string]upgrade.Budget{"default/web": b}
		}, want: []string{"PodDisruptionBudget default/web has changed"}},
		"a bare pod": {change: func(s *upgrade.Snapshot) {
			s.State.Pods = append(s.State.Pods, upgrade.Pod{Namespace: "default", Name: "bare", UID: "b", Node: "n1"})
		}, want: []string{"it asks for the consent allow-bare-pods", "new warning bare-pods: Pod default/bare"}},
		"a consent less": {change: func(s *upgrade.Snapshot) { s.State.Pods[1].EmptyDirs = nil },
			want: []string{"it needs no consent allow-emptydir-loss any more", "gone: warning emptydir: Deployment default/web"}},
		"the pool's configuration": {change: func(s *upgrade.Snapshot) {
			s.Cluster.Pools[0].Config = json.RawMessage(`{"config":{"machineType":"n2"}}`)
		},
			want: []string{"the configuration of pool default-pool has changed"}},
		"the pool's version": {change: func(s *upgrade.Snapshot) { s.Cluster.Pools[0].Version = "1.33.4-gke.1" },
			want: []string{"pool default-pool runs 1.33.4-gke.1 instead of 1.33.5-gke.900"}},
		"a pool that is done": {change: func(s *upgrade.Snapshot) { s.Cluster.Pools[0].Version = "1.34.2-gke.100" }, want: []string{
			"pool default-pool: nothing-to-do instead of migrate", "it needs no consent allow-emptydir-loss any more",
			"PodDisruptionBudget default/web does not count any more", "gone: warning emptydir: Deployment default/web",
		}},
		"autoscaling": {change: func(s *upgrade.Snapshot) {
			s.Cluster.Pools[0].Autoscaling = upgrade.Autoscaling{Enabled: true, Summary: "1 to 5"}
		},
			want: []string{"the autoscaling of pool default-pool has changed"}},
		"a Job's pod under a PDB, which nobody evicts": {change: func(s *upgrade.Snapshot) {
			p := s.State.Pods[3]
			p.Name, p.UID, p.Budgets = "job-2", "uid-job-2", []string{"default/jobs"}
			s.State.Pods = append(s.State.Pods, p)
			s.State.Budgets = map[string]upgrade.Budget{"default/web": s.State.Budgets["default/web"], "default/jobs": {Namespace: "default", Name: "jobs", Spec: json.RawMessage(`{}`)}}
		}},
		"a pod that took long to start": {change: func(s *upgrade.Snapshot) { s.State.Pods[0].StartUp = 50 * time.Hour }},
		"what a pool has of its own": {options: func(o *upgrade.Options) { o.PerPool = map[string]map[string]string{"default-pool": {"soak": "2h"}} },
			want: []string{"pool default-pool has its own soak: 2h"}},
		"maintenance": {options: func(o *upgrade.Options) { o.Maintenance = upgrade.RespectMaintenance }, want: []string{"maintenance is respect instead of ignore"}},
		"an option":   {options: func(o *upgrade.Options) { o.Soak = 0 }, want: []string{"its options or the way in which it was made have changed"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, o := sample(), options()
			before := build(t, s, o)
			if test.change != nil {
				test.change(&s)
			}
			if test.options != nil {
				test.options(&o)
			}
			now := build(t, s, o)
			if changed := before.Digest != now.Digest; changed != (len(test.want) > 0) {
				t.Errorf("the digest has changed: %v", changed)
			}
			// As it comes back from the record.
			data, err := json.Marshal(before)
			if err != nil {
				t.Fatal(err)
			}
			var recorded upgrade.Plan
			if err := json.Unmarshal(data, &recorded); err != nil {
				t.Fatal(err)
			}
			var want []string
			if test.want != nil {
				want = test.want
			}
			got := upgrade.Differences(recorded, now)
			if before.Digest == now.Digest {
				return // what may differ then is of no interest
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEstimates(t *testing.T) {
	p := build(t, sample(), options())
	// New pool 4 min; n1 has web-1 and one-1 (side by side), n2 web-2: half a minute each, as long as a pod takes to start, and as long as
	// one may take to stop; n3 a Job, which nothing is known of; soak 1 h; deletion 4 min.
	if want := 4*time.Minute + 30*time.Second + 30*time.Second + 2*time.Second + time.Hour + 4*time.Minute; p.Estimate() != want {
		t.Errorf("the plan takes %s, want %s", p.Estimate(), want)
	}
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := upgrade.NewRun("1", p, start)
	if got := r.Remaining(start); got != p.Estimate() {
		t.Errorf("before it begins %s are left, want %s", got, p.Estimate())
	}
	for i, s := range r.Steps {
		if s.Kind == upgrade.DrainNode || s.Kind == upgrade.Soak || s.Kind == upgrade.DeletePool {
			continue
		}
		r.Steps[i].State = upgrade.StepDone
	}
	first := r.Step("drain-node/default-pool/n1")
	end := start.Add(10 * time.Second)
	first.State, first.StartedAt, first.FinishedAt = upgrade.StepDone, &start, &end
	second := r.Step("drain-node/default-pool/n2")
	second.State, second.StartedAt = upgrade.StepRunning, &end
	// What a drain took is what the next ones take.
	if want := 6*time.Second + 10*time.Second + time.Hour + 4*time.Minute; r.Remaining(end.Add(4*time.Second)) != want {
		t.Errorf("in the second drain %s are left, want %s", r.Remaining(end.Add(4*time.Second)), want)
	}
	if want := 10*time.Second + time.Hour + 4*time.Minute; r.Remaining(end.Add(time.Minute)) != want {
		t.Errorf("in a drain that takes long %s are left, want %s", r.Remaining(end.Add(time.Minute)), want)
	}
}
