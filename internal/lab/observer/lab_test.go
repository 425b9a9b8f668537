package observer_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/labtest"
	"github.com/upshift-k8s/upshift/internal/lab/observer"
)

const (
	startUp = 3 * time.Second
	stop    = time.Second
)

func TestOnARealControlPlane(t *testing.T) {
	l := labtest.Start(t)
	c := clientFor(t, l, lab.Admin)
	create(t, c)
	t.Run("pods evicted one by one", func(t *testing.T) { evictAll(t, c, clientFor(t, l, lab.Observer)) })
	t.Run("two pods deleted at once", func(t *testing.T) { deleteTwo(t, c, clientFor(t, l, lab.Observer)) })
}

func evictAll(t *testing.T, c, own kubernetes.Interface) {
	old := readyPods(t, c, nil)
	o := start(t, own)
	for _, pod := range old {
		evict(t, c, pod)
	}
	readyPods(t, c, old)
	got := o.Stop()

	want := observer.Report{
		Violations: []observer.Violation{}, BarePodsLost: []string{}, JobPodsInterrupted: []string{},
		Workloads: []observer.Workload{{Kind: "Deployment", Namespace: "default", Name: "web", Measured: true, Wanted: 3, LeastReady: 2}},
		PDBs:      []observer.PDB{{Namespace: "default", Name: "web", Measured: true, Floor: 2, LeastHealthy: 2}},
	}
	// Where replacements come up is the scheduler's choice.
	if diff := cmp.Diff(want, got, free("PodsMoved", "PodsMovedAgain", "Services"), freeWorkload("Moved", "MovedAgain")); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	below := got.Workloads[0].BelowWantedSeconds
	if least := 3 * startUp.Seconds(); below < least-0.1 || below > got.DurationSeconds {
		t.Errorf("below wanted for %v s of %v s, want three start-ups: %v s or a little more", below, got.DurationSeconds, least)
	}
}

func deleteTwo(t *testing.T, c, own kubernetes.Interface) {
	old := readyPods(t, c, nil)
	victims := old[:2]
	for _, pod := range victims { // their replacements go elsewhere
		cordon(t, c, pod.Spec.NodeName)
	}
	o := start(t, own)
	for _, pod := range victims {
		if err := c.CoreV1().Pods("default").Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	readyPods(t, c, victims)
	got := o.Stop()

	want := observer.Report{
		PodsMoved: 2,
		Violations: []observer.Violation{
			{Pod: "default/" + victims[1].Name, Node: victims[1].Spec.NodeName, PDB: "default/web", Healthy: 1, Floor: 2},
		},
		BarePodsLost: []string{}, JobPodsInterrupted: []string{},
		Workloads: []observer.Workload{{Kind: "Deployment", Namespace: "default", Name: "web", Moved: 2, Measured: true, Wanted: 3, LeastReady: 1}},
		PDBs:      []observer.PDB{{Namespace: "default", Name: "web", Measured: true, Floor: 2, LeastHealthy: 1, Violations: 1}},
		Services:  []observer.Service{{Namespace: "default", Name: "web", MostReady: 3, LeastReady: 1}},
	}
	if diff := cmp.Diff(want, got, free(), freeWorkload()); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if under := got.UnderFloorSeconds(); under < startUp.Seconds()-0.5 || under > got.DurationSeconds {
		t.Errorf("under the floor for %v s of %v s, want about the start-up: %s", under, got.DurationSeconds, startUp)
	}
}

// free are the fields that depend on the machine's speed, and others.
func free(fields ...string) cmp.Option {
	return cmp.Options{
		cmpopts.IgnoreFields(observer.Report{}, append(fields, "Start", "DurationSeconds")...),
		cmpopts.IgnoreFields(observer.Violation{}, "At"),
		cmpopts.IgnoreFields(observer.PDB{}, "UnderFloorSeconds"),
	}
}

func freeWorkload(fields ...string) cmp.Option {
	return cmpopts.IgnoreFields(observer.Workload{}, append(fields, "BelowWantedSeconds")...)
}

func clientFor(t *testing.T, l *lab.Lab, user string) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(l.DirectConfig(user))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func start(t *testing.T, c kubernetes.Interface) *observer.Observer {
	t.Helper()
	o, err := observer.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// create makes three nodes, and a Deployment of three with a PDB and a Service.
func create(t *testing.T, c kubernetes.Interface) {
	t.Helper()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	opts, labels := metav1.CreateOptions{}, map[string]string{"app": "web"}
	web := metav1.ObjectMeta{Name: "web"}
	selector := &metav1.LabelSelector{MatchLabels: labels}
	for i := range 3 {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%d", i)}}
		must(c.CoreV1().Nodes().Create(t.Context(), node, opts))
	}
	must(c.PolicyV1().PodDisruptionBudgets("default").Create(t.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: web,
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: new(intstr.FromInt32(2)), Selector: selector},
	}, opts))
	must(c.CoreV1().Services("default").Create(t.Context(), &corev1.Service{
		ObjectMeta: web,
		Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 80}}},
	}, opts))
	must(c.AppsV1().Deployments("default").Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: web,
		Spec: appsv1.DeploymentSpec{Replicas: new(int32(3)), Selector: selector, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: map[string]string{
				lab.AnnotationStartUp: startUp.String(), lab.AnnotationStop: stop.String(),
			}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "main"}}},
		}},
	}, opts))
}

