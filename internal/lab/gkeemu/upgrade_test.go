package gkeemu_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
)

// crowd is how many nodes there have been.
type crowd struct {
	mu          sync.Mutex
	schedulable map[string]bool
	fewest      int // schedulable at a time
	most        int
}

func (c *crowd) count() {
	n := 0
	for _, ok := range c.schedulable {
		if ok {
			n++
		}
	}
	c.fewest, c.most = min(c.fewest, n), max(c.most, len(c.schedulable))
}

// watchNodes counts nodes from now on. They are Ready at the second look, unless they never start: so those that are made at a time are there at a time.
func watchNodes(t *testing.T, kube *fake.Clientset) *crowd {
	t.Helper()
	c := &crowd{schedulable: map[string]bool{}}
	looked := map[string]bool{}
	for _, n := range must[*corev1.NodeList](t)(kube.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})).Items {
		c.schedulable[n.Name] = true
	}
	c.fewest = len(c.schedulable)
	kube.PrependReactor("*", "nodes", func(action k8stesting.Action) (bool, runtime.Object, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		switch a := action.(type) {
		case k8stesting.CreateAction:
			c.schedulable[a.GetObject().(*corev1.Node).Name] = true
		case k8stesting.DeleteAction:
			delete(c.schedulable, a.GetName())
		case k8stesting.PatchAction:
			c.schedulable[a.GetName()] = !strings.Contains(string(a.GetPatch()), "true")
		case k8stesting.GetAction:
			n, err := kube.Tracker().Get(a.GetResource(), "", a.GetName())
			if err != nil || !looked[a.GetName()] || n.(*corev1.Node).Annotations[lab.AnnotationStartUp] == lab.Never {
				looked[a.GetName()] = true
				return false, nil, nil
			}
			ready := n.(*corev1.Node).DeepCopy()
			ready.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
			return true, ready, nil
		}
		c.count()
		return false, nil, nil
	})
	return c
}

// versions are how many nodes of the pool there are of each version, and of how many zones.
func (w world) versions(t *testing.T) string {
	t.Helper()
	versions, zones := map[string]int{}, map[string]bool{}
	for _, n := range w.nodes(t, "default-pool") {
		versions[strings.TrimPrefix(n.Annotations[lab.AnnotationKubeletVersion], "v")[:4]]++
		zones[n.Labels["topology.kubernetes.io/zone"]] = true
		if n.Spec.Unschedulable {
			versions["cordoned"]++
		}
	}
	var out []string
	for _, v := range slices.Sorted(maps.Keys(versions)) {
		out = append(out, fmt.Sprintf("%d at %s", versions[v], v))
	}
	return fmt.Sprintf("%s in %d zones", strings.Join(out, ", "), len(zones))
}

// grow gives the pool more nodes, so that each of the three zones has n.
func (w world) grow(t *testing.T, n int) {
	t.Helper()
	for _, old := range w.nodes(t, "default-pool") {
		for i := range n - 1 {
			node := old.DeepCopy()
			node.Name = fmt.Sprintf("%s-%d", old.Name, i)
			node.ResourceVersion = ""
			must[*corev1.Node](t)(w.kube.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}))
		}
	}
}

