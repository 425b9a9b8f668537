package upgrade

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Options are what a person chose about an upgrade. Consents are not here: a plan is the same whether it was consented to or not.
type Options struct {
	// Target is what was asked for, one of TargetForms.
	Target string `json:"targetVersion"`
	// Scope says which parts of the cluster are upgraded.
	Scope Scope `json:"scope,omitempty"`
	// Pools are the names of the pools to upgrade, in that order; empty for all.
	Pools    []string `json:"nodePools,omitempty"`
	Strategy string   `json:"strategy"`
	// Parallel is how many nodes are drained at once.
	Parallel Drains `json:"maxParallelDrains,omitempty"`
	// MaxSurge and MaxUnavailable are how many nodes a rolling upgrade may have beyond a pool's size, and how many fewer.
	MaxSurge       int `json:"maxSurge,omitempty"`
	MaxUnavailable int `json:"maxUnavailable,omitempty"`
	// DrainTimeout is for one node, zero for automatic.
	DrainTimeout Seconds `json:"drainTimeout"`
	// Soak is the time between the last drain and deleting an old pool.
	Soak Seconds `json:"soak"`
	// Delete says when old pools are deleted.
	Delete DeletePolicy `json:"deleteOldPools"`
	// OnFailure says what a run does about trouble.
	OnFailure FailurePolicy `json:"onFailure"`
	// Jobs says what a drain does with running Jobs.
	Jobs JobPolicy `json:"jobs,omitempty"`
	// NewPool is the pool that takes over, on a cluster that people run themselves, and Wait what a run does where they have to act.
	NewPool string     `json:"newPool,omitempty"`
	Wait    WaitPolicy `json:"wait,omitempty"`
	// SurgeFirst says which Deployments start their new pods before the old ones end.
	SurgeFirst SurgePolicy `json:"surgeFirst,omitempty"`
	// Size is how large new pools are when they are made.
	Size NewPoolSize `json:"newPoolSize,omitempty"`
	// PerPool are the options that pools have of their own, as text, by pool and PoolOptionNames. For puts them together with the others.
	PerPool map[string]map[string]string `json:"pools,omitempty"`
	// Maintenance says what the cluster's maintenance windows and exclusions mean to a run.
	Maintenance MaintenancePolicy `json:"maintenance,omitempty"`
	// Accept are the findings that people know of and accept.
	Accept []Waiver `json:"accept,omitempty"`
}

// Drains is how many nodes are drained at once. Zero, in a record of old, is one.
type Drains int

// AutoDrains is as many nodes at once as is good.
const AutoDrains Drains = -1

// One tells that each node is drained before the next one is begun.
func (d Drains) One() bool { return d == 0 || d == 1 }

// Of is how many of some nodes are drained at once.
func (d Drains) Of(nodes int) int {
	if d == AutoDrains {
		return nodes
	}
	return min(nodes, max(1, int(d)))
}

// String is what ParseDrains reads.
func (d Drains) String() string {
	if d == AutoDrains {
		return "auto"
	}
	return strconv.Itoa(max(1, int(d)))
}

// MarshalText implements encoding.TextMarshaler.
func (d Drains) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Drains) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDrains(string(text))
	return err
}

