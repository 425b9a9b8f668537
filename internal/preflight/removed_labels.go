package preflight

import (
	"fmt"
	"slices"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// removedLabels: labels of nodes that Kubernetes itself gives up.
func removedLabels() Check {
	return Check{
		Name: "removed-labels", Severities: []upgrade.Severity{upgrade.Blocker},
		Title: "Pods select nodes by a label that the target version gives nodes no more",
		Why:   "No new node has it, so they find none once the old nodes are gone.",
		find:  findRemovedLabels,
	}
}

// removedLabel is a label that nodes have before a minor, of version 1, and not from it on.
type removedLabel struct {
	key       string
	removedIn int
	instead   string
	source    string
}

// removals are all that is known of. The beta labels for zone, region, architecture, operating system and instance type are not among
// them: kubelets still set those.
var removals = []removedLabel{
	{"node-role.kubernetes.io/master", 24, "node-role.kubernetes.io/control-plane", "kubeadm, KEP-2067"},
}

func findRemovedLabels(in Input) []upgrade.Finding {
	var found []upgrade.Finding
	for _, r := range in.removed() {
		finding := func(owner upgrade.Ref, evidence []string) upgrade.Finding {
			return upgrade.Finding{
				Severity: upgrade.Blocker, Object: owner,
				Problem:  fmt.Sprintf("selects nodes by the label %s, which no node has from 1.%d on (%s): its pods find no node", r.key, r.removedIn, r.source),
				Evidence: evidence, Remedy: edit(owner, "select "+r.instead+" instead"),
			}
		}
		selects := func(p upgrade.Pod) bool {
			shape := in.Inventory.Pods[p.UID]
			return in.moves(p) && shape != nil && requires(shape, r.key)
		}
		found = append(found, byWorkload(in.Moving, selects, func(owner upgrade.Ref, of []upgrade.Pod) upgrade.Finding { return finding(owner, keys(of)) })...)
		for _, d := range in.Inventory.Daemons {
			if requires(d.Shape, r.key) {
				found = append(found, finding(d.Ref, nil))
			}
		}
	}
	return found
}

// removed are the labels that nodes lose on the way from the oldest pool's version to the target.
func (in Input) removed() []removedLabel {
	from, ok := in.oldest()
	target, known := minor(in.Target)
	var removed []removedLabel
	for _, r := range removals {
		if ok && known && from < r.removedIn && r.removedIn <= target {
			removed = append(removed, r)
		}
	}
	return removed
}

// oldest is the lowest minor of the pools that are migrated.
func (in Input) oldest() (lowest int, ok bool) {
	for _, p := range in.Pools {
		if from, known := minor(p.From); p.Action.Changes() && known && (!ok || from < lowest) {
			lowest, ok = from, true
		}
	}
	return lowest, ok
}

// minor of a version "1.34.2-gke.100" or "1.34".
func minor(version string) (n int, ok bool) {
	_, err := fmt.Sscanf(version, "1.%d", &n)
	return n, err == nil
}

// requires tells whether a node without the label cannot run the pod.
func requires(shape *upgrade.PodShape, key string) bool {
	if _, ok := shape.NodeSelector[key]; ok {
		return true
	}
	without := func(t upgrade.NodeTerm) bool {
		return !slices.ContainsFunc(t.Labels, func(r upgrade.Requirement) bool {
			return r.Key == key && r.Operator != "NotIn" && r.Operator != "DoesNotExist"
		})
	}
	return len(shape.NodeTerms) > 0 && !slices.ContainsFunc(shape.NodeTerms, without)
}
