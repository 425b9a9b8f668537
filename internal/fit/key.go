package fit

import (
	"maps"
	"slices"
	"strconv"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// key is a text that two things have in common if and only if they are alike. Texts in it are preceded by their length, lists by theirs.
type key []byte

func (k key) text(texts ...string) key {
	k = k.number(int64(len(texts)))
	for _, t := range texts {
		k = append(k.number(int64(len(t))), t...)
	}
	return k
}

func (k key) number(n int64) key { return append(strconv.AppendInt(k, n, 36), ' ') }

func (k key) flag(set bool) key {
	if set {
		return append(k, '+')
	}
	return append(k, '-')
}

func (k key) labels(labels map[string]string) key {
	k = k.number(int64(len(labels)))
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		k = k.text(name, labels[name])
	}
	return k
}

func (k key) resources(r upgrade.Resources) key {
	k = k.number(int64(len(r)))
	for _, name := range slices.Sorted(maps.Keys(r)) {
		k = k.text(name).number(r[name])
	}
	return k
}

func (k key) requirements(all []upgrade.Requirement) key {
	k = k.number(int64(len(all)))
	for _, r := range all {
		k = k.text(r.Key, r.Operator).text(r.Values...)
	}
	return k
}

func (k key) selector(s upgrade.Selector) key { return k.flag(s.Nothing).requirements(s.Requirements) }

func (k key) nodeTerms(terms []upgrade.NodeTerm) key {
	k = k.flag(terms == nil).number(int64(len(terms)))
	for _, t := range terms {
		k = k.requirements(t.Labels).requirements(t.Fields)
	}
	return k
}

// selection is a pod's node selector and required node affinity.
func (k key) selection(p *upgrade.PodShape) key {
	return k.labels(p.NodeSelector).nodeTerms(p.NodeTerms)
}

func (k key) tolerations(all []upgrade.Toleration) key {
	k = k.number(int64(len(all)))
	for _, t := range all {
		k = k.text(t.Key, t.Operator, t.Value, t.Effect)
	}
	return k
}

func (k key) taints(all []upgrade.Taint) key {
	k = k.number(int64(len(all)))
	for _, t := range all {
		k = k.text(t.Key, t.Value, t.Effect)
	}
	return k
}

func (k key) ports(all []upgrade.HostPort) key {
	k = k.number(int64(len(all)))
	for _, p := range all {
		k = k.text(p.IP, p.Protocol).number(int64(p.Port))
	}
	return k
}

func (k key) podTerm(t upgrade.PodTerm) key {
	return k.text(t.Namespaces...).selector(t.NamespaceSelector).selector(t.Selector).text(t.TopologyKey)
}

// interning gives equal keys the same index, counted from zero.
type interning map[string]int32

// of tells whether it is new, too.
func (in interning) of(k key) (int32, bool) {
	if i, ok := in[string(k)]; ok {
		return i, false
	}
	i := index(len(in))
	in[string(k)] = i
	return i, true
}
