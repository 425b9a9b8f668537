package gkeemu

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"

	"github.com/upshift-k8s/upshift/internal/lab"
)

// poolLabel is how GKE marks the nodes of a pool.
const poolLabel = "cloud.google.com/gke-nodepool"

// newNodes are the nodes that a new pool begins with, initial_node_count in each zone, the zones in turn. What nodes are made from only
// changes in operations, of which there is one at a time, so this needs no lock.
func (p *pool) newNodes() []*corev1.Node {
	var nodes []*corev1.Node
	taken := map[string]bool{}
	startUps := strings.Split(p.startUp, ",")
	for range p.pb.GetInitialNodeCount() {
		for _, g := range p.groups {
			name := nodeName(g.name)
			for taken[name] {
				name = nodeName(g.name)
			}
			taken[name] = true
			nodes = append(nodes, p.node(name, g.zone, p.pb.GetVersion(), startUps[len(nodes)%len(startUps)]))
		}
	}
	return nodes
}

// node looks as GKE's do.
func (p *pool) node(name, zone, version, startUp string) *corev1.Node {
	config := p.pb.GetConfig()
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:   name,
			Labels: p.labels(name, zone),
			Annotations: map[string]string{
				"volumes.kubernetes.io/controller-managed-attach-detach": "true", // the kubelet's own word for leaving volumes to the controller
				lab.AnnotationKubeletVersion:                             "v" + version,
				lab.AnnotationAllocatable:                                allocatable(config, p.pb.GetMaxPodsConstraint().GetMaxPodsPerNode()),
			},
		},
		Spec: corev1.NodeSpec{
			ProviderID: fmt.Sprintf("gce://%s/%s/%s", p.cluster.spec.Project, zone, name),
		},
	}
	if startUp != "" {
		node.Annotations[lab.AnnotationStartUp] = startUp
	}
	for _, t := range config.GetTaints() {
		node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{Key: t.GetKey(), Value: t.GetValue(), Effect: taintEffects[t.GetEffect()]})
	}
	return node
}

var taintEffects = map[containerpb.NodeTaint_Effect]corev1.TaintEffect{
	containerpb.NodeTaint_NO_SCHEDULE:        corev1.TaintEffectNoSchedule,
	containerpb.NodeTaint_PREFER_NO_SCHEDULE: corev1.TaintEffectPreferNoSchedule,
	containerpb.NodeTaint_NO_EXECUTE:         corev1.TaintEffectNoExecute,
}

func (p *pool) labels(name, zone string) map[string]string {
	config := p.pb.GetConfig()
	family, _, _ := strings.Cut(config.GetMachineType(), "-")
	os, _, _ := strings.Cut(strings.ToLower(config.GetImageType()), "_")
	labels := map[string]string{
		"kubernetes.io/arch":                     "amd64",
		"kubernetes.io/hostname":                 name,
		"kubernetes.io/os":                       "linux",
		"node.kubernetes.io/instance-type":       config.GetMachineType(),
		"topology.kubernetes.io/region":          region(zone),
		"topology.kubernetes.io/zone":            zone,
		"topology.gke.io/zone":                   zone,
		poolLabel:                                p.pb.GetName(),
		"cloud.google.com/gke-boot-disk":         config.GetDiskType(),
		"cloud.google.com/gke-container-runtime": "containerd",
		"cloud.google.com/gke-max-pods-per-node": strconv.FormatInt(p.pb.GetMaxPodsConstraint().GetMaxPodsPerNode(), 10),
		"cloud.google.com/gke-os-distribution":   os,
		"cloud.google.com/gke-provisioning":      "standard",
		"cloud.google.com/machine-family":        family,
	}
	if config.GetSpot() {
		labels["cloud.google.com/gke-spot"] = "true"
		labels["cloud.google.com/gke-provisioning"] = "spot"
	}
	for _, a := range config.GetAccelerators() {
		labels["cloud.google.com/gke-accelerator"] = a.GetAcceleratorType()
	}
	for k, v := range config.GetLabels() {
		labels[k] = v
	}
	return labels
}

