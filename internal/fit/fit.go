// Package fit tells beforehand whether the pods of the pools that an upgrade migrates will find nodes. It carries out the plan's drains
// in thought: the new pool stands beside the old one, every old node is cordoned, and each pod that is drained is placed again by the
// rules by which the scheduler of Kubernetes chooses the nodes that a pod can run on. It is pure, deterministic and safe for concurrent
// use.
//
// Modelled are requests and the number of pods, node selectors and required node affinity, taints, required affinity and anti-affinity
// to pods, topology spread that forbids scheduling, host ports, where bound volumes can be mounted, and volumes that only one pod can
// have. Not modelled are preemption, how many volumes a node can have attached, and what a PodShape calls Unmodelled.
package fit

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// Options are what the simulation has to know of a plan beside its pools.
type Options struct {
	// DeleteEach tells that an old pool's nodes go away before the next pool is begun.
	DeleteEach bool
	// Jobs says whether the pods of running Jobs move too, or are left to finish.
	Jobs upgrade.JobPolicy
	// Explained are the UIDs of pods of which it is known already that they find no node. They are left out.
	Explained map[string]bool
}

// Verdict sums a simulation up.
type Verdict string

// The verdicts.
const (
	// Fits: every pod finds a node, by whatever way of choosing that was tried, and the new nodes are not nearly full.
	Fits Verdict = "fits"
	// Tight: every pod finds a node in one way of choosing, but not in all; or only once an autoscaler has added one; or a new pool ends up
	// nearly full.
	Tight Verdict = "tight"
	// DoesNotFit: some pod finds no node, whatever way of choosing was tried.
	DoesNotFit Verdict = "does-not-fit"
)

// Result is what carrying out the drains in thought came to.
type Result struct {
	Verdict Verdict
	// Stuck are the workloads with pods that find no node, in the order in which the drains come to them; none if it fits. If it is
	// tight, they are what one of the unlucky ways of choosing left over.
	Stuck []Stuck
	// Full are the new pools of which more than Nearly of something is asked for in the end.
	Full []Full
	// Unmodelled are the workloads with pods of which the model does not know all that counts.
	Unmodelled []Unmodelled
	// Unread is how many pods nothing is known of but that they run, and UnreadPools are the pools to migrate of whose nodes nothing is.
	Unread      int
	UnreadPools []string
}

// Stuck is a workload with pods that find no node.
type Stuck struct {
	Workload upgrade.Ref
	// Pool and Node are whose drain comes to it first, and Pod the pod that finds no node then.
	Pool, Node string
	Pod        upgrade.Ref
	// Pods is how many of its pods find no node in all.
	Pods int
	Why  Why
	// Grows is a pool that stays and whose autoscaler may add a node that takes the pod, empty for none.
	Grows string
}

// Nearly is the part of a pool's resource above which it counts as nearly full.
const Nearly = 0.9

// Full is a new pool that is nearly full once the old one is drained.
type Full struct {
	Pool, NewPool string
	Resource      string
	// Part is how much of the resource is asked for, of 1.
	Part float64
}

// Unmodelled is a workload with pods about which somebody else decides as well.
type Unmodelled struct {
	Workload upgrade.Ref
	Pods     int
	// Why are phrases, each once.
	Why []string
}

// Simulate carries out the migrations of pools, in their order. A Snapshot without an Inventory of pods fits: nothing is known of it.
func Simulate(s upgrade.Snapshot, pools []upgrade.PoolPlan, o Options) Result {
	result := Result{Verdict: Fits}
	if s.Inventory.Pods == nil {
		return result
	}
	m := newModel(s, pools, o.Jobs)
	plan := newMigration(m, s, pools, o)
	result.Unmodelled, result.Unread, result.UnreadPools = plan.unmodelled, plan.unread, plan.unreadPools
	start := newState(m)
	plan.sort(start)
	// possible counts the ways in which nobody is stuck, and fitting those in which no autoscaler has to help either.
	possible, fitting, tries := 0, 0, policies(len(m.pods))
	var stuck, growing []Stuck
	for i, p := range tries {
		run := start.clone()
		o := plan.carryOut(run, p)
		if i == 0 {
			result.Full = plan.full(run)
		}
		if len(o.stuck) == 0 {
			possible++
		}
		if len(o.stuck)+len(o.growing) == 0 {
			fitting++
		}
		if stuck == nil {
			stuck = o.stuck
		}
		if growing == nil {
			growing = o.growing
		}
	}
	switch {
	case possible == 0:
		result.Verdict, result.Stuck = DoesNotFit, stuck
	case fitting < len(tries) || len(result.Full) > 0:
		result.Verdict, result.Stuck = Tight, slices.Concat(growing, stuck)
	}
	return result
}

// migration is what is done to a model.
type migration struct {
	upgrade.Snapshot
	Options
	*model
	steps       []step
	unmodelled  []Unmodelled
	unread      int
	unreadPools []string
	// left are the pods that are not placed again, since it is not known how or known that they cannot be.
	left []bool
	// pending are the pods that wait for a node before anything begins.
	pending []int32
}

