package gke

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

var cluster1 = Name{Project: "p", Location: "europe-west1", Cluster: "cluster-1"}

const target = "1.34.2-gke.100"

// oldPool has something in every part of a configuration that a clone must carry over.
func oldPool() *containerpb.NodePool {
	return &containerpb.NodePool{
		Name: "default-pool", Version: "1.33.5-gke.1162000", InitialNodeCount: 1, Locations: []string{"europe-west1-b"},
		Config: &containerpb.NodeConfig{
			MachineType: "e2-standard-4", DiskSizeGb: 50, OauthScopes: []string{"https://www.googleapis.com/auth/cloud-platform"},
			Labels: map[string]string{"team": "a"}, ResourceLabels: map[string]string{"cost": "x"}, Spot: true,
			Taints:                 []*containerpb.NodeTaint{{Key: "k", Value: "v", Effect: containerpb.NodeTaint_NO_SCHEDULE}},
			ShieldedInstanceConfig: &containerpb.ShieldedInstanceConfig{EnableSecureBoot: true},
		},
		Autoscaling:       &containerpb.NodePoolAutoscaling{Enabled: true, MinNodeCount: 1, MaxNodeCount: 5},
		Management:        &containerpb.NodeManagement{AutoUpgrade: true, AutoRepair: true},
		MaxPodsConstraint: &containerpb.MaxPodsConstraint{MaxPodsPerNode: 64},
		UpgradeSettings:   &containerpb.NodePool_UpgradeSettings{MaxSurge: 2, Strategy: containerpb.NodePoolUpdateStrategy_SURGE.Enum()},
		NetworkConfig:     &containerpb.NodeNetworkConfig{PodRange: "pods-2", PodIpv4CidrBlock: "10.8.0.0/14"},
		PlacementPolicy:   &containerpb.NodePool_PlacementPolicy{Type: containerpb.NodePool_PlacementPolicy_COMPACT},
	}
}

