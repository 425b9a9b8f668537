package runstore

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
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
	// renew is the time between renewals, and call how long one may take.
	renew, call time.Duration
	// margin is kept free before the lease can be another's: a change that was sent has taken effect, or never will, that long
	// after its sender gave it up.
	margin time.Duration
	// outage is how long renewals fail before the API is called away.
	outage time.Duration
}

// usual: a lease of 30 s survives hiccups of an API server and delays a successor no longer than people wait without asking
// why. Renewing every 2 s, as client-go's leader election does, shows within as much that a holder is alive.
var usual = timing{duration: 30 * time.Second, renew: 2 * time.Second, call: 5 * time.Second, margin: 5 * time.Second, outage: 5 * time.Second}

// Held is the error for a cluster that somebody else works on.
type Held struct {
	Holder  upgrade.Holder
	Renewed time.Time
}

func (h *Held) Error() string {
	return fmt.Sprintf("%s works on this cluster, and was last seen at %s", h.Holder, h.Renewed.UTC().Format(time.RFC3339))
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

// Acquire takes the cluster's lease and claims the record. A lease that nobody renews is taken once it has been seen unchanged
// for its whole duration, by this machine's clock alone; meanwhile is told what is waited for. Held and NoNamespace are errors.
// The lock's context is derived from ctx.
func (s *Store) Acquire(ctx context.Context, who upgrade.Holder, meanwhile func(string)) (*Lock, error) {
	name := fmt.Sprintf("%s, %s, %s", who.Who, who.Where, strings.ToLower(rand.Text()[:8]))
	l := &Lock{store: s, holder: who, name: name, stopped: make(chan struct{}), outages: make(chan upgrade.Outage, 16), renewing: make(chan struct{}, 1)}
	if err := l.take(ctx, meanwhile); err != nil {
		return nil, err
	}
	if err := l.claim(ctx); err != nil {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.store.timing.call)
		defer cancel()
		return nil, errors.Join(err, l.free(last))
	}
	l.ctx, l.lose = context.WithCancelCause(ctx)
	go l.keep()
	return l, nil
}

// take makes the lease ours.
func (l *Lock) take(ctx context.Context, meanwhile func(string)) error {
	var seen *coordinationv1.Lease
	var since time.Time
	for begun := time.Now(); ; {
		lease, err := l.store.lease(ctx)
		now := time.Now()
		if err != nil && passing(err) && now.Sub(begun) < requestTimeout {
			if err := pause(ctx, retryPause); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if lease != nil && holderOf(lease) == l.name { // taken, and the answer was lost
			l.lease = lease
			return nil
		}
		if lease != nil && holderOf(lease) != "" {
			duration := l.store.timing.duration
			if d := lease.Spec.LeaseDurationSeconds; d != nil {
				duration = time.Duration(*d) * time.Second
			}
			switch {
			case seen == nil:
				seen, since = lease, now
				meanwhile(fmt.Sprintf("the lease is %s's, renewed at %s: waiting up to %s to see whether they are still at work",
					heldBy(lease), renewed(lease).UTC().Format("15:04:05 UTC"), duration))
			case holderOf(lease) != holderOf(seen) || !renewed(lease).Equal(renewed(seen)):
				return &Held{Holder: heldBy(lease), Renewed: renewed(lease)}
			}
			if now.Sub(since) < duration {
				if err := pause(ctx, l.store.timing.renew/4); err != nil {
					return err
				}
				continue
			}
		}
		err = l.tryTake(ctx, lease)
		switch {
		case err == nil:
			return nil
		case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
			continue
		case lease == nil && apierrors.IsNotFound(err):
			return &NoNamespace{l.store.namespace}
		case passing(err) && ctx.Err() == nil && time.Since(begun) < requestTimeout:
			continue
		}
		return fmt.Errorf("take the lease %s/%s: %w", l.store.namespace, leaseName, err)
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// tryTake takes the lease as it was read, nil for none. The epoch is above that of every holder before, also if people deleted the
// Lease meanwhile.
func (l *Lock) tryTake(ctx context.Context, lease *coordinationv1.Lease) error {
	record, err := l.store.get(ctx, runName)
	if err != nil {
		return err
	}
	epoch := epochOf(record)
	fresh := lease == nil
	if fresh {
		lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: leaseName}}
	} else {
		lease = lease.DeepCopy()
		if t := lease.Spec.LeaseTransitions; t != nil {
			epoch = max(epoch, int64(*t))
		}
	}
	sent := time.Now()
	l.holder.Epoch, l.holder.Since = epoch+1, sent.UTC().Truncate(time.Second)
	about, err := json.Marshal(l.holder)
	if err != nil {
		return err
	}
	if lease.Annotations == nil {
		lease.Annotations = map[string]string{}
	}
	lease.Annotations[holderAnnotation] = string(about)
	seconds, transitions, now := int32(l.store.timing.duration/time.Second), int32(epoch+1), metav1.NewMicroTime(sent) //nolint:gosec // small numbers
	lease.Spec = coordinationv1.LeaseSpec{
		HolderIdentity: &l.name, LeaseDurationSeconds: &seconds, LeaseTransitions: &transitions, AcquireTime: &now, RenewTime: &now,
	}
	ctx, cancel := context.WithTimeout(ctx, l.store.timing.call)
	defer cancel()
	var taken *coordinationv1.Lease
	if fresh {
		taken, err = l.store.leases.Create(ctx, lease, metav1.CreateOptions{})
	} else {
		taken, err = l.store.leases.Update(ctx, lease, metav1.UpdateOptions{})
	}
	l.validUntil = l.until(sent)
	if err != nil {
		return err
	}
	l.lease = taken
	return nil
}

func (l *Lock) until(sent time.Time) time.Time {
	return sent.Add(l.store.timing.duration - l.store.timing.margin)
}

// claim marks the record with our epoch: from then on, no earlier holder's write can succeed.
func (l *Lock) claim(ctx context.Context) error {
	m, err := l.store.put(ctx, runName, func(m *corev1.ConfigMap) error {
		if there := epochOf(m); there > l.holder.Epoch {
			return &upgrade.Halt{Problem: fmt.Sprintf("the record is claimed by a later holder, of epoch %d", there)}
		}
		m.Annotations[epochAnnotation] = strconv.FormatInt(l.holder.Epoch, 10)
		return nil
	})
	if err != nil {
		return fmt.Errorf("claim the record: %w", err)
	}
	l.record = m
	return nil
}

func epochOf(m *corev1.ConfigMap) int64 {
	if m == nil {
		return 0
	}
	epoch, _ := strconv.ParseInt(m.Annotations[epochAnnotation], 10, 64) // not a number: nobody's
	return epoch
}

func (s *Store) lease(ctx context.Context) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	lease, err := s.leases.Get(ctx, leaseName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get the lease %s/%s: %w", s.namespace, leaseName, err)
	}
	return lease, nil
}

