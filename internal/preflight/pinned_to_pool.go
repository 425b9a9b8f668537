package preflight

import (
	"fmt"
	"slices"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// pinnedToPool: pods that no node of the new pool may run.
func pinnedToPool() Check {
	return Check{
		Name: "pinned-to-pool", Severities: []upgrade.Severity{upgrade.Blocker, upgrade.Warning},
		Title: "A pod can run only on the nodes that are to be drained",
		Why: "Its node selector or required node affinity names the old pool or one of its nodes: an evicted pod finds no node, and a DaemonSet has no pod on the new ones. " +
			"For the provider's own DaemonSets it is a warning.",
		find: findPinned,
	}
}

func findPinned(in Input) []upgrade.Finding {
	takesOver, poolOf := in.pools()
	advice := func(pool string) string {
		return fmt.Sprintf("select nodes by a label of your own, which the new pool gets too, or allow %s as well", takesOver[pool])
	}
	found := byWorkload(in.Moving, in.pinned(), func(owner upgrade.Ref, of []upgrade.Pod) upgrade.Finding {
		pool := poolOf[of[0].Node]
		return upgrade.Finding{
			Severity: upgrade.Blocker, Object: owner,
			Problem:  fmt.Sprintf("can run only on nodes of pool %s or on one node, by its node selector or required node affinity: once evicted, its pods find no node", pool),
			Evidence: keys(of),
			Remedy:   edit(owner, advice(pool)),
		}
	})
	for _, d := range in.lost.daemons() {
		if len(d.labels) == 0 {
			found = append(found, d.finding(
				fmt.Sprintf("runs only on nodes of pool %s or on certain nodes, by its node selector or required node affinity: it will have no pod on the new ones", d.pool),
				edit(d.Ref, advice(d.pool))))
		}
	}
	return found
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

// pinned tells of a pod that moves whether it may run in no pool that the plan makes or leaves. One that may is for the fit to judge.
func (in Input) pinned() func(upgrade.Pod) bool {
	remain := map[string]bool{}
	for _, p := range in.Cluster.Pools {
		remain[p.Name] = true
	}
	for _, p := range in.migrated() {
		remain[p.Name] = false
		remain[p.NewName] = true
	}
	return func(p upgrade.Pod) bool {
		return p.Pinned && in.moves(p) && !slices.ContainsFunc(p.PinnedTo, func(pool string) bool { return remain[pool] })
	}
}
