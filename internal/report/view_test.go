package report_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/report"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

var update = flag.Bool("update", false, "write the golden files anew")

// plan has something of everything.
func plan(t *testing.T) upgrade.Plan {
	t.Helper()
	waivers, err := upgrade.ParseWaivers("pdb-blocks shop/db until=2026-12-31 reason=the database team moves it by hand")
	if err != nil {
		t.Fatal(err)
	}
	p := upgrade.Plan{
		Digest:  "sha256:0123",
		Cluster: upgrade.Cluster{Provider: "gke", Project: "p", Location: "europe-west1", Name: "cluster-1", Regional: true, ControlPlaneVersion: "1.34.2-gke.100"},
		Target:  upgrade.Target{Requested: "latest", Version: "1.34.2-gke.100"},
		Verdict: upgrade.Blocked,
		Options: upgrade.Options{Soak: upgrade.Seconds(time.Hour)},
		Findings: []upgrade.Finding{
			{Check: "fit", Severity: upgrade.Blocker, Object: upgrade.Ref{Kind: "Deployment", Namespace: "shop", Name: "web"}, Problem: "does not fit", Evidence: many("shop/web-", 11), Remedy: "kubectl get nodes", Advice: "add a node to each zone"},
			{Check: "webhooks", Severity: upgrade.UnknownSeverity, Blocks: true, Object: upgrade.Ref{Kind: "Cluster", Name: "cluster-1"}, Problem: "does not let admission webhooks be read"},
			{Check: "bare-pods", Severity: upgrade.Warning, Object: upgrade.Ref{Kind: "Pod", Namespace: "shop", Name: "x"}, Problem: "is bare", Consent: upgrade.AllowBarePods},
			{Check: "emptydir", Severity: upgrade.Warning, Object: upgrade.Ref{Kind: "Deployment", Namespace: "shop", Name: "web"}, Problem: "loses its cache", Consent: upgrade.AllowEmptyDirLoss},
			{Check: "pdb-blocks", Severity: upgrade.Warning, Object: upgrade.Ref{Kind: "PodDisruptionBudget", Namespace: "shop", Name: "db"}, Problem: "allows no eviction", Waiver: &waivers[0]},
			{Check: "no-pdb", Severity: upgrade.Info, Object: upgrade.Ref{Kind: "Deployment", Namespace: "shop", Name: "web"}, Problem: "has no PodDisruptionBudget"},
		},
		Consents: []upgrade.Consent{upgrade.AllowBarePods, upgrade.AllowEmptyDirLoss},
		Pools: []upgrade.PoolPlan{
			{Name: "pool", Action: upgrade.Migrate, Why: "migrate, since …", From: "1.33.5-gke.1", To: "1.34.2-gke.100", NewName: "pool-1-34-2-gke-100", Nodes: many("n", 2), NodesPerZone: 1, Zones: []string{"a", "b"}, PodsToMove: 12, Restarts: restarts(7), Surge: upgrade.Surge{Nodes: 2, NodeHours: 2.34}},
			{Name: "done", Action: upgrade.LeaveDone, Why: "already at 1.34.2-gke.100", From: "1.34.2-gke.100", To: "1.34.2-gke.100"},
		},
	}
	for _, s := range []struct {
		kind     upgrade.StepKind
		node     string
		takes    time.Duration
		noReturn string
	}{
		{upgrade.CreatePool, "", 4 * time.Minute, ""}, {upgrade.WaitNodes, "", 0, ""}, {upgrade.CordonPool, "", 0, ""}, {upgrade.SurgeFirst, "", time.Minute, ""},
		{upgrade.DrainNode, "n1", 30 * time.Second, ""}, {upgrade.DrainNode, "n2", 2 * time.Second, "nothing makes these again: shop/x"},
		{upgrade.Soak, "", time.Hour, ""}, {upgrade.DeletePool, "", 4 * time.Minute, "a rollback does not bring pool back"},
	} {
		step := upgrade.NewStep(s.kind, "pool", s.node)
		step.Estimate, step.NoReturn = upgrade.Seconds(s.takes), s.noReturn
		p.Steps = append(p.Steps, step)
	}
	return p
}

func restarts(n int) []upgrade.Restart {
	var all []upgrade.Restart
	for i := range n {
		all = append(all, upgrade.Restart{Workload: upgrade.Ref{Kind: "Deployment", Namespace: "shop", Name: fmt.Sprint("one-", i+1), UID: fmt.Sprint(i)}, Pods: 1, Elsewhere: i % 2})
	}
	return all
}

