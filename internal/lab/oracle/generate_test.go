package oracle

import (
	"fmt"
	"math/rand/v2"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// cluster is a cluster in objects of the Kubernetes API.
type cluster struct {
	namespaces []*corev1.Namespace
	nodes      []*corev1.Node
	pods       []*corev1.Pod
	services   []*corev1.Service
	daemonSets []*appsv1.DaemonSet
	// claims and volumes belong together by index.
	claims  []*corev1.PersistentVolumeClaim
	volumes []*corev1.PersistentVolume
}

// dice makes random objects.
type dice struct {
	*rand.Rand
	*cluster
	id int
}

func newDice(seed uint64, id int) *dice {
	d := &dice{Rand: rand.New(rand.NewPCG(seed, uint64(id))), cluster: &cluster{}, id: id}
	for i, team := range []string{"red", "blue", "red"} {
		d.namespaces = append(d.namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("ns-%d", i), Labels: map[string]string{"team": team, "n": fmt.Sprint(i)}}})
	}
	return d
}

func (d *dice) chance(percent int) bool { return d.IntN(100) < percent }

func pick[T any](d *dice, of ...T) T { return of[d.IntN(len(of))] }

// some calls f a few times, mostly not at all.
func (d *dice) some(percent int, f func()) {
	for d.chance(percent) {
		f()
	}
}

func quantity(n int) resource.Quantity { return *resource.NewQuantity(int64(n), resource.DecimalSI) }
func milli(n int) resource.Quantity    { return *resource.NewMilliQuantity(int64(n), resource.DecimalSI) }

const gpu = corev1.ResourceName("nvidia.com/gpu")

// arbitrary is a cluster in which everything that is modelled turns up, pods on nodes whether they could have been placed there or not,
// and some that wait for a node.
func arbitrary(id int) *cluster {
	d := newDice(7, id)
	for i := range 3 + d.IntN(6) {
		d.nodes = append(d.nodes, d.node(i))
	}
	for i := range 5 + d.IntN(25) {
		p := d.pod(i)
		p.Spec.NodeName = pick(d, d.nodes...).Name
		if d.chance(10) {
			at := metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
			p.DeletionTimestamp = &at
		}
		d.pods = append(d.pods, p)
	}
	for i := range 12 {
		d.pods = append(d.pods, d.pod(100+i))
	}
	return d.cluster
}

func (d *dice) node(i int) *corev1.Node {
	name := fmt.Sprintf("node-%d", i)
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	if d.chance(90) {
		n.Labels[corev1.LabelTopologyZone] = pick(d, "a", "b", "c")
	}
	d.some(40, func() { n.Labels[pick(d, "disk", "tier")] = pick(d, "1", "2", "5", "ssd", "") })
	d.some(25, func() {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: pick(d, "dedicated", "gpu"), Value: pick(d, "", "db", "web"),
			Effect: pick(d, corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute, corev1.TaintEffectPreferNoSchedule)})
	})
	if d.chance(20) {
		n.Spec.Unschedulable = true
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule})
	}
	n.Status.Allocatable = corev1.ResourceList{
		corev1.ResourceCPU: milli(1000 + 500*d.IntN(8)), corev1.ResourceMemory: quantity((4 + d.IntN(12)) << 30), corev1.ResourcePods: quantity(pick(d, 4, 8, 20, 110)),
	}
	if d.chance(50) {
		n.Status.Allocatable[corev1.ResourceEphemeralStorage] = quantity(10 << 30)
	}
	if d.chance(30) {
		n.Status.Allocatable[gpu] = quantity(1 + d.IntN(4))
	}
	return n
}

