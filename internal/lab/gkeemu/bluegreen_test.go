package gkeemu_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
)

const (
	creating = containerpb.NodePool_UpdateInfo_BlueGreenInfo_CREATING_GREEN_POOL
	draining = containerpb.NodePool_UpdateInfo_BlueGreenInfo_DRAINING_BLUE_POOL
	soaking  = containerpb.NodePool_UpdateInfo_BlueGreenInfo_NODE_POOL_SOAKING
)

// inPhase waits until the pool's blue-green upgrade is in a phase.
func (w world) inPhase(t *testing.T, op *containerpb.Operation, want containerpb.NodePool_UpdateInfo_BlueGreenInfo_Phase) *containerpb.NodePool {
	t.Helper()
	var pool *containerpb.NodePool
	w.await(t, op.GetName(), func(*containerpb.Operation) bool {
		pool = w.pool(t, "default-pool")
		return pool.GetUpdateInfo().GetBlueGreenInfo().GetPhase() == want
	})
	return pool
}

func (w world) complete(t *testing.T) error {
	t.Helper()
	return w.CompleteNodePoolUpgrade(t.Context(), &containerpb.CompleteNodePoolUpgradeRequest{Name: oldPath})
}

func TestBlueGreenUpgradeSoaksUntilItIsCompleted(t *testing.T) {
	w := start(t, gkeemu.Options{})
	w.configure(t, blueGreen(batches(0.5, 0, time.Hour)))
	watchNodes(t, w.kube)
	before := w.pool(t, "default-pool")
	err := w.complete(t)
	wantCode(t, err, codes.FailedPrecondition)
	op := must[*containerpb.Operation](t)(w.upgrade(t.Context(), master))
	pool := w.inPhase(t, op, soaking)

	info := pool.GetUpdateInfo().GetBlueGreenInfo()
	if diff := cmp.Diff(before.GetInstanceGroupUrls(), info.GetBlueInstanceGroupUrls()); diff != "" {
		t.Errorf("blue groups (-want +got):\n%s", diff)
	}
	if got := pool.GetInstanceGroupUrls(); !slices.Equal(got, append(info.GetBlueInstanceGroupUrls(), info.GetGreenInstanceGroupUrls()...)) || len(got) != 6 {
		t.Errorf("groups %v", got)
	}
	if pool.GetVersion() != older || info.GetGreenPoolVersion() != master || pool.GetStatus() != containerpb.NodePool_RECONCILING {
		t.Errorf("pool is %s at %s, green at %s", pool.GetStatus(), pool.GetVersion(), info.GetGreenPoolVersion())
	}
	if at, err := time.Parse(time.RFC3339, info.GetBluePoolDeletionStartTime()); err != nil || time.Until(at) > time.Hour || time.Until(at) < 59*time.Minute {
		t.Errorf("blue nodes are deleted at %s (%v)", info.GetBluePoolDeletionStartTime(), err)
	}
	if got := w.versions(t); got != "3 at 1.33, 3 at 1.34, 3 at cordoned in 3 zones" {
		t.Errorf("nodes while it soaks: %s", got)
	}

	if err := w.complete(t); err != nil {
		t.Fatal(err)
	}
	done := w.done(t, op)
	if done.GetError() != nil || metrics(done) != "nodes done 3, nodes total 3" {
		t.Errorf("%s, %v", metrics(done), done.GetError())
	}
	pool = w.pool(t, "default-pool")
	if pool.GetVersion() != master || pool.GetUpdateInfo() != nil || pool.GetStatus() != containerpb.NodePool_RUNNING {
		t.Errorf("pool is %s at %s, %v", pool.GetStatus(), pool.GetVersion(), pool.GetUpdateInfo())
	}
	if !slices.Equal(pool.GetInstanceGroupUrls(), info.GetGreenInstanceGroupUrls()) {
		t.Errorf("groups %v, want the green ones", pool.GetInstanceGroupUrls())
	}
	if got := w.versions(t); got != "3 at 1.34 in 3 zones" {
		t.Errorf("nodes in the end: %s", got)
	}
	for _, n := range w.nodes(t, "default-pool") {
		if !slices.ContainsFunc(pool.GetInstanceGroupUrls(), func(url string) bool {
			return strings.HasSuffix(url, "/"+n.Name[:strings.LastIndex(n.Name, "-")]+"-grp")
		}) {
			t.Errorf("node %s is of none of the groups", n.Name)
		}
	}
}

func TestBlueGreenUpgradeEndsByItself(t *testing.T) {
	w := start(t, gkeemu.Options{})
	settings := batches(0, 2, 50*time.Millisecond)
	settings.GetStandardRolloutPolicy().BatchSoakDuration = durationpb.New(50 * time.Millisecond)
	w.configure(t, blueGreen(settings))
	watchNodes(t, w.kube)
	begun := time.Now()
	w.done(t, must[*containerpb.Operation](t)(w.upgrade(t.Context(), master)))
	if took := time.Since(begun); took < 150*time.Millisecond {
		t.Errorf("it took %s, want two batches and the pool to soak", took)
	}
	if got := w.versions(t); got != "3 at 1.34 in 3 zones" {
		t.Errorf("nodes: %s", got)
	}
}

