package gkeemu_test

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"cloud.google.com/go/container/apiv1/containerpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
)

func TestGetClusterTellsHowToConnectAndWhatRuns(t *testing.T) {
	w := start(t, gkeemu.Options{})
	c, err := w.GetCluster(t.Context(), &containerpb.GetClusterRequest{Name: clusterPath})
	if err != nil {
		t.Fatal(err)
	}
	ca, err := base64.StdEncoding.DecodeString(c.GetMasterAuth().GetClusterCaCertificate())
	if err != nil || !bytes.HasPrefix(ca, []byte("-----BEGIN CERTIFICATE")) {
		t.Errorf("CA %q: %v", ca, err)
	}
	if c.GetEndpoint() != "127.0.0.1:6443" || c.GetCurrentMasterVersion() != master || c.GetStatus() != containerpb.Cluster_RUNNING {
		t.Errorf("endpoint %s, version %s, status %s", c.GetEndpoint(), c.GetCurrentMasterVersion(), c.GetStatus())
	}
	if want := []string{"europe-west1-b", "europe-west1-c", "europe-west1-d"}; !slices.Equal(c.GetLocations(), want) {
		t.Errorf("locations %v, want %v", c.GetLocations(), want)
	}
	if c.GetReleaseChannel().GetChannel() != containerpb.ReleaseChannel_REGULAR {
		t.Errorf("channel %s", c.GetReleaseChannel().GetChannel())
	}
	if len(c.GetNodePools()) != 1 || c.GetNodePools()[0].GetVersion() != older || c.GetNodePools()[0].GetEtag() == "" {
		t.Errorf("pools %v", c.GetNodePools())
	}
}

func TestEtagChangesOnlyWithWhatItIsOf(t *testing.T) {
	w := start(t, gkeemu.Options{})
	before := w.pool(t, "default-pool").GetEtag()
	if again := w.pool(t, "default-pool").GetEtag(); again != before {
		t.Errorf("etag %q became %q though nothing changed", before, again)
	}
	w.done(t, must[*containerpb.Operation](t)(w.autoscale(t.Context(), &containerpb.NodePoolAutoscaling{Enabled: true, MaxNodeCount: 3})))
	if after := w.pool(t, "default-pool").GetEtag(); after == before {
		t.Errorf("etag is still %q", after)
	}
}

func TestZonalClusterHasItsOneZone(t *testing.T) {
	w := start(t, gkeemu.Options{})
	zonal := gkeemu.Cluster{Project: "p", Location: "europe-west1-b", Name: "z", Version: master, Kube: w.kube}
	if err := w.srv.AddCluster(zonal); err != nil {
		t.Fatal(err)
	}
	if err := w.srv.AddPool(t.Context(), zonal.Path(), &containerpb.NodePool{Name: "pool-z", InitialNodeCount: 2}, ""); err != nil {
		t.Fatal(err)
	}
	c, err := w.GetCluster(t.Context(), &containerpb.GetClusterRequest{Name: zonal.Path()})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.GetLocations(); !slices.Equal(got, []string{"europe-west1-b"}) {
		t.Errorf("locations %v", got)
	}
	if want := "https://container.googleapis.com/v1/projects/p/zones/europe-west1-b/clusters/z"; c.GetSelfLink() != want {
		t.Errorf("self link %s, want %s", c.GetSelfLink(), want)
	}
	if got := len(w.nodes(t, "pool-z")); got != 2 {
		t.Errorf("%d nodes, want 2", got)
	}
}

func TestServerConfigListsVersionsByChannel(t *testing.T) {
	w := start(t, gkeemu.Options{})
	config, err := w.GetServerConfig(t.Context(), &containerpb.GetServerConfigRequest{Name: "projects/p/locations/europe-west1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range config.GetChannels() {
		if !slices.Contains(c.GetValidVersions(), c.GetDefaultVersion()) || !slices.Contains(config.GetValidMasterVersions(), c.GetUpgradeTargetVersion()) {
			t.Errorf("channel %s: default %s, target %s", c.GetChannel(), c.GetDefaultVersion(), c.GetUpgradeTargetVersion())
		}
	}
	if len(config.GetChannels()) != 3 {
		t.Errorf("%d channels, want 3", len(config.GetChannels()))
	}
}

func TestWhatIsNotThereIsNotFoundByName(t *testing.T) {
	w := start(t, gkeemu.Options{})
	ctx := t.Context()
	get := func(name string) error {
		_, err := w.GetCluster(ctx, &containerpb.GetClusterRequest{Name: name})
		return err
	}
	pool := func(name string) error {
		_, err := w.GetNodePool(ctx, &containerpb.GetNodePoolRequest{Name: name})
		return err
	}
	operation := func(name string) error {
		_, err := w.GetOperation(ctx, &containerpb.GetOperationRequest{Name: name})
		return err
	}
	for _, tt := range []struct {
		name string
		call func(string) error
		code codes.Code
		text string
	}{
		{"projects/p/locations/europe-west1/clusters/cluster-2", get, codes.NotFound, "Not found: projects/p/locations/europe-west1/clusters/cluster-2."},
		{"projects/q/locations/europe-west1/clusters/cluster-1", get, codes.NotFound, "Not found: "},
		{"projects/p/locations/europe-west1-b/clusters/cluster-1", get, codes.NotFound, "Not found: "},
		{"cluster-1", get, codes.InvalidArgument, "projects/*/locations/*"},
		{"projects/p/zones/europe-west1/clusters/cluster-1", get, codes.InvalidArgument, "projects/*/locations/*"},
		{"projects//locations/europe-west1/clusters/cluster-1", get, codes.InvalidArgument, "projects/*/locations/*"},
		{clusterPath + "/nodePools/other", pool, codes.NotFound, "Not found: " + clusterPath + "/nodePools/other."},
		{"projects/p/locations/europe-west1/clusters/cluster-2/nodePools/default-pool", pool, codes.NotFound, "Not found: "},
		{clusterPath, pool, codes.InvalidArgument, "projects/*/locations/*"},
		{"projects/p/locations/europe-west1/operations/operation-1-2", operation, codes.NotFound, "Not found: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.call(tt.name)
			wantCode(t, err, tt.code)
			if err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%v does not say %q", err, tt.text)
			}
		})
	}
}

