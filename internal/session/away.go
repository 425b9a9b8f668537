package session

import (
	"context"
	"fmt"
	"time"

	"github.com/upshift-k8s/upshift/internal/kube"
)

// outages is a provider that takes the Kubernetes API away itself, for a time that it knows.
type outages interface {
	// UpgradingControlPlane is the operation that upgrades the control plane now, whoever began it, empty for none. It tries again by itself what may pass.
	UpgradingControlPlane(ctx context.Context) (operation string, err error)
}

// askEvery is how often the API is tried, and lookEvery how often the provider is asked meanwhile whether its operation is still under way.
const (
	askEvery  = time.Second
	lookEvery = 5 * time.Second
)

// AwaitAPI waits for a Kubernetes API that is away because its provider upgrades the control plane, as long as the provider says so, and tells what it
// waits for. It tells whether it has waited. Of an API that is away for another reason whoever needs it will hear.
func (s *Session) AwaitAPI(ctx context.Context, tell func(string)) (waited bool, err error) {
	provider, ok := s.provider.(outages)
	if !ok {
		return false, nil
	}
	away, err := kube.Probe(s.kube)
	if err != nil {
		return false, err
	}
	var since, looked time.Time
	for {
		reason := away(ctx)
		switch {
		case ctx.Err() != nil:
			return waited, fmt.Errorf("wait for the Kubernetes API: %w", context.Cause(ctx))
		case reason == nil && waited:
			tell(fmt.Sprintf("the Kubernetes API is back, after %s", time.Since(since).Round(time.Second)))
			return true, nil
		case reason == nil:
			return false, nil
		}
		if time.Since(looked) >= lookEvery {
			operation, err := provider.UpgradingControlPlane(ctx)
			if err != nil || operation == "" {
				return waited, nil //nolint:nilerr // what is wrong is that the API is away, as its caller will see
			}
			looked = time.Now()
			if !waited {
				waited, since = true, looked
				tell(fmt.Sprintf("the Kubernetes API is away (%s), since GKE upgrades the control plane: waits from %s on, for as long as its operation %s runs; see how far it is: "+
					"gcloud container operations describe %s --project %s --location %s",
					reason, since.UTC().Format("15:04:05 UTC"), operation, operation, s.target.Name.Project, s.target.Name.Location))
			}
		}
		select {
		case <-time.After(askEvery):
		case <-ctx.Done():
		}
	}
}
