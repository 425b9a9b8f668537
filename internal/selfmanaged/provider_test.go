package selfmanaged

import (
	"context"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

func node(name, version string, labels map[string]string, taints ...corev1.Taint) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Spec: corev1.NodeSpec{Taints: taints}}
	n.Status.NodeInfo.KubeletVersion = "v" + version
	return n
}

func server(node, image string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-apiserver-" + node, Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"}},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Image: image}}},
	}
}

func provider(objects ...runtime.Object) *Provider {
	return &Provider{name: "own", poolLabel: "pool", client: fake.NewClientset(objects...), config: &rest.Config{Host: "https://127.0.0.1:1"}}
}

func TestPoolsAndVersionsAreToldFromTheKubernetesAPI(t *testing.T) {
	control := map[string]string{controlPlaneRole: "", "pool": "x"}
	gpu := corev1.Taint{Key: "gpu", Value: "yes", Effect: corev1.TaintEffectNoSchedule}
	p := provider(
		node("cp-1", "1.34.2", control), node("cp-2", "1.34.2", control),
		node("a", "1.33.5", map[string]string{"pool": "workers", "disk": "ssd", "kubernetes.io/hostname": "a", "topology.kubernetes.io/zone": "z1"}, gpu),
		node("b", "1.33.4", map[string]string{"pool": "workers", "disk": "ssd", "mine": "b", "topology.kubernetes.io/zone": "z2"}, gpu, corev1.Taint{Key: "node.kubernetes.io/unschedulable", Effect: corev1.TaintEffectNoSchedule}),
		node("alone", "1.30.0", nil),
		server("cp-1", "registry.k8s.io/kube-apiserver:v1.34.2"), server("cp-2", "localhost:5000/kube-apiserver:v1.33.9@sha256:00"),
	)
	c, err := p.Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c.ControlPlaneVersion != "1.33.9" || len(c.Servers) != 2 || len(c.Unread) != 0 || c.Skew != 3 || c.Provider != upgrade.SelfManaged {
		t.Errorf("cluster: %+v", c)
	}
	type pool struct{ Name, Version, Zones, Labels, Taints string }
	var got []pool
	for _, p := range c.Pools {
		got = append(got, pool{p.Name, p.Version, strings.Join(p.Zones, " "), fmt.Sprint(p.Labels), fmt.Sprint(p.Taints)})
	}
	want := []pool{
		{"control-plane", "1.33.9", "", "map[]", "[]"},
		{"workers", "1.33.4", "z1 z2", "map[disk:ssd]", "[{gpu yes NoSchedule}]"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestEachAPIServerIsAskedWhereNoneIsSeen has two servers behind one name, of which only one is at the address that the kubeconfig has.
func TestEachAPIServerIsAskedWhereNoneIsSeen(t *testing.T) {
	newer, older := apiServer(t, "v1.34.2"), apiServer(t, "v1.33.5")
	p := provider(addresses(newer, older))
	p.config = config(newer)
	c, err := p.Cluster(t.Context())
	if err != nil || c.ControlPlaneVersion != "1.33.5" || len(c.Servers) != 2 || len(c.Unread) != 0 {
		t.Errorf("error %v, cluster %+v", err, c)
	}
	older.Close()
	c, err = p.Cluster(t.Context())
	if err != nil || c.ControlPlaneVersion != "1.34.2" || !strings.Contains(c.Unread[upgrade.ReadServers], older.Listener.Addr().String()) {
		t.Errorf("error %v, version %s, unread %v", err, c.ControlPlaneVersion, c.Unread)
	}
	if v, err := p.ControlPlaneVersion(t.Context()); err != nil || v != "1.34.2" {
		t.Errorf("lowest %s, error %v", v, err)
	}
}

func TestAnImageThatTellsNoVersionIsNoVersion(t *testing.T) {
	one := apiServer(t, "v1.34.2")
	p := provider(server("cp-1", "example.com/kube-apiserver:stable"))
	p.config = config(one)
	c, err := p.Cluster(t.Context())
	if err != nil || c.ControlPlaneVersion != "1.34.2" || !strings.Contains(c.Unread[upgrade.ReadServers], "kube-apiserver:stable, which tells no version") {
		t.Errorf("error %v, cluster %+v", err, c)
	}
}

func TestSkewByVersion(t *testing.T) {
	for version, want := range map[string]int{"1.27.9": 2, "1.28.0": 3, "1.34.2+k3s1": 3, "": 3} {
		if got := skew(version); got != want {
			t.Errorf("%q: %d, want %d", version, got, want)
		}
	}
}

func apiServer(t *testing.T, version string) *httptest.Server {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/version" {
			fmt.Fprintf(w, `{"gitVersion":%q}`, version)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// config reaches a server by the name that all of their certificates have, as through a balancer.
func config(s *httptest.Server) *rest.Config {
	c := &rest.Config{Host: "https://example.com"}
	c.CAData = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasPrefix(address, "example.com") {
			address = s.Listener.Addr().String()
		}
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}
	return c
}

func addresses(servers ...*httptest.Server) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes", Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"}}}
	for _, one := range servers {
		_, text, _ := net.SplitHostPort(one.Listener.Addr().String())
		port, _ := strconv.ParseInt(text, 10, 32)
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Port: new(int32(port))})
	}
	s.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{"127.0.0.1"}}}
	return s
}
