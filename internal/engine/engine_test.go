package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
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

// cluster is both sides of a cluster in memory: the provider's pools and Kubernetes' nodes and pods. Evicted pods move to the
// newest pool at once. Every call is noted.
type cluster struct {
	mu      sync.Mutex
	pools   []upgrade.Pool
	state   upgrade.State
	volumes []upgrade.Attachment
	changed chan struct{}
	calls   []string
	// fails makes a call fail, by its note.
	fails map[string]error
	// notReady makes the nodes of new pools never Ready.
	notReady bool
	// loseDelete makes a deletion that is begun answer with an error, and poolsFail the list of pools after it.
	loseDelete, poolsFail bool
	// deletion is the operation that deletes a pool, empty for at once.
	deletion string
	// stuck is a Deployment whose restarts do not end.
	stuck string
	// slow is how long after a restart its new pods are there.
	slow time.Duration
	// allocatable is what nodes of new pools have, nil if that is not known.
	allocatable upgrade.Resources
	// foreign is a pool that somebody makes in the moment in which ours is to be made.
	foreign string
	// notMade makes no pool at all, and busy is answered to changes first, once each.
	notMade bool
	busy    []*upgrade.Busy
	// version is the control plane's at the provider, and behind, if it is not empty, what the API server says instead.
	version, behind string
	// hops are the versions of control planes that operations under way go to, by their names, and hopTakes how long each of them takes.
	hops     map[string]string
	hopTakes time.Duration
	// calls of the API server for its version.
	asked upgrade.Calls
}

func newCluster() *cluster {
	c := &cluster{
		pools:   []upgrade.Pool{{Name: "old", Version: "1.33.1", Zones: []string{"a"}, Autoscaling: upgrade.Autoscaling{Enabled: true, Summary: "1 to 5", Command: "turn on POOL"}}},
		changed: make(chan struct{}), fails: map[string]error{}, version: "1.34.2", hops: map[string]string{},
	}
	web := upgrade.Workload{Ref: upgrade.Ref{Kind: "Deployment", Namespace: "ns", Name: "web", UID: "web"}, Wanted: 2}
	c.state.Workloads = map[string]upgrade.Workload{"web": web}
	for i := range 2 {
		c.state.Nodes = append(c.state.Nodes, upgrade.Node{Name: fmt.Sprintf("old-%d", i), Pool: "old", Zone: "a", Version: "1.33.1", Ready: true})
		c.state.Pods = append(c.state.Pods, upgrade.Pod{Namespace: "ns", Name: fmt.Sprintf("web-%d", i), UID: fmt.Sprintf("web-%d", i), Node: fmt.Sprintf("old-%d", i), Workload: web.Ref, Ready: true})
	}
	return c
}

func (c *cluster) note(format string, args ...any) error {
	call := fmt.Sprintf(format, args...)
	c.calls = append(c.calls, call)
	close(c.changed)
	c.changed = make(chan struct{})
	return c.fails[call]
}

func (c *cluster) Pools(context.Context) ([]upgrade.Pool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.poolsFail && slices.Contains(c.calls, "delete old") {
		return nil, errors.New("try later")
	}
	return slices.Clone(c.pools), nil
}

func (c *cluster) ControlPlaneVersion(context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version, nil
}

// UpgradeControlPlane adopts an operation that is under way, as a provider does that finds one.
func (c *cluster) UpgradeControlPlane(_ context.Context, version string, _ time.Time) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.busy) > 0 {
		busy := c.busy[0]
		c.busy = c.busy[1:]
		return "", busy
	}
	for operation := range c.hops {
		return operation, nil
	}
	if upgrade.CompareVersions(c.version, version) >= 0 {
		return "", nil
	}
	if err := c.note("upgrade control plane to %s", version); err != nil {
		return "", err
	}
	c.hops["hop "+version] = version
	return "hop " + version, nil
}

func (c *cluster) Version(context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked.Made++
	if c.behind != "" {
		return c.behind, nil
	}
	return c.version, nil
}

