package gkeemu_test

import (
	"context"
	"errors"
	"strings"
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
	k8stesting "k8s.io/client-go/testing"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
)

func TestOneOperationAtATimeChangesACluster(t *testing.T) {
	w := start(t, gkeemu.Options{Timing: gkeemu.Timing{CreateNodePool: time.Hour}})
	ctx := t.Context()
	op := must[*containerpb.Operation](t)(w.create(ctx, &containerpb.NodePool{Name: "blue"}))
	want := "Operation " + op.GetName() + " is currently creating a node pool for cluster cluster-1. Please wait and try again once it is done."
	for name, call := range map[string]func() (*containerpb.Operation, error){
		"create":      func() (*containerpb.Operation, error) { return w.create(ctx, &containerpb.NodePool{Name: "green"}) },
		"delete":      func() (*containerpb.Operation, error) { return w.delete(ctx, oldPath) },
		"autoscaling": func() (*containerpb.Operation, error) { return w.autoscale(ctx, &containerpb.NodePoolAutoscaling{}) },
	} {
		t.Run(name, func(t *testing.T) {
			_, err := call()
			wantCode(t, err, codes.FailedPrecondition)
			if got := status.Convert(err).Message(); !strings.Contains(got, want) {
				t.Errorf("message %q, want %q", got, want)
			}
		})
	}
	c := must[*containerpb.Cluster](t)(w.GetCluster(ctx, &containerpb.GetClusterRequest{Name: clusterPath}))
	if c.GetStatus() != containerpb.Cluster_RECONCILING {
		t.Errorf("cluster is %s, want RECONCILING", c.GetStatus())
	}
}

func TestForeignOperationBlocksUntilItIsDone(t *testing.T) {
	w := start(t, gkeemu.Options{})
	name, done, err := w.srv.StartForeignOperation(clusterPath, containerpb.Operation_UPGRADE_MASTER)
	if err != nil {
		t.Fatal(err)
	}
	for _, parent := range []string{"projects/p/locations/europe-west1", "projects/p/locations/-"} {
		list := must[*containerpb.ListOperationsResponse](t)(w.ListOperations(t.Context(), &containerpb.ListOperationsRequest{Parent: parent}))
		if ops := list.GetOperations(); len(ops) != 1 || ops[0].GetName() != name || ops[0].GetStatus() != containerpb.Operation_RUNNING {
			t.Errorf("operations of %s: %v", parent, ops)
		}
	}
	elsewhere := must[*containerpb.ListOperationsResponse](t)(w.ListOperations(t.Context(), &containerpb.ListOperationsRequest{Parent: "projects/p/locations/europe-west2"}))
	if len(elsewhere.GetOperations()) != 0 {
		t.Errorf("operations elsewhere: %v", elsewhere.GetOperations())
	}
	_, err = w.delete(t.Context(), oldPath)
	wantCode(t, err, codes.FailedPrecondition)
	if !strings.Contains(err.Error(), name+" is currently upgrading cluster cluster-1.") {
		t.Error(err)
	}
	if _, _, err := w.srv.StartForeignOperation(clusterPath, containerpb.Operation_UPGRADE_NODES); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("second foreign operation: %v", err)
	}
	done()
	op := must[*containerpb.Operation](t)(w.autoscale(t.Context(), &containerpb.NodePoolAutoscaling{}))
	done() // must not end the operation that came after
	w.done(t, op)
}

