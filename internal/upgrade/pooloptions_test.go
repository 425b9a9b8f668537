package upgrade_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

func TestAPoolHasOptionsOfItsOwn(t *testing.T) {
	o := options()
	o.Parallel = 2
	if err := o.Set("pools", `{"default-pool": {"soak": "0s", "max-parallel-drains": "auto"}, "done": {"max-parallel-drains": 3}}`); err != nil {
		t.Fatal(err)
	}
	got := []upgrade.PoolOptions{o.For("default-pool"), o.For("done"), o.For("another")}
	want := []upgrade.PoolOptions{
		{Strategy: "auto", MaxSurge: 1, Parallel: upgrade.AutoDrains}, {Strategy: "auto", MaxSurge: 1, Parallel: 3, Soak: upgrade.Seconds(time.Hour)}, {Strategy: "auto", MaxSurge: 1, Parallel: 2, Soak: upgrade.Seconds(time.Hour)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	s := sample()
	s.Cluster.Pools[1].Version = "1.33.5-gke.900"
	p := build(t, s, o)
	if diff := cmp.Diff(o.For("default-pool"), p.For(p.Pools[0].NewName)); diff != "" {
		t.Errorf("the pool that takes over has other options than the old one:\n%s", diff)
	}
	soaks := map[string]upgrade.Seconds{}
	for _, step := range p.Steps {
		if step.Kind == upgrade.Soak {
			soaks[step.Pool] = p.Soak(step)
		}
	}
	if diff := cmp.Diff(map[string]upgrade.Seconds{"default-pool": 0, "done": upgrade.Seconds(time.Hour)}, soaks); diff != "" {
		t.Error(diff)
	}
	o.Delete = upgrade.DeleteAtEnd
	together := build(t, s, o)
	for _, step := range together.Steps {
		if step.Kind == upgrade.Soak && together.Soak(step) != upgrade.Seconds(time.Hour) {
			t.Errorf("pools that are deleted together soak for %s, want the longest of theirs", time.Duration(together.Soak(step)))
		}
	}
	plain := options()
	plain.Parallel = 2
	if build(t, s, plain).Digest == p.Digest {
		t.Error("the digest does not cover what pools have of their own")
	}
}

func TestOptionsOfPoolsThatAreNotUpgradedAreBadInput(t *testing.T) {
	o := options()
	o.Pools = []string{"default-pool"}
	o.PerPool = map[string]map[string]string{"gone": {"soak": "0s"}, "done": {"soak": "0s"}, "default-pool": {"soak": "0s"}}
	_, err := upgrade.BuildPlan(sample(), o, nothing)
	want := "pools: done has options of its own, and node-pools does not name it\npools: the cluster has no pool gone; it has default-pool, done"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func nothing(upgrade.Snapshot, upgrade.Plan) []upgrade.Finding { return nil }

func TestNewPoolsThatGrow(t *testing.T) {
	scaled := upgrade.Autoscaling{Enabled: true, Summary: "0 to 5 nodes a zone", Min: 0, Max: 5}
	for name, test := range map[string]struct {
		size                upgrade.NewPoolSize
		autoscaling         upgrade.Autoscaling
		empty               bool
		grows               bool
		nodesPerZone, grown int
		refused             string
	}{
		"same":                                  {autoscaling: scaled, nodesPerZone: 2},
		"at least a node a zone":                {size: upgrade.SizeAutoscale, autoscaling: scaled, grows: true, nodesPerZone: 1, grown: 2},
		"its own least":                         {size: upgrade.SizeAutoscale, autoscaling: upgrade.Autoscaling{Enabled: true, Min: 5, Max: 9, Total: true}, grows: true, nodesPerZone: 3, grown: 3},
		"no more than it may have":              {size: upgrade.SizeAutoscale, autoscaling: upgrade.Autoscaling{Enabled: true, Min: 1, Max: 1}, grows: true, nodesPerZone: 1, grown: 1},
		"without nodes, whatever was asked for": {autoscaling: scaled, empty: true, grows: true},
		"without autoscaling":                   {size: upgrade.SizeAutoscale, refused: "default-pool has none"},
	} {
		t.Run(name, func(t *testing.T) {
			s, o := sample(), options()
			s.Cluster.Pools[0].Autoscaling, o.Size = test.autoscaling, test.size
			if test.empty {
				s.State.Nodes, s.State.Pods = s.State.Nodes[3:], nil
			}
			p, err := upgrade.BuildPlan(s, o, nothing)
			if test.refused != "" {
				if err == nil || !strings.Contains(err.Error(), test.refused) {
					t.Errorf("got %v, want an error that says that %s", err, test.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if pool := p.Pools[0]; pool.Grows != test.grows || pool.NodesPerZone != test.nodesPerZone || pool.GrowsTo != test.grown {
				t.Errorf("grows %v from %d nodes a zone to %d, want %v, %d, %d", pool.Grows, pool.NodesPerZone, pool.GrowsTo, test.grows, test.nodesPerZone, test.grown)
			}
		})
	}
}
