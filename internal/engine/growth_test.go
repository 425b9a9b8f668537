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
