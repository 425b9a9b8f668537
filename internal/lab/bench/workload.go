package main

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/upshift-k8s/upshift/internal/lab"
)

// namespace is where all workloads are.
const namespace = "bench"

// appLabel names the workload of a pod; slotLabel numbers the old nodes for workloads that are packed.
const (
	appLabel  = "app"
	slotLabel = "bench-slot"
)

// kind is what controls a group's pods.
type kind string

const (
	deployments  kind = "Deployment"
	statefulSets kind = "StatefulSet"
	daemonSets   kind = "DaemonSet"
	jobs         kind = "Job"
	completed    kind = "completed Job"
	barePods     kind = "bare pod"
)

// A group is some workloads that are alike but for their names.
type group struct {
	name  string
	kind  kind
	count int
	// replicas of each, and what its PDB's maxUnavailable says; empty: it has no PDB.
	replicas       int
	maxUnavailable string
	// emptyDir gives its pods a volume that dies with them.
	emptyDir bool
	// surges gives a Deployment maxSurge 25% and maxUnavailable 0.
	surges bool
}

// A workload is everything that runs on the old nodes of one measurement.
type workload struct {
	name, title    string
	nodes          int
	machine        string
	startUp, grace time.Duration
	groups         []group
	// packed puts all pods of a Deployment onto one old node, each onto the next one.
	packed bool
	// joins are when the new nodes come, in turn; none: at once.
	joins []time.Duration
}

const (
	manyPDB  = "1"
	sharePDB = "25%"
)

// base are M's Deployments, which other workloads take too.
func base(surges bool) []group {
	return []group{
		{name: "api", kind: deployments, count: 20, replicas: 12, maxUnavailable: manyPDB, surges: surges},
		{name: "web", kind: deployments, count: 10, replicas: 18, maxUnavailable: sharePDB, surges: surges},
		{name: "free", kind: deployments, count: 5, replicas: 20, surges: surges},
	}
}

// extras are what a drain has to tell from what moves, and what it must not take for such.
func extras(surges bool) []group {
	return []group{
		{name: "agent", kind: daemonSets, count: 1},
		{name: "batch", kind: jobs, count: 10, replicas: 1},
		{name: "done", kind: completed, count: 10, replicas: 1},
		{name: "scratch", kind: deployments, count: 1, replicas: 10, maxUnavailable: "2", emptyDir: true, surges: surges},
		{name: "bare", kind: barePods, count: 10, replicas: 1},
	}
}

