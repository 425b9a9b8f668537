package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/preflight"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// surging is a cluster whose Deployment can be restarted.
func surging() *cluster {
	c := newCluster()
	w := c.state.Workloads["web"]
	w.Rollout = &upgrade.Rollout{Surge: 1, Complete: true, RestartedAt: "long ago"}
	c.state.Workloads["web"] = w
	return c
}

// plannedFirst is the run of a plan that restarts what the policy says.
func plannedFirst(t *testing.T, c *cluster, policy upgrade.SurgePolicy) *upgrade.Run {
	t.Helper()
	plan, err := upgrade.BuildPlan(upgrade.Snapshot{
		Cluster: upgrade.Cluster{Name: "c", Project: "p", Location: "l", ControlPlaneVersion: "1.34.2", Pools: c.pools}, State: c.State(),
	}, upgrade.Options{Target: "control-plane", Delete: upgrade.DeleteEach, Soak: upgrade.Seconds(time.Hour), SurgeFirst: policy}, preflight.Inspect)
	if err != nil {
		t.Fatal(err)
	}
	return upgrade.NewRun("run-1", plan, time.Now())
}

// rollout changes how the Deployment stands.
func (c *cluster) rollout(change func(*upgrade.Rollout)) {
	w := c.state.Workloads["web"]
	r := *w.Rollout
	change(&r)
	w.Rollout = &r
	c.state.Workloads = maps.Clone(c.state.Workloads)
	c.state.Workloads["web"] = w
}

// add adds a Deployment with pods of its own on the first old node.
func (c *cluster) add(name string, pods int, rollout upgrade.Rollout) {
	w := upgrade.Workload{Ref: upgrade.Ref{Kind: "Deployment", Namespace: "ns", Name: name, UID: name}, Wanted: pods, Rollout: &rollout}
	c.state.Workloads[name] = w
	for i := range pods {
		id := fmt.Sprintf("%s-%d", name, i)
		c.state.Pods = append(c.state.Pods, upgrade.Pod{Namespace: "ns", Name: id, UID: id, Node: "old-0", Workload: w.Ref, Ready: true})
	}
}

// set changes the pods of a Deployment.
func (c *cluster) set(workload string, change func(*upgrade.Pod)) {
	c.state.Pods = slices.Clone(c.state.Pods)
	for i := range c.state.Pods {
		if c.state.Pods[i].Workload.UID == workload {
			change(&c.state.Pods[i])
		}
	}
}

// without takes the pod that finds no node away.
func (c *cluster) without() {
	c.state.Pods = slices.DeleteFunc(slices.Clone(c.state.Pods), func(p upgrade.Pod) bool { return p.UID == "pending" })
}

// only are the calls of some kinds, in their order.
func only(calls []string, kinds ...string) []string {
	var some []string
	for _, c := range calls {
		if kind, _, _ := strings.Cut(c, " "); slices.Contains(kinds, kind) {
			some = append(some, c)
		}
	}
	return some
}

func TestADeploymentIsRestartedOnceItsPoolIsCordonedAndBeforeItsNodesAreDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := surging()
		run := plannedFirst(t, c, upgrade.SurgeDeployments)
		if err := goOn(t.Context(), c, run, nil); err != nil {
			t.Fatal(err)
		}
		want := []string{"cordon old-0", "cordon old-1", "restart web", "delete old"}
		if diff := cmp.Diff(want, only(c.calls, "cordon", "restart", "evict", "delete")); diff != "" {
			t.Error(diff)
		}
		if run.PodsMoved() != 2 || run.NodesDrained != 2 || run.Restarts[0].State != upgrade.RestartDone {
			t.Errorf("%d pods moved, %d nodes drained, moves %v, restarts %v", run.PodsMoved(), run.NodesDrained, run.Moves, run.Restarts)
		}
	})
}

// TestARestartIsNotMadeTwice: the process that was to restart the Deployment is gone, and nobody knows whether it did; or somebody else has.
func TestARestartIsNotMadeTwice(t *testing.T) {
	for name, test := range map[string]struct {
		now  string
		want int
	}{
		"it did not": {"long ago", 1}, "it did": {"ours", 0}, "somebody else has": {"theirs", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := surging()
				run := plannedFirst(t, c, upgrade.SurgeDeployments)
				run.Restarts = []upgrade.Restarted{{Workload: c.state.Workloads["web"].Ref, Pool: "old", At: "ours", Before: "long ago", State: upgrade.RestartIntended}}
				c.rollout(func(r *upgrade.Rollout) { r.RestartedAt = test.now })
				if test.want == 0 { // and its pods leave by themselves
					moves := time.AfterFunc(time.Minute, func() {
						c.mu.Lock()
						defer c.mu.Unlock()
						for i := range c.state.Pods {
							c.state.Pods[i].Node, c.state.Pods[i].UID = "new-0", c.state.Pods[i].UID+"r"
						}
						close(c.changed)
						c.changed = make(chan struct{})
					})
					defer moves.Stop()
				}
				if err := goOn(t.Context(), c, run, nil); err != nil {
					t.Fatal(err)
				}
				if n := count(c.calls, "restart"); n != test.want || count(c.calls, "evict") != 0 || run.PodsMoved() != 2 {
					t.Errorf("%d restarts, want %d; %d pods moved; calls %v", n, test.want, run.PodsMoved(), c.calls)
				}
			})
		})
	}
}