func TestSurgeUpgradeReplacesNodes(t *testing.T) {
	for _, tt := range []struct {
		surge, unavailable int32
		fewest, most       int
	}{
		{1, 0, 6, 7}, // the new node comes before the old one is cordoned
		{2, 0, 6, 8}, // two at a time, in one zone
		{5, 0, 6, 8}, // no more than a zone has
		{0, 1, 5, 6},
		{0, 2, 4, 6},
		{1, 1, 5, 7},
	} {
		t.Run(fmt.Sprintf("surge %d, unavailable %d", tt.surge, tt.unavailable), func(t *testing.T) {
			t.Parallel()
			w := start(t, gkeemu.Options{})
			w.grow(t, 2)
			w.configure(t, surge(tt.surge, tt.unavailable))
			before := w.nodes(t, "default-pool")
			c := watchNodes(t, w.kube)
			op := must[*containerpb.Operation](t)(w.upgrade(t.Context(), master))
			if op.GetOperationType() != containerpb.Operation_UPGRADE_NODES || !strings.HasSuffix(op.GetTargetLink(), "/nodePools/default-pool") {
				t.Errorf("operation %v", op)
			}
			done := w.done(t, op)
			if done.GetError() != nil {
				t.Fatal(done.GetError())
			}
			if got := metrics(done); got != "nodes done 6, nodes total 6" {
				t.Errorf("progress %s", got)
			}
			if got := w.versions(t); got != "6 at 1.34 in 3 zones" {
				t.Errorf("nodes: %s", got)
			}
			for _, old := range before {
				for _, n := range w.nodes(t, "default-pool") {
					if n.Name == old.Name {
						t.Errorf("%s is still there", n.Name)
					}
				}
			}
			if c.fewest < tt.fewest || c.most > tt.most {
				t.Errorf("from %d schedulable nodes to %d nodes, want from %d to %d", c.fewest, c.most, tt.fewest, tt.most)
			}
			pool := w.pool(t, "default-pool")
			if pool.GetVersion() != master || pool.GetStatus() != containerpb.NodePool_RUNNING || pool.GetUpdateInfo() != nil {
				t.Errorf("pool is %s at %s, %v", pool.GetStatus(), pool.GetVersion(), pool.GetUpdateInfo())
			}
		})
	}
}

func metrics(op *containerpb.Operation) string {
	var out []string
	for _, m := range op.GetProgress().GetMetrics() {
		out = append(out, fmt.Sprintf("%s %d", m.GetName(), m.GetIntValue()))
	}
	return strings.Join(out, ", ")
}

func TestPoolShowsItsOldVersionUntilTheUpgradeIsComplete(t *testing.T) {
	w := start(t, gkeemu.Options{Timing: gkeemu.Timing{UpgradeNode: time.Hour}})
	watchNodes(t, w.kube)
	op := must[*containerpb.Operation](t)(w.upgrade(t.Context(), master))
	w.await(t, op.GetName(), func(op *containerpb.Operation) bool { return metrics(op) == "nodes done 0, nodes total 3" })
	if pool := w.pool(t, "default-pool"); pool.GetVersion() != older || pool.GetStatus() != containerpb.NodePool_RECONCILING {
		t.Errorf("pool is %s at %s", pool.GetStatus(), pool.GetVersion())
	}
	_, err := w.upgrade(t.Context(), master)
	wantCode(t, err, codes.FailedPrecondition)
	if !strings.Contains(status.Convert(err).Message(), op.GetName()+" is currently upgrading cluster cluster-1.") {
		t.Error(err)
	}
}

func TestPoolAtTheVersionGetsNewNodes(t *testing.T) {
	w := start(t, gkeemu.Options{})
	watchNodes(t, w.kube)
	w.done(t, must[*containerpb.Operation](t)(w.upgrade(t.Context(), older)))
	w.done(t, must[*containerpb.Operation](t)(w.upgrade(t.Context(), "-"))) // the control plane's
	first := w.nodes(t, "default-pool")
	w.done(t, must[*containerpb.Operation](t)(w.upgrade(t.Context(), master)))
	if got := w.versions(t); got != "3 at 1.34 in 3 zones" {
		t.Errorf("nodes: %s", got)
	}
	for i, n := range w.nodes(t, "default-pool") {
		if n.Name == first[i].Name {
			t.Errorf("%s is still there", n.Name)
		}
	}
}

