package upgrade

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Restart is a Deployment whose pods leave a pool because it is restarted, as kubectl rollout restart does.
type Restart struct {
	Workload Ref `json:"workload"`
	// Pods is how many of its pods are on the pool, and Elsewhere how many restart with them that need not.
	Pods      int `json:"pods"`
	Elsewhere int `json:"elsewhere,omitempty"`
	// Unless is what speaks against the restart now, and may not by the time of it; else its pods are evicted: "a rollout of it is under way". It is empty
	// for nothing.
	Unless string `json:"unless,omitempty"`
}

// Evicted is a Deployment that is not restarted first, and why: the end of a sentence that begins with "since".
type Evicted struct {
	Workload Ref
	Why      string
}

// restarted are the Deployments that the plan restarts, by UID.
func (p Plan) restarted() map[string]Ref {
	all := map[string]Ref{}
	for _, pool := range p.Pools {
		for _, r := range pool.Restarts {
			all[r.Workload.UID] = r.Workload
		}
	}
	return all
}

// Never tells that the budget can allow no eviction with as many pods as there are.
func (b Budget) Never() bool {
	return b.Allowed == 0 && b.Trouble == "" && b.Current && b.Expected > 0 && b.Needed >= b.Expected
}

// keepsAll tells that the budget's rule lets none of so many pods go. Its status, which is behind whatever happens, does not count.
func (b Budget) keepsAll(pods int) bool {
	var rule struct{ MinAvailable, MaxUnavailable any }
	if pods == 0 || json.Unmarshal(b.Spec, &rule) != nil {
		return false
	}
	if rule.MaxUnavailable != nil {
		return scaled(rule.MaxUnavailable, pods) == 0
	}
	return scaled(cmp.Or[any](rule.MinAvailable, 1.0), pods) >= pods
}

// scaled is a number of pods, or a part of so many ("50%"), rounded up, as the API has it in JSON.
func scaled(value any, pods int) int {
	switch v := value.(type) {
	case float64:
		return int(v)
	case string:
		percent, _ := strconv.Atoi(strings.TrimSuffix(v, "%")) // the API accepts nothing else
		return (percent*pods + 99) / 100
	}
	return 0
}

// lets tells whether a Deployment is one of those that the policy restarts if they can be. Keeps tells the budgets that let none of their pods go.
func (policy SurgePolicy) lets(w Workload, pods []*Pod, keeps func(budget string) bool) bool {
	switch policy {
	case SurgeDeployments:
		return true
	case SurgeSingletons:
		return w.Wanted == 1 || slices.ContainsFunc(budgetsOver(pods), keeps)
	}
	return false
}

// Unfit says why the Deployment cannot be replaced pod by pod without a gap, empty if it can, as far as itself tells.
func (policy SurgePolicy) Unfit(w Workload) string {
	if why := w.unfit(); why != "" {
		return why
	}
	return policy.unfitNow(w)
}

// unfit is the part of Unfit that is so for as long as nobody changes the Deployment.
func (w Workload) unfit() string {
	r := w.Rollout
	switch {
	case r == nil:
		return "how it replaces its pods is not known"
	case r.Declined:
		return "its annotation " + SurgeFirstAnnotation + " says never"
	case r.Recreate:
		return "its strategy is Recreate, which ends all old pods before the first new one begins"
	case r.Surge == 0 && w.Wanted > 0:
		return "its maxSurge is 0, so that an old pod ends before a new one begins"
	case r.HostPorts:
		return "its pods take ports of their nodes"
	case r.ToleratesCordon:
		return "its pods tolerate the cordon, and new ones may come back to the old nodes"
	}
	return ""
}

// unfitNow is the part of Unfit that comes and goes with its scale, which autoscalers set, and with what people do to a rollout.
func (policy SurgePolicy) unfitNow(w Workload) string {
	r := w.Rollout
	switch {
	case w.Wanted == 0:
		return "it is scaled to 0"
	case r.Unavailable >= w.Wanted, policy == SurgeSingletons && r.Unavailable > 0:
		return fmt.Sprintf("its maxUnavailable lets %d of its %d pods be away while it is rolled out", r.Unavailable, w.Wanted)
	case r.Paused:
		return "its rollout is paused"
	}
	return ""
}

// SurgeFirstAnnotation keeps a Deployment from being restarted if it is "never".
const SurgeFirstAnnotation = "upshift.dev/surge-first"

