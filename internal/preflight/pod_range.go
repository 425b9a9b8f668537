package preflight

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// podRange: new nodes take addresses for their pods before the old ones give theirs back.
func podRange() Check {
	return Check{
		Name: "pod-range", Severities: []upgrade.Severity{upgrade.Blocker, upgrade.Warning, upgrade.Info},
		Title: "The new nodes need more addresses for pods than the range has left, or leave less than a tenth of it",
		Why:   "A node takes its addresses when it is made, and gives them back when it is deleted: a migration holds both for a time. A node that gets none does not come up.",
		find:  findPodRanges,
	}
}

func findPodRanges(in Input) []upgrade.Finding {
	var found []upgrade.Finding
	done := map[string]bool{}
	for _, p := range in.changed() {
		r := in.pool(p.Name).PodRange
		if r.PerNode == 0 || done[rangeKey(r)] { // 0: the provider has no such ranges
			continue
		}
		done[rangeKey(r)] = true
		found = append(found, in.inRange(r)...)
	}
	return found
}

// rangeKey is what pools of one range have in common, for people too.
func rangeKey(r upgrade.PodRange) string { return cmp.Or(r.Name, r.CIDR, "of unknown name") }

// inRange looks at all pools of the plan that take their addresses from the range.
func (in Input) inRange(r upgrade.PodRange) []upgrade.Finding {
	key := rangeKey(r)
	f := upgrade.Finding{Object: upgrade.Ref{Kind: "PodRange", Name: key}, Momentary: true, Evidence: in.sharing(key)}
	needs, known := in.peak(key, in.Steps)
	switch size := addresses(r.CIDR); {
	case needs == 0 && known:
		return nil
	case !known || r.Free == upgrade.Unknown:
		f.Severity = upgrade.Info
		f.Problem = "has an unknown number of addresses for pods left: whether the new nodes get theirs cannot be told"
	case needs > r.Free:
		f.Severity = upgrade.Blocker
		f.Problem = fmt.Sprintf("has %d addresses for pods left, and the new nodes take %d", r.Free, needs)
		f.Remedy = in.makeRoom(key, r.Free)
	case size > 0 && (r.Free-needs)*10 < size:
		f.Severity = upgrade.Warning
		f.Problem = fmt.Sprintf("has %d addresses for pods left, and %d of its %d while old and new nodes are both there: less than a tenth", r.Free, r.Free-needs, size)
		f.Remedy = in.makeRoom(key, r.Free-size/10)
	default:
		return nil
	}
	return []upgrade.Finding{f}
}

// peak is the most addresses of the range that steps take at one time beyond those that are taken now. False: how many a node takes is not known.
func (in Input) peak(key string, steps []upgrade.Step) (int64, bool) {
	known := true
	most := in.surge(steps, func(p upgrade.PoolPlan) int64 {
		r := in.pool(p.Name).PodRange
		if rangeKey(r) != key {
			return 0
		}
		known = known && r.PerNode > 0
		return r.PerNode
	})
	return most, known
}

// makeRoom says how to come by with free addresses.
func (in Input) makeRoom(key string, free int64) string {
	if needs, ok := in.peak(key, in.oneByOne()); ok && needs <= free {
		return " # delete-old-pools: each, so that a pool's addresses are free again before the next one is made"
	}
	// Another range does not help: a new pool has its old one's configuration, and the range is part of that.
	return gcloud(in.Cluster, "node-pools list", "--cluster", in.Cluster.Name) + " # delete or shrink a pool that uses this range and is not needed"
}

// sharing names the pools that take their addresses from the range, and what their autoscalers may do meanwhile.
func (in Input) sharing(key string) []string {
	var lines []string
	for _, p := range in.Cluster.Pools {
		if rangeKey(p.PodRange) != key || p.PodRange.PerNode == 0 {
			continue
		}
		line := "pool " + p.Name
		if p.PodRange.PerNode > 0 {
			line += fmt.Sprintf(", %d addresses a node", p.PodRange.PerNode)
		}
		if p.Autoscaling.Enabled {
			line += ", autoscaled: " + p.Autoscaling.Summary
		}
		lines = append(lines, line)
	}
	return lines
}

// addresses is how many a CIDR has, 0 for one that is not known.
func addresses(cidr string) int64 {
	prefix, err := netip.ParsePrefix(strings.TrimSpace(cidr))
	if err != nil || !prefix.Addr().Is4() {
		return 0
	}
	return 1 << (32 - prefix.Bits())
}
