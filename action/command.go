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
	"k8s.io/client-go/rest"

	"github.com/upshift-k8s/upshift/internal/gke"
	"github.com/upshift-k8s/upshift/internal/kube"
	"github.com/upshift-k8s/upshift/internal/runstore"
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
	s := &session{cfg: cfg, out: out, who: holder(getenv), start: start}
	if err := s.connect(ctx); err != nil {
		return out.fail(code(ctx, err), "cannot reach the cluster", err)
	}
	defer s.provider.Close() //nolint:errcheck // nothing is buffered
	switch cfg.command {
	case "plan":
		return s.plan(ctx)
	case "upgrade":
		return s.upgrade(ctx)
	case "resume":
		return s.resume(ctx)
	case "status":
		return s.status(ctx)
	}
	return s.ask(ctx)
}

// session is one command on one cluster.
type session struct {
	cfg   config
	out   *output
	who   upgrade.Holder
	start time.Time

	provider *gke.Provider
	// kube is how the Kubernetes API is reached, and store the records there.
	kube  *rest.Config
	store *runstore.Store
	// sequence is that of the last request that was made before this process had the lease.
	sequence int64
	// cluster is the Kubernetes cluster with full caches, nil until watch.
	cluster *kube.Cluster
}

// connect finds out how the cluster is reached, and that it is the one that is meant.
func (s *session) connect(ctx context.Context) (err error) {
	if s.provider, err = gke.Connect(ctx, s.cfg.cluster, s.cfg.containerAPI, userAgent()); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.provider.Close())
		}
	}()
	if s.kube, err = s.reach(ctx); err != nil {
		return err
	}
	s.store, err = runstore.Open(s.kube, s.cfg.namespace)
	return err
}

// reach returns how to reach the cluster's Kubernetes API, and makes sure that it is that cluster's.
func (s *session) reach(ctx context.Context) (*rest.Config, error) {
	if s.cfg.kube == nil {
		access, err := s.provider.Access(ctx, s.cfg.endpoint)
		if err != nil {
			return nil, err
		}
		return kube.ConfigForEndpoint(access.Host, access.CA, access.Tokens, userAgent()), nil
	}
	ca, err := kube.CA(s.cfg.kube)
	if err != nil {
		return nil, err
	}
	same, err := s.provider.Recognizes(ctx, s.cfg.kube.Host, ca)
	if err != nil {
		return nil, err
	}
	if !same {
		return nil, &badInput{[]string{fmt.Sprintf("kubeconfig: its current context leads to %s, which is not %s: GKE gives that cluster another address and certificate", s.cfg.kube.Host, s.cfg.cluster)}}
	}
	return s.cfg.kube, nil
}

// snapshot reads everything that a plan is made of.
func (s *session) snapshot(ctx context.Context) (snapshot upgrade.Snapshot, err error) {
	if snapshot.Cluster, err = s.provider.Cluster(ctx); err != nil {
		return snapshot, err
	}
	if err := s.watch(ctx, snapshot.Cluster.PoolLabel); err != nil {
		return snapshot, err
	}
	snapshot.State = s.cluster.State()
	snapshot.TakenAt = time.Now().UTC().Truncate(time.Second)
	return snapshot, nil
}

// watch fills the caches of the cluster.
func (s *session) watch(ctx context.Context, poolLabel string) (err error) {
	s.cluster, err = kube.Watch(ctx, s.kube, poolLabel)
	return err
}

// newPlan makes and prints the plan. Code is the exit code if there is an error.
func (s *session) newPlan(ctx context.Context) (plan upgrade.Plan, title string, exit int, err error) {
	snapshot, err := s.snapshot(ctx)
	if err != nil {
		return plan, "cannot read the cluster", code(ctx, err), err
	}
	if plan, err = upgrade.BuildPlan(snapshot, s.cfg.options); err != nil {
		return plan, "bad input", exitBadInput, err
	}
	return plan, "cannot report the plan", exitFailed, s.out.plan(plan, s.cfg, s.kube.Host)
}

// plan is the command plan. A run that is not finished goes on with its own plan, so that is the one to be looked at and approved.
func (s *session) plan(ctx context.Context) int {
	unfinished := s.unfinished(ctx)
	if unfinished != nil && s.continues(unfinished) == nil {
		s.out.unfinished(unfinished)
		if err := s.out.plan(unfinished.Plan, s.cfg, s.kube.Host); err != nil {
			return s.out.fail(exitFailed, "cannot report the plan", err)
		}
		return s.out.finish(planCode(unfinished.Plan, s.cfg.failOn))
	}
	plan, title, exit, err := s.newPlan(ctx)
	if err != nil {
		return s.out.fail(exit, title, err)
	}
	if unfinished != nil {
		s.out.line("Note     upgrade will not start this plan yet: %s", s.continues(unfinished))
	}
	return s.out.finish(planCode(plan, s.cfg.failOn))
}

// unfinished is the run of the record that is not over, nil for none. A plan needs no record: what cannot be read is told and left.
func (s *session) unfinished(ctx context.Context) *upgrade.Run {
	run, err := s.store.Current(ctx)
	if err != nil {
		s.out.line("Note     the record of runs cannot be read: %s", err)
		return nil
	}
	if run == nil || run.State.Final() {
		return nil
	}
	return run
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