func TestDeletedPoolTakesItsNodesAndPods(t *testing.T) {
	w := start(t, gkeemu.Options{})
	w.done(t, must[*containerpb.Operation](t)(w.create(t.Context(), &containerpb.NodePool{Name: "blue", InitialNodeCount: 1})))
	old, blue := w.nodes(t, "default-pool")[0].Name, w.nodes(t, "blue")[0].Name
	controller := func(kind string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{Kind: kind, Name: "owner", Controller: proto.Bool(true)}}
	}
	for _, pod := range []*corev1.Pod{
		{ObjectMeta: metav1.ObjectMeta{Name: "bare"}, Spec: corev1.PodSpec{NodeName: old}},
		{ObjectMeta: metav1.ObjectMeta{Name: "replica", OwnerReferences: controller("ReplicaSet")}, Spec: corev1.PodSpec{NodeName: old}},
		{ObjectMeta: metav1.ObjectMeta{Name: "daemon", OwnerReferences: controller("DaemonSet")}, Spec: corev1.PodSpec{NodeName: old}},
		{ObjectMeta: metav1.ObjectMeta{Name: "mirror", Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"}}, Spec: corev1.PodSpec{NodeName: old}},
		{ObjectMeta: metav1.ObjectMeta{Name: "finished"}, Spec: corev1.PodSpec{NodeName: old}, Status: corev1.PodStatus{Phase: corev1.PodSucceeded}},
		{ObjectMeta: metav1.ObjectMeta{Name: "moved"}, Spec: corev1.PodSpec{NodeName: blue}},
		{ObjectMeta: metav1.ObjectMeta{Name: "pending"}},
	} {
		must[*corev1.Pod](t)(w.kube.CoreV1().Pods("shop").Create(t.Context(), pod, metav1.CreateOptions{}))
	}

	op := must[*containerpb.Operation](t)(w.delete(t.Context(), oldPath))
	if op.GetOperationType() != containerpb.Operation_DELETE_NODE_POOL {
		t.Errorf("operation type %s", op.GetOperationType())
	}
	if done := w.done(t, op); done.GetError() != nil {
		t.Fatalf("operation failed: %v", done.GetError())
	}
	_, err := w.GetNodePool(t.Context(), &containerpb.GetNodePoolRequest{Name: oldPath})
	wantCode(t, err, codes.NotFound)
	if got, kept := len(w.nodes(t, "default-pool")), len(w.nodes(t, "blue")); got != 0 || kept != 3 {
		t.Errorf("%d old nodes left, %d others kept; want 0 and 3", got, kept)
	}
	var left []string
	for _, pod := range must[*corev1.PodList](t)(w.kube.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})).Items {
		left = append(left, pod.Name)
	}
	if diff := cmp.Diff([]string{"moved", "pending"}, left); diff != "" {
		t.Errorf("pods left (-want +got):\n%s", diff)
	}
	killed := map[string]string{}
	for _, k := range w.srv.PodsKilled() {
		killed[k.Namespace+"/"+k.Name] = k.Node
	}
	if diff := cmp.Diff(map[string]string{"shop/bare": old, "shop/replica": old}, killed); diff != "" {
		t.Errorf("pods killed (-want +got):\n%s", diff)
	}
}

func TestAutoscalingIsStoredWhenItsOperationIsDone(t *testing.T) {
	w := start(t, gkeemu.Options{})
	want := &containerpb.NodePoolAutoscaling{Enabled: true, MinNodeCount: 1, MaxNodeCount: 5, LocationPolicy: containerpb.NodePoolAutoscaling_BALANCED}
	w.done(t, must[*containerpb.Operation](t)(w.autoscale(t.Context(), want)))
	if got := w.pool(t, "default-pool").GetAutoscaling(); !proto.Equal(got, want) {
		t.Errorf("autoscaling %v, want %v", got, want)
	}
	for _, wrong := range []*containerpb.NodePoolAutoscaling{nil, {Enabled: true}, {Enabled: true, TotalMinNodeCount: 4, TotalMaxNodeCount: 3}} {
		_, err := w.autoscale(t.Context(), wrong)
		wantCode(t, err, codes.InvalidArgument)
	}
}

