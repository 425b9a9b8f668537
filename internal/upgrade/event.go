package upgrade

import "time"

// EventKind is a kind of event.
type EventKind string

// The kinds of events.
const (
	StepStarted  EventKind = "step-started"
	StepProgress EventKind = "step-progress"
	StepFinished EventKind = "step-finished"
	NodeCordoned EventKind = "node-cordoned"
	PodEvicted   EventKind = "pod-evicted"
	PodGone      EventKind = "pod-gone"
	PodReplaced  EventKind = "pod-replaced"
	DrainWaits   EventKind = "drain-waits"
	// RequestHandled: a person asked something of the run; Text says what, and what came of it.
	RequestHandled EventKind = "request-handled"
	// TurnedBack: the run gives up its plan; Text says why and what for.
	TurnedBack EventKind = "turned-back"
	// APIAway and APIBack: the Kubernetes API cannot be reached, and can be again.
	APIAway EventKind = "api-away"
	APIBack EventKind = "api-back"
	// PeopleAwaited: the run waits for people to do Task.
	PeopleAwaited EventKind = "people-awaited"
)

// Event is one thing that happened in a run.
type Event struct {
	Time time.Time `json:"time"`
	Kind EventKind `json:"kind"`
	Step Step      `json:"step"`
	// N and Of count a drain among the run's drains: node N of Of.
	N  int `json:"n,omitempty"`
	Of int `json:"of,omitempty"`
	// AtOnce tells that other nodes may be drained at the same time.
	AtOnce bool `json:"atOnce,omitempty"`
	// Pod is the pod that left, or the replacement that is Ready.
	Pod      Ref    `json:"pod"`
	Workload Ref    `json:"workload"`
	Node     string `json:"node,omitempty"`
	// Text is what happened beyond the fields, for people.
	Text string `json:"text,omitempty"`
	// Waiting are the reasons of a drain that waits.
	Waiting []Waiting `json:"waiting,omitempty"`
	// Task is what people have to do.
	Task *Task `json:"task,omitempty"`
	// Took is how long the thing took.
	Took Seconds `json:"took,omitempty"`
}
