package upgrade

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhichOptionsGoTogether(t *testing.T) {
	for name, test := range map[string]struct {
		provider  string
		o         Options
		unlabeled bool
		want      string
	}{
		"rolling":              {SelfManaged, Options{Target: "1.34.2", Strategy: "rolling"}, false, ""},
		"migrate":              {SelfManaged, Options{Target: "1.34.2+k3s1", Strategy: "auto", NewPool: "new"}, false, ""},
		"control plane alone":  {SelfManaged, Options{Target: "1.34.2", Pools: []string{"control-plane"}}, true, ""},
		"no label":             {SelfManaged, Options{Target: "1.34.2"}, true, "pool-label: missing"},
		"a channel's word":     {SelfManaged, Options{Target: "latest"}, false, `target-version: "latest"`},
		"a GKE version":        {SelfManaged, Options{Target: "1.34.2-gke.1"}, false, `target-version: "1.34.2-gke.1"`},
		"migrate to nowhere":   {SelfManaged, Options{Strategy: "migrate"}, false, "needs new-pool"},
		"in place and new":     {SelfManaged, Options{Strategy: "rolling", NewPool: "new"}, false, `new-pool: "new": strategy rolling`},
		"blue-green":           {SelfManaged, Options{Strategy: "blue-green"}, false, `strategy: "blue-green": it is GKE's own`},
		"to itself":            {SelfManaged, Options{NewPool: "a", Pools: []string{"a"}}, false, "cannot take over from itself"},
		"to the control plane": {SelfManaged, Options{NewPool: "control-plane"}, false, `new-pool: "control-plane"`},
		"the scope alone":      {SelfManaged, Options{Scope: ScopeControlPlane}, true, ""},
		"a scope and a pool":   {SelfManaged, Options{Scope: ScopeControlPlane, Pools: []string{"workers"}}, true, "node-pools: scope control-plane upgrades no pool but control-plane"},
		"nodes, but for these": {SelfManaged, Options{Scope: ScopeNodes, Pools: []string{"control-plane"}}, true, "node-pools: scope nodes leaves out control-plane"},
		"no nodes to move":     {SelfManaged, Options{Scope: ScopeControlPlane, NewPool: "new"}, true, `new-pool: "new": scope control-plane`},
		"a pool's strategy":    {SelfManaged, Options{PerPool: map[string]map[string]string{"a": {"strategy": "blue-green"}}}, false, `pools: pool a: strategy: "blue-green"`},
		"a pool's soak":        {SelfManaged, Options{PerPool: map[string]map[string]string{"a": {"soak": "0s"}}}, false, ""},
		"GKE with a new pool":  {GKE, Options{NewPool: "new"}, true, "only a self-managed cluster takes it"},
		"GKE waits for nobody": {GKE, Options{Wait: WaitHold}, true, "only a self-managed cluster takes it"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := test.o.CheckFor(test.provider, !test.unlabeled)
			switch {
			case test.want == "" && len(bad) > 0:
				t.Errorf("%v", bad)
			case test.want != "" && (len(bad) != 1 || !strings.Contains(bad[0].Error(), test.want)):
				t.Errorf("%v, want %q", bad, test.want)
			}
		})
	}
}

func ownSnapshot(pools ...Pool) Snapshot {
	s := Snapshot{Cluster: Cluster{Provider: SelfManaged, Name: "own", PoolLabel: "pool", ControlPlaneVersion: "1.33.5", Pools: pools, Versions: Versions{Any: true}}}
	for _, p := range pools {
		s.State.Nodes = append(s.State.Nodes, Node{Name: p.Name + "-1", Pool: p.Name, Version: p.Version, Ready: true}, Node{Name: p.Name + "-2", Pool: p.Name, Version: p.Version, Ready: true})
	}
	return s
}

func nothing(Snapshot, Plan) []Finding { return nil }

