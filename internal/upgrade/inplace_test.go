package upgrade_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/preflight"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

func TestTheStrategyAndWhy(t *testing.T) {
	for name, c := range map[string]struct {
		strategy, pool, managed, cluster string
		want                             upgrade.PoolAction
		why                              string
	}{
		"a minor":                            {"auto", "1.33.5-gke.900", "", "", upgrade.Migrate, "since the minor changes"},
		"a patch":                            {"auto", "1.34.1-gke.5", "", "", upgrade.Rolling, "since only the patch changes"},
		"Terraform's pool":                   {"auto", "1.33.5-gke.900", "Terraform", "", upgrade.BlueGreen, "since Terraform manages it"},
		"a patch of Terraform's":             {"auto", "1.34.1-gke.5", "Terraform", "", upgrade.BlueGreen, "since Terraform manages it"},
		"a pool of Config Connector's":       {"auto", "1.33.5-gke.900", "", "Config Connector", upgrade.BlueGreen, "since Config Connector manages it"},
		"a migration of a pool of Terraform": {"migrate", "1.33.5-gke.900", "Terraform", "", upgrade.Migrate, "as was asked for"},
		"rolling":                            {"rolling", "1.33.5-gke.900", "", "", upgrade.Rolling, "as was asked for"},
		"blue-green":                         {"blue-green", "1.33.5-gke.900", "", "", upgrade.BlueGreen, "as was asked for"},
	} {
		t.Run(name, func(t *testing.T) {
			s := sample()
			s.Cluster.Pools[0].Version, s.Cluster.Pools[0].ManagedBy, s.Cluster.ManagedBy = c.pool, c.managed, c.cluster
			o := options()
			o.Strategy = c.strategy
			got := build(t, s, o).Pools[0]
			if got.Action != c.want || !strings.HasPrefix(got.Why, string(c.want)) || !strings.Contains(got.Why, c.why) {
				t.Errorf("%s: %s", got.Action, got.Why)
			}
		})
	}
}

func TestThePlanOfAPoolThatGKEUpgrades(t *testing.T) {
	for strategy, want := range map[string][]string{
		"rolling": {"set-upgrade-settings", "upgrade-pool", "drain-node", "drain-node", "drain-node", "restore-upgrade-settings"},
		"blue-green": {
			"set-upgrade-settings", "upgrade-pool", "drain-node", "drain-node", "drain-node", "soak", "complete-upgrade", "restore-upgrade-settings",
		},
	} {
		o := options()
		o.Strategy, o.MaxSurge, o.DrainTimeout = strategy, 2, upgrade.Seconds(20*time.Minute)
		p := build(t, sample(), o)
		var got []string
		for _, s := range p.Steps {
			got = append(got, string(s.Kind))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", strategy, diff)
		}
		pool := p.Pools[0]
		if pool.NewName != "" || pool.Upgrade.PDBTimeout != o.DrainTimeout || pool.ForceAfter != o.DrainTimeout || len(pool.Restarts) > 0 {
			t.Errorf("%s: %+v, %+v", strategy, pool, pool.Upgrade)
		}
		if extra := map[string]int{"rolling": 2, "blue-green": 3}[strategy]; pool.Surge.Nodes != extra || pool.Surge.Stays || pool.Surge.NodeHours <= 0 {
			t.Errorf("%s: costs %+v", strategy, pool.Surge)
		}
		noReturn := map[string]upgrade.StepKind{"rolling": upgrade.UpgradePool, "blue-green": upgrade.CompleteUpgrade}[strategy]
		if i := slices.IndexFunc(p.Steps, func(s upgrade.Step) bool { return s.Kind == noReturn }); p.Steps[i].NoReturn == "" {
			t.Errorf("%s: %s can be undone", strategy, p.Steps[i].ID)
		}
	}
}

func TestGKEForcesAfterWhatThePoolSaysOrAnHour(t *testing.T) {
	s, o := sample(), options()
	o.Strategy = "rolling"
	if got := build(t, s, o).Pools[0]; time.Duration(got.ForceAfter) != time.Hour || got.Upgrade.PDBTimeout != 0 {
		t.Errorf("forced after %s, set to %s", time.Duration(got.ForceAfter), time.Duration(got.Upgrade.PDBTimeout))
	}
	s.Cluster.Pools[0].Upgrade.PDBTimeout = upgrade.Seconds(5 * time.Minute)
	if got := build(t, s, o).Pools[0]; time.Duration(got.ForceAfter) != 5*time.Minute {
		t.Errorf("forced after %s", time.Duration(got.ForceAfter))
	}
}

func TestHowManyNodesGKERollsAtOnceHasLimits(t *testing.T) {
	for want, sizes := range map[string][2]int{
		"both are 0":           {0, 0},
		"no more than 20":      {15, 6},
		"":                     {0, 20},
		"max-surge 20 is fine": {20, 0},
	} {
		o := options()
		o.Strategy, o.MaxSurge, o.MaxUnavailable = "rolling", sizes[0], sizes[1]
		_, err := upgrade.BuildPlan(sample(), o, preflight.Inspect)
		if fine := sizes[0]+sizes[1] == 20; fine != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", sizes, err)
		}
		o.Strategy = "migrate"
		if _, err := upgrade.BuildPlan(sample(), o, preflight.Inspect); err != nil {
			t.Errorf("%v of a migration: %v", sizes, err)
		}
	}
}

func TestTheDigestCoversHowGKEUpgrades(t *testing.T) {
	o := options()
	o.Strategy = "rolling"
	one := build(t, sample(), o)
	o.MaxSurge = 2
	two := build(t, sample(), o)
	if one.Digest == two.Digest {
		t.Error("max-surge is not part of the digest of a rolling upgrade")
	}
	if diff := upgrade.Differences(one, two); !slices.Contains(diff, "pool default-pool: GKE upgrades it with max-surge 2, max-unavailable 0 instead of max-surge 1, max-unavailable 0") {
		t.Errorf("%v", diff)
	}
	o.Strategy = "migrate"
	three := build(t, sample(), o)
	o.MaxSurge = 1
	if build(t, sample(), o).Digest != three.Digest {
		t.Error("max-surge is part of the digest of a migration")
	}
}

func TestARecordKeepsSettingsThatAreNotRestored(t *testing.T) {
	run := upgrade.NewRun("r", upgrade.Plan{}, time.Now())
	run.Upgrades["a"] = upgrade.Settings{Strategy: upgrade.BlueGreen, Settings: json.RawMessage(`{"x":1}`), Command: "c"}
	data, err := run.Encode(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	again, err := upgrade.DecodeRun(data)
	if err != nil || !cmp.Equal(again.Upgrades, run.Upgrades) {
		t.Errorf("%v: %s", err, cmp.Diff(run.Upgrades, again.Upgrades))
	}
}
