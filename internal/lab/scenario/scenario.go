// Package scenario is what the scenario tests of both surfaces have in common: commands for testscript that start a cluster, look at
// it and disturb it.
package scenario

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
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
	"github.com/upshift-k8s/upshift/internal/lab/observer"
	"github.com/upshift-k8s/upshift/internal/lab/testbed"
)

// Build builds a program of this module, as a release is, into a directory.
func Build(t *testing.T, dir, name, pkg string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", filepath.Join(dir, name), pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
}

type worldKey struct{}

// World is what a scenario has started.
type World struct {
	GKE *gkeemu.Server
	Bed *testbed.Testbed
	// Signalled is the program that was last sent a signal, and At when.
	Signalled *exec.Cmd
	At        time.Time

	observer *observer.Observer
	// foreign ends the operation of somebody else that was begun last.
	foreign    func()
	autoscaler *gkeemu.Autoscaler
	// held are closed when the requests that hold asked for are held.
	held []<-chan struct{}
}

// Of is the world of a scenario that Setup has prepared.
func Of(ts *testscript.TestScript) *World { return ts.Value(worldKey{}).(*World) }

// Setup prepares a scenario: the programs in bin are found, and the Action's inputs name the testbed's cluster.
func Setup(env *testscript.Env, bin string) {
	env.Values[worldKey{}] = &World{}
	env.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	env.Setenv("INPUT_PROJECT", testbed.Project)
	env.Setenv("INPUT_LOCATION", testbed.Location)
	env.Setenv("INPUT_CLUSTER", testbed.Name)
	env.Setenv("INPUT_TARGET-VERSION", "control-plane")
	env.Setenv("INPUT_SOAK", "0")
}

// Commands are the commands.
func Commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"cluster": startCluster, "gke": startGKE, "upshift": RunUpshift, "kubectl": runKubectl, "deploy": deploy, "fault": fault, "calls": calls,
		"observe": observe, "until": until, "record": record, "signal": signal, "ended": ended, "hold": hold, "held": held, "api": api, "objects": objects,
		"pool": addPool, "larger": larger, "zone": zone, "user": user, "attacher": attacher, "attached": attached,
		"deny": deny, "quota": quota, "autoupgrade": autoUpgrade, "idle": idle, "phase": phase, "progress": progress,
		"cancels": cancels, "completes": completes, "rolls-back": rollsBack,
		"node-pool": nodePool, "created": created, "autoscaled": autoscaled, "maintenance": maintenance, "foreign": foreign, "tokens": tokens, "dns": dns, "autoscaler": autoscaler,
		"device-plugin": devicePlugin,
	}
}

