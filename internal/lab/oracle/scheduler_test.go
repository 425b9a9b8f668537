package oracle

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/latest"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/names"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/kubernetes/pkg/scheduler/metrics"
)

// modelled are the plugins of the default profile whose filters and scores take part, with those that a profile cannot do without.
var modelled = []string{
	names.PrioritySort, names.DefaultBinder,
	names.NodeName, names.NodeUnschedulable, names.TaintToleration, names.NodeAffinity, names.NodePorts, names.NodeResourcesFit,
	names.VolumeRestrictions, names.VolumeBinding, names.VolumeZone, names.PodTopologySpread, names.InterPodAffinity,
	names.NodeResourcesBalancedAllocation, names.ImageLocality,
}

// scheduler is the real one's framework with its default profile, over one cluster at a time.
type scheduler struct {
	framework.Framework
	*lister
}

// lister is what the scheduler sees of the cluster that it looks at.
type lister struct{ nodes []fwk.NodeInfo }

// newScheduler knows the namespaces, volumes and Services of all clusters that it is going to see.
func newScheduler(t *testing.T, clusters []*cluster) *scheduler {
	t.Helper()
	klog.SetLogger(klog.Logger{})
	metrics.Register()
	var objects []runtime.Object
	seen := map[string]bool{}
	for _, c := range clusters {
		for _, ns := range c.namespaces {
			if !seen[ns.Name] {
				seen[ns.Name] = true
				objects = append(objects, ns)
			}
		}
		for _, o := range c.services {
			objects = append(objects, o)
		}
		for i := range c.claims {
			objects = append(objects, c.claims[i], c.volumes[i])
		}
	}
	client := fake.NewClientset(objects...)
	factory := informers.NewSharedInformerFactory(client, 0)
	cfg, err := latest.Default()
	if err != nil {
		t.Fatal(err)
	}
	profile := &cfg.Profiles[0]
	profile.Plugins.MultiPoint.Enabled = slices.DeleteFunc(profile.Plugins.MultiPoint.Enabled, func(p config.Plugin) bool { return !slices.Contains(modelled, p.Name) })
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	s := &scheduler{lister: &lister{}}
	s.Framework, err = frameworkruntime.NewFramework(ctx, plugins.NewInTreeRegistry(), profile, frameworkruntime.WithClientSet(client),
		frameworkruntime.WithInformerFactory(factory), frameworkruntime.WithSnapshotSharedLister(s.lister), frameworkruntime.WithParallelism(1))
	if err != nil {
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	return s
}

// look makes the scheduler look at a cluster. Pods without a node are not on any.
func (s *scheduler) look(nodes []*corev1.Node, pods []*corev1.Pod) {
	s.nodes = nil
	for _, n := range nodes {
		s.join(n)
	}
	for _, p := range pods {
		if p.Spec.NodeName != "" {
			s.node(p.Spec.NodeName).AddPod(p)
		}
	}
}

func (s *scheduler) join(n *corev1.Node) {
	info := framework.NewNodeInfo()
	info.SetNode(n)
	s.nodes = append(s.nodes, info)
}

func (l *lister) node(name string) *framework.NodeInfo {
	for _, n := range l.nodes {
		if n.Node().Name == name {
			return n.(*framework.NodeInfo)
		}
	}
	return nil
}

// verdicts are the plugins that keep the pod from each node, empty where none does.
func (s *scheduler) verdicts(ctx context.Context, p *corev1.Pod) (map[string]string, fwk.CycleState) {
	state := framework.NewCycleState()
	all := map[string]string{}
	chosen, status, _ := s.RunPreFilterPlugins(ctx, state, p)
	for _, n := range s.nodes {
		name := n.Node().Name
		switch {
		case !status.IsSuccess():
			all[name] = status.Plugin()
		case chosen != nil && !chosen.AllNodes() && !chosen.NodeNames.Has(name):
			all[name] = names.NodeAffinity
			if st := s.RunFilterPlugins(ctx, state, p, n); !st.IsSuccess() {
				all[name] = st.Plugin()
			}
		default:
			if st := s.RunFilterPlugins(ctx, state, p, n); !st.IsSuccess() {
				all[name] = st.Plugin()
			} else {
				all[name] = ""
			}
		}
	}
	return all, state
}

// schedule puts the pod on the node that the scheduler would choose, by chance among the best. It tells whether there is one.
func (s *scheduler) schedule(ctx context.Context, p *corev1.Pod, chance *rand.Rand) (bool, error) {
	all, state := s.verdicts(ctx, p)
	var fit []fwk.NodeInfo
	for _, n := range s.nodes {
		if all[n.Node().Name] == "" {
			fit = append(fit, n)
		}
	}
	if len(fit) == 0 {
		return false, nil
	}
	if status := s.RunPreScorePlugins(ctx, state, p, fit); !status.IsSuccess() {
		return false, fmt.Errorf("prescore: %w", status.AsError())
	}
	scores, status := s.RunScorePlugins(ctx, state, p, fit)
	if !status.IsSuccess() {
		return false, fmt.Errorf("score: %w", status.AsError())
	}
	best := slices.MaxFunc(scores, func(a, b fwk.NodePluginScores) int { return int(a.TotalScore - b.TotalScore) }).TotalScore
	var ties []string
	for _, n := range scores {
		if n.TotalScore == best {
			ties = append(ties, n.Name)
		}
	}
	p.Spec.NodeName = ties[chance.IntN(len(ties))]
	s.node(p.Spec.NodeName).AddPod(p)
	return true, nil
}

// evict takes the pod off its node.
func (s *scheduler) evict(p *corev1.Pod) error {
	err := s.node(p.Spec.NodeName).RemovePod(klog.Background(), p)
	p.Spec.NodeName = ""
	return err
}

func (l *lister) List() ([]fwk.NodeInfo, error) { return l.nodes, nil }
func (l *lister) HavePodsWithAffinityList() ([]fwk.NodeInfo, error) {
	return l.with(func(n fwk.NodeInfo) int { return len(n.GetPodsWithAffinity()) })
}
func (l *lister) HavePodsWithRequiredAntiAffinityList() ([]fwk.NodeInfo, error) {
	return l.with(func(n fwk.NodeInfo) int { return len(n.GetPodsWithRequiredAntiAffinity()) })
}
func (l *lister) HavePodsWithRequiredNonHostScopedAntiAffinityList() ([]fwk.NodeInfo, error) {
	return l.with(func(n fwk.NodeInfo) int { return len(n.GetPodsWithRequiredNonHostScopedAntiAffinity()) })
}
func (l *lister) Get(name string) (fwk.NodeInfo, error) {
	if n := l.node(name); n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("no node %s", name)
}

func (l *lister) with(count func(fwk.NodeInfo) int) ([]fwk.NodeInfo, error) {
	var some []fwk.NodeInfo
	for _, n := range l.nodes {
		if count(n) > 0 {
			some = append(some, n)
		}
	}
	return some, nil
}

func (l *lister) IsPVCUsedByPods(key string) bool {
	return slices.ContainsFunc(l.nodes, func(n fwk.NodeInfo) bool { return n.GetPVCRefCounts()[key] > 0 })
}
func (l *lister) NodeInfos() fwk.NodeInfoLister                             { return l }
func (l *lister) StorageInfos() fwk.StorageInfoLister                       { return l }
func (l *lister) PodGroupStates() fwk.PodGroupStateLister                   { return nil }
func (l *lister) PodGroups() fwk.PodGroupLister                             { return nil }
func (l *lister) CompositePodGroupStates() fwk.CompositePodGroupStateLister { return nil }
func (l *lister) CompositePodGroups() fwk.CompositePodGroupLister           { return nil }
