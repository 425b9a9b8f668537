package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"

	fwk "k8s.io/kube-scheduler/framework"

	"github.com/upshift-k8s/upshift/internal/fit"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// crowded is a cluster with pools that are to be migrated, and about as much asked for as they have. Its pods have no nodes yet.
type crowded struct {
	*cluster
	daemons    []*corev1.Pod
	machines   []*machine
	plans      []upgrade.PoolPlan
	deleteEach bool
}

// machine is what the provider makes a pool's nodes of.
type machine struct {
	upgrade.Pool
	cpu, memory, pods int
	// found are labels that software on the nodes gives them, hand and handTaints what somebody put on nodes of the old pool.
	found, hand map[string]string
	handTaints  []corev1.Taint
	// static are the pods that every node has from its own files.
	static []*corev1.Pod
}

// built is a node as the provider makes it, with what its software puts on it.
func (d *dice) built(m *machine, name, pool, zone string) *corev1.Node {
	n := readyNode(name, pool, zone)
	n.Status.Allocatable = corev1.ResourceList{
		// The same machines differ by some pages.
		corev1.ResourceCPU: milli(m.cpu), corev1.ResourceMemory: quantity(m.memory<<30 + d.IntN(3)<<12), corev1.ResourcePods: quantity(m.pods),
	}
	for _, labels := range []map[string]string{m.Labels, m.found} {
		for key, value := range labels {
			n.Labels[key] = value
		}
	}
	for _, t := range m.Taints {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: t.Key, Value: t.Value, Effect: corev1.TaintEffect(t.Effect)})
	}
	return n
}

// furnish are the pods that come with a node.
func (c *crowded) furnish(m *machine, n *corev1.Node) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, d := range c.daemons {
		untolerated := func(t corev1.Taint) bool {
			return !slices.ContainsFunc(d.Spec.Tolerations, func(tol corev1.Toleration) bool { return tol.ToleratesTaint(klog.Background(), &t, false) })
		}
		if !slices.ContainsFunc(n.Spec.Taints, untolerated) {
			pods = append(pods, on(d, n))
		}
	}
	for _, p := range m.static {
		pods = append(pods, on(p, n))
	}
	return pods
}

func on(of *corev1.Pod, n *corev1.Node) *corev1.Pod {
	p := of.DeepCopy()
	p.Name, p.UID, p.Spec.NodeName = of.Name+"-"+n.Name, types.UID(of.Name+"-"+n.Name), n.Name
	return p
}

func newCrowded(id int) *crowded {
	d := newDice(11, id)
	c := &crowded{cluster: d.cluster, deleteEach: d.chance(50)}
	d.namespaces = []*corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("crowded-%d", id)}}}
	zones := []string{"a", "b", "c"}[:1+d.IntN(3)]
	for i := range 1 + d.IntN(2) {
		c.daemons = append(c.daemons, d.agent(i))
	}
	room := map[string]int64{}
	pools := 1 + d.IntN(2)
	for i := range pools {
		m := d.machine(fmt.Sprintf("pool-%d", i), zones, i > 0)
		plan := upgrade.PoolPlan{Name: m.Name, NewName: m.Name + "-new", Action: upgrade.Migrate, Zones: zones, NodesPerZone: 1 + d.IntN(4)}
		for n := range plan.NodesPerZone * len(zones) {
			node := d.built(m, fmt.Sprintf("%s-%02d", m.Name, n), m.Name, zones[n%len(zones)])
			d.byHand(m, node)
			plan.Nodes = append(plan.Nodes, node.Name)
			c.join(m, node)
			room["cpu"] += int64(m.cpu)
			room["memory"] += int64(m.memory) << 30
			room["pods"] += int64(m.pods)
		}
		if d.chance(12) {
			plan.Adopt = true
			for n := range plan.NodesPerZone*len(zones) - d.IntN(2) {
				c.join(m, d.built(m, fmt.Sprintf("%s-%02d", plan.NewName, n), plan.NewName, zones[n%len(zones)]))
			}
		}
		c.plans, c.machines = append(c.plans, plan), append(c.machines, m)
	}
	for i := range d.IntN(2) {
		m := &machine{cpu: 2000, memory: 8, pods: 30}
		c.join(m, d.built(m, fmt.Sprintf("other-%d", i), "other", pick(d, zones...)))
	}
	until := 0.5 + 0.55*d.Float64()
	asked := map[string]int64{}
	for w := 0; float64(asked["cpu"]) < until*float64(room["cpu"]) && float64(asked["memory"]) < until*float64(room["memory"]) && float64(asked["pods"]) < until*float64(room["pods"]); w++ {
		for _, p := range d.workload(w, c.machines) {
			r := p.Spec.Containers[0].Resources.Requests
			asked["cpu"] += r.Cpu().MilliValue()
			asked["memory"] += r.Memory().Value()
			asked["pods"]++
			d.pods = append(d.pods, p)
		}
	}
	return c
}

func (c *crowded) join(m *machine, n *corev1.Node) {
	c.nodes = append(c.nodes, n)
	c.pods = append(c.pods, c.furnish(m, n)...)
}

