package drain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// turn is what is handed out in one decision.
type turn struct {
	// held says why nothing is evicted at all, empty if something may be.
	held string
	// busy are the budgets, and workloads without one, that have an eviction under way, and inFlight how many there are.
	busy     map[string]bool
	inFlight int
	// leaving are the workloads, by UID, with an eviction under way.
	leaving map[string]bool
	// unsure are the pods of which the API did not say a moment ago whether they were evicted, by what they occupy.
	unsure map[string][]string
	// away is how many pods are away of all workloads that lost some, those whose evictions are under way among them.
	away int
	// mayBeAway is how many of them may be.
	mayBeAway int
	room      *room
	// queued are the places of the first reasons to wait for what pods occupy, and behind how many pods wait likewise.
	queued map[string]int
	behind map[int]int
	// patient are the budgets, and workloads without one, whose pods can wait, and urgentAt when one of the others was evicted last.
	patient  map[string]bool
	urgentAt time.Time
	// patientInFlight is how many of inFlight can wait.
	patientInFlight int
	// sharing are the nodes with pods that wait for nothing but a share, and otherwise those with pods that wait for something else.
	sharing, otherwise map[string]bool
}

func (t *tracker) newTurn(v view, held string) *turn {
	now := &turn{
		held: held, busy: map[string]bool{}, leaving: map[string]bool{}, unsure: map[string][]string{}, away: v.away(), mayBeAway: t.mayBeAway(),
		patient: map[string]bool{}, urgentAt: t.urgentAt, queued: map[string]int{}, behind: map[int]int{}, sharing: map[string]bool{}, otherwise: map[string]bool{},
	}
	for uid, a := range t.attempts {
		p, here := v.here[uid]
		for _, key := range a.slots {
			switch {
			case a.inFlight:
				now.busy[key] = true
			case here && a.answer.Kind == upgrade.NotNow && v.now.Before(a.notBefore) && !t.isLeaving(p):
				now.unsure[key] = append(now.unsure[key], uid)
			}
		}
		if a.inFlight {
			now.inFlight++
			if a.urgent {
				now.urgentAt = v.now
			} else {
				now.patientInFlight++
			}
			if here {
				now.leaving[p.Workload.UID] = true
			}
			if here && p.Ready && !t.isLeaving(p) {
				now.away++
			}
		}
	}
	return now
}

// launch decides about every pod that is still here: evict it now, or say why not.
func (t *tracker) launch(d *decision, v view, held string) {
	if t.options.Restarted != nil {
		t.awaitRestarts(d, v)
		return
	}
	if t.options.Followed != nil {
		t.awaitFollowed(d, v)
		return
	}
	now := t.newTurn(v, held)
	for _, p := range t.inTurn(v, now) {
		keys := t.queuesFor(p, now)
		if place, waits := now.behindOthers(keys); waits {
			d.concerns(d.waiting[place].Object, p.Node)
			now.waits(p.Node, d.waiting[place].Reason)
			continue
		}
		if w, wait := t.holds(d, v, p, now); wait {
			now.waits(p.Node, w.Reason)
			if len(keys) > 0 {
				key := keys[0]
				if strings.HasPrefix(w.Reason, roomReason) {
					key = keys[1] // the next one in turn may be smaller
				}
				now.queued[key] = len(d.waiting)
			}
			d.waiting = append(d.waiting, w)
			t.held[p.UID] = w
			continue
		}
		w, held := t.held[p.UID]
		if held {
			d.waiting = append(d.waiting, w) // it still waits for that while the API is asked once more
		}
		if a := t.attempts[p.UID]; a != nil && a.inFlight {
			if !held {
				d.waiting = append(d.waiting, upgrade.Waiting{Object: p.Ref(), Node: p.Node, Reason: "is asked to go, and the API has not answered yet", Passing: true})
			}
			continue
		}
		revisions := map[string]string{}
		for _, key := range slots(p) {
			now.busy[key] = true
			// A budget that is not asked is not changed, so nothing of it need be waited for.
			if b, ok := v.Budgets[key]; ok && !b.Frees(*p) {
				revisions[key] = b.Revision
			}
		}
		now.inFlight++
		now.leaving[p.Workload.UID] = true
		if p.Ready {
			now.away++
		}
		a := t.attempts[p.UID]
		if a == nil {
			a = &attempt{node: p.Node}
			t.attempts[p.UID] = a
		}
		a.inFlight, a.slots, a.revisions, a.tries = true, slots(p), revisions, a.tries+1
		if a.urgent = !now.patient[first(a.slots)]; a.urgent {
			now.urgentAt = v.now
		} else {
			now.patientInFlight++
		}
		delete(t.yielding, first(a.slots))
		d.evict = append(d.evict, *p)
	}
	for i, more := range now.behind {
		d.waiting[i].Reason += fmt.Sprintf("; so do %d more pods", more)
	}
	t.shareTime(v, now)
}

