package slack

import (
	"strings"
	"time"

	"github.com/upshift-k8s/upshift/internal/lab/testbed"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// hostile is what somebody with write access to a namespace, or to the command line, may try.
const hostile = " <!channel> <@U123> <!subteam^S1> `x` ```y``` *bold* <https://evil|click> &lt;!here&gt; & a\nInjected: line\r\n\u2028Injected: another\x00\x1b[31m\u202e\u2066"

// tongue says a name, or something worse.
type tongue func(name string) string

func plainly(name string) string   { return name }
func hostilely(name string) string { return name + hostile }

// tongues are those that a message has to survive. What is too long for Slack's own fields is no cluster's name either.
var tongues = map[string]tongue{
	"plain":               plainly,
	"hostile":             hostilely,
	"the longest names":   func(name string) string { return name + strings.Repeat("x", max(0, 253-len(name))) },
	"far too long":        func(name string) string { return name + strings.Repeat("x", 1800) },
	"far too long, wide":  func(name string) string { return name + strings.Repeat("語", 1000) },
	"only ampersands":     func(name string) string { return name + strings.Repeat("&", 1800) },
	"only angles":         func(name string) string { return name + strings.Repeat("<", 1800) },
	"only backticks":      func(name string) string { return name + strings.Repeat("`", 1800) },
	"only lines":          func(name string) string { return name + strings.Repeat("\n<!here>", 200) },
	"many mentions":       func(name string) string { return name + strings.Repeat("<@U123>", 250) },
	"what is no UTF-8":    func(name string) string { return name + "\xff\xfe<!channel\xc3>" },
	"nothing at all":      func(string) string { return "" },
	"nothing but spaces":  func(string) string { return " \t " },
	"only an entity":      func(name string) string { return name + strings.Repeat("&amp;", 360) },
	"hostile and endless": func(name string) string { return name + strings.Repeat(hostile, 12) },
}

func aPlan(say tongue) upgrade.Plan {
	const old, target = "1.33.5-gke.1162000", "1.34.2-gke.100"
	web := upgrade.Ref{Kind: "Deployment", Namespace: say("shop"), Name: say("web"), UID: "w1"}
	steps := []upgrade.Step{
		upgrade.NewStep(upgrade.CreatePool, say("default-pool"), ""), upgrade.NewStep(upgrade.WaitNodes, say("default-pool"), ""),
		upgrade.NewStep(upgrade.CordonPool, say("default-pool"), ""), upgrade.NewStep(upgrade.DrainNode, say("default-pool"), say("node-1")),
		upgrade.NewStep(upgrade.DrainNode, say("default-pool"), say("node-2")), upgrade.NewStep(upgrade.DrainNode, say("default-pool"), say("node-3")),
		upgrade.NewStep(upgrade.Soak, say("default-pool"), ""), upgrade.NewStep(upgrade.DeletePool, say("default-pool"), ""),
	}
	for i, estimate := range []time.Duration{4 * time.Minute, 0, 0, 2 * time.Minute, time.Minute, 2 * time.Second, time.Hour, 4 * time.Minute} {
		steps[i].Estimate = upgrade.Seconds(estimate)
	}
	return upgrade.Plan{
		Digest: "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03", CreatedAt: noon, Verdict: upgrade.Warnings,
		Cluster: upgrade.Cluster{Provider: say("gke"), Project: say("demo"), Location: say("europe-west1"), Name: say("cluster-1"), Regional: true, ControlPlaneVersion: say(target)},
		Target:  upgrade.Target{Requested: say("control-plane"), Version: say(target)},
		Options: upgrade.Options{Soak: upgrade.Seconds(time.Hour), Delete: upgrade.DeleteEach},
		Pools: []upgrade.PoolPlan{
			{
				Name: say("default-pool"), Action: upgrade.Migrate, From: say(old), To: say(target), NewName: say("default-pool-1-34-2-gke-100"), Adopt: true,
				Nodes: []string{say("node-1"), say("node-2"), say("node-3")}, NodesPerZone: 1, Zones: []string{"b", "c", "d"}, PodsToMove: 12,
			},
			{Name: say("batch"), Action: upgrade.LeaveDone, From: say(target), To: say(target), Why: say("already at " + target)},
		},
		Findings: []upgrade.Finding{
			{
				Check: say("bare-pod"), Severity: upgrade.Warning, Object: upgrade.Ref{Kind: "Pod", Namespace: say("shop"), Name: say("debug"), UID: "p9"},
				Problem: say("no controller will make it again"), Remedy: say("kubectl delete pod debug -n shop"), Consent: upgrade.AllowBarePods,
			},
			{
				Check: say("emptydir"), Severity: upgrade.Warning, Object: web, Problem: say("loses the data in its emptyDir volumes"), Consent: upgrade.AllowEmptyDirLoss,
				Evidence: []string{say("shop/web-1: cache"), say("shop/web-2: cache"), say("shop/web-3: cache")},
			},
			{
				Check: say("single-replica"), Severity: upgrade.Warning, Object: upgrade.Ref{Kind: "Deployment", Namespace: say("shop"), Name: say("one")},
				Problem: say("has one replica"), Evidence: []string{say("shop/one-1 on node node-1")}, Remedy: say("give it a second replica"),
			},
			{Check: say("running-jobs"), Severity: upgrade.Info, Object: upgrade.Ref{Kind: "Job", Namespace: say("shop"), Name: say("report")}, Problem: say("runs, and is waited for")},
		},
		Consents: []upgrade.Consent{upgrade.AllowBarePods, upgrade.AllowEmptyDirLoss},
		Steps:    steps,
	}
}

func aQuestion(say tongue) Question {
	return Question{
		Plan: aPlan(say),
		Approvals: upgrade.Approvals{
			ID: "abcdefghijklmnop", Digest: "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
			Requester: say("alice"), RequesterID: testbed.Alice, AskedAt: noon, Expires: noon.Add(4 * time.Hour),
		},
		Quorum: 2, Users: []string{testbed.Bob, say("@someone")}, Groups: []string{testbed.SRE, say("@some-group")},
	}
}

// asked is the question as people have changed it.
func asked(say tongue, change func(*Question)) Question {
	q := aQuestion(say)
	change(&q)
	return q
}

func withDifferences(say tongue) Question {
	return asked(say, func(q *Question) {
		q.Approvals.Differences = []string{say("the control plane runs 1.34.2-gke.100 instead of 1.34.1-gke.5"), say("PodDisruptionBudget shop/web has changed")}
	})
}

func withVotes(say tongue) Question {
	return asked(say, func(q *Question) {
		q.Approvals.Votes = []upgrade.Approval{
			{By: say("bob"), ID: testbed.Bob, Approved: true, At: noon.Add(time.Minute), Via: "+1"},
			{By: say("carol"), ID: testbed.Carol, Approved: false, At: noon.Add(2 * time.Minute)},
			{By: say("mallory"), ID: say("@mallory"), Approved: true, At: noon.Add(3 * time.Minute)},
		}
	})
}

func closed(say tongue) Question {
	return asked(say, func(q *Question) {
		q.Approvals = withVotes(say).Approvals
		q.Closed = ":x: " + Mention(testbed.Carol) + " rejected it: " + Escape(say("too late in the year"))
	})
}

// aRun is under way: two nodes are drained, the third is being drained.
func aRun(say tongue) *upgrade.Run {
	plan := aPlan(say)
	run := upgrade.NewRun("20260102-120000-abcdef", plan, noon)
	run.TakenBy(upgrade.Holder{Who: say("upshift-bot"), Where: say("pod upshift/upshift-bot-0"), Resumes: true, Epoch: 3, Since: noon})
	run.Requester = &upgrade.Person{Name: say("alice"), ID: testbed.Alice}
	run.Approvals = []upgrade.Approval{{By: say("bob"), ID: testbed.Bob, Approved: true, At: noon}, {By: say("carol"), Approved: true, At: noon}}
	at := func(minutes int) *time.Time { then := noon.Add(time.Duration(minutes) * time.Minute); return &then }
	for i, minutes := range [][2]int{{0, 4}, {4, 5}, {5, 5}, {5, 7}, {7, 9}} {
		run.Steps[i].State, run.Steps[i].StartedAt, run.Steps[i].FinishedAt = upgrade.StepDone, at(minutes[0]), at(minutes[1])
	}
	web := upgrade.Ref{Kind: "Deployment", Namespace: say("shop"), Name: say("web"), UID: "w1"}
	pod := func(name string) upgrade.Ref {
		return upgrade.Ref{Kind: "Pod", Namespace: say("shop"), Name: say(name), UID: "uid-" + name}
	}
	run.Steps[5].State, run.Steps[5].StartedAt = upgrade.StepRunning, at(9)
	run.Steps[5].Baseline = &upgrade.Baseline{Pods: []upgrade.Resident{{Pod: pod("web-3"), Workload: web}, {Pod: pod("web-4"), Workload: web}}}
	run.Moves = []upgrade.Move{
		{Pod: pod("web-1"), Workload: web, Node: say("node-1"), At: *at(6), To: say("new-1"), After: upgrade.Seconds(41300 * time.Millisecond)},
		{Pod: pod("web-2"), Workload: web, Node: say("node-1"), At: *at(6)},
		{Pod: pod("debug"), Node: say("node-1"), At: *at(6)},
		{Pod: pod("web-3"), Workload: web, Node: say("node-3"), At: *at(10), To: say("new-2"), After: upgrade.Seconds(95 * time.Second)},
	}
	run.CountDrained()
	return run
}

// shown is the run as something has changed it.
func shown(say tongue, change func(*upgrade.Run)) Progress {
	run := aRun(say)
	change(run)
	return Progress{Run: run, Now: noon.Add(10 * time.Minute)}
}

func blocked(say tongue) Progress {
	return shown(say, func(r *upgrade.Run) {
		r.Waiting = []upgrade.Waiting{
			{
				Object: upgrade.Ref{Kind: "Pod", Namespace: say("shop"), Name: say("web-4"), UID: "uid-web-4"}, Node: say("node-3"), Budget: say("shop") + "/" + say("web"),
				Reason: say("PodDisruptionBudget shop/web allows no disruption: minAvailable 3, 3 of 4 healthy, 3 needed"),
			},
			{Object: upgrade.Ref{Kind: "Deployment", Namespace: say("shop"), Name: say("web"), UID: "w1"}, Node: say("node-3"), Reason: say("starts"), Passing: true},
		}
	})
}

func stopped(say tongue, state upgrade.RunState) Progress {
	p := blocked(say)
	p.Run.State, p.Run.Problem = state, say("the drain of node-3 did not end within 30m0s")
	p.Run.Steps[5].State = upgrade.StepStopped
	p.Run.Next = []string{say("see why shop/web has no replacement"), say("upshift resume goes on with it, upshift rollback moves the pods back")}
	p.Run.Acknowledge(upgrade.Request{Verb: upgrade.AskUnblock, Arguments: []string{say("skip:node-3")}, By: say("bob"), Sequence: 1}, say("no such node"))
	return p
}

func turnedBack(say tongue, ending upgrade.RunState) Progress {
	return shown(say, func(r *upgrade.Run) {
		r.Ending, r.Problem = ending, say("asked for by bob")
		for i := 5; i < 8; i++ {
			r.Steps[i].State, r.Steps[i].StartedAt = upgrade.StepDropped, nil
		}
		back := upgrade.NewStep(upgrade.UncordonPool, say("default-pool"), "")
		back.State = upgrade.StepDone
		drain := upgrade.NewStep(upgrade.DrainNode, say("default-pool-1-34-2-gke-100"), say("new-1"))
		drain.State = upgrade.StepRunning
		drain.StartedAt = &[]time.Time{noon.Add(9 * time.Minute)}[0]
		r.Steps = append(r.Steps, back, drain, upgrade.NewStep(upgrade.DeletePool, say("default-pool-1-34-2-gke-100"), ""))
	})
}

func over(say tongue, state upgrade.RunState) Progress {
	p := shown(say, func(r *upgrade.Run) {
		end := noon.Add(83*time.Minute + 4*time.Second)
		r.State, r.FinishedAt = state, &end
		for i := range r.Steps {
			r.Steps[i].State, r.Steps[i].StartedAt, r.Steps[i].FinishedAt = upgrade.StepDone, &r.StartedAt, &end
		}
		r.CountDrained()
		r.ReplacedPools[say("default-pool")] = say("default-pool-1-34-2-gke-100")
	})
	if state != upgrade.Succeeded {
		p.Run.Problem = say("the provider refuses to make the pool: quota exceeded")
		p.Run.Next = []string{say("ask for more quota"), say("upshift status shows what is left")}
	}
	p.Now = noon.Add(24 * time.Hour)
	return p
}

func away(say tongue) Progress {
	p := shown(say, func(*upgrade.Run) {})
	p.Away, p.Unattended = noon.Add(8*time.Minute), true
	return p
}

func node(p Progress, i int) Message { return p.Node(p.Run.Steps[i]) }

func skipped(say tongue) Progress {
	return shown(say, func(r *upgrade.Run) {
		r.Steps[4].State, r.Steps[4].FinishedAt = upgrade.StepSkipped, nil
		r.Moves = r.Moves[:3]
	})
}

// messages are those that the package makes, by the names of their golden files.
func messages(say tongue) map[string][]Message {
	one := func(m Message) []Message { return []Message{m} }
	question := func(q Question) []Message {
		m, more := q.Message()
		return append([]Message{m}, more...)
	}
	nothing := aPlan(say)
	nothing.Steps, nothing.Findings, nothing.Consents, nothing.Pools, nothing.Verdict = nil, nil, nil, nothing.Pools[1:], upgrade.Ready
	blockers := aPlan(say)
	blockers.Findings = append([]upgrade.Finding{{
		Check: say("control-plane-behind"), Severity: upgrade.Blocker, Object: upgrade.Ref{Kind: "Cluster", Name: say("cluster-1")}, Problem: say("has a control plane at 1.33.5-gke.900"),
	}}, blockers.Findings...)
	return map[string][]Message{
		"question-open":        question(aQuestion(say)),
		"question-differences": question(withDifferences(say)),
		"question-votes":       question(withVotes(say)),
		"question-closed":      question(closed(say)),
		"plan":                 one(PlanMessage(blockers)),
		"plan-nothing-to-do":   one(PlanMessage(nothing)),
		"run-running":          one(shown(say, func(*upgrade.Run) {}).Message()),
		"run-blocked":          one(blocked(say).Message()),
		"run-rolling-back":     one(turnedBack(say, upgrade.RolledBack).Message()),
		"run-cancelling":       one(turnedBack(say, upgrade.Cancelled).Message()),
		"run-paused":           one(stopped(say, upgrade.Paused).Message()),
		"run-interrupted":      one(stopped(say, upgrade.Interrupted).Message()),
		"run-failed":           one(over(say, upgrade.Failed).Message()),
		"run-cancelled":        one(over(say, upgrade.Cancelled).Message()),
		"run-rolled-back":      one(over(say, upgrade.RolledBack).Message()),
		"run-succeeded":        one(over(say, upgrade.Succeeded).Message()),
		"run-api-away":         one(away(say).Message()),
		"node-running":         one(node(shown(say, func(*upgrade.Run) {}), 5)),
		"node-blocked":         one(node(blocked(say), 5)),
		"node-done":            {node(shown(say, func(*upgrade.Run) {}), 3), node(shown(say, func(*upgrade.Run) {}), 4)},
		"node-skipped":         one(node(skipped(say), 4)),
		"node-stopped":         one(node(shown(say, func(r *upgrade.Run) { r.State, r.Steps[5].State = upgrade.Interrupted, upgrade.StepStopped }), 5)),
		"node-dropped":         one(node(turnedBack(say, upgrade.RolledBack), 5)),
		"report-succeeded":     one(over(say, upgrade.Succeeded).Report()),
		"report-failed":        one(over(say, upgrade.Failed).Report()),
		"trouble":              one(stopped(say, upgrade.Paused).Trouble()),
		"status":               one(blocked(say).Status(say("upshift-bot works on this cluster"))),
		"answers": {
			Say("%s is neither a cluster's name nor a verb\nwant %s", say("x"), say("y")), SayLink("https://x/y", "the plan", "see %s", say("x")),
		},
	}
}
