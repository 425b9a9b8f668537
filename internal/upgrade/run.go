package upgrade

import (
	"crypto/rand"
	"encoding/hex"
	"slices"
	"time"
)

// StepKind is a kind of step.
type StepKind string

// The kinds of steps.
const (
	// UpgradeControlPlane upgrades the control plane to the step's version.
	UpgradeControlPlane StepKind = "upgrade-control-plane"

	FreezeAutoscaling StepKind = "freeze-autoscaling"
	CreatePool        StepKind = "create-pool"
	WaitNodes         StepKind = "wait-nodes"
	CordonPool        StepKind = "cordon-pool"
	// SurgeFirst restarts Deployments, so that their new pods are Ready on other nodes before the old ones end.
	SurgeFirst         StepKind = "surge-first"
	DrainNode          StepKind = "drain-node"
	Soak               StepKind = "soak"
	DeletePool         StepKind = "delete-pool"
	RestoreAutoscaling StepKind = "restore-autoscaling"
	// SetUpgradeSettings has the provider upgrade a pool in place as the plan says, once what it is set to is recorded, and RestoreUpgradeSettings puts
	// that back. UpgradePool has it upgrade the pool, and CompleteUpgrade ends its blue-green upgrade.
	SetUpgradeSettings     StepKind = "set-upgrade-settings"
	UpgradePool            StepKind = "upgrade-pool"
	CompleteUpgrade        StepKind = "complete-upgrade"
	RestoreUpgradeSettings StepKind = "restore-upgrade-settings"
	// RollBackPool is of a rollback: the provider undoes its upgrade of a pool.
	RollBackPool StepKind = "roll-back-pool"
	// UncordonPool is of a rollback: pods may go to the old pool again.
	UncordonPool StepKind = "uncordon-pool"
)

// The kinds of steps of a cluster that people run themselves.
const (
	// CheckQuorum makes sure that etcd can do without the node of the control plane that is next.
	CheckQuorum StepKind = "check-quorum"
	CordonNode  StepKind = "cordon-node"
	// AwaitNode tells people to upgrade the node, or to replace it, and waits until they have.
	AwaitNode StepKind = "await-node"
	// UncordonNode lets pods onto the node again, and waits until its own pods are up and workloads are as available as before.
	UncordonNode StepKind = "uncordon-node"
	// VerifyServers waits until every API server says that it runs the version.
	VerifyServers StepKind = "verify-api-servers"
	// RetirePool makes sure that nothing is left on a pool; its machines can go then.
	RetirePool StepKind = "retire-pool"
)

// StepState is how far a step is.
type StepState string

// The states of a step.
const (
	StepPending StepState = "pending"
	StepRunning StepState = "running"
	StepDone    StepState = "done"
	StepFailed  StepState = "failed"
	// StepStopped: a pause or an interruption ended it; it is carried out again when the run goes on.
	StepStopped StepState = "stopped"
	// StepSkipped: a person had the node left out for now.
	StepSkipped StepState = "skipped"
	// StepDropped: a rollback made it needless, or people who were faster.
	StepDropped StepState = "dropped"
)

// Step is the unit of work of a run.
type Step struct {
	ID   string   `json:"id"`
	Kind StepKind `json:"kind"`
	// Pool is the pool that the step changes, empty for the control plane. To make a new pool is a step of the old one.
	Pool string `json:"pool"`
	Node string `json:"node,omitempty"`
	// Version is what the control plane is upgraded to.
	Version string `json:"version,omitempty"`

	State      StepState  `json:"state,omitempty"`
	StartedAt  *time.Time `json:"startedAt,omitempty"`
	FinishedAt *time.Time `json:"finishedAt,omitempty"`
	// Operation is the provider's operation that the step waits for.
	Operation string `json:"operation,omitempty"`
	// Estimate is how long the step was expected to take when the plan was made, zero for next to nothing.
	Estimate Seconds `json:"estimate,omitempty"`
	// NoReturn says what cannot be undone once the step has begun, empty where all can.
	NoReturn string `json:"pointOfNoReturn,omitempty"`
	// Baseline is what a drain that is not done found when it first began, or what a node is measured against that people upgrade.
	Baseline *Baseline `json:"baseline,omitempty"`
	// Calls are our own requests of the Kubernetes API while the control plane was upgraded, nil where they were not counted.
	Calls *Calls `json:"calls,omitempty"`
	// Stopping tells that the operation was cancelled: it ends when the nodes are finished that it has begun.
	Stopping bool `json:"stopping,omitempty"`
	// Back tells that the step is of a rollback within the pool itself.
	Back bool `json:"back,omitempty"`
	// Replacement is the node that people have put in the place of this one.
	Replacement string `json:"replacement,omitempty"`
}