// underWay says that the Deployment is being rolled out, or is not as it should be, empty if it is.
func (w Workload) underWay() string {
	r := w.Rollout
	switch {
	case r == nil, r.Complete:
		return ""
	case r.Stuck != "":
		return fmt.Sprintf("its last rollout does not progress (%s)", r.Stuck)
	case r.Updated >= w.Wanted && r.Available < w.Wanted:
		return fmt.Sprintf("only %d of its %d pods are available", r.Available, w.Wanted)
	}
	return fmt.Sprintf("a rollout of it is under way (of %d pods %d are new and %d available)", w.Wanted, r.Updated, r.Available)
}

// below says which PodDisruptionBudget a rollout of the Deployment can fall below, empty for none: rollouts do not ask them. Spare is how many pods
// each budget can do without.
func below(w Workload, keys []string, spare func(string) int) string {
	if w.Rollout.Unavailable == 0 {
		return "" // it never has fewer than it has now
	}
	for _, key := range keys {
		if n := spare(key); w.Rollout.Unavailable > n {
			return fmt.Sprintf("its maxUnavailable lets %d of its pods be away while it is rolled out, and PodDisruptionBudget %s can do without %d", w.Rollout.Unavailable, key, max(0, n))
		}
	}
	return ""
}

// budgetsOver are the keys of the budgets that select any of the pods, sorted.
func budgetsOver(pods []*Pod) []string {
	keys := map[string]bool{}
	for _, p := range pods {
		for _, key := range p.Budgets {
			keys[key] = true
		}
	}
	return slices.Sorted(maps.Keys(keys))
}

// Changed says why a Deployment that could be restarted cannot be any more, as far as itself tells, empty if it can.
func (policy SurgePolicy) Changed(w Workload) string {
	return cmp.Or(policy.Unfit(w), w.underWay())
}

// Standing is what is known, at one time, of what can be restarted.
type Standing struct {
	State
	// pods are those of each workload, by its UID, that are there to stay.
	pods map[string][]*Pod
	// taken is how many pods of each budget the restarts that were taken may have away.
	taken map[string]int
	// here are the nodes that pods are to leave, and room is what those that are to take them have.
	here map[string]bool
	room *room
}

// NewStanding is the standing of a state in which nothing is restarted, for restarts that take pods from some nodes to others.
func NewStanding(s State, from, to []Node) *Standing {
	st := &Standing{State: s, pods: map[string][]*Pod{}, taken: map[string]int{}, here: map[string]bool{}, room: roomOn(s, to)}
	for _, n := range from {
		st.here[n.Name] = true
	}
	for i := range s.Pods {
		if p := &s.Pods[i]; p.Workload.UID != "" && !p.Finished && !p.Terminating() {
			st.pods[p.Workload.UID] = append(st.pods[p.Workload.UID], p)
		}
	}
	return st
}

// Grows says that the pool that pods go to gets nodes as it needs them, so that they have room.
func (s *Standing) Grows() { s.room = &room{} }

// Take counts the pods that a restart of the Deployment may have away, and the room that it needs.
func (s *Standing) Take(w Workload) {
	if w.Rollout == nil {
		return
	}
	s.room.take(s.needs(w))
	if w.Rollout.Unavailable == 0 {
		return
	}
	for _, key := range budgetsOver(s.pods[w.UID]) {
		s.taken[key] += w.Rollout.Unavailable
	}
}

// NotNow says why the Deployment, as it is given here, cannot be restarted in this moment beside those that were taken, empty if it can.
func (s *Standing) NotNow(policy SurgePolicy, w Workload) string {
	if why := policy.Changed(w); why != "" {
		return why
	}
	pods := s.pods[w.UID]
	for _, p := range pods {
		if len(p.Disks) > 0 {
			return fmt.Sprintf("its pods have a volume that one node at a time can attach (%s)", p.Disks[0])
		}
	}
	why := below(w, budgetsOver(pods), func(key string) int {
		b, ok := s.Budgets[key]
		if !ok || !b.Current || b.Trouble != "" {
			return 0
		}
		return min(b.Expected, b.Healthy) - b.Needed - s.taken[key]
	})
	if why == "" && !s.room.has(s.needs(w)) {
		why = noRoom
	}
	return why
}

