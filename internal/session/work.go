package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/upshift-k8s/upshift/internal/engine"
	"github.com/upshift-k8s/upshift/internal/gke"
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
	// cluster is the Kubernetes cluster with full caches, nil until watch.
	cluster *kube.Cluster
}

// Work takes the cluster's lease; tell gets a sentence about what is waited for. The errors runstore.Held and runstore.NoNamespace
// say why it cannot be had. An API that its provider has taken away is waited for. The caller calls End.
func (s *Session) Work(ctx context.Context, who upgrade.Holder, tell func(string)) (*Work, error) {
	lock, err := s.store.Acquire(ctx, who, tell)
	for err != nil {
		// It may have gone while the lease was looked at.
		if waited, waitErr := s.AwaitAPI(ctx, tell); !waited || waitErr != nil {
			return nil, errors.Join(err, waitErr)
		}
		lock, err = s.store.Acquire(ctx, who, tell)
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

// Plan is Session.Plan, for the work: what is read then is what the run goes on with.
func (w *Work) Plan(ctx context.Context, o upgrade.Options) (upgrade.Plan, error) {
	cluster, err := w.session.provider.Cluster(ctx)
	if err != nil {
		return upgrade.Plan{}, err
	}
	if err := w.watch(ctx, cluster); err != nil {
		return upgrade.Plan{}, err
	}
	return w.session.build(ctx, cluster, w.cluster, o)
}

// watch fills the caches, once. They are kept up to date until the right is lost.
func (w *Work) watch(ctx context.Context, c upgrade.Cluster) error {
	if w.cluster != nil {
		return nil
	}
	// The caches outlive ctx, if it is shorter than the work, but filling them does not.
	kept, drop := context.WithCancel(w.lock.Context())
	unless := context.AfterFunc(ctx, drop)
	cluster, err := kube.Watch(kept, w.session.kube, kube.PoolsOf(c)) //nolint:contextcheck // the caches last as long as the work
	if !unless() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		drop()
		return err
	}
	w.cluster = cluster
	return nil
}

// Record makes a new run the one of the record, and forgets the proposal that it comes from: from then on it has begun, and is gone on
// with by whoever takes the record up. An error leaves it unknown whether it did. It waits while the API is away, until ctx ends.
func (w *Work) Record(ctx context.Context, run *upgrade.Run) error {
	run.Acknowledged = max(w.sequence, run.Acknowledged)
	run.TakenBy(w.lock.Holder())
	if err := w.lock.Save(ctx, run); err != nil {
		return fmt.Errorf("record the run: %w", err)
	}
	_, err := w.session.store.Withdraw(ctx, func(a upgrade.Approvals) bool {
		if run.Slack != nil {
			return a.ID == run.Slack.Question
		}
		return len(run.Approvals) > 0 && a.Digest == run.Digest
	})
	return err
}

// Hooks are how a surface is told while a run is carried out. Each may be nil.
type Hooks struct {
	// Notify is told every event, one at a time, and keeps the run waiting meanwhile.
	Notify func(upgrade.Event)
	// Saved is told the run after each write of the record that succeeded.
	Saved func(*upgrade.Run)
	// Unkept is told why a finished run could not be kept under its own name; it is in the record all the same.
	Unkept func(error)
}

// AnotherCluster is the error for a record that is about another cluster than the one that it was found in.
type AnotherCluster struct{ Cluster upgrade.Cluster }

func (a *AnotherCluster) Error() string {
	c := a.Cluster
	return fmt.Sprintf("the record is about another cluster, %s: this one was made from a copy of that, or the record was", gke.Name{Project: c.Project, Location: c.Location, Cluster: c.Name})
}

// Prepare makes sure that the run is of this cluster, and reads the cluster. AnotherCluster is an error.
func (w *Work) Prepare(ctx context.Context, run *upgrade.Run) error {
	if c, name := run.Plan.Cluster, w.session.target.Name; c.Project != name.Project || c.Location != name.Location || c.Name != name.Cluster {
		return &AnotherCluster{c}
	}
	return w.watch(ctx, run.Plan.Cluster)
}

// CarryOut carries out what is left of a run that was prepared or planned here, and first what a person asks, if anything. The run says
// how it ended; the error is the engine's.
func (w *Work) CarryOut(ctx context.Context, run *upgrade.Run, first *upgrade.Request, hooks Hooks) error {
	s := w.session
	run.Acknowledged = max(w.sequence, run.Acknowledged)
	if hooks.Notify == nil {
		hooks.Notify = func(upgrade.Event) {}
	}
	// Who runs the cluster may have neither.
	upgrader, _ := s.provider.(engine.Upgrader)
	surroundings, _ := s.provider.(engine.Surroundings)
	e := engine.Engine{
		Provider: s.provider, Upgrader: upgrader, Surroundings: surroundings, Cluster: w.cluster, Lock: w.lock, Record: &journal{lock: w.lock, saved: hooks.Saved}, Holder: w.lock.Holder(), First: first,
		Calls: s.tally.Calls, Requests: s.store.Requests(ctx, run.Acknowledged), Outages: w.lock.Outages(), Notify: hooks.Notify,
	}
	err := e.Run(ctx, run)
	if run.State.Final() {
		if err := w.Archive(ctx, run); err != nil && hooks.Unkept != nil {
			hooks.Unkept(err)
		}
	}
	return err
}

// journal is the engine's record: in the cluster, and told to the surface.
type journal struct {
	lock  *runstore.Lock
	saved func(*upgrade.Run)
}

func (j *journal) Save(ctx context.Context, run *upgrade.Run) error {
	err := j.lock.Save(ctx, run)
	if err == nil && j.saved != nil {
		j.saved(run)
	}
	return err
}
