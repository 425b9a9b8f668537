package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/scenario"
	"github.com/upshift-k8s/upshift/internal/lab/testbed"
)

// TestScenarios drives the built binary against a real control plane, each scenario a cluster of its own.
func TestScenarios(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the lab")
	}
	bin := build(t)
	if _, err := lab.Binary(t.Context(), t.Output()); err != nil {
		t.Fatal(err) // once and here, rather than in each scenario
	}
	testscript.Run(t, testscript.Params{Dir: "testdata/lab", Setup: setup(bin), Cmds: commands()})
}

// TestInputs drives the built binary against the GKE emulator alone: no input gets as far as a cluster.
func TestInputs(t *testing.T) {
	bin := build(t)
	testscript.Run(t, testscript.Params{Dir: "testdata/input", Setup: setup(bin), Cmds: commands()})
}

// build returns a directory with the binary in it.
func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	scenario.Build(t, dir, "upshift", ".")
	return dir
}

func setup(bin string) func(*testscript.Env) error {
	return func(env *testscript.Env) error {
		if err := os.Symlink(filepath.Join(bin, "upshift"), filepath.Join(env.WorkDir, "upshift-post")); err != nil {
			return err
		}
		scenario.Setup(env, bin)
		for _, name := range []string{"GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_STATE"} {
			path := filepath.Join(env.WorkDir, name)
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				return err
			}
			env.Setenv(name, path)
		}
		return nil
	}
}

func commands() map[string]func(*testscript.TestScript, bool, []string) {
	all := scenario.Commands()
	maps.Copy(all, map[string]func(*testscript.TestScript, bool, []string){
		"digest": digest, "cancel-jobs": cancelJobs, "asked": asked, "waiting-pod": waitingPod, "cleans-up": cleansUp, "progress-after-outage": progressAfterOutage,
	})
	return all
}

// digest: "digest FILE" puts a plan's digest into $DIGEST.
func digest(ts *testscript.TestScript, _ bool, args []string) {
	var plan struct{ Digest string }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &plan))
	ts.Setenv("DIGEST", plan.Digest)
}

// cancelJobs: "cancel-jobs N" has N jobs, one after the other, run upgrade until a node is being drained, and cancels each as
// GitHub's runner does: SIGINT, 7.5 s, SIGTERM. Each has to end in 5 s, with its checkpoint written and the lease released.
func cancelJobs(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	bed := scenario.Of(ts).Bed
	slowest := time.Duration(0)
	for i := range n {
		cmd := exec.Command(ts.MkAbs("upshift-post"), "upgrade")
		cmd.Args[0] = "upshift"
		for _, name := range scenarioEnvironment {
			cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
		}
		var log bytes.Buffer
		cmd.Stdout = &log
		ts.Check(cmd.Start())
		ts.Check(scenario.AwaitRecord(bed, regexp.MustCompile(fmt.Sprintf(`"state":"running".*"epoch":%d,.*"kind":"drain-node"[^}]*"state":"running"`, i+1))))
		begun := time.Now()
		ts.Check(cmd.Process.Signal(os.Interrupt))
		term := time.AfterFunc(7500*time.Millisecond, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
		_ = cmd.Wait() // its exit code is looked at
		term.Stop()
		took := time.Since(begun)
		slowest = max(slowest, took)
		lease, err := bed.Kube.CoordinationV1().Leases(testbed.Namespace).Get(context.Background(), "upshift", metav1.GetOptions{})
		ts.Check(err)
		if code := cmd.ProcessState.ExitCode(); code != 130 || took > 5*time.Second || *lease.Spec.HolderIdentity != "" {
			ts.Fatalf("job %d: exit code %d after %s, lease held by %q\n%s", i+1, code, took, *lease.Spec.HolderIdentity, log.String())
		}
		ts.Check(scenario.AwaitRecord(bed, regexp.MustCompile(`^\{[^{]*"state":"interrupted"`)))
	}
	ts.Logf("%d jobs cancelled, the slowest ended after %s", n, slowest)
}

// scenarioEnvironment are the variables that a program of a scenario needs.
var scenarioEnvironment = []string{
	"HOME", "INPUT_PROJECT", "INPUT_LOCATION", "INPUT_CLUSTER", "INPUT_TARGET-VERSION", "INPUT_SOAK", "INPUT_SURGE-FIRST",
	"CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER", "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER", "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE",
	"GOOGLE_APPLICATION_CREDENTIALS",
}

// asked: "asked CODE DURATION ARGS..." runs upshift, demands an exit code, and that it took at most so long.
func asked(ts *testscript.TestScript, neg bool, args []string) {
	limit, err := time.ParseDuration(args[1])
	ts.Check(err)
	begun := time.Now()
	scenario.RunUpshift(ts, neg, append(args[:1:1], args[2:]...))
	if took := time.Since(begun); took > limit {
		ts.Fatalf("it took %s, want %s", took, limit)
	} else {
		ts.Logf("it took %s", took)
	}
}

// waitingPod: "waiting-pod" waits until the run waits for a pod other than $POD, and sets $POD (namespace/name) and its $NODE.
func waitingPod(ts *testscript.TestScript, _ bool, _ []string) {
	w := scenario.Of(ts)
	last := ts.Getenv("POD")
	deadline := time.After(time.Minute)
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		m, err := w.Bed.Kube.CoreV1().ConfigMaps(testbed.Namespace).Get(context.Background(), "upshift-run", metav1.GetOptions{})
		ts.Check(err)
		var run struct {
			Waiting []struct {
				Object struct{ Namespace, Name string }
				Node   string
			}
		}
		ts.Check(json.Unmarshal([]byte(m.Data["run.json"]), &run))
		for _, waiting := range run.Waiting {
			if pod := waiting.Object.Namespace + "/" + waiting.Object.Name; pod != last {
				ts.Setenv("POD", pod)
				ts.Setenv("NODE", waiting.Node)
				return
			}
		}
		select {
		case <-tick.C:
		case <-deadline:
			ts.Fatalf("the run waits for no other pod than %s after a minute", last)
		}
	}
}

// cleansUp runs the program as GitHub's runner does after the step, with the state that the step saved.
func cleansUp(ts *testscript.TestScript, _ bool, _ []string) {
	state := strings.Split(strings.TrimSpace(ts.ReadFile(ts.Getenv("GITHUB_STATE"))), "\n")
	ts.Setenv("STATE_holder", state[len(state)-2]) // the last block is a line with the name, the value, the delimiter
	ts.Check(ts.Exec(ts.MkAbs("upshift-post")))
}

// progressAfterOutage demands that the log on stdout shows progress within a minute after the API was back.
func progressAfterOutage(ts *testscript.TestScript, _ bool, _ []string) {
	stamp := func(line string) time.Duration {
		var h, m, s time.Duration
		_, err := fmt.Sscanf(line, "[%d:%d:%d]", &h, &m, &s)
		ts.Check(err)
		return h*time.Hour + m*time.Minute + s*time.Second
	}
	back := time.Duration(-1)
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		switch {
		case strings.Contains(line, "the Kubernetes API is back"):
			back = stamp(line)
		case back >= 0 && regexp.MustCompile(`(leaving|gone|Ready): `).MatchString(line):
			if took := stamp(line) - back; took > time.Minute {
				ts.Fatalf("the first progress came %s after the API was back", took)
			}
			return
		}
	}
	ts.Fatalf("no progress after the API was back")
}
