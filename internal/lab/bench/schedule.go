package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// A suite is what a benchmark measures.
type suite struct {
	name        string
	repetitions int
	// slots of one repetition, in their order.
	slots []slot
}

// A slot is what is measured of one workload with clusters that are filled together, which takes most of the time that is not measured.
type slot struct {
	workload string
	// turns come one after another. The contenders of one turn run at the same time, each on a cluster of its own.
	turns [][]string
	// yields is true if the last repetition is to come after everything else, in what time remains.
	yields bool
}

// standard is what make bench measures. The contenders that go node after node run side by side: they mostly wait, and one after another they do
// not fit into the hour.
func standard() suite {
	return suite{name: "standard", repetitions: 3, slots: []slot{
		{workload: "M", turns: [][]string{{upshiftParallel}, {kubectlAtOnce}}},
		{workload: "M", turns: [][]string{{upshiftStrict, kubectlLoop, kubectlUnwaited}}, yields: true},
		{workload: "deployments", turns: [][]string{{upshiftParallel}, {upshiftSurged}}},
	}}
}

// full is what make bench-full measures, everything by itself.
func full() suite {
	s := suite{name: "full", repetitions: 5}
	for _, w := range []string{"M", "packed", "capacity", "grace", "scale", "deployments"} {
		for _, c := range contenders() {
			switch {
			case c.policy == surged && w != "deployments":
			case w == "deployments" && c.policy != surged && c.name != upshiftParallel:
			case w == "scale" && c.policy != parallel: // one node after another takes an hour each
			default:
				s.slots = append(s.slots, slot{workload: w, turns: [][]string{{c.name}}})
			}
		}
	}
	return s
}

// quick is for trying the benchmark out: the contenders of each policy side by side.
func quick() suite {
	s := slot{workload: "quick"}
	for _, p := range []policy{strict, parallel, surged, unwaited} {
		var turn []string
		for _, c := range contenders() {
			if c.policy == p && c.program == "" { // a program of its own takes minutes to build
				turn = append(turn, c.name)
			}
		}
		s.turns = append(s.turns, turn)
	}
	return suite{name: "quick", repetitions: 1, slots: []slot{s}}
}

// only keeps the contenders of which "workload/contender" matches.
func (s suite) only(pattern *regexp.Regexp) suite {
	out := suite{name: s.name, repetitions: s.repetitions}
	for _, sl := range s.slots {
		keep := slot{workload: sl.workload, yields: sl.yields}
		for _, turn := range sl.turns {
			turn = slices.DeleteFunc(slices.Clone(turn), func(c string) bool { return !pattern.MatchString(sl.workload + "/" + c) })
			if len(turn) > 0 {
				keep.turns = append(keep.turns, turn)
			}
		}
		if len(keep.turns) > 0 {
			out.slots = append(out.slots, keep)
		}
	}
	return out
}

// A step is one repetition of a slot.
type step struct {
	slot
	repetition int
}

// order is in which the slots are measured: repetition by repetition, so that what changes on the machine meanwhile changes for all of them.
func (s suite) order() []step {
	var steps, yielding []step
	for repetition := 1; repetition <= s.repetitions; repetition++ {
		for _, sl := range s.slots {
			if sl.yields && repetition == s.repetitions {
				yielding = append(yielding, step{sl, repetition})
			} else {
				steps = append(steps, step{sl, repetition})
			}
		}
	}
	return append(steps, yielding...)
}

// A benchmark carries out a suite.
type benchmark struct {
	env   environment
	store *store
	// deadline is when it ends, whatever is still to do; zero: never. What cannot be done by then is not begun.
	deadline time.Time
}

// overhead is what a slot takes besides what is measured, most of it until StatefulSets have all their pods, one after another.
const overhead = 100 * time.Second

func (b benchmark) run(ctx context.Context, s suite) error {
	if !b.deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, b.deadline, errOutOfTime)
		defer cancel()
	}
	if b.store.run.Calibration == nil {
		b.say("calibrating: lone evictions, then many at once")
		c, err := calibrate(ctx, b.env)
		if err != nil {
			return fmt.Errorf("calibrate: %w", err)
		}
		b.store.run.Calibration = &c
		if err := b.store.save(); err != nil {
			return err
		}
		b.say("c is %.0f ms, and the control plane replaces %.0f pods a second", 1000*c.CSeconds, c.PodsPerSecond)
	}
	for _, st := range s.order() {
		turns, err := b.turns(st)
		if err != nil {
			return err
		}
		if len(turns) == 0 {
			continue
		}
		if err := b.slot(ctx, turns); err != nil {
			return err
		}
	}
	return nil
}

// turns are the trials of a step that have not been made yet.
func (b benchmark) turns(s step) ([][]*trial, error) {
	w, err := find("workload", workloads(), func(w workload) string { return w.name }, s.workload)
	if err != nil {
		return nil, err
	}
	var turns [][]*trial
	for _, names := range s.turns {
		var turn []*trial
		for _, name := range names {
			c, err := find("contender", contenders(), func(c contender) string { return c.name }, name)
			if err != nil {
				return nil, err
			}
			if !b.store.has(w.name, c.name, s.repetition) {
				turn = append(turn, &trial{workload: w, contender: c, repetition: s.repetition, calibration: *b.store.run.Calibration, env: b.env})
			}
		}
		for _, t := range turn {
			for _, other := range turn {
				if other != t {
					t.beside = append(t.beside, other.contender.name)
				}
			}
		}
		if len(turn) > 0 {
			turns = append(turns, turn)
		}
	}
	return turns, nil
}

