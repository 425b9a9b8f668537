package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// around is what a provider tells of a cluster besides its pools.
type around struct {
	*cluster
	maintenance upgrade.Maintenance
	quotas      []upgrade.Quota
	// operations are under way at each look in turn; the last ones stay.
	operations [][]upgrade.Operation
	fails      error
}

func (a *around) Look(ctx context.Context) (upgrade.Cluster, error) {
	pools, err := a.Pools(ctx)
	c := upgrade.Cluster{Pools: pools, Maintenance: a.maintenance}
	if len(a.operations) > 0 {
		c.Operations = a.operations[0]
		a.operations = a.operations[min(1, len(a.operations)-1):]
	}
	return c, errors.Join(err, a.fails)
}

func (a *around) Quotas(context.Context) ([]upgrade.Quota, error) { return a.quotas, nil }

func (a *around) beside(e *Engine) { e.Surroundings = a }

func TestAPoolThatCannotBeMadeAsAWholeIsDeletedAgainAndWhatItLacksIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &around{cluster: newCluster(), quotas: []upgrade.Quota{{Metric: "N2_CPUS", Limit: 24, Used: 20}, {Metric: "CPUS", Limit: 100, Used: 1}}}
		for i := range a.state.Nodes {
			a.state.Nodes[i].Allocatable = upgrade.Resources{"cpu": 3920}
		}
		a.cluster.fails["wait op"] = errors.New("Quota 'N2_CPUS' exceeded")
		run, err := carryOut(t, t.Context(), a.cluster, a.beside)
		want := "create pool old-1-34-2: Quota 'N2_CPUS' exceeded; 2 of 2 nodes came; quota N2_CPUS of the region leaves 4 of 24, and 2 new nodes need 8; " +
			"pool old-1-34-2 is deleted again, and the nodes of old are untouched"
		if err == nil || run.State != upgrade.Failed || run.Problem != want || len(run.Next) > 0 {
			t.Errorf("run %s, next %v, with problem\n%s\nwant\n%s", run.State, run.Next, run.Problem, want)
		}
		if cordoned(a.cluster, "old") != 0 || len(a.pools) != 1 || a.calls[len(a.calls)-1] != "autoscaling of old: 1 to 5" {
			t.Errorf("pools %v, calls %v", a.pools, a.calls)
		}
	})
}

func TestWhatIsInUseOfAPoolThatCannotBeMadeStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.fails["wait op"] = errors.New("stock-out")
		c.state.Pods = append(c.state.Pods, upgrade.Pod{Namespace: "ns", Name: "early", UID: "early", Node: "new-0", Workload: upgrade.Ref{Kind: "Deployment", Name: "x", UID: "x"}})
		run, _ := carryOut(t, t.Context(), c, nil)
		if run.State != upgrade.Paused || !strings.Contains(run.Problem, "Pod ns/early: is still on node new-0") || slices.Contains(c.calls, "delete old-1-34-2") {
			t.Errorf("run %s with problem %q, calls %v", run.State, run.Problem, c.calls)
		}
	})
}

// TestNoDrainBeginsThatTheWindowDoesNotLeaveTimeFor: the run pauses at a node, and goes on in the next window.
func TestNoDrainBeginsThatTheWindowDoesNotLeaveTimeFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		a := &around{cluster: newCluster(), maintenance: upgrade.Maintenance{Summary: "daily", Windows: []upgrade.Interval{
			{Start: start.Add(-time.Hour), End: start.Add(10 * time.Minute)}, {Start: start.Add(24 * time.Hour), End: start.Add(28 * time.Hour)},
		}}}
		run := planned(t, a.cluster)
		run.Plan.Options.Maintenance = upgrade.RespectMaintenance
		for i, s := range run.Steps {
			if s.Kind == upgrade.DrainNode && s.Node == "old-1" {
				run.Steps[i].Estimate = upgrade.Seconds(20 * time.Minute)
			}
		}
		if err := goOn(t.Context(), a.cluster, run, a.beside); err == nil || run.State != upgrade.Paused {
			t.Fatalf("run %s, error %v", run.State, err)
		}
		if !strings.Contains(run.Problem, "drain-node/old/old-1 is not begun, which takes about 20m0s: the maintenance window closes at") ||
			!strings.Contains(run.Next[0], "from "+upgrade.Minute(start.Add(24*time.Hour))+" on") || run.NodesDrained != 1 {
			t.Errorf("%d drained, problem %q, next %v", run.NodesDrained, run.Problem, run.Next)
		}
		if err := goOn(t.Context(), a.cluster, run, a.beside); err == nil || run.State != upgrade.Paused {
			t.Fatalf("outside of the window the run is %s", run.State)
		}
		time.Sleep(25 * time.Hour)
		if err := goOn(t.Context(), a.cluster, run, a.beside); err != nil || run.State != upgrade.Succeeded {
			t.Errorf("in the next window the run is %s, error %v", run.State, err)
		}
	})
}

