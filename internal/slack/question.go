package slack

import (
	"fmt"
	"strings"
	"unicode/utf8"

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
	// Note says what an open question waits for beside votes, as mrkdwn that is escaped already; empty for nothing.
	Note string
	// Closed says why it is not open any more, as mrkdwn that is escaped already; empty while it is.
	Closed string
}

// shownNodes and shownObjects are how many names are listed in one line.
const (
	shownNodes   = 6
	shownObjects = 8
)

// footReserve is room for what follows the findings (consents, estimate, votes, digest), and poolReserve for the findings besides.
const (
	footReserve = 4000
	poolReserve = footReserve + 2500
)

// Message is the question, with the pools and findings that it has no room for.
func (q Question) Message() (m Message, more []Message) {
	var b builder
	p := q.Plan
	name := p.Cluster.Name
	b.header(fmt.Sprintf("Upgrade %s to %s?", name, p.Target.Version))
	for _, first := range []string{q.Closed, q.Note} {
		if first != "" {
			b.section(first)
		}
	}
	if len(q.Approvals.Differences) > 0 {
		b.some("*What has changed since the last plan*", escapeAll("• ", q.Approvals.Differences), len(q.Approvals.Differences), poolReserve+2000)
	}
	b.section(describeCluster(p))
	leftPools := b.lines("", pools(p), poolReserve)
	if len(leftPools) > 0 {
		b.section(fmt.Sprintf("… and %s: in the thread.", report.Plural(len(leftPools), "more pool")))
	}
	left := b.findings(p)
	if len(left) > 0 {
		b.section(fmt.Sprintf("… and %s: in the thread.", report.Plural(len(left), "more finding")))
	}
	if len(p.Consents) > 0 {
		b.some("*Approving also consents to*", consents(p), len(p.Consents), 1600)
	}
	b.section(timing(p))
	b.some("", votes(q.Approvals), len(q.Approvals.Votes), footRoom)
	b.context(q.foot())
	if q.Closed == "" {
		s := Subject{Cluster: name, ID: q.Approvals.ID}
		b.buttons(approveButton(s), rejectButton(s))
	}
	text := fmt.Sprintf("%s asks to upgrade %s to %s: %s", Escape(q.Approvals.Requester), Escape(name), Escape(p.Target.Version), report.Plural(p.Count(upgrade.Warning), "warning"))
	return b.message(text), append(overflow("*More pools*", leftPools), overflow("*More findings*", left)...)
}

// PlanMessage is a plan to look at, with nothing to approve.
func PlanMessage(p upgrade.Plan) Message {
	var b builder
	b.header(fmt.Sprintf("Plan for %s to %s", p.Cluster.Name, p.Target.Version))
	b.section(describeCluster(p))
	b.some("", pools(p), len(p.Pools), poolReserve)
	if left := b.findings(p); len(left) > 0 {
		b.section(fmt.Sprintf("… and %s: upshift plan, in a terminal or a job, lists all.", report.Plural(len(left), "more finding")))
	}
	if len(p.Consents) > 0 {
		b.some("*Consents that it asks for*", consents(p), len(p.Consents), 1600)
	}
	if len(p.Steps) > 0 {
		b.section(timing(p))
	}
	b.context("Digest " + code(p.Digest))
	return b.message(fmt.Sprintf("Plan for %s to %s", Escape(p.Cluster.Name), Escape(p.Target.Version)))
}

func describeCluster(p upgrade.Plan) string {
	target := code(p.Target.Version)
	if p.Target.Requested != p.Target.Version {
		target += " (" + Escape(p.Target.Requested) + ")"
	}
	c := p.Cluster
	where := Escape(c.Provider)
	if c.Provider != upgrade.SelfManaged {
		kind := "zonal"
		if c.Regional {
			kind = "regional"
		}
		where += fmt.Sprintf(", project %s, %s, %s", code(c.Project), code(c.Location), kind)
	}
	text := fmt.Sprintf("Cluster %s: %s, control plane at %s. Target %s.", code(c.Name), where, code(c.ControlPlaneVersion), target)
	if does := report.ControlPlane(p); does != "" {
		text += "\nControl plane: " + Escape(does) + "."
	}
	return text
}

// pools says what happens to each pool.
func pools(p upgrade.Plan) []string {
	var lines []string
	for _, pool := range p.Pools {
		if !pool.Action.Changes() {
			lines = append(lines, fmt.Sprintf("• Pool %s at %s: nothing to do, %s", code(pool.Name), code(pool.From), Escape(pool.Why)))
			continue
		}
		how := "Its name stays"
		switch {
		case pool.Action == upgrade.Migrate:
			how = "The new pool: " + Escape(report.NewPool(pool))
			if pool.ByPeople {
				how += ", to which people add the machines"
			}
		case pool.ByPeople:
			how = "People upgrade or replace each node once it is drained"
		case pool.ByProvider():
			how = "GKE drains it: " + Escape(pool.Upgrade.String())
		}
		lines = append(lines, fmt.Sprintf("• Pool %s: %s from %s to %s, %s, %s to move. %s", code(pool.Name), pool.Action, code(pool.From), code(pool.To),
			report.Plural(len(pool.Nodes), "node"), report.Plural(pool.PodsToMove, "pod"), how)+
			"\n      "+list(pool.Nodes, shownNodes))
	}
	return lines
}

