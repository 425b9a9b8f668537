package session_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// world plays the controllers, the scheduler and the kubelets in memory: what there would be in a cluster a while after its manifests were
// applied.
type world struct {
	t       *testing.T
	cluster upgrade.Cluster
	// created is when all of it was made.
	created time.Time
	nodes   []*corev1.Node
	pods    []*corev1.Pod
	objects []runtime.Object
	// told is what a fixture says of pods, by namespace/name of their workload.
	told map[string]condition
}

// condition is what is told of a workload's pods.
type condition struct {
	// ready is how many are, -1 for all; because is why the others are not.
	ready   int
	because string
	// on are the nodes to put them on, in turns.
	on []string
	// startUp is how long they took.
	startUp time.Duration
}

// populate returns all objects of the fixture's cluster.
func populate(t *testing.T, f fixture, cluster upgrade.Cluster) []runtime.Object {
	t.Helper()
	w := &world{t: t, cluster: cluster, created: f.now.Add(-30 * 24 * time.Hour), told: map[string]condition{}}
	for _, line := range f.pods {
		name, of, err := readCondition(line)
		if err != nil {
			t.Fatalf("pods: %q: %v", line, err)
		}
		w.told[name] = of
	}
	for _, line := range f.nodes {
		if err := w.addNodes(line); err != nil {
			t.Fatalf("nodes: %q: %v", line, err)
		}
	}
	namespaces := map[string]bool{"default": true, "kube-system": true, "kube-public": true, "kube-node-lease": true}
	for _, o := range f.objects {
		m := w.complete(o)
		if m.GetNamespace() != "" && !namespaces[m.GetNamespace()] {
			namespaces[m.GetNamespace()] = true
		}
	}
	for _, o := range f.objects {
		if n, ok := o.(*corev1.Namespace); ok {
			delete(namespaces, n.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(namespaces)) {
		n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		w.complete(n)
		w.objects = append(w.objects, n)
	}
	w.objects = append(w.objects, f.objects...)
	w.run(f.objects)
	for _, o := range f.objects {
		switch o := o.(type) {
		case *corev1.Service:
			w.serve(o)
		case *policyv1.PodDisruptionBudget:
			w.reckon(o)
		}
	}
	for _, n := range w.nodes {
		w.objects = append(w.objects, n)
	}
	for _, p := range w.pods {
		w.objects = append(w.objects, p)
	}
	for name := range w.told {
		t.Errorf("pods: there is no workload %s", name)
	}
	return w.objects
}

// run makes the pods of all workloads: DaemonSets' first, which have their room on every node.
func (w *world) run(objects []runtime.Object) {
	for _, n := range w.nodes {
		w.runProxy(n)
	}
	for _, o := range objects {
		if d, ok := o.(*appsv1.DaemonSet); ok {
			w.runDaemonSet(d)
		}
	}
	for _, o := range objects {
		switch o := o.(type) {
		case *appsv1.Deployment:
			w.runDeployment(o)
		case *appsv1.StatefulSet:
			w.runStatefulSet(o)
		case *batchv1.Job:
			w.runJob(o)
		case *corev1.Pod:
			w.objects = slices.DeleteFunc(w.objects, func(other runtime.Object) bool { return other == runtime.Object(o) }) // it is among the pods
			w.start(o, w.schedule(o), w.tell(o.Namespace, o.Name), 0)
		}
	}
}

// complete fills in what the API server would.
func (w *world) complete(o runtime.Object) metav1.Object {
	w.t.Helper()
	m, err := meta.Accessor(o)
	if err != nil {
		w.t.Fatal(err)
	}
	kinds := strings.Split(fmt.Sprintf("%T", o), ".")
	kind := kinds[len(kinds)-1]
	cluster := []string{"Node", "Namespace", "PersistentVolume", "StorageClass", "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"}
	if m.GetNamespace() == "" && !slices.Contains(cluster, kind) {
		m.SetNamespace("default")
	}
	m.SetUID(types.UID(strings.ToLower(kind) + "/" + m.GetNamespace() + "/" + m.GetName()))
	m.SetResourceVersion("1")
	m.SetCreationTimestamp(metav1.NewTime(w.created))
	switch o := o.(type) {
	case *corev1.Namespace:
		if o.Labels == nil {
			o.Labels = map[string]string{}
		}
		o.Labels[corev1.LabelMetadataName] = o.Name
	case *corev1.Service:
		if o.Spec.Type == "" {
			o.Spec.Type = corev1.ServiceTypeClusterIP
		}
	case *corev1.Pod:
		completePod(&o.Spec)
	case *appsv1.Deployment:
		completePod(&o.Spec.Template.Spec)
	case *appsv1.StatefulSet:
		completePod(&o.Spec.Template.Spec)
	case *appsv1.DaemonSet:
		completePod(&o.Spec.Template.Spec)
	case *batchv1.Job:
		completePod(&o.Spec.Template.Spec)
	}
	return m
}

func completePod(s *corev1.PodSpec) {
	if s.TerminationGracePeriodSeconds == nil {
		grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
		s.TerminationGracePeriodSeconds = &grace
	}
	if s.SchedulerName == "" {
		s.SchedulerName = corev1.DefaultSchedulerName
	}
	for _, list := range [][]corev1.Container{s.InitContainers, s.Containers} {
		for i := range list {
			for name, limit := range list[i].Resources.Limits {
				if list[i].Resources.Requests == nil {
					list[i].Resources.Requests = corev1.ResourceList{}
				}
				if _, ok := list[i].Resources.Requests[name]; !ok {
					list[i].Resources.Requests[name] = limit
				}
			}
			for j := range list[i].Ports {
				p := &list[i].Ports[j]
				if p.Protocol == "" {
					p.Protocol = corev1.ProtocolTCP
				}
				if s.HostNetwork {
					p.HostPort = p.ContainerPort
				}
			}
		}
	}
}

// fields are the words KEY=VALUE of a line, and the keys that may be in it.
func fields(words []string, known ...string) (map[string]string, error) {
	read := map[string]string{}
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		if !slices.Contains(known, key) {
			return nil, fmt.Errorf("%s is none of %s", key, strings.Join(known, ", "))
		}
		read[key] = value
	}
	return read, nil
}

func readCondition(line string) (name string, c condition, err error) {
	words := strings.Fields(line)
	read, err := fields(words[1:], "ready", "because", "nodes", "startup")
	if err != nil {
		return "", c, err
	}
	c = condition{ready: -1, because: read["because"], startUp: 20 * time.Second}
	if v, ok := read["ready"]; ok {
		if c.ready, err = strconv.Atoi(v); err != nil {
			return "", c, err
		}
	}
	if v, ok := read["nodes"]; ok {
		c.on = strings.Split(v, ",")
	}
	if v, ok := read["startup"]; ok {
		c.startUp, err = time.ParseDuration(v)
	}
	return words[0], c, err
}

// tell returns what is told of a workload's pods, once.
func (w *world) tell(namespace, name string) condition {
	key := namespace + "/" + name
	c, ok := w.told[key]
	delete(w.told, key)
	if !ok {
		return condition{ready: -1, startUp: 20 * time.Second}
	}
	return c
}

// addNodes makes nodes as GKE would: "pool=web count=3 cpu=4 memory=16Gi" and, where they differ from what their pool says, zones=, version=,
// max-pods=, image= and kernel=; labels= that were put on by hand; resources=nvidia.com/gpu:1 besides; arch=arm64; and cordoned.
func (w *world) addNodes(line string) error {
	read, err := fields(strings.Fields(line), "pool", "count", "cpu", "memory", "zones", "version", "max-pods", "image", "kernel", "labels", "resources", "arch", "cordoned", "cordoned-by")
	if err != nil {
		return err
	}
	i := slices.IndexFunc(w.cluster.Pools, func(p upgrade.Pool) bool { return p.Name == read["pool"] })
	count, err := strconv.Atoi(read["count"])
	if i < 0 || err != nil {
		return fmt.Errorf("want a pool of cluster.yaml and a count: %w", err)
	}
	pool := w.cluster.Pools[i]
	or := func(key, otherwise string) string {
		if v, ok := read[key]; ok {
			return v
		}
		return otherwise
	}
	zones := strings.Split(or("zones", strings.Join(pool.Zones, ",")), ",")
	there := 0
	for _, n := range w.nodes {
		if n.Labels[w.cluster.PoolLabel] == pool.Name {
			there++
		}
	}
	for k := range count {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", pool.Name, there+k+1)}}
		w.complete(n)
		zone, arch := zones[k%len(zones)], or("arch", "amd64")
		n.Labels = map[string]string{
			corev1.LabelHostname: n.Name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: arch, "beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": arch,
			corev1.LabelTopologyZone: zone, corev1.LabelTopologyRegion: zone[:strings.LastIndex(zone, "-")], "topology.gke.io/zone": zone,
			corev1.LabelFailureDomainBetaZone: zone, corev1.LabelFailureDomainBetaRegion: zone[:strings.LastIndex(zone, "-")],
			w.cluster.PoolLabel: pool.Name, "cloud.google.com/gke-os-distribution": "cos", "cloud.google.com/gke-container-runtime": "containerd", "cloud.google.com/gke-boot-disk": "pd-balanced",
		}
		maps.Copy(n.Labels, pool.Labels)
		maps.Copy(n.Labels, pairs(read["labels"], "="))
		for _, t := range pool.Taints {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: t.Key, Value: t.Value, Effect: corev1.TaintEffect(t.Effect)})
		}
		if arch == "arm64" { // GKE's own taint
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: corev1.LabelArchStable, Value: arch, Effect: corev1.TaintEffectNoSchedule})
		}
		_, byHand := read["cordoned"]
		run, byRun := read["cordoned-by"]
		if byHand || byRun {
			n.Spec.Unschedulable = true
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule})
		}
		if byRun {
			n.Annotations = map[string]string{"upshift.dev/cordoned-by": run}
		}
		n.Status.Allocatable = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("47Gi")}
		for name, amount := range pairs("cpu:"+read["cpu"]+",memory:"+read["memory"]+",pods:"+or("max-pods", "110")+","+read["resources"], ":") {
			if n.Status.Allocatable[corev1.ResourceName(name)], err = resource.ParseQuantity(amount); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		n.Status.Capacity = n.Status.Allocatable
		n.Status.NodeInfo = corev1.NodeSystemInfo{
			KubeletVersion: "v" + or("version", pool.Version), OSImage: or("image", "Container-Optimized-OS"), KernelVersion: or("kernel", "6.6.87+"),
			ContainerRuntimeVersion: "containerd://1.7.27", Architecture: arch, OperatingSystem: "linux",
		}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		w.nodes = append(w.nodes, n)
	}
	return nil
}

