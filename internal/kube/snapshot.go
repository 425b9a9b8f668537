package kube

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/tools/cache"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// snapshot is the domain's State of the caches, kept up to date: a drain asks for it at every change, so only what has changed is read
// again, and the pods that were read with it. What was handed out stays as it is: a list or map that changes is replaced.
// It is safe for concurrent use.
type snapshot struct {
	caches listers
	pools  Pools

	// marking guards changed, the names of what has changed in the caches since it was read. It is apart from mu, so that a cache that
	// tells of a change does not wait for somebody who reads.
	marking sync.Mutex
	changed map[kind]names

	mu          sync.Mutex
	nodes       list[upgrade.Node]
	pods        list[upgrade.Pod]
	attachments list[upgrade.Attachment]
	budgets     map[string]upgrade.Budget
	workloads   map[string]upgrade.Workload
	// What pods are read with: their owners, the selectors of PodDisruptionBudgets and Services, and the ready endpoints.
	owners                    owners
	budgetsOver, servicesOver selectors
	serving                   serving
	// requests are shared by the pods and nodes that have the same.
	resources interned
	// young is until when pods are given the benefit of the doubt that what controls them is not in the caches yet.
	young map[cache.ObjectName]time.Time
}

// names are objects of one kind.
type names = sets.Set[cache.ObjectName]

func newSnapshot(caches listers, pools Pools) *snapshot {
	return &snapshot{
		caches: caches, pools: pools, changed: map[kind]names{},
		nodes:       list[upgrade.Node]{name: func(n *upgrade.Node) cache.ObjectName { return cache.ObjectName{Name: n.Name} }},
		pods:        list[upgrade.Pod]{name: func(p *upgrade.Pod) cache.ObjectName { return cache.ObjectName{Namespace: p.Namespace, Name: p.Name} }},
		attachments: list[upgrade.Attachment]{name: func(a *upgrade.Attachment) cache.ObjectName { return cache.ObjectName{Name: a.Name} }},
		budgets:     map[string]upgrade.Budget{}, workloads: map[string]upgrade.Workload{},
		owners: newOwners(), budgetsOver: newSelectors(), servicesOver: newSelectors(), serving: newServing(),
		resources: interned{}, young: map[cache.ObjectName]time.Time{},
	}
}

// mark notes that an object of the kind has changed, appeared or gone. The object may be what a cache says of one whose end it missed.
func (s *snapshot) mark(k kind, object any) {
	name, err := cache.DeletionHandlingObjectToName(object)
	if err != nil {
		return // no object of the API is without a name
	}
	s.marking.Lock()
	defer s.marking.Unlock()
	if s.changed[k] == nil {
		s.changed[k] = names{}
	}
	s.changed[k].Insert(name)
}

// state returns the State as the caches have it now, without what is told of the API itself.
func (s *snapshot) state(now time.Time) upgrade.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.update(now)
	return upgrade.State{Nodes: s.nodes.items, Pods: s.pods.items, Workloads: s.workloads, Budgets: s.budgets, Attachments: s.attachments.items}
}

// read reads pods that come from elsewhere than the caches.
func (s *snapshot) read(pods []corev1.Pod, now time.Time) []upgrade.Pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.update(now)
	var read []upgrade.Pod
	for i := range pods {
		pod, _ := s.pod(&pods[i], now)
		read = append(read, pod)
	}
	return read
}

// update reads again what has changed. The marks are taken before anything is read: what changes meanwhile is marked for the next time.
func (s *snapshot) update(now time.Time) {
	s.marking.Lock()
	changed := s.changed
	s.changed = map[kind]names{}
	s.marking.Unlock()
	stale := changed[podKind]
	if stale == nil {
		stale = names{}
	}
	for name, until := range s.young {
		if !now.Before(until) {
			stale.Insert(name)
		}
	}
	s.nodes.update(changed[nodeKind], func(name cache.ObjectName) (upgrade.Node, bool) {
		n, ok := get[*corev1.Node](s.caches, nodeKind, name)
		if !ok {
			return upgrade.Node{}, false
		}
		node := readNode(n, s.pools)
		node.Allocatable = s.resources.one(node.Allocatable)
		return node, true
	})
	s.attachments.update(changed[attachmentKind], func(name cache.ObjectName) (upgrade.Attachment, bool) {
		a, ok := get[*storagev1.VolumeAttachment](s.caches, attachmentKind, name)
		if !ok {
			return upgrade.Attachment{}, false
		}
		return readAttachment(a), true
	})
	s.updateBudgets(changed[budgetKind], stale)
	s.updateServices(changed[serviceKind], stale)
	s.staleByClaim(changed[claimKind], stale)
	uids := s.serving.update(s.caches, changed[sliceKind])
	counts, controllers := s.owners.update(s.caches, changed)
	if counts {
		s.workloads = s.owners.workloads()
	}
	if nodes := changed[nodeKind]; len(nodes)+len(uids)+len(controllers) > 0 {
		for i := range s.pods.items {
			p := &s.pods.items[i]
			if uids.Has(p.UID) || controllers.HasAny(p.Workload.UID, p.Orphan.UID) || nodes.Has(cache.ObjectName{Name: p.Node}) {
				stale.Insert(s.pods.name(p))
			}
		}
	}
	s.pods.update(stale, func(name cache.ObjectName) (upgrade.Pod, bool) {
		delete(s.young, name)
		p, ok := get[*corev1.Pod](s.caches, podKind, name)
		if !ok {
			return upgrade.Pod{}, false
		}
		pod, until := s.pod(p, now)
		if !until.IsZero() {
			s.young[name] = until
		}
		return pod, true
	})
}

