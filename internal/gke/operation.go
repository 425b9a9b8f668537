package gke

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

const (
	// pollFirst and pollLast bound the time between two looks at an operation: GKE has no watch, and its operations take
	// minutes.
	pollFirst = 250 * time.Millisecond
	pollLast  = 5 * time.Second
	// operationTimeout is GKE's own order of magnitude for a pool's operation, with room; GKE ends most sooner.
	operationTimeout = 45 * time.Minute
	// callTimeout is for one call; the client library's own default for most.
	callTimeout = 45 * time.Second
	// attempts is how often a change is tried while its answers are lost or refused for a passing reason: about half a minute.
	attempts = 10
)

// Pools implements the engine's Provider.
func (p *Provider) Pools(ctx context.Context) ([]upgrade.Pool, error) {
	nodePools, err := p.list(ctx)
	if err != nil {
		return nil, err
	}
	var pools []upgrade.Pool
	for _, np := range nodePools {
		pool, err := readPool(p.name, np)
		if err != nil {
			return nil, err
		}
		pools = append(pools, pool)
	}
	return pools, nil
}

func (p *Provider) list(ctx context.Context) ([]*containerpb.NodePool, error) {
	response, err := rpc(ctx, p.client.ListNodePools, &containerpb.ListNodePoolsRequest{Parent: p.name.String()})
	if err != nil {
		return nil, fmt.Errorf("list the node pools of %s: %w", p.name, err)
	}
	return response.GetNodePools(), nil
}

// find returns the pool, or nil if the cluster has none of that name.
func (p *Provider) find(ctx context.Context, name string) (*containerpb.NodePool, error) {
	nodePools, err := p.list(ctx)
	if err != nil {
		return nil, err
	}
	for _, np := range nodePools {
		if np.GetName() == name {
			return np, nil
		}
	}
	return nil, nil
}

// CreatePool implements the engine's Provider.
func (p *Provider) CreatePool(ctx context.Context, c upgrade.Clone) (string, error) {
	return p.mutate(ctx, func(ctx context.Context) (*containerpb.Operation, error) {
		there, err := p.find(ctx, c.Name)
		if err != nil {
			return nil, err
		}
		if there != nil {
			if there.GetConfig().GetResourceLabels()[runLabel] == "" {
				return nil, fmt.Errorf("pool %s exists, and no run of Upshift made it", c.Name)
			}
			return p.running(ctx, c.Name)
		}
		old, err := p.find(ctx, c.Of)
		if err != nil {
			return nil, err
		}
		if old == nil {
			return nil, fmt.Errorf("pool %s, which it should be like, is not there", c.Of)
		}
		np, err := cloneOf(old, c)
		if err != nil {
			return nil, err
		}
		return rpc(ctx, p.client.CreateNodePool, &containerpb.CreateNodePoolRequest{Parent: p.name.String(), NodePool: np})
	})
}

// DeletePool implements the engine's Provider.
func (p *Provider) DeletePool(ctx context.Context, name string) (string, error) {
	return p.mutate(ctx, func(ctx context.Context) (*containerpb.Operation, error) {
		there, err := p.find(ctx, name)
		if err != nil || there == nil {
			return nil, err
		}
		if there.GetStatus() == containerpb.NodePool_STOPPING {
			return p.running(ctx, name)
		}
		return rpc(ctx, p.client.DeleteNodePool, &containerpb.DeleteNodePoolRequest{Name: p.name.pool(name)})
	})
}

// SetAutoscaling implements the engine's Provider.
func (p *Provider) SetAutoscaling(ctx context.Context, pool string, a upgrade.Autoscaling) (string, error) {
	return p.mutate(ctx, func(ctx context.Context) (*containerpb.Operation, error) {
		there, err := p.find(ctx, pool)
		if err != nil {
			return nil, err
		}
		if there == nil {
			return nil, fmt.Errorf("pool %s is not there", pool)
		}
		wanted, err := writeAutoscaling(a, len(there.GetLocations()))
		if err != nil {
			return nil, err
		}
		if now := there.GetAutoscaling(); proto.Equal(now, wanted) || !now.GetEnabled() && !wanted.GetEnabled() {
			return nil, nil
		}
		return rpc(ctx, p.client.SetNodePoolAutoscaling, &containerpb.SetNodePoolAutoscalingRequest{Name: p.name.pool(pool), Autoscaling: wanted})
	})
}

