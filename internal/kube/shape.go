package kube

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/resource"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

func readNodeShape(n *corev1.Node) upgrade.NodeShape {
	info := n.Status.NodeInfo
	shape := upgrade.NodeShape{
		Labels: n.Labels, Allocatable: readResources(n.Status.Allocatable),
		Image: info.OSImage, Kernel: info.KernelVersion, Runtime: info.ContainerRuntimeVersion,
	}
	for _, t := range n.Spec.Taints {
		shape.Taints = append(shape.Taints, upgrade.Taint{Key: t.Key, Value: t.Value, Effect: string(t.Effect)})
	}
	return shape
}

// readResources are amounts as the domain has them: cpu in thousandths.
func readResources(list corev1.ResourceList) upgrade.Resources {
	amounts := upgrade.Resources{}
	for name, quantity := range list {
		if name == corev1.ResourceCPU {
			amounts[string(name)] = quantity.MilliValue()
			continue
		}
		amounts[string(name)] = quantity.Value()
	}
	return amounts
}

// podRequests are what scheduling reserves for the pod as a whole: init containers, sidecars and overhead count.
func podRequests(p *corev1.Pod) upgrade.Resources {
	return readResources(resource.PodRequests(p, resource.PodResourcesOptions{}))
}

// interned hands out one map for all that say the same: a cluster has many pods and nodes, and few kinds of them.
type interned map[string]upgrade.Resources

func (i interned) one(r upgrade.Resources) upgrade.Resources {
	var key strings.Builder
	for _, name := range slices.Sorted(maps.Keys(r)) {
		fmt.Fprintf(&key, "%s=%d ", name, r[name])
	}
	if same, ok := i[key.String()]; ok {
		return same
	}
	i[key.String()] = r
	return r
}

// shapes hands out one shape for all pods that are alike: a cluster has many pods, and few kinds of them.
type shapes map[[sha256.Size]byte]*upgrade.PodShape

func (s shapes) of(p *corev1.Pod) *upgrade.PodShape {
	shape := readPodShape(p)
	content, _ := json.Marshal(shape) // plain data
	key := sha256.Sum256(content)
	if same, ok := s[key]; ok {
		return same
	}
	s[key] = &shape
	return &shape
}