// pairs reads "a=b,c=d" with the sign for "=" that is given.
func pairs(text, sign string) map[string]string {
	read := map[string]string{}
	for pair := range strings.SplitSeq(text, ",") {
		if key, value, ok := strings.Cut(pair, sign); ok {
			read[key] = value
		}
	}
	return read
}

// podOf makes a pod of a template, which the controller owns.
func (w *world) podOf(template *corev1.PodTemplateSpec, namespace, name string, kind, version, owner string, uid types.UID) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: *template.ObjectMeta.DeepCopy(), Spec: *template.Spec.DeepCopy()}
	p.Namespace, p.Name = namespace, name
	w.complete(p)
	yes := true
	p.OwnerReferences = []metav1.OwnerReference{{APIVersion: version, Kind: kind, Name: owner, UID: uid, Controller: &yes}}
	return p
}

func wanted(n *int32) int {
	if n == nil {
		return 1
	}
	return int(*n)
}

func (w *world) runDeployment(d *appsv1.Deployment) {
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: d.Name + "-7d4b9c"}}
	w.complete(rs)
	yes := true
	rs.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: d.Name, UID: d.UID, Controller: &yes}}
	rs.Spec = appsv1.ReplicaSetSpec{Replicas: d.Spec.Replicas, Selector: d.Spec.Selector, Template: d.Spec.Template}
	w.objects = append(w.objects, rs)
	told := w.tell(d.Namespace, d.Name)
	for i := range wanted(d.Spec.Replicas) {
		p := w.podOf(&d.Spec.Template, d.Namespace, fmt.Sprintf("%s-%d", rs.Name, i), "ReplicaSet", "apps/v1", rs.Name, rs.UID)
		p.Labels = merged(p.Labels, "pod-template-hash", "7d4b9c")
		w.start(p, w.nodeFor(p, told, i), told, i)
	}
}