// TestWhatHasChangedSinceThePlanIsEvicted: the Deployment is looked at again right before it is restarted.
func TestWhatHasChangedSinceThePlanIsEvicted(t *testing.T) {
	for name, test := range map[string]struct {
		change func(c *cluster)
		want   string
	}{
		"paused": {func(c *cluster) { c.rollout(func(r *upgrade.Rollout) { r.Paused = true }) }, "its rollout is paused"},
		"scaled to 0": {func(c *cluster) {
			w := c.state.Workloads["web"]
			w.Wanted = 0
			c.state.Workloads["web"] = w
		}, "it is scaled to 0"},
		"a pod that is not available": {func(c *cluster) {
			c.rollout(func(r *upgrade.Rollout) { r.Complete, r.Updated, r.Available = false, 2, 1 })
		}, "only 1 of its 2 pods are available"},
		"another strategy":             {func(c *cluster) { c.rollout(func(r *upgrade.Rollout) { r.Recreate = true }) }, "its strategy is Recreate, which ends all old pods before the first new one begins"},
		"declined":                     {func(c *cluster) { c.rollout(func(r *upgrade.Rollout) { r.Declined = true }) }, "its annotation upshift.dev/surge-first says never"},
		"somebody's rollout":           {func(c *cluster) { c.rollout(func(r *upgrade.Rollout) { r.Complete, r.Updated = false, 1 }) }, "a rollout of it is under way (of 2 pods 1 are new and 0 available)"},
		"Kubernetes refuses it":        {func(c *cluster) { c.fails["restart web"] = &upgrade.Denied{Err: errors.New("denied by policy")} }, "Kubernetes refuses the restart: denied by policy"},
		"a disk":                       {func(c *cluster) { c.state.Pods[0].Disks = []string{"pv-1"} }, "its pods have a volume that one node at a time can attach (pv-1)"},
		"an emptyDir, without consent": {func(c *cluster) { c.state.Pods[1].EmptyDirs = []string{"cache"} }, "its pods keep data in emptyDir volumes, and allow-emptydir-loss was not given"},
		"no room": {func(c *cluster) {
			c.allocatable = upgrade.Resources{"cpu": 1000, "pods": 10}
			c.set("web", func(p *upgrade.Pod) { p.Requests = upgrade.Resources{"cpu": 1100} })
		}, "its new pods find no room on the new nodes beside those of the others that are restarted"},
		"a PDB that can do without none now": {func(c *cluster) {
			c.rollout(func(r *upgrade.Rollout) { r.Unavailable = 1 })
			c.state.Pods[0].Budgets = []string{"ns/web"}
			c.state.Budgets = map[string]upgrade.Budget{"ns/web": {Namespace: "ns", Name: "web", Allowed: 1, Expected: 2, Healthy: 1, Needed: 1, Current: true}}
		}, "its maxUnavailable lets 1 of its pods be away while it is rolled out, and PodDisruptionBudget ns/web can do without 0"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := surging()
				run := plannedFirst(t, c, upgrade.SurgeDeployments)
				test.change(c)
				var told []string
				err := goOn(t.Context(), c, run, func(e *Engine) {
					if strings.HasPrefix(name, "an emptyDir") {
						ctx := e.Notify
						e.Notify = func(event upgrade.Event) {
							ctx(event)
							if event.Kind == upgrade.StepStarted && event.Step.Kind == upgrade.DrainNode {
								run.Granted = []upgrade.Consent{upgrade.AllowEmptyDirLoss} // else the drain would wait
							}
						}
					}
					notify := e.Notify
					e.Notify = func(event upgrade.Event) {
						notify(event)
						if event.Kind == upgrade.StepProgress && event.Step.Kind == upgrade.SurgeFirst {
							told = append(told, event.Text)
						}
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]string{"Deployment ns/web is left to eviction, since " + test.want}, told); diff != "" {
					t.Error(diff)
				}
				if evicted := count(c.calls, "evict"); evicted != 2 || run.PodsMoved() != 2 {
					t.Errorf("%d pods were evicted and %d moved; calls %v", evicted, run.PodsMoved(), c.calls)
				}
			})
		})
	}
}

