package upgrade_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// surging is the sample with a Deployment web of two pods, whose PodDisruptionBudget never lets one be evicted, and a Deployment one of one pod.
func surging() upgrade.Snapshot {
	s := sample()
	for uid, w := range s.State.Workloads {
		if w.Kind == "Deployment" {
			w.Rollout = &upgrade.Rollout{Surge: 1, Updated: w.Wanted, Available: w.Wanted, Complete: true}
			s.State.Workloads[uid] = w
		}
	}
	s.State.Budgets["default/web"] = upgrade.Budget{Namespace: "default", Name: "web", Healthy: 2, Needed: 2, Expected: 2, Current: true, Spec: json.RawMessage(`{"minAvailable":2}`)}
	s.Inventory = upgrade.Inventory{
		Unread: map[upgrade.Source]string{}, Nodes: map[string]upgrade.NodeShape{}, Pods: map[string]*upgrade.PodShape{}, Volumes: map[string][]upgrade.Volume{},
	}
	for _, n := range s.State.Nodes {
		s.Inventory.Nodes[n.Name] = upgrade.NodeShape{Allocatable: upgrade.Resources{"cpu": 4000, "memory": 1 << 30, "pods": 110}}
	}
	for _, p := range s.State.Pods {
		s.Inventory.Pods[p.UID] = &upgrade.PodShape{Namespace: p.Namespace, Requests: upgrade.Resources{"cpu": 1000}}
	}
	return s
}

