package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/testbed"
)

// policy is by which rules a contender may empty nodes. Only contenders of one policy are compared.
type policy string

const (
	strict   policy = "strict"   // one node at a time, the replacements Ready before the next
	parallel policy = "parallel" // all nodes at once
	surged   policy = "surged"   // replacements before evictions
	unwaited policy = "unwaited" // one node at a time, without waiting for the replacements
)

// A contender empties the old nodes.
type contender struct {
	name, title string
	policy      policy
	// flags are those of upshift upgrade; nil for somebody else.
	flags []string
	peer  *peer
	// program is a peer's own, beside this one: it takes a kubeconfig and a selector of nodes.
	program string
}

// ours reports whether the contender is Upshift.
func (c contender) ours() bool { return c.flags != nil }

// The contenders' names.
const (
	upshiftStrict   = "upshift"
	upshiftParallel = "upshift-parallel"
	upshiftSurged   = "upshift-surged"
	kubectlLoop     = "kubectl-loop"
	kubectlUnwaited = "kubectl-loop-no-wait"
	kubectlAtOnce   = "kubectl-at-once"
	karpenter       = "karpenter"
	eksctl          = "eksctl-port"
)

func contenders() []contender {
	return []contender{
		{name: upshiftStrict, title: "Upshift, as it comes", policy: strict, flags: []string{}},
		{name: kubectlLoop, title: "GKE guide's loop: `kubectl drain` of a node, wait until the new pods run, next", policy: strict, peer: &peer{awaits: true}},
		{name: upshiftParallel, title: "Upshift, `max-parallel-drains: auto`", policy: parallel, flags: []string{"--max-parallel-drains", "auto"}},
		{name: kubectlAtOnce, title: "`kubectl drain` of all nodes at once, unlimited QPS", policy: parallel, peer: &peer{qps: -1, atOnce: true}},
		{name: karpenter, title: "Karpenter's terminator on all nodes at once", policy: parallel, program: "bench-karpenter"},
		{name: upshiftSurged, title: "Upshift, `surge-first: deployments`, the rest in parallel", policy: surged, flags: []string{"--surge-first", "deployments", "--max-parallel-drains", "auto"}},
		{name: kubectlUnwaited, title: "The same loop without its wait", policy: unwaited, peer: &peer{}},
		{name: eksctl, title: "eksctl's loop (a port), which does not wait either", policy: unwaited, peer: &peer{qps: 25, eksctl: true}},
	}
}

// user is whose requests are the contender's.
func (c contender) user() string {
	if c.ours() {
		return lab.Upshift
	}
	return lab.Kubectl
}

// command is the contender's process for a testbed. What it writes goes into dir.
func (c contender) command(bed *testbed.Testbed, upshift, dir string) (*exec.Cmd, error) {
	if !c.ours() {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		if c.program != "" {
			return exec.Command(filepath.Join(filepath.Dir(self), c.program), bed.Kubeconfig(), oldNodes().String()), nil
		}
		return exec.Command(self, "peer", c.name, bed.Kubeconfig(), oldNodes().String()), nil
	}
	args := append([]string{
		"upgrade", "--cluster", testbed.Name, "--project", testbed.Project, "--location", testbed.Location,
		"--target-version", "control-plane", "--soak", "0", "--delete-old-pools", "never",
		"--allow-bare-pods", "--jobs", "evict", "--report-dir", dir,
	}, c.flags...)
	cmd := exec.Command(upshift, args...)
	cmd.Env = append(bed.Env(), "PATH="+os.Getenv("PATH"), "HOME="+dir)
	return cmd, nil
}

// usage is what a process took.
type usage struct {
	peakRSS int64 // bytes; 0 where the system does not tell
	cpu     time.Duration
}

// sampleInterval is how often a process's peak memory is read. The last reading before its end is at most this old.
const sampleInterval = 100 * time.Millisecond

// execute runs a process to its end, its output into the file log. With ctx it is interrupted, and killed 10 s later.
// An error ends with the last lines that the process wrote.
func execute(ctx context.Context, cmd *exec.Cmd, log string) (usage, error) {
	file, err := os.Create(log)
	if err != nil {
		return usage{}, err
	}
	defer file.Close() //nolint:errcheck // a log that is incomplete is one all the same
	cmd.Stdout, cmd.Stderr = file, file
	if err := cmd.Start(); err != nil {
		return usage{}, err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()

	var u usage
	ticker := time.NewTicker(sampleInterval)
	defer ticker.Stop()
	done := ctx.Done()
	var kill <-chan time.Time
	for {
		select {
		case err := <-exited:
			u.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			switch {
			case ctx.Err() != nil:
				return u, context.Cause(ctx)
			case err != nil:
				return u, fmt.Errorf("%s: %w; its last words:\n%s", filepath.Base(cmd.Path), err, tail(log, 15))
			}
			return u, nil
		case <-ticker.C:
			u.peakRSS = max(u.peakRSS, peakRSS(cmd.Process.Pid))
		case <-done:
			done = nil
			_ = cmd.Process.Signal(syscall.SIGINT) // it may have ended just now
			kill = time.After(10 * time.Second)
		case <-kill:
			_ = cmd.Process.Kill()
		}
	}
}

// peakRSS reads a process's high-water mark. Its rusage would not do: a child's begins with the resident size of its parent.
func peakRSS(pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	lines := bufio.NewScanner(bytes.NewReader(status))
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0
			}
			return kib << 10
		}
	}
	return 0
}

func tail(path string, n int) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

var errTooLong = errors.New("it took too long")
