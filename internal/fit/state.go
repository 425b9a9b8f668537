package fit

import (
	"maps"
	"math/bits"
	"slices"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// state is where the pods are. What it knows of tallies, spreads and free room it keeps up with every pod that comes or goes.
type state struct {
	*model
	// free is, by node and resource, what is left; slots how many more pods.
	free  []int64
	slots []int32
	on    [][]int32
	at    []int32
	ports [][]upgrade.HostPort
	// held is how many pods have a claim that only one can have.
	held    []int32
	tallied []counts
	spread  []spreadCounts
	// scopeOf tells, by scope and node, whether the node is looked at.
	inScope [][]bool
	// here are the nodes that exist, open those of them that pods are to go to, and closed those that are being left: cordoned by the
	// plan.
	here, open, closed []bool
	openNodes          int
	// static is what a group has against a kind, and possible, by kind, are the open nodes that may still take one of it. What a node
	// lacks now it lacks until the next pool: nothing leaves an open node.
	static   [][]Obstacle
	possible []bitset
	// hopeless are pods of a kind and social (none for solitary ones) that have found no node, with what has changed for them until then.
	hopeless map[[2]int32]uint64
	// growing are the pools that may grow for a kind, as far as they were asked for.
	growing map[int32]string
	scoring *scoring
	// barred is what other pods than those on a node itself have against its group, for those groups that were asked about in this round.
	barred  []bool
	askedIn []uint32
	round   uint32
}

// counts are by domain. eased rises whenever somebody may fit who did not before.
type counts struct {
	in    map[int32]int32
	total int32
	eased uint64
}

// spreadCounts are by domain; by counts how many domains have each count, and least is the least of them.
type spreadCounts struct {
	in      map[int32]int32
	by      []int32
	domains int32
	least   int32
	eased   uint64
}

type bitset []uint64

func newBitset(n int) bitset       { return make(bitset, (n+63)/64) }
func (b bitset) set(i int)         { b[i/64] |= 1 << (i % 64) }
func (b bitset) clear(i int)       { b[i/64] &^= 1 << (i % 64) }
func (b bitset) from(i int) uint64 { return b[i/64] &^ (1<<(i%64) - 1) }

// next is the first member from i on, -1 if there is none.
func (b bitset) next(i int) int {
	if i/64 >= len(b) {
		return -1
	}
	if word := b.from(i); word != 0 {
		return i/64*64 + bits.TrailingZeros64(word)
	}
	for w := i/64 + 1; w < len(b); w++ {
		if b[w] != 0 {
			return w*64 + bits.TrailingZeros64(b[w])
		}
	}
	return -1
}

func newState(m *model) *state {
	s := &state{
		model: m, free: make([]int64, len(m.nodes)*len(m.resources)), slots: make([]int32, len(m.nodes)), on: make([][]int32, len(m.nodes)),
		at: make([]int32, len(m.pods)), ports: make([][]upgrade.HostPort, len(m.nodes)), held: make([]int32, m.claims),
		tallied: make([]counts, len(m.tallies)), spread: make([]spreadCounts, len(m.spreads)), inScope: make([][]bool, len(m.scopes)),
		here: make([]bool, len(m.nodes)), open: make([]bool, len(m.nodes)), closed: make([]bool, len(m.nodes)),
		static: make([][]Obstacle, len(m.kinds)), barred: make([]bool, len(m.groups)), askedIn: make([]uint32, len(m.groups)),
	}
	for i, n := range m.nodes {
		copy(s.free[i*len(m.resources):], n.allocatable)
		s.slots[i], s.here[i], s.open[i] = n.slots, !n.toCome, !n.toCome && n.usable
	}
	for i := range s.tallied {
		s.tallied[i].in = map[int32]int32{}
	}
	for i := range s.spread {
		s.spread[i].in = map[int32]int32{}
	}
	for i := range m.pods {
		s.at[i] = none
		if n := m.pods[i].node; n != none {
			s.put(int32(i), n)
		}
	}
	return s
}

// clone is a state of its own.
func (s *state) clone() *state {
	c := *s
	c.free, c.slots, c.at, c.held = slices.Clone(s.free), slices.Clone(s.slots), slices.Clone(s.at), slices.Clone(s.held)
	c.here, c.open, c.closed = slices.Clone(s.here), slices.Clone(s.open), slices.Clone(s.closed)
	c.barred, c.askedIn, c.static = make([]bool, len(s.groups)), make([]uint32, len(s.groups)), make([][]Obstacle, len(s.kinds))
	c.inScope, c.possible, c.hopeless, c.scoring = make([][]bool, len(s.inScope)), nil, nil, nil
	c.on, c.ports = make([][]int32, len(s.on)), make([][]upgrade.HostPort, len(s.ports))
	for i := range s.on {
		// Clipped, so that what is added goes elsewhere.
		c.on[i], c.ports[i] = slices.Clip(s.on[i]), slices.Clip(s.ports[i])
	}
	c.tallied, c.spread = slices.Clone(s.tallied), slices.Clone(s.spread)
	for i := range c.tallied {
		c.tallied[i].in = maps.Clone(s.tallied[i].in)
	}
	for i := range c.spread {
		c.spread[i].in, c.spread[i].by = maps.Clone(s.spread[i].in), slices.Clone(s.spread[i].by)
	}
	return &c
}

// put places the pod on a node.
func (s *state) put(p, n int32) {
	s.on[n], s.at[p] = append(s.on[n], p), n
	s.weigh(p, n, 1)
	if pod := &s.pods[p]; pod.kind != none {
		s.ports[n] = append(s.ports[n], s.kinds[pod.kind].shape.HostPorts...)
	}
}

// take takes the pod off its node, but not out of the node's list.
func (s *state) take(p int32) {
	n := s.at[p]
	s.at[p] = none
	s.weigh(p, n, -1)
	if pod := &s.pods[p]; pod.kind != none && len(s.kinds[pod.kind].shape.HostPorts) > 0 {
		s.ports[n] = nil
		for _, other := range s.on[n] {
			if k := s.pods[other].kind; k != none && s.at[other] == n {
				s.ports[n] = append(s.ports[n], s.kinds[k].shape.HostPorts...)
			}
		}
	}
}

// weigh counts the pod on the node, or no more if by is -1.
func (s *state) weigh(p, n, by int32) {
	pod := &s.pods[p]
	s.slots[n] -= by
	for _, c := range pod.claims {
		s.held[c] += by
	}
	if s.scoring != nil {
		s.scoring.weigh(s, pod, n, by)
	}
	if pod.kind == none {
		return
	}
	free := s.free[int(n)*len(s.resources):]
	for _, r := range s.kinds[pod.kind].requests {
		free[r.resource] -= r.amount * int64(by)
	}
	so := s.socials[pod.social]
	for _, t := range so.counted {
		s.count(t, n, by)
	}
	if pod.terminating {
		return
	}
	for _, i := range so.spreadCounted {
		if in := s.inScope[s.spreads[i].scope]; in != nil && in[n] {
			sc := s.scopes[s.spreads[i].scope]
			s.spread[i].add(s.domains[sc.key][n], by, sc.key != 0 || s.open[n])
		}
	}
}

func (s *state) count(t, n, by int32) {
	key := s.tallies[t].key
	d := s.domains[key][n]
	if d == none {
		return
	}
	c := &s.tallied[t]
	c.in[d] += by
	c.total += by
	// What happens on a node that is left makes room only where the domain is more than that node; or if it was the last one of pods that
	// want to be near each other: the next one may go anywhere.
	if key != 0 || s.open[n] || c.total == 0 {
		c.eased++
	}
}

func (c *spreadCounts) add(d, by int32, matters bool) {
	was := c.in[d]
	is := was + by
	c.in[d] = is
	for int(is) >= len(c.by) {
		c.by = append(c.by, 0)
	}
	c.by[was]--
	c.by[is]++
	before := c.least
	if is < c.least {
		c.least = is
	}
	for int(c.least) < len(c.by)-1 && c.by[c.least] == 0 {
		c.least++
	}
	if matters && by < 0 || c.least > before {
		c.eased++
	}
}

// takeStock is due after nodes have come, gone or been closed.
func (s *state) takeStock() {
	s.openNodes = 0
	for _, open := range s.open {
		if open {
			s.openNodes++
		}
	}
	s.possible, s.hopeless = make([]bitset, len(s.kinds)), map[[2]int32]uint64{}
	s.survey()
	for i := range s.pods {
		n, pod := s.at[i], &s.pods[i]
		if n == none || pod.social == none || pod.terminating || !s.here[n] {
			continue
		}
		for _, sp := range s.socials[pod.social].spreadCounted {
			if s.inScope[s.spreads[sp].scope][n] {
				s.spread[sp].add(s.domains[s.scopes[s.spreads[sp].scope].key][n], 1, true)
			}
		}
	}
}

// survey finds the nodes and domains that each spread looks at, and counts nothing in them yet.
func (s *state) survey() {
	domains := make([]int32, len(s.scopes))
	for i, sc := range s.scopes {
		in, seen := make([]bool, len(s.nodes)), map[int32]bool{}
		for n := range s.nodes {
			if in[n] = s.here[n] && s.looksAt(sc, int32(n)); in[n] {
				seen[s.domains[sc.key][n]] = true
			}
		}
		s.inScope[i], domains[i] = in, index(len(seen))
	}
	for i := range s.spread {
		d := domains[s.spreads[i].scope]
		s.spread[i] = spreadCounts{in: map[int32]int32{}, by: []int32{d}, domains: d, eased: s.spread[i].eased + 1}
	}
}

func (s *state) looksAt(sc scope, n int32) bool {
	for _, key := range sc.keys {
		if s.domains[key][n] == none {
			return false
		}
	}
	there := &s.nodes[n]
	if sc.selecting != nil && !Selects(sc.selecting, there.name, there.labels) {
		return false
	}
	if sc.tolerating == nil {
		return true
	}
	if repel(there.taints, sc.tolerating.Tolerations) {
		return false
	}
	return !s.closed[n] || tolerated(CordonTaint, sc.tolerating.Tolerations)
}
