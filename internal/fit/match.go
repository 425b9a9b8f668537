package fit

import (
	"slices"
	"strconv"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// Selects tells whether the pod's node selector and required node affinity allow a node of that name with these labels.
func Selects(p *upgrade.PodShape, name string, labels map[string]string) bool {
	for key, value := range p.NodeSelector {
		if there, ok := labels[key]; !ok || there != value {
			return false
		}
	}
	return p.NodeTerms == nil || fulfilsAny(p.NodeTerms, name, labels)
}

// Runs tells whether a DaemonSet with such pods has one on the node.
func Runs(p *upgrade.PodShape, name string, n upgrade.NodeShape) bool {
	taints := slices.DeleteFunc(slices.Clone(n.Taints), conditions)
	return !repel(taints, p.Tolerations) && Selects(p, name, n.Labels)
}

// fulfilsAny tells whether a node fulfils one of the terms. An empty term is fulfilled by no node.
func fulfilsAny(terms []upgrade.NodeTerm, name string, labels map[string]string) bool {
	return slices.ContainsFunc(terms, func(t upgrade.NodeTerm) bool {
		return len(t.Labels)+len(t.Fields) > 0 && holdAll(t.Labels, labels) &&
			!slices.ContainsFunc(t.Fields, func(r upgrade.Requirement) bool { return !holds(r, name, r.Key == nameField) })
	})
}

// nameField is the field of a node that terms can ask for.
const nameField = "metadata.name"

func matches(s upgrade.Selector, labels map[string]string) bool {
	return !s.Nothing && holdAll(s.Requirements, labels)
}

func holdAll(all []upgrade.Requirement, labels map[string]string) bool {
	for _, r := range all {
		if value, has := labels[r.Key]; !holds(r, value, has) {
			return false
		}
	}
	return true
}

func holds(r upgrade.Requirement, value string, has bool) bool {
	switch r.Operator {
	case "In":
		return has && slices.Contains(r.Values, value)
	case "NotIn":
		return !has || !slices.Contains(r.Values, value)
	case "Exists":
		return has
	case "DoesNotExist":
		return !has
	case "Gt", "Lt":
		if !has || len(r.Values) != 1 {
			return false
		}
		is, errIs := strconv.ParseInt(value, 10, 64)
		bound, errBound := strconv.ParseInt(r.Values[0], 10, 64)
		return errIs == nil && errBound == nil && (r.Operator == "Gt" && is > bound || r.Operator == "Lt" && is < bound)
	}
	return false
}

// repel tells whether one of the taints keeps a pod with the tolerations off a node.
func repel(taints []upgrade.Taint, tolerations []upgrade.Toleration) bool {
	return slices.ContainsFunc(taints, func(t upgrade.Taint) bool {
		return (t.Effect == "NoSchedule" || t.Effect == "NoExecute") && !tolerated(t, tolerations)
	})
}

func tolerated(taint upgrade.Taint, tolerations []upgrade.Toleration) bool {
	return slices.ContainsFunc(tolerations, func(t upgrade.Toleration) bool {
		switch {
		case t.Effect != "" && t.Effect != taint.Effect, t.Key != "" && t.Key != taint.Key:
			return false
		case t.Operator == "Exists":
			return true
		}
		return (t.Operator == "" || t.Operator == "Equal") && t.Value == taint.Value
	})
}

// ToleratesCordon tells whether the scheduler puts the pod on cordoned nodes, too.
func ToleratesCordon(p *upgrade.PodShape) bool { return tolerated(CordonTaint, p.Tolerations) }

// CordonTaint is what Kubernetes puts on a node that is cordoned.
var CordonTaint = upgrade.Taint{Key: "node.kubernetes.io/unschedulable", Effect: "NoSchedule"}

// collide tells whether two pods with these ports cannot share a node. All addresses are one with every address.
func collide(a, b upgrade.HostPort) bool {
	all := func(ip string) bool { return ip == "" || ip == "0.0.0.0" }
	return a.Port == b.Port && protocol(a) == protocol(b) && (all(a.IP) || all(b.IP) || a.IP == b.IP)
}

func protocol(p upgrade.HostPort) string {
	if p.Protocol == "" {
		return "TCP"
	}
	return p.Protocol
}
