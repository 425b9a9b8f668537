package upgrade

import (
	"fmt"
	"iter"
	"slices"
)

// Severity orders findings by what they do to a run.
type Severity string

// The severities of a finding.
const (
	// Blocker: the upgrade does not start.
	Blocker Severity = "blocker"
	// Warning: the upgrade can start; somebody should know.
	Warning Severity = "warning"
	// Info: worth a line in the plan.
	Info Severity = "info"
	// UnknownSeverity: what would tell could not be read. It counts as a blocker for a check that can block, and as a warning for any other.
	UnknownSeverity Severity = "unknown"
)

// Severities are all severities, the gravest first.
var Severities = []Severity{Blocker, UnknownSeverity, Warning, Info}

// Consent is the name of the input by which a person allows something harmful.
type Consent string

// The consents that exist.
const (
	AllowBarePods     Consent = "allow-bare-pods"
	AllowEmptyDirLoss Consent = "allow-emptydir-loss"
	// AllowControlPlaneDowntime allows that the Kubernetes API is away while its control plane is upgraded.
	AllowControlPlaneDowntime Consent = "allow-control-plane-downtime"
)

// Finding is what looking at a cluster before an upgrade turned up.
type Finding struct {
	Check    string   `json:"check"`
	Severity Severity `json:"severity"`
	// Object is what the finding is about.
	Object Ref `json:"object"`
	// Problem is one sentence, without a full stop, that says what is wrong.
	Problem  string   `json:"problem"`
	Evidence []string `json:"evidence,omitempty"`
	// Remedy is a command that can be pasted into a shell: it makes the finding go away, or shows what has to be done. Advice is what there is to
	// say about it, or what else helps, in words.
	Remedy string `json:"remedy,omitempty"`
	Advice string `json:"advice,omitempty"`
	// Consent names the input by which a person may allow it.
	Consent Consent `json:"consent,omitempty"`
	// Blocks tells, of an unknown, that its check can block.
	Blocks bool `json:"blocks,omitempty"`
	// Binding tells that no waiver helps: what was found cannot be carried out.
	Binding bool `json:"-"`
	// Waiver is a person's word that this is accepted, nil where there is none.
	Waiver *Waiver `json:"waiver,omitempty"`
	// Momentary findings come and go with a replica or a budget's last disruption; the digest leaves them out.
	Momentary bool `json:"momentary,omitempty"`
}

// Stops tells that the upgrade does not start with this.
func (f Finding) Stops() bool {
	return f.Waiver == nil && (f.Severity == Blocker || f.Severity == UnknownSeverity && f.Blocks)
}

// Warns tells that somebody should know before the upgrade starts.
func (f Finding) Warns() bool {
	return f.Waiver == nil && (f.Severity == Warning || f.Severity == UnknownSeverity && !f.Blocks)
}

// lasting tells that the finding is part of what is approved. What was accepted is, also where it comes and goes: it may have become graver.
func (f Finding) lasting() bool { return f.Waiver != nil || f.Severity != Info && !f.Momentary }

func boolRank(b bool) int {
	if b {
		return 1
	}
	return 0
}

func severityRank(s Severity) int { return slices.Index(Severities, s) }

// Why says what the number of allowed disruptions comes from.
func (b Budget) Why() string {
	return fmt.Sprintf("%s: %d of %d healthy, %d needed", b.Rule, b.Healthy, b.Expected, b.Needed)
}

// PodsOn returns the pods on the nodes of the pools that are migrated and that do not simply leave with their node.
func PodsOn(s State, pools []PoolPlan) []Pod {
	n := 0
	for range podsOn(s, pools) {
		n++
	}
	pods := make([]Pod, 0, n) // there can be very many, and growing a slice copies them
	for p := range podsOn(s, pools) {
		pods = append(pods, *p)
	}
	return pods
}

func podsOn(s State, pools []PoolPlan) iter.Seq[*Pod] {
	migrated, on := map[string]bool{}, map[string]bool{}
	for _, p := range pools {
		migrated[p.Name] = p.Action.Changes()
	}
	for _, n := range s.Nodes {
		on[n.Name] = migrated[n.Pool]
	}
	return func(yield func(*Pod) bool) {
		for i := range s.Pods {
			p := &s.Pods[i]
			if p.Node != "" && on[p.Node] && p.Disposition() != Stays && !yield(p) {
				return
			}
		}
	}
}
