package upgrade

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// The providers of clusters.
const (
	GKE = "gke"
	// SelfManaged is a cluster that people run themselves: they, or their tooling, upgrade or add its machines.
	SelfManaged = "self-managed"
)

// ControlPlanePool is the pool of the nodes that the control plane runs on, where the cluster shows any.
const ControlPlanePool = "control-plane"

// WaitPolicy says what a run does where people have to act.
type WaitPolicy string

// The policies for people. No policy is WaitHold.
const (
	// WaitHold waits, and goes on by itself.
	WaitHold WaitPolicy = "hold"
	// WaitExit ends the process, so that other tooling can act before the next call.
	WaitExit WaitPolicy = "exit"
)

// selfManagedTarget is a version as such clusters run it: "1.34.2", "1.34.2+k3s1".
var selfManagedTarget = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(\+[0-9A-Za-z.]+)?$`)

// CheckFor says, a sentence each that begins with the option's name, which options do not go together on a cluster of the provider. Whether
// its pools are named by a label of nodes is told by labelled.
func (o Options) CheckFor(provider string, labelled bool) []error {
	var bad []error
	add := func(format string, args ...any) { bad = append(bad, fmt.Errorf(format, args...)) }
	if provider != SelfManaged {
		if o.NewPool != "" {
			add("new-pool: %q: only a self-managed cluster takes it: elsewhere Upshift makes the new pool and names it", o.NewPool)
		}
		if o.Wait != "" {
			add("wait: %q: only a self-managed cluster takes it: elsewhere no person has to act", o.Wait)
		}
		return bad
	}
	if o.Target != "" && o.Target != "control-plane" && !selfManagedTarget.MatchString(o.Target) {
		add("target-version: %q: a self-managed cluster has nobody who offers versions: want an exact one such as 1.34.2, or control-plane", o.Target)
	}
	switch {
	case o.Strategy == "blue-green":
		add(`strategy: "blue-green": it is GKE's own; want auto, rolling or migrate`)
	case o.Strategy == "migrate" && o.NewPool == "":
		add(`strategy: "migrate": needs new-pool, the name of the pool whose machines you add`)
	case o.Strategy == "rolling" && o.NewPool != "":
		add("new-pool: %q: strategy rolling upgrades the nodes of a pool in place; want strategy migrate or auto", o.NewPool)
	}
	switch {
	case o.NewPool != "" && slices.Contains(o.Pools, o.NewPool):
		add("new-pool: %q: node-pools names it too, and a pool cannot take over from itself", o.NewPool)
	case o.NewPool == ControlPlanePool:
		add("new-pool: %q: the control plane's nodes are upgraded in place; want the name of another pool", o.NewPool)
	}
	switch {
	case o.Scope == ScopeNodes && slices.Contains(o.Pools, ControlPlanePool):
		add("node-pools: scope %s leaves out %s; leave that out of node-pools, or choose another scope", o.Scope, ControlPlanePool)
	case o.Scope == ScopeControlPlane && slices.ContainsFunc(o.Pools, func(name string) bool { return name != ControlPlanePool }):
		add("node-pools: scope %s upgrades no pool but %s; leave node-pools out, or choose another scope", o.Scope, ControlPlanePool)
	case o.Scope == ScopeControlPlane && o.NewPool != "":
		add("new-pool: %q: scope %s moves nothing to a new pool; leave new-pool out, or choose another scope", o.NewPool, o.Scope)
	}
	for _, pool := range slices.Sorted(maps.Keys(o.PerPool)) {
		for _, name := range []string{"strategy", "max-surge", "new-pool-size"} {
			if value, ok := o.PerPool[pool][name]; ok {
				add("pools: pool %s: %s: %q: on a self-managed cluster a pool has none of its own: leave it out", pool, name, value)
			}
		}
	}
	if !labelled && o.Scope != ScopeControlPlane && !slices.Equal(o.Pools, []string{ControlPlanePool}) {
		add("pool-label: missing: want the label of nodes whose value is the name of their pool, such as node.example.com/pool; without one, only the control plane can be upgraded, with scope: %s", ScopeControlPlane)
	}
	return bad
}

