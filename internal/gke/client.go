// Package gke is the provider for Google Kubernetes Engine, over the container API.
package gke

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"

	container "cloud.google.com/go/container/apiv1"
	"cloud.google.com/go/container/apiv1/containerpb"
	"golang.org/x/oauth2"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// scope is what tokens are asked for.
const scope = "https://www.googleapis.com/auth/cloud-platform"

// Name is where a cluster is.
type Name struct {
	Project, Location, Cluster string
}

// The parts of a name as Google Cloud has them: projects by ID (with a domain where they are old) or number.
var (
	projectPattern  = regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]*$`)
	locationPattern = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	clusterPattern  = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	namePattern     = regexp.MustCompile(`^projects/([^/]+)/locations/([^/]+)/clusters/([^/]+)$`)
)

// CheckProject tells whether text has the form of a project's ID or number.
func CheckProject(text string) error {
	return check(projectPattern, text, "want a Google Cloud project by its ID or number: lower-case letters, digits and dashes")
}

// CheckLocation tells whether text has the form of a region's or a zone's name.
func CheckLocation(text string) error {
	return check(locationPattern, text, "want a region or zone such as europe-west1 or europe-west1-b")
}

// CheckCluster tells whether text has the form of a cluster's name.
func CheckCluster(text string) error {
	return check(clusterPattern, text, "want a name (lower-case letters, digits and dashes), or projects/P/locations/L/clusters/C")
}

func check(form *regexp.Regexp, text, want string) error {
	if !form.MatchString(text) {
		return errors.New(want)
	}
	return nil
}

// ParseName reads "projects/P/locations/L/clusters/C".
func ParseName(text string) (Name, bool) {
	m := namePattern.FindStringSubmatch(text)
	if m == nil || CheckProject(m[1]) != nil || CheckLocation(m[2]) != nil || CheckCluster(m[3]) != nil {
		return Name{}, false
	}
	return Name{Project: m[1], Location: m[2], Cluster: m[3]}, true
}

func (n Name) String() string {
	if n.Project == "" {
		return n.Cluster // which is none of GKE's, or not known to be
	}
	return n.parent() + "/clusters/" + n.Cluster
}

func (n Name) parent() string { return "projects/" + n.Project + "/locations/" + n.Location }

func (n Name) pool(name string) string { return n.String() + "/nodePools/" + name }

// regional tells a region ("europe-west1") from a zone ("europe-west1-b"): GKE makes a regional control plane in the one and a
// zonal one in the other.
func (n Name) regional() bool { return strings.Count(n.Location, "-") == 1 }

// Provider upgrades the node pools of one GKE cluster. It is safe for concurrent use.
type Provider struct {
	name   Name
	client *container.ClusterManagerClient
	// manager and compute are Google's other APIs, of which little is read.
	manager, compute rest
}

// clientOptions are those of the container API's client.
func (e override) clientOptions() []option.ClientOption {
	switch {
	case e.url == nil:
		return nil
	case e.plain():
		return []option.ClientOption{
			option.WithEndpoint(e.url.Host), option.WithoutAuthentication(),
			option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
		}
	case e.url.Port() == "":
		return []option.ClientOption{option.WithEndpoint(net.JoinHostPort(e.url.Hostname(), "443"))}
	}
	return []option.ClientOption{option.WithEndpoint(e.url.Host)}
}

// Connect makes a provider for the cluster with application-default credentials. It calls no API.
func Connect(ctx context.Context, name Name, apis APIs, userAgent string) (*Provider, error) {
	client, err := container.NewClusterManagerClient(ctx, append(apis.container.clientOptions(), option.WithUserAgent(userAgent))...)
	if err != nil {
		return nil, fmt.Errorf("connect to the container API: %w", err)
	}
	return &Provider{
		name: name, client: client,
		manager: rest{base: apis.manager.base("https://cloudresourcemanager.googleapis.com/"), userAgent: userAgent},
		compute: rest{base: apis.compute.base("https://compute.googleapis.com/compute/v1/"), userAgent: userAgent},
	}, nil
}

// Close closes the connection.
func (p *Provider) Close() error { return p.client.Close() }

// Access is how to reach a cluster's Kubernetes API.
type Access struct {
	// Host is a URL.
	Host string
	// CA is the PEM certificate to trust, empty for the system's.
	CA []byte
	// Tokens gives bearer tokens and refreshes them. It is a Renewer of package kube: one that is refused is not given again.
	Tokens oauth2.TokenSource
}

// Endpoints are the ways to a cluster's API that a person can choose.
var Endpoints = []string{"auto", "dns", "private", "public"}

// Access reads where the cluster's API is, and takes application-default credentials for it. Which is one of Endpoints.
func (p *Provider) Access(ctx context.Context, which string) (Access, error) {
	cluster, err := p.get(ctx)
	if err != nil {
		return Access{}, err
	}
	access, err := endpoint(cluster, which)
	if err != nil {
		return Access{}, fmt.Errorf("cluster %s: %w", p.name, err)
	}
	tokens, err := findTokens(ctx)
	if err != nil {
		return Access{}, fmt.Errorf("credentials for the Kubernetes API of %s: %w", p.name, err)
	}
	access.Tokens = tokens
	return access, nil
}

// endpoint chooses how to reach the cluster. The DNS endpoint has a certificate of a public authority, so the cluster's own
// CA must not be demanded of it.
func endpoint(cluster *containerpb.Cluster, which string) (Access, error) {
	config := cluster.GetControlPlaneEndpointsConfig()
	dns := config.GetDnsEndpointConfig()
	ip := config.GetIpEndpointsConfig()
	var host string
	switch which {
	case "dns":
		if dns.GetEndpoint() == "" {
			return Access{}, fmt.Errorf("it has no DNS endpoint")
		}
		return Access{Host: "https://" + dns.GetEndpoint()}, nil
	case "private":
		host = ip.GetPrivateEndpoint()
	case "public":
		host = ip.GetPublicEndpoint()
	default:
		// GKE's own choice, unless only the DNS endpoint is open.
		host = cluster.GetEndpoint()
		if host == "" && dns.GetEndpoint() != "" {
			return Access{Host: "https://" + dns.GetEndpoint()}, nil
		}
	}
	if host == "" {
		return Access{}, fmt.Errorf("it has no %s endpoint", which)
	}
	ca, err := base64.StdEncoding.DecodeString(cluster.GetMasterAuth().GetClusterCaCertificate())
	if err != nil {
		return Access{}, fmt.Errorf("its CA certificate is not base64: %w", err)
	}
	return Access{Host: "https://" + host, CA: ca}, nil
}

// Recognizes tells whether a Kubernetes API at host (a URL) that is trusted by ca (PEM) can be this cluster's. It says no only
// if GKE names another host and another certificate: a proxy may stand in front of either.
func (p *Provider) Recognizes(ctx context.Context, host string, ca []byte) (bool, error) {
	cluster, err := p.get(ctx)
	if err != nil {
		return false, err
	}
	for _, which := range Endpoints {
		access, err := endpoint(cluster, which)
		if err != nil {
			continue
		}
		if access.Host == strings.TrimSuffix(host, "/") || len(access.CA) > 0 && bytes.Equal(bytes.TrimSpace(access.CA), bytes.TrimSpace(ca)) {
			return true, nil
		}
	}
	return len(ca) == 0 || cluster.GetMasterAuth().GetClusterCaCertificate() == "", nil
}

// get reads the cluster.
func (p *Provider) get(ctx context.Context) (*containerpb.Cluster, error) {
	cluster, err := rpc(ctx, p.client.GetCluster, &containerpb.GetClusterRequest{Name: p.name.String()})
	if status.Code(err) == codes.NotFound {
		return nil, fmt.Errorf("there is no cluster %s in project %s at %s, or it may not be seen: %w", p.name.Cluster, p.name.Project, p.name.Location, err)
	}
	if err != nil {
		return nil, fmt.Errorf("get cluster %s: %w", p.name, err)
	}
	return cluster, nil
}
