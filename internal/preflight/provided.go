package preflight

import (
	"slices"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// providers are the namespaces of what the provider itself runs in a cluster: GKE has several workloads of one replica in every one, and
// nobody but GKE can change that.
var providers = []string{"kube-system", "gmp-system", "gke-managed-system", "gke-managed-cim"}

// grave is how grave a finding is that only the workload's owner can do something about: a warning, or an info for the provider's own.
func grave(owner upgrade.Ref) upgrade.Severity {
	if slices.Contains(providers, owner.Namespace) {
		return upgrade.Info
	}
	return upgrade.Warning
}