func TestFaultRefusesSoManyCalls(t *testing.T) {
	w := start(t, gkeemu.Options{})
	w.srv.Inject(gkeemu.Fault{Method: "CreateNodePool", Times: 2, Error: status.Error(codes.ResourceExhausted, "Quota exceeded.")})
	for range 2 {
		_, err := w.create(t.Context(), &containerpb.NodePool{Name: "blue"})
		wantCode(t, err, codes.ResourceExhausted)
	}
	w.pool(t, "default-pool") // not another method's fault
	must[*containerpb.Operation](t)(w.create(t.Context(), &containerpb.NodePool{Name: "blue"}))
}

func TestFaultWithoutTimesLastsUntilCleared(t *testing.T) {
	w := start(t, gkeemu.Options{})
	w.srv.Inject(gkeemu.Fault{Error: status.Error(codes.PermissionDenied, "no")})
	for range 3 {
		_, err := w.GetNodePool(t.Context(), &containerpb.GetNodePoolRequest{Name: oldPath})
		wantCode(t, err, codes.PermissionDenied)
	}
	w.srv.ClearFaults()
	w.pool(t, "default-pool")
}

func TestLostResponseHasItsEffect(t *testing.T) {
	w := start(t, gkeemu.Options{})
	w.srv.Inject(gkeemu.Fault{Method: "CreateNodePool", Times: 1, LoseResponse: true})
	_, err := w.create(t.Context(), &containerpb.NodePool{Name: "blue", InitialNodeCount: 1})
	wantCode(t, err, codes.Unavailable)
	list := must[*containerpb.ListOperationsResponse](t)(w.ListOperations(t.Context(), &containerpb.ListOperationsRequest{Parent: "projects/p/locations/europe-west1"}))
	if len(list.GetOperations()) != 1 {
		t.Fatalf("operations %v, want one", list.GetOperations())
	}
	w.done(t, list.GetOperations()[0])
	if got := w.pool(t, "blue").GetStatus(); got != containerpb.NodePool_RUNNING {
		t.Errorf("pool is %s", got)
	}
}

func TestOperationEndsWithItsError(t *testing.T) {
	stockout := &rpcstatus.Status{Code: int32(codes.ResourceExhausted), Message: "The zone does not have enough resources available to fulfill the request."}
	for _, tt := range []struct {
		name       string
		nodes      int
		begin      func(world, context.Context) (*containerpb.Operation, error)
		wantStatus containerpb.NodePool_Status
		wantNodes  int
	}{
		{"creation without a node", 0, createBlue, containerpb.NodePool_ERROR, 0},
		{"creation with some nodes", 2, createBlue, containerpb.NodePool_RUNNING_WITH_ERROR, 2},
		{"creation with all nodes", 3, createBlue, containerpb.NodePool_RUNNING_WITH_ERROR, 3},
		{"deletion half-way", 1, deleteOld, containerpb.NodePool_RUNNING_WITH_ERROR, 2},
		{"deletion at its end", 3, deleteOld, containerpb.NodePool_ERROR, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t, gkeemu.Options{})
			w.srv.Inject(gkeemu.Fault{Times: 1, OperationError: stockout, NodesBeforeError: tt.nodes})
			op := must[*containerpb.Operation](t)(tt.begin(w, t.Context()))
			if done := w.done(t, op); !proto.Equal(done.GetError(), stockout) {
				t.Errorf("operation's error %v, want %v", done.GetError(), stockout)
			}
			name := op.GetTargetLink()[strings.LastIndex(op.GetTargetLink(), "/")+1:]
			pool := w.pool(t, name)
			if pool.GetStatus() != tt.wantStatus || len(pool.GetConditions()) != 1 || pool.GetConditions()[0].GetMessage() != stockout.GetMessage() {
				t.Errorf("pool is %s, conditions %v; want %s", pool.GetStatus(), pool.GetConditions(), tt.wantStatus)
			}
			if got := len(w.nodes(t, name)); got != tt.wantNodes {
				t.Errorf("%d nodes, want %d", got, tt.wantNodes)
			}
			w.done(t, must[*containerpb.Operation](t)(w.delete(t.Context(), clusterPath+"/nodePools/"+name)))
		})
	}
}

