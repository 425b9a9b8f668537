package gkeemu

import (
	"context"
	"time"

	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
)

// Fault is what goes wrong with calls; set what you need, in any combination. The first fault that fits a call is the
// only one that it meets.
type Fault struct {
	// Method is the call's name, such as "CreateNodePool"; empty: any.
	Method string
	// Fits tells which calls of the method are meant, where it does different things; nil: all.
	Fits func(request proto.Message) bool
	// Times is how many calls meet the fault, refused ones included; 0: all of them.
	Times int

	// Delay comes before the call is looked at, and ends early with the caller's patience.
	Delay time.Duration
	// Error is answered, and nothing is done; make it with status.Error.
	Error error
	// LoseResponse answers Unavailable after the call has had its effect.
	LoseResponse bool

	// OperationDelay is added to the time for which the operation runs.
	OperationDelay time.Duration
	// OperationError is how the operation ends: DONE, with this error, and with the pool in status ERROR or RUNNING_WITH_ERROR. A control plane
	// that is upgraded has the version that it had before.
	OperationError *rpcstatus.Status
	// NodesBeforeError is how many nodes come (or go, in a deletion, or are replaced, in a surge upgrade) before OperationError strikes.
	NodesBeforeError int
	// NodesNeverReady goes for the nodes that the operation makes.
	NodesNeverReady bool
}

// Inject adds a fault behind those that are there.
func (s *Server) Inject(fault Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &fault)
}

// ClearFaults removes every fault; operations that have begun keep theirs.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// takeFault is the fault that a call meets: the zero one when nothing goes wrong.
func (s *Server) takeFault(method string, request proto.Message) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if f.Method != "" && f.Method != method || f.Fits != nil && !f.Fits(request) {
			continue
		}
		taken := *f
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
			}
		}
		return taken
	}
	return Fault{}
}

type faultKey struct{}

func withFault(ctx context.Context, fault Fault) context.Context {
	return context.WithValue(ctx, faultKey{}, fault)
}

func faultOf(ctx context.Context) Fault {
	fault, _ := ctx.Value(faultKey{}).(Fault)
	return fault
}

// wait returns false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
