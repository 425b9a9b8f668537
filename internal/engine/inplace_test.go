package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/preflight"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// rolling is a provider that upgrades pools in place as GKE does, in fake time: a new node, the old one cordoned, its pods gone after nodeTime, and so on.
type rolling struct {
	*cluster
	mu         sync.Mutex
	operations map[string]*rollingOperation
	// blocked is a pod that a budget holds on its node until it is set free.
	blocked string
	// breaks ends an operation with an error after so many nodes, 0 for never.
	breaks int
	// homeless tells that pods that left find no node any more.
	homeless bool
	// soaked ends a blue-green upgrade.
	soaked chan struct{}
}

type rollingOperation struct {
	cancelled bool
	done      chan struct{}
	err       error
}

// nodeTime is how long a node takes.
const nodeTime = 10 * time.Second

func newRolling(nodes int) *rolling {
	c := newCluster()
	c.pools[0].Autoscaling = upgrade.Autoscaling{}
	c.pools[0].Upgrade = upgrade.Settings{Strategy: upgrade.Rolling, MaxSurge: 3, Settings: []byte(`{"was":3}`), Summary: "max-surge 3"}
	for i := 2; i < nodes; i++ {
		c.state.Nodes = append(c.state.Nodes, upgrade.Node{Name: fmt.Sprintf("old-%d", i), Pool: "old", Zone: "a", Version: "1.33.1", Ready: true})
	}
	return &rolling{cluster: c, operations: map[string]*rollingOperation{}, soaked: make(chan struct{})}
}

func (r *rolling) SetUpgradeSettings(_ context.Context, pool string, s upgrade.Settings) (string, error) {
	if other := r.underWay(); other != "" {
		return "", &upgrade.Busy{Operation: other, Kind: "UPGRADE_NODES"}
	}
	r.cluster.mu.Lock()
	defer r.cluster.mu.Unlock()
	if cmp.Equal(r.pools[0].Upgrade, s) {
		return "", nil
	}
	r.pools[0].Upgrade = s
	return "", r.note("settings of %s: %s %s", pool, s, s.Settings)
}

// underWay is the operation that is on, empty for none.
func (r *rolling) underWay() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, o := range r.operations {
		select {
		case <-o.done:
		default:
			return id
		}
	}
	return ""
}

// begin begins an operation, unless one is on, which is returned if the same may be adopted.
func (r *rolling) begin(name string, adopts func(string) bool, run func(*rollingOperation) error) (string, error) {
	if other := r.underWay(); other != "" {
		if adopts(other) {
			return other, nil
		}
		return "", &upgrade.Busy{Operation: other, Kind: "UPGRADE_NODES"}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	id := fmt.Sprintf("%s-%d", name, len(r.operations)+1)
	o := &rollingOperation{done: make(chan struct{})}
	r.operations[id] = o
	r.cluster.mu.Lock()
	err := r.note("%s", id)
	r.cluster.mu.Unlock()
	if err != nil {
		delete(r.operations, id)
		return "", err
	}
	go func() {
		o.err = run(o)
		close(o.done)
	}()
	return id, nil
}

func (r *rolling) UpgradePool(_ context.Context, _, version string, _ time.Time) (string, error) {
	return r.begin("upgrade", func(string) bool { return true }, func(o *rollingOperation) error {
		if r.pools[0].Upgrade.Strategy == upgrade.BlueGreen {
			return r.blueGreen(o, version)
		}
		return r.roll(o, "1.33.1", version)
	})
}

func (r *rolling) RollBackPool(_ context.Context, _, cancelled string) (string, error) {
	return r.begin("rollback", func(id string) bool { return id != cancelled }, func(o *rollingOperation) error {
		if r.pools[0].Phase != "" {
			r.change(func() { r.open("old-", true); r.pools[0].Phase = "ROLLBACK_STARTED" })
			r.empty("green-")
			r.change(func() { r.remove("green-"); r.pools[0].Phase = "" })
			return nil
		}
		return r.roll(o, "1.34.2", "1.33.1")
	})
}

func (r *rolling) stopped(o *rollingOperation) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return o.cancelled
}

