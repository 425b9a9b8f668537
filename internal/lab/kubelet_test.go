package lab_test

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/labtest"
)

func TestKubelets(t *testing.T) {
	c := client(t, labtest.Start(t))
	node := watchNode(t, c, "first")
	createNode(t, c, "first", nil)
	node.until("the first node Ready", nodeReady)

	for name, test := range map[string]func(*testing.T, kubernetes.Interface){
		"a node starts as long as it says":                   nodeStartUp,
		"a node that never starts is not Ready":              nodeNeverReady,
		"a node has the version and the size that it says":   nodeInfo,
		"a pod starts as long as it says":                    podStartUp,
		"a change of a starting pod delays nothing":          podTouched,
		"a pod that never starts runs and is not Ready":      podNeverReady,
		"a pod stops as long as it says, Ready to the end":   podStops,
		"a pod stops at the end of its grace period":         podGrace,
		"a second deletion shortens the grace period":        podGraceShortened,
		"a Job ends when its pod has run as long as it says": jobEnds,
		"a Job's deleted pod is replaced":                    jobPodReplaced,
		"a StatefulSet's pod comes back under its name":      statefulPodReplaced,
		"a DaemonSet's pod runs on a node that never starts": daemonPod,
		"a static pod's mirror runs":                         mirrorPod,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, c)
		})
	}
}

func nodeStartUp(t *testing.T, c kubernetes.Interface) {
	w := watchNode(t, c, "slow")
	createNode(t, c, "slow", map[string]string{lab.AnnotationStartUp: "1500ms"})
	began, _ := w.until("the node", func(watch.Event) bool { return true })
	ready, _ := w.until("the node Ready", nodeReady)
	took(t, "start-up", ready.Sub(began), 1500*time.Millisecond)
	w.until("the node without taints", func(e watch.Event) bool { return len(e.Object.(*corev1.Node).Spec.Taints) == 0 })
}

func nodeNeverReady(t *testing.T, c kubernetes.Interface) {
	w := watchNode(t, c, "never")
	createNode(t, c, "never", map[string]string{lab.AnnotationStartUp: lab.Never})
	// Its second heartbeat, 20 s later, would be the next chance to become Ready.
	w.until("a second heartbeat", func(e watch.Event) bool {
		ready := readyNode(e.Object.(*corev1.Node))
		if ready.Status == corev1.ConditionTrue {
			t.Error("Ready")
		}
		return ready.Status == corev1.ConditionFalse && ready.LastHeartbeatTime.After(ready.LastTransitionTime.Time)
	})
}

func nodeInfo(t *testing.T, c kubernetes.Interface) {
	w := watchNode(t, c, "large")
	createNode(t, c, "large", map[string]string{
		lab.AnnotationKubeletVersion: "v1.34.2-gke.100",
		lab.AnnotationAllocatable:    "cpu=3920m,memory=12Gi,pods=64",
	})
	_, events := w.until("the node Ready", nodeReady)
	status := events[len(events)-1].Object.(*corev1.Node).Status
	if got := status.NodeInfo.KubeletVersion; got != "v1.34.2-gke.100" {
		t.Errorf("kubelet version %s", got)
	}
	for resource, want := range map[corev1.ResourceName]string{"cpu": "3920m", "memory": "12Gi", "pods": "64"} {
		allocatable, capacity := status.Allocatable[resource], status.Capacity[resource]
		if allocatable.String() != want || capacity.String() != want {
			t.Errorf("%s: allocatable %s, capacity %s, want %s", resource, &allocatable, &capacity, want)
		}
	}
}

func podStartUp(t *testing.T, c kubernetes.Interface) {
	w := createPod(t, c, "slow", template(map[string]string{lab.AnnotationStartUp: "1500ms"}, 0))
	began, events := w.until("the pod Running", podRunning)
	pod := events[len(events)-1].Object.(*corev1.Pod)
	if readyPod(pod) || pod.Status.PodIP == "" {
		t.Errorf("a starting pod has an address and is not Ready: %+v", pod.Status)
	}
	ready, _ := w.until("the pod Ready", podReady)
	took(t, "start-up", ready.Sub(began), 1500*time.Millisecond)
}

