// Command demoslack shows a whole conversation with the Slack bot on this machine: it boots the lab with a regional cluster and a Slack
// of its own, runs the bot's binary between them, and has two people upgrade the cluster. It prints the channel as they see it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/observer"
	"github.com/upshift-k8s/upshift/internal/lab/slackemu"
	"github.com/upshift-k8s/upshift/internal/lab/testbed"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "demo-slack:", err)
		os.Exit(1)
	}
}

// patience is how long the conversation waits for the bot's next words.
const patience = 2 * time.Minute

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("demoslack", flag.ContinueOnError)
	binary := flags.String("bot", "bin/upshift-bot", "the bot's binary")
	dir := flags.String("out", "demo-out/slack", "where everything that it writes goes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	start := time.Now()
	say(out, "Booting a control plane, and a Slack with Alice, Bob and a channel #ops")
	bed, err := testbed.Start(ctx, testbed.Options{Progress: out})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bed.Close()) }()
	workspace := testbed.Workspace()
	workspace.RateLimits = true
	chat, err := slackemu.Start(ctx, workspace)
	if err != nil {
		return err
	}
	defer chat.Close()
	if err := bed.Deploy(ctx, testbed.Workloads); err != nil {
		return err
	}
	witness, err := kubernetes.NewForConfig(bed.Lab.DirectConfig(lab.Observer))
	if err != nil {
		return err
	}
	watching, err := observer.Start(ctx, witness)
	if err != nil {
		return err
	}
	stop, err := startBot(ctx, *binary, *dir, bed, chat)
	if err != nil {
		return err
	}
	talked := talk(ctx, chat, out)
	if err := errors.Join(talked, stop()); err != nil {
		return err
	}
	report := watching.Stop()
	say(out, "What the observer saw, which is no part of Upshift")
	if err := report.WriteText(out); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nThe demo took %s. The bot's log is in %s.\n", time.Since(start).Round(time.Second), filepath.Join(*dir, "bot.log"))
	if unknown, killed := chat.Unknown(), bed.GKE.PodsKilled(); len(report.Violations)+len(killed)+len(report.Gaps)+len(unknown) > 0 {
		return fmt.Errorf("%d PDB violations, %d pods killed with their node, %d gaps in what was observed, calls that Slack does not take: %s",
			len(report.Violations), len(killed), len(report.Gaps), strings.Join(unknown, "; "))
	}
	return nil
}

func say(out io.Writer, text string) { fmt.Fprintf(out, "\n==> %s\n\n", text) }

// startBot runs the bot's binary with a configuration for the testbed. What it returns ends the bot and waits for it.
func startBot(ctx context.Context, binary, dir string, bed *testbed.Testbed, chat *slackemu.Server) (func() error, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "upshift-bot.yaml")
	if err := os.WriteFile(path, []byte(testbed.BotConfig("defaults: {target-version: control-plane, soak: 3s}")), 0o644); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "bot.log"))
	if err != nil {
		return nil, err
	}
	binary, err = filepath.Abs(binary)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, binary, "--config", path)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 15 * time.Second
	cmd.Env = append(append(bed.Env(), chat.Env()...), "PATH="+os.Getenv("PATH"), "HOME="+dir)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the bot: %w", errors.Join(err, log.Close()))
	}
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := chat.Await(waiting, func() bool { return chat.Connections() > 0 }); err != nil {
		return nil, fmt.Errorf("the bot does not connect to Slack: %w", errors.Join(err, cmd.Process.Kill(), cmd.Wait(), log.Close()))
	}
	return func() error {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			return fmt.Errorf("stop the bot: %w", err)
		}
		return errors.Join(cmd.Wait(), log.Close())
	}, nil
}

// talk is the conversation.
func talk(ctx context.Context, chat *slackemu.Server, out io.Writer) error {
	say(out, "Alice types: /upgrade cluster-1")
	if err := chat.Command(ctx, testbed.Alice, testbed.Ops, "/upgrade "+testbed.Name); err != nil {
		return err
	}
	plan, err := await(ctx, chat, "a plan to approve", func(m slackemu.Message) bool { return m.ThreadTS == "" && button(m, "approve") })
	if err != nil {
		return err
	}
	chat.Transcript(out, testbed.Ops)

	say(out, "Alice reacts with ✅ to her own plan, which does not count, and Bob, an approver, with 👍")
	if err := chat.React(ctx, testbed.Alice, testbed.Ops, plan.TS, "white_check_mark"); err != nil {
		return err
	}
	if _, err := await(ctx, chat, "a word to Alice", func(m slackemu.Message) bool {
		return m.Ephemeral == testbed.Alice && strings.Contains(m.PlainText(), "somebody else has to approve")
	}); err != nil {
		return err
	}
	if err := chat.React(ctx, testbed.Bob, testbed.Ops, plan.TS, "+1::skin-tone-4"); err != nil {
		return err
	}
	if _, err := await(ctx, chat, "the run", func(m slackemu.Message) bool { return m.TS == plan.TS && button(m, "pause") }); err != nil {
		return err
	}
	if _, err := await(ctx, chat, "a drained node", func(m slackemu.Message) bool {
		return m.ThreadTS == plan.TS && strings.Contains(m.PlainText(), "drained in")
	}); err != nil {
		return err
	}
	say(out, "The channel in the middle of the run")
	chat.Transcript(out, testbed.Ops)
	if _, err := await(ctx, chat, "the report", func(m slackemu.Message) bool {
		return m.ThreadTS == plan.TS && strings.Contains(m.PlainText(), "is replaced by")
	}); err != nil {
		return err
	}
	if _, err := await(ctx, chat, "the end of the run", func(m slackemu.Message) bool {
		return m.TS == plan.TS && strings.Contains(m.PlainText(), "Upgraded "+testbed.Name) && len(m.Buttons()) == 0
	}); err != nil {
		return err
	}
	say(out, "The channel at the end")
	chat.Transcript(out, testbed.Ops)
	return nil
}

func button(m slackemu.Message, action string) bool {
	for _, b := range m.Buttons() {
		if b.ActionID == action {
			return true
		}
	}
	return false
}

// await waits for a message.
func await(ctx context.Context, chat *slackemu.Server, what string, is func(slackemu.Message) bool) (slackemu.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var found slackemu.Message
	err := chat.Await(ctx, func() bool {
		for _, m := range chat.Messages(testbed.Ops) {
			if is(m) {
				found = m
				return true
			}
		}
		return false
	})
	if err != nil {
		return found, fmt.Errorf("wait for %s: %w", what, err)
	}
	return found, nil
}
