package upgrade

import (
	"encoding/json"
	"fmt"
	"time"
)

// Cluster is the part of a cluster that its provider knows: identity, control plane and node pools.
type Cluster struct {
	Provider string `json:"provider"`
	Project  string `json:"project,omitempty"`
	Location string `json:"location,omitempty"`
	Name     string `json:"name"`
	// Regional tells that the control plane has replicas, so that its API stays up while it is upgraded.
	Regional bool `json:"regional"`
	// ControlPlaneVersion is the version that the API server runs now, without a leading "v".
	ControlPlaneVersion string `json:"controlPlaneVersion"`
	// Servers are the versions of all API servers, where the provider can tell them apart; ControlPlaneVersion is the lowest of them then.
	Servers []string `json:"-"`
	Channel string   `json:"channel,omitempty"`
	// PoolLabel is the label of nodes that names their pool.
	PoolLabel string `json:"poolLabel"`
	Pools     []Pool `json:"-"`
	// Versions is what the provider offers this cluster today.
	Versions Versions `json:"-"`
	// Skew is by how many minors nodes may be behind their control plane.
	Skew int `json:"-"`
	// Autopilot tells that the provider makes and upgrades the nodes itself.
	Autopilot bool `json:"-"`
	// Autoprovisioning tells that an autoscaler makes and deletes node pools by itself.
	Autoprovisioning bool `json:"-"`
	// Trouble is the provider's own word on a cluster that is in an error state or degraded, empty if all is well; Unusable tells that nothing can be
	// done with it, since it is in an error state or being deleted.
	Trouble  string `json:"-"`
	Unusable bool   `json:"-"`
	// Operations are those under way.
	Operations  []Operation `json:"-"`
	Maintenance Maintenance `json:"-"`
	// AutoUpgrade is what the provider does to the control plane by itself.
	AutoUpgrade AutoUpgrade `json:"-"`
	// ManagedBy is the tool that made the cluster and will want it back as it was ("Terraform"), empty if none is known.
	ManagedBy string `json:"-"`
	// Permissions are what an upgrade needs of the provider, and Quotas those of the cluster's region: none where the provider has no such thing.
	Permissions []ProviderPermission `json:"-"`
	Quotas      []Quota              `json:"-"`
	// Unread says why something could not be read of the provider, by its Source. What needs it is unknown then, and never fine.
	Unread map[Source]string `json:"-"`
}

// Pool is a node pool as its provider sees it.
type Pool struct {
	Name    string
	Version string
	// Zones are the zones that the provider spreads the pool over.
	Zones       []string
	Autoscaling Autoscaling
	// MadeBy is the run that created the pool, empty for one that Upshift did not make.
	MadeBy string
	// Trouble is the provider's own word on a pool that is in an error state, empty if all is well.
	Trouble string
	// Deleting tells that the provider is deleting the pool.
	Deleting bool
	// Inherits is, on a pool that Upshift made, the autoscaling that the pool it takes over from had.
	Inherits Autoscaling
	// Labels and Taints are what the pool's new nodes get besides what the provider and Kubernetes give every node.
	Labels map[string]string
	Taints []Taint
	// ManagedBy is the tool that made the pool and will want it back as it was ("Terraform", "Config Connector"), empty if none is known.
	ManagedBy string
	PodRange  PodRange
	// Upgrade is how the provider upgrades the pool by itself, and Phase how far it is with that.
	Upgrade Settings
	Phase   Phase
	// Config is the provider's configuration of the pool as canonical JSON, without status, size, etag and autoscaling: what
	// the digest covers.
	Config json.RawMessage
}

// Autoscaling is what a pool's autoscaler may do. The provider's own settings travel opaquely, so that restoring gives back
// exactly what was frozen.
type Autoscaling struct {
	Enabled bool `json:"enabled"`
	// Summary is for people: "1 to 5 nodes a zone". Command turns it on again by hand, on the pool whose name is put for POOL.
	Summary string `json:"summary,omitempty"`
	Command string `json:"command,omitempty"`
	// Settings are the provider's, as JSON.
	Settings json.RawMessage `json:"settings,omitempty"`
	// Min and Max are the fewest and the most nodes that it lets the pool have, in each zone or, if Total, in all.
	Min   int  `json:"min,omitempty"`
	Max   int  `json:"max,omitempty"`
	Total bool `json:"total,omitempty"`
	// Hold is how many nodes in all it must leave for now, whatever its settings say; 0 for none.
	Hold int `json:"hold,omitempty"`
}

// PerZone is how many nodes it lets the pool have in each of so many zones at least and at most.
func (a Autoscaling) PerZone(zones int) (least, most int) {
	if !a.Total || zones == 0 {
		return a.Min, a.Max
	}
	return (a.Min + zones - 1) / zones, a.Max / zones
}

// Versions is what a provider offers.
type Versions struct {
	// Default is the version that the cluster's channel gives to new clusters.
	Default string
	// Valid are the versions that the cluster's channel offers, in any order.
	Valid []string
	// Nodes are all versions that nodes may run, older ones included.
	Nodes []string
	// Any tells that nobody offers versions: people can bring any exact one.
	Any bool
}

// Snapshot is what was read of a cluster at one time.
type Snapshot struct {
	TakenAt time.Time
	Cluster Cluster
	State   State
	// Inventory is what only a plan looks at.
	Inventory Inventory
}

// Clone says what a new pool is like.
type Clone struct {
	// Of is the pool to copy.
	Of           string
	Name         string
	Version      string
	NodesPerZone int
	// Autoscaling is what the new pool has from the start, and Inherits what it gets in the end, and remembers until then.
	Autoscaling Autoscaling
	Inherits    Autoscaling
	// Run is the run that makes it.
	Run string
}

// Busy is the error of a change that the provider refuses while another operation is under way.
type Busy struct {
	// Operation is that operation, and Kind what it does, in the provider's words.
	Operation, Kind string
}

func (b *Busy) Error() string {
	return fmt.Sprintf("the cluster is busy with operation %s (%s)", b.Operation, b.Kind)
}

// Unended is the error of an operation that was waited for as long as such operations take. It goes on.
type Unended struct {
	Operation string
	After     time.Duration
}

func (u *Unended) Error() string {
	return fmt.Sprintf("operation %s is not done after %s", u.Operation, u.After)
}
