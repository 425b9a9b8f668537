package gkeemu_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
)

func (w world) update(ctx context.Context, req *containerpb.UpdateNodePoolRequest) (*containerpb.Operation, error) {
	req.Name = oldPath
	return w.UpdateNodePool(ctx, req)
}

func (w world) upgrade(ctx context.Context, version string) (*containerpb.Operation, error) {
	return w.update(ctx, &containerpb.UpdateNodePoolRequest{NodeVersion: version})
}

func (w world) cancelUpgrade(ctx context.Context, op *containerpb.Operation) error {
	return w.CancelOperation(ctx, &containerpb.CancelOperationRequest{Name: "projects/p/locations/europe-west1/operations/" + op.GetName()})
}

func (w world) rollBack(ctx context.Context) (*containerpb.Operation, error) {
	return w.RollbackNodePoolUpgrade(ctx, &containerpb.RollbackNodePoolUpgradeRequest{Name: oldPath, RespectPdb: true})
}

// configure sets the pool's upgrade settings.
func (w world) configure(t *testing.T, s *containerpb.NodePool_UpgradeSettings) {
	t.Helper()
	w.done(t, must[*containerpb.Operation](t)(w.update(t.Context(), &containerpb.UpdateNodePoolRequest{UpgradeSettings: s})))
}

func surge(surge, unavailable int32) *containerpb.NodePool_UpgradeSettings {
	return &containerpb.NodePool_UpgradeSettings{MaxSurge: surge, MaxUnavailable: unavailable}
}

func blueGreen(s *containerpb.BlueGreenSettings) *containerpb.NodePool_UpgradeSettings {
	return &containerpb.NodePool_UpgradeSettings{Strategy: containerpb.NodePoolUpdateStrategy_BLUE_GREEN.Enum(), BlueGreenSettings: s}
}

func batches(size float32, count int32, soak time.Duration) *containerpb.BlueGreenSettings {
	policy := &containerpb.BlueGreenSettings_StandardRolloutPolicy{
		UpdateBatchSize: &containerpb.BlueGreenSettings_StandardRolloutPolicy_BatchNodeCount{BatchNodeCount: count},
	}
	if size != 0 {
		policy.UpdateBatchSize = &containerpb.BlueGreenSettings_StandardRolloutPolicy_BatchPercentage{BatchPercentage: size}
	}
	return &containerpb.BlueGreenSettings{
		RolloutPolicy:        &containerpb.BlueGreenSettings_StandardRolloutPolicy_{StandardRolloutPolicy: policy},
		NodePoolSoakDuration: durationpb.New(soak),
	}
}

func TestUpgradeSettingsAreStoredWhenTheirOperationIsDone(t *testing.T) {
	w := start(t, gkeemu.Options{Timing: gkeemu.Timing{UpdateNodePool: 50 * time.Millisecond}})
	before := w.pool(t, "default-pool").GetUpgradeSettings()
	if before.GetStrategy() != containerpb.NodePoolUpdateStrategy_SURGE || before.GetMaxSurge() != 1 {
		t.Errorf("settings to begin with: %v", before)
	}
	drain := &containerpb.NodePool_NodeDrainConfig{PdbTimeoutDuration: durationpb.New(30 * time.Minute)}
	op := must[*containerpb.Operation](t)(w.update(t.Context(), &containerpb.UpdateNodePoolRequest{UpgradeSettings: surge(2, 1), NodeDrainConfig: drain}))
	if op.GetOperationType() != containerpb.Operation_UPDATE_CLUSTER || !strings.HasSuffix(op.GetTargetLink(), "/nodePools/default-pool") {
		t.Errorf("operation %v", op)
	}
	if got := w.pool(t, "default-pool").GetUpgradeSettings(); !proto.Equal(got, before) {
		t.Errorf("settings while the operation is under way: %v", got)
	}
	w.done(t, op)
	want := surge(2, 1)
	want.Strategy = containerpb.NodePoolUpdateStrategy_SURGE.Enum()
	if pool := w.pool(t, "default-pool"); !proto.Equal(pool.GetUpgradeSettings(), want) || !proto.Equal(pool.GetNodeDrainConfig(), drain) {
		t.Errorf("settings %v, %v", pool.GetUpgradeSettings(), pool.GetNodeDrainConfig())
	}
}

func TestBlueGreenSettingsHaveGKEsDefaults(t *testing.T) {
	w := start(t, gkeemu.Options{})
	w.configure(t, blueGreen(nil))
	s := w.pool(t, "default-pool").GetUpgradeSettings().GetBlueGreenSettings()
	policy := s.GetStandardRolloutPolicy()
	if policy.GetBatchNodeCount() != 1 || policy.BatchSoakDuration == nil || policy.GetBatchSoakDuration().AsDuration() != 0 || s.GetNodePoolSoakDuration().AsDuration() != time.Hour {
		t.Errorf("settings %v", s)
	}
}

