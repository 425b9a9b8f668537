package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	fwk "k8s.io/kube-scheduler/framework"

	"github.com/upshift-k8s/upshift/internal/fit"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// crowded is a cluster with pools that are to be migrated, and about as much asked for as they have. Its pods have no nodes yet.
type crowded struct {
	*cluster
	daemons    []*corev1.Pod
	plans      []upgrade.PoolPlan
	pools      []upgrade.Pool
	deleteEach bool
}

func newCrowded(id int) *crowded {
	d := newDice(11, id)
	c := &crowded{cluster: d.cluster, deleteEach: d.chance(50)}
	d.namespaces = []*corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("crowded-%d", id)}}}
	zones := []string{"a", "b", "c"}[:1+d.IntN(3)]
	room := map[string]int64{}
	for i := range 1 + d.IntN(2) {
		name := fmt.Sprintf("pool-%d", i)
		perZone := 1 + d.IntN(4)
		plan := upgrade.PoolPlan{Name: name, NewName: name + "-new", Action: upgrade.Migrate, Zones: zones, NodesPerZone: perZone}
		cpu, memory, pods := 2000+1000*d.IntN(6), 4+4*d.IntN(6), pick(d, 12, 30, 110)
		for n := range perZone * len(zones) {
			node := readyNode(fmt.Sprintf("%s-%02d", name, n), name, zones[n%len(zones)])
			node.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: milli(cpu), corev1.ResourceMemory: quantity(memory<<30 + d.IntN(3)<<12), corev1.ResourcePods: quantity(pods)}
			d.nodes = append(d.nodes, node)
			plan.Nodes = append(plan.Nodes, node.Name)
			room["cpu"] += int64(cpu)
			room["memory"] += int64(memory) << 30
			room["pods"] += int64(pods)
		}
		c.plans, c.pools = append(c.plans, plan), append(c.pools, upgrade.Pool{Name: name, Zones: zones})
	}
	for i := range d.IntN(2) {
		node := readyNode(fmt.Sprintf("other-%d", i), "other", pick(d, zones...))
		node.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: milli(2000), corev1.ResourceMemory: quantity(8 << 30), corev1.ResourcePods: quantity(30)}
		d.nodes = append(d.nodes, node)
	}
	for i := range 1 + d.IntN(2) {
		p := d.replica("DaemonSet", fmt.Sprintf("agent-%d", i), 0)
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: milli(100), corev1.ResourceMemory: quantity(200 << 20)}
		p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
		c.daemons = append(c.daemons, p)
		d.daemonSets = append(d.daemonSets, &appsv1.DaemonSet{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("agent-%d", i), Namespace: p.Namespace, UID: types.UID(fmt.Sprintf("agent-%d", i))},
			Spec:       appsv1.DaemonSetSpec{Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: p.Labels}, Spec: p.Spec}},
		})
		for _, n := range d.nodes {
			d.pods = append(d.pods, c.daemonOn(p, n))
		}
	}
	until := 0.5 + 0.55*d.Float64()
	asked := map[string]int64{}
	for w := 0; float64(asked["cpu"]) < until*float64(room["cpu"]) && float64(asked["memory"]) < until*float64(room["memory"]) && float64(asked["pods"]) < until*float64(room["pods"]); w++ {
		for _, p := range d.workload(w) {
			r := p.Spec.Containers[0].Resources.Requests
			asked["cpu"] += r.Cpu().MilliValue()
			asked["memory"] += r.Memory().Value()
			asked["pods"]++
			d.pods = append(d.pods, p)
		}
	}
	return c
}

func readyNode(name, pool, zone string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		corev1.LabelHostname: name, corev1.LabelTopologyZone: zone, corev1.LabelOSStable: "linux", "pool": pool,
	}}}
}

func (d *dice) replica(kind, owner string, i int) *corev1.Pod {
	name := fmt.Sprintf("%s-%02d", owner, i)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: d.namespaces[0].Name, UID: types.UID(name), Labels: map[string]string{"app": owner},
			// Of a group of its own: of the kinds that Kubernetes has, the objects would have to be there.
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: kind, Name: owner, UID: types.UID(owner), Controller: ptr.To(true)}},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{}}}}},
	}
}

