package slack

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	slackapi "github.com/slack-go/slack"

	"github.com/upshift-k8s/upshift/internal/lab/slackemu"
	"github.com/upshift-k8s/upshift/internal/lab/testbed"
	"github.com/upshift-k8s/upshift/internal/report"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

var update = flag.Bool("update", false, "write testdata/*.golden anew")

// texts are all text objects of a message.
func texts(t *testing.T, m Message) []*slackapi.TextBlockObject {
	t.Helper()
	var all []*slackapi.TextBlockObject
	for _, b := range m.Blocks {
		switch b := b.(type) {
		case *slackapi.HeaderBlock:
			all = append(all, b.Text)
		case *slackapi.SectionBlock:
			all = append(all, b.Text)
		case *slackapi.ContextBlock:
			for _, e := range b.ContextElements.Elements {
				all = append(all, e.(*slackapi.TextBlockObject))
			}
		case *slackapi.ActionBlock:
			for _, e := range b.Elements.ElementSet {
				button := e.(*slackapi.ButtonBlockElement)
				if all = append(all, button.Text); button.Confirm != nil {
					all = append(all, button.Confirm.Title, button.Confirm.Text, button.Confirm.Confirm, button.Confirm.Deny)
				}
			}
		default:
			t.Errorf("a block of type %T", b)
		}
	}
	return all
}

// draw is a message for people to look over: its blocks in order, with their texts as they are sent.
func draw(t *testing.T, w *bytes.Buffer, m Message) {
	t.Helper()
	fmt.Fprintf(w, "== notification\n%s\n", m.Text)
	for _, b := range m.Blocks {
		fmt.Fprintf(w, "-- %s", b.BlockType())
		actions, isActions := b.(*slackapi.ActionBlock)
		if !isActions {
			text := texts(t, Message{Blocks: []slackapi.Block{b}})[0]
			if text.Verbatim {
				fmt.Fprint(w, ", verbatim")
			}
			fmt.Fprintf(w, " %s\n%s\n", text.Type, text.Text)
			continue
		}
		fmt.Fprintln(w)
		for _, e := range actions.Elements.ElementSet {
			button := e.(*slackapi.ButtonBlockElement)
			fmt.Fprintf(w, "[ %s ] %s %q %s\n", button.Text.Text, button.ActionID, button.Value, button.Style)
			if c := button.Confirm; c != nil {
				fmt.Fprintf(w, "    %s | %s | %s | %s\n", c.Title.Text, c.Text.Text, c.Confirm.Text, c.Deny.Text)
			}
		}
	}
}

func TestMessagesSayWhatTheyShould(t *testing.T) {
	for suffix, say := range map[string]tongue{"": plainly, "-hostile": hostilely} {
		for name, all := range messages(say) {
			t.Run(name+suffix, func(t *testing.T) {
				var got bytes.Buffer
				for _, m := range all {
					draw(t, &got, m)
				}
				file := filepath.Join("testdata", name+suffix+".golden")
				if *update {
					if err := os.WriteFile(file, got.Bytes(), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), got.String()); diff != "" {
					t.Errorf("it reads otherwise (-update writes the golden anew): %s", diff)
				}
			})
		}
	}
}

// ours is the mark-up that the package itself makes.
var ours = regexp.MustCompile(`<@(U0ALICE|U0BOB|U0CAROL)>|<!subteam\^S0SRE>|<!date\^\d+\^\{date_short_pretty\} \{time\}\|\d{4}-\d\d-\d\d \d\d:\d\d UTC>|<https://x/y\|the plan>`)

// entity is what an ampersand may begin.
var entity = regexp.MustCompile(`&(amp|lt|gt);`)

