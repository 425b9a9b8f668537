package gkeemu

import (
	"cloud.google.com/go/container/apiv1/containerpb"
	"google.golang.org/protobuf/proto"
)

// SetMaintenance changes when the cluster may be maintained, which GKE only tells.
func (s *Server) SetMaintenance(clusterPath string, policy *containerpb.MaintenancePolicy) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.cluster(clusterPath)
	if err != nil {
		return err
	}
	template := &containerpb.Cluster{}
	if c.spec.Template != nil {
		template = proto.CloneOf(c.spec.Template)
	}
	template.MaintenancePolicy = policy
	c.spec.Template = template
	return nil
}

// SetDNSEndpoint gives the cluster an endpoint by name, such as "gke-1.europe-west1.gke.goog". Whoever is told of it has to trust what it shows by the
// authorities that the system trusts.
func (s *Server) SetDNSEndpoint(clusterPath, endpoint string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.cluster(clusterPath)
	if err != nil {
		return err
	}
	c.dns = endpoint
	return nil
}