func (c *crowded) daemonOn(of *corev1.Pod, n *corev1.Node) *corev1.Pod {
	p := of.DeepCopy()
	p.Name, p.UID, p.Spec.NodeName = of.Name+"-"+n.Name, types.UID(of.Name+"-"+n.Name), n.Name
	return p
}

// workload is the pods of a Deployment or StatefulSet.
func (d *dice) workload(w int) []*corev1.Pod {
	owner := fmt.Sprintf("app-%02d", w)
	// By its Service, as otherwise by its ReplicaSet, the scheduler knows which pods to keep apart.
	d.services = append(d.services, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: owner, Namespace: d.namespaces[0].Name}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": owner}}})
	alike := &metav1.LabelSelector{MatchLabels: map[string]string{"app": owner}}
	requests := corev1.ResourceList{corev1.ResourceCPU: milli(50 * (1 + d.IntN(30))), corev1.ResourceMemory: quantity((100 + d.IntN(3000)) << 20)}
	if d.chance(5) {
		requests = nil
	}
	spread := corev1.TopologySpreadConstraint{TopologyKey: corev1.LabelTopologyZone, MaxSkew: int32(1 + d.IntN(2)), WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: alike}
	if d.chance(30) {
		spread.NodeTaintsPolicy = ptr.To(corev1.NodeInclusionPolicyHonor)
	}
	feature, replicas := d.IntN(100), 1+d.IntN(6)
	var pods []*corev1.Pod
	for i := range replicas {
		p := d.replica("ReplicaSet", owner, i)
		p.OwnerReferences[0].Kind = "Deployment"
		p.Spec.Containers[0].Resources.Requests = requests
		affinity := corev1.PodAffinityTerm{LabelSelector: alike, TopologyKey: corev1.LabelTopologyZone}
		switch {
		case feature < 12:
			affinity.TopologyKey = corev1.LabelHostname
			p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{affinity}}}
		case feature < 26:
			p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{spread}
		case feature < 32:
			spread.TopologyKey, spread.MaxSkew = corev1.LabelHostname, 3
			p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{spread}
		case feature < 36:
			p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{affinity}}}
		case feature < 40:
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 8080}}
		case feature < 42:
			p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{affinity}}}
		case feature < 56:
			p.OwnerReferences[0].Kind = "StatefulSet"
			p.Labels["apps.kubernetes.io/pod-index"] = fmt.Sprint(i)
			zone := d.nodes[d.IntN(len(d.nodes))].Labels[corev1.LabelTopologyZone]
			term := corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{zone}}}}
			d.claim(p, fmt.Sprintf("data-%d-%s", d.id, p.Name), &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term}}}, corev1.ReadWriteOncePod)
		case feature < 60:
			p.OwnerReferences[0].Kind = "Job"
		}
		pods = append(pods, p)
	}
	return pods
}

// migrate carries the plans out under the real scheduler, and returns the pods that find no node.
func (c *crowded) migrate(t *testing.T, s *scheduler, snap upgrade.Snapshot, chance *rand.Rand) []string {
	t.Helper()
	var pods []*corev1.Pod
	for _, p := range c.pods {
		pods = append(pods, p.DeepCopy())
	}
	s.look(c.nodes, pods)
	var stuck []string
	for _, plan := range c.plans {
		for _, n := range fit.NewNodes(snap, plan) {
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: n.Labels}, Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{}}}
			for name, amount := range n.Allocatable {
				node.Status.Allocatable[corev1.ResourceName(name)] = map[bool]resource.Quantity{true: milli(int(amount)), false: quantity(int(amount))}[name == "cpu"]
			}
			s.join(node)
			for _, d := range c.daemons {
				s.node(n.Name).AddPod(c.daemonOn(d, node))
			}
		}
		for _, name := range plan.Nodes {
			cordoned := s.node(name).Node().DeepCopy()
			cordoned.Spec.Unschedulable = true
			cordoned.Spec.Taints = append(cordoned.Spec.Taints, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule})
			s.node(name).SetNode(cordoned)
		}
		for _, p := range pods {
			if p.Spec.NodeName == "" && !slices.Contains(stuck, p.Name) {
				if _, err := s.schedule(t.Context(), p, chance); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, name := range plan.Nodes {
			for _, p := range pods {
				if p.Spec.NodeName != name || slices.Contains([]string{"DaemonSet", "Job"}, metav1.GetControllerOf(p).Kind) {
					continue
				}
				if err := s.evict(p); err != nil {
					t.Fatal(err)
				}
				found, err := s.schedule(t.Context(), p, chance)
				if err != nil {
					t.Fatal(err)
				}
				if !found {
					stuck = append(stuck, p.Name)
				}
			}
		}
		if c.deleteEach {
			for _, p := range pods {
				if slices.Contains(plan.Nodes, p.Spec.NodeName) {
					p.Spec.NodeName = "gone"
				}
			}
			s.nodes = slices.DeleteFunc(s.nodes, func(n fwk.NodeInfo) bool { return slices.Contains(plan.Nodes, n.Node().Name) })
		}
	}
	return stuck
}

