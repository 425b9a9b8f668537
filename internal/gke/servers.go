package gke

import "context"

// LowestServer implements the engine's Provider: GKE tells one version, which is the control plane's once all of its servers run it.
func (p *Provider) LowestServer(ctx context.Context) (string, error) {
	c, err := p.Cluster(ctx)
	return c.ControlPlaneVersion, err
}
