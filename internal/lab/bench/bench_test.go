package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/observer"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestMain lets this binary be a peer's process too, as the benchmark's own is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "peer" {
		if err := runPeer(context.Background(), os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// The whole benchmark, with a few pods: it must not rot between two real runs.
func TestBenchmark(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the lab")
	}
	t.Chdir("../../..") // where the lab finds its sources
	upshift := filepath.Join(t.TempDir(), "upshift")
	if out, err := exec.Command("go", "build", "-o", upshift, "./action").CombinedOutput(); err != nil {
		t.Fatalf("build the Action's binary: %v\n%s", err, out)
	}
	dir, docs := t.TempDir(), t.TempDir()
	args := []string{"-quick", "-only", "/upshift$|/kubectl-loop$", "-upshift", upshift, "-out", dir, "-docs", docs}
	if err := bench(t.Context(), args, t.Output()); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, "benchmark.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r run
	if err := json.Unmarshal(content, &r); err != nil {
		t.Fatal(err)
	}
	if c := r.Calibration; c == nil || c.CSeconds <= 0 || c.PodsPerSecond <= 0 {
		t.Errorf("calibration %+v, want positive figures", c)
	}
	if len(r.Results) != 2 {
		t.Fatalf("%d results, want those of two contenders", len(r.Results))
	}
	for _, got := range r.Results {
		checkResult(t, got)
	}
	checkPicture(t, dir)
	if published, err := os.ReadDir(docs); err != nil || len(published) > 0 {
		t.Errorf("a part of a suite was published: %v, %v", published, err)
	}

	// Gone on with, there is nothing to do, and the report is the same.
	before, err := os.ReadFile(filepath.Join(dir, "benchmark.md"))
	if err != nil {
		t.Fatal(err)
	}
	if err := bench(t.Context(), append(args, "-resume"), t.Output()); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(filepath.Join(dir, "benchmark.md"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(before), string(after)); diff != "" {
		t.Errorf("the report after -resume (-before +after):\n%s", diff)
	}
}

// checkResult holds what every trial that has come to its end has to show, whatever the machine.
func checkResult(t *testing.T, got result) {
	t.Helper()
	if got.Outcome != finished {
		t.Errorf("%s: %s: %s", got.Contender, got.Outcome, got.Error)
		return
	}
	bound := contenderNamed(got.Contender).policy
	if got.Seconds < got.Bounds.of(bound) {
		t.Errorf("%s took %.3f s, less than the lower bound %.3f s", got.Contender, got.Seconds, got.Bounds.of(bound))
	}
	if got.Violations > 0 || got.Requests.Deletes > 0 || got.Moved != got.MovedOf || len(got.Gaps) > 0 {
		t.Errorf("%s: %d violations, %d pods deleted, %d of %d moved, gaps %q", got.Contender, got.Violations, got.Requests.Deletes, got.Moved, got.MovedOf, got.Gaps)
	}
	if got.Requests.Evictions < got.Left || got.Requests.Cordons < 3 {
		t.Errorf("%s: requests %+v, want an eviction for each of %d pods and a cordon for each of 3 nodes", got.Contender, got.Requests, got.Left)
	}
	if len(got.Beside) != 1 {
		t.Errorf("%s ran beside %q, want the other one", got.Contender, got.Beside)
	}
	if got.PeakRSSBytes < 1<<20 || got.CPUSeconds <= 0 || got.BusyShare <= 0 {
		t.Errorf("%s: peak RSS %d, CPU %v s, machine busy %v", got.Contender, got.PeakRSSBytes, got.CPUSeconds, got.BusyShare)
	}
	first, last := got.Timeline[0], got.Timeline[len(got.Timeline)-1]
	if first.Old != got.Left || first.New != 0 || last.Old != 0 || last.New < got.MovedOf {
		t.Errorf("%s: timeline from %+v to %+v, want %d pods to move", got.Contender, first, last, got.Left)
	}
}

func checkPicture(t *testing.T, dir string) {
	t.Helper()
	svg, err := os.ReadFile(filepath.Join(dir, "benchmark.svg"))
	if err != nil {
		t.Fatal(err)
	}
	decoder := xml.NewDecoder(bytes.NewReader(svg))
	bars := 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the picture is no XML: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			bars++
		}
	}
	if bars != 3 { // the background's among them
		t.Errorf("the picture has %d bars, want 2", bars-1)
	}
}

