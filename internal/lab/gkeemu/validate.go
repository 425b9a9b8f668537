package gkeemu

import (
	"regexp"
	"slices"
	"strings"

	"cloud.google.com/go/container/apiv1/containerpb"
	"github.com/Masterminds/semver/v3"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// poolName allows 40 characters.
var poolName = regexp.MustCompile(`^(?:[a-z](?:[-a-z0-9]{0,38}[a-z0-9])?)$`)

// validate checks what CreateNodePool was asked for.
func (c *cluster) validate(pb *containerpb.NodePool, offer *containerpb.ServerConfig) error {
	if pb == nil {
		return invalid("node_pool must be set.")
	}
	if !poolName.MatchString(pb.GetName()) {
		return invalid("Invalid value for field \"node_pool.name\": %q. Must be a match of regex '%s'.", pb.GetName(), poolName)
	}
	if fields := outputOnly(pb.ProtoReflect(), "node_pool"); len(fields) > 0 {
		return invalid("Output only fields must not be set: %s.", strings.Join(fields, ", "))
	}
	if pb.GetInitialNodeCount() < 0 {
		return invalid("Invalid value for field \"node_pool.initial_node_count\": %d. Must be at least 0.", pb.GetInitialNodeCount())
	}
	for _, zone := range pb.GetLocations() {
		if !zonal(zone) || region(zone) != region(c.spec.Location) {
			return invalid("Invalid value for field \"node_pool.locations\": %q is not a zone of %s.", zone, region(c.spec.Location))
		}
	}
	if m := pb.GetManagement(); m != nil && c.spec.Channel != 0 && (!m.GetAutoUpgrade() || !m.GetAutoRepair()) {
		return invalid("Auto_upgrade and auto_repair cannot be false when release_channel %s is set.", c.spec.Channel)
	}
	if err := validateAutoscaling(pb.GetAutoscaling()); err != nil {
		return err
	}
	if err := validateUpgradeSettings(pb.GetUpgradeSettings()); err != nil {
		return err
	}
	if err := validateDrainConfig(pb.GetNodeDrainConfig()); err != nil {
		return err
	}
	return c.validateVersion(pb.GetVersion(), offer)
}

// validateVersion accepts the control plane's own version even when it is no longer on offer.
func (c *cluster) validateVersion(version string, offer *containerpb.ServerConfig) error {
	if version == "" || version == "-" || version == c.version {
		return nil
	}
	node, err := semver.StrictNewVersion(version)
	if err != nil || !slices.Contains(offer.GetValidNodeVersions(), version) {
		return invalid("Node version %q is unsupported.", version)
	}
	master, err := semver.StrictNewVersion(c.version)
	if err != nil {
		return invalid("Master version %q is unsupported.", c.version)
	}
	if node.GreaterThan(master) {
		return invalid("Node version %q must not be greater than master version %q.", version, c.version)
	}
	return nil
}

func validateAutoscaling(a *containerpb.NodePoolAutoscaling) error {
	lo, hi := a.GetMinNodeCount(), a.GetMaxNodeCount()
	if a.GetTotalMaxNodeCount() > 0 {
		lo, hi = a.GetTotalMinNodeCount(), a.GetTotalMaxNodeCount()
	}
	if a.GetEnabled() && (lo < 0 || hi < 1 || lo > hi) {
		return invalid("Invalid autoscaling limits: the minimum is %d, the maximum %d.", lo, hi)
	}
	return nil
}

// beside lists the fields set in a message that are none of the known ones, in order.
func beside(m proto.Message, known ...protoreflect.Name) []string {
	var found []string
	m.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !slices.Contains(known, field.Name()) {
			found = append(found, string(field.Name()))
		}
		return true
	})
	slices.Sort(found)
	return found
}

// outputOnly lists the fields set in a message that its API declares to be output only, in order.
func outputOnly(m protoreflect.Message, path string) []string {
	var found []string
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		here := path + "." + string(field.Name())
		behavior, _ := proto.GetExtension(field.Options(), annotations.E_FieldBehavior).([]annotations.FieldBehavior)
		switch {
		case slices.Contains(behavior, annotations.FieldBehavior_OUTPUT_ONLY):
			found = append(found, here)
		case field.Message() == nil || field.IsMap():
		case field.IsList():
			for i := range value.List().Len() {
				found = append(found, outputOnly(value.List().Get(i).Message(), here)...)
			}
		default:
			found = append(found, outputOnly(value.Message(), here)...)
		}
		return true
	})
	slices.Sort(found)
	return found
}