// CheckPoolLabel tells whether text can be the key of a label of nodes.
func CheckPoolLabel(text string) error {
	if !labelKey.MatchString(text) || len(text) > longestLabel {
		return errors.New("want the key of a node label, such as pool or node.example.com/pool")
	}
	return nil
}

// longestLabel is Kubernetes' bound on a key: 253 characters of prefix, a slash, and 63 of name.
const longestLabel = 317

var labelKey = regexp.MustCompile(`^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)

// Marks are what the nodes of a pool have in common that people gave them, and that those of the pool which takes over need too: the Config of
// a pool of such a cluster.
type Marks struct {
	// Label is the label that names the pool, and Labels are all others.
	Label  string            `json:"label"`
	Labels map[string]string `json:"labels,omitempty"`
	Taints []Taint           `json:"taints,omitempty"`
}

// byPeople completes the plan of a pool whose nodes people upgrade or add, and says why it is done so.
func (p *PoolPlan) byPeople(o Options, pool Pool) {
	p.ByPeople = true
	switch {
	case pool.Name == ControlPlanePool:
		p.Action, p.Why = Rolling, "rolling: the nodes of a control plane are upgraded in place, one after the other, before all others"
	case o.NewPool != "":
		p.Action, p.Why = Migrate, fmt.Sprintf("migrate: %s takes over, to which people add machines", o.NewPool)
		p.NewName = o.NewPool
	default:
		p.Action, p.Why = Rolling, "rolling: people upgrade or replace the nodes one after the other, each of them drained before"
	}
}

// peoplePools are the pools of a self-managed cluster that are chosen and in the scope: not the one that takes over, and only one beside it. The
// control plane is the first, in whatever order they were named: nodes must not be newer than it.
func peoplePools(pools []Pool, o Options) ([]Pool, error) {
	pools = slices.Clone(pools)
	slices.SortStableFunc(pools, func(a, b Pool) int {
		return boolRank(a.Name != ControlPlanePool) - boolRank(b.Name != ControlPlanePool)
	})
	switch o.Scope {
	case ScopeControlPlane:
		pools = slices.DeleteFunc(pools, func(p Pool) bool { return p.Name != ControlPlanePool })
	case ScopeNodes:
		pools = slices.DeleteFunc(pools, func(p Pool) bool { return p.Name == ControlPlanePool })
	}
	if o.NewPool == "" {
		return pools, nil
	}
	chosen := slices.DeleteFunc(pools, func(p Pool) bool { return p.Name == o.NewPool })
	var old []string
	for _, p := range chosen {
		if p.Name != ControlPlanePool {
			old = append(old, p.Name)
		}
	}
	if len(old) != 1 {
		return nil, fmt.Errorf("new-pool %s: takes over from one pool, and there are %d to upgrade (%s): name one in node-pools", o.NewPool, len(old), strings.Join(old, ", "))
	}
	return chosen, nil
}

// checkMinors refuses a control plane's way of more than one minor: an API server is upgraded by one at a time, and people choose the version in between.
func checkMinors(p Plan) error {
	for _, pool := range p.Pools {
		if pool.Name != ControlPlanePool || !pool.Action.Changes() {
			continue
		}
		from := p.Cluster.ControlPlaneVersion
		if minors, ok := MinorsBetween(from, pool.To); ok && minors > 1 {
			return fmt.Errorf("target-version %s: the control plane runs %s, and goes by one minor at a time: upgrade it to a version of %s first, with scope: %s",
				pool.To, from, nextMinor(from), ScopeControlPlane)
		}
	}
	return nil
}

// byPeople lists the steps for a pool whose nodes people upgrade or add.
func (l *stepList) byPeople(pool PoolPlan) {
	if pool.Action == Migrate {
		l.add(WaitNodes, pool.Name, "")
		l.add(CordonPool, pool.Name, "")
		if len(pool.Restarts) > 0 {
			l.add(SurgeFirst, pool.Name, "")
		}
		for _, node := range pool.Nodes {
			l.add(DrainNode, pool.Name, node)
		}
		l.add(Soak, pool.Name, "")
		l.add(RetirePool, pool.Name, "")
		return
	}
	for _, node := range pool.Nodes {
		l.steps = append(l.steps, NodeSteps(pool, node)...)
	}
	if pool.Name == ControlPlanePool {
		l.add(VerifyServers, pool.Name, "")
	}
}

// NodeSteps are the steps by which one node of a pool is upgraded, or replaced, by people.
func NodeSteps(pool PoolPlan, node string) []Step {
	kinds := []StepKind{CordonNode, DrainNode, AwaitNode, UncordonNode}
	if len(pool.Restarts) > 0 {
		kinds = slices.Insert(kinds, 1, SurgeFirst)
	}
	if pool.Name == ControlPlanePool {
		kinds = slices.Insert(kinds, 0, CheckQuorum)
	}
	steps := make([]Step, len(kinds))
	for i, kind := range kinds {
		steps[i] = NewStep(kind, pool.Name, node)
	}
	return steps
}

// Component returns the static pod of a control plane's component on the node, false if none is seen there.
func (s State) Component(node, component string) (Pod, bool) {
	i := slices.IndexFunc(s.Pods, func(p Pod) bool { return p.Component == component && p.Node == node })
	if i < 0 {
		return Pod{}, false
	}
	return s.Pods[i], true
}

// The components of a control plane that are looked at, by the names that kubeadm gives them.
const (
	APIServer = "kube-apiserver"
	Etcd      = "etcd"
)

// shown tells that some node of the control plane shows the component as a static pod.
func (s State) shown(component string) bool {
	return slices.ContainsFunc(s.Pods, func(p Pod) bool { return p.Component == component })
}

// Lacks says what the node lacks to be Ready at the version, as the end of a sentence that begins with the node; empty if it lacks nothing. A newer one
// does not lack it: nobody downgrades a kubelet. The API server of a node of the control plane counts where it can be seen.
func (s State) Lacks(n Node, version string) string {
	switch {
	case CompareVersions(n.Version, version) < 0:
		return fmt.Sprintf("its kubelet runs %s instead of %s", n.Version, version)
	case !n.Ready:
		return "is not Ready"
	case n.Pool != ControlPlanePool || !s.shown(APIServer):
		return ""
	}
	server, ok := s.Component(n.Name, APIServer)
	switch {
	case !ok:
		return "its API server is not there"
	case CompareVersions(server.Version, version) < 0:
		return fmt.Sprintf("its API server runs %s instead of %s", server.Version, version)
	case !server.Ready:
		return "its API server is not Ready"
	}
	return ""
}

// Quorum is how an etcd that runs on the nodes of the control plane stands.
type Quorum struct {
	// Members is how many there are: 0 if etcd is not seen, since it runs elsewhere.
	Members int
	// Failing are those that are not Ready, or not seen, and where.
	Failing []Waiting
}

// Spares tells that the API stays up while one member is away.
func (q Quorum) Spares() bool { return q.Members == 0 || q.Members > 2 }

// Quorum looks at etcd's members.
func (s State) Quorum() Quorum {
	var q Quorum
	if !s.shown(Etcd) {
		return q
	}
	for _, n := range s.PoolNodes(ControlPlanePool) {
		q.Members++
		switch member, ok := s.Component(n.Name, Etcd); {
		case !ok:
			q.Failing = append(q.Failing, Waiting{Object: Ref{Kind: "Node", Name: n.Name}, Node: n.Name, Reason: "shows no etcd member, and others do"})
		case !member.Ready:
			q.Failing = append(q.Failing, Waiting{Object: member.Ref(), Node: n.Name, Reason: "is not Ready"})
		}
	}
	return q
}
