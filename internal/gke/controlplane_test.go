package gke

import (
	"errors"
	"testing"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

const older = "1.33.5-gke.1162000"

func TestAControlPlaneIsUpgraded(t *testing.T) {
	srv, p := emulateAt(t, older)
	operation, err := p.UpgradeControlPlane(t.Context(), target, time.Now())
	wait(t, p, operation, err)
	if v, err := p.ControlPlaneVersion(t.Context()); err != nil || v != target {
		t.Errorf("version %q, %v", v, err)
	}
	for _, version := range []string{target, older} { // there already, and older than what is there
		if again, err := p.UpgradeControlPlane(t.Context(), version, time.Now()); err != nil || again != "" {
			t.Errorf("%s: operation %q, %v", version, again, err)
		}
	}
	if n := len(srv.Calls("UpdateMaster")); n != 1 {
		t.Errorf("%d UpdateMaster calls, want 1", n)
	}
}

func TestAnUpgradeOfTheControlPlaneWhoseAnswerIsLostIsNotMadeTwice(t *testing.T) {
	srv, p := emulateAt(t, older)
	srv.Inject(gkeemu.Fault{Method: "UpdateMaster", Times: 1, LoseResponse: true, OperationDelay: 2 * time.Second})
	operation, err := p.UpgradeControlPlane(t.Context(), target, time.Now().Add(-time.Minute))
	wait(t, p, operation, err)
	if n := len(srv.Calls("UpdateMaster")); n != 1 || operation == "" {
		t.Errorf("%d UpdateMaster calls, want 1; operation %q", n, operation)
	}
}

func TestAnUpgradeOfTheControlPlaneThatIsDoneWithAnErrorHasFailed(t *testing.T) {
	srv, p := emulateAt(t, older)
	srv.Inject(gkeemu.Fault{Method: "UpdateMaster", OperationError: &rpcstatus.Status{Code: int32(codes.Internal), Message: "component upgrade failed"}})
	operation, err := p.UpgradeControlPlane(t.Context(), target, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(t.Context(), operation, func(string) {}); err == nil {
		t.Error("done is taken for success")
	}
}

func TestOnlyAnUpgradeOfTheControlPlaneTakesItsAPIAway(t *testing.T) {
	for kind, takes := range map[containerpb.Operation_Type]bool{containerpb.Operation_UPGRADE_MASTER: true, containerpb.Operation_UPDATE_CLUSTER: false} {
		srv, p := emulateAt(t, older)
		under, done, err := srv.StartForeignOperation(cluster1.String(), kind)
		if err != nil {
			t.Fatal(err)
		}
		if operation, err := p.UpgradingControlPlane(t.Context()); err != nil || (operation == under) != takes || (operation == "") == takes {
			t.Errorf("%s: %q of %s, %v", kind, operation, under, err)
		}
		done()
		if operation, err := p.UpgradingControlPlane(t.Context()); err != nil || operation != "" {
			t.Errorf("%s: %q is over, %v", kind, operation, err)
		}
	}
}

// TestWhoseUpgradeOfTheControlPlaneIsUnderWay: one that began since is our own; any other, and any other kind, is somebody else's.
func TestWhoseUpgradeOfTheControlPlaneIsUnderWay(t *testing.T) {
	for name, test := range map[string]struct {
		kind  containerpb.Operation_Type
		since time.Duration
		ours  bool
	}{
		"one that began since":   {containerpb.Operation_UPGRADE_MASTER, -time.Minute, true},
		"one that began before":  {containerpb.Operation_UPGRADE_MASTER, time.Minute, false},
		"an update that is none": {containerpb.Operation_UPDATE_CLUSTER, -time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			srv, p := emulateAt(t, older)
			under, done, err := srv.StartForeignOperation(cluster1.String(), test.kind)
			if err != nil {
				t.Fatal(err)
			}
			defer done()
			operation, err := p.UpgradeControlPlane(t.Context(), target, time.Now().Add(test.since))
			var busy *upgrade.Busy
			switch {
			case test.ours && (err != nil || operation != under):
				t.Errorf("operation %q, %v; want %s", operation, err, under)
			case !test.ours && (!errors.As(err, &busy) || busy.Operation != under):
				t.Errorf("operation %q, %v; want to be told of %s", operation, err, under)
			}
		})
	}
}

func TestWhatGKEWouldDoByItselfIsRead(t *testing.T) {
	got := autoUpgrade(&containerpb.ClusterUpgradeInfo{
		MinorTargetVersion: proto.String("1.35.1-gke.300"), PatchTargetVersion: proto.String("1.34.3-gke.1"),
		AutoUpgradeStatus:             []containerpb.ClusterUpgradeInfo_AutoUpgradeStatus{containerpb.ClusterUpgradeInfo_ACTIVE, containerpb.ClusterUpgradeInfo_MINOR_UPGRADE_PAUSED},
		PausedReason:                  []containerpb.ClusterUpgradeInfo_AutoUpgradePausedReason{containerpb.ClusterUpgradeInfo_MAINTENANCE_WINDOW},
		EndOfStandardSupportTimestamp: proto.String("2026-10-01T00:00:00Z"), EndOfExtendedSupportTimestamp: proto.String("soon"),
	})
	want := upgrade.AutoUpgrade{
		Minor: "1.35.1-gke.300", Patch: "1.34.3-gke.1", Status: []string{"active", "minor upgrade paused"}, Paused: []string{"maintenance window"},
		EndOfStandard: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	_, p := emulateAt(t, older)
	c, err := p.Cluster(t.Context())
	if err != nil || c.Unread[upgrade.ReadAutoUpgrade] != "" {
		t.Errorf("unread: %q, %v", c.Unread[upgrade.ReadAutoUpgrade], err)
	}
}
