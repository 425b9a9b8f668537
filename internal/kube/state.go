package kube

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	appslisters "k8s.io/client-go/listers/apps/v1"
	batchlisters "k8s.io/client-go/listers/batch/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	policylisters "k8s.io/client-go/listers/policy/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// cordonedBy is the annotation that names the run that cordoned a node.
const cordonedBy = "upshift.dev/cordoned-by"

// listers are the caches.
type listers struct {
	informers []cache.SharedIndexInformer

	nodes       corelisters.NodeLister
	pods        corelisters.PodLister
	services    corelisters.ServiceLister
	slices      discoverylisters.EndpointSliceLister
	budgets     policylisters.PodDisruptionBudgetLister
	replicaSets appslisters.ReplicaSetLister
	deployments appslisters.DeploymentLister
	stateful    appslisters.StatefulSetLister
	daemons     appslisters.DaemonSetLister
	rcs         corelisters.ReplicationControllerLister
	jobs        batchlisters.JobLister
}

func newListers(f informers.SharedInformerFactory) listers {
	core, apps := f.Core().V1(), f.Apps().V1()
	l := listers{
		nodes: core.Nodes().Lister(), pods: core.Pods().Lister(), services: core.Services().Lister(),
		slices: f.Discovery().V1().EndpointSlices().Lister(), budgets: f.Policy().V1().PodDisruptionBudgets().Lister(),
		replicaSets: apps.ReplicaSets().Lister(), deployments: apps.Deployments().Lister(), stateful: apps.StatefulSets().Lister(),
		daemons: apps.DaemonSets().Lister(), rcs: core.ReplicationControllers().Lister(), jobs: f.Batch().V1().Jobs().Lister(),
	}
	l.informers = []cache.SharedIndexInformer{
		core.Nodes().Informer(), core.Pods().Informer(), core.Services().Informer(),
		f.Discovery().V1().EndpointSlices().Informer(), f.Policy().V1().PodDisruptionBudgets().Informer(),
		apps.ReplicaSets().Informer(), apps.Deployments().Informer(), apps.StatefulSets().Informer(),
		apps.DaemonSets().Informer(), core.ReplicationControllers().Informer(), f.Batch().V1().Jobs().Informer(),
	}
	return l
}

// all lists a cache; a cache's list has no way to fail.
func all[T any](list func(labels.Selector) ([]T, error)) []T {
	items, _ := list(labels.Everything())
	return items
}

// state turns the caches into the domain's State, in a stable order.
func (l listers) state(poolLabel string, now time.Time) upgrade.State {
	s := upgrade.State{Budgets: map[string]upgrade.Budget{}}
	for _, n := range all(l.nodes.List) {
		s.Nodes = append(s.Nodes, readNode(n, poolLabel))
	}
	slices.SortFunc(s.Nodes, func(a, b upgrade.Node) int { return cmp.Compare(a.Name, b.Name) })
	r := l.reader(poolLabel, now)
	for _, b := range all(l.budgets.List) {
		budget := readBudget(b)
		s.Budgets[budget.Key()] = budget
	}
	for _, p := range all(l.pods.List) {
		s.Pods = append(s.Pods, r.pod(p))
	}
	slices.SortFunc(s.Pods, func(a, b upgrade.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	s.Workloads = r.owners.workloads()
	return s
}

func readNode(n *corev1.Node, poolLabel string) upgrade.Node {
	node := upgrade.Node{
		Name: n.Name, Pool: n.Labels[poolLabel], Zone: n.Labels[corev1.LabelTopologyZone],
		Version:       strings.TrimPrefix(n.Status.NodeInfo.KubeletVersion, "v"),
		Unschedulable: n.Spec.Unschedulable, CordonedBy: n.Annotations[cordonedBy],
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			node.Ready = c.Status == corev1.ConditionTrue
		}
	}
	return node
}

func readBudget(b *policyv1.PodDisruptionBudget) upgrade.Budget {
	spec, _ := json.Marshal(b.Spec) // plain data from the API
	rule := "minAvailable 1"        // Kubernetes' default
	switch {
	case b.Spec.MinAvailable != nil:
		rule = "minAvailable " + b.Spec.MinAvailable.String()
	case b.Spec.MaxUnavailable != nil:
		rule = "maxUnavailable " + b.Spec.MaxUnavailable.String()
	}
	policy := b.Spec.UnhealthyPodEvictionPolicy
	trouble := ""
	for _, c := range b.Status.Conditions {
		if c.Type == policyv1.DisruptionAllowedCondition && c.Status != metav1.ConditionTrue && c.Reason == policyv1.SyncFailedReason {
			trouble = c.Message
		}
	}
	return upgrade.Budget{
		Namespace: b.Namespace, Name: b.Name, Revision: b.ResourceVersion,
		Allowed: int(b.Status.DisruptionsAllowed), Healthy: int(b.Status.CurrentHealthy), Needed: int(b.Status.DesiredHealthy),
		Expected: int(b.Status.ExpectedPods), Current: b.Status.ObservedGeneration >= b.Generation,
		FreesUnready: policy != nil && *policy == policyv1.AlwaysAllow,
		Trouble:      trouble, Rule: rule, Spec: spec,
	}
}

// selecting is an object with a selector over the pods of its namespace.
type selecting struct {
	key      string
	selector labels.Selector
}

// reader turns pods into the domain's, with the other caches indexed once.
type reader struct {
	owners   owners
	budgets  map[string][]selecting // by namespace
	services map[string][]selecting // by namespace
	// serving are the ready endpoints: service key and pod UID.
	serving map[[2]string]bool
	nodes   corelisters.NodeLister
	// poolLabel is the node label that names a node's pool.
	poolLabel string
}

func (l listers) reader(poolLabel string, now time.Time) reader {
	r := reader{
		budgets: map[string][]selecting{}, services: map[string][]selecting{}, serving: map[[2]string]bool{}, nodes: l.nodes, poolLabel: poolLabel,
	}
	r.owners = l.owners(now)
	for _, b := range all(l.budgets.List) {
		// A selector that cannot be read selects nothing, for the API server too.
		if selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector); err == nil {
			r.budgets[b.Namespace] = append(r.budgets[b.Namespace], selecting{b.Namespace + "/" + b.Name, selector})
		}
	}
	for _, list := range r.budgets {
		slices.SortFunc(list, func(a, b selecting) int { return cmp.Compare(a.key, b.key) })
	}
	for _, s := range all(l.services.List) {
		if len(s.Spec.Selector) > 0 && s.Spec.Type != corev1.ServiceTypeExternalName {
			selector := labels.SelectorFromSet(s.Spec.Selector)
			r.services[s.Namespace] = append(r.services[s.Namespace], selecting{s.Namespace + "/" + s.Name, selector})
		}
	}
	for _, slice := range all(l.slices.List) {
		service := slice.Namespace + "/" + slice.Labels["kubernetes.io/service-name"]
		for _, e := range slice.Endpoints {
			if e.TargetRef != nil && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
				r.serving[[2]string{service, string(e.TargetRef.UID)}] = true
			}
		}
	}
	return r
}