func find[T any](what string, all []T, name func(T) string, wanted string) (T, error) {
	i := slices.IndexFunc(all, func(t T) bool { return name(t) == wanted })
	if i < 0 {
		var none T
		return none, fmt.Errorf("there is no %s %q", what, wanted)
	}
	return all[i], nil
}

var errOutOfTime = errors.New("the benchmark's time is over")

// slot makes trials, if there is time for them, and keeps what came of them. It fails if nothing more can be measured.
func (b benchmark) slot(ctx context.Context, turns [][]*trial) error {
	var names []string
	expected := overhead
	for _, turn := range turns {
		var longest time.Duration
		for _, t := range turn {
			names = append(names, t.contender.name)
			longest = max(longest, b.expected(t))
		}
		expected += longest
	}
	all := slices.Concat(turns...)
	title := fmt.Sprintf("%s: %s, repetition %d", all[0].workload.name, strings.Join(names, ", "), all[0].repetition)
	if !b.deadline.IsZero() && time.Until(b.deadline) < expected {
		b.say("%s: left out, since it takes some %s and %s are left", title, expected.Round(time.Second), time.Until(b.deadline).Round(time.Second))
		return b.leaveOut(all, "there was no time left for it")
	}
	b.say("%s", title)
	defer func() {
		for _, t := range all {
			_ = t.close() // what a trial that was made leaves is in its result
		}
	}()
	unready := setUp(ctx, all)
	for _, turn := range turns {
		results := simultaneously(ctx, turn, unready)
		if errors.Is(context.Cause(ctx), errOutOfTime) {
			return b.leaveOut(all, "the benchmark's time was over while it ran")
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for _, r := range results {
			b.say("  %s: %s", r.Contender, r.line())
		}
		if err := b.store.add(results...); err != nil {
			return err
		}
	}
	return nil
}

// leaveOut notes of trials that they were not made, except for those that were.
func (b benchmark) leaveOut(trials []*trial, why string) error {
	var results []result
	for _, t := range trials {
		if !b.store.has(t.workload.name, t.contender.name, t.repetition) {
			r := t.result()
			r.Outcome, r.Error = leftOut, why
			results = append(results, r)
		}
	}
	return b.store.add(results...)
}

// setUp fills all clusters before any contender begins, so that none is disturbed by that. It says which could not be.
func setUp(ctx context.Context, trials []*trial) map[*trial]error {
	errs := make([]error, len(trials))
	var working sync.WaitGroup
	for i, t := range trials {
		working.Go(func() { errs[i] = t.setUp(ctx) })
	}
	working.Wait()
	unready := map[*trial]error{}
	for i, t := range trials {
		unready[t] = errs[i]
	}
	return unready
}

// simultaneously runs contenders on their clusters, and ends these.
func simultaneously(ctx context.Context, turn []*trial, unready map[*trial]error) []result {
	results := make([]result, len(turn))
	var working sync.WaitGroup
	for i, t := range turn {
		working.Go(func() {
			if err := unready[t]; err != nil {
				results[i] = t.result()
				results[i].Outcome, results[i].Error = failed, "fill the cluster: "+err.Error()
			} else {
				results[i] = t.run(ctx)
			}
			if err := t.close(); err != nil && results[i].Error == "" {
				results[i].Error = "end the cluster: " + err.Error()
			}
		})
	}
	working.Wait()
	return results
}

// expected is how long a trial will take: what one of the same took, or a guess from its bound.
func (b benchmark) expected(t *trial) time.Duration {
	var took float64
	for _, r := range b.store.run.Results {
		if r.Workload == t.workload.name && r.Contender == t.contender.name && r.Outcome == finished {
			took = max(took, r.Seconds)
		}
	}
	if took > 0 {
		return time.Duration(1.1 * took * float64(time.Second))
	}
	nominal := nominalBounds(t.workload)
	switch t.contender.policy {
	case strict, unwaited:
		return nominal.Strict * 3 / 2
	default:
		return nominal.Parallel * 3 / 2
	}
}

// limit is how long a contender may take before it counts as one that does not come to an end, with the bounds of the cluster that it empties.
func limit(b bounds) time.Duration { return 3*max(b.Strict, b.Parallel) + 2*time.Minute }

// nominalBounds are those of a workload whose pods are each on the next node, or all on one where it is packed.
func nominalBounds(w workload) bounds {
	placed := map[string]map[string]int{}
	w.each(func(name string, slot int, g group) {
		placed[name] = map[string]int{}
		for i := range max(g.replicas, 1) {
			node := slot
			if !w.packed {
				node = (slot + i) % w.nodes
			}
			placed[name][fmt.Sprint(node)]++
		}
	})
	return lowerBounds(w.loads(placed), 0, w.arrivals(), 0)
}

func (b benchmark) say(format string, args ...any) {
	_, _ = fmt.Fprintf(b.env.progress, "%s "+format+"\n", append([]any{time.Now().Format(time.TimeOnly)}, args...)...)
}

// line is the result in short, for the one who waits.
func (r result) line() string {
	if r.Outcome != finished {
		return fmt.Sprintf("%s: %s", r.Outcome, r.Error)
	}
	return fmt.Sprintf("%.1f s (bounds: %.0f s in parallel, %.0f s strict), %d violations", r.Seconds, r.Bounds.Parallel, r.Bounds.Strict, r.Violations)
}