// mutate makes one change. When an answer is lost it tries again, which is safe because attempt looks first whether the change
// is there. An attempt that finds nothing left to do returns no operation.
func (p *Provider) mutate(ctx context.Context, attempt func(context.Context) (*containerpb.Operation, error)) (string, error) {
	wait := pollFirst
	for try := 1; ; try++ {
		operation, err := attempt(ctx)
		code := status.Code(err)
		switch {
		case err == nil:
			return operation.GetName(), nil
		case ctx.Err() != nil:
			return "", errors.Join(context.Cause(ctx), err)
		case code == codes.FailedPrecondition:
			busy, listErr := p.busy(ctx)
			if listErr != nil {
				return "", errors.Join(err, listErr)
			}
			if busy != nil {
				return "", &upgrade.Busy{Operation: busy.GetName(), Kind: busy.GetOperationType().String()}
			}
			// What was in the way may have ended in between; if not, it is something else that people have to see.
		case !passing(code):
			return "", err
		}
		if try == attempts {
			return "", err
		}
		select {
		case <-time.After(wait):
			wait = min(2*wait, pollLast)
		case <-ctx.Done():
			return "", errors.Join(context.Cause(ctx), err)
		}
	}
}

// passing tells errors that may be gone at the next attempt.
func passing(code codes.Code) bool {
	switch code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Aborted, codes.ResourceExhausted, codes.Internal:
		return true
	}
	return false
}

// rpc makes one call. The client library bounds a call's time only where the context has no deadline of its own, and a call over
// a dead connection must not hang for as long as an operation may take.
func rpc[Request, Response any](ctx context.Context, call func(context.Context, Request, ...gax.CallOption) (Response, error), request Request) (Response, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return call(ctx, request)
}

// running returns the operation that is under way on the pool, or nil.
func (p *Provider) running(ctx context.Context, pool string) (*containerpb.Operation, error) {
	return p.operation(ctx, func(of string) bool { return of == pool })
}

// busy returns any operation under way on the cluster, or nil.
func (p *Provider) busy(ctx context.Context) (*containerpb.Operation, error) {
	return p.operation(ctx, func(string) bool { return true })
}

// operation returns the first operation under way on a pool that matches, or on the cluster itself if the empty name does, or nil.
func (p *Provider) operation(ctx context.Context, match func(pool string) bool) (*containerpb.Operation, error) {
	operations, err := p.operations(ctx)
	if err != nil {
		return nil, err
	}
	for _, o := range operations {
		if pool, ok := targetOf(p.name, o); ok && o.GetStatus() != containerpb.Operation_DONE && match(pool) {
			return o, nil
		}
	}
	return nil, nil
}

// operations are all those of the cluster's location, done ones and other clusters' included.
func (p *Provider) operations(ctx context.Context) ([]*containerpb.Operation, error) {
	response, err := rpc(ctx, p.client.ListOperations, &containerpb.ListOperationsRequest{Parent: p.name.parent()})
	if err != nil {
		return nil, fmt.Errorf("list the operations in %s: %w", p.name.parent(), err)
	}
	return response.GetOperations(), nil
}

// Wait implements the engine's Provider. Done is not success: an operation that is done carries its error. One that does not end is upgrade.Unended. A look that fails
// for a reason that may pass says nothing about the operation, so it is told and looked again.
func (p *Provider) Wait(ctx context.Context, operation string, progress func(string)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, operationTimeout, &upgrade.Unended{Operation: operation, After: operationTimeout})
	defer cancel()
	return p.watch(ctx, operation, progress)
}

// watch is Wait without a limit of its own.
func (p *Provider) watch(ctx context.Context, operation string, progress func(string)) error {
	told := ""
	for wait := pollFirst; ; wait = min(wait*3/2, pollLast) {
		o, err := rpc(ctx, p.client.GetOperation, &containerpb.GetOperationRequest{Name: p.name.parent() + "/operations/" + operation})
		text := ""
		switch code := status.Code(err); {
		case err == nil && o.GetStatus() == containerpb.Operation_DONE:
			return operationError(o)
		case err == nil:
			text = describe(o)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case passing(code):
			text = fmt.Sprintf("operation %s cannot be looked at now: %s", operation, code)
		default:
			return fmt.Errorf("get operation %s: %w", operation, err)
		}
		if text != told {
			progress(text)
			told = text
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func operationError(o *containerpb.Operation) error {
	if e := o.GetError(); e != nil && e.GetCode() != int32(codes.OK) {
		return fmt.Errorf("operation %s failed: %s (%s)", o.GetName(), e.GetMessage(), codes.Code(e.GetCode())) //nolint:gosec // gRPC codes are small
	}
	return nil
}

// describe says how far an operation is: "operation-1 RUNNING, nodes done 1, nodes total 3".
func describe(o *containerpb.Operation) string {
	text := fmt.Sprintf("%s %s", o.GetName(), o.GetStatus())
	for _, m := range o.GetProgress().GetMetrics() {
		if part, ok := m.GetValue().(*containerpb.OperationProgress_Metric_DoubleValue); ok { // "progress", of "progress scale"
			text += fmt.Sprintf(", %s %.3g", m.GetName(), part.DoubleValue)
			continue
		}
		text += fmt.Sprintf(", %s %d", m.GetName(), m.GetIntValue())
	}
	return text
}