// roll replaces the nodes that run a version.
func (r *rolling) roll(o *rollingOperation, from, to string) error {
	for done := 0; ; done++ {
		i := slices.IndexFunc(r.State().Nodes, func(n upgrade.Node) bool { return n.Version == from })
		switch {
		case i < 0:
			r.change(func() { r.pools[0].Version = to })
			return nil
		case r.stopped(o):
			return nil
		case r.breaks > 0 && done == r.breaks:
			return errors.New("out of machines")
		}
		old := r.State().Nodes[i].Name
		r.change(func() {
			name := to + "-" + strings.TrimPrefix(old, from+"-")
			r.state.Nodes = append(slices.Clone(r.state.Nodes), upgrade.Node{Name: name, Pool: "old", Zone: "a", Version: to, Ready: true})
			r.open(old, false)
		})
		r.empty(old)
		r.change(func() { r.remove(old) })
	}
}

// blueGreen makes the new nodes, drains the old ones, and waits for the soak's end.
func (r *rolling) blueGreen(o *rollingOperation, to string) error {
	if r.State().Nodes[len(r.State().Nodes)-1].Version != to {
		r.change(func() {
			r.state.Nodes = slices.Clone(r.state.Nodes)
			for i := range r.state.PoolNodes("old") {
				r.state.Nodes = append(r.state.Nodes, upgrade.Node{Name: fmt.Sprintf("green-%d", i), Pool: "old", Zone: "a", Version: to, Ready: true})
			}
			r.pools[0].Phase = "CORDONING_BLUE_POOL"
		})
		r.change(func() { r.open("old-", false); r.pools[0].Phase = "DRAINING_BLUE_POOL" })
	}
	for _, n := range r.State().Nodes {
		if n.Version != to {
			if r.stopped(o) {
				return nil
			}
			r.empty(n.Name)
		}
	}
	r.change(func() { r.pools[0].Phase = upgrade.PhaseSoaking })
	for tick := time.NewTicker(time.Second); !r.stopped(o); {
		select {
		case <-r.soaked:
			time.Sleep(nodeTime)
			r.change(func() { r.remove("old-"); r.pools[0].Phase, r.pools[0].Version = "", to })
			return nil
		case <-tick.C:
		}
	}
	return nil
}

func (r *rolling) CompleteUpgrade(_ context.Context, _ string) (string, error) {
	id := r.underWay()
	var err error
	r.change(func() {
		if r.pools[0].Phase == upgrade.PhaseSoaking {
			err = r.note("complete")
			r.pools[0].Phase = upgrade.PhaseDeleting
			close(r.soaked)
		}
	})
	return id, err
}

// among tells a node by its name, or by what the names of several begin with, up to a dash.
func among(node, names string) bool {
	return node == names || (names == "" || strings.HasSuffix(names, "-")) && strings.HasPrefix(node, names)
}

// open opens or cordons nodes by the beginning of their names.
func (r *rolling) open(prefix string, open bool) {
	r.state.Nodes = slices.Clone(r.state.Nodes)
	for i, n := range r.state.Nodes {
		if among(n.Name, prefix) {
			r.state.Nodes[i].Unschedulable = !open
		}
	}
}

func (r *rolling) remove(prefix string) {
	r.state.Nodes = slices.DeleteFunc(slices.Clone(r.state.Nodes), func(n upgrade.Node) bool { return among(n.Name, prefix) })
}

// empty drains nodes: each pod stops, is gone after nodeTime, and is Ready elsewhere.
func (r *rolling) empty(prefix string) {
	deadline := time.Now().Add(time.Hour)
	for r.holds(prefix) && time.Now().Before(deadline) {
		time.Sleep(time.Second)
	}
	r.change(func() {
		r.open(prefix, false)
		r.pods(prefix, func(p *upgrade.Pod) { p.EndsBy = time.Now().Add(nodeTime) })
	})
	time.Sleep(nodeTime)
	r.change(func() {
		r.pods(prefix, func(p *upgrade.Pod) {
			p.Node, p.UID, p.Name, p.EndsBy = r.openNode(), p.UID+"x", p.Name+"x", time.Time{}
			p.Ready = !r.homeless
		})
	})
}

