package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// How much of a great many things of one kind is shown. Whatever is left out is counted, and where it all is, is said.
const (
	shownFindings = 20
	shownEvidence = 8
	shownDrains   = 10
	shownRestarts = 5
)

// View is a plan as people read it: the same words on every surface, which each has only to lay out and to escape. JSON is the plan
// itself, with everything.
type View struct {
	Plan upgrade.Plan
	// Target is the version, with what was asked for if that was another word.
	Target string
	// Where says whose cluster it is, and where: "gke, project p, europe-west1, regional".
	Where  string
	Counts string
	// ControlPlane is what happens to the control plane, empty for nothing.
	ControlPlane string
	Timing       Timing
	Pools        []PoolView
	// Groups are the findings, those of one severity and check together, the gravest first.
	Groups []Group
	Steps  []StepView
}

// PoolView is what happens to a pool.
type PoolView struct {
	upgrade.PoolPlan
	// Size, Pods and NewPool are "-" for a pool to which nothing happens; Cost is empty then.
	Size, Pods, NewPool, Cost string
}

// Group are findings of one check and severity.
type Group struct {
	Check    string
	Severity upgrade.Severity
	Findings []FindingView
	// More is how many there are besides.
	More int
}

// FindingView is a finding in words.
type FindingView struct {
	upgrade.Finding
	// Standing is its severity, or that it is accepted.
	Standing string
	// Notes are what there is to say besides, each with its title: what was seen, the remedy, the consent, the waiver.
	Notes []Note
}

// Note is something about a finding.
type Note struct{ Title, Text string }

// StepView is a step, or many like it that are not shown.
type StepView struct {
	// Number is the first step's, counted from 1, and More how many steps it stands for without showing them, 0 for one that is shown.
	Number, More int
	Text         string
	// Takes is the estimate, empty for next to nothing; NoReturn is the step's.
	Takes, NoReturn string
}

// Look puts a plan into words, given the consents that are granted.
func Look(p upgrade.Plan, granted []upgrade.Consent) View {
	v := View{Plan: p, Target: p.Target.Version, Where: Where(p.Cluster), Timing: TimingOf(p), Counts: FindingCounts(p), ControlPlane: ControlPlane(p)}
	if p.Target.Requested != p.Target.Version {
		v.Target += fmt.Sprintf(" (%s)", p.Target.Requested)
	}
	for _, pool := range p.Pools {
		v.Pools = append(v.Pools, viewPool(pool))
	}
	v.Groups = group(p.Findings, granted)
	v.Steps = viewSteps(p)
	return v
}

// FindingCounts says how many findings there are of each severity.
func FindingCounts(p upgrade.Plan) string {
	text := fmt.Sprintf("%s, %s, %s", Plural(p.Count(upgrade.Blocker), "blocker"), Plural(p.Count(upgrade.Warning), "warning"), Plural(p.Count(upgrade.Info), "info"))
	if n := p.Count(upgrade.UnknownSeverity); n > 0 {
		text += fmt.Sprintf(", %d unknown", n)
	}
	accepted := 0
	for _, f := range p.Findings {
		if f.Waiver != nil {
			accepted++
		}
	}
	if accepted > 0 {
		text += fmt.Sprintf(", %d accepted", accepted)
	}
	return text
}

func viewPool(pool upgrade.PoolPlan) PoolView {
	if !pool.Action.Changes() {
		return PoolView{PoolPlan: pool, Size: "-", Pods: "-", NewPool: "-"}
	}
	v := PoolView{PoolPlan: pool, Size: fmt.Sprint(len(pool.Nodes)), Pods: fmt.Sprint(pool.PodsToMove), NewPool: NewPool(pool)}
	if pool.ByProvider() {
		v.NewPool = "-" // its name stays
	}
	if s := pool.Surge; s.Nodes > 0 {
		v.Cost = fmt.Sprintf("%s more, %.1f node-hours", Plural(s.Nodes, "node"), s.NodeHours)
		if s.Stays && pool.Action == upgrade.Migrate {
			v.Cost += fmt.Sprintf(", and on until somebody deletes %s", pool.Name)
		}
	}
	return v
}

