// Package drain empties a cordoned node through the eviction API and holds the gate after it: every workload that lost a
// pod is as available as it was before. It waits for events, never for a fixed time. What to do next is decided by a tracker
// that knows no clock and no network; this file carries it out.
package drain

import (
	"context"
	"errors"
	"fmt"
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

// Options are the choices about a drain.
type Options struct {
	// Timeout is for the whole drain, gate included; reaching it is a Blocked error. Time in which the API is away does not count.
	Timeout time.Duration
	// Baseline is what the drain found when it first began, nil for now.
	Baseline *upgrade.Baseline
	// Moved are the UIDs of pods that are known to have left the node.
	Moved map[string]bool
	// Forced are the UIDs of pods that a person lets go past everything that holds them.
	Forced map[string]bool
	// LoseBarePods tells that pods that nobody will make again may be evicted.
	LoseBarePods bool
	// EvictJobs tells that the pods of running Jobs are evicted rather than awaited.
	EvictJobs bool
	// LoseEmptyDirs tells that pods with emptyDir volumes may be evicted.
	LoseEmptyDirs bool
	// Resumed tells that an earlier run has drained nodes of the pool. What was Ready before that is not known, so its workloads
	// have to be as available as they want to be.
	Resumed bool
	// Notify is told every event, one at a time. It must be set, and completes what a drain does not know: the step and the time.
	Notify func(upgrade.Event)
	// Progress is told what was done so far and what is waited for, whenever either may have changed. It may be nil.
	Progress func(Result, []upgrade.Waiting)
}

// Result is what a drain did.
type Result struct {
	Moves []upgrade.Move
}

// Blocked is the error of a drain that came to its deadline.
type Blocked struct {
	Node    string
	After   time.Duration
	Waiting []upgrade.Waiting
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

// Node drains the node, which must be cordoned, and returns once nothing but pods that stay with the node is left on it
// and the gate is passed. The Result tells what was done also when there is an error: Blocked at the deadline, the context's
// otherwise. Evictions under way are awaited before it returns.
func Node(ctx context.Context, c Cluster, node string, o Options) (Result, error) {
	start := time.Now()
	t := newTracker(node, o, c.State())
	answers := make(chan answered)
	inFlight := 0
	calls, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	defer func() {
		last := time.AfterFunc(lastCalls, giveUp)
		defer last.Stop()
		for ; inFlight > 0; inFlight-- {
			<-answers
		}
	}()
	reporters := newReporters(o.Notify)
	deadline := start.Add(o.Timeout)
	last, wasAway := start, false
	for {
		changed := c.Changed() // before State: a change in between is then seen at once
		now := time.Now()
		state := c.State()
		if wasAway {
			deadline = deadline.Add(now.Sub(last))
		}
		last, wasAway = now, state.Away
		next := t.next(state, now)
		for _, e := range next.events {
			o.Notify(e)
		}
		if o.Progress != nil && !state.Away {
			o.Progress(t.result(), next.waiting)
		}
		if next.done {
			return t.result(), nil
		}
		if !state.Away && !now.Before(deadline) {
			return t.result(), &Blocked{Node: node, After: now.Sub(start).Round(time.Second), Waiting: next.waiting}
		}
		for _, pod := range next.evict {
			inFlight++
			go func() {
				ctx, cancel := context.WithTimeout(calls, evictTimeout)
				defer cancel()
				if o.Forced[pod.UID] {
					answers <- answered{pod, c.Delete(ctx, pod, pod.Terminating())}
					return
				}
				answers <- answered{pod, c.Evict(ctx, pod)}
			}()
		}
		wake := deadline
		if state.Away {
			wake = now.Add(remind) // the reasons are out of date, and that the API is away is told by others
		} else {
			for _, r := range reporters {
				wake = earlier(wake, r.waiting(next.waiting, now))
			}
		}
		if !next.wake.IsZero() {
			wake = earlier(wake, next.wake)
		}
		if spent := time.Since(now); spent > time.Second {
			deadline = deadline.Add(spent) // telling can wait for an API that is away
		}
		timer := time.NewTimer(time.Until(wake))
		select {
		case <-changed:
		case a := <-answers:
			inFlight--
			t.answered(a.pod, a.answer, time.Now())
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return t.result(), fmt.Errorf("drain node %s: %w", node, context.Cause(ctx))
		}
		timer.Stop()
	}
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

// reporter tells the reasons for waiting once they have lasted, and again while they last.
type reporter struct {
	// tells says which of the reasons it is about, and settle how long they must last unchanged.
	tells  func(upgrade.Waiting) bool
	settle time.Duration
	notify func(upgrade.Event)

	// current are the reasons as they are, since when; lastTold are those that were told last, and when.
	current, lastTold string
	since, told       time.Time
}

func newReporters(notify func(upgrade.Event)) []*reporter {
	return []*reporter{
		{notify: notify, settle: settleBlocked, tells: func(w upgrade.Waiting) bool { return !w.Passing }},
		{notify: notify, settle: settlePassing, tells: func(w upgrade.Waiting) bool { return w.Passing }},
	}
}

// waiting tells the reasons if it is time to, and returns when to look again.
func (r *reporter) waiting(all []upgrade.Waiting, now time.Time) time.Time {
	var mine []upgrade.Waiting
	var key strings.Builder
	for _, w := range all {
		if r.tells(w) {
			mine = append(mine, w)
			fmt.Fprintln(&key, w)
		}
	}
	if key.String() != r.current {
		r.current, r.since = key.String(), now
	}
	if r.current == "" {
		return now.Add(remind)
	}
	due := r.since.Add(r.settle)
	if again := r.told.Add(remind); r.current == r.lastTold && again.After(due) {
		due = again // they were told a moment ago, whatever the reasons were in between
	}
	if now.Before(due) {
		return due
	}
	r.told, r.lastTold = now, r.current
	r.notify(upgrade.Event{Kind: upgrade.DrainWaits, Waiting: mine})
	return now.Add(remind)
}
