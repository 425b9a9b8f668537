package gkeemu_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
)

// apiLog is a control plane that notes what happens to it.
type apiLog struct {
	mu    sync.Mutex
	notes []string
}

func (l *apiLog) note(format string, args ...any) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notes = append(l.notes, fmt.Sprintf(format, args...))
	return nil
}

func (l *apiLog) Away(context.Context) error                   { return l.note("away") }
func (l *apiLog) Back(version string) error                    { return l.note("back %s", version) }
func (l *apiLog) Move(_ context.Context, version string) error { return l.note("move %s", version) }

// withCluster adds a cluster at a location, at 1.33, with a pool at the node version.
func withCluster(t *testing.T, w world, location, node string, channel containerpb.ReleaseChannel_Channel) (path string, api *apiLog) {
	t.Helper()
	api = &apiLog{}
	c := gkeemu.Cluster{Project: "p", Location: location, Name: "other", Version: older, Channel: channel, Kube: fake.NewClientset(), ControlPlane: api}
	if err := w.srv.AddCluster(c); err != nil {
		t.Fatal(err)
	}
	if err := w.srv.AddPool(t.Context(), c.Path(), &containerpb.NodePool{Name: "pool-1", Version: node, InitialNodeCount: 1}, ""); err != nil {
		t.Fatal(err)
	}
	return c.Path(), api
}

func (w world) upgradeMaster(ctx context.Context, path, version string) (*containerpb.Operation, error) {
	return w.UpdateMaster(ctx, &containerpb.UpdateMasterRequest{Name: path, MasterVersion: version})
}

func (w world) cluster(t *testing.T, path string) *containerpb.Cluster {
	t.Helper()
	return must[*containerpb.Cluster](t)(w.GetCluster(t.Context(), &containerpb.GetClusterRequest{Name: path}))
}

func TestControlPlaneIsUpgraded(t *testing.T) {
	quota := &rpcstatus.Status{Code: int32(codes.Internal), Message: "Internal error."}
	for _, tt := range []struct {
		name, location string
		fault          *rpcstatus.Status
		want           []string
		wantVersion    string
	}{
		{"zonal", "europe-west1-b", nil, []string{"away", "back " + master}, master},
		{"regional", "europe-west1", nil, []string{"move " + older, "move " + master}, master},
		{"zonal, failing", "europe-west1-b", quota, []string{"away", "back " + older}, older},
		{"regional, failing", "europe-west1", quota, []string{"move " + older, "move " + older}, older},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t, gkeemu.Options{})
			path, api := withCluster(t, w, tt.location, older, 0)
			if tt.fault != nil {
				w.srv.Inject(gkeemu.Fault{Method: "UpdateMaster", OperationError: tt.fault})
			}
			op := must[*containerpb.Operation](t)(w.upgradeMaster(t.Context(), path, master))
			if op.GetOperationType() != containerpb.Operation_UPGRADE_MASTER || !strings.HasSuffix(op.GetTargetLink(), "/clusters/other") {
				t.Errorf("operation %v", op)
			}
			done := w.doneIn(t, tt.location, op)
			if got, want := done.GetError().GetMessage(), tt.fault.GetMessage(); got != want {
				t.Errorf("operation's error %q, want %q", got, want)
			}
			if diff := cmp.Diff(tt.want, api.notes); diff != "" {
				t.Errorf("the API (-want +got):\n%s", diff)
			}
			c := w.cluster(t, path)
			if c.GetCurrentMasterVersion() != tt.wantVersion || c.GetInitialClusterVersion() != older || c.GetStatus() != containerpb.Cluster_RUNNING {
				t.Errorf("version %s (initially %s), status %s", c.GetCurrentMasterVersion(), c.GetInitialClusterVersion(), c.GetStatus())
			}
		})
	}
}

func TestControlPlaneIsReconcilingWhileItIsUpgraded(t *testing.T) {
	w := start(t, gkeemu.Options{Timing: gkeemu.Timing{UpgradeMaster: time.Hour}})
	path, api := withCluster(t, w, "europe-west1-b", older, 0)
	op := must[*containerpb.Operation](t)(w.upgradeMaster(t.Context(), path, master))
	running := w.awaitIn(t, "europe-west1-b", op.GetName(), func(op *containerpb.Operation) bool {
		return op.GetStatus() == containerpb.Operation_RUNNING && len(op.GetProgress().GetMetrics()) > 0
	})
	if m := running.GetProgress().GetMetrics(); m[0].GetName() != "progress" || m[1].GetDoubleValue() != 1 {
		t.Errorf("metrics %v", m)
	}
	if c := w.cluster(t, path); c.GetStatus() != containerpb.Cluster_RECONCILING || c.GetCurrentMasterVersion() != older {
		t.Errorf("cluster is %s at %s", c.GetStatus(), c.GetCurrentMasterVersion())
	}
	_, err := w.upgradeMaster(t.Context(), path, master)
	wantCode(t, err, codes.FailedPrecondition)
	if want := "Operation " + op.GetName() + " is currently upgrading cluster other. Please wait and try again once it is done."; status.Convert(err).Message() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if len(api.notes) > 0 {
		t.Errorf("the API at the beginning: %v", api.notes)
	}
}

