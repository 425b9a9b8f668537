package lab_test

import (
	"context"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/labtest"
)

// late is how much later than announced something may be seen to happen on a busy machine, early how much earlier: what was
// announced and what happened reach a test with different delays.
const (
	late  = 700 * time.Millisecond
	early = 100 * time.Millisecond
)

func client(t *testing.T, l *lab.Lab) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(l.DirectConfig(lab.Admin))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// watching follows one object from now on.
type watching struct {
	t      *testing.T
	events watch.Interface
}

func watchPod(t *testing.T, c kubernetes.Interface, name string) watching {
	t.Helper()
	events, err := c.CoreV1().Pods("default").Watch(t.Context(), one(name))
	return newWatching(t, events, err)
}

func watchNode(t *testing.T, c kubernetes.Interface, name string) watching {
	t.Helper()
	events, err := c.CoreV1().Nodes().Watch(t.Context(), one(name))
	return newWatching(t, events, err)
}

func one(name string) metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()}
}

func newWatching(t *testing.T, events watch.Interface, err error) watching {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(events.Stop)
	return watching{t, events}
}

// until returns when the first event that matches arrives, and all events up to it.
func (w watching) until(what string, matches func(watch.Event) bool) (time.Time, []watch.Event) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	var seen []watch.Event
	for {
		select {
		case event, open := <-w.events.ResultChan():
			if !open {
				w.t.Fatalf("the watch ended before: %s", what)
			}
			seen = append(seen, event)
			if matches(event) {
				return time.Now(), seen
			}
		case <-ctx.Done():
			w.t.Fatalf("never seen in 30 s: %s; seen: %+v", what, seen)
		}
	}
}

func podReady(event watch.Event) bool { return readyPod(event.Object.(*corev1.Pod)) }

func podRunning(event watch.Event) bool {
	return event.Object.(*corev1.Pod).Status.Phase == corev1.PodRunning
}

func podGone(event watch.Event) bool { return event.Type == watch.Deleted }

func readyPod(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func nodeReady(event watch.Event) bool {
	return readyNode(event.Object.(*corev1.Node)).Status == corev1.ConditionTrue
}

// readyNode is the node's Ready condition, zero as long as it has none.
func readyNode(node *corev1.Node) corev1.NodeCondition {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c
		}
	}
	return corev1.NodeCondition{}
}

func createNode(t *testing.T, c kubernetes.Interface, name string, annotations map[string]string) {
	t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations, Labels: map[string]string{corev1.LabelHostname: name}}}
	if _, err := c.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func template(annotations map[string]string, grace int64) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Annotations: annotations, Labels: map[string]string{"app": "test"}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Containers:                    []corev1.Container{{Name: "main", Image: "main"}},
		},
	}
}

func createPod(t *testing.T, c kubernetes.Interface, name string, template corev1.PodTemplateSpec) watching {
	t.Helper()
	w := watchPod(t, c, name)
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	pod.Name = name
	if _, err := c.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return w
}

func took(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if got < want-early || got > want+late {
		t.Errorf("%s took %s, want %s", what, got, want)
	}
}

func TestLabIsReadyInTenSeconds(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the lab")
	}
	if _, err := lab.Binary(t.Context(), t.Output()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	l := labtest.Start(t)
	if ready := time.Since(began); ready > 10*time.Second {
		t.Errorf("ready after %s", ready)
	}
	nodes, err := client(t, l).CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(nodes.Items) > 0 {
		t.Errorf("a new lab has nodes: %v", nodes.Items)
	}
}
