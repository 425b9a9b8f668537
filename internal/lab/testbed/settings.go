package testbed

import (
	"context"
	"strings"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
)

// ShortTokens has the credentials hand out tokens that the cluster takes for so long, and of which it is told that they live for as long as told.
func (b *Testbed) ShortTokens(lifetime, told time.Duration) {
	b.credentials.Short(func() (string, time.Duration) { return b.Lab.Proxy().Pass(lab.Upshift, lifetime), told })
}

// SetMaintenance changes when GKE says that the cluster may be maintained.
func (b *Testbed) SetMaintenance(policy *containerpb.MaintenancePolicy) error {
	return b.GKE.SetMaintenance(b.path, policy)
}

// UseDNS gives the cluster a DNS endpoint, localhost, whose certificate the lab's authority has signed.
func (b *Testbed) UseDNS() error {
	_, port, _ := strings.Cut(b.Lab.Endpoint(), ":")
	return b.GKE.SetDNSEndpoint(b.path, "localhost:"+port)
}

// Autoscale begins to scale the pools that have autoscaling.
func (b *Testbed) Autoscale(ctx context.Context, idle time.Duration) *gkeemu.Autoscaler {
	return b.GKE.Autoscale(ctx, b.path, idle)
}
