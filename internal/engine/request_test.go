package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// blocked is a cluster in which pod web-1 cannot be evicted.
func blocked() *cluster {
	c := newCluster()
	c.fails["evict web-1"] = errors.New("no")
	return c
}

// asking sends requests once the drain of a node waits, one each time it begins to wait.
func asking(e *Engine, requests ...upgrade.Request) {
	ask := make(chan upgrade.Request, len(requests))
	e.Requests = ask
	e.Notify = func(event upgrade.Event) {
		if event.Kind == upgrade.DrainWaits && len(requests) > 0 {
			r := requests[0]
			requests = requests[1:]
			r.Run, r.By, r.Sequence = "run-1", "alice", e.run.Acknowledged+1
			ask <- r
		}
	}
}

func count(calls []string, prefix string) int {
	n := 0
	for _, c := range calls {
		if strings.HasPrefix(c, prefix) {
			n++
		}
	}
	return n
}

func cordoned(c *cluster, pool string) int {
	n := 0
	for _, node := range c.state.PoolNodes(pool) {
		if node.Unschedulable {
			n++
		}
	}
	return n
}

func TestAPersonPausesARunAndAnotherProcessGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := blocked(), &record{}
		start := time.Now()
		_, err := carryOut(t, t.Context(), c, func(e *Engine) {
			e.Record = r
			asking(e, upgrade.Request{Verb: upgrade.AskPause})
		})
		run := r.load(t)
		if err == nil || run.State != upgrade.Paused || run.Problem != "paused by alice" || run.Acknowledged != 1 || cordoned(c, "old") != 2 {
			t.Errorf("run %s with problem %q, error %v, %d acknowledged, %d cordoned", run.State, run.Problem, err, run.Acknowledged, cordoned(c, "old"))
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("it took %s", took)
		}
		delete(c.fails, "evict web-1")
		if err := goOn(t.Context(), c, run, nil); err != nil || run.State != upgrade.Succeeded {
			t.Errorf("run %s, error %v", run.State, err)
		}
		if n := count(c.calls, "create"); n != 1 || len(run.Moves) != 2 || run.NodesDrained != 2 {
			t.Errorf("%d pools made, moves %v, %d nodes drained", n, run.Moves, run.NodesDrained)
		}
	})
}

func TestCancelUndoesCordonsAndAutoscalingAndKeepsTheNewPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := blocked(), &record{}
		_, err := carryOut(t, t.Context(), c, func(e *Engine) {
			e.Record = r
			asking(e, upgrade.Request{Verb: upgrade.AskCancel})
		})
		run := r.load(t)
		if err == nil || run.State != upgrade.Cancelled || run.FinishedAt == nil || cordoned(c, "old") != 0 || len(run.Frozen) != 0 || len(c.pools) != 2 {
			t.Errorf("run %s (%s), error %v, %d cordoned, frozen %v, pools %v", run.State, run.Problem, err, cordoned(c, "old"), run.Frozen, c.pools)
		}
		want := []string{"pods run on both old and the new pool old-1-34-2: upgrade again to go on with it, or drain old-1-34-2 and then delete it: gcloud container node-pools delete old-1-34-2 --cluster c --project p --location l"}
		if diff := cmp.Diff(want, run.Next); diff != "" {
			t.Error(diff)
		}
	})
}

func TestRollbackMovesThePodsBackAndDeletesTheNewPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := blocked(), &record{}
		_, err := carryOut(t, t.Context(), c, func(e *Engine) {
			e.Record = r
			asking(e, upgrade.Request{Verb: upgrade.AskRollback})
		})
		run := r.load(t)
		if err == nil || run.State != upgrade.RolledBack || len(run.Frozen) != 0 || len(run.Next) != 0 {
			t.Errorf("run %s (%s), error %v, frozen %v, next %v", run.State, run.Problem, err, run.Frozen, run.Next)
		}
		for _, p := range c.state.Pods {
			if !strings.HasPrefix(p.Node, "old") {
				t.Errorf("pod %s is on %q", p.Name, p.Node)
			}
		}
		at := func(call string) int { return slices.Index(c.calls, call) }
		if at("uncordon old-0") > at("cordon new-0") || at("cordon new-1") > at("evict web-0x") || at("evict web-0x") > at("delete old-1-34-2") || at("delete old") >= 0 {
			t.Errorf("calls: %v", c.calls)
		}
		if len(c.pools) != 1 || cordoned(c, "old") != 0 {
			t.Errorf("pools %v, %d cordoned", c.pools, cordoned(c, "old"))
		}
	})
}