// TestAChangeRightBeforeTheRestartIsSeen, which the caches do not show yet.
func TestAChangeRightBeforeTheRestartIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := surging()
		run := plannedFirst(t, c, upgrade.SurgeDeployments)
		err := goOn(t.Context(), c, run, func(e *Engine) {
			e.Record = &record{fails: func(run *upgrade.Run) error {
				if len(run.Restarts) == 1 && run.Restarts[0].State == upgrade.RestartIntended {
					c.mu.Lock()
					defer c.mu.Unlock()
					c.rollout(func(r *upgrade.Rollout) { r.Paused = true })
				}
				return nil
			}}
		})
		if err != nil || run.Restarts[0].Why != "its rollout is paused" || count(c.calls, "restart") != 0 || count(c.calls, "evict") != 2 {
			t.Errorf("error %v, restarts %v, calls %v", err, run.Restarts, c.calls)
		}
	})
}

func stuckRun(t *testing.T, c *cluster, r *record) *upgrade.Run {
	t.Helper()
	c.stuck = "web"
	run := plannedFirst(t, c, upgrade.SurgeDeployments)
	err := goOn(t.Context(), c, run, func(e *Engine) { e.Record = r })
	var paused *Paused
	if !errors.As(err, &paused) {
		t.Fatalf("error %v", err)
	}
	return r.load(t)
}

func TestARestartThatDoesNotEndPausesTheRunAndIsUndoneByARollback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := surging(), &record{}
		start := time.Now()
		run := stuckRun(t, c, r)
		want := "Deployment ns/web: the restart that takes its pods from old does not end: its pods are not replaced after 30m0s: Pod ns/pending: finds no node: 0/4 nodes are available"
		if run.State != upgrade.Paused || run.Problem != want || time.Since(start) < 30*time.Minute {
			t.Errorf("run %s with problem %q, want %q", run.State, run.Problem, want)
		}
		if next := strings.Join(run.Next, "\n"); !strings.Contains(next, "kubectl describe pod -n ns pending\nto have its pods evicted instead: kubectl rollout undo deployment/web -n ns, and then upshift resume") {
			t.Errorf("next: %s", next)
		}
		// Going on waits on.
		if err := goOn(t.Context(), c, run, func(e *Engine) { e.Record = r }); err == nil || count(c.calls, "restart") != 1 {
			t.Errorf("error %v, calls %v", err, c.calls)
		}
		err := goOn(t.Context(), c, r.load(t), func(e *Engine) {
			e.Record, e.First = r, &upgrade.Request{Verb: upgrade.AskRollback, Run: "run-1", By: "alice"}
		})
		run = r.load(t)
		if err == nil || run.State != upgrade.RolledBack || c.state.Workloads["web"].Rollout.RestartedAt != "long ago" || count(c.calls, "restart") != 2 || count(c.calls, "evict") != 0 {
			t.Errorf("run %s (%s), error %v, restarted at %q, calls %v", run.State, run.Problem, err, c.state.Workloads["web"].Rollout.RestartedAt, c.calls)
		}
		if run.PodsMoved() != 0 {
			t.Errorf("%d pods moved", run.PodsMoved())
		}
	})
}

// TestKubernetesWordThatARestartIsStuckEndsTheWaitAtOnce, but not that of a person who goes on all the same.
func TestKubernetesWordThatARestartIsStuckEndsTheWaitAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := surging(), &record{}
		says := time.AfterFunc(2*time.Minute, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.rollout(func(r *upgrade.Rollout) { r.Stuck = "timed out progressing" })
			close(c.changed)
			c.changed = make(chan struct{})
		})
		defer says.Stop()
		start := time.Now()
		run := stuckRun(t, c, r)
		if took := time.Since(start); took > 3*time.Minute || !strings.Contains(run.Problem, "does not end: Kubernetes says that it does not progress: timed out progressing: Pod ns/pending: finds no node") {
			t.Errorf("after %s: %s", took, run.Problem)
		}
		start = time.Now()
		_ = goOn(t.Context(), c, run, func(e *Engine) { e.Record = r })
		if took := time.Since(start); took < 30*time.Minute {
			t.Errorf("it gave up again after %s", took)
		}
	})
}

