package gkeemu

import (
	"cmp"
	"math/bits"
	"slices"

	"cloud.google.com/go/container/apiv1/containerpb"
	"google.golang.org/genproto/googleapis/rpc/code"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
)

// pool is a node pool; its proto is guarded by the server's mutex.
type pool struct {
	cluster *cluster
	pb      *containerpb.NodePool
	startUp string // of the nodes that it begins with
	groups  []group
	upgrade *upgrade // that is not complete, or nil
}

// group is a pool's managed instance group in one zone.
type group struct{ zone, name string }

// add completes a pool as GKE does and puts it in the cluster.
func (c *cluster) add(pb *containerpb.NodePool, startUp string) *pool {
	p := &pool{cluster: c, pb: pb, startUp: startUp}
	p.setDefaults()
	pb.Status = cmp.Or(pb.Status, containerpb.NodePool_RUNNING)
	pb.SelfLink = c.link() + "/nodePools/" + pb.GetName()
	pb.PodIpv4CidrSize = podRangeSize(pb.GetMaxPodsConstraint().GetMaxPodsPerNode())
	p.groups = p.newGroups()
	pb.InstanceGroupUrls = p.urls(p.groups)
	c.pools = append(c.pools, p)
	return p
}

// newGroups names a group in each of the pool's zones.
func (p *pool) newGroups() []group {
	var groups []group
	for _, zone := range p.pb.GetLocations() {
		groups = append(groups, group{zone: zone, name: instanceGroup(p.cluster.spec.Name, p.pb.GetName())})
	}
	return groups
}

func (p *pool) urls(groups []group) []string {
	var urls []string
	for _, g := range groups {
		urls = append(urls, "https://www.googleapis.com/compute/v1/projects/"+p.cluster.spec.Project+"/zones/"+g.zone+"/instanceGroupManagers/"+g.name+"-grp")
	}
	return urls
}

// groupAt is the group in a zone, or the first one for a zone that the pool does not have.
func groupAt(groups []group, zone string) group {
	return groups[max(0, slices.IndexFunc(groups, func(g group) bool { return g.zone == zone }))]
}

// setDefaults fills in what the creator left out, and the output-only fields that a faithful clone must clear.
func (p *pool) setDefaults() {
	pb := p.pb
	if pb.Version == "" || pb.Version == "-" {
		pb.Version = p.cluster.version
	}
	if len(pb.Locations) == 0 {
		pb.Locations = append(pb.Locations, p.cluster.spec.Zones...)
	}
	pb.Config = cmp.Or(pb.Config, &containerpb.NodeConfig{})
	config := pb.Config
	config.MachineType = cmp.Or(config.MachineType, "e2-medium")
	config.DiskSizeGb = cmp.Or(config.DiskSizeGb, 100)
	config.DiskType = cmp.Or(config.DiskType, "pd-balanced")
	config.ImageType = cmp.Or(config.ImageType, "COS_CONTAINERD")
	config.ServiceAccount = cmp.Or(config.ServiceAccount, "default")
	if len(config.OauthScopes) == 0 {
		config.OauthScopes = []string{"https://www.googleapis.com/auth/cloud-platform"}
	}
	config.EffectiveCgroupMode = containerpb.NodeConfig_EFFECTIVE_CGROUP_MODE_V2

	pb.Autoscaling = cmp.Or(pb.Autoscaling, &containerpb.NodePoolAutoscaling{})
	pb.Management = cmp.Or(pb.Management, &containerpb.NodeManagement{AutoUpgrade: true, AutoRepair: true})
	pb.MaxPodsConstraint = cmp.Or(pb.MaxPodsConstraint, &containerpb.MaxPodsConstraint{MaxPodsPerNode: 110})
	pb.UpgradeSettings = complete(cmp.Or(pb.UpgradeSettings, &containerpb.NodePool_UpgradeSettings{MaxSurge: 1}))
	pb.NetworkConfig = cmp.Or(pb.NetworkConfig, &containerpb.NodeNetworkConfig{PodRange: "pods", PodIpv4CidrBlock: "10.64.0.0/14"})
	pb.NetworkConfig.PodIpv4RangeUtilization = cmp.Or(pb.NetworkConfig.PodIpv4RangeUtilization, 0.0117)
}

// podRangeSize is GKE's: each node has a range of at least twice as many addresses as pods.
func podRangeSize(maxPods int64) int32 {
	return int32(32 - bits.Len64(uint64(2*maxPods-1)))
}

// settle is what an operation leaves behind: a running pool, or what there is of one.
func (p *pool) settle(failure *rpcstatus.Status, nodes int) {
	switch {
	case failure == nil:
		p.pb.Status, p.pb.StatusMessage, p.pb.Conditions = containerpb.NodePool_RUNNING, "", nil
		return
	case nodes > 0:
		p.pb.Status = containerpb.NodePool_RUNNING_WITH_ERROR
	default:
		p.pb.Status = containerpb.NodePool_ERROR
	}
	p.pb.StatusMessage = failure.GetMessage()
	p.pb.Conditions = []*containerpb.StatusCondition{{
		CanonicalCode: code.Code(failure.GetCode()),
		Message:       failure.GetMessage(),
	}}
}

// proto is the pool as GetNodePool shows it.
func (p *pool) proto() *containerpb.NodePool {
	pb := proto.CloneOf(p.pb)
	pb.Etag = ""
	pb.Etag = etag(pb)
	return pb
}
