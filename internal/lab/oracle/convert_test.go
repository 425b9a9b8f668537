package oracle

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/resource"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// inventory converts objects of the Kubernetes API into what the simulation reads.
func inventory(c *cluster) upgrade.Snapshot {
	s := upgrade.Snapshot{Inventory: upgrade.Inventory{
		Nodes: map[string]upgrade.NodeShape{}, Pods: map[string]*upgrade.PodShape{}, Volumes: map[string][]upgrade.Volume{}, Namespaces: map[string]map[string]string{},
	}}
	for _, ns := range c.namespaces {
		s.Inventory.Namespaces[ns.Name] = ns.Labels
	}
	for _, n := range c.nodes {
		s.State.Nodes = append(s.State.Nodes, upgrade.Node{
			Name: n.Name, Pool: n.Labels["pool"], Zone: n.Labels[corev1.LabelTopologyZone], Ready: true, Unschedulable: n.Spec.Unschedulable,
		})
		s.Inventory.Nodes[n.Name] = upgrade.NodeShape{Labels: n.Labels, Taints: taints(n.Spec.Taints), Allocatable: amounts(n.Status.Allocatable)}
	}
	for _, p := range c.pods {
		s.State.Pods = append(s.State.Pods, upgrade.Pod{Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), Node: p.Spec.NodeName, Workload: owner(p)})
		if p.DeletionTimestamp != nil {
			s.State.Pods[len(s.State.Pods)-1].EndsBy = p.DeletionTimestamp.Time
		}
		s.Inventory.Pods[string(p.UID)] = podShape(p)
		for _, v := range p.Spec.Volumes {
			s.Inventory.Volumes[string(p.UID)] = append(s.Inventory.Volumes[string(p.UID)], volume(c, v.PersistentVolumeClaim.ClaimName))
		}
	}
	return s
}

func owner(p *corev1.Pod) upgrade.Ref {
	if o := metav1.GetControllerOf(p); o != nil {
		return upgrade.Ref{Kind: o.Kind, Namespace: p.Namespace, Name: o.Name, UID: string(o.UID)}
	}
	return upgrade.Ref{}
}

func volume(c *cluster, claim string) upgrade.Volume {
	v := upgrade.Volume{Claim: claim}
	for _, pvc := range c.claims {
		if pvc.Name != claim {
			continue
		}
		v.Exclusive = slices.Contains(pvc.Spec.AccessModes, corev1.ReadWriteOncePod)
		for _, pv := range c.volumes {
			if pv.Name == pvc.Spec.VolumeName && pv.Spec.NodeAffinity != nil {
				v.Terms = nodeTerms(pv.Spec.NodeAffinity.Required)
			}
		}
	}
	return v
}

func amounts(list corev1.ResourceList) upgrade.Resources {
	r := upgrade.Resources{}
	for name, q := range list {
		if name == corev1.ResourceCPU {
			r[string(name)] = q.MilliValue()
			continue
		}
		r[string(name)] = q.Value()
	}
	return r
}

func taints(list []corev1.Taint) []upgrade.Taint {
	var all []upgrade.Taint
	for _, t := range list {
		all = append(all, upgrade.Taint{Key: t.Key, Value: t.Value, Effect: string(t.Effect)})
	}
	return all
}

func podShape(p *corev1.Pod) *upgrade.PodShape {
	s := &upgrade.PodShape{
		Namespace: p.Namespace, Labels: p.Labels, Requests: amounts(resource.PodRequests(p, resource.PodResourcesOptions{})), NodeSelector: p.Spec.NodeSelector,
	}
	for _, t := range p.Spec.Tolerations {
		s.Tolerations = append(s.Tolerations, upgrade.Toleration{Key: t.Key, Operator: string(t.Operator), Value: t.Value, Effect: string(t.Effect)})
	}
	if a := p.Spec.Affinity; a != nil {
		if a.NodeAffinity != nil {
			s.NodeTerms = nodeTerms(a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
		}
		if a.PodAffinity != nil {
			s.Affinity = podTerms(p, a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
		}
		if a.PodAntiAffinity != nil {
			s.AntiAffinity = podTerms(p, a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
		}
	}
	for _, c := range p.Spec.TopologySpreadConstraints {
		if c.WhenUnsatisfiable != corev1.DoNotSchedule {
			continue
		}
		sp := upgrade.Spread{TopologyKey: c.TopologyKey, MaxSkew: int(c.MaxSkew), Selector: selector(c.LabelSelector)}
		if c.MinDomains != nil {
			sp.MinDomains = int(*c.MinDomains)
		}
		sp.IgnoreAffinity = c.NodeAffinityPolicy != nil && *c.NodeAffinityPolicy == corev1.NodeInclusionPolicyIgnore
		sp.HonorTaints = c.NodeTaintsPolicy != nil && *c.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor
		for _, key := range c.MatchLabelKeys {
			if value, ok := p.Labels[key]; ok {
				sp.Selector.Requirements = append(sp.Selector.Requirements, upgrade.Requirement{Key: key, Operator: "In", Values: []string{value}})
			}
		}
		s.Spread = append(s.Spread, sp)
	}
	for _, c := range p.Spec.Containers {
		for _, port := range c.Ports {
			if port.HostPort != 0 {
				s.HostPorts = append(s.HostPorts, upgrade.HostPort{IP: port.HostIP, Protocol: string(port.Protocol), Port: int(port.HostPort)})
			}
		}
	}
	return s
}

func nodeTerms(sel *corev1.NodeSelector) []upgrade.NodeTerm {
	if sel == nil {
		return nil
	}
	terms := []upgrade.NodeTerm{}
	requirements := func(list []corev1.NodeSelectorRequirement) []upgrade.Requirement {
		var all []upgrade.Requirement
		for _, r := range list {
			all = append(all, upgrade.Requirement{Key: r.Key, Operator: string(r.Operator), Values: r.Values})
		}
		return all
	}
	for _, t := range sel.NodeSelectorTerms {
		terms = append(terms, upgrade.NodeTerm{Labels: requirements(t.MatchExpressions), Fields: requirements(t.MatchFields)})
	}
	return terms
}

func podTerms(p *corev1.Pod, list []corev1.PodAffinityTerm) []upgrade.PodTerm {
	var all []upgrade.PodTerm
	for _, t := range list {
		term := upgrade.PodTerm{TopologyKey: t.TopologyKey, Namespaces: t.Namespaces, Selector: selector(t.LabelSelector), NamespaceSelector: selector(t.NamespaceSelector)}
		if len(t.Namespaces) == 0 && t.NamespaceSelector == nil {
			term.Namespaces = []string{p.Namespace}
		}
		all = append(all, term)
	}
	return all
}

func selector(sel *metav1.LabelSelector) upgrade.Selector {
	if sel == nil {
		return upgrade.Selector{Nothing: true}
	}
	var s upgrade.Selector
	for _, key := range slices.Sorted(maps.Keys(sel.MatchLabels)) {
		s.Requirements = append(s.Requirements, upgrade.Requirement{Key: key, Operator: "In", Values: []string{sel.MatchLabels[key]}})
	}
	for _, e := range sel.MatchExpressions {
		s.Requirements = append(s.Requirements, upgrade.Requirement{Key: e.Key, Operator: string(e.Operator), Values: e.Values})
	}
	return s
}
