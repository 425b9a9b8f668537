// Command bench measures how fast Upshift empties the nodes of a cluster, beside the ways in which others do it and beside the shortest
// possible time, on the lab's real control plane. Each contender is a process of its own on a cluster of its own; an observer that
// knows none of them decides for all alike when it began and when it was over.
//
// It writes everything that it measured to a JSON file, after every trial, so that an interrupted benchmark can go on (-resume), and a
// report in Markdown with pictures. The working directory must be the one of the product's module.
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
	"regexp"
	"strings"
	"syscall"
	"time"

	"crypto/sha256"
	"encoding/hex"

	"github.com/upshift-k8s/upshift/internal/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if args := os.Args[1:]; len(args) > 0 && args[0] == "peer" {
		err = runPeer(ctx, args[1:])
	} else {
		err = bench(ctx, args, os.Stdout)
	}
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, args []string, out io.Writer) error {
	began := time.Now()
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	upshift := flags.String("upshift", "bin/upshift", "the Action's binary")
	dir := flags.String("out", "bench-out", "where results, logs and the report go")
	docs := flags.String("docs", "", "a directory that gets the report too, as benchmark.md, .json and .svg, once the whole suite was carried out")
	isFull := flags.Bool("full", false, "all workloads, five repetitions, one contender at a time: it takes a day")
	isQuick := flags.Bool("quick", false, "a few pods, once, to see that it works")
	resume := flags.Bool("resume", false, "go on with what was measured by the same suite of this commit on this machine")
	only := flags.String("only", "", "a regular expression of WORKLOAD/CONTENDER: measure nothing else")
	repetitions := flags.Int("repetitions", 0, "how often; 0: as often as the suite says")
	limit := flags.Duration("limit", 0, "end after this long, and leave out what there is no time for; 0: never")
	stock := flags.Bool("stock-controllers", false, "leave the controllers and the scheduler their client-side limits of 20 and 50 requests a second")
	if err := flags.Parse(args); err != nil {
		return err
	}
	what := standard()
	switch {
	case *isFull:
		what = full()
	case *isQuick:
		what = quick()
	}
	if *repetitions > 0 {
		what.repetitions = *repetitions
	}
	pattern, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("read -only: %w", err)
	}
	if what = what.only(pattern); len(what.slots) == 0 {
		return fmt.Errorf("nothing matches -only %s", *only)
	}
	env := environment{stock: *stock, quick: *isQuick, progress: out}
	if env.upshift, err = filepath.Abs(*upshift); err != nil {
		return err
	}
	if _, err := os.Stat(env.upshift); err != nil {
		return fmt.Errorf("the Action's binary is not built: %w", err)
	}
	if env.out, err = filepath.Abs(*dir); err != nil {
		return err
	}
	if _, err := lab.Binary(ctx, out); err != nil {
		return err
	}
	commit, err := commitHere(ctx)
	if err != nil {
		return err
	}
	s, err := openStore(env.out, what.name, commit, thisMachine(), *stock, !*resume)
	if err != nil {
		return err
	}
	b := benchmark{env: env, store: s}
	if *limit > 0 {
		b.deadline = began.Add(*limit)
	}
	dirs, err := b.report(*docs, *only, b.run(ctx, what))
	if err == nil {
		b.say("done after %s; the report is in %s", time.Since(began).Round(time.Second), strings.Join(dirs, " and "))
	}
	return err
}

// report writes the report where results go, and into docs too, if there is such a directory and the whole suite was carried out, not only a part
// of it and without a failure: what is published must not be replaced by less. It says where it is; its error has the failure too.
func (b benchmark) report(docs, only string, failure error) ([]string, error) {
	if len(b.store.run.Results) == 0 {
		return nil, failure
	}
	dirs := []string{b.env.out}
	switch {
	case docs == "":
	case only == "" && failure == nil:
		dirs = append(dirs, docs)
	default:
		b.say("not the whole suite was carried out, so the report in %s is left as it was", docs)
	}
	errs := []error{failure}
	for _, d := range dirs {
		errs = append(errs, writeReport(d, b.store.run))
	}
	return dirs, errors.Join(errs...)
}

// commitHere names what is measured: the commit, and of changes that are not committed a digest.
func commitHere(ctx context.Context) (string, error) {
	git := func(args ...string) ([]byte, error) {
		out, err := exec.CommandContext(ctx, "git", args...).Output()
		if err != nil {
			return nil, fmt.Errorf("git %s: %w", args[0], err)
		}
		return out, nil
	}
	head, err := git("rev-parse", "--short=12", "HEAD")
	if err != nil {
		return "", err
	}
	// What the benchmark itself writes is no change.
	diff, err := git("diff", "HEAD", "--", ".", ":!docs/benchmark.*")
	if err != nil {
		return "", err
	}
	commit := strings.TrimSpace(string(head))
	if len(diff) > 0 {
		sum := sha256.Sum256(diff)
		commit += "-changed-" + hex.EncodeToString(sum[:])[:6]
	}
	return commit, nil
}
