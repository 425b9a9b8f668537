package gkeemu

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// operation is a change to a cluster under way, or done. Its proto is guarded by the server's mutex.
type operation struct {
	pb      *containerpb.Operation
	cluster *cluster
	fault   Fault
	upgrade *upgrade        // that it works on, or nil
	going   context.Context // ends when people cancel the operation, and with it
	cancel  context.CancelFunc
}

// begin registers an operation and makes it the one that may change the cluster. The caller holds the mutex, so that
// what it checked before still holds.
func (s *Server) begin(c *cluster, kind containerpb.Operation_Type, pool string, fault Fault) (*operation, error) {
	if c.busy != nil {
		return nil, collision(c)
	}
	now := time.Now()
	name := fmt.Sprintf("operation-%d-%08x", now.UnixMilli(), rand.Uint32())
	op := &operation{cluster: c, fault: fault, pb: &containerpb.Operation{
		Name:          name,
		Zone:          c.spec.Location,
		Location:      c.spec.Location,
		OperationType: kind,
		Status:        containerpb.Operation_PENDING,
		StartTime:     now.UTC().Format(time.RFC3339Nano),
		SelfLink:      c.spec.link("operations/" + name),
		TargetLink:    c.link(),
	}}
	if pool != "" {
		op.pb.TargetLink = c.link() + "/nodePools/" + pool
	}
	op.going, op.cancel = context.WithCancel(s.ctx)
	c.busy = op
	s.operations = append(s.operations, op)
	return op, nil
}

// run carries out an operation in the background: d is how long it takes once it is RUNNING, work the change, and settle,
// called with the mutex held, what becomes of the pool in the end.
func (s *Server) run(op *operation, d time.Duration, work func(context.Context, *pace) error, settle func(*rpcstatus.Status)) {
	s.work.Go(func() {
		op.wait(s.options.Timing.Pending)
		if s.ctx.Err() != nil {
			return
		}
		s.update(func() {
			if op.pb.GetStatus() == containerpb.Operation_PENDING { // not cancelled
				op.pb.Status = containerpb.Operation_RUNNING
			}
		})
		p := &pace{server: s, op: op, start: time.Now(), length: d + op.fault.OperationDelay}
		err := work(s.ctx, p)
		if err == nil {
			err = p.end(s.ctx)
		}
		if s.ctx.Err() != nil {
			return
		}
		s.update(func() {
			failure := statusProto(err)
			settle(failure)
			op.finish(failure)
		})
		s.log.Info("operation done", "operation", op.pb.GetName(), "type", op.pb.GetOperationType(), "error", err)
	})
}

// finish ends an operation; the caller holds the mutex.
func (op *operation) finish(failure *rpcstatus.Status) {
	op.pb.Status = containerpb.Operation_DONE
	op.pb.EndTime = time.Now().UTC().Format(time.RFC3339Nano)
	op.pb.Error = failure
	op.pb.StatusMessage = failure.GetMessage()
	if op.pb.Progress != nil {
		op.pb.Progress.Status = containerpb.Operation_DONE
	}
	op.cluster.busy = nil
	op.cancel()
}

// wait returns false when people cancelled the operation first, or the emulator ended.
func (op *operation) wait(d time.Duration) bool { return wait(op.going, d) }