func merged(of map[string]string, key, value string) map[string]string {
	m := map[string]string{key: value}
	maps.Copy(m, of)
	return m
}

func (w *world) runStatefulSet(s *appsv1.StatefulSet) {
	told := w.tell(s.Namespace, s.Name)
	for i := range wanted(s.Spec.Replicas) {
		p := w.podOf(&s.Spec.Template, s.Namespace, fmt.Sprintf("%s-%d", s.Name, i), "StatefulSet", "apps/v1", s.Name, s.UID)
		p.Labels = merged(p.Labels, "apps.kubernetes.io/pod-index", strconv.Itoa(i))
		n := w.nodeFor(p, told, i)
		for _, template := range s.Spec.VolumeClaimTemplates {
			claim := template.DeepCopy()
			claim.Namespace, claim.Name = s.Namespace, template.Name+"-"+p.Name
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: template.Name, VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name},
			}})
			w.provision(claim, n)
		}
		w.start(p, n, told, i)
	}
}

// provision makes a disk in the node's zone, as GKE's driver does for a claim that waits for its first pod.
func (w *world) provision(claim *corev1.PersistentVolumeClaim, n *corev1.Node) {
	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pvc-" + claim.Namespace + "-" + claim.Name}}
	w.complete(pv)
	w.complete(claim)
	claim.Spec.VolumeName, claim.Status.Phase = pv.Name, corev1.ClaimBound
	pv.Spec.AccessModes = claim.Spec.AccessModes
	pv.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: "pd.csi.storage.gke.io", VolumeHandle: pv.Name}
	pv.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "topology.gke.io/zone", Operator: corev1.NodeSelectorOpIn, Values: []string{n.Labels["topology.gke.io/zone"]}}},
	}}}}
	w.objects = append(w.objects, pv, claim)
}

