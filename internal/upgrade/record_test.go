package upgrade_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// recordLimit is what a ConfigMap can hold, with some room for its metadata.
const recordLimit = 1<<20 - 32<<10

var recordTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// fullRun has something in every field.
func fullRun(t *testing.T) *upgrade.Run {
	t.Helper()
	s := sample()
	s.Cluster.Pools[0].Autoscaling = upgrade.Autoscaling{Enabled: true, Summary: "1 to 5", Command: "gcloud", Settings: json.RawMessage(`{"enabled":true}`)}
	p := build(t, s, options())
	later := recordTime.Add(time.Hour)
	alice := upgrade.Holder{Who: "alice", Where: "o/r run 1", Link: "https://example.com", Epoch: 3, Since: recordTime}
	web := upgrade.Ref{Kind: "Deployment", Namespace: "default", Name: "web", UID: "w1"}
	pod := upgrade.Ref{Kind: "Pod", Namespace: "default", Name: "web-1", UID: "p1"}
	r := upgrade.NewRun("20260102-030405-abcdef", p, recordTime)
	r.State, r.Ending, r.FinishedAt, r.Problem = upgrade.Paused, upgrade.RolledBack, &later, "a problem"
	r.Waiting = []upgrade.Waiting{{Object: pod, Node: "n1", Reason: "a reason", Budget: "default/web", Passing: true}}
	r.Next = []string{"look"}
	r.Tasks, r.Yielded = []upgrade.Task{{Step: "await-node/p/n1", Node: "n1", What: "upgrade it", Commands: []string{"ssh n1"}, Since: recordTime}}, true
	r.ReplacedPools["default-pool"] = "default-pool-1-34-2-gke-100"
	r.Removed = map[string]string{"gpu-1-34-2-gke-100": "stock-out"}
	r.Frozen["default-pool"] = s.Cluster.Pools[0].Autoscaling
	r.TakenBy(alice)
	r.Steps[0].State, r.Steps[0].StartedAt, r.Steps[0].FinishedAt, r.Steps[0].Operation = upgrade.StepDone, &recordTime, &later, "operation-1"
	r.Step("drain-node/default-pool/n1").Baseline = &upgrade.Baseline{
		Pods: []upgrade.Resident{{Pod: pod, Workload: web}}, Ready: map[string]int{"w1": 2}, Homeless: []string{"p9"}, Unserved: []string{"w1/default/web"}, Foreign: []string{"w7"},
	}
	r.Moves = []upgrade.Move{{Pod: pod, Workload: web, Node: "n1", At: recordTime}, {Pod: upgrade.Ref{Kind: "Pod", Namespace: "default", Name: "bare", UID: "p2"}, Node: "n1", At: later}}
	r.Unlisted = 5
	r.CountDrained()
	r.Acknowledge(upgrade.Request{Verb: upgrade.AskUnblock, Arguments: []string{"skip:n1"}, Run: r.ID, By: "bob", At: later, Sequence: 4}, "too late")
	r.Forced = []upgrade.Forced{{Pod: pod, By: "bob", At: later}}
	r.Restarts = []upgrade.Restarted{{Workload: web, Pool: "default-pool", At: "b", Before: "a", Undoes: true, State: upgrade.RestartLeft, Why: "it is gone", By: "bob"}}
	r.Granted = []upgrade.Consent{upgrade.AllowBarePods}
	r.Requester, r.Slack = &upgrade.Person{Name: "bob", ID: "U2"}, &upgrade.Thread{Channel: "C1", Timestamp: "1.2"}
	r.Approvals = []upgrade.Approval{{By: "carol", Approved: true, At: recordTime, Where: "Slack"}}
	return r
}

func encode(t *testing.T, r *upgrade.Run, limit int) []byte {
	t.Helper()
	data, err := r.Encode(limit)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > limit {
		t.Fatalf("%d bytes, and %d are allowed", len(data), limit)
	}
	return data
}