// TestMigrations: on 1,000 crowded clusters, what is said to fit finds room under the real scheduler, whichever of equally good nodes it
// takes, and what is said not to fit does not.
func TestMigrations(t *testing.T) {
	if testing.Short() {
		t.Skip("has the real scheduler place 300,000 pods")
	}
	const clusters, tries = 1000, 3
	var all []*crowded
	var known []*cluster
	for id := range clusters {
		c := newCrowded(id)
		all, known = append(all, c), append(known, c.cluster)
	}
	s := newScheduler(t, known)
	said := map[fit.Verdict]int{}
	falseFits, falseAlarms, luckless := 0, 0, 0
	var chances []*rand.Rand
	for id, c := range all {
		chance := rand.New(rand.NewPCG(3, uint64(id)))
		chances = append(chances, chance)
		s.look(c.nodes, c.pods)
		slices.SortFunc(c.pods, func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
		shuffled := slices.Clone(c.pods)
		chance.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		for _, p := range shuffled {
			if p.Spec.NodeName == "" {
				if _, err := s.schedule(t.Context(), p, chance); err != nil {
					t.Fatal(err)
				}
			}
		}
		// What found no node is left out, but for a few that wait for one.
		c.pods = slices.DeleteFunc(c.pods, func(p *corev1.Pod) bool { return p.Spec.NodeName == "" && chance.IntN(10) > 0 })
	}
	snapshots := read(t, known)
	for id, c := range all {
		snap, chance := snapshots[id], chances[id]
		snap.Cluster = upgrade.Cluster{PoolLabel: "pool", Pools: c.pools}
		result := fit.Simulate(snap, c.plans, fit.Options{DeleteEach: c.deleteEach})
		said[result.Verdict]++
		failed := 0
		for range tries {
			stuck := c.migrate(t, s, snap, chance)
			if len(stuck) > 0 {
				failed++
			}
			if len(stuck) > 0 && result.Verdict == fit.Fits {
				t.Logf("cluster %d is said to fit, but the scheduler finds no node for %v", id, stuck)
			}
		}
		switch {
		case failed > 0 && result.Verdict == fit.Fits:
			falseFits++
		case failed < tries && result.Verdict == fit.DoesNotFit:
			falseAlarms++
			t.Logf("cluster %d is said not to fit (%s, pod %s: %s), but the scheduler found room in %d of %d tries", id, result.Stuck[0].Workload, result.Stuck[0].Pod, result.Stuck[0].Why, tries-failed, tries)
		case failed > 0 && result.Verdict == fit.Tight:
			luckless++
		}
	}
	t.Logf("said: %v; false fits %d, false alarms %d; of the tight ones %d did not fit in some try", said, falseFits, falseAlarms, luckless)
	if falseFits > clusters/100 {
		t.Errorf("%d false fits in %d clusters", falseFits, clusters)
	}
	if falseAlarms > clusters/100 {
		t.Errorf("%d false alarms in %d clusters", falseAlarms, clusters)
	}
	if said[fit.Fits] < clusters/10 || said[fit.DoesNotFit] < clusters/20 {
		t.Errorf("too few of a kind to tell anything: %v", said)
	}
}
