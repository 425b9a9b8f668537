package upgrade

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Differences says, a sentence each, what makes a plan another one than an earlier one that was approved: what its digest covers.
func Differences(before, now Plan) []string {
	var found []string
	add := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if a, b := before.Cluster.ControlPlaneVersion, now.Cluster.ControlPlaneVersion; a != b {
		add("the control plane runs %s instead of %s", b, a)
	}
	if a, b := before.Target.Version, now.Target.Version; a != b {
		add("the target %s is %s instead of %s now", now.Target.Requested, b, a)
	}
	if a, b := before.Options.Scope, now.Options.Scope; a != b {
		add("the scope is %s instead of %s", cmp.Or(b, ScopeNodes), cmp.Or(a, ScopeNodes))
	}
	if a, b := before.way(), now.way(); a != b {
		add("the control plane is %s instead of %s", b, a)
	}
	found = append(found, optionDifferences(before.Options, now.Options)...)
	found = append(found, poolDifferences(before, now)...)
	for _, c := range union(before.Consents, now.Consents) {
		switch had, has := slices.Contains(before.Consents, c), slices.Contains(now.Consents, c); {
		case had && !has:
			add("it needs no consent %s any more", c)
		case has && !had:
			add("it asks for the consent %s", c)
		}
	}
	found = append(found, restartDifferences(before, now)...)
	for _, key := range slices.Sorted(maps.Keys(merged(before.Budgets, now.Budgets))) {
		a, had := before.Budgets[key]
		b, has := now.Budgets[key]
		switch {
		case !had:
			add("PodDisruptionBudget %s is new among those that count", key)
		case !has:
			add("PodDisruptionBudget %s does not count any more", key)
		case !bytes.Equal(a, b):
			add("PodDisruptionBudget %s has changed", key)
		}
	}
	found = append(found, findingDifferences(before, now)...)
	if len(found) == 0 && before.Digest != now.Digest {
		add("its options or the way in which it was made have changed")
	}
	return found
}

// way is what is done with the control plane.
func (p Plan) way() string {
	if p.ControlPlane == nil {
		return "left alone"
	}
	return "upgraded to " + strings.Join(p.ControlPlane.Hops, ", then ")
}

// optionDifferences tells of what is chosen for pools of their own, and of the options that say what a run may do by itself.
func optionDifferences(before, now Options) []string {
	var found []string
	for _, o := range []struct{ name, before, now string }{
		{"new-pool-size", string(cmp.Or(before.Size, SizeSame)), string(cmp.Or(now.Size, SizeSame))},
		{"maintenance", string(cmp.Or(before.Maintenance, IgnoreMaintenance)), string(cmp.Or(now.Maintenance, IgnoreMaintenance))},
	} {
		if o.before != o.now {
			found = append(found, fmt.Sprintf("%s is %s instead of %s", o.name, o.now, o.before))
		}
	}
	for _, pool := range slices.Sorted(maps.Keys(merged(before.PerPool, now.PerPool))) {
		for _, name := range slices.Sorted(maps.Keys(merged(before.PerPool[pool], now.PerPool[pool]))) {
			a, had := before.PerPool[pool][name]
			b, has := now.PerPool[pool][name]
			switch {
			case !has:
				found = append(found, fmt.Sprintf("pool %s has no %s of its own any more", pool, name))
			case !had || a != b:
				found = append(found, fmt.Sprintf("pool %s has its own %s: %s", pool, name, b))
			}
		}
	}
	return found
}

func poolDifferences(before, now Plan) []string {
	var found []string
	for _, p := range now.Pools {
		old, had := before.Pool(p.Name)
		switch {
		case !had:
			found = append(found, fmt.Sprintf("pool %s is new", p.Name))
		case old.Action != p.Action:
			found = append(found, fmt.Sprintf("pool %s: %s instead of %s", p.Name, p.Action, old.Action))
		case p.Action == Migrate && old.NewName != p.NewName:
			found = append(found, fmt.Sprintf("pool %s: %s takes over instead of %s", p.Name, p.NewName, old.NewName))
		case p.Action.Changes() && old.From != p.From:
			found = append(found, fmt.Sprintf("pool %s runs %s instead of %s", p.Name, p.From, old.From))
		case p.ByProvider() && old.Upgrade != nil && !reflect.DeepEqual(old.Upgrade, p.Upgrade):
			found = append(found, fmt.Sprintf("pool %s: GKE upgrades it with %s instead of %s", p.Name, p.Upgrade, old.Upgrade))
		case p.Action.Changes() && !bytes.Equal(old.Config, p.Config):
			found = append(found, fmt.Sprintf("the configuration of pool %s has changed", p.Name))
		case p.Action.Changes() && old.Autoscaling.Summary != p.Autoscaling.Summary:
			found = append(found, fmt.Sprintf("the autoscaling of pool %s has changed", p.Name))
		}
	}
	for _, p := range before.Pools {
		if _, has := now.Pool(p.Name); !has {
			found = append(found, fmt.Sprintf("pool %s is gone", p.Name))
		}
	}
	return found
}

// restartDifferences tells of Deployments that are restarted in one of the plans only.
func restartDifferences(before, now Plan) []string {
	a, b := before.restarted(), now.restarted()
	var found []string
	for _, uid := range slices.Sorted(maps.Keys(merged(a, b))) {
		_, had := a[uid]
		_, has := b[uid]
		switch {
		case !had:
			found = append(found, fmt.Sprintf("%s is restarted before the drains", b[uid]))
		case !has:
			found = append(found, fmt.Sprintf("%s is not restarted before the drains any more", a[uid]))
		}
	}
	return found
}

// findingDifferences tells of blockers and warnings that came and went.
func findingDifferences(before, now Plan) []string {
	lines := func(p Plan) []string {
		var all []string
		for _, f := range p.Findings {
			if !f.lasting() {
				continue
			}
			line := fmt.Sprintf("%s %s: %s", f.Severity, f.Check, f.Object)
			if f.Waiver != nil {
				line = "accepted " + line
			}
			all = append(all, line)
		}
		return all
	}
	a, b := lines(before), lines(now)
	var found []string
	for _, l := range b {
		if !slices.Contains(a, l) {
			found = append(found, "new "+l)
		}
	}
	for _, l := range a {
		if !slices.Contains(b, l) {
			found = append(found, "gone: "+l)
		}
	}
	return found
}

func union[T comparable](a, b []T) []T {
	all := slices.Clone(a)
	for _, v := range b {
		if !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return all
}

func merged[V any](a, b map[string]V) map[string]V {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]V{}
	}
	maps.Copy(all, b)
	return all
}
