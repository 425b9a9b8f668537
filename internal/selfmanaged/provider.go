// Package selfmanaged is the provider of clusters that people run themselves: it tells a cluster's pools and versions from its Kubernetes
// API alone. It makes and deletes nothing, since people do that.
package selfmanaged

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

const (
	// readTimeout bounds all that is read of a cluster, and askTimeout the answer of one API server.
	readTimeout = time.Minute
	askTimeout  = 5 * time.Second
)

// Provider tells what there is to know of one cluster. It is safe for concurrent use.
type Provider struct {
	name, poolLabel string
	config          *rest.Config
	client          kubernetes.Interface
}

// Connect prepares to read the cluster that config leads to. It calls nothing. PoolLabel is the label of nodes that names their pool, empty
// where only the control plane is of interest.
func Connect(config *rest.Config, name, poolLabel string) (*Provider, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connect to the Kubernetes API at %s: %w", config.Host, err)
	}
	return &Provider{name: name, poolLabel: poolLabel, config: config, client: client}, nil
}

// Close does nothing: there is no connection of its own to close.
func (*Provider) Close() error { return nil }

// Cluster reads the cluster.
func (p *Provider) Cluster(ctx context.Context) (upgrade.Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	nodes, err := p.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return upgrade.Cluster{}, fmt.Errorf("list the nodes: %w", err)
	}
	servers, unseen, err := p.servers(ctx)
	if err != nil {
		return upgrade.Cluster{}, err
	}
	return read(p.name, p.poolLabel, nodes.Items, servers, unseen), nil
}

// Pools implements the engine's Provider.
func (p *Provider) Pools(ctx context.Context) ([]upgrade.Pool, error) {
	c, err := p.Cluster(ctx)
	return c.Pools, err
}

// ControlPlaneVersion implements the engine's Provider: it asks every API server for its version and returns the lowest. Where one cannot be asked for itself, it is that of whichever
// answers.
func (p *Provider) ControlPlaneVersion(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	servers, _, err := p.servers(ctx)
	if err != nil {
		return "", err
	}
	return lowest(servers), nil
}

var errPeople = errors.New("people make and change the pools of a cluster that they run themselves")

// UpgradeControlPlane implements the engine's Provider: no plan for such a cluster needs it.
func (*Provider) UpgradeControlPlane(context.Context, string, time.Time) (string, error) {
	return "", errPeople
}

// CreatePool implements the engine's Provider: no plan for such a cluster needs it.
func (*Provider) CreatePool(context.Context, upgrade.Clone) (string, error) { return "", errPeople }

// DeletePool implements the engine's Provider: no plan for such a cluster needs it.
func (*Provider) DeletePool(context.Context, string) (string, error) { return "", errPeople }

// SetAutoscaling implements the engine's Provider: no plan for such a cluster needs it.
func (*Provider) SetAutoscaling(context.Context, string, upgrade.Autoscaling) (string, error) {
	return "", errPeople
}

// Wait implements the engine's Provider: there are no operations to wait for.
func (*Provider) Wait(context.Context, string, func(string)) error { return errPeople }

// read makes the domain's Cluster of nodes and of the API servers' versions. Unseen says why not every server was asked for itself, empty if each was.
func read(name, poolLabel string, nodes []corev1.Node, servers []string, unseen string) upgrade.Cluster {
	c := upgrade.Cluster{
		Provider: upgrade.SelfManaged, Name: name, PoolLabel: poolLabel, ControlPlaneVersion: lowest(servers), Regional: len(servers) > 1,
		Versions: upgrade.Versions{Any: true}, Servers: servers,
	}
	c.Skew = skew(c.ControlPlaneVersion)
	if unseen != "" {
		c.Unread = map[upgrade.Source]string{upgrade.ReadServers: unseen}
	}
	of := map[string][]corev1.Node{}
	for _, n := range nodes {
		pool := n.Labels[poolLabel]
		if _, ok := n.Labels[controlPlaneRole]; ok {
			pool = upgrade.ControlPlanePool
		}
		if pool != "" {
			of[pool] = append(of[pool], n)
		}
	}
	for _, pool := range slices.Sorted(maps.Keys(of)) {
		c.Pools = append(c.Pools, readPool(pool, poolLabel, of[pool]))
	}
	slices.SortStableFunc(c.Pools, func(a, b upgrade.Pool) int { return rank(a) - rank(b) })
	for i := range c.Pools {
		if c.Pools[i].Name == upgrade.ControlPlanePool && upgrade.CompareVersions(c.ControlPlaneVersion, c.Pools[i].Version) < 0 {
			c.Pools[i].Version = c.ControlPlaneVersion
		}
	}
	return c
}