// TestWhichDeploymentsAreRestartedFirst: each case changes one thing, and says of each Deployment of the pool what the plan does: nothing where no
// policy has it restarted.
func TestWhichDeploymentsAreRestartedFirst(t *testing.T) {
	const all, singles = upgrade.SurgeDeployments, upgrade.SurgeSingletons
	budget := func(s *upgrade.Snapshot, b upgrade.Budget) {
		b.Namespace, b.Name, b.Current, b.Spec = "default", "web", true, json.RawMessage(fmt.Sprintf(`{"minAvailable":%d}`, b.Needed))
		s.State.Budgets["default/web"] = b
	}
	rollout := func(change func(*upgrade.Rollout)) func(*upgrade.Snapshot) {
		return func(s *upgrade.Snapshot) { change(s.State.Workloads["w1"].Rollout) }
	}
	for name, test := range map[string]struct {
		policy upgrade.SurgePolicy
		change func(*upgrade.Snapshot)
		want   []string
	}{
		"no policy, in a record of old": {"", nil, nil},
		"none":                          {upgrade.SurgeNone, nil, nil},
		"one replica, and one that is never evicted":    {singles, nil, []string{"one: 1 pod", "web: 2 pods"}},
		"a PDB that may allow an eviction another time": {singles, func(s *upgrade.Snapshot) { budget(s, upgrade.Budget{Needed: 1, Healthy: 1, Expected: 2}) }, []string{"one: 1 pod"}},
		"every one that can be":                         {all, func(s *upgrade.Snapshot) { budget(s, upgrade.Budget{Allowed: 1, Needed: 1, Healthy: 2, Expected: 2}) }, []string{"one: 1 pod", "web: 2 pods"}},
		"a StatefulSet": {all, func(s *upgrade.Snapshot) {
			ref := s.State.Workloads["w1"].Ref
			ref.Kind = "StatefulSet"
			s.State.Workloads["w1"] = upgrade.Workload{Ref: ref, Wanted: 2}
			s.State.Pods[0].Workload, s.State.Pods[1].Workload = ref, ref
		}, []string{"one: 1 pod"}},
		"one that is scaled to nothing": {all, func(s *upgrade.Snapshot) {
			w := s.State.Workloads["w1"]
			w.Wanted = 0
			s.State.Workloads["w1"] = w
		}, []string{"one: 1 pod"}},
		"pods elsewhere": {singles, func(s *upgrade.Snapshot) { s.State.Pods[1].Node = "n4" }, []string{"one: 1 pod", "web: 1 pod, 1 elsewhere"}},
		"strategy Recreate": {singles, rollout(func(r *upgrade.Rollout) { r.Recreate = true }), []string{
			"one: 1 pod", "web is evicted: its strategy is Recreate, which ends all old pods before the first new one begins",
		}},
		"maxSurge 0": {singles, rollout(func(r *upgrade.Rollout) { r.Surge, r.Unavailable = 0, 1 }), []string{
			"one: 1 pod", "web is evicted: its maxSurge is 0, so that an old pod ends before a new one begins",
		}},
		"maxUnavailable above 0": {singles, rollout(func(r *upgrade.Rollout) { r.Unavailable = 1 }), []string{
			"one: 1 pod", "web: 2 pods, unless its maxUnavailable lets 1 of its 2 pods be away while it is rolled out",
		}},
		"maxUnavailable that its PDB can do without": {all, func(s *upgrade.Snapshot) {
			s.State.Workloads["w1"].Rollout.Unavailable = 1
			budget(s, upgrade.Budget{Allowed: 1, Needed: 1, Healthy: 2, Expected: 2})
		}, []string{"one: 1 pod", "web: 2 pods"}},
		"maxUnavailable that its PDB cannot do without": {all, rollout(func(r *upgrade.Rollout) { r.Unavailable = 1 }), []string{
			"one: 1 pod", "web: 2 pods, unless its maxUnavailable lets 1 of its pods be away while it is rolled out, and PodDisruptionBudget default/web can do without 0",
		}},
		"two of one PDB, which can do without one": {all, func(s *upgrade.Snapshot) {
			for _, uid := range []string{"w1", "w2"} {
				w := s.State.Workloads[uid]
				w.Wanted, w.Rollout.Unavailable = 2, 1
				s.State.Workloads[uid] = w
			}
			s.State.Pods[2].Budgets = []string{"default/web"}
			budget(s, upgrade.Budget{Allowed: 1, Needed: 3, Healthy: 4, Expected: 4})
		}, []string{"one: 1 pod", "web: 2 pods, unless its maxUnavailable lets 1 of its pods be away while it is rolled out, and PodDisruptionBudget default/web can do without 0"}},
		"maxUnavailable of all its pods": {all, func(s *upgrade.Snapshot) {
			s.State.Workloads["w2"].Rollout.Unavailable = 1
		}, []string{"one: 1 pod, unless its maxUnavailable lets 1 of its 1 pods be away while it is rolled out", "web: 2 pods"}},
		"a rollout that is paused": {singles, rollout(func(r *upgrade.Rollout) { r.Paused = true }), []string{"one: 1 pod", "web: 2 pods, unless its rollout is paused"}},
		"a rollout under way, which may be over by then": {singles, rollout(func(r *upgrade.Rollout) { r.Complete, r.Updated = false, 1 }), []string{
			"one: 1 pod", "web: 2 pods, unless a rollout of it is under way (of 2 pods 1 are new and 2 available)",
		}},
		"a pod that is not available": {singles, rollout(func(r *upgrade.Rollout) { r.Complete, r.Available = false, 1 }), []string{
			"one: 1 pod", "web: 2 pods, unless only 1 of its 2 pods are available",
		}},
		"a rollout that does not progress": {singles, rollout(func(r *upgrade.Rollout) { r.Complete, r.Stuck = false, "timed out" }), []string{
			"one: 1 pod", "web: 2 pods, unless its last rollout does not progress (timed out)",
		}},
		"the annotation never": {singles, rollout(func(r *upgrade.Rollout) { r.Declined = true }), []string{
			"one: 1 pod", "web is evicted: its annotation upshift.dev/surge-first says never",
		}},
		"host ports": {singles, rollout(func(r *upgrade.Rollout) { r.HostPorts = true }), []string{"one: 1 pod", "web is evicted: its pods take ports of their nodes"}},
		"pods that tolerate the cordon": {singles, rollout(func(r *upgrade.Rollout) { r.ToleratesCordon = true }), []string{
			"one: 1 pod", "web is evicted: its pods tolerate the cordon, and new ones may come back to the old nodes",
		}},
		"a volume of one node": {singles, func(s *upgrade.Snapshot) {
			s.Inventory.Volumes["uid-web-2"] = []upgrade.Volume{{Claim: "data", Attached: true}}
		}, []string{"one: 1 pod", "web is evicted: its pods have a volume that one node at a time can attach (claim data)"}},
		"a volume of one pod": {singles, func(s *upgrade.Snapshot) {
			s.Inventory.Volumes["uid-web-2"] = []upgrade.Volume{{Claim: "data", Exclusive: true}}
		}, []string{"one: 1 pod", "web is evicted: its pods have a volume that one node at a time can attach (claim data)"}},
		"a volume of many nodes": {singles, func(s *upgrade.Snapshot) {
			s.Inventory.Volumes["uid-web-2"] = []upgrade.Volume{{Claim: "data"}}
		}, []string{"one: 1 pod", "web: 2 pods"}},
		"volumes that cannot be read": {singles, func(s *upgrade.Snapshot) {
			s.Inventory.Unread[upgrade.ReadVolumes] = "forbidden"
			s.State.Workloads["w1"].Rollout.Claims = true
		}, []string{"one: 1 pod", "web is evicted: whether two nodes can attach its volumes cannot be told"}},
		"pods that are too large for a new node beside what stays on it": {singles, func(s *upgrade.Snapshot) {
			s.Inventory.Pods["uid-web-1"].Requests = upgrade.Resources{"cpu": 3500}
		}, []string{"one: 1 pod", "web: 2 pods, unless its new pods find no room on the new nodes beside those of the others that are restarted"}},
		"pods that just fit": {singles, func(s *upgrade.Snapshot) {
			s.Inventory.Pods["uid-web-1"].Requests = upgrade.Resources{"cpu": 3000}
		}, []string{"one: 1 pod", "web: 2 pods"}},
		"no room for all of them at once": {singles, func(s *upgrade.Snapshot) {
			s.Inventory.Pods["uid-one-1"].Requests = upgrade.Resources{"cpu": 3000}
			s.Inventory.Pods["uid-web-1"].Requests = upgrade.Resources{"cpu": 3000}
			s.State.Nodes = s.State.Nodes[:2] // and so two new ones
		}, []string{"one: 1 pod", "web: 2 pods, unless its new pods find no room on the new nodes beside those of the others that are restarted"}},
		"room for what is here, but not for one more of those elsewhere": {singles, func(s *upgrade.Snapshot) {
			s.Inventory.Pods["uid-one-1"].Requests = upgrade.Resources{"cpu": 3000}
			s.Inventory.Pods["uid-web-1"].Requests = upgrade.Resources{"cpu": 3000}
			s.State.Pods[1].Node = "n4"
			s.State.Nodes = slices.Delete(s.State.Nodes, 1, 3) // and so two new ones, one of them for one
		}, []string{"one: 1 pod", "web: 1 pod, 1 elsewhere, unless its new pods find no room on the new nodes beside those of the others that are restarted"}},
		"new nodes that have pods already": {singles, func(s *upgrade.Snapshot) {
			s.Cluster.Pools = append(s.Cluster.Pools, upgrade.Pool{Name: "default-pool-1-34-2-gke-100", Version: "1.34.2-gke.100", MadeBy: "run-1"})
			for i := range 4 {
				name := fmt.Sprint("new-", i)
				s.State.Nodes = append(s.State.Nodes, upgrade.Node{Name: name, Pool: "default-pool-1-34-2-gke-100", Ready: true})
				s.Inventory.Nodes[name] = upgrade.NodeShape{Allocatable: upgrade.Resources{"cpu": 4000, "pods": 110}}
				w := s.State.Workloads["w4"].Ref
				s.State.Pods = append(s.State.Pods, upgrade.Pod{Namespace: "kube-system", Name: "agent-" + name, UID: name, Node: name, Workload: w, Ready: true})
				s.Inventory.Pods[name] = &upgrade.PodShape{Requests: upgrade.Resources{"cpu": 2500}}
			}
			s.Inventory.Pods["uid-web-1"].Requests = upgrade.Resources{"cpu": 2000}
		}, []string{"one: 1 pod", "web: 2 pods, unless its new pods find no room on the new nodes beside those of the others that are restarted"}},
		"the provider's own": {singles, func(s *upgrade.Snapshot) {
			w := s.State.Workloads["w2"]
			w.Namespace = "kube-system"
			s.State.Workloads["w2"], s.State.Pods[2].Workload = w, w.Ref
		}, []string{"web: 2 pods", "one is evicted: it is the provider's own"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, o := surging(), options()
			o.SurgeFirst = test.policy
			if test.change != nil {
				test.change(&s)
			}
			p := build(t, s, o)
			var got []string
			for _, r := range p.Pools[0].Restarts {
				text := fmt.Sprintf("%s: %d pod", r.Workload.Name, r.Pods)
				if r.Pods > 1 {
					text += "s"
				}
				if r.Elsewhere > 0 {
					text += fmt.Sprintf(", %d elsewhere", r.Elsewhere)
				}
				if r.Unless != "" {
					text += ", unless " + r.Unless
				}
				got = append(got, text)
			}
			for _, e := range p.Pools[0].Evicted {
				got = append(got, fmt.Sprintf("%s is evicted: %s", e.Workload.Name, e.Why))
			}
			slices.Sort(got)
			slices.Sort(test.want)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			step := p.Steps[slices.IndexFunc(p.Steps, func(s upgrade.Step) bool { return s.Kind == upgrade.CordonPool })+1]
			if has := step.Kind == upgrade.SurgeFirst; has != (len(p.Pools[0].Restarts) > 0) {
				t.Errorf("the step after the cordon is %s", step.ID)
			}
		})
	}
}

