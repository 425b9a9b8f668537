// Package drain empties cordoned nodes through the eviction API and holds the gate after them: every workload that lost a
// pod is as available as it was before. It waits for events, never for a fixed time. What to do next is decided by a tracker
// that knows no clock and no network; this file carries it out.
package drain

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// Cluster is what a drain needs of a Kubernetes cluster. Implementations are safe for concurrent use.
type Cluster interface {
	// State returns what is known now. It does not call the API.
	State() upgrade.State
	// Changed returns a channel that is closed at the next change of State.
	Changed() <-chan struct{}
	// Evict asks the eviction API once to let the pod go, on condition that it still has its UID.
	Evict(ctx context.Context, pod upgrade.Pod) upgrade.Answer
	// Delete deletes the pod past its budgets, on condition that it still has its UID; at once, or with its own grace period.
	Delete(ctx context.Context, pod upgrade.Pod, atOnce bool) upgrade.Answer
}

// Node is a node to drain.
type Node struct {
	Name string
	// Baseline is what its drain found when it first began, nil if it has not begun before.
	Baseline *upgrade.Baseline
	// Since is when the drain began that somebody else carries out, zero if it is not known to have.
	Since time.Time
}

// Options are the choices about drains.
type Options struct {
	// Timeout is for one node, gate included; reaching it is a Blocked error. Time in which the API is away does not count, and where
	// nodes are drained at once a node's time begins anew whenever a workload or budget that it waits for gets on.
	Timeout time.Duration
	// Parallel is how many nodes are drained at once.
	Parallel upgrade.Drains
	// Restarted are the UIDs of workloads that replace their pods by themselves. If it is not nil only those pods have to leave the nodes, and
	// nothing is evicted.
	Restarted map[string]bool
	// Followed tells that somebody else drains the nodes, nil for these drains themselves. They need not be cordoned then, and have no deadline but
	// that of the gate: a node is late once it is replaced and its workloads are not as available as before.
	Followed *Followed
	// Moved are the UIDs of pods that are known to have left a node.
	Moved map[string]bool
	// Forced are the UIDs of pods that a person lets go past everything that holds them.
	Forced map[string]bool
	// LoseBarePods tells that pods that nobody will make again may be evicted.
	LoseBarePods bool
	// EvictJobs tells that the pods of running Jobs are evicted rather than awaited.
	EvictJobs bool
	// LoseEmptyDirs tells that pods with emptyDir volumes may be evicted.
	LoseEmptyDirs bool
	// MoreRoom is the command by which a person gives the nodes that pods go to some more room, empty for none.
	MoreRoom string
	// Growing is the pool whose autoscaler adds nodes for pods that find none, empty for no such pool.
	Growing string
	// Resumed tells that an earlier run has drained nodes of the pool. What was Ready before that is not known, so its workloads
	// have to be as available as they want to be.
	Resumed bool
	// Begin is told of nodes, each with its Baseline, before anything on them is evicted, and End of each node that is drained, with all that
	// was done so far. An error of Begin ends the drains. Both may be nil.
	Begin func([]Node) error
	End   func(node string, r Result)
	// Notify is told every event of the drain of a node, one at a time. It must be set, and completes what a drain does not know: the step
	// and the time. What is waited for is told with the first node that waits for something of it.
	Notify func(node string, e upgrade.Event)
	// Progress is told what was done so far and what is waited for, whenever either may have changed. It may be nil.
	Progress func(Result, []upgrade.Waiting)
}

// Result is what drains did so far: the pods that left, and of how many of them a replacement is Ready. It must not be kept beyond the call
// that it is told in.
type Result struct {
	Moves    []upgrade.Move
	Replaced int
}

// Blocked is the error of a drain that came to its deadline. Waiting is what the node waits for, and Next the commands that end that.
type Blocked struct {
	Node    string
	After   time.Duration
	Waiting []upgrade.Waiting
	Next    []string
}

func (b *Blocked) Error() string {
	reasons := make([]string, len(b.Waiting))
	for i, w := range b.Waiting {
		reasons[i] = w.String()
	}
	return fmt.Sprintf("node %s is not drained after %s: %s", b.Node, b.After, strings.Join(reasons, "; "))
}

const (
	// settleBlocked is how long a reason for waiting must last before it is told, and settlePassing the same for those that end
	// by themselves when all is well.
	settleBlocked = time.Second
	settlePassing = 10 * time.Second
	// remind is how often unchanged reasons are told again.
	remind = time.Minute
	// evictTimeout bounds one call of the eviction API, which retries conflicts for up to 10 s by itself (20 times 500 ms).
	evictTimeout = 30 * time.Second
	// lastCalls is how long calls under way are given when the drain ends. An eviction that is cut off can have taken from its
	// budget what the pod, which stays, gives back only after two minutes (the disruption controller's DeletionTimeout).
	lastCalls = 750 * time.Millisecond
)

type answered struct {
	pod    upgrade.Pod
	answer upgrade.Answer
}

// Nodes drains the nodes, which must be cordoned, in their order, and returns once nothing but pods that stay with their node is left on
// them and the gate is passed. The Result tells what was done also when there is an error: Blocked at a deadline, the context's, or that of
// Begin otherwise. Evictions under way are awaited before it returns.
func Nodes(ctx context.Context, c Cluster, nodes []Node, o Options) (Result, error) {
	d := &drains{c: c, o: o, t: newTracker(nodes, o, c.State()), answers: make(chan answered), reporters: newReporters(o.Notify)}
	calls, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	defer func() {
		last := time.AfterFunc(lastCalls, giveUp)
		defer last.Stop()
		for ; d.inFlight > 0; d.inFlight-- {
			<-d.answers
		}
	}()
	d.last = time.Now()
	for {
		changed := c.Changed() // before State: a change in between is then seen at once
		wake, next, err := d.decide()
		if next.done || err != nil {
			return d.t.result(), err
		}
		for _, pod := range next.evict {
			d.evict(calls, pod)
		}
		timer := time.NewTimer(time.Until(wake))
		select {
		case <-changed:
		case a := <-d.answers:
			d.inFlight--
			d.t.answered(a.pod, a.answer, time.Now())
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return d.t.result(), fmt.Errorf("drain %s: %w", d.t.names(), context.Cause(ctx))
		}
		timer.Stop()
	}
}

