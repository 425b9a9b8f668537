package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
)

// A cluster that people run themselves, as kubeadm makes it.
const (
	// OwnLabel is the label of its nodes that names their pool, and OwnVersion what it runs.
	OwnLabel   = "example.com/pool"
	OwnVersion = "1.33.5"
)

// OwnOptions say what such a cluster is like.
type OwnOptions struct {
	// Servers is how many nodes its control plane has, and Workers how many its pool "workers" has.
	Servers, Workers int
	// Version is that of the control plane, and NodeVersion that of the workers; empty: OwnVersion.
	Version, NodeVersion string
	// Hidden leaves out the nodes of the control plane, as where somebody else runs it.
	Hidden   bool
	Progress io.Writer
}

// Own is a cluster that people run themselves, and what they do to it. There is a GKE emulator too, which has no cluster and only counts calls.
type Own struct {
	*Testbed
	// servers are the versions of the API servers by their nodes.
	servers map[string]string
}

// StartOwn boots such a cluster. Its nodes are cp-1, cp-2, … and worker-1, worker-2, ….
func StartOwn(ctx context.Context, o OwnOptions) (_ *Own, err error) {
	if o.Version == "" {
		o.Version = OwnVersion
	}
	if o.NodeVersion == "" {
		o.NodeVersion = OwnVersion
	}
	l, err := lab.Start(ctx, lab.Options{Version: "v" + o.Version, Progress: o.Progress})
	if err != nil {
		return nil, err
	}
	b := &Own{Testbed: &Testbed{Lab: l, bin: filepath.Join(l.Dir(), "bin")}, servers: map[string]string{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	if err := b.files(ctx, Options{Progress: o.Progress}); err != nil {
		return nil, err
	}
	if b.Kube, err = kubernetes.NewForConfig(l.DirectConfig(lab.Admin)); err != nil {
		return nil, fmt.Errorf("connect to the lab: %w", err)
	}
	if b.GKE, err = gkeemu.Start(ctx, gkeemu.Options{Log: slog.New(slog.DiscardHandler)}); err != nil {
		return nil, err
	}
	if err := l.WriteKubeconfig(lab.Upshift, b.OwnKubeconfig()); err != nil {
		return nil, err
	}
	if _, err := b.Kubectl(ctx, "", "create", "namespace", Namespace); err != nil {
		return nil, err
	}
	for i := range o.Servers {
		if o.Hidden {
			break
		}
		if err := b.addServer(ctx, fmt.Sprintf("cp-%d", i+1), o.Version); err != nil {
			return nil, err
		}
	}
	if err := b.Join(ctx, "workers", "worker", o.Workers, o.NodeVersion); err != nil {
		return nil, err
	}
	return b, nil
}

// OwnKubeconfig is the path of a kubeconfig for Upshift.
func (b *Own) OwnKubeconfig() string { return filepath.Join(b.Lab.Dir(), "upshift.kubeconfig") }

// Join has so many machines join a pool, and waits until they are Ready.
func (b *Own) Join(ctx context.Context, pool, prefix string, n int, version string) error {
	for i := range n {
		if err := b.addNode(ctx, fmt.Sprintf("%s-%d", prefix, i+1), version, map[string]string{OwnLabel: pool}, nil); err != nil {
			return err
		}
	}
	_, err := b.Kubectl(ctx, "", "wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")
	return err
}

func (b *Own) addNode(ctx context.Context, name, version string, labels map[string]string, taints []corev1.Taint) error {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"},
			Annotations: map[string]string{lab.AnnotationKubeletVersion: "v" + version, lab.AnnotationStartUp: "500ms"},
		},
		Spec: corev1.NodeSpec{Taints: taints},
	}
	maps.Copy(node.Labels, labels)
	if _, err := b.Kube.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create node %s: %w", name, err)
	}
	return nil
}

// addServer adds a node of the control plane, with its API server and its member of etcd.
func (b *Own) addServer(ctx context.Context, name, version string) error {
	const role = "node-role.kubernetes.io/control-plane"
	if err := b.addNode(ctx, name, version, map[string]string{role: ""}, []corev1.Taint{{Key: role, Effect: corev1.TaintEffectNoSchedule}}); err != nil {
		return err
	}
	if err := b.static(ctx, "etcd", name, "registry.k8s.io/etcd:3.6.4-0", true); err != nil {
		return err
	}
	return b.UpgradeServer(ctx, name, version)
}