// Calls counts what Version was asked.
func (c *cluster) Calls() upgrade.Calls {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

// hop ends an operation on the control plane.
func (c *cluster) hop(ctx context.Context, operation string) error {
	select {
	case <-time.After(c.hopTakes):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	version, ok := c.hops[operation]
	delete(c.hops, operation)
	if err := c.fails["wait "+operation]; err != nil {
		return err
	}
	if ok {
		c.version = version
	}
	return nil
}

func (c *cluster) CreatePool(_ context.Context, clone upgrade.Clone) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.ContainsFunc(c.pools, func(p upgrade.Pool) bool { return p.Name == clone.Name }) {
		return "", nil // adopted
	}
	if c.foreign == clone.Name {
		c.pools = append(c.pools, upgrade.Pool{Name: clone.Name, Version: clone.Version})
		c.state.Nodes = append(c.state.Nodes, upgrade.Node{Name: "theirs", Pool: clone.Name, Ready: true})
	}
	if err := c.note("create %s like %s at %s, %d a zone", clone.Name, clone.Of, clone.Version, clone.NodesPerZone); err != nil {
		return "", err
	}
	if !c.notMade {
		made := upgrade.Pool{Name: clone.Name, Version: clone.Version, MadeBy: clone.Run}
		if failure := c.fails["wait op"]; failure != nil {
			made.Trouble = failure.Error()
		}
		c.pools = append(c.pools, made)
	}
	prefix := "new"
	if clone.Of != "old" {
		prefix = "new-" + clone.Of
	}
	for i := range clone.NodesPerZone {
		c.state.Nodes = append(c.state.Nodes, upgrade.Node{Name: fmt.Sprintf("%s-%d", prefix, i), Pool: clone.Name, Version: clone.Version, Ready: !c.notReady, Allocatable: c.allocatable})
	}
	return "op", nil
}

func (c *cluster) DeletePool(_ context.Context, name string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.busy) > 0 {
		busy := c.busy[0]
		c.busy = c.busy[1:]
		return "", busy
	}
	if !slices.ContainsFunc(c.pools, func(p upgrade.Pool) bool { return p.Name == name }) {
		return "", nil
	}
	if err := c.note("delete %s", name); err != nil {
		return "", err
	}
	if c.loseDelete {
		for i, p := range c.pools {
			c.pools[i].Deleting = c.pools[i].Deleting || p.Name == name
		}
		return "", errors.New("connection lost")
	}
	if c.deletion != "" {
		return c.deletion, nil // and the pool stays
	}
	c.pools = slices.DeleteFunc(c.pools, func(p upgrade.Pool) bool { return p.Name == name })
	c.state.Nodes = slices.DeleteFunc(slices.Clone(c.state.Nodes), func(n upgrade.Node) bool { return n.Pool == name })
	return c.deletion, nil
}

func (c *cluster) SetAutoscaling(_ context.Context, pool string, a upgrade.Autoscaling) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.Hold > 0 {
		return "", c.note("autoscaling of %s: %s, %d held", pool, a.Summary, a.Hold)
	}
	return "", c.note("autoscaling of %s: %s", pool, a.Summary)
}

func (c *cluster) Wait(ctx context.Context, operation string, _ func(string)) error {
	if strings.HasPrefix(operation, "hop ") {
		return c.hop(ctx, operation)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if operation == "endless" {
		c.mu.Unlock()
		defer c.mu.Lock()
		<-ctx.Done()
		return ctx.Err()
	}
	if operation == "foreign" { // while it lasted, a node came back and took a pod
		c.state.Nodes = append(c.state.Nodes, upgrade.Node{Name: "back", Pool: "old", Ready: true})
		p := c.state.Pods[0]
		p.Name, p.UID, p.Node = "web-back", "web-back", "back"
		c.state.Pods = append(c.state.Pods, p)
	}
	return c.fails["wait "+operation]
}

func (c *cluster) State() upgrade.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.state
	s.Nodes, s.Pods = slices.Clone(s.Nodes), slices.Clone(s.Pods)
	return s
}

func (c *cluster) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// openNode is where a new pod goes: to the last node that is not cordoned.
func (c *cluster) openNode() string {
	for _, n := range slices.Backward(c.state.Nodes) {
		if !n.Unschedulable {
			return n.Name
		}
	}
	return ""
}

