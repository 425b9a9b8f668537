package kube

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

const (
	// deprecatedMetric is set for each deprecated API that was asked for since the API server was started.
	deprecatedMetric = "apiserver_requested_deprecated_apis"
	// sourceMetric and sourceTypes say who says when an API version goes.
	sourceMetric = "the API server's metric " + deprecatedMetric
	sourceTypes  = "the lifecycle that k8s.io/api gives its types"
	// longestLine bounds a line of the metrics.
	longestLine = 1 << 20
)

// errNoWay is why something is not read through a client that was given.
var errNoWay = errors.New("this client has no way to it")

// requestedAPIs are the deprecated APIs that somebody has asked the API server for that answers.
func (c *Cluster) requestedAPIs(ctx context.Context) (_ []upgrade.APIUse, err error) {
	if c.raw == nil {
		return nil, errNoWay
	}
	stream, err := c.raw.Get().AbsPath("/metrics").SetHeader("Accept", "text/plain").Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	return readMetrics(stream)
}

// readMetrics keeps no more of the metrics than the lines that it looks for: they are many megabytes on a large cluster.
func readMetrics(metrics io.Reader) ([]upgrade.APIUse, error) {
	var kept bytes.Buffer
	lines := bufio.NewScanner(metrics)
	lines.Buffer(nil, longestLine)
	for lines.Scan() {
		if bytes.HasPrefix(lines.Bytes(), []byte(deprecatedMetric)) {
			kept.Write(lines.Bytes())
			kept.WriteByte('\n')
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(&kept)
	if err != nil {
		return nil, err
	}
	var uses []upgrade.APIUse
	for _, m := range families[deprecatedMetric].GetMetric() {
		label := map[string]string{}
		for _, l := range m.GetLabel() {
			label[l.GetName()] = l.GetValue()
		}
		value := m.GetGauge().GetValue() + m.GetUntyped().GetValue()
		if value == 0 || label["removed_release"] == "" { // deprecated, and not to be removed
			continue
		}
		use := upgrade.APIUse{
			Group: label["group"], Version: label["version"], Resource: label["resource"], RemovedIn: label["removed_release"],
			Source: sourceMetric, Requested: true,
		}
		if sub := label["subresource"]; sub != "" {
			use.Resource += "/" + sub
		}
		uses = append(uses, use)
	}
	return uses, nil
}

// ending is a kind that some minor does not serve any more.
type ending struct {
	schema.GroupVersionKind
	minor       int // of version 1
	replacement schema.GroupVersionKind
}

// removed is "1.32".
func (e ending) removed() string { return fmt.Sprintf("1.%d", e.minor) }

// endings are the kinds among Kubernetes' own that go after a minor.
func endings(after int) []ending {
	var list []ending
	for gvk, of := range scheme.Scheme.AllKnownTypes() {
		o := reflect.New(of).Interface()
		removed, ok := o.(interface{ APILifecycleRemoved() (int, int) })
		if !ok || strings.HasSuffix(gvk.Kind, "List") {
			continue
		}
		e := ending{GroupVersionKind: gvk}
		if _, e.minor = removed.APILifecycleRemoved(); e.minor <= after {
			continue
		}
		if replaced, ok := o.(interface {
			APILifecycleReplacement() schema.GroupVersionKind
		}); ok {
			e.replacement = replaced.APILifecycleReplacement()
		}
		list = append(list, e)
	}
	return list
}

// storedAPIs are the objects that were last applied with an API version that a minor after the API server's does not serve any more. It
// asks only for what the server has in such a version.
func (c *Cluster) storedAPIs(ctx context.Context) ([]upgrade.APIUse, error) {
	if c.metadata == nil {
		return nil, errNoWay
	}
	asking := discovery.ToDiscoveryInterfaceWithContext(c.client.Discovery())
	minor, err := serverMinor(ctx, asking)
	if err != nil {
		return nil, err
	}
	groups, served, err := asking.ServerGroupsAndResourcesWithContext(ctx)
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) { // what fails is an aggregated API, none of Kubernetes' own
		return nil, fmt.Errorf("find out what the API serves: %w", err)
	}
	preferred := map[string]string{}
	for _, g := range groups {
		preferred[g.Name] = g.PreferredVersion.Version
	}
	resources := resourcesByKind(served)
	var uses []upgrade.APIUse
	for _, e := range endings(minor) {
		r, ok := resources[e.GroupVersionKind]
		if !ok || !slices.Contains(r.Verbs, "list") {
			continue
		}
		use := upgrade.APIUse{Group: e.Group, Version: e.Version, Resource: r.Name, RemovedIn: e.removed(), Source: sourceTypes}
		// All objects of a kind are to be had in each version that serves it, and asking for one that goes would count as its use.
		through := schema.GroupVersionResource{}
		for _, other := range []schema.GroupVersionKind{e.replacement, {Group: e.Group, Version: preferred[e.Group], Kind: e.Kind}, e.GroupVersionKind} {
			if r, ok := resources[other]; ok {
				through = other.GroupVersion().WithResource(r.Name)
				break
			}
		}
		if through.GroupVersion() != e.GroupVersion() {
			use.Replacement = through.GroupVersion().String()
		}
		if use.Applied, err = c.appliedWith(ctx, e.GroupVersionKind, through); err != nil {
			return nil, fmt.Errorf("list the %s: %w", use.Resource, err)
		}
		if len(use.Applied) > 0 {
			uses = append(uses, use)
		}
	}
	return uses, nil
}

// Version implements the engine's Cluster.
func (c *Cluster) Version(ctx context.Context) (string, error) {
	v, err := within(context.WithValue(ctx, frank{}, true), requestTimeout, discovery.ToDiscoveryInterfaceWithContext(c.client.Discovery()).ServerVersionWithContext)
	if err != nil {
		return "", fmt.Errorf("find out the API server's version: %w", err)
	}
	return strings.TrimPrefix(v.GitVersion, "v"), nil
}

func serverMinor(ctx context.Context, asking discovery.DiscoveryInterfaceWithContext) (int, error) {
	v, err := asking.ServerVersionWithContext(ctx)
	if err != nil {
		return 0, fmt.Errorf("find out the API server's version: %w", err)
	}
	minor, err := strconv.Atoi(strings.TrimRight(v.Minor, "+")) // GKE's is "34+"
	if err != nil {
		return 0, fmt.Errorf("the API server's minor version is %q: %w", v.Minor, err)
	}
	return minor, nil
}

func resourcesByKind(served []*metav1.APIResourceList) map[schema.GroupVersionKind]metav1.APIResource {
	byKind := map[schema.GroupVersionKind]metav1.APIResource{}
	for _, list := range served {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			continue // nothing of Kubernetes' own
		}
		for _, r := range list.APIResources {
			if !strings.Contains(r.Name, "/") {
				byKind[gv.WithKind(r.Kind)] = r
			}
		}
	}
	return byKind
}

