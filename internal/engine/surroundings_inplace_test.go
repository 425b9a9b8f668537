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

// seesOperations are surroundings that tell of the operation that is on the pool, ours included, as GKE does.
type seesOperations struct {
	*rolling
	maintenance upgrade.Maintenance
}

func (s *seesOperations) Look(ctx context.Context) (upgrade.Cluster, error) {
	pools, err := s.Pools(ctx)
	c := upgrade.Cluster{Pools: pools, Maintenance: s.maintenance}
	if id := s.underWay(); id != "" {
		c.Operations = []upgrade.Operation{{Name: id, Kind: "UPGRADE_NODES", Target: "old"}}
	}
	return c, err
}

func (s *seesOperations) Quotas(context.Context) ([]upgrade.Quota, error) { return nil, nil }

// TestWhatGKEHasDrainedIsOnlyFollowed: GKE is done with the nodes, or keeps them, and pods are not Ready yet. Neither are the upgraded nodes cordoned,
// nor is the operation taken for somebody else's, nor a window asked for what has happened already.
func TestWhatGKEHasDrainedIsOnlyFollowed(t *testing.T) {
	for _, strategy := range []string{"rolling", "blue-green"} {
		t.Run(strategy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRolling(2)
				r.homeless = true
				run := r.planned(t, strategy, func(o *upgrade.Options) { o.Maintenance = upgrade.IgnoreMaintenance })
				time.AfterFunc(2*time.Minute, func() {
					r.change(func() {
						r.homeless = false
						r.pods("", func(p *upgrade.Pod) { p.Ready = true })
					})
				})
				var told []string
				err := r.goOn(t.Context(), run, func(e *Engine) {
					e.Surroundings = &seesOperations{rolling: r}
					e.Notify = func(ev upgrade.Event) {
						if ev.Kind == upgrade.StepProgress {
							told = append(told, ev.Text)
						}
					}
				})
				if err != nil || run.State != upgrade.Succeeded {
					t.Errorf("run %s: %v", run.State, err)
				}
				if i := slices.IndexFunc(r.calls, func(call string) bool { return strings.HasPrefix(call, "cordon") }); i >= 0 {
					t.Errorf("calls %v", r.calls)
				}
				if i := slices.IndexFunc(told, func(text string) bool { return strings.Contains(text, "not ours") }); i >= 0 {
					t.Error(told[i])
				}
			})
		})
	}
}

func TestNoHopBeginsOutsideOfAWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.version = "1.33.1"
		a := &around{cluster: c, maintenance: upgrade.Maintenance{Summary: "daily", Windows: []upgrade.Interval{
			{Start: time.Now().Add(time.Hour), End: time.Now().Add(5 * time.Hour)},
		}}}
		run := planned(t, c)
		hop := upgrade.NewHop("1.34.2")
		hop.State, hop.Estimate = upgrade.StepPending, upgrade.Seconds(5*time.Minute)
		run.Plan.ControlPlane = &upgrade.ControlPlanePlan{From: "1.33.1", To: "1.34.2", Hops: []string{"1.34.2"}}
		run.Steps = slices.Insert(run.Steps, 0, hop)
		run.Plan.Options.Maintenance = upgrade.RespectMaintenance
		err := goOn(t.Context(), c, run, a.beside)
		if err == nil || run.State != upgrade.Paused || len(c.calls) > 0 || !strings.Contains(run.Problem, hop.ID+" is not begun") {
			t.Errorf("run %s, error %v, calls %v", run.State, err, c.calls)
		}
		time.Sleep(2 * time.Hour)
		if err := goOn(t.Context(), c, run, a.beside); !slices.Contains(c.calls, "upgrade control plane to 1.34.2") {
			t.Errorf("run %s, error %v, calls %v", run.State, err, c.calls)
		}
	})
}