func (s *snapshot) updateBudgets(changed, stale names) {
	if len(changed) == 0 {
		return
	}
	s.budgets = maps.Clone(s.budgets)
	for name := range changed {
		var selector labels.Selector
		if b, ok := get[*policyv1.PodDisruptionBudget](s.caches, budgetKind, name); ok {
			s.budgets[name.String()] = readBudget(b)
			// A selector that cannot be read selects nothing, for the API server too.
			selector, _ = metav1.LabelSelectorAsSelector(b.Spec.Selector)
		} else {
			delete(s.budgets, name.String())
		}
		s.staleBySelector(name.Namespace, s.budgetsOver.set(name, selector), stale)
	}
}

func (s *snapshot) updateServices(changed, stale names) {
	for name := range changed {
		var selector labels.Selector
		if service, ok := get[*corev1.Service](s.caches, serviceKind, name); ok && selectsPods(service) {
			selector = labels.SelectorFromSet(service.Spec.Selector)
		}
		s.staleBySelector(name.Namespace, s.servicesOver.set(name, selector), stale)
	}
}

// staleBySelector notes the pods that one of the selectors selects.
func (s *snapshot) staleBySelector(namespace string, any []labels.Selector, stale names) {
	for _, selector := range any {
		pods, _ := s.caches.pods.Pods(namespace).List(selector)
		for _, p := range pods {
			stale.Insert(cache.MetaObjectToName(p))
		}
	}
}

// staleByClaim notes the pods that have one of the claims mounted.
func (s *snapshot) staleByClaim(claims, stale names) {
	namespaces := sets.Set[string]{}
	for name := range claims {
		namespaces.Insert(name.Namespace)
	}
	for namespace := range namespaces {
		pods, _ := s.caches.pods.Pods(namespace).List(labels.Everything())
		for _, p := range pods {
			if slices.ContainsFunc(claimed(p), func(claim string) bool { return claims.Has(cache.ObjectName{Namespace: namespace, Name: claim}) }) {
				stale.Insert(cache.MetaObjectToName(p))
			}
		}
	}
}

// list is what the objects of one kind are read as, in the order of their namespaces and names.
type list[T any] struct {
	items []T
	name  func(*T) cache.ObjectName
}

// update reads the named ones again; read says false for what is not there any more. Items is a new list afterwards, unless all read as
// they did.
func (l *list[T]) update(changed names, read func(cache.ObjectName) (T, bool)) {
	order := slices.SortedFunc(maps.Keys(changed), compareNames)
	length := len(l.items)
	for _, name := range order {
		if _, there := l.find(name); !there {
			length++
		}
	}
	var items []T
	next := 0 // the first of the old items that is not among the new ones yet
	for _, name := range order {
		at, there := l.find(name)
		item, ok := read(name)
		if !there && !ok || there && ok && reflect.DeepEqual(item, l.items[at]) {
			continue
		}
		if items == nil {
			items = make([]T, 0, length)
		}
		items = append(items, l.items[next:at]...)
		if next = at; there {
			next++
		}
		if ok {
			items = append(items, item)
		}
	}
	if items != nil {
		l.items = slices.Clip(append(items, l.items[next:]...)) // what was handed out shares nothing with what somebody appends to it
	}
}

// find returns the place of the named one, and whether it is there.
func (l *list[T]) find(name cache.ObjectName) (int, bool) {
	return slices.BinarySearchFunc(l.items, name, func(item T, name cache.ObjectName) int { return compareNames(l.name(&item), name) })
}

func compareNames(a, b cache.ObjectName) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// serving are the pods that are ready endpoints.
type serving struct {
	// slices is how many EndpointSlices list an endpoint: one with two families of addresses is in two. Listed is what each slice lists.
	slices map[endpoint]int
	listed map[cache.ObjectName][]endpoint
}

// endpoint is a pod of a Service.
type endpoint struct {
	service cache.ObjectName
	uid     string
}

func newServing() serving {
	return serving{slices: map[endpoint]int{}, listed: map[cache.ObjectName][]endpoint{}}
}

// update reads the slices again, and returns the UIDs of the pods that have become an endpoint of a Service, or are none any more.
func (s *serving) update(caches listers, changed names) sets.Set[string] {
	uids := sets.Set[string]{}
	for name := range changed {
		var now []endpoint
		if slice, ok := get[*discoveryv1.EndpointSlice](caches, sliceKind, name); ok {
			now = ready(slice)
		}
		for _, e := range now {
			if s.slices[e]++; s.slices[e] == 1 {
				uids.Insert(e.uid)
			}
		}
		for _, e := range s.listed[name] {
			if s.slices[e]--; s.slices[e] == 0 {
				delete(s.slices, e)
				uids.Insert(e.uid)
			}
		}
		if s.listed[name] = now; now == nil {
			delete(s.listed, name)
		}
	}
	return uids
}

// ready are the pods that a slice lists as ready endpoints.
func ready(slice *discoveryv1.EndpointSlice) []endpoint {
	service := cache.ObjectName{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]}
	var list []endpoint
	for _, e := range slice.Endpoints {
		if e.TargetRef != nil && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
			list = append(list, endpoint{service, string(e.TargetRef.UID)})
		}
	}
	return list
}
