package kube

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/pager"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// pageSize is how many objects a request for many gets at once.
const pageSize = 500

// Survey reads what a plan looks at: State, and what the caches have besides, at one time, and the rest by requests of its own before. Needs is what is asked for
// besides [Needs]. What may not be read is named in Unread, and everything else is there. An API that is away is waited for, and one
// that stays so is an error: that nothing is known for a moment must not look like a verdict on the cluster.
func (c *Cluster) Survey(ctx context.Context, needs []upgrade.Permission) (upgrade.State, upgrade.Inventory, error) {
	inv := upgrade.Inventory{Unread: map[upgrade.Source]string{}}
	var mu sync.Mutex
	var reading sync.WaitGroup
	var gone error
	read := func(source upgrade.Source, part func(context.Context) error) {
		reading.Go(func() {
			err := outlast(ctx, part)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
			case away(err), ctx.Err() != nil:
				gone = fmt.Errorf("read %s: %w", source, err)
			default:
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
	state := c.State()
	c.listers.describe(&inv)
	return state, inv, gone
}

// outlast reads a part, again while that fails because the API is away, for as long as filling the caches may take, or has too much to do.
func outlast(ctx context.Context, part func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, frank{}, true), syncTimeout)
	defer cancel()
	left := patience
	var last error
	for {
		attempt, done := context.WithTimeout(ctx, listTimeout)
		err := part(attempt)
		done()
		if last != nil && ctx.Err() != nil {
			return last // says more than that the time is over
		}
		last = err
		var pause time.Duration
		switch busy := apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err); {
		case err != nil && away(err):
			pause = retryEvery
		case busy && left.Steps > 1:
			pause = left.Step()
		default:
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// describe fills in what the caches have.
func (l listers) describe(inv *upgrade.Inventory) {
	inv.Nodes, inv.Pods = map[string]upgrade.NodeShape{}, map[string]*upgrade.PodShape{}
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
