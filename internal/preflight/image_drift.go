package preflight

import (
	"fmt"
	"slices"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// imageDrift: nodes that something changes in place.
func imageDrift() Check {
	return Check{
		Name: "image-drift", Severities: []upgrade.Severity{upgrade.Warning},
		Title: "Nodes of one pool at the same version differ in their operating system's image or kernel",
		Why:   "Something upgrades them in place, behind Kubernetes' back. It can do so on all nodes at once, and on the new ones too.",
		find:  findImageDrift,
	}
}

func findImageDrift(in Input) []upgrade.Finding {
	var found []upgrade.Finding
	for _, p := range in.Pools {
		systems := map[string][]string{} // by the kubelet's version
		for _, n := range in.State.PoolNodes(p.Name) {
			shape, ok := in.Inventory.Nodes[n.Name]
			system := fmt.Sprintf("%s, kernel %s", shape.Image, shape.Kernel)
			if ok && !slices.Contains(systems[n.Version], system) {
				systems[n.Version] = append(systems[n.Version], system)
			}
		}
		var drifted []string
		for _, list := range systems {
			if len(list) > 1 {
				drifted = append(drifted, list...)
			}
		}
		if len(drifted) == 0 {
			continue
		}
		slices.Sort(drifted)
		found = append(found, upgrade.Finding{
			Severity: upgrade.Warning, Momentary: true, Object: upgrade.Ref{Kind: "NodePool", Name: p.Name},
			Problem:  fmt.Sprintf("has nodes of one version that differ (%s): something upgrades them in place, and may do so with the new ones", several(drifted)),
			Evidence: drifted,
			Remedy:   fmt.Sprintf("kubectl get nodes -l %s=%s -o wide # and turn off unattended upgrades of nodes", in.Cluster.PoolLabel, p.Name),
		})
	}
	return found
}
