package fit

import (
	"slices"
)

// Obstacle is why a pod cannot go to a node, in the order in which the scheduler looks.
type Obstacle uint8

// The obstacles. NoObstacle is none.
const (
	NoObstacle Obstacle = iota
	Cordoned
	Tainted
	NotSelected
	PortTaken
	TooManyPods
	Insufficient
	VolumeInUse
	VolumeElsewhere
	NotSpread
	NoAffinity
	AntiAffinity
	AntiAffinityOfOthers
)

// unknown stands for an obstacle that nobody has looked for yet.
const unknown = Obstacle(255)

// against is what of a node that does not change is against the kind.
func (s *state) against(k, n int32) Obstacle {
	if s.kinds[k].byName {
		return s.look(k, n)
	}
	if s.static[k] == nil {
		s.static[k] = slices.Repeat([]Obstacle{unknown}, len(s.groups))
	}
	g := s.nodes[n].group
	if s.static[k][g] == unknown {
		s.static[k][g] = s.look(k, s.groups[g].of)
	}
	return s.static[k][g]
}

func (s *state) look(k, n int32) Obstacle {
	kind, there := s.kinds[k], &s.nodes[n]
	if there.cordoned && !tolerated(CordonTaint, kind.shape.Tolerations) {
		return Cordoned
	}
	if repel(there.taints, kind.shape.Tolerations) {
		return Tainted
	}
	if !Selects(kind.shape, there.name, there.labels) {
		return NotSelected
	}
	for _, terms := range kind.volumes {
		if !fulfilsAny(terms, there.name, there.labels) {
			return VolumeElsewhere
		}
	}
	return NoObstacle
}

// room is what the node lacks for one more of the kind, and which resource if it is one.
func (s *state) room(k, n int32) (Obstacle, int32) {
	kind := s.kinds[k]
	for _, taken := range s.ports[n] {
		for _, wanted := range kind.shape.HostPorts {
			if collide(taken, wanted) {
				return PortTaken, none
			}
		}
	}
	if s.slots[n] < 1 {
		return TooManyPods, none
	}
	free := s.free[int(n)*len(s.resources):]
	for _, r := range kind.requests {
		if r.amount > free[r.resource] {
			return Insufficient, r.resource
		}
	}
	return NoObstacle, none
}

// others is what other pods have against one of the social on the node, by the hostname only or by all other keys only.
func (s *state) others(so *social, n int32, byHost bool) Obstacle {
	for _, r := range so.spreads {
		if (s.scopes[s.spreads[r.spread].scope].key == 0) == byHost && s.uneven(r, n) {
			return NotSpread
		}
	}
	if len(so.needs) > 0 && s.lacks(so, n, byHost) {
		return NoAffinity
	}
	if s.meets(so.avoids, n, byHost) {
		return AntiAffinity
	}
	if s.meets(so.avoided, n, byHost) {
		return AntiAffinityOfOthers
	}
	return NoObstacle
}

func (s *state) uneven(r spreadRule, n int32) bool {
	c := &s.spread[r.spread]
	d := s.domains[s.scopes[s.spreads[r.spread].scope].key][n]
	if d == none {
		return true
	}
	least := c.least
	if c.domains < r.minDomains {
		least = 0
	}
	return c.in[d]+r.self-least > r.maxSkew
}

// lacks tells whether the pods that have to be near are not. The first pod of those that want to be near each other may go anywhere.
func (s *state) lacks(so *social, n int32, byHost bool) bool {
	first := so.needsSelf
	for _, t := range so.needs {
		first = first && s.tallied[t].total == 0
	}
	for _, t := range so.needs {
		key := s.tallies[t].key
		if (key == 0) != byHost {
			continue
		}
		d := s.domains[key][n]
		if d == none || !first && s.tallied[t].in[d] == 0 {
			return true
		}
	}
	return false
}

func (s *state) meets(tallies []int32, n int32, byHost bool) bool {
	for _, t := range tallies {
		key := s.tallies[t].key
		if (key == 0) != byHost {
			continue
		}
		if d := s.domains[key][n]; d != none && s.tallied[t].in[d] > 0 {
			return true
		}
	}
	return false
}

// obstacle is the first thing that keeps the pod from the node as things are, and which resource if it is one.
func (s *state) obstacle(p, n int32) (Obstacle, int32) {
	pod := &s.pods[p]
	static := s.against(pod.kind, n)
	if static != NoObstacle && static != VolumeElsewhere {
		return static, none
	}
	if lack, resource := s.room(pod.kind, n); lack != NoObstacle {
		return lack, resource
	}
	switch {
	case s.inUse(pod):
		return VolumeInUse, none
	case static != NoObstacle:
		return static, none
	}
	so := s.socials[pod.social]
	byKey, byHost := s.others(so, n, false), s.others(so, n, true)
	if byKey == NoObstacle || byHost != NoObstacle && byHost < byKey {
		return byHost, none
	}
	return byKey, none
}

// inUse tells whether another pod has a volume that only one can have.
func (s *state) inUse(p *pod) bool {
	return slices.ContainsFunc(p.claims, func(c int32) bool { return s.held[c] > 0 })
}