func emulate(t *testing.T) (*gkeemu.Server, *Provider) {
	t.Helper()
	srv, err := gkeemu.Start(t.Context(), gkeemu.Options{Log: slog.New(slog.DiscardHandler), Timing: gkeemu.Timing{CreateNodePool: 20 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	c := gkeemu.Cluster{
		Project: "p", Location: "europe-west1", Name: "cluster-1", Version: target, Zones: []string{"europe-west1-b"},
		Channel: containerpb.ReleaseChannel_REGULAR, Endpoint: "127.0.0.1:1", CA: []byte("ca"), Kube: fake.NewClientset(),
	}
	if err := srv.AddCluster(c); err != nil {
		t.Fatal(err)
	}
	if err := srv.AddPool(t.Context(), c.Path(), oldPool(), ""); err != nil {
		t.Fatal(err)
	}
	p, err := Connect(t.Context(), cluster1, overridden(t, srv.Env()...), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return srv, p
}

func wait(t *testing.T, p *Provider, operation string, err error) {
	t.Helper()
	if err == nil {
		err = p.Wait(t.Context(), operation, func(string) {})
	}
	if err != nil {
		t.Fatal(err)
	}
}

var cloneRequest = upgrade.Clone{Of: "default-pool", Name: "new", Version: target, NodesPerZone: 3, Run: "run-1"}

func TestACloneIsFaithful(t *testing.T) {
	srv, p := emulate(t)
	operation, err := p.CreatePool(t.Context(), cloneRequest)
	wait(t, p, operation, err)

	got := srv.Calls("CreateNodePool")[0].Request.(*containerpb.CreateNodePoolRequest).GetNodePool()
	want := oldPool()
	want.Name, want.Version, want.InitialNodeCount, want.Autoscaling = "new", target, 3, nil
	want.Config.ResourceLabels[runLabel] = "run-1"
	want.NetworkConfig.PodIpv4CidrBlock = "" // the range is named
	// What the emulator, like GKE, fills in by itself when a pool is made is carried over as well.
	if diff := cmp.Diff(want, got, protocmp.Transform(), protocmp.IgnoreEmptyMessages(),
		protocmp.IgnoreFields(&containerpb.NodeConfig{}, "disk_type", "image_type", "service_account", "metadata")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	pools, err := p.Pools(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(pools) != 2 || pools[1].MadeBy != "run-1" || pools[1].Version != target {
		t.Errorf("pools: %+v", pools)
	}
}

func TestAPoolThatAnEarlierRunMadeIsAdopted(t *testing.T) {
	srv, p := emulate(t)
	operation, err := p.CreatePool(t.Context(), cloneRequest)
	if err != nil {
		t.Fatal(err)
	}
	again := cloneRequest
	again.Run = "run-2"
	adopted, err := p.CreatePool(t.Context(), again)
	if err != nil || adopted != operation && adopted != "" {
		t.Errorf("got operation %q and error %v, want %q while it runs", adopted, err, operation)
	}
	wait(t, p, operation, nil)
	if adopted, err = p.CreatePool(t.Context(), again); err != nil || adopted != "" {
		t.Errorf("got operation %q and error %v, want none once it is done", adopted, err)
	}
	if n := len(srv.Calls("CreateNodePool")); n != 1 {
		t.Errorf("%d CreateNodePool calls, want 1", n)
	}
}

func TestAForeignPoolOfTheSameNameIsNotTouched(t *testing.T) {
	srv, p := emulate(t)
	if err := srv.AddPool(t.Context(), cluster1.String(), &containerpb.NodePool{Name: "new", Version: target}, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := p.CreatePool(t.Context(), cloneRequest); err == nil || !strings.Contains(err.Error(), "pool new exists, and no run of Upshift made it") {
		t.Errorf("got %v", err)
	}
}

func TestAChangeWhoseAnswerIsLostIsNotMadeTwice(t *testing.T) {
	srv, p := emulate(t)
	srv.Inject(gkeemu.Fault{Method: "CreateNodePool", Times: 1, LoseResponse: true})
	operation, err := p.CreatePool(t.Context(), cloneRequest)
	if err != nil {
		t.Fatal(err)
	}
	if operation != "" {
		wait(t, p, operation, nil)
	}
	if n := len(srv.Calls("CreateNodePool")); n != 1 {
		t.Errorf("%d CreateNodePool calls, want 1", n)
	}
}

func TestAnOperationInTheWayIsNamed(t *testing.T) {
	srv, p := emulate(t)
	name, done, err := srv.StartForeignOperation(cluster1.String(), containerpb.Operation_UPGRADE_NODES)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.CreatePool(t.Context(), cloneRequest)
	var busy *upgrade.Busy
	if !errors.As(err, &busy) || busy.Operation != name || busy.Kind != "UPGRADE_NODES" {
		t.Fatalf("got %v, want operation %s named", err, name)
	}
	done()
	operation, err := p.CreatePool(t.Context(), cloneRequest)
	wait(t, p, operation, err)
}

func TestALookThatFailsDoesNotFailTheOperation(t *testing.T) {
	srv, p := emulate(t)
	operation, err := p.CreatePool(t.Context(), cloneRequest)
	if err != nil {
		t.Fatal(err)
	}
	srv.Inject(gkeemu.Fault{Method: "GetOperation", Times: 1, Error: status.Error(codes.ResourceExhausted, "rate limit")})
	var told []string
	if err := p.Wait(t.Context(), operation, func(text string) { told = append(told, text) }); err != nil {
		t.Error(err)
	}
	if len(told) == 0 || !strings.Contains(told[0], "cannot be looked at now: ResourceExhausted") {
		t.Errorf("told: %v", told)
	}
}

func TestOnlyTheClustersOwnAPIIsRecognized(t *testing.T) {
	_, p := emulate(t) // GKE says 127.0.0.1:1 and "ca"
	for _, test := range []struct {
		name, host, ca string
		want           bool
	}{
		{"its address and certificate", "https://127.0.0.1:1", "ca", true},
		{"through another address, with its certificate", "https://bastion:8443", "ca\n", true},
		{"its address, with a proxy's certificate", "https://127.0.0.1:1/", "other", true},
		{"through a gateway with a public certificate", "https://gateway", "", true},
		{"another cluster", "https://10.0.0.1", "other", false},
	} {
		if got, err := p.Recognizes(t.Context(), test.host, []byte(test.ca)); err != nil || got != test.want {
			t.Errorf("%s: %t, %v; want %t", test.name, got, err, test.want)
		}
	}
}

func TestANewPoolRemembersTheAutoscalingThatItGetsInTheEnd(t *testing.T) {
	_, p := emulate(t)
	pools, err := p.Pools(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := cloneRequest
	c.Inherits = pools[0].Autoscaling
	operation, err := p.CreatePool(t.Context(), c)
	wait(t, p, operation, err)
	if pools, err = p.Pools(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(pools[0].Autoscaling, pools[1].Inherits); diff != "" || pools[1].Autoscaling.Enabled {
		t.Errorf("autoscaling %+v, and inherits\n%s", pools[1].Autoscaling, diff)
	}
	if decodeAutoscaling("whatever") != nil {
		t.Error("a label of somebody else is taken for settings")
	}
}

func TestDoneIsNotSuccess(t *testing.T) {
	srv, p := emulate(t)
	srv.Inject(gkeemu.Fault{Method: "CreateNodePool", OperationError: &rpcstatus.Status{Code: int32(codes.ResourceExhausted), Message: "Quota 'CPUS' exceeded."}})
	operation, err := p.CreatePool(t.Context(), cloneRequest)
	if err != nil {
		t.Fatal(err)
	}
	err = p.Wait(t.Context(), operation, func(string) {})
	if err == nil || !strings.Contains(err.Error(), "Quota 'CPUS' exceeded.") {
		t.Errorf("got %v, want the operation's own error", err)
	}
}

func TestAutoscalingIsFrozenAndGivenBackAsItWas(t *testing.T) {
	srv, p := emulate(t)
	pools, err := p.Pools(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	was := pools[0].Autoscaling
	if !was.Enabled || was.Summary != "1 to 5 nodes a zone" {
		t.Fatalf("autoscaling %+v", was)
	}
	operation, err := p.SetAutoscaling(t.Context(), "default-pool", upgrade.Autoscaling{})
	wait(t, p, operation, err)
	if again, err := p.SetAutoscaling(t.Context(), "default-pool", upgrade.Autoscaling{}); err != nil || again != "" {
		t.Errorf("freezing what is frozen: operation %q, error %v", again, err)
	}
	operation, err = p.SetAutoscaling(t.Context(), "default-pool", was)
	wait(t, p, operation, err)
	calls := srv.Calls("SetNodePoolAutoscaling")
	last := calls[len(calls)-1].Request.(*containerpb.SetNodePoolAutoscalingRequest).GetAutoscaling()
	if !proto.Equal(last, oldPool().GetAutoscaling()) {
		t.Errorf("gave back %v", last)
	}
}

func TestDeletingAPoolThatIsGoneIsDone(t *testing.T) {
	_, p := emulate(t)
	operation, err := p.DeletePool(t.Context(), "default-pool")
	wait(t, p, operation, err)
	if operation, err = p.DeletePool(t.Context(), "default-pool"); err != nil || operation != "" {
		t.Errorf("operation %q, error %v", operation, err)
	}
}

func TestAClusterThatIsNotThere(t *testing.T) {
	srv, _ := emulate(t)
	p, err := Connect(t.Context(), Name{Project: "p", Location: "europe-west1", Cluster: "cluster-2"}, overridden(t, srv.Env()...), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close() //nolint:errcheck // a test
	if _, err := p.Cluster(t.Context()); status.Code(err) != codes.NotFound {
		t.Errorf("got %v", err)
	}
}

func TestTheChannelsVersionsAreOffered(t *testing.T) {
	_, p := emulate(t)
	c, err := p.Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !c.Regional || c.Channel != "REGULAR" || c.ControlPlaneVersion != target || c.Versions.Default != "1.34.2-gke.100" || len(c.Pools) != 1 {
		t.Errorf("got %+v", c)
	}
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	srv, p := emulate(t)
	srv.Inject(gkeemu.Fault{Method: "CreateNodePool", OperationDelay: time.Hour})
	operation, err := p.CreatePool(t.Context(), cloneRequest)
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	err = p.Wait(ctx, operation, func(string) { cancel(stop) })
	if !errors.Is(err, stop) {
		t.Errorf("got %v, want %v", err, stop)
	}
}

func TestEndpoints(t *testing.T) {
	full := &containerpb.Cluster{
		Endpoint: "1.2.3.4", MasterAuth: &containerpb.MasterAuth{ClusterCaCertificate: "Y2E="},
		ControlPlaneEndpointsConfig: &containerpb.ControlPlaneEndpointsConfig{
			DnsEndpointConfig: &containerpb.ControlPlaneEndpointsConfig_DNSEndpointConfig{Endpoint: "x.gke.goog"},
			IpEndpointsConfig: &containerpb.ControlPlaneEndpointsConfig_IPEndpointsConfig{PublicEndpoint: "1.2.3.4", PrivateEndpoint: "10.0.0.2"},
		},
	}
	for _, test := range []struct {
		name    string
		cluster *containerpb.Cluster
		which   string
		want    string // host, a space, CA
	}{
		{"GKE's choice", full, "auto", "https://1.2.3.4 ca"},
		{"public", full, "public", "https://1.2.3.4 ca"},
		{"private", full, "private", "https://10.0.0.2 ca"},
		{"dns has a public certificate", full, "dns", "https://x.gke.goog "},
		{"no dns", &containerpb.Cluster{Endpoint: "1.2.3.4"}, "dns", "error: it has no DNS endpoint"},
		{"no private", &containerpb.Cluster{Endpoint: "1.2.3.4"}, "private", "error: it has no private endpoint"},
		{"no public", &containerpb.Cluster{Endpoint: "10.0.0.2"}, "public", "error: it has no public endpoint"},
	} {
		t.Run(test.name, func(t *testing.T) {
			access, err := endpoint(test.cluster, test.which)
			got := access.Host + " " + string(access.CA)
			if err != nil {
				got = "error: " + err.Error()
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// overridden are Google's APIs where an environment puts them.
func overridden(t *testing.T, environ ...string) APIs {
	t.Helper()
	apis, wrong := APIsFrom(getenv(environ...))
	if len(wrong) > 0 {
		t.Fatal(wrong)
	}
	return apis
}

func getenv(environ ...string) func(string) string {
	values := map[string]string{}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		values[name] = value
	}
	return func(name string) string { return values[name] }
}

func TestWithoutTLSOnlyLoopbackIsReached(t *testing.T) {
	for _, variable := range []string{"CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER", "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER", "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE"} {
		for _, good := range []string{"", "https://container.example.com/", "http://127.0.0.1:80/", "http://localhost:80", "http://[::1]:80/"} {
			if _, wrong := APIsFrom(getenv(variable + "=" + good)); len(wrong) > 0 {
				t.Errorf("%q: %v", good, wrong)
			}
		}
		for _, bad := range []string{"http://10.0.0.1:80/", "http://container.example.com:80/", "http://127.0.0.1/", "127.0.0.1:80", "ftp://127.0.0.1:80/", "https:///"} {
			if _, wrong := APIsFrom(getenv(variable + "=" + bad)); len(wrong) != 1 || !strings.Contains(wrong[0].Error(), variable) {
				t.Errorf("%q: got %v, want an error that names %s", bad, wrong, variable)
			}
		}
	}
}

func TestClusterNames(t *testing.T) {
	n, ok := ParseName("projects/p/locations/europe-west1-b/clusters/c")
	if !ok || n != (Name{"p", "europe-west1-b", "c"}) || n.regional() {
		t.Errorf("got %+v, %t", n, ok)
	}
	if _, ok := ParseName("projects/p/zones/z/clusters/c"); ok {
		t.Error("a zonal path of the old API is taken")
	}
}
