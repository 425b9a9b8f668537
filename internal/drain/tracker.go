package drain

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

const (
	// retryFirst and retryLast are the waits after a refused eviction when no event ends them sooner.
	retryFirst = 5 * time.Second
	retryLast  = 20 * time.Second
	// overdue is how long after the end of its grace period a pod may take to go before it is called stuck: the kubelet's
	// own slack for killing containers and writing the status.
	overdue = 15 * time.Second
)

// decision is what a drain does next.
type decision struct {
	// begin are the nodes whose drains begin with this decision, before anything of it is done, and ended those that are drained.
	begin   []Node
	ended   []string
	evict   []upgrade.Pod
	waiting []upgrade.Waiting
	// also are the nodes, by the UID of what is waited for, that wait for it beside its own.
	also   map[string]map[string]bool
	events []event
	// wake is when to decide again if nothing happens, zero for not.
	wake time.Time
	done bool
}

// attempt is what is known about evicting one pod.
type attempt struct {
	node     string
	inFlight bool
	// urgent tells that it is of those that decide how long it all takes.
	urgent bool
	answer upgrade.Answer
	slots  []string
	// revisions are those of the pod's budgets when the eviction was posted: the cache knows nothing newer until they change.
	revisions map[string]string
	tries     int
	notBefore time.Time
}

// matters tells that the pod has to be looked at by itself: its eviction is under way, or something came of it that is not its budget's alone.
func (a *attempt) matters() bool {
	return a != nil && (a.inFlight || a.answer.Kind != "" && a.answer.Kind != upgrade.BudgetSpent)
}

// heard is what was heard of a budget: its last revision, since when, and the revision at which the API refused an eviction last, how often, and
// until when that is believed.
type heard struct {
	revision  string
	at        time.Time
	refused   string
	tries     int
	notBefore time.Time
}

// tracker decides what to do next about some nodes, from the cluster's state and the time alone.
type tracker struct {
	options Options
	// pending are the nodes whose drains have not begun, in order, and active since when those that have take, by name. Where nodes are
	// drained at once a node's time begins anew with all progress that it may have waited for.
	pending []Node
	active  map[string]time.Time
	// began is when each drain began.
	began map[string]time.Time
	// before is how many pods of each workload were Ready when the drain began, by UID.
	before map[string]int
	// told are the workloads that an earlier process has measured: it may have taken pods from them.
	told map[string]bool
	// foreign are workloads of kinds that State does not list by themselves, as they were when the drain began.
	foreign map[string]upgrade.Workload
	// homeless are the pods that found no node already when the drain began.
	homeless map[string]bool
	// known are the pods that are not replacements: those that were there when the drain began, or were told of already.
	known map[string]bool
	// original are the pods that were there when this drain was begun or taken up again.
	original map[string]bool
	// unserved are Services (as workload UID/namespace/name) that did not list a Ready pod of the workload even before.
	unserved map[string]bool
	// seen are the pods that were on a node when last looked at and had to leave it, by UID.
	seen map[string]*upgrade.Pod
	// leaving is since when pods are on their way out, by UID.
	leaving map[string]time.Time
	// lost are the pods of each workload that began to leave, in order, and replaced how many of them have a Ready replacement.
	lost     map[string][]departure
	replaced map[string]int
	// detaching are the pods that are gone and whose volumes may still be attached to the nodes that they left.
	detaching []detaching
	attempts  map[string]*attempt
	// spent is the revision that each budget had when the last eviction that took from it was posted.
	spent map[string]string
	heard map[string]*heard
	// urgentAt is when the last eviction of those that decide how long it all takes was answered, and yielding since when others wait for them, by what
	// they occupy.
	urgentAt time.Time
	yielding map[string]time.Time
	// quiet is until when the API wants no evictions at all, and why.
	quiet    time.Time
	quietWhy string
	// startUp is how long the pods of each workload take to start, and concerned are the workloads with pods on the nodes.
	startUp   map[string]time.Duration
	concerned map[string]bool
	// back are the pods that came up on a node that is drained after their workload had lost one there, by the workload's UID. Such a pod may have been
	// bound a moment before the scheduler knew of the cordon; returning are the workloads of which another one came up after one of these
	// had left in turn: they tolerate the cordon, and evicting more of them would never end.
	back      map[string][]string
	returning map[string]bool
	// held is why each pod was last held back.
	held  map[string]upgrade.Waiting
	moves []upgrade.Move
	// unpaired are the moves without a replacement, by their places, and arrivals the replacements that became Ready and stand in for no pod
	// that is gone yet, of each workload and in order. paired counts those that do.
	unpaired map[string][]int
	arrivals map[string][]arrival
	paired   int
	// standing are the nodes that were not made again yet, where somebody else drains them.
	standing map[string]bool
	// news are events that happened between two decisions.
	news []event
}

