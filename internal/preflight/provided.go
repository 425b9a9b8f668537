package preflight

import "github.com/upshift-k8s/upshift/internal/upgrade"

// grave is how grave a finding is that only the workload's owner can do something about: a warning, or an info for the provider's own.
func grave(owner upgrade.Ref) upgrade.Severity {
	if upgrade.Provided(owner.Namespace) {
		return upgrade.Info
	}
	return upgrade.Warning
}
