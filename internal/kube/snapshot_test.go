package kube

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// plainly reads the caches from nothing, as simply as it can be said: everything with everything. It is what a snapshot is compared with.
func plainly(l listers, now time.Time) upgrade.State {
	s := upgrade.State{Workloads: map[string]upgrade.Workload{}, Budgets: map[string]upgrade.Budget{}}
	for _, n := range all(l.nodes.List) {
		s.Nodes = append(s.Nodes, readNode(n, Pools{Label: label}))
	}
	slices.SortFunc(s.Nodes, func(a, b upgrade.Node) int { return cmp.Compare(a.Name, b.Name) })
	for _, a := range objects[*storagev1.VolumeAttachment](l, attachmentKind) {
		s.Attachments = append(s.Attachments, upgrade.Attachment{Name: a.Name, Node: a.Spec.NodeName, Volume: *a.Spec.Source.PersistentVolumeName})
	}
	slices.SortFunc(s.Attachments, func(a, b upgrade.Attachment) int { return cmp.Compare(a.Name, b.Name) })
	for _, b := range objects[*policyv1.PodDisruptionBudget](l, budgetKind) {
		s.Budgets[b.Namespace+"/"+b.Name] = readBudget(b)
	}
	owners := plainOwners(l)
	for _, w := range owners {
		s.Workloads[w.UID] = w
	}
	for _, p := range all(l.pods.List) {
		s.Pods = append(s.Pods, plainPod(l, owners, p, now))
	}
	slices.SortFunc(s.Pods, func(a, b upgrade.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return s
}

func objects[T any](l listers, k kind) []T {
	var list []T
	for _, o := range l.informers[k].GetStore().List() {
		list = append(list, o.(T))
	}
	return list
}

// plainOwners are the controllers by their UIDs; a ReplicaSet that something else controls stands for that.
func plainOwners(l listers) map[string]upgrade.Workload {
	byUID := map[string]upgrade.Workload{}
	put := func(kind string, m *metav1.ObjectMeta, wanted int) {
		byUID[string(m.UID)] = upgrade.Workload{Ref: upgrade.Ref{Kind: kind, Namespace: m.Namespace, Name: m.Name, UID: string(m.UID)}, Wanted: wanted}
	}
	for _, o := range objects[*appsv1.Deployment](l, deploymentKind) {
		put("Deployment", &o.ObjectMeta, int(*o.Spec.Replicas))
		w := byUID[string(o.UID)]
		w.Rollout = readRollout(o)
		byUID[w.UID] = w
	}
	for _, o := range objects[*appsv1.StatefulSet](l, statefulSetKind) {
		put("StatefulSet", &o.ObjectMeta, int(*o.Spec.Replicas))
	}
	for _, o := range objects[*appsv1.DaemonSet](l, daemonSetKind) {
		put("DaemonSet", &o.ObjectMeta, int(o.Status.DesiredNumberScheduled))
	}
	for _, o := range objects[*corev1.ReplicationController](l, replicationControllerKind) {
		put("ReplicationController", &o.ObjectMeta, int(*o.Spec.Replicas))
	}
	for _, o := range objects[*batchv1.Job](l, jobKind) {
		put("Job", &o.ObjectMeta, upgrade.Unknown)
	}
	for _, o := range objects[*appsv1.ReplicaSet](l, replicaSetKind) {
		by := metav1.GetControllerOf(o)
		if by == nil {
			put("ReplicaSet", &o.ObjectMeta, int(*o.Spec.Replicas))
			continue
		}
		w, ok := byUID[string(by.UID)]
		if !ok {
			w = foreign(o.Namespace, by)
		}
		byUID[string(o.UID)] = w
	}
	return byUID
}

func plainPod(l listers, owners map[string]upgrade.Workload, p *corev1.Pod, now time.Time) upgrade.Pod {
	pod := readPod(p)
	pod.Requests = podRequests(p)
	pod.Pinned, pod.PinnedTo = (&snapshot{caches: l, pools: Pools{Label: label}}).pinned(p)
	for _, b := range objects[*policyv1.PodDisruptionBudget](l, budgetKind) {
		selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if b.Namespace == p.Namespace && err == nil && selector.Matches(labels.Set(p.Labels)) {
			pod.Budgets = append(pod.Budgets, b.Namespace+"/"+b.Name)
		}
	}
	slices.Sort(pod.Budgets)
	for _, service := range all(l.services.List) {
		selector := labels.SelectorFromSet(service.Spec.Selector)
		if service.Namespace != p.Namespace || len(service.Spec.Selector) == 0 || service.Spec.Type == corev1.ServiceTypeExternalName || !selector.Matches(labels.Set(p.Labels)) {
			continue
		}
		listed := false
		for _, slice := range all(l.slices.List) {
			for _, e := range slice.Endpoints {
				listed = listed || slice.Namespace == service.Namespace && slice.Labels[discoveryv1.LabelServiceName] == service.Name && e.TargetRef.UID == p.UID && *e.Conditions.Ready
			}
		}
		if !listed {
			pod.Unserved = append(pod.Unserved, service.Namespace+"/"+service.Name)
		}
	}
	slices.Sort(pod.Unserved)
	for _, v := range p.Spec.Volumes {
		for _, claim := range all(l.claims.List) {
			exclusive := slices.Equal(claim.Spec.AccessModes, []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce})
			if claim.Namespace == p.Namespace && claim.Name == v.PersistentVolumeClaim.ClaimName && exclusive && claim.Spec.VolumeName != "" {
				pod.Disks = append(pod.Disks, claim.Spec.VolumeName)
			}
		}
	}
	by := metav1.GetControllerOf(p)
	if by == nil {
		return pod
	}
	w, ok := owners[string(by.UID)]
	switch {
	case ok:
		pod.Workload = w.Ref
	case kubernetesKinds[by.Kind] == by.APIVersion && now.Sub(p.CreationTimestamp.Time) >= cacheLag:
		pod.Orphan = foreign(p.Namespace, by).Ref
	default:
		pod.Workload = foreign(p.Namespace, by).Ref
	}
	return pod
}

// churn changes caches at random, and tells a snapshot of it.
type churn struct {
	*rand.Rand
	now  time.Time
	all  listers
	mark func(kind, any)
}

// TestASnapshotIsWhatTheCachesSay however they came to say it, and what it has handed out once stays as it was.
func TestASnapshotIsWhatTheCachesSay(t *testing.T) {
	for seed := range uint64(20) {
		caches := newListers(informers.NewSharedInformerFactory(fake.NewClientset(), 0))
		s := newSnapshot(caches, Pools{Label: label})
		c := churn{rand.New(rand.NewPCG(seed, 1)), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), caches, s.mark}
		type handed struct {
			state upgrade.State
			was   string
		}
		var out []handed
		for step := range 300 {
			for range 1 + c.IntN(3) {
				c.change()
			}
			c.now = c.now.Add(time.Duration(c.IntN(5000)) * time.Millisecond)
			got := s.state(c.now)
			if diff := gocmp.Diff(plainly(caches, c.now), got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("seed %d, step %d: %s", seed, step, diff)
			}
			if cap(got.Nodes) > len(got.Nodes) || cap(got.Pods) > len(got.Pods) || cap(got.Attachments) > len(got.Attachments) {
				t.Fatalf("seed %d, step %d: who appends to what was handed out shares that with others", seed, step)
			}
			out = append(out, handed{got, fmt.Sprintf("%+v", got)})
		}
		for i, h := range out {
			if now := fmt.Sprintf("%+v", h.state); now != h.was {
				t.Fatalf("seed %d: the state of step %d was\n%s\nand is\n%s", seed, i, h.was, now)
			}
		}
	}
}

