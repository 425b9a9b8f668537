package observer

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestFloorIsRoundedAsKubernetesDoes(t *testing.T) {
	for _, tt := range []struct {
		name     string
		spec     policyv1.PodDisruptionBudgetSpec
		expected int
		want     int
	}{
		{"minAvailable number", minAvailable("2"), 3, 2},
		{"minAvailable number above the scale", minAvailable("5"), 3, 5},
		{"minAvailable percentage rounds up", minAvailable("50%"), 7, 4},
		{"minAvailable 100%", minAvailable("100%"), 3, 3},
		{"minAvailable 1%", minAvailable("1%"), 3, 1},
		{"maxUnavailable number", maxUnavailable("1"), 3, 2},
		{"maxUnavailable above the scale", maxUnavailable("5"), 3, 0},
		{"maxUnavailable percentage rounds up", maxUnavailable("30%"), 7, 4},
		{"maxUnavailable 0%", maxUnavailable("0%"), 3, 3},
		{"neither", policyv1.PodDisruptionBudgetSpec{}, 3, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := budget{spec: tt.spec}.floor(tt.expected)
			if err != nil || got != tt.want {
				t.Errorf("floor of %d expected = %d, %v; want %d", tt.expected, got, err, tt.want)
			}
		})
	}
}

func TestViolations(t *testing.T) {
	web0 := func(s float64, healthy, floor int, pdb string) Violation {
		return Violation{At: moment(s), Pod: "default/web-0", Node: "node-0", PDB: "default/" + pdb, Healthy: healthy, Floor: floor}
	}
	web1 := func(s float64, healthy, floor int, pdb string) Violation {
		return Violation{At: moment(s), Pod: "default/web-1", Node: "node-1", PDB: "default/" + pdb, Healthy: healthy, Floor: floor}
	}
	two := with(web(3), newPDB("web", minAvailable("2")))
	for _, tt := range []struct {
		name  string
		objs  []any
		steps []step
		want  []Violation
	}{
		{"one of three may end", two, []step{at(1, newPod("web-0", "node-0", terminating))}, nil},
		{"the second at once may not", two, []step{
			at(1, newPod("web-0", "node-0", terminating)),
			at(2, newPod("web-1", "node-1", terminating)),
		}, []Violation{web1(2, 1, 2, "web")}},
		{"a termination counts once, not again when the pod is gone", two, []step{
			at(1, newPod("web-0", "node-0", terminating)),
			at(2, newPod("web-1", "node-1", terminating)),
			at(3, newPod("web-1", "node-1", terminating, unready)),
			gone(4, newPod("web-1", "node-1", terminating)),
		}, []Violation{web1(2, 1, 2, "web")}},
		{"a pod that vanishes without terminating", two, []step{
			gone(1, newPod("web-0", "node-0")),
			gone(2, newPod("web-1", "node-1")),
		}, []Violation{web1(2, 1, 2, "web")}},
		{"a replacement that is Ready makes room", two, []step{
			at(1, newPod("web-0", "node-0", terminating)),
			at(2, newPod("web-9", "node-9", unready)),
			at(3, newPod("web-9", "node-9")),
			at(4, newPod("web-1", "node-1", terminating)),
		}, nil},
		{"a replacement that is not Ready does not", two, []step{
			at(1, newPod("web-0", "node-0", terminating)),
			at(2, newPod("web-9", "node-9", unready)),
			at(4, newPod("web-1", "node-1", terminating)),
		}, []Violation{web1(4, 1, 2, "web")}},
		{"a pod that was not Ready before", two, []step{
			at(1, newPod("web-0", "node-0", unready)),
			at(2, newPod("web-1", "node-1", unready)),
			at(3, newPod("web-1", "node-1", unready, terminating)),
			gone(4, newPod("web-1", "node-1", unready, terminating)),
		}, nil},
		{"a single replica with maxUnavailable 0, force-deleted", with(web(1), newPDB("web", maxUnavailable("0"))), []step{
			gone(1, newPod("web-0", "node-0")),
		}, []Violation{web0(1, 0, 1, "web")}},
		{"both PDBs of a pod", with(web(1), newPDB("a", minAvailable("1")), newPDB("b", minAvailable("100%"))), []step{
			at(1, newPod("web-0", "node-0", terminating)),
		}, []Violation{web0(1, 0, 1, "a"), web0(1, 0, 1, "b")}},
		{"another's PDB", with(web(1), newPDB("web", minAvailable("1")), newPod("db-0", "node-0", app("db"), bare)), []step{
			at(1, newPod("db-0", "node-0", app("db"), bare, terminating)),
		}, nil},
		{"a PDB of another namespace", with(web(1), inNamespace("other", newPDB("web", minAvailable("1")))), []step{
			at(1, newPod("web-0", "node-0", terminating)),
		}, nil},
		{"a PDB that is gone", two, []step{
			gone(1, newPDB("web", minAvailable("2"))),
			at(2, newPod("web-0", "node-0", terminating)),
			at(3, newPod("web-1", "node-1", terminating)),
		}, nil},
		{"a PDB that was tightened", two, []step{
			at(1, newPDB("web", minAvailable("3"))),
			at(2, newPod("web-0", "node-0", terminating)),
		}, []Violation{web0(2, 2, 3, "web")}},
		{"a PDB that was made meanwhile", web(2), []step{
			at(1, newPDB("web", minAvailable("2"))),
			at(2, newPod("web-0", "node-0", terminating)),
		}, []Violation{web0(2, 1, 2, "web")}},
		{"scaled down by its user, the percentage follows", with(web(3), newPDB("web", maxUnavailable("1"))), []step{
			at(1, deployment("web", 1)),
			at(2, newPod("web-0", "node-0", terminating)),
			at(2, newPod("web-1", "node-1", terminating)),
		}, nil},
		{"two ReplicaSets of one Deployment count its scale once",
			with(web(3), newPDB("web", maxUnavailable("1")), replicaSet("web-new", "web"),
				newPod("new-0", "node-5", of("ReplicaSet", "web-new"))), []step{
				at(1, newPod("web-0", "node-0", terminating)),
				at(1, newPod("web-1", "node-1", terminating)),
			}, nil},
		{"the scale of a deleted workload is missed only while it has pods",
			with(web(2), newPDB("web", maxUnavailable("0")), replicaSet("solo", ""),
				newPod("solo-0", "node-5", of("ReplicaSet", "solo"))), []step{
				gone(1, replicaSet("solo", "")),
				gone(2, newPod("solo-0", "node-5", of("ReplicaSet", "solo"))),
				at(3, newPod("web-0", "node-0", terminating)),
			}, []Violation{web0(3, 1, 2, "web")}},
		{"the floor of a scale nobody knows is not guessed",
			[]any{newPDB("web", maxUnavailable("0")), newPod("web-0", "node-0", of("Rollout", "web"))}, []step{
				at(1, newPod("web-0", "node-0", of("Rollout", "web"), terminating)),
			}, nil},
		{"a number needs no scale",
			[]any{newPDB("web", minAvailable("1")), newPod("web-0", "node-0", of("Rollout", "web"))}, []step{
				at(1, newPod("web-0", "node-0", of("Rollout", "web"), terminating)),
			}, []Violation{web0(1, 0, 1, "web")}},
		{"what was terminating at the start is not blamed",
			[]any{newPDB("web", minAvailable("1")), newPod("web-0", "node-0", terminating)}, []step{
				gone(1, newPod("web-0", "node-0", terminating)),
			}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := witness(t, tt.objs, tt.steps...).Violations
			want := append([]Violation{}, tt.want...)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
		})
	}
}

