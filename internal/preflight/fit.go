package preflight

import (
	"fmt"
	"slices"
	"strings"

	"github.com/upshift-k8s/upshift/internal/fit"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// fits: whether all pods that are moved find nodes.
func fits() Check {
	return Check{
		Name: "fit", Severities: []upgrade.Severity{upgrade.Blocker, upgrade.UnknownSeverity, upgrade.Warning, upgrade.Info},
		Title: "A pod finds no node once it is evicted, or only by luck",
		Why: "The drains are carried out in thought, by the scheduler's own rules: the drain that would evict such a pod would wait for room, and the run pause there. " +
			"What only a scheduler or driver of its own decides about a pod cannot be told.",
		find: findFit,
	}
}

func findFit(in Input) []upgrade.Finding {
	if in.Inventory.Pods == nil || !slices.ContainsFunc(in.Pools, func(p upgrade.PoolPlan) bool { return p.Action == upgrade.Migrate }) {
		return nil
	}
	found := in.unknown("whether their pods find nodes that can mount them", upgrade.ReadVolumes)
	if selectsNamespaces(in) {
		found = append(found, in.unknown("which pods some want to be near or apart from", upgrade.ReadNamespaces)...)
	}
	small := in.tooSmall()
	found = append(found, small...)
	result := fit.Simulate(in.Snapshot, in.Pools, fit.Options{DeleteEach: deletesEach(in.Steps), Explained: explained(in), Jobs: in.Options.Jobs})
	for _, pool := range result.UnreadPools {
		found = append(found, upgrade.Finding{
			Severity: upgrade.UnknownSeverity, Object: upgrade.Ref{Kind: "NodePool", Name: pool},
			Problem: "has nodes of which nothing is known, so whether its pods would fit on new ones cannot be told", Remedy: "kubectl get nodes",
		})
	}
	switch result.Verdict {
	case fit.DoesNotFit:
		told := 0
		for _, s := range result.Stuck {
			if s.Why.Capacity() && slices.ContainsFunc(small, func(f upgrade.Finding) bool { return f.Object.Name == in.planned(s.Pool).NewName }) {
				continue // no wonder
			}
			told++
			found = append(found, in.stuck(s, told == 1))
		}
	case fit.Tight:
		found = append(found, in.tight(result)...)
	}
	for _, u := range result.Unmodelled {
		found = append(found, upgrade.Finding{
			Severity: upgrade.Info, Momentary: true, Object: u.Workload,
			Problem: fmt.Sprintf("has %s about which it cannot be told whether they find a node: %s", count(u.Pods, "pod"), strings.Join(u.Why, ", ")),
			Advice:  "see that what decides about them knows the new pool",
		})
	}
	if result.Unread > 0 {
		found = append(found, upgrade.Finding{
			Severity: upgrade.Info, Momentary: true, Object: upgrade.Ref{Kind: "Cluster", Name: in.Cluster.Name},
			Problem: fmt.Sprintf("has %s to move of which too little was read to tell whether they find a node", count(result.Unread, "pod")),
		})
	}
	return found
}

// stuck is a workload with pods that find no node. The first names the node whose drain would come to it.
func (in Input) stuck(s fit.Stuck, first bool) upgrade.Finding {
	f := upgrade.Finding{Severity: upgrade.Blocker, Object: s.Workload, Evidence: []string{s.Pod.Namespace + "/" + s.Pod.Name + " on node " + s.Node}}
	f.Problem = fmt.Sprintf("has %s that find no node once evicted: %s", count(s.Pods, "pod"), s.Why)
	if s.Pods == 1 {
		f.Problem = fmt.Sprintf("has a pod that finds no node once evicted: %s", s.Why)
	}
	if first {
		f.Problem += fmt.Sprintf("; the drain of node %s would be the first to wait", s.Node)
	}
	f.Remedy = in.help(s)
	return f
}

// help is what would give the pods a node: more nodes only where these would.
func (in Input) help(s fit.Stuck) string {
	switch {
	case s.Why.Capacity():
		return in.grow(s.Pool)
	case s.Why.Spread():
		return edit(s.Workload, "let its topology spread leave out cordoned nodes (nodeTaintsPolicy: Honor), or be no more than a wish (whenUnsatisfiable: ScheduleAnyway)")
	}
	return describe(s.Workload)
}

func (in Input) tight(r fit.Result) []upgrade.Finding {
	var found []upgrade.Finding
	byPool := map[string][]string{}
	for _, full := range r.Full {
		byPool[full.Pool] = append(byPool[full.Pool], fmt.Sprintf("%.0f%% of %s", full.Part*100, full.Resource))
	}
	byLuck := map[string]fit.Stuck{}
	for _, s := range slices.Backward(r.Stuck) {
		byLuck[s.Pool] = s
	}
	for _, p := range in.Pools {
		full, s := byPool[p.Name], byLuck[p.Name]
		if len(full) == 0 && s.Pods == 0 {
			continue
		}
		f := upgrade.Finding{
			Severity: upgrade.Warning, Momentary: true, Object: upgrade.Ref{Kind: "NodePool", Name: p.Name}, Remedy: in.grow(p.Name),
			Problem: fmt.Sprintf("moves to new nodes that are nearly full then: pods ask for %s", strings.Join(full, ", ")),
		}
		if s.Pods > 0 {
			f.Remedy = in.help(s)
			f.Problem = fmt.Sprintf("moves to new nodes on which its pods have room only by luck: %s may find none (%s)", s.Workload, s.Why)
			if s.Grows != "" {
				f.Problem = fmt.Sprintf("has pods that find a node only if the autoscaler adds one to pool %s: those of %s (%s)", s.Grows, s.Workload, s.Why)
			}
			f.Evidence = []string{s.Pod.Namespace + "/" + s.Pod.Name + " on node " + s.Node}
			for _, part := range full {
				f.Evidence = append(f.Evidence, "pods ask for "+part+" of the new nodes")
			}
		}
		found = append(found, f)
	}
	return found
}

// grow is the command that gives the pool, and so the new one, a node more in each zone; or the new one itself, if it is there already.
func (in Input) grow(pool string) string {
	if in.planned(pool).ByPeople {
		return " # add a machine to pool " + in.grown(pool) + ", and plan again"
	}
	to, then := in.grown(pool), "the new pool gets as many"
	if to != pool {
		then = "the new pool is not made again"
	}
	return in.resize(to, in.planned(pool).NodesPerZone+1) + " # and plan again: " + then
}

func (in Input) resize(pool string, perZone int) string {
	return fmt.Sprintf("gcloud container clusters resize %s --node-pool %s --num-nodes %d --location %s --project %s", in.Cluster.Name, pool, perZone, in.Cluster.Location, in.Cluster.Project)
}

// planned is what the plan does with a pool, which it migrates.
func (in Input) planned(pool string) upgrade.PoolPlan {
	return in.Pools[slices.IndexFunc(in.Pools, func(p upgrade.PoolPlan) bool { return p.Name == pool })]
}

// grown is the pool that has to be changed for the new one to be otherwise: the old one, as long as the new one is not there.
func (in Input) grown(pool string) string {
	if p := in.planned(pool); p.Adopt || p.ByPeople && in.pool(p.NewName).Name != "" {
		return p.NewName
	}
	return pool
}

// tooSmall are the new pools that an earlier run made and that have too few nodes: nobody makes them larger.
func (in Input) tooSmall() []upgrade.Finding {
	var found []upgrade.Finding
	for _, p := range in.migrated() {
		there, needed := len(in.State.PoolNodes(p.NewName)), p.NodesPerZone*len(p.Zones)
		if !p.Adopt || there >= needed || fit.BeingMade(in.Cluster, p.NewName) {
			continue
		}
		found = append(found, upgrade.Finding{
			Severity: upgrade.Blocker, Object: nodePool(p.NewName),
			Problem: fmt.Sprintf("was made by an earlier run with %s, and %d are needed: the run would wait for the others", count(there, "node"), needed),
			Remedy:  in.resize(p.NewName, p.NodesPerZone),
		})
	}
	return found
}

func describe(owner upgrade.Ref) string {
	return "kubectl describe " + on(owner)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// explained are the pods of which other checks say that they find no node.
func explained(in Input) map[string]bool {
	uids := map[string]bool{}
	pinned, lost, otherZone, removed := in.pinned(), in.lost, ofOtherZones(in.zonesAfterwards()), in.removed()
	for _, p := range in.Moving {
		shape, volumes := in.Inventory.Pods[p.UID], in.Inventory.Volumes[p.UID]
		selects := func(r removedLabel) bool { return shape != nil && requires(shape, r.key) }
		uids[p.UID] = pinned(p) || len(lost.of(p)) > 0 || slices.ContainsFunc(removed, selects) ||
			slices.ContainsFunc(volumes, diskOfNode) || slices.ContainsFunc(volumes, otherZone)
	}
	return uids
}

// deletesEach tells whether an old pool's nodes go away before the next pool is begun.
func deletesEach(steps []upgrade.Step) bool {
	deleted := false
	for _, s := range steps {
		if s.Kind == upgrade.CreatePool && deleted {
			return true
		}
		deleted = deleted || s.Kind == upgrade.DeletePool
	}
	return false
}

// selectsNamespaces tells whether a pod's affinity depends on the labels of namespaces.
func selectsNamespaces(in Input) bool {
	for _, p := range in.Inventory.Pods {
		for _, t := range slices.Concat(p.Affinity, p.AntiAffinity) {
			if !t.NamespaceSelector.Nothing && len(t.NamespaceSelector.Requirements) > 0 {
				return true
			}
		}
	}
	return false
}