// TestWhoUndoesARestartHasItsPodsEvicted.
func TestWhoUndoesARestartHasItsPodsEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := surging(), &record{}
		run := stuckRun(t, c, r)
		c.rollout(func(r *upgrade.Rollout) { r.RestartedAt = "long ago" })
		c.state.Pods = c.state.Pods[:2]
		if err := goOn(t.Context(), c, run, nil); err != nil || count(c.calls, "restart") != 1 || count(c.calls, "evict") != 2 || run.Restarts[0].State != upgrade.RestartLeft {
			t.Errorf("error %v, restarts %v, calls %v", err, run.Restarts, c.calls)
		}
	})
}

// TestANewPodWithoutANodeHoldsFurtherRestartsBack.
func TestANewPodWithoutANodeHoldsFurtherRestartsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := surging()
		other := upgrade.Workload{Ref: upgrade.Ref{Kind: "Deployment", Namespace: "ns", Name: "xyz", UID: "xyz"}, Wanted: 1, Rollout: &upgrade.Rollout{Surge: 1, Complete: true}}
		c.state.Workloads["xyz"] = other
		c.state.Pods = append(c.state.Pods, upgrade.Pod{Namespace: "ns", Name: "xyz-0", UID: "xyz-0", Node: "old-0", Workload: other.Ref, Ready: true})
		c.stuck = "web"
		run := plannedFirst(t, c, upgrade.SurgeDeployments)
		found := time.AfterFunc(5*time.Minute, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if n := count(c.calls, "restart xyz"); n != 0 {
				t.Error("the other one was restarted while a new pod had no node")
			}
			c.state.Pods = slices.DeleteFunc(slices.Clone(c.state.Pods), func(p upgrade.Pod) bool { return p.UID == "pending" })
			for i, p := range c.state.Pods {
				if p.Workload.UID == "web" {
					c.state.Pods[i].Node, c.state.Pods[i].UID = "new-0", p.UID+"r"
				}
			}
			close(c.changed)
			c.changed = make(chan struct{})
		})
		defer found.Stop()
		if err := goOn(t.Context(), c, run, nil); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"restart web", "restart xyz"}, only(c.calls, "restart", "evict")); diff != "" || run.PodsMoved() != 3 {
			t.Errorf("%d pods moved: %s", run.PodsMoved(), diff)
		}
	})
}

func TestARollbackRestartsAgainWhatARestartHasMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := surging(), &record{}
		c.fails["delete old"] = errors.New("no")
		run := plannedFirst(t, c, upgrade.SurgeDeployments)
		run.Plan.Options.OnFailure = upgrade.RollbackOnFailure
		err := goOn(t.Context(), c, run, func(e *Engine) { e.Record = r })
		if err == nil || run.State != upgrade.RolledBack {
			t.Fatalf("run %s (%s), error %v", run.State, run.Problem, err)
		}
		want := []string{"restart web", "uncordon old-0", "uncordon old-1", "cordon new-0", "cordon new-1", "restart web"}
		if diff := cmp.Diff(want, only(c.calls, "uncordon", "cordon", "restart", "evict")[2:8]); diff != "" {
			t.Error(diff)
		}
		if at := c.state.Workloads["web"].Rollout.RestartedAt; at != "long ago" || count(c.calls, "evict") != 0 || run.PodsMoved() != 4 {
			t.Errorf("restarted at %q, %d pods moved, calls %v", at, run.PodsMoved(), c.calls)
		}
	})
}

func TestADrainThatIsBlockedIsHelpedByARestart(t *testing.T) {
	for name, test := range map[string]struct {
		ask     string
		change  func(*cluster)
		refused string
	}{
		"restarted":    {ask: "surge:ns/web"},
		"not there":    {ask: "surge:ns/other", refused: "there is no Deployment ns/other"},
		"not possible": {ask: "surge:ns/web", change: func(c *cluster) { c.rollout(func(r *upgrade.Rollout) { r.Surge = 0 }) }, refused: "Deployment ns/web is not restarted, since its maxSurge is 0, so that an old pod ends before a new one begins"},
		"not in the way": {ask: "surge:ns/web", change: func(c *cluster) {
			for i := range c.state.Pods {
				c.state.Pods[i].Node = "new-0"
			}
		}, refused: "no node that the run has yet to drain has a pod of Deployment ns/web"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, r := surging(), &record{}
				c.fails["evict web-0"], c.fails["evict web-1"] = errors.New("no"), errors.New("no")
				run := plannedFirst(t, c, upgrade.SurgeNone)
				if err := goOn(t.Context(), c, run, func(e *Engine) { e.Record = r }); err == nil || run.State != upgrade.Paused {
					t.Fatalf("run %s, error %v", run.State, err)
				}
				if test.change != nil {
					test.change(c)
				}
				err := goOn(t.Context(), c, run, func(e *Engine) {
					e.First = &upgrade.Request{Verb: upgrade.AskUnblock, Arguments: []string{test.ask}, Run: "run-1", By: "alice"}
				})
				var refused *Refused
				if errors.As(err, &refused) {
					if refused.Reason != test.refused {
						t.Errorf("refused: %s, want %q", refused, test.refused)
					}
					return
				}
				if err != nil || test.refused != "" || count(c.calls, "restart") != 1 || run.PodsMoved() != 2 || run.State != upgrade.Succeeded {
					t.Errorf("run %s, error %v, %d pods moved, calls %v", run.State, err, run.PodsMoved(), c.calls)
				}
			})
		})
	}
}