// departure is a pod that began to leave a node.
type departure struct {
	node     string
	at       time.Time
	requests upgrade.Resources
	disks    []string
}

// event is something that happened in the drain of a node.
type event struct {
	node string
	upgrade.Event
}

// arrival is a replacement that became Ready.
type arrival struct {
	node  string
	after time.Duration
}

func newTracker(nodes []Node, o Options, s upgrade.State) *tracker {
	t := &tracker{
		options: o, pending: nodes, active: map[string]time.Time{}, began: map[string]time.Time{}, foreign: map[string]upgrade.Workload{}, homeless: map[string]bool{},
		before: map[string]int{}, told: map[string]bool{}, known: map[string]bool{}, unserved: map[string]bool{}, seen: map[string]*upgrade.Pod{},
		leaving: map[string]time.Time{}, lost: map[string][]departure{}, replaced: map[string]int{}, attempts: map[string]*attempt{}, held: map[string]upgrade.Waiting{},
		concerned: map[string]bool{}, spent: map[string]string{}, heard: map[string]*heard{}, yielding: map[string]time.Time{}, unpaired: map[string][]int{}, arrivals: map[string][]arrival{}, back: map[string][]string{}, returning: map[string]bool{}, original: map[string]bool{},
	}
	first := merge(nodes)
	for _, p := range s.Pods {
		t.known[p.UID], t.original[p.UID] = true, true
		if foreign(s, p) {
			t.foreign[p.Workload.UID] = ofUnknownSize(p.Workload)
		}
		if _, told := first.Ready[p.Workload.UID]; told {
			continue
		}
		t.homeless[p.UID] = p.Unschedulable != ""
		if counts(p) {
			t.before[p.Workload.UID]++
			for _, service := range p.Unserved {
				t.unserved[p.Workload.UID+"/"+service] = true
			}
		}
	}
	maps.Copy(t.before, first.Ready)
	for uid := range first.Ready {
		t.told[uid] = true
	}
	for _, uid := range first.Homeless {
		t.homeless[uid] = true
	}
	for _, key := range first.Unserved {
		t.unserved[key] = true
	}
	t.weigh(s)
	return t
}

// merge joins what the drains of the nodes found when they first began. Those that began first found the most.
func merge(nodes []Node) upgrade.Baseline {
	all := upgrade.Baseline{Ready: map[string]int{}}
	for _, n := range nodes {
		if n.Baseline == nil {
			continue
		}
		for uid, ready := range n.Baseline.Ready {
			all.Ready[uid] = max(all.Ready[uid], ready)
		}
		all.Homeless = append(all.Homeless, n.Baseline.Homeless...)
		all.Unserved = append(all.Unserved, n.Baseline.Unserved...)
	}
	return all
}

// remember takes in which pods the node had when its drain first began: those that are gone have left it meanwhile.
func (t *tracker) remember(n Node) {
	if n.Baseline == nil {
		return
	}
	for _, r := range n.Baseline.Pods {
		if slices.Contains(n.Baseline.Foreign, r.Workload.UID) {
			t.foreign[r.Workload.UID] = ofUnknownSize(r.Workload)
		}
		t.seen[r.Pod.UID] = &upgrade.Pod{Namespace: r.Pod.Namespace, Name: r.Pod.Name, UID: r.Pod.UID, Node: n.Name, Workload: r.Workload, Disks: r.Disks, OneOff: r.OneOff}
	}
}

// begin begins drains while there may be more at once. What a drain that begins beside others is measured against is what was there before
// any of them.
func (t *tracker) begin(d *decision, s upgrade.State, now time.Time) {
	if t.options.Followed != nil {
		t.follow(d, s, now)
		return
	}
	for len(t.pending) > 0 && len(t.active) < t.options.Parallel.Of(len(t.active)+len(t.pending)) {
		n := t.pending[0]
		t.pending = t.pending[1:]
		t.start(d, s, n, now)
	}
}