// workloads are all that can be measured.
func workloads() []workload {
	const ten = 10 * time.Second
	state := group{name: "db", kind: statefulSets, count: 5, replicas: 6, maxUnavailable: manyPDB}
	m := workload{
		name: "M", title: "20 Deployments of 12 (maxUnavailable 1), 10 of 18 (25%), 5 StatefulSets of 6, 5 Deployments of 20 without a PDB, a DaemonSet, Jobs, completed, emptyDir and bare pods; start-up 10 s, grace 10 s",
		nodes: 20, machine: "e2-standard-8", startUp: ten, grace: ten,
		groups: slices.Concat(base(false), []group{state}, extras(false)),
	}
	late := m
	late.name, late.title = "capacity", "M on nodes that are three quarters full; a quarter of the new nodes comes at once, a quarter after 1 minute, half of them after 3"
	late.machine, late.joins = "e2-standard-4", []time.Duration{0, time.Minute, 3 * time.Minute, 3 * time.Minute}
	grace := m
	grace.name, grace.title = "grace", "M on 10 nodes; start-up 5 s, grace 30 s"
	grace.nodes, grace.machine, grace.startUp, grace.grace = 10, "e2-standard-16", 5*time.Second, 30*time.Second
	surge := m
	surge.name, surge.title = "deployments", "M without its StatefulSets; Deployments with maxSurge 25%, maxUnavailable 0"
	surge.groups = slices.Concat(base(true), extras(true))
	return []workload{
		m,
		{
			name: "packed", title: "100 Deployments of 6, all pods of each on one node (maxUnavailable 1); start-up 10 s, grace 10 s",
			nodes: 20, machine: "e2-standard-8", startUp: ten, grace: ten, packed: true,
			groups: []group{{name: "api", kind: deployments, count: 100, replicas: 6, maxUnavailable: manyPDB}},
		},
		late, grace, surge,
		{
			name: "scale", title: "200 Deployments of 12 (maxUnavailable 1), 60 of 18 (25%), 10 StatefulSets of 6, 23 Deployments of 20 without a PDB, a DaemonSet; start-up 10 s, grace 10 s",
			nodes: 200, machine: "e2-standard-8", startUp: ten, grace: ten,
			groups: []group{
				{name: "api", kind: deployments, count: 200, replicas: 12, maxUnavailable: manyPDB},
				{name: "web", kind: deployments, count: 60, replicas: 18, maxUnavailable: sharePDB},
				{name: "db", kind: statefulSets, count: 10, replicas: 6, maxUnavailable: manyPDB},
				{name: "free", kind: deployments, count: 23, replicas: 20},
				{name: "agent", kind: daemonSets, count: 1},
			},
		},
		{
			name: "quick", title: "a few pods of every kind, to see that the benchmark works; start-up 2 s, grace 2 s",
			nodes: 3, machine: "e2-standard-4", startUp: 2 * time.Second, grace: 2 * time.Second,
			groups: []group{
				{name: "api", kind: deployments, count: 2, replicas: 3, maxUnavailable: manyPDB, surges: true},
				{name: "web", kind: deployments, count: 1, replicas: 4, maxUnavailable: sharePDB, surges: true},
				{name: "db", kind: statefulSets, count: 1, replicas: 2, maxUnavailable: manyPDB},
				{name: "free", kind: deployments, count: 1, replicas: 3, surges: true},
				{name: "agent", kind: daemonSets, count: 1},
				{name: "batch", kind: jobs, count: 1, replicas: 1},
				{name: "done", kind: completed, count: 1, replicas: 1},
				{name: "scratch", kind: deployments, count: 1, replicas: 2, maxUnavailable: "1", emptyDir: true, surges: true},
				{name: "bare", kind: barePods, count: 1, replicas: 1},
			},
		},
	}
}

// each calls f for every workload of the groups, with its number among the Deployments.
func (w workload) each(f func(name string, slot int, g group)) {
	slot := 0
	for _, g := range w.groups {
		for i := range g.count {
			f(fmt.Sprintf("%s-%d", g.name, i), slot%w.nodes, g)
			slot++
		}
	}
}

// movable is how many pods have to leave the old nodes.
func (w workload) movable() int {
	n := 0
	for _, g := range w.groups {
		if g.kind != daemonSets && g.kind != completed {
			n += g.count * g.replicas
		}
	}
	return n
}

// replaced is how many of them have a controller that wants them Ready elsewhere: not bare pods, and not Jobs', which come back in the Job's own time.
func (w workload) replaced() int {
	n := 0
	for _, g := range w.groups {
		if g.kind == deployments || g.kind == statefulSets {
			n += g.count * g.replicas
		}
	}
	return n
}

// loads are the workload as the bounds see it, with its pods where placed says they are, by name and node.
func (w workload) loads(placed map[string]map[string]int) []load {
	var loads []load
	w.each(func(name string, _ int, g group) {
		if g.kind == daemonSets || g.kind == completed {
			return
		}
		l := load{
			pods: placed[name], startUp: w.startUp, grace: w.grace,
			nameBound: g.kind == statefulSets, ordered: g.kind == statefulSets, unreplaced: g.kind == barePods || g.kind == jobs,
		}
		if g.maxUnavailable != "" {
			// A percentage is rounded up, as the disruption controller does.
			l.budget, _ = intstr.GetScaledValueFromIntOrPercent(new(intstr.Parse(g.maxUnavailable)), g.replicas, true)
		}
		loads = append(loads, l)
	})
	return loads
}

