// Package lab runs a real Kubernetes control plane on this machine, for the demo, the scenario tests and the benchmark:
// etcd, kube-apiserver, kube-controller-manager and kube-scheduler, and KWOK in place of the kubelets. Evictions, PDBs,
// scheduling and every controller are the real ones; only containers are missing. A TLS proxy stands in front of the API
// server ([Proxy]): it claims the version that the emulated cluster has, counts requests by user and cuts the API off on demand,
// and goes over to another API server of the cluster ([Lab.Renew]).
//
// Nodes and pods behave as their annotations say. Durations are Go's ("1.5s"), exact to some milliseconds on an idle machine:
//
//	Node  lab.upshift.dev/start-up         how long after its creation the node becomes Ready (default: at once); "never"
//	Node  lab.upshift.dev/kubelet-version  status.nodeInfo.kubeletVersion, verbatim (default: the control plane's own)
//	Node  lab.upshift.dev/allocatable      capacity and allocatable: "cpu=4,memory=16Gi,pods=110", which is also the default
//	Pod   lab.upshift.dev/start-up         how long after it was bound to a node the pod becomes Ready (default: at once); "never"
//	Pod   lab.upshift.dev/stop             how long it takes to stop once deleted, at most its grace period (default: all of it)
//	Pod   lab.upshift.dev/run-for          how long after it became Ready the pod succeeds: for Jobs (default: it runs on)
//
// As with a kubelet, a stopping pod stays Ready until it has stopped, ends in a terminal phase, and is gone then.
// A node's heartbeat is its status; there are no node Leases. Pods get addresses in 10.64.0.0/10, nodes in 10.128.0.0/9.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"k8s.io/client-go/rest"
)

// The annotations that nodes and pods of a lab obey; the package comment says how.
const (
	AnnotationStartUp        = "lab.upshift.dev/start-up"
	AnnotationStop           = "lab.upshift.dev/stop"
	AnnotationRunFor         = "lab.upshift.dev/run-for"
	AnnotationKubeletVersion = "lab.upshift.dev/kubelet-version"
	AnnotationAllocatable    = "lab.upshift.dev/allocatable"
)

// Never is the [AnnotationStartUp] of a node or pod that does not become Ready.
const Never = "never"

// Options of a lab; the zero value is a good one.
type Options struct {
	// Version is what the cluster's API claims to be in /version, such as "v1.33.5-gke.1162000"; empty: what it really is.
	Version string
	// LogDir keeps each component's log as NAME.log after the lab is gone; empty: the logs go with it.
	LogDir string
	// Progress gets a line now and then while the control plane is built for the first time; nil: nobody is told.
	Progress io.Writer
	// FastControllers lifts the client-side rate limits of the controllers and the scheduler (stock: 20 and 50 requests per second).
	FastControllers bool
}

// Lab is a running cluster. Its methods may be called by several goroutines at once.
type Lab struct {
	dir      string
	logDir   string
	users    users
	ca       authority
	api      *port // the API server's own
	proxy    *Proxy
	lifeline *lifeline
	binary   string

	mu       sync.Mutex
	children []*child // in the order in which they were started
	servers  int      // how many API servers there have been beside the first
	ended    bool     // no child is started any more

	closing  sync.Once
	over     chan struct{} // closed when the lab has ended; what follows is then set for good
	closeErr error
	cause    error
}

// Start boots a cluster and returns once pods can become Ready in it, which takes some seconds; the first time on a
// machine the control plane is built before ([Binary]). The cluster ends with [Lab.Close], with ctx, and with this process,
// however that goes. When a component dies on the way, the error ends with the last lines of its log.
func Start(ctx context.Context, options Options) (*Lab, error) {
	binary, err := Binary(ctx, options.Progress)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "upshift-lab-")
	if err != nil {
		return nil, fmt.Errorf("create the lab's directory: %w", err)
	}
	l := &Lab{dir: dir, logDir: options.LogDir, binary: binary, over: make(chan struct{})}
	if l.logDir == "" {
		l.logDir = filepath.Join(dir, "log")
	}
	if err := l.boot(ctx, options); err != nil {
		return nil, errors.Join(fmt.Errorf("boot the lab: %w", err), l.Close())
	}
	for _, c := range l.children {
		go l.follow(c)
	}
	go func() {
		select {
		case <-ctx.Done():
			l.end(nil)
		case <-l.over:
		}
	}()
	return l, nil
}

// Close ends the cluster, component by component in the reverse order of their start, and removes its directory.
// Every call waits until that is done; the second and later ones return what the first did.
func (l *Lab) Close() error {
	l.end(nil)
	return l.closeErr
}

// end closes the lab for a reason, nil if somebody wanted it.
func (l *Lab) end(cause error) {
	l.closing.Do(func() {
		l.cause = cause
		if l.proxy != nil {
			l.proxy.close()
		}
		l.mu.Lock()
		l.ended = true
		children := slices.Clone(l.children)
		l.mu.Unlock()
		for _, c := range slices.Backward(children) {
			c.kill()
		}
		if l.api != nil {
			l.api.release()
		}
		if l.lifeline != nil {
			l.lifeline.cut()
		}
		if err := os.RemoveAll(l.dir); err != nil {
			l.closeErr = fmt.Errorf("remove the lab's directory: %w", err)
		}
		close(l.over)
	})
}

// Done is closed when the lab has ended: by [Lab.Close], with its context, or because a component died.
func (l *Lab) Done() <-chan struct{} { return l.over }

// Err is nil until the lab has ended, and after that if it was meant to; else it names the component that died, with the last
// lines of its log.
func (l *Lab) Err() error {
	select {
	case <-l.over:
		return l.cause
	default:
		return nil
	}
}

// Dir is the lab's directory, which goes when the lab does, whatever else was put into it.
func (l *Lab) Dir() string { return l.dir }

// Endpoint is the address of the cluster's API, "127.0.0.1:PORT": the proxy's.
func (l *Lab) Endpoint() string { return l.proxy.Addr() }

// CA is the PEM certificate that signs for the proxy and for the API server.
func (l *Lab) CA() []byte { return l.ca.pem }

// Proxy stands in front of the API server.
func (l *Lab) Proxy() *Proxy { return l.proxy }

// Token is the bearer token of one of [Users]; empty for anybody else.
func (l *Lab) Token(user string) string { return l.users[user] }

// Config connects one of [Users] through the proxy, with client-go's usual rate limit. Others are refused with 401.
func (l *Lab) Config(user string) *rest.Config { return l.config(l.Endpoint(), user) }

// DirectConfig connects one of [Users] straight to the API server, the first one, and without a rate limit: for observers and emulators,
// which should neither be counted nor be cut off.
func (l *Lab) DirectConfig(user string) *rest.Config {
	return l.direct(l.api, user)
}

func (l *Lab) direct(api *port, user string) *rest.Config {
	config := l.config(api.addr(), user)
	config.QPS = -1
	return config
}

func (l *Lab) config(addr, user string) *rest.Config {
	return &rest.Config{
		Host:            "https://" + addr,
		BearerToken:     l.Token(user),
		TLSClientConfig: rest.TLSClientConfig{CAData: l.CA()},
		UserAgent:       "lab/" + user,
	}
}

// Logs are the last n lines of each component's log, for a person to read.
func (l *Lab) Logs(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []byte
	for _, c := range l.children {
		out = fmt.Appendf(out, "--- %s\n%s\n", c.name, c.tail(n))
	}
	return string(out)
}
