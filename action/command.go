package main

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/upshift-k8s/upshift/internal/report"
	"github.com/upshift-k8s/upshift/internal/session"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// Exit codes, as documented in action.yml and the README.
const (
	exitDone        = 0
	exitFailed      = 1
	exitBadInput    = 2
	exitBlocked     = 3
	exitPaused      = 4
	exitInterrupted = 130
)

// version is the program's own, set when a release is built.
var version = "dev"

func userAgent() string { return "upshift/" + version }

// run is the program: it reads inputs, carries out one command, and returns the exit code.
func run(ctx context.Context, args, environ []string, stdout io.Writer) int {
	start := time.Now()
	getenv := environment(environ)
	out := newOutput(stdout, getenv)
	cfg, err := parse(args, environ)
	if errors.Is(err, errHelp) {
		usage(stdout)
		return exitDone
	}
	if err != nil {
		return out.fail(exitBadInput, "bad input", err)
	}
	c := &command{cfg: cfg, out: out, who: holder(getenv), start: start}
	if err := c.connect(ctx); err != nil {
		return out.fail(code(ctx, err), "cannot reach the cluster", err)
	}
	defer c.cluster.Close() //nolint:errcheck // nothing is buffered
	switch cfg.command {
	case "plan":
		return c.plan(ctx)
	case "upgrade":
		return c.upgrade(ctx)
	case "resume":
		return c.resume(ctx)
	case "status":
		return c.status(ctx)
	}
	return c.ask(ctx)
}

// command is one command on one cluster.
type command struct {
	cfg   config
	out   *output
	who   upgrade.Holder
	start time.Time

	cluster *session.Session
}

// connect finds out how the cluster is reached, and that it is the one that is meant. It waits while GKE has the Kubernetes API away.
func (c *command) connect(ctx context.Context) (err error) {
	c.cluster, err = session.Connect(ctx, session.Target{
		Provider: c.cfg.provider, PoolLabel: c.cfg.poolLabel, Name: c.cfg.cluster, Kube: c.cfg.kube, Endpoint: c.cfg.endpoint, APIs: c.cfg.apis,
		Namespace: c.cfg.namespace, UserAgent: userAgent(),
	})
	if err != nil {
		return err
	}
	_, err = c.cluster.AwaitAPI(ctx, func(text string) { c.out.line("%s", text) })
	return err
}

// planner makes plans: a session, or the work on its cluster.
type planner interface {
	Plan(ctx context.Context, o upgrade.Options) (upgrade.Plan, error)
}

// newPlan makes and prints the plan. Code is the exit code if there is an error.
func (c *command) newPlan(ctx context.Context, p planner) (plan upgrade.Plan, title string, exit int, err error) {
	plan, err = p.Plan(ctx, c.cfg.options)
	switch {
	case errors.As(err, new(*session.BadRequest)):
		return plan, "bad input", exitBadInput, err
	case err != nil:
		return plan, "cannot read the cluster", code(ctx, err), err
	}
	err = c.out.plan(plan, c.cfg, c.cluster.Host())
	if takes := plan.Estimate(); c.cfg.timeLimit > 0 && takes > c.cfg.timeLimit {
		c.out.line("Note     the plan takes %s if all goes well, and the time limit is %s: upgrade stops before it, and goes on with the next call", report.About(takes), c.cfg.timeLimit)
	}
	return plan, "cannot report the plan", exitFailed, err
}

// plan is the command plan. A run that is not finished goes on with its own plan, so that is the one to be looked at and approved.
func (c *command) plan(ctx context.Context) int {
	unfinished := c.unfinished(ctx)
	if unfinished != nil && c.continues(unfinished) == nil {
		c.out.unfinished(unfinished)
		if err := c.out.plan(unfinished.Plan, c.cfg, c.cluster.Host()); err != nil {
			return c.out.fail(exitFailed, "cannot report the plan", err)
		}
		return c.out.finish(planCode(unfinished.Plan, c.cfg.failOn))
	}
	plan, title, exit, err := c.newPlan(ctx, c.cluster)
	if err != nil {
		return c.out.fail(exit, title, err)
	}
	if unfinished != nil {
		c.out.line("Note     upgrade will not start this plan yet: %s", c.continues(unfinished))
	}
	return c.out.finish(planCode(plan, c.cfg.failOn))
}

// unfinished is the run of the record that is not over, nil for none. A plan needs no record: what cannot be read is told and left.
func (c *command) unfinished(ctx context.Context) *upgrade.Run {
	run, err := c.cluster.Store().Current(ctx)
	if err != nil {
		c.out.line("Note     the record of runs cannot be read: %s", err)
		return nil
	}
	if run == nil || run.State.Final() {
		return nil
	}
	return run
}

// code tells a wrong input that only the API could find out, and an interruption, from other failures.
func code(ctx context.Context, err error) int {
	switch {
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.As(err, new(*badInput)), errors.As(err, new(*session.WrongCluster)):
		return exitBadInput
	case status.Code(err) == codes.NotFound, status.Code(err) == codes.InvalidArgument:
		return exitBadInput
	}
	return exitFailed
}

// planCode is the exit code of the command plan.
func planCode(p upgrade.Plan, failOn string) int {
	switch {
	case failOn == "never":
		return exitDone
	case slices.ContainsFunc(p.Findings, upgrade.Finding.Stops), failOn == "warning" && slices.ContainsFunc(p.Findings, upgrade.Finding.Warns):
		return exitBlocked
	}
	return exitDone
}

// reportPath is where a report file goes, or "".
func reportPath(dir, name string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, name)
}