// An upgrade that ends half-way can be gone on with, rolled back, or followed by one to another version.
func TestUpgradeThatEndsHalfWay(t *testing.T) {
	stockout := &rpcstatus.Status{Code: int32(codes.ResourceExhausted), Message: "Quota exceeded."}
	for _, tt := range []struct {
		name         string
		before       int // nodes, until the error
		wantHalf     string
		then         func(world, *testing.T) (*containerpb.Operation, error)
		wantProgress string
		want         string
		wantVersion  string
	}{
		{"gone on with", 1, "2 at 1.33, 1 at 1.34 in 3 zones", goOn(master), "nodes done 3, nodes total 3", "3 at 1.34 in 3 zones", master},
		{"gone on with after nothing", 0, "3 at 1.33 in 3 zones", goOn(master), "nodes done 3, nodes total 3", "3 at 1.34 in 3 zones", master},
		{"gone on with after all", 3, "3 at 1.34 in 3 zones", goOn(master), "nodes done 3, nodes total 3", "3 at 1.34 in 3 zones", master},
		{"rolled back", 2, "1 at 1.33, 2 at 1.34 in 3 zones", back, "nodes done 3, nodes total 3", "3 at 1.33 in 3 zones", older},
		{"rolled back after all", 3, "3 at 1.34 in 3 zones", back, "nodes done 3, nodes total 3", "3 at 1.33 in 3 zones", older},
		{"to another version", 1, "2 at 1.33, 1 at 1.34 in 3 zones", goOn("1.32"), "nodes done 3, nodes total 3", "3 at 1.32 in 3 zones", "1.32.9-gke.1108000"},
		{"to the first version", 1, "2 at 1.33, 1 at 1.34 in 3 zones", goOn(older), "nodes done 3, nodes total 3", "3 at 1.33 in 3 zones", older},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, gkeemu.Options{})
			watchNodes(t, w.kube)
			w.srv.Inject(gkeemu.Fault{Method: "UpdateNodePool", Times: 1, OperationError: stockout, NodesBeforeError: tt.before})
			done := w.done(t, must[*containerpb.Operation](t)(w.upgrade(t.Context(), master)))
			if done.GetError().GetMessage() != stockout.GetMessage() {
				t.Errorf("operation's error %v", done.GetError())
			}
			pool := w.pool(t, "default-pool")
			if pool.GetVersion() != older || pool.GetStatus() != containerpb.NodePool_RUNNING_WITH_ERROR || len(pool.GetConditions()) != 1 {
				t.Errorf("half-way the pool is %s at %s, %v", pool.GetStatus(), pool.GetVersion(), pool.GetConditions())
			}
			if got := w.versions(t); got != tt.wantHalf {
				t.Errorf("half-way: %s, want %s", got, tt.wantHalf)
			}
			done = w.done(t, must[*containerpb.Operation](t)(tt.then(w, t)))
			if done.GetError() != nil || metrics(done) != tt.wantProgress {
				t.Errorf("then: %s, %v", metrics(done), done.GetError())
			}
			if got := w.versions(t); got != tt.want {
				t.Errorf("in the end: %s, want %s", got, tt.want)
			}
			pool = w.pool(t, "default-pool")
			if pool.GetVersion() != tt.wantVersion || pool.GetStatus() != containerpb.NodePool_RUNNING || len(pool.GetConditions()) != 0 {
				t.Errorf("in the end the pool is %s at %s, %v", pool.GetStatus(), pool.GetVersion(), pool.GetConditions())
			}
		})
	}
}

func goOn(version string) func(world, *testing.T) (*containerpb.Operation, error) {
	return func(w world, t *testing.T) (*containerpb.Operation, error) { return w.upgrade(t.Context(), version) }
}

func back(w world, t *testing.T) (*containerpb.Operation, error) { return w.rollBack(t.Context()) }

func TestRollbackOfACompleteUpgradeDoesNothing(t *testing.T) {
	w := start(t, gkeemu.Options{})
	watchNodes(t, w.kube)
	w.done(t, must[*containerpb.Operation](t)(w.upgrade(t.Context(), master)))
	before := w.nodes(t, "default-pool")
	if done := w.done(t, must[*containerpb.Operation](t)(w.rollBack(t.Context()))); done.GetError() != nil {
		t.Error(done.GetError())
	}
	if diff := cmp.Diff(before, w.nodes(t, "default-pool")); diff != "" || w.pool(t, "default-pool").GetVersion() != master {
		t.Errorf("pool at %s, nodes (-before +after):\n%s", w.pool(t, "default-pool").GetVersion(), diff)
	}
}

