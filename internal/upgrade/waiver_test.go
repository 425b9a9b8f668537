package upgrade_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

func TestWaiversAreRead(t *testing.T) {
	got, err := upgrade.ParseWaivers("\n single-replica  default/one until=2026-01-31 reason=it is a batch worker, nobody waits\nunready-nodes Node/n1 until=2026-02-01 reason=known=bad\n")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, w := range got {
		lines = append(lines, w.String())
	}
	if diff := cmp.Diff([]string{
		"single-replica default/one until=2026-01-31 reason=it is a batch worker, nobody waits",
		"unready-nodes Node/n1 until=2026-02-01 reason=known=bad",
	}, lines); diff != "" {
		t.Error(diff)
	}
	data, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var again []upgrade.Waiver
	if err := json.Unmarshal(data, &again); err != nil || !cmp.Equal(got, again) {
		t.Errorf("from JSON %s: %v, %v", data, again, err)
	}
}

func TestBadWaivers(t *testing.T) {
	for text, want := range map[string]string{
		"single-replica":                                                  "want CHECK OBJECT until=YYYY-MM-DD reason=",
		"single-replica default/one":                                      "want CHECK OBJECT",
		"a b until=2026-01-01 reason=  ":                                  "want CHECK OBJECT",
		"a b 2026-01-01 reason=x":                                         "want CHECK OBJECT",
		"a b/c/d/e until=2026-01-01 reason=x":                             "want CHECK OBJECT",
		"a b until=tomorrow reason=x":                                     "until=tomorrow is no date; want until=YYYY-MM-DD, the last day on which it counts, in UTC",
		"a b until=2026-02-30 reason=x":                                   "until=2026-02-30 is no date",
		"a b until=2026-01-01 reason=x\na b until=2026-01-02 reason=y":    "a of b is accepted twice",
		"a b until=2026-01-01 reason=x\nsecond line until=nope reason=ok": `"second line until=nope reason=ok": until=nope is no date`,
	} {
		if _, err := upgrade.ParseWaivers(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
}

// TestWhatAWaiverDoes on the warning that Deployment default/one has a single replica; the plan is of 2026-01-02.
func TestWhatAWaiverDoes(t *testing.T) {
	for name, test := range map[string]struct {
		waiver string
		waived bool
		note   string
	}{
		"by namespace and name": {"single-replica default/one until=2026-01-31 reason=x", true, ""},
		"by kind too":           {"single-replica deployment/default/one until=2026-01-31 reason=x", true, ""},
		"on its last day":       {"single-replica default/one until=2026-01-02 reason=x", true, ""},
		"the day after":         {"single-replica default/one until=2026-01-01 reason=x", false, "ended on 2026-01-01: what it accepted counts again"},
		"of another object":     {"single-replica default/two until=2026-01-31 reason=x", false, "accepts something that is not found, or that cannot be accepted"},
		"of another check":      {"no-pdb default/one until=2026-01-31 reason=x", false, "accepts something that is not found, or that cannot be accepted"},
		"of another kind":       {"single-replica StatefulSet/default/one until=2026-01-31 reason=x", false, "accepts something that is not found, or that cannot be accepted"},
		"in place of a consent": {"emptydir default/web until=2026-01-31 reason=x", false, "accepts something that is not found, or that cannot be accepted"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options()
			var err error
			if o.Accept, err = upgrade.ParseWaivers(test.waiver); err != nil {
				t.Fatal(err)
			}
			p := build(t, sample(), o)
			note := ""
			for _, f := range p.Findings {
				switch f.Check {
				case "single-replica":
					if waived := f.Waiver != nil; waived != test.waived {
						t.Errorf("waived: %v, want %v", waived, test.waived)
					}
				case "waiver":
					note = f.Problem
				}
			}
			if note != test.note {
				t.Errorf("the plan says %q, want %q", note, test.note)
			}
			if p.Digest == build(t, sample(), options()).Digest {
				t.Error("the digest is the one without the waiver")
			}
		})
	}
}

// TestVerdicts: what each kind of finding makes of a plan, accepted or not.
func TestVerdicts(t *testing.T) {
	waiver := "c x until=2026-12-31 reason=y"
	for name, test := range map[string]struct {
		finding upgrade.Finding
		accept  string
		want    upgrade.Verdict
	}{
		"a blocker":                                 {upgrade.Finding{Severity: upgrade.Blocker}, "", upgrade.Blocked},
		"a blocker that is accepted":                {upgrade.Finding{Severity: upgrade.Blocker}, waiver, upgrade.Ready},
		"a blocker that binds":                      {upgrade.Finding{Severity: upgrade.Blocker, Binding: true}, waiver, upgrade.Blocked},
		"unknown, of a check that can block":        {upgrade.Finding{Severity: upgrade.UnknownSeverity, Blocks: true}, "", upgrade.Blocked},
		"unknown, of a check that can block, known": {upgrade.Finding{Severity: upgrade.UnknownSeverity, Blocks: true}, waiver, upgrade.Ready},
		"unknown, of a check that cannot":           {upgrade.Finding{Severity: upgrade.UnknownSeverity}, "", upgrade.Warnings},
		"a warning":                                 {upgrade.Finding{Severity: upgrade.Warning}, "", upgrade.Warnings},
		"a warning that is accepted":                {upgrade.Finding{Severity: upgrade.Warning}, waiver, upgrade.Ready},
		"an info":                                   {upgrade.Finding{Severity: upgrade.Info}, "", upgrade.Ready},
	} {
		o := options()
		var err error
		if o.Accept, err = upgrade.ParseWaivers(test.accept); err != nil {
			t.Fatal(err)
		}
		test.finding.Check, test.finding.Object = "c", upgrade.Ref{Kind: "Node", Name: "x"}
		s := sample()
		s.TakenAt = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		p, err := upgrade.BuildPlan(s, o, func(upgrade.Snapshot, upgrade.Plan) []upgrade.Finding { return []upgrade.Finding{test.finding} })
		if err != nil {
			t.Fatal(err)
		}
		if p.Verdict != test.want {
			t.Errorf("%s: %s, want %s", name, p.Verdict, test.want)
		}
	}
}

// TestWhatWasAcceptedMayNotGetGraverUnseen: a warning that comes and goes and is accepted is part of what is approved, with its severity.
func TestWhatWasAcceptedMayNotGetGraverUnseen(t *testing.T) {
	o := options()
	var err error
	if o.Accept, err = upgrade.ParseWaivers("c x until=2026-12-31 reason=y"); err != nil {
		t.Fatal(err)
	}
	digests := map[string]bool{}
	for _, severity := range []upgrade.Severity{upgrade.Warning, upgrade.Blocker} {
		p, err := upgrade.BuildPlan(sample(), o, func(upgrade.Snapshot, upgrade.Plan) []upgrade.Finding {
			return []upgrade.Finding{{Check: "c", Severity: severity, Momentary: true, Object: upgrade.Ref{Kind: "Node", Name: "x"}}}
		})
		if err != nil {
			t.Fatal(err)
		}
		digests[p.Digest] = true
	}
	if len(digests) != 2 {
		t.Error("a plan whose accepted warning has become a blocker has the same digest")
	}
}

func FuzzWaivers(f *testing.F) {
	f.Fuzz(func(t *testing.T, text string) {
		list, err := upgrade.ParseWaivers(text)
		if err != nil {
			return
		}
		var lines []string
		for _, w := range list {
			lines = append(lines, w.String())
		}
		again, err := upgrade.ParseWaivers(strings.Join(lines, "\n"))
		if err != nil || !cmp.Equal(list, again) {
			t.Errorf("%q is read as %v, and that again as %v (%v)", text, list, again, err)
		}
	})
}
