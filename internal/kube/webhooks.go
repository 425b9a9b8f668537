package kube

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// act is something that an upgrade asks of the API, or a node that joins.
type act struct {
	text            string
	operation       admissionv1.OperationType
	group, resource string
	namespaced      bool
}

// upgradeActs are all of version v1. A cordon is a patch, which admission takes for an update.
var upgradeActs = []act{
	{"create pods", admissionv1.Create, "", "pods", true},
	{"create pods/eviction", admissionv1.Create, "", "pods/eviction", true},
	{"create pods/binding", admissionv1.Create, "", "pods/binding", true},
	{"delete pods", admissionv1.Delete, "", "pods", true}, // a kubelet's last word on a pod that has stopped
	{"update nodes", admissionv1.Update, "", "nodes", false},
	{"create nodes", admissionv1.Create, "", "nodes", false},
	{"create csinodes", admissionv1.Create, "storage.k8s.io", "csinodes", false},
	{"create leases", admissionv1.Create, "coordination.k8s.io", "leases", true},
	{"update leases", admissionv1.Update, "coordination.k8s.io", "leases", true},
}

// webhook is what validating and mutating webhooks have in common.
type webhook struct {
	configuration           upgrade.Ref
	name                    string
	client                  admissionv1.WebhookClientConfig
	rules                   []admissionv1.RuleWithOperations
	failure                 *admissionv1.FailurePolicyType
	timeout                 *int32
	ofNamespaces, ofObjects *metav1.LabelSelector
	conditions              []admissionv1.MatchCondition
}

// webhooks returns those that see what an upgrade does, by configuration, in the order in which they are there. Where the namespaces'
// labels are not known, only those that every namespace has are taken into account.
func (c *Cluster) webhooks(ctx context.Context, namespaces map[string]map[string]string) ([]upgrade.Webhook, error) {
	var found []webhook
	if err := each(ctx, c.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().List, func(o runtime.Object) {
		if v, ok := o.(*admissionv1.ValidatingWebhookConfiguration); ok {
			for _, w := range v.Webhooks {
				found = append(found, webhook{
					upgrade.Ref{Kind: "ValidatingWebhookConfiguration", Name: v.Name}, w.Name, w.ClientConfig, w.Rules, w.FailurePolicy, w.TimeoutSeconds,
					w.NamespaceSelector, w.ObjectSelector, w.MatchConditions,
				})
			}
		}
	}); err != nil {
		return nil, fmt.Errorf("list the validating webhooks: %w", err)
	}
	if err := each(ctx, c.client.AdmissionregistrationV1().MutatingWebhookConfigurations().List, func(o runtime.Object) {
		if m, ok := o.(*admissionv1.MutatingWebhookConfiguration); ok {
			for _, w := range m.Webhooks {
				found = append(found, webhook{
					upgrade.Ref{Kind: "MutatingWebhookConfiguration", Name: m.Name}, w.Name, w.ClientConfig, w.Rules, w.FailurePolicy, w.TimeoutSeconds,
					w.NamespaceSelector, w.ObjectSelector, w.MatchConditions,
				})
			}
		}
	}); err != nil {
		return nil, fmt.Errorf("list the mutating webhooks: %w", err)
	}
	if len(found) == 0 {
		return nil, nil
	}
	slices.SortStableFunc(found, func(a, b webhook) int {
		return cmp.Or(cmp.Compare(a.configuration.Kind, b.configuration.Kind), cmp.Compare(a.configuration.Name, b.configuration.Name))
	})
	seen := c.listers.admitted(namespaces)
	var read []upgrade.Webhook
	for _, w := range found {
		if r := seen.read(w); len(r.Sees) > 0 {
			read = append(read, r)
		}
	}
	return read, nil
}

// admitted is what admission is asked about in this cluster.
type admitted struct {
	namespaces map[string]map[string]string
	// pods and nodes are the labels of those there are, each set once.
	pods      map[string][]labels.Set
	nodes     []labels.Set
	services  map[string]*corev1.Service
	endpoints map[string][]string
}

func (l listers) admitted(namespaces map[string]map[string]string) admitted {
	a := admitted{namespaces: map[string]map[string]string{}, pods: map[string][]labels.Set{}, services: map[string]*corev1.Service{}, endpoints: l.endpoints()}
	a.know(namespaces, "kube-system", corev1.NamespaceNodeLease)
	once := map[string]bool{}
	for _, p := range all(l.pods.List) {
		a.know(namespaces, p.Namespace)
		if key := p.Namespace + " " + labels.Set(p.Labels).String(); !once[key] {
			once[key] = true
			a.pods[p.Namespace] = append(a.pods[p.Namespace], p.Labels)
		}
	}
	for _, n := range all(l.nodes.List) {
		a.nodes = append(a.nodes, n.Labels)
	}
	for _, s := range all(l.services.List) {
		a.services[s.Namespace+"/"+s.Name] = s
	}
	return a
}