// A node whose replacement is not there yet has not begun to be upgraded.
func TestCancelledUpgradeTakesItsWaitingNodeAway(t *testing.T) {
	w := start(t, gkeemu.Options{})
	c := watchNodes(t, w.kube)
	w.srv.Inject(gkeemu.Fault{Method: "UpdateNodePool", NodesNeverReady: true, Times: 1})
	op := must[*containerpb.Operation](t)(w.upgrade(t.Context(), master))
	w.await(t, op.GetName(), func(*containerpb.Operation) bool { return len(w.nodes(t, "default-pool")) == 4 })
	if err := w.cancelUpgrade(t.Context(), op); err != nil {
		t.Fatal(err)
	}
	done := w.done(t, op)
	if done.GetError() != nil || !strings.Contains(done.GetDetail(), "cancelled") {
		t.Errorf("error %v, detail %q", done.GetError(), done.GetDetail())
	}
	if got := w.versions(t); got != "3 at 1.33 in 3 zones" || c.fewest != 3 {
		t.Errorf("%s, at least %d of them schedulable", got, c.fewest)
	}
	if pool := w.pool(t, "default-pool"); pool.GetVersion() != older || pool.GetStatus() != containerpb.NodePool_RUNNING {
		t.Errorf("pool is %s at %s", pool.GetStatus(), pool.GetVersion())
	}
	w.done(t, must[*containerpb.Operation](t)(w.upgrade(t.Context(), master)))
	if got := w.versions(t); got != "3 at 1.34 in 3 zones" {
		t.Error(got)
	}
}

func TestCancelledUpgradeThatHangsHasDoneNothing(t *testing.T) {
	for _, pending := range []time.Duration{0, time.Hour} { // it hangs while it runs, or before
		w := start(t, gkeemu.Options{Timing: gkeemu.Timing{Pending: pending}})
		watchNodes(t, w.kube)
		w.srv.Inject(gkeemu.Fault{Method: "UpdateNodePool", OperationDelay: time.Hour, Times: 1, OperationError: &rpcstatus.Status{Code: int32(codes.Internal)}})
		op := must[*containerpb.Operation](t)(w.upgrade(t.Context(), master))
		if pending == 0 {
			w.await(t, op.GetName(), func(op *containerpb.Operation) bool { return op.GetStatus() == containerpb.Operation_RUNNING })
		}
		if err := w.cancelUpgrade(t.Context(), op); err != nil {
			t.Fatal(err)
		}
		done := w.await(t, op.GetName(), func(op *containerpb.Operation) bool {
			if got := op.GetStatus(); got != containerpb.Operation_ABORTING && got != containerpb.Operation_DONE {
				t.Errorf("the cancelled operation is %s", got)
			}
			return op.GetStatus() == containerpb.Operation_DONE
		})
		if done.GetError() != nil {
			t.Error(done.GetError())
		}
		if got := w.versions(t); got != "3 at 1.33 in 3 zones" {
			t.Error(got)
		}
	}
}

func TestAutoUpgradeIsAnOperationOfGKEs(t *testing.T) {
	w := start(t, gkeemu.Options{})
	watchNodes(t, w.kube)
	name, err := w.srv.StartAutoUpgrade(oldPath, master)
	if err != nil {
		t.Fatal(err)
	}
	if done := w.done(t, &containerpb.Operation{Name: name}); done.GetOperationType() != containerpb.Operation_UPGRADE_NODES || w.versions(t) != "3 at 1.34 in 3 zones" {
		t.Errorf("%v: %s", done, w.versions(t))
	}
	if name, err = w.srv.StartAutoUpgrade(clusterPath, master); err != nil {
		t.Fatal(err)
	}
	if done := w.done(t, &containerpb.Operation{Name: name}); done.GetOperationType() != containerpb.Operation_UPGRADE_MASTER {
		t.Error(done)
	}
	_, err = w.srv.StartAutoUpgrade(oldPath+"-2", master)
	wantCode(t, err, codes.NotFound)
	if len(w.srv.Calls("UpdateNodePool", "UpdateMaster")) > 0 {
		t.Error("it counts as a call")
	}
}

func TestFaultOfOneKindOfCallOfAMethod(t *testing.T) {
	w := start(t, gkeemu.Options{})
	watchNodes(t, w.kube)
	w.srv.Inject(gkeemu.Fault{Method: "UpdateNodePool", Error: status.Error(codes.PermissionDenied, "no"), Fits: func(m proto.Message) bool {
		return m.(*containerpb.UpdateNodePoolRequest).GetNodeVersion() != ""
	}})
	w.configure(t, surge(1, 0))
	_, err := w.upgrade(t.Context(), master)
	wantCode(t, err, codes.PermissionDenied)
}
