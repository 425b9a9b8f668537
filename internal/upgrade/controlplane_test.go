package upgrade_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// old is a cluster whose control plane is two minors behind 1.34, with a pool at the same version.
func old() upgrade.Snapshot {
	s := sample()
	s.Cluster.ControlPlaneVersion, s.Cluster.Skew = "1.32.9-gke.100", 2
	s.Cluster.Versions.Valid = []string{"1.32.9-gke.100", "1.33.4-gke.1", "1.33.5-gke.900", "1.34.1-gke.9", "1.34.2-gke.100"}
	s.Cluster.Pools = s.Cluster.Pools[:1]
	s.Cluster.Pools[0].Version = "1.32.9-gke.100"
	return s
}

func TestWhatHappensToTheControlPlane(t *testing.T) {
	for name, test := range map[string]struct {
		target string
		scope  upgrade.Scope
		change func(*upgrade.Snapshot)
		// hops are joined by a space, and pool is what is done with the pool.
		hops, pool string
	}{
		"two minors":                            {target: "1.34", scope: upgrade.ScopeAll, hops: "1.33.5-gke.900 1.34.2-gke.100", pool: "migrate"},
		"two minors, and no nodes":              {target: "1.34", scope: upgrade.ScopeControlPlane, hops: "1.33.5-gke.900 1.34.2-gke.100", pool: "leave-out"},
		"nodes alone":                           {target: "1.34", scope: upgrade.ScopeNodes, pool: "migrate"},
		"a record of old, which has no scope":   {target: "1.34", pool: "migrate"},
		"the channel's default":                 {target: "default", scope: upgrade.ScopeAll, hops: "1.33.5-gke.900 1.34.2-gke.100", pool: "migrate"},
		"the newest":                            {target: "latest", scope: upgrade.ScopeControlPlane, hops: "1.33.5-gke.900 1.34.2-gke.100", pool: "leave-out"},
		"an exact version of the next minor":    {target: "1.33.4-gke.1", scope: upgrade.ScopeAll, hops: "1.33.4-gke.1", pool: "migrate"},
		"a patch that is there":                 {target: "patch", scope: upgrade.ScopeAll, pool: "nothing-to-do"},
		"nodes that catch up":                   {target: "control-plane", scope: upgrade.ScopeAll, pool: "nothing-to-do"},
		"a control plane that is there already": {target: "1.34", scope: upgrade.ScopeAll, change: func(s *upgrade.Snapshot) { s.Cluster.ControlPlaneVersion = "1.34.2-gke.100" }, pool: "migrate"},
		"a control plane that is newer":         {target: "1.33", scope: upgrade.ScopeAll, change: func(s *upgrade.Snapshot) { s.Cluster.ControlPlaneVersion = "1.34.2-gke.100" }, pool: "migrate"},
		"an Autopilot cluster":                  {target: "1.33", scope: upgrade.ScopeAll, change: func(s *upgrade.Snapshot) { s.Cluster.Autopilot = true }, hops: "1.33.5-gke.900", pool: "leave-out"},
	} {
		t.Run(name, func(t *testing.T) {
			s, o := old(), options()
			o.Target, o.Scope = test.target, test.scope
			if test.change != nil {
				test.change(&s)
			}
			p := build(t, s, o)
			var hops, steps []string
			if p.ControlPlane != nil {
				hops = p.ControlPlane.Hops
			}
			for i, step := range p.Steps {
				if step.Kind == upgrade.UpgradeControlPlane {
					steps = append(steps, step.Version)
					if i != len(steps)-1 {
						t.Errorf("%s is not before all steps of pools", step.ID)
					}
				}
			}
			if got := strings.Join(hops, " "); got != test.hops || !slices.Equal(hops, steps) {
				t.Errorf("hops %q with steps %q, want %q", got, steps, test.hops)
			}
			if got := string(p.Pools[0].Action); got != test.pool {
				t.Errorf("the pool: %s (%s), want %s", got, p.Pools[0].Why, test.pool)
			}
		})
	}
}

func TestWhatCannotBeDoneWithAControlPlaneIsBadInput(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*upgrade.Snapshot, *upgrade.Options)
		want   string
	}{
		"a downgrade": {func(s *upgrade.Snapshot, o *upgrade.Options) {
			s.Cluster.ControlPlaneVersion, o.Target = "1.34.2-gke.100", "1.33"
		},
			"target-version 1.33.5-gke.900 is older than the control plane at 1.34.2-gke.100, and a control plane is not downgraded"},
		"pools of no pools": {func(_ *upgrade.Snapshot, o *upgrade.Options) { o.Pools = []string{"default-pool"} }, "node-pools: scope control-plane upgrades no node pool"},
		"a version for nodes alone": {func(s *upgrade.Snapshot, o *upgrade.Options) {
			s.Cluster.Versions.Nodes, o.Target = []string{"1.33.0-gke.1"}, "1.33.0-gke.1"
		}, "target-version 1.33.0-gke.1: the provider does not offer it to control planes"},
		"no way": {func(s *upgrade.Snapshot, _ *upgrade.Options) { s.Cluster.Versions.Valid = []string{"1.34.2-gke.100"} },
			"target-version 1.34.2-gke.100: no version of 1.33 is offered by the provider"},
	} {
		t.Run(name, func(t *testing.T) {
			s, o := old(), options()
			o.Target, o.Scope = "1.34", upgrade.ScopeControlPlane
			test.change(&s, &o)
			if _, err := upgrade.BuildPlan(s, o, func(upgrade.Snapshot, upgrade.Plan) []upgrade.Finding { return nil }); err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestEachHopIsAPointOfNoReturnAndTakesItsTime(t *testing.T) {
	s, o := old(), options()
	o.Target, o.Scope = "1.34", upgrade.ScopeAll
	for regional, takes := range map[bool]time.Duration{true: 15 * time.Minute, false: 5 * time.Minute} {
		s.Cluster.Regional = regional
		p := build(t, s, o)
		hop := p.Steps[1]
		if want := "a control plane is not downgraded, so a rollback leaves it at 1.34.2-gke.100"; hop.NoReturn != want || time.Duration(hop.Estimate) != takes {
			t.Errorf("%s: %q, %s; want %q, %s", hop.ID, hop.NoReturn, time.Duration(hop.Estimate), want, takes)
		}
		if p.ControlPlane.StaysUp != regional {
			t.Errorf("regional %t: %+v", regional, p.ControlPlane)
		}
	}
}

func TestTheDigestCoversTheControlPlane(t *testing.T) {
	s, o := old(), options()
	o.Target, o.Scope = "1.34", upgrade.ScopeAll
	before := build(t, s, o)
	s.Cluster.Versions.Valid = append(slices.Clone(s.Cluster.Versions.Valid), "1.33.6-gke.1")
	now := build(t, s, o)
	if diff := cmp.Diff([]string{"the control plane is upgraded to 1.33.6-gke.1, then 1.34.2-gke.100 instead of upgraded to 1.33.5-gke.900, then 1.34.2-gke.100"}, upgrade.Differences(before, now)); diff != "" || before.Digest == now.Digest {
		t.Errorf("another way, digest the same: %t; %s", before.Digest == now.Digest, diff)
	}
	o.Scope = upgrade.ScopeControlPlane
	alone := build(t, s, o)
	if got := upgrade.Differences(now, alone); !slices.Contains(got, "the scope is control-plane instead of all") || alone.Digest == now.Digest {
		t.Errorf("another scope: %q", got)
	}
}
