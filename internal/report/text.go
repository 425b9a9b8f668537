package report

import (
	"bytes"
	"fmt"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// Clean makes text fit for one line of a log or a terminal, GitHub's runner included: control characters, line breaks among them,
// become spaces; so do those that turn the direction of text; and the runner's older command marker, which counts anywhere in a line, is broken up.
func Clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, text)
	return strings.ReplaceAll(text, "##[", "## [")
}

// everything says where what is not shown can be found.
const everything = "report-dir: DIRECTORY writes all of them to plan.json"

// Text is the plan for a terminal or a log, line by line, each of them clean. Read says what it was read of.
func (v View) Text(read string) []string {
	var lines []string
	line := func(format string, args ...any) {
		lines = append(lines, strings.TrimRight(Clean(fmt.Sprintf(format, args...)), " "))
	}
	p := v.Plan
	c := p.Cluster
	line("Plan for %s (%s), control plane at %s", c.Name, v.Where, c.ControlPlaneVersion)
	line("Target   %s", v.Target)
	line("Digest   %s", p.Digest)
	line("Read     %s", read)
	line("Verdict  %s: %s", p.Verdict, v.Counts)
	if len(p.Steps) > 0 {
		line("Takes    %s", v.Timing.Takes())
		line("Undo     %s", v.Timing.Undo())
	}
	if v.ControlPlane != "" {
		line("Control plane: %s", v.ControlPlane)
	}
	line("")
	for _, row := range table(v.poolRows()) {
		line("%s", row)
	}
	for _, pool := range v.Pools {
		line("%s: %s", pool.Name, pool.Why)
		if pool.Cost != "" {
			line("%s costs %s", pool.Name, pool.Cost)
		}
	}
	if len(v.Groups) > 0 {
		line("")
		line("Findings")
	}
	for _, g := range v.Groups {
		for _, f := range g.Findings {
			line("  %-8s %s: %s %s", f.Standing, f.Check, f.Object, f.Problem)
			for _, n := range f.Notes {
				line("           %s: %s", n.Title, n.Text)
			}
		}
		if g.More > 0 {
			line("  %-8s %s: %d more; %s", g.Severity, g.Check, g.More, everything)
		}
	}
	if len(v.Steps) > 0 {
		line("")
		line("Steps")
	}
	for _, s := range v.Steps {
		switch {
		case s.More > 0:
			line("   … %s; %s", s.Text, everything)
			continue
		case s.Takes != "":
			line("  %2d. %s (%s)", s.Number, s.Text, s.Takes)
		default:
			line("  %2d. %s", s.Number, s.Text)
		}
		if s.NoReturn != "" {
			line("      point of no return: %s", s.NoReturn)
		}
	}
	line("")
	return lines
}

func (v View) poolRows() [][]string {
	rows := [][]string{{"POOL", "ACTION", "FROM", "TO", "NODES", "PODS TO MOVE", "NEW POOL"}}
	for _, p := range v.Pools {
		rows = append(rows, []string{p.Name, string(p.Action), p.From, p.To, p.Size, p.Pods, p.NewPool})
	}
	return rows
}

// table lays rows out in columns.
func table(rows [][]string) []string {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i := range row {
			row[i] = Clean(row[i]) // a tab in it would be another column
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	_ = t.Flush() // into memory
	var lines []string
	for l := range strings.Lines(b.String()) {
		lines = append(lines, strings.TrimRight(l, " \n"))
	}
	return lines
}

// MissingConsents says which consents are missing and what each would allow, a line each.
func MissingConsents(p upgrade.Plan, missing []upgrade.Consent) []string {
	var lines []string
	all := 0
	for _, c := range missing {
		for _, f := range p.Findings {
			if f.Consent != c {
				continue
			}
			if all++; all <= shownFindings {
				lines = append(lines, fmt.Sprintf("%s %s; allow it with %s: true", f.Object, f.Problem, c))
			}
		}
	}
	return andMore(lines, all)
}
