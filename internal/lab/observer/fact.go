package observer

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// A fact is what one version of an object says, cut down to what is judged:
// a pod, an owner, a budget, an endpoints or a node.
type fact any

type pod struct {
	object
	node        string
	labels      labels.Set
	controller  object // zero for a bare pod
	phase       corev1.PodPhase
	ready       bool
	terminating bool
	mirror      bool
}

// An owner controls pods, itself or through a ReplicaSet.
type owner struct {
	object
	controller object // a ReplicaSet's Deployment
	scales     bool   // it wants replicas pods
	replicas   int
	closed     bool // a Job that is finished, suspended or being deleted
}

type budget struct {
	object
	spec     policyv1.PodDisruptionBudgetSpec
	selector labels.Selector
}

// endpoints are those that one EndpointSlice says are ready, by their pods.
type endpoints struct {
	object
	service string
	ready   []types.UID
}

// An object is what names it.
type object struct {
	uid             types.UID
	kind            string
	namespace, name string
}

func (o object) String() string { return o.namespace + "/" + o.name }

// healthy is what PDBs count.
func (p pod) healthy() bool { return p.ready && !p.terminating }

func (p pod) finished() bool {
	return p.phase == corev1.PodSucceeded || p.phase == corev1.PodFailed
}

func factOf(obj any) (fact, error) {
	switch o := obj.(type) {
	case *corev1.Pod:
		return podOf(o), nil
	case *appsv1.Deployment:
		return ownerOf("Deployment", o, o.Spec.Replicas), nil
	case *appsv1.StatefulSet:
		return ownerOf("StatefulSet", o, o.Spec.Replicas), nil
	case *appsv1.ReplicaSet:
		return ownerOf("ReplicaSet", o, o.Spec.Replicas), nil
	case *batchv1.Job:
		return owner{object: objectOf("Job", o), closed: jobClosed(o)}, nil
	case *policyv1.PodDisruptionBudget:
		selector, err := metav1.LabelSelectorAsSelector(o.Spec.Selector)
		if err != nil {
			return nil, fmt.Errorf("read the selector of PDB %s/%s: %w", o.Namespace, o.Name, err)
		}
		return budget{object: objectOf("PDB", o), spec: o.Spec, selector: selector}, nil
	case *discoveryv1.EndpointSlice:
		return endpointsOf(o), nil
	case *corev1.Node:
		return node{object: objectOf("Node", o), labels: o.Labels, cordoned: o.Spec.Unschedulable}, nil
	}
	return nil, fmt.Errorf("unexpected object %T", obj)
}

func objectOf(kind string, m metav1.Object) object {
	return object{uid: m.GetUID(), kind: kind, namespace: m.GetNamespace(), name: m.GetName()}
}

func controllerOf(m metav1.Object) object {
	if c := metav1.GetControllerOfNoCopy(m); c != nil {
		return object{uid: c.UID, kind: c.Kind, namespace: m.GetNamespace(), name: c.Name}
	}
	return object{}
}

func podOf(p *corev1.Pod) pod {
	_, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]
	out := pod{
		object:      objectOf("Pod", p),
		node:        p.Spec.NodeName,
		labels:      p.Labels,
		controller:  controllerOf(p),
		phase:       p.Status.Phase,
		terminating: p.DeletionTimestamp != nil,
		mirror:      mirror,
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			out.ready = c.Status == corev1.ConditionTrue
		}
	}
	return out
}

func ownerOf(kind string, m metav1.Object, replicas *int32) owner {
	o := owner{object: objectOf(kind, m), controller: controllerOf(m), scales: true, replicas: 1}
	if replicas != nil {
		o.replicas = int(*replicas)
	}
	return o
}

// jobClosed reports whether the Job's own end explains that its pods go.
func jobClosed(j *batchv1.Job) bool {
	if j.DeletionTimestamp != nil || j.Spec.Suspend != nil && *j.Spec.Suspend {
		return true
	}
	for _, c := range j.Status.Conditions {
		switch c.Type {
		case batchv1.JobComplete, batchv1.JobFailed, batchv1.JobSuccessCriteriaMet, batchv1.JobFailureTarget:
			if c.Status == corev1.ConditionTrue {
				return true
			}
		}
	}
	return false
}

func endpointsOf(s *discoveryv1.EndpointSlice) endpoints {
	out := endpoints{object: objectOf("EndpointSlice", s), service: s.Labels[discoveryv1.LabelServiceName]}
	for _, e := range s.Endpoints {
		// A nil condition means ready; endpoints that are no pods do not move.
		if r := e.Conditions.Ready; e.TargetRef != nil && e.TargetRef.Kind == "Pod" && (r == nil || *r) {
			out.ready = append(out.ready, e.TargetRef.UID)
		}
	}
	return out
}