// noRoom says why a Deployment is not restarted whose new pods do not fit.
const noRoom = "its new pods find no room on the new nodes beside those of the others that are restarted"

// needs is what each of its new pods asks for, and how many of them there are in the end or meanwhile: all that are here have moved in the end, and
// meanwhile there are a few more of those that are elsewhere.
func (s *Standing) needs(w Workload) (each Resources, n int) {
	here, elsewhere := 0, 0
	for _, p := range s.pods[w.UID] {
		each = p.Requests
		if s.here[p.Node] {
			here++
		} else {
			elsewhere++
		}
	}
	return each, here + min(w.Rollout.Surge, elsewhere)
}

// Any tells that one of the workload's pods is as is asked.
func (s *Standing) Any(workload string, is func(Pod) bool) bool {
	return slices.ContainsFunc(s.pods[workload], func(p *Pod) bool { return is(*p) })
}

// chooseRestarts says for each pool that is migrated which Deployments are restarted, and which would be and are evicted. Which they are depends only on
// what people have set: an approved plan must not depend on what passes by itself, such as a rollout under way, a PodDisruptionBudget's status, the
// scale, or the room on nodes. That is told, and counts when a restart's turn comes.
func chooseRestarts(p *Plan, s Snapshot) {
	if p.Options.SurgeFirst == SurgeNone || p.Options.SurgeFirst == "" {
		return
	}
	of, on := deploymentPods(s, p.Pools)
	keeps := keepers(s.State)
	for i := range p.Pools {
		pool := &p.Pools[i]
		if !pool.Drains() {
			continue
		}
		c := chooser{Snapshot: s, policy: p.Options.SurgeFirst, of: of, room: newRoom(s, *pool), taken: map[string]int{}, keeps: keeps}
		uids := slices.SortedFunc(maps.Keys(on[pool.Name]), func(a, b string) int {
			x, y := of[a][0].Workload, of[b][0].Workload
			return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name), cmp.Compare(a, b))
		})
		for _, uid := range uids {
			c.consider(pool, uid, on[pool.Name][uid])
		}
	}
}

// deploymentPods are the pods of each Deployment, by its UID, and how many of them are on each pool. Where the only pod of one is being replaced, that
// one counts: in this moment it is stopping, or has no node yet and may get one of the pool.
func deploymentPods(s Snapshot, plans []PoolPlan) (of map[string][]*Pod, on map[string]map[string]int) {
	pools := map[string]string{}
	for _, n := range s.State.Nodes {
		pools[n.Name] = n.Pool
	}
	of, on = map[string][]*Pod{}, map[string]map[string]int{}
	count := func(pool string, uid string, n int) {
		if on[pool] == nil {
			on[pool] = map[string]int{}
		}
		on[pool][uid] += n
	}
	var homeless []*Pod
	bound, stopping := map[string]bool{}, map[string][]*Pod{}
	for i := range s.State.Pods {
		pod := &s.State.Pods[i]
		uid := pod.Workload.UID
		switch {
		case pod.Workload.Kind != "Deployment" || pod.Finished:
			continue
		case pod.Node == "":
			homeless = append(homeless, pod)
		case pod.Terminating():
			count(pools[pod.Node], uid, 0)
			stopping[uid] = append(stopping[uid], pod)
		default:
			count(pools[pod.Node], uid, 1)
		}
		bound[uid] = bound[uid] || pod.Node != ""
		if !pod.Terminating() {
			of[uid] = append(of[uid], pod)
		}
	}
	for uid, pods := range stopping {
		if of[uid] == nil {
			of[uid] = pods
		}
	}
	for _, pod := range homeless {
		if i := slices.IndexFunc(plans, func(p PoolPlan) bool { return p.Drains() && mayComeTo(s, pod, p.Name) }); i >= 0 && !bound[pod.Workload.UID] {
			count(plans[i].Name, pod.Workload.UID, 1)
		}
	}
	return of, on
}

// mayComeTo tells that the pod's node selector lets it onto a node of the pool.
func mayComeTo(s Snapshot, pod *Pod, pool string) bool {
	shape := s.Inventory.Pods[pod.UID]
	return slices.ContainsFunc(s.State.PoolNodes(pool), func(n Node) bool {
		labels := s.Inventory.Nodes[n.Name].Labels
		for key, value := range shape.selector() {
			if labels[key] != value {
				return false
			}
		}
		return true
	})
}

