package engine

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// TestAPoolThatGrowsIsHeldAtWhatItHasComeTo: before each drain and the soak, and given its own settings back in the end.
func TestAPoolThatGrowsIsHeldAtWhatItHasComeTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		run := planned(t, c)
		pool := &run.Plan.Pools[0]
		pool.Grows, pool.NodesPerZone, pool.GrowsTo = true, 1, 2
		grown := false
		err := goOn(t.Context(), c, run, func(e *Engine) {
			e.Notify = func(event upgrade.Event) {
				if event.Kind == upgrade.StepStarted && event.Step.Kind == upgrade.DrainNode && !grown {
					grown = true
					c.change(func() {
						c.state.Nodes = append(c.state.Nodes, upgrade.Node{Name: "added", Pool: "old-1-34-2", Version: "1.34.2", Ready: true})
					})
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		calls := slices.DeleteFunc(slices.Clone(c.calls), func(call string) bool {
			return !strings.HasPrefix(call, "autoscaling") && !strings.HasPrefix(call, "create")
		})
		want := []string{
			"autoscaling of old: ", "create old-1-34-2 like old at 1.34.2, 1 a zone",
			"autoscaling of old-1-34-2: 1 to 5, 1 held", "autoscaling of old-1-34-2: 1 to 5, 2 held", "autoscaling of old-1-34-2: 1 to 5, 2 held",
			"autoscaling of old-1-34-2: 1 to 5",
		}
		if diff := cmp.Diff(want, calls); diff != "" {
			t.Error(diff)
		}
	})
}

// TestPoolsThatSoakTogetherAreHeldTogether: pods are on their way to each of the new pools until all old ones are gone.
func TestPoolsThatSoakTogetherAreHeldTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := twoPools()
		delete(c.fails, "evict api-0")
		run := plannedWith(t, c, upgrade.DeleteAtEnd)
		for i := range run.Plan.Pools {
			run.Plan.Pools[i].Grows, run.Plan.Pools[i].NodesPerZone, run.Plan.Pools[i].GrowsTo = true, 1, 2
		}
		var held []string
		err := goOn(t.Context(), c, run, func(e *Engine) {
			e.Notify = func(ev upgrade.Event) {
				if ev.Kind == upgrade.StepFinished && ev.Step.Kind == upgrade.Soak {
					held = slices.Clone(c.calls[len(c.calls)-2:])
				}
			}
		})
		if diff := cmp.Diff([]string{"autoscaling of old-1-34-2: 1 to 5, 1 held", "autoscaling of other-1-34-2: 2 to 3, 1 held"}, held); err != nil || diff != "" {
			t.Error(err, diff)
		}
	})
}