func TestStepsOfClustersThatPeopleRun(t *testing.T) {
	control, workers, green := Pool{Name: ControlPlanePool, Version: "1.33.5"}, Pool{Name: "workers", Version: "1.33.5"}, Pool{Name: "green", Version: "1.34.2"}
	const controlPlane = `
			check-quorum/control-plane/control-plane-1 cordon-node/control-plane/control-plane-1 drain-node/control-plane/control-plane-1 await-node/control-plane/control-plane-1 uncordon-node/control-plane/control-plane-1
			check-quorum/control-plane/control-plane-2 cordon-node/control-plane/control-plane-2 drain-node/control-plane/control-plane-2 await-node/control-plane/control-plane-2 uncordon-node/control-plane/control-plane-2
			verify-api-servers/control-plane`
	const nodes = `
			cordon-node/workers/workers-1 drain-node/workers/workers-1 await-node/workers/workers-1 uncordon-node/workers/workers-1
			cordon-node/workers/workers-2 drain-node/workers/workers-2 await-node/workers/workers-2 uncordon-node/workers/workers-2`
	const inPlace = controlPlane + nodes
	for name, test := range map[string]struct {
		pools []Pool
		o     Options
		want  string
	}{
		"in place": {[]Pool{control, workers}, Options{}, inPlace},
		"the control plane first, however they are named": {[]Pool{control, workers}, Options{Pools: []string{"workers", ControlPlanePool}}, inPlace},
		"the scope is the control plane":                  {[]Pool{control, workers}, Options{Scope: ScopeControlPlane}, controlPlane},
		"the scope is the nodes":                          {[]Pool{control, workers}, Options{Scope: ScopeNodes}, nodes},
		"to a new pool": {[]Pool{workers, green}, Options{NewPool: "green"}, `
			wait-nodes/workers cordon-pool/workers drain-node/workers/workers-1 drain-node/workers/workers-2 soak/workers retire-pool/workers`},
	} {
		t.Run(name, func(t *testing.T) {
			test.o.Target = "1.34.2"
			plan, err := BuildPlan(ownSnapshot(test.pools...), test.o, nothing)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range plan.Steps {
				got = append(got, s.ID)
			}
			if diff := cmp.Diff(strings.Fields(test.want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatPeopleAskThatCannotBe(t *testing.T) {
	control, workers, others := Pool{Name: ControlPlanePool, Version: "1.33.5"}, Pool{Name: "workers", Version: "1.33.5"}, Pool{Name: "others", Version: "1.33.5"}
	for name, test := range map[string]struct {
		pools []Pool
		o     Options
		want  string
	}{
		"two minors at once":        {[]Pool{control, workers}, Options{Target: "1.35.1"}, "the control plane runs 1.33.5, and goes by one minor at a time: upgrade it to a version of 1.34 first"},
		"one new pool for two":      {[]Pool{control, workers, others}, Options{Target: "1.34.2", NewPool: "green"}, "there are 2 to upgrade (workers, others)"},
		"bad options, from a chat":  {[]Pool{workers}, Options{Target: "latest"}, "nobody who offers versions"},
		"older than what there is ": {[]Pool{workers}, Options{Target: "1.32.0"}, "older than what runs already"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := BuildPlan(ownSnapshot(test.pools...), test.o, nothing); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// TestTheDigestOfClustersThatPeopleRun: what is done is in it, and where a process waits is not.
func TestTheDigestOfClustersThatPeopleRun(t *testing.T) {
	digest := func(change func(*Snapshot, *Options)) string {
		s, o := ownSnapshot(Pool{Name: "workers", Version: "1.33.5"}), Options{Target: "1.33.6"}
		s.Cluster.ControlPlaneVersion = "1.33.6"
		change(&s, &o)
		plan, err := BuildPlan(s, o, nothing)
		if err != nil {
			t.Fatal(err)
		}
		return plan.Digest
	}
	base := digest(func(*Snapshot, *Options) {})
	if digest(func(_ *Snapshot, o *Options) { o.Wait = WaitExit }) != base {
		t.Error("wait is in the digest")
	}
	if digest(func(_ *Snapshot, o *Options) { o.NewPool = "green" }) == base {
		t.Error("the new pool is not in the digest")
	}
	if digest(func(s *Snapshot, _ *Options) { s.Cluster.Pools[0].Config = []byte(`{"label":"other"}`) }) == base {
		t.Error("the pool's label is not in the digest")
	}
}

func TestWhatANodeLacks(t *testing.T) {
	cp := Node{Name: "cp", Pool: ControlPlanePool, Version: "1.34.2", Ready: true}
	server := Pod{Node: "cp", Component: APIServer, Version: "1.34.2", Ready: true}
	other := Pod{Node: "cp-2", Component: APIServer, Version: "1.34.2", Ready: true}
	old, down := server, server
	old.Version, down.Ready = "1.33.5", false
	for want, test := range map[string]struct {
		node Node
		pods []Pod
	}{
		"": {cp, []Pod{server}},
		"its API server runs 1.33.5 instead of 1.34.2": {cp, []Pod{old}},
		"its API server is not Ready":                  {cp, []Pod{down}},
		"its API server is not there":                  {cp, []Pod{other}},
		"its kubelet runs 1.33.5 instead of 1.34.2":    {Node{Pool: "w", Version: "1.33.5", Ready: true}, nil},
		"is not Ready": {Node{Pool: "w", Version: "1.34.2"}, nil},
		"its kubelet runs 1.34.1+k3s9 instead of 1.34.2": {Node{Pool: "w", Version: "1.34.1+k3s9", Ready: true}, nil},
	} {
		if got := (State{Pods: test.pods}).Lacks(test.node, "1.34.2"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for _, newer := range []string{"1.34.3", "1.34.2+k3s1"} { // which nobody could bring back to 1.34.2
		cp := Node{Name: "cp", Pool: ControlPlanePool, Version: newer, Ready: true}
		if got := (State{Pods: []Pod{{Node: "cp", Component: APIServer, Version: newer, Ready: true}}}).Lacks(cp, "1.34.2"); got != "" {
			t.Errorf("%s: %q", newer, got)
		}
	}
	if got := (State{}).Lacks(cp, "1.34.2"); got != "" {
		t.Errorf("a control plane without static pods: %q", got)
	}
}

func TestTheQuorumOfEtcd(t *testing.T) {
	s := State{Nodes: []Node{{Name: "a", Pool: ControlPlanePool}, {Name: "b", Pool: ControlPlanePool}, {Name: "c", Pool: ControlPlanePool}}}
	if q := s.Quorum(); q.Members != 0 || !q.Spares() {
		t.Errorf("etcd that is not seen: %+v", q)
	}
	s.Pods = []Pod{{Name: "etcd-a", Node: "a", Component: Etcd, Ready: true}, {Name: "etcd-b", Node: "b", Component: Etcd}}
	if q := s.Quorum(); q.Members != 3 || len(q.Failing) != 2 || !q.Spares() {
		t.Errorf("one of three: %+v", q)
	}
	s.Nodes = s.Nodes[:2]
	if q := s.Quorum(); q.Members != 2 || q.Spares() {
		t.Errorf("two members: %+v", q)
	}
}

func TestTasksAreExact(t *testing.T) {
	pool := PoolPlan{Name: "workers", To: "1.34.2+k3s1", NewName: "green", ByPeople: true, Nodes: []string{"a", "b"}}
	got := strings.Join(InPlaceTask(NewStep(AwaitNode, "workers", "a"), pool, "pool", false).Commands, "\n")
	want := `ssh a
sudo sed -i -E 's#/v1\.[0-9]+/#/v1.34/#' /etc/apt/sources.list.d/kubernetes.list
sudo apt-get update && sudo apt-get install -y --allow-change-held-packages kubeadm='1.34.2-*'
sudo kubeadm upgrade node
sudo apt-get install -y --allow-change-held-packages kubelet='1.34.2-*' kubectl='1.34.2-*'
sudo systemctl daemon-reload && sudo systemctl restart kubelet
# or, to replace it: kubectl delete node a, and once a new machine has joined: kubectl label node NEW-NODE pool=workers`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	pool.Config = []byte(`{"label":"pool","labels":{"disk":"ssd"},"taints":[{"key":"gpu","value":"yes","effect":"NoSchedule"}]}`)
	join := JoinTask(NewStep(WaitNodes, "workers", ""), pool, "pool", 1)
	if join.What != "add machines at 1.34.2+k3s1 to pool green: 1 are missing of 2" || !strings.HasSuffix(strings.Join(join.Commands, "\n"), "kubectl label node NEW-NODE pool=green disk=ssd\nkubectl taint node NEW-NODE gpu=yes:NoSchedule") {
		t.Errorf("%+v", join)
	}
}

// TestNodesInPlaceAreDrainedOneAfterTheOther, whatever was chosen for migrations.
func TestNodesInPlaceAreDrainedOneAfterTheOther(t *testing.T) {
	workers, green := Pool{Name: "workers", Version: "1.33.5"}, Pool{Name: "green", Version: "1.34.2"}
	for want, newPool := range map[Drains]string{1: "", 3: "green"} {
		plan, err := BuildPlan(ownSnapshot(workers, green), Options{Target: "1.34.2", Parallel: 3, NewPool: newPool}, nothing)
		if err != nil || plan.For("workers").Parallel != want {
			t.Errorf("new pool %q: %v at once, error %v", newPool, plan.For("workers").Parallel, err)
		}
	}
}
