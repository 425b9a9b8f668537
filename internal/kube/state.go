package kube

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// cordonedBy is the annotation that names the run that cordoned a node.
const cordonedBy = "upshift.dev/cordoned-by"

// kind is a kind of objects that a cache is kept of.
type kind string

const (
	nodeKind                  kind = "Node"
	podKind                   kind = "Pod"
	serviceKind               kind = "Service"
	sliceKind                 kind = "EndpointSlice"
	budgetKind                kind = "PodDisruptionBudget"
	claimKind                 kind = "PersistentVolumeClaim"
	attachmentKind            kind = "VolumeAttachment"
	deploymentKind            kind = "Deployment"
	replicaSetKind            kind = "ReplicaSet"
	statefulSetKind           kind = "StatefulSet"
	daemonSetKind             kind = "DaemonSet"
	replicationControllerKind kind = "ReplicationController"
	jobKind                   kind = "Job"
)

// listers are the caches.
type listers struct {
	informers map[kind]cache.SharedIndexInformer

	nodes    corelisters.NodeLister
	pods     corelisters.PodLister
	services corelisters.ServiceLister
	slices   discoverylisters.EndpointSliceLister
	claims   corelisters.PersistentVolumeClaimLister
	daemons  appslisters.DaemonSetLister
}

func newListers(f informers.SharedInformerFactory) listers {
	core, apps := f.Core().V1(), f.Apps().V1()
	return listers{
		nodes: core.Nodes().Lister(), pods: core.Pods().Lister(), services: core.Services().Lister(),
		slices: f.Discovery().V1().EndpointSlices().Lister(), claims: core.PersistentVolumeClaims().Lister(), daemons: apps.DaemonSets().Lister(),
		informers: map[kind]cache.SharedIndexInformer{
			nodeKind: core.Nodes().Informer(), podKind: core.Pods().Informer(), serviceKind: core.Services().Informer(),
			sliceKind: f.Discovery().V1().EndpointSlices().Informer(), budgetKind: f.Policy().V1().PodDisruptionBudgets().Informer(),
			claimKind: core.PersistentVolumeClaims().Informer(), attachmentKind: f.Storage().V1().VolumeAttachments().Informer(),
			deploymentKind: apps.Deployments().Informer(), replicaSetKind: apps.ReplicaSets().Informer(), statefulSetKind: apps.StatefulSets().Informer(),
			daemonSetKind: apps.DaemonSets().Informer(), replicationControllerKind: core.ReplicationControllers().Informer(),
			jobKind: f.Batch().V1().Jobs().Informer(),
		},
	}
}

// all lists a cache; a cache's list has no way to fail.
func all[T any](list func(labels.Selector) ([]T, error)) []T {
	items, _ := list(labels.Everything())
	return items
}

// get returns an object of a cache, and whether it is there; looking it up has no way to fail either.
func get[T any](l listers, k kind, name cache.ObjectName) (T, bool) {
	object, _, _ := l.informers[k].GetStore().GetByKey(name.String())
	typed, ok := object.(T)
	return typed, ok
}

func readNode(n *corev1.Node, pools Pools) upgrade.Node {
	node := upgrade.Node{
		Name: n.Name, Pool: pools.of(n.Labels), Zone: n.Labels[corev1.LabelTopologyZone],
		Version:       strings.TrimPrefix(n.Status.NodeInfo.KubeletVersion, "v"),
		Unschedulable: n.Spec.Unschedulable, CordonedBy: n.Annotations[cordonedBy],
		Allocatable: readResources(n.Status.Allocatable),
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			node.Ready = c.Status == corev1.ConditionTrue
		}
	}
	return node
}

// Pools says which nodes belong together.
type Pools struct {
	// Label is the label of nodes whose value is the name of their pool.
	Label string
	// ControlPlane tells that the nodes of the control plane, which the cluster shows, are a pool of their own, whatever they are labelled.
	ControlPlane bool
}

// PoolsOf is how a cluster's provider tells its pools apart.
func PoolsOf(c upgrade.Cluster) Pools {
	return Pools{Label: c.PoolLabel, ControlPlane: c.Provider == upgrade.SelfManaged}
}

// of is the pool of a node with the labels.
func (p Pools) of(labels map[string]string) string {
	if _, ok := labels[controlPlaneRole]; ok && p.ControlPlane {
		return upgrade.ControlPlanePool
	}
	return labels[p.Label]
}

// controlPlaneRole is the label of nodes that run a control plane.
const controlPlaneRole = "node-role.kubernetes.io/control-plane"

// readComponent is what a static pod of a control plane runs, and at which version.
func readComponent(p *corev1.Pod) (component, version string) {
	for _, name := range []string{upgrade.APIServer, upgrade.Etcd} {
		if p.Namespace != metav1.NamespaceSystem || len(p.Spec.Containers) == 0 {
			break
		}
		if p.Labels["component"] == name || strings.HasPrefix(p.Name, name+"-") {
			image, _, _ := strings.Cut(p.Spec.Containers[0].Image, "@")
			_, tag, _ := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
			return name, strings.TrimPrefix(tag, "v")
		}
	}
	return "", ""
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

func readAttachment(a *storagev1.VolumeAttachment) upgrade.Attachment {
	read := upgrade.Attachment{Name: a.Name, Node: a.Spec.NodeName}
	if volume := a.Spec.Source.PersistentVolumeName; volume != nil {
		read.Volume = *volume
	}
	return read
}

// pod reads a pod with what belongs to it. Until is when it has to be read again at the latest, whatever changes; zero for never.
func (s *snapshot) pod(p *corev1.Pod, now time.Time) (pod upgrade.Pod, until time.Time) {
	pod = readPod(p)
	pod.Requests = s.resources.one(podRequests(p))
	pod.Disks = s.disks(p)
	for _, b := range s.budgetsOver.over(p.Namespace, p.Labels) {
		pod.Budgets = append(pod.Budgets, b.key)
	}
	for _, service := range s.servicesOver.over(p.Namespace, p.Labels) {
		if s.serving.slices[endpoint{service.name, pod.UID}] == 0 {
			pod.Unserved = append(pod.Unserved, service.key)
		}
	}
	pod.Pinned, pod.PinnedTo = s.pinned(p)
	return pod, s.assign(p, &pod, now)
}

// readPod reads what a pod says by itself.
func readPod(p *corev1.Pod) upgrade.Pod {
	pod := upgrade.Pod{
		Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), Node: p.Spec.NodeName,
		Mirror:   metav1.HasAnnotation(p.ObjectMeta, corev1.MirrorPodAnnotationKey),
		Finished: p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed,
		Pending:  p.Status.Phase == corev1.PodPending,
		Trouble:  trouble(p),
		OneOff:   p.Spec.RestartPolicy == corev1.RestartPolicyNever || p.Spec.RestartPolicy == corev1.RestartPolicyOnFailure,
	}
	if pod.Mirror {
		pod.Component, pod.Version = readComponent(p)
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

// assign finds what would make the pod again. Until is when what is found may be different though nothing has changed, zero for never.
func (s *snapshot) assign(p *corev1.Pod, pod *upgrade.Pod, now time.Time) (until time.Time) {
	controller := metav1.GetControllerOf(p)
	if controller == nil || pod.Mirror {
		return time.Time{}
	}
	w, until := s.owners.workload(p, controller)
	if !until.IsZero() && !now.Before(until) {
		pod.Orphan = w.Ref
		return time.Time{}
	}
	pod.Workload = w.Ref
	return until
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
