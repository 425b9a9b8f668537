package upgrade

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Settings are how a provider upgrades a pool in place.
type Settings struct {
	// Strategy is Rolling or BlueGreen.
	Strategy PoolAction `json:"strategy,omitempty"`
	// MaxSurge is how many nodes Rolling may have beyond the pool's size, and MaxUnavailable how many fewer.
	MaxSurge       int `json:"maxSurge,omitempty"`
	MaxUnavailable int `json:"maxUnavailable,omitempty"`
	// Soak is how long BlueGreen keeps the old nodes once they are drained, if nobody decides before.
	Soak Seconds `json:"soak,omitempty"`
	// PDBTimeout is how long the drain of a node asks PodDisruptionBudgets before what is left is ended past them. Zero is as it was.
	PDBTimeout Seconds `json:"pdbTimeout,omitempty"`
	// Summary is for people: "1 extra node at a time". Command sets them by hand, on the pool whose name is put for POOL.
	Summary string `json:"summary,omitempty"`
	Command string `json:"command,omitempty"`
	// Settings are the provider's own, as JSON. They travel opaquely, so that restoring gives back exactly what was recorded.
	Settings json.RawMessage `json:"settings,omitempty"`
}

// String says it for people: "1 extra node, 0 away at once".
func (s Settings) String() string {
	text := "blue-green"
	if s.Strategy == Rolling {
		text = fmt.Sprintf("max-surge %d, max-unavailable %d", s.MaxSurge, s.MaxUnavailable)
	}
	if s.PDBTimeout > 0 {
		text += fmt.Sprintf(", PodDisruptionBudgets asked for %s", time.Duration(s.PDBTimeout))
	}
	return text
}

// Phase is how far a provider's own upgrade of a pool is, in the provider's words, empty where none is under way.
type Phase string

// The phases of GKE's blue-green upgrades that a run waits for: the old nodes are drained and kept, or on their way out.
const (
	PhaseSoaking  Phase = "NODE_POOL_SOAKING"
	PhaseDeleting Phase = "DELETING_BLUE_POOL"
)

const (
	// ForceAfter is how long GKE's drain of a node asks PodDisruptionBudgets where the pool does not say otherwise:
	// https://cloud.google.com/kubernetes-engine/docs/concepts/node-pool-upgrade-strategies.
	ForceAfter = time.Hour
	// longestSoak is GKE's longest time for which a blue-green upgrade keeps the old nodes: it must not go on by itself while our gates hold.
	longestSoak = 7 * 24 * time.Hour
	// mostAtOnce is GKE's limit on the sum of max-surge and max-unavailable.
	mostAtOnce = 20
)

// ByProvider tells that the provider upgrades the pool's nodes: it drains them and makes them anew.
func (p PoolPlan) ByProvider() bool {
	return !p.ByPeople && (p.Action == Rolling || p.Action == BlueGreen)
}

// strategy is what is done with a pool that is to be upgraded, and why.
func strategy(o PoolOptions, c Cluster, pool Pool, version string) (PoolAction, string) {
	minors, known := MinorsBetween(pool.Version, version)
	tool := cmp.Or(pool.ManagedBy, c.ManagedBy)
	switch {
	case o.Strategy == string(Rolling), o.Strategy == string(BlueGreen):
		return PoolAction(o.Strategy), fmt.Sprintf("%s, as was asked for", o.Strategy)
	case o.Strategy != "auto":
		return Migrate, "migrate, as was asked for"
	case tool != "":
		return BlueGreen, fmt.Sprintf("blue-green, since %s manages it and would make a pool of another name disappear: its name stays, and there is a way back until the old nodes are gone", tool)
	case known && minors == 0:
		return Rolling, "rolling, since only the patch changes: no second pool is needed, and GKE replaces the nodes one after the other"
	}
	return Migrate, "migrate, since the minor changes: each node is drained under our gates, and there is a way back until the old pool is deleted"
}

// upgradeInPlace says how the provider is to upgrade a pool.
func (p *PoolPlan) upgradeInPlace(o Options, pool Pool) {
	own := o.For(pool.Name)
	p.Upgrade = &Settings{Strategy: p.Action, PDBTimeout: o.DrainTimeout}
	if p.Action == Rolling {
		p.Upgrade.MaxSurge, p.Upgrade.MaxUnavailable = own.MaxSurge, o.MaxUnavailable
	} else {
		p.Upgrade.Soak = Seconds(longestSoak)
	}
	p.ForceAfter = cmp.Or(o.DrainTimeout, pool.Upgrade.PDBTimeout, Seconds(ForceAfter))
}

// AtOnce is how many nodes of the pool the provider may drain at one time.
func (s Settings) AtOnce() int { return max(1, s.MaxSurge+s.MaxUnavailable) }

// makes is how many times the provider waits for new nodes while it upgrades the pool in place.
func (p PoolPlan) makes() int {
	if p.Action != Rolling {
		return 1
	}
	return waves(len(p.Nodes), p.Upgrade.AtOnce())
}

// ExtraNodes is how many nodes there are at most, while the pool is upgraded, beside as many as it has.
func (p PoolPlan) ExtraNodes() int {
	switch {
	case p.ByPeople && p.Action == Rolling: // who may replace a node by another
		return 0
	case p.Action == Rolling:
		return min(p.Upgrade.MaxSurge, len(p.Nodes))
	case p.Action == BlueGreen:
		return len(p.Nodes)
	}
	return p.MostNodes()
}

// checkRolling returns nil if the provider can roll as many nodes at once as was asked for.
func checkRolling(o Options, pools []PoolPlan) error {
	for _, p := range pools {
		switch sum := o.For(p.Name).MaxSurge + o.MaxUnavailable; {
		case !p.ByProvider() || p.Action != Rolling:
		case sum == 0:
			return errors.New("max-surge, max-unavailable: both are 0, and a rolling upgrade needs one of them above it")
		case sum > mostAtOnce:
			return fmt.Errorf("max-surge, max-unavailable: they come to %d, and GKE replaces no more than %d nodes at once", sum, mostAtOnce)
		}
	}
	return nil
}

// inPlace has the provider upgrade a pool. The drains are its own; the steps are there to follow them.
func (l *stepList) inPlace(pool PoolPlan) {
	l.add(SetUpgradeSettings, pool.Name, "")
	l.add(UpgradePool, pool.Name, "")
	for _, node := range pool.Nodes {
		l.add(DrainNode, pool.Name, node)
	}
	if pool.Action == BlueGreen {
		l.add(Soak, pool.Name, "")
		l.add(CompleteUpgrade, pool.Name, "")
	}
	l.add(RestoreUpgradeSettings, pool.Name, "")
}

// NoWayBack says why a pool that the provider upgrades cannot be rolled back any more, empty if it can.
func (r *Run) NoWayBack(pool PoolPlan) string {
	last := UpgradePool
	if pool.Action == BlueGreen {
		last = CompleteUpgrade
	}
	i := -1
	for j, s := range r.Steps {
		if s.Kind == last && s.Pool == pool.Name {
			i = j
		}
	}
	switch {
	case i < 0:
		return ""
	case r.Steps[i].State == StepDone:
		return fmt.Sprintf("pool %s is upgraded to %s, and GKE rolls back only an upgrade that is not complete", pool.Name, pool.To)
	case last == CompleteUpgrade && r.Steps[i].Operation != "":
		return fmt.Sprintf("the old nodes of pool %s are being deleted: there is nothing to go back to", pool.Name)
	}
	return ""
}
