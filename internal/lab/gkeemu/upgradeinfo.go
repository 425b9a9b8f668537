package gkeemu

import (
	"context"

	"cloud.google.com/go/container/apiv1/containerpb"
	"google.golang.org/protobuf/proto"
)

// FetchClusterUpgradeInfo tells what the cluster was given to tell.
func (s *service) FetchClusterUpgradeInfo(_ context.Context, req *containerpb.FetchClusterUpgradeInfoRequest) (*containerpb.ClusterUpgradeInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.cluster(req.GetName())
	if err != nil {
		return nil, err
	}
	if c.spec.UpgradeInfo == nil {
		return &containerpb.ClusterUpgradeInfo{}, nil
	}
	return proto.CloneOf(c.spec.UpgradeInfo), nil
}