func TestCallsThatAreNotEmulatedAreLoud(t *testing.T) {
	var log bytes.Buffer
	w := start(t, gkeemu.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	_, err := w.SetNodePoolSize(t.Context(), &containerpb.SetNodePoolSizeRequest{Name: oldPath})
	wantCode(t, err, codes.Unimplemented)
	calls := w.srv.Unimplemented()
	if len(calls) != 1 || calls[0].Method != "SetNodePoolSize" || calls[0].Target != oldPath {
		t.Errorf("recorded %v", calls)
	}
	w.srv.Close() // nothing writes to the log any more
	if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "SetNodePoolSize") {
		t.Errorf("the log has no error: %s", log.String())
	}
}

func TestCallsToOtherServicesAreLoudToo(t *testing.T) {
	w := start(t, gkeemu.Options{})
	conn := must[*grpc.ClientConn](t)(grpc.NewClient(strings.Trim(strings.TrimPrefix(w.srv.URL(), "http:"), "/"),
		grpc.WithTransportCredentials(insecure.NewCredentials())))
	t.Cleanup(func() { _ = conn.Close() })
	err := conn.Invoke(t.Context(), "/google.iam.v1.IAMPolicy/TestIamPermissions", &containerpb.GetClusterRequest{}, &containerpb.Cluster{})
	wantCode(t, err, codes.Unimplemented)
	if calls := w.srv.Unimplemented(); len(calls) != 1 || calls[0].Method != "/google.iam.v1.IAMPolicy/TestIamPermissions" {
		t.Errorf("recorded %v", calls)
	}
}

func TestNamesAreTakenOnce(t *testing.T) {
	w := start(t, gkeemu.Options{})
	err := w.srv.AddCluster(gkeemu.Cluster{Project: "p", Location: "europe-west1", Name: "cluster-1"})
	wantCode(t, err, codes.AlreadyExists)
	err = w.srv.AddPool(t.Context(), clusterPath, &containerpb.NodePool{Name: "default-pool"}, "")
	if err == nil || !strings.Contains(err.Error(), "add pool default-pool") || !strings.Contains(err.Error(), "Already exists") {
		t.Error(err)
	}
	err = w.srv.AddPool(t.Context(), clusterPath+"-2", &containerpb.NodePool{Name: "blue"}, "")
	if err == nil || !strings.Contains(err.Error(), "cluster-1-2") {
		t.Error(err)
	}
}

func TestLedgerHasEveryCallWithItsAnswer(t *testing.T) {
	w := start(t, gkeemu.Options{})
	if calls := w.srv.Calls(); len(calls) != 0 {
		t.Errorf("calls before any was made: %v", calls)
	}
	w.pool(t, "default-pool")
	_, err := w.create(t.Context(), &containerpb.NodePool{Name: "Wrong"})
	wantCode(t, err, codes.InvalidArgument)
	calls := w.srv.Calls()
	if len(calls) != 2 || calls[0].Target != oldPath || calls[0].Code != codes.OK || calls[1].Time.Before(calls[0].Time) {
		t.Fatalf("calls %v", calls)
	}
	creations := w.srv.Calls("CreateNodePool")
	if len(creations) != 1 || creations[0].Target != clusterPath || creations[0].Code != codes.InvalidArgument {
		t.Fatalf("creations %v", creations)
	}
	if got := creations[0].Request.(*containerpb.CreateNodePoolRequest).GetNodePool().GetName(); got != "Wrong" {
		t.Errorf("recorded request asks for %q", got)
	}
}
