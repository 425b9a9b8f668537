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

// inheritsLabel is the GKE resource label on such a pool that keeps the autoscaling of the pool it takes over from, until it
// gets it: should the run end before, the next one finds it there.
const inheritsLabel = "upshift-autoscaling"

// readPool turns GKE's pool into ours, but for what only its cluster tells: the zones of a pool that names none, and where its pods' addresses
// come from.
func readPool(name Name, np *containerpb.NodePool) (upgrade.Pool, error) {
	autoscaling, err := readAutoscaling(name, np.GetAutoscaling())
	if err != nil {
		return upgrade.Pool{}, fmt.Errorf("autoscaling of pool %s: %w", np.GetName(), err)
	}
	inherits, err := readAutoscaling(name, decodeAutoscaling(np.GetConfig().GetResourceLabels()[inheritsLabel]))
	if err != nil {
		return upgrade.Pool{}, fmt.Errorf("label %s of pool %s: %w", inheritsLabel, np.GetName(), err)
	}
	upgrades, err := readUpgrade(name, np)
	if err != nil {
		return upgrade.Pool{}, fmt.Errorf("upgrade settings of pool %s: %w", np.GetName(), err)
	}
	choices := configOf(np)
	choices.Autoscaling = nil // ours to freeze, and told apart
	config, err := canonical(choices)
	if err != nil {
		return upgrade.Pool{}, fmt.Errorf("configuration of pool %s: %w", np.GetName(), err)
	}
	return upgrade.Pool{
		Name: np.GetName(), Version: np.GetVersion(), Zones: np.GetLocations(), Autoscaling: autoscaling,
		MadeBy:   np.GetConfig().GetResourceLabels()[runLabel],
		Inherits: inherits, Config: config, Trouble: trouble(np), Deleting: np.GetStatus() == containerpb.NodePool_STOPPING,
		Labels: np.GetConfig().GetLabels(), Taints: taints(np.GetConfig().GetTaints()), ManagedBy: managedBy(np.GetConfig().GetResourceLabels()),
		Upgrade: upgrades, Phase: phaseOf(np),
	}, nil
}

// taints are GKE's in Kubernetes' own spelling.
func taints(of []*containerpb.NodeTaint) []upgrade.Taint {
	effects := map[containerpb.NodeTaint_Effect]string{
		containerpb.NodeTaint_NO_SCHEDULE: "NoSchedule", containerpb.NodeTaint_PREFER_NO_SCHEDULE: "PreferNoSchedule", containerpb.NodeTaint_NO_EXECUTE: "NoExecute",
	}
	var list []upgrade.Taint
	for _, t := range of {
		list = append(list, upgrade.Taint{Key: t.GetKey(), Value: t.GetValue(), Effect: effects[t.GetEffect()]})
	}
	return list
}

// trouble is what GKE says about a pool in an error state.
func trouble(np *containerpb.NodePool) string {
	switch status := np.GetStatus(); status {
	case containerpb.NodePool_ERROR, containerpb.NodePool_RUNNING_WITH_ERROR:
		return told(status.String(), np.GetConditions())
	}
	return ""
}

// told is what GKE says about something that is not as it should be.
func told(status string, conditions []*containerpb.StatusCondition) string {
	text := "GKE has it in status " + status
	for _, c := range conditions {
		text += ": " + c.GetMessage()
	}
	return text
}