func many(prefix string, n int) []string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprint(prefix, i+1))
	}
	return names
}

// large has a thousand nodes and thousands of findings.
func large(t *testing.T) upgrade.Plan {
	t.Helper()
	p := plan(t)
	p.Findings, p.Steps = nil, nil
	for i := range 3000 {
		p.Findings = append(p.Findings, upgrade.Finding{Check: "no-pdb", Severity: upgrade.Info, Object: upgrade.Ref{Kind: "Deployment", Namespace: "shop", Name: fmt.Sprint("web-", i+1)}, Problem: "has no PodDisruptionBudget"})
	}
	for i := range 1000 {
		p.Steps = append(p.Steps, upgrade.NewStep(upgrade.DrainNode, "pool", fmt.Sprint("n", i+1)))
	}
	p.Steps[499].NoReturn = "nothing makes these again: shop/x"
	return p
}

// hopping upgrades a zonal control plane by two minors first.
func hopping(t *testing.T) upgrade.Plan {
	t.Helper()
	p := plan(t)
	p.Verdict, p.Consents, p.Findings = upgrade.Warnings, []upgrade.Consent{upgrade.AllowControlPlaneDowntime}, []upgrade.Finding{{
		Check: "control-plane-downtime", Severity: upgrade.Warning, Object: upgrade.Ref{Kind: "Cluster", Name: "cluster-1"}, Problem: "is zonal",
		Consent: upgrade.AllowControlPlaneDowntime, Evidence: []string{"Lease ops/operator is held by Deployment ops/operator"},
	}}
	p.Cluster.Location, p.Cluster.Regional, p.Cluster.ControlPlaneVersion = "europe-west1-b", false, "1.32.9-gke.100"
	p.ControlPlane = &upgrade.ControlPlanePlan{From: "1.32.9-gke.100", To: "1.34.2-gke.100", Hops: []string{"1.33.5-gke.900", "1.34.2-gke.100"}, Why: "it is older than the target"}
	var hops []upgrade.Step
	for _, v := range p.ControlPlane.Hops {
		hop := upgrade.NewHop(v)
		hop.Estimate, hop.NoReturn = upgrade.Seconds(5*time.Minute), "a control plane is not downgraded, so a rollback leaves it at "+v
		hops = append(hops, hop)
	}
	p.Steps = append(hops, p.Steps...)
	return p
}

func TestPlansRead(t *testing.T) {
	for name, p := range map[string]upgrade.Plan{"plan": plan(t), "large": large(t), "control-plane": hopping(t)} {
		v := report.Look(p, []upgrade.Consent{upgrade.AllowEmptyDirLoss})
		golden(t, name+".txt", strings.Join(v.Text("cluster-1 of GKE, and the Kubernetes API at https://203.0.113.7"), "\n"))
		markdown, err := v.Markdown()
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".md", markdown)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: go test ./internal/report -update, and read what has changed\n%s", path, diff)
	}
}

// TestNothingIsCutSilently: what is shown and what is said to be more is all there is.
func TestNothingIsCutSilently(t *testing.T) {
	p := large(t)
	v := report.Look(p, nil)
	findings, steps := 0, 0
	for _, g := range v.Groups {
		findings += len(g.Findings) + g.More
	}
	for _, s := range v.Steps {
		steps += max(1, s.More)
	}
	if findings != len(p.Findings) || steps != len(p.Steps) {
		t.Errorf("%d findings and %d steps are accounted for, of %d and %d", findings, steps, len(p.Findings), len(p.Steps))
	}
	for _, text := range []string{strings.Join(v.Text(""), "\n"), must(v.Markdown())} {
		if !strings.Contains(text, "2980 more; report-dir: DIRECTORY writes all of them to plan.json") || !strings.Contains(text, "490 more of drain-node; report-dir: DIRECTORY writes all of them to plan.json") || !strings.Contains(text, "shop/x") {
			t.Errorf("the text does not say what it leaves out:\n%.3000s", text)
		}
		if len(text) > 64<<10 {
			t.Errorf("%d bytes for a person to read", len(text))
		}
	}
}