// change lets an object appear, change or go.
func (c *churn) change() {
	make := map[kind]func(metav1.ObjectMeta) metav1.Object{
		nodeKind: c.node, podKind: c.pod, serviceKind: c.service, sliceKind: c.slice, budgetKind: c.budget, claimKind: c.claim, attachmentKind: c.attachment,
		deploymentKind: func(m metav1.ObjectMeta) metav1.Object {
			return &appsv1.Deployment{
				ObjectMeta: m, Spec: appsv1.DeploymentSpec{Replicas: c.replicas(), Paused: c.IntN(2) == 0}, Status: appsv1.DeploymentStatus{UpdatedReplicas: *c.replicas()},
			}
		},
		statefulSetKind: func(m metav1.ObjectMeta) metav1.Object {
			return &appsv1.StatefulSet{ObjectMeta: m, Spec: appsv1.StatefulSetSpec{Replicas: c.replicas()}}
		},
		daemonSetKind: func(m metav1.ObjectMeta) metav1.Object {
			return &appsv1.DaemonSet{ObjectMeta: m, Status: appsv1.DaemonSetStatus{DesiredNumberScheduled: *c.replicas()}}
		},
		replicationControllerKind: func(m metav1.ObjectMeta) metav1.Object {
			return &corev1.ReplicationController{ObjectMeta: m, Spec: corev1.ReplicationControllerSpec{Replicas: c.replicas()}}
		},
		jobKind: func(m metav1.ObjectMeta) metav1.Object { return &batchv1.Job{ObjectMeta: m} },
		replicaSetKind: func(m metav1.ObjectMeta) metav1.Object {
			if c.IntN(3) > 0 {
				m.OwnerReferences = c.controller(m.Namespace, []string{"Deployment", "Rollout"})
			}
			return &appsv1.ReplicaSet{ObjectMeta: m, Spec: appsv1.ReplicaSetSpec{Replicas: c.replicas()}}
		},
	}
	kinds := slices.Sorted(maps.Keys(make))
	k := kinds[c.IntN(len(kinds))]
	if c.IntN(3) == 0 {
		k = podKind
	}
	m := metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", k, c.IntN(3))}
	if k == podKind {
		m.Name = fmt.Sprintf("pod-%d", c.IntN(8))
	}
	if k != nodeKind && k != attachmentKind {
		m.Namespace = []string{"a", "a-b"}[c.IntN(2)] // one is a prefix of the other, and sorts after it with a slash
	}
	store := c.all.informers[k].GetStore()
	before, exists, err := store.GetByKey(cache.MetaObjectToName(&m).String())
	if err != nil {
		panic(err)
	}
	if exists && c.IntN(4) == 0 {
		_ = store.Delete(before)
		c.mark(k, cache.DeletedFinalStateUnknown{Key: cache.MetaObjectToName(&m).String(), Obj: before})
		return
	}
	m.UID = types.UID(fmt.Sprintf("uid-%s-%s-%s-%d", k, m.Namespace, m.Name, c.IntN(2)))
	object := make[k](m)
	_ = store.Add(object)
	c.mark(k, object)
}

