package upgrade

import (
	"fmt"
	"slices"
	"time"
)

// Scope says which parts of a cluster are upgraded.
type Scope string

// The scopes. No scope, in a record of old, is ScopeNodes.
const (
	// ScopeAll is the control plane, if it is older than the target, and then the nodes.
	ScopeAll          Scope = "all"
	ScopeControlPlane Scope = "control-plane"
	ScopeNodes        Scope = "nodes"
)

// ControlPlane tells that the control plane is upgraded where it is older than the target.
func (s Scope) ControlPlane() bool { return s == ScopeAll || s == ScopeControlPlane }

// ControlPlanePlan is what a plan does with the control plane.
type ControlPlanePlan struct {
	From string `json:"from"`
	To   string `json:"to"`
	// Hops are the versions that it goes through, one minor at a time; the last one is To.
	Hops []string `json:"hops"`
	// StaysUp tells that the Kubernetes API can be reached all the time.
	StaysUp bool   `json:"staysUp"`
	Why     string `json:"why"`
}

// AutoUpgrade is what the provider does to a control plane by itself. The zero one says nothing.
type AutoUpgrade struct {
	// Minor and Patch are the versions that it would upgrade to, empty for none.
	Minor, Patch string
	// Status says whether it does, and Paused why not, in the provider's own words.
	Status, Paused []string
	// EndOfStandard and EndOfExtended are when support for the control plane's minor ends, zero where that is not told.
	EndOfStandard, EndOfExtended time.Time
}

// Calls are requests of the Kubernetes API: how many were made, and how many of these it did not answer.
type Calls struct {
	Made   int `json:"made"`
	Failed int `json:"failed"`
}

// String is what they say of the API.
func (c Calls) String() string {
	if c.Failed > 0 {
		return fmt.Sprintf("the Kubernetes API did not stay up throughout: %d of %d requests failed", c.Failed, c.Made)
	}
	return fmt.Sprintf("the Kubernetes API stayed up: 0 of %d requests failed", c.Made)
}

// NewHop makes the step that upgrades the control plane to a version.
func NewHop(version string) Step {
	return Step{ID: string(UpgradeControlPlane) + "/" + version, Kind: UpgradeControlPlane, Version: version}
}

// upgradesNodes tells that node pools are upgraded, and not left out, or to the provider. Where people run the cluster, its control plane is one.
func (o Options) upgradesNodes(c Cluster) bool {
	return c.Provider == SelfManaged || o.Scope != ScopeControlPlane && (!c.Autopilot || o.Scope != ScopeAll)
}

// planControlPlane says how the control plane gets to version, nil if it is left alone. Its errors are about what was asked for.
func planControlPlane(c Cluster, o Options, version string) (*ControlPlanePlan, error) {
	order := CompareVersions(c.ControlPlaneVersion, version)
	switch {
	case c.Provider == SelfManaged:
		return nil, nil
	case o.Scope == ScopeControlPlane && len(o.Pools) > 0:
		return nil, fmt.Errorf("node-pools: scope %s upgrades no node pool; leave node-pools out, or choose another scope", o.Scope)
	case order > 0 && o.Scope.ControlPlane() && !o.upgradesNodes(c):
		return nil, fmt.Errorf("target-version %s is older than the control plane at %s, and a control plane is not downgraded", version, c.ControlPlaneVersion)
	case order >= 0 || !o.Scope.ControlPlane():
		return nil, nil
	case !slices.Contains(c.Versions.Valid, version):
		return nil, fmt.Errorf("target-version %s: %s does not offer it to control planes, and this one is at %s; it offers %s",
			version, c.channelName(), c.ControlPlaneVersion, list(ordered(c.Versions.Valid)))
	}
	hops, err := Path(c, version)
	if err != nil {
		return nil, fmt.Errorf("target-version %s: %w", version, err)
	}
	p := &ControlPlanePlan{From: c.ControlPlaneVersion, To: version, Hops: hops, StaysUp: c.Regional}
	p.Why = "it is older than the target and goes first, as nodes must not be newer than it"
	if o.Scope == ScopeControlPlane {
		p.Why = "it is older than the target"
	}
	if len(hops) > 1 {
		p.Why += "; a control plane goes by one minor at a time"
	}
	return p, nil
}

// ControlPlaneVersion is what the control plane runs, as far as the run knows.
func (r *Run) ControlPlaneVersion() string {
	version := r.Plan.Cluster.ControlPlaneVersion
	for _, s := range r.Steps {
		switch {
		case s.State != StepDone:
		case s.Kind == UpgradeControlPlane:
			version = s.Version
		case s.Kind == VerifyServers: // people have upgraded it
			version = r.Plan.Target.Version
		}
	}
	return version
}

// Hops are the steps of the run that upgrade the control plane.
func (r *Run) Hops() []Step {
	return slices.DeleteFunc(slices.Clone(r.Steps), func(s Step) bool { return s.Kind != UpgradeControlPlane })
}
