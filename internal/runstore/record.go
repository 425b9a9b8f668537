package runstore

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

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
				if l.fails() { // the API is back, which the next renewal would only notice later
					_ = l.renewOnce(ctx)
				}
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
