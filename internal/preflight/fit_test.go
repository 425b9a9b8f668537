package preflight_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/preflight"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// roomy is healthy with what scheduling sees: nodes of four cores, pods of half a core.
func roomy() upgrade.Snapshot {
	s := healthy()
	s.Cluster.Project, s.Cluster.Location, s.Cluster.PoolLabel = "project", "a", "pool"
	s.Inventory.Nodes, s.Inventory.Pods, s.Inventory.Volumes = map[string]upgrade.NodeShape{}, map[string]*upgrade.PodShape{}, map[string][]upgrade.Volume{}
	for _, n := range s.State.Nodes {
		s.Inventory.Nodes[n.Name] = upgrade.NodeShape{
			Labels:      map[string]string{"kubernetes.io/hostname": n.Name, "pool": "pool"},
			Allocatable: upgrade.Resources{"cpu": 4000, "memory": 16 << 30, "pods": 30},
		}
	}
	web, agent := &upgrade.PodShape{Namespace: "shop", Requests: upgrade.Resources{"cpu": 500}}, &upgrade.PodShape{Namespace: "kube-system", Requests: upgrade.Resources{"cpu": 100}}
	s.Inventory.Daemons = []upgrade.Daemon{{Ref: s.State.Workloads["w2"].Ref, Shape: agent}}
	for _, p := range s.State.Pods {
		s.Inventory.Pods[p.UID] = map[bool]*upgrade.PodShape{true: web, false: agent}[p.Namespace == "shop"]
	}
	return s
}

// TestWhetherPodsFit: each case changes one thing in a roomy cluster, and says what a person reads then.
// readVolumes is the command that lets somebody unknown read volumes.
const readVolumes = "kubectl create clusterrole upshift-read-volumes --verb list --resource persistentvolumes && " +
	`kubectl create clusterrolebinding upshift-read-volumes --clusterrole upshift-read-volumes --user "$(kubectl auth whoami -o jsonpath='{.status.userInfo.username}')"`

