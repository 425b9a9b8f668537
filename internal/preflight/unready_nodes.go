package preflight

import (
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// unreadyNodes: a drain cannot know what runs on a node whose kubelet is silent.
func unreadyNodes() Check {
	return Check{
		Name: "unready-nodes", Severities: []upgrade.Severity{upgrade.Warning},
		Title: "A node that is to be drained is not Ready",
		Why:   "Its pods do not stop when they are told to, so its drain waits for them until the deadline.",
		find:  findUnreadyNodes,
	}
}

func findUnreadyNodes(in Input) []upgrade.Finding {
	var found []upgrade.Finding
	for _, p := range in.Pools {
		if !p.Action.Changes() {
			continue
		}
		for _, n := range in.State.PoolNodes(p.Name) {
			if !n.Ready {
				found = append(found, upgrade.Finding{
					Severity: upgrade.Warning, Momentary: true, Object: upgrade.Ref{Kind: "Node", Name: n.Name},
					Problem: "is not Ready: pods on it may not stop when they are told to, and its drain then waits for them",
					Remedy:  "kubectl describe node " + n.Name,
				})
			}
		}
	}
	return found
}
