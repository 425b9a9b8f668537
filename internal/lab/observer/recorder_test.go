package observer

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

func TestLeastReady(t *testing.T) {
	db := func(u, node string, options ...func(*corev1.Pod)) *corev1.Pod {
		return newPod("db-0", node, append(options, of("StatefulSet", "db"), uid(u))...)
	}
	row := func(w Workload) []Workload {
		w.Kind, w.Namespace, w.Name = "Deployment", "default", "web"
		return []Workload{w}
	}
	none := []Workload{}
	for _, tt := range []struct {
		name  string
		objs  []any
		steps []step
		want  []Workload
	}{
		{"nothing happens", web(3), nil, row(Workload{Measured: true, Wanted: 3, LeastReady: 3})},
		{"a terminating pod is not Ready", web(3), []step{
			at(10, newPod("web-0", "node-0", terminating)),
			at(12, newPod("web-9", "node-0", unready)),
			at(20, newPod("web-9", "node-0")),
			gone(40, newPod("web-0", "node-0")),
		}, row(Workload{Measured: true, Wanted: 3, LeastReady: 2, BelowWantedSeconds: 10})},
		{"surged first, it never dips", web(1), []step{
			at(10, newPod("web-9", "node-0")),
			at(11, newPod("web-0", "node-0", terminating)),
		}, row(Workload{Measured: true, Wanted: 1, LeastReady: 1})},
		{"an outage", web(2), []step{
			at(10, newPod("web-0", "node-0", unready)),
			at(20, newPod("web-1", "node-1", unready)),
			at(25, newPod("web-1", "node-1")),
			at(40, newPod("web-0", "node-0")),
		}, row(Workload{Measured: true, Wanted: 2, BelowWantedSeconds: 30, ZeroReadySeconds: 5})},
		{"scaled down by its user", web(3), []step{
			at(10, deployment("web", 1)),
			gone(11, newPod("web-0", "node-0")),
			gone(11, newPod("web-1", "node-1")),
		}, row(Workload{Measured: true, Wanted: 1, LeastReady: 1})},
		{"scaled down while it is short", web(3), []step{
			at(10, newPod("web-0", "node-0", unready)),
			at(15, deployment("web", 2)),
		}, row(Workload{Measured: true, Wanted: 2, LeastReady: 2, BelowWantedSeconds: 5})},
		{"scaled down and up while it is short", web(4), []step{
			at(10, newPod("web-0", "node-0", unready)),
			at(10, newPod("web-1", "node-1", unready)),
			at(20, deployment("web", 3)),
			at(25, deployment("web", 5)),
			at(30, newPod("web-0", "node-0")),
		}, row(Workload{Measured: true, Wanted: 5, LeastReady: 2, BelowWantedSeconds: 20})},
		{"two watches arrive the other way round", web(1), []step{
			at(10, newPod("web-0", "node-0", unready)),
			at(9, deployment("web", 0)),
		}, row(Workload{Measured: true})},
		{"a bare pod that it adopted", []any{
			deployment("web", 1), replicaSet("web-rs", "web"), newPod("web-0", "node-0", bare),
		}, []step{
			at(10, newPod("web-0", "node-0")),
			at(20, newPod("web-0", "node-0", unready)),
			at(25, newPod("web-0", "node-0")),
		}, row(Workload{Measured: true, Wanted: 1, BelowWantedSeconds: 5, ZeroReadySeconds: 5})},
		{"scaled to zero and back", web(1), []step{
			at(10, deployment("web", 0)),
			gone(11, newPod("web-0", "node-0")),
			at(20, deployment("web", 1)),
			at(21, newPod("web-9", "node-0", unready)),
			at(30, newPod("web-9", "node-0")),
		}, row(Workload{Measured: true, Wanted: 1, LeastReady: 1})},
		{"scaled up: what it had still counts", web(2), []step{
			at(10, deployment("web", 3)),
			at(11, newPod("web-2", "node-2", unready)),
			at(20, newPod("web-1", "node-1", unready)),
			at(25, newPod("web-1", "node-1")),
			at(30, newPod("web-2", "node-2")),
		}, row(Workload{Measured: true, Wanted: 3, LeastReady: 1, BelowWantedSeconds: 5})},
		{"created meanwhile: rising is no outage", nil, []step{
			at(1, deployment("web", 2)), at(1, replicaSet("web-rs", "web")),
			at(2, newPod("web-0", "node-0", unready)),
			at(3, newPod("web-1", "node-1", unready)),
			at(4, newPod("web-0", "node-0")),
			at(5, newPod("web-1", "node-1")),
		}, row(Workload{Measured: true, Wanted: 2, LeastReady: 2})},
		{"never complete", []any{
			deployment("web", 2), replicaSet("web-rs", "web"), newPod("web-0", "node-0"),
		}, []step{at(10, newPod("web-0", "node-0", unready))}, none},
		{"deleted by its user", web(1), []step{
			gone(10, deployment("web", 1)),
			gone(11, newPod("web-0", "node-0")),
		}, row(Workload{Measured: true, Wanted: 1, LeastReady: 1})},
		{"a StatefulSet's pod comes back under its name", []any{statefulSet("db", 1), db("1", "node-0")}, []step{
			at(10, db("1", "node-0", terminating)),
			gone(20, db("1", "node-0")),
			at(20, db("2", "node-0", unready)),
			at(30, db("2", "node-0")),
		}, []Workload{{Kind: "StatefulSet", Namespace: "default", Name: "db", Measured: true, Wanted: 1, BelowWantedSeconds: 20, ZeroReadySeconds: 20}}},
		{"a ReplicaSet of its own", []any{replicaSet("web-rs", ""), newPod("web-0", "node-0")}, nil,
			[]Workload{{Kind: "ReplicaSet", Namespace: "default", Name: "web-rs", Measured: true, Wanted: 1, LeastReady: 1}}},
		{"an owner that does not exist", []any{newPod("web-0", "node-0")}, []step{
			gone(10, newPod("web-0", "node-0")),
		}, none},
		{"a DaemonSet is not measured", []any{newPod("agent-0", "node-0", of("DaemonSet", "agent"))}, []step{
			gone(10, newPod("agent-0", "node-0", of("DaemonSet", "agent"))),
		}, none},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := witness(t, tt.objs, tt.steps...).Workloads
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("workloads (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPodsMoved(t *testing.T) {
	db := func(name, u, node string, options ...func(*corev1.Pod)) *corev1.Pod {
		return newPod(name, node, append(options, of("StatefulSet", "db"), uid(u))...)
	}
	batch := func(name, node string, options ...func(*corev1.Pod)) *corev1.Pod {
		return newPod(name, node, append(options, of("Job", "batch"))...)
	}
	agent, tool := of("DaemonSet", "agent"), newPod("tool", "node-0", bare)
	type counts struct {
		Moved, Again int
		Bare, Jobs   []string
	}
	for _, tt := range []struct {
		name  string
		objs  []any
		steps []step
		want  counts
	}{
		{"evicted, replaced elsewhere", web(1), []step{
			at(1, newPod("web-0", "node-0", terminating)),
			at(2, newPod("web-9", "", phase(corev1.PodPending))),
			at(3, newPod("web-9", "new-0", phase(corev1.PodPending))),
			gone(9, newPod("web-0", "node-0")),
		}, counts{Moved: 1}},
		{"surged first: the replacement comes before", web(1), []step{
			at(1, newPod("web-9", "new-0")),
			at(2, newPod("web-0", "node-0", terminating)),
		}, counts{Moved: 1}},
		{"restarted on its node", web(1), []step{
			gone(1, newPod("web-0", "node-0")),
			at(2, newPod("web-9", "node-0")),
		}, counts{}},
		{"a replacement without a node", web(1), []step{
			gone(1, newPod("web-0", "node-0")),
			at(2, newPod("web-9", "", phase(corev1.PodPending))),
		}, counts{}},
		{"moved twice", web(1), []step{
			gone(1, newPod("web-0", "node-0")),
			at(2, newPod("web-8", "node-1")),
			gone(3, newPod("web-8", "node-1")),
			at(4, newPod("web-9", "new-0")),
		}, counts{Moved: 2, Again: 1}},
		{"scaled down", web(2), []step{
			at(1, deployment("web", 1)),
			gone(2, newPod("web-0", "node-0")),
		}, counts{}},
		{"scaled up", web(1), []step{
			at(1, deployment("web", 2)),
			at(2, newPod("web-9", "new-0")),
		}, counts{}},
		{"each replacement counts once", web(2), []step{
			gone(1, newPod("web-0", "node-0")),
			gone(1, newPod("web-1", "node-1")),
			at(2, newPod("web-9", "new-0")),
		}, counts{Moved: 1}},
		{"a pod leaves once, however long that takes", web(1), []step{
			at(1, newPod("web-0", "node-0", terminating)),
			at(2, newPod("web-0", "node-0", terminating, unready)),
			at(2, newPod("web-8", "new-0")),
			at(3, deployment("web", 2)),
			at(4, newPod("web-9", "new-1")),
		}, counts{Moved: 1}},
		{"failed by its node, then collected", web(1), []step{
			at(1, newPod("web-0", "node-0", phase(corev1.PodFailed))),
			at(2, newPod("web-9", "new-0")),
			gone(3, newPod("web-0", "node-0", phase(corev1.PodFailed))),
		}, counts{Moved: 1}},
		{"was terminating at the start", []any{newPod("web-0", "node-0", terminating)}, []step{
			at(1, newPod("web-0", "node-0", terminating, unready)),
			gone(2, newPod("web-0", "node-0", terminating)),
			at(3, newPod("web-9", "new-0")),
		}, counts{}},
		{"StatefulSet pods are paired by name", []any{
			statefulSet("db", 2), db("db-0", "1", "node-0"), db("db-1", "2", "node-1"),
		}, []step{
			gone(1, db("db-0", "1", "node-0")),
			gone(1, db("db-1", "2", "node-1")),
			at(2, db("db-0", "3", "node-0")), // back where it was
			at(2, db("db-1", "4", "new-0")),
		}, counts{Moved: 1}},
		{"DaemonSet and mirror pods do not move", []any{
			newPod("agent-0", "node-0", agent), newPod("proxy-0", "node-0", mirror),
		}, []step{
			gone(1, newPod("agent-0", "node-0", agent)),
			gone(1, newPod("proxy-0", "node-0", mirror)),
			at(2, newPod("agent-9", "new-0", agent)),
			at(2, newPod("proxy-9", "new-0", mirror)),
		}, counts{}},
		{"a bare pod", []any{tool}, []step{
			at(1, newPod("tool", "node-0", bare, terminating)),
			at(2, newPod("tool", "node-0", bare, terminating, unready)),
			gone(3, tool),
		}, counts{Bare: []string{"default/tool"}}},
		{"a bare pod that was made again", []any{tool}, []step{
			gone(1, tool),
			at(2, newPod("tool", "new-0", bare, uid("2"))),
		}, counts{}},
		{"a bare pod that had finished", []any{tool}, []step{
			at(1, newPod("tool", "node-0", bare, phase(corev1.PodSucceeded))),
			gone(2, newPod("tool", "node-0", bare, phase(corev1.PodSucceeded))),
		}, counts{}},
		{"a Job's pod, interrupted", []any{job("batch"), batch("batch-0", "node-0")}, []step{
			at(1, batch("batch-0", "node-0", terminating)),
			at(2, batch("batch-1", "new-0")),
		}, counts{Moved: 1, Jobs: []string{"default/batch-0"}}},
		{"a Job's pod that finished, then was removed", []any{job("batch"), batch("batch-0", "node-0")}, []step{
			at(1, batch("batch-0", "node-0", phase(corev1.PodSucceeded))),
			at(2, batch("batch-1", "new-0")),
			gone(3, batch("batch-0", "node-0", phase(corev1.PodSucceeded))),
		}, counts{}},
		{"a Job's pod that finished within its grace", []any{job("batch"), batch("batch-0", "node-0")}, []step{
			at(1, batch("batch-0", "node-0", terminating)),
			at(2, batch("batch-0", "node-0", terminating, phase(corev1.PodSucceeded))),
			gone(3, batch("batch-0", "node-0")),
		}, counts{}},
		{"a Job that is complete ends its pods itself", []any{job("batch"), batch("batch-0", "node-0")}, []step{
			at(1, job("batch", batchv1.JobSuccessCriteriaMet)),
			at(2, batch("batch-0", "node-0", terminating)),
		}, counts{}},
		{"a Job that its user deleted", []any{job("batch"), batch("batch-0", "node-0")}, []step{
			gone(1, job("batch")),
			gone(2, batch("batch-0", "node-0")),
		}, counts{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := witness(t, tt.objs, tt.steps...)
			got := counts{r.PodsMoved, r.PodsMovedAgain, r.BarePodsLost, r.JobPodsInterrupted}
			tt.want.Bare = append([]string{}, tt.want.Bare...)
			tt.want.Jobs = append([]string{}, tt.want.Jobs...)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestServices(t *testing.T) {
	for _, tt := range []struct {
		name  string
		objs  []any
		steps []step
		want  []Service
	}{
		{"a dip and an outage", []any{slice("web-1", "web", "a", "b")}, []step{
			at(10, slice("web-1", "web", "a")),
			at(20, slice("web-1", "web")),
			at(22.5, slice("web-1", "web", "c")),
		}, []Service{{Name: "web", MostReady: 2, NoneSeconds: 2.5}}},
		{"slices add up, and a pod in two counts once",
			[]any{slice("web-1", "web", "a", "b"), slice("web-2", "web", "b", "c")}, []step{
				gone(10, slice("web-2", "web")),
			}, []Service{{Name: "web", MostReady: 3, LeastReady: 2}}},
		{"counted from its first endpoint", nil, []step{
			at(1, slice("web-1", "web")),
			at(2, slice("web-1", "web", "a")),
			at(3, slice("web-1", "web", "a", "b")),
		}, []Service{{Name: "web", MostReady: 2, LeastReady: 1}}},
		{"deleted by its user", []any{slice("web-1", "web", "a")}, []step{
			gone(10, slice("web-1", "web", "a")),
		}, []Service{{Name: "web", MostReady: 1, LeastReady: 1}}},
		{"without endpoints", []any{slice("web-1", "web")}, nil, []Service{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for i := range tt.want {
				tt.want[i].Namespace = "default"
			}
			if diff := cmp.Diff(tt.want, witness(t, tt.objs, tt.steps...).Services); diff != "" {
				t.Errorf("services (-want +got):\n%s", diff)
			}
		})
	}
}
