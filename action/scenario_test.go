package main_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"github.com/rogpeppe/go-internal/testscript"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/client-go/kubernetes"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
	"github.com/upshift-k8s/upshift/internal/lab/observer"
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
	testscript.Run(t, testscript.Params{Dir: "testdata/lab", Setup: setup(bin), Cmds: commands})
}

// TestInputs drives the built binary against the GKE emulator alone: no input gets as far as a cluster.
func TestInputs(t *testing.T) {
	bin := build(t)
	testscript.Run(t, testscript.Params{Dir: "testdata/input", Setup: setup(bin), Cmds: commands})
}

// build returns a directory with the binary in it, made as a release is.
func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", filepath.Join(dir, "upshift"), ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the binary: %v\n%s", err, out)
	}
	return dir
}

type bedKey struct{}

// world is what a scenario has started.
type world struct {
	gke      *gkeemu.Server
	bed      *testbed.Testbed
	observer *observer.Observer
}

func setup(bin string) func(*testscript.Env) error {
	return func(env *testscript.Env) error {
		env.Values[bedKey{}] = &world{}
		env.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
		for _, name := range []string{"GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"} {
			path := filepath.Join(env.WorkDir, name)
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				return err
			}
			env.Setenv(name, path)
		}
		env.Setenv("INPUT_PROJECT", testbed.Project)
		env.Setenv("INPUT_LOCATION", testbed.Location)
		env.Setenv("INPUT_CLUSTER", testbed.Name)
		env.Setenv("INPUT_TARGET-VERSION", "control-plane")
		env.Setenv("INPUT_SOAK", "0")
		return nil
	}
}

var commands = map[string]func(*testscript.TestScript, bool, []string){
	"cluster": startCluster, "gke": startGKE, "upshift": runUpshift, "kubectl": runKubectl, "deploy": deploy,
	"digest": digest, "fault": fault, "calls": calls, "observe": observe, "until": until,
}

func of(ts *testscript.TestScript) *world { return ts.Value(bedKey{}).(*world) }

// startCluster: "cluster [autoscaling]" boots a cluster with a pool of three nodes.
func startCluster(ts *testscript.TestScript, _ bool, args []string) {
	options := testbed.Options{NodeStartUp: "1s"}
	for _, a := range args {
		if a != "autoscaling" {
			ts.Fatalf("cluster: unknown argument %s", a)
		}
		options.Autoscaling = &containerpb.NodePoolAutoscaling{Enabled: true, MinNodeCount: 1, MaxNodeCount: 4}
	}
	bed, err := testbed.Start(context.Background(), options)
	ts.Check(err)
	ts.Defer(func() {
		if calls := bed.GKE.Unimplemented(); len(calls) > 0 {
			ts.Logf("calls that GKE's emulator does not know: %v", calls)
		}
		ts.Check(bed.Close())
	})
	w := of(ts)
	w.bed, w.gke = bed, bed.GKE
	ts.Setenv("CLUSTER_KUBECONFIG", bed.Kubeconfig())
	for _, e := range bed.Env() {
		name, value, _ := strings.Cut(e, "=")
		ts.Setenv(name, value)
	}
}

// startGKE: "gke" starts the emulator without a cluster.
func startGKE(ts *testscript.TestScript, _ bool, _ []string) {
	srv, err := gkeemu.Start(context.Background(), gkeemu.Options{Log: slog.New(slog.DiscardHandler)})
	ts.Check(err)
	ts.Defer(srv.Close)
	of(ts).gke = srv
	ts.Setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER", srv.URL())
}

// runUpshift: "upshift CODE ARGS..." runs the binary and demands an exit code.
func runUpshift(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec("upshift", args[1:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// runKubectl: "kubectl ARGS..." is kubectl, on the cluster and in the default namespace.
func runKubectl(ts *testscript.TestScript, neg bool, args []string) {
	bed := of(ts).bed
	err := ts.Exec(filepath.Join(bed.Bin(), "kubectl"), append([]string{"--kubeconfig", bed.Kubeconfig()}, args...)...)
	if (err != nil) != neg {
		ts.Fatalf("kubectl: %v", err)
	}
}

// deploy: "deploy FILE" applies manifests and waits until all in them is up.
func deploy(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(of(ts).bed.Deploy(context.Background(), ts.ReadFile(args[0])))
}

// digest: "digest FILE" puts a plan's digest into $DIGEST.
func digest(ts *testscript.TestScript, _ bool, args []string) {
	var plan struct{ Digest string }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &plan))
	ts.Setenv("DIGEST", plan.Digest)
}

// fault: "fault never-ready", "fault quota" or "fault refused".
func fault(ts *testscript.TestScript, _ bool, args []string) {
	faults := map[string]gkeemu.Fault{
		"refused":     {Method: "CreateNodePool", Error: status.Error(codes.PermissionDenied, "the caller does not have permission")},
		"never-ready": {Method: "CreateNodePool", NodesNeverReady: true},
		"quota": {Method: "CreateNodePool", NodesBeforeError: 1, OperationError: &rpcstatus.Status{
			Code: int32(codes.ResourceExhausted), Message: "Insufficient regional quota to satisfy request: resource \"CPUS\".",
		}},
	}
	f, ok := faults[args[0]]
	if !ok {
		ts.Fatalf("unknown fault %s", args[0])
	}
	of(ts).gke.Inject(f)
}

// calls: "calls METHOD N" demands how often GKE's API was called; METHOD can be "any".
func calls(ts *testscript.TestScript, _ bool, args []string) {
	var methods []string
	if args[0] != "any" {
		methods = args[:1]
	}
	if got := fmt.Sprint(len(of(ts).gke.Calls(methods...))); got != args[1] {
		ts.Fatalf("%s was called %s times, want %s", args[0], got, args[1])
	}
}

// observe: "observe" begins to watch the cluster; "observe FILE" ends it and writes what was seen, also the pods that were
// killed with their node.
func observe(ts *testscript.TestScript, _ bool, args []string) {
	w := of(ts)
	if len(args) == 0 {
		client, err := kubernetes.NewForConfig(w.bed.Lab.DirectConfig(lab.Observer))
		ts.Check(err)
		w.observer, err = observer.Start(context.Background(), client)
		ts.Check(err)
		return
	}
	file, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	report := w.observer.Stop()
	ts.Check(report.WriteText(file))
	killed, err := json.Marshal(w.gke.PodsKilled())
	ts.Check(err)
	_, err = fmt.Fprintf(file, "killed with their node: %s\n", killed)
	ts.Check(err)
	ts.Check(file.Close())
	ts.Logf("%s", ts.ReadFile(args[0]))
}

// until: "until FILE REGEXP" waits until a file that a program in the background writes matches.
func until(ts *testscript.TestScript, _ bool, args []string) {
	path, want := ts.MkAbs(args[0]), regexp.MustCompile(args[1])
	deadline := time.Now().Add(time.Minute)
	// A file of another process cannot be waited for but by looking.
	for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C {
		data, err := os.ReadFile(path)
		if err == nil && want.Match(data) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not match %s after a minute:\n%s", args[0], want, data)
		}
	}
}