// drains carries out what a tracker decides.
type drains struct {
	c         Cluster
	o         Options
	t         *tracker
	reporters []*reporter
	// answers gets those of evictions, and inFlight is how many are under way.
	answers  chan answered
	inFlight int
	// last is when it was last decided, and away whether the API was away then.
	last time.Time
	away bool
}

// decide decides and tells; what is to be evicted is left to the caller. It says when to decide again if nothing happens.
func (d *drains) decide() (wake time.Time, next decision, err error) {
	now := time.Now()
	state := d.c.State()
	if d.away {
		d.t.prolong(now.Sub(d.last))
	}
	d.last, d.away = now, state.Away
	next = d.t.next(state, now)
	if len(next.begin) > 0 && d.o.Begin != nil {
		if err := d.o.Begin(next.begin); err != nil {
			return now, next, err
		}
	}
	for _, e := range next.events {
		d.o.Notify(e.node, e.Event)
	}
	if d.o.Progress != nil && !state.Away {
		d.o.Progress(d.t.result(), next.waiting)
	}
	for _, node := range next.ended {
		if d.o.End != nil {
			d.o.End(node, d.t.result())
		}
	}
	if next.done {
		return now, next, nil
	}
	late, at := d.t.late()
	if late != "" && !state.Away && !now.Before(at) {
		waiting := next.of(late)
		return now, next, &Blocked{Node: late, After: now.Sub(d.t.began[late]).Round(time.Second), Waiting: waiting, Next: d.t.remedies(state, waiting)}
	}
	wake = now.Add(remind)
	if !state.Away { // else the reasons are out of date, and that the API is away is told by others
		for _, r := range d.reporters {
			wake = earlier(wake, r.waiting(next.waiting, now))
		}
		if late != "" {
			wake = earlier(wake, at)
		}
	}
	if !next.wake.IsZero() {
		wake = earlier(wake, next.wake)
	}
	if spent := time.Since(now); spent > time.Second {
		d.t.prolong(spent) // telling can wait for an API that is away
	}
	return wake, next, nil
}

// evict asks the API to let the pod go; the answer comes by itself.
func (d *drains) evict(ctx context.Context, pod upgrade.Pod) {
	d.inFlight++
	go func() {
		ctx, cancel := context.WithTimeout(ctx, evictTimeout)
		defer cancel()
		if d.o.Forced[pod.UID] {
			d.answers <- answered{pod, d.c.Delete(ctx, pod, pod.Terminating())}
			return
		}
		d.answers <- answered{pod, d.c.Evict(ctx, pod)}
	}()
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// AsBlocked returns the Blocked error in err's chain, or nil.
func AsBlocked(err error) *Blocked {
	var b *Blocked
	if errors.As(err, &b) {
		return b
	}
	return nil
}

// reporter tells the reasons for waiting once they have lasted, and again while they last. Each counts for itself: in a large drain there
// is always one that comes or goes, which must not keep the others from being told.
type reporter struct {
	// tells says which of the reasons it is about, and settle how long one must last, and how long it is quiet after it has told some.
	tells  func(upgrade.Waiting) bool
	settle time.Duration
	notify func(string, upgrade.Event)

	// since is how long there have been the reasons that there are, and last those that were told last, at the time told.
	since map[string]time.Time
	last  map[string]bool
	told  time.Time
}

func newReporters(notify func(string, upgrade.Event)) []*reporter {
	return []*reporter{
		{notify: notify, settle: settleBlocked, tells: func(w upgrade.Waiting) bool { return !w.Passing }},
		{notify: notify, settle: settlePassing, tells: func(w upgrade.Waiting) bool { return w.Passing }},
	}
}

// waiting tells the reasons if it is time to, and returns when to look again.
func (r *reporter) waiting(all []upgrade.Waiting, now time.Time) time.Time {
	var lasting []upgrade.Waiting
	since, keys, wake := map[string]time.Time{}, map[string]bool{}, now.Add(remind)
	for _, w := range all {
		if !r.tells(w) {
			continue
		}
		key := reasonKey(w)
		began, ok := r.since[key]
		if !ok {
			began = now
		}
		since[key] = began
		if due := began.Add(r.settle); now.Before(due) {
			wake = earlier(wake, due)
			continue
		}
		lasting = append(lasting, w)
		keys[key] = true
	}
	r.since = since
	if len(lasting) == 0 {
		return wake
	}
	due := r.told.Add(r.settle)
	if maps.Equal(keys, r.last) {
		due = r.told.Add(remind)
	}
	if now.Before(due) {
		return earlier(wake, due)
	}
	r.told, r.last = now, keys
	node := ""
	if i := slices.IndexFunc(lasting, func(w upgrade.Waiting) bool { return w.Node != "" }); i >= 0 {
		node = lasting[i].Node
	}
	r.notify(node, upgrade.Event{Kind: upgrade.DrainWaits, Waiting: lasting})
	return wake
}

// reasonKey tells reasons apart, but for their numbers, which come and go.
func reasonKey(w upgrade.Waiting) string {
	reason := strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}, w.Reason)
	return w.Object.String() + " " + w.Object.UID + " " + w.Budget + " " + reason
}
