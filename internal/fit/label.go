package fit

import (
	"slices"
	"strings"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// keySet is a set of keys of labels or taints: whole keys, keys that begin so, and keys that end so.
type keySet struct{ keys, prefixes, suffixes []string }

func (l keySet) has(key string) bool {
	return slices.Contains(l.keys, key) ||
		slices.ContainsFunc(l.prefixes, func(p string) bool { return strings.HasPrefix(key, p) }) ||
		slices.ContainsFunc(l.suffixes, func(s string) bool { return strings.HasSuffix(key, s) })
}

var (
	// given are the labels that every node gets by itself, from its kubelet, the cloud provider or GKE. It is a list of labels, not of
	// domains: kubernetes.io has others that people put (node-role.kubernetes.io/*, node.kubernetes.io/exclude-from-external-load-balancers).
	given = keySet{
		keys: []string{
			hostname, "kubernetes.io/os", "kubernetes.io/arch", "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
			"node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type", "node.kubernetes.io/windows-build",
			"cloud.google.com/machine-family", "cloud.google.com/compute-class", "cloud.google.com/private-node", "cloud.google.com/metadata-proxy-ready",
			"cloud.google.com/reservation-name", "cloud.google.com/reservation-project", "cloud.google.com/reservation-affinity",
			"beta.kubernetes.io/fluentd-ds-ready", "beta.kubernetes.io/masq-agent-ds-ready",
			"node.kubernetes.io/masq-agent-ds-ready", "node.kubernetes.io/kube-proxy-ds-ready", "node.kubernetes.io/node-problem-detector-ds-ready",
			"sandbox.gke.io/runtime",
		},
		prefixes: []string{
			"topology.kubernetes.io/", "failure-domain.kubernetes.io/", "failure-domain.beta.kubernetes.io/", "cloud.google.com/gke-", "iam.gke.io/", "topology.gke.io/",
			"node.gke.io/", "networking.gke.io/", "container.googleapis.com/", "addon.gke.io/", "disk-type.gke.io/",
		},
	}
	// discovered are the labels that well-known software gives to nodes by what it finds there: GPU operators, feature discovery, networks, drivers
	// of volumes (by their topology keys). It runs on the new nodes too, and gives them the same.
	discovered = keySet{
		prefixes: []string{
			"nvidia.com/", "amd.com/", "gpu.intel.com/", "feature.node.kubernetes.io/", "projectcalico.org/", "cilium.io/", "io.cilium/", "topology.kubevirt.io/", "kubevirt.io/",
			"topology.topolvm.io/", "topology.longhorn.io/", "topology.linstor.csi.linbit.com/", "topology.ebs.csi.aws.com/", "topology.disk.csi.azure.com/",
		},
		suffixes: []string{"feature.node.kubernetes.io", ".csi/node", ".csi/zone"},
	}
	// repelling are the taints that come by themselves: with a cordon or a condition of a node, while it starts, from an autoscaler, or from GKE
	// with what its machine has. Of these only GKE's are given to new nodes for good: lasting.
	repelling = keySet{
		keys: []string{"ToBeDeletedByClusterAutoscaler", "DeletionCandidateOfClusterAutoscaler"},
		prefixes: []string{
			"node.kubernetes.io/", "node.cloudprovider.kubernetes.io/", "node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master", "readiness.k8s.io/",
			"startup-taint.cluster-autoscaler.kubernetes.io/", "ignore-taint.cluster-autoscaler.kubernetes.io/",
			"node.cilium.io/", "projectcalico.org/", "cloud.google.com/gke-", "node.gke.io/", "networking.gke.io/", "components.gke.io/",
		},
	}
	lasting = keySet{keys: []string{"nvidia.com/gpu", "google.com/tpu", "kubernetes.io/arch", "sandbox.gke.io/runtime", "cloud.google.com/compute-class"}}
)

// comesAlong tells whether a node of the pool has the label because of what it is: the nodes of a pool that is like it get it too.
func comesAlong(pool upgrade.Pool, key, value string) bool {
	configured, ok := pool.Labels[key]
	return ok && configured == value || given.has(key) || discovered.has(key)
}

// ByHand are the labels of a pool's node that somebody has put there by hand: neither Kubernetes, nor the provider, nor the pool's
// configuration, nor software that is known for it gives them, so the nodes of a new pool do not have them.
func ByHand(pool upgrade.Pool, labels map[string]string) map[string]string {
	var put map[string]string
	for key, value := range labels {
		if comesAlong(pool, key, value) {
			continue
		}
		if put == nil {
			put = map[string]string{}
		}
		put[key] = value
	}
	return put
}

// TaintsByHand are the taints of a pool's node that somebody has put there by hand: the nodes of a new pool do not have them.
func TaintsByHand(pool upgrade.Pool, taints []upgrade.Taint) []upgrade.Taint {
	return slices.DeleteFunc(slices.Clone(taints), func(t upgrade.Taint) bool {
		return slices.Contains(pool.Taints, t) || repelling.has(t.Key) || lasting.has(t.Key)
	})
}

// newTaints are those of a new node that takes after an old one.
func newTaints(pool upgrade.Pool, like []upgrade.Taint) []upgrade.Taint {
	taints := pool.Taints
	for _, t := range like {
		if lasting.has(t.Key) && !slices.Contains(taints, t) {
			taints = append(slices.Clip(taints), t)
		}
	}
	return taints
}
