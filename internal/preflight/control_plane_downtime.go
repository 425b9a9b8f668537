package preflight

import (
	"fmt"
	"strings"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// controlPlaneDowntime: the Kubernetes API is away while its only server is upgraded.
func controlPlaneDowntime() Check {
	return Check{
		Name: "control-plane-downtime", Severities: []upgrade.Severity{upgrade.Warning, upgrade.UnknownSeverity},
		Title: "The control plane that is upgraded is zonal, so the Kubernetes API is away meanwhile",
		Why: "Pods go on serving, and nothing is deployed, scheduled, scaled or healed until it is back. What is exposed is listed: leader elections that cannot be renewed, " +
			"by their Leases, with the operators that hold them; CronJobs that are due; fail-closed webhooks; HorizontalPodAutoscalers.",
		Consent: upgrade.AllowControlPlaneDowntime,
		find:    findControlPlaneDowntime,
	}
}

const (
	// heldLately is how long ago a Lease was renewed at most if somebody is still there who renews it: leaders do it every few seconds.
	heldLately = 2 * time.Minute
	// regionalDocs is Google's page on clusters whose API stays up.
	regionalDocs = "https://cloud.google.com/kubernetes-engine/docs/concepts/regional-clusters"
)

func findControlPlaneDowntime(in Input) []upgrade.Finding {
	if in.ControlPlane == nil || in.ControlPlane.StaysUp {
		return nil
	}
	var away time.Duration
	for _, s := range in.Steps {
		if s.Kind == upgrade.UpgradeControlPlane {
			away += time.Duration(s.Estimate)
		}
	}
	hops := len(in.ControlPlane.Hops)
	lasts := "about " + about(away)
	if hops > 1 {
		lasts = fmt.Sprintf("about %s, %d times", about(away/time.Duration(hops)), hops)
	}
	f := upgrade.Finding{
		Severity: upgrade.Warning, Object: cluster(in.Cluster), Consent: upgrade.AllowControlPlaneDowntime,
		Problem: fmt.Sprintf("is zonal, so its Kubernetes API is away while its control plane is upgraded (%s): "+
			"pods go on serving, and nothing is deployed, scheduled, scaled or healed until it is back", lasts),
		Advice: "choose a time when that does no harm; the control plane of a regional cluster stays up: " + regionalDocs,
	}
	var counts []string
	for _, e := range []struct {
		noun  string
		lines []string
	}{
		{"leader election", in.leaders()}, {"due CronJob", in.due(away)},
		{"fail-closed webhook", in.failClosed()}, {"HorizontalPodAutoscaler", in.autoscalers()},
	} {
		f.Evidence = append(f.Evidence, e.lines...)
		if n := len(e.lines); n > 0 {
			counts = append(counts, count(n, e.noun))
		}
	}
	if len(counts) > 0 {
		f.Problem += "; exposed meanwhile: " + strings.Join(counts, ", ")
	}
	return append([]upgrade.Finding{f}, in.unknown("all of what is exposed while the Kubernetes API is away",
		upgrade.ReadLeases, upgrade.ReadCronJobs, upgrade.ReadWebhooks, upgrade.ReadAutoscalers)...)
}

// leaders are the elections that somebody has won and holds.
func (in Input) leaders() []string {
	var lines []string
	for _, l := range in.Inventory.Leaders {
		if in.TakenAt.Sub(l.Renewed) > heldLately {
			continue
		}
		lines = append(lines, fmt.Sprintf("%s is held by %s, who cannot renew it: as a rule it gives up and starts again", l.Lease, in.holder(l)))
	}
	return lines
}

// holder names the workload whose pod holds the Lease, which is called after the pod as a rule, with more behind.
func (in Input) holder(l upgrade.Leader) string {
	for _, p := range in.State.Pods {
		if p.Namespace == l.Lease.Namespace && !p.Workload.IsZero() && (l.Holder == p.Name || strings.HasPrefix(l.Holder, p.Name+"_")) {
			return p.Workload.String()
		}
	}
	return l.Holder
}

// due are the CronJobs that are due if the API goes away now, for so long.
func (in Input) due(away time.Duration) []string {
	var lines []string
	for _, j := range in.Inventory.CronJobs {
		var times []time.Time
		for _, t := range j.Next {
			if t.Before(in.TakenAt.Add(away)) {
				times = append(times, t)
			}
		}
		line := fmt.Sprintf("%s (%s)", j.Ref, j.Schedule)
		switch {
		case j.Trouble != "":
			line += " can be due: " + j.Trouble
		case len(times) == 0:
			continue
		case len(times) == 1:
			line += fmt.Sprintf(" is due at %s", when(times[0]))
		default:
			line += fmt.Sprintf(" is due %d times, first at %s", len(times), when(times[0]))
		}
		if j.Deadline > 0 && j.Deadline < away {
			line += fmt.Sprintf(", and is left out if it cannot start within %s", j.Deadline)
		}
		lines = append(lines, line)
	}
	return lines
}

// failClosed are the webhooks in the cluster that have to be back with the API before what they see can be done.
func (in Input) failClosed() []string {
	var lines []string
	for _, w := range in.Inventory.Webhooks {
		if w.FailsClosed && w.Service != "" {
			lines = append(lines, fmt.Sprintf("%s: once the API is back, %s fails until the Service %s of webhook %s answers",
				w.Configuration, strings.Join(w.Sees, ", "), w.Service, w.Name))
		}
	}
	return lines
}

func (in Input) autoscalers() []string {
	var lines []string
	for _, a := range in.Inventory.Autoscalers {
		lines = append(lines, fmt.Sprintf("%s does not scale %s (%s now, %d at most)", a.Ref, a.Target, count(a.Now, "pod"), a.Most))
	}
	return lines
}