// group puts findings of one severity and check together, in the order in which they come.
func group(findings []upgrade.Finding, granted []upgrade.Consent) []Group {
	var groups []Group
	for _, f := range findings {
		i := slices.IndexFunc(groups, func(g Group) bool { return g.Check == f.Check && g.Severity == f.Severity })
		if i < 0 {
			groups, i = append(groups, Group{Check: f.Check, Severity: f.Severity}), len(groups)
		}
		if len(groups[i].Findings) == shownFindings {
			groups[i].More++
			continue
		}
		groups[i].Findings = append(groups[i].Findings, viewFinding(f, granted))
	}
	return groups
}

func viewFinding(f upgrade.Finding, granted []upgrade.Consent) FindingView {
	v := FindingView{Finding: f, Standing: string(f.Severity)}
	note := func(title, format string, args ...any) {
		v.Notes = append(v.Notes, Note{title, fmt.Sprintf(format, args...)})
	}
	if w := f.Waiver; w != nil {
		v.Standing = "accepted"
		note("accepted", "until %s: %s (%s otherwise)", w.Until, w.Reason, f.Severity)
	}
	if len(f.Evidence) > 0 {
		note("seen", "%s", First(f.Evidence, shownEvidence))
	}
	if f.Consent != "" {
		note("consent", "%s (%s)", f.Consent, given(f.Consent, granted))
	}
	if f.Remedy != "" {
		note("remedy", "%s", f.Remedy)
	}
	if f.Advice != "" {
		note("advice", "%s", f.Advice)
	}
	return v
}

func given(c upgrade.Consent, granted []upgrade.Consent) string {
	if slices.Contains(granted, c) {
		return "given"
	}
	return "not given: upgrade will not start without it"
}

// viewSteps lists the steps. Of a great many drains of one pool the first ones and the last are shown, and all that cannot be undone.
func viewSteps(p upgrade.Plan) []StepView {
	var views []StepView
	for i := 0; i < len(p.Steps); i++ {
		drains := 0
		for i+drains < len(p.Steps) && p.Steps[i+drains].Kind == upgrade.DrainNode && p.Steps[i+drains].Pool == p.Steps[i].Pool {
			drains++
		}
		if drains <= shownDrains {
			views = append(views, viewStep(p, i))
			continue
		}
		for end := i + drains; i < end; i++ {
			if i < end-drains+shownDrains-1 || i == end-1 || p.Steps[i].NoReturn != "" {
				views = append(views, viewStep(p, i))
				continue
			}
			if last := &views[len(views)-1]; last.More > 0 {
				last.More++
				last.Text = fmt.Sprintf("%d more of %s", last.More, p.Steps[i].Kind)
				continue
			}
			views = append(views, StepView{Number: i + 1, More: 1, Text: "1 more of " + string(p.Steps[i].Kind)})
		}
		i--
	}
	return views
}

func viewStep(p upgrade.Plan, i int) StepView {
	s := p.Steps[i]
	v := StepView{Number: i + 1, Text: Step(p, s), NoReturn: s.NoReturn}
	if s.Estimate > 0 && s.Kind != upgrade.Soak { // which says it itself
		v.Takes = Short(time.Duration(s.Estimate))
	}
	return v
}

// Timing is how long a plan takes, if all goes well.
type Timing struct {
	Total time.Duration
	// Parts are what takes long.
	Parts []Part
	// NoReturn are what a rollback does not undo, and Until is when the first of these begins.
	NoReturn []string
	Until    time.Duration
	// pools tells that something is done to a pool.
	pools bool
	// Ends is how many drains end something for good.
	Ends int
	// ControlPlane is the version that the control plane is upgraded to first and that no rollback takes back, empty where it is left alone.
	ControlPlane string
	// People is how often it waits for people, whose time is not counted. InPlace tells that nodes are upgraded in place, which is not undone.
	People  int
	InPlace bool
}

// Part is one kind of steps of a plan.
type Part struct {
	What  string
	Takes time.Duration
}

