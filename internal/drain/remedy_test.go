package drain

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// TestEachWaitHasTheCommandThatEndsIt is what a person reads when a drain has come to its deadline.
func TestEachWaitHasTheCommandThatEndsIt(t *testing.T) {
	const force = "upshift unblock force:ns/web-1"
	past := force + " # or past its PodDisruptionBudget, with its own grace period"
	budget := func(s *scene, b upgrade.Budget) {
		b.Namespace, b.Name, b.Current, b.Rule = "ns", "web", true, "minAvailable 2"
		s.Budgets["ns/web"] = b
	}
	// leave lets the pod go, and its replacement come as it is.
	leave := func(s *scene, replacement func(*upgrade.Pod)) {
		s.workload("web", 1, "old")
		s.next("web-1")
		s.answer("web-1", upgrade.Accepted, "")
		s.gone("web-1")
		p := s.pod("web-2", "web", "new")
		p.Ready = false
		replacement(p)
	}
	for name, test := range map[string]struct {
		set  func(*scene)
		want []string
	}{
		"a PDB that keeps as many pods as there are": {func(s *scene) {
			budget(s, upgrade.Budget{Healthy: 2, Needed: 2, Expected: 2})
			s.workload("web", 2, "old", "new")
		}, []string{
			`kubectl patch pdb web -n ns --type merge -p '{"spec":{"minAvailable":null,"maxUnavailable":1}}'`,
			"kubectl scale deployment -n ns web --replicas 3 # or one more than has to be there, if it can have one", past,
		}},
		"such a PDB over a workload of another kind": {func(s *scene) {
			budget(s, upgrade.Budget{Healthy: 2, Needed: 2, Expected: 2})
			s.workload("CloneSet/web", 2, "old", "new")
			delete(s.Workloads, "web")
		}, []string{`kubectl patch pdb web -n ns --type merge -p '{"spec":{"maxUnavailable":null,"minAvailable":1}}'`, past}},
		"a PDB that Kubernetes cannot work out": {func(s *scene) {
			budget(s, upgrade.Budget{Trouble: "no controller"})
			s.workload("web", 2, "old", "new")
		}, []string{`kubectl patch pdb web -n ns --type merge -p '{"spec":{"maxUnavailable":null,"minAvailable":1}}'`, past}},
		"a PDB that Kubernetes cannot work out, over one pod": {func(s *scene) {
			budget(s, upgrade.Budget{Trouble: "no controller"})
			s.workload("web", 1, "old")
		}, []string{past}},
		"a PDB that waits for another pod": {func(s *scene) {
			budget(s, upgrade.Budget{Healthy: 2, Needed: 2, Expected: 3})
			s.workload("web", 3, "old", "new", "new")
			s.get("web-3").Ready = false
		}, []string{"kubectl describe pod -n ns web-3 # it is not Ready, and the PodDisruptionBudget waits for it", past}},
		"a PDB that keeps a pod that is not Ready": {func(s *scene) {
			budget(s, upgrade.Budget{Healthy: 1, Needed: 2, Expected: 3})
			s.workload("web", 3, "old", "new", "new")
			s.get("web-1").Ready = false
		}, []string{`kubectl patch pdb web -n ns --type merge -p '{"spec":{"unhealthyPodEvictionPolicy":"AlwaysAllow"}}'`, past}},
		"a PDB that allows nothing for no reason that shows": {func(s *scene) {
			budget(s, upgrade.Budget{Healthy: 3, Needed: 2, Expected: 3})
			s.workload("web", 3, "old", "new", "new")
		}, []string{"kubectl describe pdb -n ns web", past}},
		"two PDBs": {func(s *scene) {
			s.budget("web", 1)
			s.budget("web-too", 1)
			s.workload("web", 1, "old")
		}, []string{"kubectl get pdb -n ns web web-too # and delete or narrow all but one of them", past}},
		"a pod that does not stop": {func(s *scene) {
			s.workload("web", 1, "old")
			s.terminating("web-1")
			s.now = s.now.Add(time.Minute)
		}, []string{
			"kubectl get pod -n ns web-1 -o jsonpath='{.metadata.finalizers}' # whoever put one there has to take it off",
			force + " # without a finalizer: deletes it at once, since its grace period is over; nothing of it may run any more then",
		}},
		"a Job": {func(s *scene) { s.workload("Job/web", 1, "old") }, []string{
			"kubectl wait -n ns --timeout=24h --for=condition=complete job/web && upshift resume",
			force + " # this one alone; for all: upshift cancel, and a new run with jobs: evict",
		}},
		"something like a Job": {func(s *scene) {
			s.workload("TaskRun/web", 1, "old")
			s.get("web-1").OneOff = true
		}, []string{
			"kubectl wait -n ns --timeout=24h --for=jsonpath={.status.phase}=Succeeded pod/web-1 && upshift resume",
			force + " # this one alone; for all: upshift cancel, and a new run with jobs: evict",
		}},
		"a bare pod": {func(s *scene) { s.pod("web-1", "", "old") }, []string{
			force + " # this one alone; for all: upshift cancel, and a new run with allow-bare-pods: true",
		}},
		"data in an emptyDir": {func(s *scene) {
			s.options.LoseEmptyDirs = false
			s.workload("web", 1, "old")
			s.get("web-1").EmptyDirs = []string{"cache"}
		}, []string{force + " # this one alone; for all: upshift cancel, and a new run with allow-emptydir-loss: true"}},
		"a replacement that has no room": {func(s *scene) {
			leave(s, func(p *upgrade.Pod) {
				p.Node, p.Unschedulable = "", "0/3 nodes are available: 3 Insufficient cpu."
			})
		}, []string{"add a node", "kubectl describe pod -n ns web-2 # says at its end what each node lacks"}},
		"a replacement that finds no node for another reason": {func(s *scene) {
			leave(s, func(p *upgrade.Pod) {
				p.Node, p.Unschedulable = "", "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
			})
		}, []string{"kubectl describe pod -n ns web-2 # says at its end what each node lacks"}},
		"a replacement that crashes": {func(s *scene) {
			leave(s, func(p *upgrade.Pod) { p.Trouble = "container web: CrashLoopBackOff" })
		}, []string{"kubectl logs -n ns web-2 --all-containers --previous # or: kubectl describe pod -n ns web-2"}},
		"a replacement that does not get Ready": {func(s *scene) {
			leave(s, func(*upgrade.Pod) {})
		}, []string{"kubectl describe pod -n ns web-2"}},
		"a volume that is not detached": {func(s *scene) {
			s.workload("db", 1, "old")
			s.get("db-1").Disks = []string{"pv"}
			s.attach("pv", "old")
			s.next("db-1")
			s.answer("db-1", upgrade.Accepted, "")
			s.gone("db-1")
			s.pod("db-2", "db", "new")
		}, []string{"kubectl describe volumeattachment csi-pv"}},
		"one that waits for another": {func(s *scene) {
			s.workload("db", 2, "old", "old")
			s.next("db-1")
			s.answer("db-1", upgrade.Accepted, "")
			s.gone("db-1")
			p := s.pod("db-3", "db", "")
			p.Ready, p.Unschedulable = false, "0/3 nodes are available: 3 Too many pods."
		}, []string{"add a node", "kubectl describe pod -n ns db-3 # says at its end what each node lacks"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.options.MoreRoom = "add a node"
			test.set(s)
			s.next()
			if diff := cmp.Diff(test.want, s.tracker.remedies(s.State, s.last.waiting)); diff != "" {
				t.Errorf("%v\n%s", s.last.waiting, diff)
			}
		})
	}
}

func TestPodsThatComeBackAreLeftByLeavingTheirNode(t *testing.T) {
	s := newScene(t)
	s.workload("web", 1, "old")
	s.next("web-1")
	for _, evicted := range [][2]string{{"web-1", "web-2"}, {"web-2", "web-3"}} {
		s.answer(evicted[0], upgrade.Accepted, "")
		s.gone(evicted[0])
		s.pod(evicted[1], "web", "old")
		if evicted[1] == "web-2" {
			s.next("web-2")
		} else {
			s.next()
		}
	}
	want := "upshift unblock skip:old # or keep its pods away from nodes with the taint node.kubernetes.io/unschedulable: kubectl describe deployment -n ns web"
	if got := strings.Join(s.tracker.remedies(s.State, s.last.waiting), "\n"); got != want {
		t.Errorf("%v: got %s", s.last.waiting, got)
	}
}