func holderOf(lease *coordinationv1.Lease) string {
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

func renewed(lease *coordinationv1.Lease) time.Time {
	if lease.Spec.RenewTime == nil {
		return time.Time{}
	}
	return lease.Spec.RenewTime.Time
}

// heldBy is who holds the lease, as they said themselves.
func heldBy(lease *coordinationv1.Lease) upgrade.Holder {
	var h upgrade.Holder
	if err := json.Unmarshal([]byte(lease.Annotations[holderAnnotation]), &h); err != nil || h.Who == "" {
		return upgrade.Holder{Who: holderOf(lease), Where: "unknown"}
	}
	return h
}

// Holding is who holds the lease now, nil if nobody does, whether or not they are alive.
func (s *Store) Holding(ctx context.Context) (*Held, error) {
	lease, err := s.lease(ctx)
	if err != nil || lease == nil || holderOf(lease) == "" {
		return nil, err
	}
	return &Held{Holder: heldBy(lease), Renewed: renewed(lease)}, nil
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
	for pause(l.ctx, l.store.timing.renew) == nil {
		_ = l.renewOnce(l.ctx) // what came of it is noted there
	}
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
	lease := l.lease.DeepCopy()
	l.mu.Unlock()
	sent := time.Now()
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

// Confirm is Hold after the lease has been renewed just now. It waits while the API is away. A change whose context is over when
// its cancel function is called was given up. Who loses the answer to a change ends ctx before that.
func (l *Lock) Confirm(ctx context.Context) (context.Context, context.CancelFunc, error) {
	err := patiently(ctx, func() error {
		if l.ctx.Err() != nil {
			return &upgrade.Halt{Problem: l.cause().Error()}
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

// Run returns the run of the record, nil if there is none.
func (l *Lock) Run() (*upgrade.Run, error) { return readRun(l.record) }

// Save writes the run into the record. It waits while the API is away, until ctx ends. A record that somebody else changed is a
// Halt. It must not be called by two goroutines at once.
func (l *Lock) Save(ctx context.Context, run *upgrade.Run) error {
	data, err := run.Encode(sizeLimit)
	if err != nil {
		return err
	}
	next := withRun(l.record, string(data))
	l.unanswered = append(l.unanswered, string(data))
	return patiently(ctx, func() error {
		for {
			written, err := l.store.write(ctx, next, false)
			switch {
			case apierrors.IsConflict(err):
			case apierrors.IsNotFound(err):
				return l.ours(nil)
			case err != nil:
				return fmt.Errorf("write the record %s/%s: %w", l.store.namespace, runName, err)
			default:
				l.record, l.unanswered = written, nil
				return nil
			}
			// A write of our own whose answer was lost, an annotation of somebody's, or a record that is not ours any more.
			there, err := l.store.get(ctx, runName)
			if err != nil {
				return err
			}
			if err := l.ours(there); err != nil {
				return err
			}
			if there.Data[runKey] == string(data) {
				l.record, l.unanswered = there, nil
				return nil
			}
			next = withRun(there, string(data))
		}
	})
}

func withRun(m *corev1.ConfigMap, data string) *corev1.ConfigMap {
	m = m.DeepCopy()
	if m.Data == nil {
		m.Data = map[string]string{}
	}
	m.Data[runKey] = data
	return m
}

// ours returns nil if what the record holds is what this holder wrote last, or sent without getting an answer.
func (l *Lock) ours(there *corev1.ConfigMap) error {
	switch {
	case there == nil:
		return &upgrade.Halt{Problem: fmt.Sprintf("the record %s/%s was deleted while the run was under way", l.store.namespace, runName)}
	case epochOf(there) != l.holder.Epoch:
		return &upgrade.Halt{Problem: fmt.Sprintf("the record %s/%s was claimed by another holder, of epoch %d; this one's is %d", l.store.namespace, runName, epochOf(there), l.holder.Epoch)}
	case there.Data[runKey] != l.record.Data[runKey] && !slices.Contains(l.unanswered, there.Data[runKey]):
		return &upgrade.Halt{Problem: fmt.Sprintf("the record %s/%s was changed by somebody else while the run was under way", l.store.namespace, runName)}
	}
	return nil
}

// Archive keeps the finished run under its own name.
func (l *Lock) Archive(ctx context.Context, run *upgrade.Run) error { return l.store.archive(ctx, run) }

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
