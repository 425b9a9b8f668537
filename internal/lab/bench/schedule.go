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
	repetitions int
	// slots of one repetition, in their order.
	slots []slot
}

// A slot is what is measured at the same time, each contender on a cluster of its own: contenders of which most of the time is waiting.
type slot struct {
	workload   string
	contenders []string
}

// standard is what make bench measures: the strict contenders side by side, since one after another they do not fit into the hour.
func standard() suite {
	return suite{repetitions: 3, slots: []slot{
		{"M", []string{upshiftStrict, kubectlLoop, kubectlUnwaited}},
		{"M", []string{upshiftParallel}},
		{"M", []string{kubectlAtOnce}},
	}}
}

// full is what make bench-full measures, everything by itself.
func full() suite {
	s := suite{repetitions: 5}
	for _, w := range []string{"M", "packed", "capacity", "grace", "scale", "deployments"} {
		for _, c := range contenders() {
			switch {
			case c.policy == surged && w != "deployments":
			case w == "deployments" && c.policy != surged && c.name != upshiftParallel:
			case w == "scale" && c.policy != parallel: // one node after another takes an hour each
			default:
				s.slots = append(s.slots, slot{w, []string{c.name}})
			}
		}
	}
	return s
}

// quick is for trying the benchmark out.
func quick() suite {
	s := suite{repetitions: 1}
	for _, c := range contenders() {
		s.slots = append(s.slots, slot{"quick", []string{c.name}})
	}
	return s
}

// only keeps the contenders of which "workload/contender" matches.
func (s suite) only(pattern *regexp.Regexp) suite {
	out := suite{repetitions: s.repetitions}
	for _, sl := range s.slots {
		keep := slot{workload: sl.workload}
		for _, c := range sl.contenders {
			if pattern.MatchString(sl.workload + "/" + c) {
				keep.contenders = append(keep.contenders, c)
			}
		}
		if len(keep.contenders) > 0 {
			out.slots = append(out.slots, keep)
		}
	}
	return out
}

// A benchmark carries out a suite.
type benchmark struct {
	env   environment
	store *store
	// deadline is when it ends, whatever is still to do; zero: never. What cannot be done by then is not begun.
	deadline time.Time
}

// overhead is what a trial takes besides, from booting its cluster to ending it.
const overhead = 45 * time.Second

func (b benchmark) run(ctx context.Context, s suite) error {
	if !b.deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, b.deadline, errOutOfTime)
		defer cancel()
	}
	if b.store.run.Calibration == nil {
		b.say("calibrating: %d lone evictions, then %d at once", loneEvictions, stormPods)
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
	for repetition := 1; repetition <= s.repetitions; repetition++ {
		for _, sl := range s.slots {
			trials, err := b.trials(sl, repetition)
			if err != nil {
				return err
			}
			if len(trials) == 0 {
				continue
			}
			if err := b.slot(ctx, trials); err != nil {
				return err
			}
		}
	}
	return nil
}

// trials are those of a slot that have not been made yet.
func (b benchmark) trials(s slot, repetition int) ([]*trial, error) {
	w, err := find("workload", workloads(), func(w workload) string { return w.name }, s.workload)
	if err != nil {
		return nil, err
	}
	var out []*trial
	for _, name := range s.contenders {
		c, err := find("contender", contenders(), func(c contender) string { return c.name }, name)
		if err != nil {
			return nil, err
		}
		if b.store.has(w.name, c.name, repetition) {
			continue
		}
		out = append(out, &trial{workload: w, contender: c, repetition: repetition, calibration: *b.store.run.Calibration, env: b.env})
	}
	for _, t := range out {
		for _, other := range out {
			if other != t {
				t.beside = append(t.beside, other.contender.name)
			}
		}
	}
	return out, nil
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

// slot makes trials at the same time, if there is time for them, and keeps what came of them. It fails if nothing more can be measured.
func (b benchmark) slot(ctx context.Context, trials []*trial) error {
	var names []string
	var longest time.Duration
	for _, t := range trials {
		names = append(names, t.contender.name)
		longest = max(longest, b.expected(t))
	}
	title := fmt.Sprintf("%s: %s, repetition %d", trials[0].workload.name, strings.Join(names, " beside "), trials[0].repetition)
	if !b.deadline.IsZero() && time.Until(b.deadline) < longest {
		b.say("%s: left out, since it takes some %s and %s are left", title, longest.Round(time.Second), time.Until(b.deadline).Round(time.Second))
		return b.leaveOut(trials, "there was no time left for it")
	}
	b.say("%s", title)
	results := simultaneously(ctx, trials, limit(trials[0].workload))
	if ctx.Err() != nil {
		if errors.Is(context.Cause(ctx), errOutOfTime) {
			return b.leaveOut(trials, "the benchmark's time was over while it ran")
		}
		return context.Cause(ctx)
	}
	for _, r := range results {
		b.say("  %s: %s", r.Contender, r.line())
	}
	return b.store.add(results...)
}

func (b benchmark) leaveOut(trials []*trial, why string) error {
	var results []result
	for _, t := range trials {
		results = append(results, result{
			Workload: t.workload.name, Contender: t.contender.name, Repetition: t.repetition, Outcome: leftOut, Error: why,
			Started: time.Now().UTC().Truncate(time.Second),
		})
	}
	return b.store.add(results...)
}

// simultaneously fills all clusters before any contender begins, so that none is disturbed by the others' beginning.
func simultaneously(ctx context.Context, trials []*trial, limit time.Duration) []result {
	results := make([]result, len(trials))
	unready := make([]error, len(trials))
	var working sync.WaitGroup
	for i, t := range trials {
		working.Go(func() { unready[i] = t.setUp(ctx) })
	}
	working.Wait()
	for i, t := range trials {
		working.Go(func() {
			if unready[i] != nil {
				results[i] = result{
					Workload: t.workload.name, Contender: t.contender.name, Repetition: t.repetition, Beside: t.beside,
					Started: time.Now().UTC().Truncate(time.Second), Outcome: failed, Error: "set up: " + unready[i].Error(),
				}
			} else {
				results[i] = t.run(ctx, limit)
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
		return time.Duration(1.1*took*float64(time.Second)) + overhead
	}
	nominal := nominalBounds(t.workload)
	switch t.contender.policy {
	case strict, unwaited:
		return nominal.Strict*3/2 + overhead
	default:
		return nominal.Parallel*3/2 + overhead
	}
}

// limit is how long a contender may take before it counts as one that does not come to an end.
func limit(w workload) time.Duration { return 4*nominalBounds(w).Strict + 2*time.Minute }

// nominalBounds are those of a workload that is spread evenly.
func nominalBounds(w workload) bounds {
	placed := map[string]map[string]int{}
	w.each(func(name string, slot int, g group) {
		placed[name] = map[string]int{}
		for i := range max(g.replicas, 1) {
			if !w.packed {
				slot++
			}
			placed[name][fmt.Sprint((slot+i)%w.nodes)]++
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
