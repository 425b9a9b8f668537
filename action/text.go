package main

import (
	"cmp"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/upshift-k8s/upshift/internal/report"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

func usage(w io.Writer) {
	fmt.Fprint(w, "upshift upgrades a Kubernetes cluster, control plane and node pools, without downtime.\n\n"+
		"  upshift plan    --cluster C --project P --location L --target-version V\n"+
		"  upshift upgrade --cluster C --project P --location L --target-version V\n"+
		"  upshift upgrade --provider self-managed --cluster C --kubeconfig F --pool-label L --target-version V\n"+
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

// what is what a step changes: a pool, or the control plane to a version.
func what(s upgrade.Step) string {
	if s.Kind == upgrade.UpgradeControlPlane {
		return "to " + s.Version
	}
	return cmp.Or(s.Node, s.Pool)
}

// event prints one event in the log.
func (o *output) event(e upgrade.Event) {
	elapsed := e.Time.Sub(o.start)
	at := fmt.Sprintf("[%02d:%02d:%02d]", int(elapsed.Hours()), int(elapsed.Minutes())%60, int(elapsed.Seconds())%60)
	took := report.Round(time.Duration(e.Took))
	drain := e.Step.Kind == upgrade.DrainNode
	from := ""
	if e.AtOnce {
		from = " from " + e.Step.Node
	}
	switch e.Kind {
	case upgrade.StepStarted:
		if drain {
			o.line("%s node %d of %d: draining %s", at, e.N, e.Of, e.Step.Node)
			return
		}
		o.line("%s %s %s", at, e.Step.Kind, what(e.Step))
	case upgrade.StepFinished:
		if drain {
			o.line("%s node %d of %d: %s drained in %s", at, e.N, e.Of, e.Step.Node, took)
			return
		}
		o.line("%s %s %s: done in %s", at, e.Step.Kind, what(e.Step), took)
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
		o.line("%s   leaving: %s/%s%s (%s)", at, e.Pod.Namespace, e.Pod.Name, from, report.Owner(e.Workload))
	case upgrade.PodGone:
		how := ""
		if e.Text != "" {
			how = ", " + e.Text
		}
		o.line("%s   gone:    %s/%s%s after %s%s", at, e.Pod.Namespace, e.Pod.Name, from, took, how)
	case upgrade.PodReplaced:
		o.line("%s   Ready:   %s/%s on %s after %s (%s)", at, e.Pod.Namespace, e.Pod.Name, e.Node, took, e.Workload)
	case upgrade.PeopleAwaited:
		o.line("%s people have to act: %s", at, e.Task.What)
		for _, c := range e.Task.Commands {
			o.line("%s     %s", at, c)
		}
		for _, w := range e.Waiting {
			o.line("%s   seen:    %s", at, w)
		}
	case upgrade.DrainWaits:
		for _, w := range e.Waiting {
			o.line("%s   waiting: %s", at, w)
			if w.Help != "" {
				o.line("%s   help:    %s", at, w.Help)
			}
		}
	}
}