// UpgradeServer has the API server of a node of the control plane run a version. /version answers with the lowest of all, as the unluckiest answer of a
// balancer would.
func (b *Own) UpgradeServer(ctx context.Context, node, version string) error {
	if err := b.static(ctx, "kube-apiserver", node, "registry.k8s.io/kube-apiserver:v"+version, true); err != nil {
		return err
	}
	b.servers[node] = version
	lowest := version
	for _, v := range b.servers {
		lowest = min(lowest, v) // they differ in digits that are as many
	}
	b.Lab.Proxy().SetVersion("v" + lowest)
	return nil
}

// SetEtcd says whether the member of etcd on a node is Ready.
func (b *Own) SetEtcd(ctx context.Context, node string, ready bool) error {
	return b.static(ctx, "etcd", node, "registry.k8s.io/etcd:3.6.4-0", ready)
}

// static makes the static pod of a component anew, as a kubelet does when its manifest has changed.
func (b *Own) static(ctx context.Context, component, node, image string, ready bool) error {
	pods, name := b.Kube.CoreV1().Pods(metav1.NamespaceSystem), component+"-"+node
	if err := pods.Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("end pod %s: %w", name, err)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{"component": component, "tier": "control-plane"},
			Annotations: map[string]string{corev1.MirrorPodAnnotationKey: component},
		},
		Spec: corev1.PodSpec{
			NodeName: node, HostNetwork: true, PriorityClassName: "system-node-critical", Containers: []corev1.Container{{Name: component, Image: image}},
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		},
	}
	if !ready {
		pod.Annotations[lab.AnnotationStartUp] = lab.Never
	}
	if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("make pod %s: %w", name, err)
	}
	return nil
}

// UpgradeNode has a node's kubelet stop and come back at a version, a moment later.
func (b *Own) UpgradeNode(ctx context.Context, name, version string) error {
	nodes := b.Kube.CoreV1().Nodes()
	annotation := fmt.Sprintf(`{"metadata":{"annotations":{%q:"v%s"}}}`, lab.AnnotationKubeletVersion, version)
	if _, err := nodes.Patch(ctx, name, types.MergePatchType, []byte(annotation), metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("upgrade node %s: %w", name, err)
	}
	// A kubelet that has not been heard of is started anew by the lab, which reads the annotations then.
	const silent = `{"status":{"conditions":[{"type":"Ready","status":"Unknown","reason":"NodeStatusUnknown","message":"Kubelet stopped posting node status."}]}}`
	if _, err := nodes.Patch(ctx, name, types.StrategicMergePatchType, []byte(silent), metav1.PatchOptions{}, "status"); err != nil {
		return fmt.Errorf("stop the kubelet of node %s: %w", name, err)
	}
	return nil
}

// ReplaceNode has a machine go, with all that is on it, and another one join in its pool.
func (b *Own) ReplaceNode(ctx context.Context, old, name, version string) error {
	node, err := b.Kube.CoreV1().Nodes().Get(ctx, old, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("look at node %s: %w", old, err)
	}
	if err := b.Remove(ctx, old); err != nil {
		return err
	}
	return b.addNode(ctx, name, version, map[string]string{OwnLabel: node.Labels[OwnLabel]}, nil)
}

// Remove has a machine go, with all that is on it.
func (b *Own) Remove(ctx context.Context, name string) error {
	if err := b.Kube.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("delete node %s: %w", name, err)
	}
	pods, err := b.Kube.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", name).String()})
	if err != nil {
		return fmt.Errorf("list the pods of node %s: %w", name, err)
	}
	for _, p := range pods.Items {
		err := b.Kube.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("end pod %s: %w", p.Name, err)
		}
	}
	return nil
}

// Env leads Upshift to the cluster.
func (b *Own) Env() []string {
	return append(b.GKE.Env(), "KUBECONFIG="+b.OwnKubeconfig(), "INPUT_PROVIDER=self-managed", "INPUT_POOL-LABEL="+OwnLabel, "INPUT_CLUSTER=own",
		"INPUT_TARGET-VERSION=1.34.2", "INPUT_PROJECT=", "INPUT_LOCATION=", "INPUT_NODE-POOLS=")
}