// Baseline is what a drain is measured against. A drain that goes on after a pause or a crash keeps the first one: by then, what it
// took away would be missing from a new one.
type Baseline struct {
	// Pods are those that had to leave the node.
	Pods []Resident `json:"pods"`
	// Ready is how many pods of each workload with a pod on the node were Ready, by the workload's UID.
	Ready map[string]int `json:"ready"`
	// Homeless are the UIDs of pods of those workloads that found no node, and Unserved the Services (as "workload UID/namespace/name")
	// that did not list a Ready pod of theirs, already then.
	Homeless []string `json:"homeless,omitempty"`
	Unserved []string `json:"unserved,omitempty"`
	// Foreign are the UIDs of those workloads whose kinds State does not list by themselves.
	Foreign []string `json:"foreign,omitempty"`
}

// Resident is a pod on a node, with the workload that makes it again, and the volumes that have to be detached from the node once it is gone.
type Resident struct {
	Pod      Ref      `json:"pod"`
	Workload Ref      `json:"workload"`
	Disks    []string `json:"disks,omitempty"`
	// OneOff is as in Pod.
	OneOff bool `json:"oneOff,omitempty"`
	// Node is where the pod is, in a baseline of several nodes.
	Node string `json:"node,omitempty"`
}

// Restarted is a Deployment that a run restarts, so that its pods leave a pool.
type Restarted struct {
	Workload Ref    `json:"workload"`
	Pool     string `json:"pool"`
	// Node is the node that its pods leave, where that is not all of the pool.
	Node string `json:"node,omitempty"`
	// At is the value that the run gives the annotation kubectl.kubernetes.io/restartedAt of the pod template, and Before the one that was there;
	// empty is no annotation.
	At     string `json:"at"`
	Before string `json:"before"`
	// Undoes tells that it puts back what a restart that did not end had begun.
	Undoes bool         `json:"undoes,omitempty"`
	State  RestartState `json:"state"`
	// Why says why its pods are evicted after all.
	Why string `json:"why,omitempty"`
	// By is who asked for it, empty if the plan has it.
	By string `json:"by,omitempty"`
}

// RestartState is how far a restart is.
type RestartState string

// The states of a restart.
const (
	// RestartIntended: it is about to be begun, or may have been, if the process that was to is gone.
	RestartIntended RestartState = "intended"
	// RestartBegun: the pod template is another one now.
	RestartBegun RestartState = "begun"
	// RestartDone: no pod is left on the pool.
	RestartDone RestartState = "done"
	// RestartLeft: what is left of its pods on the pool is evicted.
	RestartLeft RestartState = "left"
)

// Denied is the error of a change that Kubernetes was reached for and refused.
type Denied struct{ Err error }

func (d *Denied) Error() string { return d.Err.Error() }
func (d *Denied) Unwrap() error { return d.Err }

// NewStep makes a step whose ID says what it does.
func NewStep(kind StepKind, pool, node string) Step {
	id := string(kind) + "/" + pool
	if node != "" {
		id += "/" + node
	}
	return Step{ID: id, Kind: kind, Pool: pool, Node: node}
}

// NewStepBack is NewStep for a step of a rollback within the pool itself, which may be about nodes of the same names.
func NewStepBack(kind StepKind, pool, node string) Step {
	s := NewStep(kind, pool, node)
	s.ID, s.Back = s.ID+"/back", true
	return s
}

// RunState is the state of a run.
type RunState string

// The states of a run.
const (
	Running     RunState = "running"
	Interrupted RunState = "interrupted"
	Paused      RunState = "paused"
	Cancelled   RunState = "cancelled"
	RolledBack  RunState = "rolled-back"
	Succeeded   RunState = "succeeded"
	Failed      RunState = "failed"
)

// Final tells that nothing is carried out in that state any more.
func (s RunState) Final() bool {
	return s == Cancelled || s == RolledBack || s == Succeeded || s == Failed
}

