package session_test

import (
	"context"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"github.com/upshift-k8s/upshift/internal/drain"
	"github.com/upshift-k8s/upshift/internal/kube"
	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/labtest"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// toldWithin is how soon a drain names what holds it.
const toldWithin = 2 * time.Second

// slack is what a kubelet gets after a pod's grace period before the pod counts as stuck.
const slack = 15 * time.Second

// TestWhatHoldsADrainIsNamedSoonAlone measures from the cause, as the API server's own watch shows it to somebody else, to the event.
func TestWhatHoldsADrainIsNamedSoonAlone(t *testing.T) {
	l := labtest.Start(t)
	client, err := kubernetes.NewForConfig(l.DirectConfig(lab.Admin))
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := kube.Watch(t.Context(), l.Config(lab.Upshift), kube.Pools{Label: "pool"})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]func(*held) (cause time.Time, want string){
		"budget": (*held).budgetEdited, "pending": (*held).noNode, "crash": (*held).crashes, "stuck": (*held).doesNotStop,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &held{T: t, client: client, cluster: cluster, name: name, told: make(chan told, 100)}
			cause, want := test(h)
			took := h.until(want).Sub(cause)
			t.Logf("named after %s", took)
			if took > toldWithin {
				t.Errorf("it was named after %s, want %s", took, toldWithin)
			}
		})
	}
}

// held is a drain that something comes to hold.
type held struct {
	*testing.T
	client  kubernetes.Interface
	cluster *kube.Cluster
	name    string
	told    chan told
}

type told struct {
	at      time.Time
	waiting string
}

// budgetEdited: somebody changes the PodDisruptionBudget so that it allows nothing, while a replacement starts.
func (h *held) budgetEdited() (time.Time, string) {
	one := intstr.FromInt32(1)
	budgets := h.client.PolicyV1().PodDisruptionBudgets("default")
	_, err := budgets.Create(h.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: h.name},
		Spec:       policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &one, Selector: h.selector()},
	}, metav1.CreateOptions{})
	h.check(err)
	h.deploy(2, "8s")
	h.node("new")
	h.drain()
	h.first(func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
	_, err = budgets.Patch(h.Context(), h.name, types.MergePatchType, []byte(`{"spec":{"maxUnavailable":0}}`), metav1.PatchOptions{})
	h.check(err)
	return time.Now(), "PodDisruptionBudget default/budget allows no eviction now (maxUnavailable 0"
}

// noNode: the replacement finds no node.
func (h *held) noNode() (time.Time, string) {
	h.deploy(1, "0s")
	h.drain()
	at, p := h.first(func(p *corev1.Pod) bool {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonUnschedulable {
				return true
			}
		}
		return false
	})
	return at, p.Name + ": finds no node"
}

// crashes: the replacement's container does not stay up.
func (h *held) crashes() (time.Time, string) {
	h.deploy(1, "8s")
	h.node("new")
	h.drain()
	_, p := h.first(func(p *corev1.Pod) bool {
		return p.Spec.NodeName == "new-"+h.name && p.Status.Phase == corev1.PodRunning
	})
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "app", Image: "app", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
	}}
	_, err := h.client.CoreV1().Pods("default").UpdateStatus(h.Context(), p, metav1.UpdateOptions{})
	h.check(err)
	return time.Now(), p.Name + ": is not Ready: container app: CrashLoopBackOff"
}

// doesNotStop: nothing stops the pod's containers, as when its kubelet is dead.
func (h *held) doesNotStop() (time.Time, string) {
	h.deploy(1, "0s")
	_, p := h.first(func(*corev1.Pod) bool { return true })
	const late = `{"status":{"message":"stopping within 1s until 2099-01-01T00:00:00.000Z"}}` // what the lab's kubelet goes by
	_, err := h.client.CoreV1().Pods("default").Patch(h.Context(), p.Name, types.MergePatchType, []byte(late), metav1.PatchOptions{}, "status")
	h.check(err)
	h.drain()
	_, p = h.first(func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
	return p.DeletionTimestamp.Add(slack), p.Name + ": should have stopped at "
}

func (h *held) check(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *held) selector() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": h.name}}
}