// start begins the drain of a node.
func (t *tracker) start(d *decision, s upgrade.State, n Node, now time.Time) {
	t.active[n.Name], t.began[n.Name] = now, now
	t.remember(n)
	if n.Baseline == nil {
		b := Observe(s, n.Name)
		for uid := range b.Ready {
			b.Ready[uid] = t.before[uid]
		}
		b.Homeless = slices.DeleteFunc(b.Homeless, func(uid string) bool { return !t.homeless[uid] })
		b.Unserved = slices.DeleteFunc(b.Unserved, func(key string) bool { return !t.unserved[key] })
		n.Baseline = &b
	}
	d.begin = append(d.begin, n)
}

// foreign tells that the pod's workload is of a kind that State does not list.
func foreign(s upgrade.State, p upgrade.Pod) bool {
	_, listed := s.Workloads[p.Workload.UID]
	return !listed && !p.Workload.IsZero()
}

func ofUnknownSize(workload upgrade.Ref) upgrade.Workload {
	return upgrade.Workload{Ref: workload, Wanted: upgrade.Unknown}
}

// counts tells that the pod is one of those that its workload has to have again.
func counts(p upgrade.Pod) bool { return p.Ready && !p.Terminating() }

// Observe returns what a drain of the node that begins now is measured against.
func Observe(s upgrade.State, node string) upgrade.Baseline {
	return observe(s, func(p upgrade.Pod) bool { return p.Node == node && p.Disposition() != upgrade.Stays })
}

// ObserveAll is Observe for several nodes and the pods of some workloads, by their UIDs; it says where each pod is.
func ObserveAll(s upgrade.State, nodes []upgrade.Node, workloads map[string]bool) upgrade.Baseline {
	there := map[string]bool{}
	for _, n := range nodes {
		there[n.Name] = true
	}
	b := observe(s, func(p upgrade.Pod) bool { return there[p.Node] && workloads[p.Workload.UID] && !p.Finished })
	on := map[string]string{}
	for _, p := range s.Pods {
		on[p.UID] = p.Node
	}
	for i, r := range b.Pods {
		b.Pods[i].Node = on[r.Pod.UID]
	}
	return b
}

// observe returns what it is measured against that pods leave.
func observe(s upgrade.State, leaves func(upgrade.Pod) bool) upgrade.Baseline {
	b := upgrade.Baseline{Pods: []upgrade.Resident{}, Ready: map[string]int{}}
	for _, p := range s.Pods {
		if !leaves(p) {
			continue
		}
		b.Pods = append(b.Pods, upgrade.Resident{Pod: p.Ref(), Workload: p.Workload, Disks: p.Disks, OneOff: p.OneOff})
		if !p.Workload.IsZero() {
			b.Ready[p.Workload.UID] = 0
		}
		if foreign(s, p) && !slices.Contains(b.Foreign, p.Workload.UID) {
			b.Foreign = append(b.Foreign, p.Workload.UID)
		}
	}
	for _, p := range s.Pods {
		uid := p.Workload.UID
		if _, here := b.Ready[uid]; !here {
			continue
		}
		if p.Unschedulable != "" {
			b.Homeless = append(b.Homeless, p.UID)
		}
		if counts(p) {
			b.Ready[uid]++
			for _, service := range p.Unserved {
				if key := uid + "/" + service; !slices.Contains(b.Unserved, key) {
					b.Unserved = append(b.Unserved, key)
				}
			}
		}
	}
	return b
}

// view is the cluster's state at one time, sorted for the drains that are on.
type view struct {
	upgrade.State
	now time.Time
	// of are the pods of each workload, by its UID.
	of map[string][]*upgrade.Pod
	// leave are the pods that have to leave the nodes, in the order of State.Pods, and here the same by UID.
	leave []*upgrade.Pod
	here  map[string]*upgrade.Pod
	// missing is how many available pods each workload lacks that the gate holds for, and short says so.
	missing map[string]int
	short   map[string]string
	// attached says, for each workload of which a pod is gone, which volume of it is still attached to the node that the pod left.
	attached map[string]string
}