func TestARollbackThatIsBlockedPausesAndGoesOnBackwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := blocked(), &record{}
		c.fails["evict web-0x"] = errors.New("no way back")
		_, err := carryOut(t, t.Context(), c, func(e *Engine) {
			e.Record = r
			asking(e, upgrade.Request{Verb: upgrade.AskRollback})
		})
		run := r.load(t)
		if err == nil || run.State != upgrade.Paused || run.Ending != upgrade.RolledBack || !strings.Contains(run.Problem, "no way back") {
			t.Errorf("run %s (%s) on its way to %s, error %v", run.State, run.Problem, run.Ending, err)
		}
		delete(c.fails, "evict web-0x")
		if err := goOn(t.Context(), c, run, nil); err == nil || run.State != upgrade.RolledBack || len(c.pools) != 1 {
			t.Errorf("run %s, error %v, pools %v", run.State, err, c.pools)
		}
	})
}

func TestTroubleTurnsARunBackWhenItIsToldTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := blocked()
		run := planned(t, c)
		run.Plan.Options.OnFailure = upgrade.RollbackOnFailure
		err := goOn(t.Context(), c, run, nil)
		if err == nil || run.State != upgrade.RolledBack || !strings.Contains(run.Problem, "node old-1 is not drained after 30m0s") || len(c.pools) != 1 {
			t.Errorf("run %s (%s), error %v, pools %v", run.State, run.Problem, err, c.pools)
		}
	})
}

func TestAPoolThatCannotBeMadeIsRolledBackWithoutATrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.fails["wait op"] = errors.New("quota exceeded")
		run := planned(t, c)
		run.Plan.Options.OnFailure = upgrade.RollbackOnFailure
		_ = goOn(t.Context(), c, run, nil)
		if run.State != upgrade.RolledBack || len(c.pools) != 1 || len(run.Frozen) != 0 {
			t.Errorf("run %s (%s), pools %v, frozen %v", run.State, run.Problem, c.pools, run.Frozen)
		}
	})
}

func TestWhatIsDeletedCannotBeRolledBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		run := planned(t, c)
		err := goOn(t.Context(), c, run, func(e *Engine) {
			e.Record = &record{fails: func(r *upgrade.Run) error {
				if s := r.Step("delete-pool/old"); s.State == upgrade.StepDone {
					return errors.New("crash")
				}
				return nil
			}}
		})
		if err == nil {
			t.Fatal("it did not crash")
		}
		// As a crash leaves it: GKE was told, and the record does not know.
		run.Step("delete-pool/old").State, run.Step("delete-pool/old").Operation = upgrade.StepRunning, ""
		run.ReplacedPools = map[string]string{}
		err = goOn(t.Context(), c, run, func(e *Engine) {
			e.First = &upgrade.Request{Verb: upgrade.AskRollback, Run: "run-1", By: "alice"}
		})
		want := "pool old is deleted, or being deleted: there is nothing to go back to"
		if err == nil || err.Error() != want || len(run.Handled) != 1 || run.Handled[0].Refused != want || slices.Contains(c.calls, "delete old-1-34-2") {
			t.Errorf("run %s (%s), error %v, handled %v, calls %v", run.State, run.Problem, err, run.Handled, c.calls)
		}
	})
}