func (w *world) runDaemonSet(d *appsv1.DaemonSet) {
	told := w.tell(d.Namespace, d.Name)
	for i, n := range w.nodes {
		p := w.podOf(&d.Spec.Template, d.Namespace, fmt.Sprintf("%s-%d", d.Name, i), "DaemonSet", "apps/v1", d.Name, d.UID)
		p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule})
		if w.unfit(p, n) == "" {
			d.Status.DesiredNumberScheduled++
			w.start(p, n, told, i)
		}
	}
}

func (w *world) runJob(j *batchv1.Job) {
	told := w.tell(j.Namespace, j.Name)
	for i := range wanted(j.Spec.Parallelism) {
		p := w.podOf(&j.Spec.Template, j.Namespace, fmt.Sprintf("%s-%d", j.Name, i), "Job", "batch/v1", j.Name, j.UID)
		w.start(p, w.nodeFor(p, told, i), told, i)
		if j.Status.Succeeded > 0 {
			p.Status.Phase = corev1.PodSucceeded
		}
	}
}

// runProxy is the static pod that each of GKE's nodes has.
func (w *world) runProxy(n *corev1.Node) {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-proxy-" + n.Name, Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"}}}
	p.Spec = corev1.PodSpec{HostNetwork: true, Containers: []corev1.Container{{
		Name: "kube-proxy", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}},
	}}}
	w.complete(p)
	yes := true
	p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: n.Name, UID: n.UID, Controller: &yes}}
	w.start(p, n, condition{ready: -1}, 0)
}