func (t *tracker) look(s upgrade.State, now time.Time) view {
	v := view{
		State: s, now: now, of: map[string][]*upgrade.Pod{}, here: map[string]*upgrade.Pod{},
		missing: map[string]int{}, short: map[string]string{}, attached: map[string]string{},
	}
	for i := range s.Pods {
		p := &s.Pods[i] // a pod is large, and there are many
		if uid := p.Workload.UID; uid != "" {
			v.of[uid] = append(v.of[uid], p)
		}
		if t.empties(p.Node) && t.hasToLeave(p) {
			v.leave = append(v.leave, p)
			v.here[p.UID] = p
		}
	}
	return v
}

// measure keeps up what the gates are measured against: a workload that has more Ready pods than when the drain began, since it was down then or
// has grown, is held to what it has. Where nodes are drained at once, which can take long, that counts which it had when it lost its first pod.
func (t *tracker) measure(v view) {
	for uid, pods := range v.of {
		_, listed := v.Workloads[uid]
		now, lost := t.readyPods(pods), len(t.lost[uid]) > 0
		switch {
		case !lost && !t.told[uid] && !t.options.Parallel.One() && t.options.Followed == nil: // else it may be lost before it is seen
			t.before[uid] = now
		case listed || !lost:
			t.before[uid] = max(t.before[uid], now) // and never more than it wants
		}
	}
}

// hasToLeave tells that the pod is not one of those that leave with their node.
func (t *tracker) hasToLeave(p *upgrade.Pod) bool {
	if t.options.Restarted != nil {
		return t.options.Restarted[p.Workload.UID] && !p.Finished
	}
	return p.Disposition() != upgrade.Stays
}

// next decides. What an earlier decision has under way is not decided again.
func (t *tracker) next(s upgrade.State, now time.Time) decision {
	d := decision{events: t.news, also: map[string]map[string]bool{}}
	t.news = nil
	if !s.Away {
		t.begin(&d, s, now)
	}
	v := t.look(s, now)
	t.measure(v)
	t.seeDepartures(&d, v)
	t.seeReplacements(&d, v)
	gate := append(t.gate(&d, v), t.detach(&d, v)...)
	t.launch(&d, v, t.unschedulable(gate))
	d.waiting = append(d.waiting, gate...)
	if s.Trouble != "" && len(d.waiting) > 0 {
		d.waiting = slices.Insert(d.waiting, 0, upgrade.Waiting{
			Object: upgrade.Ref{Kind: "Kubernetes", Name: "API"}, Reason: "cannot be read, so the rest may be out of date: " + s.Trouble,
		})
	}
	t.end(&d, v)
	d.done = len(t.active)+len(t.pending) == 0
	return d
}

// end ends the drains of the nodes that are empty and whose gates are passed.
func (t *tracker) end(d *decision, v view) {
	busy := map[string]bool{}
	for _, p := range v.leave {
		busy[p.Node] = true
	}
	for _, a := range t.attempts {
		busy[a.node] = busy[a.node] || a.inFlight
	}
	for _, uid := range t.losers() {
		for _, l := range t.notReplaced(v, uid) {
			busy[l.node] = true
		}
	}
	for _, gone := range t.detaching {
		busy[gone.pod.Node] = true
	}
	for _, node := range slices.Sorted(maps.Keys(t.active)) {
		if busy[node] || t.leftStanding(node) {
			continue
		}
		delete(t.active, node)
		d.ended = append(d.ended, node)
		d.wakeAt(v.now) // for the next one
	}
}

// notReplaced are the pods that the workload lost and still lacks a replacement of. Which replacement is whose is nobody's choice: the first that
// left are the first that are replaced.
func (t *tracker) notReplaced(v view, uid string) []departure {
	lost := t.lost[uid]
	return lost[len(lost)-min(len(lost), v.missing[uid]):]
}

// names are the nodes whose drains are on, for people.
func (t *tracker) names() string {
	names := slices.Sorted(maps.Keys(t.active))
	if len(names) == 1 {
		return "node " + names[0]
	}
	return "nodes " + strings.Join(names, ", ")
}

// late returns the node whose time ended first, and when, or when the first one will; "" for none.
func (t *tracker) late() (node string, at time.Time) {
	for _, name := range slices.Sorted(maps.Keys(t.active)) {
		if end := t.active[name].Add(t.options.Timeout); node == "" || end.Before(at) {
			node, at = name, end
		}
	}
	return node, at
}

// prolong gives all drains time in which nothing could be done.
func (t *tracker) prolong(by time.Duration) {
	for node := range t.active {
		t.active[node] = t.active[node].Add(by)
	}
}

