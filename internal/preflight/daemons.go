package preflight

import (
	"maps"
	"slices"

	"github.com/upshift-k8s/upshift/internal/fit"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// daemonLoss is a DaemonSet that runs on nodes of a pool that are drained, and that will run on none of the pool that takes over.
type daemonLoss struct {
	upgrade.Daemon
	pool string
	// nodes are those that it runs on, and labels what was put on them by hand that new nodes would need; none if it is not that.
	nodes  []string
	labels map[string]string
}

// daemons are the DaemonSets that a pool loses: nothing waits for their pods, so nobody would see.
func (l *labelLoss) daemons() []daemonLoss {
	var lost []daemonLoss
	for _, d := range l.Inventory.Daemons {
		if len(d.Shape.NodeSelector)+len(d.Shape.NodeTerms) == 0 || l.asksForRemoved(d.Shape) {
			continue
		}
		for _, p := range l.changed() {
			loss := daemonLoss{Daemon: d, pool: p.Name, labels: map[string]string{}}
			selects := func(n fit.Node) bool { return fit.Selects(d.Shape, n.Name, n.Labels) }
			if fresh := l.fresh[p.Name]; len(fresh) == 0 || slices.ContainsFunc(fresh, selects) {
				continue
			}
			for _, n := range p.Nodes {
				if shape := l.Inventory.Nodes[n]; fit.Runs(d.Shape, n, shape) {
					loss.nodes = append(loss.nodes, n)
					maps.Copy(loss.labels, l.missing(d.Shape, n))
				}
			}
			if len(loss.nodes) > 0 {
				slices.Sort(loss.nodes)
				lost = append(lost, loss)
			}
		}
	}
	return lost
}

// finding blocks; nobody but the provider can do something about its own.
func (d daemonLoss) finding(problem, remedy string) upgrade.Finding {
	f := upgrade.Finding{Severity: upgrade.Blocker, Object: d.Ref, Problem: problem, Evidence: d.nodes, Remedy: remedy}
	if grave(d.Ref) == upgrade.Info {
		f.Severity = upgrade.Warning
	}
	return f
}