func TestWhetherPodsFit(t *testing.T) {
	web := func(s *upgrade.Snapshot) *upgrade.PodShape { return s.Inventory.Pods["web-1"] }
	byHand := func(s *upgrade.Snapshot) {
		web(s).NodeSelector = map[string]string{"disk": "ssd"}
		for _, n := range s.State.Nodes {
			s.Inventory.Nodes[n.Name].Labels["disk"] = "ssd"
		}
	}
	const resize = "gcloud container clusters resize cluster-1 --node-pool pool --num-nodes 4 --location a --project project # and plan again: the new pool gets as many"
	const orAccept = " # and plan again; or accept it if something gives this label to new nodes by itself"
	for name, test := range map[string]struct {
		change func(*upgrade.Snapshot)
		want   []string
	}{
		"a roomy cluster": {func(*upgrade.Snapshot) {}, nil},
		"pods that are larger than what is free": {func(s *upgrade.Snapshot) { web(s).Requests["cpu"] = 3950 }, []string{
			"blocker fit Deployment shop/web has 3 pods that find no node once evicted: 0 of 3 nodes: 3 insufficient cpu (asks 3.95, most free is 3.9); the drain of node n1 would be the first to wait -> " + resize}},
		"pods that are larger than a node": {func(s *upgrade.Snapshot) { web(s).Requests["cpu"] = 5000 }, []string{
			"blocker fit Deployment shop/web has 3 pods that find no node once evicted: 0 of 3 nodes: 3 insufficient cpu (asks 5, such a node has 4 free when it is empty); the drain of node n1 would be the first to wait -> kubectl describe deployment web -n shop"}},
		"nodes that are nearly full": {func(s *upgrade.Snapshot) { web(s).Requests["cpu"] = 3800 }, []string{
			"warning fit NodePool pool moves to new nodes that are nearly full then: pods ask for 98% of cpu -> " + resize}},
		"pods that something else decides about": {func(s *upgrade.Snapshot) { web(s).Unmodelled = []string{"a scheduler of its own (volcano)"} }, []string{
			"info fit Deployment shop/web has 3 pods about which it cannot be told whether they find a node: a scheduler of its own (volcano) -> see that what decides about them knows the new pool"}},
		"volumes that cannot be read": {func(s *upgrade.Snapshot) {
			s.Inventory.Unread = map[upgrade.Source]string{upgrade.ReadVolumes: "forbidden"}
		}, []string{
			"unknown local-volumes Cluster cluster-1 does not let persistent volumes and claims be read, so whether pods have disks of their nodes cannot be told -> " + readVolumes,
			"unknown zonal-volumes Cluster cluster-1 does not let persistent volumes and claims be read, so whether volumes can be mounted in the zones of the new pools cannot be told -> " + readVolumes,
			"unknown fit Cluster cluster-1 does not let persistent volumes and claims be read, so whether their pods find nodes that can mount them cannot be told -> " + readVolumes}},
		"pods of which nothing was read": {func(s *upgrade.Snapshot) { delete(s.Inventory.Pods, "web-2") }, []string{
			"info fit Cluster cluster-1 has 1 pod to move of which too little was read to tell whether they find a node -> "}},
		"nodes of which nothing was read": {func(s *upgrade.Snapshot) { clear(s.Inventory.Nodes) }, []string{
			"unknown fit NodePool pool has nodes of which nothing is known, so whether its pods would fit on new ones cannot be told -> kubectl get nodes"}},
		"a label put by hand": {byHand, []string{
			"blocker lost-labels Deployment shop/web can run only on nodes with the label disk=ssd, which was put on nodes n1, n2, n3 by hand and which new nodes will not have -> gcloud container node-pools update pool --cluster cluster-1 --location a --project project --node-labels disk=ssd" + orAccept}},
		"a label put by hand beside one that the pool gives": {func(s *upgrade.Snapshot) {
			byHand(s)
			s.Cluster.Pools[0].Labels = map[string]string{"team": "shop"}
		}, []string{
			"blocker lost-labels Deployment shop/web can run only on nodes with the label disk=ssd, which was put on nodes n1, n2, n3 by hand and which new nodes will not have -> gcloud container node-pools update pool --cluster cluster-1 --location a --project project --node-labels disk=ssd,team=shop" + orAccept}},
		"a label that the pool gives": {func(s *upgrade.Snapshot) {
			byHand(s)
			s.Cluster.Pools[0].Labels = map[string]string{"disk": "ssd"}
		}, nil},
		"a label put by hand that nobody asks for": {func(s *upgrade.Snapshot) { byHand(s); web(s).NodeSelector = nil }, nil},
		"a label put by hand on nodes of a pool that stays, too": {func(s *upgrade.Snapshot) {
			byHand(s)
			s.Cluster.Pools = append(s.Cluster.Pools, upgrade.Pool{Name: "other", Version: "1.34.2-gke.100"})
			s.State.Nodes = append(s.State.Nodes, upgrade.Node{Name: "o1", Pool: "other", Ready: true})
			s.Inventory.Nodes["o1"] = s.Inventory.Nodes["n1"]
		}, nil},
		"pods pinned to the old pool are told once": {func(s *upgrade.Snapshot) {
			web(s).NodeSelector = map[string]string{"pool": "pool"}
			for i := range s.State.Pods {
				if p := &s.State.Pods[i]; p.Namespace == "shop" {
					p.Pinned, p.PinnedTo = true, []string{"pool"}
				}
			}
		}, []string{
			"blocker pinned-to-pool Deployment shop/web can run only on nodes of pool pool or on one node, by its node selector or required node affinity: once evicted, its pods find no node -> kubectl edit deployment web -n shop # select nodes by a label of your own, which the new pool gets too, or allow pool-1-34-2-gke-100 as well"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := roomy()
			test.change(&s)
			plan, err := upgrade.BuildPlan(s, upgrade.Options{Target: "control-plane", Delete: upgrade.DeleteEach}, preflight.Inspect)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range plan.Findings {
				pastable(t, f)
				got = append(got, strings.Join([]string{string(f.Severity), f.Check, f.Object.String(), f.Problem, "->", remedy(f)}, " "))
				if f.Momentary != slices.Contains([]upgrade.Severity{upgrade.Warning, upgrade.Info}, f.Severity) {
					t.Errorf("%s: what blocks is part of what is approved, and what comes and goes with a replica is not: %+v", f.Check, f)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
