package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/sethvargo/go-githubactions"

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
	fmt.Fprintln(o.log, clean(fmt.Sprintf(format, args...)))
}

// clean makes text fit for one line of a runner's log: control characters, line breaks among them, become spaces, and the
// runner's older command marker, which counts anywhere in a line, is broken up.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	return strings.ReplaceAll(text, "##[", "## [")
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
		o.gha.WithFieldsMap(map[string]string{"title": "Upshift: " + title}).Errorf("%s", clean(strings.Join(lines, "; ")))
	}
	fmt.Fprintf(&o.summary, "\n> [!CAUTION]\n> **%s**\n", markdown(title))
	for _, l := range lines {
		fmt.Fprintf(&o.summary, "> %s<br>\n", markdown(l))
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
	o.writePlan(p, cfg.granted, api)
	summary, err := planSummary(p, cfg.granted)
	if err != nil {
		return fmt.Errorf("plan for the job summary: %w", err)
	}
	o.summary.WriteString(summary)
	o.set("digest", p.Digest)
	o.set("verdict", string(p.Verdict))
	o.setJSON("findings", map[upgrade.Severity]int{
		upgrade.Blocker: p.Count(upgrade.Blocker), upgrade.Warning: p.Count(upgrade.Warning), upgrade.Info: p.Count(upgrade.Info),
	})
	o.setJSON("consents", p.Consents)
	o.set("control-plane-version", p.Cluster.ControlPlaneVersion)
	return writeReport(cfg.reportDir, "plan.json", p)
}

func (o *output) nothingToDo(p upgrade.Plan, run *upgrade.Run) int {
	o.line("Nothing to do: every node pool of the plan is at %s or newer.", p.Target.Version)
	o.summary.WriteString("\nNothing to do.\n")
	o.set("result", "nothing-to-do")
	o.results(p, run)
	return exitDone
}

func (o *output) startRun(p upgrade.Plan, run *upgrade.Run) {
	o.start = run.StartedAt
	o.set("run-id", run.ID)
	o.line("Run %s of %s begins.", run.ID, p.Digest)
}

// endRun tells how the run ended and returns the exit code.
func (o *output) endRun(p upgrade.Plan, run *upgrade.Run, err error) int {
	o.set("result", string(run.State))
	o.results(p, run)
	summary, summaryErr := runSummary(p, run, time.Now())
	if summaryErr != nil {
		o.line("upshift: run for the job summary: %s", summaryErr)
	}
	o.summary.WriteString(summary)
	took := round(time.Since(run.StartedAt))
	if err == nil {
		o.line("Succeeded in %s: %s.", took, counts(run))
		for _, n := range run.Next {
			o.line("Next: %s", n)
		}
		return exitDone
	}
	exit, title := exitFailed, "failed"
	switch run.State {
	case upgrade.Paused:
		exit, title = exitPaused, "paused, a person is needed"
	case upgrade.Interrupted:
		exit, title = exitInterrupted, "interrupted"
	}
	problem := run.Problem
	if problem == "" {
		problem = err.Error()
	}
	o.line("Stopped after %s: %s.", took, counts(run))
	for _, w := range run.Waiting {
		o.line("Waiting for %s", w)
	}
	for _, n := range run.Next {
		o.line("Next: %s", n)
	}
	return o.fail(exit, title, fmt.Errorf("%s", clean(problem)))
}

// counts says what a run did: "3 nodes drained, 1 pod moved, 1 bare pod lost (default/x)".
func counts(run *upgrade.Run) string {
	text := plural(run.NodesDrained, "node") + " drained, " + plural(run.PodsMoved(), "pod") + " moved"
	if lost := run.PodsLost(); len(lost) > 0 {
		text += fmt.Sprintf(", %s lost (%s)", plural(len(lost), "bare pod"), strings.Join(lost, ", "))
	}
	return text
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// results sets the outputs that a run fills.
func (o *output) results(p upgrade.Plan, run *upgrade.Run) {
	o.set("node-version", p.Target.Version)
	o.set("nodes-drained", fmt.Sprint(run.NodesDrained))
	o.set("pods-moved", fmt.Sprint(run.PodsMoved()))
	o.setJSON("replaced-pools", run.ReplacedPools)
	o.set("duration-seconds", fmt.Sprint(int(time.Since(run.StartedAt).Seconds())))
	next := run.Next
	if next == nil {
		next = []string{}
	}
	o.setJSON("next", next)
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
