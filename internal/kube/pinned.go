package kube

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// elsewhere stands for a node, and a pool, that nobody has named.
const elsewhere = "upshift-elsewhere"

// pinned tells whether the pod may run where it does and on no node like that of another pool, and which pools it may run in by their
// names. What counts is its node selector and required node affinity: everything else about a node, a new pool has alike.
func (s *snapshot) pinned(p *corev1.Pod) (pinned bool, to []string) {
	a := p.Spec.Affinity
	if len(p.Spec.NodeSelector) == 0 && (a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil) {
		return false, nil
	}
	node, err := s.caches.nodes.Get(p.Spec.NodeName)
	if err != nil {
		return false, nil // it runs nowhere yet
	}
	required := nodeaffinity.GetRequiredNodeAffinity(p)
	in := func(pool string) bool {
		like := &corev1.Node{}
		like.Name, like.Labels = elsewhere, maps.Clone(node.Labels)
		like.Labels[corev1.LabelHostname], like.Labels[s.pools.Label] = elsewhere, pool
		ok, err := required.Match(like)
		return ok && err == nil
	}
	if here, err := required.Match(node); !here || err != nil || in(elsewhere) {
		return false, nil
	}
	for _, name := range s.poolsNamed(p) {
		if in(name) {
			to = append(to, name)
		}
	}
	return true, to
}

// poolsNamed are the pools that the pod's node selector and required node affinity mention.
func (s *snapshot) poolsNamed(p *corev1.Pod) []string {
	var names []string
	if name, ok := p.Spec.NodeSelector[s.pools.Label]; ok {
		names = append(names, name)
	}
	if a := p.Spec.Affinity; a != nil && a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		for _, term := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
			for _, e := range term.MatchExpressions {
				if e.Key == s.pools.Label && e.Operator == corev1.NodeSelectorOpIn {
					names = append(names, e.Values...)
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