// step is the migration of one pool.
type step struct {
	upgrade.PoolPlan
	// old are its nodes, in the order of their drains, and fresh those of the new pool.
	old, fresh []int32
}

func newMigration(m *model, s upgrade.Snapshot, pools []upgrade.PoolPlan, o Options) *migration {
	g := &migration{Snapshot: s, Options: o, model: m, left: make([]bool, len(m.pods))}
	moving, unread := map[string]bool{}, map[string]bool{}
	for _, p := range pools {
		if p.Action != upgrade.Migrate {
			continue
		}
		st := step{PoolPlan: p}
		if len(p.Nodes) > 0 && len(oldNodes(s, p.Name)) == 0 {
			g.unreadPools = append(g.unreadPools, p.Name)
			unread[p.Name] = true
		}
		for _, name := range p.Nodes {
			if n, ok := m.nodeNamed[name]; ok {
				st.old = append(st.old, n)
				moving[name] = !unread[p.Name]
			}
		}
		for n := range m.nodes {
			if m.nodes[n].pool == p.NewName {
				st.fresh = append(st.fresh, int32(n))
			}
		}
		g.steps = append(g.steps, st)
	}
	g.leave(moving, unread)
	return g
}

// sort puts the pods of each node, and those that wait for one, in the order of their names.
func (g *migration) sort(s *state) {
	byName := func(a, b int32) int {
		i, j := g.pods[a].of, g.pods[b].of
		if i == none || j == none {
			return cmp.Compare(i, j)
		}
		p, q := &g.State.Pods[i], &g.State.Pods[j]
		return cmp.Or(strings.Compare(p.Namespace, q.Namespace), strings.Compare(p.Name, q.Name))
	}
	for _, on := range s.on {
		slices.SortFunc(on, byName)
	}
	for i := range g.pods {
		if p := &g.pods[i]; p.node == none && p.of != none && !g.left[i] && !p.terminating {
			g.pending = append(g.pending, int32(i))
		}
	}
	slices.SortFunc(g.pending, byName)
}

// leave finds the pods that are not placed again, and says why.
func (g *migration) leave(moving, unread map[string]bool) {
	of := map[int32]int{}
	for i := range g.pods {
		p := &g.pods[i]
		if p.of == none || p.fate == stays && p.node != none {
			continue
		}
		there := &g.State.Pods[p.of]
		why := g.notModelled(there)
		g.left[i] = p.kind == none || len(why) > 0 && p.node == none || g.Explained[there.UID] || p.node != none && unread[g.nodes[p.node].pool]
		if !moving[there.Node] || p.fate != moves || g.Explained[there.UID] {
			continue
		}
		if p.kind == none {
			g.unread++
			continue
		}
		if len(why) == 0 {
			continue
		}
		u, ok := of[p.workload]
		if !ok {
			u = len(g.unmodelled)
			of[p.workload] = u
			g.unmodelled = append(g.unmodelled, Unmodelled{Workload: g.workloads[p.workload]})
		}
		g.unmodelled[u].Pods++
		for _, w := range why {
			if !slices.Contains(g.unmodelled[u].Why, w) {
				g.unmodelled[u].Why = append(g.unmodelled[u].Why, w)
			}
		}
	}
	slices.SortFunc(g.unmodelled, func(a, b Unmodelled) int { return strings.Compare(a.Workload.String(), b.Workload.String()) })
}

func (g *migration) notModelled(p *upgrade.Pod) []string {
	var why []string
	if shape := g.Inventory.Pods[p.UID]; shape != nil {
		why = append(why, shape.Unmodelled...)
	}
	for _, v := range g.Inventory.Volumes[p.UID] {
		if v.Unbound != "" {
			why = append(why, "volume "+v.Claim+": "+v.Unbound)
		}
	}
	return why
}

// outcome is what a way of choosing came to.
type outcome struct {
	// stuck are the workloads with pods that find no node, and growing those whose pods find one if an autoscaler adds it.
	stuck, growing []Stuck
}

// carryOut moves the pods on s.
func (g *migration) carryOut(s *state, p policy) outcome {
	s.choose(p)
	var o outcome
	stuck, growing := map[int32]int{}, map[int32]int{}
	for _, st := range g.steps {
		s.begin(st)
		g.placePending(s)
		for _, n := range st.old {
			g.drain(s, n, func(lost int32) {
				at, list, pool := stuck, &o.stuck, s.grows(lost)
				if pool != "" {
					at, list = growing, &o.growing
				}
				w := g.pods[lost].workload
				i, known := at[w]
				if !known {
					i = len(*list)
					at[w] = i
					pod := &g.State.Pods[g.pods[lost].of]
					*list = append(*list, Stuck{Workload: g.workloads[w], Pool: st.Name, Node: g.nodes[n].name, Pod: pod.Ref(), Why: s.why(lost), Grows: pool})
				}
				(*list)[i].Pods++
			})
		}
		if g.DeleteEach {
			s.delete(st)
		}
	}
	return o
}