func TestControlPlaneVersionThatGKERefuses(t *testing.T) {
	regular := containerpb.ReleaseChannel_REGULAR
	for _, tt := range []struct {
		name, node, version string
		channel             containerpb.ReleaseChannel_Channel
		want                string
	}{
		{"none", older, "", 0, "must be set"},
		{"not offered", older, "1.34.7-gke.1", 0, `Master version "1.34.7-gke.1" is unsupported.`},
		{"no version", older, "new", 0, `Master version "new" is unsupported.`},
		{"not in the channel", older, "1.35.1-gke.300", regular, `one of "REGULAR" channel supported versions [1.34.2-gke.100, `},
		{"older", older, "1.32.9-gke.1108000", 0, "it is at " + `"` + older + `" already`},
		{"two minors", older, "1.35.1-gke.300", 0, "cannot upgrade the master more than a minor version at a time"},
		{"latest is two minors", older, "latest", 0, `"1.35.1-gke.300": cannot upgrade`},
		{"nodes too old", "1.31.13-gke.1023000", master, 0, `node pool "pool-1" is at "1.31.13-gke.1023000"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t, gkeemu.Options{})
			path, _ := withCluster(t, w, "europe-west1", tt.node, tt.channel)
			_, err := w.upgradeMaster(t.Context(), path, tt.version)
			wantCode(t, err, codes.InvalidArgument)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v does not say %q", err, tt.want)
			}
			if c := w.cluster(t, path); c.GetStatus() != containerpb.Cluster_RUNNING {
				t.Errorf("cluster is %s", c.GetStatus())
			}
		})
	}
}

func TestControlPlaneVersionAliases(t *testing.T) {
	for _, tt := range []struct {
		alias   string
		channel containerpb.ReleaseChannel_Channel
		want    string
	}{
		{"1.34", 0, master},
		{"1.34.1", 0, "1.34.1-gke.2037000"},
		{"-", containerpb.ReleaseChannel_REGULAR, master},
		{"-", containerpb.ReleaseChannel_STABLE, older},
		{"latest", containerpb.ReleaseChannel_STABLE, "1.34.1-gke.2037000"},
		{older, 0, older}, // the control plane is only made again
	} {
		t.Run(tt.alias, func(t *testing.T) {
			w := start(t, gkeemu.Options{})
			path, _ := withCluster(t, w, "europe-west1", older, tt.channel)
			w.done(t, must[*containerpb.Operation](t)(w.upgradeMaster(t.Context(), path, tt.alias)))
			if got := w.cluster(t, path).GetCurrentMasterVersion(); got != tt.want {
				t.Errorf("version %s, want %s", got, tt.want)
			}
		})
	}
}

func TestUpdateClusterUpgradesTheControlPlaneOnly(t *testing.T) {
	w := start(t, gkeemu.Options{})
	path, _ := withCluster(t, w, "europe-west1", older, 0)
	update := &containerpb.ClusterUpdate{DesiredMasterVersion: "1.34"}
	w.done(t, must[*containerpb.Operation](t)(w.UpdateCluster(t.Context(), &containerpb.UpdateClusterRequest{Name: path, Update: update})))
	if got := w.cluster(t, path).GetCurrentMasterVersion(); got != master {
		t.Errorf("version %s, want %s", got, master)
	}
	update.DesiredNodeVersion = "1.34"
	_, err := w.UpdateCluster(t.Context(), &containerpb.UpdateClusterRequest{Name: path, Update: update})
	wantCode(t, err, codes.Unimplemented)
	if err == nil || !strings.Contains(err.Error(), "desired_node_version") {
		t.Error(err)
	}
}

func TestNodesFollowAnUpgradedControlPlane(t *testing.T) {
	w := start(t, gkeemu.Options{})
	path, _ := withCluster(t, w, "europe-west1", older, 0)
	create := func() (*containerpb.Operation, error) {
		pool := &containerpb.NodePool{Name: "blue", Version: master}
		return w.CreateNodePool(t.Context(), &containerpb.CreateNodePoolRequest{Parent: path, NodePool: pool})
	}
	_, err := create()
	wantCode(t, err, codes.InvalidArgument)
	w.done(t, must[*containerpb.Operation](t)(w.upgradeMaster(t.Context(), path, master)))
	w.done(t, must[*containerpb.Operation](t)(create()))
}