func (d *dice) pod(i int) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: fmt.Sprintf("pod-%d", i), Namespace: fmt.Sprintf("ns-%d", d.IntN(3)), UID: types.UID(fmt.Sprintf("uid-%d", i)),
		Labels: map[string]string{"app": pick(d, "x", "y", "z")},
	}}
	d.some(30, func() { p.Labels[pick(d, "tier", "rev")] = pick(d, "1", "2", "front") })
	c := corev1.Container{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{}}}
	if d.chance(80) {
		c.Resources.Requests[corev1.ResourceCPU] = milli(100 * d.IntN(12))
	}
	if d.chance(70) {
		c.Resources.Requests[corev1.ResourceMemory] = quantity(d.IntN(3000) << 20)
	}
	if d.chance(10) {
		c.Resources.Requests[corev1.ResourceEphemeralStorage] = quantity(3 << 30)
	}
	if d.chance(10) {
		c.Resources.Requests[gpu] = quantity(d.IntN(3))
	}
	d.some(15, func() {
		c.Ports = append(c.Ports, corev1.ContainerPort{HostPort: pick[int32](d, 80, 443, 0), HostIP: pick(d, "", "0.0.0.0", "10.0.0.1", "10.0.0.2"), Protocol: pick(d, corev1.ProtocolTCP, corev1.ProtocolUDP, "")})
	})
	p.Spec.Containers = []corev1.Container{c}
	if d.chance(10) {
		p.Spec.InitContainers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: milli(1500)}}}}
	}
	d.some(30, func() {
		p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Key: pick(d, "", "dedicated", "gpu", corev1.TaintNodeUnschedulable), Operator: corev1.TolerationOpExists,
			Effect: pick(d, "", corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute)})
	})
	d.some(20, func() {
		p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Key: pick(d, "dedicated", "gpu"), Operator: pick(d, "", corev1.TolerationOpEqual), Value: pick(d, "", "db", "web"),
			Effect: pick(d, "", corev1.TaintEffectNoSchedule)})
	})
	if d.chance(10) {
		p.Spec.NodeSelector = map[string]string{pick(d, "disk", "tier", corev1.LabelTopologyZone): pick(d, "1", "ssd", "a", "b")}
	}
	p.Spec.Affinity = &corev1.Affinity{}
	if d.chance(15) {
		sel := &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{d.nodeTerm(true)}}
		d.some(40, func() { sel.NodeSelectorTerms = append(sel.NodeSelectorTerms, d.nodeTerm(true)) })
		p.Spec.Affinity.NodeAffinity = &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: sel}
	}
	p.Spec.Affinity.PodAffinity, p.Spec.Affinity.PodAntiAffinity = &corev1.PodAffinity{}, &corev1.PodAntiAffinity{}
	d.some(15, func() {
		a := p.Spec.Affinity.PodAffinity
		a.RequiredDuringSchedulingIgnoredDuringExecution = append(a.RequiredDuringSchedulingIgnoredDuringExecution, d.podTerm())
	})
	d.some(15, func() {
		a := p.Spec.Affinity.PodAntiAffinity
		a.RequiredDuringSchedulingIgnoredDuringExecution = append(a.RequiredDuringSchedulingIgnoredDuringExecution, d.podTerm())
	})
	d.some(20, func() { p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, d.spread()) })
	d.some(10, func() { d.mount(p) })
	return p
}

func (d *dice) nodeTerm(fields bool) corev1.NodeSelectorTerm {
	var t corev1.NodeSelectorTerm
	d.some(60, func() {
		op := pick(d, corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn, corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist, corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt)
		r := corev1.NodeSelectorRequirement{Key: pick(d, "disk", "tier", corev1.LabelTopologyZone, corev1.LabelHostname), Operator: op}
		switch op {
		case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
			r.Values = []string{pick(d, "1", "ssd", "a", "node-1", ""), pick(d, "2", "b", "node-0")}
		case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
			r.Values = []string{pick(d, "1", "2", "4")}
		}
		t.MatchExpressions = append(t.MatchExpressions, r)
	})
	if fields && d.chance(20) {
		t.MatchFields = []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: pick(d, corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn), Values: []string{pick(d, "node-0", "node-1", "node-2")}}}
	}
	return t
}

