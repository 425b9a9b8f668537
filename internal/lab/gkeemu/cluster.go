package gkeemu

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"k8s.io/client-go/kubernetes"
)

// Cluster is a cluster to emulate.
type Cluster struct {
	// Project, Location and Name identify it; a location such as "europe-west1" makes it regional, "europe-west1-b" zonal.
	Project, Location, Name string
	// Version is its control plane's to begin with, such as "1.34.2-gke.100".
	Version string
	// Zones are where pools have their nodes unless they say otherwise; empty: the zone of a zonal cluster, -b, -c and -d of a region.
	Zones []string
	// Channel is its release channel; zero: none.
	Channel containerpb.ReleaseChannel_Channel
	// Endpoint is the address of its Kubernetes API, such as "127.0.0.1:6443", and CA the PEM certificate that signs for it.
	Endpoint string
	CA       []byte
	// Kube is where its Nodes are made; no two clusters share one.
	Kube kubernetes.Interface
	// ControlPlane is what the upgrade of its control plane does to its Kubernetes API; nil: nothing.
	ControlPlane ControlPlane
	// NodeStartUp is the start-up of nodes that operations make, as package lab understands it: "2s", "never". Of several,
	// as in "0s,1m", the nodes of a pool take theirs in turn.
	NodeStartUp string
	// Template has further fields of what GetCluster returns, such as a maintenance policy or resource labels; nil: none. With Autopilot on, its
	// pools cannot be changed.
	Template *containerpb.Cluster
}

// Path is the cluster's resource name, projects/P/locations/L/clusters/C.
func (c Cluster) Path() string {
	return fmt.Sprintf("projects/%s/locations/%s/clusters/%s", c.Project, c.Location, c.Name)
}

// link is the URL of something in the cluster's project and location.
func (c Cluster) link(path string) string {
	kind := "locations"
	if zonal(c.Location) {
		kind = "zones"
	}
	return fmt.Sprintf("https://container.googleapis.com/v1/projects/%s/%s/%s/%s", c.Project, kind, c.Location, path)
}

// cluster is guarded by the server's mutex, except for its spec, which does not change.
type cluster struct {
	spec    Cluster
	version string // of the control plane
	created time.Time
	pools   []*pool
	busy    *operation // the one that changes the cluster now, or nil
	dns     string     // the DNS endpoint, empty for none
}

func (c *cluster) link() string { return c.spec.link("clusters/" + c.spec.Name) }

