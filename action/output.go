package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sethvargo/go-githubactions"

	"github.com/upshift-k8s/upshift/internal/report"
	"github.com/upshift-k8s/upshift/internal/runstore"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// output is everything that the program shows: the log, and on a GitHub runner the outputs, the job summary and annotations.
type output struct {
	log    io.Writer
	getenv func(string) string
	gha    *githubactions.Action
	// start is when the run began, for the elapsed time in the log.
	start   time.Time
	summary strings.Builder
}

func newOutput(log io.Writer, getenv func(string) string) *output {
	return &output{
		log: log, getenv: getenv, start: time.Now(),
		gha: githubactions.New(githubactions.WithWriter(log), githubactions.WithGetenv(getenv)),
	}
}

// line writes a line of the log. Every line begins with words of ours, and what comes from the cluster is cleaned, so that a
// name or message in it can give the runner no command.
func (o *output) line(format string, args ...any) {
	fmt.Fprintln(o.log, report.Clean(fmt.Sprintf(format, args...)))
}

// onRunner tells whether a GitHub runner reads the log.
func (o *output) onRunner() bool { return o.getenv("GITHUB_ACTIONS") == "true" }

// fail tells an error, a line for each of its own, and returns the exit code after what was collected is written.
func (o *output) fail(code int, title string, err error) int {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	for _, l := range lines {
		o.line("upshift: %s: %s", title, l)
	}
	if o.onRunner() {
		o.gha.WithFieldsMap(map[string]string{"title": "Upshift: " + title}).Errorf("%s", report.Clean(strings.Join(lines, "; ")))
	}
	fmt.Fprintf(&o.summary, "\n> [!CAUTION]\n> **%s**\n", report.EscapeMarkdown(title))
	for _, l := range lines {
		fmt.Fprintf(&o.summary, "> %s<br>\n", report.EscapeMarkdown(l))
	}
	return o.finish(code)
}

// finish writes the job summary, once, and returns the code.
func (o *output) finish(code int) int {
	if o.summary.Len() > 0 && o.getenv("GITHUB_STEP_SUMMARY") != "" {
		o.gha.AddStepSummary(o.summary.String())
		o.summary.Reset()
	}
	return code
}

// set sets an output of the Action. The library's delimiter is a fixed word: a value that contains it could set other
// outputs, and is withheld.
func (o *output) set(name, value string) {
	if o.getenv("GITHUB_OUTPUT") == "" {
		return
	}
	if strings.Contains(value, "_GitHubActionsFileCommandDelimeter_") {
		o.line("upshift: output %s is withheld: it contains the runner's own delimiter", name)
		return
	}
	o.gha.SetOutput(name, value)
}

func (o *output) setJSON(name string, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		o.line("upshift: output %s: %s", name, err)
		return
	}
	o.set(name, string(data))
}

// plan prints the plan everywhere.
func (o *output) plan(p upgrade.Plan, cfg config, api string) error {
	view := report.Look(p, cfg.granted)
	for _, l := range view.Text(report.Sources(p.Cluster, api)) {
		o.line("%s", l)
	}
	summary, err := view.Markdown()
	if err != nil {
		return fmt.Errorf("plan for the job summary: %w", err)
	}
	o.summary.WriteString(summary)
	o.set("digest", p.Digest)
	o.set("verdict", string(p.Verdict))
	counts := map[upgrade.Severity]int{}
	for _, s := range upgrade.Severities {
		counts[s] = p.Count(s)
	}
	o.setJSON("findings", counts)
	o.setJSON("consents", p.Consents)
	o.set("control-plane-version", p.Cluster.ControlPlaneVersion)
	return writeReport(cfg.reportDir, "plan.json", p)
}

func (o *output) nothingToDo(run *upgrade.Run) int {
	o.line("Nothing to do: %s.", report.InPlace(run.Plan))
	o.summary.WriteString("\nNothing to do.\n")
	o.set("result", "nothing-to-do")
	o.results(run)
	return o.finish(exitDone)
}

