package observer

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// violationsShown keeps a bad run's text readable; the Report has them all.
const violationsShown = 10

// WriteText writes the report for people.
func (r Report) WriteText(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "observed for %s\n", span(r.DurationSeconds))
	r.writeViolations(&b)
	fmt.Fprintln(&b, r.movedText())
	writeNames(&b, "bare pod", "lost", r.BarePodsLost)
	writeNames(&b, "Job pod", "interrupted", r.JobPodsInterrupted)
	for _, gap := range r.Gaps {
		fmt.Fprintf(&b, "gap: %s\n", gap)
	}
	if err := r.writeTables(&b); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (r Report) writeViolations(b *bytes.Buffer) {
	fmt.Fprintf(b, "%s, %s under a PDB's floor\n", plural(len(r.Violations), "PDB violation"), span(r.UnderFloorSeconds()))
	for i, v := range r.Violations {
		if i == violationsShown {
			fmt.Fprintf(b, "  and %d more\n", len(r.Violations)-i)
			break
		}
		fmt.Fprintf(b, "  after %s pod %s on node %s: PDB %s left with %d healthy, floor %d\n",
			span(v.At.Sub(r.Start).Seconds()), v.Pod, v.Node, v.PDB, v.Healthy, v.Floor)
	}
}

func (r Report) movedText() string {
	text := plural(r.PodsMoved, "pod") + " moved"
	switch {
	case r.PodsMovedAgain > 0:
		return fmt.Sprintf("%s, %d of them for the second time or more", text, r.PodsMovedAgain)
	case r.PodsMoved > 1:
		return text + " (each once)"
	}
	return text
}

// writeTables relies on empty lines, which end the columns of a table.
func (r Report) writeTables(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(r.Workloads) > 0 {
		fmt.Fprintln(t, "\nWORKLOAD\tWANTED\tLEAST READY\tBELOW WANTED\tZERO READY\tMOVED")
	}
	for _, l := range r.Workloads {
		fmt.Fprintf(t, "%s %s/%s\t%s\t%d\n", l.Kind, l.Namespace, l.Name,
			measured(l.Measured, l.Wanted, l.LeastReady, span(l.BelowWantedSeconds), span(l.ZeroReadySeconds)), l.Moved)
	}
	if len(r.PDBs) > 0 {
		fmt.Fprintln(t, "\nPDB\tFLOOR\tLEAST HEALTHY\tUNDER FLOOR\tVIOLATIONS")
	}
	for _, p := range r.PDBs {
		fmt.Fprintf(t, "%s/%s\t%s\t%d\n", p.Namespace, p.Name,
			measured(p.Measured, p.Floor, p.LeastHealthy, span(p.UnderFloorSeconds)), p.Violations)
	}
	if len(r.Services) > 0 {
		fmt.Fprintln(t, "\nSERVICE\tMOST READY\tLEAST READY\tNONE READY")
	}
	for _, s := range r.Services {
		fmt.Fprintf(t, "%s/%s\t%d\t%d\t%s\n", s.Namespace, s.Name, s.MostReady, s.LeastReady, span(s.NoneSeconds))
	}
	return t.Flush()
}

// measured are the cells of a row, or dashes for what was never complete.
func measured(is bool, cells ...any) string {
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = "-"
		if is {
			texts[i] = fmt.Sprint(c)
		}
	}
	return strings.Join(texts, "\t")
}

func writeNames(b *bytes.Buffer, noun, verb string, names []string) {
	if len(names) > 0 {
		fmt.Fprintf(b, "%s %s: %s\n", plural(len(names), noun), verb, strings.Join(names, ", "))
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// span writes seconds as 0s, 12.4s or 1m12.4s.
func span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	return d.Round(100 * time.Millisecond).String()
}
