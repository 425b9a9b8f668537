package gke

import (
	"errors"
	"testing"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// TestUpgradeSettingsComeBackExactly: whatever a pool has, what is recorded of it is what it gets back.
func TestUpgradeSettingsComeBackExactly(t *testing.T) {
	blueGreen := &containerpb.NodePool{
		UpgradeSettings: &containerpb.NodePool_UpgradeSettings{
			Strategy: containerpb.NodePoolUpdateStrategy_BLUE_GREEN.Enum(),
			BlueGreenSettings: &containerpb.BlueGreenSettings{
				RolloutPolicy: &containerpb.BlueGreenSettings_StandardRolloutPolicy_{StandardRolloutPolicy: &containerpb.BlueGreenSettings_StandardRolloutPolicy{
					UpdateBatchSize:   &containerpb.BlueGreenSettings_StandardRolloutPolicy_BatchPercentage{BatchPercentage: 0.25},
					BatchSoakDuration: durationpb.New(time.Minute),
				}},
				NodePoolSoakDuration: durationpb.New(time.Hour),
			},
		},
		NodeDrainConfig: &containerpb.NodePool_NodeDrainConfig{GraceTerminationDuration: durationpb.New(time.Minute), PdbTimeoutDuration: durationpb.New(5 * time.Minute)},
	}
	for name, np := range map[string]*containerpb.NodePool{
		"nothing": {}, "surge": {UpgradeSettings: &containerpb.NodePool_UpgradeSettings{MaxSurge: 2, MaxUnavailable: 1}}, "blue-green": blueGreen,
	} {
		has := upgradeSettings(np)
		recorded, err := readUpgrade(cluster1, np)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []upgrade.Settings{
			{Strategy: upgrade.Rolling, MaxSurge: 4, PDBTimeout: upgrade.Seconds(time.Minute)}, {Strategy: upgrade.BlueGreen, Soak: upgrade.Seconds(24 * time.Hour)},
		} {
			changed, err := wantedUpgrade(has, s)
			if err != nil || proto.Equal(changed, has) {
				t.Fatalf("%s: nothing is changed, %v", name, err)
			}
			back, err := wantedUpgrade(changed, recorded)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(has, back, protocmp.Transform()); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}
}

func TestWhatAPersonChoseAboutBatchesStays(t *testing.T) {
	np := &containerpb.NodePool{UpgradeSettings: &containerpb.NodePool_UpgradeSettings{BlueGreenSettings: &containerpb.BlueGreenSettings{
		RolloutPolicy: &containerpb.BlueGreenSettings_StandardRolloutPolicy_{StandardRolloutPolicy: &containerpb.BlueGreenSettings_StandardRolloutPolicy{
			UpdateBatchSize: &containerpb.BlueGreenSettings_StandardRolloutPolicy_BatchNodeCount{BatchNodeCount: 7},
		}},
	}}}
	wanted, err := wantedUpgrade(upgradeSettings(np), upgrade.Settings{Strategy: upgrade.BlueGreen, Soak: upgrade.Seconds(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	s := wanted.GetUpgradeSettings().GetBlueGreenSettings()
	if s.GetStandardRolloutPolicy().GetBatchNodeCount() != 7 || s.GetNodePoolSoakDuration().AsDuration() != time.Hour {
		t.Errorf("%v", wanted)
	}
}

func TestUpgradeSettingsInWords(t *testing.T) {
	s, err := readUpgrade(cluster1, &containerpb.NodePool{UpgradeSettings: &containerpb.NodePool_UpgradeSettings{MaxSurge: 2}})
	if err != nil {
		t.Fatal(err)
	}
	if s.Summary != "max-surge 2, max-unavailable 0" ||
		s.Command != "gcloud container node-pools update POOL --cluster cluster-1 --project p --location europe-west1 --enable-surge-upgrade --max-surge-upgrade 2 --max-unavailable-upgrade 0" {
		t.Errorf("%s: %s", s.Summary, s.Command)
	}
}

// TestAnUpgradeInPlaceIsBegunOnce: whatever answers are lost, and whoever asks again.
func TestAnUpgradeInPlaceIsBegunOnce(t *testing.T) {
	srv, p := emulate(t)
	ctx := t.Context()
	quiet := func(string) {}
	srv.Inject(gkeemu.Fault{Method: "UpdateNodePool", LoseResponse: true, Times: 2})
	before, err := p.Pools(ctx)
	if err != nil {
		t.Fatal(err)
	}
	wanted := upgrade.Settings{Strategy: upgrade.Rolling, MaxSurge: 4, PDBTimeout: upgrade.Seconds(time.Minute)}
	for range 2 {
		operation, err := p.SetUpgradeSettings(ctx, "default-pool", wanted)
		for errors.As(err, new(*upgrade.Busy)) { // the one whose answer was lost
			operation, err = p.SetUpgradeSettings(ctx, "default-pool", wanted)
		}
		if err != nil {
			t.Fatal(err)
		}
		if operation != "" {
			if err := p.Await(ctx, operation, quiet); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := len(srv.Calls("UpdateNodePool")); n != 1 {
		t.Errorf("the settings were changed %d times", n)
	}
	after, err := p.Pools(ctx)
	if err != nil || after[0].Upgrade.MaxSurge != 4 || time.Duration(after[0].Upgrade.PDBTimeout) != time.Minute {
		t.Errorf("%+v, %v", after[0].Upgrade, err)
	}
	since := time.Now().Add(-time.Minute)
	first, err := p.UpgradePool(ctx, "default-pool", target, since)
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.UpgradePool(ctx, "default-pool", target, since)
	if err != nil || second != first {
		t.Errorf("%s and then %s, %v", first, second, err)
	}
	if under, err := p.Upgrading(ctx, "default-pool"); err != nil || under != first {
		t.Errorf("under way is %q, want %s, %v", under, first, err)
	}
	var busy *upgrade.Busy
	if _, err := p.UpgradePool(ctx, "default-pool", target, time.Now().Add(time.Minute)); !errors.As(err, &busy) || busy.Operation != first {
		t.Errorf("an upgrade that somebody else began before is adopted: %v", err)
	}
	if n := len(srv.Calls("UpdateNodePool")); n != 2 {
		t.Errorf("the upgrade was begun %d times", n-1)
	}
	for range 2 {
		if err := p.CancelOperation(ctx, first); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Await(ctx, first, quiet); err != nil {
		t.Fatal(err)
	}
	if under, err := p.Upgrading(ctx, "default-pool"); err != nil || under != "" {
		t.Errorf("%q is over, and said to be under way, %v", under, err)
	}
	if err := p.CancelOperation(ctx, first); err != nil {
		t.Errorf("an operation that is over cannot be left alone: %v", err)
	}
	operation, err := p.SetUpgradeSettings(ctx, "default-pool", before[0].Upgrade)
	if err != nil || p.Await(ctx, operation, quiet) != nil {
		t.Fatal(err)
	}
	if now, _ := p.Pools(ctx); !cmp.Equal(now[0].Upgrade, before[0].Upgrade) {
		t.Errorf("restored to something else: %s", cmp.Diff(before[0].Upgrade, now[0].Upgrade))
	}
}
