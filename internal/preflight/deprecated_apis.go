package preflight

import (
	"fmt"
	"strings"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// deprecatedAPIs: what the target's API server does not serve any more.
func deprecatedAPIs() Check {
	return Check{
		Name: "deprecated-apis", Severities: []upgrade.Severity{upgrade.Blocker, upgrade.UnknownSeverity, upgrade.Warning, upgrade.Info},
		Title: "An API version is in use that the target's control plane, or a later one, does not serve",
		Why:   "Who asks for it gets an error once the control plane is upgraded. Nodes take nothing away: what a control plane at the target's minor still serves is safe from this upgrade.",
		find:  findDeprecatedAPIs,
	}
}

func findDeprecatedAPIs(in Input) []upgrade.Finding {
	now, ok := minor(in.Cluster.ControlPlaneVersion)
	target, known := minor(in.Target)
	if !ok || !known {
		return nil
	}
	var found []upgrade.Finding
	if target > now {
		found = in.unknown("whether anybody uses an API version that the target does not serve", upgrade.ReadAPIMetrics, upgrade.ReadStoredAPIs)
	}
	for _, use := range in.Inventory.APIs {
		removed, ok := minor(use.RemovedIn)
		if !ok || removed <= now || !use.Requested && len(use.Applied) == 0 {
			continue
		}
		found = append(found, deprecated(use, removed <= target))
	}
	return found
}

// deprecated is the finding about an API version, which this upgrade removes or a later one.
func deprecated(use upgrade.APIUse, removes bool) upgrade.Finding {
	f := upgrade.Finding{
		// As kubectl names it, which has no place for a core group.
		Object:   upgrade.Ref{Kind: "API", Name: strings.TrimSuffix(use.Resource+"."+use.Version+"."+use.Group, ".")},
		Evidence: []string{"according to " + use.Source},
		Remedy:   "kubectl get --raw /metrics | grep apiserver_requested_deprecated_apis # and find its clients in the audit log (k8s.io/deprecated)",
	}
	var objects []string
	for _, r := range use.Applied {
		objects = append(objects, r.String())
	}
	f.Evidence = append(f.Evidence, objects...)
	instead := ""
	if use.Replacement != "" {
		instead = "; use " + use.Replacement
	}
	switch {
	case use.Requested:
		f.Severity = upgrade.Blocker
		f.Problem = fmt.Sprintf("is not served from %s on, and somebody has asked for it since the API server was started%s", use.RemovedIn, instead)
	default:
		f.Severity = upgrade.Warning
		f.Problem = fmt.Sprintf("is not served from %s on, and is what objects were last applied with (%s)%s", use.RemovedIn, several(objects), instead)
		f.Remedy, f.Advice = "", "change apiVersion in the manifests of these objects, and apply them again"
		if use.Replacement != "" {
			f.Advice = "change apiVersion to " + use.Replacement + " in the manifests of these objects, and apply them again"
		}
	}
	if !removes {
		f.Severity = upgrade.Info
	}
	return f
}
