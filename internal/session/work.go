package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/upshift-k8s/upshift/internal/engine"
	"github.com/upshift-k8s/upshift/internal/kube"
	"github.com/upshift-k8s/upshift/internal/runstore"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

const (
	// releaseTimeout is for giving the lease back. With the drain's last calls and the engine's checkpoint it stays below the 5 s in
	// which an interrupted process has to be done.
	releaseTimeout = 1250 * time.Millisecond
	// calmReleaseTimeout is the same for a process that has time: a change whose answer was lost may have to be waited for.
	calmReleaseTimeout = 15 * time.Second
	// archiveTimeout is for keeping a finished run under its own name.
	archiveTimeout = 30 * time.Second
)

// Work is the right to work on the cluster: while it lasts, no other process does. Its methods are for one goroutine.
type Work struct {
	session *Session
	lock    *runstore.Lock
	// started is the context that the right was asked for with; when it ends, there is no time to lose.
	started context.Context
	// sequence is that of the last request that was made before: what nobody was there to read is asked anew by who still wants it.
	sequence int64
}

// Work takes the cluster's lease; tell gets a sentence about what is waited for. The errors runstore.Held and runstore.NoNamespace
// say why it cannot be had. The caller calls End.
func (s *Session) Work(ctx context.Context, who upgrade.Holder, tell func(string)) (*Work, error) {
	lock, err := s.store.Acquire(ctx, who, tell)
	if err != nil {
		return nil, err
	}
	w := &Work{session: s, lock: lock, started: ctx}
	if w.sequence, err = s.store.LastSequence(ctx); err != nil {
		tell(fmt.Sprintf("what was asked of earlier runs cannot be read: %s", err))
	}
	return w, nil
}

// Context ends when the right is lost; what is done with it is done with this context.
func (w *Work) Context() context.Context { return w.lock.Context() }

// Name is the name under which the lease is held.
func (w *Work) Name() string { return w.lock.Name() }

// End gives the lease back. If that fails, it is free by itself half a minute later.
func (w *Work) End() error {
	timeout := calmReleaseTimeout
	if w.started.Err() != nil {
		timeout = releaseTimeout
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.started), timeout)
	defer cancel()
	return w.lock.Release(ctx)
}

// Recorded returns the run of the record, nil if there is none.
func (w *Work) Recorded() (*upgrade.Run, error) { return w.lock.Run() }

// Archive keeps a finished run under its own name, once more: the process that finished it may have ended before it could.
func (w *Work) Archive(ctx context.Context, run *upgrade.Run) error {
	ctx, cancel := context.WithTimeout(ctx, archiveTimeout)
	defer cancel()
	return w.lock.Archive(ctx, run)
}

// Hooks are how a surface is told while a run is carried out. Each may be nil.
type Hooks struct {
	// Notify is told every event, one at a time, and keeps the run waiting meanwhile.
	Notify func(upgrade.Event)
	// Saved is told the run after each write of the record.
	Saved func(*upgrade.Run)
	// Unkept is told why a finished run could not be kept under its own name; it is in the record all the same.
	Unkept func(error)
}

// AnotherCluster is the error for a record that is about another cluster than the one that it was found in.
type AnotherCluster struct{ Cluster upgrade.Cluster }

func (a *AnotherCluster) Error() string {
	c := a.Cluster
	return fmt.Sprintf("the record is about another cluster, projects/%s/locations/%s/clusters/%s: this one was made from a copy of that, or the record was", c.Project, c.Location, c.Name)
}

// CarryOut carries out what is left of a run, new or of the record, and first what a person asks, if anything. The run says how it
// ended; the error is the engine's. Approvals of a new run move out of the proposal before anything is changed.
func (w *Work) CarryOut(ctx context.Context, run *upgrade.Run, first *upgrade.Request, hooks Hooks) error {
	s := w.session
	if c, name := run.Plan.Cluster, s.target.Name; c.Project != name.Project || c.Location != name.Location || c.Name != name.Cluster {
		return &AnotherCluster{c}
	}
	cluster, err := kube.Watch(ctx, s.kube, run.Plan.Cluster.PoolLabel)
	if err != nil {
		return &NotBegun{err}
	}
	run.Acknowledged = max(w.sequence, run.Acknowledged)
	run.TakenBy(w.lock.Holder())
	if len(run.Approvals) > 0 && run.Steps[0].StartedAt == nil {
		// Recorded first, and then no longer pending.
		if err := errors.Join(w.lock.Save(ctx, run), s.store.Withdraw(ctx, func(a upgrade.Approvals) bool { return a.Digest == run.Digest })); err != nil {
			return &NotBegun{fmt.Errorf("record the approvals: %w", err)}
		}
	}
	if hooks.Notify == nil {
		hooks.Notify = func(upgrade.Event) {}
	}
	e := engine.Engine{
		Provider: s.provider, Cluster: cluster, Lock: w.lock, Record: &journal{lock: w.lock, saved: hooks.Saved}, First: first,
		Requests: s.store.Requests(ctx, run.Acknowledged), Outages: w.lock.Outages(), Notify: hooks.Notify,
	}
	err = e.Run(ctx, run)
	if run.State.Final() {
		if err := w.Archive(ctx, run); err != nil && hooks.Unkept != nil {
			hooks.Unkept(err)
		}
	}
	return err
}

// NotBegun is the error of a run of which nothing was done: the cluster could not be read, or the approvals not be recorded.
type NotBegun struct{ err error }

func (n *NotBegun) Error() string { return n.err.Error() }
func (n *NotBegun) Unwrap() error { return n.err }

// journal is the engine's record: in the cluster, and told to the surface.
type journal struct {
	lock  *runstore.Lock
	saved func(*upgrade.Run)
}

func (j *journal) Save(ctx context.Context, run *upgrade.Run) error {
	err := j.lock.Save(ctx, run)
	if j.saved != nil {
		j.saved(run)
	}
	return err
}
