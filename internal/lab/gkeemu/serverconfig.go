package gkeemu

import (
	"context"

	"cloud.google.com/go/container/apiv1/containerpb"
	"google.golang.org/protobuf/proto"
)

// DefaultServerConfig offers four minors, 1.32 to 1.35, on three channels. Versions are in descending order, as GKE's are.
func DefaultServerConfig() *containerpb.ServerConfig {
	const (
		v135     = "1.35.1-gke.300"
		v134     = "1.34.2-gke.100"
		v134old  = "1.34.1-gke.2037000"
		v133     = "1.33.5-gke.1162000"
		v132     = "1.32.9-gke.1108000"
		v131node = "1.31.13-gke.1023000"
	)
	channel := func(c containerpb.ReleaseChannel_Channel, standard, target string, valid ...string) *containerpb.ServerConfig_ReleaseChannelConfig {
		return &containerpb.ServerConfig_ReleaseChannelConfig{
			Channel: c, DefaultVersion: standard, UpgradeTargetVersion: target, ValidVersions: valid,
		}
	}
	return &containerpb.ServerConfig{
		DefaultClusterVersion: v134,
		DefaultImageType:      "COS_CONTAINERD",
		ValidImageTypes:       []string{"COS_CONTAINERD", "UBUNTU_CONTAINERD"},
		ValidMasterVersions:   []string{v135, v134, v134old, v133, v132},
		ValidNodeVersions:     []string{v135, v134, v134old, v133, v132, v131node},
		Channels: []*containerpb.ServerConfig_ReleaseChannelConfig{
			channel(containerpb.ReleaseChannel_RAPID, v135, v135, v135, v134, v134old, v133),
			channel(containerpb.ReleaseChannel_REGULAR, v134, v134, v134, v134old, v133, v132),
			channel(containerpb.ReleaseChannel_STABLE, v133, v133, v134old, v133, v132),
		},
	}
}

// GetServerConfig answers for any project and location.
func (s *service) GetServerConfig(_ context.Context, req *containerpb.GetServerConfigRequest) (*containerpb.ServerConfig, error) {
	if _, err := parse(req.GetName(), "projects", "locations"); err != nil {
		return nil, err
	}
	return proto.CloneOf(s.options.ServerConfig), nil
}
