package lab_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/labtest"
)

func TestProxy(t *testing.T) {
	l := labtest.StartWith(t, lab.Options{Version: "v1.33.5-gke.1162000"})
	upshift, err := kubernetes.NewForConfig(l.Config(lab.Upshift))
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		test func(*testing.T, *lab.Lab, kubernetes.Interface)
	}{
		{"the API claims the emulated version", claimsVersion},
		{"requests are counted by user", countsRequests},
		{"a kubeconfig works", kubeconfigWorks},
		{"a stranger is refused", refusesStranger},
		{"a held request has not happened until it is released", holds},
		{"a cut ends watches and refuses connections until restored", cuts},
		{"another server takes over: watches are cut, and no request fails", takesOver},
	} {
		t.Run(step.name, func(t *testing.T) { step.test(t, l, upshift) })
	}
}

func claimsVersion(t *testing.T, l *lab.Lab, c kubernetes.Interface) {
	for _, want := range []struct{ git, minor string }{
		{"v1.33.5-gke.1162000", "33"},
		{"v1.34.2-gke.100", "34"},
		{lab.KubernetesVersion, "37"}, // its own, when it has nothing to claim
	} {
		got, err := c.Discovery().ServerVersion()
		if err != nil {
			t.Fatal(err)
		}
		if got.GitVersion != want.git || got.Major != "1" || got.Minor != want.minor {
			t.Errorf("got %+v, want %s", got, want.git)
		}
		l.Proxy().SetVersion(map[string]string{"33": "v1.34.2-gke.100"}[want.minor])
	}
}

func countsRequests(t *testing.T, l *lab.Lab, c kubernetes.Interface) {
	list := lab.Request{User: lab.Upshift, Verb: "list", Resource: "nodes"}
	before := count(l, list)
	for range 3 {
		if _, err := c.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	// Straight to the API server: not counted.
	if _, err := client(t, l).CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := count(l, list) - before; got != 3 {
		t.Errorf("counted %d, want 3: %+v", got, l.Proxy().Requests())
	}
	if slices.ContainsFunc(l.Proxy().Requests(), func(r lab.RequestCount) bool { return r.User != lab.Upshift }) {
		t.Errorf("someone else was counted: %+v", l.Proxy().Requests())
	}
}

func count(l *lab.Lab, request lab.Request) int {
	for _, r := range l.Proxy().Requests() {
		if r.Request == request {
			return r.Count
		}
	}
	return 0
}

func kubeconfigWorks(t *testing.T, l *lab.Lab, _ kubernetes.Interface) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := l.WriteKubeconfig(lab.Kubectl, path); err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
	if got := count(l, lab.Request{User: lab.Kubectl, Verb: "list", Resource: "nodes"}); got != 1 {
		t.Errorf("counted %d", got)
	}
}

func refusesStranger(t *testing.T, l *lab.Lab, _ kubernetes.Interface) {
	c, err := kubernetes.NewForConfig(l.Config("nobody"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); !apierrors.IsUnauthorized(err) {
		t.Errorf("got %v, want 401", err)
	}
}

func holds(t *testing.T, l *lab.Lab, c kubernetes.Interface) {
	held, release := l.Proxy().Hold(lab.Request{User: lab.Upshift, Verb: "create", Resource: "nodes"})
	answer := make(chan error, 1)
	go func() {
		_, err := c.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "held"}}, metav1.CreateOptions{})
		answer <- err
	}()
	<-held
	if _, err := client(t, l).CoreV1().Nodes().Get(t.Context(), "held", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("held: got %v, want 404", err)
	}
	release()
	if err := <-answer; err != nil {
		t.Fatal(err)
	}
	if _, err := client(t, l).CoreV1().Nodes().Get(t.Context(), "held", metav1.GetOptions{}); err != nil {
		t.Errorf("released: %v", err)
	}
}

func cuts(t *testing.T, l *lab.Lab, c kubernetes.Interface) {
	events, err := c.CoreV1().Nodes().Watch(t.Context(), metav1.ListOptions{})
	nodes := newWatching(t, events, err)
	createNode(t, client(t, l), "watched", nil)
	nodes.until("the node, through the proxy", nodeReady)

	l.Proxy().Cut()
	ends(t, events)
	if _, err := c.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("cut: got %v, want a refused connection", err)
	}
	if _, err := client(t, l).CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("cut: those who go straight to the API server are not: %v", err)
	}

	for range 2 {
		if err := l.Proxy().Restore(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("restored: %v", err)
	}
	events, err = c.CoreV1().Nodes().Watch(t.Context(), metav1.ListOptions{})
	newWatching(t, events, err).until("the node again", func(e watch.Event) bool { return e.Type == watch.Added })
}

// ends waits until a watch is cut.
func ends(t *testing.T, events watch.Interface) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for open := true; open; {
		select {
		case _, open = <-events.ResultChan():
		case <-deadline:
			t.Fatal("the watch outlives the cut")
		}
	}
}

// eventually waits for what nobody announces.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(20 * time.Second)
	for !is() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("not so after 20 s: %s", what)
		}
	}
}

// takesOver also has a client without HTTP/2, which connects anew for what it asks next.
func takesOver(t *testing.T, l *lab.Lab, c kubernetes.Interface) {
	config := l.Config(lab.Upshift)
	config.QPS = -1
	config.NextProtos = []string{"http/1.1"}
	plain, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	config.NextProtos = nil
	multiplexed, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	var requests atomic.Int64
	for i, c := range []kubernetes.Interface{plain, plain, multiplexed, multiplexed} {
		clients.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("asked-%d-%d", i, n)}}
				if _, err := c.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
					t.Errorf("request %d of client %d: %v", n, i, err)
				}
				if err := c.CoreV1().Nodes().Delete(t.Context(), node.Name, metav1.DeleteOptions{}); err != nil {
					t.Errorf("request %d of client %d: %v", n, i, err)
				}
				requests.Add(2)
			}
		})
	}
	before := len(processes(t, l.Dir(), "kube-apiserver"))
	for _, want := range []string{"v1.34.2-gke.100", "v1.35.1-gke.300"} {
		events, err := c.CoreV1().Namespaces().Watch(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		take, err := l.Renew(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		asked := requests.Load()
		take(want)
		take("v1.0.0") // too late
		ends(t, events)
		if got, err := c.Discovery().ServerVersion(); err != nil || got.GitVersion != want {
			t.Errorf("version %v (%v), want %s", got, err, want)
		}
		eventually(t, "the clients ask on", func() bool { return requests.Load() >= asked+100 })
	}
	stop()
	clients.Wait()
	eventually(t, "only the first server and the last one are left", func() bool {
		return len(processes(t, l.Dir(), "kube-apiserver")) == before+1
	})
	createNode(t, client(t, l), "after", nil)
	if _, err := c.CoreV1().Nodes().Get(t.Context(), "after", metav1.GetOptions{}); err != nil {
		t.Errorf("the servers do not share what is there: %v", err)
	}
}
