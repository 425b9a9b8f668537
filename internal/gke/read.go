package gke

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// skew is by how many minors GKE lets nodes be behind their control plane. Kubernetes itself allows three since 1.28; GKE's own policy is the
// narrower one: https://cloud.google.com/kubernetes-engine/versioning.
const skew = 2

// Cluster reads the cluster, its pools and what is being done to them, the versions that its channel offers, what GKE does by itself, and what the
// project may do and have. Operations that may not be listed are said to be unread, and so is what GKE means to do and what other APIs do not tell;
// none of it is an error.
func (p *Provider) Cluster(ctx context.Context) (upgrade.Cluster, error) {
	cluster, err := p.get(ctx)
	if err != nil {
		return upgrade.Cluster{}, err
	}
	server, err := rpc(ctx, p.client.GetServerConfig, &containerpb.GetServerConfigRequest{Name: p.name.parent()})
	if err != nil {
		return upgrade.Cluster{}, fmt.Errorf("get the versions offered in %s: %w", p.name.parent(), err)
	}
	operations, unread := p.operations(ctx)
	c, err := Read(p.name, cluster, server, operations, time.Now())
	if err != nil {
		return upgrade.Cluster{}, err
	}
	if unread != nil {
		c.Unread[upgrade.ReadOperations] = unread.Error()
	}
	p.readAutoUpgrade(ctx, &c)
	p.readProject(ctx, &c)
	if ctx.Err() != nil {
		return upgrade.Cluster{}, context.Cause(ctx)
	}
	return c, nil
}

// Read turns what GKE says about the cluster of that name at the time now into ours. Server is what is offered in its location, and operations
// are those of its location, which can be other clusters'. A maintenance policy that is not understood is said to be unread.
func Read(name Name, cluster *containerpb.Cluster, server *containerpb.ServerConfig, operations []*containerpb.Operation, now time.Time) (upgrade.Cluster, error) {
	c := upgrade.Cluster{
		Provider: "gke", Project: name.Project, Location: name.Location, Name: name.Cluster, Regional: name.regional(), PoolLabel: "cloud.google.com/gke-nodepool",
		ControlPlaneVersion: cluster.GetCurrentMasterVersion(), Skew: skew,
		Autopilot: cluster.GetAutopilot().GetEnabled(), Autoprovisioning: cluster.GetAutoscaling().GetEnableNodeAutoprovisioning(),
		ManagedBy: managedBy(cluster.GetResourceLabels()),
		Unread:    map[upgrade.Source]string{},
	}
	c.Channel, c.Versions = versions(cluster, server)
	switch status := cluster.GetStatus(); status {
	case containerpb.Cluster_STOPPING, containerpb.Cluster_ERROR:
		c.Trouble, c.Unusable = told(status.String(), cluster.GetConditions()), true
	case containerpb.Cluster_DEGRADED:
		c.Trouble = told(status.String(), cluster.GetConditions())
	}
	c.Operations = underWay(name, operations)
	var err error
	if c.Maintenance, err = maintenance(cluster.GetMaintenancePolicy().GetWindow(), now); err != nil {
		c.Unread[upgrade.ReadMaintenance] = err.Error()
	}
	for _, np := range cluster.GetNodePools() {
		pool, err := readPool(name, np)
		if err != nil {
			return upgrade.Cluster{}, err
		}
		if len(pool.Zones) == 0 {
			pool.Zones = cluster.GetLocations() // GKE's rule for a pool that names none
		}
		pool.PodRange = podRange(cluster, np)
		c.Pools = append(c.Pools, pool)
	}
	return c, nil
}

// versions are the cluster's channel, empty for none, and what it offers.
func versions(cluster *containerpb.Cluster, server *containerpb.ServerConfig) (string, upgrade.Versions) {
	offered := upgrade.Versions{
		Default: server.GetDefaultClusterVersion(), Valid: server.GetValidMasterVersions(), Nodes: server.GetValidNodeVersions(),
	}
	name := cluster.GetReleaseChannel().GetChannel()
	if name == 0 { // on no channel
		return "", offered
	}
	for _, channel := range server.GetChannels() {
		if channel.GetChannel() == name {
			offered.Default, offered.Valid = channel.GetDefaultVersion(), channel.GetValidVersions()
		}
	}
	return name.String(), offered
}

// managedBy names the tool that put its mark among GKE's resource labels. Config Connector comes first: it works by Terraform's provider, and
// can leave both marks.
func managedBy(labels map[string]string) string {
	switch {
	case labels["managed-by-cnrm"] == "true":
		return "Config Connector"
	case labels["goog-terraform-provisioned"] == "true":
		return "Terraform"
	}
	return ""
}

// underWay are the operations on the cluster and on its pools that are not done, in the order in which they began. The start of one is zero
// where GKE does not tell it.
func underWay(name Name, operations []*containerpb.Operation) []upgrade.Operation {
	var list []upgrade.Operation
	for _, o := range operations {
		pool, ok := targetOf(name, o)
		if !ok || o.GetStatus() == containerpb.Operation_DONE {
			continue
		}
		started, _ := time.Parse(time.RFC3339Nano, o.GetStartTime())
		list = append(list, upgrade.Operation{Name: o.GetName(), Kind: o.GetOperationType().String(), Target: cmp.Or(pool, name.Cluster), StartedAt: started.UTC()})
	}
	slices.SortStableFunc(list, func(a, b upgrade.Operation) int { return a.StartedAt.Compare(b.StartedAt) })
	return list
}

// targetOf tells whether an operation in the cluster's location changes that cluster, and which of its pools, empty for none.
func targetOf(name Name, o *containerpb.Operation) (pool string, ok bool) {
	_, path, _ := strings.Cut(o.GetTargetLink(), "/clusters/")
	parts := strings.Split(path, "/") // my-cluster, or my-cluster/nodePools/my-pool, or that with /node/my-node
	if len(parts) > 2 && parts[1] == "nodePools" {
		pool = parts[2]
	}
	return pool, parts[0] == name.Cluster
}
