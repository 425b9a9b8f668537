package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

func TestNothingFromAClusterCanGiveTheRunnerACommand(t *testing.T) {
	var log bytes.Buffer
	o := newOutput(&log, func(string) string { return "" })
	evil := "x\n::set-output name=digest::y\r\n##[error]z\x1b[31m"
	o.event(upgrade.Event{Time: o.start, Kind: upgrade.DrainWaits, Waiting: []upgrade.Waiting{{Object: upgrade.Ref{Kind: "Pod", Namespace: "ns", Name: "p"}, Reason: evil}}})
	o.event(upgrade.Event{Time: o.start, Kind: upgrade.PodGone, Pod: upgrade.Ref{Namespace: evil, Name: evil}})
	for line := range strings.Lines(log.String()) {
		if strings.HasPrefix(strings.TrimSpace(line), "::") || strings.Contains(line, "##[") || strings.ContainsAny(strings.TrimSuffix(line, "\n"), "\r\x1b") {
			t.Errorf("the runner would obey %q", line)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("%d lines, want 2:\n%s", n, log.String())
	}
}

func TestAnOutputCannotSetAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "output")
	var log bytes.Buffer
	o := newOutput(&log, func(name string) string {
		if name == "GITHUB_OUTPUT" {
			return path
		}
		return ""
	})
	o.set("digest", "a")
	o.set("next", "x\n_GitHubActionsFileCommandDelimeter_\nresult<<E\nsucceeded\nE")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), "succeeded") || !strings.Contains(string(data), "digest") {
		t.Errorf("outputs:\n%s", data)
	}
	if !strings.Contains(log.String(), "output next is withheld") {
		t.Errorf("the log does not say so: %s", log.String())
	}
}

func TestExitCodesOfPlan(t *testing.T) {
	with := func(severities ...upgrade.Severity) upgrade.Plan {
		var p upgrade.Plan
		for _, s := range severities {
			p.Findings = append(p.Findings, upgrade.Finding{Severity: s})
		}
		return p
	}
	accepted, cannotBlock, canBlock := with(upgrade.Blocker), with(upgrade.UnknownSeverity), with(upgrade.UnknownSeverity)
	accepted.Findings[0].Waiver = &upgrade.Waiver{}
	canBlock.Findings[0].Blocks = true
	for _, test := range []struct {
		name   string
		plan   upgrade.Plan
		failOn string
		want   int
	}{
		{"a blocker", with(upgrade.Info, upgrade.Blocker), "blocker", 3},
		{"a blocker, never", with(upgrade.Blocker), "never", 0},
		{"a blocker, warning", with(upgrade.Blocker), "warning", 3},
		{"a warning", with(upgrade.Warning), "blocker", 0},
		{"a warning, warning", with(upgrade.Warning), "warning", 3},
		{"an info, warning", with(upgrade.Info), "warning", 0},
		{"a blocker that is accepted", accepted, "blocker", 0},
		{"unknown, where it can block", canBlock, "blocker", 3},
		{"unknown, where it cannot block", cannotBlock, "blocker", 0},
		{"unknown, where it cannot block, warning", cannotBlock, "warning", 3},
	} {
		if got := planCode(test.plan, test.failOn); got != test.want {
			t.Errorf("%s: exit code %d, want %d", test.name, got, test.want)
		}
	}
}

func TestHowARunEndedIsItsExitCode(t *testing.T) {
	for _, test := range []struct {
		state upgrade.RunState
		err   error
		first upgrade.Verb
		want  int
	}{
		{upgrade.Succeeded, nil, "", 0},
		{upgrade.Failed, errors.New("x"), "", 1},
		{upgrade.RolledBack, errors.New("x"), "", 1},
		{upgrade.RolledBack, errors.New("x"), upgrade.AskRollback, 0},
		{upgrade.Paused, errors.New("x"), "", 4},
		{upgrade.Paused, errors.New("x"), upgrade.AskPause, 0},
		{upgrade.Paused, errors.New("x"), upgrade.AskRollback, 4},
		{upgrade.Interrupted, errors.New("x"), "", 130},
		{upgrade.Interrupted, &upgrade.Halt{Problem: "x"}, "", 4},
		{upgrade.Cancelled, errors.New("x"), "", 130},
		{upgrade.Cancelled, errors.New("x"), upgrade.AskCancel, 0},
	} {
		o := newOutput(&bytes.Buffer{}, func(string) string { return "" })
		run := upgrade.NewRun("r", upgrade.Plan{}, time.Now())
		run.State = test.state
		var first *upgrade.Request
		if test.first != "" {
			first = &upgrade.Request{Verb: test.first}
		}
		if got := o.endRun(run, test.err, first); got != test.want {
			t.Errorf("%s after %q: exit code %d, want %d", test.state, test.first, got, test.want)
		}
	}
}

func TestReportsAreWrittenWhole(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	if err := writeReport(dir, "plan.json", upgrade.Plan{APIVersion: upgrade.APIVersion, Kind: "Plan", Options: upgrade.Options{Soak: upgrade.Seconds(90 * time.Second)}}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "plan.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		APIVersion, Kind string
		Options          struct{ Soak float64 }
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if got.APIVersion != "upshift.dev/v1" || got.Kind != "Plan" || got.Options.Soak != 90 {
		t.Errorf("got %+v", got)
	}
	if err := writeReport("", "plan.json", nil); err != nil {
		t.Errorf("without a directory: %v", err)
	}
}
