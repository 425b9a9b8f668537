package preflight

import (
	"fmt"
	"slices"
	"strings"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// What is looked at of a control plane that people run themselves, and upgrade node by node.

// upgradesControlPlane tells that the plan upgrades the nodes of a control plane in place.
func (in Input) upgradesControlPlane() bool {
	return slices.ContainsFunc(in.Pools, func(p upgrade.PoolPlan) bool {
		return p.Name == upgrade.ControlPlanePool && p.ByPeople && p.Action.Changes()
	})
}

// singleControlPlane: an API that is away while its only server is upgraded.
func singleControlPlane() Check {
	return Check{
		Name: "single-control-plane", Severities: []upgrade.Severity{upgrade.Warning}, Consent: upgrade.AllowControlPlaneDowntime,
		Title: "The control plane that is upgraded cannot do without one of its nodes",
		Why: "With one node, or an etcd of one or two members, the Kubernetes API is away while a node is upgraded. " +
			"What runs goes on; nothing can be changed, and no pod that ends is replaced, until it is back.",
		find: findSingleControlPlane,
	}
}

func findSingleControlPlane(in Input) []upgrade.Finding {
	nodes, quorum := len(in.State.PoolNodes(upgrade.ControlPlanePool)), in.State.Quorum()
	if !in.upgradesControlPlane() || nodes > 1 && quorum.Spares() {
		return nil
	}
	f := upgrade.Finding{
		Severity: upgrade.Warning, Consent: upgrade.AllowControlPlaneDowntime, Object: cluster(in.Cluster),
		Problem: "has a control plane of one node: the Kubernetes API is away while that is upgraded",
		Advice:  "three nodes keep it up: https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/high-availability/",
	}
	if nodes > 1 {
		f.Problem = fmt.Sprintf("has an etcd of %d members, which cannot do without one: the Kubernetes API is away while a node of the control plane is upgraded", quorum.Members)
	}
	return []upgrade.Finding{f}
}

// etcdQuorum: members that are missing already.
func etcdQuorum() Check {
	return Check{
		Name: "etcd-quorum", Severities: []upgrade.Severity{upgrade.Blocker, upgrade.Warning},
		Title: "A member of etcd is not Ready, or etcd is not seen",
		Why: "With the next node of the control plane etcd could lose its quorum, and with it the whole cluster its API. The run looks again before each node. " +
			"An etcd that does not run on the control plane's nodes is for people to look at.",
		find: findQuorum,
	}
}

func findQuorum(in Input) []upgrade.Finding {
	if !in.upgradesControlPlane() {
		return nil
	}
	quorum := in.State.Quorum()
	if quorum.Members == 0 {
		return []upgrade.Finding{{
			Severity: upgrade.Warning, Object: cluster(in.Cluster), Problem: "shows no etcd on the nodes of its control plane: whether it can do without one of them cannot be told",
			Advice: "make sure that every member is healthy before each node: etcdctl endpoint health --cluster",
		}}
	}
	var found []upgrade.Finding
	for _, w := range quorum.Failing {
		found = append(found, upgrade.Finding{
			Severity: upgrade.Blocker, Object: w.Object,
			Problem: fmt.Sprintf("%s, on node %s: of %d members of etcd %d are well, and the next node of the control plane could cost it its quorum", w.Reason, w.Node, quorum.Members, quorum.Members-len(quorum.Failing)),
			Remedy:  "kubectl get pods -n kube-system -l component=etcd -o wide # and plan again once all are Ready",
		})
	}
	return found
}

// unseenServers: versions that are those of whichever API server has answered.
func unseenServers() Check {
	return Check{
		Name: "unseen-api-servers", Severities: []upgrade.Severity{upgrade.Warning}, Always: true,
		Title: "Not every API server can be asked for its version",
		Why:   "Behind a balancer one answer is that of any server, and the lowest of all is what nodes must not be newer than.",
		find: func(in Input) []upgrade.Finding {
			why, ok := in.Cluster.Unread[upgrade.ReadServers]
			if !ok {
				return nil
			}
			return []upgrade.Finding{{
				Severity: upgrade.Warning, Object: cluster(in.Cluster), Evidence: []string{why},
				Problem: fmt.Sprintf("does not show each of its API servers: %s is the version of the one that answered, and another may be older", in.Cluster.ControlPlaneVersion),
				Advice:  "make sure that all of them run it",
			}}
		},
	}
}

// serverSkew: API servers that are too far apart.
func serverSkew() Check {
	return Check{
		Name: "api-server-skew", Severities: []upgrade.Severity{upgrade.Warning}, Always: true,
		Title: "API servers of one control plane are more than one minor apart",
		Why:   "That is not supported: what one of them stores, another may not know.",
		find: func(in Input) []upgrade.Finding {
			servers := in.Cluster.Servers
			if len(servers) == 0 {
				return nil
			}
			lowest, highest := slices.MinFunc(servers, upgrade.CompareVersions), slices.MaxFunc(servers, upgrade.CompareVersions)
			if apart, ok := upgrade.MinorsBetween(lowest, highest); !ok || apart <= 1 {
				return nil
			}
			return []upgrade.Finding{{
				Severity: upgrade.Warning, Object: cluster(in.Cluster), Evidence: []string{strings.Join(servers, ", ")},
				Problem: fmt.Sprintf("has API servers from %s to %s, and they may be one minor apart", lowest, highest), Advice: "upgrade the older ones first",
			}}
		},
	}
}

// unlabelledNodes: nodes that no pool has.
func unlabelledNodes() Check {
	return Check{
		Name: "no-pool", Severities: []upgrade.Severity{upgrade.Warning}, Always: true,
		Title: "A node of a self-managed cluster has not the label that names its pool",
		Why:   "It belongs to no pool, so no upgrade comes to it.",
		find:  findUnlabelled,
	}
}

func findUnlabelled(in Input) []upgrade.Finding {
	if in.Cluster.Provider != upgrade.SelfManaged || in.Cluster.PoolLabel == "" {
		return nil
	}
	var without []string
	for _, n := range in.State.Nodes {
		if n.Pool == "" {
			without = append(without, n.Name)
		}
	}
	if len(without) == 0 {
		return nil
	}
	return []upgrade.Finding{{
		Severity: upgrade.Warning, Momentary: true, Object: cluster(in.Cluster), Evidence: without,
		Problem: fmt.Sprintf("has %s without the label %s: no upgrade comes to them", count(len(without), "node"), in.Cluster.PoolLabel),
		Remedy:  fmt.Sprintf("kubectl get nodes -l '!%[1]s' # and give each its pool: kubectl label node NODE %[1]s=POOL", in.Cluster.PoolLabel),
	}}
}
