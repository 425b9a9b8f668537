package slackemu

import (
	"bytes"
	"flag"
	"os"
	"regexp"
	"testing"

	"github.com/slack-go/slack"
)

var update = flag.Bool("update", false, "write testdata/transcript.golden anew")

func TestTranscript(t *testing.T) {
	s, ctx := start(t, Options{})
	api := client(s)
	say := func(options ...slack.MsgOption) string {
		t.Helper()
		_, ts, err := api.PostMessageContext(ctx, "C1", options...)
		if err != nil {
			t.Fatal(err)
		}
		return ts
	}
	text := func(s string) slack.MsgOption { return slack.MsgOptionText(s, false) }
	s.Post(ctx, "U1", "C1", "shall we upgrade <#C3>? see <https://example.com/a?b=c|the plan> :rocket:")
	fields := []*slack.TextBlockObject{
		slack.NewTextBlockObject("mrkdwn", "*Cluster*\n`cluster-1`", false, false),
		slack.NewTextBlockObject("mrkdwn", "*From*\n1.33.5 → 1.34.2", false, false),
		slack.NewTextBlockObject("mrkdwn", "*Asked by*\n<@U1>", false, false),
	}
	plan := []slack.Block{
		slack.NewHeaderBlock(slack.NewTextBlockObject("plain_text", ":warning: Upgrade cluster-1", true, false)),
		section("For <!subteam^S1> and <@U9|zoe>, <!here>: pods &lt;web&gt; &amp; <mailto:a@example.com|mail>\nuntil <!date^1700000000^{time}|22:13 UTC>, https://example.com :custom: <http://plain.example>"),
		slack.NewSectionBlock(nil, fields, nil),
		slack.NewDividerBlock(),
		slack.NewContextBlock("", slack.NewTextBlockObject("mrkdwn", "digest `abc`", false, false), slack.NewTextBlockObject("mrkdwn", "2 pools", false, false)),
		slack.NewActionBlock("", button("yes", "Approve"), button("no", "Reject")),
	}
	root := say(slack.MsgOptionBlocks(plan...), text("fallback"))
	say(text("node-1 drained :white_check_mark:"), slack.MsgOptionTS(root))
	say(text("node-2 drained"), slack.MsgOptionTS(root), slack.MsgOptionBroadcast())
	gone := say(text("a mistake"), slack.MsgOptionTS(root))
	for user, emoji := range map[string]string{"U1": "+1", "U2": "+1"} {
		if err := s.React(ctx, user, "C1", root, emoji); err != nil {
			t.Fatal(err)
		}
	}
	for _, emoji := range []string{"+1::skin-tone-3", "parrot"} {
		if err := s.React(ctx, "U1", "C1", root, emoji); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := api.PostEphemeralContext(ctx, "C1", "U2", text("your vote did not count")); err != nil {
		t.Fatal(err)
	}
	edited := say(text("running"))
	if _, _, _, err := api.UpdateMessageContext(ctx, "C1", edited, text("done")); err != nil {
		t.Fatal(err)
	}
	rootless := say(text("will go"))
	say(text("but this stays"), slack.MsgOptionTS(rootless))
	for _, ts := range []string{gone, rootless, say(text("without a trace"))} {
		if _, _, err := api.DeleteMessageContext(ctx, "C1", ts); err != nil {
			t.Fatal(err)
		}
	}
	wantNoUnknown(t, s)

	var out bytes.Buffer
	s.Transcript(&out, "C1")
	got := regexp.MustCompile(`\d\d:\d\d\b( \(|\n)`).ReplaceAll(out.Bytes(), []byte("10:00$1"))
	const golden = "testdata/transcript.golden"
	if *update {
		if err := os.WriteFile(golden, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestButtons(t *testing.T) {
	s, ctx := start(t, Options{})
	withAccessory := slack.NewSectionBlock(slack.NewTextBlockObject("mrkdwn", "pool", false, false), nil, slack.NewAccessory(button("skip", "Skip")))
	_, ts, err := client(s).PostMessageContext(ctx, "C1", slack.MsgOptionBlocks(withAccessory,
		slack.NewActionBlock("", button("no", "Reject").WithStyle(slack.StyleDanger))))
	if err != nil {
		t.Fatal(err)
	}
	m, _ := s.Message("C1", ts)
	want := []Button{{"skip", "Skip", "value of skip", ""}, {"no", "Reject", "value of no", "danger"}}
	if got := m.Buttons(); len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("buttons: %+v", got)
	}
	if want := "pool\n[ Skip ]\n[ Reject ]"; m.PlainText() != want {
		t.Errorf("text: %q", m.PlainText())
	}
}
