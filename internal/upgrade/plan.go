package upgrade

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Digest     string    `json:"digest"`
	CreatedAt  time.Time `json:"createdAt"`
	Cluster    Cluster   `json:"cluster"`
	Target     Target    `json:"target"`
	Options    Options   `json:"options"`
	Verdict    Verdict   `json:"verdict"`
	Findings   []Finding `json:"findings"`
	Consents   []Consent `json:"consents"`
	// ControlPlane is nil where it is left alone.
	ControlPlane *ControlPlanePlan `json:"controlPlane,omitempty"`
	Pools        []PoolPlan        `json:"pools"`
	Steps        []Step            `json:"steps"`
	// Budgets are the specs of the PodDisruptionBudgets over pods that move, by namespace/name.
	Budgets map[string]json.RawMessage `json:"budgets,omitempty"`
}

// NothingToDo tells that the control plane and every pool are where they should be.
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
	if err := errors.Join(o.CheckFor(s.Cluster.Provider, s.Cluster.PoolLabel != "")...); err != nil {
		return Plan{}, err
	}
	version, versionErr := ResolveTarget(o.Target, s.Cluster)
	pools, poolsErr := choosePools(s.Cluster.Pools, o.Pools)
	if poolsErr == nil {
		poolsErr = checkPerPool(o, s.Cluster.Pools, pools)
	}
	if poolsErr == nil && s.Cluster.Provider == SelfManaged {
		pools, poolsErr = peoplePools(pools, o)
	}
	if err := errors.Join(versionErr, poolsErr); err != nil {
		return Plan{}, err
	}
	controlPlane, err := planControlPlane(s.Cluster, o, version)
	if err == nil && o.upgradesNodes(s.Cluster) {
		err = checkDowngrade(version, pools, s.Cluster)
	}
	if err != nil {
		return Plan{}, err
	}
	plan := Plan{
		APIVersion: APIVersion, Kind: "Plan", CreatedAt: s.TakenAt,
		Cluster: s.Cluster, Target: Target{Requested: o.Target, Version: version}, Options: o,
		Consents: []Consent{}, ControlPlane: controlPlane, Steps: []Step{},
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
	if err := errors.Join(checkMinors(plan), checkRolling(o, plan.Pools), checkGrowth(o, plan.Pools)); err != nil {
		return Plan{}, err
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
	if plan.Digest, err = digest(plan, s); err != nil {
		return Plan{}, fmt.Errorf("digest of the plan: %w", err)
	}
	return plan, nil
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