// shareTime gives time to the nodes that wait for nothing but their share: what holds that has a time of its own.
func (t *tracker) shareTime(v view, now *turn) {
	for node := range now.sharing {
		if _, on := t.active[node]; on && !now.otherwise[node] {
			t.active[node] = v.now
		}
	}
}

// waits notes whether the node waits for a share only.
func (now *turn) waits(node, reason string) {
	if strings.HasPrefix(reason, shareReason) {
		now.sharing[node] = true
		return
	}
	now.otherwise[node] = true
}

// queuesFor are what p waits for together with others that wait for nothing else: what it occupies, and room for the likes of it. It has none if
// it has a reason of its own. Where one node is drained after the other there are few enough to tell of each.
func (t *tracker) queuesFor(p *upgrade.Pod, now *turn) []string {
	keys := slots(p)
	switch {
	case t.options.Parallel.One(), len(keys) != 1, !p.Ready, p.Terminating(), t.attempts[p.UID].matters(), t.options.Forced[p.UID],
		t.returning[p.Workload.UID], p.Disposition() != upgrade.Moves, len(p.EmptyDirs) > 0 && !t.options.LoseEmptyDirs:
		return nil
	case now.held != "":
		return []string{"anything", ""}
	case stateful(p): // the others of its budget need not wait for its workload
		return []string{"workload " + p.Workload.UID, "room " + p.Workload.UID}
	}
	return []string{keys[0], "room " + p.Workload.UID}
}

// behindOthers returns the place of the reason of a pod that waits already for what one of the keys stands for, and counts one more behind it.
func (now *turn) behindOthers(keys []string) (place int, waits bool) {
	for _, key := range keys {
		if place, queued := now.queued[key]; queued {
			now.behind[place]++
			return place, true
		}
	}
	return 0, false
}

// awaitRestarts says of every pod that is still here that its workload has to replace it, or what is wrong with the new ones.
func (t *tracker) awaitRestarts(d *decision, v view) {
	starting, asked := map[string]bool{}, map[string]bool{}
	for _, p := range v.leave {
		uid := p.Workload.UID
		if rollout := v.Workloads[uid].Rollout; rollout != nil && !asked[uid] {
			asked[uid] = true
			switch w := (upgrade.Waiting{Object: p.Workload, Node: p.Node}); {
			case rollout.Paused:
				w.Reason = "its rollout is paused"
				d.waiting = append(d.waiting, w)
			case rollout.Failing != "":
				w.Reason = "Kubernetes can make no new pod of it: " + rollout.Failing
				d.waiting = append(d.waiting, w)
			}
		}
		if _, told := starting[uid]; !told && v.short[uid] == "" { // else the gate tells of them
			started := t.starting(d, v, p)
			starting[uid] = len(started) > 0
			d.waiting = append(d.waiting, started...)
		}
		if starting[uid] && !p.Terminating() {
			continue
		}
		w := upgrade.Waiting{Object: p.Ref(), Node: p.Node, Reason: p.Workload.String() + " has not replaced it yet", Passing: true}
		if p.Terminating() {
			w, _ = t.stops(d, v, p)
		}
		d.waiting = append(d.waiting, w)
	}
}