// TestTheEndOfAWindowIsNoFailure: nothing has gone wrong, so on-failure: rollback does not move pods back, outside of any window at that.
func TestTheEndOfAWindowIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		a := &around{cluster: newCluster(), maintenance: upgrade.Maintenance{Summary: "daily", Windows: []upgrade.Interval{
			{Start: start.Add(-time.Hour), End: start.Add(10 * time.Minute)}, {Start: start.Add(24 * time.Hour), End: start.Add(28 * time.Hour)},
		}}}
		run := planned(t, a.cluster)
		run.Plan.Options.Maintenance, run.Plan.Options.OnFailure = upgrade.RespectMaintenance, upgrade.RollbackOnFailure
		for i, s := range run.Steps {
			if s.Node == "old-1" {
				run.Steps[i].Estimate = upgrade.Seconds(20 * time.Minute)
			}
		}
		if err := goOn(t.Context(), a.cluster, run, a.beside); err == nil || run.State != upgrade.Paused || run.Ending != "" {
			t.Errorf("run %s, on its way to %q, error %v", run.State, run.Ending, err)
		}
	})
}

// TestSomebodyElsesOperationIsWaitedForAnHour whatever the provider's own limit on an operation is, and then a person is needed: it is no failure of the run.
func TestSomebodyElsesOperationIsWaitedForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		a := &around{cluster: c, operations: [][]upgrade.Operation{{{Name: "theirs", Kind: "UPGRADE_NODES", Target: "old"}}}}
		run := planned(t, c)
		run.Plan.Options.OnFailure = upgrade.RollbackOnFailure
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		err := goOn(ctx, c, run, func(e *Engine) {
			a.beside(e)
			e.Provider = &tires{cluster: c}
		})
		if err == nil || run.State != upgrade.Paused || run.Ending != "" || time.Since(start) != time.Hour {
			t.Errorf("run %s after %s, on its way to %q: %v", run.State, time.Since(start), run.Ending, err)
		}
	})
}

// tires is a provider that gives up waiting for an operation before it is over.
type tires struct{ *cluster }

func (w *tires) Wait(ctx context.Context, operation string, progress func(string)) error {
	if operation != "theirs" {
		return w.cluster.Wait(ctx, operation, progress)
	}
	select {
	case <-time.After(45 * time.Minute):
		return &upgrade.Unended{Operation: operation, After: 45 * time.Minute}
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestACancelledRunGivesTheNewPoolItsOwnMinimum: what was held for pods on their way would be paid for without end.
func TestACancelledRunGivesTheNewPoolItsOwnMinimum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		run := planned(t, c)
		pool := &run.Plan.Pools[0]
		pool.Grows, pool.NodesPerZone, pool.GrowsTo = true, 1, 2
		requests := make(chan upgrade.Request, 1)
		err := goOn(t.Context(), c, run, func(e *Engine) {
			e.Requests = requests
			e.Notify = func(ev upgrade.Event) {
				if ev.Kind == upgrade.StepFinished && ev.Step.Kind == upgrade.DrainNode && len(requests) == 0 && run.Ending == "" {
					requests <- upgrade.Request{Verb: upgrade.AskCancel, Run: run.ID, By: "alice", Sequence: 1}
				}
			}
		})
		if err == nil || run.State != upgrade.Cancelled {
			t.Fatalf("run %s: %v", run.State, err)
		}
		if i := slices.Index(c.calls, "autoscaling of old-1-34-2: 1 to 5"); i < 0 {
			t.Errorf("calls %v", c.calls)
		}
	})
}

// TestAPoolThatCouldNotBeTakenAwayAgainIsOpened: its nodes were cordoned only to be deleted.
func TestAPoolThatCouldNotBeTakenAwayAgainIsOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.fails["wait op"] = errors.New("stock-out")
		c.state.Pods = append(c.state.Pods, upgrade.Pod{Namespace: "ns", Name: "early", UID: "early", Node: "new-0", Workload: upgrade.Ref{Kind: "Deployment", Name: "x", UID: "x"}})
		run, _ := carryOut(t, t.Context(), c, nil)
		if run.State != upgrade.Paused || cordoned(c, "old-1-34-2") != 0 {
			t.Errorf("run %s, %d nodes of the new pool are cordoned", run.State, cordoned(c, "old-1-34-2"))
		}
	})
}