// configOf returns a copy of the pool without its name, version and size, and without anything that GKE computes. All
// other fields are kept, known to this code or not, so that a new one of the API is carried over rather than lost.
func configOf(np *containerpb.NodePool) *containerpb.NodePool {
	c := proto.CloneOf(np)
	c.Name, c.Version, c.InitialNodeCount, c.Etag = "", "", 0, ""
	clearOutputs(c.ProtoReflect())
	if c.Config != nil {
		delete(c.Config.ResourceLabels, runLabel)
		delete(c.Config.ResourceLabels, inheritsLabel)
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

// cloneOf makes the request for a pool like np: everything a person chose is carried over, but for autoscaling, which is as wanted.
func cloneOf(np *containerpb.NodePool, wanted upgrade.Clone) (*containerpb.NodePool, error) {
	inherits, err := writeAutoscaling(wanted.Inherits, len(np.GetLocations()))
	if err != nil {
		return nil, err
	}
	autoscaling, err := writeAutoscaling(wanted.Autoscaling, len(np.GetLocations()))
	if err != nil {
		return nil, err
	}
	c := configOf(np)
	c.Name, c.Version, c.InitialNodeCount = wanted.Name, wanted.Version, int32(wanted.NodesPerZone) //nolint:gosec // a zone has at most 1,000 nodes
	c.Autoscaling = nil
	if autoscaling.GetEnabled() {
		c.Autoscaling = autoscaling
	}
	if c.Config == nil {
		c.Config = &containerpb.NodeConfig{}
	}
	labels := map[string]string{runLabel: wanted.Run}
	if inherits.GetEnabled() {
		labels[inheritsLabel] = encodeAutoscaling(inherits)
	}
	maps.Copy(labels, c.Config.ResourceLabels)
	c.Config.ResourceLabels = labels
	if net := c.NetworkConfig; net != nil {
		// The old pool's range exists already: a clone uses it, and makes none.
		net.CreatePodRange = false
		if net.PodRange != "" {
			net.PodIpv4CidrBlock = ""
		}
	}
	return c, nil
}

// encodeAutoscaling writes settings as the value of a label, which takes 63 lower-case letters, digits, dashes and underscores.
func encodeAutoscaling(a *containerpb.NodePoolAutoscaling) string {
	return fmt.Sprintf("%d_%d_%d_%d_%d", a.GetMinNodeCount(), a.GetMaxNodeCount(), a.GetTotalMinNodeCount(), a.GetTotalMaxNodeCount(), a.GetLocationPolicy())
}

// decodeAutoscaling is nil for text that encodeAutoscaling does not write.
func decodeAutoscaling(label string) *containerpb.NodePoolAutoscaling {
	a := &containerpb.NodePoolAutoscaling{Enabled: true}
	n, err := fmt.Sscanf(label, "%d_%d_%d_%d_%d", &a.MinNodeCount, &a.MaxNodeCount, &a.TotalMinNodeCount, &a.TotalMaxNodeCount, &a.LocationPolicy)
	if err != nil || n != 5 {
		return nil
	}
	return a
}

func readAutoscaling(name Name, a *containerpb.NodePoolAutoscaling) (upgrade.Autoscaling, error) {
	if !a.GetEnabled() {
		return upgrade.Autoscaling{}, nil
	}
	settings, err := canonical(a)
	if err != nil {
		return upgrade.Autoscaling{}, err
	}
	summary := fmt.Sprintf("%d to %d nodes a zone", a.GetMinNodeCount(), a.GetMaxNodeCount())
	flags := fmt.Sprintf("--min-nodes %d --max-nodes %d", a.GetMinNodeCount(), a.GetMaxNodeCount())
	if a.GetTotalMaxNodeCount() > 0 {
		summary = fmt.Sprintf("%d to %d nodes in all", a.GetTotalMinNodeCount(), a.GetTotalMaxNodeCount())
		flags = fmt.Sprintf("--total-min-nodes %d --total-max-nodes %d", a.GetTotalMinNodeCount(), a.GetTotalMaxNodeCount())
	}
	least, most, total := a.GetMinNodeCount(), a.GetMaxNodeCount(), a.GetTotalMaxNodeCount() > 0
	if total {
		least, most = a.GetTotalMinNodeCount(), a.GetTotalMaxNodeCount()
	}
	return upgrade.Autoscaling{
		Enabled: true, Summary: summary, Settings: settings, Min: int(least), Max: int(most), Total: total,
		Command: fmt.Sprintf("gcloud container clusters update %s --project %s --location %s --node-pool POOL --enable-autoscaling %s",
			name.Cluster, name.Project, name.Location, flags),
	}, nil
}

// writeAutoscaling makes GKE's settings for a pool in so many zones. What is to be held is a number of nodes in all, which GKE takes only with a most in
// all.
func writeAutoscaling(a upgrade.Autoscaling, zones int) (*containerpb.NodePoolAutoscaling, error) {
	out := &containerpb.NodePoolAutoscaling{}
	if !a.Enabled {
		return out, nil
	}
	if err := protojson.Unmarshal(a.Settings, out); err != nil {
		return nil, fmt.Errorf("read recorded autoscaling settings: %w", err)
	}
	if a.Hold > 0 {
		each, hold := int32(max(1, zones)), int32(a.Hold) //nolint:gosec // a pool has at most some thousands of nodes
		out.TotalMinNodeCount = max(hold, out.GetTotalMinNodeCount(), out.GetMinNodeCount()*each)
		out.TotalMaxNodeCount = max(out.TotalMinNodeCount, out.GetTotalMaxNodeCount(), out.GetMaxNodeCount()*each)
		out.MinNodeCount, out.MaxNodeCount = 0, 0
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
