package upgrade

import (
	"fmt"
	"time"
)

// MaintenancePolicy says what a cluster's maintenance windows and exclusions mean to a run.
type MaintenancePolicy string

// The policies for maintenance. No policy, in a record of old, is IgnoreMaintenance.
const (
	// RespectMaintenance starts a run only in a window and outside of exclusions, and no step that would not be over before that ends.
	RespectMaintenance MaintenancePolicy = "respect"
	// IgnoreMaintenance only tells of them.
	IgnoreMaintenance MaintenancePolicy = "ignore"
)

// The scopes of exclusions, in GKE's words; that of one without is all upgrades.
const (
	noMinorUpgrades       = "NO_MINOR_UPGRADES"
	noMinorOrNodeUpgrades = "NO_MINOR_OR_NODE_UPGRADES"
)

// Forbids tells whether the exclusion is about an upgrade that changes a minor version, or nodes.
func (e Exclusion) Forbids(minor, nodes bool) bool {
	switch e.Scope {
	case noMinorUpgrades:
		return minor
	case noMinorOrNodeUpgrades:
		return minor || nodes
	}
	return true
}

// Closure is a time in which a run does not begin something.
type Closure struct {
	// Why is a clause: "the maintenance window opens at 2026-01-02 03:00 UTC".
	Why string
	// Until is when it is over, zero if that is not known.
	Until time.Time
}

// Closed says why something that takes so long, of an upgrade that changes a minor version, or nodes, must not begin at a time; nil if it may.
func (m Maintenance) Closed(at time.Time, takes time.Duration, minor, nodes bool) *Closure {
	end := at.Add(takes)
	for _, e := range m.Exclusions {
		switch {
		case !e.Forbids(minor, nodes):
		case e.Contains(at) || e.End.IsZero() && !at.Before(e.Start):
			return &Closure{fmt.Sprintf("maintenance exclusion %s (%s) is in force until %s", e.Name, e.Scope, until(e.End)), e.End}
		case at.Before(e.Start) && e.Start.Before(end):
			return &Closure{fmt.Sprintf("maintenance exclusion %s (%s) begins at %s, before it would be done", e.Name, e.Scope, Minute(e.Start)), e.End}
		}
	}
	if m.Summary == "" {
		return nil
	}
	var next time.Time
	for _, w := range m.Windows {
		switch {
		case w.Contains(at) && !w.End.Before(end):
			return nil
		case w.Start.After(at) && next.IsZero() && w.End.Sub(w.Start) >= takes:
			next = w.Start
		}
	}
	for _, w := range m.Windows {
		if w.Contains(at) {
			return &Closure{fmt.Sprintf("the maintenance window closes at %s, before it would be done; %s", Minute(w.End), opens(next)), next}
		}
	}
	return &Closure{"the maintenance window is closed, and " + opens(next), next}
}

func opens(next time.Time) string {
	if next.IsZero() {
		return "none that is long enough opens within two weeks"
	}
	return "the next one opens at " + Minute(next)
}

func until(end time.Time) string {
	if end.IsZero() {
		return "the end of the version's support"
	}
	return Minute(end)
}

// Minute shows a time of a window to people: windows begin and end at full minutes.
func Minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// Changes tells whether the plan changes a minor version, and whether it changes nodes: what exclusions ask.
func (p Plan) Changes() (minor, nodes bool) {
	if c := p.ControlPlane; c != nil {
		minors, ok := MinorsBetween(c.From, c.To)
		minor = !ok || minors != 0
	}
	for _, pool := range p.Pools {
		if !pool.Action.Changes() {
			continue
		}
		nodes = true
		if minors, ok := MinorsBetween(pool.From, pool.To); !ok || minors != 0 {
			minor = true
		}
	}
	return minor, nodes
}

// Longest is how long the step takes that takes the longest of those that wait for a window.
func (p Plan) Longest() time.Duration {
	longest := time.Duration(0)
	for _, s := range p.Steps {
		if s.InWindow() {
			longest = max(longest, WithDrains(s, p.Steps))
		}
	}
	return longest
}

// InWindow tells that the step changes something and takes its time, so that it is begun only where it will be over before a window closes.
func (s Step) InWindow() bool { return s.Kind != Soak && s.Estimate > 0 }
