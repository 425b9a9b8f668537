package slack

import (
	"testing"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// inPlace is aPlan with other steps for its pool, whose nodes are upgraded in place.
func inPlace(action upgrade.PoolAction, settings *upgrade.Settings, steps ...upgrade.Step) upgrade.Plan {
	p := aPlan(plainly)
	p.Pools[0].Action, p.Pools[0].Upgrade, p.Pools[0].NewName, p.Pools[0].Adopt = action, settings, "", false
	p.Pools[0].ByPeople = settings == nil
	p.Steps = steps
	return p
}

// under is a run of the plan that carries out the steps from the first to the last of some.
func under(p upgrade.Plan, first, last int) Progress {
	run := upgrade.NewRun("run-1", p, noon)
	for i := range run.Steps {
		switch {
		case i < first:
			run.Steps[i].State, run.Steps[i].StartedAt, run.Steps[i].FinishedAt = upgrade.StepDone, &noon, &noon
		case i <= last:
			run.Steps[i].State, run.Steps[i].StartedAt = upgrade.StepRunning, &noon
		}
	}
	return Progress{Run: run, Now: noon.Add(time.Minute)}
}

func TestWhatGKEDoesInPlaceIsSaid(t *testing.T) {
	step := func(kind upgrade.StepKind, node string) upgrade.Step {
		return upgrade.NewStep(kind, "default-pool", node)
	}
	set, upgrading, restore := step(upgrade.SetUpgradeSettings, ""), step(upgrade.UpgradePool, ""), step(upgrade.RestoreUpgradeSettings, "")
	one, two, three := step(upgrade.DrainNode, "node-1"), step(upgrade.DrainNode, "node-2"), step(upgrade.DrainNode, "node-3")

	rolling := inPlace(upgrade.Rolling, &upgrade.Settings{Strategy: upgrade.Rolling, MaxSurge: 2}, set, upgrading, one, two, three, restore)
	wantLines(t, PlanMessage(rolling),
		"• Pool `default-pool`: rolling from `1.33.5-gke.1162000` to `1.34.2-gke.100`, 3 nodes, 12 pods to move. GKE drains it: max-surge 2, max-unavailable 0",
		"*Point of no return*: upgrading the last node of `default-pool`, less than a minute after the start.")
	wantLines(t, under(rolling, 0, 0).Message(), "Now: GKE is told how to upgrade `default-pool`")
	wantLines(t, under(rolling, 1, 3).Message(), "*0 of 3 nodes* drained", "Now: GKE upgrades `default-pool`, draining `node-1`, `node-2`, since ",
		"The next point of no return: upgrading the last node of `default-pool`.")
	wantLines(t, under(rolling, 2, 2).Node(one), "node `node-1` of `default-pool`")
	wantLines(t, under(rolling, 5, 5).Message(), "*3 of 3 nodes* drained", "Now: the upgrade settings of `default-pool` are restored")

	blueGreen := inPlace(upgrade.BlueGreen, &upgrade.Settings{Strategy: upgrade.BlueGreen}, set, upgrading, one, two, three, step(upgrade.Soak, ""), step(upgrade.CompleteUpgrade, ""), restore)
	wantLines(t, PlanMessage(blueGreen), "GKE drains it: blue-green", "*Point of no return*: deleting the old nodes of `default-pool`")
	wantLines(t, under(blueGreen, 5, 5).Message(), "Now: soaking for 1h0m0s", "The next point of no return: deleting the old nodes of `default-pool`.")
	wantLines(t, under(blueGreen, 6, 6).Message(), "Now: GKE deletes the old nodes of `default-pool`")
}

func TestWhatPeopleDoIsSaid(t *testing.T) {
	step := func(kind upgrade.StepKind, node string) upgrade.Step {
		return upgrade.NewStep(kind, "default-pool", node)
	}
	own := func(action upgrade.PoolAction, steps ...upgrade.Step) upgrade.Plan {
		p := inPlace(action, nil, steps...)
		p.Cluster.Provider = upgrade.SelfManaged
		return p
	}
	var each []upgrade.Step
	for _, node := range []string{"node-1", "node-2"} {
		each = append(each, step(upgrade.CordonNode, node), step(upgrade.DrainNode, node), step(upgrade.AwaitNode, node), step(upgrade.UncordonNode, node))
	}
	rolling := own(upgrade.Rolling, each...)
	wantLines(t, PlanMessage(rolling), "12 pods to move. People upgrade or replace each node once it is drained", "and what people take, 2 times",
		"*Point of no return*: each node that people upgrade. It stays so: a rollback undoes the cordons alone.")
	waits := under(rolling, 2, 2)
	task := upgrade.Task{Step: rolling.Steps[2].ID, Node: "node-1", What: "upgrade node node-1", Commands: []string{"ssh node-1"}, Since: noon}
	waits.Run.Tasks = []upgrade.Task{task}
	wantLines(t, waits.Message(), "*1 of 2 nodes* drained", "Now: waiting for people to upgrade node `node-1`, since ", "Left: less than a minute, and what people take, 2 times.",
		":raised_hand: *People have to act*", "• upgrade node node-1\n`ssh node-1`")
	wantLines(t, waits.Task(task), ":raised_hand: upgrade node node-1", "The run goes on by itself once this is seen done.")
	waits.Run.Plan.Options.Wait = upgrade.WaitExit
	wantLines(t, waits.Task(task), "once this is done, upgrade again or resume it.")

	moving := own(upgrade.Migrate, step(upgrade.WaitNodes, ""), step(upgrade.CordonPool, ""), step(upgrade.DrainNode, "node-1"), step(upgrade.Soak, ""), step(upgrade.RetirePool, ""))
	moving.Pools[0].NewName = "green"
	wantLines(t, PlanMessage(moving), "The new pool: green, 3 nodes, to which people add the machines",
		"*Point of no return*: leaving the empty `default-pool` to people, who may remove its machines")
	wantLines(t, under(moving, 0, 0).Message(), "Now: waiting for people to add machines to `green`, since ")
	wantLines(t, under(moving, 4, 4).Message(), "Now: making sure that nothing is left on `default-pool`")
}

// TestTheLastWordOnAControlPlane says where it is, and whether its API stayed up.
func TestTheLastWordOnAControlPlane(t *testing.T) {
	p := under(hopping(), 2, 1)
	p.Run.State, p.Run.FinishedAt, p.Run.Steps[0].Calls = upgrade.Succeeded, &noon, &upgrade.Calls{Made: 120}
	wantLines(t, p.Report(), "control plane at 1.34.2-gke.100 (the Kubernetes API stayed up: 0 of 120 requests failed), 0 nodes drained")
}
