package fit

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Why says why a pod finds no node.
type Why struct {
	// Nodes is how many nodes there are to go to, those that are left not counted.
	Nodes   int
	Reasons []Reason
}

// Reason is what keeps the pod from some of them.
type Reason struct {
	Obstacle Obstacle
	// Resource is what is insufficient; Asked and Most how much of it the pod asks for and the most that one of these nodes has left, for
	// people. NodeHas is the most that one of them has in all, and Never that even this is too little.
	Resource    string
	Asked, Most string
	Never       bool
	// OnNode tells of an anti-affinity that on some of the nodes it is to pods on the node itself, and to none elsewhere.
	OnNode bool
	Nodes  int
}

// String is like the scheduler's own message: "0 of 6 nodes: 3 insufficient cpu (asks 2, most free is 1.2), 3 did not match the node selector".
func (w Why) String() string {
	if w.Nodes == 0 {
		return "there is no node to go to"
	}
	list := make([]string, len(w.Reasons))
	for i, r := range w.Reasons {
		list[i] = fmt.Sprintf("%d %s", r.Nodes, r)
	}
	return fmt.Sprintf("0 of %d nodes: %s", w.Nodes, strings.Join(list, ", "))
}

func (r Reason) String() string {
	switch {
	case r.Never:
		return fmt.Sprintf("insufficient %s (asks %s, such a node has %s free when it is empty)", r.Resource, r.Asked, r.Most)
	case r.Obstacle == Insufficient:
		return fmt.Sprintf("insufficient %s (asks %s, most free is %s)", r.Resource, r.Asked, r.Most)
	}
	return r.Obstacle.String()
}

// String is in the words of the scheduler.
func (o Obstacle) String() string {
	return map[Obstacle]string{
		Cordoned: "cordoned", Tainted: "had an untolerated taint", NotSelected: "did not match the node selector or affinity",
		PortTaken: "had no free host port", TooManyPods: "too many pods", Insufficient: "insufficient resources",
		VolumeInUse: "had a volume in use by another pod", VolumeElsewhere: "could not mount a volume there",
		NotSpread: "did not satisfy its topology spread", NoAffinity: "did not match its pod affinity",
		AntiAffinity: "did not match its pod anti-affinity", AntiAffinityOfOthers: "did not satisfy the anti-affinity of other pods",
	}[o]
}

// Capacity tells that more nodes like these would help.
func (w Why) Capacity() bool {
	return slices.ContainsFunc(w.Reasons, func(r Reason) bool {
		switch r.Obstacle {
		case PortTaken, TooManyPods:
			return true
		case AntiAffinity, AntiAffinityOfOthers:
			return r.OnNode
		case Insufficient:
			return !r.Never
		}
		return false
	})
}

// Spread tells that a topology spread is in the way.
func (w Why) Spread() bool {
	return slices.ContainsFunc(w.Reasons, func(r Reason) bool { return r.Obstacle == NotSpread })
}

// kept is what a reason keeps a pod from: how many nodes, what the one with the most has left of the resource, and in all, and whether on
// some of them it is a matter of the node alone.
type kept struct {
	nodes       int
	most, empty int64
	onNode      bool
}

// why looks at every open node.
func (s *state) why(p int32) Why {
	var w Why
	width := len(s.resources) + 1
	by := make([]kept, (int(AntiAffinityOfOthers)+1)*width) // by obstacle and resource, none first
	for n, open := range s.open {
		if !open {
			continue
		}
		w.Nodes++
		o, r := s.obstacle(p, int32(n))
		k := &by[int(o)*width+int(r)+1]
		k.nodes++
		k.onNode = k.onNode || s.onNode(p, int32(n), o)
		if r != none {
			k.most = max(k.most, s.free[n*len(s.resources)+int(r)])
			k.empty = max(k.empty, s.nodes[n].allocatable[r])
		}
	}
	for i, k := range by {
		o, resource := Obstacle(i/width), index(i%width)-1 //nolint:gosec // there are few
		if k.nodes == 0 || o == NoObstacle {
			continue
		}
		r := Reason{Obstacle: o, OnNode: k.onNode, Nodes: k.nodes}
		if resource != none {
			r.Resource = s.resources[resource]
			asked := s.asks(p, resource)
			r.Never = asked > k.empty
			r.Asked, r.Most = amount(r.Resource, asked), amount(r.Resource, k.most)
			if r.Never {
				r.Most = amount(r.Resource, k.empty)
			}
		}
		w.Reasons = append(w.Reasons, r)
	}
	slices.SortFunc(w.Reasons, func(a, b Reason) int {
		return cmp.Or(cmp.Compare(b.Nodes, a.Nodes), cmp.Compare(a.Obstacle, b.Obstacle), strings.Compare(a.Resource, b.Resource))
	})
	return w
}

// onNode tells of an anti-affinity that is in the way whether no pod elsewhere is.
func (s *state) onNode(p, n int32, o Obstacle) bool {
	so := s.socials[s.pods[p].social]
	return (o == AntiAffinity || o == AntiAffinityOfOthers) && !s.meets(so.avoids, n, false) && !s.meets(so.avoided, n, false)
}

func (s *state) asks(p, resource int32) int64 {
	for _, r := range s.kinds[s.pods[p].kind].requests {
		if r.resource == resource {
			return r.amount
		}
	}
	return 0
}

// amount is for people: "1.2" cores, "3.5Gi".
func amount(resource string, n int64) string {
	switch {
	case resource == "cpu":
		return strconv.FormatFloat(float64(n)/1000, 'f', -1, 64)
	case resource == "memory" || resource == "ephemeral-storage" || strings.HasPrefix(resource, "hugepages-"):
		for _, unit := range []struct {
			name string
			size int64
		}{{"Gi", 1 << 30}, {"Mi", 1 << 20}, {"Ki", 1 << 10}} {
			if n >= unit.size {
				return strconv.FormatFloat(float64(n*10/unit.size)/10, 'f', -1, 64) + unit.name
			}
		}
	}
	return strconv.FormatInt(n, 10)
}
