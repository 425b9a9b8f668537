package observer

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// moves are the pods that a workload lost and got.
type moves struct {
	left, came []*tracked
}

// ended reports whether the pod's end is settled: nothing undoes a deletion.
func (p pod) ended() bool { return p.terminating || p.finished() }

// follow notes that a pod came to its node, or that it leaves it.
func (r *recorder) follow(t *tracked) {
	w := t.workload
	if w != nil && t.fresh && !t.arrived && t.node != "" {
		t.arrived = true
		w.came = append(w.came, t)
	}
	if t.phase == corev1.PodSucceeded {
		delete(r.interrupted, t.uid) // it finished within its grace
	}
	if t.departed || !t.ended() {
		return
	}
	t.departed = true
	switch {
	case t.mirror:
	case w == nil:
		if !t.finished() {
			r.bare = append(r.bare, t.object)
		}
	case w.kind == "DaemonSet", t.node == "":
	case w.kind == "Job" && t.finished():
	default:
		w.left = append(w.left, t)
		if w.kind == "Job" && t.phase == corev1.PodRunning && r.jobOpen(w) {
			r.interrupted[t.uid] = t.object
		}
	}
}

func (r *recorder) jobOpen(w *workload) bool {
	job, ok := r.owners[w.uid]
	return ok && !job.closed
}

// count pairs each pod that left with one that came to another node: how many
// pairs there are, and how many of those that left had come themselves. Order
// does not matter, for a rollout's new pod comes before the old one leaves.
func (m moves) count(sameName bool) (moved, again int) {
	taken := map[types.UID]bool{}
	for _, old := range m.left {
		for _, t := range m.came {
			if taken[t.uid] || t.node == old.node || sameName && t.name != old.name {
				continue
			}
			taken[t.uid] = true
			moved++
			if old.fresh {
				again++
			}
			break
		}
	}
	return moved, again
}

// bareLost are the bare pods that were removed and that nobody made again.
func (r *recorder) bareLost() []object {
	there := map[string]bool{}
	for _, t := range r.pods {
		if !t.terminating {
			there[t.String()] = true
		}
	}
	var lost []object
	for _, o := range r.bare {
		if !there[o.String()] {
			lost = append(lost, o)
		}
	}
	return lost
}
