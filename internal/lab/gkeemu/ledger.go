package gkeemu

import (
	"context"
	"path"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Call is one request that reached the emulator, recorded when it was answered.
type Call struct {
	Time    time.Time     // of its arrival
	Method  string        // such as "CreateNodePool"
	Target  string        // the request's name or parent
	Request proto.Message // as it came; nil for a service that is none of GKE's
	Code    codes.Code    // as the caller saw it
}

// PodKilled is a pod that ended without its grace, because its node was deleted or GKE lost patience with it: what an upgrade exists to prevent.
// DaemonSet, mirror and finished pods do not count.
type PodKilled struct {
	Time                  time.Time
	Namespace, Name, Node string
	Reason                string // as a clause: "its node was deleted"
}

// Calls are the calls so far, only those of the given methods if there are any.
func (s *Server) Calls(methods ...string) []Call {
	return s.callsWhere(func(c Call) bool { return len(methods) == 0 || slices.Contains(methods, c.Method) })
}

// Unimplemented are the calls that this package does not emulate; a test should fail on any.
func (s *Server) Unimplemented() []Call {
	return s.callsWhere(func(c Call) bool { return c.Code == codes.Unimplemented })
}

func (s *Server) callsWhere(fits func(Call) bool) []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []Call
	for _, c := range s.calls {
		if fits(c) {
			found = append(found, c)
		}
	}
	return found
}

// PodsKilled are the pods that deletions and upgrades of pools have killed so far.
func (s *Server) PodsKilled() []PodKilled {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.killed)
}

// intercept stands before every method: it applies faults and keeps the ledger.
func (s *Server) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	call := Call{Time: time.Now(), Method: path.Base(info.FullMethod), Target: target(req)}
	if m, ok := req.(proto.Message); ok {
		call.Request = proto.Clone(m)
	}
	fault := s.takeFault(call.Method, call.Request)
	resp, err := faulty(withFault(ctx, fault), req, fault, handle)
	call.Code = status.Code(err)
	s.record(call)
	return resp, err
}

func faulty(ctx context.Context, req any, fault Fault, handle grpc.UnaryHandler) (any, error) {
	if !wait(ctx, fault.Delay) {
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if fault.Error != nil {
		return nil, fault.Error
	}
	resp, err := handle(ctx, req)
	if err == nil && fault.LoseResponse {
		return nil, status.Error(codes.Unavailable, "The service is currently unavailable.")
	}
	return resp, err
}

// unknown answers for services other than GKE's.
func (s *Server) unknown(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	s.record(Call{Time: time.Now(), Method: method, Code: codes.Unimplemented})
	return status.Errorf(codes.Unimplemented, "unknown method %s", method)
}

func (s *Server) record(call Call) {
	if call.Code == codes.Unimplemented {
		s.log.Error("CALL THAT IS NOT EMULATED", "method", call.Method, "target", call.Target)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
}

// target is the resource that a request is about.
func target(req any) string {
	switch r := req.(type) {
	case interface{ GetName() string }:
		return r.GetName()
	case interface{ GetParent() string }:
		return r.GetParent()
	}
	return ""
}
