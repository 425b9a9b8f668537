package upgrade

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// APIVersion is the version of the files that Upshift writes.
const APIVersion = "upshift.dev/v1"

// Seconds is a duration that is written as a number of seconds.
type Seconds time.Duration

// MarshalJSON implements json.Marshaler.
func (s Seconds) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(s).Seconds()) }

// UnmarshalJSON implements json.Unmarshaler.
func (s *Seconds) UnmarshalJSON(data []byte) error {
	var f float64
	if err := json.Unmarshal(data, &f); err != nil {
		return err
	}
	*s = Seconds(f * float64(time.Second))
	return nil
}

// Target is the version that an upgrade goes to, as it was asked for and as it was resolved.
type Target struct {
	Requested string `json:"requested"`
	Version   string `json:"version"`
}

// PoolAction is what a plan does with a pool.
type PoolAction string

// The actions on a pool.
const (
	Migrate    PoolAction = "migrate"
	LeaveDone  PoolAction = "nothing-to-do"
	LeaveNewer PoolAction = "leave-newer"
)

// PoolPlan is what a plan does with one pool.
type PoolPlan struct {
	Name   string     `json:"name"`
	Action PoolAction `json:"action"`
	// Why says why this strategy, or why nothing.
	Why  string `json:"why"`
	From string `json:"from"`
	To   string `json:"to"`
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

// Verdict sums up a plan's findings.
type Verdict string

// The verdicts on a plan.
const (
	Ready    Verdict = "ready"
	Warnings Verdict = "warnings"
	Blocked  Verdict = "blocked"
)

// Plan is what an upgrade will do, in order, with a digest that a second person can approve.
type Plan struct {
	APIVersion string     `json:"apiVersion"`
	Kind       string     `json:"kind"`
	Digest     string     `json:"digest"`
	CreatedAt  time.Time  `json:"createdAt"`
	Cluster    Cluster    `json:"cluster"`
	Target     Target     `json:"target"`
	Options    Options    `json:"options"`
	Verdict    Verdict    `json:"verdict"`
	Findings   []Finding  `json:"findings"`
	Consents   []Consent  `json:"consents"`
	Pools      []PoolPlan `json:"pools"`
	Steps      []Step     `json:"steps"`
	// Budgets are the specs of the PodDisruptionBudgets over pods that move, by namespace/name.
	Budgets map[string]json.RawMessage `json:"budgets,omitempty"`
}

// NothingToDo tells that every pool is where it should be.
func (p Plan) NothingToDo() bool { return len(p.Steps) == 0 && p.Verdict != Blocked }

// Pool returns the plan of a pool by its name.
func (p Plan) Pool(name string) (PoolPlan, bool) {
	i := slices.IndexFunc(p.Pools, func(pool PoolPlan) bool { return pool.Name == name })
	if i < 0 {
		return PoolPlan{}, false
	}
	return p.Pools[i], true
}

// Count returns how many findings have the severity and are not waived.
func (p Plan) Count(severity Severity) int {
	n := 0
	for _, f := range p.Findings {
		if f.Severity == severity && f.Waiver == nil {
			n++
		}
	}
	return n
}

// Stopping returns how many findings keep the upgrade from starting.
func (p Plan) Stopping() int {
	n := 0
	for _, f := range p.Findings {
		if f.Stops() {
			n++
		}
	}
	return n
}

// MissingConsents returns the consents that the plan asks for and granted lacks.
func (p Plan) MissingConsents(granted []Consent) []Consent {
	var missing []Consent
	for _, c := range p.Consents {
		if !slices.Contains(granted, c) {
			missing = append(missing, c)
		}
	}
	return missing
}

// Inspector looks for what could go wrong with a plan that has its steps, and no findings yet.
type Inspector func(Snapshot, Plan) []Finding

// BuildPlan says what upgrading the cluster of s would do, and what inspect finds about that. Its errors are about what was asked for: a
// version that is not offered or that would be a downgrade, a pool that is not there.
func BuildPlan(s Snapshot, o Options, inspect Inspector) (Plan, error) {
	version, versionErr := ResolveTarget(o.Target, s.Cluster)
	pools, poolsErr := choosePools(s.Cluster.Pools, o.Pools)
	if err := errors.Join(versionErr, poolsErr); err != nil {
		return Plan{}, err
	}
	if err := checkDowngrade(version, pools, s.Cluster); err != nil {
		return Plan{}, err
	}
	plan := Plan{
		APIVersion: APIVersion, Kind: "Plan", CreatedAt: s.TakenAt,
		Cluster: s.Cluster, Target: Target{Requested: o.Target, Version: version}, Options: o,
		Consents: []Consent{}, Steps: []Step{},
	}
	for _, pool := range pools {
		p := planPool(s, o, pool, version)
		for _, other := range plan.Pools {
			if p.NewName != "" && other.NewName == p.NewName {
				p.Conflict = fmt.Sprintf("would take over from both %s and %s: upgrade one of them, named in node-pools", other.Name, p.Name)
			}
		}
		plan.Pools = append(plan.Pools, p)
	}
	chooseRestarts(&plan, s)
	plan.Steps = append(plan.Steps, steps(plan)...)
	estimate(&plan, s.State)
	markNoReturn(&plan, s.State)
	plan.Findings = waive(append([]Finding{}, inspect(s, plan)...), o.Accept, s.TakenAt)
	slices.SortStableFunc(plan.Findings, func(a, b Finding) int {
		return cmp.Or(severityRank(a.Severity)-severityRank(b.Severity), boolRank(a.Waiver != nil)-boolRank(b.Waiver != nil))
	})
	plan.Verdict = verdict(plan.Findings)
	for _, f := range plan.Findings {
		if f.Consent != "" && !slices.Contains(plan.Consents, f.Consent) {
			plan.Consents = append(plan.Consents, f.Consent)
		}
	}
	slices.Sort(plan.Consents)
	plan.Budgets = map[string]json.RawMessage{}
	for pod := range podsOn(s.State, plan.Pools) {
		if o.Disposition(*pod) == Awaited { // nobody evicts it, and the next one has another name
			continue
		}
		for _, key := range pod.Budgets {
			plan.Budgets[key] = s.State.Budgets[key].Spec
		}
	}
	restarted := plan.restarted()
	for _, pod := range s.State.Pods { // those that have no node yet, since they are being replaced in this moment
		if _, ok := restarted[pod.Workload.UID]; ok && pod.Node == "" {
			for _, key := range pod.Budgets {
				plan.Budgets[key] = s.State.Budgets[key].Spec
			}
		}
	}
	var err error
	if plan.Digest, err = digest(plan, s); err != nil {
		return Plan{}, fmt.Errorf("digest of the plan: %w", err)
	}
	return plan, nil
}

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
	p.Action, p.Why, p.Config = Migrate, "migrate, since it is the only strategy so far", pool.Config
	p.NewName = NewPoolName(pool.Name, version)
	if i := slices.IndexFunc(s.Cluster.Pools, func(other Pool) bool { return other.Name == p.NewName }); i >= 0 {
		switch there := s.Cluster.Pools[i]; {
		case there.MadeBy == "":
			p.Conflict = "exists already, and no run of Upshift made it"
		case there.Version != version:
			p.Conflict = fmt.Sprintf("exists already, at %s instead of %s", there.Version, version)
		default:
			p.Adopt = true
			if !p.Autoscaling.Enabled {
				p.Autoscaling = there.Inherits // frozen by the run that made it
			}
		}
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

func verdict(found []Finding) Verdict {
	v := Ready
	for _, f := range found {
		switch {
		case f.Stops():
			return Blocked
		case f.Warns():
			v = Warnings
		}
	}
	return v
}

// steps lists what the plan does, in order.
func steps(p Plan) []Step {
	var list []Step
	add := func(kind StepKind, pool, node string) {
		list = append(list, NewStep(kind, pool, node))
	}
	finish := func(pool PoolPlan) {
		if p.Options.Delete != DeleteNever {
			add(DeletePool, pool.Name, "")
		}
		if pool.Autoscaling.Enabled {
			add(RestoreAutoscaling, pool.Name, "")
		}
	}
	var last []PoolPlan
	for _, pool := range p.Pools {
		if pool.Action != Migrate {
			continue
		}
		if pool.Autoscaling.Enabled {
			add(FreezeAutoscaling, pool.Name, "")
		}
		add(CreatePool, pool.Name, "")
		add(WaitNodes, pool.Name, "")
		add(CordonPool, pool.Name, "")
		if len(pool.Restarts) > 0 {
			add(SurgeFirst, pool.Name, "")
		}
		for _, node := range pool.Nodes {
			add(DrainNode, pool.Name, node)
		}
		if p.Options.Delete == DeleteEach {
			add(Soak, pool.Name, "")
			finish(pool)
			continue
		}
		last = append(last, pool)
	}
	for i, pool := range last {
		if i == 0 && p.Options.Delete == DeleteAtEnd {
			add(Soak, pool.Name, "")
		}
		finish(pool)
	}
	return list
}

// markNoReturn says which steps cannot be undone.
func markNoReturn(p *Plan, s State) {
	bare := map[string][]string{}
	for _, pod := range s.Pods {
		if pod.Disposition() == Lost {
			bare[pod.Node] = append(bare[pod.Node], pod.Key())
		}
	}
	for i, step := range p.Steps {
		switch {
		case step.Kind == DeletePool:
			p.Steps[i].NoReturn = fmt.Sprintf("a rollback does not bring %s back", step.Pool)
		case step.Kind == DrainNode && len(bare[step.Node]) > 0:
			p.Steps[i].NoReturn = "nothing makes these again: " + firstOf(bare[step.Node], 5)
		}
	}
}

// firstOf lists the first few of many.
func firstOf(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