// selector is the node selector of the pod, none if it is not known.
func (p *PodShape) selector() map[string]string {
	if p == nil {
		return nil
	}
	return p.NodeSelector
}

// keepers tells the budgets whose rules let none of the pods go that they select, as many as their workloads want.
func keepers(s State) func(budget string) bool {
	pods, seen := map[string]int{}, map[string]bool{}
	for i := range s.Pods {
		p := &s.Pods[i]
		for _, key := range p.Budgets {
			w, ok := s.Workloads[p.Workload.UID]
			switch {
			case p.Finished:
			case !ok || w.Wanted == Unknown:
				pods[key]++
			case !seen[key+" "+w.UID]:
				seen[key+" "+w.UID] = true
				pods[key] += w.Wanted
			}
		}
	}
	return func(key string) bool { return s.Budgets[key].keepsAll(pods[key]) }
}

// chooser chooses the restarts of one pool.
type chooser struct {
	Snapshot
	policy SurgePolicy
	// of are the pods of each Deployment.
	of   map[string][]*Pod
	room *room
	// taken is how many pods of each budget the restarts that were chosen may have away.
	taken map[string]int
	keeps func(budget string) bool
}

// consider takes a Deployment with so many pods on the pool.
func (c *chooser) consider(pool *PoolPlan, uid string, here int) {
	w, pods := c.State.Workloads[uid], c.of[uid]
	if w.Wanted <= 0 || !c.policy.lets(w, pods, c.keeps) {
		return
	}
	if why := c.against(w, pods); why != "" {
		pool.Evicted = append(pool.Evicted, Evicted{w.Ref, why})
		return
	}
	pool.Restarts = append(pool.Restarts, Restart{Workload: w.Ref, Pods: here, Elsewhere: len(pods) - min(here, len(pods)), Unless: c.againstNow(w, pods, here)})
}

// Provided tells of a namespace of what the provider itself runs in a cluster: GKE has several workloads of one replica in every one, and nobody
// but GKE can change that.
func Provided(namespace string) bool {
	return slices.Contains([]string{"kube-system", "gmp-system", "gke-managed-system", "gke-managed-cim"}, namespace)
}

// against says what speaks against restarting the Deployment for as long as nobody changes that, empty for nothing.
func (c *chooser) against(w Workload, pods []*Pod) string {
	if Provided(w.Namespace) {
		return "it is the provider's own"
	}
	if why := w.unfit(); why != "" {
		return why
	}
	return c.holdsDisk(w, pods)
}

// againstNow says what speaks against it in this moment, and counts what it takes if nothing does.
func (c *chooser) againstNow(w Workload, pods []*Pod, here int) string {
	if why := c.policy.Changed(w); why != "" {
		return why
	}
	keys := budgetsOver(pods)
	why := below(w, keys, func(key string) int {
		b, ok := c.State.Budgets[key]
		if !ok || b.Trouble != "" {
			return 0
		}
		return b.Expected - b.Needed - c.taken[key]
	})
	if why != "" {
		return why
	}
	var requests Resources
	if shape := c.Inventory.Pods[pods[0].UID]; shape != nil {
		requests = shape.Requests
	}
	// In the end all that are here have moved, and meanwhile there are a few more of those that are elsewhere.
	if !c.room.take(requests, here+min(w.Rollout.Surge, max(0, len(pods)-here))) {
		return noRoom
	}
	for _, key := range keys {
		c.taken[key] += w.Rollout.Unavailable
	}
	return ""
}

// holdsDisk says which volume keeps an old and a new pod from running at the same time, empty for none.
func (c *chooser) holdsDisk(w Workload, pods []*Pod) string {
	if w.Rollout.Claims && c.Inventory.Unread[ReadVolumes] != "" {
		return "whether two nodes can attach its volumes cannot be told"
	}
	for _, p := range pods {
		for _, v := range c.Inventory.Volumes[p.UID] {
			if v.Attached || v.Exclusive || v.Local {
				return fmt.Sprintf("its pods have a volume that one node at a time can attach (claim %s)", v.Claim)
			}
		}
	}
	return ""
}

// room is what the nodes of a new pool offer to pods that are restarted.
type room struct {
	// known tells that something is known of the nodes.
	known bool
	free  []Resources
	// next is the node that is tried first, since the ones before it are full.
	next int
}

