package report

import (
	_ "embed"
	"fmt"
	"strings"
	"text/template"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

//go:embed summary.md.tmpl
var summaryTemplate string

// Markdown is the plan in GitHub's Markdown.
func (v View) Markdown() (string, error) {
	return render("plan", map[string]any{"View": v, "Everything": everything})
}

// RunMarkdown is how a run went, in GitHub's Markdown.
func RunMarkdown(run *upgrade.Run, now time.Time) (string, error) {
	return render("run", map[string]any{"Run": run, "Took": Round(Took(run, now))})
}

func render(name string, data any) (string, error) {
	t, err := template.New("summary").Funcs(template.FuncMap{
		"md": func(v any) string { return EscapeMarkdown(fmt.Sprint(v)) }, "counts": Counts,
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

// EscapeMarkdown makes text that may come from a cluster harmless in a table cell: no markup, no HTML, no links, no mention of people,
// one line.
func EscapeMarkdown(text string) string {
	return strings.NewReplacer(
		"&", "&amp;", "<", "&lt;", ">", "&gt;", "|", "\\|", "`", "&#96;", "*", "\\*", "_", "\\_", "[", "\\[", "]", "\\]",
		"@", "&#64;", "#", "&#35;", "\\", "\\\\", "!", "&#33;", "~", "\\~", "$", "&#36;",
		"://", "&#58;//", "www.", "www&#46;", // GitHub makes links of bare addresses
	).Replace(Clean(text))
}