func (c *cluster) Evict(_ context.Context, pod upgrade.Pod) upgrade.Answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.note("evict %s", pod.Name); err != nil {
		return upgrade.Answer{Kind: upgrade.Refused, Message: err.Error()}
	}
	for i, p := range c.state.Pods {
		if p.UID == pod.UID {
			c.state.Pods[i].Node, c.state.Pods[i].UID, c.state.Pods[i].Name = c.openNode(), p.UID+"x", p.Name+"x"
		}
	}
	return upgrade.Answer{Kind: upgrade.Accepted}
}

// Restart moves the Deployment's pods to the newest pool at once, or, of one that is stuck, makes a new pod that finds no node.
func (c *cluster) Restart(_ context.Context, deployment upgrade.Ref, decide func(upgrade.Workload) (string, bool)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, ok := c.state.Workloads[deployment.UID]
	if !ok {
		return nil
	}
	c.mu.Unlock() // decide looks at the state
	at, change := decide(w)
	c.mu.Lock()
	if !change {
		return nil
	}
	if err := c.note("restart %s", w.Name); err != nil {
		return err
	}
	rollout := *w.Rollout
	rollout.RestartedAt = at
	w.Rollout = &rollout
	c.state.Workloads = maps.Clone(c.state.Workloads)
	c.state.Workloads[w.UID] = w
	if c.slow > 0 {
		time.AfterFunc(c.slow, func() {
			c.change(func() { c.replace(w, at) })
		})
		return nil
	}
	c.replace(w, at)
	return nil
}

// change changes the cluster from outside.
func (c *cluster) change(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	close(c.changed)
	c.changed = make(chan struct{})
}

// replace makes the new pods of a Deployment that was restarted.
func (c *cluster) replace(w upgrade.Workload, at string) {
	c.state.Pods = slices.DeleteFunc(slices.Clone(c.state.Pods), func(p upgrade.Pod) bool { return p.UID == "pending" && p.Workload.UID == w.UID })
	if c.stuck == w.Name && at != "" {
		c.state.Pods = append(c.state.Pods, upgrade.Pod{Namespace: w.Namespace, Name: "pending", UID: "pending", Workload: w.Ref, Unschedulable: "0/4 nodes are available"})
		return
	}
	for i, p := range c.state.Pods {
		if p.Workload.UID == w.UID {
			if j := slices.IndexFunc(c.state.Nodes, func(n upgrade.Node) bool { return n.Name == p.Node }); c.state.Nodes[j].Unschedulable {
				c.state.Pods[i].Node, c.state.Pods[i].UID, c.state.Pods[i].Name = c.openNode(), p.UID+"r", p.Name+"r"
			}
		}
	}
}

func (c *cluster) Delete(_ context.Context, pod upgrade.Pod, _ bool) upgrade.Answer {
	c.mu.Lock()
	delete(c.fails, "evict "+pod.Name)
	_ = c.note("force %s", pod.Name)
	c.mu.Unlock()
	return c.Evict(context.Background(), pod)
}

func (c *cluster) cordon(node string, by string) {
	for i, n := range c.state.Nodes {
		if n.Name == node {
			c.state.Nodes[i].Unschedulable, c.state.Nodes[i].CordonedBy = by != "", by
		}
	}
}

func (c *cluster) Cordon(_ context.Context, node, run string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cordon(node, run)
	return c.note("cordon %s", node)
}

func (c *cluster) Uncordon(_ context.Context, node string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cordon(node, "")
	return c.note("uncordon %s", node)
}

func (c *cluster) Occupants(_ context.Context, pool string) (upgrade.Occupants, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	there := upgrade.Occupants{Nodes: c.state.PoolNodes(pool), Volumes: c.volumes}
	for _, p := range c.state.Pods {
		if slices.ContainsFunc(there.Nodes, func(n upgrade.Node) bool { return n.Name == p.Node }) {
			there.Pods = append(there.Pods, p)
		}
	}
	return there, nil
}

// free is a lock that nobody else wants.
type free struct{}

func (free) Hold(ctx context.Context) (context.Context, context.CancelFunc, error) {
	held, cancel := context.WithCancel(ctx)
	return held, cancel, nil
}

func (f free) Confirm(ctx context.Context, _ time.Duration) (context.Context, context.CancelFunc, error) {
	return f.Hold(ctx)
}