// begin brings the new pool's nodes and cordons the old one's.
func (s *state) begin(st step) {
	for _, n := range st.fresh {
		s.here[n], s.open[n] = true, s.nodes[n].usable
	}
	for _, n := range st.old {
		s.open[n], s.closed[n] = false, true
	}
	s.takeStock()
}

// delete takes the old pool's nodes away, with all that is left on them.
func (s *state) delete(st step) {
	for _, n := range st.old {
		for _, p := range s.on[n] {
			s.take(p)
		}
		s.on[n], s.here[n] = nil, false
	}
}

// placePending places the pods that wait for a node already: they will take the new one's room first.
func (g *migration) placePending(s *state) {
	for _, p := range g.pending {
		if s.at[p] == none {
			s.place(p)
		}
	}
}

// drain moves the pods of a node, and gives up those that find no other: of each workload one pod at a time, the next one when the last one's
// replacement has its node, all workloads side by side. Replacements come in turn, or by chance.
func (g *migration) drain(s *state, n int32, giveUp func(int32)) {
	var stay, evicted []int32
	next := map[int32][]int32{}
	var workloads []int32
	for _, p := range s.on[n] {
		w := g.pods[p].workload
		switch {
		case g.pods[p].fate == stays:
			stay = append(stay, p)
			continue
		case next[w] == nil:
			workloads = append(workloads, w)
		}
		next[w] = append(next[w], p)
	}
	evict := func(workload int32) {
		if list := next[workload]; len(list) > 0 {
			s.take(list[0])
			evicted, next[workload] = append(evicted, list[0]), list[1:]
		}
	}
	for len(workloads) > 0 {
		for _, w := range workloads {
			evict(w)
		}
		for len(evicted) > 0 {
			i := s.whose(len(evicted))
			p := evicted[i]
			if evicted = slices.Delete(evicted, i, i+1); !g.returns(p) || s.place(p) {
				evict(g.pods[p].workload)
				continue
			}
			// While one finds no node nothing more is evicted.
			for _, stuck := range g.settle(s, slices.Insert(evicted, 0, p)) {
				giveUp(stuck)
			}
			evicted = nil
		}
		workloads = slices.DeleteFunc(workloads, func(w int32) bool { return len(next[w]) == 0 })
	}
	s.on[n] = stay
}

// returns tells whether the pod has a replacement of which it is known what it needs.
func (g *migration) returns(p int32) bool { return g.pods[p].fate == moves && !g.left[p] }

// settle places pods that have left their node, as often as it helps, and returns those that find no other.
func (g *migration) settle(s *state, pods []int32) []int32 {
	waiting := slices.DeleteFunc(pods, func(p int32) bool { return !g.returns(p) })
	for before := -1; len(waiting) != before; {
		before = len(waiting)
		waiting = slices.DeleteFunc(waiting, s.place)
	}
	return slices.DeleteFunc(waiting, func(p int32) bool { return len(g.notModelled(&g.State.Pods[g.pods[p].of])) > 0 })
}

// full tells which new pools are nearly full.
func (g *migration) full(s *state) []Full {
	var list []Full
	for _, st := range g.steps {
		asked, all := upgrade.Resources{}, upgrade.Resources{}
		for _, n := range st.fresh {
			for r, name := range s.resources {
				all[name] += s.nodes[n].allocatable[r]
				asked[name] += s.nodes[n].allocatable[r] - s.free[int(n)*len(s.resources)+r]
			}
			all["pods"] += int64(s.nodes[n].slots)
			asked["pods"] += int64(s.nodes[n].slots - s.slots[n])
		}
		for _, name := range slices.Sorted(maps.Keys(all)) {
			// Devices are there to be used up; only what runs short by accident counts.
			if !slices.Contains([]string{"cpu", "memory", "ephemeral-storage", "pods"}, name) || all[name] == 0 {
				continue
			}
			if part := float64(asked[name]) / float64(all[name]); part > Nearly {
				list = append(list, Full{Pool: st.Name, NewPool: st.NewName, Resource: name, Part: part})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Full) int { return cmp.Compare(a.Pool, b.Pool) })
	return list
}

// Now is a cluster as it is.
type Now struct {
	*state
	podOf map[string]int32
}

// NewNow takes a cluster as it is.
func NewNow(s upgrade.Snapshot) Now {
	st := newState(newModel(s, nil, upgrade.WaitForJobs))
	st.takeStock()
	now := Now{st, map[string]int32{}}
	for i, p := range st.pods {
		now.podOf[s.State.Pods[p.of].UID] = int32(i)
	}
	return now
}

// Obstacle is the first thing that keeps the pod with the UID from the node, as the scheduler would find it, and the resource if it is
// Insufficient. Both must be known. The pod should not be on a node.
func (c Now) Obstacle(uid, node string) (o Obstacle, resource string) {
	o, r := c.obstacle(c.podOf[uid], c.nodeNamed[node])
	if r != none {
		resource = c.resources[r]
	}
	return o, resource
}
