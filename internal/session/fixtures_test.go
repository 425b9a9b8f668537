package session_test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"k8s.io/apimachinery/pkg/runtime"
	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/upshift-k8s/upshift/internal/gke"
	"github.com/upshift-k8s/upshift/internal/kube"
	"github.com/upshift-k8s/upshift/internal/preflight"
	"github.com/upshift-k8s/upshift/internal/runstore"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// A fixture is a whole cluster in a file of testdata, with what a plan finds in it. It goes the way that a real one goes: GKE's cluster through
// gke.Read, the objects over HTTP through kube.Watch, both into upgrade.BuildPlan. Its parts:
//
//	(comment)     what the cluster is, or what happened
//	cluster.yaml  the cluster as GKE's API returns it
//	options       inputs, a line each ("target-version: 1.24"), and "now: TIME" for another time than a Wednesday's noon
//	nodes         the nodes, a line for some that are alike; see addNodes
//	objects.yaml  manifests as people write them; the controllers' part is played by a world
//	pods          what is not well, or where pods are: "shop/web ready=0 because=CrashLoopBackOff nodes=a-1,a-2 startup=90s grace=1m", each optional
//	metrics       the API server's
//	want          what is found: "SEVERITY CHECK OBJECT", or that with a part of the problem: ": has one replica"
//
// All blockers, unknowns and warnings have to be in want. An info is looked for only if it is there.
type fixture struct {
	cluster *containerpb.Cluster
	now     time.Time
	options upgrade.Options
	objects []runtime.Object
	nodes   []string
	pods    []string
	metrics []byte
	want    []string
}

// noon is a Wednesday.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// offered is what GKE offers in every location and channel.
var offered = []string{"1.35.1-gke.300", "1.34.2-gke.100", "1.33.5-gke.200", "1.24.17-gke.200", "1.23.17-gke.900"}

// TestIncidentsAreFoundBeforehand: outages that people have told of, each as a cluster right before it.
func TestIncidentsAreFoundBeforehand(t *testing.T) {
	for name, f := range fixtures(t, "incidents") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan := f.plan(t)
			if plan.Verdict == upgrade.Ready {
				t.Error("a plan that is ready")
			}
			f.compare(t, plan)
		})
	}
}

// TestHealthyClustersAreNotHeldUp: clusters as people run them. Nothing blocks, and what warns is in the file.
func TestHealthyClustersAreNotHeldUp(t *testing.T) {
	for name, f := range fixtures(t, "healthy") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan := f.plan(t)
			if plan.Verdict == upgrade.Blocked {
				t.Error("a plan that is blocked")
			}
			if plan.NothingToDo() {
				t.Error("a plan that does nothing, and so finds nothing")
			}
			f.compare(t, plan)
		})
	}
}

// fixtures reads those of a directory, by name.
func fixtures(t *testing.T, dir string) map[string]fixture {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", dir, "*.txtar"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("fixtures in %s: %v", dir, err)
	}
	provider := manifests(t, filepath.Join("testdata", "gke.yaml"))
	all := map[string]fixture{}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(archive.Comment)) == "" {
			t.Errorf("%s does not say what it is", path)
		}
		f := readFixture(t, path, archive)
		for _, o := range provider {
			f.objects = append(f.objects, o.DeepCopyObject())
		}
		all[strings.TrimSuffix(filepath.Base(path), ".txtar")] = f
	}
	return all
}

func readFixture(t *testing.T, path string, archive *txtar.Archive) fixture {
	t.Helper()
	f := fixture{cluster: &containerpb.Cluster{}, now: noon}
	f.options = upgrade.Options{Target: "control-plane", Strategy: "auto", Soak: upgrade.Seconds(time.Hour), Delete: upgrade.DeleteEach, OnFailure: upgrade.PauseOnFailure}
	for _, file := range archive.Files {
		var err error
		switch file.Name {
		case "cluster.yaml":
			var data []byte
			if data, err = yaml.YAMLToJSONStrict(file.Data); err == nil {
				err = protojson.Unmarshal(data, f.cluster)
			}
		case "options":
			err = f.setOptions(lines(file.Data))
		case "nodes":
			f.nodes = lines(file.Data)
		case "objects.yaml":
			f.objects, err = decode(file.Data)
		case "pods":
			f.pods = lines(file.Data)
		case "metrics":
			f.metrics = file.Data
		case "want":
			f.want = lines(file.Data)
		default:
			err = fmt.Errorf("no part of a fixture")
		}
		if err != nil {
			t.Fatalf("%s: %s: %v", path, file.Name, err)
		}
	}
	return f
}

