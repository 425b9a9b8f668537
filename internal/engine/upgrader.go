package engine

import (
	"context"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// Upgrader has a provider upgrade node pools in place: it drains their nodes and makes them again by itself. The calls are as those of a
// Provider: re-entrant, and they do not wait.
type Upgrader interface {
	// SetUpgradeSettings says how a pool is upgraded: by the provider's own settings if s has them, else by its fields, and all else as it is.
	SetUpgradeSettings(ctx context.Context, pool string, s upgrade.Settings) (operation string, err error)
	// UpgradePool begins the upgrade of a pool, or goes on with one that was cancelled. An upgrade that is under way and began since is adopted; an
	// earlier one is somebody else's, or the provider's own, and upgrade.Busy.
	UpgradePool(ctx context.Context, pool, version string, since time.Time) (operation string, err error)
	// CompleteUpgrade ends a blue-green upgrade whose old nodes are drained.
	CompleteUpgrade(ctx context.Context, pool string) (operation string, err error)
	// RollBackPool undoes an upgrade that is not complete. Cancelled is the operation that made it, which is not adopted.
	RollBackPool(ctx context.Context, pool, cancelled string) (operation string, err error)
	// Upgrading is the operation that upgrades the pool, or undoes that, empty if none is under way.
	Upgrading(ctx context.Context, pool string) (operation string, err error)
	// CancelOperation has an operation end once the nodes are finished that it has begun. It does not wait for that.
	CancelOperation(ctx context.Context, operation string) error
	// Await is Provider's Wait for an operation that may take many hours.
	Await(ctx context.Context, operation string, progress func(string)) error
}

// fencedUpgrader is an upgrader that changes pools only while the lock is held.
type fencedUpgrader struct {
	Upgrader
	fence fencedProvider
}

func (e *Engine) upgrader() fencedUpgrader { return fencedUpgrader{e.Upgrader, e.provider()} }

func (f fencedUpgrader) confirmed(ctx context.Context, do func(context.Context) (string, error)) (operation string, err error) {
	err = f.fence.confirmed(ctx, func(ctx context.Context) (err error) {
		operation, err = do(ctx)
		return err
	})
	return operation, err
}

func (f fencedUpgrader) SetUpgradeSettings(ctx context.Context, pool string, s upgrade.Settings) (string, error) {
	return f.confirmed(ctx, func(ctx context.Context) (string, error) { return f.Upgrader.SetUpgradeSettings(ctx, pool, s) })
}

func (f fencedUpgrader) UpgradePool(ctx context.Context, pool, version string, since time.Time) (string, error) {
	return f.confirmed(ctx, func(ctx context.Context) (string, error) { return f.Upgrader.UpgradePool(ctx, pool, version, since) })
}

func (f fencedUpgrader) CompleteUpgrade(ctx context.Context, pool string) (string, error) {
	return f.confirmed(ctx, func(ctx context.Context) (string, error) { return f.Upgrader.CompleteUpgrade(ctx, pool) })
}

func (f fencedUpgrader) RollBackPool(ctx context.Context, pool, cancelled string) (string, error) {
	return f.confirmed(ctx, func(ctx context.Context) (string, error) { return f.Upgrader.RollBackPool(ctx, pool, cancelled) })
}

func (f fencedUpgrader) CancelOperation(ctx context.Context, operation string) error {
	_, err := f.confirmed(ctx, func(ctx context.Context) (string, error) { return "", f.Upgrader.CancelOperation(ctx, operation) })
	return err
}
