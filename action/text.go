package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/upshift-k8s/upshift/internal/report"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

func usage(w io.Writer) {
	fmt.Fprint(w, "upshift upgrades the node pools of a Kubernetes cluster without downtime.\n\n"+
		"  upshift plan    --cluster C --project P --location L --target-version V\n"+
		"  upshift upgrade --cluster C --project P --location L --target-version V\n"+
		"  upshift status|pause|resume|cancel|rollback|unblock --cluster C --project P --location L\n\n"+
		"Every input of the Action is a flag, or a variable INPUT_NAME:\n\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, in := range inputs() {
		def := in.def
		if def != "" {
			def = " [" + def + "]"
		}
		fmt.Fprintf(t, "  --%s\t%s%s\n", in.name, in.usage, def)
	}
	_ = t.Flush() // to a terminal or a pipe: nothing is left to do about it
	fmt.Fprint(w, "\nExit codes: 0 done, 1 failed, 2 bad input, 3 blocked or not approved, 4 paused (a person is needed), 130 interrupted or cancelled.\n")
}

// writePlan prints the plan in the log.
func (o *output) writePlan(p upgrade.Plan, granted []upgrade.Consent, api string) {
	c := p.Cluster
	kind := "zonal"
	if c.Regional {
		kind = "regional"
	}
	o.line("Plan for %s (%s, project %s, %s, %s), control plane at %s", c.Name, c.Provider, c.Project, c.Location, kind, c.ControlPlaneVersion)
	target := p.Target.Version
	if p.Target.Requested != target {
		target += fmt.Sprintf(" (%s)", p.Target.Requested)
	}
	o.line("Target   %s", target)
	o.line("Digest   %s", p.Digest)
	o.line("Read     %s of GKE, and the Kubernetes API at %s", c.Name, api)
	o.line("Verdict  %s: %s, %s, %s", p.Verdict, report.Plural(p.Count(upgrade.Blocker), "blocker"), report.Plural(p.Count(upgrade.Warning), "warning"), report.Plural(p.Count(upgrade.Info), "info"))
	o.line("")
	rows := [][]string{{"POOL", "ACTION", "FROM", "TO", "NODES", "PODS TO MOVE", "NEW POOL"}}
	for _, pool := range p.Pools {
		row := []string{pool.Name, string(pool.Action), pool.From, pool.To, fmt.Sprint(len(pool.Nodes)), fmt.Sprint(pool.PodsToMove), report.NewPool(pool)}
		if pool.Action != upgrade.Migrate {
			row = append(row[:4], "-", "-", "-")
		}
		rows = append(rows, row)
	}
	o.table(rows)
	for _, pool := range p.Pools {
		o.line("%s: %s", pool.Name, pool.Why)
	}
	if len(p.Findings) > 0 {
		o.line("")
		o.line("Findings")
	}
	for _, f := range p.Findings {
		o.line("  %-7s  %s: %s %s", f.Severity, f.Check, f.Object, f.Problem)
		if len(f.Evidence) > 0 {
			o.line("           seen: %s", strings.Join(f.Evidence, ", "))
		}
		if f.Consent != "" {
			o.line("           consent: %s (%s)", f.Consent, given(f.Consent, granted))
		}
		if f.Remedy != "" {
			o.line("           remedy: %s", f.Remedy)
		}
	}
	if len(p.Steps) > 0 {
		o.line("")
		o.line("Steps")
	}
	for i, s := range p.Steps {
		o.line("  %2d. %s", i+1, report.Step(p, s))
	}
	o.line("")
}

func given(c upgrade.Consent, granted []upgrade.Consent) string {
	if slices.Contains(granted, c) {
		return "given"
	}
	return "not given: upgrade will not start without it"
}

// table prints rows in columns.
func (o *output) table(rows [][]string) {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	_ = t.Flush() // into memory
	for l := range strings.Lines(b.String()) {
		o.line("%s", strings.TrimRight(l, " \n"))
	}
}

// event prints one event in the log.
func (o *output) event(e upgrade.Event) {
	elapsed := e.Time.Sub(o.start)
	at := fmt.Sprintf("[%02d:%02d:%02d]", int(elapsed.Hours()), int(elapsed.Minutes())%60, int(elapsed.Seconds())%60)
	took := report.Round(time.Duration(e.Took))
	drain := e.Step.Kind == upgrade.DrainNode
	switch e.Kind {
	case upgrade.StepStarted:
		if drain {
			o.line("%s node %d of %d: draining %s", at, e.N, e.Of, e.Step.Node)
			return
		}
		o.line("%s %s %s", at, e.Step.Kind, e.Step.Pool)
	case upgrade.StepFinished:
		if drain {
			o.line("%s node %d of %d: %s drained in %s", at, e.N, e.Of, e.Step.Node, took)
			return
		}
		o.line("%s %s %s: done in %s", at, e.Step.Kind, e.Step.Pool, took)
	case upgrade.RequestHandled:
		o.line("%s asked: %s", at, e.Text)
	case upgrade.TurnedBack:
		o.line("%s turning back: %s", at, e.Text)
	case upgrade.APIAway:
		o.line("%s the Kubernetes API cannot be reached since %s (%s): waiting for it", at, took, e.Text)
	case upgrade.APIBack:
		o.line("%s the Kubernetes API is back after %s", at, took)
	case upgrade.StepProgress:
		o.line("%s   %s", at, e.Text)
	case upgrade.NodeCordoned:
		o.line("%s   cordoned %s", at, e.Node)
	case upgrade.PodEvicted:
		o.line("%s   leaving: %s/%s (%s)", at, e.Pod.Namespace, e.Pod.Name, report.Owner(e.Workload))
	case upgrade.PodGone:
		o.line("%s   gone:    %s/%s after %s", at, e.Pod.Namespace, e.Pod.Name, took)
	case upgrade.PodReplaced:
		o.line("%s   Ready:   %s/%s on %s after %s (%s)", at, e.Pod.Namespace, e.Pod.Name, e.Node, took, e.Workload)
	case upgrade.DrainWaits:
		for _, w := range e.Waiting {
			o.line("%s   waiting: %s", at, w)
		}
	}
}