// Run is one execution of a plan, and all that another process needs to go on with it.
type Run struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	ID         string `json:"id"`
	Digest     string `json:"digest"`
	// Cluster is the cluster's name.
	Cluster string   `json:"cluster"`
	State   RunState `json:"state"`
	// Ending is the final state that the run is on its way to once it has turned from its plan: cancelled, rolled-back or failed.
	Ending     RunState   `json:"ending,omitempty"`
	StartedAt  time.Time  `json:"startedAt"`
	FinishedAt *time.Time `json:"finishedAt,omitempty"`
	// Holders are those who carried it out, the last 20, each with a higher epoch than the one before; the last wrote this record.
	Holders []Holder `json:"holders"`
	// Problem says why the run is not succeeded.
	Problem string `json:"problem,omitempty"`
	// Waiting is what the run waits for, or waited for when it stopped.
	Waiting []Waiting `json:"waiting,omitempty"`
	// Next says what a person has to do.
	Next []string `json:"next,omitempty"`
	// Tasks are what people have to do on machines, exactly: the run waits for them, or, at its end, leaves them. Yielded tells that a run is paused
	// for no other reason than to let them be done: the next upgrade goes on with it.
	Tasks   []Task `json:"tasks,omitempty"`
	Yielded bool   `json:"yielded,omitempty"`
	// NodesDrained counts the drains that ended with an empty node and a passed gate.
	NodesDrained int `json:"nodesDrained"`
	// ReplacedPools maps an old pool to the one that took over.
	ReplacedPools map[string]string `json:"replacedPools"`
	// Removed says of new pools, by name, why they could not be made as a whole: what was made of them is deleted again.
	Removed map[string]string `json:"removedPools,omitempty"`
	// Frozen are the autoscaling settings that were turned off and are not restored yet, by pool.
	Frozen map[string]Autoscaling `json:"frozen,omitempty"`
	// Upgrades are the settings of pools that are upgraded in place as they were, and are not restored yet, by pool.
	Upgrades map[string]Settings `json:"upgradeSettings,omitempty"`
	Steps    []Step              `json:"steps"`
	// Moves are the pods that left a node, in order, but for those that only Unlisted counts.
	Moves []Move `json:"moves"`
	// Unlisted counts the moves that the record has no room for.
	Unlisted int `json:"unlistedMoves,omitempty"`

	// Acknowledged is the sequence of the last request that was looked at, and Handled the last 20 with what came of them.
	Acknowledged int64     `json:"acknowledged"`
	Handled      []Handled `json:"handled,omitempty"`
	// Forced are the pods that a person let go past their budgets.
	Forced []Forced `json:"forced,omitempty"`
	// Restarts are the Deployments that were to be restarted, with what came of that.
	Restarts []Restarted `json:"restarts,omitempty"`

	// Granted are the consents that were given, and Approvals by whom the plan was approved.
	Granted   []Consent  `json:"granted"`
	Approvals []Approval `json:"approvals,omitempty"`
	// Requester asked for the run in Slack, and Slack is the message there that people watch it in. Both are nil for a run that was
	// not asked for there.
	Requester *Person `json:"requester,omitempty"`
	Slack     *Thread `json:"slack,omitempty"`
	Plan      Plan    `json:"plan"`
}

// Holder is a process that carries out a run, or did.
type Holder struct {
	// Who is a person's or a service's name, Where the machine or the job, and Link where to watch it, if there is such a place.
	Who   string `json:"who"`
	Where string `json:"where"`
	Link  string `json:"link,omitempty"`
	// Resumes tells that the holder is a service, which goes on by itself with what it left.
	Resumes bool `json:"resumes,omitempty"`
	// Epoch rises with every holder of the cluster's lease.
	Epoch int64     `json:"epoch"`
	Since time.Time `json:"since"`
}

// String is how people are told of a holder: "alice (GitHub Actions, o/r run 1) since 2026-01-02T03:04:05Z, https://…".
func (h Holder) String() string {
	text := h.Who + " (" + h.Where + ")"
	if !h.Since.IsZero() {
		text += " since " + h.Since.UTC().Format(time.RFC3339)
	}
	if h.Link != "" {
		text += ", " + h.Link
	}
	return text
}

// Move is a pod that left a node.
type Move struct {
	Pod      Ref       `json:"pod"`
	Workload Ref       `json:"workload"`
	Node     string    `json:"node"`
	At       time.Time `json:"at"`
	// To is the node on which a new pod of the workload became Ready, After how long after this one began to leave. To is empty where
	// none was seen. Which new pod stands in for which old one is nobody's choice: they are paired in the order of their times.
	To    string  `json:"to,omitempty"`
	After Seconds `json:"after,omitempty"`
}

// Person is somebody in Slack.
type Person struct {
	Name string `json:"name"`
	// ID is Slack's: U0123456789.
	ID string `json:"id"`
}

// Thread is a message in Slack, and the thread under it.
type Thread struct {
	Channel   string `json:"channel"`
	Timestamp string `json:"timestamp"`
	// Question is the ID of the proposal that the message asked about, empty for a run that nobody was asked about in Slack.
	Question string `json:"question,omitempty"`
}

// Waiting is a thing that a drain waits for, and why.
type Waiting struct {
	// Object is the pod, or the workload, that is waited for, and Node the node whose drain waits.
	Object Ref    `json:"object"`
	Node   string `json:"node,omitempty"`
	Reason string `json:"reason"`
	// Budget is the PodDisruptionBudget (namespace/name) that is in the way, if one is.
	Budget string `json:"budget,omitempty"`
	// Passing tells that the wait ends by itself when all is well: a pod that is starting or stopping in its time.
	Passing bool `json:"passing,omitempty"`
	// Help is a command that ends the wait, where it is told at once.
	Help string `json:"help,omitempty"`
}