// progressed gives time to every node that may have waited for the pod, one that is gone or a replacement: those with pods of its workload or
// under its budgets.
func (t *tracker) progressed(v view, pod *upgrade.Pod) {
	if t.options.Parallel.One() {
		return
	}
	now := v.now
	for _, p := range v.leave {
		if p.Workload.UID == pod.Workload.UID || slices.ContainsFunc(p.Budgets, func(key string) bool { return slices.Contains(pod.Budgets, key) }) {
			t.active[p.Node] = now
		}
	}
	for _, l := range t.lost[pod.Workload.UID] {
		if _, on := t.active[l.node]; on {
			t.active[l.node] = now
		}
	}
}

// seeDepartures notes which pods have begun to leave and which are gone. A pod that left without our doing (its kubelet, a
// person, a rollout) is progress all the same, and its workload is held to the gate.
func (t *tracker) seeDepartures(d *decision, v view) {
	for _, p := range v.leave {
		t.seen[p.UID] = p
		t.seeReturn(p)
		if _, known := t.leaving[p.UID]; p.Terminating() && !known {
			if t.options.Followed != nil {
				d.events = append(d.events, event{p.Node, upgrade.Event{Kind: upgrade.PodEvicted, Pod: p.Ref(), Workload: p.Workload}})
			}
			t.leave(p, v.now)
		}
	}
	for _, p := range t.departed(v) {
		delete(t.seen, p.UID)
		if a := t.attempts[p.UID]; a != nil && !a.inFlight {
			delete(t.attempts, p.UID)
		}
		if _, leaving := t.leaving[p.UID]; !leaving && finished(v, p) {
			continue
		}
		since := t.leave(p, v.now)
		if len(p.Disks) > 0 {
			t.detaching = append(t.detaching, detaching{*p, v.now})
		}
		t.progressed(v, p)
		if t.options.Moved[p.UID] {
			continue
		}
		t.unpaired[p.Workload.UID] = append(t.unpaired[p.Workload.UID], len(t.moves))
		t.moves = append(t.moves, upgrade.Move{Pod: p.Ref(), Workload: p.Workload, Node: p.Node, At: v.now})
		d.events = append(d.events, event{p.Node, upgrade.Event{
			Kind: upgrade.PodGone, Pod: p.Ref(), Workload: p.Workload, Took: upgrade.Seconds(v.now.Sub(since)), Text: t.forcedOut(p, v.now),
		}})
		t.pair(p.Workload.UID)
	}
}

// departed are the pods that are not on their nodes any more, in the order of their names.
func (t *tracker) departed(v view) []*upgrade.Pod {
	var gone []*upgrade.Pod
	for uid, p := range t.seen {
		if v.here[uid] == nil {
			gone = append(gone, p)
		}
	}
	slices.SortFunc(gone, func(a, b *upgrade.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
	})
	return gone
}

// seeReturn notes that the pod came up on a node that is drained after its workload had lost one here.
func (t *tracker) seeReturn(p *upgrade.Pod) {
	uid := p.Workload.UID
	if t.original[p.UID] || len(t.lost[uid]) == 0 || slices.Contains(t.back[uid], p.UID) {
		return
	}
	t.returning[uid] = t.returning[uid] || slices.ContainsFunc(t.back[uid], func(before string) bool {
		_, left := t.leaving[before]
		return left
	})
	t.back[uid] = append(t.back[uid], p.UID)
}

// finished tells that the pod is still there and does not have to leave any more. (A pod that is being deleted ends in the same
// phases, a moment before it is gone.)
func finished(v view, p *upgrade.Pod) bool {
	return slices.ContainsFunc(v.Pods, func(now upgrade.Pod) bool { return now.UID == p.UID && now.Finished })
}

// leave notes, once, that the pod is leaving, and returns since when.
func (t *tracker) leave(p *upgrade.Pod, now time.Time) time.Time {
	if since, ok := t.leaving[p.UID]; ok {
		return since
	}
	t.leaving[p.UID] = now
	if p.Disposition() == upgrade.Moves {
		t.lost[p.Workload.UID] = append(t.lost[p.Workload.UID], departure{p.Node, now, p.Requests, p.Disks})
	}
	return now
}

