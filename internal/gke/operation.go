package gke

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
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
)

// Pools implements the engine's Provider.
func (p *Provider) Pools(ctx context.Context) ([]upgrade.Pool, error) {
	nodePools, err := p.list(ctx)
	if err != nil {
		return nil, err
	}
	var pools []upgrade.Pool
	for _, np := range nodePools {
		pool, err := readPool(np)
		if err != nil {
			return nil, err
		}
		pools = append(pools, pool)
	}
	return pools, nil
}

func (p *Provider) list(ctx context.Context) ([]*containerpb.NodePool, error) {
	response, err := p.client.ListNodePools(ctx, &containerpb.ListNodePoolsRequest{Parent: p.name.String()})
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
		return p.client.CreateNodePool(ctx, &containerpb.CreateNodePoolRequest{
			Parent: p.name.String(), NodePool: clone(old, c.Name, c.Version, c.NodesPerZone, c.Run),
		})
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
		return p.client.DeleteNodePool(ctx, &containerpb.DeleteNodePoolRequest{Name: p.name.pool(name)})
	})
}

// SetAutoscaling implements the engine's Provider.
func (p *Provider) SetAutoscaling(ctx context.Context, pool string, a upgrade.Autoscaling) (string, error) {
	wanted, err := writeAutoscaling(a)
	if err != nil {
		return "", err
	}
	return p.mutate(ctx, func(ctx context.Context) (*containerpb.Operation, error) {
		there, err := p.find(ctx, pool)
		if err != nil {
			return nil, err
		}
		if there == nil {
			return nil, fmt.Errorf("pool %s is not there", pool)
		}
		if now := there.GetAutoscaling(); proto.Equal(now, wanted) || !now.GetEnabled() && !wanted.GetEnabled() {
			return nil, nil
		}
		return p.client.SetNodePoolAutoscaling(ctx, &containerpb.SetNodePoolAutoscalingRequest{Name: p.name.pool(pool), Autoscaling: wanted})
	})
}

// mutate makes one change. While the cluster is busy with another operation it waits for that one; when an answer is lost it
// tries again, which is safe because attempt looks first whether the change is there. An attempt that finds nothing left to do
// returns no operation.
func (p *Provider) mutate(ctx context.Context, attempt func(context.Context) (*containerpb.Operation, error)) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	for wait := pollFirst; ; wait = min(2*wait, pollLast) {
		operation, err := attempt(ctx)
		switch status.Code(err) {
		case codes.OK:
			return operation.GetName(), nil
		case codes.FailedPrecondition:
			busy, listErr := p.busy(ctx)
			if listErr != nil {
				return "", errors.Join(err, listErr)
			}
			if busy == "" {
				// Not (or not any more) an operation in the way: once more, in case it ended in between.
				if wait > pollFirst {
					return "", err
				}
				break
			}
			// Its outcome is its owner's business; ours is only that it is over.
			if waitErr := p.Wait(ctx, busy, func(string) {}); waitErr != nil && ctx.Err() != nil {
				return "", errors.Join(err, waitErr)
			}
			wait = pollFirst
		case codes.Unavailable, codes.DeadlineExceeded, codes.Aborted:
			if ctx.Err() != nil {
				return "", err
			}
		default:
			return "", err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return "", errors.Join(context.Cause(ctx), err)
		}
	}
}

// running returns the operation that is under way on the pool, or nil.
func (p *Provider) running(ctx context.Context, pool string) (*containerpb.Operation, error) {
	return p.operation(ctx, func(o *containerpb.Operation) bool { return strings.HasSuffix(o.GetTargetLink(), "/nodePools/"+pool) })
}

// busy returns the name of any operation under way on the cluster, or "".
func (p *Provider) busy(ctx context.Context) (string, error) {
	suffix := "/clusters/" + p.name.Cluster
	o, err := p.operation(ctx, func(o *containerpb.Operation) bool {
		return strings.HasSuffix(o.GetTargetLink(), suffix) || strings.Contains(o.GetTargetLink(), suffix+"/")
	})
	return o.GetName(), err
}

func (p *Provider) operation(ctx context.Context, match func(*containerpb.Operation) bool) (*containerpb.Operation, error) {
	response, err := p.client.ListOperations(ctx, &containerpb.ListOperationsRequest{Parent: p.name.parent()})
	if err != nil {
		return nil, fmt.Errorf("list the operations in %s: %w", p.name.parent(), err)
	}
	for _, o := range response.GetOperations() {
		if o.GetStatus() != containerpb.Operation_DONE && match(o) {
			return o, nil
		}
	}
	return nil, nil
}

// Wait implements the engine's Provider. Done is not success: an operation that is done carries its error.
func (p *Provider) Wait(ctx context.Context, operation string, progress func(string)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, operationTimeout, fmt.Errorf("operation %s is not done after %s", operation, operationTimeout))
	defer cancel()
	told := ""
	for wait := pollFirst; ; wait = min(wait*3/2, pollLast) {
		o, err := p.client.GetOperation(ctx, &containerpb.GetOperationRequest{Name: p.name.parent() + "/operations/" + operation})
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("get operation %s: %w", operation, err)
		}
		if o.GetStatus() == containerpb.Operation_DONE {
			return operationError(o)
		}
		if text := describe(o); o != nil && text != told {
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
		text += fmt.Sprintf(", %s %d", m.GetName(), m.GetIntValue())
	}
	return text
}