func TestOperationFailsWithTheKubernetesAPI(t *testing.T) {
	w := start(t, gkeemu.Options{})
	made := 0
	w.kube.PrependReactor("create", "nodes", func(k8stesting.Action) (bool, runtime.Object, error) {
		made++
		return made > 1, nil, errors.New("the API is away")
	})
	done := w.done(t, must[*containerpb.Operation](t)(createBlue(w, t.Context())))
	if got := done.GetError(); codes.Code(got.GetCode()) != codes.Internal || !strings.Contains(got.GetMessage(), "the API is away") {
		t.Errorf("operation's error %v", got)
	}
	if got := w.pool(t, "blue").GetStatus(); got != containerpb.NodePool_RUNNING_WITH_ERROR {
		t.Errorf("pool is %s, want RUNNING_WITH_ERROR", got)
	}
}

func createBlue(w world, ctx context.Context) (*containerpb.Operation, error) {
	return w.create(ctx, &containerpb.NodePool{Name: "blue", InitialNodeCount: 1})
}

func deleteOld(w world, ctx context.Context) (*containerpb.Operation, error) {
	return w.delete(ctx, oldPath)
}

func TestFailedAutoscalingStaysAsItWas(t *testing.T) {
	w := start(t, gkeemu.Options{})
	w.srv.Inject(gkeemu.Fault{Method: "SetNodePoolAutoscaling", OperationError: &rpcstatus.Status{Code: int32(codes.Internal), Message: "Internal error."}})
	done := w.done(t, must[*containerpb.Operation](t)(w.autoscale(t.Context(), &containerpb.NodePoolAutoscaling{Enabled: true, MaxNodeCount: 3})))
	if done.GetError().GetMessage() != "Internal error." || w.pool(t, "default-pool").GetAutoscaling().GetEnabled() {
		t.Errorf("error %v, autoscaling %v", done.GetError(), w.pool(t, "default-pool").GetAutoscaling())
	}
}

func TestNodesThatNeverBecomeReady(t *testing.T) {
	w := start(t, gkeemu.Options{})
	w.srv.Inject(gkeemu.Fault{Method: "CreateNodePool", NodesNeverReady: true})
	w.done(t, must[*containerpb.Operation](t)(w.create(t.Context(), &containerpb.NodePool{Name: "blue", InitialNodeCount: 1})))
	nodes := w.nodes(t, "blue")
	for _, n := range nodes {
		if got := n.Annotations[lab.AnnotationStartUp]; got != lab.Never {
			t.Errorf("start-up %q, want %q", got, lab.Never)
		}
	}
	if len(nodes) != 3 {
		t.Errorf("%d nodes, want 3", len(nodes))
	}
}

func TestDelayTriesTheCallersPatience(t *testing.T) {
	w := start(t, gkeemu.Options{})
	w.srv.Inject(gkeemu.Fault{Method: "CreateNodePool", Delay: time.Hour})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := w.create(ctx, &containerpb.NodePool{Name: "blue"})
	wantCode(t, err, codes.DeadlineExceeded)
	if _, err := w.GetNodePool(t.Context(), &containerpb.GetNodePoolRequest{Name: clusterPath + "/nodePools/blue"}); status.Code(err) != codes.NotFound {
		t.Errorf("the delayed call had an effect: %v", err)
	}
}

func TestOperationDelayAddsToItsTime(t *testing.T) {
	w := start(t, gkeemu.Options{})
	w.srv.Inject(gkeemu.Fault{OperationDelay: 100 * time.Millisecond, Times: 1})
	begun := time.Now()
	w.done(t, must[*containerpb.Operation](t)(w.delete(t.Context(), oldPath)))
	if took := time.Since(begun); took < 100*time.Millisecond {
		t.Errorf("took %s, want at least 100ms", took)
	}
}