func (r *rolling) holds(prefix string) bool {
	held := false
	r.change(func() {
		r.pods(prefix, func(p *upgrade.Pod) { held = held || p.Name == r.blocked })
	})
	return held
}

func (r *rolling) pods(prefix string, do func(*upgrade.Pod)) {
	r.state.Pods = slices.Clone(r.state.Pods)
	for i := range r.state.Pods {
		if among(r.state.Pods[i].Node, prefix) {
			do(&r.state.Pods[i])
		}
	}
}

func (r *rolling) Upgrading(context.Context, string) (string, error) { return r.underWay(), nil }

func (r *rolling) CancelOperation(_ context.Context, operation string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.operations[operation]
	select {
	case <-o.done:
		return nil
	default:
	}
	if !o.cancelled {
		o.cancelled = true
		r.cluster.mu.Lock()
		defer r.cluster.mu.Unlock()
		return r.note("cancel %s", operation)
	}
	return nil
}

func (r *rolling) Await(ctx context.Context, operation string, _ func(string)) error {
	r.mu.Lock()
	o := r.operations[operation]
	r.mu.Unlock()
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *rolling) Wait(ctx context.Context, operation string, progress func(string)) error {
	r.mu.Lock()
	_, ours := r.operations[operation]
	r.mu.Unlock()
	if ours {
		return r.Await(ctx, operation, progress)
	}
	return r.cluster.Wait(ctx, operation, progress)
}

func (r *rolling) planned(t *testing.T, strategy string, change func(*upgrade.Options)) *upgrade.Run {
	t.Helper()
	o := upgrade.Options{Target: "control-plane", Strategy: strategy, MaxSurge: 1, Soak: upgrade.Seconds(time.Hour)}
	if change != nil {
		change(&o)
	}
	plan, err := upgrade.BuildPlan(upgrade.Snapshot{
		Cluster: upgrade.Cluster{Name: "c", Project: "p", Location: "l", ControlPlaneVersion: "1.34.2", Pools: r.pools}, State: r.State(),
	}, o, preflight.Inspect)
	if err != nil {
		t.Fatal(err)
	}
	return upgrade.NewRun("run-1", plan, time.Now())
}

func (r *rolling) goOn(ctx context.Context, run *upgrade.Run, change func(*Engine)) error {
	return goOn(ctx, r.cluster, run, func(e *Engine) {
		e.Provider, e.Upgrader = r, r
		if change != nil {
			change(e)
		}
	})
}

// states are the run's steps with their states, those that are done left out.
func undone(run *upgrade.Run) []string {
	var all []string
	for _, s := range run.Steps {
		if s.State != upgrade.StepDone {
			all = append(all, s.ID+": "+string(s.State))
		}
	}
	return all
}

