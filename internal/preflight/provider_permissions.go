package preflight

import (
	"fmt"
	"strings"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// providerPermissions: what the provider would refuse. It is asked of the project, and a permission can be granted on less than that, so a
// denied one is no blocker: nothing is touched before the first call shows it.
func providerPermissions() Check {
	return Check{
		Name: "provider-permissions", Severities: []upgrade.Severity{upgrade.Warning, upgrade.UnknownSeverity},
		Title: "Upshift is not allowed something on the project that an upgrade needs",
		Why:   "The run fails at the first call that the provider refuses, before an old node is touched, unless it is allowed that on the cluster alone.",
		find:  findDeniedPermissions,
	}
}

func findDeniedPermissions(in Input) []upgrade.Finding {
	if len(in.Steps) == 0 {
		return nil
	}
	const what = "whether Upshift may do what an upgrade needs"
	if found := in.unknownOfProject(what, upgrade.ReadProviderPermissions, "cloudresourcemanager.googleapis.com", "gcloud projects get-iam-policy "+in.Cluster.Project); len(found) > 0 {
		return found
	}
	var needed, denied, why []string
	for _, p := range in.Cluster.Permissions {
		needed = append(needed, p.Name)
		if !p.Allowed {
			denied = append(denied, p.Name)
			why = append(why, p.Name+" is needed "+p.Why)
		}
	}
	if len(denied) == 0 {
		return nil
	}
	return []upgrade.Finding{{
		Severity: upgrade.Warning, Object: upgrade.Ref{Kind: "Project", Name: in.Cluster.Project},
		Problem:  fmt.Sprintf("does not allow %s: a run fails at its first call that needs it, before an old node is touched", strings.Join(denied, ", ")),
		Evidence: why,
		Remedy: fmt.Sprintf("gcloud iam roles create upshift --project %s --permissions %s # and bind that role to the account that Upshift runs as",
			in.Cluster.Project, strings.Join(needed, ",")),
	}}
}

// unknownOfProject is unknown, with what helps: the API being enabled, if that is what it says, or a look at what is there. It can be gone at
// the next attempt.
func (in Input) unknownOfProject(what string, source upgrade.Source, api, look string) []upgrade.Finding {
	found := in.unknown(what, source)
	for i := range found {
		found[i].Momentary, found[i].Remedy = true, look
		if strings.Contains(in.Cluster.Unread[source], "SERVICE_DISABLED") {
			found[i].Remedy = fmt.Sprintf("gcloud services enable %s --project %s", api, in.Cluster.Project)
		}
	}
	return found
}
