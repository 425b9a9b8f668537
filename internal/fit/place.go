package fit

import "math"

// policy is a way of choosing among the nodes that take a pod. Where the pods of a cluster find nodes depends on it as soon as room is
// scarce, and the scheduler's own choice depends on more than can be known beforehand.
type policy struct {
	// look is at how many nodes that take the pod to look; all where there are few, if wide.
	look int
	wide bool
	// turning begins where the last look ended, as the scheduler does, otherwise with the first node.
	turning bool
	// fullest takes the fullest node instead of the one that the scheduler's scoring likes best.
	fullest bool
}

// policies are the scheduler's way, as far as it can be known, and ways that are less lucky with room.
var policies = []policy{
	{look: 8, wide: true, turning: true},
	{look: 1},
	{look: 8, wide: true, turning: true, fullest: true},
}

// few is up to how many nodes the scheduler looks at all of them.
const few = 100

// scoring keeps what a policy chooses by.
type scoring struct {
	policy
	turn int
	// used are cpu and memory as the scheduler's scoring has them, by node.
	used [][2]int64
	// alike counts the pods of a workload on a node, and inZone in a zone.
	alike, inZone map[uint64]int32
	found         []candidate
}

type candidate struct {
	node  int32
	score float64
	// apart is how much a workload's other pods speak against the node.
	apart float64
}

// choose makes the state place pods by the policy from now on.
func (s *state) choose(p policy) {
	sc := &scoring{policy: p, used: make([][2]int64, len(s.nodes)), alike: map[uint64]int32{}, inZone: map[uint64]int32{}}
	s.scoring = sc
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
	if sc.look > 1 && !sc.fullest && p.fate == moves {
		if s.open[n] {
			sc.alike[pair(p.workload, n)] += by
		}
		sc.inZone[pair(p.workload, s.nodes[n].zoneIndex)] += by
	}
}

func pair(a, b int32) uint64 { return uint64(a)<<32 | uint64(b) } //nolint:gosec // indexes are not negative

// place puts the pod, which is nowhere, on a node, and tells whether there is one that takes it.
func (s *state) place(p int32) bool {
	pod := &s.pods[p]
	if s.inUse(pod) {
		return false
	}
	so := s.socials[pod.social]
	id := [2]int32{pod.kind, pod.social}
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
	possible := s.possibleFor(p.kind)
	alone := so.solitary()
	s.round++
	sc := s.scoring
	look := sc.look
	if sc.wide && s.openNodes <= few {
		look = few
	}
	sc.found = sc.found[:0]
	start := 0
	if sc.turning {
		start = sc.turn
	}
	for i, wrapped := possible.next(start), false; ; i = possible.next(i + 1) {
		if i < 0 && !wrapped && start > 0 {
			wrapped, i = true, possible.next(0)
		}
		if i < 0 || wrapped && i >= start {
			break
		}
		n := int32(i) //nolint:gosec // there are fewer nodes than 2^31
		if lack, _ := s.room(p.kind, n); lack != NoObstacle {
			possible.clear(i)
			continue
		}
		if !alone && (s.bars(so, s.nodes[n].group) || s.others(so, n, true) != NoObstacle) {
			continue
		}
		sc.found = append(sc.found, candidate{node: n})
		if len(sc.found) >= look {
			break
		}
	}
	if len(sc.found) == 0 {
		return none
	}
	best := s.best(p, so)
	if sc.turning {
		sc.turn = int(sc.found[len(sc.found)-1].node) + 1
		if sc.turn >= len(s.nodes) {
			sc.turn = 0
		}
	}
	return best
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

// best is the best of the nodes that were found.
func (s *state) best(p *pod, so *social) int32 {
	sc := s.scoring
	if len(sc.found) == 1 {
		return sc.found[0].node
	}
	most, least := 0.0, math.MaxFloat64
	for i := range sc.found {
		c := &sc.found[i]
		c.score = s.score(p, c.node)
		if !sc.fullest && len(so.spreads) == 0 {
			c.apart = s.apart(p, c.node, len(sc.found))
			most, least = max(most, c.apart), min(least, c.apart)
		}
	}
	best := 0
	for i := range sc.found {
		c := &sc.found[i]
		if most > 0 {
			c.score += 2 * 100 * (most + least - c.apart) / most
		}
		if c.score > sc.found[best].score {
			best = i
		}
	}
	return sc.found[best].node
}

// score is how much of its cpu and memory the node would have left, and how evenly, at most 100 each; less than zero the fuller it is, if
// the fullest is to be taken.
func (s *state) score(p *pod, n int32) float64 {
	var part [2]float64
	for r := range part {
		if all := s.nodes[n].allocatable[r]; all > 0 {
			part[r] = min(1, float64(s.scoring.used[n][r]+s.kinds[p.kind].scored[r])/float64(all))
		}
	}
	used := (part[cpu] + part[memory]) / 2
	if s.scoring.fullest {
		return used
	}
	return 100*(1-used) + 100*(1-math.Abs(part[cpu]-part[memory])/2)
}

// apart counts the workload's pods on the node and in its zone, as the scheduler does unless it is told otherwise.
func (s *state) apart(p *pod, n int32, nodes int) float64 {
	host := float64(s.scoring.alike[pair(p.workload, n)])
	zone := float64(s.scoring.inZone[pair(p.workload, s.nodes[n].zoneIndex)])
	const zones = 3
	return host*math.Log(float64(nodes)+2) + 2 + zone*math.Log(zones+2) + 4
}
