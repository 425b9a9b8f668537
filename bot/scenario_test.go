package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/scenario"
	"github.com/upshift-k8s/upshift/internal/lab/slackemu"
	"github.com/upshift-k8s/upshift/internal/lab/testbed"
)

// TestScenarios has people talk to the built bot in an emulated Slack, about a real control plane, each scenario a cluster of its own.
func TestScenarios(t *testing.T) { runScenarios(t, "testdata/lab") }

// TestScenariosAlone are those that measure how fast the bot answers: each has the machine to itself.
func TestScenariosAlone(t *testing.T) { runScenarios(t, "testdata/alone") }

func runScenarios(t *testing.T, dir string) {
	if testing.Short() {
		t.Skip("needs the lab")
	}
	bin := t.TempDir()
	scenario.Build(t, bin, "upshift-bot", ".")
	scenario.Build(t, bin, "upshift", "../action")
	if _, err := lab.Binary(t.Context(), t.Output()); err != nil {
		t.Fatal(err) // once and here, rather than in each scenario
	}
	testscript.Run(t, testscript.Params{
		Dir: dir, Cmds: commands(),
		Setup: func(env *testscript.Env) error {
			scenario.Setup(env, bin)
			env.Setenv("INPUT_SURGE-FIRST", "none") // as in the bot's configuration: they are about drains that something blocks
			env.Values[talkKey{}] = &talk{}
			return nil
		},
	})
}

type talkKey struct{}

// talk is the conversation of a scenario.
type talk struct {
	chat *slackemu.Server
	bot  *exec.Cmd
	// addr is where the bot listens.
	addr string
}

func of(ts *testscript.TestScript) *talk { return ts.Value(talkKey{}).(*talk) }

func commands() map[string]func(*testscript.TestScript, bool, []string) {
	all := scenario.Commands()
	maps.Copy(all, map[string]func(*testscript.TestScript, bool, []string){
		"slack": startSlack, "bot": runBot, "types": types, "reacts": reacts, "unreacts": unreacts, "clicks": clicks, "sees": sees, "roots": roots,
		"mentions": mentions, "slackfault": slackFault, "posts": posts, "flood": flood, "get": get, "transcript": transcript, "silence": silence,
		"group": group, "took-at-most": tookAtMost,
	})
	return all
}

// wait is how long a scenario waits for the bot's next words.
const wait = 150 * time.Second

// startSlack: "slack [limits] [no-groups] [no-history]" starts the workspace.
func startSlack(ts *testscript.TestScript, _ bool, args []string) {
	o := testbed.Workspace()
	for _, a := range args {
		switch a {
		case "limits":
			o.RateLimits = true
		case "no-groups":
			o.NoUserGroups = true
		case "no-history":
			o.Scopes = slices.DeleteFunc(slackemu.DefaultScopes(), func(s string) bool { return strings.HasSuffix(s, ":history") })
		default:
			ts.Fatalf("slack: unknown argument %s", a)
		}
	}
	chat, err := slackemu.Start(context.Background(), o)
	ts.Check(err)
	ts.Defer(func() {
		unknown := chat.Unknown()
		chat.Close()
		if len(unknown) > 0 {
			ts.Fatalf("calls that Slack does not take:\n%s", strings.Join(unknown, "\n"))
		}
	})
	of(ts).chat = chat
	for _, e := range chat.Env() {
		name, value, _ := strings.Cut(e, "=")
		ts.Setenv(name, value)
	}
}

// runBot: "bot start [LINES...]" starts the bot with lines of configuration and waits until it is connected; "bot kill" kills it with
// -9; "bot stop" tells it to stop and demands that it does.
func runBot(ts *testscript.TestScript, _ bool, args []string) {
	t := of(ts)
	switch args[0] {
	case "start":
		startBot(ts, args[1:])
	case "kill":
		ts.Check(t.bot.Process.Kill())
		_ = t.bot.Wait() // killed
	case "stop":
		ts.Check(t.bot.Process.Signal(syscall.SIGTERM))
		ts.Check(t.bot.Wait())
	default:
		ts.Fatalf("bot: unknown argument %s", args[0])
	}
}

