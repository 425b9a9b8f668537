package main

import (
	"fmt"
	"slices"
)

// A row is what the repetitions of one contender on one workload showed together.
type row struct {
	contender contender
	finished  []result
	others    []result // that failed, took too long or were left out

	seconds     spread
	overBound   spread // c = 0; none where there is no bound
	overBoundC  spread // measured c
	requests    spread // per pod that had to leave
	peakRSSMiB  spread
	cpuSeconds  spread
	busyShare   spread
	underFloor  spread
	movesPerPod spread
	least       readiness // the worst of all
	violations  int       // of all
	deletes     int       // of all
	perPod      requestShares
}

// requestShares are medians of requests per pod, by what they are for.
type requestShares struct{ evictions, reads, cordons, lease, record, other float64 }

// A spread is the median of values, and their range; n of them.
type spread struct {
	n                 int
	median, low, high float64
}

func spreadOf(results []result, value func(result) float64) spread {
	var values []float64
	for _, r := range results {
		values = append(values, value(r))
	}
	if len(values) == 0 {
		return spread{}
	}
	return spread{len(values), median(values), slices.Min(values), slices.Max(values)}
}

// A table is a workload's rows.
type table struct {
	workload workload
	rows     []row
}

// summarize groups a run's results, in the order in which workloads and contenders are listed.
func summarize(r run) []table {
	var tables []table
	for _, w := range workloads() {
		t := table{workload: w}
		for _, c := range contenders() {
			var of []result
			for _, res := range r.Results {
				if res.Workload == w.name && res.Contender == c.name {
					of = append(of, res)
				}
			}
			if len(of) > 0 {
				t.rows = append(t.rows, rowOf(c, of))
			}
		}
		if len(t.rows) > 0 {
			tables = append(tables, t)
		}
	}
	return tables
}

func rowOf(c contender, results []result) row {
	w := row{contender: c}
	slices.SortFunc(results, func(a, b result) int { return a.Repetition - b.Repetition })
	for _, r := range results {
		if r.Outcome == finished {
			w.finished = append(w.finished, r)
		} else {
			w.others = append(w.others, r)
		}
	}
	of := func(value func(result) float64) spread { return spreadOf(w.finished, value) }
	perPod := func(count func(requests) int) spread {
		return of(func(r result) float64 { return float64(count(r.Requests)) / float64(max(r.Left, 1)) })
	}
	w.seconds = of(func(r result) float64 { return r.Seconds })
	if len(w.finished) > 0 && w.finished[0].Bounds.of(c.policy) > 0 {
		w.overBound = of(func(r result) float64 { return r.Seconds / r.Bounds.of(c.policy) })
		w.overBoundC = of(func(r result) float64 { return r.Seconds / r.BoundsWithC.of(c.policy) })
	}
	w.requests = perPod(requests.sum)
	w.perPod = requestShares{
		evictions: perPod(func(q requests) int { return q.Evictions }).median,
		reads:     perPod(func(q requests) int { return q.Reads }).median,
		cordons:   perPod(func(q requests) int { return q.Cordons }).median,
		lease:     perPod(func(q requests) int { return q.Lease }).median,
		record:    perPod(func(q requests) int { return q.Record }).median,
		other:     perPod(func(q requests) int { return q.Other + q.Restarts + q.Deletes }).median,
	}
	w.peakRSSMiB = spreadOf(known(w.finished, func(r result) bool { return r.PeakRSSBytes > 0 }), func(r result) float64 { return float64(r.PeakRSSBytes) / (1 << 20) })
	w.cpuSeconds = of(func(r result) float64 { return r.CPUSeconds })
	w.busyShare = spreadOf(known(w.finished, func(r result) bool { return r.BusyShare > 0 }), func(r result) float64 { return r.BusyShare })
	w.underFloor = of(func(r result) float64 { return r.UnderFloorSeconds })
	w.movesPerPod = of(func(r result) float64 { return float64(r.Moved) / float64(max(r.MovedOf, 1)) })
	w.harm(results)
	return w
}

// known are the results whose figure the system told.
func known(results []result, is func(result) bool) []result {
	return slices.DeleteFunc(slices.Clone(results), func(r result) bool { return !is(r) })
}

// harm adds up what must not happen, whether or not the contender came to its end.
func (w *row) harm(results []result) {
	worst := 2.0
	for _, r := range results {
		w.violations += r.Violations
		w.deletes += r.Requests.Deletes
		for _, l := range r.LeastReady {
			if share := float64(l.Least) / float64(max(l.Wanted, 1)); share < worst {
				worst, w.least = share, l
			}
		}
	}
}

// times is how many times as long a takes as b, repetition by repetition.
func times(a, b row) spread {
	var ratios []result
	for _, x := range a.finished {
		for _, y := range b.finished {
			if x.Repetition == y.Repetition {
				ratios = append(ratios, result{Seconds: x.Seconds / y.Seconds})
			}
		}
	}
	return spreadOf(ratios, func(r result) float64 { return r.Seconds })
}

// A target is a figure that has to be reached.
type target struct{ what, wanted, measured, verdict string }

const (
	reached     = "reached"
	missed      = "**missed**"
	notMeasured = "not measured"
)