func TestARollingUpgradeIsFollowedNodeByNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRolling(3)
		run := r.planned(t, "rolling", nil)
		var told []string
		err := r.goOn(t.Context(), run, func(e *Engine) {
			e.Notify = func(ev upgrade.Event) {
				switch {
				case ev.Step.Kind == upgrade.DrainNode && ev.Kind != upgrade.DrainWaits:
					told = append(told, strings.TrimSpace(fmt.Sprintf("%d/%d %s %s %s", ev.N, ev.Of, ev.Step.Node, ev.Kind, ev.Pod.Name)))
				case ev.Kind == upgrade.StepProgress:
					told = append(told, ev.Text)
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		of := func(node string) (events []string) {
			for _, line := range told {
				if strings.Contains(line, " "+node+" ") && !strings.HasPrefix(line, "node ") {
					events = append(events, line)
				}
			}
			return events
		}
		want := []string{
			"1/3 old-0 step-started", "1/3 old-0 node-cordoned", "1/3 old-0 pod-evicted web-0", "1/3 old-0 pod-gone web-0", "1/3 old-0 pod-replaced web-0x",
			"1/3 old-0 step-finished",
		}
		if diff := cmp.Diff(want, of("old-0")); diff != "" {
			t.Errorf("%s\n%s", diff, strings.Join(told, "\n"))
		}
		for _, text := range []string{"node 1.34.2-old-1 is Ready at 1.34.2, 2 of 4 nodes of old are", "node old-0 is gone"} {
			if !slices.Contains(told, text) {
				t.Errorf("%q is not told", text)
			}
		}
		if diff := cmp.Diff([]string{"settings of old: max-surge 1, max-unavailable 0 ", "upgrade-1", `settings of old: max-surge 3, max-unavailable 0 {"was":3}`}, r.calls); diff != "" {
			t.Error(diff)
		}
		if run.State != upgrade.Succeeded || run.NodesDrained != 3 || len(run.Upgrades) != 0 || len(undone(run)) > 0 || len(run.Moves) < 2 {
			t.Errorf("run %s: %v, %+v", run.State, undone(run), run.Moves)
		}
	})
}

func TestABudgetThatBlocksGKEIsNamedAtOnceWithTheTimeLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRolling(2)
		r.blocked = "web-0"
		r.state.Budgets = map[string]upgrade.Budget{"ns/web": {Namespace: "ns", Name: "web", Rule: "minAvailable 2", Current: true, Healthy: 2, Needed: 2, Expected: 2}}
		for i := range r.state.Pods {
			r.state.Pods[i].Budgets = []string{"ns/web"}
		}
		run := r.planned(t, "rolling", nil)
		start := time.Now()
		var first time.Duration
		var text, help, gone string
		err := r.goOn(t.Context(), run, func(e *Engine) {
			e.Notify = func(ev upgrade.Event) {
				if ev.Kind == upgrade.DrainWaits && ev.Waiting[0].Budget != "" && text == "" {
					first, text, help = time.Since(start), ev.Waiting[0].String(), ev.Waiting[0].Help
				}
				if ev.Kind == upgrade.PodGone && gone == "" {
					gone = ev.Text
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := "Pod ns/web-0: PodDisruptionBudget ns/web allows no eviction now (minAvailable 2: 2 of 2 healthy, 2 needed); GKE ends it past that in 1h0m, at "; !strings.HasPrefix(text, want) {
			t.Errorf("told %q", text)
		}
		if first > 2*time.Second {
			t.Errorf("told after %s", first)
		}
		if !strings.HasPrefix(help, "kubectl patch pdb web -n ns") {
			t.Errorf("help %q", help)
		}
		if want := "past PodDisruptionBudget ns/web: GKE waits no longer than 1h0m"; gone != want {
			t.Errorf("gone %q, want %q", gone, want)
		}
	})
}

func TestAPauseStopsGKEAndAResumeGoesOnWithTheOtherNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRolling(4)
		run := r.planned(t, "rolling", nil)
		requests := make(chan upgrade.Request, 1)
		err := r.goOn(t.Context(), run, func(e *Engine) {
			e.Requests = requests
			e.Notify = func(ev upgrade.Event) {
				if ev.Kind == upgrade.PodEvicted {
					select {
					case requests <- upgrade.Request{Verb: upgrade.AskPause, Run: run.ID, By: "alice"}:
					default:
					}
				}
			}
		})
		if err == nil || run.State != upgrade.Paused || !slices.Contains(r.calls, "cancel upgrade-1") {
			t.Fatalf("run %s, error %v, calls %v", run.State, err, r.calls)
		}
		if !strings.Contains(strings.Join(run.Next, "\n"), "GKE finishes the nodes of pool old that it has begun, by operation upgrade-1") {
			t.Errorf("next: %v", run.Next)
		}
		if _, noted := run.Upgrades["old"]; !noted {
			t.Errorf("the settings are not in the record any more")
		}
		if err := r.goOn(t.Context(), run, nil); err != nil {
			t.Fatal(err)
		}
		want := []string{"settings of old: max-surge 1, max-unavailable 0 ", "upgrade-1", "cancel upgrade-1", "upgrade-2", `settings of old: max-surge 3, max-unavailable 0 {"was":3}`}
		if diff := cmp.Diff(want, r.calls); diff != "" {
			t.Error(diff)
		}
		if run.NodesDrained != 4 || len(undone(run)) > 0 {
			t.Errorf("%d drained, %v", run.NodesDrained, undone(run))
		}
	})
}