// startCluster: "cluster [zonal] [autoscaling] [no-namespace] [version=V] [nodes=V] [count=N] [gke=FILE] [pool=FILE] [TIME=DURATION...]" boots a
// cluster with a pool that has N nodes (one) in each zone: three of a region, or one. The files, in YAML, are what GKE tells of the cluster
// and of its pool besides. A TIME is how long GKE takes: one of times.
func startCluster(ts *testscript.TestScript, _ bool, args []string) {
	options := testbed.Options{NodeStartUp: "1s"}
	for _, a := range args {
		name, value, _ := strings.Cut(a, "=")
		switch name {
		case "version":
			options.Version = value
		case "nodes":
			options.NodeVersion = value
		case "count":
			n, err := strconv.ParseInt(value, 10, 32)
			ts.Check(err)
			options.NodeCount = int32(n)
		case "zonal":
			options.Location = testbed.Zone
		case "gke":
			options.Template = &containerpb.Cluster{}
			readProto(ts, value, options.Template)
		case "pool":
			options.PoolTemplate = &containerpb.NodePool{}
			readProto(ts, value, options.PoolTemplate)
		case "autoscaling":
			options.Autoscaling = &containerpb.NodePoolAutoscaling{Enabled: true, MinNodeCount: 1, MaxNodeCount: 4}
		case "no-namespace":
			options.NoNamespace = true
		default:
			t, ok := times(&options.Timing)[name]
			if !ok {
				ts.Fatalf("cluster: unknown argument %s", a)
			}
			d, err := time.ParseDuration(value)
			ts.Check(err)
			*t = d
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
	w := Of(ts)
	w.Bed, w.GKE = bed, bed.GKE
	ts.Setenv("CLUSTER_KUBECONFIG", bed.Kubeconfig())
	ts.Setenv("INPUT_LOCATION", bed.Location)
	for _, e := range bed.Env() {
		name, value, _ := strings.Cut(e, "=")
		ts.Setenv(name, value)
	}
}

// times are GKE's times by the names that scenarios have for them.
func times(t *gkeemu.Timing) map[string]*time.Duration {
	return map[string]*time.Duration{
		"pending": &t.Pending, "create-pool": &t.CreateNodePool, "delete-pool": &t.DeleteNodePool, "autoscaling-set": &t.SetNodePoolAutoscaling,
		"upgrade-control-plane": &t.UpgradeMaster, "api-away": &t.MasterAway, "update-pool": &t.UpdateNodePool, "upgrade-node": &t.UpgradeNode,
		"force-after": &t.ForceAfter,
	}
}

// readProto reads a message that is written in YAML.
func readProto(ts *testscript.TestScript, file string, into proto.Message) {
	data, err := yaml.YAMLToJSON([]byte(ts.ReadFile(file)))
	ts.Check(err)
	ts.Check(protojson.Unmarshal(data, into))
}

// startGKE: "gke" starts the emulator without a cluster.
func startGKE(ts *testscript.TestScript, _ bool, _ []string) {
	srv, err := gkeemu.Start(context.Background(), gkeemu.Options{Log: slog.New(slog.DiscardHandler)})
	ts.Check(err)
	ts.Defer(srv.Close)
	Of(ts).GKE = srv
	for _, e := range srv.Env() {
		name, value, _ := strings.Cut(e, "=")
		ts.Setenv(name, value)
	}
}

// deny: "deny PERMISSION..." has Google deny permissions, as far as it is asked whether they are given.
func deny(ts *testscript.TestScript, _ bool, args []string) { Of(ts).GKE.Deny(args...) }

// quota: "quota METRIC LIMIT USED" sets a quota of the cluster's region.
func quota(ts *testscript.TestScript, _ bool, args []string) {
	limit, err := strconv.ParseFloat(args[1], 64)
	ts.Check(err)
	used, err := strconv.ParseFloat(args[2], 64)
	ts.Check(err)
	Of(ts).GKE.SetQuota(args[0], limit, used)
}

// addPool: "pool NAME [FILE]" adds a pool that people made, and waits for its nodes. The file, in YAML, has all of it but the name; without
// one it has a node in each zone.
func addPool(ts *testscript.TestScript, _ bool, args []string) {
	pool := &containerpb.NodePool{Version: testbed.NodeVersion, InitialNodeCount: 1, Config: &containerpb.NodeConfig{MachineType: "e2-standard-4"}}
	if len(args) > 1 {
		pool = &containerpb.NodePool{}
		readProto(ts, args[1], pool)
	}
	pool.Name = args[0]
	ts.Check(Of(ts).Bed.AddPool(context.Background(), pool))
}

// larger: "larger CPU" gives the first node so many CPUs, which its machine type does not have.
func larger(ts *testscript.TestScript, _ bool, args []string) {
	bed := Of(ts).Bed
	name, err := bed.Kubectl(context.Background(), "", "get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
	ts.Check(err)
	patch := fmt.Sprintf(`{"status":{"allocatable":{"cpu":%q},"capacity":{"cpu":%q}}}`, args[0], args[0])
	_, err = bed.Kubectl(context.Background(), "", "patch", "node", name, "--subresource", "status", "--type", "merge", "-p", patch)
	ts.Check(err)
}

// zone: "zone ZONE" says that the first node is in a zone that its pool does not have any more.
func zone(ts *testscript.TestScript, _ bool, args []string) {
	bed := Of(ts).Bed
	name, err := bed.Kubectl(context.Background(), "", "get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
	ts.Check(err)
	_, err = bed.Kubectl(context.Background(), "", "label", "node", name, "--overwrite", "topology.kubernetes.io/zone="+args[0])
	ts.Check(err)
}

// user: "user NAME FILE" writes a kubeconfig for a ServiceAccount of the default namespace.
func user(ts *testscript.TestScript, _ bool, args []string) {
	bed := Of(ts).Bed
	token, err := bed.Kubectl(context.Background(), "", "create", "token", args[0])
	ts.Check(err)
	config, err := clientcmd.LoadFromFile(bed.Kubeconfig())
	ts.Check(err)
	for _, who := range config.AuthInfos {
		who.Token = strings.TrimSpace(token)
	}
	ts.Check(clientcmd.WriteToFile(*config, ts.MkAbs(args[1])))
}

// RunUpshift is "upshift CODE ARGS...": it runs the binary and demands an exit code.
func RunUpshift(ts *testscript.TestScript, _ bool, args []string) {
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
	bed := Of(ts).Bed
	err := ts.Exec(filepath.Join(bed.Bin(), "kubectl"), append([]string{"--kubeconfig", bed.Kubeconfig()}, args...)...)
	if (err != nil) != neg {
		ts.Fatalf("kubectl: %v", err)
	}
}

// deploy: "deploy FILE" applies manifests and waits until all in them is up.
func deploy(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(Of(ts).Bed.Deploy(context.Background(), ts.ReadFile(args[0])))
}

// calls: "calls METHOD N" demands how often GKE's API was called; METHOD can be "any".
func calls(ts *testscript.TestScript, _ bool, args []string) {
	var methods []string
	if args[0] != "any" {
		methods = args[:1]
	}
	if got := fmt.Sprint(len(Of(ts).GKE.Calls(methods...))); got != args[1] {
		ts.Fatalf("%s was called %s times, want %s", args[0], got, args[1])
	}
}

// observe: "observe" begins to watch the cluster; "observe FILE" ends it and writes what was seen, also the pods that were
// killed with their node.
func observe(ts *testscript.TestScript, _ bool, args []string) {
	w := Of(ts)
	if len(args) == 0 {
		client, err := kubernetes.NewForConfig(w.Bed.Lab.DirectConfig(lab.Observer))
		ts.Check(err)
		w.observer, err = observer.Start(context.Background(), client)
		ts.Check(err)
		return
	}
	file, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	report := w.observer.Stop()
	ts.Check(report.WriteText(file))
	killed, err := json.Marshal(w.GKE.PodsKilled())
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
	ts.Check(AwaitRecord(Of(ts).Bed, regexp.MustCompile(args[0])))
}

// AwaitRecord follows the record in the cluster.
func AwaitRecord(bed *testbed.Testbed, want *regexp.Regexp) error {
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

// signal: "signal NAME" sends a signal to the program that was last started in the background.
func signal(ts *testscript.TestScript, _ bool, args []string) {
	w := Of(ts)
	background := ts.BackgroundCmds()
	w.Signalled, w.At = background[len(background)-1], time.Now()
	ts.Check(w.Signalled.Process.Signal(named(args[0])))
}

// ended: "ended CODE [DURATION]", after wait, demands the exit code of the program that was sent a signal, and that it ended
// within so long.
func ended(ts *testscript.TestScript, _ bool, args []string) {
	w := Of(ts)
	if got := fmt.Sprint(w.Signalled.ProcessState.ExitCode()); got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
	if len(args) > 1 {
		limit, err := time.ParseDuration(args[1])
		ts.Check(err)
		if took := time.Since(w.At); took > limit {
			ts.Fatalf("it ended %s after the signal, want %s", took, limit)
		}
	}
}

// hold: "hold VERB RESOURCE [NUMBER]" has the program's next request of that kind, or so many, held on their way, for good.
func hold(ts *testscript.TestScript, _ bool, args []string) {
	w := Of(ts)
	n := 1
	if len(args) > 2 {
		var err error
		n, err = strconv.Atoi(args[2])
		ts.Check(err)
	}
	w.held = nil
	for range n {
		held, release := w.Bed.Lab.Proxy().Hold(lab.Request{User: lab.Upshift, Verb: args[0], Resource: args[1]})
		w.held = append(w.held, held)
		ts.Defer(release)
	}
}

// held waits until the requests that hold asked for are held.
func held(ts *testscript.TestScript, _ bool, _ []string) {
	for _, held := range Of(ts).held {
		select {
		case <-held:
		case <-time.After(time.Minute):
			ts.Fatalf("no such request came in a minute")
		}
	}
}

// api: "api cut" and "api restore" make the Kubernetes API unreachable and reachable; "api away DURATION" does both.
func api(ts *testscript.TestScript, _ bool, args []string) {
	proxy := Of(ts).Bed.Lab.Proxy()
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

// named is a signal by its name.
func named(name string) os.Signal {
	return map[string]os.Signal{"INT": os.Interrupt, "TERM": syscall.SIGTERM, "KILL": os.Kill}[name]
}