// targets compares what was measured with what must be reached.
func targets(tables []table) []target {
	find := func(workload, contender string) row {
		for _, t := range tables {
			for _, r := range t.rows {
				if t.workload.name == workload && r.contender.name == contender {
					return r
				}
			}
		}
		return rowOf(contenderNamed(contender), nil)
	}
	one, all := find("M", upshiftStrict), find("M", upshiftParallel)
	surge := find("deployments", upshiftSurged)
	// What surging first has to beat is what PDBs demand of evictions, not what this machine's control plane can do.
	halfBound := spreadOf(surge.finished, func(r result) float64 { return r.Seconds / r.Bounds.PDBs })
	out := []target{
		atMost("M, parallel: time over the bound, c = 0", 1.06, all, all.overBound),
		atMost("M, parallel: time over the bound, measured c", 1.03, all, all.overBoundC),
		atMost("M, strict: time over the bound, measured c", 1.05, one, one.overBoundC),
		atMost("deployments, surged first: time over the PDBs' bound", 0.5, surge, halfBound),
		noDip(surge),
	}
	var everybody []row // of M, measured or not
	for _, c := range contenders() {
		everybody = append(everybody, find("M", c.name))
	}
	out = append(out, fasterThanOthers("M", everybody)...)
	for _, t := range tables {
		if t.workload.name != "M" {
			out = append(out, fasterThanOthers(t.workload.name, t.rows)...)
		}
	}
	for _, r := range []struct {
		what string
		row
	}{{"M, strict", one}, {"M, parallel", all}} {
		out = append(out,
			requestsTarget(r.what, r.row),
			exactly(r.what+": PDB violations", "0", fmt.Sprint(r.violations), r.row),
			exactly(r.what+": pods deleted instead of evicted", "0", fmt.Sprint(r.deletes), r.row),
			exactly(r.what+": moves per pod", "1.0", movesText(r.row), r.row),
		)
	}
	scale := find("scale", upshiftParallel)
	return append(out, atMost("scale, parallel: peak RSS in MiB", 128, scale, scale.peakRSSMiB))
}

func contenderNamed(name string) contender {
	for _, c := range contenders() {
		if c.name == name {
			return c
		}
	}
	return contender{name: name}
}

// ranked reports whether a is Upshift and b somebody else by the same policy.
func ranked(a, b row) bool {
	return a.contender.ours() && !b.contender.ours() && a.contender.policy == b.contender.policy
}

// fasterThanOthers holds of each of our rows that it is faster than everybody else by its policy.
func fasterThanOthers(workload string, rows []row) []target {
	var out []target
	for _, ours := range rows {
		for _, theirs := range rows {
			if !ranked(ours, theirs) {
				continue
			}
			s := times(theirs, ours)
			text := s.text(number)
			if most := max(ours.tried(), theirs.tried()); s.n < most && theirs.tried() > 0 {
				text += fmt.Sprintf(", %d of %d runs", s.n, most)
			}
			what := fmt.Sprintf("%s, %s: faster than %s", workload, ours.contender.policy, shortTitle(theirs.contender))
			out = append(out, target{what, "> 1 times", text, ours.verdict(s.n > 0, s.median > 1)})
		}
	}
	return out
}

func atMost(what string, limit float64, r row, s spread) target {
	return target{what, "≤ " + number(limit), r.note(s.text(number)), r.verdict(s.n > 0, s.median <= limit)}
}

// requestsTarget counts everything, and says what of it the drain itself is.
func requestsTarget(what string, r row) target {
	t := atMost(what+": requests per pod", 1.3, r, r.requests)
	if r.requests.n > 0 {
		t.measured += fmt.Sprintf(", of which %s are not for lease and record", number(r.requests.median-r.perPod.lease-r.perPod.record))
	}
	return t
}

func exactly(what, wanted, measured string, r row) target {
	good := measured == wanted
	if len(r.finished) == 0 {
		measured = "–"
	}
	return target{what, wanted, r.note(measured), r.verdict(len(r.finished) > 0, good)}
}

// noDip holds that no Deployment had fewer Ready pods than it wants, at any time of any repetition.
func noDip(r row) target {
	return target{
		"deployments, surged first: fewest Ready pods of a workload", "all that it wants", r.note(leastText(r.least)),
		r.verdict(len(r.finished) > 0 && r.least.Name != "", r.least.Least >= r.least.Wanted),
	}
}

// tried is how many repetitions there are, made or not.
func (w row) tried() int { return len(w.finished) + len(w.others) }

// note says of a figure how many repetitions it is of, unless it is of all.
func (w row) note(measured string) string {
	if len(w.others) == 0 {
		return measured
	}
	return fmt.Sprintf("%s, %s runs", measured, w.runs())
}

// verdict is about a figure of ours. With a repetition that failed or took too long, no figure of the others is good enough.
func (w row) verdict(measured, good bool) string {
	switch {
	case slices.ContainsFunc(w.others, func(r result) bool { return r.Outcome != leftOut }):
		return missed
	case !measured:
		return notMeasured
	case good:
		return reached
	}
	return missed
}

// movesText is 1.0 only if every pod has moved exactly once.
func movesText(r row) string {
	for _, f := range r.finished {
		if f.Moved != f.MovedOf || f.MovedAgain > 0 {
			return fmt.Sprintf("%.3f (%d of them again)", r.movesPerPod.median, f.MovedAgain)
		}
	}
	return "1.0"
}

func leastText(l readiness) string {
	if l.Name == "" {
		return "–"
	}
	return fmt.Sprintf("%d of %d", l.Least, l.Wanted)
}

// number has two decimals below 10, one below 100 and none above.
func number(v float64) string {
	switch {
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// text is the median, with the range if there is one.
func (s spread) text(format func(float64) string) string {
	switch {
	case s.n == 0:
		return "–"
	case format(s.low) == format(s.high):
		return format(s.median)
	}
	return fmt.Sprintf("%s (%s to %s)", format(s.median), format(s.low), format(s.high))
}