func TestUpdatesOfAPoolThatGKERefuses(t *testing.T) {
	w := start(t, gkeemu.Options{})
	settings := func(s *containerpb.NodePool_UpgradeSettings) *containerpb.UpdateNodePoolRequest {
		return &containerpb.UpdateNodePoolRequest{UpgradeSettings: s}
	}
	soak := batches(0, 1, 8*24*time.Hour)
	for _, tt := range []struct {
		name string
		req  *containerpb.UpdateNodePoolRequest
		code codes.Code
		want string
	}{
		{"nothing", &containerpb.UpdateNodePoolRequest{}, codes.InvalidArgument, "At least one field"},
		{"no node at once", settings(surge(0, 0)), codes.InvalidArgument, "their sum must be from 1 to 20"},
		{"too many at once", settings(surge(20, 1)), codes.InvalidArgument, "max_surge 20 and max_unavailable 1"},
		{"negative", settings(surge(3, -1)), codes.InvalidArgument, "must not be negative"},
		{"no batch", settings(blueGreen(batches(0, 0, 0))), codes.InvalidArgument, "batch_node_count 0 must be at least 1"},
		{"more than all in a batch", settings(blueGreen(batches(1.5, 0, 0))), codes.InvalidArgument, "batch_percentage 1.5"},
		{"more than a week", settings(blueGreen(soak)), codes.InvalidArgument, "192h0m0s is not between"},
		{"autoscaled", settings(blueGreen(&containerpb.BlueGreenSettings{
			RolloutPolicy: &containerpb.BlueGreenSettings_AutoscaledRolloutPolicy_{AutoscaledRolloutPolicy: &containerpb.BlueGreenSettings_AutoscaledRolloutPolicy{}},
		})), codes.Unimplemented, "autoscaled"},
		{"negative timeout", &containerpb.UpdateNodePoolRequest{NodeDrainConfig: &containerpb.NodePool_NodeDrainConfig{PdbTimeoutDuration: durationpb.New(-1)}}, codes.InvalidArgument, "drain"},
		{"version that is not offered", &containerpb.UpdateNodePoolRequest{NodeVersion: "1.33.7-gke.1"}, codes.InvalidArgument, `"1.33.7-gke.1" is unsupported`},
		{"newer than the control plane", &containerpb.UpdateNodePoolRequest{NodeVersion: "1.35.1-gke.300"}, codes.InvalidArgument, "must not be greater than master version"},
		{"another etag", &containerpb.UpdateNodePoolRequest{NodeVersion: master, Etag: "other"}, codes.Aborted, "etag"},
		{"another image", &containerpb.UpdateNodePoolRequest{NodeVersion: master, ImageType: "UBUNTU_CONTAINERD"}, codes.Unimplemented, "image"},
		{"other fields", &containerpb.UpdateNodePoolRequest{NodeVersion: master, MachineType: "e2-standard-8", Locations: []string{"europe-west1-b"}}, codes.Unimplemented, "locations, machine_type"},
		{"two kinds of update", &containerpb.UpdateNodePoolRequest{NodeVersion: master, UpgradeSettings: surge(1, 0)}, codes.Unimplemented, "settings and a version"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := w.update(t.Context(), tt.req)
			wantCode(t, err, tt.code)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v does not say %q", err, tt.want)
			}
		})
	}
	if list := must[*containerpb.ListOperationsResponse](t)(w.ListOperations(t.Context(), &containerpb.ListOperationsRequest{Parent: "projects/p/locations/-"})); len(list.GetOperations()) > 0 {
		t.Errorf("operations %v", list.GetOperations())
	}
}

func TestPoolIsCreatedWithValidUpgradeSettings(t *testing.T) {
	w := start(t, gkeemu.Options{})
	_, err := w.create(t.Context(), &containerpb.NodePool{Name: "blue", UpgradeSettings: surge(0, 0)})
	wantCode(t, err, codes.InvalidArgument)
	must[*containerpb.Operation](t)(w.create(t.Context(), &containerpb.NodePool{Name: "blue", UpgradeSettings: blueGreen(nil)}))
	if got := w.pool(t, "blue").GetUpgradeSettings().GetBlueGreenSettings().GetStandardRolloutPolicy().GetBatchNodeCount(); got != 1 {
		t.Errorf("batches of %d nodes, want 1", got)
	}
}

func TestOnlyUpgradesOfNodesCanBeCancelled(t *testing.T) {
	w := start(t, gkeemu.Options{Timing: gkeemu.Timing{CreateNodePool: time.Hour}})
	op := must[*containerpb.Operation](t)(w.update(t.Context(), &containerpb.UpdateNodePoolRequest{UpgradeSettings: surge(1, 0)}))
	w.done(t, op)
	err := w.cancelUpgrade(t.Context(), op)
	wantCode(t, err, codes.FailedPrecondition)
	if err == nil || !strings.Contains(err.Error(), op.GetName()+" is done already") {
		t.Error(err)
	}
	op = must[*containerpb.Operation](t)(w.create(t.Context(), &containerpb.NodePool{Name: "blue"}))
	err = w.cancelUpgrade(t.Context(), op)
	wantCode(t, err, codes.FailedPrecondition)
	if err == nil || !strings.Contains(err.Error(), op.GetName()+" cannot be cancelled") {
		t.Error(err)
	}
	err = w.cancelUpgrade(t.Context(), &containerpb.Operation{Name: "operation-1-2"})
	wantCode(t, err, codes.NotFound)
}
