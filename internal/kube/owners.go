package kube

import (
	"reflect"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/tools/cache"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// cacheLag is how young a pod may be for its controller to be merely not in the caches yet: each kind is watched on its own, and
// a pod can be seen before what made it.
const cacheLag = 30 * time.Second

// owner is a controller of pods, or of other controllers.
type owner struct {
	upgrade.Workload
	// parent is what controls it itself, zero for nothing. A ReplicaSet that something else controls stands for that.
	parent upgrade.Ref
}

// owners are the controllers in the caches.
type owners struct {
	byName map[kind]map[cache.ObjectName]*owner
	byUID  map[string]*owner
}

// kubernetesKinds are the controllers whose objects are all in the caches, so that a missing one does not exist.
var kubernetesKinds = map[string]string{
	"ReplicaSet": "apps/v1", "StatefulSet": "apps/v1", "DaemonSet": "apps/v1", "ReplicationController": "v1", "Job": "batch/v1",
}

// ownerKinds are the kinds of owners.
var ownerKinds = []kind{deploymentKind, replicaSetKind, statefulSetKind, daemonSetKind, replicationControllerKind, jobKind}

func newOwners() owners {
	o := owners{byName: map[kind]map[cache.ObjectName]*owner{}, byUID: map[string]*owner{}}
	for _, k := range ownerKinds {
		o.byName[k] = map[cache.ObjectName]*owner{}
	}
	return o
}

// update reads again what has changed. It tells whether workloads says something else by now, and returns the UIDs of the controllers whose
// pods belong to something else by now.
func (o *owners) update(caches listers, changed map[kind]names) (counts bool, uids sets.Set[string]) {
	uids = sets.Set[string]{}
	for _, k := range ownerKinds {
		for name := range changed[k] {
			before, now := o.byName[k][name], readOwner(caches, k, name)
			if before != nil && now != nil && reflect.DeepEqual(before, now) {
				continue
			}
			counts = true
			if before == nil || now == nil || before.Ref != now.Ref || before.parent != now.parent {
				uids.Insert(before.uids()...)
				uids.Insert(now.uids()...)
			}
			if before != nil {
				delete(o.byName[k], name)
				delete(o.byUID, before.UID)
			}
			if now != nil {
				o.byName[k][name], o.byUID[now.UID] = now, now
			}
		}
	}
	return counts, uids
}

// uids are those that pods of o may be known by.
func (o *owner) uids() []string {
	switch {
	case o == nil:
		return nil
	case o.parent.IsZero():
		return []string{o.UID}
	}
	return []string{o.UID, o.parent.UID}
}

// readOwner returns nil for what is not there.
func readOwner(caches listers, k kind, name cache.ObjectName) *owner {
	read := func(kind string, m metav1.ObjectMeta, wanted int, minReady int32) *owner {
		return &owner{Workload: ownWorkload(kind, m, wanted, minReady)}
	}
	object, _ := get[any](caches, k, name)
	switch c := object.(type) {
	case *appsv1.Deployment:
		return &owner{Workload: readDeployment(c)}
	case *appsv1.StatefulSet:
		o := read("StatefulSet", c.ObjectMeta, replicas(c.Spec.Replicas), c.Spec.MinReadySeconds)
		o.HeldBack = heldBack(c)
		return o
	case *appsv1.DaemonSet:
		return read("DaemonSet", c.ObjectMeta, int(c.Status.DesiredNumberScheduled), c.Spec.MinReadySeconds)
	case *corev1.ReplicationController:
		return read("ReplicationController", c.ObjectMeta, replicas(c.Spec.Replicas), c.Spec.MinReadySeconds)
	case *batchv1.Job:
		return read("Job", c.ObjectMeta, upgrade.Unknown, 0)
	case *appsv1.ReplicaSet:
		o := read("ReplicaSet", c.ObjectMeta, replicas(c.Spec.Replicas), c.Spec.MinReadySeconds)
		if controller := metav1.GetControllerOf(c); controller != nil {
			o.parent = foreign(c.Namespace, controller).Ref
		}
		return o
	}
	return nil
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
func (o *owners) workloads() map[string]upgrade.Workload {
	all := map[string]upgrade.Workload{}
	for _, one := range o.byUID {
		w := o.topmost(one)
		all[w.UID] = w
	}
	return all
}

// topmost is what controls the owner, or itself.
func (o *owners) topmost(one *owner) upgrade.Workload {
	if one.parent.IsZero() {
		return one.Workload
	}
	if parent, ok := o.byUID[one.parent.UID]; ok {
		return parent.Workload
	}
	return upgrade.Workload{Ref: one.parent, Wanted: upgrade.Unknown}
}

// workload returns what controls the pod. For one that does not exist only its name means anything, and until is when the pod's controller is
// taken not to exist if it has not been seen by then: zero if it has, or need not be seen.
func (o *owners) workload(p *corev1.Pod, controller *metav1.OwnerReference) (w upgrade.Workload, until time.Time) {
	if one, ok := o.byUID[string(controller.UID)]; ok {
		return o.topmost(one), time.Time{}
	}
	w = foreign(p.Namespace, controller)
	if kubernetesKinds[controller.Kind] == controller.APIVersion {
		until = p.CreationTimestamp.Add(cacheLag)
	}
	return w, until
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
