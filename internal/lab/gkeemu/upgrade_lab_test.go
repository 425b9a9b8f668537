package gkeemu_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
	"github.com/upshift-k8s/upshift/internal/lab/observer"
	"github.com/upshift-k8s/upshift/internal/lab/testbed"
)

// brisk are machines that take no time, and a GKE that loses patience soon.
func brisk(forceAfter time.Duration) gkeemu.Timing {
	return gkeemu.Timing{UpdateNodePool: time.Millisecond, UpgradeNode: time.Millisecond, ForceAfter: forceAfter}
}

func (b bed) poolPath() string { return b.Path() + "/nodePools/" + testbed.Pool }

func (b bed) nodePool(t *testing.T) *containerpb.NodePool {
	t.Helper()
	return must[*containerpb.NodePool](t)(b.GetNodePool(t.Context(), &containerpb.GetNodePoolRequest{Name: b.poolPath()}))
}

func (b bed) updatePool(t *testing.T, req *containerpb.UpdateNodePoolRequest) *containerpb.Operation {
	t.Helper()
	req.Name = b.poolPath()
	return must[*containerpb.Operation](t)(b.UpdateNodePool(t.Context(), req))
}

func (b bed) cancelOperation(t *testing.T, op *containerpb.Operation) {
	t.Helper()
	if err := b.CancelOperation(t.Context(), &containerpb.CancelOperationRequest{Name: b.operationPath(op)}); err != nil {
		t.Fatal(err)
	}
}

// kubelets are how many Ready and schedulable nodes there are of each kubelet version.
func (b bed) kubelets(t *testing.T) string {
	t.Helper()
	counts := map[string]int{}
	for _, n := range must[*corev1.NodeList](t)(b.Kube.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})).Items {
		if isReady(&n) && !n.Spec.Unschedulable {
			counts[n.Status.NodeInfo.KubeletVersion]++
		}
	}
	return strings.TrimPrefix(fmt.Sprint(counts), "map")
}

// steady wants everything of the shop Ready, and nothing killed or without its PDB.
func (b bed) steady(t *testing.T, seen *observer.Observer) {
	t.Helper()
	if _, err := b.Kubectl(t.Context(), "", "rollout", "status", "deployment/web", "--timeout=60s"); err != nil {
		t.Error(err)
	}
	if report := seen.Stop(); len(report.Violations) > 0 {
		t.Errorf("violations of PDBs: %v", report.Violations)
	}
	if killed := b.srv.PodsKilled(); len(killed) > 0 {
		t.Errorf("pods killed: %v", killed)
	}
}

func (b bed) observe(t *testing.T) *observer.Observer {
	t.Helper()
	return must[*observer.Observer](t)(observer.Start(t.Context(), b.Kube))
}

func TestSurgeUpgradeOnARealControlPlane(t *testing.T) {
	b := startBed(t, testbed.Options{NodeStartUp: "500ms", Timing: brisk(0)})
	if err := b.Deploy(t.Context(), shop); err != nil {
		t.Fatal(err)
	}
	seen := b.observe(t)
	op := b.over(t, b.updatePool(t, &containerpb.UpdateNodePoolRequest{NodeVersion: master}))
	if got := metrics(op); got != "nodes done 3, nodes total 3" {
		t.Errorf("progress %s", got)
	}
	if got := b.kubelets(t); got != "[v"+master+":3]" {
		t.Errorf("nodes %s", got)
	}
	if pool := b.nodePool(t); pool.GetVersion() != master || pool.GetStatus() != containerpb.NodePool_RUNNING {
		t.Errorf("pool is %s at %s", pool.GetStatus(), pool.GetVersion())
	}
	b.steady(t, seen)
}

// blocked is a workload of which no pod may be evicted, and a bare pod that may.
const blocked = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: stuck}
spec:
  replicas: 1
  selector: {matchLabels: {app: stuck}}
  template:
    metadata: {labels: {app: stuck}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: stuck, image: stuck}]
      affinity: # one on a node
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
          - {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: stuck}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: stuck}
