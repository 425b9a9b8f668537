package kube

import (
	"cmp"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// readServices returns the Services that select pods, by namespace and name.
func (l listers) readServices() []upgrade.Service {
	// By namespace and each of their labels: all pods of a Service are among those that have any one of the labels that it asks for.
	pods := map[[3]string][]*corev1.Pod{}
	for _, p := range all(l.pods.List) {
		if p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			for key, value := range p.Labels {
				at := [3]string{p.Namespace, key, value}
				pods[at] = append(pods[at], p)
			}
		}
	}
	endpoints := l.endpoints()
	var read []upgrade.Service
	for _, s := range all(l.services.List) {
		if !selectsPods(s) {
			continue
		}
		service := upgrade.Service{
			Namespace: s.Namespace, Name: s.Name, Type: string(s.Spec.Type),
			LocalTraffic: s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		}
		for _, port := range s.Spec.Ports {
			target := port.TargetPort.String()
			if target == "0" { // the API server fills it in; an older object may be without
				target = strconv.Itoa(int(port.Port))
			}
			service.Targets = append(service.Targets, target)
		}
		selector := labels.SelectorFromSet(s.Spec.Selector)
		var few []*corev1.Pod // those with the rarest of the labels
		first := true
		for key, value := range s.Spec.Selector {
			if with := pods[[3]string{s.Namespace, key, value}]; first || len(with) < len(few) {
				few, first = with, false
			}
		}
		for _, p := range few {
			if selector.Matches(labels.Set(p.Labels)) {
				service.Pods = append(service.Pods, string(p.UID))
			}
		}
		slices.Sort(service.Pods)
		service.Ready = len(endpoints[service.Key()])
		read = append(read, service)
	}
	slices.SortFunc(read, func(a, b upgrade.Service) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return read
}

// selectsPods tells whether a Service has pods by a selector.
func selectsPods(s *corev1.Service) bool {
	return len(s.Spec.Selector) > 0 && s.Spec.Type != corev1.ServiceTypeExternalName
}

// endpoints are the ready endpoints of each Service, by its namespace/name: the UIDs of pods, and addresses where there is no pod.
func (l listers) endpoints() map[string][]string {
	ready := map[string][]string{}
	for _, slice := range all(l.slices.List) {
		service := slice.Namespace + "/" + slice.Labels[discoveryv1.LabelServiceName]
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready != nil && !*e.Conditions.Ready || len(e.Addresses) == 0 && e.TargetRef == nil {
				continue
			}
			if e.TargetRef != nil {
				ready[service] = append(ready[service], string(e.TargetRef.UID))
				continue
			}
			ready[service] = append(ready[service], e.Addresses[0])
		}
	}
	for service, ids := range ready {
		slices.Sort(ids)
		ready[service] = slices.Compact(ids) // a pod with two families of addresses is in two slices
	}
	return ready
}
