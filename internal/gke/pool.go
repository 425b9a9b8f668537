package gke

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"cloud.google.com/go/container/apiv1/containerpb"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// runLabel is the GKE resource label on pools that Upshift made. It is not a label of the Kubernetes nodes.
const runLabel = "upshift-run"

// readPool turns GKE's pool into ours.
func readPool(np *containerpb.NodePool) (upgrade.Pool, error) {
	autoscaling, err := readAutoscaling(np.GetAutoscaling())
	if err != nil {
		return upgrade.Pool{}, fmt.Errorf("autoscaling of pool %s: %w", np.GetName(), err)
	}
	config, err := canonical(configOf(np))
	if err != nil {
		return upgrade.Pool{}, fmt.Errorf("configuration of pool %s: %w", np.GetName(), err)
	}
	return upgrade.Pool{
		Name: np.GetName(), Version: np.GetVersion(), Zones: np.GetLocations(), Autoscaling: autoscaling,
		MadeBy: np.GetConfig().GetResourceLabels()[runLabel],
		Config: config, Trouble: trouble(np),
	}, nil
}

// trouble is what GKE says about a pool in an error state.
func trouble(np *containerpb.NodePool) string {
	switch status := np.GetStatus(); status {
	case containerpb.NodePool_ERROR, containerpb.NodePool_RUNNING_WITH_ERROR:
		text := "GKE has it in status " + status.String()
		for _, c := range np.GetConditions() {
			text += ": " + c.GetMessage()
		}
		return text
	}
	return ""
}

// configOf returns a copy of the pool without its name, version and size, and without anything that GKE computes. All
// other fields are kept, known to this code or not, so that a new one of the API is carried over rather than lost.
func configOf(np *containerpb.NodePool) *containerpb.NodePool {
	c := proto.CloneOf(np)
	c.Name, c.Version, c.InitialNodeCount, c.Etag = "", "", 0, ""
	// Older output-only fields are marked as such in their comments alone.
	c.SelfLink, c.InstanceGroupUrls, c.Status, c.StatusMessage, c.Conditions = "", nil, 0, "", nil //nolint:staticcheck // deprecated, and still filled
	c.PodIpv4CidrSize, c.UpdateInfo = 0, nil
	clearOutputs(c.ProtoReflect())
	if c.Config != nil {
		delete(c.Config.ResourceLabels, runLabel)
		if len(c.Config.ResourceLabels) == 0 {
			c.Config.ResourceLabels = nil
		}
	}
	return c
}

// clearOutputs clears every field that the API itself marks as output-only, at any depth.
func clearOutputs(m protoreflect.Message) {
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		behavior, _ := proto.GetExtension(field.Options(), annotations.E_FieldBehavior).([]annotations.FieldBehavior)
		switch {
		case slices.Contains(behavior, annotations.FieldBehavior_OUTPUT_ONLY):
			m.Clear(field)
		case field.Message() != nil && !field.IsList() && !field.IsMap():
			clearOutputs(value.Message())
		case field.Message() != nil && field.IsList():
			for i := range value.List().Len() {
				clearOutputs(value.List().Get(i).Message())
			}
		}
		return true
	})
}

// clone makes the request for a pool like np: everything a person chose is carried over, autoscaling is off until the old
// pool is gone.
func clone(np *containerpb.NodePool, name, version string, nodesPerZone int, run string) *containerpb.NodePool {
	c := configOf(np)
	c.Name, c.Version, c.InitialNodeCount = name, version, int32(nodesPerZone) //nolint:gosec // a zone has at most 1,000 nodes
	c.Autoscaling = nil
	if c.Config == nil {
		c.Config = &containerpb.NodeConfig{}
	}
	labels := map[string]string{runLabel: run}
	maps.Copy(labels, c.Config.ResourceLabels)
	c.Config.ResourceLabels = labels
	if net := c.NetworkConfig; net != nil {
		// The old pool's range exists already: a clone uses it, and makes none.
		net.CreatePodRange = false
		if net.PodRange != "" {
			net.PodIpv4CidrBlock = ""
		}
	}
	return c
}

func readAutoscaling(a *containerpb.NodePoolAutoscaling) (upgrade.Autoscaling, error) {
	if !a.GetEnabled() {
		return upgrade.Autoscaling{}, nil
	}
	settings, err := canonical(a)
	if err != nil {
		return upgrade.Autoscaling{}, err
	}
	summary := fmt.Sprintf("%d to %d nodes a zone", a.GetMinNodeCount(), a.GetMaxNodeCount())
	if a.GetTotalMaxNodeCount() > 0 {
		summary = fmt.Sprintf("%d to %d nodes in all", a.GetTotalMinNodeCount(), a.GetTotalMaxNodeCount())
	}
	return upgrade.Autoscaling{Enabled: true, Summary: summary, Settings: settings}, nil
}

func writeAutoscaling(a upgrade.Autoscaling) (*containerpb.NodePoolAutoscaling, error) {
	out := &containerpb.NodePoolAutoscaling{}
	if !a.Enabled {
		return out, nil
	}
	if err := protojson.Unmarshal(a.Settings, out); err != nil {
		return nil, fmt.Errorf("read recorded autoscaling settings: %w", err)
	}
	return out, nil
}

// canonical is m as JSON that is the same for the same content: protojson's own output varies its spaces on purpose.
func canonical(m proto.Message) (json.RawMessage, error) {
	data, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		return nil, err
	}
	return json.Marshal(value)
}
