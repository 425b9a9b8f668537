package preflight

import (
	"fmt"
	"strings"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// autoUpgrade: what the provider would do by itself.
func autoUpgrade() Check {
	return Check{
		Name: "auto-upgrade", Severities: []upgrade.Severity{upgrade.Info}, Always: true,
		Title: "The provider upgrades the control plane by itself, or tells when support for its minor ends",
		Why:   "What is not upgraded in time is upgraded by the provider, in the cluster's maintenance windows as far as there are any.",
		find:  findAutoUpgrade,
	}
}

func findAutoUpgrade(in Input) []upgrade.Finding {
	f := upgrade.Finding{Severity: upgrade.Info, Object: cluster(in.Cluster)}
	if why := in.Cluster.Unread[upgrade.ReadAutoUpgrade]; why != "" {
		f.Problem, f.Evidence = "does not tell what the provider would upgrade by itself", []string{why}
		return []upgrade.Finding{f}
	}
	a := in.Cluster.AutoUpgrade
	var targets []string
	if a.Patch != "" {
		targets = append(targets, "to the patch "+a.Patch)
	}
	if a.Minor != "" {
		targets = append(targets, "to the minor "+a.Minor)
	}
	var told []string
	if len(targets) > 0 {
		told = append(told, "the provider would upgrade the control plane by itself "+strings.Join(targets, " and "))
	}
	if len(a.Paused) > 0 {
		told = append(told, "it holds that back ("+strings.Join(a.Paused, ", ")+")")
	}
	for _, end := range []struct {
		what string
		at   time.Time
	}{{"standard", a.EndOfStandard}, {"extended", a.EndOfExtended}} {
		if end.at.IsZero() {
			continue
		}
		verb := "ends"
		if end.at.Before(in.TakenAt) {
			verb = "ended"
		}
		told = append(told, fmt.Sprintf("%s support of what it runs now %s on %s", end.what, verb, end.at.UTC().Format(time.DateOnly)))
	}
	if len(told) == 0 {
		return nil
	}
	channel := "is on no release channel"
	if in.Cluster.Channel != "" {
		channel = "is on the channel " + in.Cluster.Channel
	}
	f.Problem = channel + ": " + strings.Join(told, "; ")
	if len(a.Status) > 0 {
		f.Evidence = []string{"automatic upgrades: " + strings.Join(a.Status, ", ")}
	}
	return []upgrade.Finding{f}
}
