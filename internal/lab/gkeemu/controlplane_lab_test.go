package gkeemu_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
	"github.com/upshift-k8s/upshift/internal/lab/testbed"
)

// bed is a testbed with clients as the product has them, through the proxy and through GKE's library.
type bed struct {
	world
	*testbed.Testbed
	kube kubernetes.Interface
}

func startBed(t *testing.T, options testbed.Options) bed {
	t.Helper()
	if testing.Short() {
		t.Skip("needs the lab")
	}
	options.Progress = t.Output()
	tb, err := testbed.Start(context.WithoutCancel(t.Context()), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("the lab's components:\n" + tb.Lab.Logs(20))
		}
		if err := tb.Close(); err != nil {
			t.Error(err)
		}
	})
	config := tb.Lab.Config(lab.Upshift)
	config.QPS = -1
	return bed{world{ClusterManagerClient: dial(t, tb.GKE), srv: tb.GKE}, tb, must[*kubernetes.Clientset](t)(kubernetes.NewForConfig(config))}
}

func (b bed) operationPath(op *containerpb.Operation) string {
	return "projects/" + testbed.Project + "/locations/" + b.Location + "/operations/" + op.GetName()
}

// over waits for the end of an operation, up to two minutes, and wants no error.
func (b bed) over(t *testing.T, op *containerpb.Operation) *containerpb.Operation {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		op, err := b.GetOperation(ctx, &containerpb.GetOperationRequest{Name: b.operationPath(op)})
		if err != nil {
			t.Fatal(err)
		}
		if op.GetStatus() == containerpb.Operation_DONE {
			if op.GetError() != nil {
				t.Errorf("%s failed: %v", op.GetOperationType(), op.GetError())
			}
			return op
		}
		<-tick.C
	}
}

// serverVersion is what the API claims to be.
func (b bed) serverVersion() (string, error) {
	info, err := b.kube.Discovery().ServerVersion()
	if err != nil {
		return "", err
	}
	return info.GitVersion, nil
}

// names are all nodes and pods, with their UIDs and where they run.
func (b bed) names(ctx context.Context) ([]string, error) {
	nodes, err := b.kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	pods, err := b.kube.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, n := range nodes.Items {
		names = append(names, "node "+n.Name+" "+string(n.UID))
	}
	for _, p := range pods.Items {
		names = append(names, "pod "+p.Name+" "+string(p.UID)+" on "+p.Spec.NodeName)
	}
	slices.Sort(names)
	return names, nil
}

const shop = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: web, image: web}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec:
  maxUnavailable: 1
  selector: {matchLabels: {app: web}}
`

// A client sees the API go and come back as the new version; nothing in the cluster is lost.
func TestZonalControlPlaneIsAwayWhileItIsUpgraded(t *testing.T) {
	const away = 3 * time.Second
	b := startBed(t, testbed.Options{Location: testbed.Zone, Version: older, Timing: gkeemu.Timing{UpgradeMaster: time.Second, MasterAway: away}})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := b.Deploy(ctx, shop); err != nil {
		t.Fatal(err)
	}
	before := must[[]string](t)(b.names(ctx))
	events, err := b.kube.CoreV1().Pods("").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}

	op := must[*containerpb.Operation](t)(b.UpdateMaster(ctx, &containerpb.UpdateMasterRequest{Name: b.Path(), MasterVersion: "1.34"}))
	for range events.ResultChan() { // ends with the connection
	}
	gone := time.Now()
	if _, err := b.serverVersion(); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("away: got %v, want a refused connection", err)
	}
	if c := b.cluster(t, b.Path()); c.GetStatus() != containerpb.Cluster_RECONCILING || c.GetCurrentMasterVersion() != older {
		t.Errorf("away: GKE says %s at %s", c.GetStatus(), c.GetCurrentMasterVersion())
	}
	got, err := b.serverVersion()
	for tick := time.NewTicker(20 * time.Millisecond); err != nil && ctx.Err() == nil; got, err = b.serverVersion() {
		<-tick.C
	}
	if took := time.Since(gone); took < away-200*time.Millisecond {
		t.Errorf("the API was away for %s, want %s", took, away)
	}
	if err != nil || got != "v"+master {
		t.Errorf("back as %s (%v), want v%s", got, err, master)
	}
	b.over(t, op)
	if got := b.cluster(t, b.Path()).GetCurrentMasterVersion(); got != master {
		t.Errorf("GKE says %s, want %s", got, master)
	}
	if diff := cmp.Diff(before, must[[]string](t)(b.names(ctx))); diff != "" {
		t.Errorf("nodes and pods (-before +after):\n%s", diff)
	}
}

// A thousand requests while the API moves from server to server: none fails. Watches are cut and begun again.
func TestRegionalControlPlaneStaysUpWhileItIsUpgraded(t *testing.T) {
	b := startBed(t, testbed.Options{Version: older, Timing: gkeemu.Timing{UpgradeMaster: 10 * time.Second}})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := b.Deploy(ctx, shop); err != nil {
		t.Fatal(err)
	}
	before := must[[]string](t)(b.names(ctx))
	must[*corev1.ConfigMap](t)(b.kube.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "asked"}}, metav1.CreateOptions{}))
	var clients sync.WaitGroup
	var requests, cuts atomic.Int64
	over := make(chan struct{})
	versions := make(map[string]int)
	ask := func(each time.Duration, request func() error) {
		clients.Go(func() {
			tick := time.NewTicker(each)
			defer tick.Stop()
			for {
				if err := request(); err != nil {
					t.Errorf("request %d: %v", requests.Load(), err)
				}
				requests.Add(1)
				select {
				case <-tick.C:
				case <-over:
					return
				}
			}
		})
	}
	ask(20*time.Millisecond, func() error {
		version, err := b.serverVersion()
		versions[version]++
		return err
	})
	ask(20*time.Millisecond, func() error {
		_, err := b.kube.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
		return err
	})
	ask(20*time.Millisecond, func() error {
		_, err := b.kube.CoreV1().ConfigMaps("default").Patch(ctx, "asked", types.MergePatchType, fmt.Appendf(nil, `{"data":{"asked":"%d"}}`, requests.Load()), metav1.PatchOptions{})
		return err
	})
	watching, stop := context.WithCancel(ctx)
	clients.Go(func() {
		for {
			events, err := b.kube.CoreV1().Pods("").Watch(watching, metav1.ListOptions{})
			if watching.Err() != nil {
				return
			}
			if err != nil {
				t.Errorf("watch %d: %v", cuts.Load()+1, err)
				return
			}
			for range events.ResultChan() {
			}
			cuts.Add(1)
		}
	})

	b.over(t, must[*containerpb.Operation](t)(b.UpdateMaster(ctx, &containerpb.UpdateMasterRequest{Name: b.Path(), MasterVersion: "1.34"})))
	for tick := time.NewTicker(20 * time.Millisecond); requests.Load() < 1000; {
		<-tick.C
	}
	close(over)
	stop()
	clients.Wait()
	if got := cuts.Load(); got < 2 { // the last one is ours
		t.Errorf("watches were cut %d times, want 2 and our own end", got)
	}
	if got := slices.Sorted(maps.Keys(versions)); !slices.Equal(got, []string{"v" + older, "v" + master}) {
		t.Errorf("the API claimed %v", versions)
	}
	if diff := cmp.Diff(before, must[[]string](t)(b.names(ctx))); diff != "" {
		t.Errorf("nodes and pods (-before +after):\n%s", diff)
	}
	t.Logf("%d requests, watches cut %d times", requests.Load(), cuts.Load())
}