func (o *output) startRun(run *upgrade.Run) {
	o.start = run.StartedAt
	o.set("run-id", run.ID)
}

// summarize puts how the run went into the job summary.
func (o *output) summarize(run *upgrade.Run) {
	summary, err := report.RunMarkdown(run, time.Now())
	if err != nil {
		o.line("upshift: run for the job summary: %s", err)
	}
	o.summary.WriteString(summary)
}

// done ends a command about a run that another process carries out, or that nobody does, with one more line if there is one.
func (o *output) done(run *upgrade.Run, format string, args ...any) int {
	o.set("run-id", run.ID)
	if run.State != upgrade.Running {
		o.set("result", string(run.State))
	}
	o.results(run)
	o.summarize(run)
	if format != "" {
		o.line(format, args...)
	}
	return o.finish(exitDone)
}

// saveState keeps a value for the step that cleans up after the job's.
func (o *output) saveState(name, value string) {
	if o.getenv("GITHUB_STATE") != "" {
		o.gha.SaveState(name, value)
	}
}

// endRun tells how the run ended and returns the exit code. First is what a person asked for with this command, nil if it was an
// upgrade.
func (o *output) endRun(run *upgrade.Run, err error, first *upgrade.Request) int {
	o.set("result", string(run.State))
	o.results(run)
	o.summarize(run)
	exit, title := exitCode(run, err, first)
	begin := "Stopped after"
	if exit == exitDone {
		begin = strings.ToUpper(title[:1]) + title[1:] + " in"
	}
	o.line("%s %s: %s.", begin, report.Round(report.Took(run, time.Now())), report.Counts(run))
	for _, w := range run.Waiting {
		o.line("Waiting for %s", w)
	}
	o.tasks(run)
	for _, n := range run.Next {
		o.line("Next: %s", n)
	}
	if exit == exitDone {
		return o.finish(exit)
	}
	problem := run.Problem
	if problem == "" {
		problem = err.Error()
	}
	return o.fail(exit, title, errors.New(report.Clean(problem)))
}

// exitCode is what the end of a run means for the command that carried it out.
func exitCode(run *upgrade.Run, err error, first *upgrade.Request) (exit int, title string) {
	asked := func(verb upgrade.Verb) bool { return first != nil && first.Verb == verb }
	switch {
	case errors.As(err, new(*upgrade.Halt)):
		return exitPaused, "halted, a person is needed"
	case run.State == upgrade.Succeeded:
		return exitDone, "succeeded"
	case run.State == upgrade.Paused && asked(upgrade.AskPause):
		return exitDone, "paused"
	case run.State == upgrade.Paused:
		return exitPaused, "paused, a person is needed"
	case run.State == upgrade.Interrupted:
		return exitInterrupted, "interrupted"
	case run.State == upgrade.Cancelled && asked(upgrade.AskCancel):
		return exitDone, "cancelled"
	case run.State == upgrade.Cancelled:
		return exitInterrupted, "cancelled"
	case run.State == upgrade.RolledBack && asked(upgrade.AskRollback):
		return exitDone, "rolled back"
	case run.State == upgrade.RolledBack:
		return exitFailed, "rolled back"
	}
	return exitFailed, "failed"
}

// results sets the outputs that a run fills.
func (o *output) results(run *upgrade.Run) {
	o.set("control-plane-version", run.ControlPlaneVersion())
	if run.Plan.Options.Scope != upgrade.ScopeControlPlane {
		o.set("node-version", run.Plan.Target.Version)
	}
	o.set("nodes-drained", fmt.Sprint(run.NodesDrained))
	o.set("pods-moved", fmt.Sprint(run.PodsMoved()))
	o.setJSON("replaced-pools", run.ReplacedPools)
	o.set("duration-seconds", fmt.Sprint(int(report.Took(run, time.Now()).Seconds())))
	switch {
	case len(run.Tasks) > 0:
		o.setJSON("next", run.Tasks)
	case run.Next == nil:
		o.setJSON("next", []string{})
	default:
		o.setJSON("next", run.Next)
	}
}