func (r reader) pod(p *corev1.Pod) upgrade.Pod {
	pod := upgrade.Pod{
		Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), Node: p.Spec.NodeName,
		Mirror:   metav1.HasAnnotation(p.ObjectMeta, corev1.MirrorPodAnnotationKey),
		Finished: p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed,
		Pending:  p.Status.Phase == corev1.PodPending,
		Trouble:  trouble(p),
		OneOff:   p.Spec.RestartPolicy == corev1.RestartPolicyNever || p.Spec.RestartPolicy == corev1.RestartPolicyOnFailure,
	}
	if p.DeletionTimestamp != nil {
		pod.EndsBy = p.DeletionTimestamp.Time
	}
	if p.Spec.TerminationGracePeriodSeconds != nil {
		pod.Grace = time.Duration(*p.Spec.TerminationGracePeriodSeconds) * time.Second
	}
	for _, c := range p.Status.Conditions {
		switch {
		case c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue:
			pod.Ready, pod.ReadySince = true, c.LastTransitionTime.Time
			pod.StartUp = startUp(p, c.LastTransitionTime.Time)
		case c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable:
			pod.Unschedulable = c.Message
		}
	}
	for _, v := range p.Spec.Volumes {
		if v.EmptyDir != nil {
			pod.EmptyDirs = append(pod.EmptyDirs, v.Name)
		}
	}
	set := labels.Set(p.Labels)
	for _, b := range r.budgets[p.Namespace] {
		if b.selector.Matches(set) {
			pod.Budgets = append(pod.Budgets, b.key)
		}
	}
	for _, s := range r.services[p.Namespace] {
		if s.selector.Matches(set) && !r.serving[[2]string{s.key, pod.UID}] {
			pod.Unserved = append(pod.Unserved, s.key)
		}
	}
	slices.Sort(pod.Unserved)
	pod.Pinned, pod.PinnedTo = r.pinned(p)
	r.assign(p, &pod)
	return pod
}

// longestStartUp is above what a pod takes to start. One that seems to have taken longer was Ready, and not, and again.
const longestStartUp = 10 * time.Minute

// startUp is how long the pod took from being bound to its node to being Ready, zero where that cannot be told.
func startUp(p *corev1.Pod, ready time.Time) time.Duration {
	for _, c := range p.Status.ContainerStatuses {
		if c.RestartCount > 0 {
			return 0
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue {
			if took := ready.Sub(c.LastTransitionTime.Time); took > 0 && took < longestStartUp {
				return took
			}
		}
	}
	return 0
}

// assign finds what would make the pod again.
func (r reader) assign(p *corev1.Pod, pod *upgrade.Pod) {
	controller := metav1.GetControllerOf(p)
	if controller == nil || pod.Mirror {
		return
	}
	w, exists := r.owners.workload(p, controller)
	if !exists {
		pod.Orphan = w.Ref
		return
	}
	pod.Workload = w.Ref
}

// trouble is why a container is not running.
func trouble(p *corev1.Pod) string {
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if w := c.State.Waiting; w != nil && w.Reason != "" && w.Reason != "ContainerCreating" && w.Reason != "PodInitializing" {
			return fmt.Sprintf("container %s: %s", c.Name, w.Reason)
		}
	}
	return ""
}