func decode(t *testing.T, data []byte) *upgrade.Run {
	t.Helper()
	r, err := upgrade.DecodeRun(data)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestARunIsReadAsItWasWritten(t *testing.T) {
	want := fullRun(t)
	for i, v := 0, reflect.ValueOf(*want); i < v.NumField(); i++ {
		if name := v.Type().Field(i).Name; v.Field(i).IsZero() && name != "NodesDrained" {
			t.Errorf("%s is empty: this test proves nothing of it", name)
		}
	}
	got := decode(t, encode(t, want, recordLimit))
	// What the plan does not write is not there.
	want.Plan.Cluster.Pools, want.Plan.Cluster.Versions = nil, upgrade.Versions{}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestANewRunIsReadWithMapsThatCanBeWritten(t *testing.T) {
	r := decode(t, encode(t, upgrade.NewRun("1", upgrade.Plan{}, recordTime), recordLimit))
	r.ReplacedPools["a"] = "b"
	r.Frozen["a"] = upgrade.Autoscaling{}
}

func TestARecordOfAnotherVersionIsRefused(t *testing.T) {
	data := string(encode(t, fullRun(t), recordLimit))
	for name, c := range map[string]struct{ data, want string }{
		"version": {strings.Replace(data, `"upshift.dev/v1"`, `"upshift.dev/v2"`, 1), "a Run of upshift.dev/v2, and this version of Upshift reads a Run of upshift.dev/v1"},
		"kind":    {strings.Replace(data, `"Run"`, `"Plan"`, 1), "a Plan of upshift.dev/v1"},
		"nothing": {`{}`, "reads a Run"},
		"no JSON": {data[:len(data)/2], "read the record of a run"},
	} {
		if r, err := upgrade.DecodeRun([]byte(c.data)); err == nil || r != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, %v, want %q", name, r, err, c.want)
		}
	}
}

// bigRun has moved 30 pods from each of so many nodes; one pod of each hundred nodes was bare.
func bigRun(nodes int) *upgrade.Run {
	uid := func(kind, i int) string { return fmt.Sprintf("%08x-6b1f-4c02-9d3e-%012x", kind, i) }
	p := upgrade.Plan{APIVersion: upgrade.APIVersion, Kind: "Plan", Digest: "sha256:" + strings.Repeat("0", 64), Cluster: upgrade.Cluster{Name: "cluster-1"}, Findings: []upgrade.Finding{}, Consents: []upgrade.Consent{}}
	pool := upgrade.PoolPlan{Name: "default-pool", Action: upgrade.Migrate, Nodes: []string{}, PodsToMove: nodes * 30}
	p.Steps = append(p.Steps, upgrade.NewStep(upgrade.CreatePool, pool.Name, ""), upgrade.NewStep(upgrade.WaitNodes, pool.Name, ""), upgrade.NewStep(upgrade.CordonPool, pool.Name, ""))
	for i := range nodes {
		name := fmt.Sprintf("gke-production-europe-default-pool-%08x-%04x", i*7919, i)
		pool.Nodes = append(pool.Nodes, name)
		p.Steps = append(p.Steps, upgrade.NewStep(upgrade.DrainNode, pool.Name, name))
	}
	p.Pools = []upgrade.PoolPlan{pool}
	p.Findings = append(p.Findings, upgrade.Finding{Check: "emptydir", Severity: upgrade.Warning, Problem: "loses what its pods keep", Evidence: pool.Nodes})
	r := upgrade.NewRun("20260102-030405-abcdef", p, recordTime)
	for i := range r.Steps {
		s := &r.Steps[i]
		at := recordTime.Add(time.Duration(i) * 1234567891)
		s.State, s.StartedAt, s.FinishedAt = upgrade.StepDone, &at, &at
		if s.Kind != upgrade.DrainNode {
			continue
		}
		for j := range 30 {
			n := i*30 + j
			m := upgrade.Move{
				Pod:      upgrade.Ref{Kind: "Pod", Namespace: "team-checkout", Name: fmt.Sprintf("recommendation-frontend-service-%010x-%05x", n*31, n), UID: uid(1, n)},
				Workload: upgrade.Ref{Kind: "Deployment", Namespace: "team-checkout", Name: fmt.Sprintf("recommendation-frontend-service-of-team-%d", j), UID: uid(2, j)},
				Node:     s.Node, At: at,
			}
			if j == 0 && i%100 == 3 {
				m.Workload = upgrade.Ref{}
			}
			r.Moves = append(r.Moves, m)
		}
	}
	r.CountDrained()
	return r
}

func TestARunOf1000NodesFitsIntoItsRecord(t *testing.T) {
	r := bigRun(1000)
	before, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	data := encode(t, r, recordLimit)
	if after, err := json.Marshal(r); err != nil || string(after) != string(before) {
		t.Errorf("the run itself was changed: %v", err)
	}
	got := decode(t, data)
	t.Logf("%d bytes as it is; %d in the record, with %d of %d moves", len(before), len(data), len(got.Moves), len(r.Moves))
	if moved, lost := got.PodsMoved(), len(got.PodsLost()); moved != 30_000-10 || lost != 10 {
		t.Errorf("%d pods moved and %d lost, want 29990 and 10", moved, lost)
	}
	if diff := cmp.Diff(r.PodsLost(), got.PodsLost()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(r.Steps, got.Steps); diff != "" {
		t.Error(diff)
	}
	if got.NodesDrained != 1000 {
		t.Errorf("%d nodes drained", got.NodesDrained)
	}

	// Another holder goes on with what it read.
	got.Moves = append(got.Moves, r.Moves[1])
	again := decode(t, encode(t, got, recordLimit))
	if again.PodsMoved() != 30_000-10+1 || len(again.PodsLost()) != 10 {
		t.Errorf("%d pods moved and %d lost after another move", again.PodsMoved(), len(again.PodsLost()))
	}
}

func TestTheNewestMovesStayInTheRecord(t *testing.T) {
	r := bigRun(1000)
	got := decode(t, encode(t, r, recordLimit))
	if len(got.Moves) < 11 {
		t.Fatalf("%d moves are listed", len(got.Moves))
	}
	if diff := cmp.Diff(r.Moves[len(r.Moves)-1], got.Moves[len(got.Moves)-1]); diff != "" {
		t.Error(diff)
	}
}

// TestRestartsFitIntoTheRecord: what is needed to go on with two thousand of them is there, and the run itself is not changed.
func TestRestartsFitIntoTheRecord(t *testing.T) {
	r := bigRun(1000)
	step := upgrade.NewStep(upgrade.SurgeFirst, "default-pool", "")
	step.State, step.StartedAt, step.Baseline = upgrade.StepRunning, &recordTime, &upgrade.Baseline{Ready: map[string]int{}}
	pool := &r.Plan.Pools[0]
	for i, m := range r.Moves[:20_000] {
		w := upgrade.Ref{Kind: "Deployment", Namespace: "team-checkout", Name: fmt.Sprintf("recommendation-frontend-service-of-team-%d", i), UID: fmt.Sprintf("%08x-6b1f-4c02-9d3e-%012x", i, i)}
		step.Baseline.Pods = append(step.Baseline.Pods, upgrade.Resident{Pod: m.Pod, Workload: w, Node: m.Node})
		if i < 2000 {
			pool.Restarts = append(pool.Restarts, upgrade.Restart{Workload: w, Pods: 10})
			r.Restarts = append(r.Restarts, upgrade.Restarted{Workload: w, Pool: pool.Name, At: "2026-01-02T03:04:05Z", State: upgrade.RestartBegun})
			step.Baseline.Ready[w.UID] = 10
		}
	}
	r.Steps = append(r.Steps, step)
	got := decode(t, encode(t, r, recordLimit))
	if diff := cmp.Diff(r.Restarts, got.Restarts); diff != "" {
		t.Error(diff)
	}
	if first := got.Step(step.ID).Baseline; first == nil || len(first.Ready) != 2000 {
		t.Error("what the restarts are measured against is not there")
	}
	if len(pool.Restarts) != 2000 || len(r.Step(step.ID).Baseline.Pods) != 20_000 {
		t.Error("the run itself was changed")
	}
}

// TestADrainOfVeryManyNodesAtOnceFitsIntoTheRecord: what each is measured against is kept, and the run itself is not changed.
func TestADrainOfVeryManyNodesAtOnceFitsIntoTheRecord(t *testing.T) {
	r := bigRun(1)
	for n := range 400 {
		step := upgrade.NewStep(upgrade.DrainNode, "default-pool", fmt.Sprintf("node-%d", n))
		step.State, step.StartedAt, step.Baseline = upgrade.StepRunning, &recordTime, &upgrade.Baseline{Ready: map[string]int{}}
		for i := range 20 {
			w := upgrade.Ref{Kind: "Deployment", Namespace: "team-checkout", Name: fmt.Sprintf("recommendation-%d", i), UID: fmt.Sprintf("%08x-6b1f-4c02-9d3e-%012x", i, i)}
			pod := upgrade.Ref{Kind: "Pod", Namespace: w.Namespace, Name: fmt.Sprintf("%s-%d", w.Name, n), UID: fmt.Sprintf("%08x-6b1f-4c02-9d3e-%012x", n, i)}
			step.Baseline.Pods = append(step.Baseline.Pods, upgrade.Resident{Pod: pod, Workload: w})
			step.Baseline.Ready[w.UID] = 10
		}
		r.Steps = append(r.Steps, step)
	}
	got := decode(t, encode(t, r, recordLimit))
	last := r.Steps[len(r.Steps)-1]
	if first := got.Step(last.ID).Baseline; first == nil || len(first.Ready) != 20 {
		t.Error("what the last drain is measured against is not there")
	}
	if len(last.Baseline.Pods) != 20 {
		t.Error("the run itself was changed")
	}
}

// TestRestartsThatWereNotNotedYetStayInTheRecord: the step's beginning is saved before the run notes what it restarts, and a process can be killed
// in between.
func TestRestartsThatWereNotNotedYetStayInTheRecord(t *testing.T) {
	r := bigRun(10)
	step := upgrade.NewStep(upgrade.SurgeFirst, "default-pool", "")
	step.State, step.StartedAt = upgrade.StepRunning, &recordTime
	r.Steps = append(r.Steps, step)
	pool := &r.Plan.Pools[0]
	for _, name := range []string{"noted", "new"} {
		pool.Restarts = append(pool.Restarts, upgrade.Restart{Workload: upgrade.Ref{Kind: "Deployment", Namespace: "ns", Name: name, UID: name}, Pods: 1})
	}
	r.Restarts = []upgrade.Restarted{
		{Workload: pool.Restarts[0].Workload, Pool: pool.Name, State: upgrade.RestartIntended},
		{Workload: pool.Restarts[1].Workload, Pool: "another", State: upgrade.RestartDone},
	}
	whole, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	// The smallest record that still holds all that is needed.
	var got *upgrade.Run
	for limit := len(whole) - 1; ; limit -= 100 {
		data, err := r.Encode(limit)
		if err != nil {
			break
		}
		got = decode(t, data)
	}
	if diff := cmp.Diff(pool.Restarts[1:], got.Plan.Pools[0].Restarts); diff != "" {
		t.Error(diff)
	}
}

func TestARunThatCannotFitIsAnError(t *testing.T) {
	r := bigRun(10)
	if data, err := r.Encode(1000); err == nil || data != nil || !strings.Contains(err.Error(), "1000 are allowed") {
		t.Errorf("got %d bytes, %v", len(data), err)
	}
	if len(r.Moves) != 300 || r.Unlisted != 0 || len(r.Plan.Steps) == 0 {
		t.Error("the run itself was changed")
	}
}
