package testbed

import (
	"context"

	"github.com/upshift-k8s/upshift/internal/lab"
)

// controlPlane is the lab's API for the GKE emulator: every upgrade starts a server, so that clients meet one that remembers nothing.
type controlPlane struct {
	lab  *lab.Lab
	take func(version string) // puts the server in front that Away has started
}

// Away implements [gkeemu.ControlPlane].
func (c *controlPlane) Away(ctx context.Context) (err error) {
	if c.take, err = c.lab.Renew(ctx); err == nil {
		c.lab.Proxy().Cut()
	}
	return err
}

// Back implements [gkeemu.ControlPlane].
func (c *controlPlane) Back(version string) error {
	c.take("v" + version)
	return c.lab.Proxy().Restore()
}

// Move implements [gkeemu.ControlPlane].
func (c *controlPlane) Move(ctx context.Context, version string) error {
	take, err := c.lab.Renew(ctx)
	if err == nil {
		take("v" + version)
	}
	return err
}