func (d *dice) labelSelector() *metav1.LabelSelector {
	if d.chance(4) {
		return nil
	}
	s := &metav1.LabelSelector{}
	if d.chance(85) {
		s.MatchLabels = map[string]string{"app": pick(d, "x", "y", "z")}
	}
	d.some(25, func() {
		r := metav1.LabelSelectorRequirement{Key: pick(d, "tier", "rev", "app"), Operator: pick(d, metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist)}
		if r.Operator == metav1.LabelSelectorOpIn || r.Operator == metav1.LabelSelectorOpNotIn {
			r.Values = []string{pick(d, "1", "x"), pick(d, "2", "y")}
		}
		s.MatchExpressions = append(s.MatchExpressions, r)
	})
	return s
}

func (d *dice) podTerm() corev1.PodAffinityTerm {
	t := corev1.PodAffinityTerm{LabelSelector: d.labelSelector(), TopologyKey: pick(d, corev1.LabelHostname, corev1.LabelTopologyZone, "disk")}
	d.some(30, func() { t.Namespaces = append(t.Namespaces, fmt.Sprintf("ns-%d", d.IntN(3))) })
	if d.chance(30) {
		t.NamespaceSelector = &metav1.LabelSelector{}
		if d.chance(80) {
			t.NamespaceSelector.MatchLabels = map[string]string{"team": pick(d, "red", "blue", "none")}
		}
	}
	return t
}

func (d *dice) spread() corev1.TopologySpreadConstraint {
	c := corev1.TopologySpreadConstraint{
		TopologyKey: pick(d, corev1.LabelHostname, corev1.LabelTopologyZone, "disk"), MaxSkew: int32(1 + d.IntN(2)), LabelSelector: d.labelSelector(),
		WhenUnsatisfiable: pick(d, corev1.DoNotSchedule, corev1.DoNotSchedule, corev1.ScheduleAnyway),
	}
	if c.WhenUnsatisfiable == corev1.DoNotSchedule && d.chance(25) {
		n := int32(1 + d.IntN(4))
		c.MinDomains = &n
	}
	if d.chance(30) {
		policy := pick(d, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)
		c.NodeAffinityPolicy = &policy
	}
	if d.chance(30) {
		policy := pick(d, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)
		c.NodeTaintsPolicy = &policy
	}
	if d.chance(15) && c.LabelSelector != nil {
		c.MatchLabelKeys = []string{"rev"}
	}
	return c
}

// mount gives the pod a volume, its own or another pod's.
func (d *dice) mount(p *corev1.Pod) {
	if len(d.claims) > 0 && d.chance(30) {
		if old := pick(d, d.claims...); old.Namespace == p.Namespace {
			d.use(p, old.Name)
			return
		}
	}
	name := fmt.Sprintf("claim-%d-%d", d.id, len(d.claims))
	var affinity *corev1.VolumeNodeAffinity
	if d.chance(85) {
		term := corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{
			Key: pick(d, corev1.LabelTopologyZone, corev1.LabelTopologyZone, corev1.LabelHostname), Operator: corev1.NodeSelectorOpIn, Values: []string{pick(d, "a", "b", "node-1"), pick(d, "c", "node-2")},
		}}}
		affinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term}}}
	}
	d.claim(p, name, affinity, pick(d, corev1.ReadWriteOnce, corev1.ReadWriteMany, corev1.ReadWriteOncePod))
}

func (d *dice) claim(p *corev1.Pod, name string, affinity *corev1.VolumeNodeAffinity, mode corev1.PersistentVolumeAccessMode) {
	d.volumes = append(d.volumes, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv-" + name},
		Spec: corev1.PersistentVolumeSpec{NodeAffinity: affinity, ClaimRef: &corev1.ObjectReference{Namespace: p.Namespace, Name: name, UID: types.UID(name)},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "d", VolumeHandle: name}}},
	})
	d.claims = append(d.claims, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: p.Namespace, UID: types.UID(name), Annotations: map[string]string{"pv.kubernetes.io/bind-completed": "yes"}},
		Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: "pv-" + name, AccessModes: []corev1.PersistentVolumeAccessMode{mode}},
		Status:     corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	})
	d.use(p, name)
}

func (d *dice) use(p *corev1.Pod, claim string) {
	p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: claim, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}})
}