// readyPods waits until three pods are Ready, none of them among old, and all
// of their endpoints with them.
func readyPods(t *testing.T, c kubernetes.Interface, old []*corev1.Pod) []*corev1.Pod {
	t.Helper()
	except := map[types.UID]bool{}
	for _, pod := range old {
		except[pod.UID] = true
	}
	ready := map[types.UID]*corev1.Pod{}
	until(t, c.CoreV1().Pods("default"), func(e watch.Event) bool {
		pod := e.Object.(*corev1.Pod)
		delete(ready, pod.UID)
		if e.Type != watch.Deleted && pod.DeletionTimestamp == nil && isReady(pod) && !except[pod.UID] {
			ready[pod.UID] = pod
		}
		return len(ready) == 3
	})
	until(t, c.DiscoveryV1().EndpointSlices("default"), func(e watch.Event) bool {
		served := 0
		for _, endpoint := range e.Object.(*discoveryv1.EndpointSlice).Endpoints {
			if endpoint.TargetRef != nil && ready[endpoint.TargetRef.UID] != nil && *endpoint.Conditions.Ready {
				served++
			}
		}
		return served == 3
	})
	return slices.Collect(maps.Values(ready))
}

func isReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// evict asks again whenever the PDB allows a disruption, until it is granted.
func evict(t *testing.T, c kubernetes.Interface, pod *corev1.Pod) {
	t.Helper()
	until(t, c.PolicyV1().PodDisruptionBudgets("default"), func(e watch.Event) bool {
		if e.Object.(*policyv1.PodDisruptionBudget).Status.DisruptionsAllowed == 0 {
			return false
		}
		err := c.CoreV1().Pods("default").EvictV1(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod.Name}})
		if err != nil && !apierrors.IsTooManyRequests(err) {
			t.Fatal(err)
		}
		return err == nil
	})
}

func cordon(t *testing.T, c kubernetes.Interface, node string) {
	t.Helper()
	_, err := c.CoreV1().Nodes().Patch(t.Context(), node, types.MergePatchType,
		[]byte(`{"spec":{"unschedulable":true}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

type watcher interface {
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// until watches, what is there first, until an event is the awaited one.
func until(t *testing.T, w watcher, awaited func(watch.Event) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	events, err := w.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Stop()
	for e := range events.ResultChan() {
		if e.Type == watch.Error {
			t.Fatal(apierrors.FromObject(e.Object))
		}
		if awaited(e) {
			return
		}
	}
	t.Fatalf("%T: not seen within a minute", w)
}
