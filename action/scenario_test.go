package main_test

import (
	"bytes"
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
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"github.com/rogpeppe/go-internal/testscript"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	// signalled is the program that was last sent a signal, and when.
	signalled *exec.Cmd
	at        time.Time
	// held is closed when the request that hold asked for is held.
	held <-chan struct{}
}

func setup(bin string) func(*testscript.Env) error {
	return func(env *testscript.Env) error {
		if err := os.Symlink(filepath.Join(bin, "upshift"), filepath.Join(env.WorkDir, "upshift-post")); err != nil {
			return err
		}
		env.Values[bedKey{}] = &world{}
		env.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
		for _, name := range []string{"GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_STATE"} {
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
	"record": record, "signal": signal, "ended": ended, "cancel-jobs": cancelJobs, "hold": hold, "held": held, "api": api, "asked": asked,
	"waiting-pod": waitingPod, "cleans-up": cleansUp, "progress-after-outage": progressAfterOutage,
}

func of(ts *testscript.TestScript) *world { return ts.Value(bedKey{}).(*world) }

// startCluster: "cluster [autoscaling] [no-namespace]" boots a cluster with a pool of three nodes.
func startCluster(ts *testscript.TestScript, _ bool, args []string) {
	options := testbed.Options{NodeStartUp: "1s"}
	for _, a := range args {
		switch a {
		case "autoscaling":
			options.Autoscaling = &containerpb.NodePoolAutoscaling{Enabled: true, MinNodeCount: 1, MaxNodeCount: 4}
		case "no-namespace":
			options.NoNamespace = true
		default:
			ts.Fatalf("cluster: unknown argument %s", a)
		}
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

// fault: "fault never-ready", "fault quota", "fault refused" or "fault slow".
func fault(ts *testscript.TestScript, _ bool, args []string) {
	faults := map[string]gkeemu.Fault{
		"refused":     {Method: "CreateNodePool", Error: status.Error(codes.PermissionDenied, "the caller does not have permission")},
		"slow":        {Method: "CreateNodePool", OperationDelay: 25 * time.Second},
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

// record: "record REGEXP" waits until the run that the cluster's record has matches.
func record(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(awaitRecord(of(ts).bed, regexp.MustCompile(args[0])))
}

// awaitRecord follows the record in the cluster.
func awaitRecord(bed *testbed.Testbed, want *regexp.Regexp) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	maps := bed.Kube.CoreV1().ConfigMaps(testbed.Namespace)
	last := ""
	for ctx.Err() == nil {
		list, err := maps.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=upshift-run"})
		if err != nil {
			return err
		}
		for _, m := range list.Items {
			if last = m.Data["run.json"]; want.MatchString(last) {
				return nil
			}
		}
		w, err := maps.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=upshift-run", ResourceVersion: list.ResourceVersion})
		if err != nil {
			return err
		}
		for e := range w.ResultChan() {
			if m, ok := e.Object.(*corev1.ConfigMap); ok {
				if last = m.Data["run.json"]; want.MatchString(last) {
					w.Stop()
					return nil
				}
			}
		}
	}
	return fmt.Errorf("the record does not match %s after two minutes:\n%s", want, last)
}

var signals = map[string]os.Signal{"INT": os.Interrupt, "TERM": syscall.SIGTERM, "KILL": os.Kill}

// signal: "signal NAME" sends a signal to the program that was last started in the background.
func signal(ts *testscript.TestScript, _ bool, args []string) {
	w := of(ts)
	background := ts.BackgroundCmds()
	w.signalled, w.at = background[len(background)-1], time.Now()
	ts.Check(w.signalled.Process.Signal(signals[args[0]]))
}

// ended: "ended CODE [DURATION]", after wait, demands the exit code of the program that was sent a signal, and that it ended
// within so long.
func ended(ts *testscript.TestScript, _ bool, args []string) {
	w := of(ts)
	if got := fmt.Sprint(w.signalled.ProcessState.ExitCode()); got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
	if len(args) > 1 {
		limit, err := time.ParseDuration(args[1])
		ts.Check(err)
		if took := time.Since(w.at); took > limit {
			ts.Fatalf("it ended %s after the signal, want %s", took, limit)
		}
	}
}

// cancelJobs: "cancel-jobs N" has N jobs, one after the other, run upgrade until a node is being drained, and cancels each as
// GitHub's runner does: SIGINT, 7.5 s, SIGTERM. Each has to end in 5 s, with its checkpoint written and the lease released.
func cancelJobs(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	bed := of(ts).bed
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
		ts.Check(awaitRecord(bed, regexp.MustCompile(fmt.Sprintf(`"state":"running".*"epoch":%d,.*"kind":"drain-node"[^}]*"state":"running"`, i+1))))
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
		ts.Check(awaitRecord(bed, regexp.MustCompile(`^\{[^{]*"state":"interrupted"`)))
	}
	ts.Logf("%d jobs cancelled, the slowest ended after %s", n, slowest)
}

// scenarioEnvironment are the variables that a program of a scenario needs.
var scenarioEnvironment = []string{
	"HOME", "INPUT_PROJECT", "INPUT_LOCATION", "INPUT_CLUSTER", "INPUT_TARGET-VERSION", "INPUT_SOAK",
	"CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER", "GOOGLE_APPLICATION_CREDENTIALS",
}

// hold: "hold VERB RESOURCE" has the program's next request of that kind held on its way, for good.
func hold(ts *testscript.TestScript, _ bool, args []string) {
	w := of(ts)
	held, release := w.bed.Lab.Proxy().Hold(lab.Request{User: lab.Upshift, Verb: args[0], Resource: args[1]})
	w.held = held
	ts.Defer(release)
}

// held waits until the request that hold asked for is held.
func held(ts *testscript.TestScript, _ bool, _ []string) {
	select {
	case <-of(ts).held:
	case <-time.After(time.Minute):
		ts.Fatalf("no such request came in a minute")
	}
}

// api: "api cut" and "api restore" make the Kubernetes API unreachable and reachable; "api away DURATION" does both.
func api(ts *testscript.TestScript, _ bool, args []string) {
	proxy := of(ts).bed.Lab.Proxy()
	switch args[0] {
	case "cut":
		proxy.Cut()
	case "restore":
		ts.Check(proxy.Restore())
	case "away":
		d, err := time.ParseDuration(args[1])
		ts.Check(err)
		proxy.Cut()
		<-time.After(d) // the length of the outage is what the scenario is about
		ts.Check(proxy.Restore())
	default:
		ts.Fatalf("api: unknown argument %s", args[0])
	}
}

// asked: "asked CODE DURATION ARGS..." runs upshift, demands an exit code, and that it took at most so long.
func asked(ts *testscript.TestScript, neg bool, args []string) {
	limit, err := time.ParseDuration(args[1])
	ts.Check(err)
	begun := time.Now()
	runUpshift(ts, neg, append(args[:1:1], args[2:]...))
	if took := time.Since(begun); took > limit {
		ts.Fatalf("it took %s, want %s", took, limit)
	} else {
		ts.Logf("it took %s", took)
	}
}

// waitingPod: "waiting-pod" waits until the run waits for a pod other than $POD, and sets $POD (namespace/name) and its $NODE.
func waitingPod(ts *testscript.TestScript, _ bool, _ []string) {
	w := of(ts)
	last := ts.Getenv("POD")
	deadline := time.After(time.Minute)
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		m, err := w.bed.Kube.CoreV1().ConfigMaps(testbed.Namespace).Get(context.Background(), "upshift-run", metav1.GetOptions{})
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