func (c *churn) replicas() *int32 {
	n := int32(c.IntN(3))
	return &n
}

// controller refers to one of the kinds, which may be there or not.
func (c *churn) controller(namespace string, of []string) []metav1.OwnerReference {
	kind := of[c.IntN(len(of))]
	name, yes := fmt.Sprintf("%s-%d", kind, c.IntN(3)), true
	version, ok := kubernetesKinds[kind]
	if !ok {
		version = "example.com/v1"
	}
	return []metav1.OwnerReference{{APIVersion: version, Kind: kind, Name: name, UID: types.UID(fmt.Sprintf("uid-%s-%s-%s-%d", kind, namespace, name, c.IntN(2))), Controller: &yes}}
}

func (c *churn) labels() map[string]string {
	set := map[string]string{"managed-by": "helm"}
	if c.IntN(4) > 0 {
		set["app"] = []string{"web", "db"}[c.IntN(2)]
	}
	return set
}

func (c *churn) node(m metav1.ObjectMeta) metav1.Object {
	m.Labels = map[string]string{label: []string{"old", "new"}[c.IntN(2)]}
	return &corev1.Node{ObjectMeta: m, Status: corev1.NodeStatus{Allocatable: c.amounts()}}
}

func (c *churn) amounts() corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: *resource.NewQuantity(int64(1+c.IntN(2)), resource.DecimalSI), corev1.ResourceMemory: resource.MustParse("1Gi")}
}

func (c *churn) pod(m metav1.ObjectMeta) metav1.Object {
	m.Labels, m.CreationTimestamp = c.labels(), metav1.NewTime(c.now.Add(-time.Duration(c.IntN(40))*time.Second))
	if c.IntN(5) > 0 {
		m.OwnerReferences = c.controller(m.Namespace, []string{"ReplicaSet", "ReplicaSet", "ReplicaSet", "StatefulSet", "DaemonSet", "ReplicationController", "Job", "CloneSet"})
	}
	p := &corev1.Pod{ObjectMeta: m, Spec: corev1.PodSpec{NodeName: fmt.Sprintf("Node-%d", c.IntN(3))}}
	p.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: c.amounts()}}}
	if c.IntN(2) == 0 {
		p.Spec.NodeSelector = map[string]string{label: "old"}
	}
	if c.IntN(2) == 0 {
		p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{
			ClaimName: fmt.Sprintf("PersistentVolumeClaim-%d", c.IntN(3)),
		}}}}
	}
	return p
}

func (c *churn) service(m metav1.ObjectMeta) metav1.Object {
	s := &corev1.Service{ObjectMeta: m}
	switch c.IntN(5) {
	case 0:
	case 1:
		s.Spec.Selector, s.Spec.Type = c.labels(), corev1.ServiceTypeExternalName
	default:
		s.Spec.Selector = c.labels()
	}
	return s
}

func (c *churn) slice(m metav1.ObjectMeta) metav1.Object {
	m.Labels = map[string]string{discoveryv1.LabelServiceName: fmt.Sprintf("Service-%d", c.IntN(3))}
	slice := &discoveryv1.EndpointSlice{ObjectMeta: m}
	for _, p := range all(c.all.pods.List) {
		if is := c.IntN(4) > 0; p.Namespace == m.Namespace && c.IntN(3) > 0 {
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{TargetRef: &corev1.ObjectReference{UID: p.UID}, Conditions: discoveryv1.EndpointConditions{Ready: &is}})
		}
	}
	return slice
}