func TestARollbackHasGKEUndoWhatIsNotComplete(t *testing.T) {
	for _, strategy := range []string{"rolling", "blue-green"} {
		t.Run(strategy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRolling(4)
				run := r.planned(t, strategy, nil)
				requests := make(chan upgrade.Request, 1)
				err := r.goOn(t.Context(), run, func(e *Engine) {
					e.Requests = requests
					e.Notify = func(ev upgrade.Event) {
						if ev.Kind == upgrade.PodReplaced && run.Ending == "" {
							select {
							case requests <- upgrade.Request{Verb: upgrade.AskRollback, Run: run.ID, By: "alice"}:
							default:
							}
						}
					}
				})
				if err == nil || run.State != upgrade.RolledBack {
					t.Fatalf("run %s (%s), error %v, calls %v", run.State, run.Problem, err, r.calls)
				}
				want := []string{"cancel upgrade-1", "rollback-2", `settings of old: max-surge 3, max-unavailable 0 {"was":3}`}
				if diff := cmp.Diff(want, r.calls[2:]); diff != "" {
					t.Error(diff)
				}
				if at, all := atVersion(r.State(), "old", "1.33.1"); at != 4 || all != 4 {
					t.Errorf("%d of %d nodes are as before", at, all)
				}
				if len(run.Drains()) == 0 {
					t.Error("the way back has no drains")
				}
			})
		})
	}
}

func TestWhatIsUpgradedInPlaceIsNotRolledBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRolling(2)
		run := r.planned(t, "rolling", nil)
		if err := r.goOn(t.Context(), run, nil); err != nil {
			t.Fatal(err)
		}
		run.State = upgrade.Paused
		run.Steps[len(run.Steps)-1].State = upgrade.StepStopped
		err := r.goOn(t.Context(), run, func(e *Engine) {
			e.First = &upgrade.Request{Verb: upgrade.AskRollback, Run: run.ID, By: "alice"}
		})
		if err == nil || !strings.Contains(err.Error(), "pool old is upgraded to 1.34.2, and GKE rolls back only an upgrade that is not complete") {
			t.Errorf("error %v", err)
		}
	})
}

func TestCancelStopsGKEAndRestoresTheSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRolling(4)
		run := r.planned(t, "rolling", nil)
		requests := make(chan upgrade.Request, 1)
		_ = r.goOn(t.Context(), run, func(e *Engine) {
			e.Requests = requests
			e.Notify = func(ev upgrade.Event) {
				if ev.Kind == upgrade.PodEvicted {
					select {
					case requests <- upgrade.Request{Verb: upgrade.AskCancel, Run: run.ID, By: "alice"}:
					default:
					}
				}
			}
		})
		if run.State != upgrade.Cancelled || len(run.Upgrades) != 0 {
			t.Fatalf("run %s: %s", run.State, run.Problem)
		}
		if diff := cmp.Diff([]string{"cancel upgrade-1", `settings of old: max-surge 3, max-unavailable 0 {"was":3}`}, r.calls[2:]); diff != "" {
			t.Error(diff)
		}
		if next := strings.Join(run.Next, "\n"); !strings.Contains(next, "1 of 4 nodes of pool old run 1.34.2: upgrade again to go on with it, or have GKE undo it: gcloud container node-pools rollback old") {
			t.Errorf("next: %s", next)
		}
	})
}

func TestAnUpgradeThatFailsOnItsWayPausesAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRolling(3)
		r.breaks = 1
		run := r.planned(t, "rolling", nil)
		err := r.goOn(t.Context(), run, nil)
		if err == nil || run.State != upgrade.Paused || run.Problem != "upgrade pool old: out of machines; 1 of 3 nodes of pool old run 1.34.2" {
			t.Fatalf("run %s: %s", run.State, run.Problem)
		}
		r.breaks = 0
		if err := r.goOn(t.Context(), run, nil); err != nil || len(undone(run)) > 0 {
			t.Fatalf("%v, %v", err, undone(run))
		}
	})
}