func inNamespace(ns string, p *policyv1.PodDisruptionBudget) *policyv1.PodDisruptionBudget {
	p.Namespace = ns
	return p
}

func TestSecondsUnderAFloor(t *testing.T) {
	alwaysAllow := maxUnavailable("1")
	alwaysAllow.UnhealthyPodEvictionPolicy = new(policyv1.AlwaysAllow)
	for _, tt := range []struct {
		name  string
		objs  []any
		steps []step
		want  PDB
	}{
		{"never", with(web(3), newPDB("web", maxUnavailable("1"))), []step{
			at(10, newPod("web-0", "node-0", terminating)),
			gone(20, newPod("web-0", "node-0")),
			at(30, newPod("web-9", "node-9")),
		}, PDB{Measured: true, Floor: 2, LeastHealthy: 2}},
		{"until the replacement is Ready", with(web(3), newPDB("web", minAvailable("3"))), []step{
			at(10, newPod("web-0", "node-0", terminating)),
			gone(20, newPod("web-0", "node-0", terminating)),
			at(25, newPod("web-9", "node-9", unready)),
			at(30.5, newPod("web-9", "node-9")),
		}, PDB{Measured: true, Floor: 3, LeastHealthy: 2, UnderFloorSeconds: 20.5, Violations: 1}},
		{"to the end", with(web(3), newPDB("web", minAvailable("3"))), []step{
			at(10, newPod("web-0", "node-0", unready)),
		}, PDB{Measured: true, Floor: 3, LeastHealthy: 2, UnderFloorSeconds: 90}},
		{"not before it was satisfied", []any{
			deployment("web", 2), replicaSet("web-rs", "web"), newPDB("web", maxUnavailable("0")),
		}, []step{
			at(10, newPod("web-0", "node-0", unready)),
			at(20, newPod("web-0", "node-0")),
			at(30, newPod("web-1", "node-1")),
			at(40, newPod("web-1", "node-1", unready)),
			at(45, newPod("web-1", "node-1")),
		}, PDB{Measured: true, Floor: 2, LeastHealthy: 1, UnderFloorSeconds: 5}},
		{"a scale-up is no disruption", with(web(2), newPDB("web", maxUnavailable("0"))), []step{
			at(10, deployment("web", 3)),
			at(20, newPod("web-2", "node-2", unready)),
			at(30, newPod("web-2", "node-2")),
		}, PDB{Measured: true, Floor: 3, LeastHealthy: 2}},
		{"scaled down while it is short", with(web(3), newPDB("web", maxUnavailable("0"))), []step{
			at(10, newPod("web-0", "node-0", unready)),
			at(15, deployment("web", 2)),
		}, PDB{Measured: true, Floor: 2, LeastHealthy: 2, UnderFloorSeconds: 5}},
		{"the workload deleted by its user", with(web(3), newPDB("web", maxUnavailable("0"))), []step{
			at(10, newPod("web-0", "node-0", unready)),
			gone(15, deployment("web", 3)),
			gone(20, newPod("web-1", "node-1")),
		}, PDB{Measured: true, Floor: 3, LeastHealthy: 2, UnderFloorSeconds: 5}},
		{"when every pod is gone the workload still counts", with(web(1), newPDB("web", minAvailable("100%"))), []step{
			gone(10, newPod("web-0", "node-0")),
			at(12, newPod("web-9", "node-9", unready)),
			at(15, newPod("web-9", "node-9")),
		}, PDB{Measured: true, Floor: 1, UnderFloorSeconds: 5, Violations: 1}},
		{"a deleted PDB demands nothing", with(web(2), newPDB("web", minAvailable("2"))), []step{
			at(10, newPod("web-0", "node-0", unready)),
			gone(13, newPDB("web", minAvailable("2"))),
		}, PDB{Measured: true, Floor: 2, LeastHealthy: 1, UnderFloorSeconds: 3}},
		{"the unhealthy pods' eviction policy is irrelevant", with(web(3), newPDB("web", alwaysAllow)), []step{
			at(10, newPod("web-0", "node-0", unready)),
			at(11, newPod("web-1", "node-1", terminating)),
		}, PDB{Measured: true, Floor: 2, LeastHealthy: 1, UnderFloorSeconds: 89, Violations: 1}},
		{"finished pods are not healthy", with(web(2), newPDB("web", minAvailable("2"))), []step{
			at(10, newPod("web-0", "node-0", phase(corev1.PodFailed))),
		}, PDB{Measured: true, Floor: 2, LeastHealthy: 1, UnderFloorSeconds: 90}},
		{"a relabelled pod leaves the PDB", with(web(2), newPDB("web", minAvailable("2"))), []step{
			at(90, newPod("web-0", "node-0", app("out"))),
		}, PDB{Measured: true, Floor: 2, LeastHealthy: 1, UnderFloorSeconds: 10}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.Namespace, tt.want.Name = "default", "web"
			got := witness(t, tt.objs, tt.steps...)
			if diff := cmp.Diff([]PDB{tt.want}, got.PDBs); diff != "" {
				t.Errorf("PDBs (-want +got):\n%s", diff)
			}
			if sum := got.UnderFloorSeconds(); sum != tt.want.UnderFloorSeconds {
				t.Errorf("UnderFloorSeconds() = %v, want %v", sum, tt.want.UnderFloorSeconds)
			}
		})
	}
}

func TestAMalformedPercentageIsNotJudged(t *testing.T) {
	spec := policyv1.PodDisruptionBudgetSpec{MinAvailable: new(intstr.FromString("many"))}
	got := witness(t, with(web(1), newPDB("web", spec)), gone(1, newPod("web-0", "node-0")))
	if got.PDBs[0].Measured || len(got.Violations) > 0 {
		t.Errorf("PDB = %+v, violations %v; want it not measured and none", got.PDBs[0], got.Violations)
	}
}