func TestUnblock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := blocked()
		run, err := carryOut(t, t.Context(), c, func(e *Engine) {
			asking(e, upgrade.Request{Verb: upgrade.AskUnblock, Arguments: []string{"force:ns/web-1", "another-uid"}},
				upgrade.Request{Verb: upgrade.AskUnblock, Arguments: []string{"force:ns/web-1", "web-1"}})
		})
		if err != nil || run.State != upgrade.Succeeded || count(c.calls, "force web-1") != 1 || len(run.Forced) != 1 || run.Handled[0].Refused == "" {
			t.Errorf("run %s, error %v, forced %v, calls %v", run.State, err, run.Forced, c.calls)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c := blocked()
		run, err := carryOut(t, t.Context(), c, func(e *Engine) {
			asking(e, upgrade.Request{Verb: upgrade.AskUnblock, Arguments: []string{"skip:old-1"}})
		})
		if err == nil || run.State != upgrade.Paused || run.Problem != "the run is not over, since a person had these nodes skipped: old-1" || slices.Contains(c.calls, "delete old") {
			t.Errorf("run %s (%s), error %v", run.State, run.Problem, err)
		}
		delete(c.fails, "evict web-1")
		if err := goOn(t.Context(), c, run, nil); err != nil || run.NodesDrained != 2 {
			t.Errorf("run %s, error %v, %d nodes drained", run.State, err, run.NodesDrained)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c := blocked()
		start := time.Now()
		run, _ := carryOut(t, t.Context(), c, func(e *Engine) {
			asking(e, upgrade.Request{Verb: upgrade.AskUnblock, Arguments: []string{"retry"}}, upgrade.Request{Verb: upgrade.AskUnblock, Arguments: []string{"skip:nobody"}})
		})
		if run.State != upgrade.Paused || time.Since(start) < 30*time.Minute || len(run.Handled) != 2 || run.Handled[1].Refused != "the run does not drain a node nobody" {
			t.Errorf("run %s after %s, handled %v", run.State, time.Since(start), run.Handled)
		}
	})
}

// stuck is a record that cannot be written while the API is away.
type stuck struct {
	*record
	away bool
}

func (s *stuck) Save(ctx context.Context, run *upgrade.Run) error {
	if s.away {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return s.record.Save(ctx, run)
}

func TestASignalEndsARunInTimeAlsoIfTheRecordCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := blocked(), &stuck{record: &record{}}
		ctx, cancel := context.WithCancelCause(t.Context())
		var signalled time.Time
		run, err := carryOut(t, ctx, c, func(e *Engine) {
			e.Record = r
			e.Notify = func(event upgrade.Event) {
				if event.Kind == upgrade.DrainWaits && signalled.IsZero() {
					r.away, signalled = true, time.Now()
					time.AfterFunc(time.Second, func() {
						signalled = time.Now()
						cancel(&Stop{Reason: "a signal"})
					})
				}
			}
		})
		if took := time.Since(signalled); err == nil || run.State != upgrade.Interrupted || took > checkpointTimeout+lastCalls || !strings.Contains(run.Problem, "the checkpoint could not be written") {
			t.Errorf("run %s (%s) %s after the signal, error %v", run.State, run.Problem, took, err)
		}
	})
}

func TestTwoNodesCanBeSkippedOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := blocked()
		c.fails["evict web-0"] = errors.New("no")
		run := plannedWith(t, c, upgrade.DeleteNever)
		for _, node := range []string{"old-0", "old-1"} {
			_ = goOn(t.Context(), c, run, func(e *Engine) {
				e.First = &upgrade.Request{Verb: upgrade.AskUnblock, Arguments: []string{"skip:" + node}, Run: "run-1", By: "alice"}
			})
		}
		if want := "the run is not over, since a person had these nodes skipped: old-0, old-1"; run.State != upgrade.Paused || run.Problem != want {
			t.Errorf("run %s (%s)", run.State, run.Problem)
		}
		clear(c.fails)
		if err := goOn(t.Context(), c, run, nil); err != nil || run.NodesDrained != 2 {
			t.Errorf("run %s (%s), error %v", run.State, run.Problem, err)
		}
	})
}

