package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// writeReport writes a run as benchmark.md, benchmark.svg and benchmark.json.
func writeReport(dir string, r run) error {
	tables := summarize(r)
	data, err := resultLines(r)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"benchmark.md":   []byte(markdown(r, tables)),
		"benchmark.svg":  []byte(picture(tables)),
		"benchmark.json": data,
	} {
		if err := writeWhole(filepath.Join(dir, name), content); err != nil {
			return err
		}
	}
	return nil
}

// resultLines are the run as JSON, a result to a line.
func resultLines(r run) ([]byte, error) {
	results := r.Results
	r.Results = nil
	head, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return nil, err
	}
	head, _ = bytes.CutSuffix(head, []byte("null\n}"))
	var b bytes.Buffer
	b.Write(head)
	b.WriteString("[")
	for i, res := range results {
		line, err := json.Marshal(res)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString("\n  ")
		b.Write(line)
	}
	b.WriteString("\n ]\n}\n")
	return b.Bytes(), nil
}

// markdown is the report.
func markdown(r run, tables []table) string {
	var b strings.Builder
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(&b, format+"\n", args...) }
	p("# Benchmark\n")
	p("How long it takes to empty the old nodes of a cluster, by Upshift and by others, beside the shortest possible time. Written by `make bench` or `make bench-full`; all figures are in [benchmark.json](benchmark.json).\n")
	p("- %s, commit `%s`", r.Began.Format(time.DateOnly), r.Commit)
	p("- %s, %d cores, %d GiB, %s; %s; Kubernetes %s with %s", r.Machine.CPU, r.Machine.Cores, r.Machine.MemoryGiB, r.Machine.OS, r.Machine.Go, r.Machine.Kubernetes, controllers(r.Stock))
	if c := r.Calibration; c != nil {
		p("- c, from a lone eviction to its replacement's Ready on the idle cluster, beyond the start-up: %.0f ms (median of %d, at most %s counts); evicted all at once without a PDB, %.0f pods a second are replaced (at least %.0f count)",
			1000*c.CSeconds, len(c.Evictions), maxC, c.PodsPerSecond, minRate)
	}
	p("\n![Time over the bound, and Ready pods over time](benchmark.svg)\n")
	p("## What has to be reached\n")
	p("| what | target | measured | |\n| --- | --- | --- | --- |")
	for _, t := range targets(tables) {
		p("| %s | %s | %s | %s |", t.what, t.wanted, t.measured, t.verdict)
	}
	p("\nMedians, with the range in brackets.")
	for _, t := range tables {
		t.write(p)
	}
	p("%s", how)
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func controllers(stock bool) string {
	if stock {
		return "the controllers' stock client limits (20 requests a second each, the scheduler 50)"
	}
	return "the controllers' client limits raised to 1,000 requests a second"
}

