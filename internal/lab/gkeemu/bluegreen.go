package gkeemu

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"google.golang.org/protobuf/types/known/durationpb"
	corev1 "k8s.io/api/core/v1"
)

// longestSoak is GKE's bound on the times to soak.
const longestSoak = 7 * 24 * time.Hour

type (
	phase    = containerpb.NodePool_UpdateInfo_BlueGreenInfo_Phase
	standard = containerpb.BlueGreenSettings_StandardRolloutPolicy
)

func validateBlueGreen(s *containerpb.BlueGreenSettings) error {
	if s.GetAutoscaledRolloutPolicy() != nil {
		return notEmulated("an autoscaled rollout policy")
	}
	switch size := s.GetStandardRolloutPolicy().GetUpdateBatchSize().(type) {
	case *containerpb.BlueGreenSettings_StandardRolloutPolicy_BatchPercentage:
		if size.BatchPercentage <= 0 || size.BatchPercentage > 1 {
			return invalid("Invalid blue-green settings: batch_percentage %g must be above 0 and at most 1.", size.BatchPercentage)
		}
	case *containerpb.BlueGreenSettings_StandardRolloutPolicy_BatchNodeCount:
		if size.BatchNodeCount < 1 {
			return invalid("Invalid blue-green settings: batch_node_count %d must be at least 1.", size.BatchNodeCount)
		}
	}
	for _, soak := range []*durationpb.Duration{s.GetNodePoolSoakDuration(), s.GetStandardRolloutPolicy().GetBatchSoakDuration()} {
		if d := soak.AsDuration(); d < 0 || d > longestSoak {
			return invalid("Invalid blue-green settings: a soak duration of %s is not between 0 and %s.", d, longestSoak)
		}
	}
	return nil
}

// completeBlueGreen fills in GKE's defaults: a node at a time, no soaking in between, and an hour of it in the end.
func completeBlueGreen(s *containerpb.BlueGreenSettings) *containerpb.BlueGreenSettings {
	s = cmp.Or(s, &containerpb.BlueGreenSettings{})
	policy := cmp.Or(s.GetStandardRolloutPolicy(), &standard{})
	if policy.UpdateBatchSize == nil {
		policy.UpdateBatchSize = &containerpb.BlueGreenSettings_StandardRolloutPolicy_BatchNodeCount{BatchNodeCount: 1}
	}
	policy.BatchSoakDuration = cmp.Or(policy.BatchSoakDuration, &durationpb.Duration{})
	s.RolloutPolicy = &containerpb.BlueGreenSettings_StandardRolloutPolicy_{StandardRolloutPolicy: policy}
	s.NodePoolSoakDuration = cmp.Or(s.NodePoolSoakDuration, durationpb.New(time.Hour))
	return s
}

// batchSize is how many of n blue nodes are drained at once. A tenth is no float32, but a tenth of ten is.
func batchSize(policy *standard, n int) int {
	return max(1, int(policy.GetBatchNodeCount()), int(math.Ceil(float64(policy.GetBatchPercentage()*float32(n)))))
}

// blueGreen moves the pool to a second set of nodes. When it goes on with what was cancelled it passes quickly through the phases that are done.
func (w *nodeWork) blueGreen(ctx context.Context, u *upgrade) error {
	w.show(u, containerpb.NodePool_UpdateInfo_BlueGreenInfo_UPDATE_STARTED)
	blue, err := w.createGreen(ctx, u)
	if err != nil {
		return err
	}
	w.show(u, containerpb.NodePool_UpdateInfo_BlueGreenInfo_CORDONING_BLUE_POOL)
	if err := w.cordonAll(ctx, blue, true); err != nil {
		return err
	}
	w.show(u, containerpb.NodePool_UpdateInfo_BlueGreenInfo_DRAINING_BLUE_POOL)
	settings := w.settings.GetBlueGreenSettings()
	policy := settings.GetStandardRolloutPolicy()
	for batch := range slices.Chunk(blue, batchSize(policy, len(blue))) {
		if err := w.stopped(); err != nil {
			return err
		}
		if err := w.drainAll(ctx, batch); err != nil {
			return err
		}
		w.advance(len(batch))
		if !w.op.wait(policy.GetBatchSoakDuration().AsDuration()) {
			return cmp.Or(ctx.Err(), errCancelled)
		}
	}
	if err := w.soak(ctx, u, settings.GetNodePoolSoakDuration().AsDuration()); err != nil {
		return err
	}
	w.server.update(func() { u.committed = true })
	w.show(u, containerpb.NodePool_UpdateInfo_BlueGreenInfo_DELETING_BLUE_POOL)
	return w.removeAll(ctx, blue)
}

