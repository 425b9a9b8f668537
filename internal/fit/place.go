package fit

import (
	"math"
	"math/rand/v2"
	"slices"
)

// policy is a way of choosing among the nodes that take a pod. Where the pods of a cluster find nodes depends on it as soon as room is
// scarce, and the scheduler's own choice depends on chance and on more than can be known beforehand.
type policy struct {
	way way
	// seed is for what is left to chance.
	seed uint64
}

type way uint8

const (
	// balancing chooses as the scheduler does: much room left, cpu and memory used as evenly as before or more so, and the workload's pods
	// apart from each other. Older schedulers look only at how evenly cpu and memory are used afterwards: evening.
	balancing way = iota
	evening
	// fullest takes the fullest node, and first the first one.
	fullest
	first
)

// policies are the scheduler's ways, as far as they can be known, and ways that are less lucky with room. The fewer pods there are, the
// more it is a matter of luck whether all find a node, and the more often chance is tried: among equal nodes, and in the order of pods that
// are evicted side by side.
func policies(pods int) []policy {
	list := []policy{{way: balancing}, {way: first}, {way: fullest}, {way: evening}}
	const enough, most = 60_000, 12
	for seed := range uint64(min(most, enough/max(1, pods))) {
		list = append(list, policy{balancing, seed + 1}, policy{evening, seed + 1})
		if seed < most/3 {
			list = append(list, policy{fullest, seed + 1})
		}
	}
	return list
}

const (
	// few is up to how many nodes the scheduler looks at all of them, and glance at how many of more nodes we do.
	few    = 100
	glance = 8
)

// scoring keeps what a policy chooses by.
type scoring struct {
	policy
	chance *rand.Rand
	// turn is where the next look begins: where the last one ended, as for the scheduler.
	turn int
	// used are cpu and memory as the scheduler's scoring has them, by node.
	used [][2]int64
	// alike counts the pods of a workload on a node, and inZone in a zone.
	alike, inZone map[uint64]int32
	found         []candidate
	zones         []int32
}

type candidate struct {
	node  int32
	score int64
	// together is how much speaks against the node because of the workload's other pods.
	together int64
}

// choose makes the state place pods by the policy from now on.
func (s *state) choose(p policy) {
	sc := &scoring{
		policy: p, chance: rand.New(rand.NewPCG(p.seed, 0)), used: make([][2]int64, len(s.nodes)), //nolint:gosec // the same choice every time
		alike: map[uint64]int32{}, inZone: map[uint64]int32{},
	}
	s.scoring, s.growing = sc, map[int32]string{}
	for i := range s.pods {
		if n := s.at[i]; n != none {
			sc.weigh(s, &s.pods[i], n, 1)
		}
	}
}

func (sc *scoring) weigh(s *state, p *pod, n, by int32) {
	scored := [2]int64{scoredCPU, scoredMemory}
	if p.kind != none {
		scored = s.kinds[p.kind].scored
	}
	sc.used[n][cpu] += scored[cpu] * int64(by)
	sc.used[n][memory] += scored[memory] * int64(by)
	if sc.way <= evening && p.fate == moves && !p.terminating {
		if s.open[n] {
			sc.alike[pair(p.workload, n)] += by
		}
		sc.inZone[pair(p.workload, s.nodes[n].zoneIndex)] += by
	}
}

func pair(a, b int32) uint64 { return uint64(a)<<32 | uint64(b) } //nolint:gosec // indexes are not negative

// whose is which of so many replacements comes first: the one that has waited longest, or by chance, but for the first ways of choosing.
func (s *state) whose(replacements int) int {
	if s.scoring.seed == 0 {
		return 0
	}
	return s.scoring.chance.IntN(replacements)
}

// grows is a pool that stays and whose autoscaler may add a node that takes the pod, which finds none: one like those that it has would
// when it is empty. It is empty if there is none.
func (s *state) grows(p int32) string {
	pod := &s.pods[p]
	if s.inUse(pod) {
		return ""
	}
	if _, known := s.growing[pod.kind]; !known {
		s.growing[pod.kind] = s.elasticFor(pod.kind)
	}
	return s.growing[pod.kind]
}

func (s *state) elasticFor(k int32) string {
	for n := range s.nodes {
		there := &s.nodes[n]
		if !there.elastic || s.against(k, index(n)) != NoObstacle {
			continue
		}
		if !slices.ContainsFunc(s.kinds[k].requests, func(r request) bool { return r.amount > there.allocatable[r.resource]-s.bound(index(n), r.resource) }) {
			return there.pool
		}
	}
	return ""
}

// bound is what the pods that every node of its kind has, of DaemonSets and static ones, ask for of a node's resource.
func (s *state) bound(n, resource int32) int64 {
	sum := int64(0)
	for _, p := range s.on[n] {
		pod := &s.pods[p]
		if pod.kind == none || !pod.everywhere {
			continue
		}
		for _, r := range s.kinds[pod.kind].requests {
			if r.resource == resource {
				sum += r.amount
			}
		}
	}
	return sum
}

// place puts the pod, which is nowhere, on a node, and tells whether there is one that takes it.
func (s *state) place(p int32) bool {
	pod := &s.pods[p]
	if s.inUse(pod) {
		return false
	}
	so := s.socials[pod.social]
	id := [2]int32{pod.kind, pod.social}
	if so.solitary() {
		id[1] = none // a StatefulSet's pods differ in labels that nobody asks for
	}
	if eased, ok := s.hopeless[id]; ok && eased == s.eased(so) {
		return false
	}
	n := s.find(pod, so)
	if n == none {
		s.hopeless[id] = s.eased(so)
		return false
	}
	s.put(p, n)
	return true
}