func TestADeletionWhoseAnswerIsLostIsNotTurnedBack(t *testing.T) {
	for _, onFailure := range []upgrade.FailurePolicy{upgrade.PauseOnFailure, upgrade.RollbackOnFailure} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster()
			c.loseDelete = true
			run := planned(t, c)
			run.Plan.Options.OnFailure = onFailure
			_ = goOn(t.Context(), c, run, nil)
			if count(c.calls, "uncordon") != 0 || slices.Contains(c.calls, "delete old-1-34-2") || !run.GoingAway("old") {
				t.Errorf("run %s (%s), calls %v", run.State, run.Problem, c.calls)
			}
		})
	}
}

func TestADeletionThatFailedLeavesNoNodeCordoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.deletion, c.fails["wait deletion"] = "deletion", errors.New("internal error")
		run, err := carryOut(t, t.Context(), c, nil)
		if err == nil || run.State != upgrade.Failed || run.GoingAway("old") || cordoned(c, "old") != 0 || len(run.Frozen) != 0 {
			t.Errorf("run %s (%s), %d cordoned, frozen %v", run.State, run.Problem, cordoned(c, "old"), run.Frozen)
		}
	})
}

func TestAnOutageIsToldAtTheStartAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		outages := make(chan upgrade.Outage)
		var told []upgrade.EventKind
		time.AfterFunc(30*time.Minute, func() { outages <- upgrade.Outage{Since: time.Now(), Err: errors.New("connection refused")} })
		time.AfterFunc(40*time.Minute, func() { outages <- upgrade.Outage{Since: time.Now().Add(-10 * time.Minute), Over: true} })
		_, err := carryOut(t, t.Context(), c, func(e *Engine) {
			e.Outages = outages
			e.Notify = func(event upgrade.Event) {
				if event.Kind == upgrade.APIAway || event.Kind == upgrade.APIBack {
					told = append(told, event.Kind)
				}
			}
		})
		if err != nil || !slices.Equal(told, []upgrade.EventKind{upgrade.APIAway, upgrade.APIBack}) {
			t.Errorf("told %v, error %v", told, err)
		}
	})
}

func TestARollbackWithNothingToUndoIsRefusedOrTrivial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := twoPools()
		run := plannedWith(t, c, upgrade.DeleteEach)
		// The process ends between the two pools.
		_ = goOn(t.Context(), c, run, func(e *Engine) {
			e.Record = &record{fails: func(r *upgrade.Run) error {
				if s := r.Step("freeze-autoscaling/other"); s.StartedAt != nil {
					s.State, s.StartedAt = upgrade.StepPending, nil
					return errors.New("crash")
				}
				return nil
			}}
		})
		err := goOn(t.Context(), c, run, func(e *Engine) {
			e.First = &upgrade.Request{Verb: upgrade.AskRollback, Run: "run-1", By: "alice"}
		})
		if !errors.As(err, new(*Refused)) || len(c.pools) != 2 {
			t.Errorf("error %v, pools %v", err, c.pools)
		}
	})
}

func TestWhoCannotAskTheProviderDoesNotTurnBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.loseDelete, c.poolsFail = true, true
		run := planned(t, c)
		run.Plan.Options.OnFailure = upgrade.RollbackOnFailure
		_ = goOn(t.Context(), c, run, nil)
		if run.State != upgrade.Paused || run.Ending != "" || !strings.HasPrefix(run.Problem, "cannot tell whether pool old is being deleted: ") || count(c.calls, "uncordon") != 0 {
			t.Errorf("run %s (%s) on its way to %q, calls %v", run.State, run.Problem, run.Ending, c.calls)
		}
		c.loseDelete, c.poolsFail = false, false
		if err := goOn(t.Context(), c, run, nil); err != nil {
			t.Error(err)
		}
	})
}