func readPodShape(p *corev1.Pod) upgrade.PodShape {
	shape := upgrade.PodShape{
		Namespace: p.Namespace, Labels: p.Labels, NodeSelector: p.Spec.NodeSelector,
		Requests:  podRequests(p),
		HostPorts: hostPorts(&p.Spec), HostPaths: hostPaths(&p.Spec), Unprobed: unprobed(&p.Spec), Unmodelled: unmodelled(&p.Spec),
	}
	for _, t := range p.Spec.Tolerations {
		shape.Tolerations = append(shape.Tolerations, upgrade.Toleration{Key: t.Key, Operator: string(t.Operator), Value: t.Value, Effect: string(t.Effect)})
	}
	if a := p.Spec.Affinity; a != nil {
		if a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
			shape.NodeTerms = readNodeTerms(a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
		}
		if a.PodAffinity != nil {
			shape.Affinity = readPodTerms(p, a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
		}
		if a.PodAntiAffinity != nil {
			shape.AntiAffinity = readPodTerms(p, a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
		}
	}
	shape.Spread = readSpread(p)
	return shape
}

// readNodeTerms are never nil: a selector without terms is fulfilled by no node.
func readNodeTerms(s *corev1.NodeSelector) []upgrade.NodeTerm {
	requirements := func(list []corev1.NodeSelectorRequirement) []upgrade.Requirement {
		var read []upgrade.Requirement
		for _, r := range list {
			read = append(read, upgrade.Requirement{Key: r.Key, Operator: string(r.Operator), Values: r.Values})
		}
		return read
	}
	terms := []upgrade.NodeTerm{}
	for _, t := range s.NodeSelectorTerms {
		terms = append(terms, upgrade.NodeTerm{Labels: requirements(t.MatchExpressions), Fields: requirements(t.MatchFields)})
	}
	return terms
}

// readSelector reads a selector as the API machinery does: nil selects nothing, an empty one everything.
func readSelector(s *metav1.LabelSelector) upgrade.Selector {
	if s == nil {
		return upgrade.Selector{Nothing: true}
	}
	var read upgrade.Selector
	for _, key := range slices.Sorted(maps.Keys(s.MatchLabels)) {
		read.Requirements = append(read.Requirements, upgrade.Requirement{Key: key, Operator: string(metav1.LabelSelectorOpIn), Values: []string{s.MatchLabels[key]}})
	}
	for _, e := range s.MatchExpressions {
		read.Requirements = append(read.Requirements, upgrade.Requirement{Key: e.Key, Operator: string(e.Operator), Values: e.Values})
	}
	return read
}

// merge adds the pod's own values of the keys to a selector that selects something. The API server has done so already for a pod of
// today's versions, and the scheduler does it for any; for a template nobody has.
func merge(s upgrade.Selector, keys []string, operator metav1.LabelSelectorOperator, of map[string]string) upgrade.Selector {
	for _, key := range keys {
		value, ok := of[key]
		own := upgrade.Requirement{Key: key, Operator: string(operator), Values: []string{value}}
		there := func(r upgrade.Requirement) bool {
			return r.Key == own.Key && r.Operator == own.Operator && slices.Equal(r.Values, own.Values)
		}
		if ok && !s.Nothing && !slices.ContainsFunc(s.Requirements, there) {
			s.Requirements = append(s.Requirements, own)
		}
	}
	return s
}

func readPodTerms(p *corev1.Pod, terms []corev1.PodAffinityTerm) []upgrade.PodTerm {
	var read []upgrade.PodTerm
	for _, t := range terms {
		selector := merge(readSelector(t.LabelSelector), t.MatchLabelKeys, metav1.LabelSelectorOpIn, p.Labels)
		term := upgrade.PodTerm{
			Selector: merge(selector, t.MismatchLabelKeys, metav1.LabelSelectorOpNotIn, p.Labels), TopologyKey: t.TopologyKey,
			Namespaces: t.Namespaces, NamespaceSelector: readSelector(t.NamespaceSelector),
		}
		if len(t.Namespaces) == 0 && t.NamespaceSelector == nil {
			term.Namespaces = []string{p.Namespace}
		}
		read = append(read, term)
	}
	return read
}

func readSpread(p *corev1.Pod) []upgrade.Spread {
	var read []upgrade.Spread
	for _, c := range p.Spec.TopologySpreadConstraints {
		if c.WhenUnsatisfiable != corev1.DoNotSchedule {
			continue
		}
		spread := upgrade.Spread{
			TopologyKey: c.TopologyKey, MaxSkew: int(c.MaxSkew), MinDomains: 1,
			Selector:       merge(readSelector(c.LabelSelector), c.MatchLabelKeys, metav1.LabelSelectorOpIn, p.Labels),
			IgnoreAffinity: c.NodeAffinityPolicy != nil && *c.NodeAffinityPolicy == corev1.NodeInclusionPolicyIgnore,
			HonorTaints:    c.NodeTaintsPolicy != nil && *c.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor,
		}
		if c.MinDomains != nil {
			spread.MinDomains = int(*c.MinDomains)
		}
		read = append(read, spread)
	}
	return read
}

// running are the containers that run as long as the pod does.
func running(s *corev1.PodSpec) []corev1.Container {
	var list []corev1.Container
	for _, c := range s.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			list = append(list, c)
		}
	}
	return append(list, s.Containers...)
}

// hostPorts are those that the scheduler counts. In a pod on its node's network the API server has set them to the container's; in a
// template it has not.
func hostPorts(s *corev1.PodSpec) []upgrade.HostPort {
	var ports []upgrade.HostPort
	for _, c := range running(s) {
		for _, p := range c.Ports {
			port := p.HostPort
			if port == 0 && s.HostNetwork {
				port = p.ContainerPort
			}
			if port == 0 {
				continue
			}
			read := upgrade.HostPort{IP: p.HostIP, Protocol: string(p.Protocol), Port: int(port)}
			if read.IP == "0.0.0.0" {
				read.IP = ""
			}
			if read.Protocol == "" {
				read.Protocol = string(corev1.ProtocolTCP)
			}
			ports = append(ports, read)
		}
	}
	return ports
}

