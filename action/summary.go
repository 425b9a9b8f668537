package main

import (
	_ "embed"
	"fmt"
	"strings"
	"text/template"
	"time"

	"github.com/upshift-k8s/upshift/internal/report"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

//go:embed summary.md.tmpl
var summaryTemplate string

// planSummary is the plan as Markdown.
func planSummary(p upgrade.Plan, granted []upgrade.Consent) (string, error) {
	return render("plan", map[string]any{"Plan": p, "Granted": granted})
}

// runSummary is how a run went, as Markdown.
func runSummary(run *upgrade.Run) (string, error) {
	return render("run", map[string]any{"Run": run, "Took": report.Round(report.Took(run, time.Now()))})
}

func render(name string, data any) (string, error) {
	t, err := template.New("summary").Funcs(template.FuncMap{
		"md": func(v any) string { return markdown(fmt.Sprint(v)) }, "given": given, "newPool": report.NewPool, "step": report.Step,
		"counts": report.Counts, "join": func(list []string) string { return strings.Join(list, ", ") },
	}).Parse(summaryTemplate)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if err := t.ExecuteTemplate(&b, name, data); err != nil {
		return "", err
	}
	return b.String(), nil
}

// markdown makes text that may come from a cluster harmless in a table cell: no markup, no HTML, no mention of people, one line.
func markdown(text string) string {
	return strings.NewReplacer(
		"&", "&amp;", "<", "&lt;", ">", "&gt;", "|", "\\|", "`", "'", "*", "\\*", "_", "\\_", "[", "\\[", "]", "\\]",
		"@", "&#64;", "#", "&#35;", "\\", "\\\\", "!", "&#33;",
	).Replace(clean(text))
}