// TestAnInterruptedRestartGoesOn: the wait ends with the run, and another process waits on.
func TestAnInterruptedRestartGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := surging(), &record{}
		c.stuck = "web"
		ctx, cancel := context.WithCancelCause(t.Context())
		run := plannedFirst(t, c, upgrade.SurgeDeployments)
		err := goOn(ctx, c, run, func(e *Engine) {
			e.Record = r
			e.Notify = func(event upgrade.Event) {
				if event.Kind == upgrade.DrainWaits {
					cancel(&Stop{"signal"})
				}
			}
		})
		if err == nil || run.State != upgrade.Interrupted {
			t.Fatalf("run %s, error %v", run.State, err)
		}
		c.state.Pods = c.state.Pods[:2]
		for i := range c.state.Pods { // while nobody looked
			c.state.Pods[i].Node, c.state.Pods[i].UID = "new-0", c.state.Pods[i].UID+"r"
		}
		run = r.load(t)
		if err := goOn(t.Context(), c, run, nil); err != nil || run.PodsMoved() != 2 || count(c.calls, "restart") != 1 || count(c.calls, "evict") != 0 {
			t.Errorf("error %v, %d pods moved, calls %v", err, run.PodsMoved(), c.calls)
		}
	})
}

// TestARestartThatWaitedIsLookedAtInWholeAgain: it was intended by a process that is gone.
func TestARestartThatWaitedIsLookedAtInWholeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := surging()
		run := plannedFirst(t, c, upgrade.SurgeDeployments)
		run.Restarts = []upgrade.Restarted{{Workload: c.state.Workloads["web"].Ref, Pool: "old", At: "ours", Before: "long ago", State: upgrade.RestartIntended}}
		c.state.Pods[1].Disks = []string{"pv-1"}
		if err := goOn(t.Context(), c, run, nil); err != nil || count(c.calls, "restart") != 0 || count(c.calls, "evict") != 2 {
			t.Errorf("error %v, restarts %v, calls %v", err, run.Restarts, c.calls)
		}
	})
}

// TestADeploymentThatWasRestartedInTheSameSecondIsRestarted: the annotation has whole seconds, and the same value would be no change.
func TestADeploymentThatWasRestartedInTheSameSecondIsRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := surging()
		c.rollout(func(r *upgrade.Rollout) { r.RestartedAt = time.Now().UTC().Format(time.RFC3339) })
		run := plannedFirst(t, c, upgrade.SurgeDeployments)
		if err := goOn(t.Context(), c, run, nil); err != nil || count(c.calls, "restart") != 1 || count(c.calls, "evict") != 0 {
			t.Errorf("error %v, restarts %v, calls %v", err, run.Restarts, c.calls)
		}
	})
}

// TestRestartsOfOneBudgetTakeFromItTogether: since the plan was made it can do without fewer pods.
func TestRestartsOfOneBudgetTakeFromItTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := surging()
		c.rollout(func(r *upgrade.Rollout) { r.Unavailable = 1 })
		other := upgrade.Workload{Ref: upgrade.Ref{Kind: "Deployment", Namespace: "ns", Name: "xyz", UID: "xyz"}, Wanted: 2, Rollout: &upgrade.Rollout{Surge: 1, Unavailable: 1, Complete: true}}
		c.state.Workloads["xyz"] = other
		for _, name := range []string{"xyz-0", "xyz-1"} {
			c.state.Pods = append(c.state.Pods, upgrade.Pod{Namespace: "ns", Name: name, UID: name, Node: "old-0", Workload: other.Ref, Ready: true})
		}
		for i := range c.state.Pods {
			c.state.Pods[i].Budgets = []string{"ns/all"}
		}
		b := upgrade.Budget{Namespace: "ns", Name: "all", Allowed: 2, Expected: 4, Healthy: 4, Needed: 2, Current: true}
		c.state.Budgets = map[string]upgrade.Budget{"ns/all": b}
		run := plannedFirst(t, c, upgrade.SurgeDeployments)
		b.Needed, b.Allowed = 3, 1
		c.state.Budgets = map[string]upgrade.Budget{"ns/all": b}
		if err := goOn(t.Context(), c, run, nil); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"restart web", "evict xyz-0", "evict xyz-1"}, only(c.calls, "restart", "evict")); diff != "" {
			t.Error(diff)
		}
	})
}

