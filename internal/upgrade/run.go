package upgrade

import (
	"crypto/rand"
	"encoding/hex"
	"time"
)

// StepKind is a kind of step.
type StepKind string

// The kinds of steps.
const (
	FreezeAutoscaling  StepKind = "freeze-autoscaling"
	CreatePool         StepKind = "create-pool"
	WaitNodes          StepKind = "wait-nodes"
	CordonPool         StepKind = "cordon-pool"
	DrainNode          StepKind = "drain-node"
	Soak               StepKind = "soak"
	DeletePool         StepKind = "delete-pool"
	RestoreAutoscaling StepKind = "restore-autoscaling"
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
)

// Step is the unit of work of a run.
type Step struct {
	ID   string   `json:"id"`
	Kind StepKind `json:"kind"`
	// Pool is the old pool that the step is about.
	Pool string `json:"pool"`
	Node string `json:"node,omitempty"`

	State      StepState  `json:"state,omitempty"`
	StartedAt  *time.Time `json:"startedAt,omitempty"`
	FinishedAt *time.Time `json:"finishedAt,omitempty"`
	// Operation is the provider's operation that the step waits for.
	Operation string `json:"operation,omitempty"`
}

// NewStep makes a step whose ID says what it does.
func NewStep(kind StepKind, pool, node string) Step {
	id := string(kind) + "/" + pool
	if node != "" {
		id += "/" + node
	}
	return Step{ID: id, Kind: kind, Pool: pool, Node: node}
}

// RunState is the state of a run.
type RunState string

// The states of a run.
const (
	Running     RunState = "running"
	Interrupted RunState = "interrupted"
	Paused      RunState = "paused"
	Succeeded   RunState = "succeeded"
	Failed      RunState = "failed"
)

// Run is one execution of a plan.
type Run struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	ID         string `json:"id"`
	Digest     string `json:"digest"`
	// Cluster is the cluster's name.
	Cluster    string     `json:"cluster"`
	State      RunState   `json:"state"`
	StartedAt  time.Time  `json:"startedAt"`
	FinishedAt *time.Time `json:"finishedAt,omitempty"`
	Steps      []Step     `json:"steps"`
	// Moves are the pods that left a node, in order.
	Moves []Move `json:"moves"`
	// NodesDrained counts the drains that ended with an empty node and a passed gate.
	NodesDrained int `json:"nodesDrained"`
	// ReplacedPools maps an old pool to the one that took over.
	ReplacedPools map[string]string `json:"replacedPools"`
	// Frozen are the autoscaling settings that were turned off and are not restored yet, by pool.
	Frozen map[string]Autoscaling `json:"frozen,omitempty"`
	// Problem says why the run is not succeeded.
	Problem string `json:"problem,omitempty"`
	// Waiting is what the run waited for when it stopped.
	Waiting []Waiting `json:"waiting,omitempty"`
	// Next says what a person has to do.
	Next []string `json:"next,omitempty"`
}

// Move is a pod that left a node.
type Move struct {
	Pod      Ref       `json:"pod"`
	Workload Ref       `json:"workload"`
	Node     string    `json:"node"`
	At       time.Time `json:"at"`
}

// Waiting is a thing that a drain waits for, and why.
type Waiting struct {
	// Object is the pod, or the workload, that is waited for.
	Object Ref    `json:"object"`
	Node   string `json:"node,omitempty"`
	Reason string `json:"reason"`
	// Budget is the PodDisruptionBudget (namespace/name) that is in the way, if one is.
	Budget string `json:"budget,omitempty"`
	// Passing tells that the wait ends by itself when all is well: a pod that is starting or stopping in its time.
	Passing bool `json:"passing,omitempty"`
}

func (w Waiting) String() string { return w.Object.String() + ": " + w.Reason }

// NewRun starts the record of carrying out p.
func NewRun(id string, p Plan, now time.Time) *Run {
	r := &Run{
		APIVersion: APIVersion, Kind: "Run", ID: id, Digest: p.Digest, Cluster: p.Cluster.Name, State: Running, StartedAt: now,
		Moves: []Move{}, ReplacedPools: map[string]string{}, Frozen: map[string]Autoscaling{},
	}
	for _, s := range p.Steps {
		s.State = StepPending
		r.Steps = append(r.Steps, s)
	}
	return r
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
func (r *Run) PodsMoved() int {
	n := 0
	for _, m := range r.Moves {
		if !m.Workload.IsZero() {
			n++
		}
	}
	return n
}

// NewRunID makes a run's ID from its start and chance: sortable by time, and fit for a label's value.
func NewRunID(now time.Time) string {
	var chance [3]byte
	_, _ = rand.Read(chance[:]) // never fails: crypto/rand ends the program instead
	return now.UTC().Format("20060102-150405") + "-" + hex.EncodeToString(chance[:])
}