// unfinished tells that a plan is that of a run that is not over.
func (o *output) unfinished(run *upgrade.Run) {
	o.line("Run %s of this plan is %s: upgrade goes on with it, or resume if it is paused.", run.ID, run.State)
	fmt.Fprintf(&o.summary, "> [!NOTE]\n> Run %s of this plan is %s.\n\n", report.EscapeMarkdown(run.ID), run.State)
}

// run prints how far a run is.
func (o *output) run(run *upgrade.Run) {
	state := string(run.State)
	if run.Ending != "" && !run.State.Final() {
		state += ", on its way to " + string(run.Ending)
	}
	o.line("Run      %s of %s to %s", run.ID, run.Cluster, run.Plan.Target.Version)
	o.line("State    %s", state)
	if run.Problem != "" {
		o.line("Problem  %s", run.Problem)
	}
	o.line("Plan     %s", run.Digest)
	o.line("Started  %s", run.StartedAt.UTC().Format(time.RFC3339))
	if run.FinishedAt != nil {
		o.line("Finished %s", run.FinishedAt.UTC().Format(time.RFC3339))
	}
	o.line("Holder   %s, epoch %d", run.Holder(), run.Holder().Epoch)
	o.line("Done     %s", report.Counts(run))
	drains, left := 0, 0
	for _, s := range run.Steps {
		switch s.State {
		case upgrade.StepRunning, upgrade.StepStopped, upgrade.StepFailed, upgrade.StepSkipped:
			o.line("Step     %s: %s", s.ID, s.State)
		case upgrade.StepPending:
			left++
			if s.Kind == upgrade.DrainNode {
				drains++
			}
		}
	}
	if left > 0 {
		o.line("To do    %s, %s of them to drain", report.Plural(left, "step"), report.Plural(drains, "node"))
	}
	for _, w := range run.Waiting {
		o.line("Waiting for %s", w)
	}
	for _, h := range run.Handled {
		text := h.String()
		if h.Refused != "" {
			text += ": refused, " + h.Refused
		}
		o.line("Asked    %s at %s", text, h.At.UTC().Format(time.RFC3339))
	}
	for _, a := range run.Approvals {
		o.line("Approved by %s at %s (%s)", a.By, a.At.UTC().Format(time.RFC3339), a.Where)
	}
	o.tasks(run)
	for _, n := range run.Next {
		o.line("Next: %s", n)
	}
}

// tasks prints what people have to do on machines.
func (o *output) tasks(run *upgrade.Run) {
	for _, t := range run.Tasks {
		since := ""
		if !t.Since.IsZero() {
			since = ", waited for since " + t.Since.UTC().Format(time.RFC3339)
		}
		o.line("To do: %s%s", t.What, since)
		for _, c := range t.Commands {
			o.line("         %s", c)
		}
	}
}

// holding prints who holds the lease.
func (o *output) holding(run *upgrade.Run, held *runstore.Held) {
	switch {
	case held != nil && time.Since(held.Renewed) > time.Minute:
		o.line("Lease    %s, who has not renewed it since %s and seems to be gone: upgrade or resume takes it over", held.Holder, held.Renewed.UTC().Format(time.RFC3339))
	case held != nil:
		o.line("Lease    %s, renewed at %s", held.Holder, held.Renewed.UTC().Format(time.RFC3339))
	case run.State == upgrade.Running:
		o.line("Lease    nobody: the run was left, and upgrade or resume goes on with it")
	default:
		o.line("Lease    nobody")
	}
}

// writeReport writes a file of the report directory, whole or not at all. Without a directory it does nothing.
func writeReport(dir, name string, value any) error {
	path := reportPath(dir, name)
	if path == "" {
		return nil
	}
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // the next step of the job may run as another user
		return fmt.Errorf("write %s: %w", path, err)
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, append(data, '\n'), 0o644); err != nil { //nolint:gosec // as above
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
