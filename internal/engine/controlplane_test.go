package engine

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/preflight"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// behind is a cluster whose control plane is two minors behind 1.34.2, with a pool that is too.
func behind() *cluster {
	c := newCluster()
	c.version, c.pools[0].Version, c.hopTakes = "1.32.1", "1.32.1", 5*time.Minute
	for i := range c.state.Nodes {
		c.state.Nodes[i].Version = "1.32.1"
	}
	return c
}

// hopping is a run that upgrades the control plane of c to 1.34.2, and what the scope has besides.
func hopping(t *testing.T, c *cluster, regional bool, scope upgrade.Scope) *upgrade.Run {
	t.Helper()
	plan, err := upgrade.BuildPlan(upgrade.Snapshot{
		Cluster: upgrade.Cluster{
			Name: "c", Project: "p", Location: "l", Regional: regional, ControlPlaneVersion: c.version, Pools: c.pools, Skew: 2,
			Versions: upgrade.Versions{Valid: []string{"1.32.1", "1.33.1", "1.33.5", "1.34.2"}},
		}, State: c.State(),
	}, upgrade.Options{Target: "1.34.2", Scope: scope, Delete: upgrade.DeleteEach}, preflight.Inspect)
	if err != nil {
		t.Fatal(err)
	}
	return upgrade.NewRun("run-1", plan, time.Now())
}

// hopsOf are the changes of the control plane among the calls.
func hopsOf(c *cluster) []string {
	return slices.DeleteFunc(slices.Clone(c.calls), func(call string) bool { return !strings.HasPrefix(call, "upgrade control plane") })
}

func TestTheControlPlaneGoesFirstAndByOneMinorAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := behind()
		run := hopping(t, c, true, upgrade.ScopeAll)
		if err := goOn(t.Context(), c, run, func(e *Engine) { e.Calls = c.Calls }); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"upgrade control plane to 1.33.5", "upgrade control plane to 1.34.2"}, c.calls[:2]); diff != "" {
			t.Error(diff)
		}
		if run.State != upgrade.Succeeded || run.NodesDrained != 2 || run.ControlPlaneVersion() != "1.34.2" {
			t.Errorf("run %s, %d drained, control plane at %s", run.State, run.NodesDrained, run.ControlPlaneVersion())
		}
		// A request each second, and one that verifies.
		for _, hop := range run.Hops() {
			if hop.Calls == nil || hop.Calls.Made < 290 || hop.Calls.Made > 310 || hop.Calls.Failed != 0 {
				t.Errorf("%s: %+v", hop.ID, hop.Calls)
			}
		}
	})
}

func TestTheRequestsThatAZonalControlPlaneDoesNotAnswerAreNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := behind()
		run := hopping(t, c, false, upgrade.ScopeControlPlane)
		if err := goOn(t.Context(), c, run, func(e *Engine) { e.Calls = c.Calls }); err != nil {
			t.Fatal(err)
		}
		if hops := run.Hops(); hops[0].Calls != nil || c.asked.Made != 2 {
			t.Errorf("%+v, and the API server was asked %d times", hops, c.asked.Made)
		}
		if len(c.calls) != 2 || run.NodesDrained != 0 {
			t.Errorf("nodes were touched: %v", c.calls)
		}
	})
}

func TestAControlPlaneThatDoesNotGetThereFailsTheRunBeforeAnyNodeIsTouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := behind()
		c.fails["wait hop 1.34.2"] = errors.New("operation hop failed: a webhook refuses")
		run := hopping(t, c, true, upgrade.ScopeAll)
		run.Plan.Options.OnFailure = upgrade.RollbackOnFailure // there is nothing to go back to
		err := goOn(t.Context(), c, run, nil)
		if err == nil || run.State != upgrade.Failed || run.Problem != "upgrade the control plane to 1.34.2: operation hop failed: a webhook refuses; no node was touched" {
			t.Errorf("run %s with problem %q, error %v", run.State, run.Problem, err)
		}
		if run.ControlPlaneVersion() != "1.33.5" || len(run.Next) != 1 || !strings.Contains(run.Next[0], "did not get to 1.34.2") {
			t.Errorf("control plane at %s, next %v", run.ControlPlaneVersion(), run.Next)
		}
		if slices.ContainsFunc(c.calls, func(call string) bool { return strings.HasPrefix(call, "create") }) {
			t.Errorf("calls: %v", c.calls)
		}
	})
}

func TestAnOperationThatIsDoneIsNotBelieved(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*cluster)
		says   string
	}{
		"the provider has another version":   {func(c *cluster) { c.fails["wait hop 1.33.5"] = nil; c.hops["hop 0"] = "1.32.9" }, "the provider has the control plane at 1.32.9"},
		"the API server has another version": {func(c *cluster) { c.behind = "1.32.1" }, "the API server says that it runs 1.32.1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := behind()
				test.change(c)
				run := hopping(t, c, false, upgrade.ScopeAll)
				err := goOn(t.Context(), c, run, nil)
				want := "the operation is done, and after 5m0s the control plane does not show version 1.33.5: " + test.says
				if !errors.As(err, new(*Paused)) || run.Problem != want {
					t.Errorf("run %s with problem %q, want %q", run.State, run.Problem, want)
				}
				c.behind = ""
				if err := goOn(t.Context(), c, run, nil); err != nil || run.State != upgrade.Succeeded {
					t.Errorf("it does not go on: run %s, %v", run.State, err)
				}
			})
		})
	}
}