func TestAnUpgradeThatCannotBeginFailsAndTheSettingsComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRolling(3)
		r.fails["upgrade-1"] = errors.New("permission denied")
		run := r.planned(t, "rolling", nil)
		if err := r.goOn(t.Context(), run, nil); err == nil || run.State != upgrade.Failed || len(run.Upgrades) != 0 {
			t.Fatalf("run %s: %v", run.State, err)
		}
		if last := r.calls[len(r.calls)-1]; last != `settings of old: max-surge 3, max-unavailable 0 {"was":3}` {
			t.Errorf("last call %q", last)
		}
	})
}

func TestAWorkloadThatDoesNotComeBackStopsGKE(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRolling(200)
		r.homeless = true
		run := r.planned(t, "rolling", nil)
		err := r.goOn(t.Context(), run, nil)
		if err == nil || run.State != upgrade.Paused || !slices.Contains(r.calls, "cancel upgrade-1") {
			t.Fatalf("run %s: %v, %v", run.State, run.Problem, r.calls)
		}
		if !strings.Contains(run.Problem, "GKE has drained node old-") || !strings.Contains(run.Problem, "not been as available as before: Pod ns/web-") {
			t.Errorf("problem: %s", run.Problem)
		}
		_ = r.Await(t.Context(), "upgrade-1", nil)
	})
}

func TestABlueGreenUpgradeSoaksUnderOurGatesAndIsCompleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRolling(2)
		run := r.planned(t, "blue-green", nil)
		start := time.Now()
		if err := r.goOn(t.Context(), run, nil); err != nil {
			t.Fatal(err)
		}
		want := []string{"settings of old: blue-green ", "upgrade-1", "complete", `settings of old: max-surge 3, max-unavailable 0 {"was":3}`}
		if diff := cmp.Diff(want, r.calls); diff != "" {
			t.Error(diff)
		}
		if took := time.Since(start); took < time.Hour || run.NodesDrained != 2 || len(undone(run)) > 0 {
			t.Errorf("took %s, %d drained, %v", took, run.NodesDrained, undone(run))
		}
	})
}

func TestASoakWithAWorkloadDownDoesNotComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRolling(2)
		run := r.planned(t, "blue-green", nil)
		err := r.goOn(t.Context(), run, func(e *Engine) {
			e.Notify = func(ev upgrade.Event) {
				if ev.Kind == upgrade.StepStarted && ev.Step.Kind == upgrade.Soak {
					r.change(func() { r.pods("", func(p *upgrade.Pod) { p.Ready, p.Trouble = false, "CrashLoopBackOff" }) })
				}
			}
		})
		if err == nil || run.State != upgrade.Paused || slices.Contains(r.calls, "complete") {
			t.Fatalf("run %s: %s, calls %v", run.State, run.Problem, r.calls)
		}
		if len(run.Waiting) != 1 || !strings.Contains(run.Waiting[0].String(), "Deployment ns/web: 0 of 2 pods are Ready; Pod ns/web-") || !strings.Contains(run.Waiting[0].Reason, "CrashLoopBackOff") {
			t.Errorf("waiting: %v", run.Waiting)
		}
		_ = r.CancelOperation(t.Context(), "upgrade-1")
		_ = r.Await(t.Context(), "upgrade-1", nil)
	})
}

// TestACrashAtAnySaveOfAnUpgradeInPlace: whichever write of the record is the last, another process comes to the same end, with each change made once.
func TestACrashAtAnySaveOfAnUpgradeInPlace(t *testing.T) {
	for _, strategy := range []string{"rolling", "blue-green"} {
		crashed := errors.New("crashed")
		ends := func(at int) (calls []string, saves int, run *upgrade.Run) {
			synctest.Test(t, func(t *testing.T) {
				r := newRolling(3)
				kept := &record{}
				kept.fails = func(*upgrade.Run) error {
					if saves++; saves > at {
						return crashed
					}
					return nil
				}
				run = r.planned(t, strategy, nil)
				if err := kept.Save(t.Context(), run); err != nil {
					t.Fatal(err)
				}
				err := r.goOn(t.Context(), run, func(e *Engine) { e.Record = kept })
				if err != nil {
					kept.fails = nil
					run = kept.load(t)
					if err := r.goOn(t.Context(), run, func(e *Engine) { e.Record = kept }); err != nil {
						t.Errorf("%s, crash after save %d: %v", strategy, at, err)
					}
				}
				calls = slices.Clone(r.calls)
			})
			return calls, saves, run
		}
		want, saves, _ := ends(1 << 20)
		for at := 1; at < saves; at++ {
			calls, _, run := ends(at)
			if diff := cmp.Diff(want, calls); diff != "" {
				t.Errorf("%s, crash after save %d:\n%s", strategy, at, diff)
			}
			if run.State != upgrade.Succeeded || len(run.Upgrades) > 0 || run.NodesDrained != 3 || len(undone(run)) > 0 {
				t.Errorf("%s, crash after save %d: %s, %d drained, %v", strategy, at, run.State, run.NodesDrained, undone(run))
			}
		}
	}
}

