package drain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// launch decides about every pod that is still here: evict it now, or say why not.
func (t *tracker) launch(d *decision, v view, held string) {
	busy := map[string]bool{} // budgets, and workloads without one, that have an eviction under way
	for _, a := range t.attempts {
		if a.inFlight {
			for _, key := range a.slots {
				busy[key] = true
			}
		}
	}
	for _, p := range t.inTurn(v.here) {
		if w, wait := t.holds(d, v, p, held, busy); wait {
			d.waiting = append(d.waiting, w)
			t.held[p.UID] = w
			continue
		}
		if w, ok := t.held[p.UID]; ok {
			d.waiting = append(d.waiting, w) // it still waits for that while the API is asked once more
		}
		if a := t.attempts[p.UID]; a != nil && a.inFlight {
			continue
		}
		revisions := map[string]string{}
		for _, key := range slots(p) {
			busy[key] = true
			// A budget that is not asked is not changed, so nothing of it need be waited for.
			if b, ok := v.Budgets[key]; ok && !b.Frees(p) {
				revisions[key] = b.Revision
			}
		}
		a := t.attempts[p.UID]
		if a == nil {
			a = &attempt{}
			t.attempts[p.UID] = a
		}
		a.inFlight, a.slots, a.revisions, a.tries = true, slots(p), revisions, a.tries+1
		d.evict = append(d.evict, p)
	}
}