// confirming counts how often the lock is confirmed.
type confirming struct {
	free
	times int
}

func (c *confirming) Confirm(ctx context.Context, within time.Duration) (context.Context, context.CancelFunc, error) {
	c.times++
	return c.free.Confirm(ctx, within)
}

// TestTheLockIsConfirmedForARestart, as for each other change that nothing else guards.
func TestTheLockIsConfirmedForARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		times := func(policy upgrade.SurgePolicy) int {
			c, lock := surging(), &confirming{}
			if err := goOn(t.Context(), c, plannedFirst(t, c, policy), func(e *Engine) { e.Lock = lock }); err != nil {
				t.Fatal(err)
			}
			return lock.times
		}
		if with, without := times(upgrade.SurgeDeployments), times(upgrade.SurgeNone); with != without+1 {
			t.Errorf("it is confirmed %d times with a restart, and %d without", with, without)
		}
	})
}

// TestWhoCancelsIsToldThatRestartsHaveMovedPods: deleting the new pool would take them away.
func TestWhoCancelsIsToldThatRestartsHaveMovedPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := surging(), &record{}
		c.add("abc", 1, upgrade.Rollout{Surge: 1, Complete: true}) // which has moved by then
		run := stuckRun(t, c, r)
		_ = goOn(t.Context(), c, run, func(e *Engine) { e.First = &upgrade.Request{Verb: upgrade.AskCancel, Run: "run-1", By: "alice"} })
		next := strings.Join(run.Next, "\n")
		if run.State != upgrade.Cancelled || !strings.Contains(next, "pods run on both old and the new pool") || strings.Contains(next, "no pod was moved") {
			t.Errorf("run %s, next: %s", run.State, next)
		}
	})
}

// TestWhatWasUndoneDoesNotHoldUpOthers: a person followed our advice, and goes on.
func TestWhatWasUndoneDoesNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := surging(), &record{}
		c.add("xyz", 1, upgrade.Rollout{Surge: 1, Complete: true})
		run := stuckRun(t, c, r)
		c.rollout(func(r *upgrade.Rollout) { r.RestartedAt = "long ago" })
		c.without()
		start, took := time.Now(), time.Duration(0)
		err := goOn(t.Context(), c, run, func(e *Engine) {
			notify := e.Notify
			e.Notify = func(event upgrade.Event) {
				notify(event)
				if event.Kind == upgrade.StepFinished && event.Step.Kind == upgrade.SurgeFirst {
					took = time.Since(start)
				}
			}
		})
		if err != nil || took > 5*time.Second {
			t.Errorf("it took %s, error %v", took, err)
		}
		if diff := cmp.Diff([]string{"restart web", "restart xyz", "evict web-0", "evict web-1"}, only(c.calls, "restart", "evict")); diff != "" {
			t.Error(diff)
		}
	})
}

// TestARestartThatTheAPICannotTakeNowPausesTheRun, and does not have the pods evicted; who goes on has it made.
func TestARestartThatTheAPICannotTakeNowPausesTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := surging(), &record{}
		c.fails["restart web"] = errors.New("failed calling webhook")
		run := plannedFirst(t, c, upgrade.SurgeDeployments)
		err := goOn(t.Context(), c, run, func(e *Engine) { e.Record = r })
		if err == nil || run.State != upgrade.Paused || run.Problem != "Deployment ns/web could not be restarted: failed calling webhook; none of its pods is evicted meanwhile" {
			t.Fatalf("run %s (%s), error %v", run.State, run.Problem, err)
		}
		delete(c.fails, "restart web")
		run = r.load(t)
		if err := goOn(t.Context(), c, run, nil); err != nil || count(c.calls, "restart") != 2 || count(c.calls, "evict") != 0 || run.PodsMoved() != 2 {
			t.Errorf("error %v, %d pods moved, calls %v", err, run.PodsMoved(), c.calls)
		}
	})
}

// TestOnlyWhatIsStuckIsNamed: the others are fine, and nobody should undo them.
func TestOnlyWhatIsStuckIsNamed(t *testing.T) {
	for name, says := range map[string]string{"by Kubernetes": "timed out progressing", "by its time": ""} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, r := surging(), &record{}
				c.add("abc", 1, upgrade.Rollout{Surge: 1, Complete: true})
				c.add("xyz", 1, upgrade.Rollout{Surge: 1, Complete: true})
				defer time.AfterFunc(2*time.Minute, func() {
					c.change(func() { c.rollout(func(r *upgrade.Rollout) { r.Stuck = says }) })
				}).Stop()
				run := stuckRun(t, c, r)
				next := strings.Join(run.Next, "\n")
				if !strings.HasPrefix(run.Problem, "Deployment ns/web: ") || strings.Contains(run.Problem+next, "abc") || strings.Contains(run.Problem+next, "xyz") {
					t.Errorf("problem %s, next: %s", run.Problem, next)
				}
			})
		})
	}
}