// start binds the pod to the node and runs it there, as the i-th of its workload.
func (w *world) start(p *corev1.Pod, n *corev1.Node, told condition, i int) {
	p.Spec.NodeName = n.Name
	at := metav1.NewTime(w.created.Add(told.startUp))
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: fmt.Sprintf("10.0.%d.%d", len(w.pods)/250, len(w.pods)%250+1), Conditions: []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(w.created)},
		{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: at},
	}}
	if told.ready >= 0 && i >= told.ready {
		p.Status.Conditions[1].Status = corev1.ConditionFalse
		s := corev1.ContainerStatus{Name: p.Spec.Containers[0].Name, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
		if told.because != "" {
			s.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: told.because}}
		}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{s}
	}
	w.pods = append(w.pods, p)
}

func ready(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodRunning && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// serve makes the Service's EndpointSlice.
func (w *world) serve(s *corev1.Service) {
	if len(s.Spec.Selector) == 0 {
		return
	}
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
		Namespace: s.Namespace, Name: s.Name + "-x1", Labels: map[string]string{discoveryv1.LabelServiceName: s.Name},
	}, AddressType: discoveryv1.AddressTypeIPv4}
	w.complete(slice)
	for _, p := range w.selected(s.Namespace, labels.SelectorFromSet(s.Spec.Selector)) {
		is := ready(p)
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{p.Status.PodIP}, Conditions: discoveryv1.EndpointConditions{Ready: &is}, NodeName: &p.Spec.NodeName,
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID},
		})
	}
	w.objects = append(w.objects, slice)
}

// selected are the pods that run.
func (w *world) selected(namespace string, selector labels.Selector) []*corev1.Pod {
	var list []*corev1.Pod
	for _, p := range w.pods {
		if p.Namespace == namespace && p.Status.Phase == corev1.PodRunning && selector.Matches(labels.Set(p.Labels)) {
			list = append(list, p)
		}
	}
	return list
}

// reckon fills in what a budget allows. All of its pods are taken to be there, as many as their controllers want.
func (w *world) reckon(b *policyv1.PodDisruptionBudget) {
	selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	if err != nil {
		w.t.Fatalf("PodDisruptionBudget %s/%s: %v", b.Namespace, b.Name, err)
	}
	pods := w.selected(b.Namespace, selector)
	expected, healthy := len(pods), 0
	for _, p := range pods {
		if ready(p) {
			healthy++
		}
	}
	scaled := func(n *intstr.IntOrString) int {
		of, err := intstr.GetScaledValueFromIntOrPercent(n, expected, true)
		if err != nil {
			w.t.Fatalf("PodDisruptionBudget %s/%s: %v", b.Namespace, b.Name, err)
		}
		return of
	}
	needed := 1
	switch {
	case b.Spec.MinAvailable != nil:
		needed = scaled(b.Spec.MinAvailable)
	case b.Spec.MaxUnavailable != nil:
		needed = max(0, expected-scaled(b.Spec.MaxUnavailable))
	}
	b.Generation = 1
	b.Status = policyv1.PodDisruptionBudgetStatus{
		ObservedGeneration: 1, ExpectedPods: int32(expected), CurrentHealthy: int32(healthy), DesiredHealthy: int32(needed), DisruptionsAllowed: int32(max(0, healthy-needed)),
	}
}
