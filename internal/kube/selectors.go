package kube

import (
	"slices"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/tools/cache"
)

// selectors are those of the objects of one kind over the pods of their namespaces.
type selectors struct {
	// of are the selectors by namespace and name; an object that selects nothing is not there.
	of map[string]map[string]labels.Selector
	// byLabel are those of a namespace by one label that they ask for, under the zero label those that ask for none: it is built when it is
	// needed. Else each pod would be compared with each selector.
	byLabel map[string]map[pair][]selecting
}

// pair is a label with its value.
type pair struct{ key, value string }

// selecting is an object with a selector.
type selecting struct {
	name cache.ObjectName
	// key is the name as namespace/name.
	key      string
	selector labels.Selector
}

func newSelectors() selectors {
	return selectors{of: map[string]map[string]labels.Selector{}, byLabel: map[string]map[pair][]selecting{}}
}

// set notes the selector of an object, nil for none, and returns the selectors whose pods are affected: the one before and this one, unless
// they are the same.
func (s *selectors) set(name cache.ObjectName, selector labels.Selector) []labels.Selector {
	if selector != nil {
		if _, selectable := selector.Requirements(); !selectable {
			selector = nil // it reads like one that selects everything, and is none
		}
	}
	in := s.of[name.Namespace]
	before := in[name.Name]
	if before != nil && selector != nil && before.String() == selector.String() {
		return nil
	}
	delete(s.byLabel, name.Namespace)
	if in == nil {
		in = map[string]labels.Selector{}
		s.of[name.Namespace] = in
	}
	if in[name.Name] = selector; selector == nil {
		delete(in, name.Name)
	}
	return slices.DeleteFunc([]labels.Selector{before, selector}, func(s labels.Selector) bool { return s == nil })
}

// over returns the objects that select a pod with the labels, in the order of their names.
func (s *selectors) over(namespace string, set labels.Set) []selecting {
	index, ok := s.byLabel[namespace]
	if !ok {
		index = indexed(namespace, s.of[namespace])
		s.byLabel[namespace] = index
	}
	var found []selecting
	find := func(at pair) {
		for _, o := range index[at] {
			if o.selector.Matches(set) {
				found = append(found, o)
			}
		}
	}
	find(pair{})
	for key, value := range set {
		find(pair{key, value})
	}
	slices.SortFunc(found, func(a, b selecting) int { return compareNames(a.name, b.name) })
	return found
}

// indexed puts the selectors of a namespace under one label each that a pod must have, of several the one that the fewest selectors ask for.
func indexed(namespace string, of map[string]labels.Selector) map[pair][]selecting {
	asked := map[pair]int{}
	for _, selector := range of {
		for _, l := range required(selector) {
			asked[l]++
		}
	}
	index := map[pair][]selecting{}
	for name, selector := range of {
		var at pair
		for _, l := range required(selector) {
			if asked[at] == 0 || asked[l] < asked[at] {
				at = l
			}
		}
		object := cache.ObjectName{Namespace: namespace, Name: name}
		index[at] = append(index[at], selecting{object, object.String(), selector})
	}
	return index
}

// required are labels that each pod of the selector has.
func required(selector labels.Selector) []pair {
	var list []pair
	requirements, _ := selector.Requirements()
	for _, r := range requirements {
		values := r.ValuesUnsorted()
		if len(values) == 1 && (r.Operator() == selection.Equals || r.Operator() == selection.DoubleEquals || r.Operator() == selection.In) {
			list = append(list, pair{r.Key(), values[0]})
		}
	}
	return list
}
