package slack

import (
	"fmt"
	"slices"
	"strings"
	"time"

	slackapi "github.com/slack-go/slack"

	"github.com/upshift-k8s/upshift/internal/report"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// Progress is how a run is shown.
type Progress struct {
	Run *upgrade.Run
	Now time.Time
	// Away is since when the Kubernetes API cannot be reached, zero while it can.
	Away time.Time
	// Unattended tells that the run is not over and nobody holds the cluster's lease.
	Unattended bool
}

// barLength is how many characters a bar has.
const barLength = 20

// Message is the root message: what the run is doing, how far it is, and what people can do about it.
func (p Progress) Message() Message {
	var b builder
	run := p.Run
	title := p.title()
	b.header(title)
	b.section(p.bar())
	if !p.Away.IsZero() {
		b.section(":satellite_antenna: The Kubernetes API cannot be reached since " + at(p.Away) + ". Nothing is changed meanwhile; the run goes on when it is back.")
	}
	if !run.State.Final() {
		b.section(strings.Join(p.now(), "\n"))
	}
	if run.State != upgrade.Running && run.Problem != "" {
		b.section(":warning: " + Escape(cut(run.Problem, 1500)))
	}
	if lines := p.waiting(); len(lines) > 0 {
		b.some(":no_entry: *Blocked by*", lines, len(lines), 2000)
	}
	if lines := p.tasks(); len(lines) > 0 {
		b.some(":raised_hand: *People have to act*", lines, len(lines), 2000)
	}
	if len(run.Next) > 0 && run.State != upgrade.Running {
		b.some("*Next*", escapeAll("• ", p.next()), len(run.Next), footRoom)
	}
	b.context(p.foot())
	if buttons := p.buttons(); len(buttons) > 0 {
		b.buttons(buttons...)
	}
	return b.message(Escape(title) + ": " + p.counts())
}

func (p Progress) subject() Subject { return Subject{Cluster: p.Run.Cluster, ID: p.Run.ID} }

var titles = map[upgrade.RunState]string{
	upgrade.Running: "Upgrading %s to %s", upgrade.Interrupted: "Interrupted: upgrade of %s to %s", upgrade.Paused: "Paused: upgrade of %s to %s",
	upgrade.Succeeded: "Upgraded %s to %s", upgrade.Failed: "Failed: upgrade of %s to %s", upgrade.Cancelled: "Cancelled: upgrade of %s to %s",
	upgrade.RolledBack: "Rolled back: upgrade of %s to %s",
}

func (p Progress) title() string {
	format := titles[p.Run.State]
	switch {
	case p.Run.State == upgrade.Running && p.Run.Ending == upgrade.RolledBack:
		format = "Rolling back: upgrade of %s to %s"
	case p.Run.State == upgrade.Running && p.Run.Ending != "":
		format = "Putting back what is ours: upgrade of %s to %s"
	}
	return fmt.Sprintf(format, p.Run.Cluster, p.Run.Plan.Target.Version)
}

// bar says how far the run is.
func (p Progress) bar() string {
	drains, hops := p.Run.Drains(), p.Run.Hops()
	drained, hopped := countDone(drains), countDone(hops)
	filled := barLength
	if all := len(drains) + len(hops); all > 0 {
		filled = barLength * (drained + hopped) / all
	}
	controlPlane := ""
	if len(hops) > 0 {
		controlPlane = fmt.Sprintf("control plane at %s, ", code(p.Run.ControlPlaneVersion()))
	}
	return fmt.Sprintf("%s%s  %s*%d of %s* drained, %s", strings.Repeat("█", filled), strings.Repeat("░", barLength-filled),
		controlPlane, drained, report.Plural(len(drains), "node"), p.moved())
}

func countDone(steps []upgrade.Step) int {
	done := 0
	for _, s := range steps {
		if s.State == upgrade.StepDone {
			done++
		}
	}
	return done
}

// counts is report.Counts with the first few of very many lost pods.
func (p Progress) counts() string {
	return Escape(report.Reached(p.Run)) + report.Plural(p.Run.NodesDrained, "node") + " drained, " + p.moved()
}

// moved says how many pods left their nodes.
func (p Progress) moved() string {
	text := report.Plural(p.Run.PodsMoved(), "pod") + " moved"
	if lost := p.Run.PodsLost(); len(lost) > 0 {
		text += fmt.Sprintf(", %s lost (%s)", report.Plural(len(lost), "bare pod"), list(lost, shownObjects))
	}
	return text
}

// now says what is going on, how long it takes still, and where it can no longer be undone.
func (p Progress) now() []string {
	run := p.Run
	var lines []string
	if steps := p.underWay(); len(steps) > 1 {
		nodes := make([]string, len(steps))
		for i, s := range steps {
			nodes[i] = s.Node
		}
		lines = append(lines, fmt.Sprintf("Now: draining %d nodes of %s at once: %s", len(steps), code(steps[0].Pool), list(nodes, shownObjects)))
	} else if len(steps) > 0 {
		lines = append(lines, "Now: "+p.step(steps[0]))
	}
	if p.Unattended && run.State == upgrade.Running {
		lines = append(lines, "Nobody is at work: the process that carried it out is gone.")
	}
	if run.Ending != "" {
		return append(lines, "It has turned from its plan: "+Escape(cut(run.Problem, 1500)))
	}
	if run.State == upgrade.Running {
		left, done := run.Remaining(p.Now), ""
		if people := p.peopleAct(); people > 0 {
			done = fmt.Sprintf("and what people take, %s", report.Plural(people, "time"))
		} else {
			done = fmt.Sprintf("done at %s if all goes well", at(p.Now.Add(left).Truncate(time.Minute)))
		}
		lines = append(lines, fmt.Sprintf("Left: %s, %s.", report.About(left), done))
	}
	for _, s := range run.Steps {
		if end := lastWords(run.Plan, s); end != "" && s.State != upgrade.StepDone {
			lines = append(lines, "The next point of no return: "+end+".")
			break
		}
	}
	return lines
}

// peopleAct is how many steps that are left wait for people, who take as long as they take.
func (p Progress) peopleAct() int {
	n := 0
	for _, s := range p.Run.Steps {
		pool, _ := p.Run.Plan.Pool(s.Pool)
		waits := s.Kind == upgrade.AwaitNode || s.Kind == upgrade.WaitNodes && pool.ByPeople
		if waits && s.State != upgrade.StepDone && s.State != upgrade.StepDropped && s.State != upgrade.StepSkipped {
			n++
		}
	}
	return n
}

// lastWords says what a step ends for good, empty for nothing.
func lastWords(p upgrade.Plan, s upgrade.Step) string {
	pool, _ := p.Pool(s.Pool)
	switch {
	case s.Kind == upgrade.UpgradeControlPlane && s.StartedAt == nil:
		return "upgrading the control plane to " + code(s.Version)
	case s.Kind == upgrade.DeletePool:
		return "deleting " + code(s.Pool)
	case s.Kind == upgrade.CompleteUpgrade:
		return "deleting the old nodes of " + code(s.Pool)
	case s.Kind == upgrade.UpgradePool && pool.Action == upgrade.Rolling:
		return "upgrading the last node of " + code(s.Pool)
	case s.Kind == upgrade.RetirePool:
		return "leaving the empty " + code(s.Pool) + " to people, who may remove its machines"
	}
	return ""
}

// underWay are the steps that are carried out or were when the run stopped: one, or the drains of several nodes.
func (p Progress) underWay() []upgrade.Step {
	var steps []upgrade.Step
	for _, s := range p.Run.Steps {
		if s.State == upgrade.StepRunning || s.State == upgrade.StepStopped {
			steps = append(steps, s)
		}
	}
	if len(steps) > 1 && slices.ContainsFunc(steps, func(s upgrade.Step) bool { return s.Kind != upgrade.DrainNode }) {
		return steps[:1] // a node that joined late is drained within the step that deletes its pool
	}
	return steps
}

func (p Progress) step(s upgrade.Step) string {
	pool, _ := p.Run.Plan.Pool(s.Pool)
	since := ""
	if s.StartedAt != nil {
		since = ", since " + at(*s.StartedAt)
	}
	switch s.Kind {
	case upgrade.UpgradeControlPlane:
		if p.Run.Plan.Cluster.Regional {
			return "upgrading the control plane to " + code(s.Version) + ", one server after another" + since
		}
		return "upgrading the control plane to " + code(s.Version) + ", and the Kubernetes API is away meanwhile" + since
	case upgrade.FreezeAutoscaling:
		return "autoscaling of " + code(s.Pool) + " is turned off"
	case upgrade.CreatePool:
		return "making pool " + code(pool.NewName) + since
	case upgrade.WaitNodes:
		if pool.ByPeople {
			return "waiting for people to add machines to " + code(pool.NewName) + since
		}
		return "waiting for the nodes of " + code(pool.NewName) + since
	case upgrade.CordonPool:
		return "cordoning the nodes of " + code(s.Pool)
	case upgrade.SurgeFirst:
		return "restarting Deployments, so that their new pods are Ready before the old ones on " + code(s.Pool) + " end" + since
	case upgrade.SetUpgradeSettings:
		return "GKE is told how to upgrade " + code(s.Pool)
	case upgrade.UpgradePool:
		return "GKE upgrades " + code(s.Pool) + p.drained(s) + since
	case upgrade.RollBackPool:
		return "GKE takes its upgrade of " + code(s.Pool) + " back" + p.drained(s) + since
	case upgrade.CompleteUpgrade:
		return "GKE deletes the old nodes of " + code(s.Pool) + since
	case upgrade.RestoreUpgradeSettings:
		return "the upgrade settings of " + code(s.Pool) + " are restored"
	case upgrade.UncordonPool:
		return "opening the nodes of " + code(s.Pool)
	case upgrade.DrainNode:
		return "draining node " + code(s.Node) + " of " + code(s.Pool) + since
	case upgrade.Soak:
		return fmt.Sprintf("soaking for %s%s", time.Duration(p.Run.Plan.Soak(s)), since)
	case upgrade.DeletePool:
		return "deleting pool " + code(s.Pool) + since
	case upgrade.RestoreAutoscaling:
		return "autoscaling of " + code(pool.NewName) + " is turned on"
	case upgrade.CheckQuorum:
		return "waiting until every member of etcd is Ready, before " + code(s.Node) + " is taken" + since
	case upgrade.CordonNode:
		return "cordoning node " + code(s.Node)
	case upgrade.AwaitNode:
		return "waiting for people to upgrade node " + code(s.Node) + since
	case upgrade.UncordonNode:
		return "opening node " + code(s.Node) + ", and waiting until all is as it was" + since
	case upgrade.VerifyServers:
		return "asking every API server for its version" + since
	case upgrade.RetirePool:
		return "making sure that nothing is left on " + code(s.Pool)
	}
	return Escape(s.ID)
}

// drained says which nodes of the step's pool the provider drains just now.
func (p Progress) drained(s upgrade.Step) string {
	var nodes []string
	for _, d := range p.Run.Steps {
		if d.Kind == upgrade.DrainNode && d.Pool == s.Pool && d.Back == s.Back && (d.State == upgrade.StepRunning || d.State == upgrade.StepStopped) {
			nodes = append(nodes, d.Node)
		}
	}
	if len(nodes) == 0 {
		return ""
	}
	return ", draining " + list(nodes, shownObjects)
}

// tasks are what people have to do on machines, a line each and one for each command.
func (p Progress) tasks() []string {
	var lines []string
	for _, t := range p.Run.Tasks {
		lines = append(lines, "• "+Escape(cut(t.What, 500)))
		for _, c := range t.Commands {
			lines = append(lines, code(cut(c, 500)))
		}
	}
	return lines
}

// Task is what a step asks of people: a reply in the run's thread, to whoever asked for the run.
func (p Progress) Task(t upgrade.Task) Message {
	text := ":raised_hand: " + Escape(cut(t.What, 1500))
	if p.Run.Requester != nil {
		text = Mention(p.Run.Requester.ID) + " " + text
	}
	lines := []string{text}
	for _, c := range t.Commands {
		lines = append(lines, code(cut(c, 500)))
	}
	then := "The run goes on by itself once this is seen done."
	if p.Run.Plan.Options.Wait == upgrade.WaitExit {
		then = "The run ends its process meanwhile: once this is done, upgrade again or resume it."
	}
	return linesMessage(append(lines, then))
}

// waiting are the things that hold the run up, a line each.
func (p Progress) waiting() []string { return waiting(p.Run.Waiting) }

func waiting(all []upgrade.Waiting) []string {
	var lines []string
	for _, w := range all {
		if w.Passing {
			continue
		}
		line := "• " + code(w.Object.String()) + ": " + Escape(cut(w.Reason, 500))
		if namespace, name, ok := strings.Cut(w.Budget, "/"); w.Help != "" {
			line += ". Help: " + code(w.Help)
		} else if ok {
			line += ". Look: " + code(fmt.Sprintf("kubectl describe pdb -n %s %s", namespace, name))
		}
		lines = append(lines, line)
	}
	return lines
}

// next is what a person has to do, in Slack's words.
func (p Progress) next() []string {
	words := strings.NewReplacer(
		"upshift resume", "/upgrade resume "+p.Run.Cluster, "upshift rollback", "/upgrade rollback "+p.Run.Cluster,
		"upshift cancel", "/upgrade cancel "+p.Run.Cluster, "upshift status", "/upgrade status "+p.Run.Cluster,
	)
	next := make([]string, len(p.Run.Next))
	for i, n := range p.Run.Next {
		next[i] = words.Replace(n)
	}
	return next
}

// foot says who asked, who approved, and who carries it out.
func (p Progress) foot() string {
	run := p.Run
	var parts []string
	if run.Requester != nil {
		parts = append(parts, "Requested by "+Mention(run.Requester.ID))
	}
	var by []string
	for _, a := range run.Approvals {
		who := Escape(a.By)
		if a.ID != "" {
			who = Mention(a.ID)
		}
		by = append(by, who)
	}
	if len(by) > 0 {
		parts = append(parts, "approved by "+people(by))
	}
	h := run.Holder()
	parts = append(parts, "carried out by "+Escape(cut(h.Who, 100))+" ("+Escape(cut(h.Where, 100))+")", "run "+code(run.ID), "began "+at(run.StartedAt))
	if run.FinishedAt != nil {
		parts = append(parts, "took "+report.Round(report.Took(run, p.Now)).String())
	}
	if n := len(run.Handled); n > 0 {
		last := run.Handled[n-1]
		text := "last asked: " + Escape(cut(last.String(), 400))
		if last.Refused != "" {
			text += " (refused: " + Escape(cut(last.Refused, 200)) + ")"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " · ") + "\nDigest " + code(run.Digest)
}

func (p Progress) buttons() []*slackapi.ButtonBlockElement {
	s := p.subject()
	ending := p.Run.Ending
	switch {
	case p.Run.State.Final():
		return nil
	case ending == upgrade.Cancelled || ending == upgrade.Failed:
		if p.Run.State == upgrade.Running {
			return nil
		}
		return []*slackapi.ButtonBlockElement{resumeButton(s)}
	case p.Run.State == upgrade.Running && ending == "":
		return []*slackapi.ButtonBlockElement{pauseButton(s), rollbackButton(s), cancelButton(s)}
	case p.Run.State == upgrade.Running:
		return []*slackapi.ButtonBlockElement{pauseButton(s), cancelButton(s)}
	case ending == "":
		return []*slackapi.ButtonBlockElement{resumeButton(s), rollbackButton(s), cancelButton(s)}
	}
	return []*slackapi.ButtonBlockElement{resumeButton(s), cancelButton(s)}
}

// Status is the run for one person who asked.
func (p Progress) Status(lease string) Message {
	m := p.Message()
	m.Blocks = slices.DeleteFunc(m.Blocks, func(b slackapi.Block) bool { return b.BlockType() == slackapi.MBTAction })
	if lease != "" {
		m.Blocks = append(m.Blocks, slackapi.NewContextBlock("", mrkdwn(cutMarked(Escape(lease), 500))))
	}
	return m
}

// shownPods is how many pods are listed under a node at most.
const shownPods = 30

// Node is the drain of one node: a reply in the run's thread.
func (p Progress) Node(step upgrade.Step) Message {
	var b builder
	n, of := p.Run.PlaceOf(step)
	where := fmt.Sprintf("*%d of %d*: node %s of %s", n, of, code(step.Node), code(step.Pool))
	blocked := p.blocking(step)
	switch {
	case step.State == upgrade.StepDone:
		b.section(fmt.Sprintf(":white_check_mark: %s drained in %s", where, stepTook(step)))
	case len(blocked) > 0:
		b.section(":no_entry: " + where + " is blocked")
	case step.State == upgrade.StepSkipped:
		b.section(":fast_forward: " + where + " is left out for now: a person had it skipped")
	case step.State == upgrade.StepDropped:
		b.section(":leftwards_arrow_with_hook: " + where + " stays: the run has turned back")
	case step.State == upgrade.StepRunning:
		b.section(":hourglass_flowing_sand: " + where + " is being drained")
	default:
		b.section(":double_vertical_bar: " + where + " is not drained yet: the run is " + Escape(string(p.Run.State)))
	}
	b.some("", blocked, len(blocked), 4000)
	b.some("", p.leaving(step), shownPods, footRoom)
	if len(blocked) > 0 {
		if buttons := p.buttons(); len(buttons) > 0 {
			b.buttons(buttons...)
		}
	}
	return b.message(fmt.Sprintf("Node %d of %d: %s %s", n, of, Escape(step.Node), step.State))
}

func stepTook(s upgrade.Step) string {
	if s.StartedAt == nil || s.FinishedAt == nil {
		return "an unknown time"
	}
	return report.Round(s.FinishedAt.Sub(*s.StartedAt)).String()
}

// blocking are the things that hold up the drain of the step.
func (p Progress) blocking(step upgrade.Step) []string {
	if step.State != upgrade.StepRunning && step.State != upgrade.StepStopped {
		return nil
	}
	var mine []upgrade.Waiting
	for _, w := range p.Run.Waiting {
		if w.Node == step.Node || w.Node == "" {
			mine = append(mine, w)
		}
	}
	return waiting(mine)
}

// leaving says which pods left the node and where their replacements came up, or which have to leave it.
func (p Progress) leaving(step upgrade.Step) []string {
	var lines []string
	moves := p.Run.MovesFrom(step.Node)
	for _, m := range moves {
		line := "• " + code(m.Pod.Namespace+"/"+m.Pod.Name) + " (" + Escape(report.Owner(m.Workload)) + ")"
		switch {
		case m.To != "":
			line += fmt.Sprintf(" → Ready on %s after %s", code(m.To), report.Round(time.Duration(m.After)))
		case m.Workload.IsZero():
			line += " is gone"
		default:
			line += " left; no replacement was seen before the drain ended"
		}
		lines = append(lines, line)
	}
	if step.Baseline != nil {
		for _, r := range step.Baseline.Pods {
			if slices.ContainsFunc(moves, func(m upgrade.Move) bool { return m.Pod.UID == r.Pod.UID }) {
				continue
			}
			lines = append(lines, "• "+code(r.Pod.Namespace+"/"+r.Pod.Name)+" ("+Escape(report.Owner(r.Workload))+") has to leave")
		}
	}
	if len(lines) == 0 && step.State == upgrade.StepDone {
		return []string{"No pod had to leave it."}
	}
	return lines
}

// Report is the last word on a run: a reply in its thread, which mentions the requester if the run did not succeed.
func (p Progress) Report() Message {
	run := p.Run
	icon := ":white_check_mark:"
	if run.State != upgrade.Succeeded {
		icon = ":warning:"
	}
	who := ""
	if run.State != upgrade.Succeeded && run.Requester != nil {
		who = Mention(run.Requester.ID) + " "
	}
	lines := []string{fmt.Sprintf("%s%s %s: %s, in %s.", who, icon, Escape(p.title()), p.counts(), report.Round(report.Took(run, p.Now)))}
	for _, pool := range run.Plan.Pools {
		if to, ok := run.ReplacedPools[pool.Name]; ok {
			lines = append(lines, fmt.Sprintf("Pool %s is replaced by %s.", code(pool.Name), code(to)))
		}
	}
	if run.State != upgrade.Succeeded && run.Problem != "" {
		lines = append(lines, "Why: "+Escape(cut(run.Problem, 1500)))
	}
	for _, n := range p.next() {
		lines = append(lines, "Next: "+Escape(cut(n, 600)))
	}
	return linesMessage(lines)
}

// Trouble tells the requester that the run needs a person: a reply that mentions them.
func (p Progress) Trouble() Message {
	run := p.Run
	text := fmt.Sprintf("%s: %s", Escape(p.title()), Escape(cut(run.Problem, 1500)))
	if run.Requester != nil {
		text = Mention(run.Requester.ID) + " " + text
	}
	lines := append([]string{text}, waiting(run.Waiting)...)
	for _, n := range p.next() {
		lines = append(lines, "Next: "+Escape(cut(n, 600)))
	}
	return linesMessage(lines)
}
