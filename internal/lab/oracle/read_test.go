package oracle

import (
	"context"
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/util/workqueue"

	"github.com/upshift-k8s/upshift/internal/kube"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// readers is how many clusters are read at once: reading one is mostly waiting for its caches.
const readers = 32

// read returns what the product reads of the clusters, so that its reading is compared with the scheduler's, too.
func read(t *testing.T, clusters []*cluster) []upgrade.Snapshot {
	t.Helper()
	snapshots, failures := make([]upgrade.Snapshot, len(clusters)), make([]error, len(clusters))
	workqueue.ParallelizeUntil(t.Context(), readers, len(clusters), func(i int) { snapshots[i], failures[i] = clusters[i].read(t.Context()) })
	for i, err := range failures {
		if err != nil {
			t.Fatalf("cluster %d: %v", i, err)
		}
	}
	return snapshots
}

func (c *cluster) read(ctx context.Context) (upgrade.Snapshot, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watched, err := kube.Follow(ctx, fake.NewClientset(c.objects()...), kube.Pools{Label: "pool"})
	if err != nil {
		return upgrade.Snapshot{}, err
	}
	var s upgrade.Snapshot
	if s.State, s.Inventory, err = watched.Survey(ctx, nil); err != nil {
		return s, err
	}
	for _, source := range []upgrade.Source{upgrade.ReadVolumes, upgrade.ReadNamespaces} {
		if why := s.Inventory.Unread[source]; why != "" {
			return s, fmt.Errorf("%s: %s", source, why)
		}
	}
	for i := range s.State.Nodes {
		s.State.Nodes[i].Ready = true // there is no kubelet to say so
	}
	return s, nil
}

func (c *cluster) objects() []runtime.Object {
	var all []runtime.Object
	all = add(all, c.namespaces)
	all = add(all, c.nodes)
	all = add(all, c.pods)
	all = add(all, c.services)
	all = add(all, c.daemonSets)
	all = add(all, c.claims)
	return add(all, c.volumes)
}

func add[T runtime.Object](all []runtime.Object, list []T) []runtime.Object {
	for _, o := range list {
		all = append(all, o.DeepCopyObject()) // the caches trim what they keep
	}
	return all
}