// starting are the new pods of p's workload that are not available yet.
func (t *tracker) starting(d *decision, v view, p *upgrade.Pod) []upgrade.Waiting {
	var waiting []upgrade.Waiting
	for _, other := range v.of[p.Workload.UID] {
		if _, here := v.here[other.UID]; here || t.isLeaving(other) || other.Finished {
			continue
		}
		reason, mature := t.notAvailable(other, v.Workloads[p.Workload.UID], v.now)
		if reason == "" {
			continue
		}
		if !mature.IsZero() {
			d.wakeAt(mature)
		}
		waiting = append(waiting, upgrade.Waiting{Object: other.Ref(), Node: p.Node, Reason: reason, Passing: t.passes(other)})
	}
	return waiting
}

// stops says how far a pod that is being deleted is, and whether it should be gone already.
func (t *tracker) stops(d *decision, v view, p *upgrade.Pod) (w upgrade.Waiting, stuck bool) {
	w = upgrade.Waiting{Object: p.Ref(), Node: p.Node}
	late := p.EndsBy.Add(overdue)
	if v.now.Before(late) {
		d.wakeAt(late)
		w.Reason, w.Passing = fmt.Sprintf("is stopping, its grace period ends at %s", clock(p.EndsBy)), true
		return w, false
	}
	w.Reason = fmt.Sprintf("should have stopped at %s and has not: a finalizer or its kubelet holds it; it is not deleted by force", clock(p.EndsBy))
	return w, true
}

// inTurn are the pods in the order in which they are evicted: first those that came back, since it shows soonest whether the next one does
// so too; then those that are not Ready, whose going takes nothing away; then those that share a turn with the most that take the longest. It
// notes which can wait.
func (t *tracker) inTurn(v view, now *turn) []*upgrade.Pod {
	groups := t.groups(v)
	slices.SortStableFunc(groups, func(a, b *group) int { return cmp.Compare(b.left, a.left) })
	inTurn := make([]*upgrade.Pod, 0, len(v.leave))
	for _, g := range groups {
		inTurn = append(inTurn, g.pods...)
		if key := first(slots(g.pods[0])); key != "" && g.patient <= groups[0].left && time.Duration(len(v.leave))*replacing <= groups[0].left {
			now.patient[key] = true
		}
	}
	rank := func(p *upgrade.Pod) int {
		switch {
		case slices.Contains(t.back[p.Workload.UID], p.UID):
			return 0
		case !p.Ready:
			return 1
		}
		return 2
	}
	if slices.ContainsFunc(inTurn, func(p *upgrade.Pod) bool { return rank(p) < 2 }) {
		slices.SortStableFunc(inTurn, func(a, b *upgrade.Pod) int { return rank(a) - rank(b) })
	}
	return inTurn
}

// slots are what an eviction of p occupies while it is under way: each of its budgets (two evictions at once on one budget
// collide in the API server and cost it half a second of sleep), or its workload if it has none.
func slots(p *upgrade.Pod) []string {
	if len(p.Budgets) > 0 {
		return p.Budgets
	}
	if p.Workload.UID != "" {
		return []string{p.Workload.UID} // no budget's key, which has a slash
	}
	return nil
}