// inTurn are the pods in the order in which they are evicted: first those that came back, since it shows soonest whether the next one does
// so too.
func (t *tracker) inTurn(here map[string]upgrade.Pod) []upgrade.Pod {
	list := sorted(here)
	first := func(p upgrade.Pod) int {
		if slices.Contains(t.back[p.Workload.UID], p.UID) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(list, func(a, b upgrade.Pod) int { return first(a) - first(b) })
	return list
}

// slots are what an eviction of p occupies while it is under way: each of its budgets (two evictions at once on one budget
// collide in the API server and cost it half a second of sleep), or its workload if it has none.
func slots(p upgrade.Pod) []string {
	if len(p.Budgets) > 0 {
		return p.Budgets
	}
	if p.Workload.UID != "" {
		return []string{"workload " + p.Workload.UID}
	}
	return nil
}

// holds tells whether p cannot be evicted now, and why. The reasons are stable while nothing changes.
func (t *tracker) holds(d *decision, v view, p upgrade.Pod, held string, busy map[string]bool) (upgrade.Waiting, bool) {
	wait := func(reason string, args ...any) (upgrade.Waiting, bool) {
		return upgrade.Waiting{Object: p.Ref(), Node: t.node, Reason: fmt.Sprintf(reason, args...)}, true
	}
	forced := t.options.Forced[p.UID]
	a := t.attempts[p.UID]
	switch {
	case a != nil && a.inFlight:
		return upgrade.Waiting{}, false
	case p.Terminating():
		late := p.EndsBy.Add(overdue)
		if v.now.Before(late) {
			d.wakeAt(late)
			return passing(wait("is stopping, its grace period ends at %s", clock(p.EndsBy)))
		}
		if forced && (a == nil || v.now.After(a.notBefore)) {
			return upgrade.Waiting{}, false
		}
		return wait("should have stopped at %s and has not: a finalizer or its kubelet holds it; it is not deleted by force", clock(p.EndsBy))
	case a != nil && a.answer.Kind == upgrade.Accepted && v.now.Before(a.notBefore):
		return passing(wait("is evicted"))
	case forced:
		if a != nil && v.now.Before(a.notBefore) {
			d.wakeAt(a.notBefore)
			return wait("%s", a.answer.Message)
		}
		return upgrade.Waiting{}, false
	case p.Disposition() == upgrade.Awaited && !t.options.EvictJobs:
		return wait("%s is running and is left to finish", p.Workload)
	case p.Disposition() == upgrade.Lost && !t.options.LoseBarePods:
		return wait("no controller will make it again, and %s was not given", upgrade.AllowBarePods)
	case len(p.EmptyDirs) > 0 && !t.options.LoseEmptyDirs:
		return wait("keeps data in emptyDir volumes, and %s was not given", upgrade.AllowEmptyDirLoss)
	case len(p.Budgets) > 1 && !p.Pending:
		w, _ := wait("PodDisruptionBudgets %s both select it, and the eviction API refuses such a pod", strings.Join(p.Budgets, " and "))
		w.Budget = p.Budgets[0]
		return w, true
	}
	if t.returning[p.Workload.UID] {
		return wait("%s", t.returns(v, p))
	}
	if held != "" {
		return wait("is held back, since %s", held)
	}
	for _, key := range slots(p) {
		if busy[key] {
			return passing(wait("waits its turn: another eviction of %s is under way", orWorkload(p)))
		}
	}
	if len(p.Budgets) == 0 {
		if w := t.unguarded(v, p); w != "" {
			return passing(wait("waits its turn: %s has no PodDisruptionBudget, so its pods go one at a time, and %s", p.Workload, w))
		}
	}
	return t.budgetHolds(d, v, p, a)
}

// returns says why evicting a pod of a workload that comes back to the node is of no use.
func (t *tracker) returns(v view, p upgrade.Pod) string {
	cordoned := slices.ContainsFunc(v.Nodes, func(n upgrade.Node) bool { return n.Name == t.node && n.Unschedulable })
	why, whose := "tolerates the cordon", "tolerate the cordon"
	if !cordoned {
		why, whose = "found the node uncordoned", "find the node uncordoned"
	}
	if slices.Contains(t.back[p.Workload.UID], p.UID) {
		return why + " and came back to this node: it is not evicted again"
	}
	return fmt.Sprintf("stays, since replacements of %s %s and come back to this node", p.Workload, whose)
}

// clock is a time of day for people in several time zones.
func clock(t time.Time) string { return t.UTC().Format("15:04:05 UTC") }

// passing marks a wait as one that ends by itself when all is well.
func passing(w upgrade.Waiting, holds bool) (upgrade.Waiting, bool) {
	w.Passing = true
	return w, holds
}

func orWorkload(p upgrade.Pod) string {
	if len(p.Budgets) > 0 {
		return "PodDisruptionBudget " + p.Budgets[0]
	}
	return p.Workload.String()
}

// unguarded says why a pod that no budget protects must wait: no budget is not a licence to take all replicas at once, so such
// a workload loses its next pod when it is as available as it was.
func (t *tracker) unguarded(v view, p upgrade.Pod) string {
	uid := p.Workload.UID
	switch {
	case !p.Ready || uid == "":
		return ""
	case t.unanswered(v, p):
		return "another of them may be leaving"
	case t.lost[uid] != nil:
		return v.short[uid]
	case t.options.Resumed:
		if ready, wanted := t.readyPods(v.of[uid]), t.wanted(v.State, uid); ready < wanted {
			return fmt.Sprintf("%d of %d are Ready", ready, wanted)
		}
	}
	return ""
}

// unanswered tells that it is not known whether another pod of p's workload was evicted: the API was asked a moment ago and did not say.
func (t *tracker) unanswered(v view, p upgrade.Pod) bool {
	for uid, other := range v.here {
		a := t.attempts[uid]
		if uid == p.UID || a == nil || t.isLeaving(other) || !slices.Equal(a.slots, slots(p)) {
			continue
		}
		if a.answer.Kind == upgrade.NotNow && v.now.Before(a.notBefore) {
			return true
		}
	}
	return false
}

// budgetHolds asks the cached budget, and the last answer about p.
func (t *tracker) budgetHolds(d *decision, v view, p upgrade.Pod, a *attempt) (upgrade.Waiting, bool) {
	w := upgrade.Waiting{Object: p.Ref(), Node: t.node}
	var b upgrade.Budget
	if len(p.Budgets) == 1 {
		b = v.Budgets[p.Budgets[0]]
		w.Budget = b.Key()
	}
	if a != nil && a.answer.Kind != "" {
		w.Reason, w.Passing = a.answer.Message, a.answer.Kind == upgrade.NotNow || a.answer.Kind == upgrade.AlreadyGone
		news := w.Budget != "" && a.answer.Kind == upgrade.BudgetSpent && b.Revision != a.revisions[w.Budget] && b.Allowed > 0
		if !news && v.now.Before(a.notBefore) {
			if w.Budget != "" && a.answer.Kind == upgrade.BudgetSpent {
				w.Reason = budgetReason(b)
			}
			d.wakeAt(a.notBefore)
			return w, true
		}
		return w, false
	}
	if w.Budget == "" || b.Allowed > 0 && b.Current && !t.stale(b) || b.Frees(p) {
		return w, false
	}
	// The cache says no. The API is asked all the same now and then, in case the cache is behind.
	if ask := t.began.Add(retryLast); v.now.Before(ask) {
		w.Reason, w.Passing = budgetReason(b), b.Allowed > 0
		d.wakeAt(ask)
		return w, true
	}
	return w, false
}

func budgetReason(b upgrade.Budget) string {
	switch {
	case b.Allowed > 0 && !b.Current:
		return fmt.Sprintf("PodDisruptionBudget %s was changed, and does not show yet what it allows", b.Key())
	case b.Allowed > 0:
		return fmt.Sprintf("PodDisruptionBudget %s does not show yet what the last eviction took from it", b.Key())
	case b.Trouble != "":
		return fmt.Sprintf("PodDisruptionBudget %s allows no eviction, since Kubernetes cannot work it out (%s)", b.Key(), b.Trouble)
	}
	return fmt.Sprintf("PodDisruptionBudget %s allows no eviction now (%s)", b.Key(), b.Why())
}

// stale tells that the cache has not yet seen what our own last eviction did to the budget.
func (t *tracker) stale(b upgrade.Budget) bool {
	for _, a := range t.attempts {
		if a.answer.Kind == upgrade.Accepted && a.revisions[b.Key()] == b.Revision {
			return true
		}
	}
	return false
}