// record is where a run is kept, as JSON, as the cluster keeps it.
type record struct {
	last []byte
	// fails is called before each save.
	fails func(*upgrade.Run) error
}

func (r *record) Save(_ context.Context, run *upgrade.Run) error {
	if r.fails != nil {
		if err := r.fails(run); err != nil {
			return err
		}
	}
	data, err := run.Encode(1 << 20)
	r.last = data
	return err
}

func (r *record) load(t *testing.T) *upgrade.Run {
	t.Helper()
	run, err := upgrade.DecodeRun(r.last)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// planned is a run of an upgrade of c that has not begun.
func planned(t *testing.T, c *cluster) *upgrade.Run {
	t.Helper()
	return plannedWith(t, c, upgrade.DeleteEach)
}

func plannedWith(t *testing.T, c *cluster, policy upgrade.DeletePolicy) *upgrade.Run {
	t.Helper()
	plan, err := upgrade.BuildPlan(upgrade.Snapshot{
		Cluster: upgrade.Cluster{Name: "c", Project: "p", Location: "l", ControlPlaneVersion: "1.34.2", Pools: c.pools}, State: c.State(),
	}, upgrade.Options{Target: "control-plane", Delete: policy, Soak: upgrade.Seconds(time.Hour)}, preflight.Inspect)
	if err != nil {
		t.Fatal(err)
	}
	return upgrade.NewRun("run-1", plan, time.Now())
}

// carryOut plans an upgrade of c and runs it, in fake time.
func carryOut(t *testing.T, ctx context.Context, c *cluster, change func(*Engine)) (*upgrade.Run, error) {
	t.Helper()
	run := planned(t, c)
	return run, goOn(ctx, c, run, change)
}

// goOn carries out what is left of run.
func goOn(ctx context.Context, c *cluster, run *upgrade.Run, change func(*Engine)) error {
	e := &Engine{Provider: c, Cluster: c, Lock: free{}, Record: &record{}, Notify: func(upgrade.Event) {}}
	if change != nil {
		change(e)
	}
	return e.Run(ctx, run)
}

func TestAMigrationInItsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		start := time.Now()
		run, err := carryOut(t, t.Context(), c, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{
			"autoscaling of old: ", "create old-1-34-2 like old at 1.34.2, 2 a zone", "cordon old-0", "cordon old-1",
			"evict web-0", "evict web-1", "delete old", "autoscaling of old-1-34-2: 1 to 5",
		}
		if diff := cmp.Diff(want, c.calls); diff != "" {
			t.Error(diff)
		}
		if run.State != upgrade.Succeeded || run.NodesDrained != 2 || len(run.Moves) != 2 || run.ReplacedPools["old"] != "old-1-34-2" || len(run.Frozen) != 0 {
			t.Errorf("run: %+v", run)
		}
		if took := time.Since(start); took < time.Hour {
			t.Errorf("it soaked for less than an hour: %s", took)
		}
	})
}

func TestAPoolThatCannotBeMadeFailsTheRunAndAutoscalingComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.fails["wait op"], c.notMade = errors.New("quota exceeded"), true
		run, err := carryOut(t, t.Context(), c, nil)
		if err == nil || run.State != upgrade.Failed || !strings.Contains(run.Problem, "quota exceeded") {
			t.Errorf("run %s with problem %q, error %v", run.State, run.Problem, err)
		}
		if last := c.calls[len(c.calls)-1]; last != "autoscaling of old: 1 to 5" {
			t.Errorf("the last call is %q", last)
		}
		if len(run.Next) != 1 || !strings.Contains(run.Next[0], "old-1-34-2") {
			t.Errorf("next: %v", run.Next)
		}
	})
}

func TestAnErrorAfterTheCordonUncordonsOurNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.fails["delete old"] = errors.New("permission denied")
		run, err := carryOut(t, t.Context(), c, nil)
		if err == nil || run.State != upgrade.Failed {
			t.Errorf("run %s, error %v", run.State, err)
		}
		for _, n := range c.state.PoolNodes("old") {
			if n.Unschedulable {
				t.Errorf("node %s is left cordoned", n.Name)
			}
		}
	})
}