// ParseDrains reads "auto", or a number from 1 to 1000.
func ParseDrains(text string) (Drains, error) {
	if text == "auto" {
		return AutoDrains, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > mostDrains {
		return 0, fmt.Errorf("want a number of nodes from 1 to %d, or auto", mostDrains)
	}
	return Drains(n), nil
}

// mostDrains is more than anybody wants to watch: GKE's largest node pools have 1,000 nodes.
const mostDrains = 1000

// FailurePolicy says what a run does about trouble.
type FailurePolicy string

// The policies for trouble.
const (
	PauseOnFailure    FailurePolicy = "pause"
	RollbackOnFailure FailurePolicy = "rollback"
)

// JobPolicy says what a drain does with the pods of running Jobs.
type JobPolicy string

// The policies for Jobs. No policy, in a record of old, is WaitForJobs.
const (
	// WaitForJobs leaves them to finish.
	WaitForJobs JobPolicy = "wait"
	// EvictJobs evicts them like any other pod, by the rules of their PDBs: the Job makes another, which begins anew.
	EvictJobs JobPolicy = "evict"
)

// SurgePolicy says which Deployments are restarted before the drains, so that their new pods are Ready before the old ones end.
type SurgePolicy string

// The policies for restarts. No policy, in a record of old, is SurgeNone.
const (
	// SurgeSingletons restarts those that an eviction would cut off, and those that a PodDisruptionBudget keeps from being evicted at all.
	SurgeSingletons SurgePolicy = "singletons"
	// SurgeDeployments restarts every Deployment that can be.
	SurgeDeployments SurgePolicy = "deployments"
	// SurgeNone restarts none.
	SurgeNone SurgePolicy = "none"
)

// Disposition tells what a drain of its node does with p, under these options.
func (o Options) Disposition(p Pod) Disposition {
	d := p.Disposition()
	if d == Awaited && o.Jobs == EvictJobs {
		return Moves
	}
	return d
}

// DeletePolicy says when old pools are deleted.
type DeletePolicy string

// The policies for old pools.
const (
	// DeleteEach deletes an old pool before the next pool is begun.
	DeleteEach DeletePolicy = "each"
	// DeleteAtEnd deletes old pools once all pools have moved.
	DeleteAtEnd DeletePolicy = "end"
	// DeleteNever leaves old pools to people.
	DeleteNever DeletePolicy = "never"
)

// OptionNames are the names that Options.Set knows, those of the Action's inputs.
var OptionNames = []string{"target-version", "scope", "node-pools", "strategy", "max-parallel-drains", "max-surge", "max-unavailable", "drain-timeout", "soak", "delete-old-pools", "on-failure", "jobs", "surge-first", "new-pool", "wait", "accept", "pools", "new-pool-size", "maintenance"}

// Set sets an option by the name of its input. Its error says what is accepted, and not the name.
func (o *Options) Set(name, value string) error {
	switch name {
	case "target-version":
		o.Target = value
		return CheckTarget(value)
	case "scope":
		o.Scope = Scope(value)
		return oneOf(value, []string{"all", "control-plane", "nodes"})
	case "node-pools":
		return o.setPools(value)
	case "strategy":
		o.Strategy = value
		return oneOf(value, []string{"auto", "migrate", "rolling", "blue-green"})
	case "max-surge":
		return setAtOnce(&o.MaxSurge, value)
	case "max-unavailable":
		return setAtOnce(&o.MaxUnavailable, value)
	case "max-parallel-drains":
		drains, err := ParseDrains(value)
		o.Parallel = drains
		return err
	case "drain-timeout":
		return o.setDrainTimeout(value)
	case "soak":
		d, err := ParseDuration(value)
		o.Soak = Seconds(d)
		return err
	case "delete-old-pools":
		o.Delete = DeletePolicy(value)
		return oneOf(value, []string{"each", "end", "never"}, "approve")
	case "on-failure":
		o.OnFailure = FailurePolicy(value)
		return oneOf(value, []string{"pause", "rollback"})
	case "jobs":
		o.Jobs = JobPolicy(value)
		return oneOf(value, []string{"wait", "evict"})
	case "surge-first":
		o.SurgeFirst = SurgePolicy(value)
		return oneOf(value, []string{"singletons", "deployments", "none"})
	case "new-pool-size":
		o.Size = NewPoolSize(value)
		return oneOf(value, []string{"same", "autoscale"})
	case "pools":
		return o.setPerPool(value)
	case "maintenance":
		o.Maintenance = MaintenancePolicy(value)
		return oneOf(value, []string{"respect", "ignore"})
	case "new-pool":
		o.NewPool = value
		return checkPoolName(value)
	case "wait":
		o.Wait = WaitPolicy(value)
		return oneOf(value, []string{"hold", "exit"})
	case "accept":
		waivers, err := ParseWaivers(value)
		o.Accept = waivers
		return err
	}
	return fmt.Errorf("there is no such option; want %s", strings.Join(OptionNames, ", "))
}

// oneOf accepts the words in accepted. Those in soon are part of the design and not built yet.
func oneOf(value string, accepted []string, soon ...string) error {
	want := strings.Join(accepted, ", ")
	switch {
	case slices.Contains(accepted, value):
		return nil
	case slices.Contains(soon, value):
		return fmt.Errorf("not supported yet; want %s", want)
	}
	return fmt.Errorf("want %s", want)
}

// checkPoolName tells whether a pool can be called so: it is the value of a label.
func checkPoolName(name string) error {
	if !labelValue.MatchString(name) {
		return errors.New("want the name of a pool, as the label of its nodes says it")
	}
	return nil
}

var labelValue = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)

// setPools reads names of node pools, by comma or line. They replace those that were set before.
func (o *Options) setPools(value string) error {
	const want = "want names of node pools, by comma or line"
	o.Pools = nil
	for _, name := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == '\n' }) {
		name = strings.TrimSpace(name)
		switch {
		case name == "":
			continue
		case strings.ContainsAny(name, " \t/"):
			return errors.New(want)
		case slices.Contains(o.Pools, name):
			return fmt.Errorf("names %s twice", name)
		}
		o.Pools = append(o.Pools, name)
	}
	if len(o.Pools) == 0 {
		return errors.New(want) // separators alone, say of two variables that are not set, do not mean all pools
	}
	return nil
}

// setAtOnce reads how many nodes of a pool may be made, or be away, at once.
func setAtOnce(into *int, value string) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 || n > mostAtOnce {
		return fmt.Errorf("want a number of nodes from 0 to %d", mostAtOnce)
	}
	*into = n
	return nil
}

func (o *Options) setDrainTimeout(value string) error {
	o.DrainTimeout = 0
	if value == "auto" {
		return nil
	}
	d, err := ParseDuration(value)
	if err != nil || d == 0 {
		return errors.New("want a duration above zero such as 45m, or auto")
	}
	o.DrainTimeout = Seconds(d)
	return nil
}

// ParseDuration reads a duration that is not negative: "90s", "45m", "1h30m", "0".
func ParseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, errors.New("want a duration such as 90s, 45m or 1h30m")
	}
	return d, nil
}
