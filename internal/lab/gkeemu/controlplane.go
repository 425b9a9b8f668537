package gkeemu

import (
	"context"
	"strings"

	"cloud.google.com/go/container/apiv1/containerpb"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
)

// ControlPlane is the Kubernetes API of a cluster, as the upgrade of its control plane treats it. Its methods are called one after
// the other.
type ControlPlane interface {
	// Away cuts the API off: connections end, and new ones are refused. What has to come back is ready by then.
	Away(ctx context.Context) error
	// Back has it answer again, as one of that version.
	Back(version string) error
	// Move has another server answer, of that version, as a regional control plane does while the servers are upgraded one by one:
	// open watches end, and no request fails.
	Move(ctx context.Context, version string) error
}

// UpdateMaster upgrades the control plane. That of a zonal cluster is away for a while in the middle of the operation; that of a regional
// cluster moves from server to server.
func (s *service) UpdateMaster(ctx context.Context, req *containerpb.UpdateMasterRequest) (*containerpb.Operation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.cluster(req.GetName())
	if err != nil {
		return nil, err
	}
	return s.upgradeMaster(c, req.GetMasterVersion(), faultOf(ctx))
}

// UpdateCluster upgrades the control plane, as UpdateMaster does, and nothing else.
func (s *service) UpdateCluster(ctx context.Context, req *containerpb.UpdateClusterRequest) (*containerpb.Operation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.cluster(req.GetName())
	if err != nil {
		return nil, err
	}
	if others := beside(req.GetUpdate(), "desired_master_version"); len(others) > 0 {
		return nil, notEmulated("an update of %s", strings.Join(others, ", "))
	}
	return s.upgradeMaster(c, req.GetUpdate().GetDesiredMasterVersion(), faultOf(ctx))
}

// upgradeMaster begins an upgrade of the control plane; the caller holds the mutex.
func (s *Server) upgradeMaster(c *cluster, wanted string, fault Fault) (*containerpb.Operation, error) {
	version, err := c.masterVersion(wanted, s.options.ServerConfig)
	if err != nil {
		return nil, err
	}
	op, err := s.begin(c, containerpb.Operation_UPGRADE_MASTER, "", fault)
	if err != nil {
		return nil, err
	}
	before, after := c.version, version
	if fault.OperationError != nil {
		after = before // the API comes back as it was
	}
	s.run(op, s.options.Timing.UpgradeMaster, func(ctx context.Context, pace *pace) error {
		pace.share(0)
		switch {
		case c.spec.ControlPlane == nil:
			return nil
		case zonal(c.spec.Location):
			return s.replaceServer(ctx, pace, c.spec.ControlPlane, after)
		default:
			return moveServers(ctx, pace, c.spec.ControlPlane, before, after)
		}
	}, func(failure *rpcstatus.Status) {
		if failure == nil {
			c.version = version
		}
	})
	return proto.CloneOf(op.pb), nil
}

// replaceServer is the upgrade of a control plane that is one server.
func (s *Server) replaceServer(ctx context.Context, pace *pace, api ControlPlane, version string) error {
	if err := pace.until(ctx, 0.25); err != nil {
		return err
	}
	if err := api.Away(ctx); err != nil {
		return err
	}
	if !wait(ctx, s.options.Timing.MasterAway) {
		return ctx.Err()
	}
	pace.share(0.75)
	return api.Back(version)
}

// moveServers is the upgrade of a control plane that is several servers. First one answers that is not upgraded yet, then one that is.
func moveServers(ctx context.Context, pace *pace, api ControlPlane, before, after string) error {
	for i, version := range []string{before, after} {
		if err := pace.until(ctx, float64(i+1)/3); err != nil {
			return err
		}
		if err := api.Move(ctx, version); err != nil {
			return err
		}
	}
	return nil
}
