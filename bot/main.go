// Command upshift-bot is the Slack bot: it takes /upgrade, asks people for approval, carries out runs, and shows them in the channel.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// version is the program's own, set when a release is built.
var version = "dev"

// Exit codes: 2 is a configuration that cannot be used, 1 anything else that ends the bot.
const (
	exitFailed    = 1
	exitBadConfig = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program; it returns the exit code.
func run(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) int {
	flags := flag.NewFlagSet("upshift-bot", flag.ContinueOnError)
	flags.SetOutput(stderr)
	path := flags.String("config", getenv("UPSHIFT_CONFIG"), "the configuration, a YAML file; default: $UPSHIFT_CONFIG")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return exitBadConfig
	}
	c, err := readConfig(*path, getenv)
	if err != nil {
		for l := range strings.Lines(err.Error()) {
			fmt.Fprintf(stderr, "upshift-bot: bad configuration: %s\n", strings.TrimSpace(l))
		}
		return exitBadConfig
	}
	log := slog.New(slog.NewJSONHandler(stderr, nil))
	if err := serve(ctx, c, log); err != nil {
		log.Error("the bot ends", "error", err)
		return exitFailed
	}
	return 0
}
