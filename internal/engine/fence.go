package engine

import (
	"context"
	"errors"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// fenced is a cluster that is changed only while the lock is held. Evictions, of which there are many, trust this machine's clock; all
// else asks the API.
type fenced struct {
	Cluster
	lock Lock
}

func (e *Engine) fenced() fenced { return fenced{e.Cluster, e.Lock} }

func (f fenced) Evict(ctx context.Context, pod upgrade.Pod) upgrade.Answer {
	return f.held(ctx, func(ctx context.Context) upgrade.Answer { return f.Cluster.Evict(ctx, pod) })
}

func (f fenced) Delete(ctx context.Context, pod upgrade.Pod, atOnce bool) upgrade.Answer {
	return f.held(ctx, func(ctx context.Context) upgrade.Answer { return f.Cluster.Delete(ctx, pod, atOnce) })
}

func (f fenced) held(ctx context.Context, do func(context.Context) upgrade.Answer) upgrade.Answer {
	held, cancel, err := f.lock.Hold(ctx)
	if err != nil {
		return upgrade.Answer{Kind: upgrade.NotNow, Message: "nothing is evicted now: " + err.Error()}
	}
	defer cancel()
	return do(held)
}

func (f fenced) Cordon(ctx context.Context, node, run string) error {
	return confirmed(ctx, f.lock, burst, func(ctx context.Context) error { return f.Cluster.Cordon(ctx, node, run) })
}

func (f fenced) Uncordon(ctx context.Context, node string) error {
	return confirmed(ctx, f.lock, burst, func(ctx context.Context) error { return f.Cluster.Uncordon(ctx, node) })
}

func (f fenced) Restart(ctx context.Context, deployment upgrade.Ref, decide func(upgrade.Workload) (at string, change bool)) error {
	return confirmed(ctx, f.lock, burst, func(ctx context.Context) error { return f.Cluster.Restart(ctx, deployment, decide) })
}

// fencedProvider is a provider that changes something only while the lock is held.
type fencedProvider struct {
	Provider
	engine *Engine
}

func (e *Engine) provider() fencedProvider { return fencedProvider{e.Provider, e} }

func (f fencedProvider) confirmed(ctx context.Context, do func(context.Context) error) error {
	err := confirmed(ctx, f.engine.Lock, 0, do)
	if err != nil && !errors.As(err, new(*upgrade.Busy)) {
		f.engine.givenUp = time.Now()
	}
	return err
}

func (f fencedProvider) UpgradeControlPlane(ctx context.Context, version string, since time.Time) (operation string, err error) {
	err = f.confirmed(ctx, func(ctx context.Context) (err error) {
		operation, err = f.Provider.UpgradeControlPlane(ctx, version, since)
		return err
	})
	return operation, err
}

func (f fencedProvider) CreatePool(ctx context.Context, clone upgrade.Clone) (operation string, err error) {
	err = f.confirmed(ctx, func(ctx context.Context) (err error) {
		operation, err = f.Provider.CreatePool(ctx, clone)
		return err
	})
	return operation, err
}

func (f fencedProvider) DeletePool(ctx context.Context, name string) (operation string, err error) {
	err = f.confirmed(ctx, func(ctx context.Context) (err error) {
		operation, err = f.Provider.DeletePool(ctx, name)
		return err
	})
	return operation, err
}

func (f fencedProvider) SetAutoscaling(ctx context.Context, pool string, a upgrade.Autoscaling) (operation string, err error) {
	err = f.confirmed(ctx, func(ctx context.Context) (err error) {
		operation, err = f.Provider.SetAutoscaling(ctx, pool, a)
		return err
	})
	return operation, err
}

const (
	// burst is how long a confirmation serves for changes of the cluster that come one after another, as the cordons of a pool do. They can be undone,
	// and can be another's no sooner than any: by the lease's own time.
	burst = time.Second
	// confirmations bounds how often a change is attempted whose time runs out: some minutes in all. While the Kubernetes API is
	// away the lock is not confirmed, so that is not counted.
	confirmations = 10
	// lastCalls is how long a change under way is given when the run is stopped: what is answered is known.
	lastCalls = 750 * time.Millisecond
)

// confirmed makes a change once the lock is confirmed, or was within some time before. When the time for which it was confirmed runs out first, what came of the
// change is not known; it is attempted again, and looks first.
func confirmed(ctx context.Context, lock Lock, within time.Duration, do func(context.Context) error) error {
	calls, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastCalls, giveUp) })()
	for try := 1; ; try++ {
		late, err := confirmOnce(ctx, calls, lock, within, do)
		if err == nil || !late || try == confirmations {
			return err
		}
	}
}

// confirmOnce makes one attempt, and tells whether its time ran out.
func confirmOnce(ctx, calls context.Context, lock Lock, within time.Duration, do func(context.Context) error) (late bool, err error) {
	attempt, over := context.WithCancel(calls)
	defer over()
	held, cancel, err := lock.Confirm(attempt, within)
	if err != nil {
		return false, err
	}
	defer cancel()
	err = do(held)
	late = held.Err() != nil && ctx.Err() == nil
	if err != nil && !errors.As(err, new(*upgrade.Busy)) {
		over() // the lock has to know that this change may still take effect
	}
	return late, err
}