func TestAForeignPoolInPlaceOfTheNewOneIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		run := planned(t, c)
		run.Plan.Options.OnFailure = upgrade.RollbackOnFailure
		c.fails["create old-1-34-2 like old at 1.34.2, 2 a zone"] = errors.New("exists already, and no run made it")
		c.foreign = "old-1-34-2"
		_ = goOn(t.Context(), c, run, nil)
		if run.State != upgrade.RolledBack || count(c.calls, "cordon") != 0 || count(c.calls, "evict") != 0 || count(c.calls, "delete") != 0 || len(c.pools) != 2 {
			t.Errorf("run %s (%s), calls %v", run.State, run.Problem, c.calls)
		}
	})
}

// twoPools is blocked on its second pool: pod api-0, on node other-0.
func twoPools() *cluster {
	c := newCluster()
	c.pools = append(c.pools, upgrade.Pool{Name: "other", Version: "1.33.1", Zones: []string{"a"}, Autoscaling: upgrade.Autoscaling{Enabled: true, Summary: "2 to 3"}})
	api := upgrade.Workload{Ref: upgrade.Ref{Kind: "Deployment", Namespace: "ns", Name: "api", UID: "api"}, Wanted: 1}
	c.state.Workloads["api"] = api
	c.state.Nodes = append(c.state.Nodes, upgrade.Node{Name: "other-0", Pool: "other", Zone: "a", Version: "1.33.1", Ready: true})
	c.state.Pods = append(c.state.Pods, upgrade.Pod{Namespace: "ns", Name: "api-0", UID: "api-0", Node: "other-0", Workload: api.Ref, Ready: true})
	c.fails["evict api-0"] = errors.New("no")
	return c
}

func TestARollbackLeavesFinishedPools(t *testing.T) {
	for policy, want := range map[upgrade.DeletePolicy][]string{
		upgrade.DeleteEach:  {"old-1-34-2", "other"},
		upgrade.DeleteAtEnd: {"old", "other"},
		upgrade.DeleteNever: {"old", "other"},
	} {
		for _, verb := range []upgrade.Verb{upgrade.AskRollback, upgrade.AskCancel} {
			t.Run(fmt.Sprintf("%s, delete %s", verb, policy), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := twoPools()
					run := plannedWith(t, c, policy)
					_ = goOn(t.Context(), c, run, func(e *Engine) { asking(e, upgrade.Request{Verb: verb}) })
					var pools []string
					for _, p := range c.pools {
						pools = append(pools, p.Name)
					}
					slices.Sort(pools)
					if verb == upgrade.AskRollback && !slices.Equal(pools, want) {
						t.Errorf("pools %v, want %v", pools, want)
					}
					for _, n := range c.state.Nodes {
						if n.Unschedulable {
							t.Errorf("node %s is left cordoned", n.Name)
						}
					}
					if !run.State.Final() || len(run.Frozen) != 0 || count(c.calls, "autoscaling of other: 2 to 3") != 1 {
						t.Errorf("run %s (%s), frozen %v, calls %v", run.State, run.Problem, run.Frozen, c.calls)
					}
					for _, p := range c.state.Pods {
						if !slices.ContainsFunc(c.state.Nodes, func(n upgrade.Node) bool { return n.Name == p.Node }) {
							t.Errorf("pod %s is on %q, which is gone", p.Name, p.Node)
						}
					}
				})
			})
		}
	}
}

