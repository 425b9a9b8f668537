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

	"github.com/upshift-k8s/upshift/internal/preflight"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

const (
	before = "1.33.5"
	after  = "1.34.2"
)

// own is a cluster that people run themselves: a control plane of so many nodes, and two workers with a pod each.
func own(servers int) *cluster {
	c := newCluster()
	c.pools = []upgrade.Pool{{Name: upgrade.ControlPlanePool, Version: before}, {Name: "old", Version: before}}
	for i := range c.state.Nodes {
		c.state.Nodes[i].Version = before
	}
	var nodes []upgrade.Node
	for i := range servers {
		name := fmt.Sprintf("cp-%d", i)
		nodes = append(nodes, upgrade.Node{Name: name, Pool: upgrade.ControlPlanePool, Version: before, Ready: true})
		for _, component := range []string{upgrade.APIServer, upgrade.Etcd} {
			c.state.Pods = append(c.state.Pods, upgrade.Pod{
				Namespace: "kube-system", Name: component + "-" + name, UID: component + "-" + name, Node: name, Mirror: true, Ready: true, Component: component, Version: before,
			})
		}
	}
	c.state.Nodes = append(nodes, c.state.Nodes...)
	c.version = before
	return c
}

// ownRun is a run of an upgrade of such a cluster that has not begun.
func ownRun(t *testing.T, c *cluster, change func(*upgrade.Options)) *upgrade.Run {
	t.Helper()
	o := upgrade.Options{Target: after, Pools: []string{"old"}, Strategy: "auto", Soak: upgrade.Seconds(time.Hour)}
	if change != nil {
		change(&o)
	}
	controlPlane := before
	if !slices.Contains(o.Pools, upgrade.ControlPlanePool) {
		controlPlane = after
	}
	plan, err := upgrade.BuildPlan(upgrade.Snapshot{
		Cluster: upgrade.Cluster{
			Provider: upgrade.SelfManaged, Name: "c", ControlPlaneVersion: controlPlane, PoolLabel: "pool", Pools: c.pools, Versions: upgrade.Versions{Any: true},
		}, State: c.State(),
	}, o, preflight.Inspect)
	if err != nil {
		t.Fatal(err)
	}
	if plan.Verdict == upgrade.Blocked {
		t.Fatalf("blocked: %v", plan.Findings)
	}
	return upgrade.NewRun("run-1", plan, time.Now())
}

// people do what they are told, some time later; nil for a task that they leave.
func people(c *cluster, does func(upgrade.Task) func()) func(*Engine) {
	return func(e *Engine) {
		e.Notify = func(event upgrade.Event) {
			if event.Kind != upgrade.PeopleAwaited {
				return
			}
			if do := does(*event.Task); do != nil {
				time.AfterFunc(10*time.Minute, func() { c.change(do) })
			}
		}
	}
}

// upgrades sets the version of a node, and of what runs on it of a control plane.
func (c *cluster) upgrades(node string) {
	c.state.Nodes, c.state.Pods = slices.Clone(c.state.Nodes), slices.Clone(c.state.Pods)
	for i, n := range c.state.Nodes {
		if n.Name == node {
			c.state.Nodes[i].Version = after
		}
	}
	c.version = after
	for i, p := range c.state.Pods {
		if p.Node == node && p.Component == upgrade.APIServer {
			c.state.Pods[i].Version = after
		}
		if p := c.state.Pods[i]; p.Component == upgrade.APIServer && p.Version == before {
			c.version = before
		}
	}
}

func obedient(c *cluster) func(*Engine) {
	return people(c, func(t upgrade.Task) func() { return func() { c.upgrades(t.Node) } })
}

func kinds(run *upgrade.Run) []string {
	var ids []string
	for _, s := range run.Steps {
		ids = append(ids, s.ID)
	}
	return ids
}

func TestPeopleUpgradeNodesOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := own(3)
		run := ownRun(t, c, nil)
		start := time.Now()
		if err := goOn(t.Context(), c, run, obedient(c)); err != nil {
			t.Fatal(err)
		}
		if len(c.calls) > 6 {
			slices.Sort(c.calls[4:6]) // both pods are on the second node by then, and which goes first is nobody's business
		}
		want := []string{"cordon old-0", "evict web-0", "uncordon old-0", "cordon old-1", "evict web-0x", "evict web-1", "uncordon old-1"}
		if diff := cmp.Diff(want, c.calls[:min(len(want), len(c.calls))]); diff != "" {
			t.Error(diff, c.calls)
		}
		if run.State != upgrade.Succeeded || run.NodesDrained != 2 || len(run.Tasks) != 0 || len(run.Waiting) != 0 || time.Since(start) < 20*time.Minute {
			t.Errorf("run: %+v", run)
		}
		if n := cordoned(c, "old"); n != 0 {
			t.Errorf("%d nodes are left cordoned", n)
		}
	})
}

func TestAnotherNodeTakesThePlaceOfOneThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := own(3)
		run := ownRun(t, c, nil)
		err := goOn(t.Context(), c, run, people(c, func(task upgrade.Task) func() {
			return func() {
				c.state.Nodes = slices.DeleteFunc(slices.Clone(c.state.Nodes), func(n upgrade.Node) bool { return n.Name == task.Node })
				c.state.Nodes = append(c.state.Nodes, upgrade.Node{Name: "new-" + task.Node, Pool: "old", Version: after, Ready: true})
			}
		}))
		if err != nil || run.Step("await-node/old/old-0").Replacement != "new-old-0" || run.Step("await-node/old/old-1").Replacement != "new-old-1" || len(run.Steps) != 8 {
			t.Errorf("error %v, steps %+v", err, run.Steps)
		}
	})
}

func TestANodeThatJoinsAtTheOldVersionIsUpgradedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := own(3)
		run := ownRun(t, c, nil)
		err := goOn(t.Context(), c, run, people(c, func(task upgrade.Task) func() {
			return func() {
				if c.upgrades(task.Node); task.Node == "old-0" {
					c.state.Nodes = append(c.state.Nodes, upgrade.Node{Name: "late", Pool: "old", Version: before, Ready: true})
				}
			}
		}))
		if step := run.Step("uncordon-node/old/late"); err != nil || step == nil || step.State != upgrade.StepDone {
			t.Errorf("error %v, steps %v", err, kinds(run))
		}
	})
}

func TestANodeThatPeopleHaveUpgradedAlreadyIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := own(3)
		run := ownRun(t, c, nil)
		c.upgrades("old-0")
		if err := goOn(t.Context(), c, run, obedient(c)); err != nil || count(c.calls, "cordon old-0") != 0 || count(c.calls, "evict web-0") != 0 || run.NodesDrained != 1 {
			t.Errorf("error %v, calls %v", err, c.calls)
		}
	})
}

// TestAProcessEndsSoThatOthersCanAct: each call goes on where the one before ended, and says what is to be done until it is.
func TestAProcessEndsSoThatOthersCanAct(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := own(3), &record{}
		run := ownRun(t, c, func(o *upgrade.Options) { o.Wait, o.OnFailure = upgrade.WaitExit, upgrade.RollbackOnFailure })
		for _, node := range []string{"old-0", "old-0", "old-1"} {
			err := goOn(t.Context(), c, run, func(e *Engine) { e.Record = r })
			if !errors.As(err, new(*Paused)) && !errors.As(err, new(*yielded)) {
				t.Fatal(err)
			}
			run = r.load(t)
			if run.State != upgrade.Paused || !run.Yielded || len(run.Tasks) != 1 || run.Tasks[0].Node != node || run.Tasks[0].Step != "await-node/old/"+node || len(run.Waiting) != 1 {
				t.Fatalf("run: %+v", run)
			}
			if node == "old-0" && count(c.calls, "again") > 0 || node == "old-1" {
				c.upgrades(node)
			}
			if node == "old-0" {
				_ = c.note("again")
				if count(c.calls, "again") == 2 {
					c.upgrades(node)
				}
			}
		}
		if err := goOn(t.Context(), c, run, func(e *Engine) { e.Record = r }); err != nil || run.Yielded || len(run.Tasks) != 0 {
			t.Errorf("error %v, run %+v", err, run)
		}
	})
}

func TestAControlPlaneIsUpgradedNodeByNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := own(3)
		run := ownRun(t, c, func(o *upgrade.Options) { o.Pools = []string{upgrade.ControlPlanePool, "old"} })
		var tasks []string
		change := people(c, func(task upgrade.Task) func() {
			how := "node"
			if strings.Contains(strings.Join(task.Commands, "\n"), "kubeadm upgrade apply -y v1.34.2") {
				how = "apply"
			}
			tasks = append(tasks, task.Node+" "+how)
			return func() { c.upgrades(task.Node) }
		})
		if err := goOn(t.Context(), c, run, change); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"cp-0 apply", "cp-1 node", "cp-2 node", "old-0 node", "old-1 node"}, tasks); diff != "" {
			t.Error(diff)
		}
		if step := run.Step("verify-api-servers/control-plane"); step == nil || step.State != upgrade.StepDone {
			t.Error(kinds(run))
		}
		if got := run.ControlPlaneVersion(); got != after {
			t.Errorf("the run says that the control plane is at %s", got)
		}
	})
}

// TestMachinesAreAskedForWithTheMarksOfTheOld: whoever goes on with a run need not know which label names the pools.
func TestMachinesAreAskedForWithTheMarksOfTheOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := own(3)
		c.pools[1].Config = []byte(`{"label":"pool","labels":{"disk":"ssd"}}`)
		run := ownRun(t, c, func(o *upgrade.Options) { o.NewPool, o.Wait = "green", upgrade.WaitExit })
		c.pools = c.pools[:1] // which a provider without the label does not see
		_ = goOn(t.Context(), c, run, nil)
		if len(run.Tasks) != 1 || !slices.Contains(run.Tasks[0].Commands, "kubectl label node NEW-NODE pool=green disk=ssd") {
			t.Errorf("%+v", run.Tasks)
		}
	})
}

func TestNoNodeOfAControlPlaneIsTakenWhileAMemberOfEtcdIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := own(3)
		run := ownRun(t, c, func(o *upgrade.Options) { o.Pools = []string{upgrade.ControlPlanePool} })
		setEtcd := func(ready bool) {
			c.state.Pods = slices.Clone(c.state.Pods)
			for i, p := range c.state.Pods {
				if p.Name == "etcd-cp-2" {
					c.state.Pods[i].Ready = ready
				}
			}
		}
		setEtcd(false)
		err := goOn(t.Context(), c, run, obedient(c))
		var paused *Paused
		if !errors.As(err, &paused) || !strings.Contains(paused.Problem, "node cp-0 is not taken: 1 of the 3 members of etcd") || count(c.calls, "cordon cp") != 0 {
			t.Errorf("error %v, calls %v", err, c.calls)
		}
		setEtcd(true)
		if err := goOn(t.Context(), c, run, obedient(c)); err != nil {
			t.Error(err)
		}
	})
}

func TestPodsMoveToMachinesThatPeopleAdd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := own(3)
		run := ownRun(t, c, func(o *upgrade.Options) { o.NewPool = "new" })
		err := goOn(t.Context(), c, run, people(c, func(upgrade.Task) func() {
			return func() {
				for i := range 2 {
					c.state.Nodes = append(c.state.Nodes, upgrade.Node{Name: fmt.Sprintf("new-%d", i), Pool: "new", Version: after, Ready: true})
				}
			}
		}))
		if err != nil || count(c.calls, "delete") != 0 || cordoned(c, "old") != 2 || run.ReplacedPools["old"] != "new" {
			t.Errorf("error %v, calls %v, run %+v", err, c.calls, run)
		}
		if len(run.Tasks) != 1 || !strings.Contains(run.Tasks[0].What, "remove the machines of pool old") {
			t.Errorf("tasks: %+v", run.Tasks)
		}
	})
}

func TestARollbackLeavesWhatPeopleHaveUpgraded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := own(3)
		run := ownRun(t, c, nil)
		requests := make(chan upgrade.Request, 1)
		err := goOn(t.Context(), c, run, func(e *Engine) {
			people(c, func(task upgrade.Task) func() {
				if task.Node == "old-1" {
					requests <- upgrade.Request{Verb: upgrade.AskRollback, Run: "run-1", By: "alice", Sequence: 1}
					return nil
				}
				return func() { c.upgrades(task.Node) }
			})(e)
			e.Requests = requests
		})
		if run.State != upgrade.RolledBack || cordoned(c, "old") != 0 || !strings.Contains(strings.Join(run.Next, " "), "old-0 at 1.34.2, and that is not undone; old-1 not yet") {
			t.Errorf("error %v, run %s, next %v", err, run.State, run.Next)
		}
	})
}

