package runstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// timing is how a lease is kept.
type timing struct {
	// duration is how long a lease that nobody renews is respected.
	duration time.Duration
	// renew is the time between renewals, retry that after one that failed, and call how long one may take.
	renew, retry, call time.Duration
	// margin is kept free before the lease can be another's: a change that was sent has taken effect, or never will, that long
	// after its sender gave it up.
	margin time.Duration
	// outage is how long renewals fail before the API is called away.
	outage time.Duration
}

// usual: a lease of 30 s survives hiccups of an API server and delays a successor no longer than people wait without asking
// why. Renewing every 5 s shows within as much that a holder is alive, and leaves four more attempts before the lease counts as lost. Those come
// every 2 s, as client-go's leader election makes them.
var usual = timing{
	duration: 30 * time.Second, renew: 5 * time.Second, retry: 2 * time.Second, call: 5 * time.Second, margin: 5 * time.Second, outage: 5 * time.Second,
}

// Lock is the right to change the cluster, for as long as its Context is alive. It is safe for concurrent use.
type Lock struct {
	store   *Store
	holder  upgrade.Holder
	name    string
	ctx     context.Context
	lose    context.CancelCauseFunc
	stopped chan struct{}
	outages chan upgrade.Outage

	// renewing holds a value during a call that renews. It is no mutex because who waits for it has a context.
	renewing chan struct{}

	mu    sync.Mutex
	lease *coordinationv1.Lease
	// attempted is when a renewal was last sent.
	attempted time.Time
	// validUntil is when, by this machine's own clock, another may take the lease if it is not renewed, less the margin.
	validUntil time.Time
	// failing is since when renewals fail, zero if they do not, and failure the latest error.
	failing time.Time
	failure error
	told    bool
	// givenUp is when a confirmed change was last given up: it may still take effect within the margin.
	givenUp time.Time
	// record is what was last read or written, and unanswered are the runs that were sent since and may have been written.
	record     *corev1.ConfigMap
	unanswered []string
}

func (l *Lock) until(sent time.Time) time.Time {
	return sent.Add(l.store.timing.duration - l.store.timing.margin)
}

// Context ends with what Acquire was given, and when the lease is lost: then its cause is a Halt.
func (l *Lock) Context() context.Context { return l.ctx }

// cause is why the lock's context ended.
func (l *Lock) cause() error { return context.Cause(l.ctx) }

// Holder is who holds the lock, with the epoch.
func (l *Lock) Holder() upgrade.Holder { return l.holder }

// Name identifies this holder, and no other, in the Lease.
func (l *Lock) Name() string { return l.name }

// Outages tells when the API goes away and comes back.
func (l *Lock) Outages() <-chan upgrade.Outage { return l.outages }

// keep renews the lease until the lock's context ends.
func (l *Lock) keep() {
	defer close(l.stopped)
	for pause(l.ctx, l.rest()) == nil {
		if l.rest() <= 0 { // else a change was confirmed meanwhile, which renews it too
			_ = l.renewOnce(l.ctx) // what came of it is noted there
		}
	}
}

// fails tells that the last renewal has failed.
func (l *Lock) fails() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.failing.IsZero()
}

// rest is how long it is until the next renewal.
func (l *Lock) rest() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failing.IsZero() {
		return time.Until(l.attempted.Add(l.store.timing.renew))
	}
	return time.Until(l.attempted.Add(l.store.timing.retry))
}

// renewOnce renews the lease by compare-and-swap. Its error is a Halt if the lease is another's.
func (l *Lock) renewOnce(ctx context.Context) error {
	select {
	case l.renewing <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-l.renewing }()
	err := l.tryRenew(ctx)
	if apierrors.IsConflict(err) {
		// Our own renewal whose answer was lost, or somebody else's doing.
		lease, getErr := l.store.lease(ctx)
		switch {
		case getErr != nil:
			err = getErr
		case lease != nil && holderOf(lease) == l.name:
			l.mu.Lock()
			l.lease = lease
			l.mu.Unlock()
			err = l.tryRenew(ctx)
		default:
			err = l.lost(lease)
		}
	} else if apierrors.IsNotFound(err) {
		err = l.lost(nil)
	}
	l.note(err)
	return err
}

func (l *Lock) tryRenew(ctx context.Context) error {
	l.mu.Lock()
	lease, sent := l.lease.DeepCopy(), time.Now()
	l.attempted = sent
	l.mu.Unlock()
	now := metav1.NewMicroTime(sent)
	lease.Spec.RenewTime = &now
	ctx, cancel := context.WithTimeout(ctx, l.store.timing.call)
	defer cancel()
	lease, err := l.store.leases.Update(ctx, lease, metav1.UpdateOptions{})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lease, l.validUntil = lease, l.until(sent)
	return nil
}

// lost ends the lock's context.
func (l *Lock) lost(lease *coordinationv1.Lease) error {
	problem := "the lease " + l.store.namespace + "/" + leaseName + " was deleted"
	switch {
	case lease != nil && holderOf(lease) == "":
		problem = "the lease " + l.store.namespace + "/" + leaseName + " was released by somebody else"
	case lease != nil:
		problem = "the lease is somebody else's by now: " + heldBy(lease).String()
	}
	halt := &upgrade.Halt{Problem: problem + "; nothing more is changed from here"}
	l.mu.Lock()
	l.validUntil = time.Time{}
	l.mu.Unlock()
	l.lose(halt)
	return halt
}