// TestACrashAtAnySaveIsGoneOnFrom ends the process at every save, once before the record has it and once after, and goes on
// with what the record has: nothing is done twice. So does a run that turns back.
func TestACrashAtAnySaveIsGoneOnFrom(t *testing.T) {
	for _, test := range []struct {
		name  string
		make  func() *cluster
		once  []string
		state upgrade.RunState
		pool  string
		// drains are how many nodes are drained at once, and saves how many saves there are at least.
		drains upgrade.Drains
		saves  int
		// moves is how many pods are moved in all, and restarts how often a Deployment is restarted.
		moves, restarts int
		policy          upgrade.FailurePolicy
	}{
		{"forward", newCluster, []string{"create", "evict web-0", "evict web-1", "delete old"}, upgrade.Succeeded, "old-1-34-2", 1, 15, 2, 0, upgrade.RollbackOnFailure},
		{"back", blocked, []string{"create", "evict web-0x", "delete old-1-34-2"}, upgrade.RolledBack, "old", 1, 15, 2, 0, upgrade.RollbackOnFailure},
		{"forward at once", newCluster, []string{"create", "evict web-0", "evict web-1", "delete old"}, upgrade.Succeeded, "old-1-34-2", upgrade.AutoDrains, 14, 2, 0, upgrade.RollbackOnFailure},
		{"back at once", blocked, []string{"create", "evict web-0x", "delete old-1-34-2"}, upgrade.RolledBack, "old", upgrade.AutoDrains, 14, 2, 0, upgrade.RollbackOnFailure},
		{"restarted", surging, []string{"create", "delete old"}, upgrade.Succeeded, "old-1-34-2", 1, 18, 2, 1, upgrade.RollbackOnFailure},
		{"restarted and back", func() *cluster {
			c := surging()
			c.fails["delete old"] = errors.New("no")
			return c
		}, []string{"create", "delete old-1-34-2"}, upgrade.RolledBack, "old", 1, 25, 4, 2, upgrade.RollbackOnFailure},
		{"not made", func() *cluster {
			c := newCluster()
			c.fails["wait op"] = errors.New("stock-out")
			return c
		}, []string{"create", "delete old-1-34-2"}, upgrade.Failed, "old", 1, 6, 0, 0, upgrade.PauseOnFailure},
	} {
		for k, crashed := 1, true; crashed; k++ {
			crashed = false
			for _, stored := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					c, r := test.make(), &record{}
					run := plannedFirst(t, c, upgrade.SurgeDeployments)
					run.Plan.Options.OnFailure, run.Plan.Options.Parallel = test.policy, test.drains
					if err := r.Save(t.Context(), run); err != nil {
						t.Fatal(err)
					}
					saves := 0
					_ = goOn(t.Context(), c, run, func(e *Engine) {
						e.Record = r
						r.fails = func(run *upgrade.Run) error {
							if saves++; saves != k {
								return nil
							}
							crashed = true
							if stored {
								r.last, _ = run.Encode(1 << 20)
							}
							return errors.New("crash")
						}
					})
					r.fails = nil
					again := r.load(t)
					if crashed && !again.State.Final() {
						_ = goOn(t.Context(), c, again, func(e *Engine) { e.Record = r }) // how it ends is looked at
					}
					for _, call := range test.once {
						if n := countExactly(c.calls, call); n != 1 {
							t.Errorf("%s, crash at save %d (stored: %t): %s %d times", test.name, k, stored, call, n)
						}
					}
					if n := count(c.calls, "restart"); n != test.restarts {
						t.Errorf("%s, crash at save %d (stored: %t): %d restarts, want %d", test.name, k, stored, n, test.restarts)
					}
					again = r.load(t)
					if again.State != test.state || len(again.Moves) != test.moves || len(c.pools) != 1 || c.pools[0].Name != test.pool || len(again.Frozen) != 0 || cordoned(c, test.pool) != 0 {
						t.Errorf("%s, crash at save %d (stored: %t): run %s (%s), moves %v, pools %v, frozen %v", test.name, k, stored, again.State, again.Problem, again.Moves, c.pools, again.Frozen)
					}
				})
			}
			if !crashed && k < test.saves {
				t.Errorf("%s: only %d saves", test.name, k)
			}
		}
	}
}

// countExactly counts a call, whatever follows its first words.
func countExactly(calls []string, call string) int {
	return count(calls, call+" ") + len(calls) - len(slices.DeleteFunc(slices.Clone(calls), func(c string) bool { return c == call }))
}

