package gke

import (
	"cmp"
	"math"
	"math/bits"
	"net/netip"

	"cloud.google.com/go/container/apiv1/containerpb"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// podRange is where the pool's pods get their addresses: a range of the pool's own, or else the cluster's default.
func podRange(cluster *containerpb.Cluster, np *containerpb.NodePool) upgrade.PodRange {
	own, policy := np.GetNetworkConfig(), cluster.GetIpAllocationPolicy()
	r := upgrade.PodRange{Name: own.GetPodRange(), CIDR: own.GetPodIpv4CidrBlock(), Free: upgrade.Unknown, PerNode: perNode(cluster, np)}
	used := own.GetPodIpv4RangeUtilization()
	if r.Name == "" || r.Name == policy.GetClusterSecondaryRangeName() {
		r.Name = policy.GetClusterSecondaryRangeName()
		r.CIDR = cmp.Or(r.CIDR, policy.GetClusterIpv4CidrBlock(), cluster.GetClusterIpv4Cidr())
		used = cmp.Or(used, policy.GetDefaultPodIpv4RangeUtilization())
	}
	for _, info := range policy.GetAdditionalPodRangesConfig().GetPodRangeInfo() {
		if info.GetRangeName() == r.Name {
			used = cmp.Or(used, info.GetUtilization())
		}
	}
	if size := addresses(r.CIDR); size > 0 && used > 0 && r.PerNode > 0 { // 0 stands for a utilization that GKE does not tell
		// GKE rounds the share; nodes take whole blocks.
		blocks := math.Round(used * float64(size) / float64(r.PerNode))
		r.Free = max(0, size-int64(blocks)*r.PerNode)
	}
	return r
}

// perNode is how many addresses each of the pool's nodes takes, Unknown if GKE does not say.
func perNode(cluster *containerpb.Cluster, np *containerpb.NodePool) int64 {
	if size := cmp.Or(np.GetPodIpv4CidrSize(), cluster.GetNodeIpv4CidrSize()); size > 0 && size <= 32 {
		return 1 << (32 - size)
	}
	pods := cmp.Or(np.GetMaxPodsConstraint().GetMaxPodsPerNode(), cluster.GetDefaultMaxPodsConstraint().GetMaxPodsPerNode())
	if pods <= 0 {
		return upgrade.Unknown
	}
	once := cmp.Or(np.GetNetworkConfig().GetPodCidrOverprovisionConfig(), cluster.GetIpAllocationPolicy().GetPodCidrOverprovisionConfig()).GetDisable()
	if !once {
		pods *= 2 // so that a new pod need not wait for the address of one that ends
	}
	return 1 << bits.Len64(uint64(pods-1))
}

// addresses is how many a CIDR has, 0 for one that is not known.
func addresses(cidr string) int64 {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil || !prefix.Addr().Is4() {
		return 0
	}
	return 1 << (32 - prefix.Bits())
}
