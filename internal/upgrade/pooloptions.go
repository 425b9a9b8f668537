package upgrade

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// PoolOptions are what a person chose about one pool: the options of all pools, but for those that the pool has of its own.
type PoolOptions struct {
	Strategy string `json:"strategy,omitempty"`
	// MaxSurge is how many nodes more than before the provider makes at a time when it replaces the pool's own.
	MaxSurge int `json:"maxSurge,omitempty"`
	// Parallel is how many nodes are drained at once.
	Parallel Drains `json:"maxParallelDrains,omitempty"`
	// Soak is the time between the last drain and deleting the old pool.
	Soak Seconds `json:"soak"`
	// Size is how large the new pool is when it is made.
	Size NewPoolSize `json:"newPoolSize,omitempty"`
}

// PoolOptionNames are the names of the options that a pool can have of its own.
var PoolOptionNames = []string{"strategy", "max-surge", "max-parallel-drains", "soak", "new-pool-size"}

// NewPoolSize says how large a new pool is when it is made.
type NewPoolSize string

// The sizes of new pools. No size, in a record of old, is SizeSame.
const (
	// SizeSame is as many nodes in each zone as the fullest zone of the old pool has. The new pool's autoscaler is off until the end.
	SizeSame NewPoolSize = "same"
	// SizeAutoscale is the least that the pool's autoscaler keeps, at least one node in each zone. The autoscaler is on, and adds nodes as pods come.
	SizeAutoscale NewPoolSize = "autoscale"
)

// For are the options of a pool.
func (o Options) For(pool string) PoolOptions {
	for name, value := range o.PerPool[pool] {
		_ = o.Set(name, value) // o is a copy, and the value was accepted when it was set
	}
	return PoolOptions{Strategy: o.Strategy, MaxSurge: o.MaxSurge, Parallel: o.Parallel, Soak: o.Soak, Size: o.Size}
}

// For are the options of a pool, or of the one that takes over from it. Nodes that are upgraded in place are drained one after the other, or as many
// at once as the provider may make anew, whatever was chosen for migrations.
func (p Plan) For(pool string) PoolOptions {
	i := slices.IndexFunc(p.Pools, func(planned PoolPlan) bool {
		return planned.Name == pool || planned.NewName == pool && planned.NewName != ""
	})
	if i < 0 {
		return p.Options.For(pool)
	}
	o := p.Options.For(p.Pools[i].Name)
	if p.Pools[i].Action != Migrate {
		o.Parallel = 1
		if s := p.Pools[i].Upgrade; s != nil && p.Pools[i].Action == Rolling {
			o.Parallel = Drains(s.AtOnce())
		}
	}
	return o
}

// own lists the options that the pool has of its own, empty for none: "max-parallel-drains auto, soak 0s".
func (o Options) own(pool string) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(o.PerPool[pool])) {
		list = append(list, name+" "+o.PerPool[pool][name])
	}
	return strings.Join(list, ", ")
}

// setPerPool reads a JSON object of objects, by pool and option; surfaces take YAML. It replaces what was set before. Its error names all that is
// wrong, a sentence each.
func (o *Options) setPerPool(value string) error {
	o.PerPool = nil
	var given map[string]map[string]any
	decoder := json.NewDecoder(bytes.NewReader([]byte(value)))
	decoder.UseNumber() // 1 is not 1.0
	if err := decoder.Decode(&given); err != nil || decoder.Decode(new(any)) != io.EOF {
		return fmt.Errorf("want, for each pool by its name, its options: %s", strings.Join(PoolOptionNames, ", "))
	}
	var wrong []error
	for _, pool := range slices.Sorted(maps.Keys(given)) {
		for _, name := range slices.Sorted(maps.Keys(given[pool])) {
			text, err := o.checkPerPool(name, given[pool][name])
			if err != nil {
				wrong = append(wrong, fmt.Errorf("pool %s: %s: %w", pool, name, err))
				continue
			}
			if o.PerPool == nil {
				o.PerPool = map[string]map[string]string{}
			}
			if o.PerPool[pool] == nil {
				o.PerPool[pool] = map[string]string{}
			}
			o.PerPool[pool][name] = text
		}
		if len(given[pool]) == 0 {
			wrong = append(wrong, fmt.Errorf("pool %s: want some of %s", pool, strings.Join(PoolOptionNames, ", ")))
		}
	}
	return errors.Join(wrong...)
}

// checkPerPool returns the value of a pool's option as text.
func (o *Options) checkPerPool(name string, value any) (string, error) {
	if !slices.Contains(PoolOptionNames, name) {
		return "", fmt.Errorf("a pool has no such option; want %s", strings.Join(PoolOptionNames, ", "))
	}
	switch value.(type) {
	case string, json.Number:
	default:
		return "", errors.New("want a word or a number")
	}
	text, tried := fmt.Sprint(value), Options{}
	if err := tried.Set(name, text); err != nil {
		return "", fmt.Errorf("%q: %w", text, err)
	}
	return text, nil
}

// checkPerPool names the pools that have options of their own and are not there, or not upgraded.
func checkPerPool(o Options, there, chosen []Pool) error {
	var wrong []error
	named := func(pools []Pool, name string) bool {
		return slices.ContainsFunc(pools, func(p Pool) bool { return p.Name == name })
	}
	for _, name := range slices.Sorted(maps.Keys(o.PerPool)) {
		switch {
		case !named(there, name):
			wrong = append(wrong, fmt.Errorf("pools: the cluster has no pool %s; it has %s", name, strings.Join(poolNames(there), ", ")))
		case !named(chosen, name):
			wrong = append(wrong, fmt.Errorf("pools: %s has options of its own, and node-pools does not name it", name))
		}
	}
	return errors.Join(wrong...)
}

func poolNames(pools []Pool) []string {
	names := make([]string, len(pools))
	for i, p := range pools {
		names[i] = p.Name
	}
	return names
}

// grow has the new pool's autoscaler give it its nodes, where a person wants that, or where the old pool has none now: pods that come meanwhile
// find one that can be scaled.
func (p *PoolPlan) grow(size NewPoolSize) {
	if p.Action != Migrate || !p.Autoscaling.Enabled || size != SizeAutoscale && len(p.Nodes) > 0 {
		return
	}
	least, most := p.Autoscaling.PerZone(len(p.Zones))
	if len(p.Nodes) > 0 {
		least = max(1, least)
	}
	p.Grows, p.GrowsTo, p.NodesPerZone = true, max(least, min(most, p.NodesPerZone)), least
}

// MostPerZone is how many nodes the new pool is expected to have in each zone in the end.
func (p PoolPlan) MostPerZone() int { return max(p.NodesPerZone, p.GrowsTo) }

// checkGrowth names the pools whose new ones were to be left to an autoscaler that they do not have.
func checkGrowth(o Options, pools []PoolPlan) error {
	var wrong []error
	for _, p := range pools {
		if p.Action == Migrate && o.For(p.Name).Size == SizeAutoscale && !p.Autoscaling.Enabled {
			wrong = append(wrong, fmt.Errorf("new-pool-size: autoscale leaves it to the autoscaler how many nodes a new pool has, and %s has none: want same for it, which pools can say of it alone", p.Name))
		}
	}
	return errors.Join(wrong...)
}