func TestNewNodesThatAreNotReadyPauseTheRunBeforeAnythingIsCordoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.notReady = true
		start := time.Now()
		run, err := carryOut(t, t.Context(), c, nil)
		var paused *Paused
		if !errors.As(err, &paused) || run.State != upgrade.Paused || len(run.Waiting) != 2 {
			t.Errorf("run %s waiting for %v, error %v", run.State, run.Waiting, err)
		}
		if took := time.Since(start); took != 20*time.Minute {
			t.Errorf("waited %s, want 20m", took)
		}
		if slices.ContainsFunc(c.calls, func(call string) bool { return strings.HasPrefix(call, "cordon") }) {
			t.Errorf("calls: %v", c.calls)
		}
	})
}

func TestADrainThatDoesNotEndPausesAndKeepsItsCordons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.fails["evict web-1"] = errors.New("no")
		run, err := carryOut(t, t.Context(), c, nil)
		var paused *Paused
		if !errors.As(err, &paused) || !strings.Contains(err.Error(), "node old-1 is not drained after 30m0s: Pod ns/web-1: no") {
			t.Errorf("error %v", err)
		}
		if run.State != upgrade.Paused || run.NodesDrained != 1 || slices.Contains(c.calls, "delete old") || slices.Contains(c.calls, "uncordon old-0") {
			t.Errorf("run %s, %d drained, calls: %v", run.State, run.NodesDrained, c.calls)
		}
		if len(run.Frozen) != 1 || len(run.Next) != 4 {
			t.Errorf("frozen %v, next %v", run.Frozen, run.Next)
		}
	})
}

func TestANodeThatJoinsDuringTheSoakIsCordonedAndDrainedBeforeItsPoolIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		run, err := carryOut(t, t.Context(), c, func(e *Engine) {
			e.Notify = func(event upgrade.Event) {
				if event.Kind == upgrade.StepStarted && event.Step.Kind == upgrade.Soak {
					c.mu.Lock()
					defer c.mu.Unlock()
					c.state.Nodes = append(c.state.Nodes, upgrade.Node{Name: "late", Pool: "old", Ready: true})
					p := c.state.Pods[0]
					p.Name, p.UID, p.Node = "web-late", "web-late", "late"
					c.state.Pods = append(c.state.Pods, p)
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		at := func(call string) int { return slices.Index(c.calls, call) }
		if at("cordon late") < 0 || at("evict web-late") < at("cordon late") || at("delete old") < at("evict web-late") {
			t.Errorf("calls: %v", c.calls)
		}
		if run.NodesDrained != 3 {
			t.Errorf("%d nodes drained, want 3", run.NodesDrained)
		}
	})
}

func TestAPoolWithAnAttachedVolumeIsNotDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.volumes = []upgrade.Attachment{{Name: "va", Node: "old-0"}}
		_, err := carryOut(t, t.Context(), c, nil)
		var paused *Paused
		if !errors.As(err, &paused) || paused.Problem != "pool old is drained and not empty, so it is not deleted" || slices.Contains(c.calls, "delete old") {
			t.Errorf("error %v, calls %v", err, c.calls)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.volumes = []upgrade.Attachment{{Name: "va", Node: "old-0"}}
		soakEnds := time.AfterFunc(time.Hour+time.Minute, func() { // a minute into the wait
			c.mu.Lock()
			defer c.mu.Unlock()
			c.volumes = nil
		})
		defer soakEnds.Stop()
		if _, err := carryOut(t, t.Context(), c, nil); err != nil {
			t.Errorf("a volume that is detached in time: %v", err)
		}
	})
}

func TestAnInterruptedRunUndoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		ctx, cancel := context.WithCancelCause(t.Context())
		run, err := carryOut(t, ctx, c, func(e *Engine) {
			e.Notify = func(event upgrade.Event) {
				if event.Step.Kind == upgrade.Soak {
					cancel(errors.New("signal"))
				}
			}
		})
		if err == nil || run.State != upgrade.Interrupted || !strings.Contains(run.Problem, "signal") {
			t.Errorf("run %s with problem %q, error %v", run.State, run.Problem, err)
		}
		if slices.Contains(c.calls, "uncordon old-0") || slices.Contains(c.calls, "delete old") {
			t.Errorf("calls: %v", c.calls)
		}
	})
}

func TestARunThatCannotBeSavedStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		saves := 0
		_, err := carryOut(t, t.Context(), c, func(e *Engine) {
			e.Record = &record{fails: func(*upgrade.Run) error {
				if saves++; saves > 1 {
					return errors.New("disk full")
				}
				return nil
			}}
		})
		if err == nil || !strings.Contains(err.Error(), "disk full") {
			t.Errorf("error %v", err)
		}
		if slices.ContainsFunc(c.calls, func(call string) bool { return strings.HasPrefix(call, "create") }) {
			t.Errorf("calls: %v", c.calls)
		}
	})
}

func TestWhatWasEmptyIsLookedAtAgainAfterSomebodyElsesOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.busy = []*upgrade.Busy{{Operation: "foreign", Kind: "AUTO_REPAIR"}}
		if _, err := carryOut(t, t.Context(), c, nil); err != nil {
			t.Fatal(err)
		}
		at := func(call string) int { return slices.Index(c.calls, call) }
		if at("evict web-back") < 0 || at("delete old") < at("evict web-back") {
			t.Errorf("calls: %v", c.calls)
		}
	})
}

func TestAnOperationOfSomebodyElseThatDoesNotEndPausesTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.busy = []*upgrade.Busy{{Operation: "endless", Kind: "UPGRADE_NODES"}}
		run, _ := carryOut(t, t.Context(), c, nil)
		if want := "operation endless (UPGRADE_NODES), which is not ours, has kept the cluster busy for 1h0m0s"; run.State != upgrade.Paused || run.Problem != want {
			t.Errorf("run %s with problem %q, want %q", run.State, run.Problem, want)
		}
	})
}

func TestAPoolThatIsBeingDeletedIsNotUncordoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.fails["autoscaling of old-1-34-2: 1 to 5"] = errors.New("rate limit")
		run, _ := carryOut(t, t.Context(), c, nil)
		if run.State != upgrade.Paused || run.Ending != upgrade.Failed || slices.ContainsFunc(c.calls, func(call string) bool { return strings.HasPrefix(call, "uncordon") }) {
			t.Errorf("run %s, calls %v", run.State, c.calls)
		}
		want := []string{
			"to have it put back: upshift resume",
			"autoscaling of old-1-34-2 (1 to 5) is off until the upgrade is finished; to turn it on by hand: turn on old-1-34-2",
		}
		if diff := cmp.Diff(want, run.Next); diff != "" {
			t.Error(diff)
		}
		delete(c.fails, "autoscaling of old-1-34-2: 1 to 5")
		if err := goOn(t.Context(), c, run, nil); err == nil || run.State != upgrade.Failed || len(run.Frozen) != 0 || !strings.Contains(run.Problem, "rate limit") {
			t.Errorf("run %s (%s), frozen %v, error %v", run.State, run.Problem, run.Frozen, err)
		}
	})
}

// TestWhatOneNodeWaitsForStaysInTheRecordWhenAnotherIsDrained, where both are drained at once.
func TestWhatOneNodeWaitsForStaysInTheRecordWhenAnotherIsDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		other := upgrade.Ref{Kind: "Deployment", Namespace: "ns", Name: "other", UID: "other"}
		c.state.Workloads["other"] = upgrade.Workload{Ref: other, Wanted: 1}
		c.state.Pods[1].Workload = other
		run := planned(t, c)
		run.Plan.Options.Parallel = upgrade.AutoDrains
		c.fails["evict web-0"], c.fails["evict web-1"] = errors.New("no"), errors.New("not yet")
		time.AfterFunc(5*time.Minute, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			delete(c.fails, "evict web-1")
		})
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
		defer cancel()
		var kept, lost bool
		_ = goOn(ctx, c, run, func(e *Engine) { // how it ends is looked at
			e.Record = &record{fails: func(run *upgrade.Run) error {
				if run.NodesDrained == 1 && run.State == upgrade.Running {
					there := slices.ContainsFunc(run.Waiting, func(w upgrade.Waiting) bool { return w.Object.Name == "web-0" })
					kept, lost = kept || there, lost || !there
				}
				return nil
			}}
		})
		if !kept || lost {
			t.Errorf("%d nodes drained, waiting %v", run.NodesDrained, run.Waiting)
		}
	})
}
