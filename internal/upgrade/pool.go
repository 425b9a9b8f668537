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
	// NodesPerZone is the size of the new pool: as many as the fullest zone of the old one has.
	NodesPerZone int `json:"nodesPerZone,omitempty"`
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
}

// NewNodes is how many nodes the pool that takes over has: one in each zone for each of the fullest, or, where people add them, as many as
// the old one has.
func (p PoolPlan) NewNodes() int {
	if p.ByPeople {
		return len(p.Nodes)
	}
	return p.NodesPerZone * len(p.Zones)
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
		var have []string
		for _, p := range pools {
			have = append(have, p.Name)
		}
		return nil, fmt.Errorf("node-pools: the cluster has no pool %s; it has %s", strings.Join(unknown, ", "), strings.Join(have, ", "))
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
	p.Config = pool.Config
	if s.Cluster.Provider == SelfManaged {
		p.byPeople(o, pool)
	} else if p.Action, p.Why = strategy(o, pool); p.Action == Migrate {
		p.takeOver(s, pool)
	}
	for _, n := range s.State.PoolNodes(pool.Name) {
		p.Nodes = append(p.Nodes, n.Name)
	}
	slices.Sort(p.Nodes)
	p.NodesPerZone = s.State.NodesPerZone(pool.Name)
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

// strategy is what is done with a pool that is to be upgraded, and why.
func strategy(_ Options, _ Pool) (PoolAction, string) {
	return Migrate, "migrate, since it is the only strategy so far"
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
