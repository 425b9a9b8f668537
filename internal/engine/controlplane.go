package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

const (
	// verifyTimeout is for the provider and the API server to say the version that an operation has ended with; the time in which the API is away
	// does not count.
	verifyTimeout = 5 * time.Minute
	// askEvery is how often the API server is asked for its version meanwhile, and while a control plane is upgraded whose API is to stay up.
	askEvery = time.Second
)

// upgradeControlPlane upgrades the control plane by one hop, and counts which of our requests failed meanwhile if its API is to stay up.
func (e *Engine) upgradeControlPlane(ctx context.Context, step upgrade.Step) error {
	staysUp := e.run.Plan.ControlPlane.StaysUp
	if !staysUp {
		e.progress(step)("the Kubernetes API is away meanwhile, for some minutes: that is expected")
	}
	if e.Calls == nil || !staysUp {
		return e.hop(ctx, step)
	}
	before := e.Calls()
	asking, stop := context.WithCancel(ctx)
	var asked sync.WaitGroup
	asked.Go(func() { e.keepAsking(asking) })
	err := e.hop(ctx, step)
	stop()
	asked.Wait()
	after := e.Calls()
	calls := upgrade.Calls{Made: after.Made - before.Made, Failed: after.Failed - before.Failed}
	if before := step.Calls; before != nil { // those of an earlier attempt
		calls.Made, calls.Failed = calls.Made+before.Made, calls.Failed+before.Failed
	}
	e.update(step.ID, func(s *upgrade.Step) { s.Calls = &calls })
	if err == nil {
		e.progress(step)(calls.String())
	}
	return err
}

// keepAsking makes a request every moment: without any, that none failed would prove nothing.
func (e *Engine) keepAsking(ctx context.Context) {
	for tick := time.NewTicker(askEvery); ; {
		select {
		case <-tick.C:
			_, _ = e.Cluster.Version(ctx) // what comes of it is counted where it is sent
		case <-ctx.Done():
			tick.Stop()
			return
		}
	}
}

// hop upgrades the control plane to the step's version. What nobody saw the end of, an operation on the control plane that began since the run did, is
// taken for the run's own.
func (e *Engine) hop(ctx context.Context, step upgrade.Step) error {
	err := e.change(ctx, step, func(ctx context.Context) (string, error) {
		return e.provider().UpgradeControlPlane(ctx, step.Version, e.run.StartedAt)
	})
	var unended *upgrade.Unended
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, new(*unrecorded)):
		return err
	case errors.As(err, &unended):
		return &Paused{
			Problem: fmt.Sprintf("upgrade the control plane to %s: %s; it goes on, and no node was touched", step.Version, unended),
			Next:    []string{"see how far it is: " + e.gcloud("operations describe "+unended.Operation) + "; resume waits for it again"},
		}
	case err != nil:
		return fmt.Errorf("upgrade the control plane to %s: %w; no node was touched", step.Version, err)
	}
	return e.verifyVersion(ctx, step)
}

// verifyVersion waits until both the provider and the API server say the step's version, or a newer one.
func (e *Engine) verifyVersion(ctx context.Context, step upgrade.Step) error {
	reached := func(version string) bool { return upgrade.CompareVersions(version, step.Version) >= 0 }
	deadline := time.Now().Add(verifyTimeout)
	told := ""
	for {
		of, err := e.Provider.ControlPlaneVersion(ctx)
		says := "the provider has the control plane at " + of
		if err == nil && reached(of) {
			of, err = e.Cluster.Version(ctx)
			says = "the API server says that it runs " + of
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil && reached(of):
			return nil
		case err != nil:
			says = err.Error()
		}
		if e.Cluster.State().Away {
			deadline = time.Now().Add(verifyTimeout)
		}
		if time.Now().After(deadline) {
			return &Paused{
				Problem: fmt.Sprintf("the operation is done, and after %s the control plane does not show version %s: %s", verifyTimeout, step.Version, says),
				Next:    []string{"see what it runs: " + e.gcloud("clusters describe "+e.run.Plan.Cluster.Name+" --format 'value(currentMasterVersion,status)'") + "; and: kubectl version"},
			}
		}
		if says != told {
			e.progress(step)(fmt.Sprintf("waits for version %s: %s", step.Version, says))
			told = says
		}
		select {
		case <-time.After(askEvery):
		case <-ctx.Done():
		}
	}
}

// onlyHops tells that the run has begun to upgrade the control plane, and nothing else.
func (e *Engine) onlyHops() bool {
	begun := false
	for _, s := range e.run.Steps {
		if s.StartedAt != nil && s.Kind != upgrade.UpgradeControlPlane {
			return false
		}
		begun = begun || s.StartedAt != nil
	}
	return begun
}

// controlPlaneLeft says what a run that ended without success leaves of the control plane, empty if it did not begin with it.
func (e *Engine) controlPlaneLeft() string {
	for _, s := range e.run.Hops() {
		if s.State == upgrade.StepFailed {
			return fmt.Sprintf("the control plane did not get to %s: look at what GKE says of it (%s), and upgrade again to go on", s.Version, e.gcloud("clusters describe "+e.run.Plan.Cluster.Name))
		}
		if s.StartedAt != nil && s.FinishedAt == nil {
			return fmt.Sprintf("the control plane was on its way to %s, which cannot be stopped or undone: see how far it is: %s; then upgrade again to go on",
				s.Version, e.gcloud("operations list --filter 'operationType=UPGRADE_MASTER AND status!=DONE'"))
		}
	}
	if now := e.run.ControlPlaneVersion(); now != e.run.Plan.Cluster.ControlPlaneVersion {
		return fmt.Sprintf("the control plane runs %s and stays there: it is not downgraded", now)
	}
	return ""
}

// gcloud is a command about the cluster.
func (e *Engine) gcloud(words string) string {
	c := e.run.Plan.Cluster
	return fmt.Sprintf("gcloud container %s --project %s --location %s", words, c.Project, c.Location)
}