// wantHarmless demands that a message mentions nobody and links nowhere on its own account, and that its mark-up is whole.
func wantHarmless(t *testing.T, m Message) {
	t.Helper()
	mrkdwn := []string{m.Text}
	for _, text := range texts(t, m) {
		if text.Type == slackapi.MarkdownType {
			if mrkdwn = append(mrkdwn, text.Text); !text.Verbatim {
				t.Errorf("Slack looks for names and links in %.200q", text.Text)
			}
		}
		if !utf8.ValidString(text.Text) || strings.ContainsFunc(text.Text, func(r rune) bool {
			return unicode.IsControl(r) && (r != '\n' || text.Type == slackapi.PlainTextType) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028'
		}) {
			t.Errorf("control characters in %.200q", text.Text)
		}
	}
	for _, text := range mrkdwn {
		rest := ours.ReplaceAllString(text, "")
		if i := strings.IndexAny(rest, "<>"); i >= 0 {
			t.Errorf("mark-up that is not the package's: %.100q in %.200q", rest[i:], text)
		}
		if rest := entity.ReplaceAllString(rest, ""); strings.Contains(rest, "&") {
			t.Errorf("half an entity in %.3000q", text)
		}
		for line := range strings.SplitSeq(text, "\n") {
			if strings.Count(line, "`")%2 == 1 {
				t.Errorf("a code span without an end: %.3000q", line)
			}
		}
	}
}

// TestNothingThatPeopleOrClustersSayMentionsAnybody, and Slack takes every message.
func TestNothingThatPeopleOrClustersSayMentionsAnybody(t *testing.T) {
	slack, client := emulator(t, testbed.Workspace())
	for kind, say := range tongues {
		for name, all := range messages(say) {
			t.Run(kind+"/"+name, func(t *testing.T) {
				for _, m := range all {
					wantHarmless(t, m)
					wantTaken(t, slack, client, m)
					if name != "answers" && strings.Contains(said(t, m)+m.Text, "\nInjected") { // answers keep the lines of errors
						t.Errorf("a line of its own: %s", said(t, m))
					}
				}
			})
		}
	}
}

// wantTaken demands that Slack takes a message, both as a new one and as an edit.
func wantTaken(t *testing.T, slack *slackemu.Server, client *Client, m Message) {
	t.Helper()
	before := len(slack.Unknown())
	ts, err := client.Post(t.Context(), testbed.Ops, "", "key", m)
	if err == nil {
		err = client.Update(t.Context(), testbed.Ops, ts, m)
	}
	if err != nil || len(slack.Unknown()) > before {
		t.Errorf("%v: %.500q", err, slack.Unknown()[before:])
	}
}

// long is a name as long as Kubernetes allows, with a number in it.
func long(n int) string { return fmt.Sprintf("%0*d-end", 253-len("-end"), n) }

// hugePlan has more of everything than any message has room for.
func hugePlan(pools, nodes, findings int) upgrade.Plan {
	p := aPlan(plainly)
	p.Pools, p.Findings, p.Steps = nil, nil, nil
	for i := range pools {
		pool := upgrade.PoolPlan{Name: fmt.Sprintf("pool-%035d", i), Action: upgrade.Migrate, From: "1.33.5-gke.1162000", To: "1.34.2-gke.100", NewName: fmt.Sprintf("next-%035d", i), Zones: []string{"b"}}
		for n := range nodes / pools {
			pool.Nodes = append(pool.Nodes, long(i*nodes+n))
			p.Steps = append(p.Steps, upgrade.NewStep(upgrade.DrainNode, pool.Name, pool.Nodes[n]))
		}
		p.Steps = append(p.Steps, upgrade.NewStep(upgrade.DeletePool, pool.Name, ""))
		p.Pools = append(p.Pools, pool)
	}
	for i := range findings {
		f := upgrade.Finding{
			Check: "emptydir", Severity: upgrade.Warning, Object: upgrade.Ref{Kind: "StatefulSet", Namespace: long(0)[:63], Name: long(i)}, Problem: "loses the data in its emptyDir volumes",
			Evidence: []string{long(1), long(2), long(3), long(4)}, Consent: upgrade.AllowEmptyDirLoss,
		}
		if i%2 == 0 {
			f.Consent, f.Remedy = upgrade.AllowBarePods, "kubectl delete pod -n "+long(0)[:63]+" "+long(i)
		}
		p.Findings = append(p.Findings, f)
	}
	return p
}

// said is all that people can read in messages.
func said(t *testing.T, all ...Message) string {
	t.Helper()
	var text strings.Builder
	for _, m := range all {
		for _, part := range texts(t, m) {
			text.WriteString(part.Text + "\n")
		}
	}
	return text.String()
}