// agent is a DaemonSet's pod, without its node.
func (d *dice) agent(i int) *corev1.Pod {
	p := d.replica("DaemonSet", fmt.Sprintf("agent-%d", i), 0)
	p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: milli(100), corev1.ResourceMemory: quantity(200 << 20)}
	if i == 0 {
		p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	}
	d.daemonSets = append(d.daemonSets, &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("agent-%d", i), Namespace: p.Namespace, UID: types.UID(fmt.Sprintf("agent-%d", i))},
		Spec:       appsv1.DaemonSetSpec{Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: p.Labels}, Spec: p.Spec}},
	})
	return p
}

// machine is of a pool that may be for some workloads alone.
func (d *dice) machine(name string, zones []string, dedicated bool) *machine {
	m := &machine{cpu: 2000 + 1000*d.IntN(6), memory: 4 + 4*d.IntN(6), pods: pick(d, 12, 30, 110), Pool: upgrade.Pool{Name: name, Zones: zones}}
	if d.chance(30) {
		m.Labels = map[string]string{"tier": name}
	}
	if d.chance(20) {
		m.found = map[string]string{"feature.node.kubernetes.io/cpu": name}
	}
	if d.chance(8) {
		m.hand = map[string]string{"disk": "ssd"}
	}
	if d.chance(10) {
		m.handTaints = []corev1.Taint{{Key: "by-hand", Value: name, Effect: corev1.TaintEffectNoSchedule}}
	}
	if dedicated && d.chance(50) {
		m.Taints = []upgrade.Taint{{Key: "dedicated", Value: name, Effect: "NoSchedule"}}
	}
	if d.chance(60) {
		p := d.replica("Node", "proxy", 0)
		p.Name, p.Annotations = "proxy", map[string]string{corev1.MirrorPodAnnotationKey: "x"}
		p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: milli(100 + 100*d.IntN(3))}
		if d.chance(30) {
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 8080}}
		}
		m.static = append(m.static, p)
	}
	return m
}

// byHand puts on a node of an old pool what new ones do not get.
func (d *dice) byHand(m *machine, n *corev1.Node) {
	for key, value := range m.hand {
		n.Labels[key] = value
	}
	n.Spec.Taints = append(n.Spec.Taints, m.handTaints...)
}

func readyNode(name, pool, zone string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		corev1.LabelHostname: name, corev1.LabelTopologyZone: zone, corev1.LabelOSStable: "linux", corev1.LabelInstanceTypeStable: "e2", "pool": pool,
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

// workload is the pods of a Deployment or StatefulSet.
func (d *dice) workload(w int, machines []*machine) []*corev1.Pod {
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
	m, selects, tolerates := pick(d, machines...), d.chance(15), d.chance(50)
	near := fmt.Sprintf("app-%02d", max(0, w+pick(d, -2, -1, 1)))
	nearKey := pick(d, corev1.LabelTopologyZone, corev1.LabelTopologyZone, corev1.LabelHostname)
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
		case feature < 66:
			affinity.LabelSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": near}}
			affinity.TopologyKey = nearKey
			p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{affinity}}}
		}
		if selects {
			p.Spec.NodeSelector = map[string]string{}
			for _, labels := range []map[string]string{m.Labels, m.found, m.hand} {
				for key, value := range labels {
					p.Spec.NodeSelector[key] = value
				}
			}
		}
		if tolerates {
			p.Spec.Tolerations = []corev1.Toleration{
				{Key: "dedicated", Operator: corev1.TolerationOpEqual, Value: m.Name}, {Key: "by-hand", Operator: corev1.TolerationOpExists},
			}
		}
		pods = append(pods, p)
	}
	return pods
}

