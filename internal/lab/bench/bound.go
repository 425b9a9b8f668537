package main

import (
	"slices"
	"time"
)

// A load is what a workload has on the old nodes, and by which rules it leaves them.
type load struct {
	// pods is how many it has on each of the old nodes that have any.
	pods map[string]int
	// budget is how many of its pods its PDB lets go at once; 0: it has none, and they may all go.
	budget int
	// startUp is the time from a pod's binding to Ready, and grace what it takes to stop.
	startUp, grace time.Duration
	// nameBound is true for pods whose replacement has to wait until they are gone: a StatefulSet's.
	nameBound bool
	// ordered is true for a StatefulSet that starts its pods one after another.
	ordered bool
	// unreplaced is true for pods that nobody waits for: bare ones, which do not come back, and Jobs', which do so in the Job's own time.
	unreplaced bool
}

// term is what makes a bound as long as it is.
type term string

const (
	budgetTerm  term = "the PDBs"          // with start-ups and graces
	arrivalTerm term = "the late nodes"    // that the pods have to wait for
	speedTerm   term = "the control plane" // which replaces only so many pods a second
)

// bounds are the shortest times in which the old nodes can be emptied and all be Ready again, by policy.
type bounds struct {
	// Parallel: any pod of any node whenever its PDB allows it. It is the longest of its terms.
	Parallel time.Duration
	// Term is which of them that is.
	Term term
	// PDBs is what the PDBs, start-ups and graces alone demand of it.
	PDBs time.Duration
	// Strict: one node at a time, the next one when the node is empty and the replacements are Ready.
	Strict time.Duration
	// Pipelined: one node at a time, the next one when the replacements are Ready, though old pods may still be stopping.
	Pipelined time.Duration
}

// arrival is when nodes with room for so many pods come, counted from the beginning.
type arrival struct {
	after time.Duration
	pods  int
}

// lowerBounds are the bounds for loads, with c what the control plane takes from a lone pod's eviction to its replacement's Ready beyond
// its start-up. Arrivals are when the room for the pods comes; none: it is there. Rate is how many pods a second the control plane can
// replace at most; 0: any number.
func lowerBounds(loads []load, c time.Duration, arrivals []arrival, rate float64) bounds {
	var b bounds
	replaced := 0                           // pods that come back: what does not needs no room, and nobody's time
	perNode := map[string][]time.Duration{} // [strict, pipelined]
	var lastGrace time.Duration
	for _, l := range loads {
		sum := 0
		for node, k := range l.pods {
			sum += k
			if perNode[node] == nil {
				perNode[node] = make([]time.Duration, 2)
			}
			per := perNode[node]
			per[0] = max(per[0], l.alone(k, c))
			per[1] = max(per[1], time.Duration(l.waves(k))*l.replacement(c))
		}
		if !l.unreplaced {
			replaced += sum
		}
		if sum > 0 {
			b.PDBs = max(b.PDBs, l.alone(sum, c))
			lastGrace = max(lastGrace, l.grace)
		}
	}
	for _, per := range perNode {
		b.Strict += per[0]
		b.Pipelined += per[1]
	}
	if len(perNode) > 0 {
		b.Pipelined += lastGrace
	}
	b.extend(b.PDBs, budgetTerm)
	b.extend(room(loads, arrivals, replaced, c), arrivalTerm)
	if rate > 0 {
		b.extend(time.Duration(float64(replaced)/rate*float64(time.Second)), speedTerm)
	}
	return b
}

// extend makes the bound in parallel at least as long as one of its terms.
func (b *bounds) extend(d time.Duration, t term) {
	if d > b.Parallel {
		b.Parallel, b.Term = d, t
	}
}

// waves are how often the budget has to be spent for k pods.
func (l load) waves(k int) int {
	if l.budget == 0 {
		return min(k, 1)
	}
	return (k + l.budget - 1) / l.budget
}

// replacement is the time from an eviction until its budget is free again.
func (l load) replacement(c time.Duration) time.Duration {
	switch {
	case l.unreplaced:
		return 0
	case l.nameBound:
		return l.grace + l.startUp + c
	}
	return l.startUp + c
}

// alone is the shortest time for k of its pods, if nothing else is in the way.
func (l load) alone(k int, c time.Duration) time.Duration {
	if k == 0 {
		return 0
	}
	r := l.replacement(c)
	t := time.Duration(l.waves(k)-1)*r + max(l.grace, r)
	if l.ordered {
		t = max(t, l.grace+time.Duration(k)*(l.startUp+c))
	}
	return t
}

// room is the earliest time at which so many pods can be Ready on nodes that arrive late.
func room(loads []load, arrivals []arrival, demand int, c time.Duration) time.Duration {
	if len(arrivals) == 0 || demand == 0 {
		return 0
	}
	startUp := time.Duration(-1)
	for _, l := range loads {
		if !l.unreplaced && (startUp < 0 || l.startUp < startUp) {
			startUp = l.startUp
		}
	}
	sorted := slices.Clone(arrivals)
	slices.SortFunc(sorted, func(a, b arrival) int { return int(a.after - b.after) })
	there := 0
	for _, a := range sorted {
		if there += a.pods; there >= demand {
			return a.after + c + max(0, startUp)
		}
	}
	return 0 // not all of them fit, ever: then room is not what bounds the time
}
