// Command demo shows a whole upgrade on this machine: it boots the lab with a regional cluster, puts workloads on it, and runs the
// Action's binary as GitHub's runner would, first plan, then upgrade, under the eyes of the observer.
package main

import (
	"context"
	"encoding/json"
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
	"github.com/upshift-k8s/upshift/internal/lab/testbed"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	binary := flags.String("upshift", "bin/upshift", "the Action's binary")
	dir := flags.String("out", "demo-out", "where everything that it writes goes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	start := time.Now()
	r, err := newRunner(*binary, *dir, out)
	if err != nil {
		return err
	}
	say(out, "Booting a control plane: etcd, kube-apiserver, controllers, scheduler")
	bed, err := testbed.Start(ctx, testbed.Options{Progress: out})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bed.Close()) }()
	say(out, "Deploying workloads to %s: 2 Deployments with PDBs, a StatefulSet, a DaemonSet, a single replica, a Job", testbed.Name)
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
	for _, command := range []string{"plan", "upgrade", "status"} {
		say(out, "upshift %s, as GitHub's runner runs it", command)
		if err := r.step(ctx, bed, command); err != nil {
			return err
		}
	}
	report := watching.Stop()
	say(out, "What the observer saw, which is no part of Upshift")
	if err := report.WriteText(out); err != nil {
		return err
	}
	if err := r.save("observer.json", report); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nThe single replica (Deployment default/report above) was restarted first: its replacement was Ready before it ended.\n")
	fmt.Fprintf(out, "The demo took %s. What it wrote is in %s.\n", time.Since(start).Round(time.Second), r.dir)
	away := 0.0
	for _, w := range report.Workloads {
		away += w.ZeroReadySeconds
	}
	if killed := bed.GKE.PodsKilled(); len(report.Violations)+len(killed)+len(report.Gaps) > 0 || away > 0 {
		return fmt.Errorf("%d PDB violations, %d pods killed with their node, %d gaps in what was observed, workloads without a Ready pod for %.1f s", len(report.Violations), len(killed), len(report.Gaps), away)
	}
	return nil
}

func say(out io.Writer, format string, args ...any) {
	fmt.Fprintf(out, "\n==> "+format+"\n\n", args...)
}

// runner runs the binary in the environment that GitHub's runner gives to an action's container.
type runner struct {
	binary, dir string
	out         io.Writer
}

func newRunner(binary, dir string, out io.Writer) (runner, error) {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return runner{}, err
	}
	if _, err := os.Stat(binary); err != nil {
		return runner{}, fmt.Errorf("the Action's binary is not built: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return runner{}, err
	}
	// What an earlier demo wrote would be taken for this one's.
	for _, old := range []string{"plan", "upgrade", "status", "observer.json"} {
		if err := os.RemoveAll(filepath.Join(dir, old)); err != nil {
			return runner{}, err
		}
	}
	return runner{binary: binary, dir: dir, out: out}, nil
}

// step runs one step of a job. Its log, outputs, summary and report end up in a directory named after the command.
func (r runner) step(ctx context.Context, bed *testbed.Testbed, command string) error {
	dir := filepath.Join(r.dir, command)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, file := range []string{"output.txt", "summary.md", "state.txt"} {
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o644); err != nil {
			return err
		}
	}
	log, err := os.Create(filepath.Join(dir, "log.txt"))
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // written line by line; the copy on the terminal is the one that counts
	cmd := exec.CommandContext(ctx, r.binary)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(bed.Env(),
		"PATH="+os.Getenv("PATH"), "HOME="+dir,
		"INPUT_COMMAND="+command, "INPUT_PROVIDER=gke", "INPUT_CLUSTER="+testbed.Name,
		"INPUT_PROJECT="+testbed.Project, "INPUT_LOCATION="+testbed.Location,
		"INPUT_TARGET-VERSION=control-plane", "INPUT_NODE-POOLS=", "INPUT_STRATEGY=auto", "INPUT_DRAIN-TIMEOUT=auto",
		"INPUT_SOAK=2s", "INPUT_ON-FAILURE=pause", "INPUT_NAMESPACE="+testbed.Namespace, "INPUT_REPORT-DIR="+dir,
		"GITHUB_ACTIONS=true", "GITHUB_OUTPUT="+filepath.Join(dir, "output.txt"), "GITHUB_STEP_SUMMARY="+filepath.Join(dir, "summary.md"), "GITHUB_STATE="+filepath.Join(dir, "state.txt"),
		"GITHUB_WORKFLOW=upgrade", "GITHUB_ACTOR=alice", "GITHUB_JOB="+command, "GITHUB_RUN_ID=1", "GITHUB_RUN_ATTEMPT=1", "GITHUB_EVENT_NAME=workflow_dispatch",
		"GITHUB_REPOSITORY=example/platform", "GITHUB_SERVER_URL=https://github.com", "GITHUB_WORKSPACE="+dir, "CI=true",
	)
	cmd.Stdout, cmd.Stderr = io.MultiWriter(r.out, log), io.MultiWriter(r.out, log)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("upshift %s: %w", command, err)
	}
	outputs, err := os.ReadFile(filepath.Join(dir, "output.txt"))
	if err != nil {
		return err
	}
	fmt.Fprintf(r.out, "\nOutputs of the step:\n%s", outputLines(string(outputs)))
	return nil
}

// outputLines turns the runner's "name<<DELIMITER" blocks into lines.
func outputLines(file string) string {
	var b strings.Builder
	lines := strings.Split(file, "\n")
	for i := 0; i+1 < len(lines); i++ {
		if name, _, ok := strings.Cut(lines[i], "<<"); ok {
			fmt.Fprintf(&b, "  %s=%s\n", name, lines[i+1])
			i += 2
		}
	}
	return b.String()
}

func (r runner) save(name string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.dir, name), append(data, '\n'), 0o644)
}