var listening = regexp.MustCompile(`"msg":"the bot is up".*"listen":"([^"]+)"`)

func startBot(ts *testscript.TestScript, lines []string) {
	t := of(ts)
	if len(lines) > 0 || ts.Getenv("BOT_CONFIG") == "" {
		ts.Setenv("BOT_CONFIG", testbed.BotConfig(append(lines, "defaults: {target-version: control-plane, soak: 1s, drain-timeout: 10m, surge-first: none}")...))
	}
	config := ts.MkAbs("bot.yaml")
	ts.Check(os.WriteFile(config, []byte(ts.Getenv("BOT_CONFIG")), 0o600))
	log, err := os.OpenFile(ts.MkAbs("bot.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	before, err := log.Stat()
	ts.Check(err)
	binary := filepath.SplitList(ts.Getenv("PATH"))[0]
	cmd := exec.Command(filepath.Join(binary, "upshift-bot"), "--config", config)
	for _, name := range []string{"HOME", "CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER", "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER", "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE", "GOOGLE_APPLICATION_CREDENTIALS", "SLACK_API_URL", "SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "SLACK_SIGNING_SECRET"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	cmd.Stderr = log
	ts.Check(cmd.Start())
	t.bot = cmd
	ts.Defer(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		_ = log.Close()
		ts.Logf("the bot's log:\n%s", ts.ReadFile("bot.log"))
	})
	deadline := time.Now().Add(wait)
	for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C { // a file of another process cannot be waited for but by looking
		if m := listening.FindStringSubmatch(ts.ReadFile("bot.log")[before.Size():]); m != nil {
			t.addr = m[1]
			break
		}
		if time.Now().After(deadline) {
			ts.Fatalf("the bot is not up after %s", wait)
		}
	}
	if strings.Contains(ts.Getenv("BOT_CONFIG"), "transport: http") {
		ts.Check(t.chat.UseHTTP("http://" + t.addr))
		return
	}
	await(ts, "a connection", func() bool { return t.chat.Connections() > 0 })
}

func await(ts *testscript.TestScript, what string, is func() bool) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	if err := of(ts).chat.Await(ctx, is); err != nil {
		var b strings.Builder
		of(ts).chat.Transcript(&b, testbed.Ops)
		ts.Fatalf("no %s after %s; the channel:\n%s", what, wait, b.String())
	}
}

// person is somebody by name: "alice" is U0ALICE.
func person(name string) string { return "U0" + strings.ToUpper(name) }

// types: "types PERSON [#CHANNEL] TEXT..." is a slash command; with ! Slack has to refuse it.
func types(ts *testscript.TestScript, neg bool, args []string) {
	channel, text := testbed.Ops, args[1:]
	if name, ok := strings.CutPrefix(args[1], "#"); ok {
		channel, text = "C0"+strings.ToUpper(name), args[2:]
	}
	err := of(ts).chat.Command(context.Background(), person(args[0]), channel, strings.Join(text, " "))
	if (err != nil) != neg {
		ts.Fatalf("types: %v", err)
	}
}

// question is the last message in the channel that the bot posted there itself, not in a thread and for all.
func question(ts *testscript.TestScript) slackemu.Message {
	var last slackemu.Message
	for _, m := range of(ts).chat.Messages(testbed.Ops) {
		if m.ThreadTS == "" && m.Ephemeral == "" && m.User == of(ts).chat.BotUser() {
			last = m
		}
	}
	return last
}

// reacts: "reacts PERSON EMOJI" reacts to the last message of the bot's in the channel.
func reacts(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(of(ts).chat.React(context.Background(), person(args[0]), testbed.Ops, question(ts).TS, args[1]))
}

func unreacts(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(of(ts).chat.Unreact(context.Background(), person(args[0]), testbed.Ops, question(ts).TS, args[1]))
}

// clicks: "clicks PERSON ACTION [REGEXP]" clicks a button of the last message of the bot's in the channel, or of the last that matches.
func clicks(ts *testscript.TestScript, neg bool, args []string) {
	on := question(ts)
	if len(args) > 2 {
		want := regexp.MustCompile(args[2])
		for _, m := range of(ts).chat.Messages(testbed.Ops) {
			if m.Ephemeral == "" && want.MatchString(m.PlainText()) {
				on = m
			}
		}
	}
	err := of(ts).chat.Click(context.Background(), person(args[0]), testbed.Ops, on.TS, args[1])
	if (err != nil) != neg {
		ts.Fatalf("clicks: %v", err)
	}
}

// sees: "sees PERSON REGEXP" waits until the person can see a message that matches: "all" sees what everybody does, anybody else what is
// for them alone. With ! there must be none now.
func sees(ts *testscript.TestScript, neg bool, args []string) {
	want := regexp.MustCompile("(?s)" + args[1])
	is := func() bool {
		for _, channel := range []string{testbed.Ops, testbed.Random, testbed.Shared} {
			for _, m := range of(ts).chat.Messages(channel) {
				mine := m.Ephemeral == "" && args[0] == "all" || m.Ephemeral == person(args[0])
				if mine && want.MatchString(m.PlainText()) {
					return true
				}
			}
		}
		return false
	}
	if neg {
		if is() {
			ts.Fatalf("%s sees a message that matches %s", args[0], args[1])
		}
		return
	}
	await(ts, fmt.Sprintf("message that matches %s", args[1]), is)
}

// roots: "roots N" demands that the bot has posted so many messages into the channel itself, for all.
func roots(ts *testscript.TestScript, _ bool, args []string) {
	n := 0
	for _, m := range of(ts).chat.Messages(testbed.Ops) {
		if m.ThreadTS == "" && m.Ephemeral == "" && m.User == of(ts).chat.BotUser() && !m.Deleted {
			n++
		}
	}
	if fmt.Sprint(n) != args[0] {
		transcript(ts, false, nil)
		ts.Fatalf("%d messages of the bot's in the channel, want %s", n, args[0])
	}
}

// mentions: "mentions PERSON N REGEXP" waits until so many replies that match mention the person, and demands that there are no more.
func mentions(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	pattern := regexp.MustCompile(args[2])
	mention := regexp.MustCompile(`(<|\\u003c)@` + person(args[0]) + `(>|\\u003e)`)
	count := func() int {
		n := 0
		for _, m := range of(ts).chat.Messages(testbed.Ops) {
			if m.ThreadTS != "" && mention.Match(m.Blocks) && pattern.MatchString(m.PlainText()) {
				n++
			}
		}
		return n
	}
	await(ts, "mention of "+args[0], func() bool { return count() >= want })
	if n := count(); n != want {
		transcript(ts, false, nil)
		ts.Fatalf("%d replies mention %s, want %d", n, args[0], want)
	}
}

// slackFault: "slackfault METHOD KIND [TIMES]" disturbs Slack: 429, 500, lose, hang or slow; "slackfault heal" ends it.
func slackFault(ts *testscript.TestScript, _ bool, args []string) {
	chat := of(ts).chat
	if args[0] == "heal" {
		chat.Heal()
		return
	}
	f, ok := map[string]slackemu.Fault{
		"429": {Status: 429, RetryAfter: 2 * time.Second}, "500": {Status: 500}, "lose": {LoseAnswer: true}, "hang": {Hang: true}, "slow": {Delay: 3 * time.Second},
	}[args[1]]
	if !ok {
		ts.Fatalf("slackfault: unknown kind %s", args[1])
	}
	if f.Method = args[0]; f.Method == "any" {
		f.Method = ""
	}
	if len(args) > 2 {
		var err error
		f.Times, err = strconv.Atoi(args[2])
		ts.Check(err)
	}
	chat.Inject(f)
}

// posts: "posts METHOD N" waits until Slack was called so often.
func posts(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	await(ts, args[0]+" "+args[1]+" times", func() bool { return of(ts).chat.Calls(args[0]) >= n })
}

// flood: "flood N" has Bob and Carol react to the question and take it back, click, and Alice type the same command, so that N deliveries
// come, each ten times and out of order. In the end Bob approves. Slack has to have been answered within a second, 99 times of 100.
func flood(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	const copies = 10
	chat := of(ts).chat
	on := question(ts).TS
	chat.Disturb(slackemu.Disturbance{Copies: copies, Shuffle: true, Seed: 1})
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	before := len(chat.Deliveries())
	var all sync.WaitGroup
	for _, who := range []string{testbed.Bob, testbed.Carol, testbed.Dave} {
		all.Go(func() {
			for i := range n / copies / 3 {
				switch i % 3 {
				case 0:
					_ = chat.React(ctx, who, testbed.Ops, on, "+1")
				case 1:
					_ = chat.Unreact(ctx, who, testbed.Ops, on, "+1")
				default:
					_ = chat.Command(ctx, who, testbed.Ops, "/upgrade cluster-1")
				}
			}
		})
	}
	all.Wait()
	_ = chat.React(ctx, testbed.Bob, testbed.Ops, on, "white_check_mark")
	await(ts, "acknowledgement of all", func() bool {
		return !slices.ContainsFunc(chat.Deliveries(), func(d slackemu.Delivery) bool { return d.Acked.IsZero() })
	})
	var took []time.Duration
	sent := 0
	for _, d := range chat.Deliveries()[before:] {
		took = append(took, d.Acked.Sub(d.Sent))
		sent += max(d.Attempts, copies)
	}
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	ts.Logf("%d deliveries of %d events; acknowledged: median %s, p99 %s, slowest %s", sent, len(took), took[len(took)/2], p99, took[len(took)-1])
	if p99 > time.Second {
		ts.Fatalf("the 99th percentile of the acknowledgements is %s", p99)
	}
	if sent < n*9/10 {
		ts.Fatalf("%d deliveries, want %d", sent, n)
	}
	chat.Disturb(slackemu.Disturbance{})
}

// get: "get CODE PATH" asks the bot's own address, until the answer has that code.
func get(ts *testscript.TestScript, _ bool, args []string) {
	var out string
	deadline := time.Now().Add(wait)
	for tick := time.NewTicker(100 * time.Millisecond); ; <-tick.C {
		got, body, err := httpGet("http://" + of(ts).addr + args[1])
		if err == nil && fmt.Sprint(got) == args[0] {
			return
		}
		out = fmt.Sprintf("%d %s %v", got, body, err)
		if time.Now().After(deadline) {
			ts.Fatalf("%s answers %s, want %s", args[1], out, args[0])
		}
	}
}

// transcript shows the channel in the test's log.
func transcript(ts *testscript.TestScript, _ bool, _ []string) {
	var b strings.Builder
	of(ts).chat.Transcript(&b, testbed.Ops)
	ts.Logf("%s", b.String())
}

// silence: "silence on" makes the open connection go dead without a word; "silence off" ends that.
func silence(ts *testscript.TestScript, _ bool, args []string) { of(ts).chat.Silence(args[0] == "on") }

// group: "group PERSON..." makes these the members of the approvers' group.
func group(ts *testscript.TestScript, _ bool, args []string) {
	ids := make([]string, len(args))
	for i, a := range args {
		ids[i] = person(a)
	}
	of(ts).chat.SetGroup(testbed.SRE, ids...)
}

var tookPattern = regexp.MustCompile(`drained, [0-9]+ pods? moved, in ([0-9a-z.]+)\.`)

// tookAtMost: "took-at-most DURATION" demands that the report says that the run took no longer.
func tookAtMost(ts *testscript.TestScript, _ bool, args []string) {
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	for _, m := range of(ts).chat.Messages(testbed.Ops) {
		if found := tookPattern.FindStringSubmatch(m.PlainText()); found != nil {
			took, err := time.ParseDuration(found[1])
			ts.Check(err)
			ts.Logf("the run took %s", took)
			if took > limit {
				ts.Fatalf("the run took %s, want %s", took, limit)
			}
			return
		}
	}
	ts.Fatalf("there is no report")
}

func httpGet(url string) (code int, body string, err error) {
	resp, err := http.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data), err
}