// TestAFewOfVeryManyStuckRestartsAreNamed.
func TestAFewOfVeryManyStuckRestartsAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := surging()
		for i := range 30 {
			c.add(fmt.Sprintf("xyz%02d", i), 1, upgrade.Rollout{Surge: 1, Complete: true})
		}
		c.slow = 24 * time.Hour
		run := plannedFirst(t, c, upgrade.SurgeDeployments)
		_ = goOn(t.Context(), c, run, nil)
		if run.State != upgrade.Paused || len(run.Waiting) > 20 || len(run.Next) > 10 || len(run.Problem) > 600 {
			t.Errorf("run %s, %d waits, problem %s, next %v", run.State, len(run.Waiting), run.Problem, run.Next)
		}
	})
}

// TestRestartsBeginWithOneThatShowsWhetherNewPodsFindNodes: in a cluster it takes a moment until that is seen. Where pods may be away meanwhile, each
// shows it for itself.
func TestRestartsBeginWithOneThatShowsWhetherNewPodsFindNodes(t *testing.T) {
	for name, test := range map[string]struct {
		stuck string
		want  []string
	}{
		"all find nodes":                     {"", []string{"0s restart web", "1s restart xyz", "1s restart gap1", "2s restart gap2"}},
		"the first finds none":               {"web", []string{"0s restart web"}},
		"one that may be short of pods does": {"gap1", []string{"0s restart web", "1s restart xyz", "1s restart gap1"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := surging()
				c.add("gap1", 2, upgrade.Rollout{Surge: 1, Unavailable: 1, Complete: true})
				c.add("gap2", 2, upgrade.Rollout{Surge: 1, Unavailable: 1, Complete: true})
				c.add("xyz", 1, upgrade.Rollout{Surge: 1, Complete: true})
				c.slow, c.stuck = time.Second, test.stuck
				run := plannedFirst(t, c, upgrade.SurgeDeployments)
				var got []string
				begun := time.Time{}
				_ = goOn(t.Context(), c, run, func(e *Engine) {
					e.Notify = func(event upgrade.Event) {
						if text, ok := strings.CutPrefix(event.Text, "restarting Deployment ns/"); ok {
							if begun.IsZero() {
								begun = time.Now()
							}
							got = append(got, fmt.Sprintf("%s restart %s", time.Since(begun), text))
						}
					}
				})
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// TestARestartWhoseNewPodsCameBackIsLeftToEviction: they landed on a node that joined the old pool meanwhile.
func TestARestartWhoseNewPodsCameBackIsLeftToEviction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := surging()
		c.stuck = "web" // and so nothing moves before
		run := plannedFirst(t, c, upgrade.SurgeDeployments)
		err := goOn(t.Context(), c, run, func(e *Engine) {
			notify := e.Notify
			e.Notify = func(event upgrade.Event) {
				notify(event)
				if event.Text == "restarting Deployment ns/web" {
					time.AfterFunc(20*time.Second, func() {
						c.change(func() {
							c.without()
							c.state.Nodes = append(c.state.Nodes, upgrade.Node{Name: "late", Pool: "old", Ready: true})
							c.set("web", func(p *upgrade.Pod) { p.Node, p.UID = "late", p.UID+"r" })
						})
					})
				}
			}
		})
		if r := run.Restarts[0]; err != nil || r.State != upgrade.RestartLeft || r.Why != "its new pods came to old too" {
			t.Errorf("restart %v, run %s (%s), error %v", r, run.State, run.Problem, err)
		}
		if diff := cmp.Diff([]string{"restart web", "evict web-0", "evict web-1"}, only(c.calls, "restart", "evict")); diff != "" {
			t.Error(diff)
		}
	})
}

// TestARestartIsDoneOnceItsNewPodsAreAvailable, and not where its wait ended before, since another one could begin.
func TestARestartIsDoneOnceItsNewPodsAreAvailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := surging()
		c.add("xyz", 1, upgrade.Rollout{Surge: 1, Complete: true})
		c.stuck = "web"
		run := plannedFirst(t, c, upgrade.SurgeDeployments)
		start, ready := time.Now(), 20*time.Minute
		defer time.AfterFunc(5*time.Minute, func() { // they have a node each, and are not Ready
			c.change(func() {
				c.without()
				c.set("web", func(p *upgrade.Pod) { p.Node, p.UID, p.Ready = "new-0", p.UID+"r", false })
			})
		}).Stop()
		defer time.AfterFunc(ready, func() {
			c.change(func() { c.set("web", func(p *upgrade.Pod) { p.Ready = true }) })
		}).Stop()
		var took time.Duration
		err := goOn(t.Context(), c, run, func(e *Engine) {
			notify := e.Notify
			e.Notify = func(event upgrade.Event) {
				notify(event)
				if event.Kind == upgrade.StepFinished && event.Step.Kind == upgrade.SurgeFirst {
					took = time.Since(start)
				}
			}
		})
		if err != nil || took < ready || count(c.calls, "restart xyz") != 1 {
			t.Errorf("it was over after %s, error %v, calls %v", took, err, c.calls)
		}
	})
}

