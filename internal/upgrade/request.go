package upgrade

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Verb is what a request asks of a run.
type Verb string

// The verbs of a request.
const (
	AskPause    Verb = "pause"
	AskCancel   Verb = "cancel"
	AskRollback Verb = "rollback"
	AskUnblock  Verb = "unblock"
)

// Request is what a person asks of a run from another process.
type Request struct {
	Verb Verb `json:"verb"`
	// Arguments are, for unblock, what Unblock.Arguments makes.
	Arguments []string `json:"arguments,omitempty"`
	// Run is the ID of the run that is meant: a request for an earlier one does nothing.
	Run string    `json:"run"`
	By  string    `json:"by"`
	At  time.Time `json:"at"`
	// Sequence rises with each request; 0 for one that was never stored because nobody was at work.
	Sequence int64 `json:"sequence"`
}

// String is how people are told of it: "unblock skip:n1 by alice".
func (r Request) String() string {
	text := string(r.Verb)
	if len(r.Arguments) > 0 {
		text += " " + r.Arguments[0]
	}
	return text + " by " + r.By
}

// Handled is a request with what came of it.
type Handled struct {
	Request
	// Refused says why it was not obeyed, empty if it was.
	Refused string `json:"refused,omitempty"`
}

// Acknowledge notes what came of a request.
func (r *Run) Acknowledge(request Request, refused string) {
	r.Acknowledged = max(r.Acknowledged, request.Sequence)
	r.Handled = append(r.Handled, Handled{Request: request, Refused: refused})
	r.Handled = r.Handled[max(0, len(r.Handled)-keptEntries):]
}

// UnblockForms are the accepted forms of an unblock, for people.
const UnblockForms = "retry, skip:NODE, surge:NAMESPACE/DEPLOYMENT or force:NAMESPACE/POD"

// Unblock is how a person helps a drain that waits.
type Unblock struct {
	// Retry attempts again at once, with a new deadline.
	Retry bool
	// Skip is a node that is left undrained for now.
	Skip string
	// Surge is a Deployment that is restarted, so that its new pods are Ready before the old ones end. It has no UID.
	Surge Ref
	// Force is a pod that goes past its budgets. Its UID is bound when a person asks: another pod of the same name is not meant.
	Force Ref
}

// ParseUnblock reads one of UnblockForms.
func ParseUnblock(text string) (Unblock, error) {
	kind, object, _ := strings.Cut(text, ":")
	namespace, name, both := strings.Cut(object, "/")
	named := namespace != "" && name != "" && !strings.Contains(name, "/")
	switch {
	case text == "retry":
		return Unblock{Retry: true}, nil
	case kind == "skip" && object != "" && !both:
		return Unblock{Skip: object}, nil
	case kind == "surge" && named:
		return Unblock{Surge: Ref{Kind: "Deployment", Namespace: namespace, Name: name}}, nil
	case kind == "force" && named:
		return Unblock{Force: Ref{Kind: "Pod", Namespace: namespace, Name: name}}, nil
	}
	return Unblock{}, errors.New("want " + UnblockForms)
}

// Arguments are u as the arguments of a request.
func (u Unblock) Arguments() []string {
	switch {
	case u.Retry:
		return []string{"retry"}
	case u.Skip != "":
		return []string{"skip:" + u.Skip}
	case !u.Surge.IsZero():
		return []string{fmt.Sprintf("surge:%s/%s", u.Surge.Namespace, u.Surge.Name)}
	}
	return []string{fmt.Sprintf("force:%s/%s", u.Force.Namespace, u.Force.Name), u.Force.UID}
}

// Unblock reads the arguments of an unblock request.
func (r Request) Unblock() (Unblock, error) {
	if len(r.Arguments) == 0 {
		return Unblock{}, errors.New("want " + UnblockForms)
	}
	u, err := ParseUnblock(r.Arguments[0])
	if err != nil || u.Force.IsZero() {
		return u, err
	}
	if len(r.Arguments) < 2 || r.Arguments[1] == "" {
		return u, fmt.Errorf("%s: the pod's UID is missing", r.Arguments[0])
	}
	u.Force.UID = r.Arguments[1]
	return u, nil
}

// Forced is a pod that a person let go past its budgets.
type Forced struct {
	Pod Ref       `json:"pod"`
	By  string    `json:"by"`
	At  time.Time `json:"at"`
}

// Halt is the error of a run that must not go on here: its record or its lease is somebody else's by now. Nothing may be written
// any more.
type Halt struct{ Problem string }

func (h *Halt) Error() string { return h.Problem }

// Outage is a time in which the Kubernetes API cannot be reached.
type Outage struct {
	Since time.Time
	// Err is the latest error. Over tells that the API is back.
	Err  error
	Over bool
}