// hostPaths are the directories and files of its node that the pod can write to: what it only reads, or talks to through a socket or a
// device, it does not leave behind.
func hostPaths(s *corev1.PodSpec) []string {
	var paths []string
	for _, v := range s.Volumes {
		if v.HostPath == nil || !keepsData(v.HostPath.Type) {
			continue
		}
		writes := func(c corev1.Container) bool {
			return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == v.Name && !m.ReadOnly })
		}
		if slices.ContainsFunc(s.Containers, writes) || slices.ContainsFunc(s.InitContainers, writes) {
			paths = append(paths, v.HostPath.Path)
		}
	}
	return paths
}

func keepsData(t *corev1.HostPathType) bool {
	return t == nil || *t != corev1.HostPathFile && *t != corev1.HostPathSocket && *t != corev1.HostPathCharDev && *t != corev1.HostPathBlockDev
}

// unprobed are the containers whose readiness nothing probes.
func unprobed(s *corev1.PodSpec) []upgrade.Unprobed {
	var list []upgrade.Unprobed
	containers := running(s)
	for _, c := range containers {
		if c.ReadinessProbe != nil {
			continue
		}
		u := upgrade.Unprobed{Container: c.Name, Only: len(containers) == 1}
		for _, port := range c.Ports {
			u.Ports = append(u.Ports, strconv.Itoa(int(port.ContainerPort)))
			if port.Name != "" {
				u.Ports = append(u.Ports, port.Name)
			}
		}
		if u.Only || len(u.Ports) > 0 {
			list = append(list, u)
		}
	}
	return list
}

// unmodelled says what about the pod only its own scheduler or driver can decide.
func unmodelled(s *corev1.PodSpec) []string {
	var reasons []string
	if s.SchedulerName != "" && s.SchedulerName != corev1.DefaultSchedulerName {
		reasons = append(reasons, fmt.Sprintf("a scheduler of its own (%s)", s.SchedulerName))
	}
	if len(s.ResourceClaims) > 0 {
		reasons = append(reasons, fmt.Sprintf("devices that are claimed (%s)", s.ResourceClaims[0].Name))
	}
	if len(s.SchedulingGates) > 0 {
		reasons = append(reasons, fmt.Sprintf("a scheduling gate (%s)", s.SchedulingGates[0].Name))
	}
	return reasons
}

// daemon is a DaemonSet with the shape of the pods that it makes.
func (s shapes) daemon(d *appsv1.DaemonSet) upgrade.Daemon {
	p := &corev1.Pod{ObjectMeta: *d.Spec.Template.ObjectMeta.DeepCopy(), Spec: d.Spec.Template.Spec}
	p.Namespace = d.Namespace
	p.Spec.Tolerations = slices.Clone(p.Spec.Tolerations)
	for _, t := range daemonTolerations(p.Spec.HostNetwork) {
		if !slices.ContainsFunc(p.Spec.Tolerations, func(there corev1.Toleration) bool { return there.MatchToleration(&t) }) {
			p.Spec.Tolerations = append(p.Spec.Tolerations, t)
		}
	}
	return upgrade.Daemon{Ref: upgrade.Ref{Kind: "DaemonSet", Namespace: d.Namespace, Name: d.Name, UID: string(d.UID)}, Shape: s.of(p)}
}

// daemonTolerations are what the DaemonSet controller lets its pods tolerate besides what their template does.
func daemonTolerations(hostNetwork bool) []corev1.Toleration {
	exists := func(effect corev1.TaintEffect, keys ...string) []corev1.Toleration {
		var list []corev1.Toleration
		for _, key := range keys {
			list = append(list, corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: effect})
		}
		return list
	}
	list := exists(corev1.TaintEffectNoExecute, corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable)
	list = append(list, exists(corev1.TaintEffectNoSchedule,
		corev1.TaintNodeDiskPressure, corev1.TaintNodeMemoryPressure, corev1.TaintNodePIDPressure, corev1.TaintNodeUnschedulable)...)
	if hostNetwork {
		list = append(list, exists(corev1.TaintEffectNoSchedule, corev1.TaintNodeNetworkUnavailable)...)
	}
	return list
}