// controlPlaneRole is the label of nodes that run a control plane.
const controlPlaneRole = "node-role.kubernetes.io/control-plane"

// rank puts the control plane before all others.
func rank(p upgrade.Pool) int {
	if p.Name == upgrade.ControlPlanePool {
		return 0
	}
	return 1
}

// readPool makes a pool of its nodes, of which there is one at least. It is as old as the oldest of their kubelets, and has the labels and taints
// that all of them have.
func readPool(name, poolLabel string, nodes []corev1.Node) upgrade.Pool {
	p := upgrade.Pool{Name: name, Labels: map[string]string{}, PodRange: upgrade.PodRange{Free: upgrade.Unknown}}
	zones := map[string]bool{}
	for i, n := range nodes {
		if v := strings.TrimPrefix(n.Status.NodeInfo.KubeletVersion, "v"); i == 0 || upgrade.CompareVersions(v, p.Version) < 0 {
			p.Version = v
		}
		zones[n.Labels[corev1.LabelTopologyZone]] = true
	}
	p.Zones = slices.Sorted(maps.Keys(zones))
	for key, value := range nodes[0].Labels {
		if key != poolLabel && !provided(key) && !slices.ContainsFunc(nodes, func(n corev1.Node) bool { return n.Labels[key] != value }) {
			p.Labels[key] = value
		}
	}
	for _, t := range nodes[0].Spec.Taints {
		has := func(n corev1.Node) bool {
			return slices.ContainsFunc(n.Spec.Taints, func(o corev1.Taint) bool { return o.MatchTaint(&t) && o.Value == t.Value })
		}
		if !strings.HasPrefix(t.Key, "node.kubernetes.io/") && !slices.ContainsFunc(nodes, func(n corev1.Node) bool { return !has(n) }) {
			p.Taints = append(p.Taints, upgrade.Taint{Key: t.Key, Value: t.Value, Effect: string(t.Effect)})
		}
	}
	slices.SortFunc(p.Taints, func(a, b upgrade.Taint) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Value, b.Value), cmp.Compare(a.Effect, b.Effect))
	})
	p.Config, _ = json.Marshal(upgrade.Marks{Label: poolLabel, Labels: p.Labels, Taints: p.Taints}) // strings, which can always be written
	return p
}

// provided tells the labels that kubelets and clouds give a node by themselves, or that say what role it has.
func provided(key string) bool {
	prefix, _, ok := strings.Cut(key, "/")
	return ok && (prefix == "kubernetes.io" || strings.HasSuffix(prefix, ".kubernetes.io") || prefix == "k8s.io" || strings.HasSuffix(prefix, ".k8s.io"))
}

// lowest is the lowest of versions, empty for none.
func lowest(versions []string) string {
	if len(versions) == 0 {
		return ""
	}
	return slices.MinFunc(versions, upgrade.CompareVersions)
}

// skew is by how many minors nodes may be behind their control plane: 3 since 1.28, and 2 before (kubernetes.io, version skew policy).
func skew(controlPlane string) int {
	if behind, ok := upgrade.MinorsBetween("1.28.0", controlPlane); ok && behind < 0 {
		return 2
	}
	return 3
}
