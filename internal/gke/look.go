package gke

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/status"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// Look implements the engine's Surroundings: it reads the cluster's pools, its maintenance policy and the operations under way, and tries again while
// GKE does not answer for a reason that may pass. What else a plan reads of the cluster is left out. A
// policy that is not understood, and operations that may not be listed, are said to be unread.
func (p *Provider) Look(ctx context.Context) (upgrade.Cluster, error) {
	wait := pollFirst
	for try := 1; ; try++ {
		c, err := p.lookOnce(ctx)
		if err == nil || ctx.Err() != nil || try == attempts || !passing(status.Code(err)) {
			return c, err
		}
		select {
		case <-time.After(wait):
			wait = min(2*wait, pollLast)
		case <-ctx.Done():
			return upgrade.Cluster{}, errors.Join(context.Cause(ctx), err)
		}
	}
}

func (p *Provider) lookOnce(ctx context.Context) (upgrade.Cluster, error) {
	cluster, err := p.get(ctx)
	if err != nil {
		return upgrade.Cluster{}, err
	}
	operations, unread := p.operations(ctx)
	if unread != nil && passing(status.Code(unread)) {
		return upgrade.Cluster{}, unread
	}
	c, err := Read(p.name, cluster, nil, operations, time.Now())
	if err != nil {
		return upgrade.Cluster{}, err
	}
	if unread != nil { // the plan has told that they may not be listed
		c.Unread[upgrade.ReadOperations] = unread.Error()
	}
	return c, nil
}

// Quotas implements the engine's Surroundings.
func (p *Provider) Quotas(ctx context.Context) ([]upgrade.Quota, error) { return p.quotas(ctx) }