func TestAControlPlaneThatSomebodyElseUpgradesIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := behind()
		c.busy, c.hops["hop auto"] = []*upgrade.Busy{{Operation: "hop auto", Kind: "UPGRADE_MASTER"}}, "1.33.5"
		run := hopping(t, c, true, upgrade.ScopeControlPlane)
		if err := goOn(t.Context(), c, run, nil); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"upgrade control plane to 1.34.2"}, hopsOf(c)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAnOperationOfAControlPlaneThatDoesNotEndPausesTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := behind()
		c.fails["wait hop 1.33.5"] = &upgrade.Unended{Operation: "hop 1.33.5", After: 45 * time.Minute}
		run := hopping(t, c, true, upgrade.ScopeAll)
		err := goOn(t.Context(), c, run, nil)
		if !errors.As(err, new(*Paused)) || !strings.Contains(run.Problem, "is not done after 45m0s; it goes on") {
			t.Errorf("run %s with problem %q", run.State, run.Problem)
		}
	})
}

// TestACrashAtAnySaveUpgradesTheControlPlaneOnce: the process ends at each write of the record in turn, once before the record has it and once after,
// and another goes on.
func TestACrashAtAnySaveUpgradesTheControlPlaneOnce(t *testing.T) {
	saved := 0
	for k, crashed := 1, true; crashed; k++ {
		crashed = false
		for _, stored := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				c, r := behind(), &record{}
				run := hopping(t, c, true, upgrade.ScopeControlPlane)
				if err := r.Save(t.Context(), run); err != nil {
					t.Fatal(err)
				}
				saves := 0
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
				_ = goOn(t.Context(), c, run, func(e *Engine) { e.Record = r }) // how it ends is looked at
				r.fails = nil
				saved = saves
				again := r.load(t)
				if err := goOn(t.Context(), c, again, nil); err != nil || again.State != upgrade.Succeeded {
					t.Errorf("after a crash at save %d: run %s, %v", k, again.State, err)
				}
				if diff := cmp.Diff([]string{"upgrade control plane to 1.33.5", "upgrade control plane to 1.34.2"}, hopsOf(c)); diff != "" {
					t.Errorf("after a crash at save %d: %s", k, diff)
				}
			})
		}
	}
	if saved < 8 { // twice for the run, and begun, known and done for each hop
		t.Errorf("it saved %d times only", saved)
	}
}

// ask carries out a hop, with a request that comes in its middle.
func ask(t *testing.T, c *cluster, run *upgrade.Run, verb upgrade.Verb) error {
	t.Helper()
	requests := make(chan upgrade.Request, 1)
	time.AfterFunc(time.Minute, func() { requests <- upgrade.Request{Verb: verb, Run: run.ID, By: "alice", Sequence: 1} })
	return goOn(t.Context(), c, run, func(e *Engine) { e.Requests = requests })
}

func TestARollbackDuringAHopIsRefusedAndItGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := behind()
		run := hopping(t, c, true, upgrade.ScopeAll)
		if err := ask(t, c, run, upgrade.AskRollback); err != nil || run.State != upgrade.Succeeded {
			t.Errorf("run %s, %v", run.State, err)
		}
		if len(run.Handled) != 1 || !strings.Contains(run.Handled[0].Refused, "nothing but the control plane was touched") || len(hopsOf(c)) != 2 {
			t.Errorf("handled %+v, calls %v", run.Handled, c.calls)
		}
	})
}

func TestAPauseDuringAHopLeavesItToTheProviderAndResumeAdoptsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := behind()
		run := hopping(t, c, true, upgrade.ScopeControlPlane)
		if err := ask(t, c, run, upgrade.AskPause); err == nil || run.State != upgrade.Paused {
			t.Errorf("run %s, %v", run.State, err)
		}
		if diff := cmp.Diff([]string{"to go on: upshift resume", "to end it here: upshift cancel; the control plane cannot go back"}, run.Next); diff != "" {
			t.Error(diff)
		}
		if err := goOn(t.Context(), c, run, nil); err != nil || len(hopsOf(c)) != 2 {
			t.Errorf("%v, calls %v", err, c.calls)
		}
	})
}

func TestACancelDuringAHopSaysWhatCannotBeStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := behind()
		run := hopping(t, c, true, upgrade.ScopeAll)
		if err := ask(t, c, run, upgrade.AskCancel); err == nil || run.State != upgrade.Cancelled {
			t.Errorf("run %s, %v", run.State, err)
		}
		if len(run.Next) != 1 || !strings.Contains(run.Next[0], "the control plane was on its way to 1.33.5, which cannot be stopped or undone") {
			t.Errorf("next %v", run.Next)
		}
	})
}

// TestARollbackOfNodesLeavesTheControlPlane where it is, and says so.
func TestARollbackOfNodesLeavesTheControlPlane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := behind()
		run := hopping(t, c, true, upgrade.ScopeAll)
		c.fails["evict web-1"] = errors.New("no")
		if err := goOn(t.Context(), c, run, nil); run.State != upgrade.Paused {
			t.Fatalf("run %s, %v", run.State, err)
		}
		delete(c.fails, "evict web-1")
		if want := "the control plane stays at 1.34.2 either way: it is not downgraded"; !slices.Contains(run.Next, want) {
			t.Errorf("next %v, want %q", run.Next, want)
		}
		_ = goOn(t.Context(), c, run, func(e *Engine) { e.First = &upgrade.Request{Verb: upgrade.AskRollback, Run: run.ID, By: "alice"} })
		if run.State != upgrade.RolledBack || !slices.Contains(run.Next, "the control plane runs 1.34.2 and stays there: it is not downgraded") {
			t.Errorf("run %s (%s), next %v", run.State, run.Problem, run.Next)
		}
	})
}
