package gkeemu_test

import (
	"context"
	"io"
	"log/slog"
	"net/url"
	"testing"
	"time"

	container "cloud.google.com/go/container/apiv1"
	"cloud.google.com/go/container/apiv1/containerpb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
)

const (
	clusterPath = "projects/p/locations/europe-west1/clusters/cluster-1"
	oldPath     = clusterPath + "/nodePools/default-pool"
	master      = "1.34.2-gke.100"
	older       = "1.33.5-gke.1162000"
)

// world is an emulator with one regional cluster, whose default-pool has a node in each of three zones.
type world struct {
	*container.ClusterManagerClient
	srv  *gkeemu.Server
	kube *fake.Clientset
}

func start(t *testing.T, options gkeemu.Options) world {
	t.Helper()
	if options.Log == nil {
		options.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	srv, err := gkeemu.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	w := world{srv: srv, kube: fake.NewClientset()}
	cluster := gkeemu.Cluster{
		Project: "p", Location: "europe-west1", Name: "cluster-1",
		Version: master, Channel: containerpb.ReleaseChannel_REGULAR,
		Endpoint: "127.0.0.1:6443", CA: []byte("-----BEGIN CERTIFICATE-----\n"),
		Kube: w.kube, NodeStartUp: "2s",
	}
	if err := srv.AddCluster(cluster); err != nil {
		t.Fatal(err)
	}
	pool := &containerpb.NodePool{Name: "default-pool", Version: older, InitialNodeCount: 1}
	if err := srv.AddPool(t.Context(), cluster.Path(), pool, ""); err != nil {
		t.Fatal(err)
	}
	w.ClusterManagerClient = dial(t, srv)
	return w
}

func dial(t *testing.T, srv *gkeemu.Server) *container.ClusterManagerClient {
	t.Helper()
	u, err := url.Parse(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	client, err := container.NewClusterManagerClient(t.Context(),
		option.WithEndpoint(u.Host),
		option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// await looks at an operation until fits, or fails the test.
func (w world) await(t *testing.T, name string, fits func(*containerpb.Operation) bool) *containerpb.Operation {
	t.Helper()
	return w.awaitIn(t, "europe-west1", name, fits)
}

func (w world) awaitIn(t *testing.T, location, name string, fits func(*containerpb.Operation) bool) *containerpb.Operation {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		op, err := w.GetOperation(ctx, &containerpb.GetOperationRequest{Name: "projects/p/locations/" + location + "/operations/" + name})
		if err != nil {
			t.Fatalf("operation %s: %v", name, err)
		}
		if fits(op) {
			return op
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("operation stays %v", op)
		}
	}
}

func (w world) done(t *testing.T, op *containerpb.Operation) *containerpb.Operation {
	t.Helper()
	return w.doneIn(t, "europe-west1", op)
}

func (w world) doneIn(t *testing.T, location string, op *containerpb.Operation) *containerpb.Operation {
	t.Helper()
	return w.awaitIn(t, location, op.GetName(), func(op *containerpb.Operation) bool { return op.GetStatus() == containerpb.Operation_DONE })
}

func (w world) create(ctx context.Context, pool *containerpb.NodePool) (*containerpb.Operation, error) {
	return w.CreateNodePool(ctx, &containerpb.CreateNodePoolRequest{Parent: clusterPath, NodePool: pool})
}

func (w world) delete(ctx context.Context, path string) (*containerpb.Operation, error) {
	return w.DeleteNodePool(ctx, &containerpb.DeleteNodePoolRequest{Name: path})
}

func (w world) autoscale(ctx context.Context, a *containerpb.NodePoolAutoscaling) (*containerpb.Operation, error) {
	return w.SetNodePoolAutoscaling(ctx, &containerpb.SetNodePoolAutoscalingRequest{Name: oldPath, Autoscaling: a})
}

func (w world) pool(t *testing.T, name string) *containerpb.NodePool {
	t.Helper()
	pool, err := w.GetNodePool(t.Context(), &containerpb.GetNodePoolRequest{Name: clusterPath + "/nodePools/" + name})
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

func (w world) nodes(t *testing.T, pool string) []corev1.Node {
	t.Helper()
	list, err := w.kube.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{LabelSelector: "cloud.google.com/gke-nodepool=" + pool})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// must fails the test on err.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantCode(t *testing.T, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("code %v (%v), want %v", got, err, want)
	}
}