// note tells of outages that last.
func (l *Lock) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	switch {
	case err == nil && l.told:
		l.tell(upgrade.Outage{Since: l.failing, Over: true})
		l.failing, l.failure, l.told = time.Time{}, nil, false
	case err == nil:
		l.failing, l.failure = time.Time{}, nil
	case l.ctx.Err() != nil:
	case l.failing.IsZero():
		l.failing, l.failure = now, err
	case !l.told && now.Sub(l.failing) >= l.store.timing.outage:
		l.failure, l.told = err, true
		l.tell(upgrade.Outage{Since: l.failing, Err: err})
	default:
		l.failure = err
	}
}

// tell never blocks: who does not listen misses news.
func (l *Lock) tell(o upgrade.Outage) {
	select {
	case l.outages <- o:
	default:
	}
}

// Hold returns a context for one change, which ends before another can hold the lease. It asks only this machine's clock, and
// its error says since when the lease could not be renewed.
func (l *Lock) Hold(ctx context.Context) (context.Context, context.CancelFunc, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.ctx.Err() != nil:
		return nil, nil, l.cause()
	case !time.Now().Before(l.validUntil), time.Now().Round(0).After(l.validUntil.Round(0)):
		// Both clocks: the monotonic one stands still while a machine is suspended, and the other can be set.
		if l.failure == nil {
			return nil, nil, errors.New("the lease is not renewed yet")
		}
		return nil, nil, fmt.Errorf("the lease has not been renewed since %s: %w", l.failing.UTC().Format("15:04:05 UTC"), l.failure)
	}
	held, cancel := context.WithDeadline(ctx, l.validUntil)
	return held, cancel, nil
}

// Confirm is Hold after the lease has been renewed: within the given time before the call, or else by it. It waits while the API is away. A change
// whose context is over when its cancel function is called was given up. Who loses the answer to a change ends ctx before that.
func (l *Lock) Confirm(ctx context.Context, within time.Duration) (context.Context, context.CancelFunc, error) {
	err := patiently(ctx, func() error {
		if l.ctx.Err() != nil {
			return &upgrade.Halt{Problem: l.cause().Error()}
		}
		if l.renewedWithin(within) {
			return nil
		}
		return l.renewOnce(ctx)
	})
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, nil, err
	}
	held, cancel, err := l.Hold(ctx)
	if err != nil {
		return nil, nil, err
	}
	return held, func() {
		if held.Err() != nil {
			l.mu.Lock()
			l.givenUp = time.Now()
			l.mu.Unlock()
		}
		cancel()
	}, nil
}

func (l *Lock) renewedWithin(d time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Before(l.validUntil.Add(d - l.store.timing.duration + l.store.timing.margin))
}

// Release ends the lock and frees the lease for others, once a change that was given up can take effect no more: the next holder
// takes a free lease at once. If ctx ends first, the lease is left to expire. A lease that was lost is left alone.
func (l *Lock) Release(ctx context.Context) error {
	lost := errors.As(l.cause(), new(*upgrade.Halt))
	l.lose(context.Canceled)
	<-l.stopped
	if lost {
		return nil
	}
	l.mu.Lock()
	wait := time.Until(l.givenUp.Add(l.store.timing.margin))
	l.mu.Unlock()
	if wait > 0 {
		if err := pause(ctx, wait); err != nil {
			return fmt.Errorf("a change that was given up may still take effect: %w", err)
		}
	}
	return l.free(ctx)
}

func (l *Lock) free(ctx context.Context) error {
	_, err := l.store.free(ctx, l.name)
	return err
}

// Free releases the lease of a holder that is no more, and tells whether it held it. Name is what Lock.Name was. What the holder had
// sent when it ended is waited for.
func (s *Store) Free(ctx context.Context, name string) (bool, error) {
	lease, err := s.lease(ctx)
	if err != nil || lease == nil || holderOf(lease) != name {
		return false, err
	}
	if err := pause(ctx, s.timing.margin); err != nil {
		return false, err
	}
	return s.free(ctx, name)
}

func (s *Store) free(ctx context.Context, name string) (bool, error) {
	for {
		lease, err := s.lease(ctx)
		if err != nil || lease == nil || holderOf(lease) != name {
			return false, err
		}
		nobody := ""
		lease.Spec.HolderIdentity = &nobody
		err = s.updateLease(ctx, lease)
		if apierrors.IsConflict(err) {
			continue // a renewal that was under way
		}
		if err != nil {
			return false, fmt.Errorf("release the lease %s/%s: %w", s.namespace, leaseName, err)
		}
		return true, nil
	}
}

func (s *Store) updateLease(ctx context.Context, lease *coordinationv1.Lease) error {
	ctx, cancel := context.WithTimeout(ctx, s.timing.call)
	defer cancel()
	_, err := s.leases.Update(ctx, lease, metav1.UpdateOptions{})
	return err
}