func (c *churn) budget(m metav1.ObjectMeta) metav1.Object {
	b := &policyv1.PodDisruptionBudget{ObjectMeta: m, Status: policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: *c.replicas()}}
	switch c.IntN(6) {
	case 0: // selects nothing
	case 1:
		b.Spec.Selector = &metav1.LabelSelector{} // selects everything
	case 2:
		b.Spec.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpExists}}}
	case 3:
		b.Spec.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: "Like"}}} // cannot be read
	default:
		b.Spec.Selector = &metav1.LabelSelector{MatchLabels: c.labels()}
	}
	return b
}

func (c *churn) claim(m metav1.ObjectMeta) metav1.Object {
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: m}
	claim.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{[]corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce, corev1.ReadWriteMany}[c.IntN(2)]}
	if c.IntN(3) > 0 {
		claim.Spec.VolumeName = fmt.Sprintf("pv-%d", c.IntN(3))
	}
	return claim
}

func (c *churn) attachment(m metav1.ObjectMeta) metav1.Object {
	volume := fmt.Sprintf("pv-%d", c.IntN(3))
	return &storagev1.VolumeAttachment{ObjectMeta: m, Spec: storagev1.VolumeAttachmentSpec{
		NodeName: fmt.Sprintf("Node-%d", c.IntN(3)), Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &volume},
	}}
}

// BenchmarkState is what a drain asks for after a pod has changed.
func BenchmarkState(b *testing.B) {
	for _, size := range []struct{ nodes, pods int }{{400, 4000}, {500, 15000}} {
		b.Run(fmt.Sprintf("%d nodes, %d pods", size.nodes, size.pods), func(b *testing.B) {
			caches, deployed := large(b, size.nodes, size.pods)
			s := newSnapshot(caches, Pools{Label: label})
			for k, informer := range caches.informers {
				for _, o := range informer.GetStore().List() {
					s.mark(k, o)
				}
			}
			began := time.Now()
			s.state(began)
			b.ReportMetric(float64(time.Since(began).Microseconds())/1000, "ms-first")
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				p := deployed[i%len(deployed)].DeepCopy()
				p.Status.Phase = []corev1.PodPhase{corev1.PodPending, corev1.PodRunning}[i/len(deployed)%2]
				if err := caches.informers[podKind].GetStore().Update(p); err != nil {
					b.Fatal(err)
				}
				s.mark(podKind, p)
				if got := s.state(began); len(got.Pods) != size.pods {
					b.Fatalf("%d pods", len(got.Pods))
				}
				i++
			}
		})
	}
}

// large fills caches with Deployments of 40 pods, each with a PodDisruptionBudget and a Service, in five namespaces.
func large(tb testing.TB, nodes, pods int) (listers, []*corev1.Pod) {
	tb.Helper()
	caches := newListers(informers.NewSharedInformerFactory(fake.NewClientset(), 0))
	add := func(k kind, o any) {
		if err := caches.informers[k].GetStore().Add(o); err != nil {
			tb.Fatal(err)
		}
	}
	for i := range nodes {
		add(nodeKind, node(fmt.Sprintf("n%d", i), "p", false, ""))
	}
	const per = 40
	var all []*corev1.Pod
	for w := range pods / per {
		name, app := fmt.Sprintf("d%d", w), map[string]string{"app": fmt.Sprintf("app-%d", w)}
		in := func(m metav1.ObjectMeta) metav1.ObjectMeta {
			m.Namespace, m.Labels = fmt.Sprintf("ns-%d", w%5), app
			return m
		}
		add(deploymentKind, &appsv1.Deployment{ObjectMeta: in(named(name))})
		add(replicaSetKind, &appsv1.ReplicaSet{ObjectMeta: in(controlled(name+"-rs", "Deployment", "apps/v1", name))})
		add(budgetKind, &policyv1.PodDisruptionBudget{ObjectMeta: in(named(name)), Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: app}}})
		add(serviceKind, &corev1.Service{ObjectMeta: in(named(name)), Spec: corev1.ServiceSpec{Selector: app}})
		slice := &discoveryv1.EndpointSlice{ObjectMeta: in(named(name))}
		slice.Labels = map[string]string{discoveryv1.LabelServiceName: name}
		for i := range per {
			p := largePod(i)
			p.ObjectMeta = in(controlled(fmt.Sprintf("%s-%d", name, i), "ReplicaSet", "apps/v1", name+"-rs"))
			p.Spec.NodeName = fmt.Sprintf("n%d", (w*per+i)%nodes)
			add(podKind, p)
			all = append(all, p)
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{TargetRef: &corev1.ObjectReference{UID: p.UID}})
		}
		add(sliceKind, slice)
	}
	return caches, all
}