// AddCluster makes a cluster known. It has no pools yet.
func (s *Server) AddCluster(spec Cluster) error {
	if len(spec.Zones) == 0 {
		spec.Zones = []string{spec.Location}
		if !zonal(spec.Location) {
			spec.Zones = []string{spec.Location + "-b", spec.Location + "-c", spec.Location + "-d"}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clusters[spec.Path()] != nil {
		return status.Errorf(codes.AlreadyExists, "Already exists: %s.", spec.Path())
	}
	s.clusters[spec.Path()] = &cluster{spec: spec, version: spec.Version, created: time.Now()}
	return nil
}

// AddPool makes a pool with its Nodes at once and without an operation, as a pool that has always been there. Unlike
// CreateNodePool it takes any version, and keeps output-only fields that the emulator does not set itself.
// StartUp is that of its nodes, as [Cluster.NodeStartUp] says; empty: at once.
func (s *Server) AddPool(ctx context.Context, clusterPath string, pb *containerpb.NodePool, startUp string) error {
	p, err := s.register(clusterPath, pb, startUp)
	if err != nil {
		return fmt.Errorf("add pool %s: %w", pb.GetName(), err)
	}
	for _, n := range p.newNodes() {
		if err := p.createNode(ctx, n); err != nil {
			return fmt.Errorf("add pool %s: %w", pb.GetName(), err)
		}
	}
	return nil
}

func (s *Server) register(clusterPath string, pb *containerpb.NodePool, startUp string) (*pool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.cluster(clusterPath)
	if err != nil {
		return nil, err
	}
	if err := c.vacant(pb.GetName()); err != nil {
		return nil, err
	}
	return c.add(proto.CloneOf(pb), startUp), nil
}

// cluster finds a cluster by its path; the caller holds the mutex.
func (s *Server) cluster(path string) (*cluster, error) {
	if _, err := parse(path, "projects", "locations", "clusters"); err != nil {
		return nil, err
	}
	if c := s.clusters[path]; c != nil {
		return c, nil
	}
	return nil, notFound(path)
}

// pool finds a pool by its path; the caller holds the mutex.
func (s *Server) pool(path string) (*pool, error) {
	f, err := parse(path, "projects", "locations", "clusters", "nodePools")
	if err != nil {
		return nil, err
	}
	c, err := s.cluster(Cluster{Project: f[0], Location: f[1], Name: f[2]}.Path())
	if err != nil {
		return nil, err
	}
	i := c.index(f[3])
	if i < 0 {
		return nil, notFound(path)
	}
	return c.pools[i], nil
}

func (c *cluster) index(name string) int {
	return slices.IndexFunc(c.pools, func(p *pool) bool { return p.pb.GetName() == name })
}

// mutable checks that people may change the cluster's pools.
func (c *cluster) mutable() error {
	if c.spec.Template.GetAutopilot().GetEnabled() {
		return invalid("Autopilot clusters do not support mutating node pools.")
	}
	return nil
}

// vacant checks that a pool of this name can be made.
func (c *cluster) vacant(name string) error {
	if c.index(name) >= 0 {
		return status.Errorf(codes.AlreadyExists, "Already exists: %s/nodePools/%s.", c.spec.Path(), name)
	}
	return nil
}

// proto is the cluster as GetCluster shows it.
func (c *cluster) proto() *containerpb.Cluster {
	pb := &containerpb.Cluster{}
	if c.spec.Template != nil {
		pb = proto.CloneOf(c.spec.Template)
	}
	pb.Name = c.spec.Name
	pb.Id = fmt.Sprintf("%x", sha256.Sum256([]byte(c.spec.Path())))
	pb.SelfLink = c.link()
	pb.Location, pb.Zone, pb.Locations = c.spec.Location, c.spec.Location, slices.Clone(c.spec.Zones)
	pb.CreateTime = c.created.UTC().Format(time.RFC3339)
	pb.InitialClusterVersion, pb.CurrentMasterVersion = c.spec.Version, c.version
	pb.ReleaseChannel = &containerpb.ReleaseChannel{Channel: c.spec.Channel}
	pb.Endpoint = c.spec.Endpoint
	pb.MasterAuth = &containerpb.MasterAuth{ClusterCaCertificate: base64.StdEncoding.EncodeToString(c.spec.CA)}
	pb.ControlPlaneEndpointsConfig = &containerpb.ControlPlaneEndpointsConfig{
		IpEndpointsConfig: &containerpb.ControlPlaneEndpointsConfig_IPEndpointsConfig{
			Enabled:              proto.Bool(true),
			EnablePublicEndpoint: proto.Bool(true),
			PublicEndpoint:       c.spec.Endpoint,
		},
	}
	if c.dns != "" {
		pb.ControlPlaneEndpointsConfig.DnsEndpointConfig = &containerpb.ControlPlaneEndpointsConfig_DNSEndpointConfig{
			Endpoint: c.dns, AllowExternalTraffic: proto.Bool(true),
		}
	}
	if daily := pb.GetMaintenancePolicy().GetWindow().GetDailyMaintenanceWindow(); daily != nil {
		daily.Duration = cmp.Or(daily.Duration, "PT4H0M0S") // GKE's choice, nobody else's
	}
	pb.Status = cmp.Or(pb.Status, containerpb.Cluster_RUNNING)
	if c.busy != nil {
		pb.Status = containerpb.Cluster_RECONCILING
	}
	pb.NodePools = nil
	for _, p := range c.pools {
		pb.NodePools = append(pb.NodePools, p.proto())
		pb.InstanceGroupUrls = append(pb.InstanceGroupUrls, p.pb.GetInstanceGroupUrls()...)
	}
	pb.Etag = etag(pb)
	return pb
}

// etag changes whenever the message does.
func etag(m proto.Message) string {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}
