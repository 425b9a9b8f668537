package observer

import (
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// A guard is a PDB and the pods that it selects.
type guard struct {
	budget
	members map[types.UID]*tracked
	level
	violations int
	gone       bool
}

// floor is how many healthy pods the PDB demands of expected ones. Both kinds of
// percentages are rounded up, as the disruption controller does.
func (b budget) floor(expected int) (int, error) {
	switch {
	case b.spec.MaxUnavailable != nil:
		n, err := intstr.GetScaledValueFromIntOrPercent(b.spec.MaxUnavailable, expected, true)
		return max(0, expected-n), err
	case b.spec.MinAvailable != nil:
		return intstr.GetScaledValueFromIntOrPercent(b.spec.MinAvailable, expected, true)
	}
	return 0, nil
}

// needsExpected reports whether the floor depends on the workloads' scale.
func (b budget) needsExpected() bool {
	return b.spec.MaxUnavailable != nil ||
		b.spec.MinAvailable != nil && b.spec.MinAvailable.Type == intstr.String
}

// enrol finds the pods that g selects.
func (r *recorder) enrol(g *guard) {
	g.members = map[types.UID]*tracked{}
	for uid, t := range r.pods {
		if g.selects(t.pod) {
			g.members[uid] = t
		}
	}
}

func (g *guard) selects(p pod) bool {
	return p.namespace == g.namespace && g.selector.Matches(p.labels)
}

// guard follows a pod's change to the PDBs that select it. A healthy pod that
// starts to end must leave as many healthy ones as the floor demands.
func (r *recorder) guard(before pod, t *tracked) {
	ends := before.healthy() && t.terminating
	for _, g := range r.guards {
		selects := !g.gone && g.selects(t.pod)
		if !selects && g.members[t.uid] == nil {
			continue
		}
		if selects {
			g.members[t.uid] = t
		} else {
			delete(g.members, t.uid)
		}
		r.measureGuard(g)
		if !ends || !selects {
			continue
		}
		if floor, ok := r.floor(g); ok && healthy(g.members) < floor {
			g.violations++
			r.violations = append(r.violations, Violation{
				At: r.now, Pod: t.String(), Node: t.node, PDB: g.String(),
				Healthy: healthy(g.members), Floor: floor,
			})
		}
	}
}

func (r *recorder) measureGuard(g *guard) {
	if g.gone {
		return
	}
	floor, ok := r.floor(g)
	if !ok {
		g.rest(r.now)
		return
	}
	g.set(r.now, healthy(g.members), floor)
}

// floor is what g demands now, if that can be told: percentages and
// maxUnavailable need the scale of every workload that has pods in it.
func (r *recorder) floor(g *guard) (int, bool) {
	expected := 0
	if g.needsExpected() {
		counted := map[*workload]bool{nil: true} // bare pods have no scale
		for _, t := range g.members {
			if counted[t.workload] {
				continue
			}
			counted[t.workload] = true
			wanted, ok := r.wanted(t.workload)
			if !ok {
				return 0, false
			}
			expected += wanted
		}
		expected += r.emptied(g)
	}
	floor, err := g.floor(expected)
	return floor, err == nil
}

// emptied is the scale of the workloads in g's care that have lost every pod.
// The disruption controller forgets them until a pod is back; their outage is no
// less for it.
func (r *recorder) emptied(g *guard) int {
	n := 0
	for _, w := range r.workloads {
		if len(w.pods) == 0 && w.namespace == g.namespace && g.selector.Matches(w.labels) {
			wanted, _ := r.wanted(w)
			n += wanted
		}
	}
	return n
}