// lost is a lock that is lost after some confirmations.
type lost struct {
	free
	left   int
	cancel context.CancelCauseFunc
}

func (l *lost) Confirm(ctx context.Context, within time.Duration) (context.Context, context.CancelFunc, error) {
	if l.left--; l.left < 0 {
		err := &upgrade.Halt{Problem: "the lease is somebody else's by now"}
		l.cancel(err)
		return nil, nil, err
	}
	return l.free.Confirm(ctx, within)
}

func TestARunThatLostItsLeaseChangesAndWritesNothingMore(t *testing.T) {
	for left := range 6 {
		t.Run(fmt.Sprint(left), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster()
				ctx, cancel := context.WithCancelCause(t.Context())
				l := &lost{left: left, cancel: cancel}
				_, err := carryOut(t, ctx, c, func(e *Engine) {
					e.Lock = l
					e.Record = &record{fails: func(*upgrade.Run) error {
						if l.left < 0 {
							t.Error("the record was written")
						}
						return nil
					}}
				})
				if !errors.As(err, new(*upgrade.Halt)) {
					t.Errorf("error %v", err)
				}
				if slices.Contains(c.calls, "uncordon old-0") {
					t.Errorf("calls: %v", c.calls)
				}
			})
		})
	}
}

func TestARequestThatIsRefusedLeavesTheRunWithItsHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bot := upgrade.Holder{Who: "upshift-bot", Epoch: 1, Resumes: true}
		person := upgrade.Holder{Who: "alice", Epoch: 2}
		c := blocked()
		run := planned(t, c)
		if err := goOn(t.Context(), c, run, func(e *Engine) { e.Holder = bot }); err == nil {
			t.Fatal("it was not blocked")
		}
		err := goOn(t.Context(), c, run, func(e *Engine) {
			e.Holder, e.First = person, &upgrade.Request{Verb: upgrade.AskUnblock, Arguments: []string{"skip:nobody"}, Run: "run-1", By: "alice"}
		})
		if !errors.As(err, new(*Refused)) || !cmp.Equal([]upgrade.Holder{bot}, run.Holders) {
			t.Errorf("error %v, holders %v", err, run.Holders)
		}
		err = goOn(t.Context(), c, run, func(e *Engine) {
			e.Holder, e.First = person, &upgrade.Request{Verb: upgrade.AskCancel, Run: "run-1", By: "alice"}
		})
		if run.State != upgrade.Cancelled || !cmp.Equal([]upgrade.Holder{bot, person}, run.Holders) {
			t.Errorf("error %v, run %s, holders %v", err, run.State, run.Holders)
		}
	})
}

// TestTheRecordShowsHowADrainGoes: what left and where its replacement came up, while the node is being drained, and no wait that is over.
func TestTheRecordShowsHowADrainGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var during []upgrade.Move
		waited, waits := false, false
		c := blocked()
		run, _ := carryOut(t, t.Context(), c, func(e *Engine) {
			inner := &record{}
			e.Record = &record{fails: func(r *upgrade.Run) error {
				waits = len(r.Waiting) > 0
				waited = waited || waits
				for _, s := range r.Steps {
					if s.Kind == upgrade.DrainNode && s.State == upgrade.StepRunning && len(r.MovesFrom(s.Node)) > 0 {
						during = r.MovesFrom(s.Node)
					}
				}
				return inner.Save(t.Context(), r)
			}}
			time.AfterFunc(10*time.Minute, func() {
				c.mu.Lock()
				delete(c.fails, "evict web-1")
				c.mu.Unlock()
			})
		})
		if run.State != upgrade.Succeeded || !waited || waits {
			t.Errorf("run %s, waited %v, and at the end %v", run.State, waited, waits)
		}
		if len(during) == 0 {
			t.Error("the record shows no move before its drain has ended")
		}
		for _, m := range run.Moves {
			if m.To == "" {
				t.Errorf("%s left, and no replacement is recorded", m.Pod)
			}
		}
	})
}
