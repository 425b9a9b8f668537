package scenario

import (
	"context"
	"strconv"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"github.com/rogpeppe/go-internal/testscript"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
	"github.com/upshift-k8s/upshift/internal/lab/testbed"
)

// faults are what can go wrong with a call.
func faults() map[string]gkeemu.Fault {
	quota := &rpcstatus.Status{Code: int32(codes.ResourceExhausted), Message: "Insufficient regional quota to satisfy request: resource \"CPUS\"."}
	return map[string]gkeemu.Fault{
		"refused":     {Error: status.Error(codes.PermissionDenied, "the caller does not have permission")},
		"lost":        {LoseResponse: true},
		"slow":        {OperationDelay: 25 * time.Second},
		"never-ready": {NodesNeverReady: true},
		"quota":       {OperationError: quota, NodesBeforeError: 1},
		"no-quota":    {OperationError: quota},
		"stock-out": {NodesBeforeError: 2, OperationError: &rpcstatus.Status{
			Code:    int32(codes.ResourceExhausted),
			Message: "Google Compute Engine: The zone 'projects/demo/zones/europe-west1-d' does not have enough resources available to fulfill the request (ZONE_RESOURCE_POOL_EXHAUSTED).",
		}},
		"ip-exhausted": {OperationError: &rpcstatus.Status{
			Code:    int32(codes.ResourceExhausted),
			Message: "Google Compute Engine: IP space of 'projects/demo/regions/europe-west1/subnetworks/default-pods' is exhausted (IP_SPACE_EXHAUSTED_WITH_DETAILS).",
		}},
		"broken": {OperationError: &rpcstatus.Status{Code: int32(codes.Internal), Message: "Internal error."}, NodesBeforeError: 1},
	}
}

// faulty are the calls that can go wrong. Those that upgrade nodes and those that change a pool's settings are one method.
func faulty() map[string]gkeemu.Fault {
	upgrades := func(m proto.Message) bool { return m.(*containerpb.UpdateNodePoolRequest).GetNodeVersion() != "" }
	return map[string]gkeemu.Fault{
		"create-pool":           {Method: "CreateNodePool"},
		"delete-pool":           {Method: "DeleteNodePool"},
		"upgrade-control-plane": {Method: "UpdateMaster"},
		"upgrade-nodes":         {Method: "UpdateNodePool", Fits: upgrades},
		"update-pool":           {Method: "UpdateNodePool", Fits: func(m proto.Message) bool { return !upgrades(m) }},
		"cancel":                {Method: "CancelOperation"},
		"complete":              {Method: "CompleteNodePoolUpgrade"},
		"roll-back":             {Method: "RollbackNodePoolUpgrade"},
	}
}

// fault: "fault FAULT [CALL [TIMES]]" is one of faults, of one of faulty (create-pool), so many times (always); "fault none" ends those there are.
func fault(ts *testscript.TestScript, _ bool, args []string) {
	if args[0] == "none" {
		Of(ts).GKE.ClearFaults()
		return
	}
	f, ok := faults()[args[0]]
	call, times := "create-pool", 0
	if len(args) > 1 {
		call = args[1]
	}
	if len(args) > 2 {
		var err error
		times, err = strconv.Atoi(args[2])
		ts.Check(err)
	}
	of, known := faulty()[call]
	if !ok || !known {
		ts.Fatalf("unknown fault %s of %s", args[0], call)
	}
	f.Method, f.Fits, f.Times = of.Method, of.Fits, times
	Of(ts).GKE.Inject(f)
}

// autoUpgrade: "autoupgrade POOL VERSION" has GKE itself begin to upgrade a pool, or the control plane as "control-plane".
func autoUpgrade(ts *testscript.TestScript, _ bool, args []string) {
	w := Of(ts)
	path := w.Bed.Path()
	if args[0] != "control-plane" {
		path = poolPath(w.Bed, args[0])
	}
	_, err := w.GKE.StartAutoUpgrade(path, args[1])
	ts.Check(err)
}

// idle waits until no operation is under way.
func idle(ts *testscript.TestScript, _ bool, _ []string) {
	awaitGKE(ts, "no operation is under way", func(ctx context.Context) (bool, error) {
		op, err := underWay(ctx, Of(ts).Bed)
		return op == nil, err
	})
}

// progress: "progress N" waits until the operation under way is done with N nodes, or more.
func progress(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	awaitGKE(ts, args[0]+" nodes are done", func(ctx context.Context) (bool, error) {
		op, err := underWay(ctx, Of(ts).Bed)
		for _, m := range op.GetProgress().GetMetrics() {
			if m.GetName() == "nodes done" && m.GetIntValue() >= want {
				return true, nil
			}
		}
		return false, err
	})
}

// phase: "phase POOL PHASE" waits for a phase of a blue-green upgrade.
func phase(ts *testscript.TestScript, _ bool, args []string) {
	bed := Of(ts).Bed
	awaitGKE(ts, args[0]+" is in phase "+args[1], func(ctx context.Context) (bool, error) {
		pool, err := bed.Cloud.GetNodePool(ctx, &containerpb.GetNodePoolRequest{Name: poolPath(bed, args[0])})
		return pool.GetUpdateInfo().GetBlueGreenInfo().GetPhase().String() == args[1], err
	})
}

// cancels: "cancels" has people cancel the operation under way.
func cancels(ts *testscript.TestScript, _ bool, _ []string) {
	bed := Of(ts).Bed
	op, err := underWay(context.Background(), bed)
	ts.Check(err)
	if op == nil {
		ts.Fatalf("no operation is under way")
	}
	_, err = bed.Cloud.CancelOperation(context.Background(), &containerpb.CancelOperationRequest{Name: parent(bed) + "/operations/" + op.GetName()})
	ts.Check(err)
}

// completes: "completes POOL" has people end the soaking of a blue-green upgrade.
func completes(ts *testscript.TestScript, _ bool, args []string) {
	bed := Of(ts).Bed
	_, err := bed.Cloud.CompleteNodePoolUpgrade(context.Background(), &containerpb.CompleteNodePoolUpgradeRequest{Name: poolPath(bed, args[0])})
	ts.Check(err)
}

// rollsBack: "rolls-back POOL" has people roll an upgrade back.
func rollsBack(ts *testscript.TestScript, _ bool, args []string) {
	bed := Of(ts).Bed
	_, err := bed.Cloud.RollbackNodePoolUpgrade(context.Background(), &containerpb.RollbackNodePoolUpgradeRequest{Name: poolPath(bed, args[0]), RespectPdb: true})
	ts.Check(err)
}

func parent(bed *testbed.Testbed) string {
	return "projects/" + testbed.Project + "/locations/" + bed.Location
}

func poolPath(bed *testbed.Testbed, pool string) string { return bed.Path() + "/nodePools/" + pool }

// underWay is the operation that changes the cluster, or nil.
func underWay(ctx context.Context, bed *testbed.Testbed) (*containerpb.Operation, error) {
	list, err := bed.Cloud.ListOperations(ctx, &containerpb.ListOperationsRequest{Parent: parent(bed)})
	for _, op := range list.GetOperations() {
		if op.GetStatus() != containerpb.Operation_DONE {
			return op, nil
		}
	}
	return nil, err
}

// awaitGKE waits up to two minutes; GKE has no watch.
func awaitGKE(ts *testscript.TestScript, what string, is func(context.Context) (bool, error)) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := is(ctx)
		if ctx.Err() != nil {
			ts.Fatalf("not so after two minutes: %s", what)
		}
		ts.Check(err)
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}