// seeReplacements tells of new pods that are Ready, of the workloads that lost one here.
func (t *tracker) seeReplacements(d *decision, v view) {
	for _, uid := range t.losers() {
		for _, p := range v.of[uid] {
			if t.known[p.UID] || !p.Ready || p.Terminating() {
				continue
			}
			t.known[p.UID] = true
			t.progressed(v, p)
			e := event{t.lost[uid][0].node, upgrade.Event{Kind: upgrade.PodReplaced, Pod: p.Ref(), Workload: p.Workload, Node: p.Node}}
			if lost := t.lost[uid]; t.replaced[uid] < len(lost) {
				left := lost[t.replaced[uid]]
				e.node, e.Took = left.node, upgrade.Seconds(v.now.Sub(left.at))
				t.replaced[uid]++
				t.arrivals[uid] = append(t.arrivals[uid], arrival{p.Node, time.Duration(e.Took)})
				t.pair(uid)
			}
			d.events = append(d.events, e)
		}
	}
}

// pair gives the workload's pods that left the replacements that came up, each in the order of their times.
func (t *tracker) pair(uid string) {
	moves, arrivals := t.unpaired[uid], t.arrivals[uid]
	n := min(len(moves), len(arrivals))
	for i := range n {
		t.moves[moves[i]].To, t.moves[moves[i]].After = arrivals[i].node, upgrade.Seconds(arrivals[i].after)
	}
	t.paired += n
	t.unpaired[uid], t.arrivals[uid] = moves[n:], arrivals[n:]
}

// result is what the drain did so far. It is only valid until the next decision.
func (t *tracker) result() Result { return Result{Moves: t.moves, Replaced: t.paired} }

// losers are the UIDs of the workloads that lost a pod here, sorted.
func (t *tracker) losers() []string { return slices.Sorted(maps.Keys(t.lost)) }

// answered takes in how the API answered an eviction.
func (t *tracker) answered(p upgrade.Pod, answer upgrade.Answer, now time.Time) {
	a := t.attempts[p.UID]
	a.inFlight, a.answer = false, answer
	if a.urgent {
		t.urgentAt = now
	}
	if answer.Kind == upgrade.Accepted {
		delete(t.held, p.UID)
		maps.Copy(t.spent, a.revisions)
		t.leave(&p, now)
		t.news = append(t.news, event{p.Node, upgrade.Event{Kind: upgrade.PodEvicted, Pod: p.Ref(), Workload: p.Workload}})
		a.notBefore = now.Add(retryLast)
		for _, key := range a.slots {
			if h := t.heard[key]; h != nil {
				h.tries, h.at = 0, now // the cache has some time to show it
			}
		}
		return
	}
	if answer.Kind == upgrade.AlreadyGone {
		t.leave(&p, now) // the cache is behind, and its workload has lost it
	}
	a.notBefore = now.Add(retryAfter(answer, a.tries))
	if answer.Kind == upgrade.NotNow && answer.RetryAfter > 0 && !a.notBefore.Before(t.quiet) {
		t.quiet, t.quietWhy = a.notBefore, answer.Message // an API server that has too much to do
	}
	for _, key := range a.slots {
		if h := t.heard[key]; h != nil && answer.Kind == upgrade.BudgetSpent {
			h.tries++
			h.refused, h.at, h.notBefore = h.revision, now, now.Add(retryAfter(answer, h.tries))
		}
	}
}

// retryAfter is how long after so many refusals the API is asked again, if nothing else happens.
func retryAfter(answer upgrade.Answer, tries int) time.Duration {
	return max(answer.RetryAfter, min(retryLast, retryFirst<<min(tries-1, 4)))
}

// concerns notes that the node waits for the object too.
func (d *decision) concerns(object upgrade.Ref, node string) {
	if d.also[object.UID] == nil {
		d.also[object.UID] = map[string]bool{}
	}
	d.also[object.UID][node] = true
}

// of are the reasons why the node waits.
func (d *decision) of(node string) []upgrade.Waiting {
	var mine []upgrade.Waiting
	for _, w := range d.waiting {
		if w.Node == "" || w.Node == node || d.also[w.Object.UID][node] {
			mine = append(mine, w)
		}
	}
	return mine
}

// before tells that it is not yet that time, and has it decided again then.
func (d *decision) before(now, then time.Time) bool {
	if now.Before(then) {
		d.wakeAt(then)
		return true
	}
	return false
}

func (d *decision) wakeAt(at time.Time) {
	if d.wake.IsZero() || at.Before(d.wake) {
		d.wake = at
	}
}
