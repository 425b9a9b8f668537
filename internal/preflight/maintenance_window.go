package preflight

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// maintenanceWindow: a time at which the cluster's owners want no change, or too little of one at which they do. The provider does not hold back
// what people start, so this is about what was meant.
func maintenanceWindow() Check {
	return Check{
		Name: "maintenance-window", Severities: []upgrade.Severity{upgrade.Blocker, upgrade.Warning, upgrade.UnknownSeverity},
		Title: "It is outside of the maintenance window, or the plan takes longer than the window lasts",
		Why:   "The provider holds only itself to the window: an upgrade that people start goes on past its end, into the hours that it was to spare. Under maintenance: respect a run starts only inside, and pauses at a node before the window closes.",
		Mild:  func(o upgrade.Options) bool { return o.Maintenance != upgrade.RespectMaintenance },
		find:  findMaintenanceWindow,
	}
}

func findMaintenanceWindow(in Input) []upgrade.Finding {
	if len(in.Steps) == 0 {
		return nil
	}
	if found := in.unknown("whether it is a time for maintenance", upgrade.ReadMaintenance); len(found) > 0 {
		return found
	}
	m, needs, respected := in.Cluster.Maintenance, in.estimate(), in.Options.Maintenance == upgrade.RespectMaintenance
	problem, remedy, advice := "", "", "plan fewer pools at a time, with node-pools, or a shorter soak"
	fits := firstOf(m.Windows, in.TakenAt, needs)
	switch open := openAt(m.Windows, in.TakenAt); {
	case m.Summary == "", open != nil && open.End.Sub(in.TakenAt) >= needs:
		return nil
	case len(m.Windows) == 0:
		problem = "is outside of its maintenance window, and none opens within two weeks"
		remedy, advice = gcloud(in.Cluster, "clusters describe", in.Cluster.Name, "--format 'yaml(maintenancePolicy)'"), ""
	case open != nil:
		problem = fmt.Sprintf("has a maintenance window that closes at %s, in %s", when(open.End), about(open.End.Sub(in.TakenAt)))
		if respected {
			problem += "; the run pauses before the node that would not be done by then, and resume goes on in the next window"
		}
	default:
		problem = fmt.Sprintf("is outside of its maintenance window, which opens at %s for %s", when(m.Windows[0].Start), about(length(m.Windows[0])))
	}
	switch {
	case fits != nil:
		advice = "start at " + when(fits.Start)
	case len(m.Windows) > 0:
		problem += ", and no window of the next two weeks is long enough"
	}
	f := upgrade.Finding{
		Severity: upgrade.Warning, Momentary: true, Object: cluster(in.Cluster),
		Problem:  fmt.Sprintf("%s; the plan takes about %s if all goes well", problem, about(needs)),
		Evidence: []string{m.Summary}, Remedy: remedy, Advice: advice,
	}
	if respected && in.cannotBegin(m) {
		f.Severity, f.Binding = upgrade.Blocker, true // a waiver would not have the run begin anything either
		f.Advice = strings.TrimPrefix(f.Advice+", or give maintenance: ignore", ", or ")
	}
	return []upgrade.Finding{f}
}

// cannotBegin tells that the windows let a run that respects them begin nothing now, or that it would come to a step that none of them is long enough
// for.
func (in Input) cannotBegin(m upgrade.Maintenance) bool {
	first := slices.IndexFunc(in.Steps, upgrade.Step.InWindow)
	if first < 0 {
		return false
	}
	longest := upgrade.Plan{Steps: in.Steps}.Longest()
	open := openAt(m.Windows, in.TakenAt)
	return open == nil || open.End.Sub(in.TakenAt) < upgrade.WithDrains(in.Steps[first], in.Steps) ||
		!slices.ContainsFunc(m.Windows, func(w upgrade.Interval) bool { return length(w) >= longest })
}

// openAt returns the window that is open at t, or nil.
func openAt(windows []upgrade.Interval, t time.Time) *upgrade.Interval {
	for i := range windows {
		if windows[i].Contains(t) {
			return &windows[i]
		}
	}
	return nil
}

// firstOf returns the first window that opens after t and lasts as long as is needed, or nil.
func firstOf(windows []upgrade.Interval, t time.Time, needs time.Duration) *upgrade.Interval {
	for i := range windows {
		if windows[i].Start.After(t) && length(windows[i]) >= needs {
			return &windows[i]
		}
	}
	return nil
}

func length(i upgrade.Interval) time.Duration { return i.End.Sub(i.Start) }