func TestTheTimeUntilGKEUsesForceGoesOnWithAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRolling(2)
		r.blocked = "web-0"
		r.state.Budgets = map[string]upgrade.Budget{"ns/web": {Namespace: "ns", Name: "web", Rule: "minAvailable 2", Current: true, Healthy: 2, Needed: 2, Expected: 2}}
		for i := range r.state.Pods {
			r.state.Pods[i].Budgets = []string{"ns/web"}
		}
		run := r.planned(t, "rolling", nil)
		for _, after := range []time.Duration{30 * time.Minute, 10 * time.Minute} {
			ctx, stop := context.WithCancelCause(t.Context())
			time.AfterFunc(after, func() { stop(&Stop{"the job ends"}) })
			if err := r.goOn(ctx, run, nil); err == nil || run.State != upgrade.Interrupted || slices.Contains(r.calls, "cancel upgrade-1") {
				t.Fatalf("run %s, calls %v", run.State, r.calls)
			}
		}
		if !strings.Contains(strings.Join(run.Next, "\n"), "GKE goes on with pool old by itself, by operation upgrade-1: to watch it: upshift resume; to stop it: upshift pause") {
			t.Errorf("next: %v", run.Next)
		}
		text := ""
		err := r.goOn(t.Context(), run, func(e *Engine) {
			e.Notify = func(ev upgrade.Event) {
				if ev.Kind == upgrade.DrainWaits && text == "" {
					text = ev.Waiting[0].String()
				}
			}
		})
		if err != nil || !strings.Contains(text, "GKE ends it past that in 20m, at ") {
			t.Errorf("%v, told %q", err, text)
		}
	})
}

// TestWhatGKEHasUpgradedIsNotCordoned: its operation is over before the last pods are Ready again, which the drains' gates wait for.
func TestWhatGKEHasUpgradedIsNotCordoned(t *testing.T) {
	for _, strategy := range []string{"rolling", "blue-green"} {
		t.Run(strategy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRolling(2)
				r.homeless = true
				run := r.planned(t, strategy, nil)
				time.AfterFunc(5*time.Minute, func() {
					r.change(func() { r.homeless = false; r.pods("", func(p *upgrade.Pod) { p.Ready = true }) })
				})
				_ = r.goOn(t.Context(), run, func(e *Engine) { e.Surroundings = &upgrading{r} })
				if run.State != upgrade.Succeeded {
					t.Errorf("run %s (%s)", run.State, run.Problem)
				}
				for _, n := range r.State().Nodes {
					if n.Unschedulable {
						t.Errorf("node %s is cordoned", n.Name)
					}
				}
			})
		})
	}
}

// upgrading is what GKE tells of a pool that it upgrades: its own operations are among those under way.
type upgrading struct{ *rolling }

func (a *upgrading) Look(ctx context.Context) (upgrade.Cluster, error) {
	pools, err := a.Pools(ctx)
	c := upgrade.Cluster{Pools: pools}
	if o := a.underWay(); o != "" {
		c.Operations = []upgrade.Operation{{Name: o, Kind: "UPGRADE_NODES", Target: "old"}}
	}
	return c, err
}

func (a *upgrading) Quotas(context.Context) ([]upgrade.Quota, error) { return nil, nil }

