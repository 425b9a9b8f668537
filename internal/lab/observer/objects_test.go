package observer

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// t0 is when the observations of these tests begin.
var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// A step is what the API server says some seconds after t0.
type step struct {
	seconds float64
	obj     any
	gone    bool
}

func at(seconds float64, obj any) step   { return step{seconds: seconds, obj: obj} }
func gone(seconds float64, obj any) step { return step{seconds: seconds, obj: obj, gone: true} }

func moment(seconds float64) time.Time {
	return t0.Add(time.Duration(seconds * float64(time.Second)))
}

// witness observes from t0, with objs there, until 100 s later.
func witness(t *testing.T, objs []any, steps ...step) Report {
	t.Helper()
	r := newRecorder()
	for _, obj := range objs {
		r.saw(t0, mustFact(t, obj))
	}
	r.begin(t0)
	for _, s := range steps {
		if s.gone {
			r.lost(moment(s.seconds), mustFact(t, s.obj))
		} else {
			r.saw(moment(s.seconds), mustFact(t, s.obj))
		}
	}
	return r.end(moment(100))
}

func mustFact(t *testing.T, obj any) fact {
	t.Helper()
	f, err := factOf(obj)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func with(objs []any, more ...any) []any { return append(append([]any{}, objs...), more...) }

func named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)}
}

func controlledBy(kind, name string) []metav1.OwnerReference {
	return []metav1.OwnerReference{{Kind: kind, Name: name, UID: types.UID(name), Controller: new(true)}}
}

func deployment(name string, replicas int) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: named(name),
		Spec:       appsv1.DeploymentSpec{Replicas: new(int32(replicas))},
	}
}

func replicaSet(name, deployment string) *appsv1.ReplicaSet {
	rs := &appsv1.ReplicaSet{ObjectMeta: named(name)}
	if deployment != "" {
		rs.OwnerReferences = controlledBy("Deployment", deployment)
	}
	return rs
}

func statefulSet(name string, replicas int) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		ObjectMeta: named(name),
		Spec:       appsv1.StatefulSetSpec{Replicas: new(int32(replicas))},
	}
}

func job(name string, conditions ...batchv1.JobConditionType) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: named(name)}
	for _, c := range conditions {
		j.Status.Conditions = append(j.Status.Conditions, batchv1.JobCondition{Type: c, Status: corev1.ConditionTrue})
	}
	return j
}

// newPod is a Ready one of the Deployment web, unless options say otherwise.
func newPod(name, node string, options ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: named(name)}
	p.Labels = map[string]string{"app": "web"}
	p.OwnerReferences = controlledBy("ReplicaSet", "web-rs")
	p.Spec.NodeName = node
	p.Status.Phase = corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	for _, o := range options {
		o(p)
	}
	return p
}

func unready(p *corev1.Pod) {
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}
}

func terminating(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: t0} }

func bare(p *corev1.Pod) { p.OwnerReferences = nil }

func mirror(p *corev1.Pod) {
	bare(p)
	p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
}

func uid(u string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.UID = types.UID(u) } }

func of(kind, name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.OwnerReferences = controlledBy(kind, name) }
}

func app(label string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels = map[string]string{"app": label} }
}

func phase(phase corev1.PodPhase) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		unready(p)
		p.Status.Phase = phase
	}
}

// web is a Deployment whose pods web-0, web-1, … are Ready on node-0, node-1, …
func web(replicas int) []any {
	objs := []any{deployment("web", replicas), replicaSet("web-rs", "web")}
	for i := range replicas {
		objs = append(objs, newPod(fmt.Sprintf("web-%d", i), fmt.Sprintf("node-%d", i)))
	}
	return objs
}

// newPDB selects the pods of web.
func newPDB(name string, spec policyv1.PodDisruptionBudgetSpec) *policyv1.PodDisruptionBudget {
	spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	return &policyv1.PodDisruptionBudget{ObjectMeta: named(name), Spec: spec}
}

func minAvailable(v string) policyv1.PodDisruptionBudgetSpec {
	return policyv1.PodDisruptionBudgetSpec{MinAvailable: new(intstr.Parse(v))}
}

func maxUnavailable(v string) policyv1.PodDisruptionBudgetSpec {
	return policyv1.PodDisruptionBudgetSpec{MaxUnavailable: new(intstr.Parse(v))}
}

func slice(name, service string, ready ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: named(name)}
	s.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	for _, pod := range ready {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Conditions: discoveryv1.EndpointConditions{Ready: new(true)},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", UID: types.UID(pod)},
		})
	}
	return s
}
