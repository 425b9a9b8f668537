package upgrade

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// PoolAction is what a plan does with a pool.
type PoolAction string

// The actions on a pool. The first three are strategies.
const (
	// Migrate moves the pods to a new pool, which takes over.
	Migrate PoolAction = "migrate"
	// Rolling replaces the pool's nodes one after another, and BlueGreen all of them by a second set that the provider makes. The pool's name stays.
	Rolling    PoolAction = "rolling"
	BlueGreen  PoolAction = "blue-green"
	LeaveDone  PoolAction = "nothing-to-do"
	LeaveNewer PoolAction = "leave-newer"
	// LeaveOut: the scope leaves the nodes out, or the provider upgrades them by itself.
	LeaveOut PoolAction = "leave-out"
)

// Changes tells that something is done to the pool.
func (a PoolAction) Changes() bool { return a == Migrate || a == Rolling || a == BlueGreen }

// PoolPlan is what a plan does with one pool.
type PoolPlan struct {
	Name   string     `json:"name"`
	Action PoolAction `json:"action"`
	// Why says why this strategy, or why nothing.
	Why  string `json:"why"`
	From string `json:"from"`
	To   string `json:"to"`
	// ByPeople tells that people upgrade or add the nodes, since they run the cluster themselves.
	ByPeople bool `json:"byPeople,omitempty"`
	// NewName is the pool that takes over.
	NewName string `json:"newName,omitempty"`
	// Adopt tells that NewName exists already, made by an earlier run.
	Adopt bool `json:"adopt,omitempty"`
	// Conflict says why NewName cannot be used.
	Conflict string `json:"-"`
	// Nodes are the old pool's, in the order of their drains.
	Nodes []string `json:"nodes,omitempty"`
	// NodesPerZone is the size of the new pool: as many as the fullest zone of the old one has, or, of one that grows, what it begins with.
	NodesPerZone int `json:"nodesPerZone,omitempty"`
	// Grows tells that the new pool's autoscaler is on from the start. It is expected to come to GrowsTo nodes in each zone, as many as the fullest
	// zone of the old pool has, within its limits.
	Grows   bool `json:"grows,omitempty"`
	GrowsTo int  `json:"growsTo,omitempty"`
	// Zones are the zones of the pool.
	Zones       []string    `json:"zones,omitempty"`
	Autoscaling Autoscaling `json:"autoscaling"`
	// PodsToMove counts the pods that leave the pool and that something makes again.
	PodsToMove int `json:"podsToMove"`
	// Restarts are the Deployments that are restarted before the drains, in the order of their names.
	Restarts []Restart `json:"restarts,omitempty"`
	// Evicted are those that would have been, and are evicted after all.
	Evicted []Evicted `json:"-"`
	Surge   Surge     `json:"surge"`
	// DrainTimeout is what automatic came to.
	DrainTimeout Seconds         `json:"drainTimeout,omitempty"`
	Config       json.RawMessage `json:"config,omitempty"`
	// Upgrade is how the provider upgrades the pool, nil where it does not, and ForceAfter how long its drain of a node asks PodDisruptionBudgets.
	Upgrade    *Settings `json:"upgrade,omitempty"`
	ForceAfter Seconds   `json:"forceAfter,omitempty"`
}

// NewNodes is how many nodes the pool that takes over has: one in each zone for each of the fullest, or, where people add them, as many as
// the old one has.
func (p PoolPlan) NewNodes() int {
	if p.ByPeople {
		return len(p.Nodes)
	}
	return p.NodesPerZone * len(p.Zones)
}

// MostNodes is how many nodes the pool that takes over is expected to have in the end.
func (p PoolPlan) MostNodes() int {
	if p.ByPeople {
		return len(p.Nodes)
	}
	return p.MostPerZone() * len(p.Zones)
}

// Drains tells that the pool's nodes are drained by Upshift.
func (p PoolPlan) Drains() bool { return p.Action == Migrate || p.ByPeople && p.Action == Rolling }

func choosePools(pools []Pool, names []string) ([]Pool, error) {
	if len(names) == 0 {
		return pools, nil
	}
	var chosen []Pool
	var unknown []string
	for _, name := range names {
		i := slices.IndexFunc(pools, func(p Pool) bool { return p.Name == name })
		if i < 0 {
			unknown = append(unknown, name)
			continue
		}
		chosen = append(chosen, pools[i])
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("node-pools: the cluster has no pool %s; it has %s", strings.Join(unknown, ", "), strings.Join(poolNames(pools), ", "))
	}
	return chosen, nil
}

func planPool(s Snapshot, o Options, pool Pool, version string) PoolPlan {
	p := PoolPlan{Name: pool.Name, From: pool.Version, To: version, Zones: pool.Zones, Autoscaling: pool.Autoscaling}
	switch order := CompareVersions(pool.Version, version); {
	case order == 0:
		p.Action, p.Why = LeaveDone, "already at "+version
		return p
	case order > 0:
		p.Action, p.Why = LeaveNewer, "newer than "+version
		return p
	}
	if !o.upgradesNodes(s.Cluster) {
		p.Action, p.To, p.Why = LeaveOut, pool.Version, "left out: the scope is the control plane alone"
		if s.Cluster.Autopilot {
			p.Why = "left to the provider, which upgrades the nodes of an Autopilot cluster by itself, after the control plane"
		}
		return p
	}
	p.Config = pool.Config
	if s.Cluster.Provider == SelfManaged {
		p.byPeople(o, pool)
	} else if p.Action, p.Why = strategy(o.For(pool.Name), s.Cluster, pool, version); p.Action == Migrate {
		p.takeOver(s, pool)
	}
	if p.ByProvider() {
		p.upgradeInPlace(o, pool)
	}
	if own := o.own(pool.Name); own != "" {
		p.Why += "; with " + own + " of its own"
	}
	for _, n := range s.State.PoolNodes(pool.Name) {
		p.Nodes = append(p.Nodes, n.Name)
	}
	slices.Sort(p.Nodes)
	p.NodesPerZone = s.State.NodesPerZone(pool.Name)
	p.grow(o.For(pool.Name).Size)
	grace := time.Duration(0)
	for pod := range podsOn(s.State, []PoolPlan{p}) {
		if o.Disposition(*pod) == Moves {
			p.PodsToMove++
		}
		grace = max(grace, pod.Grace)
	}
	p.DrainTimeout = o.DrainTimeout
	if p.DrainTimeout == 0 {
		p.DrainTimeout = Seconds(max(30*time.Minute, grace+10*time.Minute))
	}
	return p
}

// takeOver says which pool takes over from another, and whether one of that name is there.
func (p *PoolPlan) takeOver(s Snapshot, pool Pool) {
	p.NewName = NewPoolName(pool.Name, p.To)
	if i := slices.IndexFunc(s.Cluster.Pools, func(other Pool) bool { return other.Name == p.NewName }); i >= 0 {
		switch there := s.Cluster.Pools[i]; {
		case there.MadeBy == "":
			p.Conflict = "exists already, and no run of Upshift made it"
		case there.Version != p.To:
			p.Conflict = fmt.Sprintf("exists already, at %s instead of %s", there.Version, p.To)
		default:
			p.Adopt = true
			if !p.Autoscaling.Enabled {
				p.Autoscaling = there.Inherits // frozen by the run that made it
			}
		}
	}
}
