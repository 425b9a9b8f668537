package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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

// Survey reads what a plan looks at: State, and what the caches have besides, at one time, and the rest by requests of its own before. Needs is
// what is asked for besides [Needs]. What may not be read is named in Unread, and everything else is there. What fails for a moment is asked
// for again, and an API that stays away is an error: that nothing is known for a moment must not look like a verdict on the cluster.
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
			case away(err), overloaded(err), ctx.Err() != nil:
				gone = fmt.Errorf("read %s: %w", source, err)
			default:
				inv.Unread[source] = err.Error()
			}
		})
	}
	// Each writes a part of the Inventory that is its own.
	var requested, stored []upgrade.APIUse
	var claims map[string]upgrade.Volume
	read(upgrade.ReadVolumes, func(ctx context.Context) (err error) {
		claims, err = c.claims(ctx)
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
	read(upgrade.ReadLeases, func(ctx context.Context) (err error) {
		inv.Leaders, err = c.leaders(ctx)
		return err
	})
	read(upgrade.ReadCronJobs, func(ctx context.Context) (err error) {
		inv.CronJobs, err = c.cronJobs(ctx, time.Now())
		return err
	})
	read(upgrade.ReadAutoscalers, func(ctx context.Context) (err error) {
		inv.Autoscalers, err = c.autoscalers(ctx)
		return err
	})
	reading.Wait()
	inv.APIs = mergeAPIs(requested, stored)
	read(upgrade.ReadWebhooks, func(ctx context.Context) (err error) {
		inv.Webhooks, err = c.webhooks(ctx, inv.Namespaces)
		return err
	})
	reading.Wait()
	if gone == nil {
		gone = c.fresh(ctx)
	}
	state := c.State()
	c.listers.describe(&inv, claims)
	return state, inv, gone
}

// outlast reads a part, again and again while that fails for a reason that may pass, for as long as filling the caches may take.
func outlast(ctx context.Context, part func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, frank{}, true), syncTimeout)
	defer cancel()
	var last error
	for {
		attempt, done := context.WithTimeout(ctx, listTimeout)
		err := part(attempt)
		done()
		if last != nil && ctx.Err() != nil {
			return last // says more than that the time is over
		}
		if last = err; err == nil || !momentary(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryEvery):
		}
	}
}

// momentary tells the errors that say nothing about what was asked for: an API that is away or has too much to do, an error inside of it, a
// connection that broke in the middle of an answer.
func momentary(err error) bool {
	var broken net.Error
	return away(err) || overloaded(err) || apierrors.IsInternalError(err) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &broken)
}

// overloaded tells the errors by which the API says that it has too much to do.
func overloaded(err error) bool {
	return apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || errors.Is(err, context.DeadlineExceeded)
}

// fresh waits until the caches are not behind the cluster, for as long as filling them may take.
func (c *Cluster) fresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	for {
		changed := c.Changed()
		trouble, _ := c.staleness()
		if trouble == "" {
			return nil
		}
		select {
		case <-changed:
		case <-time.After(retryEvery): // trouble passes by itself, too
		case <-ctx.Done():
			return fmt.Errorf("what is known of the cluster is out of date: %s", trouble)
		}
	}
}

// describe fills in what the caches have. Claims are what was read of them, by namespace/name.
func (l listers) describe(inv *upgrade.Inventory, claims map[string]upgrade.Volume) {
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
	if inv.Unread[upgrade.ReadVolumes] == "" {
		inv.Volumes = l.volumes(claims)
	}
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
