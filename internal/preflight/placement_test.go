package preflight_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/preflight"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// TestWherePodsMayGo: each case changes one thing in a roomy cluster, and names what is found, with what is said of it and what to do.
func TestWherePodsMayGo(t *testing.T) {
	web := func(s *upgrade.Snapshot) *upgrade.PodShape { return s.Inventory.Pods["web-1"] }
	everything := []upgrade.Toleration{{Operator: "Exists"}}
	const comeBack = " tolerates the cordon: its pods come back to the nodes that are drained, and the drain waits for them -> "
	const edit = " # tolerate the taints that it has to, by their keys, and not node.kubernetes.io/unschedulable"
	const update = "gcloud container node-pools update pool --cluster cluster-1 --location a --project project "
	const resize = "gcloud container clusters resize cluster-1 --node-pool pool --num-nodes 4 --location a --project project # and plan again: the new pool gets as many"
	const orLabel = "or accept it if something gives this label to new nodes by itself"
	// edge adds a DaemonSet for nodes with the label edge=yes.
	edge := func(s *upgrade.Snapshot, namespace string) *upgrade.PodShape {
		d := upgrade.Daemon{Ref: upgrade.Ref{Kind: "DaemonSet", Namespace: namespace, Name: "edge", UID: "d"}, Shape: &upgrade.PodShape{Namespace: namespace, NodeSelector: map[string]string{"edge": "yes"}}}
		s.Inventory.Daemons = append(s.Inventory.Daemons, d)
		return d.Shape
	}
	hand := func(s *upgrade.Snapshot, key, value string, nodes ...string) {
		for _, n := range nodes {
			s.Inventory.Nodes[n].Labels[key] = value
		}
	}
	// taint puts a taint on nodes beside the one that the pool gives them.
	taint := func(s *upgrade.Snapshot, nodes ...string) {
		given, put := upgrade.Taint{Key: "team", Value: "shop", Effect: "NoExecute"}, upgrade.Taint{Key: "dedicated", Value: "web", Effect: "NoSchedule"}
		s.Cluster.Pools[0].Taints = []upgrade.Taint{given}
		for _, n := range nodes {
			shape := s.Inventory.Nodes[n]
			shape.Taints = []upgrade.Taint{given, put}
			s.Inventory.Nodes[n] = shape
		}
		tolerates := []upgrade.Toleration{{Key: "team", Operator: "Exists"}, {Key: "dedicated", Operator: "Exists"}}
		web(s).Tolerations, s.Inventory.Daemons[0].Shape.Tolerations = tolerates, tolerates
	}
	// other adds a pool that stays, with a node.
	other := func(s *upgrade.Snapshot) {
		s.Cluster.Pools = append(s.Cluster.Pools, upgrade.Pool{Name: "other", Version: "1.34.2-gke.100"})
		s.State.Nodes = append(s.State.Nodes, upgrade.Node{Name: "o1", Pool: "other", Ready: true})
		s.Inventory.Nodes["o1"] = upgrade.NodeShape{
			Labels: map[string]string{"kubernetes.io/hostname": "o1", "pool": "other"}, Allocatable: upgrade.Resources{"cpu": 4000, "memory": 16 << 30, "pods": 30},
		}
	}
	// pin makes web's pods run in certain pools alone.
	pin := func(s *upgrade.Snapshot, pools ...string) {
		web(s).NodeTerms = []upgrade.NodeTerm{{Labels: []upgrade.Requirement{{Key: "pool", Operator: "In", Values: pools}}}}
		for i := range s.State.Pods {
			if p := &s.State.Pods[i]; p.Namespace == "shop" {
				p.Pinned, p.PinnedTo = true, pools
			}
		}
	}
	share := func(s *upgrade.Snapshot, v upgrade.Volume) {
		for _, uid := range []string{"web-1", "web-2", "web-3"} {
			s.Inventory.Volumes[uid] = []upgrade.Volume{v}
		}
	}
	// adopt makes an earlier run have made so many nodes of the new pool.
	adopt := func(s *upgrade.Snapshot, nodes int) {
		const pool = "pool-1-34-2-gke-100"
		s.Cluster.Pools = append(s.Cluster.Pools, upgrade.Pool{Name: pool, Version: "1.34.2-gke.100", MadeBy: "run-1", Zones: []string{"a"}})
		for i := range nodes {
			name := fmt.Sprint("new-", i)
			s.State.Nodes = append(s.State.Nodes, upgrade.Node{Name: name, Pool: pool, Zone: "a", Ready: true})
			s.Inventory.Nodes[name] = upgrade.NodeShape{
				Labels: map[string]string{"kubernetes.io/hostname": name, "pool": pool}, Allocatable: upgrade.Resources{"cpu": 4000, "memory": 16 << 30, "pods": 30},
			}
		}
	}
	// more adds so many pods of web, over the nodes.
	more := func(s *upgrade.Snapshot, pods int) {
		for i := range pods {
			p := s.State.Pods[0]
			p.Name, p.UID, p.Node = fmt.Sprint("web-x", i), fmt.Sprint("web-x", i), fmt.Sprint("n", i%3+1)
			s.State.Pods = append(s.State.Pods, p)
			s.Inventory.Pods[p.UID] = web(s)
		}
	}
	ofWeb := upgrade.Selector{Requirements: []upgrade.Requirement{{Key: "app", Operator: "In", Values: []string{"web"}}}}
	apart := func(s *upgrade.Snapshot, key string) {
		web(s).Labels = map[string]string{"app": "web"}
		web(s).AntiAffinity = []upgrade.PodTerm{{Selector: ofWeb, TopologyKey: key, Namespaces: []string{"shop"}, NamespaceSelector: upgrade.Selector{Nothing: true}}}
	}
	for name, test := range map[string]struct {
		change func(*upgrade.Snapshot)
		want   []string
	}{
		"pods that tolerate everything": {func(s *upgrade.Snapshot) { web(s).Tolerations = everything }, []string{
			"blocker tolerates-cordon Deployment shop/web" + comeBack + "kubectl edit deployment web -n shop" + edit}},
		"pods that tolerate the cordon": {func(s *upgrade.Snapshot) {
			web(s).Tolerations = []upgrade.Toleration{{Key: "node.kubernetes.io/unschedulable", Operator: "Exists", Effect: "NoSchedule"}}
		}, []string{
			"blocker tolerates-cordon Deployment shop/web" + comeBack + "kubectl edit deployment web -n shop" + edit}},
		"pods that tolerate everything but being put somewhere": {func(s *upgrade.Snapshot) {
			web(s).Tolerations = []upgrade.Toleration{{Operator: "Exists", Effect: "NoExecute"}, {Key: "node.kubernetes.io/not-ready", Operator: "Exists"}}
		}, nil},
		"the provider's own that do": {func(s *upgrade.Snapshot) {
			own := upgrade.Ref{Kind: "Deployment", Namespace: "kube-system", Name: "konnectivity-agent", UID: "w1"}
			s.State.Workloads["w1"] = upgrade.Workload{Ref: own, Wanted: 3}
			for i := range s.State.Pods {
				if s.State.Pods[i].Workload.UID == "w1" {
					s.State.Pods[i].Workload, s.State.Pods[i].Namespace = own, "kube-system"
				}
			}
			web(s).Tolerations = everything
		}, []string{
			"warning tolerates-cordon Deployment kube-system/konnectivity-agent" + comeBack + "kubectl edit deployment konnectivity-agent -n kube-system" + edit}},
		"a DaemonSet's pods, which stay": {func(s *upgrade.Snapshot) { s.Inventory.Daemons[0].Shape.Tolerations = everything }, nil},
		"pods that are on nodes that stay": {func(s *upgrade.Snapshot) {
			web(s).Tolerations = everything
			s.Cluster.Pools[0].Version = "1.34.2-gke.100"
		}, nil},
		"a DaemonSet that selects a label put by hand": {func(s *upgrade.Snapshot) { edge(s, "shop"); hand(s, "edge", "yes", "n1", "n2", "n3") }, []string{
			"blocker lost-labels DaemonSet shop/edge runs only on nodes with the label edge=yes, which was put on nodes n1, n2, n3 by hand: no new node of pool pool will have it, nor a pod of this DaemonSet -> " +
				update + "--node-labels edge=yes # and plan again; " + orLabel}},
		"the same, of the provider": {func(s *upgrade.Snapshot) { edge(s, "kube-system"); hand(s, "edge", "yes", "n1", "n2", "n3") }, []string{
			"warning lost-labels DaemonSet kube-system/edge runs only on nodes with the label edge=yes, which was put on nodes n1, n2, n3 by hand: no new node of pool pool will have it, nor a pod of this DaemonSet -> " +
				update + "--node-labels edge=yes # and plan again; " + orLabel}},
		"a DaemonSet that selects a label put by hand on some nodes": {func(s *upgrade.Snapshot) { edge(s, "shop"); hand(s, "edge", "yes", "n2") }, []string{
			"blocker lost-labels DaemonSet shop/edge runs only on nodes with the label edge=yes, which was put on node n2 by hand: no new node of pool pool will have it, nor a pod of this DaemonSet -> " +
				"kubectl get nodes -l pool=pool -L edge # make a pool of their own, with the label, for the nodes that need it; " + orLabel}},
		"a DaemonSet that selects a label that the pool gives": {func(s *upgrade.Snapshot) {
			edge(s, "shop")
			hand(s, "edge", "yes", "n1", "n2", "n3")
			s.Cluster.Pools[0].Labels = map[string]string{"edge": "yes"}
		}, nil},
		"a DaemonSet that selects a label that software gives": {func(s *upgrade.Snapshot) {
			edge(s, "shop").NodeSelector = map[string]string{"nvidia.com/gpu.present": "true"}
			hand(s, "nvidia.com/gpu.present", "true", "n3")
		}, nil},
		"a DaemonSet that selects a role put by hand": {func(s *upgrade.Snapshot) {
			edge(s, "shop").NodeSelector = map[string]string{"node-role.kubernetes.io/ingress": ""}
			hand(s, "node-role.kubernetes.io/ingress", "", "n1", "n2", "n3")
		}, []string{
			"blocker lost-labels DaemonSet shop/edge runs only on nodes with the label node-role.kubernetes.io/ingress=, which was put on nodes n1, n2, n3 by hand: no new node of pool pool will have it, nor a pod of this DaemonSet -> " +
				update + "--node-labels node-role.kubernetes.io/ingress= # and plan again; " + orLabel}},
		"a DaemonSet of the old pool": {func(s *upgrade.Snapshot) { edge(s, "shop").NodeSelector = map[string]string{"pool": "pool"} }, []string{
			"blocker pinned-to-pool DaemonSet shop/edge runs only on nodes of pool pool or on certain nodes, by its node selector or required node affinity: it will have no pod on the new ones -> " +
				"kubectl edit daemonset edge -n shop # select nodes by a label of your own, which the new pool gets too, or allow pool-1-34-2-gke-100 as well"}},
		"a DaemonSet of another pool, which stays": {func(s *upgrade.Snapshot) { edge(s, "shop").NodeSelector = map[string]string{"pool": "other"}; other(s) }, nil},
		"a DaemonSet that the old nodes' taint keeps away": {func(s *upgrade.Snapshot) {
			edge(s, "shop")
			hand(s, "edge", "yes", "n1")
			shape := s.Inventory.Nodes["n1"]
			shape.Taints = []upgrade.Taint{{Key: "nvidia.com/gpu", Value: "present", Effect: "NoSchedule"}}
			s.Inventory.Nodes["n1"] = shape
		}, nil},
		"pods that select a label put by hand on some nodes": {func(s *upgrade.Snapshot) {
			web(s).NodeSelector = map[string]string{"disk": "ssd"}
			hand(s, "disk", "ssd", "n1", "n2")
			s.State.Pods[4].Node = "n1"
		}, []string{
			"blocker lost-labels Deployment shop/web can run only on nodes with the label disk=ssd, which was put on nodes n1, n2 by hand and which new nodes will not have -> " +
				"kubectl get nodes -l pool=pool -L disk # make a pool of their own, with the label, for the nodes that need it; " + orLabel}},
		"a taint put by hand on all nodes": {func(s *upgrade.Snapshot) { taint(s, "n1", "n2", "n3") }, []string{
			"warning lost-taints NodePool pool has the taint dedicated=web:NoSchedule on nodes n1, n2, n3, put there by hand: its new nodes are without it, so pods that do not tolerate it may come to them -> " +
				update + "--node-taints team=shop:NoExecute,dedicated=web:NoSchedule # and plan again; or accept it if something puts it on new nodes by itself"}},
		"a taint put by hand on one node": {func(s *upgrade.Snapshot) { taint(s, "n2") }, []string{
			"warning lost-taints NodePool pool has the taint dedicated=web:NoSchedule on node n2, put there by hand: its new nodes are without it, so pods that do not tolerate it may come to them -> " +
				"kubectl get nodes -l pool=pool -o custom-columns=NAME:.metadata.name,TAINTS:.spec.taints # make a pool of their own, with the taint, for the nodes that need it; or accept it if something puts it on new nodes by itself"}},
		"a taint of a condition": {func(s *upgrade.Snapshot) {
			shape := s.Inventory.Nodes["n1"]
			shape.Taints = []upgrade.Taint{{Key: "node.kubernetes.io/disk-pressure", Effect: "NoSchedule"}}
			s.Inventory.Nodes["n1"] = shape
		}, nil},
		"pods of the old pool that may run in one that stays, too": {func(s *upgrade.Snapshot) { pin(s, "pool", "other"); other(s) }, nil},
		"the same, if there is too little room": {func(s *upgrade.Snapshot) { pin(s, "pool", "other"); other(s); web(s).Requests["cpu"] = 1500 }, []string{
			"blocker fit Deployment shop/web has a pod that finds no node once evicted: 0 of 4 nodes: 3 did not match the node selector or affinity, 1 insufficient cpu (asks 1.5, most free is 1); " +
				"the drain of node n3 would be the first to wait -> " + resize}},
		"the same, if that pool grows": {func(s *upgrade.Snapshot) {
			pin(s, "pool", "other")
			other(s)
			s.Cluster.Pools[1].Autoscaling.Enabled = true
			web(s).Requests["cpu"] = 1500
		}, []string{
			"warning fit NodePool pool has pods that find a node only if the autoscaler adds one to pool other: those of Deployment shop/web " +
				"(0 of 4 nodes: 3 did not match the node selector or affinity, 1 insufficient cpu (asks 1.5, most free is 1)) -> " + resize}},
		"pods of another old pool, which is migrated, too": {func(s *upgrade.Snapshot) {
			pin(s, "pool", "other")
			other(s)
			s.Cluster.Pools[1].Version = "1.33.5-gke.1"
		}, []string{
			"blocker pinned-to-pool Deployment shop/web can run only on nodes of pool pool or on one node, by its node selector or required node affinity: once evicted, its pods find no node -> " +
				"kubectl edit deployment web -n shop # select nodes by a label of your own, which the new pool gets too, or allow pool-1-34-2-gke-100 as well"}},
		"pods that share a volume": {func(s *upgrade.Snapshot) { share(s, upgrade.Volume{Claim: "data", Attached: true}) }, []string{
			"warning shared-volume Deployment shop/web shares volumes that one node at a time can attach (shop/data) among 3 pods: a replacement on another node cannot start before all of these have left theirs -> " +
				"kubectl describe pvc -n shop data # and keep all of its pods but one from using it for the time of the upgrade"}},
		"pods that share a volume with another workload's": {func(s *upgrade.Snapshot) {
			s.Inventory.Volumes["web-1"] = []upgrade.Volume{{Claim: "data", Attached: true}}
			backup := upgrade.Ref{Kind: "ReplicaSet", Namespace: "shop", Name: "backup", UID: "b"}
			s.State.Pods = append(s.State.Pods, upgrade.Pod{Namespace: "shop", Name: "backup-1", UID: "backup-1", Node: "n1", Workload: backup, Ready: true})
			s.Inventory.Pods["backup-1"], s.Inventory.Volumes["backup-1"] = web(s), s.Inventory.Volumes["web-1"]
		}, []string{
			"warning shared-volume Deployment shop/web shares volumes that one node at a time can attach (shop/data) among 2 pods: a replacement on another node cannot start before all of these have left theirs -> " +
				"kubectl describe pvc -n shop data # and keep all of its pods but one from using it for the time of the upgrade",
			"warning shared-volume ReplicaSet shop/backup shares volumes that one node at a time can attach (shop/data) among 2 pods: a replacement on another node cannot start before all of these have left theirs -> " +
				"kubectl describe pvc -n shop data # and keep all of its pods but one from using it for the time of the upgrade"}},
		"pods that share a volume that many nodes can attach": {func(s *upgrade.Snapshot) { share(s, upgrade.Volume{Claim: "data"}) }, nil},
		"replicas without a PDB, with labels that admission puts on them": {func(s *upgrade.Snapshot) {
			web(s).Labels = map[string]string{"app": "web", "topology.kubernetes.io/zone": "a", "security.istio.io/tlsMode": "istio"}
			for i := range s.State.Pods {
				s.State.Pods[i].Budgets = nil
			}
		}, []string{
			"info no-pdb Deployment shop/web has 3 replicas and no PodDisruptionBudget: its pods are moved one at a time, whatever it could do without -> " +
				"kubectl create poddisruptionbudget web -n shop --max-unavailable 1 --selector app=web"}},
		"a change that waits for pods to be deleted": {func(s *upgrade.Snapshot) {
			w := s.State.Workloads["w1"]
			w.HeldBack = 2
			s.State.Workloads["w1"] = w
		}, []string{
			"warning held-back-update Deployment shop/web has 2 pods that its last change has not reached, since it waits for them to be deleted (updateStrategy OnDelete): the drain would roll it out -> " +
				"kubectl rollout history deployment web -n shop # and roll the change out, or back, before; or accept it"}},
		"an adopted pool that is too small": {func(s *upgrade.Snapshot) { adopt(s, 1); web(s).Requests["cpu"] = 3000 }, []string{
			"blocker fit NodePool pool-1-34-2-gke-100 was made by an earlier run with 1 node, and 3 are needed: the run would wait for the others -> " +
				"gcloud container clusters resize cluster-1 --node-pool pool-1-34-2-gke-100 --num-nodes 3 --location a --project project",
			"info goes-on NodePool pool-1-34-2-gke-100 was made by an earlier run, which did not finish, and is taken over; 0 of the 3 nodes of pool are cordoned already -> "}},
		"an adopted pool that is nearly full": {func(s *upgrade.Snapshot) { adopt(s, 3); web(s).Requests["cpu"] = 3800 }, []string{
			"warning fit NodePool pool moves to new nodes that are nearly full then: pods ask for 95% of cpu -> " +
				"gcloud container clusters resize cluster-1 --node-pool pool-1-34-2-gke-100 --num-nodes 4 --location a --project project # and plan again: the new pool is not made again",
			"info goes-on NodePool pool-1-34-2-gke-100 was made by an earlier run, which did not finish, and is taken over; 0 of the 3 nodes of pool are cordoned already -> "}},
		"pods that a topology spread holds back": {func(s *upgrade.Snapshot) {
			web(s).Labels = map[string]string{"app": "web"}
			web(s).Spread = []upgrade.Spread{{TopologyKey: "kubernetes.io/hostname", MaxSkew: 1, Selector: ofWeb}}
			more(s, 6)
		}, []string{
			"blocker fit Deployment shop/web has 6 pods that find no node once evicted: 0 of 3 nodes: 3 did not satisfy its topology spread; the drain of node n2 would be the first to wait -> " +
				"kubectl edit deployment web -n shop # let its topology spread leave out cordoned nodes (nodeTaintsPolicy: Honor), or be no more than a wish (whenUnsatisfiable: ScheduleAnyway)"}},
		"a pod that is kept away from another one by luck, which more nodes do not mend": {func(s *upgrade.Snapshot) {
			s.Cluster.Pools[0].Zones = []string{"a", "b"}
			for i := range s.State.Nodes {
				s.State.Nodes[i].Zone = []string{"a", "b", "b"}[i]
				s.Inventory.Nodes[s.State.Nodes[i].Name].Labels["topology.kubernetes.io/zone"] = s.State.Nodes[i].Zone
			}
			s.State.Pods = slices.DeleteFunc(s.State.Pods, func(p upgrade.Pod) bool { return p.Name == "web-2" || p.Name == "web-3" })
			apart(s, "topology.kubernetes.io/zone")
			cache := upgrade.Pod{Namespace: "shop", Name: "cache", UID: "cache", Node: "n1", Workload: upgrade.Ref{Kind: "ReplicaSet", Namespace: "shop", Name: "cache", UID: "c"}, Ready: true}
			s.State.Pods = append(s.State.Pods, cache)
			s.Inventory.Pods["cache"] = &upgrade.PodShape{Namespace: "shop", AntiAffinity: web(s).AntiAffinity, NodeSelector: map[string]string{"topology.kubernetes.io/zone": "a"}}
		}, []string{
			"warning fit NodePool pool moves to new nodes on which its pods have room only by luck: ReplicaSet shop/cache may find none " +
				"(0 of 4 nodes: 2 did not match the node selector or affinity, 2 did not match its pod anti-affinity) -> kubectl describe replicaset cache -n shop"}},
		"pods that keep apart by the node": {func(s *upgrade.Snapshot) { apart(s, "kubernetes.io/hostname"); more(s, 1) }, []string{
			"blocker fit Deployment shop/web has a pod that finds no node once evicted: 0 of 3 nodes: 3 did not match its pod anti-affinity; the drain of node n3 would be the first to wait -> " + resize}},
		"pods that keep apart by the zone": {func(s *upgrade.Snapshot) {
			apart(s, "topology.kubernetes.io/zone")
			for _, n := range s.State.Nodes {
				s.Inventory.Nodes[n.Name].Labels["topology.kubernetes.io/zone"] = "a"
			}
		}, []string{
			"blocker fit Deployment shop/web has 2 pods that find no node once evicted: 0 of 3 nodes: 3 did not match its pod anti-affinity; the drain of node n1 would be the first to wait -> " +
				"kubectl describe deployment web -n shop"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := roomy()
			test.change(&s)
			if diff := cmp.Diff(test.want, told(t, s)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// told is what a person reads of a plan's findings.
func told(t *testing.T, s upgrade.Snapshot) []string {
	t.Helper()
	plan, err := upgrade.BuildPlan(s, upgrade.Options{Target: "control-plane", Delete: upgrade.DeleteEach}, preflight.Inspect)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range plan.Findings {
		pastable(t, f)
		got = append(got, strings.Join([]string{string(f.Severity), f.Check, f.Object.String(), f.Problem, "->", remedy(f)}, " "))
	}
	return got
}
