package runstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// unreadFor is how long a request that nobody has looked at yet is left standing before the next one takes its place.
const unreadFor = 5 * time.Second

// Ask stores a request for whoever holds the lease, and returns it with its sequence. There is room for one: an earlier one is
// given some seconds to be read.
func (s *Store) Ask(ctx context.Context, r upgrade.Request) (upgrade.Request, error) {
	deadline := time.Now().Add(unreadFor)
	for {
		wait := false
		_, err := s.put(ctx, controlName, func(m *corev1.ConfigMap) error {
			before := readRequest(m)
			run, err := s.Current(ctx)
			if err != nil {
				return err
			}
			read := int64(0)
			if run != nil {
				read = run.Acknowledged
			}
			if before.Run == r.Run && read < before.Sequence && time.Now().Before(deadline) {
				wait = true
				return errUnread
			}
			r.Sequence = max(before.Sequence, read) + 1 // also if people deleted the ConfigMap meanwhile
			data, err := json.Marshal(r)
			m.Data[requestKey] = string(data)
			return err
		})
		if !wait {
			return r, err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return r, err
		}
	}
}

var errUnread = errors.New("an earlier request is not read yet")

// readRequest is the zero Request if there is none, or none that can be read: that asks for nothing, and the next takes its place.
func readRequest(m *corev1.ConfigMap) upgrade.Request {
	var r upgrade.Request
	if err := json.Unmarshal([]byte(m.Data[requestKey]), &r); err != nil {
		return upgrade.Request{}
	}
	return r
}

// LastSequence is that of the last request that was made, 0 if none was.
func (s *Store) LastSequence(ctx context.Context) (int64, error) {
	m, err := s.get(ctx, controlName)
	if err != nil || m == nil {
		return 0, err
	}
	return readRequest(m).Sequence, nil
}

// Requests sends the requests that are made from now on, those with a sequence above after, until ctx ends.
func (s *Store) Requests(ctx context.Context, after int64) <-chan upgrade.Request {
	requests := make(chan upgrade.Request)
	go func() {
		for m := range s.follow(ctx, controlName) {
			r := readRequest(m)
			if r.Sequence <= after {
				continue
			}
			after = r.Sequence
			select {
			case requests <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	return requests
}

// Follow sends the record as it is and whenever it changes, until ctx ends. What cannot be read is left out.
func (s *Store) Follow(ctx context.Context) <-chan *upgrade.Run {
	runs := make(chan *upgrade.Run)
	go func() {
		defer close(runs)
		for m := range s.follow(ctx, runName) {
			run, err := readRun(m)
			if err != nil || run == nil {
				continue
			}
			select {
			case runs <- run:
			case <-ctx.Done():
				return
			}
		}
	}()
	return runs
}

// Propose stores the plan that people are asked to approve, in place of an earlier one.
func (s *Store) Propose(ctx context.Context, p upgrade.Proposal) error {
	plan, err := json.Marshal(p.Plan)
	if err != nil {
		return err
	}
	approvals, err := json.Marshal(p.Approvals)
	if err != nil {
		return err
	}
	_, err = s.put(ctx, planName, func(m *corev1.ConfigMap) error {
		m.Data[planKey], m.Data[approvalsKey] = string(plan), string(approvals)
		return nil
	})
	return err
}

// Proposal returns the pending proposal, nil if there is none.
func (s *Store) Proposal(ctx context.Context) (*upgrade.Proposal, error) {
	m, err := s.get(ctx, planName)
	if err != nil || m == nil {
		return nil, err
	}
	var p upgrade.Proposal
	if err := errors.Join(json.Unmarshal([]byte(m.Data[planKey]), &p.Plan), json.Unmarshal([]byte(m.Data[approvalsKey]), &p.Approvals)); err != nil {
		return nil, fmt.Errorf("ConfigMap %s/%s: read the proposal: %w", s.namespace, planName, err)
	}
	return &p, nil
}

// Amend changes what people said of the pending proposal of that ID by compare-and-swap, and returns it as it is then. Change may be
// called more than once; its error is returned, and then nothing is changed. NotPending is an error.
func (s *Store) Amend(ctx context.Context, id string, change func(*upgrade.Approvals) error) (upgrade.Approvals, error) {
	var a upgrade.Approvals
	_, err := s.put(ctx, planName, func(m *corev1.ConfigMap) error {
		a = upgrade.Approvals{}
		if err := json.Unmarshal([]byte(m.Data[approvalsKey]), &a); err != nil || a.ID != id {
			return &NotPending{ID: id}
		}
		if err := change(&a); err != nil {
			return err
		}
		data, err := json.Marshal(a)
		m.Data[approvalsKey] = string(data)
		return err
	})
	return a, err
}

// NotPending is the error for a proposal that does not wait for approval any more.
type NotPending struct{ ID string }

func (n *NotPending) Error() string {
	return fmt.Sprintf("the proposal %s is not the one that waits for approval", n.ID)
}

// Withdraw forgets the pending proposal if it is the one that is meant, and tells whether it was there to be forgotten. One that took
// its place meanwhile stays.
func (s *Store) Withdraw(ctx context.Context, meant func(upgrade.Approvals) bool) (bool, error) {
	for {
		m, err := s.get(ctx, planName)
		if err != nil || m == nil {
			return false, err
		}
		var a upgrade.Approvals
		if err := json.Unmarshal([]byte(m.Data[approvalsKey]), &a); err != nil || !meant(a) {
			return false, nil
		}
		err = s.forget(ctx, m)
		switch {
		case apierrors.IsConflict(err):
			continue // a vote came in between, or another proposal
		case apierrors.IsNotFound(err):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("delete ConfigMap %s/%s: %w", s.namespace, planName, err)
		}
		return true, nil
	}
}

// forget deletes a ConfigMap as it was read.
func (s *Store) forget(ctx context.Context, m *corev1.ConfigMap) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return s.maps.Delete(ctx, m.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &m.ResourceVersion}})
}