// TimingOf adds up a plan's estimates.
func TimingOf(p upgrade.Plan) Timing {
	t := Timing{InPlace: slices.ContainsFunc(p.Steps, func(s upgrade.Step) bool { return s.Kind == upgrade.AwaitNode })}
	sums := map[upgrade.StepKind]time.Duration{}
	drains := 0
	for _, s := range p.Steps {
		if s.Kind == upgrade.UpgradeControlPlane {
			t.ControlPlane = s.Version
		}
		t.pools = t.pools || s.Pool != ""
		if s.Kind == upgrade.AwaitNode || s.Kind == upgrade.WaitNodes && p.Cluster.Provider == upgrade.SelfManaged {
			t.People++
		}
		if last := endOf(p, s); last != "" {
			if len(t.NoReturn) == 0 {
				t.Until = t.Total
			}
			t.NoReturn = append(t.NoReturn, last)
		}
		if s.Kind == upgrade.DrainNode {
			drains++
			if s.NoReturn != "" {
				t.Ends++
			}
		}
		t.Total += time.Duration(s.Estimate)
		sums[s.Kind] += time.Duration(s.Estimate)
	}
	for _, kind := range []struct {
		kind upgrade.StepKind
		what string
	}{
		{upgrade.UpgradeControlPlane, "control plane"}, {upgrade.CreatePool, "new nodes"}, {upgrade.UpgradePool, "new nodes in place"}, {upgrade.SurgeFirst, "restarts"}, {upgrade.DrainNode, Plural(drains, "drain") + atOnce(p)}, {upgrade.Soak, "soak"}, {upgrade.DeletePool, "deleting old pools"}, {upgrade.CompleteUpgrade, "deleting old nodes"},
	} {
		if d := sums[kind.kind]; d > 0 {
			t.Parts = append(t.Parts, Part{kind.what, d})
		}
	}
	return t
}

// atOnce is AtOnce of the pools that are drained, where it is the same for all of them.
func atOnce(p upgrade.Plan) string {
	var all []string
	for _, pool := range p.Pools {
		if text := AtOnce(p.For(pool.Name).Parallel); pool.Action.Changes() && !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	if len(all) > 1 {
		return ", some at once"
	}
	return strings.Join(all, "")
}

// endOf says what a step ends for good, empty for nothing.
func endOf(p upgrade.Plan, s upgrade.Step) string {
	pool, _ := p.Pool(s.Pool)
	switch {
	case s.Kind == upgrade.DeletePool:
		return s.Pool + " is deleted"
	case s.Kind == upgrade.CompleteUpgrade:
		return "the old nodes of " + s.Pool + " are deleted"
	case s.Kind == upgrade.RestoreUpgradeSettings && pool.Action == upgrade.Rolling:
		return "the last node of " + s.Pool + " is upgraded"
	case s.Kind == upgrade.RetirePool:
		return s.Pool + " is empty and people may remove its machines"
	}
	return ""
}

// Takes says how long it takes: "about 1 h 9 min if all goes well (new nodes 4 min, …)".
func (t Timing) Takes() string {
	text := About(t.Total) + " if all goes well"
	if t.People > 0 {
		text += fmt.Sprintf(", and what people take, %s", Plural(t.People, "time"))
	}
	if len(t.Parts) == 0 {
		return text
	}
	parts := make([]string, len(t.Parts))
	for i, p := range t.Parts {
		parts[i] = p.What + " " + Short(p.Takes)
	}
	return fmt.Sprintf("%s (%s)", text, strings.Join(parts, ", "))
}

// Undo says until when all can be undone.
func (t Timing) Undo() string {
	if t.ControlPlane != "" && len(t.NoReturn) == 0 && !t.pools {
		return "not at all: a control plane is not downgraded"
	}
	text := "at any time: the old pools are kept"
	if t.InPlace {
		text = "at any time, but for nodes that are upgraded in place: they stay so"
	}
	if len(t.NoReturn) > 0 {
		text = fmt.Sprintf("until %s, %s after the start", t.NoReturn[0], About(t.Until))
	}
	if t.Ends > 0 {
		text += fmt.Sprintf("; but %s ends bare pods for good", Plural(t.Ends, "drain"))
	}
	if t.ControlPlane != "" {
		text += fmt.Sprintf("; but the control plane stays at %s, since it is not downgraded", t.ControlPlane)
	}
	return text
}
