package gkeemu

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// roll replaces nodes as a surge upgrade does: zone after zone, max_surge+max_unavailable at a time. A node is replaced by one that comes
// first, as far as max_surge goes, or by one that comes after it is gone.
func (w *nodeWork) roll(ctx context.Context, version string, pending func(*corev1.Node) bool) error {
	nodes, err := w.pool.listNodes(ctx)
	if err != nil {
		return err
	}
	old := slices.DeleteFunc(slices.Clone(nodes), func(n corev1.Node) bool { return !pending(&n) })
	slices.SortFunc(old, func(a, b corev1.Node) int {
		return cmp.Or(cmp.Compare(zoneOf(&a), zoneOf(&b)), cmp.Compare(a.Name, b.Name))
	})
	w.total = len(nodes)
	w.advance(len(nodes) - len(old))
	for len(old) > 0 && w.err == nil {
		n := slices.IndexFunc(old, func(n corev1.Node) bool { return zoneOf(&n) != zoneOf(&old[0]) })
		if n < 0 {
			n = len(old)
		}
		w.queue, old = old[:n:n], old[n:]
		surge, unavailable := int(w.settings.GetMaxSurge()), int(w.settings.GetMaxUnavailable())
		var workers sync.WaitGroup
		for i := range min(surge+unavailable, n) {
			workers.Go(func() { w.replaceAll(ctx, version, i < surge) })
		}
		workers.Wait()
	}
	return w.err
}

// replaceAll takes nodes out of the queue until it is empty or something ends the work.
func (w *nodeWork) replaceAll(ctx context.Context, version string, surge bool) {
	for {
		old, ok := w.next()
		if !ok {
			return
		}
		if err := w.replace(ctx, old, version, surge); err != nil {
			w.fail(err)
			return
		}
		w.advance(1)
	}
}

func (w *nodeWork) next() (*corev1.Node, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 || w.err != nil {
		return nil, false
	}
	if w.err = cmp.Or(w.stopped(), w.strike(w.begun)); w.err != nil {
		return nil, false
	}
	old := w.queue[0]
	w.queue = w.queue[1:]
	w.begun++
	return &old, true
}

func (w *nodeWork) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = cmp.Or(w.err, err)
}

// replace goes through with a node once it has begun to take it away; a cancellation while its surge node is not Ready yet leaves the node alone.
func (w *nodeWork) replace(ctx context.Context, old *corev1.Node, version string, surge bool) error {
	groups := w.pool.groups
	if surge {
		name, err := w.make(ctx, groupAt(groups, zoneOf(old)), version)
		if err != nil {
			return err
		}
		if err := w.awaitReady(ctx, name); errors.Is(err, errCancelled) {
			return errors.Join(err, w.remove(ctx, name))
		} else if err != nil {
			return err
		}
	}
	if err := w.cordon(ctx, old.Name, true); err != nil {
		return err
	}
	if err := w.drain(ctx, old.Name); err != nil {
		return err
	}
	if err := w.remove(ctx, old.Name); err != nil {
		return err
	}
	if surge {
		return nil
	}
	name, err := w.make(ctx, groupAt(groups, zoneOf(old)), version)
	if err != nil {
		return err
	}
	if err := w.awaitReady(ctx, name); !errors.Is(err, errCancelled) {
		return err
	}
	return nil
}

// make adds a node to a group, after the time that a machine takes.
func (w *nodeWork) make(ctx context.Context, g group, version string) (string, error) {
	if !wait(ctx, w.server.options.Timing.UpgradeNode) {
		return "", ctx.Err()
	}
	w.mu.Lock()
	startUp := w.startUps[0]
	w.startUps = append(w.startUps[1:], startUp)
	w.mu.Unlock()
	name := nodeName(g.name)
	w.server.update(func() { w.op.upgrade.made[name] = true })
	return name, w.pool.createNode(ctx, w.pool.node(name, g.zone, version, startUp))
}

// remove deletes a node, and with it what is left on it.
func (w *nodeWork) remove(ctx context.Context, name string) error {
	killed, err := w.pool.deleteNode(ctx, name, "its node was deleted")
	w.server.update(func() { w.server.killed = append(w.server.killed, killed...) })
	return err
}

// lookEvery is the time between two looks at what an upgrade waits for.
const lookEvery = 100 * time.Millisecond

func (w *nodeWork) awaitReady(ctx context.Context, name string) error {
	for {
		ready, err := w.pool.nodeReady(ctx, name)
		if err != nil || ready {
			return err
		}
		if !w.op.wait(lookEvery) {
			return cmp.Or(ctx.Err(), errCancelled)
		}
	}
}