func TestExecuteEndsWhatTakesTooLong(t *testing.T) {
	limited, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errTooLong)
	defer cancel()
	began := time.Now()
	_, err := execute(limited, exec.Command("sleep", "600"), filepath.Join(t.TempDir(), "log.txt"))
	if !errors.Is(err, errTooLong) {
		t.Errorf("execute() = %v, want %v", err, errTooLong)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s to end the process", took)
	}
}

func TestExecuteTellsTheLastWords(t *testing.T) {
	_, err := execute(t.Context(), exec.Command("sh", "-c", "echo it is over; exit 7"), filepath.Join(t.TempDir(), "log.txt"))
	if err == nil || !strings.Contains(err.Error(), "exit status 7") || !strings.HasSuffix(err.Error(), "it is over") {
		t.Errorf("execute() = %v, want the status and the last words", err)
	}
}

func TestPeakRSSIsTheProcessesOwn(t *testing.T) {
	ballast := bytes.Repeat([]byte{1}, 64<<20) // a child's rusage would begin with this
	used, err := execute(t.Context(), exec.Command("sleep", "0.5"), filepath.Join(t.TempDir(), "log.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if used.peakRSS == 0 || used.peakRSS > int64(len(ballast)) {
		t.Errorf("peak RSS %d bytes, want the little that sleep takes", used.peakRSS)
	}
}

func TestRequestsAreSortedByUserAndPurpose(t *testing.T) {
	count := func(user, verb, resource string, n int) lab.RequestCount {
		return lab.RequestCount{Request: lab.Request{User: user, Verb: verb, Resource: resource}, Count: n}
	}
	before := []lab.RequestCount{count(lab.Upshift, "create", "pods/eviction", 5)}
	after := []lab.RequestCount{
		count(lab.Upshift, "create", "pods/eviction", 12),
		count(lab.Upshift, "delete", "pods", 1),
		count(lab.Upshift, "get", "pods", 2), count(lab.Upshift, "watch", "nodes", 1), count(lab.Upshift, "get", "/version", 1),
		count(lab.Upshift, "patch", "nodes", 3),
		count(lab.Upshift, "update", "leases.coordination.k8s.io", 4), count(lab.Upshift, "get", "leases.coordination.k8s.io", 1),
		count(lab.Upshift, "update", "configmaps", 6), count(lab.Upshift, "patch", "deployments.apps", 2),
		count(lab.Upshift, "create", "selfsubjectaccessreviews.authorization.k8s.io", 8),
		count(lab.Kubectl, "create", "pods/eviction", 100),
	}
	want := requests{Evictions: 7, Deletes: 1, Cordons: 3, Restarts: 2, Reads: 4, Lease: 5, Record: 6, Other: 8}
	got := sortRequests(lab.Upshift, before, after)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if got.sum() != 36 {
		t.Errorf("sum() = %d, want 36", got.sum())
	}
}

func TestEverySuiteNamesWhatThereIs(t *testing.T) {
	for name, s := range map[string]suite{"standard": standard(), "full": full(), "quick": quick()} {
		b := benchmark{store: &store{run: run{Calibration: &calibration{}}}}
		for _, sl := range s.slots {
			turns, err := b.turns(step{sl, 1})
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if len(turns) != len(sl.turns) {
				t.Errorf("%s: %d turns of %v", name, len(turns), sl)
			}
		}
	}
}

func TestOnly(t *testing.T) {
	got := standard().only(regexp.MustCompile(`^M/kubectl-(loop|at-once)$`))
	want := []slot{{workload: "M", turns: [][]string{{kubectlAtOnce}}}, {workload: "M", turns: [][]string{{kubectlLoop}}, yields: true}}
	if diff := cmp.Diff(want, got.slots, cmp.AllowUnexported(slot{})); diff != "" {
		t.Errorf("slots (-want +got):\n%s", diff)
	}
	if none := standard().only(regexp.MustCompile("nobody")); len(none.slots) > 0 {
		t.Errorf("slots %v of nobody", none.slots)
	}
}

// What takes longest gets a third repetition only in the time that the others have left.
func TestTheLongestSlotYields(t *testing.T) {
	var got []string
	for _, st := range standard().order() {
		got = append(got, fmt.Sprintf("%s/%s %d", st.workload, st.turns[0][0], st.repetition))
	}
	want := []string{
		"M/upshift-parallel 1", "M/upshift 1", "deployments/upshift-parallel 1",
		"M/upshift-parallel 2", "M/upshift 2", "deployments/upshift-parallel 2",
		"M/upshift-parallel 3", "deployments/upshift-parallel 3", "M/upshift 3",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// What is published is replaced by nothing but the report of a whole suite.
func TestDocsAreOfWholeSuites(t *testing.T) {
	for name, tt := range map[string]struct {
		only    string
		failure error
		inDocs  bool
	}{
		"a whole suite": {inDocs: true},
		"a part":        {only: "^M/"},
		"interrupted":   {failure: context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			out, docs := filepath.Join(dir, "out"), filepath.Join(dir, "docs")
			b := benchmark{env: environment{out: out, progress: t.Output()}, store: &store{run: example()}}
			if _, err := b.report(docs, tt.only, tt.failure); !errors.Is(err, tt.failure) {
				t.Fatalf("report() = %v, want %v", err, tt.failure)
			}
			for where, want := range map[string]bool{out: true, docs: tt.inDocs} {
				if _, err := os.Stat(filepath.Join(where, "benchmark.md")); (err == nil) != want {
					t.Errorf("report in %s: %v, want one: %v", filepath.Base(where), err, want)
				}
			}
		})
	}
}

// What there is no time for is not begun, and not forgotten; gone on with, it is made.
func TestWithoutTimeATrialIsLeftOut(t *testing.T) {
	s, err := openStore(t.TempDir(), "standard", "abc", thisMachine(), false, true)
	if err != nil {
		t.Fatal(err)
	}
	s.run.Calibration = &calibration{}
	b := benchmark{env: environment{progress: t.Output()}, store: s, deadline: time.Now().Add(time.Minute)}
	one := suite{repetitions: 1, slots: standard().slots}
	if err := b.run(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	again, err := openStore(filepath.Dir(s.path), "standard", "abc", thisMachine(), false, false)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, r := range again.run.Results {
		if r.Outcome == leftOut {
			left = append(left, r.Contender)
		}
	}
	if diff := cmp.Diff([]string{upshiftParallel, kubectlAtOnce, upshiftParallel, upshiftSurged, upshiftStrict, kubectlLoop, kubectlUnwaited}, left); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
	if again.has("M", upshiftStrict, 1) {
		t.Error("what was left out counts as made")
	}
	if text := markdown(again.run, summarize(again.run)); !strings.Contains(text, "repetition 1, left out: there was no time left for it") {
		t.Errorf("the report does not say what was left out:\n%s", text)
	}
}

func TestAnInterruptedRunGoesOn(t *testing.T) {
	dir := t.TempDir()
	s, err := openStore(dir, "standard", "abc", thisMachine(), false, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.add(result{Workload: "M", Contender: upshiftStrict, Repetition: 1, Outcome: finished, Timeline: []observer.Point{}}); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		suite, commit string
		stock, fresh  bool
		want          bool
	}{
		"the same":                  {suite: "standard", commit: "abc", want: true},
		"another commit":            {suite: "standard", commit: "def"},
		"other controllers":         {suite: "standard", commit: "abc", stock: true},
		"begun anew, by the person": {suite: "standard", commit: "abc", fresh: true},
		"another suite":             {suite: "full", commit: "abc"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := openStore(dir, tt.suite, tt.commit, thisMachine(), tt.stock, tt.fresh)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.has("M", upshiftStrict, 1); got != tt.want {
				t.Errorf("has() = %v, want %v", got, tt.want)
			}
			if s.has("M", upshiftStrict, 2) {
				t.Error("a repetition that was never made is there")
			}
		})
	}
}

func TestWorkloadM(t *testing.T) {
	m, err := find("workload", workloads(), func(w workload) string { return w.name }, "M")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, o := range m.objects() {
		switch o := o.(type) {
		case *appsv1.Deployment:
			kinds[fmt.Sprintf("Deployment of %d", *o.Spec.Replicas)]++
		case *policyv1.PodDisruptionBudget:
			kinds["PDB "+o.Spec.MaxUnavailable.String()]++
		default:
			kinds[fmt.Sprintf("%T", o)]++
		}
	}
	want := map[string]int{
		"Deployment of 12": 20, "Deployment of 18": 10, "Deployment of 20": 5, "Deployment of 10": 1,
		"*v1.StatefulSet": 5, "*v1.DaemonSet": 1, "*v1.Job": 20, "*v1.Pod": 10,
		"PDB 1": 25, "PDB 25%": 10, "PDB 2": 1,
	}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	if m.movable() != 580 || m.replaced() != 560 {
		t.Errorf("%d pods move, %d are replaced, want 580 and 560", m.movable(), m.replaced())
	}
	if got := nominalBounds(m).Parallel; got != 120*time.Second {
		t.Errorf("bound in parallel %s, want 2m0s", got)
	}
}

func workloadNamed(t *testing.T, name string) workload {
	t.Helper()
	w, err := find("workload", workloads(), func(w workload) string { return w.name }, name)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// The nodes that come late must matter.
func TestCapacityIsBoundByTheLastNodes(t *testing.T) {
	w := workloadNamed(t, "capacity")
	got := nominalBounds(w)
	if got.Parallel != 190*time.Second || got.Term != arrivalTerm {
		t.Errorf("bound in parallel %s by %s, want 3 min and a start-up, by %s", got.Parallel, got.Term, arrivalTerm)
	}
	there := 0 // before the last ones come
	for _, a := range w.arrivals() {
		if a.after < slices.Max(w.joins) {
			there += a.pods
		}
	}
	if most := w.replaced() * 3 / 4; there > most {
		t.Errorf("%d of %d pods find room before the last nodes come, want %d at most", there, w.replaced(), most)
	}
}

// A node of the workload packed has five Deployments of six pods, of which one at a time may go: a minute.
func TestPackedIsBoundByItsNodes(t *testing.T) {
	w := workloadNamed(t, "packed")
	b := nominalBounds(w)
	if b.Strict != 20*time.Minute || b.Parallel != time.Minute {
		t.Errorf("bounds %s strict and %s in parallel, want 20 min and 1 min", b.Strict, b.Parallel)
	}
	if got := limit(b); got < b.Strict {
		t.Errorf("a contender is ended after %s, before the %s that it needs at least", got, b.Strict)
	}
	// M's pods are each on the next node, so that no workload has two on one.
	spread := workloadNamed(t, "M")
	spread.groups = []group{{name: "api", kind: deployments, count: 1, replicas: 12, maxUnavailable: manyPDB}}
	if got := nominalBounds(spread).Strict; got != 2*time.Minute {
		t.Errorf("12 pods on 12 of 20 nodes: bound %s strict, want 2 min", got)
	}
}

// Surged first, no pod may be missing, so every Deployment has to be one that can do without that.
func TestEveryDeploymentOfDeploymentsSurges(t *testing.T) {
	for _, o := range workloadNamed(t, "deployments").objects() {
		d, ok := o.(*appsv1.Deployment)
		if !ok {
			continue
		}
		if r := d.Spec.Strategy.RollingUpdate; r == nil || r.MaxUnavailable.String() != "0" || r.MaxSurge.String() != "25%" {
			t.Errorf("%s: rolling update %+v, want maxSurge 25%% and maxUnavailable 0", d.Name, r)
		}
	}
}

// A slow machine excuses little, and what was not measured nothing.
func TestCalibratedRate(t *testing.T) {
	for measured, want := range map[float64]float64{0: 0, 1: minRate, 40: 40} {
		if got := (calibration{PodsPerSecond: measured}).rate(); got != want {
			t.Errorf("of %v pods a second %v count, want %v", measured, got, want)
		}
	}
}

// Neither the old pods nor the time until the first replacement count.
func TestFirstToLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := watch.NewFake()
		pod := func(name string, ready corev1.ConditionStatus) *corev1.Pod {
			return &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Name: name},
				Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}},
			}
		}
		go func() {
			events.Modify(pod("old", corev1.ConditionTrue))
			events.Add(pod("a", corev1.ConditionFalse))
			time.Sleep(5 * time.Second)
			events.Modify(pod("a", corev1.ConditionTrue))
			time.Sleep(time.Second)
			events.Modify(pod("a", corev1.ConditionTrue))
			time.Sleep(2 * time.Second)
			events.Modify(pod("b", corev1.ConditionTrue))
		}()
		if took, err := firstToLast(t.Context(), events, map[string]bool{"old": true}, 2); err != nil || took != 3*time.Second {
			t.Errorf("firstToLast() = %s, %v, want 3s", took, err)
		}
	})
}