// holds tells whether p cannot be evicted now, and why. The reasons are stable while nothing changes.
func (t *tracker) holds(d *decision, v view, p *upgrade.Pod, now *turn) (upgrade.Waiting, bool) {
	wait := func(reason string, args ...any) (upgrade.Waiting, bool) {
		return upgrade.Waiting{Object: p.Ref(), Node: p.Node, Reason: fmt.Sprintf(reason, args...)}, true
	}
	forced := t.options.Forced[p.UID]
	a := t.attempts[p.UID]
	switch {
	case a != nil && a.inFlight:
		return upgrade.Waiting{}, false
	case p.Terminating():
		w, stuck := t.stops(d, v, p)
		return w, !stuck || !forced || a != nil && !v.now.After(a.notBefore)
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
	if now.held != "" {
		return wait("is held back, since %s", now.held)
	}
	if v.now.Before(t.quiet) {
		d.wakeAt(t.quiet)
		return passing(wait("%s", t.quietWhy))
	}
	for _, key := range slots(p) {
		if now.busy[key] {
			return passing(wait("waits its turn: another eviction of %s is under way", orWorkload(p)))
		}
	}
	if w := t.notItsTurn(v, p, now); w != "" {
		return passing(wait("waits its turn: %s", w))
	}
	if w, wait := t.budgetHolds(d, v, p, a); wait {
		return w, true
	}
	return t.shareHolds(d, v, p, now)
}

// returns says why evicting a pod of a workload that comes back to the node is of no use.
func (t *tracker) returns(v view, p *upgrade.Pod) string {
	cordoned := slices.ContainsFunc(v.Nodes, func(n upgrade.Node) bool { return n.Name == p.Node && n.Unschedulable })
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

func orWorkload(p *upgrade.Pod) string {
	if len(p.Budgets) > 0 {
		return "PodDisruptionBudget " + p.Budgets[0]
	}
	return p.Workload.String()
}

// notItsTurn says why a pod must wait for others of its workload, whatever a budget allows; empty if it need not. No budget is not a licence to
// take all replicas at once, so a workload without one loses its next pod when few enough of them are away; and of a stateful one the next
// pod goes when the one before is available elsewhere, with its volumes.
func (t *tracker) notItsTurn(v view, p *upgrade.Pod, now *turn) string {
	uid := p.Workload.UID
	if len(p.Budgets) > 0 && !stateful(p) || !p.Ready || uid == "" {
		return ""
	}
	short := ""
	switch {
	case now.unsureBeside(p):
		short = "another of them may be leaving"
	case now.leaving[uid] && stateful(p):
		short = "another of them is being evicted"
	case t.lost[uid] != nil && v.missing[uid] >= t.mayMiss(v.State, p) && !t.keepsDisk(v, p):
		short = v.short[uid]
	case v.attached[uid] != "":
		short = v.attached[uid]
	case t.lost[uid] == nil && t.options.Resumed:
		if ready, wanted := t.readyPods(v.of[uid]), t.wanted(v.State, uid); ready < wanted {
			short = fmt.Sprintf("%d of %d are Ready", ready, wanted)
		}
	}
	if short == "" {
		return ""
	}
	why, pace := "has no PodDisruptionBudget", "one at a time"
	if stateful(p) {
		why = "keeps its data in volumes of its pods"
		if len(p.Disks) == 0 {
			why = "is a StatefulSet"
		}
	} else if n := t.mayMiss(v.State, p); n > 1 {
		pace = fmt.Sprintf("%d at a time", n)
	}
	return fmt.Sprintf("%s %s, so its pods go %s, and %s", p.Workload, why, pace, short)
}

// keepsDisk tells that a replacement cannot start before p is gone: both have a volume that only p's node can have as long as p is there.
func (t *tracker) keepsDisk(v view, p *upgrade.Pod) bool {
	return slices.ContainsFunc(t.notReplaced(v, p.Workload.UID), func(l departure) bool {
		return l.node == p.Node && slices.ContainsFunc(l.disks, func(disk string) bool { return slices.Contains(p.Disks, disk) })
	})
}

// unsureBeside tells that it is not known whether another pod of p's workload was evicted: the API was asked a moment ago and did not say.
func (now *turn) unsureBeside(p *upgrade.Pod) bool {
	for _, key := range slots(p) {
		if slices.ContainsFunc(now.unsure[key], func(uid string) bool { return uid != p.UID }) {
			return true
		}
	}
	return false
}

// budgetHolds asks the cached budget, and what the API said last.
func (t *tracker) budgetHolds(d *decision, v view, p *upgrade.Pod, a *attempt) (upgrade.Waiting, bool) {
	w := upgrade.Waiting{Object: p.Ref(), Node: p.Node}
	if len(p.Budgets) == 1 {
		w.Budget = p.Budgets[0]
	}
	b, guarded := v.Budgets[w.Budget]
	if a != nil && a.answer.Kind != "" && (!guarded || a.answer.Kind != upgrade.BudgetSpent) {
		w.Reason, w.Passing = a.answer.Message, a.answer.Kind == upgrade.NotNow || a.answer.Kind == upgrade.AlreadyGone
		if a.answer.Kind != upgrade.BudgetSpent {
			w.Budget = "" // it is not what is in the way
		}
		return w, d.before(v.now, a.notBefore)
	}
	if !guarded {
		return w, false
	}
	w.Reason, w.Passing = budgetReason(b), b.Allowed > 0 || t.comesBack(v, p, b)
	return w, d.before(v.now, t.mayAsk(v, p, b))
}

// mayAsk is when the API may be asked to evict p: at once if the cached budget allows it, and the API has not said otherwise about this very
// budget. A budget that says no is asked all the same when nothing was heard of it for a while, in case the cache is behind.
func (t *tracker) mayAsk(v view, p *upgrade.Pod, b upgrade.Budget) time.Time {
	h := t.heard[b.Key()]
	if h == nil {
		h = &heard{}
		t.heard[b.Key()] = h
	}
	if h.at.IsZero() || h.revision != b.Revision {
		h.revision, h.at = b.Revision, v.now
	}
	switch allows := b.Allowed > 0 && b.Current && !t.stale(b); {
	case (allows || b.Frees(*p)) && h.refused != b.Revision:
		return v.now
	case allows || b.Frees(*p):
		return h.notBefore
	}
	return h.at.Add(retryLast)
}

// comesBack tells that the budget is spent on a pod that was evicted, and allows the next one when its replacement is there. What keeps that from
// coming up is a reason of its own.
func (t *tracker) comesBack(v view, p *upgrade.Pod, b upgrade.Budget) bool {
	return v.missing[p.Workload.UID] > 0 && b.Trouble == "" && b.Needed < b.Expected
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
	at, ok := t.spent[b.Key()]
	return ok && at == b.Revision
}

// roomReason begins the reason of a pod that has no room elsewhere.
const roomReason = "waits for room"

// shareReason begins the reason of a pod that waits for others of other workloads, where several nodes are drained at once.
const shareReason = "waits its turn among all: "

// shareHolds asks whether one more may go where several nodes are drained at once. The last question is about room, which is taken then.
func (t *tracker) shareHolds(d *decision, v view, p *upgrade.Pod, now *turn) (upgrade.Waiting, bool) {
	w := upgrade.Waiting{Object: p.Ref(), Node: p.Node, Passing: true}
	switch {
	case t.options.Parallel.One():
		return w, false
	case now.inFlight >= mostInFlight:
		w.Reason = fmt.Sprintf(shareReason+"%d evictions are under way", now.inFlight)
		return w, true
	case p.Ready && now.away >= now.mayBeAway:
		w.Reason = fmt.Sprintf(shareReason+"%d are away, and no more than a quarter of all that move may be", now.away)
		return w, true
	}
	if t.yields(d, v, p, now) {
		w.Reason = shareReason + "those that take longest go first"
		return w, true
	}
	if t.options.Growing != "" {
		return w, false // a pod that finds no node is what has one added
	}
	if now.room == nil {
		now.room = t.newRoom(v)
	}
	if now.room.known && !now.room.reserve(p.Requests) {
		w.Reason, w.Passing = roomReason+": no node that it could go to has enough left for what it requests", false
		return w, true
	}
	return w, false
}
