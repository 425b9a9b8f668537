package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/upshift-k8s/upshift/internal/engine"
	"github.com/upshift-k8s/upshift/internal/gke"
	"github.com/upshift-k8s/upshift/internal/kube"
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
	out := newOutput(stdout, environment(environ))
	cfg, err := parse(args, environ)
	if errors.Is(err, errHelp) {
		usage(stdout)
		return exitDone
	}
	if err != nil {
		return out.fail(exitBadInput, "bad input", err)
	}
	s, err := connect(ctx, cfg)
	if err != nil {
		return out.fail(code(ctx, err), "cannot read the cluster", err)
	}
	defer s.provider.Close() //nolint:errcheck // nothing is buffered
	plan, err := upgrade.BuildPlan(s.snapshot, cfg.options)
	if err != nil {
		return out.fail(exitBadInput, "bad input", err)
	}
	if err := out.plan(plan, cfg, s.cluster.Host()); err != nil {
		return out.fail(exitFailed, "cannot report the plan", err)
	}
	if cfg.command == "plan" {
		return out.finish(planCode(plan, cfg.failOn))
	}
	return out.finish(s.upgrade(ctx, cfg, plan, out))
}

// session is a connection to one cluster.
type session struct {
	provider *gke.Provider
	cluster  *kube.Cluster
	snapshot upgrade.Snapshot
}

// connect reads everything that a plan is made of.
func connect(ctx context.Context, cfg config) (_ session, err error) {
	provider, err := gke.Connect(ctx, cfg.cluster, cfg.containerAPI, userAgent())
	if err != nil {
		return session{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, provider.Close())
		}
	}()
	s := session{provider: provider}
	if s.snapshot.Cluster, err = provider.Cluster(ctx); err != nil {
		return s, err
	}
	if s.cluster, err = watch(ctx, cfg, provider, s.snapshot.Cluster.PoolLabel); err != nil {
		return s, err
	}
	s.snapshot.State = s.cluster.State()
	s.snapshot.TakenAt = time.Now().UTC().Truncate(time.Second)
	return s, nil
}

// watch connects to the cluster's Kubernetes API, and makes sure that it is that cluster's.
func watch(ctx context.Context, cfg config, provider *gke.Provider, poolLabel string) (*kube.Cluster, error) {
	if cfg.kube != nil {
		ca, err := kube.CA(cfg.kube)
		if err != nil {
			return nil, err
		}
		same, err := provider.Recognizes(ctx, cfg.kube.Host, ca)
		if err != nil {
			return nil, err
		}
		if !same {
			return nil, &badInput{[]string{fmt.Sprintf("kubeconfig: its current context leads to %s, which is not %s: GKE gives that cluster another address and certificate", cfg.kube.Host, cfg.cluster)}}
		}
		return kube.Watch(ctx, cfg.kube, poolLabel)
	}
	access, err := provider.Access(ctx, cfg.endpoint)
	if err != nil {
		return nil, err
	}
	return kube.Watch(ctx, kube.ConfigForEndpoint(access.Host, access.CA, access.Tokens, userAgent()), poolLabel)
}

// code tells a wrong input that only the API could find out, and an interruption, from other failures.
func code(ctx context.Context, err error) int {
	var bad *badInput
	switch {
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.As(err, &bad):
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
	case p.Count(upgrade.Blocker) > 0, failOn == "warning" && p.Count(upgrade.Warning) > 0:
		return exitBlocked
	}
	return exitDone
}

// upgrade carries out the plan, unless something forbids it, and returns the exit code.
func (s session) upgrade(ctx context.Context, cfg config, plan upgrade.Plan, out *output) int {
	if cfg.approvedDigest != "" && cfg.approvedDigest != plan.Digest {
		return out.fail(exitBlocked, "not approved", fmt.Errorf(
			"the approved plan is %s, and the cluster or the inputs have changed since: the plan is now %s; look at it and approve it", cfg.approvedDigest, plan.Digest))
	}
	if plan.Verdict == upgrade.Blocked {
		return out.fail(exitBlocked, "blocked", errors.New(blockers(plan)))
	}
	if missing := plan.MissingConsents(cfg.granted); len(missing) > 0 {
		return out.fail(exitBlocked, "consent is missing", errors.New(missingConsents(plan, missing)))
	}
	now := time.Now().UTC()
	run := upgrade.NewRun(upgrade.NewRunID(now), plan, now)
	if plan.NothingToDo() {
		return out.nothingToDo(plan, run)
	}
	out.startRun(plan, run)
	e := engine.Engine{
		Provider: s.provider, Cluster: s.cluster, Plan: plan, Granted: cfg.granted,
		Save:   func(run *upgrade.Run) error { return writeReport(cfg.reportDir, "run.json", run) },
		Notify: out.event,
	}
	err := e.Run(ctx, run)
	return out.endRun(plan, run, err)
}

// blockers names what blocks the plan, a line each.
func blockers(p upgrade.Plan) string {
	var lines []string
	for _, f := range p.Findings {
		if f.Severity == upgrade.Blocker {
			lines = append(lines, fmt.Sprintf("%s %s", f.Object, f.Problem))
		}
	}
	return strings.Join(lines, "\n")
}

// missingConsents says which consents are missing and what each would allow, a line each.
func missingConsents(p upgrade.Plan, missing []upgrade.Consent) string {
	var lines []string
	for _, c := range missing {
		for _, f := range p.Findings {
			if f.Consent == c {
				lines = append(lines, fmt.Sprintf("%s %s; allow it with %s: true", f.Object, f.Problem, c))
			}
		}
	}
	return strings.Join(lines, "\n")
}

// reportPath is where a report file goes, or "".
func reportPath(dir, name string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, name)
}
