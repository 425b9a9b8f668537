package runstore

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// Held is the error for a cluster that somebody else works on.
type Held struct {
	Holder  upgrade.Holder
	Renewed time.Time
}

func (h *Held) Error() string {
	return fmt.Sprintf("%s works on this cluster, and was last seen at %s", h.Holder, h.Renewed.UTC().Format(time.RFC3339))
}

// Acquire takes the cluster's lease and claims the record. A lease that nobody renews is taken once it has been seen unchanged
// for its whole duration while the API could be reached, by this machine's clock alone; meanwhile is told what is waited for. Held and NoNamespace are errors.
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
	begun := time.Now()
	for answered := begun; ; {
		asked := time.Now()
		lease, err := l.store.lease(ctx)
		now := time.Now()
		if err != nil || now.Sub(asked) > l.store.timing.call {
			since = now // its holder could not renew it meanwhile either
		}
		if err != nil && passing(err) && now.Sub(answered) < requestTimeout {
			if err := pause(ctx, retryPause); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		answered = now
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
				if err := pause(ctx, lookPause); err != nil {
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
	l.attempted, l.validUntil = sent, l.until(sent)
	if err != nil {
		return err
	}
	l.lease = taken
	return nil
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
