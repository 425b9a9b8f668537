package preflight

import (
	"fmt"
	"slices"
	"strings"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// hostPaths: what stays behind on a node.
func hostPaths() Check {
	return Check{
		Name: "host-paths", Severities: []upgrade.Severity{upgrade.Warning, upgrade.Info},
		Title: "A pod can write to a directory of its node",
		Why:   "What it keeps there stays behind when it moves, and is gone with the node.",
		find:  findHostPaths,
	}
}

// kernel are the directories of a node that hold no data.
var kernel = []string{"/proc", "/sys", "/dev"}

func findHostPaths(in Input) []upgrade.Finding {
	paths := func(p upgrade.Pod) []string {
		shape := in.Inventory.Pods[p.UID]
		if shape == nil {
			return nil
		}
		return slices.DeleteFunc(slices.Clone(shape.HostPaths), func(path string) bool {
			return slices.ContainsFunc(kernel, func(k string) bool { return path == k || strings.HasPrefix(path, k+"/") })
		})
	}
	writes := func(p upgrade.Pod) bool { return in.Options.Disposition(p) != upgrade.Awaited && len(paths(p)) > 0 }
	return byWorkload(in.Moving, writes, func(owner upgrade.Ref, of []upgrade.Pod) upgrade.Finding {
		return upgrade.Finding{
			Severity: grave(owner), Object: owner,
			Problem:  fmt.Sprintf("can write to directories of its nodes (%s): what it keeps there stays behind when its pods move, and is gone with the nodes", several(distinct(of, paths))),
			Evidence: keys(of), Remedy: edit(owner, "keep its data in a PersistentVolumeClaim"),
		}
	})
}
