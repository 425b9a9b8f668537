package slack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/upshift-k8s/upshift/internal/lab/slackemu"
	"github.com/upshift-k8s/upshift/internal/lab/testbed"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// emulator is a Slack with a client of it. Whatever it would not accept fails the test.
func emulator(t *testing.T, options slackemu.Options) (*slackemu.Server, *Client) {
	t.Helper()
	options.Log = slog.New(slog.DiscardHandler)
	server, err := slackemu.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, call := range server.Unknown() {
			t.Errorf("Slack would not accept %.500s", call)
		}
		server.Close()
	})
	return server, NewClient(Tokens{Bot: server.BotToken(), App: server.AppToken()}, server.URL())
}

func TestOnlyHTTPSAndLoopbackStandInForSlack(t *testing.T) {
	for endpoint, fine := range map[string]bool{
		"": true, "https://slack.com/api/": true, "https://slack-gov.com/api/": true, "https://gateway.example:8443/slack/": true, "https://10.0.0.1/api/": true,
		"http://127.0.0.1:8080/api/": true, "http://127.9.9.9:1/api/": true, "http://[::1]:8080/api/": true, "http://localhost:8080/api/": true,
		"http://slack.com/api/": false, "http://10.0.0.1:80/api/": false, "http://localhost.evil.example/api/": false, "http://127.0.0.1.evil.example/api/": false,
		"http://0.0.0.0:80/api/": false, "http://[::ffff:10.0.0.1]/api/": false, "https://slack.com/api": false, "https://slack.com": false, "https:///api/": false,
		"slack.com/api/": false, "ftp://slack.com/api/": false, "unix:///var/run/slack/": false, "https://slack.com/api/ ": false, "://": false, " ": false, "https://sl ack/api/": false,
	} {
		err := CheckEndpoint(endpoint)
		if (err == nil) != fine {
			t.Errorf("%q: %v", endpoint, err)
		}
		if want := fmt.Sprintf("SLACK_API_URL=%q: want https://HOST/api/, or http://HOST:PORT/api/ on loopback", endpoint); !fine && err != nil && err.Error() != want {
			t.Errorf("got  %s\nwant %s", err, want)
		}
	}
}

func TestWhoTheBotIs(t *testing.T) {
	slack, client := emulator(t, testbed.Workspace())
	got, err := client.Me(t.Context())
	if want := (Me{Team: slack.Team(), User: slack.BotUser(), URL: "https://upshift-lab.slack.com/"}); got != want || err != nil {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if link := Link(got, upgrade.Thread{Channel: testbed.Ops, Timestamp: "1767355200.000100"}); link != "https://upshift-lab.slack.com/archives/C0OPS/p1767355200000100" {
		t.Errorf("a message is at %s", link)
	}
	_, err = NewClient(Tokens{Bot: "xoxb-revoked"}, slack.URL()).Me(t.Context())
	if err == nil || err.Error() != "ask Slack who the bot is: invalid_auth" || Passing(err) {
		t.Errorf("with a token that is refused: %v", err)
	}
}

func TestWhoPeopleAre(t *testing.T) {
	slack, client := emulator(t, testbed.Workspace())
	team := slack.Team()
	for id, want := range map[string]Member{
		testbed.Alice: {ID: testbed.Alice, Name: "alice", Team: team}, testbed.Gina: {ID: testbed.Gina, Name: "gina", Team: team, Guest: true},
		testbed.Eve: {ID: testbed.Eve, Name: "eve", Team: "T0OTHER", Outside: true}, testbed.Robot: {ID: testbed.Robot, Name: "robot", Team: team, Bot: true},
		testbed.Gone: {ID: testbed.Gone, Name: "gone", Team: team, Deleted: true}, slack.BotUser(): {ID: slack.BotUser(), Name: "upshift", Team: team, Bot: true},
	} {
		got, err := client.Member(t.Context(), id)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", id, err, diff)
		}
	}
	if _, err := client.Member(t.Context(), "U0NOBODY"); err == nil || err.Error() != "look up user U0NOBODY: user_not_found" || Passing(err) {
		t.Errorf("somebody who is not there: %v", err)
	}
}

func TestWhoIsInAGroup(t *testing.T) {
	slack, client := emulator(t, testbed.Workspace())
	for _, want := range [][]string{{testbed.Carol}, {testbed.Dave, testbed.Carol}, {}} {
		slack.SetGroup(testbed.SRE, want...)
		got, err := client.Group(t.Context(), testbed.SRE)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" || err != nil {
			t.Errorf("%v %s", err, diff)
		}
	}
	if _, err := client.Group(t.Context(), "S0NONE"); err == nil || err.Error() != "look up user group S0NONE: no_such_subteam" || Passing(err) {
		t.Errorf("a group that is not there: %v", err)
	}
	poor := testbed.Workspace()
	poor.NoUserGroups = true
	_, client = emulator(t, poor)
	if _, err := client.Group(t.Context(), testbed.SRE); !is(err, "plan_upgrade_required") || Passing(err) {
		t.Errorf("on a plan without groups: %v", err)
	}
}