// TestACancelWhileAHalfMadePoolIsTakenAwayNamesIt: whether it goes is not known.
func TestACancelWhileAHalfMadePoolIsTakenAwayNamesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.fails["wait op"], c.fails["delete old-1-34-2"] = errors.New("stock-out"), errors.New("connection lost")
		run := planned(t, c)
		ctx, kill := context.WithCancelCause(t.Context())
		rec := &record{}
		rec.fails = func(r *upgrade.Run) error {
			if len(r.Removed) > 0 {
				kill(&Stop{Reason: "SIGTERM"})
			}
			return nil
		}
		_ = goOn(ctx, c, run, func(e *Engine) { e.Record = rec })
		if run.State != upgrade.Interrupted || len(run.Removed) == 0 {
			t.Fatalf("run %s, removed %v, calls %v", run.State, run.Removed, c.calls)
		}
		err := goOn(t.Context(), c, run, func(e *Engine) {
			e.First = &upgrade.Request{Verb: upgrade.AskCancel, Run: run.ID, By: "alice", Sequence: 1}
		})
		if run.State != upgrade.Cancelled || len(c.pools) != 2 || !strings.Contains(strings.Join(run.Next, "\n"), "old-1-34-2") || cordoned(c, "old-1-34-2") != 0 {
			t.Errorf("run %s (%v), pools %v, next %v", run.State, err, c.pools, run.Next)
		}
	})
}

// TestAnUpgradeInPlaceIsBegunOnlyIfItsDrainsFitTheWindow and one that GKE is busy with is watched at any time.
func TestAnUpgradeInPlaceIsBegunOnlyIfItsDrainsFitTheWindow(t *testing.T) {
	for drains, want := range map[time.Duration]upgrade.RunState{time.Minute: upgrade.Succeeded, 15 * time.Minute: upgrade.Paused} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			r := newRolling(2)
			run := r.planned(t, "rolling", func(o *upgrade.Options) { o.Maintenance = upgrade.RespectMaintenance })
			for i, s := range run.Steps {
				switch s.Kind {
				case upgrade.UpgradePool:
					run.Steps[i].Estimate = upgrade.Seconds(5 * time.Minute)
				case upgrade.DrainNode:
					run.Steps[i].Estimate = upgrade.Seconds(drains)
				}
			}
			s := &seesOperations{rolling: r, maintenance: upgrade.Maintenance{Summary: "daily", Windows: []upgrade.Interval{{Start: start.Add(-time.Hour), End: start.Add(20 * time.Minute)}}}}
			err := r.goOn(t.Context(), run, func(e *Engine) { e.Surroundings = s })
			if run.State != want || want == upgrade.Paused && !strings.Contains(run.Problem, "upgrade-pool/old is not begun, which takes about 35m0s") {
				t.Errorf("drains of %s: run %s, %v", drains, run.State, err)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		r := newRolling(2)
		r.blocked = "web-0" // for an hour
		run := r.planned(t, "rolling", func(o *upgrade.Options) { o.Maintenance = upgrade.RespectMaintenance })
		s := &seesOperations{rolling: r, maintenance: upgrade.Maintenance{Summary: "daily", Windows: []upgrade.Interval{{Start: start.Add(-time.Hour), End: start.Add(20 * time.Minute)}}}}
		ctx, stop := context.WithCancelCause(t.Context())
		time.AfterFunc(15*time.Minute, func() { stop(&Stop{Reason: "the job is over"}) })
		_ = r.goOn(ctx, run, func(e *Engine) { e.Surroundings = s })
		if run.State != upgrade.Interrupted {
			t.Fatalf("run %s", run.State)
		}
		time.Sleep(10 * time.Minute)
		if err := r.goOn(t.Context(), run, func(e *Engine) { e.Surroundings = s }); err != nil {
			t.Errorf("run %s: %v", run.State, err)
		}
	})
}