// appliedWith returns the objects that kubectl, or what does as it does, has last applied as the kind; they are asked for as through.
func (c *Cluster) appliedWith(ctx context.Context, kind schema.GroupVersionKind, through schema.GroupVersionResource) ([]upgrade.Ref, error) {
	var refs []upgrade.Ref
	err := each(ctx, c.metadata.Resource(through).List, func(o runtime.Object) {
		m, ok := o.(metav1.Object)
		if !ok {
			return
		}
		var applied metav1.TypeMeta
		if json.Unmarshal([]byte(m.GetAnnotations()[corev1.LastAppliedConfigAnnotation]), &applied) == nil && applied.APIVersion == kind.GroupVersion().String() {
			refs = append(refs, upgrade.Ref{Kind: kind.Kind, Namespace: m.GetNamespace(), Name: m.GetName(), UID: string(m.GetUID())})
		}
	})
	return refs, err
}

// mergeAPIs puts together what is said of one API version by both sources, in a stable order. What the API server says of a removal
// counts: it is the one that will not serve it.
func mergeAPIs(requested, stored []upgrade.APIUse) []upgrade.APIUse {
	type api struct{ group, version, resource string }
	at := map[api]int{}
	var uses []upgrade.APIUse
	for _, use := range slices.Concat(requested, stored) {
		key := api{use.Group, use.Version, use.Resource}
		i, ok := at[key]
		if !ok {
			at[key] = len(uses)
			uses = append(uses, use)
			continue
		}
		uses[i].Applied, uses[i].Replacement = use.Applied, use.Replacement
	}
	slices.SortFunc(uses, func(a, b upgrade.APIUse) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Resource, b.Resource))
	})
	return uses
}
