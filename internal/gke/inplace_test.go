package gke

import (
	"testing"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

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
