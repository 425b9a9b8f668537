package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// syncTimeout bounds the first read of everything; thousands of pods take seconds.
const syncTimeout = time.Minute

// troubleLasts is how long after its last error a watch is taken to be broken: client-go tries again after 30 s at most, so one that
// is still broken has failed again by then.
const troubleLasts = 45 * time.Second

// Cluster is a Kubernetes cluster, with caches that follow it. It is safe for concurrent use.
type Cluster struct {
	client kubernetes.Interface
	host   string
	// poolLabel is the node label that names a node's pool.
	poolLabel string
	factory   informers.SharedInformerFactory
	listers   listers

	mu      sync.Mutex
	changed chan struct{}
	// trouble is the latest error of a list or watch, and hopeless that waiting will not cure it.
	trouble  error
	troubled time.Time
	hopeless bool
}

// Watch connects to a cluster and returns once its caches are full. They follow the cluster until ctx is done.
func Watch(ctx context.Context, config *rest.Config, poolLabel string) (*Cluster, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connect to the Kubernetes API at %s: %w", config.Host, err)
	}
	c, err := watch(ctx, client, poolLabel)
	if err != nil {
		return nil, err
	}
	c.host = config.Host
	return c, nil
}

// Host is the address of the API server.
func (c *Cluster) Host() string { return c.host }

func watch(ctx context.Context, client kubernetes.Interface, poolLabel string) (*Cluster, error) {
	c := &Cluster{
		client: client, poolLabel: poolLabel, changed: make(chan struct{}),
		factory: informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(stripManagedFields)),
	}
	c.listers = newListers(c.factory)
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { c.bump() }, UpdateFunc: func(any, any) { c.bump() }, DeleteFunc: func(any) { c.bump() },
	}
	var synced []cache.InformerSynced
	for _, informer := range c.listers.informers {
		registration, err := informer.AddEventHandler(handler)
		if err != nil {
			return nil, fmt.Errorf("watch the cluster: %w", err)
		}
		if err := informer.SetWatchErrorHandler(c.watchFailed); err != nil {
			return nil, fmt.Errorf("watch the cluster: %w", err)
		}
		synced = append(synced, registration.HasSynced)
	}
	c.factory.StartWithContext(ctx)
	syncing, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	go func() {
		// What cannot succeed by waiting ends the wait: credentials, permissions, a wrong address.
		for syncing.Err() == nil {
			changed := c.Changed()
			if hopeless, _ := c.watchTrouble(); hopeless {
				cancel()
			}
			select {
			case <-changed:
			case <-syncing.Done():
			}
		}
	}()
	if !cache.WaitForCacheSync(syncing.Done(), synced...) {
		hopeless, trouble := c.watchTrouble()
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("read the cluster: %w", context.Cause(ctx))
		case hopeless:
			return nil, fmt.Errorf("read the cluster: %w", trouble)
		}
		return nil, fmt.Errorf("read the cluster: its Kubernetes API gave no complete answer in %s: %w", syncTimeout, errors.Join(context.Cause(syncing), trouble))
	}
	return c, nil
}

// watchFailed notes an error of a list or watch. The reflector tries again by itself.
func (c *Cluster) watchFailed(_ *cache.Reflector, err error) {
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return // how watches end in the best of worlds
	}
	c.mu.Lock()
	c.trouble, c.troubled = err, time.Now()
	// Credentials and permissions.
	c.hopeless = c.hopeless || apierrors.IsUnauthorized(err) || apierrors.IsForbidden(err)
	c.mu.Unlock()
	c.bump()
}

func (c *Cluster) watchTrouble() (hopeless bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hopeless, c.trouble
}

// staleness is why the caches may be behind, empty if all is well.
func (c *Cluster) staleness() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trouble == nil || time.Since(c.troubled) > troubleLasts {
		return ""
	}
	return c.trouble.Error()
}

func (c *Cluster) bump() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.changed)
	c.changed = make(chan struct{})
}

// Changed implements the engine's Cluster.
func (c *Cluster) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// State implements the engine's Cluster.
func (c *Cluster) State() upgrade.State {
	s := c.listers.state(c.poolLabel, time.Now())
	s.Trouble = c.staleness()
	return s
}

// stripManagedFields drops what nobody here reads and what takes most of a cache's memory.
func stripManagedFields(object any) (any, error) {
	if accessor, err := meta.Accessor(object); err == nil {
		accessor.SetManagedFields(nil)
	}
	return object, nil
}
