package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
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
	// metadata lists objects without their contents, and raw reads what is no object; nil where neither can be had.
	metadata metadata.Interface
	raw      rest.Interface
	host     string
	// pools says which nodes belong together.
	pools    Pools
	factory  informers.SharedInformerFactory
	listers  listers
	snapshot *snapshot

	mu      sync.Mutex
	changed chan struct{}
	// outage is what the lists and watches wait out; it has a lock of its own.
	outage outage
	// trouble is the latest error of a list or watch, and hopeless that waiting will not cure it.
	trouble  error
	troubled time.Time
	hopeless bool
}

// Watch connects to a cluster and returns once its caches are full. They follow the cluster until ctx is done.
func Watch(ctx context.Context, config *rest.Config, pools Pools) (*Cluster, error) {
	asking := reaching(config, func(base http.RoundTripper) http.RoundTripper { return marking{base} })
	client, err := kubernetes.NewForConfig(asking)
	if err != nil {
		return nil, fmt.Errorf("connect to the Kubernetes API at %s: %w", config.Host, err)
	}
	c := newCluster(client, pools)
	c.host, c.raw = config.Host, client.CoreV1().RESTClient()
	if c.metadata, err = metadata.NewForConfig(asking); err != nil {
		return nil, fmt.Errorf("connect to the Kubernetes API at %s: %w", config.Host, err)
	}
	watching, err := kubernetes.NewForConfig(reaching(config, func(base http.RoundTripper) http.RoundTripper { return patient{base, &c.outage} }))
	if err != nil {
		return nil, fmt.Errorf("connect to the Kubernetes API at %s: %w", config.Host, err)
	}
	if err := c.follow(ctx, watching); err != nil {
		return nil, err
	}
	return c, nil
}

// Follow is Watch through a client that is there already, which may be a fake one. It has no way to what is no object of the API: the
// Inventory is without the use of API versions then, and says so.
func Follow(ctx context.Context, client kubernetes.Interface, pools Pools) (*Cluster, error) {
	c := newCluster(client, pools)
	if err := c.follow(ctx, client); err != nil {
		return nil, err
	}
	return c, nil
}

// Probe returns a function that asks the API server for its version, once, and says why there is no answer, nil if there is one, whatever it is.
func Probe(config *rest.Config) (reason func(context.Context) error, err error) {
	client, err := kubernetes.NewForConfig(reaching(config, func(base http.RoundTripper) http.RoundTripper { return marking{base} }))
	if err != nil {
		return nil, fmt.Errorf("connect to the Kubernetes API at %s: %w", config.Host, err)
	}
	c := newCluster(client, Pools{})
	return func(ctx context.Context) error {
		if _, err := c.Version(ctx); away(err) {
			return err
		}
		return nil
	}, nil
}

func newCluster(client kubernetes.Interface, pools Pools) *Cluster {
	c := &Cluster{client: client, pools: pools, changed: make(chan struct{})}
	c.outage.changed = c.outageChanged
	return c
}

// Host is the address of the API server.
func (c *Cluster) Host() string { return c.host }

// follow fills the caches through a client of their own, and keeps them up to date until ctx is done.
func (c *Cluster) follow(ctx context.Context, client kubernetes.Interface) (err error) {
	c.factory = informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(trim))
	c.listers = newListers(c.factory)
	c.snapshot = newSnapshot(c.listers, c.pools)
	var synced []cache.InformerSynced
	for kind, informer := range c.listers.informers {
		changed := func(object any) {
			c.snapshot.mark(kind, object)
			c.bump()
		}
		registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: changed, UpdateFunc: func(_, object any) { changed(object) }, DeleteFunc: changed,
		})
		if err != nil {
			return fmt.Errorf("watch the cluster: %w", err)
		}
		if err := informer.SetWatchErrorHandler(c.watchFailed); err != nil {
			return fmt.Errorf("watch the cluster: %w", err)
		}
		synced = append(synced, registration.HasSynced)
	}
	following, stop := context.WithCancel(ctx)
	defer func() {
		if err != nil {
			stop() // else the caches would wait for the API for ever
		}
	}()
	c.factory.StartWithContext(following)
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
		if reason := c.outage.reason(); reason != nil && !hopeless {
			trouble = reason
		}
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("read the cluster: %w", context.Cause(ctx))
		case hopeless:
			return fmt.Errorf("read the cluster: %w", trouble)
		}
		return fmt.Errorf("read the cluster: its Kubernetes API gave no complete answer in %s: %w", syncTimeout, errors.Join(context.Cause(syncing), trouble))
	}
	return nil
}

// watchFailed notes an error of a list or watch. The reflector tries again by itself.
func (c *Cluster) watchFailed(_ *cache.Reflector, err error) {
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return // how watches end in the best of worlds
	}
	c.mu.Lock()
	c.trouble, c.troubled = err, time.Now()
	// Credentials, permissions and certificates.
	c.hopeless = c.hopeless || apierrors.IsUnauthorized(err) || apierrors.IsForbidden(err) || untrusted(err)
	c.mu.Unlock()
	c.bump()
}

func (c *Cluster) watchTrouble() (hopeless bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hopeless, c.trouble
}

// outageChanged is called when the API goes away or is back. What a connection said meanwhile is no trouble any more then.
func (c *Cluster) outageChanged(away bool) {
	c.mu.Lock()
	var status apierrors.APIStatus
	if !away && !errors.As(c.trouble, &status) {
		c.trouble = nil
	}
	c.mu.Unlock()
	c.bump()
}

// staleness is why the caches may be behind, empty if all is well, and whether that is because the API is away.
func (c *Cluster) staleness() (trouble string, away bool) {
	if reason := c.outage.reason(); reason != nil {
		return reason.Error(), true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trouble == nil || time.Since(c.troubled) > troubleLasts {
		return "", false
	}
	return c.trouble.Error(), false
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
	trouble, away := c.staleness() // first: what is read once the API is back is no older than that
	s := c.snapshot.state(time.Now())
	s.Trouble, s.Away = trouble, away
	return s
}