spec:
  maxUnavailable: 0
  selector: {matchLabels: {app: stuck}}
---
apiVersion: v1
kind: Pod
metadata: {name: bare, annotations: {lab.upshift.dev/stop: 0s}}
spec: {containers: [{name: bare, image: bare}]}
`

// GKE respects a PDB for so long and no longer, and a pod's own time to stop for so long.
func TestGKELosesPatience(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config *containerpb.NodePool_NodeDrainConfig
		timing gkeemu.Timing
		allows string
		grace  string
		want   string
	}{
		{"with a PDB", nil, brisk(2 * time.Second), "0", "1", "its eviction was refused for 2s: Cannot evict pod as it would violate the pod's disruption budget."},
		{"with a PDB, by the pool's settings", &containerpb.NodePool_NodeDrainConfig{PdbTimeoutDuration: durationpb.New(time.Second)}, brisk(0), "0", "1", "its eviction was refused for 1s: "},
		{"with a pod", &containerpb.NodePool_NodeDrainConfig{GraceTerminationDuration: durationpb.New(time.Second)}, brisk(0), "1", "30", "it had not stopped 1s after its eviction"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := startBed(t, testbed.Options{Location: testbed.Zone, NodeStartUp: "0s", Timing: tt.timing})
			manifests := strings.NewReplacer("maxUnavailable: 0", "maxUnavailable: "+tt.allows, "GracePeriodSeconds: 1", "GracePeriodSeconds: "+tt.grace).Replace(blocked)
			if err := b.Deploy(t.Context(), manifests); err != nil {
				t.Fatal(err)
			}
			if tt.config != nil {
				b.over(t, b.updatePool(t, &containerpb.UpdateNodePoolRequest{NodeDrainConfig: tt.config}))
			}
			begun := time.Now()
			b.over(t, b.updatePool(t, &containerpb.UpdateNodePoolRequest{NodeVersion: master}))
			killed := b.srv.PodsKilled()
			if len(killed) != 1 || !strings.HasPrefix(killed[0].Name, "stuck-") || !strings.HasPrefix(killed[0].Reason, tt.want) {
				t.Fatalf("pods killed %+v, want one because %s", killed, tt.want)
			}
			if at := killed[0].Time.Sub(begun); at < time.Second {
				t.Errorf("killed after %s", at)
			}
			if got := b.kubelets(t); got != "[v"+master+":1]" {
				t.Errorf("nodes %s", got)
			}
		})
	}
}

// The node that is being drained is gone through with, the others are left alone, until the upgrade goes on or back.
func TestCancelledUpgradeOnARealControlPlane(t *testing.T) {
	b := startBed(t, testbed.Options{Location: testbed.Zone, NodeCount: 3, NodeStartUp: "0s", Timing: brisk(3 * time.Second)})
	if err := b.Deploy(t.Context(), shop+"---"+strings.Replace(blocked, "replicas: 1", "replicas: 3", 1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	op := b.updatePool(t, &containerpb.UpdateNodePoolRequest{NodeVersion: master})
	for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
		if list := must[*corev1.NodeList](t)(b.Kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{FieldSelector: "spec.unschedulable=true"})); len(list.Items) == 1 {
			break
		}
	}
	b.cancelOperation(t, op)
	if op := must[*containerpb.Operation](t)(b.GetOperation(ctx, &containerpb.GetOperationRequest{Name: b.operationPath(op)})); op.GetStatus() != containerpb.Operation_ABORTING {
		t.Errorf("operation is %s, want ABORTING", op.GetStatus())
	}
	if got := metrics(b.over(t, op)); got != "nodes done 1, nodes total 3" {
		t.Errorf("progress %s", got)
	}
	half := "[v" + older + ":2 v" + master + ":1]"
	if got := b.kubelets(t); got != half {
		t.Errorf("cancelled: nodes %s, want %s", got, half)
	}
	if pool := b.nodePool(t); pool.GetVersion() != older || pool.GetStatus() != containerpb.NodePool_RUNNING {
		t.Errorf("cancelled: pool is %s at %s", pool.GetStatus(), pool.GetVersion())
	}

	back := must[*containerpb.Operation](t)(b.RollbackNodePoolUpgrade(ctx, &containerpb.RollbackNodePoolUpgradeRequest{Name: b.poolPath()}))
	before := len(b.srv.PodsKilled())
	b.over(t, back)
	if got := b.kubelets(t); got != "[v"+older+":3]" {
		t.Errorf("rolled back: nodes %s", got)
	}
	if killed := b.srv.PodsKilled()[before:]; len(killed) > 0 {
		t.Errorf("a rollback without respect for PDBs killed %v", killed)
	}

	b.over(t, b.updatePool(t, &containerpb.UpdateNodePoolRequest{NodeVersion: master}))
	if got := b.kubelets(t); got != "[v"+master+":3]" {
		t.Errorf("upgraded in the end: nodes %s", got)
	}
}

func TestBlueGreenUpgradeOnARealControlPlane(t *testing.T) {
	b := startBed(t, testbed.Options{NodeStartUp: "500ms", Timing: brisk(0)})
	if err := b.Deploy(t.Context(), shop); err != nil {
		t.Fatal(err)
	}
	seen := b.observe(t)
	settings := batches(0, 2, time.Hour)
	settings.GetStandardRolloutPolicy().BatchSoakDuration = durationpb.New(time.Second)
	b.over(t, b.updatePool(t, &containerpb.UpdateNodePoolRequest{UpgradeSettings: blueGreen(settings)}))
	op := b.updatePool(t, &containerpb.UpdateNodePoolRequest{NodeVersion: master})
	b.untilPhase(t, draining)
	b.untilPhase(t, soaking)
	if got := b.kubelets(t); got != "[v"+master+":3]" {
		t.Errorf("soaking: nodes for new pods %s", got)
	}

	// Back while it soaks, to nodes that have been there all the time.
	b.cancelOperation(t, op)
	b.over(t, op)
	b.over(t, must[*containerpb.Operation](t)(b.RollbackNodePoolUpgrade(t.Context(), &containerpb.RollbackNodePoolUpgradeRequest{Name: b.poolPath(), RespectPdb: true})))
	if got := b.kubelets(t); got != "[v"+older+":3]" {
		t.Errorf("rolled back: nodes %s", got)
	}

	// And the whole way.
	op = b.updatePool(t, &containerpb.UpdateNodePoolRequest{NodeVersion: master})
	b.untilPhase(t, soaking)
	if err := b.CompleteNodePoolUpgrade(t.Context(), &containerpb.CompleteNodePoolUpgradeRequest{Name: b.poolPath()}); err != nil {
		t.Fatal(err)
	}
	b.over(t, op)
	if got := b.kubelets(t); got != "[v"+master+":3]" {
		t.Errorf("complete: nodes %s", got)
	}
	if pool := b.nodePool(t); pool.GetName() != testbed.Pool || pool.GetVersion() != master || pool.GetUpdateInfo() != nil {
		t.Errorf("pool %s is at %s, %v", pool.GetName(), pool.GetVersion(), pool.GetUpdateInfo())
	}
	wantCode(t, b.CompleteNodePoolUpgrade(t.Context(), &containerpb.CompleteNodePoolUpgradeRequest{Name: b.poolPath()}), codes.FailedPrecondition)
	b.steady(t, seen)
}

func (b bed) untilPhase(t *testing.T, want containerpb.NodePool_UpdateInfo_BlueGreenInfo_Phase) {
	t.Helper()
	deadline := time.After(time.Minute)
	for tick := time.NewTicker(20 * time.Millisecond); b.nodePool(t).GetUpdateInfo().GetBlueGreenInfo().GetPhase() != want; {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never in phase %s", want)
		}
	}
}
