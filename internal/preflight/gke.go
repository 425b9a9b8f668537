package preflight

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// What the checks of what GKE knows have in common.

func cluster(c upgrade.Cluster) upgrade.Ref { return upgrade.Ref{Kind: "Cluster", Name: c.Name} }

func nodePool(name string) upgrade.Ref { return upgrade.Ref{Kind: "NodePool", Name: name} }

// gcloud is a command about the cluster: words, and where it is.
func gcloud(c upgrade.Cluster, words ...string) string {
	return fmt.Sprintf("gcloud container %s --project %s --location %s", strings.Join(words, " "), c.Project, c.Location)
}

// migrated are the pools that the plan migrates.
func (in Input) migrated() []upgrade.PoolPlan {
	var pools []upgrade.PoolPlan
	for _, p := range in.Pools {
		if p.Action == upgrade.Migrate {
			pools = append(pools, p)
		}
	}
	return pools
}

// changed are the pools to which the plan does something, by any strategy.
func (in Input) changed() []upgrade.PoolPlan {
	return slices.DeleteFunc(slices.Clone(in.Pools), func(p upgrade.PoolPlan) bool { return !p.Action.Changes() })
}

// pool is what the provider knows of a pool, zero if it has none of that name.
func (in Input) pool(name string) upgrade.Pool {
	for _, p := range in.Cluster.Pools {
		if p.Name == name {
			return p
		}
	}
	return upgrade.Pool{}
}

// estimate is how long the plan takes when all goes well.
func (in Input) estimate() time.Duration {
	return upgrade.Plan{Steps: in.Steps}.Estimate()
}

// when writes a time for people.
func when(t time.Time) string { return upgrade.Minute(t) }

// about writes a duration for people, to the minute: "2h10m".
func about(d time.Duration) string {
	text := strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	if text == "" {
		return "1m"
	}
	return text
}