// TestAnOperationOfSomebodyElseOnThePoolStopsItsDrains: nothing is evicted while it lasts; nodes that it made again are drained too.
func TestAnOperationOfSomebodyElseOnThePoolStopsItsDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		a := &around{cluster: c}
		c.fails["evict web-0"] = errors.New("not yet")
		upgrading := []upgrade.Operation{{Name: "auto", Kind: "UPGRADE_NODES", Target: "old"}}
		begun := time.Now()
		time.AfterFunc(10*time.Second, func() { a.operations = [][]upgrade.Operation{upgrading, upgrading, nil} })
		evicted := []time.Duration{}
		run, err := carryOut(t, t.Context(), c, func(e *Engine) {
			a.beside(e)
			e.Provider = &waits{cluster: c, operation: "auto", over: func() {
				// GKE has made old-0 again, under its old name and open, and a pod has come to it.
				c.change(func() {
					delete(c.fails, "evict web-0")
					c.cordon("old-0", "")
				})
				evicted = append(evicted, time.Since(begun))
			}}
		})
		if err != nil || run.State != upgrade.Succeeded || len(evicted) != 1 {
			t.Fatalf("run %s, error %v, waited %v", run.State, err, evicted)
		}
		if evicted[0] < 10*time.Minute {
			t.Errorf("it went on after %s", evicted[0])
		}
		if n := countExactly(c.calls, "cordon old-0"); n != 2 {
			t.Errorf("old-0 was cordoned %d times: %v", n, c.calls)
		}
	})
}

// waits is a provider with an operation of somebody else that takes ten minutes.
type waits struct {
	*cluster
	operation string
	over      func()
}

func (w *waits) Wait(ctx context.Context, operation string, progress func(string)) error {
	if operation == w.operation {
		time.Sleep(10 * time.Minute)
		w.over()
		return nil
	}
	return w.cluster.Wait(ctx, operation, progress)
}

func TestAPlanWhosePremisesAreGonePauses(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*cluster)
		after  string
		want   string
	}{
		"somebody deleted the new pool": {after: "cordon old-0", want: "somebody else has deleted pool old-1-34-2", change: func(c *cluster) {
			c.pools = c.pools[:1]
		}},
		"somebody upgraded the old one": {after: "create old-1-34-2 like old at 1.34.2, 2 a zone", want: "pool old runs 1.34.2 by now", change: func(c *cluster) {
			c.pools[0].Version = "1.34.2"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster()
				done := false
				run, _ := carryOut(t, t.Context(), c, func(e *Engine) {
					(&around{cluster: c}).beside(e)
					e.Notify = func(upgrade.Event) {
						if !done && slices.Contains(c.calls, test.after) {
							done = true
							test.change(c)
						}
					}
				})
				if run.State != upgrade.Paused || !strings.Contains(run.Problem, test.want) {
					t.Errorf("run %s with problem %q", run.State, run.Problem)
				}
			})
		})
	}
}

// TestSurroundingsThatCannotBeSeen stop a run only if it has to know whether a window is open, and has never seen one.
func TestSurroundingsThatCannotBeSeen(t *testing.T) {
	for policy, want := range map[upgrade.MaintenancePolicy]upgrade.RunState{upgrade.RespectMaintenance: upgrade.Paused, upgrade.IgnoreMaintenance: upgrade.Succeeded} {
		synctest.Test(t, func(t *testing.T) {
			a := &around{cluster: newCluster(), fails: errors.New("try later")}
			run := planned(t, a.cluster)
			run.Plan.Options.Maintenance = policy
			_ = goOn(t.Context(), a.cluster, run, a.beside) // how it ends is looked at
			if run.State != want || want == upgrade.Paused && run.Problem != "whether it is a time for maintenance cannot be told: try later" {
				t.Errorf("%s: run %s with problem %q, want %s", policy, run.State, run.Problem, want)
			}
		})
	}
}