func (f *fixture) setOptions(of []string) error {
	for _, line := range of {
		name, value, _ := strings.Cut(line, ": ")
		var err error
		if name == "now" {
			f.now, err = time.Parse(time.RFC3339, value)
		} else {
			err = f.options.Set(name, value)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// lines are those that are not empty and no comments.
func lines(data []byte) []string {
	var list []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			list = append(list, line)
		}
	}
	return list
}

func manifests(t *testing.T, path string) []runtime.Object {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := decode(data)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return objects
}

// decode reads manifests. A field that does not exist is an error.
func decode(data []byte) ([]runtime.Object, error) {
	strict := serializer.NewSerializerWithOptions(serializer.DefaultMetaFactory, scheme.Scheme, scheme.Scheme, serializer.SerializerOptions{Yaml: true, Strict: true})
	var objects []runtime.Object
	for i, document := range strings.Split("\n"+string(data), "\n---\n") {
		if len(lines([]byte(document))) == 0 {
			continue
		}
		o, _, err := strict.Decode([]byte(document), nil, nil)
		if err != nil {
			return nil, fmt.Errorf("manifest %d: %w", i+1, err)
		}
		objects = append(objects, o)
	}
	return objects, nil
}

// plan makes a plan of the cluster, as a session does.
func (f fixture) plan(t *testing.T) upgrade.Plan {
	t.Helper()
	name := gke.Name{Project: "my-project", Location: f.cluster.GetLocation(), Cluster: f.cluster.GetName()}
	cluster, err := gke.Read(name, f.cluster, serverConfig(), nil, f.now)
	if err != nil {
		t.Fatal(err)
	}
	api := serve(t, populate(t, f, cluster), cluster.ControlPlaneVersion, f.metrics)
	watched, err := kube.Watch(t.Context(), &rest.Config{Host: api, QPS: -1}, kube.PoolsOf(cluster))
	if err != nil {
		t.Fatal(err)
	}
	state, inventory, err := watched.Survey(t.Context(), runstore.Needs("upshift"))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := upgrade.BuildPlan(upgrade.Snapshot{TakenAt: f.now, Cluster: cluster, State: state, Inventory: inventory}, f.options, preflight.Inspect)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func serverConfig() *containerpb.ServerConfig {
	config := &containerpb.ServerConfig{DefaultClusterVersion: "1.34.2-gke.100", ValidMasterVersions: offered, ValidNodeVersions: offered}
	for _, channel := range []containerpb.ReleaseChannel_Channel{containerpb.ReleaseChannel_RAPID, containerpb.ReleaseChannel_REGULAR, containerpb.ReleaseChannel_STABLE} {
		config.Channels = append(config.Channels, &containerpb.ServerConfig_ReleaseChannelConfig{Channel: channel, DefaultVersion: config.DefaultClusterVersion, ValidVersions: offered})
	}
	return config
}

// compare tells what is found and not wanted, and the other way round.
func (f fixture) compare(t *testing.T, plan upgrade.Plan) {
	t.Helper()
	want := slices.Clone(f.want)
	for _, found := range plan.Findings {
		line := fmt.Sprintf("%s %s %s: %s", found.Severity, found.Check, found.Object, found.Problem)
		i := slices.IndexFunc(want, func(w string) bool { return matches(line, w) })
		switch {
		case i >= 0:
			want = slices.Delete(want, i, i+1)
		case found.Severity != upgrade.Info:
			t.Errorf("found, and not wanted: %s\n\t%s", line, strings.Join(found.Evidence, "\n\t"))
		default:
			t.Logf("besides: %s", line)
		}
		if asks := found.Severity == upgrade.Blocker || found.Severity == upgrade.Warning; asks && cmp.Or(found.Remedy, found.Advice, string(found.Consent)) == "" {
			t.Errorf("nothing is said that a person could do: %s", line)
		}
	}
	for _, w := range want {
		t.Errorf("wanted, and not found: %s", w)
	}
}

// matches compares a finding with a line of want, of which the problem may be a part, or missing.
func matches(found, want string) bool {
	what, problem, _ := strings.Cut(want, ": ")
	rest, ok := strings.CutPrefix(found, what+": ")
	return ok && strings.Contains(rest, problem)
}
