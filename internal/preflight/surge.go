package preflight

import "github.com/upshift-k8s/upshift/internal/upgrade"

// surge is the most of something that steps take at one time beyond what is taken now, each node of a pool taking what each says: pools that
// are migrated one after the other take that of one at a time.
func (in Input) surge(steps []upgrade.Step, each func(upgrade.PoolPlan) int64) int64 {
	var taken, most int64
	pools := in.changed()
	for _, s := range steps {
		for _, p := range pools {
			switch {
			case p.Name != s.Pool:
			case s.Kind == upgrade.CreatePool, s.Kind == upgrade.UpgradePool:
				taken += int64(in.newNodes(p)) * each(p)
			case s.Kind == upgrade.DeletePool:
				taken -= int64(len(p.Nodes)) * each(p)
			case s.Kind == upgrade.RestoreUpgradeSettings:
				taken -= int64(in.newNodes(p)) * each(p)
			}
		}
		most = max(most, taken)
	}
	return most
}

// newNodes is how many nodes are made beside those of a pool: an earlier run may have made some already.
func (in Input) newNodes(p upgrade.PoolPlan) int {
	if p.ByProvider() {
		return p.ExtraNodes()
	}
	return max(0, p.MostPerZone()*len(p.Zones)-len(in.State.PoolNodes(p.NewName)))
}

// oneByOne is each pool being made and its old one deleted before the next.
func (in Input) oneByOne() []upgrade.Step {
	var steps []upgrade.Step
	for _, p := range in.changed() {
		if p.ByProvider() {
			steps = append(steps, upgrade.NewStep(upgrade.UpgradePool, p.Name, ""), upgrade.NewStep(upgrade.RestoreUpgradeSettings, p.Name, ""))
			continue
		}
		steps = append(steps, upgrade.NewStep(upgrade.CreatePool, p.Name, ""), upgrade.NewStep(upgrade.DeletePool, p.Name, ""))
	}
	return steps
}