// arrivals are when the new nodes come, in pods that fit on them; none: they are there.
func (w workload) arrivals() []arrival {
	var out []arrival
	if len(w.joins) == 0 {
		return nil
	}
	cpus := 0
	_, _ = fmt.Sscanf(w.machine, "e2-standard-%d", &cpus)
	for i := range w.nodes {
		out = append(out, arrival{w.joins[i%len(w.joins)], cpus * 1000 / podMilliCPU})
	}
	return out
}

// podMilliCPU is what a pod asks for.
const podMilliCPU = 100

// objects are what is created of the workload, PDBs before what they guard.
func (w workload) objects() []runtime.Object {
	var budgets, rest []runtime.Object
	w.each(func(name string, slot int, g group) {
		if g.maxUnavailable != "" {
			budgets = append(budgets, &policyv1.PodDisruptionBudget{
				TypeMeta:   metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"},
				ObjectMeta: meta(name),
				Spec:       policyv1.PodDisruptionBudgetSpec{MaxUnavailable: new(intstr.Parse(g.maxUnavailable)), Selector: selector(name)},
			})
		}
		rest = append(rest, w.object(name, slot, g))
	})
	return append(budgets, rest...)
}

func (w workload) object(name string, slot int, g group) runtime.Object {
	template := w.template(name, slot, g)
	replicas := new(int32(g.replicas))
	switch g.kind {
	case deployments:
		d := &appsv1.Deployment{
			ObjectMeta: meta(name),
			Spec:       appsv1.DeploymentSpec{Replicas: replicas, Selector: selector(name), Template: template},
		}
		if g.surges {
			d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: new(intstr.FromString("25%")), MaxUnavailable: new(intstr.FromInt32(0))}
		}
		return d
	case statefulSets:
		return &appsv1.StatefulSet{
			ObjectMeta: meta(name),
			Spec:       appsv1.StatefulSetSpec{Replicas: replicas, Selector: selector(name), Template: template, ServiceName: name},
		}
	case daemonSets:
		return &appsv1.DaemonSet{ObjectMeta: meta(name), Spec: appsv1.DaemonSetSpec{Selector: selector(name), Template: template}}
	case jobs, completed:
		template.Spec.RestartPolicy = corev1.RestartPolicyNever
		return &batchv1.Job{ObjectMeta: meta(name), Spec: batchv1.JobSpec{Template: template}}
	}
	pod := &corev1.Pod{ObjectMeta: meta(name), Spec: template.Spec}
	pod.Labels, pod.Annotations = template.Labels, template.Annotations
	return pod
}

func (w workload) template(name string, slot int, g group) corev1.PodTemplateSpec {
	t := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{appLabel: name}, Annotations: map[string]string{lab.AnnotationStartUp: w.startUp.String()}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: new(int64(w.grace.Seconds())),
			Containers: []corev1.Container{{
				Name: "main", Image: "main",
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(podMilliCPU, resource.DecimalSI)}},
			}},
		},
	}
	switch {
	case g.kind == completed:
		t.Annotations = map[string]string{lab.AnnotationRunFor: "100ms"}
	case g.kind == daemonSets:
		t.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
	case g.emptyDir:
		t.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	}
	if w.packed {
		t.Spec.Affinity = w.only(slot)
	}
	return t
}

// only keeps pods off all old nodes but one. New nodes have no slot, so any of them will do.
func (w workload) only(slot int) *corev1.Affinity {
	var others []string
	for i := range w.nodes {
		if i != slot {
			others = append(others, fmt.Sprint(i))
		}
	}
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
			{Key: slotLabel, Operator: corev1.NodeSelectorOpNotIn, Values: others},
		}}},
	}}}
}

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

func selector(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{appLabel: name}}
}