// list names the first few of many as code.
func list(names []string, most int) string {
	text := ""
	for i, n := range names {
		next := escapedCode(cutMarked(Escape(n), maxName))
		if i == most || i > 0 && utf8.RuneCountInString(text)+utf8.RuneCountInString(next) > maxList {
			return text + fmt.Sprintf(", and %d more", len(names)-i)
		}
		if i > 0 {
			text += ", "
		}
		text += next
	}
	return text
}

func verdict(p upgrade.Plan) string {
	return "*Findings*: " + report.FindingCounts(p)
}

// findings puts the plan's findings into the message, and returns those that it has no room for.
func (b *builder) findings(p upgrade.Plan) (left []string) {
	all := findings(p)
	left = b.lines(verdict(p), all, footReserve)
	if len(left) == len(all) {
		b.section(verdict(p))
	}
	return left
}

var severityIcons = map[upgrade.Severity]string{
	upgrade.Blocker: ":no_entry:", upgrade.UnknownSeverity: ":grey_question:", upgrade.Warning: ":warning:", upgrade.Info: ":information_source:",
}

// findings are the plan's, the gravest first, each with its object, what was seen, and what to do.
func findings(p upgrade.Plan) []string {
	var lines []string
	for _, f := range p.Findings {
		icon := severityIcons[f.Severity]
		if f.Waiver != nil {
			icon = ":ballot_box_with_check:"
		}
		line := fmt.Sprintf("%s %s: %s %s", icon, Escape(f.Check), code(f.Object.String()), Escape(f.Problem))
		if w := f.Waiver; w != nil {
			line += fmt.Sprintf(". Accepted until %s: %s", w.Until, Escape(w.Reason))
		}
		if f.Consent != "" {
			line += ". Consent: " + code(string(f.Consent))
		}
		if len(f.Evidence) > 0 {
			line += ". Seen: " + list(f.Evidence, shownObjects)
		}
		if f.Remedy != "" {
			line += ". Remedy: " + code(f.Remedy)
		}
		if f.Advice != "" {
			line += ". Advice: " + Escape(f.Advice)
		}
		lines = append(lines, line)
	}
	return lines
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
	t := report.TimingOf(p)
	text := "*Takes* " + Escape(t.Takes()) + "."
	if t.ControlPlane != "" {
		text += fmt.Sprintf("\n*Point of no return*: upgrading the control plane, first of all. It is not downgraded: a rollback leaves it at %s.", code(t.ControlPlane))
	}
	if len(t.NoReturn) == 0 {
		switch {
		case t.InPlace:
			text += "\n*Point of no return*: each node that people upgrade. It stays so: a rollback undoes the cordons alone."
		case t.ControlPlane == "":
			text += "\n*Point of no return*: none, the old pools are kept."
		}
		return text
	}
	return text + fmt.Sprintf("\n*Point of no return*: %s, %s after the start. Until then a rollback moves the pods back.", endings(p), report.About(t.Until))
}

// endings are what a rollback does not undo: the deletions of pools, and what ends by GKE.
func endings(p upgrade.Plan) string {
	var deleted, all []string
	for _, s := range p.Steps {
		if s.Kind == upgrade.DeletePool {
			deleted = append(deleted, s.Pool)
		} else if last := lastWords(p, s); last != "" {
			all = append(all, last)
		}
	}
	if len(deleted) > 0 {
		all = append([]string{"deleting " + list(deleted, shownNodes)}, all...)
	}
	return strings.Join(all, "; ")
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
			people(who), at(q.Approvals.Expires))
	}
	return text + ".\nDigest " + code(q.Plan.Digest)
}

// people lists mentions, the first of very many.
func people(mentions []string) string {
	const most = 20
	if n := len(mentions); n > most {
		return strings.Join(mentions[:most], ", ") + fmt.Sprintf(" and %d more", n-most)
	}
	return strings.Join(mentions, ", ")
}

// overflow puts lines into as many messages as they need.
func overflow(title string, lines []string) []Message {
	var messages []Message
	for len(lines) > 0 {
		var b builder
		lines = b.lines(title, lines, 0) // fewer each time: lines are cut to what fits
		messages = append(messages, b.message("More of the plan"))
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
