package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/workqueue"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/labtest"
)

const (
	largeNodes, largePods = 1000, 10000
	// littleMemory is what the process of a plan may take at its peak.
	littleMemory = 256 << 20
	// largeCluster is the variable that tells the child of the test which kubeconfig to read with.
	largeCluster = "UPSHIFT_TEST_LARGE_CLUSTER"
)

// TestPlanReadsALargeClusterInLittleMemory reads a cluster as a plan does, in a process of its own, and asks Linux for that one's peak.
func TestPlanReadsALargeClusterInLittleMemory(t *testing.T) {
	if kubeconfig := os.Getenv(largeCluster); kubeconfig != "" {
		readAsAPlanDoes(t, kubeconfig)
		return
	}
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("only Linux tells a process's peak")
	}
	l := labtest.Start(t)
	fill(t, l)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := l.WriteKubeconfig(lab.Upshift, kubeconfig); err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	child.Env = append(os.Environ(), largeCluster+"="+kubeconfig)
	out, err := child.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var kilobytes int64
	for line := range strings.Lines(string(out)) {
		if _, peak, ok := strings.Cut(line, "VmHWM:"); ok {
			if _, err := fmt.Sscan(peak, &kilobytes); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("a plan reads %d nodes and %d pods in %d MiB", largeNodes, largePods, kilobytes>>10)
	if kilobytes == 0 || kilobytes<<10 > littleMemory {
		t.Errorf("that is not less than %d MiB:\n%s", littleMemory>>20, out)
	}
}

func readAsAPlanDoes(t *testing.T, kubeconfig string) {
	config, err := ConfigFromFile(kubeconfig, "upshift-test")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Watch(t.Context(), config, Pools{Label: label})
	if err != nil {
		t.Fatal(err)
	}
	s, inv, err := c.Survey(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Nodes) != largeNodes || len(s.Pods) != largePods || len(inv.Pods) != largePods || len(inv.Unread) > 0 {
		t.Fatalf("%d nodes, %d pods, %d shapes of pods, unread %v", len(s.Nodes), len(s.Pods), len(inv.Pods), inv.Unread)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, peak, _ := bytes.Cut(status, []byte("VmHWM:"))
	fmt.Printf("VmHWM:%s\n", bytes.SplitN(peak, []byte("\n"), 2)[0])
}

// fill puts nodes and pods into the lab, as large as they usually are: what a cache must not keep is most of them.
func fill(t *testing.T, l *lab.Lab) {
	t.Helper()
	config := l.DirectConfig(lab.Admin)
	config.QPS, config.ContentType = -1, "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	many := func(n int, create func(context.Context, int) error) {
		var mu sync.Mutex
		var failed error
		workqueue.ParallelizeUntil(t.Context(), 32, n, func(i int) {
			if err := create(t.Context(), i); err != nil {
				mu.Lock()
				failed = errors.Join(failed, err)
				mu.Unlock()
			}
		})
		if failed != nil {
			t.Fatal(failed)
		}
	}
	many(largeNodes, func(ctx context.Context, i int) error {
		_, err := client.CoreV1().Nodes().Create(ctx, largeNode(i), metav1.CreateOptions{})
		return err
	})
	many(largePods, func(ctx context.Context, i int) error {
		_, err := client.CoreV1().Pods("default").Create(ctx, largePod(i), metav1.CreateOptions{})
		return err
	})
}

func largeNode(i int) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("n%d", i), Labels: map[string]string{label: "pool", corev1.LabelTopologyZone: "a"}}}
	for image := range 50 {
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{Names: []string{fmt.Sprintf("registry.example.com/team/image-%d@sha256:%064d", image, i)}, SizeBytes: 1})
	}
	return n
}

func largePod(i int) *corev1.Pod {
	no := false
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("web-%d", i), Labels: map[string]string{"app": fmt.Sprintf("web-%d", i/100), "pod-template-hash": "5d8f9c7b6d"},
			Annotations: map[string]string{"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z", "checksum/config": strings.Repeat("c", 64)},
		},
		Spec: corev1.PodSpec{NodeName: fmt.Sprintf("n%d", i%largeNodes), AutomountServiceAccountToken: &no},
	}
	for _, name := range []string{"app", "proxy"} {
		c := corev1.Container{
			Name: name, Image: "registry.example.com/team/" + name + ":v1.2.3", Args: []string{"--config=/etc/" + name, strings.Repeat("a", 100)},
			Resources:      corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi")}},
			ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/ready"}}}},
			VolumeMounts:   []corev1.VolumeMount{{Name: "config", MountPath: "/etc/" + name}},
		}
		for e := range 20 {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("%s_SETTING_%d", strings.ToUpper(name), e), Value: strings.Repeat("v", 40)})
		}
		p.Spec.Containers = append(p.Spec.Containers, c)
	}
	p.Spec.Volumes = []corev1.Volume{{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "config"}}}}}
	return p
}
