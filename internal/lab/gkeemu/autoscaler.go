package gkeemu

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Autoscaler plays GKE's cluster autoscaler, much faster: it looks every fifth of a second.
type Autoscaler struct {
	server  *Server
	cluster string
	// idle is how long a node has to be without pods until it is taken away.
	idle           time.Duration
	since          map[string]time.Time
	added, removed atomic.Int64
}

// Autoscale begins to scale a cluster's pools until ctx ends: it adds a node to a pool whose nodes could take a pod that finds none, and takes one away
// that has had no pods for as long as idle, within the limits of the pool's autoscaling.
func (s *Server) Autoscale(ctx context.Context, clusterPath string, idle time.Duration) *Autoscaler {
	a := &Autoscaler{server: s, cluster: clusterPath, idle: idle, since: map[string]time.Time{}}
	s.work.Go(func() {
		for wait(ctx, 200*time.Millisecond) && s.ctx.Err() == nil {
			if err := a.scale(ctx); err != nil && ctx.Err() == nil && s.ctx.Err() == nil {
				s.log.Error("autoscaler", "error", err)
			}
		}
	})
	return a
}

// Counts are how many nodes were added and taken away so far.
func (a *Autoscaler) Counts() (added, removed int) { return int(a.added.Load()), int(a.removed.Load()) }

// scaled is a pool as the autoscaler sees it.
type scaled struct {
	*pool
	settings *containerpb.NodePoolAutoscaling
	nodes    []corev1.Node
}

// pools are those that are autoscaled, and that no operation makes or deletes.
func (a *Autoscaler) pools(ctx context.Context) ([]scaled, error) {
	var list []scaled
	a.server.mu.Lock()
	c, err := a.server.cluster(a.cluster)
	if err == nil {
		for _, p := range c.pools {
			if p.pb.GetAutoscaling().GetEnabled() && p.pb.GetStatus() == containerpb.NodePool_RUNNING {
				list = append(list, scaled{pool: p, settings: p.pb.GetAutoscaling()})
			}
		}
	}
	a.server.mu.Unlock()
	for i := range list {
		if list[i].nodes, err = list[i].listNodes(ctx); err != nil {
			return nil, err
		}
	}
	return list, err
}

func (a *Autoscaler) scale(ctx context.Context) error {
	pools, err := a.pools(ctx)
	if err != nil || len(pools) == 0 {
		return err
	}
	kube := pools[0].cluster.spec.Kube.CoreV1()
	pods, err := kube.Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	busy := map[string]bool{}
	for i := range pods.Items {
		p := &pods.Items[i]
		if ofUse(p) && p.Spec.NodeName != "" {
			busy[p.Spec.NodeName] = true
		}
	}
	for _, p := range pools {
		if err := a.grow(ctx, p, pods.Items); err != nil {
			return err
		}
		if err := a.shrink(ctx, p, busy); err != nil {
			return err
		}
	}
	return nil
}

// grow adds a node to the pool for a pod that finds none, unless one is on its way.
func (a *Autoscaler) grow(ctx context.Context, p scaled, pods []corev1.Pod) error {
	zones := map[string]int{}
	for _, n := range p.nodes {
		if !readyNode(n) {
			return nil
		}
		zones[n.Labels["topology.kubernetes.io/zone"]]++
	}
	fewest := p.groups[0]
	for _, g := range p.groups {
		if zones[g.zone] < zones[fewest.zone] {
			fewest = g
		}
	}
	full := zones[fewest.zone] >= int(p.settings.GetMaxNodeCount())
	if total := p.settings.GetTotalMaxNodeCount(); total > 0 {
		full = len(p.nodes) >= int(total)
	}
	node := p.node(nodeName(fewest.name), fewest.zone, p.pb.GetVersion(), p.startUp)
	for i := range pods {
		if !full && homeless(&pods[i]) && takes(node, &pods[i]) {
			a.added.Add(1)
			return p.createNode(ctx, node)
		}
	}
	return nil
}

// shrink takes away one node of the pool that was idle for long enough.
func (a *Autoscaler) shrink(ctx context.Context, p scaled, busy map[string]bool) error {
	zones := map[string]int{}
	for _, n := range p.nodes {
		zones[n.Labels["topology.kubernetes.io/zone"]]++
	}
	for _, n := range p.nodes {
		if busy[n.Name] || !readyNode(n) {
			delete(a.since, n.Name)
			continue
		}
		if _, ok := a.since[n.Name]; !ok {
			a.since[n.Name] = time.Now()
		}
		needed := zones[n.Labels["topology.kubernetes.io/zone"]] <= int(p.settings.GetMinNodeCount())
		if p.settings.GetTotalMaxNodeCount() > 0 {
			needed = len(p.nodes) <= int(p.settings.GetTotalMinNodeCount())
		}
		if needed || time.Since(a.since[n.Name]) < a.idle {
			continue
		}
		a.removed.Add(1)
		killed, err := p.deleteNode(ctx, n.Name, "its node was idle, and the autoscaler took it away")
		a.server.update(func() { a.server.killed = append(a.server.killed, killed...) })
		return err
	}
	return nil
}

func readyNode(n corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// homeless tells that the scheduler finds no node for the pod.
func homeless(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return p.DeletionTimestamp == nil
		}
	}
	return false
}

// takes tells whether such a node could take the pod, by its labels and taints.
func takes(n *corev1.Node, p *corev1.Pod) bool {
	for key, value := range p.Spec.NodeSelector {
		if n.Labels[key] != value {
			return false
		}
	}
	for i := range n.Spec.Taints {
		tolerated := false
		for j := range p.Spec.Tolerations {
			t := &p.Spec.Tolerations[j]
			tolerated = tolerated || t.Key == n.Spec.Taints[i].Key || t.Key == ""
		}
		if !tolerated {
			return false
		}
	}
	return true
}
