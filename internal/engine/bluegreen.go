package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// measure notes what the soak of a blue-green upgrade is held to, before any pod has left.
func (e *Engine) measure(pool upgrade.PoolPlan) {
	soak := e.run.Step(upgrade.NewStep(upgrade.Soak, pool.Name, "").ID)
	if soak == nil || soak.Baseline != nil {
		return
	}
	state := e.Cluster.State()
	on := onNodes(state, place{pool: pool.Name})
	first := upgrade.Baseline{Pods: []upgrade.Resident{}, Ready: map[string]int{}}
	for _, p := range state.Pods {
		if on(p) && p.Disposition() == upgrade.Moves {
			first.Ready[p.Workload.UID] = 0
		}
	}
	for _, p := range state.Pods {
		if _, counts := first.Ready[p.Workload.UID]; counts && p.Ready && !p.Terminating() {
			first.Ready[p.Workload.UID]++
		}
	}
	soak.Baseline = &first
}

// gatedSoak is the soak of a blue-green upgrade: its end waits until every workload that was moved is as available as before.
func (e *Engine) gatedSoak(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	if err := e.soak(ctx, step); err != nil {
		return err
	}
	var waiting []upgrade.Waiting
	told := false
	done, err := e.until(ctx, time.Duration(pool.DrainTimeout), func() bool {
		waiting = missing(e.Cluster.State(), step.Baseline)
		if len(waiting) > 0 && !told {
			told = true
			e.progress(step)("the soak is over, and the old nodes are kept, since not all is as available as before: " + reasons(waiting))
		}
		return len(waiting) == 0
	})
	if err != nil || done {
		return err
	}
	return &Paused{
		Problem: fmt.Sprintf("the upgrade of pool %s is not completed: after the soak and %s more not all is as available as before", pool.Name, time.Duration(pool.DrainTimeout)),
		Waiting: waiting, Next: remedies(waiting),
	}
}

// missing says which workloads have fewer Ready pods than they had, or want now if that is fewer, and what is wrong with the others.
func missing(s upgrade.State, first *upgrade.Baseline) []upgrade.Waiting {
	if first == nil {
		return nil
	}
	ready, trouble := map[string]int{}, map[string]string{}
	for _, p := range s.Pods {
		switch {
		case p.Ready && !p.Terminating():
			ready[p.Workload.UID]++
		case p.Trouble != "" || p.Unschedulable != "":
			trouble[p.Workload.UID] = fmt.Sprintf("; %s: %s", p.Ref(), strings.TrimSpace(p.Trouble+" "+p.Unschedulable))
		}
	}
	var waiting []upgrade.Waiting
	for _, uid := range slices.Sorted(maps.Keys(first.Ready)) {
		w, there := s.Workloads[uid]
		need := first.Ready[uid]
		if w.Wanted != upgrade.Unknown {
			need = min(need, w.Wanted)
		}
		if there && ready[uid] < need {
			waiting = append(waiting, upgrade.Waiting{Object: w.Ref, Reason: fmt.Sprintf("%d of %d pods are Ready%s", ready[uid], need, trouble[uid])})
		}
	}
	return waiting
}

// completeUpgrade has the provider delete the old nodes of a blue-green upgrade.
func (e *Engine) completeUpgrade(ctx context.Context, step upgrade.Step, pool upgrade.PoolPlan) error {
	operation, err := e.begun(ctx, step, func(ctx context.Context) (string, error) { return e.upgrader().CompleteUpgrade(ctx, pool.Name) })
	if err != nil {
		return fmt.Errorf("complete the upgrade of pool %s: %w", pool.Name, err)
	}
	if operation != "" {
		e.notes(step, operation)
		if err := e.save(ctx); err != nil {
			return err
		}
		if err := e.Upgrader.Await(ctx, operation, e.progress(step)); err != nil {
			return fmt.Errorf("complete the upgrade of pool %s: %w", pool.Name, err)
		}
	}
	now, err := e.known(ctx, pool.Name)
	switch {
	case err != nil:
		return err
	case now.Phase != "":
		return &Paused{
			Problem: fmt.Sprintf("GKE does not complete its upgrade of pool %s, which is in phase %s", pool.Name, now.Phase),
			Next:    []string{e.gcloudPool("complete-upgrade", pool.Name) + " # then: upshift resume"},
		}
	}
	return e.awaitUpgraded(ctx, pool)
}

// learnCompletions finds out about blue-green upgrades that were to be completed, where the answer was lost.
func (e *Engine) learnCompletions(ctx context.Context) error {
	for i, s := range e.run.Steps {
		if s.Kind != upgrade.CompleteUpgrade || s.StartedAt == nil || s.Operation != "" || s.State == upgrade.StepDone || s.State == upgrade.StepDropped {
			continue
		}
		now, err := e.known(ctx, s.Pool)
		if err != nil {
			return &undecided{fmt.Errorf("cannot tell whether the old nodes of pool %s are being deleted: %w", s.Pool, err)}
		}
		if now.Phase != upgrade.PhaseSoaking {
			e.run.Steps[i].Operation = "not known"
		}
	}
	return nil
}