func podTouched(t *testing.T, c kubernetes.Interface) {
	w := createPod(t, c, "touched", template(map[string]string{lab.AnnotationStartUp: "1500ms"}, 0))
	began, _ := w.until("the pod Running", podRunning)
	for _, value := range []string{"1", "2", "3"} {
		patch := []byte(`{"metadata":{"labels":{"touched":"` + value + `"}}}`)
		if _, err := c.CoreV1().Pods("default").Patch(t.Context(), "touched", "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	ready, _ := w.until("the pod Ready", podReady)
	took(t, "start-up", ready.Sub(began), 1500*time.Millisecond)
}

func podNeverReady(t *testing.T, c kubernetes.Interface) {
	w := createPod(t, c, "never", template(map[string]string{lab.AnnotationStartUp: lab.Never}, 1))
	w.until("the pod Running", podRunning)
	deletePod(t, c, "never", nil)
	_, events := w.until("the pod gone", podGone)
	for _, event := range events {
		if podReady(event) {
			t.Errorf("Ready: %+v", event.Object)
		}
	}
}

func podStops(t *testing.T, c kubernetes.Interface) {
	w := createPod(t, c, "stops", template(map[string]string{lab.AnnotationStop: "1200ms"}, 30))
	w.until("the pod Ready", podReady)
	began := deletePod(t, c, "stops", nil)
	ended, events := w.until("a terminal phase", func(e watch.Event) bool {
		return e.Object.(*corev1.Pod).Status.Phase == corev1.PodSucceeded
	})
	took(t, "stopping", ended.Sub(began), 1200*time.Millisecond)
	for _, event := range events[:len(events)-1] {
		if !podReady(event) {
			t.Errorf("a stopping pod is not Ready: %+v", event.Object)
		}
	}
	w.until("the pod gone", podGone)
}

func podGrace(t *testing.T, c kubernetes.Interface) {
	w := createPod(t, c, "grace", template(nil, 2))
	w.until("the pod Ready", podReady)
	began := deletePod(t, c, "grace", nil)
	gone, _ := w.until("the pod gone", podGone)
	took(t, "stopping", gone.Sub(began), 2*time.Second)
}

func podGraceShortened(t *testing.T, c kubernetes.Interface) {
	w := createPod(t, c, "shortened", template(nil, 600))
	w.until("the pod Ready", podReady)
	deletePod(t, c, "shortened", nil)
	w.until("the pod stopping", func(e watch.Event) bool { return e.Object.(*corev1.Pod).Status.Message != "" })
	began := deletePod(t, c, "shortened", new(int64(1)))
	gone, _ := w.until("the pod gone", podGone)
	took(t, "stopping", gone.Sub(began), time.Second)
}

func deletePod(t *testing.T, c kubernetes.Interface, name string, grace *int64) time.Time {
	t.Helper()
	began := time.Now()
	if err := c.CoreV1().Pods("default").Delete(t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: grace}); err != nil {
		t.Fatal(err)
	}
	return began
}

func createJob(t *testing.T, c kubernetes.Interface, name, runFor string) (pods watching) {
	t.Helper()
	pod := template(map[string]string{lab.AnnotationRunFor: runFor}, 1)
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	pods = watchPods(t, c, "batch.kubernetes.io/job-name="+name)
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: batchv1.JobSpec{Template: pod}}
	if _, err := c.BatchV1().Jobs("default").Create(t.Context(), job, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return pods
}

func watchPods(t *testing.T, c kubernetes.Interface, labels string) watching {
	t.Helper()
	events, err := c.CoreV1().Pods("default").Watch(t.Context(), metav1.ListOptions{LabelSelector: labels})
	return newWatching(t, events, err)
}

func jobEnds(t *testing.T, c kubernetes.Interface) {
	events, err := c.BatchV1().Jobs("default").Watch(t.Context(), one("ends"))
	jobs := newWatching(t, events, err)
	pods := createJob(t, c, "ends", "1500ms")
	began, _ := pods.until("the Job's pod Ready", podReady)
	ended, _ := pods.until("the Job's pod ended", func(e watch.Event) bool {
		return e.Object.(*corev1.Pod).Status.Phase == corev1.PodSucceeded
	})
	took(t, "running", ended.Sub(began), 1500*time.Millisecond)
	jobs.until("the Job complete", func(e watch.Event) bool { return e.Object.(*batchv1.Job).Status.Succeeded == 1 })
}

func jobPodReplaced(t *testing.T, c kubernetes.Interface) {
	pods := createJob(t, c, "replaced", "1h")
	_, events := pods.until("the Job's pod Ready", podReady)
	first := events[len(events)-1].Object.(*corev1.Pod)
	deletePod(t, c, first.Name, nil)
	replacedBy(t, pods, first)
}

// replacedBy waits until a pod is gone and another one Ready, in either order.
func replacedBy(t *testing.T, pods watching, first *corev1.Pod) (second *corev1.Pod) {
	t.Helper()
	gone := false
	pods.until("the pod replaced", func(e watch.Event) bool {
		pod := e.Object.(*corev1.Pod)
		switch {
		case pod.UID == first.UID:
			gone = gone || e.Type == watch.Deleted
		case readyPod(pod):
			second = pod
		}
		return gone && second != nil
	})
	return second
}

func statefulPodReplaced(t *testing.T, c kubernetes.Interface) {
	pod := template(nil, 1)
	pod.Labels["app"] = "stateful"
	pods := watchPods(t, c, "app=stateful")
	set := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "stateful"},
		Spec:       appsv1.StatefulSetSpec{Selector: &metav1.LabelSelector{MatchLabels: pod.Labels}, Template: pod},
	}
	if _, err := c.AppsV1().StatefulSets("default").Create(t.Context(), set, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, events := pods.until("the pod Ready", podReady)
	first := events[len(events)-1].Object.(*corev1.Pod)
	deletePod(t, c, first.Name, nil)
	if second := replacedBy(t, pods, first); second.Name != first.Name {
		t.Errorf("%s was replaced by %s", first.Name, second.Name)
	}
}

func daemonPod(t *testing.T, c kubernetes.Interface) {
	pod := template(nil, 1)
	pod.Labels["app"] = "daemon"
	pod.Spec.NodeSelector = map[string]string{corev1.LabelHostname: "daemon"}
	pod.Spec.HostNetwork = true
	pod.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	pods := watchPods(t, c, "app=daemon")
	set := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "daemon"},
		Spec:       appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: pod.Labels}, Template: pod},
	}
	if _, err := c.AppsV1().DaemonSets("default").Create(t.Context(), set, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	createNode(t, c, "daemon", map[string]string{lab.AnnotationStartUp: lab.Never})
	pods.until("the pod Ready", podReady)
}

func mirrorPod(t *testing.T, c kubernetes.Interface) {
	pod := template(map[string]string{corev1.MirrorPodAnnotationKey: "checksum"}, 1)
	pod.Spec.NodeName = "first"
	createPod(t, c, "mirror-first", pod).until("the pod Ready", podReady)
}