// TestWhatWasBegunIsUndoneWhateverItIsNow: its rollout was paused meanwhile.
func TestWhatWasBegunIsUndoneWhateverItIsNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := surging(), &record{}
		run := stuckRun(t, c, r)
		c.rollout(func(r *upgrade.Rollout) { r.Paused, r.Unavailable = true, 2 })
		_ = goOn(t.Context(), c, run, func(e *Engine) {
			e.Record, e.First = r, &upgrade.Request{Verb: upgrade.AskRollback, Run: "run-1", By: "alice"}
		})
		if at := c.state.Workloads["web"].Rollout.RestartedAt; run.State != upgrade.RolledBack || at != "long ago" {
			t.Errorf("run %s (%s), restarted at %q", run.State, run.Problem, at)
		}
	})
}

// TestRestartsTakeRoomTogether: the new nodes have room for each of the Deployments, and not for both.
func TestRestartsTakeRoomTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := surging()
		c.add("xyz", 1, upgrade.Rollout{Surge: 1, Complete: true})
		c.allocatable = upgrade.Resources{"cpu": 1000, "pods": 10} // two of them
		for _, w := range []string{"web", "xyz"} {
			c.set(w, func(p *upgrade.Pod) { p.Requests = upgrade.Resources{"cpu": 800} })
		}
		run := plannedFirst(t, c, upgrade.SurgeDeployments)
		if err := goOn(t.Context(), c, run, nil); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"restart web", "evict xyz-0"}, only(c.calls, "restart", "evict")); diff != "" {
			t.Error(diff)
		}
	})
}

// TestWhatIsLeftToEvictionIsToldOnce, and not whenever the run is gone on with.
func TestWhatIsLeftToEvictionIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := surging(), &record{}
		c.add("xyz", 1, upgrade.Rollout{Surge: 1, Complete: true})
		run := plannedFirst(t, c, upgrade.SurgeDeployments)
		xyz := c.state.Workloads["xyz"]
		xyz.Rollout = &upgrade.Rollout{Surge: 1, Complete: true, Paused: true}
		c.state.Workloads["xyz"], c.stuck = xyz, "web"
		told := 0
		tell := func(e *Engine) {
			e.Record = r
			e.Notify = func(event upgrade.Event) {
				if event.Text == "Deployment ns/xyz is left to eviction, since its rollout is paused" {
					told++
				}
			}
		}
		_ = goOn(t.Context(), c, run, tell)
		_ = goOn(t.Context(), c, r.load(t), tell)
		if told != 1 {
			t.Errorf("it was told %d times", told)
		}
	})
}

// TestWhyARestartDoesNotGetOnIsNamed: what Kubernetes says of the Deployment itself.
func TestWhyARestartDoesNotGetOnIsNamed(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*upgrade.Rollout)
		want   string
	}{
		"a quota": {func(r *upgrade.Rollout) { r.Failing = "exceeded quota" }, "after 30m0s: Deployment ns/web: Kubernetes can make no new pod of it: exceeded quota"},
		"paused":  {func(r *upgrade.Rollout) { r.Paused = true }, "after 30m0s: Deployment ns/web: its rollout is paused"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := surging()
				c.add("xyz", 1, upgrade.Rollout{Surge: 1, Complete: true})
				c.slow = 24 * time.Hour // of xyz nothing is wrong, as far as can be seen
				run := plannedFirst(t, c, upgrade.SurgeDeployments)
				defer time.AfterFunc(2*time.Minute, func() { c.change(func() { c.rollout(test.change) }) }).Stop()
				_ = goOn(t.Context(), c, run, nil)
				if !strings.HasPrefix(run.Problem, "Deployment ns/web: ") || !strings.HasSuffix(run.Problem, test.want) {
					t.Errorf("problem %s", run.Problem)
				}
			})
		})
	}
}