// allocatable is what a machine type such as "n2-highmem-8" has, and its GPUs. Nothing is kept back for the system, as on GKE it would be.
func allocatable(config *containerpb.NodeConfig, maxPods int64) string {
	cpu, memory := 2.0, 4.0 // e2-medium
	parts := strings.Split(config.GetMachineType(), "-")
	if n, err := strconv.ParseFloat(parts[len(parts)-1], 64); err == nil && len(parts) == 3 {
		perCPU := map[string]float64{"standard": 4, "highmem": 8, "highcpu": 1}[parts[1]]
		if perCPU > 0 {
			cpu, memory = n, n*perCPU
		}
	}
	all := fmt.Sprintf("cpu=%g,memory=%gGi,pods=%d", cpu, memory, maxPods)
	for _, a := range config.GetAccelerators() {
		all += fmt.Sprintf(",nvidia.com/gpu=%d", a.GetAcceleratorCount())
	}
	return all
}

func (p *pool) createNode(ctx context.Context, node *corev1.Node) error {
	if _, err := p.cluster.spec.Kube.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create node %s: %w", node.Name, err)
	}
	return nil
}

// listNodes finds the pool's nodes by their label, so that nodes which joined later are among them.
func (p *pool) listNodes(ctx context.Context) ([]corev1.Node, error) {
	nodes, err := p.cluster.spec.Kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: poolLabel + "=" + p.pb.GetName()})
	if err != nil {
		return nil, fmt.Errorf("list the nodes of pool %s: %w", p.pb.GetName(), err)
	}
	return nodes.Items, nil
}

// deleteNode makes a machine vanish: its Node first, so that nothing more is scheduled to it, then its pods without any grace.
// It returns the pods that were still of use, even when it fails half-way, with why they were killed.
func (p *pool) deleteNode(ctx context.Context, name, reason string) ([]PodKilled, error) {
	kube := p.cluster.spec.Kube.CoreV1()
	if err := kube.Nodes().Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("delete node %s: %w", name, err)
	}
	pods, err := p.podsOn(ctx, name)
	if err != nil {
		return nil, err
	}
	var killed []PodKilled
	for _, pod := range pods {
		this, err := p.kill(ctx, &pod, reason)
		killed = append(killed, this...)
		if err != nil {
			return killed, err
		}
	}
	return killed, nil
}

// kill ends a pod without any grace, and returns it if it was of use and not gone already.
func (p *pool) kill(ctx context.Context, pod *corev1.Pod, reason string) ([]PodKilled, error) {
	atOnce := metav1.DeleteOptions{GracePeriodSeconds: new(int64), Preconditions: metav1.NewUIDPreconditions(string(pod.UID))}
	err := p.cluster.spec.Kube.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, atOnce)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil, nil // gone meanwhile
	}
	if err != nil {
		return nil, fmt.Errorf("kill pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	if !ofUse(pod) {
		return nil, nil
	}
	return []PodKilled{{Time: time.Now(), Namespace: pod.Namespace, Name: pod.Name, Node: pod.Spec.NodeName, Reason: reason}}, nil
}

func (p *pool) podsOn(ctx context.Context, node string) ([]corev1.Pod, error) {
	pods, err := p.cluster.spec.Kube.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String()})
	if err != nil {
		return nil, fmt.Errorf("list the pods of node %s: %w", node, err)
	}
	// client-go's fake does not know field selectors
	return slices.DeleteFunc(pods.Items, func(pod corev1.Pod) bool { return pod.Spec.NodeName != node }), nil
}

func (p *pool) nodeReady(ctx context.Context, name string) (bool, error) {
	node, err := p.cluster.spec.Kube.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return false, fmt.Errorf("look at node %s: %w", name, err)
	}
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	}), nil
}

// cordon makes a node unschedulable, or schedulable again.
func (w *nodeWork) cordon(ctx context.Context, name string, on bool) error {
	patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, on)
	if _, err := w.pool.cluster.spec.Kube.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("cordon node %s: %w", name, err)
	}
	return nil
}

func zoneOf(node *corev1.Node) string { return node.Labels[corev1.LabelTopologyZone] }

// ofUse is false for pods that may go with their node.
func ofUse(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOf(pod)
	_, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]
	finished := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	return !mirror && !finished && (owner == nil || owner.Kind != "DaemonSet")
}