// TestWhichDeploymentsAreRestartedIsApproved: another set of them voids an approval, and a rollout that happens to be under way does not.
func TestWhichDeploymentsAreRestartedIsApproved(t *testing.T) {
	o := options()
	o.SurgeFirst = upgrade.SurgeSingletons
	before := build(t, surging(), o)
	for name, test := range map[string]struct {
		change func(*upgrade.Snapshot)
		want   []string
	}{
		"one less": {func(s *upgrade.Snapshot) { s.State.Workloads["w2"].Rollout.Declined = true }, []string{"Deployment default/one is not restarted before the drains any more"}},
		"another of its name": {func(s *upgrade.Snapshot) {
			w := s.State.Workloads["w2"]
			w.UID = "w9"
			delete(s.State.Workloads, "w2")
			s.State.Workloads["w9"], s.State.Pods[2].Workload = w, w.Ref
		}, []string{"Deployment default/one is not restarted before the drains any more", "Deployment default/one is restarted before the drains"}},
		"a rollout under way":       {func(s *upgrade.Snapshot) { s.State.Workloads["w2"].Rollout.Complete = false }, nil},
		"a pod on another node":     {func(s *upgrade.Snapshot) { s.State.Pods[2].Node = "n2" }, nil},
		"a pod that is on its way":  {func(s *upgrade.Snapshot) { s.State.Pods[2].UID = "uid-one-2" }, nil},
		"what pods ask for changes": {func(s *upgrade.Snapshot) { s.Inventory.Pods["uid-one-1"].Requests["cpu"] = 1500 }, nil},
	} {
		s := surging()
		test.change(&s)
		now := build(t, s, o)
		if (before.Digest != now.Digest) != (test.want != nil) {
			t.Errorf("%s: the digest has changed: %v", name, before.Digest != now.Digest)
		}
		if diff := cmp.Diff(test.want, upgrade.Differences(before, now)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestWhatPassesLeavesTheApprovedRestartsAsTheyAre: pods that are being replaced, autoscalers, and statuses that are behind void no approval.
func TestWhatPassesLeavesTheApprovedRestartsAsTheyAre(t *testing.T) {
	base := func() upgrade.Snapshot {
		s := surging()
		s.State.Budgets["default/web"] = upgrade.Budget{Namespace: "default", Name: "web", Healthy: 2, Needed: 2, Expected: 2, Current: true, Spec: json.RawMessage(`{"maxUnavailable":"0%"}`)}
		s.State.Budgets["default/one"] = upgrade.Budget{Namespace: "default", Name: "one", Healthy: 1, Needed: 1, Expected: 1, Current: true, Spec: json.RawMessage(`{"minAvailable":1}`)}
		s.State.Pods[2].Budgets = []string{"default/one"}
		elsewhere := upgrade.Ref{Kind: "Deployment", Namespace: "default", Name: "elsewhere", UID: "w5"}
		s.State.Workloads["w5"] = upgrade.Workload{Ref: elsewhere, Wanted: 1, Rollout: &upgrade.Rollout{Surge: 1, Updated: 1, Available: 1, Complete: true}}
		s.State.Pods = append(s.State.Pods, upgrade.Pod{Namespace: "default", Name: "elsewhere", UID: "uid-elsewhere", Node: "n4", Workload: elsewhere, Ready: true})
		s.Inventory.Pods["uid-elsewhere"] = &upgrade.PodShape{Namespace: "default"}
		return s
	}
	scale := func(uid string, to, unavailable int) func(*upgrade.Snapshot) {
		return func(s *upgrade.Snapshot) {
			w := s.State.Workloads[uid]
			w.Wanted, w.Rollout.Unavailable, w.Rollout.Complete = to, unavailable, false
			s.State.Workloads[uid] = w
			more := s.State.Pods[slices.IndexFunc(s.State.Pods, func(p upgrade.Pod) bool { return p.Workload.UID == uid })]
			more.Name, more.UID, more.Node, more.Ready = "more", "uid-more", "", false
			s.State.Pods = append(s.State.Pods, more)
			s.Inventory.Pods["uid-more"] = &upgrade.PodShape{Namespace: "default"}
		}
	}
	for name, change := range map[string]func(*upgrade.Snapshot){
		"the only pod stops":       func(s *upgrade.Snapshot) { s.State.Pods[2].EndsBy = s.TakenAt.Add(time.Minute) },
		"the only pod has no node": func(s *upgrade.Snapshot) { s.State.Pods[2].Node = "" },
		"a node is preempted": func(s *upgrade.Snapshot) {
			s.State.Nodes = s.State.Nodes[1:]
			s.State.Pods[0].Node, s.State.Pods[2].Node = "", ""
		},
		"a new replica": scale("w1", 3, 0),
		"a new replica, and maxUnavailable counts": scale("w1", 4, 1),
		"a new replica elsewhere":                  scale("w5", 2, 0),
		"a budget's status is behind": func(s *upgrade.Snapshot) {
			b := s.State.Budgets["default/web"]
			b.Current, b.Allowed, b.Needed, b.Expected, b.Healthy = false, 1, 0, 0, 0
			s.State.Budgets["default/web"] = b
		},
		"less room":         func(s *upgrade.Snapshot) { s.Inventory.Pods["uid-web-1"].Requests = upgrade.Resources{"cpu": 3900} },
		"a rollout, paused": func(s *upgrade.Snapshot) { s.State.Workloads["w1"].Rollout.Paused = true },
		"the pod of another pool has no node": func(s *upgrade.Snapshot) {
			s.State.Pods[len(s.State.Pods)-1].Node = ""
			s.Inventory.Pods["uid-elsewhere"].NodeSelector = map[string]string{"pool": "done"}
		},
	} {
		for _, policy := range []upgrade.SurgePolicy{upgrade.SurgeSingletons, upgrade.SurgeDeployments} {
			t.Run(name+", "+string(policy), func(t *testing.T) {
				o := options()
				o.SurgeFirst = policy
				before := build(t, base(), o)
				if len(before.Pools[0].Restarts) != 2 {
					t.Fatalf("restarts %v, evicted %v", before.Pools[0].Restarts, before.Pools[0].Evicted)
				}
				s := base()
				change(&s)
				now := build(t, s, o)
				if diff := cmp.Diff([]string(nil), upgrade.Differences(before, now)); diff != "" || before.Digest != now.Digest {
					t.Errorf("the digest has changed: %v; %s", before.Digest != now.Digest, diff)
				}
			})
		}
	}
}

// TestWhichRulesKeepAllPods: as many as a workload wants, as Kubernetes rounds.
func TestWhichRulesKeepAllPods(t *testing.T) {
	for _, test := range []struct {
		rule   string
		wanted int
		keeps  bool
	}{
		{`{}`, 1, true}, {`{}`, 2, false}, {`{"minAvailable":2}`, 2, true}, {`{"minAvailable":2}`, 3, false}, {`{"minAvailable":"100%"}`, 7, true},
		{`{"minAvailable":"51%"}`, 2, true}, {`{"minAvailable":"50%"}`, 2, false}, {`{"maxUnavailable":0}`, 7, true}, {`{"maxUnavailable":"0%"}`, 7, true},
		{`{"maxUnavailable":"1%"}`, 2, false}, {`{"maxUnavailable":1}`, 2, false},
	} {
		s, o := surging(), options()
		o.SurgeFirst = upgrade.SurgeSingletons
		w := s.State.Workloads["w1"]
		w.Wanted = test.wanted
		s.State.Workloads["w1"] = w
		s.State.Workloads["w2"].Rollout.Declined = true
		s.State.Budgets["default/web"] = upgrade.Budget{Namespace: "default", Name: "web", Current: true, Spec: json.RawMessage(test.rule)}
		if keeps := len(build(t, s, o).Pools[0].Restarts) == 1; keeps != (test.keeps || test.wanted == 1) {
			t.Errorf("%s of %d pods: %v", test.rule, test.wanted, keeps)
		}
	}
}

// TestRestartsAreEstimated: they take as many times the start of a pod as there are waves, and the drains no time for what has left before.
func TestRestartsAreEstimated(t *testing.T) {
	takes := func(s upgrade.Snapshot) map[string]time.Duration {
		o := options()
		o.SurgeFirst = upgrade.SurgeSingletons
		all := map[string]time.Duration{}
		for _, step := range build(t, s, o).Steps {
			if step.Kind == upgrade.SurgeFirst || step.Kind == upgrade.DrainNode {
				all[step.Node] = time.Duration(step.Estimate)
			}
		}
		return all
	}
	// Two waves of web, each half a minute, and half a minute for the last pod to stop.
	want := map[string]time.Duration{"": 90 * time.Second, "n1": 2 * time.Second, "n2": 2 * time.Second, "n3": 2 * time.Second}
	if diff := cmp.Diff(want, takes(surging())); diff != "" {
		t.Error(diff)
	}
	s := surging()
	s.State.Workloads["w1"].Rollout.Surge = 2
	want[""] = time.Minute
	if diff := cmp.Diff(want, takes(s)); diff != "" {
		t.Error(diff)
	}
	// What may be evicted after all counts so.
	s = surging()
	s.State.Workloads["w1"].Rollout.Complete = false
	if with, without := takes(s), takes(surging()); with["n1"] <= without["n1"] {
		t.Errorf("with a rollout under way %v", with)
	}
	s = surging()
	w := s.State.Workloads["w1"]
	w.MinReady = 10 * time.Hour
	s.State.Workloads["w1"] = w
	want[""] = 30 * time.Minute // the drain's deadline, at which the run would pause
	if diff := cmp.Diff(want, takes(s)); diff != "" {
		t.Error(diff)
	}
}