// TestRefusalsAreShort: as long as a person reads, and they say what they leave out.
func TestRefusalsAreShort(t *testing.T) {
	p := plan(t)
	p.Findings = nil
	for i := range 1000 {
		p.Findings = append(p.Findings, upgrade.Finding{Check: "fit", Severity: upgrade.Blocker, Consent: upgrade.AllowBarePods, Object: upgrade.Ref{Kind: "Deployment", Name: fmt.Sprint("web-", i)}, Problem: "does not fit"})
	}
	for _, lines := range [][]string{report.Blockers(p), report.MissingConsents(p, p.Consents)} {
		if len(lines) != 21 || lines[20] != "and 980 more, as the plan lists them" {
			t.Errorf("%d lines, the last of them %q", len(lines), lines[len(lines)-1])
		}
	}
}

func must(text string, err error) string {
	if err != nil {
		panic(err)
	}
	return text
}

// TestWhatComesFromAClusterIsHarmless in a log that GitHub's runner reads, and in its Markdown.
func TestWhatComesFromAClusterIsHarmless(t *testing.T) {
	evil := "x\n::set-output name=digest::y\r##[error]z\x1b[31m\u202e @everyone `x` [a](http://b) www.b.c a|b <script> #1 *b* ~~s~~ $x$ \t\u2028"
	p := plan(t)
	p.Cluster.Name, p.Pools[0].Name, p.Pools[0].Why, p.Steps[4].NoReturn, p.Steps[3].Node = evil, evil, evil, evil, evil
	p.Findings[0] = upgrade.Finding{Check: evil, Severity: upgrade.Blocker, Object: upgrade.Ref{Kind: evil, Namespace: evil, Name: evil}, Problem: evil, Evidence: []string{evil}, Remedy: evil}
	v := report.Look(p, nil)
	for _, line := range v.Text(evil) {
		if strings.ContainsAny(line, "\n\r\x1b\t\u202e\u2028") || strings.Contains(line, "##[") || strings.HasPrefix(strings.TrimSpace(line), "::") {
			t.Errorf("the log has %q", line)
		}
	}
	markdown := must(v.Markdown())
	for _, bad := range []string{"<script>", "a|b", "@everyone", "`x`", "[a](", "http://", "www.", "\n::", "~~s", "$x$", "\u202e", " #1"} {
		if strings.Contains(markdown, bad) {
			t.Errorf("the Markdown contains %q:\n%s", bad, markdown)
		}
	}
	rows := 0
	for line := range strings.Lines(markdown) {
		if strings.HasPrefix(line, "| blocker |") {
			rows++
			if n := strings.Count(strings.ReplaceAll(line, "\\|", ""), "|"); n != 5 {
				t.Errorf("a row of %d cells: %s", n-1, line)
			}
		}
	}
	if rows != 1 {
		t.Errorf("%d rows for one blocker", rows)
	}
}

func TestWhatARunDidToTheControlPlane(t *testing.T) {
	run := upgrade.NewRun("r", hopping(t), time.Now())
	if got, want := report.Counts(run), "0 nodes drained, 0 pods moved"; got != want {
		t.Errorf("at the start: %q, want %q", got, want)
	}
	run.Steps[0].State, run.Steps[1].State = upgrade.StepDone, upgrade.StepDone
	if got, want := report.Counts(run), "control plane at 1.34.2-gke.100, 0 nodes drained, 0 pods moved"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	run.Steps[0].Calls, run.Steps[1].Calls = &upgrade.Calls{Made: 100}, &upgrade.Calls{Made: 212}
	if got, want := report.Counts(run), "control plane at 1.34.2-gke.100 (the Kubernetes API stayed up: 0 of 312 requests failed), 0 nodes drained, 0 pods moved"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	run.Steps[1].Calls.Failed = 3
	if got, want := report.Counts(run), "control plane at 1.34.2-gke.100 (the Kubernetes API did not stay up throughout: 3 of 312 requests failed), 0 nodes drained, 0 pods moved"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestUntilWhenAllCanBeUndone(t *testing.T) {
	p := hopping(t)
	if got, want := report.TimingOf(p).Undo(), "until pool is deleted, about 1 h 16 min after the start; but 1 drain ends bare pods for good; but the control plane stays at 1.34.2-gke.100, since it is not downgraded"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	p.Steps = p.Steps[:2]
	if got, want := report.TimingOf(p).Undo(), "not at all: a control plane is not downgraded"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
