package gkeemu

import (
	"context"
	"slices"

	"cloud.google.com/go/container/apiv1/containerpb"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/upshift-k8s/upshift/internal/lab"
)

// service is the gRPC face of a Server, apart from it so that calls do not show up among its methods.
type service struct {
	containerpb.UnimplementedClusterManagerServer
	*Server
}

func (s *service) GetCluster(_ context.Context, req *containerpb.GetClusterRequest) (*containerpb.Cluster, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.cluster(req.GetName())
	if err != nil {
		return nil, err
	}
	return c.proto(), nil
}

func (s *service) GetNodePool(_ context.Context, req *containerpb.GetNodePoolRequest) (*containerpb.NodePool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.pool(req.GetName())
	if err != nil {
		return nil, err
	}
	return p.proto(), nil
}

func (s *service) ListNodePools(_ context.Context, req *containerpb.ListNodePoolsRequest) (*containerpb.ListNodePoolsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.cluster(req.GetParent())
	if err != nil {
		return nil, err
	}
	return &containerpb.ListNodePoolsResponse{NodePools: c.proto().GetNodePools()}, nil
}

// CreateNodePool makes the pool visible at once, and its nodes over the operation's time.
func (s *service) CreateNodePool(ctx context.Context, req *containerpb.CreateNodePoolRequest) (*containerpb.Operation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.cluster(req.GetParent())
	if err != nil {
		return nil, err
	}
	if err := c.mutable(); err != nil {
		return nil, err
	}
	if err := c.validate(req.GetNodePool(), s.options.ServerConfig); err != nil {
		return nil, err
	}
	if err := c.vacant(req.GetNodePool().GetName()); err != nil {
		return nil, err
	}
	fault := faultOf(ctx)
	op, err := s.begin(c, containerpb.Operation_CREATE_NODE_POOL, req.GetNodePool().GetName(), fault)
	if err != nil {
		return nil, err
	}
	startUp := c.spec.NodeStartUp
	if fault.NodesNeverReady {
		startUp = lab.Never
	}
	p := c.add(proto.CloneOf(req.GetNodePool()), startUp)
	p.pb.Status = containerpb.NodePool_PROVISIONING
	created := 0
	s.run(op, s.options.Timing.CreateNodePool, func(ctx context.Context, pace *pace) error {
		nodes := p.newNodes()
		return pace.steps(ctx, len(nodes), func(i int) error {
			if err := p.createNode(ctx, nodes[i]); err != nil {
				return err
			}
			created++
			return nil
		})
	}, func(failure *rpcstatus.Status) { p.settle(failure, created) })
	return proto.CloneOf(op.pb), nil
}

// DeleteNodePool takes the nodes away over the operation's time, with all that runs on them, and the pool in the end.
func (s *service) DeleteNodePool(ctx context.Context, req *containerpb.DeleteNodePoolRequest) (*containerpb.Operation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.pool(req.GetName())
	if err != nil {
		return nil, err
	}
	if err := p.cluster.mutable(); err != nil {
		return nil, err
	}
	op, err := s.begin(p.cluster, containerpb.Operation_DELETE_NODE_POOL, p.pb.GetName(), faultOf(ctx))
	if err != nil {
		return nil, err
	}
	p.pb.Status = containerpb.NodePool_STOPPING
	left := 0
	s.run(op, s.options.Timing.DeleteNodePool, func(ctx context.Context, pace *pace) error {
		nodes, err := p.listNodes(ctx)
		if err != nil {
			return err
		}
		left = len(nodes)
		return pace.steps(ctx, len(nodes), func(i int) error {
			killed, err := p.deleteNode(ctx, nodes[i].Name, "its node was deleted with the pool")
			s.update(func() { s.killed = append(s.killed, killed...) })
			if err != nil {
				return err
			}
			left--
			return nil
		})
	}, func(failure *rpcstatus.Status) {
		if failure != nil {
			p.settle(failure, left)
			return
		}
		p.cluster.pools = slices.DeleteFunc(p.cluster.pools, func(other *pool) bool { return other == p })
	})
	return proto.CloneOf(op.pb), nil
}

// SetNodePoolAutoscaling stores the settings when its operation is done; nothing acts on them.
func (s *service) SetNodePoolAutoscaling(ctx context.Context, req *containerpb.SetNodePoolAutoscalingRequest) (*containerpb.Operation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.pool(req.GetName())
	if err != nil {
		return nil, err
	}
	if err := p.cluster.mutable(); err != nil {
		return nil, err
	}
	if req.GetAutoscaling() == nil {
		return nil, invalid("autoscaling must be set.")
	}
	if err := validateAutoscaling(req.GetAutoscaling()); err != nil {
		return nil, err
	}
	op, err := s.begin(p.cluster, containerpb.Operation_UPDATE_CLUSTER, p.pb.GetName(), faultOf(ctx))
	if err != nil {
		return nil, err
	}
	s.run(op, s.options.Timing.SetNodePoolAutoscaling,
		func(context.Context, *pace) error { return nil },
		func(failure *rpcstatus.Status) {
			if failure == nil {
				p.pb.Autoscaling = proto.CloneOf(req.GetAutoscaling())
			}
		})
	return proto.CloneOf(op.pb), nil
}