// TestACrashAmongPeopleIsGoneOnFrom ends the process at every save, once before the record has it and once after.
func TestACrashAmongPeopleIsGoneOnFrom(t *testing.T) {
	for k, crashed := 1, true; crashed; k++ {
		crashed = false
		for _, stored := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				c, r := own(3), &record{}
				run := ownRun(t, c, func(o *upgrade.Options) { o.Pools = []string{upgrade.ControlPlanePool, "old"} })
				if err := r.Save(t.Context(), run); err != nil {
					t.Fatal(err)
				}
				saves := 0
				_ = goOn(t.Context(), c, run, func(e *Engine) {
					obedient(c)(e)
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
					_ = goOn(t.Context(), c, again, func(e *Engine) {
						obedient(c)(e)
						e.Record = r
					})
				}
				again = r.load(t)
				if again.State != upgrade.Succeeded || cordoned(c, "old")+cordoned(c, upgrade.ControlPlanePool) != 0 || countExactly(c.calls, "evict web-0") != 1 || countExactly(c.calls, "evict web-1") != 1 {
					t.Errorf("crash at save %d (stored: %t): run %s (%s), calls %v", k, stored, again.State, again.Problem, c.calls)
				}
			})
		}
		if !crashed && k < 30 {
			t.Errorf("only %d saves", k)
		}
	}
}

func TestAPersonPausesARunThatWaitsForPeople(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := own(3)
		run := ownRun(t, c, nil)
		requests := make(chan upgrade.Request, 1)
		_ = goOn(t.Context(), c, run, func(e *Engine) {
			people(c, func(upgrade.Task) func() {
				requests <- upgrade.Request{Verb: upgrade.AskPause, Run: "run-1", By: "alice", Sequence: 1}
				return nil
			})(e)
			e.Requests = requests
		})
		if run.State != upgrade.Paused || run.Yielded || len(run.Tasks) != 1 || cordoned(c, "old") != 1 {
			t.Errorf("run: %+v", run)
		}
		if err := goOn(t.Context(), c, run, obedient(c)); err != nil {
			t.Error(err)
		}
	})
}

func TestThatPeopleAreAwaitedIsToldNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := own(3)
		run := ownRun(t, c, nil)
		told := 0
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_ = goOn(ctx, c, run, func(e *Engine) {
			e.Notify = func(event upgrade.Event) {
				if strings.Contains(event.Text, "waits for people since") {
					told++
				}
			}
		})
		if told < 10 || told > 20 {
			t.Errorf("told %d times in an hour", told)
		}
	})
}

// TestTheNextNodeWaitsUntilTheOneBeforeIsAsItWas: a DaemonSet's pod that is not up on the node, and a workload that has lost a pod meanwhile.
func TestTheNextNodeWaitsUntilTheOneBeforeIsAsItWas(t *testing.T) {
	for name, missing := range map[string]func(c *cluster, there bool){
		"its own pods": func(c *cluster, there bool) {
			c.state.Pods = slices.DeleteFunc(slices.Clone(c.state.Pods), func(p upgrade.Pod) bool { return p.UID == "agent" })
			c.state.Pods = append(c.state.Pods, upgrade.Pod{Name: "agent", UID: "agent", Node: "old-0", Workload: upgrade.Ref{Kind: "DaemonSet", UID: "agents"}, Ready: there})
		},
		"a workload": func(c *cluster, there bool) {
			c.state.Pods = slices.Clone(c.state.Pods)
			for i, p := range c.state.Pods {
				if p.UID == "web-1" {
					c.state.Pods[i].Ready = there
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := own(3)
				run := ownRun(t, c, nil)
				err := goOn(t.Context(), c, run, people(c, func(task upgrade.Task) func() {
					return func() {
						if c.upgrades(task.Node); task.Node == "old-0" {
							missing(c, false)
						}
					}
				}))
				var paused *Paused
				if !errors.As(err, &paused) || !strings.Contains(paused.Problem, "node old-0 is upgraded, and not all is as it was before") || len(paused.Waiting) == 0 || count(c.calls, "cordon old-1") != 0 {
					t.Fatalf("error %v, calls %v", err, c.calls)
				}
				c.change(func() { missing(c, true) })
				if err := goOn(t.Context(), c, run, obedient(c)); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