// newRoom is the room on the nodes that the new pool has or will have, each with the least that an old one has, less what stays on the fullest
// of those.
func newRoom(s Snapshot, p PoolPlan) *room {
	r := &room{}
	if p.Action != Migrate {
		return r // its other nodes take the pods, and which have room shows when it is a node's turn
	}
	old, there := map[string]bool{}, map[string]int{}
	var least Resources
	for _, n := range s.State.PoolNodes(p.Name) {
		shape, ok := s.Inventory.Nodes[n.Name]
		if !ok {
			continue
		}
		old[n.Name] = true
		least = leastOf(least, shape.Allocatable)
	}
	for _, n := range s.State.PoolNodes(p.NewName) {
		there[n.Name] = len(r.free)
		r.free = append(r.free, maps.Clone(s.Inventory.Nodes[n.Name].Allocatable))
	}
	if len(old) == 0 {
		return r
	}
	r.known = true
	stay := map[string]Resources{}
	for i := range s.State.Pods {
		pod := &s.State.Pods[i]
		shape := s.Inventory.Pods[pod.UID]
		if shape == nil || pod.Finished {
			continue
		}
		if at, ok := there[pod.Node]; ok {
			r.free[at] = r.free[at].less(shape.Requests, 1)
		}
		if old[pod.Node] && pod.Disposition() == Stays {
			stay[pod.Node] = stay[pod.Node].less(shape.Requests, -1)
		}
	}
	var most Resources
	for _, taken := range stay {
		most = mostOf(most, taken)
	}
	for len(r.free) < p.MostNodes() {
		free := maps.Clone(least)
		for name, amount := range most {
			free[name] -= amount
		}
		r.free = append(r.free, free)
	}
	return r
}

// roomOn is the room on nodes as they are, of which nothing is known if there are none. Cordoned ones count: on the way back the cordon
// was undone a moment ago.
func roomOn(s State, nodes []Node) *room {
	r, at := &room{}, map[string]int{}
	for _, n := range nodes {
		if n.Ready && n.Allocatable != nil {
			at[n.Name], r.known = len(r.free), true
			r.free = append(r.free, maps.Clone(n.Allocatable))
		}
	}
	for i := range s.Pods {
		if p := &s.Pods[i]; !p.Finished {
			if node, ok := at[p.Node]; ok {
				r.free[node] = r.free[node].less(p.Requests, 1)
			}
		}
	}
	return r
}

// has tells that there is room for n pods.
func (r *room) has(each Resources, n int) bool {
	tried := &room{known: r.known, next: r.next}
	for _, free := range r.free {
		tried.free = append(tried.free, maps.Clone(free))
	}
	return tried.take(each, n)
}

// take reserves room for n pods, if there is so much.
func (r *room) take(each Resources, n int) bool {
	if !r.known {
		return true
	}
	took := map[int]int{}
	left, at := n, r.next
	for range r.free {
		if left == 0 {
			break
		}
		if k := min(left, r.free[at].fits(each)); k > 0 {
			took[at], left = k, left-k
			r.free[at] = r.free[at].less(each, int64(k))
		}
		if left > 0 {
			at = (at + 1) % len(r.free)
		}
	}
	if left > 0 {
		for node, k := range took {
			r.free[node] = r.free[node].less(each, -int64(k))
		}
		return false
	}
	r.next = at
	return true
}

// fits is how many pods that request each have room in r.
func (r Resources) fits(each Resources) int {
	n := max(0, r["pods"])
	for name, amount := range each {
		if amount > 0 {
			n = min(n, max(0, r[name])/amount)
		}
	}
	return int(n)
}

// less is r without n pods that request each. It changes r, unless that is nil.
func (r Resources) less(each Resources, n int64) Resources {
	if r == nil {
		r = Resources{}
	}
	r["pods"] -= n
	for name, amount := range each {
		r[name] -= n * amount
	}
	return r
}

// leastOf is the least of each resource that both have any of.
func leastOf(a, b Resources) Resources {
	if a == nil {
		return maps.Clone(b)
	}
	for name, amount := range b {
		if was, ok := a[name]; amount > 0 && (!ok || amount < was) {
			a[name] = amount
		}
	}
	return a
}

func mostOf(a, b Resources) Resources {
	if a == nil {
		return maps.Clone(b)
	}
	for name, amount := range b {
		a[name] = max(a[name], amount)
	}
	return a
}
