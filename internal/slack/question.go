package slack

import (
	"fmt"
	"strings"
	"time"

	"github.com/upshift-k8s/upshift/internal/report"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// Question is a plan that people are asked to approve.
type Question struct {
	Plan      upgrade.Plan
	Approvals upgrade.Approvals
	// Quorum is how many approvals it takes, and Approvers who may give them, as IDs of users and user groups.
	Quorum        int
	Users, Groups []string
	// Differences say what has changed since an earlier plan, if this question takes the place of another.
	Differences []string
	// Closed says why it is not open any more, as mrkdwn that is escaped already; empty while it is.
	Closed string
}

// shownNodes and shownObjects are how many names are listed in one line.
const (
	shownNodes   = 6
	shownObjects = 8
)

// footReserve is room for what follows the findings: consents, estimate, votes, digest.
const footReserve = 3200

// Message is the question, with the findings that it has no room for.
func (q Question) Message() (m Message, more []Message) {
	var b builder
	p := q.Plan
	name := p.Cluster.Name
	b.header(fmt.Sprintf("Upgrade %s to %s?", name, p.Target.Version))
	if q.Closed != "" {
		b.section(q.Closed)
	}
	if len(q.Differences) > 0 {
		b.lines("*What has changed since the last plan*", escapeAll("• ", q.Differences), footReserve+3000)
	}
	b.section(describeCluster(p))
	b.lines("", pools(p), footReserve)
	left := b.lines(verdict(p), findings(p), footReserve)
	if len(left) > 0 {
		b.section(fmt.Sprintf("… and %s: in the thread.", report.Plural(len(left), "more line")))
	}
	if len(p.Consents) > 0 {
		b.lines("*Approving also consents to*", consents(p), 1600)
	}
	b.section(timing(p))
	b.lines("", votes(q.Approvals), 1000)
	b.context(q.foot())
	if q.Closed == "" {
		s := Subject{Cluster: name, ID: q.Approvals.ID}
		b.buttons(approveButton(s), rejectButton(s))
	}
	text := fmt.Sprintf("%s asks to upgrade %s to %s: %s", Escape(q.Approvals.Requester), Escape(name), Escape(p.Target.Version), report.Plural(p.Count(upgrade.Warning), "warning"))
	return b.message(text), overflow("*More findings*", left)
}

// PlanMessage is a plan to look at, with nothing to approve.
func PlanMessage(p upgrade.Plan) Message {
	var b builder
	b.header(fmt.Sprintf("Plan for %s to %s", p.Cluster.Name, p.Target.Version))
	b.section(describeCluster(p))
	b.lines("", pools(p), footReserve)
	if left := b.lines(verdict(p), findings(p), footReserve); len(left) > 0 {
		b.section(fmt.Sprintf("… and %s: upshift plan, in a terminal or a job, lists all.", report.Plural(len(left), "more line")))
	}
	if len(p.Consents) > 0 {
		b.lines("*It needs consent*", consents(p), 1600)
	}
	if len(p.Steps) > 0 {
		b.section(timing(p))
	}
	b.context("Digest " + code(p.Digest))
	return b.message(fmt.Sprintf("Plan for %s to %s", Escape(p.Cluster.Name), Escape(p.Target.Version)))
}

func describeCluster(p upgrade.Plan) string {
	kind := "zonal"
	if p.Cluster.Regional {
		kind = "regional"
	}
	target := code(p.Target.Version)
	if p.Target.Requested != p.Target.Version {
		target += " (" + Escape(p.Target.Requested) + ")"
	}
	return fmt.Sprintf("Cluster %s: %s, project %s, %s, %s, control plane at %s. Target %s.", code(p.Cluster.Name), Escape(p.Cluster.Provider),
		code(p.Cluster.Project), code(p.Cluster.Location), kind, code(p.Cluster.ControlPlaneVersion), target)
}

// pools says what happens to each pool, a line each.
func pools(p upgrade.Plan) []string {
	var lines []string
	for _, pool := range p.Pools {
		if pool.Action != upgrade.Migrate {
			lines = append(lines, fmt.Sprintf("• Pool %s at %s: nothing to do, %s", code(pool.Name), code(pool.From), Escape(pool.Why)))
			continue
		}
		lines = append(lines, fmt.Sprintf("• Pool %s: %s from %s to %s, %s, %s to move. The new pool: %s", code(pool.Name), pool.Action, code(pool.From), code(pool.To),
			report.Plural(len(pool.Nodes), "node"), report.Plural(pool.PodsToMove, "pod"), Escape(report.NewPool(pool))),
			"      "+list(pool.Nodes, shownNodes))
	}
	return lines
}

// list names the first few of many as code.
func list(names []string, most int) string {
	shown := make([]string, 0, most+1)
	for i, n := range names {
		if i == most {
			shown = append(shown, fmt.Sprintf("and %d more", len(names)-most))
			break
		}
		shown = append(shown, code(n))
	}
	return strings.Join(shown, ", ")
}

func verdict(p upgrade.Plan) string {
	return fmt.Sprintf("*Findings*: %s, %s, %s", report.Plural(p.Count(upgrade.Blocker), "blocker"), report.Plural(p.Count(upgrade.Warning), "warning"), report.Plural(p.Count(upgrade.Info), "info"))
}

var severityIcons = map[upgrade.Severity]string{upgrade.Blocker: ":no_entry:", upgrade.Warning: ":warning:", upgrade.Info: ":information_source:"}

// findings are the plan's, the gravest first, each with its object, what was seen, and what to do.
func findings(p upgrade.Plan) []string {
	var lines []string
	for _, f := range p.Findings {
		line := fmt.Sprintf("%s %s: %s %s", severityIcons[f.Severity], Escape(f.Check), code(f.Object.String()), Escape(f.Problem))
		if f.Consent != "" {
			line += ". Consent: " + code(string(f.Consent))
		}
		if len(f.Evidence) > 0 {
			line += ". Seen: " + list(f.Evidence, shownObjects)
		}
		if f.Remedy != "" {
			line += ". Remedy: " + code(f.Remedy)
		}
		lines = append(lines, cutCode(line))
	}
	return lines
}

// cutCode keeps a line within a section. Where it is cut, an open code span is closed.
func cutCode(line string) string {
	const most = 1500
	if line = cut(line, most); strings.Count(line, "`")%2 == 1 {
		line += "`"
	}
	return line
}

// consents says what each consent of the plan allows to be lost.
func consents(p upgrade.Plan) []string {
	var lines []string
	for _, c := range p.Consents {
		var objects []string
		for _, f := range p.Findings {
			if f.Consent == c {
				objects = append(objects, f.Object.String())
			}
		}
		lines = append(lines, "• "+code(string(c))+": "+list(objects, shownObjects))
	}
	return lines
}

// timing says how long it takes, and where it can no longer be undone.
func timing(p upgrade.Plan) string {
	var parts []string
	total, until := time.Duration(0), time.Duration(-1)
	sums := map[upgrade.StepKind]time.Duration{}
	drains := 0
	var noReturn []string
	for _, s := range p.Steps {
		if s.Kind == upgrade.DeletePool {
			noReturn = append(noReturn, s.Pool)
			if until < 0 {
				until = total
			}
		}
		if s.Kind == upgrade.DrainNode {
			drains++
		}
		total += time.Duration(s.Estimate)
		sums[s.Kind] += time.Duration(s.Estimate)
	}
	for _, kind := range []struct {
		kind upgrade.StepKind
		text string
	}{
		{upgrade.CreatePool, "new nodes"}, {upgrade.DrainNode, report.Plural(drains, "drain")}, {upgrade.Soak, "soak"}, {upgrade.DeletePool, "deleting old pools"},
	} {
		if d := sums[kind.kind]; d > 0 {
			parts = append(parts, kind.text+" "+short(d))
		}
	}
	text := fmt.Sprintf("*Takes* %s if all goes well (%s).", about(total), strings.Join(parts, ", "))
	if len(noReturn) == 0 {
		return text + "\n*Point of no return*: none, the old pools are kept."
	}
	return text + fmt.Sprintf("\n*Point of no return*: deleting %s, %s after the start. Until then a rollback moves the pods back.", list(noReturn, shownNodes), about(until))
}

// votes says who said what so far.
func votes(a upgrade.Approvals) []string {
	var lines []string
	for _, v := range a.Votes {
		verb := ":white_check_mark: approved"
		if !v.Approved {
			verb = ":x: rejected"
		}
		lines = append(lines, fmt.Sprintf("%s by %s, %s", verb, Mention(v.ID), at(v.At)))
	}
	return lines
}

// foot says who asked, who may answer and until when.
func (q Question) foot() string {
	text := "Requested by " + Mention(q.Approvals.RequesterID)
	if q.Closed == "" {
		var who []string
		for _, u := range q.Users {
			who = append(who, Mention(u))
		}
		for _, g := range q.Groups {
			if idPattern.MatchString(g) {
				who = append(who, "<!subteam^"+g+">")
			}
		}
		text += fmt.Sprintf(". Needs %s by others of %s (:white_check_mark: or :+1: approves, :x: rejects), until %s", report.Plural(max(1, q.Quorum), "approval"),
			strings.Join(who, ", "), at(q.Approvals.Expires))
	}
	return text + ".\nDigest " + code(q.Plan.Digest)
}

// overflow puts lines into as many messages as they need.
func overflow(title string, lines []string) []Message {
	var messages []Message
	for len(lines) > 0 {
		var b builder
		left := b.lines(title, lines, 0)
		if len(left) == len(lines) {
			left = lines[1:] // a line that fits nowhere; lines are cut before they get here
		}
		messages = append(messages, b.message("More of the plan"))
		lines = left
	}
	return messages
}

func escapeAll(prefix string, lines []string) []string {
	escaped := make([]string, len(lines))
	for i, l := range lines {
		escaped[i] = prefix + Escape(cut(l, 500))
	}
	return escaped
}
