// Package gkeemu emulates as much of GKE's API as an upgrade by node pools needs. A real gRPC server on loopback serves the
// real client library, and what it does to node pools it does to the Node objects of a real Kubernetes API:
//
//	srv, err := gkeemu.Start(ctx, gkeemu.Options{Timing: gkeemu.Timing{CreateNodePool: 5 * time.Second}})
//	cluster := gkeemu.Cluster{Project: "p", Location: "europe-west1", Name: "cluster-1", Version: "1.34.2-gke.100", Kube: clientset}
//	err = srv.AddCluster(cluster)
//	err = srv.AddPool(ctx, cluster.Path(), &containerpb.NodePool{Name: "default-pool", InitialNodeCount: 1}, "")
//
// Served are GetCluster, GetServerConfig, UpdateMaster (and UpdateCluster, for the same), CreateNodePool, GetNodePool, ListNodePools,
// UpdateNodePool (versions, upgrade settings, drain configuration), CompleteNodePoolUpgrade, RollbackNodePoolUpgrade, DeleteNodePool,
// SetNodePoolAutoscaling, GetOperation, ListOperations and CancelOperation, with resource names in the modern form
// (projects/P/locations/L/clusters/C). What GKE only tells of a cluster (its maintenance policy, who manages it, how full its address
// ranges are) it tells as it is given. Any other call answers Unimplemented, is logged as an error and shows up in
// [Server.Unimplemented]. Over HTTP, Resource Manager's projects.testIamPermissions and Compute Engine's regions.get are served, of
// which [Server.Deny] and [Server.SetQuota] decide the answers.
//
// An upgrade is rolled back after it was cancelled or has failed, not while it is under way; GKE itself begins one with
// [Server.StartAutoUpgrade]. Where GKE's documentation says nothing it is: a pool shows its old version until its upgrade is complete,
// and an operation that was cancelled is DONE without an error, and says so in its detail.
//
// It differs from GKE where a test is better served. Creating a pool refuses output-only fields, so that a clone that forgot
// to clear one is found out. One operation at a time may change a cluster, whatever it changes. Deleting a pool does not
// drain it: what still runs there is killed, and [Server.PodsKilled] tells. Nothing scales by itself, credentials are not
// asked for, and only an upgrade waits until its nodes are Ready.
package gkeemu

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"google.golang.org/grpc"
)

// Options of an emulator; the zero value is a good one for unit tests.
type Options struct {
	// Timing is how long operations take; zero: no time at all.
	Timing Timing
	// ServerConfig are the versions on offer, in every location; nil: [DefaultServerConfig].
	ServerConfig *containerpb.ServerConfig
	// Log gets a line for each change, and an error for each call that is not emulated; nil: slog.Default().
	Log *slog.Logger
}

// Timing is how long operations stay PENDING, and RUNNING by their kind. Nodes come and go evenly over the latter.
type Timing struct {
	Pending, CreateNodePool, DeleteNodePool, SetNodePoolAutoscaling time.Duration
	// UpgradeMaster is the least time for an upgrade of the control plane, and MasterAway how long the API of a zonal cluster is away in it.
	UpgradeMaster, MasterAway time.Duration
	// UpdateNodePool is for a change of a pool's settings.
	UpdateNodePool time.Duration
	// UpgradeNode is for every machine that an upgrade makes, before its Node is there.
	UpgradeNode time.Duration
	// ForceAfter is how long a drain waits for PDBs, and for each pod to stop, before it kills, unless the pool's node_drain_config says; 0: an
	// hour, as GKE.
	ForceAfter time.Duration
}

// Server is a running emulator. Its methods may be called by several goroutines at once.
type Server struct {
	options  Options
	log      *slog.Logger
	listener net.Listener
	grpc     *grpc.Server
	ctx      context.Context // of the operations, which outlive the requests that began them
	cancel   context.CancelFunc
	work     sync.WaitGroup

	mu         sync.Mutex
	clusters   map[string]*cluster // by path
	operations []*operation        // in the order in which they began
	faults     []*Fault
	calls      []Call
	killed     []PodKilled
	project    project
}

// Start listens on a free port of 127.0.0.1. The emulator ends with [Server.Close] or with ctx.
func Start(ctx context.Context, options Options) (*Server, error) {
	if options.ServerConfig == nil {
		options.ServerConfig = DefaultServerConfig()
	}
	if options.Log == nil {
		options.Log = slog.Default()
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the GKE emulator: %w", err)
	}
	others, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("start the emulator of Google's other APIs: %w", err)
	}
	s := &Server{
		options:  options,
		log:      options.Log.With("component", "gke-emulator"),
		listener: listener,
		clusters: map[string]*cluster{},
	}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.grpc = grpc.NewServer(
		grpc.UnaryInterceptor(s.intercept),
		grpc.UnknownServiceHandler(s.unknown),
		grpc.WaitForHandlers(true), // no operation begins after Close
	)
	containerpb.RegisterClusterManagerServer(s.grpc, &service{Server: s})
	s.work.Go(func() {
		if err := s.grpc.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			s.log.Error("serve", "error", err)
		}
	})
	s.serveProject(others)
	context.AfterFunc(s.ctx, s.grpc.Stop)                             //nolint:contextcheck // s.ctx is a child of ctx
	context.AfterFunc(s.ctx, func() { _ = s.project.server.Close() }) //nolint:contextcheck // and so here
	return s, nil
}

// URL is "http://127.0.0.1:PORT/", fit for CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER: gRPC without TLS and credentials.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() + "/" }

// Close breaks every connection, abandons running operations where they are, and waits for both.
// It may be called more than once.
func (s *Server) Close() {
	s.cancel()
	s.grpc.Stop()
	_ = s.project.server.Close()
	s.work.Wait()
}
