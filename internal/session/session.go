// Package session is what every surface does with one cluster: reach it, read it, make a plan, take its lease, carry out a run, and
// ask something of a run that another process carries out. It puts the engine and the adapters together and prints nothing: a
// surface is told through errors, return values and the functions that it gives.
package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/client-go/rest"

	"github.com/upshift-k8s/upshift/internal/engine"
	"github.com/upshift-k8s/upshift/internal/gke"
	"github.com/upshift-k8s/upshift/internal/kube"
	"github.com/upshift-k8s/upshift/internal/preflight"
	"github.com/upshift-k8s/upshift/internal/runstore"
	"github.com/upshift-k8s/upshift/internal/selfmanaged"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// Target is which cluster, and how it is reached.
type Target struct {
	// Provider is upgrade.GKE or upgrade.SelfManaged; of a self-managed cluster the Name has no more than Cluster.
	Provider string
	Name     gke.Name
	// Kube reaches the cluster's Kubernetes API, nil for the endpoint that GKE tells.
	Kube *rest.Config
	// PoolLabel is the label of nodes that names their pool, on a self-managed cluster.
	PoolLabel string
	// Endpoint is one of gke.Endpoints, for a nil Kube.
	Endpoint string
	// APIs are where Google's APIs are.
	APIs gke.APIs
	// Namespace is where runs are recorded.
	Namespace string
	// UserAgent is how the process names itself to the APIs.
	UserAgent string
}

// Session is one process's connection to one cluster. Its methods may be called by several goroutines at once.
type Session struct {
	target   Target
	provider provider
	kube     *rest.Config
	store    *runstore.Store
	// tally counts all that is asked of the Kubernetes API.
	tally kube.Tally
}

// provider is what a session needs of who knows the cluster's pools.
type provider interface {
	engine.Provider
	Cluster(ctx context.Context) (upgrade.Cluster, error)
	Close() error
}

// WrongCluster is the error for a kubeconfig that leads to another cluster than the one that is named.
type WrongCluster struct {
	Host string
	Name gke.Name
}

func (w *WrongCluster) Error() string {
	return fmt.Sprintf("kubeconfig: its current context leads to %s, which is not %s: GKE gives that cluster another address and certificate", w.Host, w.Name)
}

// BadRequest is the error for a plan that was asked for in a way that only the cluster could tell to be wrong.
type BadRequest struct{ err error }

func (b *BadRequest) Error() string { return b.err.Error() }
func (b *BadRequest) Unwrap() error { return b.err }

// Connect finds out how the cluster is reached, and that it is the one that is meant.
func Connect(ctx context.Context, t Target) (_ *Session, err error) {
	s := &Session{target: t}
	if t.Provider == upgrade.SelfManaged {
		s.kube = t.Kube
		s.provider, err = selfmanaged.Connect(t.Kube, t.Name.Cluster, t.PoolLabel)
	} else {
		s.provider, s.kube, err = connectGKE(ctx, t)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.provider.Close())
		}
	}()
	s.kube = kube.Counted(s.kube, &s.tally)
	if s.store, err = runstore.Open(s.kube, t.Namespace); err != nil {
		return nil, err
	}
	return s, nil
}

// connectGKE connects to GKE, and finds out how the cluster's Kubernetes API is reached.
func connectGKE(ctx context.Context, t Target) (provider, *rest.Config, error) {
	p, err := gke.Connect(ctx, t.Name, t.APIs, t.UserAgent)
	if err != nil {
		return nil, nil, err
	}
	config, err := reach(ctx, p, t)
	if err != nil {
		return nil, nil, errors.Join(err, p.Close())
	}
	return p, config, nil
}

// reach returns how to reach the cluster's Kubernetes API, and makes sure that it is that cluster's.
func reach(ctx context.Context, p *gke.Provider, t Target) (*rest.Config, error) {
	if t.Kube == nil {
		access, err := p.Access(ctx, t.Endpoint)
		if err != nil {
			return nil, err
		}
		return kube.ConfigForEndpoint(access.Host, access.CA, access.Tokens, t.UserAgent), nil
	}
	ca, err := kube.CA(t.Kube)
	if err != nil {
		return nil, err
	}
	same, err := p.Recognizes(ctx, t.Kube.Host, ca)
	if err != nil {
		return nil, err
	}
	if !same {
		return nil, &WrongCluster{Host: t.Kube.Host, Name: t.Name}
	}
	return t.Kube, nil
}

// Close closes the connection to the provider.
func (s *Session) Close() error { return s.provider.Close() }

// Host is the address of the cluster's Kubernetes API.
func (s *Session) Host() string { return s.kube.Host }

// Store is where the cluster's runs are recorded.
func (s *Session) Store() *runstore.Store { return s.store }

// Plan reads the cluster and says what an upgrade of it would do. A BadRequest is an error about what was asked for.
func (s *Session) Plan(ctx context.Context, o upgrade.Options) (upgrade.Plan, error) {
	cluster, err := s.provider.Cluster(ctx)
	if err != nil {
		return upgrade.Plan{}, err
	}
	reading, done := context.WithCancel(ctx)
	defer done()
	watched, err := kube.Watch(reading, s.kube, kube.PoolsOf(cluster))
	if err != nil {
		return upgrade.Plan{}, err
	}
	return s.build(ctx, cluster, watched, o)
}

// build makes a plan of what the provider has just said, and of what is read of the Kubernetes API now.
func (s *Session) build(ctx context.Context, cluster upgrade.Cluster, watched *kube.Cluster, o upgrade.Options) (upgrade.Plan, error) {
	state, inventory, err := watched.Survey(ctx, runstore.Needs(s.target.Namespace))
	switch {
	case ctx.Err() != nil:
		return upgrade.Plan{}, fmt.Errorf("read the cluster: %w", context.Cause(ctx))
	case err != nil:
		return upgrade.Plan{}, fmt.Errorf("read the cluster: %w", err)
	}
	plan, err := upgrade.BuildPlan(upgrade.Snapshot{
		TakenAt: time.Now().UTC().Truncate(time.Second), Cluster: cluster, State: state, Inventory: inventory,
	}, o, preflight.Inspect)
	if err != nil {
		return upgrade.Plan{}, &BadRequest{err}
	}
	return plan, nil
}

// State reads what the Kubernetes API knows of a cluster of which the provider has told before.
func (s *Session) State(ctx context.Context, c upgrade.Cluster) (upgrade.State, error) {
	ctx, done := context.WithCancel(ctx)
	defer done() // the caches are full, and what comes later is not asked for
	cluster, err := kube.Watch(ctx, s.kube, kube.PoolsOf(c))
	if err != nil {
		return upgrade.State{}, err
	}
	return cluster.State(), nil
}
