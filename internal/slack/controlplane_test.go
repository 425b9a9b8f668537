package slack

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// hopping is a plan that upgrades a zonal control plane by two minors before the nodes.
func hopping() upgrade.Plan {
	p := aPlan(plainly)
	p.Cluster.Regional, p.Cluster.ControlPlaneVersion = false, "1.32.9-gke.1108000"
	p.ControlPlane = &upgrade.ControlPlanePlan{From: "1.32.9-gke.1108000", To: "1.34.2-gke.100", Hops: []string{"1.33.5-gke.1162000", "1.34.2-gke.100"}, Why: "it is older than the target"}
	p.Steps = append([]upgrade.Step{upgrade.NewHop("1.33.5-gke.1162000"), upgrade.NewHop("1.34.2-gke.100")}, p.Steps...)
	return p
}

func wantLines(t *testing.T, m Message, lines ...string) {
	t.Helper()
	var b bytes.Buffer
	draw(t, &b, m)
	for _, l := range lines {
		if !strings.Contains(b.String(), l) {
			t.Errorf("%q is not in\n%s", l, b.String())
		}
	}
}

func TestWhatHappensToTheControlPlaneIsSaid(t *testing.T) {
	p := hopping()
	wantLines(t, PlanMessage(p),
		"Control plane: upgrade from 1.32.9-gke.1108000 to 1.34.2-gke.100, by 1.33.5-gke.1162000, then 1.34.2-gke.100, since it is older than the target; the Kubernetes API is away meanwhile.",
		"*Point of no return*: upgrading the control plane, first of all. It is not downgraded: a rollback leaves it at `1.34.2-gke.100`.",
		"*Point of no return*: deleting `default-pool`")

	run := upgrade.NewRun("run-1", p, noon)
	run.Steps[0].State, run.Steps[1].State = upgrade.StepDone, upgrade.StepRunning
	run.Steps[0].StartedAt, run.Steps[1].StartedAt = &noon, &noon
	wantLines(t, Progress{Run: run, Now: noon.Add(time.Minute)}.Message(),
		"control plane at `1.33.5-gke.1162000`, *0 of 3 nodes* drained",
		"Now: upgrading the control plane to `1.34.2-gke.100`, and the Kubernetes API is away meanwhile",
		"The next point of no return: deleting `default-pool`.")

	run.Steps[1].State, run.Steps[1].StartedAt = upgrade.StepPending, nil
	run.Plan.Cluster.Regional = true
	run.Steps[0].State = upgrade.StepRunning
	wantLines(t, Progress{Run: run, Now: noon.Add(time.Minute)}.Message(),
		"upgrading the control plane to `1.33.5-gke.1162000`, one server after another",
		"The next point of no return: upgrading the control plane to `1.34.2-gke.100`.")
}