func (s *Server) update(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// pace spreads the steps of an operation evenly over its time, and shows its progress.
type pace struct {
	server *Server
	op     *operation
	start  time.Time
	length time.Duration
}

// steps does n things, ends with the operation's fault if it has one, and leaves a last interval of time after them.
func (p *pace) steps(ctx context.Context, n int, do func(i int) error) error {
	p.progress(0, n)
	for i := range n {
		if i == p.op.fault.NodesBeforeError && p.op.fault.OperationError != nil {
			break
		}
		if !wait(ctx, time.Until(p.start.Add(p.length*time.Duration(i+1)/time.Duration(n+1)))) {
			return ctx.Err()
		}
		if err := do(i); err != nil {
			return err
		}
		p.progress(i+1, n)
	}
	return nil
}

// end waits for the rest of the operation's time, and strikes with its fault, if people have not cancelled it.
func (p *pace) end(ctx context.Context) error {
	if !p.op.wait(time.Until(p.start.Add(p.length))) {
		return ctx.Err()
	}
	return status.ErrorProto(p.op.fault.OperationError)
}

// until waits for a share of the operation's time, and shows it.
func (p *pace) until(ctx context.Context, share float64) error {
	if !wait(ctx, time.Until(p.start.Add(time.Duration(share*float64(p.length))))) {
		return ctx.Err()
	}
	p.share(share)
	return nil
}

// progress shows how many nodes are done. It and share use the metrics that containerpb.OperationProgress documents.
func (p *pace) progress(done, total int) {
	metric := func(name string, value int) *containerpb.OperationProgress_Metric {
		return &containerpb.OperationProgress_Metric{
			Name:  name,
			Value: &containerpb.OperationProgress_Metric_IntValue{IntValue: int64(value)},
		}
	}
	p.show(metric("nodes done", done), metric("nodes total", total))
}

// share shows how much of the operation is done.
func (p *pace) share(done float64) {
	metric := func(name string, value float64) *containerpb.OperationProgress_Metric {
		return &containerpb.OperationProgress_Metric{
			Name:  name,
			Value: &containerpb.OperationProgress_Metric_DoubleValue{DoubleValue: value},
		}
	}
	p.show(metric("progress", done), metric("progress scale", 1))
}

func (p *pace) show(metrics ...*containerpb.OperationProgress_Metric) {
	p.server.update(func() {
		p.op.pb.Progress = &containerpb.OperationProgress{Status: p.op.pb.GetStatus(), Metrics: metrics}
	})
}

// StartForeignOperation occupies a cluster as if someone else, or GKE itself, changed what is at path: the cluster, or one of its pools. It is
// RUNNING at once and until done is called, which may be called more than once. It fails where a real one would: on a cluster that is busy.
func (s *Server) StartForeignOperation(path string, kind containerpb.Operation_Type) (name string, done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, pool, err := s.target(path)
	if err != nil {
		return "", nil, err
	}
	op, err := s.begin(c, kind, pool, Fault{})
	if err != nil {
		return "", nil, err
	}
	op.pb.Status = containerpb.Operation_RUNNING
	return op.pb.GetName(), func() {
		s.update(func() {
			if c.busy == op {
				op.finish(nil)
			}
		})
	}, nil
}

// target finds a cluster, or a pool and its cluster, by its path; the caller holds the mutex.
func (s *Server) target(path string) (*cluster, string, error) {
	if !strings.Contains(path, "/nodePools/") {
		c, err := s.cluster(path)
		return c, "", err
	}
	p, err := s.pool(path)
	if err != nil {
		return nil, "", err
	}
	return p.cluster, p.pb.GetName(), nil
}

// collision is GKE's own text.
func collision(c *cluster) error {
	doing := "operating on"
	switch c.busy.pb.GetOperationType() {
	case containerpb.Operation_CREATE_NODE_POOL:
		doing = "creating a node pool for"
	case containerpb.Operation_DELETE_NODE_POOL:
		doing = "deleting a node pool for"
	case containerpb.Operation_UPGRADE_MASTER, containerpb.Operation_UPGRADE_NODES:
		doing = "upgrading"
	case containerpb.Operation_UPDATE_CLUSTER:
		doing = "updating"
	}
	return status.Errorf(codes.FailedPrecondition, "Operation %s is currently %s cluster %s. Please wait and try again once it is done.",
		c.busy.pb.GetName(), doing, c.spec.Name)
}

// statusProto is how an operation shows an error: nil for none, Internal for what is not GKE's own.
func statusProto(err error) *rpcstatus.Status {
	if err == nil {
		return nil
	}
	var own interface{ GRPCStatus() *status.Status }
	if errors.As(err, &own) {
		return own.GRPCStatus().Proto()
	}
	return &rpcstatus.Status{Code: int32(codes.Internal), Message: err.Error()}
}

// GetOperation finds an operation by projects/P/locations/L/operations/NAME.
func (s *service) GetOperation(_ context.Context, req *containerpb.GetOperationRequest) (*containerpb.Operation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	op, err := s.operation(req.GetName())
	if err != nil {
		return nil, err
	}
	return proto.CloneOf(op.pb), nil
}

// operation finds an operation by its path; the caller holds the mutex.
func (s *Server) operation(path string) (*operation, error) {
	f, err := parse(path, "projects", "locations", "operations")
	if err != nil {
		return nil, err
	}
	for _, op := range s.operations {
		if op.in(f[0], f[1]) && op.pb.GetName() == f[2] {
			return op, nil
		}
	}
	return nil, notFound(path)
}

// ListOperations lists a location's operations, done ones too, oldest first; "-" is every location.
func (s *service) ListOperations(_ context.Context, req *containerpb.ListOperationsRequest) (*containerpb.ListOperationsResponse, error) {
	f, err := parse(req.GetParent(), "projects", "locations")
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	resp := &containerpb.ListOperationsResponse{}
	for _, op := range s.operations {
		if op.in(f[0], f[1]) || f[1] == "-" && op.in(f[0], op.cluster.spec.Location) {
			resp.Operations = append(resp.Operations, proto.CloneOf(op.pb))
		}
	}
	return resp, nil
}

func (op *operation) in(project, location string) bool {
	return op.cluster.spec.Project == project && op.cluster.spec.Location == location
}