func (w Waiting) String() string { return w.Object.String() + ": " + w.Reason }

// NewRun starts the record of carrying out p.
func NewRun(id string, p Plan, now time.Time) *Run {
	r := &Run{
		APIVersion: APIVersion, Kind: "Run", ID: id, Digest: p.Digest, Cluster: p.Cluster.Name, State: Running, StartedAt: now,
		Holders: []Holder{}, Moves: []Move{}, ReplacedPools: map[string]string{}, Frozen: map[string]Autoscaling{}, Upgrades: map[string]Settings{}, Granted: []Consent{},
		Plan: p,
	}
	for _, s := range p.Steps {
		s.State = StepPending
		r.Steps = append(r.Steps, s)
	}
	return r
}

// TakenBy notes a new holder. The earlier ones are kept, up to 20.
func (r *Run) TakenBy(h Holder) {
	r.Holders = append(r.Holders, h)
	r.Holders = r.Holders[max(0, len(r.Holders)-keptEntries):]
}

// keptEntries bounds the lists of holders and requests in a run.
const keptEntries = 20

// Holder is who carries the run out, or did last.
func (r *Run) Holder() Holder {
	if len(r.Holders) == 0 {
		return Holder{}
	}
	return r.Holders[len(r.Holders)-1]
}

// Step returns the step of that ID, or nil.
func (r *Run) Step(id string) *Step {
	for i := range r.Steps {
		if r.Steps[i].ID == id {
			return &r.Steps[i]
		}
	}
	return nil
}

// Begun tells whether the run has begun a step of that kind on the pool.
func (r *Run) Begun(pool string, kind StepKind) bool {
	return slices.ContainsFunc(r.Steps, func(s Step) bool {
		return s.Kind == kind && s.Pool == pool && s.StartedAt != nil
	})
}

// GoingAway tells that the provider, or people, have been told to delete the pool: pods must not be let onto its nodes again.
func (r *Run) GoingAway(pool string) bool {
	return slices.ContainsFunc(r.Steps, func(s Step) bool {
		return s.Pool == pool && (s.Kind == DeletePool && (s.Operation != "" || s.State == StepDone) || s.Kind == RetirePool && s.State == StepDone)
	})
}

// CountDrained sets NodesDrained from the steps.
func (r *Run) CountDrained() {
	r.NodesDrained = 0
	for _, s := range r.Steps {
		if s.Kind == DrainNode && s.State == StepDone {
			r.NodesDrained++
		}
	}
}

// PodsLost names the bare pods that left a node: nothing makes them again.
func (r *Run) PodsLost() []string {
	var lost []string
	for _, m := range r.Moves {
		if m.Workload.IsZero() {
			lost = append(lost, m.Pod.Namespace+"/"+m.Pod.Name)
		}
	}
	return lost
}

// PodsMoved counts the pods that left a node and that something makes again.
func (r *Run) PodsMoved() int { return r.Unlisted + len(r.Moves) - len(r.PodsLost()) }

// NewRunID makes a run's ID from its start and chance: sortable by time, and fit for a label's value.
func NewRunID(now time.Time) string {
	var chance [3]byte
	_, _ = rand.Read(chance[:]) // never fails: crypto/rand ends the program instead
	return now.UTC().Format("20060102-150405") + "-" + hex.EncodeToString(chance[:])
}

// Drains are the run's drains in the direction in which it goes, in order: of the old pools, or, in a rollback, of those that took over.
func (r *Run) Drains() []Step {
	return slices.DeleteFunc(r.drains(r.Ending != RolledBack), func(s Step) bool { return s.State == StepDropped })
}

// PlaceOf counts a drain among all of its direction, also those that a rollback made needless: n of of.
func (r *Run) PlaceOf(step Step) (n, of int) {
	drains := r.drains(r.Forward(step))
	return slices.IndexFunc(drains, func(s Step) bool { return s.ID == step.ID }) + 1, len(drains)
}

// Forward tells a step of the plan's direction from one of a rollback: of a pool that took over, or within an old one.
func (r *Run) Forward(s Step) bool {
	_, old := r.Plan.Pool(s.Pool)
	return old && !s.Back
}

// drains are the drains of the old nodes, or of those that took over.
func (r *Run) drains(forward bool) []Step {
	var drains []Step
	for _, s := range r.Steps {
		if s.Kind == DrainNode && r.Forward(s) == forward {
			drains = append(drains, s)
		}
	}
	return drains
}

// MovesFrom are the pods that left the node.
func (r *Run) MovesFrom(node string) []Move {
	var moves []Move
	for _, m := range r.Moves {
		if m.Node == node {
			moves = append(moves, m)
		}
	}
	return moves
}