func TestBlueGreenUpgradeThatIsCancelled(t *testing.T) {
	for _, tt := range []struct {
		name  string
		then  func(world, *testing.T) (*containerpb.Operation, error)
		want  string
		wantV string
		green bool
	}{
		{"rolled back", back, "3 at 1.33 in 3 zones", older, false},
		{"gone on with", goOn(master), "3 at 1.34 in 3 zones", master, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t, gkeemu.Options{})
			w.configure(t, blueGreen(batches(1, 0, time.Hour)))
			watchNodes(t, w.kube)
			op := must[*containerpb.Operation](t)(w.upgrade(t.Context(), master))
			info := w.inPhase(t, op, soaking).GetUpdateInfo().GetBlueGreenInfo()
			_, err := w.rollBack(t.Context())
			wantCode(t, err, codes.FailedPrecondition) // it has to be cancelled first
			if err := w.cancelUpgrade(t.Context(), op); err != nil {
				t.Fatal(err)
			}
			if done := w.done(t, op); done.GetError() != nil {
				t.Error(done.GetError())
			}
			wantCode(t, w.complete(t), codes.FailedPrecondition)
			pool := w.pool(t, "default-pool")
			if pool.GetStatus() != containerpb.NodePool_RUNNING || pool.GetVersion() != older || pool.GetUpdateInfo().GetBlueGreenInfo().GetPhase() != soaking {
				t.Errorf("cancelled, the pool is %s at %s, %v", pool.GetStatus(), pool.GetVersion(), pool.GetUpdateInfo())
			}
			if got := w.versions(t); got != "3 at 1.33, 3 at 1.34, 3 at cordoned in 3 zones" {
				t.Errorf("cancelled: %s", got)
			}
			_, err = w.upgrade(t.Context(), "1.32")
			wantCode(t, err, codes.FailedPrecondition)

			op = must[*containerpb.Operation](t)(tt.then(w, t))
			if tt.green {
				w.inPhase(t, op, soaking)
				if err := w.complete(t); err != nil {
					t.Fatal(err)
				}
			}
			if done := w.done(t, op); done.GetError() != nil {
				t.Error(done.GetError())
			}
			want := info.GetBlueInstanceGroupUrls()
			if tt.green {
				want = info.GetGreenInstanceGroupUrls()
			}
			pool = w.pool(t, "default-pool")
			if pool.GetVersion() != tt.wantV || pool.GetUpdateInfo() != nil || !slices.Equal(pool.GetInstanceGroupUrls(), want) {
				t.Errorf("in the end the pool is at %s, %v, groups %v", pool.GetVersion(), pool.GetUpdateInfo(), pool.GetInstanceGroupUrls())
			}
			if got := w.versions(t); got != tt.want {
				t.Errorf("in the end: %s, want %s", got, tt.want)
			}
		})
	}
}

func TestBlueGreenUpgradeThatGetsNotEnoughNodes(t *testing.T) {
	w := start(t, gkeemu.Options{})
	w.configure(t, blueGreen(batches(1, 0, 0)))
	watchNodes(t, w.kube)
	w.srv.Inject(gkeemu.Fault{Method: "UpdateNodePool", Times: 1, NodesBeforeError: 1, OperationError: &rpcstatus.Status{Code: int32(codes.ResourceExhausted), Message: "Quota exceeded."}})
	if done := w.done(t, must[*containerpb.Operation](t)(w.upgrade(t.Context(), master))); done.GetError().GetMessage() != "Quota exceeded." {
		t.Errorf("operation's error %v", done.GetError())
	}
	pool := w.pool(t, "default-pool")
	if pool.GetStatus() != containerpb.NodePool_RUNNING_WITH_ERROR || pool.GetUpdateInfo().GetBlueGreenInfo().GetPhase() != creating || w.versions(t) != "3 at 1.33, 1 at 1.34 in 3 zones" {
		t.Errorf("pool is %s in %s: %s", pool.GetStatus(), pool.GetUpdateInfo().GetBlueGreenInfo().GetPhase(), w.versions(t))
	}
	w.done(t, must[*containerpb.Operation](t)(w.upgrade(t.Context(), master)))
	if got := w.versions(t); got != "3 at 1.34 in 3 zones" {
		t.Errorf("gone on with: %s", got)
	}
}

func TestBlueGreenUpgradeWhoseBlueNodesAreDeletedHasNoWayBack(t *testing.T) {
	w := start(t, gkeemu.Options{})
	w.configure(t, blueGreen(batches(1, 0, 0)))
	watchNodes(t, w.kube)
	w.srv.Inject(gkeemu.Fault{Method: "UpdateNodePool", Times: 1, NodesBeforeError: 9, OperationError: &rpcstatus.Status{Code: int32(codes.Internal), Message: "Internal error."}})
	w.done(t, must[*containerpb.Operation](t)(w.upgrade(t.Context(), master)))
	_, err := w.rollBack(t.Context())
	wantCode(t, err, codes.FailedPrecondition)
	w.done(t, must[*containerpb.Operation](t)(w.upgrade(t.Context(), master)))
	if pool := w.pool(t, "default-pool"); pool.GetVersion() != master || pool.GetUpdateInfo() != nil || w.versions(t) != "3 at 1.34 in 3 zones" {
		t.Errorf("pool at %s: %s", pool.GetVersion(), w.versions(t))
	}
}