// eased changes whenever other pods may have made place for one of the social.
func (s *state) eased(so *social) uint64 {
	sum := uint64(0)
	for _, tallies := range [][]int32{so.avoids, so.avoided, so.needs} {
		for _, t := range tallies {
			sum += s.tallied[t].eased
		}
	}
	for _, r := range so.spreads {
		sum += s.spread[r.spread].eased
	}
	return sum
}

// find is the node for one of the kind and social, none if no open node takes it.
func (s *state) find(p *pod, so *social) int32 {
	sc := s.scoring
	look, start := glance, sc.turn
	switch {
	case sc.way == first:
		look, start = 1, 0
	case s.openNodes <= few:
		look = few
	}
	s.lookFor(p, so, start, look)
	if len(sc.found) == 0 {
		return none
	}
	sc.turn = (int(sc.found[len(sc.found)-1].node) + 1) % len(s.nodes)
	if sc.way <= evening && len(so.shape.Spread) == 0 {
		s.keepApart(p)
	}
	return s.best(p)
}

// lookFor finds so many nodes that take one of the kind and social, going round from start.
func (s *state) lookFor(p *pod, so *social, start, look int) {
	sc, possible, alone := s.scoring, s.possibleFor(p.kind), so.solitary()
	sc.found = sc.found[:0]
	s.round++
	for i, wrapped := possible.next(start), false; ; i = possible.next(i + 1) {
		if i < 0 && !wrapped {
			wrapped, i = true, possible.next(0)
		}
		if i < 0 || wrapped && i >= start {
			return
		}
		n := index(i)
		if lack, _ := s.room(p.kind, n); lack != NoObstacle {
			possible.clear(i)
			continue
		}
		if !alone && (s.bars(so, s.nodes[n].group) || s.others(so, n, true) != NoObstacle) {
			continue
		}
		if sc.found = append(sc.found, candidate{node: n}); len(sc.found) >= look {
			return
		}
	}
}

// possibleFor are the open nodes that may still take one of the kind.
func (s *state) possibleFor(k int32) bitset {
	if s.possible[k] == nil {
		s.possible[k] = newBitset(len(s.nodes))
		for _, n := range s.worthAsking(k) {
			if s.open[n] && s.against(k, n) == NoObstacle {
				s.possible[k].set(int(n))
			}
		}
	}
	return s.possible[k]
}

func (s *state) worthAsking(k int32) []int32 {
	if named := s.kinds[k].named; named != nil {
		return named
	}
	return s.every
}

// bars tells whether pods elsewhere than on a node itself keep one of the social away from the group's nodes. It looks once in a round.
func (s *state) bars(so *social, g int32) bool {
	if s.askedIn[g] != s.round {
		s.askedIn[g], s.barred[g] = s.round, s.others(so, s.groups[g].of, false) != NoObstacle
	}
	return s.barred[g]
}

// best is the best of the nodes that were found, by chance among equals.
func (s *state) best(p *pod) int32 {
	found := s.scoring.found
	if len(found) == 1 {
		return found[0].node
	}
	best, equal := 0, 1
	for i := range found {
		found[i].score += s.score(p, found[i].node)
		switch {
		case i == 0:
		case found[i].score > found[best].score:
			best, equal = i, 1
		case found[i].score == found[best].score:
			if equal++; s.scoring.chance.IntN(equal) == 0 {
				best = i
			}
		}
	}
	return found[best].node
}

// score speaks for the node by what would be used of its cpu and memory.
func (s *state) score(p *pod, n int32) int64 {
	k := s.kinds[p.kind]
	var before, after [2]float64
	left, resources := int64(0), int64(0)
	for r := range after {
		all := s.nodes[n].allocatable[r]
		if all <= 0 {
			continue
		}
		used := s.scoring.used[n][r]
		before[r], after[r] = min(1, float64(used)/float64(all)), min(1, float64(used+k.scored[r])/float64(all))
		left += max(0, all-used-k.scored[r]) * 100 / all
		resources++
	}
	left /= max(1, resources)
	switch {
	case s.scoring.way == fullest:
		return -left
	case len(k.requests) == 0:
		return left
	case s.scoring.way == evening:
		return left + even(after)
	}
	return left + 50 + (50+even(after)-even(before))/2
}

// even is how evenly cpu and memory are used, at most 100.
func even(used [2]float64) int64 { return int64((1 - math.Abs(used[cpu]-used[memory])/2) * 100) }

// keepApart scores the nodes that were found by how many of the workload's pods are there and in their zone, as the scheduler does for
// pods that say nothing of it. It allows for three more on a node than elsewhere, and for five in a zone.
func (s *state) keepApart(p *pod) {
	sc := s.scoring
	if len(sc.found) < 2 {
		return
	}
	sc.zones = sc.zones[:0]
	for _, c := range sc.found {
		if zone := s.nodes[c.node].zoneIndex; !slices.Contains(sc.zones, zone) {
			sc.zones = append(sc.zones, zone)
		}
	}
	const perHost, perZone = 3, 5
	byHost, byZone := math.Log(float64(len(sc.found)+2)), math.Log(float64(len(sc.zones)+2))
	most, least := int64(0), int64(math.MaxInt64)
	for i := range sc.found {
		c := &sc.found[i]
		here, around := sc.alike[pair(p.workload, c.node)], sc.inZone[pair(p.workload, s.nodes[c.node].zoneIndex)]
		c.together = int64(math.Round(float64(here)*byHost + perHost - 1 + float64(around)*byZone + perZone - 1))
		most, least = max(most, c.together), min(least, c.together)
	}
	for i := range sc.found {
		c := &sc.found[i]
		c.score = 2 * (100 * (most + least - c.together) / most)
	}
}
