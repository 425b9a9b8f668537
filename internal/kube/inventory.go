package kube

import (
	"cmp"
	"context"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/pager"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// pageSize is how many objects a request for many gets at once.
const pageSize = 500

// Inventory reads what only a plan looks at: what the caches have, and the rest by requests of its own. Needs is what is asked for
// besides [Needs]. What cannot be read is named in Unread, and everything else is there.
func (c *Cluster) Inventory(ctx context.Context, needs []upgrade.Permission) upgrade.Inventory {
	inv := c.listers.inventory()
	inv.Unread = map[upgrade.Source]string{}
	var mu sync.Mutex
	var reading sync.WaitGroup
	read := func(source upgrade.Source, part func(context.Context) error) {
		reading.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, listTimeout)
			defer cancel()
			if err := part(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				inv.Unread[source] = err.Error()
			}
		})
	}
	// Each writes a part of the Inventory that is its own.
	var requested, stored []upgrade.APIUse
	read(upgrade.ReadVolumes, func(ctx context.Context) (err error) {
		inv.Volumes, err = c.volumes(ctx)
		return err
	})
	read(upgrade.ReadNamespaces, func(ctx context.Context) (err error) {
		inv.Namespaces, err = c.namespaces(ctx)
		return err
	})
	read(upgrade.ReadAPIMetrics, func(ctx context.Context) (err error) {
		requested, err = c.requestedAPIs(ctx)
		return err
	})
	read(upgrade.ReadStoredAPIs, func(ctx context.Context) (err error) {
		stored, err = c.storedAPIs(ctx)
		return err
	})
	read(upgrade.ReadPermissions, func(ctx context.Context) (err error) {
		inv.User, inv.Permissions, err = c.permissions(ctx, slices.Concat(Needs(), needs))
		return err
	})
	reading.Wait()
	inv.APIs = mergeAPIs(requested, stored)
	read(upgrade.ReadWebhooks, func(ctx context.Context) (err error) {
		inv.Webhooks, err = c.webhooks(ctx, inv.Namespaces)
		return err
	})
	reading.Wait()
	return inv
}

// inventory is what the caches have.
func (l listers) inventory() upgrade.Inventory {
	inv := upgrade.Inventory{Nodes: map[string]upgrade.NodeShape{}, Pods: map[string]*upgrade.PodShape{}}
	for _, n := range all(l.nodes.List) {
		inv.Nodes[n.Name] = readNodeShape(n)
	}
	alike := shapes{}
	for _, p := range all(l.pods.List) {
		inv.Pods[string(p.UID)] = alike.of(p)
	}
	for _, d := range all(l.daemons.List) {
		inv.Daemons = append(inv.Daemons, alike.daemon(d))
	}
	slices.SortFunc(inv.Daemons, func(a, b upgrade.Daemon) int {
		return cmp.Or(cmp.Compare(a.Ref.Namespace, b.Ref.Namespace), cmp.Compare(a.Ref.Name, b.Ref.Name))
	})
	inv.Services = l.readServices()
	return inv
}

// each visits all objects of a list that is asked for page by page. What is visited must not be kept whole.
func each[T runtime.Object](ctx context.Context, list func(context.Context, metav1.ListOptions) (T, error), visit func(runtime.Object)) error {
	pages := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return list(ctx, o) })
	pages.PageSize, pages.PageBufferSize = pageSize, 0
	return pages.EachListItem(ctx, metav1.ListOptions{}, func(o runtime.Object) error {
		visit(o)
		return nil
	})
}

// namespaces returns the labels of the namespaces by their names.
func (c *Cluster) namespaces(ctx context.Context) (map[string]map[string]string, error) {
	read := map[string]map[string]string{}
	err := each(ctx, c.client.CoreV1().Namespaces().List, func(o runtime.Object) {
		if m, ok := o.(metav1.Object); ok {
			read[m.GetName()] = m.GetLabels()
		}
	})
	if err != nil {
		return nil, err
	}
	return read, nil
}
