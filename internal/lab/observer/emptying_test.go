package observer

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// poolNode is a node of the pool "old" or "new".
func poolNode(name, pool string, cordoned bool) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("node/" + name)}}
	n.Labels = map[string]string{"pool": pool}
	n.Spec.Unschedulable = cordoned
	return n
}

// emptied is what is seen of two old nodes and a new one, on which web runs with two pods, both on old nodes.
func emptied(t *testing.T, more []any, steps ...step) Emptied {
	t.Helper()
	r := newRecorder()
	r.emptying = newEmptying(labels.SelectorFromSet(labels.Set{"pool": "old"}))
	for _, obj := range with(web(2), with([]any{poolNode("node-0", "old", false), poolNode("node-1", "old", false), poolNode("node-2", "new", false)}, more...)...) {
		r.saw(t0, mustFact(t, obj))
	}
	r.begin(t0)
	for _, s := range steps {
		if s.gone {
			r.lost(moment(s.seconds), mustFact(t, s.obj))
		} else {
			r.saw(moment(s.seconds), mustFact(t, s.obj))
		}
	}
	return *r.end(moment(100)).Emptied
}

// moveBoth takes web's pods from the old nodes to the new one, the second replacement Ready at 30 s.
func moveBoth() []step {
	return []step{
		at(10, newPod("web-0", "node-0", terminating)),
		at(11, newPod("web-8", "node-2", unready)),
		at(15, newPod("web-8", "node-2")),
		gone(16, newPod("web-0", "node-0", terminating)),
		at(20, newPod("web-1", "node-1", terminating)),
		gone(25, newPod("web-1", "node-1", terminating)),
		at(26, newPod("web-9", "node-2", unready)),
		at(30, newPod("web-9", "node-2")),
	}
}

func TestEmptied(t *testing.T) {
	agent := newPod("agent-0", "node-0", of("DaemonSet", "agent"), uid("agent-0"))
	lone := newPod("lone", "node-0", bare, app("lone"), uid("lone"))
	late := newPod("late", "node-1", bare, app("late"), uid("late"))
	for _, tt := range []struct {
		name         string
		more         []any
		steps        []step
		began, ended float64 // 0: never
	}{
		{"nothing happens", nil, nil, 0, 0},
		{"a cordon begins it", nil, []step{at(5, poolNode("node-0", "old", true))}, 5, 0},
		{"a cordon of a new node does not", nil, []step{at(5, poolNode("node-2", "new", true))}, 0, 0},
		{"an eviction begins it, the last Ready replacement ends it", nil, moveBoth(), 10, 30},
		{"DaemonSets' and finished pods stay", []any{agent, newPod("done", "node-0", bare, app("done"), uid("done"), phase(corev1.PodSucceeded))}, moveBoth(), 10, 30},
		{"a bare pod has to go", []any{lone}, moveBoth(), 10, 0},
		{"a bare pod that has gone", []any{lone}, append(moveBoth(), gone(40, lone)), 10, 40},
		{"a pod that terminates has not gone", []any{lone}, append(moveBoth(), at(40, newPod("lone", "node-0", bare, app("lone"), uid("lone"), terminating))), 10, 0},
		{"a pod lands on an old node later", nil, append(moveBoth(), at(40, late), gone(50, late)), 10, 50},
		{"a replacement fails later", nil, append(moveBoth(), at(40, newPod("web-9", "node-2", unready)), at(60, newPod("web-9", "node-2"))), 10, 60},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := emptied(t, tt.more, tt.steps...)
			if got := since(got.Began); got != tt.began {
				t.Errorf("began after %v s, want %v", got, tt.began)
			}
			if got := since(got.Ended); got != tt.ended {
				t.Errorf("ended after %v s, want %v", got, tt.ended)
			}
		})
	}
}

// since are the seconds from t0, and 0 if it was never.
func since(at time.Time) float64 {
	if at.IsZero() {
		return 0
	}
	return at.Sub(t0).Seconds()
}

func TestEmptiedTimeline(t *testing.T) {
	got := emptied(t, nil, append(moveBoth(), at(30.2, newPod("web-9", "node-2", unready)))...)
	want := []Point{
		{0, 2, 0}, {10, 1, 0}, {11, 1, 0}, {15, 1, 1}, {16, 1, 1}, {20, 0, 1}, {25, 0, 1}, {26, 0, 1},
		{30, 0, 1}, // what happens within half a second is one point
	}
	if diff := cmp.Diff(want, got.Timeline); diff != "" {
		t.Errorf("timeline (-want +got):\n%s", diff)
	}
}

func TestEmptiedNodesJoin(t *testing.T) {
	if got := emptied(t, nil); !got.Joined.IsZero() {
		t.Errorf("joined at %v, though no node came", got.Joined)
	}
	got := emptied(t, nil, at(6, poolNode("node-2", "new", true)), at(7, poolNode("node-3", "new", false)), at(8, poolNode("node-4", "new", false)))
	if since(got.Joined) != 7 {
		t.Errorf("joined after %v s, want 7", since(got.Joined))
	}
}