// unsaid is how many things a text says that it leaves out.
func unsaid(t *testing.T, text, of string) int {
	t.Helper()
	m := regexp.MustCompile(`… and (\d+) more` + of).FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAQuestionAboutAHugePlanTellsAllOfItsFindings(t *testing.T) {
	slack, client := emulator(t, testbed.Workspace())
	q := aQuestion(plainly)
	q.Plan = hugePlan(20, 1000, 3000)
	for i := range 200 {
		q.Approvals.Differences = append(q.Approvals.Differences, "new warning emptydir: "+long(i))
		q.Users = append(q.Users, fmt.Sprintf("U%010d", i))
		q.Approvals.Votes = append(q.Approvals.Votes, upgrade.Approval{ID: testbed.Bob, Approved: true, At: noon})
	}
	m, more := q.Message()
	for _, m := range append([]Message{m}, more...) {
		wantTaken(t, slack, client, m)
	}
	text := said(t, append([]Message{m}, more...)...)
	rest := text
	for _, f := range q.Plan.Findings { // in their order
		var found bool
		if _, rest, found = strings.Cut(rest, ": emptydir: `"+f.Object.String()+"`"); !found {
			t.Fatalf("nothing is said of %s", f.Object)
		}
	}
	for _, p := range q.Plan.Pools {
		if !strings.Contains(text, "Pool `"+p.Name+"`") {
			t.Errorf("nothing is said of pool %s", p.Name)
		}
	}
	root := said(t, m)
	for _, want := range []string{
		"*Findings*: 0 blockers, 3000 warnings, 0 infos", "*Approving also consents to*", "• `allow-bare-pods`: `", "• `allow-emptydir-loss`: `", ", and 1498 more",
		"*Takes* less than a minute", "*Point of no return*: deleting", "and 14 more, less than a minute after the start", "and 183 more (:white_check_mark:", "Digest `" + q.Plan.Digest + "`",
	} {
		if !strings.Contains(root, want) {
			t.Errorf("the question does not say %q", want)
		}
	}
	if n := strings.Count(root, ":warning: emptydir:") + unsaid(t, root, " findings: in the thread."); n != 3000 {
		t.Errorf("the question shows or counts %d findings, want 3000", n)
	}
	if n := strings.Count(root, "• new warning") + unsaid(t, root, "\n"); n != 200 {
		t.Errorf("the question shows or counts %d differences, want 200", n)
	}
	if strings.Contains(text, "…`") {
		t.Error("a name is cut")
	}
}

func TestAHugePlanCountsWhatItHasNoRoomFor(t *testing.T) {
	slack, client := emulator(t, testbed.Workspace())
	for _, size := range [][3]int{{1, 1000, 3000}, {200, 1000, 3000}, {1, 1, 1}, {1, 1, 0}} {
		m := PlanMessage(hugePlan(size[0], size[1], size[2]))
		wantTaken(t, slack, client, m)
		text := said(t, m)
		pools, findings, _ := strings.Cut(text, "*Findings*")
		if n := strings.Count(pools, "• Pool") + unsaid(t, pools, ""); n != size[0] {
			t.Errorf("%v: it shows or counts %d pools", size, n)
		}
		if n := strings.Count(findings, ":warning: emptydir:") + unsaid(t, findings, " finding"); n != size[2] {
			t.Errorf("%v: it shows or counts %d findings", size, n)
		}
	}
}

// hugeRun is one of a thousand nodes in two pools, each of which thirty pods left; a tenth of them were bare.
func hugeRun() Progress {
	plan := hugePlan(2, 1000, 0)
	run := upgrade.NewRun("20260102-120000-abcdef", plan, noon)
	run.TakenBy(upgrade.Holder{Who: long(1), Where: long(2)})
	end := noon.Add(time.Minute)
	for i, s := range run.Steps {
		if s.Kind != upgrade.DrainNode {
			continue
		}
		run.Steps[i].State, run.Steps[i].StartedAt, run.Steps[i].FinishedAt = upgrade.StepDone, &run.StartedAt, &end
		for n := range 30 {
			m := upgrade.Move{Pod: upgrade.Ref{Kind: "Pod", Namespace: long(0)[:63], Name: long(n), UID: fmt.Sprint(i, n)}, Node: s.Node, At: end}
			if n%10 > 0 {
				m.Workload, m.To = upgrade.Ref{Kind: "StatefulSet", Namespace: long(0)[:63], Name: long(n), UID: "w"}, long(n)
			}
			run.Moves = append(run.Moves, m)
		}
	}
	for i := range 3000 {
		run.Waiting = append(run.Waiting, upgrade.Waiting{
			Object: upgrade.Ref{Kind: "Pod", Namespace: long(0)[:63], Name: long(i)}, Budget: long(0)[:63] + "/" + long(i), Reason: strings.Repeat("a reason ", 100),
		})
	}
	for i := range 100 {
		run.Next = append(run.Next, "look at "+long(i))
		run.Approvals = append(run.Approvals, upgrade.Approval{ID: testbed.Bob, Approved: true})
	}
	run.CountDrained()
	run.Problem = strings.Repeat("a problem ", 1000)
	return Progress{Run: run, Now: noon.Add(time.Hour)}
}

func TestAHugeRunCountsWhatItHasNoRoomFor(t *testing.T) {
	slack, client := emulator(t, testbed.Workspace())
	p := hugeRun()
	for _, state := range []upgrade.RunState{upgrade.Running, upgrade.Paused, upgrade.Interrupted, upgrade.Failed, upgrade.Cancelled, upgrade.RolledBack, upgrade.Succeeded} {
		p.Run.State = state
		messages := map[string]Message{"root": p.Message(), "trouble": p.Trouble(), "report": p.Report(), "status": p.Status(long(7))}
		for name, m := range messages {
			wantTaken(t, slack, client, m)
			wantHarmless(t, m)
			if text := said(t, m); name != "trouble" && !strings.Contains(text, "27000 pods moved, 3000 bare pods lost (`") {
				t.Errorf("%s, %s: the pods are not counted: %.500s", state, name, text)
			}
		}
		root := said(t, messages["root"])
		for _, want := range []string{"*1000 of 1000 nodes* drained", "and 2998 more)", "approved by <@U0BOB>", "and 80 more · carried out by", "Digest `sha256:"} {
			if !strings.Contains(root, want) {
				t.Errorf("%s: the root does not say %q", state, want)
			}
		}
		if before, _, _ := strings.Cut(root, "*Next*"); strings.Count(before, "• `Pod ")+unsaid(t, before, "") != 3000 {
			t.Errorf("%s: it is not told how much blocks the run: %.3000s", state, before)
		}
		if _, next, is := strings.Cut(root, "*Next*"); is && strings.Count(next, "• look at ")+unsaid(t, next, "") != 100 || is == (state == upgrade.Running) {
			t.Errorf("%s: it is not told what is next", state)
		}
		if report := said(t, messages["report"]); strings.Count(report, "Next: ")+unsaid(t, report, "") != 100 {
			t.Errorf("%s: the report does not say what is next: %.3000s", state, report)
		}
		if trouble := said(t, messages["trouble"]); strings.Count(trouble, "• `Pod ")+strings.Count(trouble, "Next: ")+unsaid(t, trouble, "") != 3100 {
			t.Errorf("%s: the trouble is not told: %.3000s", state, trouble)
		}
	}
}

func TestANodeWithVeryManyPodsCountsThoseThatItDoesNotList(t *testing.T) {
	slack, client := emulator(t, testbed.Workspace())
	p := hugeRun()
	for _, i := range []int{0, 499, 501, 1000} {
		step := p.Run.Steps[i]
		m := p.Node(step)
		wantTaken(t, slack, client, m)
		wantHarmless(t, m)
		if text := said(t, m); strings.Count(text, "• `")+unsaid(t, text, "") != 30 {
			t.Errorf("%s", text)
		}
		step.State = upgrade.StepRunning
		m = p.Node(step)
		wantTaken(t, slack, client, m)
		blocked, pods, _ := strings.Cut(said(t, m), " more\n")
		if strings.Count(blocked+" more\n", "• `Pod")+unsaid(t, blocked+" more\n", "") != 3000 || strings.Count(pods, "• `")+unsaid(t, pods, "") != 30 {
			t.Errorf("%s", said(t, m))
		}
	}
}

func TestANodeListsThirtyPodsAndCountsTheRest(t *testing.T) {
	for pods, want := range map[int]string{30: "", 31: "\n… and 1 more\n", 45: "\n… and 15 more\n"} {
		p := shown(plainly, func(r *upgrade.Run) {
			r.Moves = nil
			for i := range pods {
				r.Moves = append(r.Moves, upgrade.Move{Pod: upgrade.Ref{Namespace: "shop", Name: fmt.Sprint("web-", i), UID: fmt.Sprint(i)}, Node: "node-1"})
			}
		})
		text := said(t, node(p, 3))
		if n := strings.Count(text, "• `shop/web-"); n != 30 || strings.Contains(text, "… and") != (want != "") || !strings.HasSuffix(text, want) {
			t.Errorf("of %d pods: %s", pods, text)
		}
	}
}

func TestTextThatMayBeAnythingIsEscaped(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "",
		"web-1":                    "web-1",
		"<!channel>":               "&lt;!channel&gt;",
		"<@U123> & <https://x|y>":  "&lt;@U123&gt; &amp; &lt;https://x|y&gt;",
		"&lt;!here&gt;":            "&amp;lt;!here&amp;gt;",
		"`a` ```b```":              "'a' '''b'''",
		"a\nb\r\tc\x00\x7f\u0085d": "a b  c   d",
		"a\u2028b\u2029c":          "a b c",
		"\u202eevil\u2066\u200f":   " evil  ",
		"größe 語 🎉":                "größe 語 🎉",
		"\xff<":                    "\ufffd&lt;",
	} {
		if got := Escape(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestOnlyAnIDIsMentioned(t *testing.T) {
	for id, want := range map[string]string{
		testbed.Bob: "<@U0BOB>", "W012A3CDE": "<@W012A3CDE>", "": "", "bob": "bob", "U1> <!channel": "U1&gt; &lt;!channel", "U0BOB\n": "U0BOB ", "U1|x": "U1|x",
		strings.Repeat("U", 31): strings.Repeat("U", 31), "!here": "!here", "Ü0BOB": "Ü0BOB",
	} {
		if got := Mention(id); got != want {
			t.Errorf("%q: %q, want %q", id, got, want)
		}
	}
}

func TestTextIsCutWhereNoMarkUpIs(t *testing.T) {
	for text, want := range map[string]string{
		"short":                         "short",
		"exactly twenty chars":          "exactly twenty chars",
		"a line of some length":         "a line of some len…",
		"a long line\nanother long one": "a long line\n…",
		"a\nvery very very long line":   "a\nvery very very l…",
		"a mention <@U0ALICE> more":     "a mention …",
		"some `code that is cut`":       "some `code that is…`",
		"some &amp; entit&amp;ies":      "some &amp; entit…",
		"some &amp; enti&amp;ties":      "some &amp; enti…",
		"<!date^1^{time}|long ago> and": "…",
	} {
		got := cutMarked(text, 20)
		if got != want || utf8.RuneCountInString(got) > 20 {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestDurationsReadAsPeopleSayThem(t *testing.T) {
	for d, want := range map[time.Duration][2]string{
		0: {"less than a minute", "0s"}, 44 * time.Second: {"less than a minute", "44s"}, 50 * time.Second: {"about 1 min", "50s"}, 90 * time.Second: {"about 2 min", "2 min"},
		time.Hour: {"about 1 h", "1 h"}, 72 * time.Minute: {"about 1 h 12 min", "1 h 12 min"}, 119*time.Minute + 45*time.Second: {"about 2 h", "2 h"},
		59*time.Minute + 40*time.Second: {"about 1 h", "1 h"}, 59*time.Minute + 20*time.Second: {"about 59 min", "59 min"}, 49 * time.Hour: {"about 49 h", "49 h"},
	} {
		if got := [2]string{report.About(d), report.Short(d)}; got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}

func TestEveryGoldenIsOfAMessage(t *testing.T) {
	files, err := filepath.Glob("testdata/*.golden")
	if err != nil {
		t.Fatal(err)
	}
	names := slices.Collect(maps.Keys(messages(plainly)))
	for _, file := range files {
		if name := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(file), ".golden"), "-hostile"); !slices.Contains(names, name) {
			t.Errorf("%s is of no message", file)
		}
	}
}
