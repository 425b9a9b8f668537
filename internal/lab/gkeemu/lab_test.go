package gkeemu_test

import (
	"context"
	"encoding/base64"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
	"github.com/upshift-k8s/upshift/internal/lab/labtest"
)

// The way of the product: credentials from a key file, endpoint and CA from GetCluster, nodes from the Kubernetes API.
func TestPoolOnARealControlPlane(t *testing.T) {
	l := labtest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	srv, err := gkeemu.Start(ctx, gkeemu.Options{Timing: gkeemu.Timing{CreateNodePool: time.Second}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	w := world{ClusterManagerClient: dial(t, srv), srv: srv}
	if err := srv.AddCluster(gkeemu.Cluster{
		Project: "p", Location: "europe-west1", Name: "cluster-1", Version: master,
		Endpoint: l.Endpoint(), CA: l.CA(), Kube: must[*kubernetes.Clientset](t)(kubernetes.NewForConfig(l.DirectConfig(lab.Emulator))),
		NodeStartUp: "500ms",
	}); err != nil {
		t.Fatal(err)
	}
	kube := connect(t, w, l)

	op := must[*containerpb.Operation](t)(w.create(ctx, &containerpb.NodePool{
		Name: "blue", InitialNodeCount: 1, Version: older, Config: &containerpb.NodeConfig{MachineType: "e2-standard-8"},
	}))
	ready := awaitReady(ctx, t, kube, 3)
	w.done(t, op)
	var target string
	for name, n := range ready {
		target = name
		if got := n.Status.NodeInfo.KubeletVersion; got != "v"+older {
			t.Errorf("node %s: kubelet %s, want v%s", name, got, older)
		}
		if got := n.Status.Allocatable.Cpu().Value(); got != 8 {
			t.Errorf("node %s: %d CPUs allocatable, want 8", name, got)
		}
	}

	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "bare", Namespace: "default"},
		Spec:       corev1.PodSpec{NodeName: target, Containers: []corev1.Container{{Name: "c", Image: "c"}}},
	}
	must[*corev1.Pod](t)(kube.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{}))
	if done := w.done(t, must[*containerpb.Operation](t)(w.delete(ctx, clusterPath+"/nodePools/blue"))); done.GetError() != nil {
		t.Fatalf("deletion failed: %v", done.GetError())
	}
	if left := must[*corev1.NodeList](t)(kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})).Items; len(left) != 0 {
		t.Errorf("%d nodes left", len(left))
	}
	if left := must[*corev1.PodList](t)(kube.CoreV1().Pods("").List(ctx, metav1.ListOptions{})).Items; len(left) != 0 {
		t.Errorf("pods left: %v", left)
	}
	if killed := srv.PodsKilled(); len(killed) != 1 || killed[0].Name != "bare" || killed[0].Node != target {
		t.Errorf("pods killed: %v, want bare on %s", killed, target)
	}
}

// connect uses application-default credentials that yield the product's own token.
func connect(t *testing.T, w world, l *lab.Lab) *kubernetes.Clientset {
	t.Helper()
	creds, err := gkeemu.StartCredentials(t.Context(), l.Token(lab.Upshift))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(creds.Close)
	key := filepath.Join(t.TempDir(), "key.json")
	if err := creds.WriteKey(key); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", key)
	found := must[*google.Credentials](t)(google.FindDefaultCredentials(t.Context(), cloudPlatform))
	c := must[*containerpb.Cluster](t)(w.GetCluster(t.Context(), &containerpb.GetClusterRequest{Name: clusterPath}))
	config := &rest.Config{
		Host: "https://" + c.GetEndpoint(),
		TLSClientConfig: rest.TLSClientConfig{
			CAData: must[[]byte](t)(base64.StdEncoding.DecodeString(c.GetMasterAuth().GetClusterCaCertificate())),
		},
	}
	config.Wrap(func(base http.RoundTripper) http.RoundTripper {
		return &oauth2.Transport{Source: found.TokenSource, Base: base}
	})
	return must[*kubernetes.Clientset](t)(kubernetes.NewForConfig(config))
}

func awaitReady(ctx context.Context, t *testing.T, kube *kubernetes.Clientset, want int) map[string]corev1.Node {
	t.Helper()
	ready := map[string]corev1.Node{}
	nodes := cache.NewListWatchFromClient(kube.CoreV1().RESTClient(), "nodes", "", fields.Everything())
	if _, err := watchtools.UntilWithSync(ctx, nodes, &corev1.Node{}, nil, func(e watch.Event) (bool, error) {
		if n, ok := e.Object.(*corev1.Node); ok && isReady(n) {
			ready[n.Name] = *n
		}
		return len(ready) == want, nil
	}); err != nil {
		t.Fatalf("%d nodes Ready, want %d: %v", len(ready), want, err)
	}
	return ready
}

func isReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
