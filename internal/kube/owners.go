package kube

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// cacheLag is how young a pod may be for its controller to be merely not in the caches yet: each kind is watched on its own, and
// a pod can be seen before what made it.
const cacheLag = 30 * time.Second

// owners are the controllers in the caches, by UID. A ReplicaSet that something else controls stands for that.
type owners struct {
	now   time.Time
	byUID map[string]upgrade.Workload
}

// kubernetesKinds are the controllers whose objects are all in the caches, so that a missing one does not exist.
var kubernetesKinds = map[string]string{
	"ReplicaSet": "apps/v1", "StatefulSet": "apps/v1", "DaemonSet": "apps/v1", "ReplicationController": "v1", "Job": "batch/v1",
}

func (l listers) owners(now time.Time) owners {
	o := owners{now: now, byUID: map[string]upgrade.Workload{}}
	put := func(kind string, m metav1.ObjectMeta, wanted int, minReady int32) {
		o.byUID[string(m.UID)] = ownWorkload(kind, m, wanted, minReady)
	}
	for _, d := range all(l.deployments.List) {
		o.byUID[string(d.UID)] = readDeployment(d)
	}
	for _, s := range all(l.stateful.List) {
		put("StatefulSet", s.ObjectMeta, replicas(s.Spec.Replicas), s.Spec.MinReadySeconds)
		w := o.byUID[string(s.UID)]
		w.HeldBack = heldBack(s)
		o.byUID[w.UID] = w
	}
	for _, d := range all(l.daemons.List) {
		put("DaemonSet", d.ObjectMeta, int(d.Status.DesiredNumberScheduled), d.Spec.MinReadySeconds)
	}
	for _, rc := range all(l.rcs.List) {
		put("ReplicationController", rc.ObjectMeta, replicas(rc.Spec.Replicas), rc.Spec.MinReadySeconds)
	}
	for _, j := range all(l.jobs.List) {
		put("Job", j.ObjectMeta, upgrade.Unknown, 0)
	}
	for _, rs := range all(l.replicaSets.List) {
		controller := metav1.GetControllerOf(rs)
		if controller == nil {
			put("ReplicaSet", rs.ObjectMeta, replicas(rs.Spec.Replicas), rs.Spec.MinReadySeconds)
			continue
		}
		w, ok := o.byUID[string(controller.UID)]
		if !ok {
			w = foreign(rs.Namespace, controller)
		}
		o.byUID[string(rs.UID)] = w
	}
	return o
}

func ownWorkload(kind string, m metav1.ObjectMeta, wanted int, minReady int32) upgrade.Workload {
	return upgrade.Workload{
		Ref:    upgrade.Ref{Kind: kind, Namespace: m.Namespace, Name: m.Name, UID: string(m.UID)},
		Wanted: wanted, MinReady: time.Duration(minReady) * time.Second,
	}
}

// heldBack is how many pods of a StatefulSet are as it was before its last change, and are left so until they are deleted. Whether the
// revisions differ does not tell: with OnDelete, not every Kubernetes takes up the new one as the current one when all pods have it.
func heldBack(s *appsv1.StatefulSet) int {
	if s.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType || s.Status.UpdateRevision == s.Status.CurrentRevision {
		return 0
	}
	return max(0, int(s.Status.Replicas-s.Status.UpdatedReplicas))
}

// workloads returns those that stand for themselves, by UID, with pods or without.
func (o owners) workloads() map[string]upgrade.Workload {
	all := map[string]upgrade.Workload{}
	for _, w := range o.byUID {
		all[w.UID] = w
	}
	return all
}

// workload returns what controls the pod, and whether it exists; for one that does not, only its name means anything.
func (o owners) workload(p *corev1.Pod, controller *metav1.OwnerReference) (upgrade.Workload, bool) {
	if w, ok := o.byUID[string(controller.UID)]; ok {
		return w, true
	}
	w := foreign(p.Namespace, controller)
	known := kubernetesKinds[controller.Kind] == controller.APIVersion
	return w, !known || o.now.Sub(p.CreationTimestamp.Time) < cacheLag
}

// foreign is a controller that is not Kubernetes' own: how many pods it wants cannot be read.
func foreign(namespace string, controller *metav1.OwnerReference) upgrade.Workload {
	return upgrade.Workload{
		Ref:    upgrade.Ref{Kind: controller.Kind, Namespace: namespace, Name: controller.Name, UID: string(controller.UID)},
		Wanted: upgrade.Unknown,
	}
}

func replicas(n *int32) int {
	if n == nil {
		return 1 // the API's default
	}
	return int(*n)
}
