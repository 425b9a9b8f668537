package gke

import (
	"context"
	"fmt"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// upgradeSettings is the part of a pool that says how GKE upgrades it. A pool that says nothing has GKE's defaults.
func upgradeSettings(np *containerpb.NodePool) *containerpb.NodePool {
	s := &containerpb.NodePool{UpgradeSettings: &containerpb.NodePool_UpgradeSettings{MaxSurge: 1}, NodeDrainConfig: &containerpb.NodePool_NodeDrainConfig{}}
	if np.GetUpgradeSettings() != nil {
		s.UpgradeSettings = proto.CloneOf(np.GetUpgradeSettings())
	}
	if np.GetNodeDrainConfig() != nil {
		s.NodeDrainConfig = proto.CloneOf(np.GetNodeDrainConfig())
	}
	if s.UpgradeSettings.Strategy == nil {
		s.UpgradeSettings.Strategy = containerpb.NodePoolUpdateStrategy_SURGE.Enum()
	}
	return s
}

func readUpgrade(name Name, np *containerpb.NodePool) (upgrade.Settings, error) {
	s := upgradeSettings(np)
	settings, err := canonical(s)
	if err != nil {
		return upgrade.Settings{}, err
	}
	u := s.GetUpgradeSettings()
	read := upgrade.Settings{
		Strategy: upgrade.Rolling, MaxSurge: int(u.GetMaxSurge()), MaxUnavailable: int(u.GetMaxUnavailable()),
		PDBTimeout: upgrade.Seconds(s.GetNodeDrainConfig().GetPdbTimeoutDuration().AsDuration()), Settings: settings,
	}
	flags := fmt.Sprintf("--enable-surge-upgrade --max-surge-upgrade %d --max-unavailable-upgrade %d", read.MaxSurge, read.MaxUnavailable)
	if u.GetStrategy() == containerpb.NodePoolUpdateStrategy_BLUE_GREEN {
		read.Strategy = upgrade.BlueGreen
		read.Soak = upgrade.Seconds(u.GetBlueGreenSettings().GetNodePoolSoakDuration().AsDuration())
		flags = "--enable-blue-green-upgrade"
		if read.Soak > 0 {
			flags += fmt.Sprintf(" --node-pool-soak-duration %.0fs", time.Duration(read.Soak).Seconds())
		}
	}
	read.Summary = read.String()
	read.Command = fmt.Sprintf("gcloud container node-pools update POOL --cluster %s --project %s --location %s %s", name.Cluster, name.Project, name.Location, flags)
	return read, nil
}

// wantedUpgrade is what a pool that has these settings gets.
func wantedUpgrade(has *containerpb.NodePool, s upgrade.Settings) (*containerpb.NodePool, error) {
	if len(s.Settings) > 0 {
		recorded := &containerpb.NodePool{}
		if err := protojson.Unmarshal(s.Settings, recorded); err != nil {
			return nil, fmt.Errorf("read recorded upgrade settings: %w", err)
		}
		return recorded, nil
	}
	wanted := proto.CloneOf(has)
	switch u := wanted.UpgradeSettings; s.Strategy {
	case upgrade.Rolling:
		wanted.UpgradeSettings = &containerpb.NodePool_UpgradeSettings{
			Strategy: containerpb.NodePoolUpdateStrategy_SURGE.Enum(),
			MaxSurge: int32(s.MaxSurge), MaxUnavailable: int32(s.MaxUnavailable), //nolint:gosec // 20 at most
			BlueGreenSettings: u.GetBlueGreenSettings(),
		}
	case upgrade.BlueGreen:
		u.Strategy = containerpb.NodePoolUpdateStrategy_BLUE_GREEN.Enum()
		if u.BlueGreenSettings == nil {
			u.BlueGreenSettings = &containerpb.BlueGreenSettings{RolloutPolicy: &containerpb.BlueGreenSettings_StandardRolloutPolicy_{
				StandardRolloutPolicy: &containerpb.BlueGreenSettings_StandardRolloutPolicy{
					UpdateBatchSize: &containerpb.BlueGreenSettings_StandardRolloutPolicy_BatchNodeCount{BatchNodeCount: 1},
				},
			}}
		}
		u.BlueGreenSettings.NodePoolSoakDuration = durationpb.New(time.Duration(s.Soak))
	}
	if s.PDBTimeout > 0 {
		wanted.NodeDrainConfig.PdbTimeoutDuration = durationpb.New(time.Duration(s.PDBTimeout))
	}
	return wanted, nil
}

// SetUpgradeSettings implements the engine's Upgrader. What a person chose about batches stays.
func (p *Provider) SetUpgradeSettings(ctx context.Context, pool string, s upgrade.Settings) (string, error) {
	return p.mutate(ctx, func(ctx context.Context) (*containerpb.Operation, error) {
		there, err := p.known(ctx, pool)
		if err != nil {
			return nil, err
		}
		has := upgradeSettings(there)
		wanted, err := wantedUpgrade(has, s)
		if err != nil || proto.Equal(has, wanted) {
			return nil, err
		}
		request := &containerpb.UpdateNodePoolRequest{Name: p.name.pool(pool), Etag: there.GetEtag(), UpgradeSettings: wanted.GetUpgradeSettings()}
		if !proto.Equal(has.GetNodeDrainConfig(), wanted.GetNodeDrainConfig()) {
			request.NodeDrainConfig = wanted.GetNodeDrainConfig()
		}
		return rpc(ctx, p.client.UpdateNodePool, request)
	})
}

// UpgradePool implements the engine's Upgrader.
func (p *Provider) UpgradePool(ctx context.Context, pool, version string, since time.Time) (string, error) {
	return p.mutate(ctx, func(ctx context.Context) (*containerpb.Operation, error) {
		there, err := p.known(ctx, pool)
		if err != nil {
			return nil, err
		}
		running, err := p.running(ctx, pool)
		if err != nil {
			return nil, err
		}
		if running.GetOperationType() == containerpb.Operation_UPGRADE_NODES && startedSince(running, since) {
			return running, nil
		}
		if running != nil { // also GKE's own upgrade of the pool: it is not ours to follow, stop or roll back
			return nil, &upgrade.Busy{Operation: running.GetName(), Kind: running.GetOperationType().String()}
		}
		return rpc(ctx, p.client.UpdateNodePool, &containerpb.UpdateNodePoolRequest{
			Name: p.name.pool(pool), Etag: there.GetEtag(), NodeVersion: version, ImageType: there.GetConfig().GetImageType(),
		})
	})
}

// CompleteUpgrade implements the engine's Upgrader. GKE answers with nothing: the operation is that of the upgrade, which goes on.
func (p *Provider) CompleteUpgrade(ctx context.Context, pool string) (string, error) {
	return p.mutate(ctx, func(ctx context.Context) (*containerpb.Operation, error) {
		there, err := p.known(ctx, pool)
		if err != nil {
			return nil, err
		}
		if phaseOf(there) == upgrade.PhaseSoaking {
			err := p.signal(ctx, func(ctx context.Context) error {
				return p.client.CompleteNodePoolUpgrade(ctx, &containerpb.CompleteNodePoolUpgradeRequest{Name: p.name.pool(pool)})
			})
			if err != nil {
				return nil, err
			}
		}
		return p.running(ctx, pool)
	})
}

// RollBackPool implements the engine's Upgrader. PodDisruptionBudgets are asked on the way back as well.
func (p *Provider) RollBackPool(ctx context.Context, pool, cancelled string) (string, error) {
	return p.mutate(ctx, func(ctx context.Context) (*containerpb.Operation, error) {
		if _, err := p.known(ctx, pool); err != nil {
			return nil, err
		}
		// GKE has one type for an upgrade and for its rollback.
		running, err := p.running(ctx, pool)
		if err != nil || running.GetOperationType() == containerpb.Operation_UPGRADE_NODES && running.GetName() != cancelled {
			return running, err
		}
		return rpc(ctx, p.client.RollbackNodePoolUpgrade, &containerpb.RollbackNodePoolUpgradeRequest{Name: p.name.pool(pool), RespectPdb: true})
	})
}

// Upgrading implements the engine's Upgrader.
func (p *Provider) Upgrading(ctx context.Context, pool string) (string, error) {
	running, err := p.running(ctx, pool)
	if err != nil || running.GetOperationType() != containerpb.Operation_UPGRADE_NODES {
		return "", err
	}
	return running.GetName(), nil
}

// CancelOperation implements the engine's Upgrader. An operation that is over, or not there, is left alone.
func (p *Provider) CancelOperation(ctx context.Context, operation string) error {
	_, err := p.mutate(ctx, func(ctx context.Context) (*containerpb.Operation, error) {
		name := p.name.parent() + "/operations/" + operation
		o, err := rpc(ctx, p.client.GetOperation, &containerpb.GetOperationRequest{Name: name})
		switch {
		case status.Code(err) == codes.NotFound:
			return nil, nil
		case err != nil:
			return nil, err
		case o.GetStatus() == containerpb.Operation_DONE, o.GetStatus() == containerpb.Operation_ABORTING:
			return nil, nil
		}
		return nil, p.signal(ctx, func(ctx context.Context) error {
			return p.client.CancelOperation(ctx, &containerpb.CancelOperationRequest{Name: name})
		})
	})
	if err != nil {
		return fmt.Errorf("cancel operation %s: %w", operation, err)
	}
	return nil
}

// Await implements the engine's Upgrader: GKE gives each node of a pool an hour and more.
func (p *Provider) Await(ctx context.Context, operation string, progress func(string)) error {
	return p.watch(ctx, operation, progress)
}

// signal makes one call that answers with nothing.
func (p *Provider) signal(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return call(ctx)
}

// known returns the pool, which has to be there.
func (p *Provider) known(ctx context.Context, pool string) (*containerpb.NodePool, error) {
	there, err := p.find(ctx, pool)
	if err == nil && there == nil {
		err = fmt.Errorf("pool %s is not there", pool)
	}
	return there, err
}

// phaseOf is how far GKE's blue-green upgrade of the pool is, empty where there is none.
func phaseOf(np *containerpb.NodePool) upgrade.Phase {
	if phase := np.GetUpdateInfo().GetBlueGreenInfo().GetPhase(); phase != containerpb.NodePool_UpdateInfo_BlueGreenInfo_PHASE_UNSPECIFIED {
		return upgrade.Phase(phase.String())
	}
	return ""
}
