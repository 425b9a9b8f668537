package session_test

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-helpers/resource"
	scheduling "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// nodeFor is where the i-th pod of a workload runs: where it is told to, or where it is scheduled.
func (w *world) nodeFor(p *corev1.Pod, told condition, i int) *corev1.Node {
	if len(told.on) == 0 {
		return w.schedule(p)
	}
	name := told.on[i%len(told.on)]
	for _, n := range w.nodes {
		if n.Name == name {
			return n
		}
	}
	w.t.Fatalf("pods: there is no node %s for pod %s/%s", name, p.Namespace, p.Name)
	return nil
}

// schedule finds a node for the pod, much as the scheduler would: pods that are alike spread over zones, then nodes, and then the emptiest
// counts. A fixture whose pods do not fit is none.
func (w *world) schedule(p *corev1.Pod) *corev1.Node {
	var best *corev1.Node
	var least [3]int64
	why := map[string]int{}
	for _, n := range w.nodes {
		if reason := w.unfit(p, n); reason != "" {
			why[reason]++
			continue
		}
		if n.Spec.Unschedulable {
			why["cordoned"]++
			continue
		}
		load := w.load(p, n)
		if best == nil || slices.Compare(load[:], least[:]) < 0 {
			best, least = n, load
		}
	}
	if best == nil {
		w.t.Fatalf("pod %s/%s finds no node: %v", p.Namespace, p.Name, why)
	}
	return best
}

// load is how many pods like p the node's zone and the node have, and how many thousandths of its cores are asked for.
func (w *world) load(p *corev1.Pod, n *corev1.Node) (load [3]int64) {
	zones := map[string]string{}
	for _, n := range w.nodes {
		zones[n.Name] = n.Labels[corev1.LabelTopologyZone]
	}
	for _, other := range w.pods {
		if metav1.GetControllerOf(other) != nil && metav1.GetControllerOf(p) != nil && metav1.GetControllerOf(other).UID == metav1.GetControllerOf(p).UID {
			if zones[other.Spec.NodeName] == zones[n.Name] {
				load[0]++
			}
			if other.Spec.NodeName == n.Name {
				load[1]++
			}
		}
	}
	load[2] = w.requested(n)[corev1.ResourceCPU] * 1000 / cmp.Or(n.Status.Allocatable.Cpu().MilliValue(), 1)
	return load
}

// requested is what the node's pods ask for, in thousandths.
func (w *world) requested(n *corev1.Node) map[corev1.ResourceName]int64 {
	sum := map[corev1.ResourceName]int64{}
	for _, p := range w.pods {
		if p.Spec.NodeName == n.Name {
			for name, q := range resource.PodRequests(p, resource.PodResourcesOptions{}) {
				sum[name] += q.MilliValue()
			}
			sum[corev1.ResourcePods] += 1000
		}
	}
	return sum
}

// unfit is why the pod cannot run on the node, empty if it can.
func (w *world) unfit(p *corev1.Pod, n *corev1.Node) string {
	if ok, err := nodeaffinity.GetRequiredNodeAffinity(p).Match(n); !ok || err != nil {
		return "node affinity"
	}
	binding := func(t *corev1.Taint) bool {
		return t.Effect != corev1.TaintEffectPreferNoSchedule && t.Key != corev1.TaintNodeUnschedulable
	}
	if taint, yes := scheduling.FindMatchingUntoleratedTaint(klog.Background(), n.Spec.Taints, p.Spec.Tolerations, binding, false); yes {
		return "taint " + taint.Key
	}
	requested := w.requested(n)
	asks := resource.PodRequests(p, resource.PodResourcesOptions{})
	asks[corev1.ResourcePods] = *quantity.NewQuantity(1, quantity.DecimalSI)
	for name, q := range asks {
		allocatable := n.Status.Allocatable[name]
		if requested[name]+q.MilliValue() > allocatable.MilliValue() {
			return fmt.Sprintf("%s (%d of %d)", name, requested[name], allocatable.MilliValue())
		}
	}
	for _, other := range w.pods {
		if w.apart(p, n, other) || w.apart(other, n, p) {
			return "anti-affinity"
		}
	}
	return ""
}

// apart tells whether p must not be where other is or, if other is not placed yet, would be: on the node n.
func (w *world) apart(p *corev1.Pod, n *corev1.Node, other *corev1.Pod) bool {
	if p.Spec.Affinity == nil || p.Spec.Affinity.PodAntiAffinity == nil || p.Namespace != other.Namespace {
		return false
	}
	placed := cmp.Or(other.Spec.NodeName, p.Spec.NodeName)
	for _, term := range p.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
		selector, err := metav1.LabelSelectorAsSelector(term.LabelSelector)
		if err != nil || !selector.Matches(labels.Set(other.Labels)) {
			continue
		}
		for _, m := range w.nodes {
			if m.Name == placed && m.Labels[term.TopologyKey] == n.Labels[term.TopologyKey] {
				return true
			}
		}
	}
	return false
}