// createGreen makes a green node for every blue one, and waits until all are Ready.
func (w *nodeWork) createGreen(ctx context.Context, u *upgrade) ([]corev1.Node, error) {
	nodes, err := w.pool.listNodes(ctx)
	if err != nil {
		return nil, err
	}
	if u.green == nil {
		w.server.update(func() { u.green = w.pool.newGroups() })
	}
	w.show(u, containerpb.NodePool_UpdateInfo_BlueGreenInfo_CREATING_GREEN_POOL)
	blue, there := colours(u, nodes)
	var green []string
	surplus := map[group]int{}
	for _, n := range there {
		green = append(green, n.Name)
		surplus[groupAt(u.green, zoneOf(&n))]++
	}
	var missing []group
	for _, n := range blue {
		g := groupAt(u.green, zoneOf(&n))
		if surplus[g]--; surplus[g] < 0 {
			missing = append(missing, g)
		}
	}
	w.total = len(blue)
	w.advance(0)
	for i, g := range missing {
		if err := cmp.Or(w.stopped(), w.strike(i)); err != nil {
			return nil, err
		}
		name, err := w.make(ctx, g, u.to)
		if err != nil {
			return nil, err
		}
		green = append(green, name)
	}
	for _, name := range green {
		if err := w.awaitReady(ctx, name); err != nil {
			return nil, err
		}
	}
	return blue, nil
}

// soak waits before the blue nodes are deleted, or until people have seen enough.
func (w *nodeWork) soak(ctx context.Context, u *upgrade, d time.Duration) error {
	enough := make(chan struct{})
	w.server.update(func() {
		u.soaked = sync.OnceFunc(func() { close(enough) })
		u.deletion = time.Now().Add(d).UTC().Format(time.RFC3339)
	})
	w.show(u, containerpb.NodePool_UpdateInfo_BlueGreenInfo_NODE_POOL_SOAKING)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-enough:
	case <-w.op.going.Done():
	}
	w.server.update(func() { u.soaked = nil })
	return cmp.Or(ctx.Err(), w.stopped())
}

// backToBlue gives the pool its first nodes back.
func (w *nodeWork) backToBlue(ctx context.Context, u *upgrade) error {
	w.show(u, containerpb.NodePool_UpdateInfo_BlueGreenInfo_ROLLBACK_STARTED)
	nodes, err := w.pool.listNodes(ctx)
	if err != nil {
		return err
	}
	blue, green := colours(u, nodes)
	w.total = len(green)
	w.advance(0)
	if err := errors.Join(w.cordonAll(ctx, blue, false), w.cordonAll(ctx, green, true)); err != nil {
		return err
	}
	if err := cmp.Or(w.stopped(), w.strike(0)); err != nil {
		return err
	}
	if err := w.drainAll(ctx, green); err != nil {
		return err
	}
	w.advance(len(green))
	return w.removeAll(ctx, green)
}

// colours tells the old nodes from those that the upgrade has made.
func colours(u *upgrade, nodes []corev1.Node) (blue, green []corev1.Node) {
	for _, n := range nodes {
		if u.made[n.Name] {
			green = append(green, n)
		} else {
			blue = append(blue, n)
		}
	}
	return blue, green
}

// show tells the phase.
func (w *nodeWork) show(u *upgrade, now phase) {
	p := w.pool
	w.server.update(func() {
		blue, green := p.urls(p.groups), p.urls(u.green)
		p.pb.InstanceGroupUrls = append(slices.Clone(blue), green...)
		p.pb.UpdateInfo = &containerpb.NodePool_UpdateInfo{BlueGreenInfo: &containerpb.NodePool_UpdateInfo_BlueGreenInfo{
			Phase: now, BlueInstanceGroupUrls: blue, GreenInstanceGroupUrls: green, GreenPoolVersion: u.to,
			BluePoolDeletionStartTime: u.deletion,
		}}
	})
}

func (w *nodeWork) cordonAll(ctx context.Context, nodes []corev1.Node, on bool) error {
	for _, n := range nodes {
		if err := w.cordon(ctx, n.Name, on); err != nil {
			return err
		}
	}
	return nil
}

// drainAll drains nodes at once.
func (w *nodeWork) drainAll(ctx context.Context, nodes []corev1.Node) error {
	errs := make([]error, len(nodes))
	var drains sync.WaitGroup
	for i, n := range nodes {
		drains.Go(func() { errs[i] = w.drain(ctx, n.Name) })
	}
	drains.Wait()
	return errors.Join(errs...)
}

func (w *nodeWork) removeAll(ctx context.Context, nodes []corev1.Node) error {
	for _, n := range nodes {
		if err := w.remove(ctx, n.Name); err != nil {
			return err
		}
	}
	return nil
}
