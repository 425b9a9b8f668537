package gkeemu

import (
	"context"
	"strings"

	"cloud.google.com/go/container/apiv1/containerpb"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// UpdateNodePool either upgrades the pool's nodes, if the request has a version, or stores its upgrade settings and its drain configuration.
func (s *service) UpdateNodePool(ctx context.Context, req *containerpb.UpdateNodePoolRequest) (*containerpb.Operation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.pool(req.GetName())
	if err != nil {
		return nil, err
	}
	if err := p.cluster.mutable(); err != nil {
		return nil, err
	}
	if others := beside(req, "name", "etag", "node_version", "image_type", "upgrade_settings", "node_drain_config"); len(others) > 0 {
		return nil, notEmulated("an update of %s", strings.Join(others, ", "))
	}
	if image := req.GetImageType(); image != "" && image != p.pb.GetConfig().GetImageType() {
		return nil, notEmulated("another image type")
	}
	if req.GetEtag() != "" && req.GetEtag() != p.proto().GetEtag() {
		return nil, status.Errorf(codes.Aborted, "The etag does not match that of node pool %q.", p.pb.GetName())
	}
	settings := req.GetUpgradeSettings() != nil || req.GetNodeDrainConfig() != nil
	switch {
	case req.GetNodeVersion() != "" && settings:
		return nil, notEmulated("settings and a version in one update")
	case req.GetNodeVersion() != "":
		return s.upgradePool(p, req.GetNodeVersion(), faultOf(ctx))
	case settings:
		return s.configure(p, req, faultOf(ctx))
	}
	return nil, invalid("At least one field of node pool %q must be updated.", p.pb.GetName())
}

// configure stores settings when its operation is done.
func (s *Server) configure(p *pool, req *containerpb.UpdateNodePoolRequest, fault Fault) (*containerpb.Operation, error) {
	settings, drain := proto.CloneOf(req.GetUpgradeSettings()), proto.CloneOf(req.GetNodeDrainConfig())
	if err := validateUpgradeSettings(settings); err != nil {
		return nil, err
	}
	if err := validateDrainConfig(drain); err != nil {
		return nil, err
	}
	op, err := s.begin(p.cluster, containerpb.Operation_UPDATE_CLUSTER, p.pb.GetName(), fault)
	if err != nil {
		return nil, err
	}
	s.run(op, s.options.Timing.UpdateNodePool,
		func(context.Context, *pace) error { return nil },
		func(failure *rpcstatus.Status) {
			if failure != nil {
				return
			}
			if settings != nil {
				p.pb.UpgradeSettings = complete(settings)
			}
			if drain != nil {
				p.pb.NodeDrainConfig = drain
			}
		})
	return proto.CloneOf(op.pb), nil
}

// CancelOperation stops an upgrade of nodes: it is ABORTING until the nodes that it has begun with are done, and then DONE, without an error.
func (s *service) CancelOperation(_ context.Context, req *containerpb.CancelOperationRequest) (*emptypb.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	op, err := s.operation(req.GetName())
	if err != nil {
		return nil, err
	}
	switch {
	case op.pb.GetStatus() == containerpb.Operation_DONE:
		return nil, refused("Operation %s is done already.", op.pb.GetName())
	case op.upgrade == nil || op.upgrade.committed:
		return nil, refused("Operation %s cannot be cancelled.", op.pb.GetName())
	}
	op.pb.Status = containerpb.Operation_ABORTING
	op.pb.Detail = "The operation was cancelled."
	op.cancel()
	return &emptypb.Empty{}, nil
}

// RollbackNodePoolUpgrade takes back an upgrade that was cancelled or has failed. When there is none it does nothing, in an operation that
// is done: GKE documents that, rather than a refusal.
func (s *service) RollbackNodePoolUpgrade(ctx context.Context, req *containerpb.RollbackNodePoolUpgradeRequest) (*containerpb.Operation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.pool(req.GetName())
	if err != nil {
		return nil, err
	}
	if err := p.cluster.mutable(); err != nil {
		return nil, err
	}
	return s.rollBack(p, req.GetRespectPdb(), faultOf(ctx))
}

// CompleteNodePoolUpgrade ends the soaking of a blue-green upgrade that is under way.
func (s *service) CompleteNodePoolUpgrade(_ context.Context, req *containerpb.CompleteNodePoolUpgradeRequest) (*emptypb.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.pool(req.GetName())
	if err != nil {
		return nil, err
	}
	if p.upgrade == nil || p.upgrade.soaked == nil {
		return nil, refused("Node pool %q has no upgrade that is soaking.", p.pb.GetName())
	}
	p.upgrade.soaked()
	return &emptypb.Empty{}, nil
}

// StartAutoUpgrade has GKE itself upgrade what is at path, a cluster's control plane or one of its pools, and returns the operation's name.
// It fails where GKE would wait: on a cluster that is busy.
func (s *Server) StartAutoUpgrade(path, version string) (name string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, pool, err := s.target(path)
	if err != nil {
		return "", err
	}
	var op *containerpb.Operation
	if pool == "" {
		op, err = s.upgradeMaster(c, version, Fault{})
	} else {
		op, err = s.upgradePool(c.pools[c.index(pool)], version, Fault{})
	}
	return op.GetName(), err
}

// complete fills in what GKE chooses.
func complete(s *containerpb.NodePool_UpgradeSettings) *containerpb.NodePool_UpgradeSettings {
	if s.Strategy == nil || s.GetStrategy() == containerpb.NodePoolUpdateStrategy_NODE_POOL_UPDATE_STRATEGY_UNSPECIFIED {
		s.Strategy = containerpb.NodePoolUpdateStrategy_SURGE.Enum()
	}
	if s.GetStrategy() == containerpb.NodePoolUpdateStrategy_BLUE_GREEN {
		s.BlueGreenSettings = completeBlueGreen(s.BlueGreenSettings)
	}
	return s
}

// mostAtOnce is GKE's bound on the nodes that a surge upgrade works on at once.
const mostAtOnce = 20

func validateUpgradeSettings(s *containerpb.NodePool_UpgradeSettings) error {
	surge, unavailable := s.GetMaxSurge(), s.GetMaxUnavailable()
	switch {
	case s == nil:
		return nil
	case s.GetStrategy() == containerpb.NodePoolUpdateStrategy_BLUE_GREEN:
		return validateBlueGreen(s.GetBlueGreenSettings())
	case s.GetStrategy() == containerpb.NodePoolUpdateStrategy_SHORT_LIVED:
		return notEmulated("strategy %s", s.GetStrategy())
	case surge < 0 || unavailable < 0 || surge+unavailable < 1 || surge+unavailable > mostAtOnce:
		return invalid("Invalid upgrade settings: max_surge %d and max_unavailable %d must not be negative, and their sum must be from 1 to %d.", surge, unavailable, mostAtOnce)
	}
	return nil
}

func validateDrainConfig(d *containerpb.NodePool_NodeDrainConfig) error {
	if d.GetPdbTimeoutDuration().AsDuration() < 0 || d.GetGraceTerminationDuration().AsDuration() < 0 {
		return invalid("Invalid node drain configuration: durations must not be negative.")
	}
	return nil
}

// nodeVersion is the version that an upgrade of nodes asks for; the caller holds the mutex.
func (c *cluster) nodeVersion(wanted string, config *containerpb.ServerConfig) (string, error) {
	version := resolve(wanted, config.GetValidNodeVersions(), c.version)
	return version, c.validateVersion(version, config)
}
