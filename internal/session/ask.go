package session

import (
	"context"
	"fmt"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

const (
	// answerTimeout is how long a process that is at work may take to obey; it should take less than 2 s.
	answerTimeout = 10 * time.Second
	// settleTimeout is how long cancel waits for cordons and autoscaling to be put back.
	settleTimeout = 5 * time.Minute
)

// NothingTo says why a run cannot be paused, resumed and so on, nil if it can.
func NothingTo(verb string, run *upgrade.Run) error {
	if verb == string(upgrade.AskRollback) {
		verb = "roll back"
	}
	switch {
	case run == nil:
		return fmt.Errorf("nothing to %s: no run is recorded on this cluster", verb)
	case run.State.Final():
		return fmt.Errorf("nothing to %s: the last run, %s, is %s", verb, run.ID, run.State)
	}
	return nil
}

// Answer is what came of a request to a process that is at work.
type Answer struct {
	Outcome Outcome
	// Reason says why it was refused or came to nothing.
	Reason string
	// Run is the run as it was seen last.
	Run *upgrade.Run
}

// Outcome is what came of a request.
type Outcome string

// The outcomes of a request.
const (
	// Obeyed: the process did what was asked.
	Obeyed Outcome = "obeyed"
	// Refused: it did not, and says why.
	Refused Outcome = "refused"
	// Settling: the run is being cancelled, and that takes its time.
	Settling Outcome = "settling"
	// Missed: who carries the run out now has begun after the request was made, and does not know of it.
	Missed Outcome = "missed"
	// Silent: nobody answered in time; the process is probably gone.
	Silent Outcome = "silent"
)

// Ask asks something of the process that is at work, and follows the record until that has answered, and for cancel until the run is
// over. The error is the context's, or that of a request that could not be stored.
func (s *Session) Ask(ctx context.Context, r upgrade.Request, asked func()) (Answer, error) {
	r, err := s.store.Ask(ctx, r)
	if err != nil {
		return Answer{}, fmt.Errorf("ask the run: %w", err)
	}
	asked()
	following, cancel := context.WithCancel(ctx)
	defer cancel()
	deadline := time.After(answerTimeout)
	var settling *upgrade.Run
	runs := s.store.Follow(following)
	for {
		select {
		case run, ok := <-runs:
			if !ok {
				return Answer{}, context.Cause(ctx)
			}
			handled := outcome(run, r)
			switch {
			case handled == nil && run.ID == r.Run && !run.State.Final() && run.Acknowledged < r.Sequence:
				continue
			case handled == nil && run.ID == r.Run && !run.State.Final():
				return Answer{Outcome: Missed, Run: run, Reason: fmt.Sprintf("run %s is %s, and was taken over before it came to it", run.ID, run.State)}, nil
			case handled == nil:
				return Answer{Outcome: Refused, Run: run, Reason: fmt.Sprintf("run %s is %s, and did not come to it", run.ID, run.State)}, nil
			case handled.Refused != "":
				return Answer{Outcome: Refused, Run: run, Reason: handled.Refused}, nil
			case r.Verb == upgrade.AskCancel && run.State == upgrade.Running:
				if settling == nil {
					deadline = time.After(settleTimeout)
				}
				settling = run
				continue
			}
			return Answer{Outcome: Obeyed, Run: run}, nil
		case <-deadline:
			if settling != nil {
				return Answer{Outcome: Settling, Run: settling}, nil
			}
			return Answer{Outcome: Silent}, nil
		}
	}
}

func outcome(run *upgrade.Run, r upgrade.Request) *upgrade.Handled {
	for _, h := range run.Handled {
		if h.Sequence == r.Sequence && run.ID == r.Run {
			return &h
		}
	}
	return nil
}