func TestWhatAChannelIs(t *testing.T) {
	options := testbed.Workspace()
	options.Channels = append(options.Channels, slackemu.Channel{ID: "C0AWAY", Name: "away", BotAbsent: true}, slackemu.Channel{ID: "G0SECRET", Name: "secret", Private: true, BotAbsent: true})
	_, client := emulator(t, options)
	for id, want := range map[string]Room{testbed.Ops: {Name: "ops", Here: true}, testbed.Shared: {Name: "shared", Here: true, Shared: true}, "C0AWAY": {Name: "away"}} {
		if got, err := client.Room(t.Context(), id); got != want || err != nil {
			t.Errorf("%s: %+v, %v, want %+v", id, got, err, want)
		}
	}
	for _, id := range []string{"G0SECRET", "C0NONE"} {
		if _, err := client.Room(t.Context(), id); err == nil || err.Error() != "look up channel "+id+": channel_not_found" || Passing(err) {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestWhoReacted(t *testing.T) {
	slack, client := emulator(t, testbed.Workspace())
	ts := post(t, client, testbed.Ops, "", "question", "a plan")
	if got, err := client.Reactions(t.Context(), testbed.Ops, ts); len(got) != 0 || err != nil {
		t.Errorf("before anybody has: %v, %v", got, err)
	}
	for range 2 { // again is no error
		if err := client.React(t.Context(), testbed.Ops, ts, "white_check_mark"); err != nil {
			t.Error(err)
		}
	}
	for _, r := range [][2]string{{testbed.Bob, "white_check_mark"}, {testbed.Bob, "+1"}, {testbed.Carol, "+1::skin-tone-5"}, {testbed.Dave, "x"}} {
		if err := slack.React(t.Context(), r[0], testbed.Ops, ts, r[1]); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string][]string{"white_check_mark": {slack.BotUser(), testbed.Bob}, "+1": {testbed.Bob, testbed.Carol}, "x": {testbed.Dave}}
	got, err := client.Reactions(t.Context(), testbed.Ops, ts)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if _, err := client.Reactions(t.Context(), testbed.Ops, "1.000001"); !is(err, "message_not_found") || Passing(err) {
		t.Errorf("to a message that is not there: %v", err)
	}
	if err := client.React(t.Context(), testbed.Ops, "1.000001", "x"); err == nil || err.Error() != "react to message 1.000001: message_not_found" {
		t.Errorf("to a message that is not there: %v", err)
	}
}

func TestAReactionIsAVoteInAnyTone(t *testing.T) {
	for name, want := range map[string][2]bool{
		"white_check_mark": {true, true}, "+1": {true, true}, "thumbsup": {true, true}, "+1::skin-tone-2": {true, true}, ":+1::skin-tone-6:": {true, true}, ":x:": {false, true}, "x": {false, true},
		"-1": {}, "heavy_check_mark": {}, "eyes": {}, "": {}, "X": {}, "xx": {},
	} {
		if approves, is := Vote(name); approves != want[0] || is != want[1] {
			t.Errorf("%q: approves %t, is a vote %t", name, approves, is)
		}
	}
}

func TestAButtonIsAboutWhatItWasMadeFor(t *testing.T) {
	for value, want := range map[string]Subject{
		"cluster-1/abc": {"cluster-1", "abc"}, "Prod_1.eu/20260102-120000-abcdef": {"Prod_1.eu", "20260102-120000-abcdef"},
		"": {}, "cluster-1": {}, "/abc": {}, "cluster-1/": {}, "a/b/c": {}, "<!channel>/abc": {}, "cluster-1/abc\n": {}, "cluster 1/abc": {}, "cluster-1/`x`": {},
	} {
		got, ok := ParseSubject(value)
		if ok != (want != Subject{}) || ok && (got != want || got.value() != value) {
			t.Errorf("%q: %+v, %t", value, got, ok)
		}
	}
	for action, want := range map[string]bool{"pause": true, "resume": true, "rollback": true, "cancel": true, "approve": false, "reject": false, "status": false, "": false} {
		if IsRunAction(action) != want {
			t.Errorf("%s is an action of a run: %t", action, !want)
		}
	}
}

func post(t *testing.T, client *Client, channel, thread, key, text string) string {
	t.Helper()
	ts, err := client.Post(t.Context(), channel, thread, key, Say("%s", text))
	if err != nil {
		t.Fatal(err)
	}
	return ts
}

func TestAMessageIsFoundByItsKeyAmongMany(t *testing.T) {
	slack, client := emulator(t, testbed.Workspace())
	began := time.Now()
	first := post(t, client, testbed.Ops, "", "question/1", "the first")
	root := post(t, client, testbed.Ops, "", "run/1", "a run")
	node := post(t, client, testbed.Ops, root, "node/1", "a node")
	for i := range 450 { // more than two pages of the channel, and of the thread
		slack.Post(t.Context(), testbed.Dave, testbed.Ops, fmt.Sprint("hello ", i))
		post(t, client, testbed.Ops, root, fmt.Sprint("node/", i+2), "a node")
	}
	last := post(t, client, testbed.Ops, root, "node/last", "the last node")
	elsewhere := post(t, client, testbed.Random, "", "question/1", "the same key in another channel")
	for name, c := range map[string]struct {
		channel, thread, key string
		since                time.Time
		want                 string
	}{
		"the oldest":                  {testbed.Ops, "", "question/1", began, first},
		"with a clock a bit fast":     {testbed.Ops, "", "question/1", began.Add(30 * time.Second), first},
		"another channel's":           {testbed.Random, "", "question/1", began, elsewhere},
		"the first reply":             {testbed.Ops, root, "node/1", began, node},
		"the last reply":              {testbed.Ops, root, "node/last", began, last},
		"a reply is none of channels": {testbed.Ops, "", "node/1", began, ""},
		"nor the other way round":     {testbed.Ops, root, "question/1", began, ""},
		"no such key":                 {testbed.Ops, "", "question/2", began, ""},
		"part of a key":               {testbed.Ops, "", "question", began, ""},
		"older than what is asked":    {testbed.Ops, "", "question/1", began.Add(10 * time.Minute), ""},
	} {
		if got, err := client.Find(t.Context(), c.channel, c.thread, c.key, c.since); got != c.want || err != nil {
			t.Errorf("%s: %q, %v, want %q", name, got, err, c.want)
		}
	}
	if _, err := client.Find(t.Context(), testbed.Ops, "1.000001", "node/1", began); !is(err, "thread_not_found") || Passing(err) {
		t.Errorf("in a thread that is not there: %v", err)
	}
	poor := testbed.Workspace()
	poor.Scopes = []string{"chat:write"}
	_, client = emulator(t, poor)
	if _, err := client.Find(t.Context(), testbed.Ops, "", "question/1", began); err == nil || err.Error() != "look for a message in channel C0OPS: missing_scope" || Passing(err) {
		t.Errorf("without the scope: %v", err)
	}
}

func TestAMessageIsPostedEditedWhisperedAndAnsweredWith(t *testing.T) {
	slack, client := emulator(t, testbed.Workspace())
	ts := post(t, client, testbed.Ops, "", "run/1", "a run\n<!channel>")
	reply := post(t, client, testbed.Ops, ts, "node/1", "a node")
	if err := client.Update(t.Context(), testbed.Ops, ts, Say("a run that is over")); err != nil {
		t.Error(err)
	}
	if err := client.Whisper(t.Context(), testbed.Ops, testbed.Dave, Say("you are no approver")); err != nil {
		t.Error(err)
	}
	var got []string
	for _, m := range slack.Messages(testbed.Ops) {
		got = append(got, strings.Join([]string{m.PlainText(), m.Ephemeral, m.ThreadTS}, "|"))
	}
	if diff := cmp.Diff([]string{"a run that is over||", "a node||" + ts, "you are no approver|U0DAVE|"}, got); diff != "" {
		t.Error(diff)
	}
	if found, err := client.Find(t.Context(), testbed.Ops, ts, "node/1", time.Now()); found != reply || err != nil {
		t.Errorf("an edit of its root hides a reply: %q, %v", found, err)
	}
	if found, err := client.Find(t.Context(), testbed.Ops, "", "run/1", time.Now()); found != ts || err != nil {
		t.Errorf("an edit takes the key away: %q, %v", found, err)
	}
	for name, err := range map[string]error{
		"post to channel C0NONE: channel_not_found":                    second(client.Post(t.Context(), "C0NONE", "", "k", Say("x"))),
		"update message 1.000001 of channel C0OPS: message_not_found":  client.Update(t.Context(), testbed.Ops, "1.000001", Say("x")),
		"tell U0GONE in channel C0OPS: user_not_in_channel":            client.Whisper(t.Context(), testbed.Ops, testbed.Gone, Say("x")),
		"answer a command: the response URL cannot be read":            client.Respond(t.Context(), "http://%zz/secret", Say("x")),
		`answer a command: unsupported protocol scheme "secret-proto"`: client.Respond(t.Context(), "secret-proto://x/secret", Say("x")),
	} {
		if err == nil || err.Error() != name {
			t.Errorf("got  %v\nwant %s", err, name)
		}
	}
}

func second(_ string, err error) error { return err }

func TestWhatASlackThatAnswersInAnotherWayLeadsTo(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		fault   slackemu.Fault
		ctx     context.Context
		passing bool
		after   time.Duration
		want    string
	}{
		"limited":                 {fault: slackemu.Fault{RetryAfter: 30 * time.Second}, passing: true, after: 30 * time.Second, want: "slack rate limit exceeded, retry after 30s"},
		"limited, without a time": {fault: slackemu.Fault{Status: 429}, passing: true, want: "429"},
		"unavailable":             {fault: slackemu.Fault{Status: 503}, passing: true, want: "503"},
		"broken":                  {fault: slackemu.Fault{Status: 500}, passing: true, want: "500"},
		"not there":               {fault: slackemu.Fault{Status: 404}, want: "404"},
		"forbidden":               {fault: slackemu.Fault{Status: 403}, want: "403"},
		"the answer is lost":      {fault: slackemu.Fault{LoseAnswer: true}, passing: true, want: "EOF"},
		"no time left":            {fault: slackemu.Fault{Hang: true}, ctx: expiring(t), passing: true, want: context.DeadlineExceeded.Error()},
		"given up":                {ctx: cancelled, want: context.Canceled.Error()},
		"internal_error":          {fault: slackemu.Fault{Error: "internal_error"}, passing: true, want: "internal_error"},
		"fatal_error":             {fault: slackemu.Fault{Error: "fatal_error"}, passing: true, want: "fatal_error"},
		"service_unavailable":     {fault: slackemu.Fault{Error: "service_unavailable"}, passing: true, want: "service_unavailable"},
		"request_timeout":         {fault: slackemu.Fault{Error: "request_timeout"}, passing: true, want: "request_timeout"},
		"ratelimited":             {fault: slackemu.Fault{Error: "ratelimited"}, passing: true, want: "ratelimited"},
		"team_added_to_org":       {fault: slackemu.Fault{Error: "team_added_to_org"}, passing: true, want: "team_added_to_org"},
		"channel_not_found":       {fault: slackemu.Fault{Error: "channel_not_found"}, want: "channel_not_found"},
		"missing_scope":           {fault: slackemu.Fault{Error: "missing_scope"}, want: "missing_scope"},
		"token_revoked":           {fault: slackemu.Fault{Error: "token_revoked"}, want: "token_revoked"},
		"msg_too_long":            {fault: slackemu.Fault{Error: "msg_too_long"}, want: "msg_too_long"},
		"a word that is new":      {fault: slackemu.Fault{Error: "brand_new_error"}, want: "brand_new_error"},
	} {
		t.Run(name, func(t *testing.T) {
			slack, client := emulator(t, testbed.Workspace())
			slack.Inject(c.fault)
			ctx := c.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			_, err := client.Post(ctx, testbed.Ops, "", "k", Say("x"))
			if err == nil || !strings.HasPrefix(err.Error(), "post to channel C0OPS: ") || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %s", err, c.want)
			}
			if after, passing := again(err); passing != c.passing || after != c.after || Passing(err) != passing {
				t.Errorf("%v: passing %t, after %s", err, passing, after)
			}
			if calls := slack.Calls("chat.postMessage"); calls > 1 {
				t.Errorf("it was called %d times", calls)
			}
		})
	}
	for _, err := range []error{io.ErrUnexpectedEOF, errors.New("dial tcp: connection refused"), fmt.Errorf("x: %w", context.DeadlineExceeded)} {
		if !Passing(err) {
			t.Errorf("%v is not passing", err)
		}
	}
}

// expiring is a context that a hanging call outlasts.
func expiring(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func TestASlackThatIsNotThereMayComeBackAndNoSecretIsTold(t *testing.T) {
	slack, client := emulator(t, testbed.Workspace())
	slack.Close()
	_, err := client.Me(t.Context())
	if err == nil || !Passing(err) || strings.Contains(err.Error(), slack.BotToken()) {
		t.Errorf("got %v", err)
	}
	err = client.Respond(t.Context(), strings.Replace(slack.URL(), "/api/", "/response/a-secret", 1), Say("x"))
	if err == nil || strings.Contains(err.Error(), "a-secret") {
		t.Errorf("got %v", err)
	}
}

func TestAnAnswerThatSlackDoesNotTakeIsAnError(t *testing.T) {
	slack, client := emulator(t, testbed.Workspace())
	slack.Inject(slackemu.Fault{Method: "response_url", Status: 404, Times: 1})
	err := client.Respond(t.Context(), strings.Replace(slack.URL(), "/api/", "/response/a-secret", 1), Say("x"))
	if err == nil || err.Error() != "answer a command: Slack says 404 Not Found" {
		t.Errorf("got %v", err)
	}
}
