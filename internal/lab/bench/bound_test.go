package main

import (
	"testing"
	"time"
)

// onNodes spreads k pods over n nodes, the first ones first.
func onNodes(k, n int) map[string]int {
	pods := map[string]int{}
	for i := range k {
		pods[string(rune('a'+i%n))]++
	}
	return pods
}

func TestLowerBounds(t *testing.T) {
	const s, g = 10 * time.Second, 10 * time.Second
	deployment := load{pods: onNodes(12, 12), budget: 1, startUp: s, grace: g}
	stateful := load{pods: onNodes(6, 6), budget: 1, startUp: s, grace: g, nameBound: true, ordered: true}
	for _, tt := range []struct {
		name     string
		loads    []load
		c        time.Duration
		arrivals []arrival
		rate     float64
		want     bounds
	}{
		{name: "nothing", want: bounds{}},
		{
			name: "one at a time, a node each", loads: []load{deployment},
			want: bounds{Parallel: 120 * time.Second, Strict: 120 * time.Second, Pipelined: 130 * time.Second},
		},
		{
			name: "c counts once for each wave", loads: []load{deployment}, c: 100 * time.Millisecond,
			want: bounds{Parallel: 121200 * time.Millisecond, Strict: 121200 * time.Millisecond, Pipelined: 131200 * time.Millisecond},
		},
		{
			name: "a quarter of 18 is 5 at once", loads: []load{{pods: onNodes(18, 18), budget: 5, startUp: s, grace: g}},
			want: bounds{Parallel: 40 * time.Second, Strict: 180 * time.Second, Pipelined: 190 * time.Second},
		},
		{
			name: "a StatefulSet's replacement waits for the name", loads: []load{stateful},
			want: bounds{Parallel: 120 * time.Second, Strict: 120 * time.Second, Pipelined: 130 * time.Second},
		},
		{
			name:  "an ordered StatefulSet starts one after another, whatever its budget",
			loads: []load{{pods: onNodes(6, 6), budget: 6, startUp: s, grace: g, nameBound: true, ordered: true}},
			want:  bounds{Parallel: 70 * time.Second, Strict: 120 * time.Second, Pipelined: 130 * time.Second},
		},
		{
			name: "without a PDB all at once", loads: []load{{pods: onNodes(20, 20), startUp: s, grace: g}},
			want: bounds{Parallel: 10 * time.Second, Strict: 200 * time.Second, Pipelined: 210 * time.Second},
		},
		{
			name:  "a long grace counts once in parallel, at each node when strict, at the last when pipelined",
			loads: []load{{pods: onNodes(2, 2), budget: 1, startUp: 5 * time.Second, grace: 30 * time.Second}},
			want:  bounds{Parallel: 35 * time.Second, Strict: 60 * time.Second, Pipelined: 40 * time.Second},
		},
		{
			name: "six of a workload on one node", loads: []load{{pods: onNodes(6, 1), budget: 1, startUp: s, grace: g}},
			want: bounds{Parallel: 60 * time.Second, Strict: 60 * time.Second, Pipelined: 70 * time.Second},
		},
		{
			name: "the slowest of a node counts", loads: []load{deployment, {pods: map[string]int{"a": 1}, budget: 1, startUp: s, grace: g, nameBound: true}},
			want: bounds{Parallel: 120 * time.Second, Strict: 130 * time.Second, Pipelined: 140 * time.Second},
		},
		{
			name: "bare pods take their grace and have no replacement", loads: []load{{pods: onNodes(3, 3), startUp: s, grace: 20 * time.Second, unreplaced: true}},
			want: bounds{Parallel: 20 * time.Second, Strict: 60 * time.Second, Pipelined: 20 * time.Second},
		},
		{
			name: "the last room comes late", loads: []load{deployment}, c: time.Second,
			arrivals: []arrival{{2 * time.Minute, 4}, {0, 4}, {3 * time.Minute, 4}},
			want:     bounds{Parallel: 191 * time.Second, Term: arrivalTerm, PDBs: 132 * time.Second, Strict: 132 * time.Second, Pipelined: 142 * time.Second},
		},
		{
			name: "what is not replaced needs no room", loads: []load{deployment, {pods: onNodes(4, 4), unreplaced: true}},
			arrivals: []arrival{{0, 12}, {time.Hour, 12}},
			want:     bounds{Parallel: 120 * time.Second, Strict: 120 * time.Second, Pipelined: 130 * time.Second},
		},
		{
			name: "more room than needed comes late", loads: []load{deployment},
			arrivals: []arrival{{0, 12}, {time.Hour, 12}},
			want:     bounds{Parallel: 120 * time.Second, Strict: 120 * time.Second, Pipelined: 130 * time.Second},
		},
		{
			name: "the control plane replaces no more than one pod in 20 s", loads: []load{deployment}, rate: 0.05,
			want: bounds{Parallel: 240 * time.Second, Term: speedTerm, PDBs: 120 * time.Second, Strict: 120 * time.Second, Pipelined: 130 * time.Second},
		},
		{
			name: "what is not replaced keeps no control plane busy", loads: []load{{pods: onNodes(12, 12), unreplaced: true}}, rate: 0.05,
			want: bounds{},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := tt.want
			if want.PDBs == 0 { // nothing but they
				want.PDBs = want.Parallel
			}
			if want.Term == "" && want.Parallel > 0 {
				want.Term = budgetTerm
			}
			if got := lowerBounds(tt.loads, tt.c, tt.arrivals, tt.rate); got != want {
				t.Errorf("lowerBounds() = %+v, want %+v", got, want)
			}
		})
	}
}