// TestAnUpgradeWhoseNameWasLostIsStoppedAllTheSame: the process that began it was killed before it could record its operation.
func TestAnUpgradeWhoseNameWasLostIsStoppedAllTheSame(t *testing.T) {
	for _, strategy := range []string{"rolling", "blue-green"} {
		for verb, want := range map[upgrade.Verb][]string{
			upgrade.AskPause:    {"cancel upgrade-1"},
			upgrade.AskCancel:   {"cancel upgrade-1", `settings of old: max-surge 3, max-unavailable 0 {"was":3}`},
			upgrade.AskRollback: {"cancel upgrade-1", "rollback-2", `settings of old: max-surge 3, max-unavailable 0 {"was":3}`},
		} {
			t.Run(strategy+" "+string(verb), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRolling(4)
					run := r.planned(t, strategy, nil)
					kept := &record{fails: func(*upgrade.Run) error {
						if slices.Contains(r.calls, "upgrade-1") {
							return errors.New("killed")
						}
						return nil
					}}
					_ = r.goOn(t.Context(), run, func(e *Engine) { e.Record = kept })
					run = kept.load(t)
					if up := run.Step(upgrade.NewStep(upgrade.UpgradePool, "old", "").ID); up.StartedAt == nil || up.Operation != "" {
						t.Fatalf("the record has %+v", up)
					}
					time.Sleep(nodeTime / 2)
					_ = r.goOn(t.Context(), run, func(e *Engine) { e.First = &upgrade.Request{Verb: verb, Run: run.ID, By: "alice"} })
					time.Sleep(2 * time.Hour) // what is still under way ends
					if diff := cmp.Diff(want, r.calls[2:]); diff != "" {
						t.Errorf("run %s (%s): %s", run.State, run.Problem, diff)
					}
					if at, _ := atVersion(r.State(), "old", "1.33.1"); verb == upgrade.AskRollback && (at != 4 || run.State != upgrade.RolledBack) {
						t.Errorf("run %s (%s), %d nodes as before", run.State, run.Problem, at)
					}
				})
			})
		}
	}
}

func TestAnInterruptedDeletionOfOldNodesIsNotSaidToBeStoppable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRolling(2)
		run := r.planned(t, "blue-green", nil)
		ctx, stop := context.WithCancelCause(t.Context())
		_ = r.goOn(ctx, run, func(e *Engine) {
			e.Notify = func(ev upgrade.Event) {
				if ev.Kind == upgrade.StepStarted && ev.Step.Kind == upgrade.CompleteUpgrade {
					time.AfterFunc(nodeTime/2, func() { stop(&Stop{"the job ends"}) })
				}
			}
		})
		next := strings.Join(run.Next, "\n")
		if !strings.Contains(next, "GKE deletes the old nodes of pool old, which cannot be stopped: to see it to its end: upshift resume") || strings.Contains(next, "upshift pause") {
			t.Errorf("next: %s", next)
		}
		time.Sleep(nodeTime)
	})
}

func TestACancelLeavesADeletionOfOldNodesToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRolling(2)
		run := r.planned(t, "blue-green", nil)
		requests := make(chan upgrade.Request, 1)
		var told []string
		_ = r.goOn(t.Context(), run, func(e *Engine) {
			e.Requests = requests
			e.Notify = func(ev upgrade.Event) {
				told = append(told, ev.Text)
				if ev.Kind == upgrade.StepStarted && ev.Step.Kind == upgrade.CompleteUpgrade {
					time.AfterFunc(nodeTime/2, func() { requests <- upgrade.Request{Verb: upgrade.AskCancel, Run: run.ID, By: "alice"} })
				}
			}
		})
		want := []string{"complete", `settings of old: max-surge 3, max-unavailable 0 {"was":3}`}
		if diff := cmp.Diff(want, r.calls[2:]); diff != "" || run.State != upgrade.Cancelled || len(run.Upgrades) > 0 {
			t.Errorf("run %s (%s): %s", run.State, run.Problem, diff)
		}
		if slices.ContainsFunc(told, func(text string) bool { return strings.Contains(text, "not ours") }) {
			t.Errorf("told %q", told)
		}
	})
}
