package preflight

import (
	"fmt"
	"slices"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// pinnedToPool: pods that no node of the new pool may run.
func pinnedToPool() Check {
	return Check{
		Name: "pinned-to-pool", Severities: []upgrade.Severity{upgrade.Blocker},
		Title: "A pod can run only on the nodes that are to be drained",
		Why:   "Its node selector or required node affinity names the old pool or one of its nodes, so once evicted it finds no node.",
		find:  findPinned,
	}
}

func findPinned(in Input) []upgrade.Finding {
	takesOver, poolOf := in.pools()
	return byWorkload(in.Moving, in.pinned(), func(owner upgrade.Ref, of []upgrade.Pod) upgrade.Finding {
		pool := poolOf[of[0].Node]
		return upgrade.Finding{
			Severity: upgrade.Blocker, Object: owner,
			Problem:  fmt.Sprintf("can run only on nodes of pool %s or on one node, by its node selector or required node affinity: once evicted, its pods find no node", pool),
			Evidence: keys(of),
			Remedy:   edit(owner, fmt.Sprintf("select nodes by a label of your own, which the new pool gets too, or allow %s as well", takesOver[pool])),
		}
	})
}

// pools are the new pools by the old ones' names, and the pools of nodes.
func (in Input) pools() (takesOver, poolOf map[string]string) {
	takesOver, poolOf = map[string]string{}, map[string]string{}
	for _, p := range in.Pools {
		takesOver[p.Name] = p.NewName
	}
	for _, n := range in.State.Nodes {
		poolOf[n.Name] = n.Pool
	}
	return takesOver, poolOf
}

// pinned tells of a pod whether no node of the pool that takes over may run it.
func (in Input) pinned() func(upgrade.Pod) bool {
	takesOver, poolOf := in.pools()
	return func(p upgrade.Pod) bool {
		return p.Pinned && !p.Terminating() && in.Options.Disposition(p) == upgrade.Moves && !slices.Contains(p.PinnedTo, takesOver[poolOf[p.Node]])
	}
}