func (t table) write(p func(string, ...any)) {
	p("\n## %s\n", t.workload.name)
	p("%d old nodes and as many new ones. %s.\n", t.workload.nodes, t.workload.title)
	p("| contender | runs | time in s | over the bound (c = 0) | over the bound (measured c) | fewest Ready pods of a workload | s under a PDB's floor | PDB violations | moves per pod |")
	p("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
	seconds := func(v float64) string { return fmt.Sprintf("%.1f", v) }
	ratio := func(v float64) string { return fmt.Sprintf("%.3f", v) }
	for _, r := range t.rows {
		moves, violations, least := "–", "–", "–"
		if len(r.finished) > 0 {
			moves = movesText(r)
		}
		if r.least.Name != "" {
			violations, least = fmt.Sprint(r.violations), leastText(r.least)
		}
		p("| %s | %s | %s | %s | %s | %s | %s | %s | %s |", r.contender.title, r.runs(), r.seconds.text(seconds),
			r.overBound.text(ratio), r.overBoundC.text(ratio), least, r.underFloor.text(seconds), violations, moves)
	}
	p("\n| contender | requests per pod | evictions | reads | cordons | lease | record | other | pods deleted | peak RSS in MiB | CPU in s | machine busy |")
	p("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
	for _, r := range t.rows {
		if len(r.finished) == 0 {
			continue
		}
		q := r.perPod
		p("| %s | %s | %s | %s | %s | %s | %s | %s | %d | %s | %s | %s |", r.contender.title, r.requests.text(number),
			number(q.evictions), number(q.reads), number(q.cordons), number(q.lease), number(q.record), number(q.other), r.deletes,
			r.peakRSSMiB.text(seconds), r.cpuSeconds.text(seconds), r.busyShare.text(func(v float64) string { return fmt.Sprintf("%.0f %%", 100*v) }))
	}
	p("")
	t.writeBounds(p)
	t.writeComparisons(p)
	t.writeOthers(p)
}

// runs is how many came to their end, of how many.
func (w row) runs() string {
	if len(w.others) == 0 {
		return fmt.Sprint(len(w.finished))
	}
	return fmt.Sprintf("%d of %d", len(w.finished), len(w.finished)+len(w.others))
}

// writeBounds tells the range of the bounds of all repetitions, and what governs those in parallel.
func (t table) writeBounds(p func(string, ...any)) {
	var all []result
	for _, r := range t.rows {
		all = append(all, r.finished...)
	}
	if len(all) == 0 {
		return
	}
	text := func(value func(result) float64) string {
		s := spreadOf(all, value)
		if number(s.low) == number(s.high) {
			return number(s.low) + " s"
		}
		return number(s.low) + " to " + number(s.high) + " s"
	}
	terms := func(of func(result) boundSeconds) string {
		var names []string
		for _, r := range all {
			if name := string(of(r).Term); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		return strings.Join(slices.Sorted(slices.Values(names)), " or ")
	}
	plain, withC := func(r result) boundSeconds { return r.Bounds }, func(r result) boundSeconds { return r.BoundsWithC }
	p("Bounds (c = 0), of where the scheduler had put the pods: in parallel %s, set by %s (with the measured c %s, set by %s); node after node, set by the PDBs, %s strict, and %s if old pods may still be stopping when the next node begins.",
		text(func(r result) float64 { return r.Bounds.Parallel }), terms(plain), text(func(r result) float64 { return r.BoundsWithC.Parallel }), terms(withC),
		text(func(r result) float64 { return r.Bounds.Strict }), text(func(r result) float64 { return r.Bounds.Pipelined }))
}

// writeComparisons sets each contender of others beside Upshift by the same policy.
func (t table) writeComparisons(p func(string, ...any)) {
	for _, ours := range t.rows {
		for _, theirs := range t.rows {
			if s := times(theirs, ours); ranked(ours, theirs) && s.n > 0 {
				p("\nOf the same repetition, %s takes %s times as long as %s.", shortTitle(theirs.contender), s.text(number), shortTitle(ours.contender))
			}
		}
	}
}

// writeOthers names every trial that has no figures, and why.
func (t table) writeOthers(p func(string, ...any)) {
	beside := map[string]bool{}
	for _, r := range t.rows {
		for _, f := range r.others {
			text := strings.TrimSuffix(strings.ReplaceAll(lastWords(f.Error), "|", "/"), ".")
			p("\n%s, repetition %d, %s: %s.", r.contender.title, f.Repetition, f.Outcome, text)
		}
		for _, f := range r.finished {
			for _, gap := range f.Gaps {
				p("\n%s, repetition %d, may not have been seen as a whole: %s.", r.contender.title, f.Repetition, gap)
			}
			if len(f.Beside) > 0 {
				beside[r.contender.name] = true
			}
		}
	}
	var names []string
	for _, r := range t.rows {
		if beside[r.contender.name] {
			names = append(names, shortTitle(r.contender))
		}
	}
	if len(names) > 1 {
		p("\nMeasured at the same time, on clusters of their own on this machine: %s.", strings.Join(names, "; "))
	}
}

// lastWords are an error's first line and its last: what went wrong, and what the process said about it.
func lastWords(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) == 1 {
		return lines[0]
	}
	return lines[0] + " " + lines[len(lines)-1]
}

// how is how it was measured.
const how = `
## How it is measured

Each contender is a process of its own on a fresh cluster of its own: the lab's etcd, API server, controllers and scheduler, with KWOK for the kubelets, so that start-up and
grace are exact. All pods are Ready on the old nodes before it starts. An observer that is no part of any contender watches. The time begins when the first old node is cordoned (or the
first pod that has to move begins to end) and is over when no old node has a pod that has to move, and every Deployment and StatefulSet has as many Ready pods as it wants. Where new nodes come
late, it begins with the first of them. Repetitions are interleaved, and contenders are compared by repetition.

- **Upshift** runs as its users run it: ` + "`upshift upgrade`" + ` against the emulated GKE API makes the new pool, waits for it and drains the old one, with ` + "`soak: 0`, `delete-old-pools: never`, `jobs: evict` and `allow-bare-pods`" + `.
  Its requests are all that it makes of Kubernetes from its start to its end, plan, lease and record included.
- **kubectl** is its library, ` + "`k8s.io/kubectl/pkg/drain`" + `, with the settings of ` + "`kubectl drain --ignore-daemonsets --delete-emptydir-data --force`" + `, and kubectl's limit of 5 requests a second unless it says otherwise. All old
  nodes are cordoned first. What waits for the new pods does so by watching, and loses no time to polls.
- **Karpenter** is its terminator and eviction queue (v1.14.0), with its taint and its client's limits, on all nodes at once. **eksctl**'s loop is a port of v0.215.0's: its package cannot be linked without
  all of eksctl and AWS' libraries.
- The loop without its wait is shown, not ranked: it keeps to no policy that Upshift has, and takes a workload's pods while earlier replacements are still starting.

**Bounds.** A workload with k pods on old nodes of which its PDB lets u go at once, start-up s, grace g and c as above, takes at least (⌈k/u⌉ − 1)·r + max(g, r), where r is s + c, or g + s + c for a
StatefulSet, whose replacement waits for the name. In parallel the slowest workload counts (the PDBs), or the control plane's own speed, or the new nodes' arrival, whichever is longest; node after node the sum over all nodes of
the slowest workload on each. Without a PDB, all pods of a workload may go at once. So that a slow machine does not excuse everything, a c above 1 s counts as 1 s, and a control plane that replaces fewer than 5
pods a second as one that replaces 5.

**Fewest Ready pods** and **under a PDB's floor** count a pod from Ready until it begins to terminate. **Requests** are counted by a proxy in front of the API, a user for each contender. **Peak RSS** is the
process's high-water mark, read every 100 ms. **Machine busy** is the share of all processors that was at work meanwhile, the cluster's own components included.
`