// migrate carries the plans out under the real scheduler, as the engine does, and returns the pods that find no node: the run pauses there.
func (c *crowded) migrate(t *testing.T, s *scheduler, d *dice) []*corev1.Pod {
	t.Helper()
	var pods []*corev1.Pod
	for _, p := range c.pods {
		pods = append(pods, p.DeepCopy())
	}
	s.look(c.nodes, pods)
	for i, plan := range c.plans {
		if !plan.Adopt {
			c.begin(s, c.machines[i], plan, d)
		}
		for _, name := range plan.Nodes {
			cordoned := s.node(name).Node().DeepCopy()
			cordoned.Spec.Unschedulable = true
			cordoned.Spec.Taints = append(cordoned.Spec.Taints, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule})
			s.node(name).SetNode(cordoned)
		}
		s.settle(t, pods, d)
		for _, name := range plan.Nodes {
			var leave []*corev1.Pod
			for _, p := range pods {
				if p.Spec.NodeName == name && !slices.Contains([]string{"DaemonSet", "Node", "Job"}, metav1.GetControllerOf(p).Kind) {
					leave = append(leave, p)
				}
			}
			if stuck := s.drain(t, leave, d); len(stuck) > 0 {
				return stuck
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
	return nil
}

// begin makes the new pool.
func (c *crowded) begin(s *scheduler, m *machine, plan upgrade.PoolPlan, d *dice) {
	for _, zone := range plan.Zones {
		for n := range plan.NodesPerZone {
			node := d.built(m, fmt.Sprintf("%s-%s-x%d", plan.NewName, zone, n), plan.NewName, zone)
			s.join(node)
			for _, p := range c.furnish(m, node) {
				s.node(node.Name).AddPod(p)
			}
		}
	}
}

// settle schedules the pods that have no node, by chance in their order, as often as it helps, and returns those that find none.
func (s *scheduler) settle(t *testing.T, pods []*corev1.Pod, d *dice) []*corev1.Pod {
	t.Helper()
	var waiting []*corev1.Pod
	for _, p := range pods {
		if p.Spec.NodeName == "" {
			waiting = append(waiting, p)
		}
	}
	for before := -1; len(waiting) != before; {
		before = len(waiting)
		d.Shuffle(len(waiting), func(i, j int) { waiting[i], waiting[j] = waiting[j], waiting[i] })
		waiting = slices.DeleteFunc(waiting, func(p *corev1.Pod) bool {
			found, err := s.schedule(t.Context(), p, d.Rand)
			if err != nil {
				t.Fatal(err)
			}
			return found
		})
	}
	return waiting
}

// drain evicts pods: of each workload the next one once the last one's replacement has its node, whichever of the replacements comes first.
// While one finds no node nothing more is evicted; it is tried again when another one has found its node. It returns those that find none.
func (s *scheduler) drain(t *testing.T, leave []*corev1.Pod, d *dice) []*corev1.Pod {
	t.Helper()
	var waiting []*corev1.Pod
	for len(leave)+len(waiting) > 0 {
		leave = slices.DeleteFunc(leave, func(p *corev1.Pod) bool {
			if slices.ContainsFunc(waiting, func(w *corev1.Pod) bool { return w.Labels["app"] == p.Labels["app"] }) {
				return false
			}
			if err := s.evict(p); err != nil {
				t.Fatal(err)
			}
			waiting = append(waiting, p)
			return true
		})
		i := d.IntN(len(waiting))
		found, err := s.schedule(t.Context(), waiting[i], d.Rand)
		if err != nil {
			t.Fatal(err)
		}
		if found {
			waiting = slices.Delete(waiting, i, i+1)
		} else if waiting = s.settle(t, waiting, d); len(waiting) > 0 {
			return waiting
		}
	}
	return nil
}

func named(pods []*corev1.Pod) []string {
	var names []string
	for _, p := range pods {
		names = append(names, p.Name)
	}
	return names
}

// TestMigrations: on 1,000 crowded clusters, what is said to fit finds room under the real scheduler, whichever of equally good nodes it
// takes and whichever replacement comes first, and what is said not to fit does not.
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
	var chances []*dice
	for id, c := range all {
		d := &dice{Rand: rand.New(rand.NewPCG(3, uint64(id)))}
		chances = append(chances, d)
		s.look(c.nodes, c.pods)
		slices.SortFunc(c.pods, func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
		// What finds no node is left out, but for a few that wait for one.
		homeless := s.settle(t, c.pods, d)
		c.pods = slices.DeleteFunc(c.pods, func(p *corev1.Pod) bool { return slices.Contains(homeless, p) && d.IntN(10) > 0 })
	}
	snapshots := read(t, known)
	for id, c := range all {
		snap, chance := snapshots[id], chances[id]
		snap.Cluster = upgrade.Cluster{PoolLabel: "pool"}
		for _, m := range c.machines {
			snap.Cluster.Pools = append(snap.Cluster.Pools, m.Pool)
		}
		result := fit.Simulate(snap, c.plans, fit.Options{DeleteEach: c.deleteEach})
		said[result.Verdict]++
		for _, stuck := range result.Stuck {
			kept := 0
			for _, r := range stuck.Why.Reasons {
				kept += r.Nodes
			}
			if kept != stuck.Why.Nodes {
				t.Errorf("cluster %d: %s finds no node, but nothing keeps it from %d of %d: %s", id, stuck.Pod, stuck.Why.Nodes-kept, stuck.Why.Nodes, stuck.Why)
			}
		}
		failed := 0
		for range tries {
			stuck := c.migrate(t, s, chance)
			if len(stuck) > 0 {
				failed++
			}
			if len(stuck) > 0 && result.Verdict == fit.Fits {
				t.Logf("cluster %d is said to fit, but the scheduler finds no node for %v", id, named(stuck))
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
	if falseFits*100 > said[fit.Fits] {
		t.Errorf("%d false fits in %d clusters that are said to fit", falseFits, said[fit.Fits])
	}
	if falseAlarms*100 > said[fit.DoesNotFit] {
		t.Errorf("%d false alarms in %d clusters that are said not to fit", falseAlarms, said[fit.DoesNotFit])
	}
	if said[fit.Fits] < clusters/10 || said[fit.DoesNotFit] < clusters/20 {
		t.Errorf("too few of a kind to tell anything: %v", said)
	}
}