// node makes a node for the pods of the case.
func (h *held) node(name string) {
	h.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name + "-" + h.name, Labels: map[string]string{"case": h.name}}}
	_, err := h.client.CoreV1().Nodes().Create(h.Context(), node, metav1.CreateOptions{})
	h.check(err)
}

// deploy runs a Deployment of which all pods are on the old node, as the only one there is, and waits until they are Ready.
func (h *held) deploy(replicas int32, startUp string) {
	h.Helper()
	h.node("old")
	grace := int64(1)
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: h.name}, Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: h.selector()}}
	d.Spec.Template.ObjectMeta = metav1.ObjectMeta{
		Labels: map[string]string{"app": h.name}, Annotations: map[string]string{lab.AnnotationStartUp: startUp},
	}
	d.Spec.Template.Spec = corev1.PodSpec{
		NodeSelector: map[string]string{"case": h.name}, TerminationGracePeriodSeconds: &grace, Containers: []corev1.Container{{Name: "app", Image: "app"}},
	}
	deployments := h.client.AppsV1().Deployments("default")
	_, err := deployments.Create(h.Context(), d, metav1.CreateOptions{})
	h.check(err)
	w, err := deployments.Watch(h.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + h.name})
	h.check(err)
	defer w.Stop()
	for e := range w.ResultChan() {
		if d, ok := e.Object.(*appsv1.Deployment); ok && d.Status.ReadyReplicas == replicas {
			return
		}
	}
	h.Fatal("the Deployment does not get ready")
}

// drain cordons the old node and drains it for as long as the test lasts.
func (h *held) drain() {
	h.Helper()
	old := "old-" + h.name
	h.check(h.cluster.Cordon(h.Context(), old, "run"))
	for changed := h.cluster.Changed(); !h.sees(old); changed = h.cluster.Changed() {
		<-changed
	}
	done := make(chan struct{})
	ctx, stop := context.WithCancel(h.Context())
	h.Cleanup(func() {
		stop()
		<-done
	})
	go func() {
		defer close(done)
		_, _ = drain.Nodes(ctx, h.cluster, []drain.Node{{Name: old}}, drain.Options{Timeout: time.Hour, Notify: func(_ string, e upgrade.Event) {
			if e.Kind == upgrade.DrainWaits {
				for _, w := range e.Waiting {
					h.told <- told{time.Now(), w.String()}
				}
			}
		}}) // it ends with the test
	}()
}

// sees tells whether the caches have the node as cordoned, and its pods as Ready.
func (h *held) sees(node string) bool {
	s := h.cluster.State()
	for _, p := range s.Pods {
		if p.Node == node && !p.Ready {
			return false
		}
	}
	for _, n := range s.Nodes {
		if n.Name == node {
			return n.Unschedulable
		}
	}
	return false
}

// first returns a pod of the case as soon as it is so, and when that was seen.
func (h *held) first(is func(*corev1.Pod) bool) (time.Time, *corev1.Pod) {
	h.Helper()
	w, err := h.client.CoreV1().Pods("default").Watch(h.Context(), metav1.ListOptions{LabelSelector: "app=" + h.name})
	h.check(err)
	defer w.Stop()
	for e := range w.ResultChan() {
		if p, ok := e.Object.(*corev1.Pod); ok && is(p) {
			return time.Now(), p
		}
	}
	h.Fatal("no pod is so")
	return time.Time{}, nil
}

// until returns when something with want in it was told.
func (h *held) until(want string) time.Time {
	h.Helper()
	var others []string
	for patience := time.After(time.Minute); ; {
		select {
		case t := <-h.told:
			if strings.Contains(t.waiting, want) {
				return t.at
			}
			others = append(others, t.waiting)
		case <-patience:
			h.Fatalf("%q is not told, but %q", want, others)
		}
	}
}
