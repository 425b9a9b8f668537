package gke

import (
	"context"
	"fmt"
	"strings"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// ControlPlaneVersion implements the engine's Provider.
func (p *Provider) ControlPlaneVersion(ctx context.Context) (string, error) {
	cluster, err := p.get(ctx)
	return cluster.GetCurrentMasterVersion(), err
}

// UpgradeControlPlane implements the engine's Provider. GKE does not tell which version an operation goes to, so that of an adopted one shows only
// in the end.
func (p *Provider) UpgradeControlPlane(ctx context.Context, version string, since time.Time) (string, error) {
	return p.mutate(ctx, func(ctx context.Context) (*containerpb.Operation, error) {
		// First what is under way: GKE may show the version before the operation is done.
		under, err := p.operation(ctx, func(pool string) bool { return pool == "" })
		if err != nil {
			return nil, err
		}
		if under.GetOperationType() == containerpb.Operation_UPGRADE_MASTER && startedSince(under, since) {
			return under, nil
		}
		if under != nil {
			return nil, &upgrade.Busy{Operation: under.GetName(), Kind: under.GetOperationType().String()}
		}
		cluster, err := p.get(ctx)
		if err != nil {
			return nil, err
		}
		if upgrade.CompareVersions(cluster.GetCurrentMasterVersion(), version) >= 0 {
			return nil, nil
		}
		return rpc(ctx, p.client.UpdateMaster, &containerpb.UpdateMasterRequest{Name: p.name.String(), MasterVersion: version})
	})
}

// UpgradingControlPlane is the operation that upgrades the control plane now, whoever began it, empty for none. It tries again while GKE does not
// answer for a reason that may pass.
func (p *Provider) UpgradingControlPlane(ctx context.Context) (operation string, err error) {
	return p.mutate(ctx, func(ctx context.Context) (*containerpb.Operation, error) {
		under, err := p.operation(ctx, func(pool string) bool { return pool == "" })
		if err != nil || under.GetOperationType() != containerpb.Operation_UPGRADE_MASTER {
			return nil, err
		}
		return under, nil
	})
}

// startedSince tells that GKE says of an operation that it began at that time or later.
func startedSince(o *containerpb.Operation, since time.Time) bool {
	started, err := time.Parse(time.RFC3339Nano, o.GetStartTime())
	return err == nil && !started.Before(since)
}

// readAutoUpgrade reads what GKE does to the control plane by itself.
func (p *Provider) readAutoUpgrade(ctx context.Context, c *upgrade.Cluster) {
	info, err := rpc(ctx, p.client.FetchClusterUpgradeInfo, &containerpb.FetchClusterUpgradeInfoRequest{Name: p.name.String()})
	if err != nil {
		c.Unread[upgrade.ReadAutoUpgrade] = fmt.Sprintf("fetch the upgrade info of %s: %s", p.name, err)
		return
	}
	c.AutoUpgrade = autoUpgrade(info)
}

// autoUpgrade takes a time that cannot be read for one that is not told.
func autoUpgrade(info *containerpb.ClusterUpgradeInfo) upgrade.AutoUpgrade {
	a := upgrade.AutoUpgrade{Minor: info.GetMinorTargetVersion(), Patch: info.GetPatchTargetVersion()}
	for _, s := range info.GetAutoUpgradeStatus() {
		a.Status = append(a.Status, words(s.String()))
	}
	for _, r := range info.GetPausedReason() {
		a.Paused = append(a.Paused, words(r.String()))
	}
	a.EndOfStandard, _ = time.Parse(time.RFC3339, info.GetEndOfStandardSupportTimestamp())
	a.EndOfExtended, _ = time.Parse(time.RFC3339, info.GetEndOfExtendedSupportTimestamp())
	return a
}

// words makes a constant of GKE's readable: "maintenance window".
func words(constant string) string { return strings.ToLower(strings.ReplaceAll(constant, "_", " ")) }