// know takes over the labels of namespaces; where they are not known, the one that every namespace has.
func (a admitted) know(namespaces map[string]map[string]string, names ...string) {
	for _, name := range names {
		if _, ok := a.namespaces[name]; ok {
			continue
		}
		a.namespaces[name] = map[string]string{corev1.LabelMetadataName: name}
		if known, ok := namespaces[name]; ok {
			a.namespaces[name] = known
		}
	}
}

// read returns the webhook, with nothing that it sees if that is none of an upgrade's business.
func (a admitted) read(w webhook) upgrade.Webhook {
	read := upgrade.Webhook{
		Configuration: w.configuration, Name: w.name, Conditional: len(w.conditions) > 0,
		// Kubernetes' defaults, which the API server has filled in for what it stores.
		FailsClosed: w.failure == nil || *w.failure == admissionv1.Fail, Timeout: 10 * time.Second,
	}
	if w.timeout != nil {
		read.Timeout = time.Duration(*w.timeout) * time.Second
	}
	among := map[string]bool{}
	for _, r := range upgradeActs {
		if !slices.ContainsFunc(w.rules, func(rule admissionv1.RuleWithOperations) bool { return covers(rule, r) }) {
			continue
		}
		sees := false
		for _, namespace := range slices.Sorted(maps.Keys(a.namespaces)) {
			if !r.namespaced || !selects(w.ofNamespaces, a.namespaces[namespace]) || !a.any(w.ofObjects, r, namespace) {
				continue
			}
			sees = true
			read.KubeSystem = read.KubeSystem || namespace == "kube-system"
			among[namespace] = among[namespace] || r.resource != "leases"
		}
		// Namespace selectors mean nothing for what is in no namespace.
		if sees || !r.namespaced && slices.ContainsFunc(a.nodes, func(n labels.Set) bool { return selects(w.ofObjects, n) }) {
			read.Sees = append(read.Sees, r.text)
		}
	}
	for _, namespace := range slices.Sorted(maps.Keys(among)) {
		if among[namespace] {
			read.Namespaces = append(read.Namespaces, namespace)
		}
	}
	if s := w.client.Service; s != nil {
		key := s.Namespace + "/" + s.Name
		service, ok := a.services[key]
		if ok && service.Spec.Type == corev1.ServiceTypeExternalName {
			return read // it is somewhere else, as a URL is
		}
		read.Service, read.Missing, read.Ready = key, !ok, a.endpoints[key]
	}
	return read
}

// any tells whether there is something in the namespace that the request is about and that the selector lets pass. What an eviction is
// sent with has no labels, and of a lease nobody here knows any.
func (a admitted) any(objects *metav1.LabelSelector, r act, namespace string) bool {
	switch r.resource {
	case "leases":
		return (namespace == "kube-system" || namespace == corev1.NamespaceNodeLease) && selects(objects, nil)
	case "pods/eviction":
		return len(a.pods[namespace]) > 0 && selects(objects, nil)
	}
	return slices.ContainsFunc(a.pods[namespace], func(p labels.Set) bool { return selects(objects, p) })
}

// selects reads a webhook's selector: none lets everything pass, and one that cannot be read is taken to.
func selects(s *metav1.LabelSelector, of map[string]string) bool {
	if s == nil {
		return true
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err != nil || selector.Matches(labels.Set(of))
}

// covers tells whether a rule is for a request.
func covers(rule admissionv1.RuleWithOperations, r act) bool {
	scope := admissionv1.AllScopes
	if rule.Scope != nil {
		scope = *rule.Scope
	}
	if scope == admissionv1.NamespacedScope && !r.namespaced || scope == admissionv1.ClusterScope && r.namespaced {
		return false
	}
	named := func(pattern string) bool {
		resource, subresource, _ := strings.Cut(pattern, "/")
		asked, askedOf, _ := strings.Cut(r.resource, "/")
		return (resource == "*" || resource == asked) && (subresource == "*" || subresource == askedOf)
	}
	operations := slices.Contains(rule.Operations, r.operation) || slices.Contains(rule.Operations, admissionv1.OperationAll)
	return operations && anyOf(rule.APIGroups, r.group) && anyOf(rule.APIVersions, "v1") && slices.ContainsFunc(rule.Resources, named)
}

func anyOf(list []string, value string) bool {
	return slices.Contains(list, value) || slices.Contains(list, "*")
}
