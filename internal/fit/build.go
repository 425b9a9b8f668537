package fit

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// builder makes a model.
type builder struct {
	model
	allocatable []upgrade.Resources
	namespaces  map[string]map[string]string

	resourceOf, keyOf, claimOf interning
	kindOf, tallyOf, spreadOf  interning
	scopeOf                    interning
	workloadOf                 map[upgrade.Ref]int32
	// seen is what was made of a shape with certain volumes, and socialOf of a shape.
	seen     map[shaped]int32
	socialOf map[*upgrade.PodShape]int32
	// asked are the labels of nodes that anybody asks for.
	asked map[string]bool
	// crowds are the terms by which pods are counted, and counting those of each namespace.
	crowds   []crowd
	crowdOf  interning
	counting map[string][]int32
	// spreadTerms says whom a spread counts.
	spreadTerms []spreadTerm
	// chosen is what a drain does with Jobs.
	chosen upgrade.Options
}

type shaped struct {
	shape   *upgrade.PodShape
	volumes string
}

// crowd is the pods that all of the terms are about.
type crowd struct {
	terms []upgrade.PodTerm
	// tallies are where they are counted, and holders the tallies of those that want to be away from them.
	tallies, holders []int32
}

type spreadTerm struct {
	namespace string
	selector  upgrade.Selector
}

func newBuilder(jobs upgrade.JobPolicy) *builder {
	b := &builder{
		chosen:     upgrade.Options{Jobs: jobs},
		resourceOf: interning{}, keyOf: interning{}, claimOf: interning{}, kindOf: interning{}, tallyOf: interning{}, spreadOf: interning{},
		scopeOf: interning{}, crowdOf: interning{}, workloadOf: map[upgrade.Ref]int32{}, seen: map[shaped]int32{},
		socialOf: map[*upgrade.PodShape]int32{}, asked: map[string]bool{}, counting: map[string][]int32{},
	}
	b.nodeNamed = map[string]int32{}
	b.resource("cpu")
	b.resource("memory")
	b.key(hostname)
	return b
}

func (b *builder) resource(name string) int32 {
	i, added := b.resourceOf.of(key(name))
	if added {
		b.resources = append(b.resources, name)
	}
	return i
}

func (b *builder) key(name string) int32 {
	i, added := b.keyOf.of(key(name))
	if added {
		b.keys = append(b.keys, name)
	}
	return i
}

func (b *builder) addNode(n node, allocatable upgrade.Resources) {
	n.slots = index(int(min(allocatable["pods"], math.MaxInt32)))
	b.nodes, b.allocatable = append(b.nodes, n), append(b.allocatable, allocatable)
}

func (b *builder) orderNodes() {
	nodes, allocatable := b.nodes, b.allocatable
	b.nodes, b.allocatable = nil, nil
	zones := interning{}
	for _, i := range interleave(nodes) {
		n := nodes[i]
		n.zoneIndex, _ = zones.of(key(n.zone))
		b.nodeNamed[n.name] = index(len(b.nodes))
		b.nodes, b.allocatable = append(b.nodes, n), append(b.allocatable, allocatable[i])
	}
}

// addPod adds a pod of the State. Finished pods take no room.
func (b *builder) addPod(s upgrade.Snapshot, i int32) {
	p := &s.State.Pods[i]
	if p.Finished {
		return
	}
	added := pod{kind: none, social: none, node: none, of: i, workload: b.workload(p), fate: b.fateOf(p), terminating: p.Terminating(), everywhere: p.Mirror || p.Workload.Kind == "DaemonSet"}
	if p.Node != "" {
		n, ok := b.nodeNamed[p.Node]
		if !ok {
			return
		}
		added.node = n
	}
	if shape := s.Inventory.Pods[p.UID]; shape != nil {
		volumes := s.Inventory.Volumes[p.UID]
		added.kind, added.social = b.kind(shape, volumes), b.social(shape)
		for _, v := range volumes {
			if v.Exclusive {
				claim, _ := b.claimOf.of(key(nil).text(p.Namespace, v.Claim))
				added.claims = append(added.claims, claim)
			}
		}
	}
	b.pods = append(b.pods, added)
}

// fateOf tells what a drain does. A pod that is being deleted is replaced already, but for that of a StatefulSet, which waits for it to end.
func (b *builder) fateOf(p *upgrade.Pod) fate {
	switch d := b.chosen.Disposition(*p); {
	case d == upgrade.Moves && (!p.Terminating() || p.Workload.Kind == "StatefulSet"):
		return moves
	case d == upgrade.Lost, d == upgrade.Moves:
		return goes
	}
	return stays
}

func (b *builder) workload(p *upgrade.Pod) int32 {
	owner := p.Workload
	if owner.IsZero() {
		owner = p.Ref()
	}
	i, ok := b.workloadOf[owner]
	if !ok {
		i = index(len(b.workloads))
		b.workloadOf[owner] = i
		b.workloads = append(b.workloads, owner)
	}
	return i
}

// addDaemons puts the pods of DaemonSets on the nodes that are to come. Labels put by hand may come to these as well, so the room that a
// DaemonSet takes where it asks for one is reckoned with.
func (b *builder) addDaemons(daemons []upgrade.Daemon) {
	labels := make([]map[string]string, len(b.nodes))
	for i, n := range b.nodes {
		labels[i] = n.labels
		if len(n.byHand) > 0 {
			labels[i] = maps.Clone(n.labels)
			maps.Copy(labels[i], n.byHand)
		}
	}
	for _, d := range daemons {
		added := pod{kind: b.kind(d.Shape, nil), social: b.social(d.Shape), of: none, workload: index(len(b.workloads)), everywhere: true}
		b.workloads = append(b.workloads, d.Ref)
		for i, n := range b.nodes {
			if n.toCome && !repel(n.taints, d.Shape.Tolerations) && (Selects(d.Shape, n.name, n.labels) || len(n.byHand) > 0 && Selects(d.Shape, n.name, labels[i])) {
				added.node = int32(i)
				b.pods = append(b.pods, added)
			}
		}
	}
}

// addStatic puts static pods on the nodes that are to come, by their pools.
func (b *builder) addStatic(s upgrade.Snapshot, static map[string][]*upgrade.Pod) {
	for i, n := range b.nodes {
		if !n.toCome {
			continue
		}
		for _, p := range static[n.pool] {
			shape := s.Inventory.Pods[p.UID]
			b.pods = append(b.pods, pod{kind: b.kind(shape, nil), social: b.social(shape), node: int32(i), of: none, workload: b.workload(p), everywhere: true})
		}
	}
}

// staticPods are those of the pool's node that has the most of them: every node gets them from its own files, so a new one will have the same.
func staticPods(s upgrade.Snapshot, pool string) []*upgrade.Pod {
	on := map[string]bool{}
	for _, n := range s.State.PoolNodes(pool) {
		on[n.Name] = true
	}
	of, asked := map[string][]*upgrade.Pod{}, map[string][3]int64{}
	for i := range s.State.Pods {
		p := &s.State.Pods[i]
		shape := s.Inventory.Pods[p.UID]
		if !p.Mirror || p.Finished || shape == nil || !on[p.Node] {
			continue
		}
		sum := asked[p.Node]
		asked[p.Node] = [3]int64{sum[0] + shape.Requests["cpu"], sum[1] + shape.Requests["memory"], sum[2] + 1}
		of[p.Node] = append(of[p.Node], p)
	}
	fullest := ""
	for _, node := range slices.Sorted(maps.Keys(of)) {
		if a, b := asked[node], asked[fullest]; slices.Compare(a[:], b[:]) > 0 {
			fullest = node
		}
	}
	slices.SortFunc(of[fullest], func(a, b *upgrade.Pod) int { return cmp.Compare(a.Key(), b.Key()) })
	return of[fullest]
}

// kind is the pod's, and is made if there is none like it yet.
func (b *builder) kind(shape *upgrade.PodShape, mounted []upgrade.Volume) int32 {
	var volumes key
	for _, v := range mounted {
		if v.Terms != nil {
			volumes = volumes.nodeTerms(v.Terms)
		}
	}
	if i, ok := b.seen[shaped{shape, string(volumes)}]; ok {
		return i
	}
	all := key(nil).resources(shape.Requests).tolerations(shape.Tolerations).selection(shape).ports(shape.HostPorts)
	i, added := b.kindOf.of(append(all, volumes...))
	if added {
		b.kinds = append(b.kinds, b.newKind(shape, mounted))
	}
	b.seen[shaped{shape, string(volumes)}] = i
	return i
}

// What the scheduler's scoring takes for pods that ask for nothing: a tenth of a core, 200 MiB.
const (
	scoredCPU    = 100
	scoredMemory = 200 << 20
)

func (b *builder) newKind(shape *upgrade.PodShape, mounted []upgrade.Volume) *kind {
	k := &kind{shape: shape, scored: [2]int64{scoredCPU, scoredMemory}}
	for _, name := range slices.Sorted(maps.Keys(shape.Requests)) {
		if amount := shape.Requests[name]; amount > 0 && name != "pods" {
			k.requests = append(k.requests, request{b.resource(name), amount})
		}
	}
	for i, name := range b.resources[:2] {
		if amount := shape.Requests[name]; amount > 0 {
			k.scored[i] = amount
		}
	}
	for name := range shape.NodeSelector {
		b.ask(k, name)
	}
	b.askTerms(k, shape.NodeTerms)
	for _, v := range mounted {
		if v.Terms != nil {
			k.volumes = append(k.volumes, v.Terms)
			b.askTerms(k, v.Terms)
		}
	}
	return k
}

func (b *builder) askTerms(k *kind, terms []upgrade.NodeTerm) {
	for _, t := range terms {
		k.byName = k.byName || len(t.Fields) > 0
		for _, r := range t.Labels {
			b.ask(k, r.Key)
		}
	}
}

func (b *builder) ask(k *kind, label string) {
	if label == hostname {
		k.byName = true
		return
	}
	b.asked[label] = true
}

// social is the shape's, and is made if it is seen for the first time. Where its pods count is found when all are known.
func (b *builder) social(shape *upgrade.PodShape) int32 {
	if i, ok := b.socialOf[shape]; ok {
		return i
	}
	s := &social{shape: shape}
	for _, t := range shape.AntiAffinity {
		c := b.crowd(t)
		s.avoids = append(s.avoids, b.tally(&b.crowds[c].tallies, "of", c, t.TopologyKey))
		// Pods with the term are counted as well: those whom it is about must keep away from them.
		s.counted = append(s.counted, b.tally(&b.crowds[c].holders, "holding", c, t.TopologyKey))
	}
	if len(shape.Affinity) > 0 {
		c := b.crowd(shape.Affinity...)
		s.needsSelf = true
		for _, t := range shape.Affinity {
			s.needs = append(s.needs, b.tally(&b.crowds[c].tallies, "of", c, t.TopologyKey))
			s.needsSelf = s.needsSelf && b.about(t, shape.Namespace) && matches(t.Selector, shape.Labels)
		}
	}
	for _, c := range shape.Spread {
		s.spreads = append(s.spreads, b.spreadRule(shape, c))
	}
	i := index(len(b.socials))
	b.socialOf[shape], b.socials = i, append(b.socials, s)
	return i
}

func (b *builder) crowd(terms ...upgrade.PodTerm) int32 {
	k := key(nil)
	for _, t := range terms {
		k = k.podTerm(t)
	}
	i, added := b.crowdOf.of(k)
	if added {
		b.crowds = append(b.crowds, crowd{terms: terms})
	}
	return i
}

// tally is the one of that name among a crowd's.
func (b *builder) tally(among *[]int32, name string, crowd int32, topologyKey string) int32 {
	i, added := b.tallyOf.of(key(nil).text(name, topologyKey).number(int64(crowd)))
	if added {
		b.tallies = append(b.tallies, tally{key: b.key(topologyKey)})
		*among = append(*among, i)
	}
	return i
}

// about tells whether the term is about pods of the namespace.
func (b *builder) about(t upgrade.PodTerm, namespace string) bool {
	return slices.Contains(t.Namespaces, namespace) || matches(t.NamespaceSelector, b.namespaces[namespace])
}

func (b *builder) spreadRule(shape *upgrade.PodShape, c upgrade.Spread) spreadRule {
	sc := scope{key: b.key(c.TopologyKey)}
	names := make([]string, len(shape.Spread))
	for i, other := range shape.Spread {
		names[i] = other.TopologyKey
		sc.keys = append(sc.keys, b.key(other.TopologyKey))
	}
	slices.Sort(names)
	k := key(nil).text(c.TopologyKey).text(slices.Compact(names)...)
	if !c.IgnoreAffinity {
		sc.selecting = shape
		k = k.selection(shape)
	}
	if k = k.flag(c.HonorTaints); c.HonorTaints {
		sc.tolerating = shape
		k = k.tolerations(shape.Tolerations)
	}
	in, added := b.scopeOf.of(k)
	if added {
		b.scopes = append(b.scopes, sc)
	}
	i, added := b.spreadOf.of(key(nil).number(int64(in)).text(shape.Namespace).selector(c.Selector))
	if added {
		b.spreads = append(b.spreads, spread{scope: in})
		b.spreadTerms = append(b.spreadTerms, spreadTerm{shape.Namespace, c.Selector})
	}
	rule := spreadRule{spread: i, maxSkew: index(c.MaxSkew), minDomains: max(1, index(c.MinDomains))}
	if matches(c.Selector, shape.Labels) {
		rule.self = 1
	}
	return rule
}

// finish works out what needs all pods and nodes to be known.
func (b *builder) finish() *model {
	for i := range b.socials {
		b.count(b.socials[i])
	}
	b.countSpreads()
	b.allocate()
	b.locate()
	b.groupNodes()
	b.claims = len(b.claimOf)
	b.nameNodes()
	return &b.model
}

// count finds the crowds that pods are part of.
func (b *builder) count(s *social) {
	for _, i := range b.countingIn(s.shape.Namespace) {
		c := b.crowds[i]
		if slices.ContainsFunc(c.terms, func(t upgrade.PodTerm) bool { return !matches(t.Selector, s.shape.Labels) }) {
			continue
		}
		s.counted = append(s.counted, c.tallies...)
		s.avoided = append(s.avoided, c.holders...)
	}
}

// countingIn are the crowds that are about pods of the namespace.
func (b *builder) countingIn(namespace string) []int32 {
	if list, ok := b.counting[namespace]; ok {
		return list
	}
	list := []int32{}
	for i, c := range b.crowds {
		if !slices.ContainsFunc(c.terms, func(t upgrade.PodTerm) bool { return !b.about(t, namespace) }) {
			list = append(list, int32(i))
		}
	}
	b.counting[namespace] = list
	return list
}

func (b *builder) countSpreads() {
	in := map[string][]int32{}
	for i, t := range b.spreadTerms {
		// A selector without requirements counts no pods, for the scheduler, though it matches all.
		if len(t.selector.Requirements) > 0 {
			in[t.namespace] = append(in[t.namespace], int32(i))
		}
	}
	for _, s := range b.socials {
		for _, i := range in[s.shape.Namespace] {
			if matches(b.spreadTerms[i].selector, s.shape.Labels) {
				s.spreadCounted = append(s.spreadCounted, i)
			}
		}
	}
}

func (b *builder) allocate() {
	for i := range b.nodes {
		n := &b.nodes[i]
		n.allocatable = make([]int64, len(b.resources))
		for r, name := range b.resources {
			n.allocatable[r] = b.allocatable[i][name]
		}
	}
}

// locate finds each node's domain of each key.
func (b *builder) locate() {
	b.domains = make([][]int32, len(b.keys))
	for k, name := range b.keys {
		values, of := interning{}, make([]int32, len(b.nodes))
		for i, n := range b.nodes {
			of[i] = none
			if value, ok := n.labels[name]; ok {
				of[i], _ = values.of(key(value))
			}
		}
		b.domains[k] = of
	}
}

// nameNodes finds the nodes that are all that come into question by their names: a pod with a local disk has but one.
func (b *builder) nameNodes() {
	at := map[string][]int32{}
	for i, n := range b.nodes {
		b.every = append(b.every, int32(i))
		for _, name := range slices.Compact([]string{n.name, n.labels[hostname]}) {
			at[name] = append(at[name], int32(i))
		}
	}
	for _, k := range b.kinds {
		for _, terms := range append(slices.Clone(k.volumes), k.shape.NodeTerms) {
			names, all := namesIn(terms)
			if !k.byName || !all {
				continue
			}
			k.named = []int32{}
			for _, name := range names {
				k.named = append(k.named, at[name]...)
			}
		}
	}
}

// namesIn are the names of nodes in the terms, and whether every term asks for some.
func namesIn(terms []upgrade.NodeTerm) (names []string, all bool) {
	for _, t := range terms {
		i := slices.IndexFunc(append(slices.Clone(t.Labels), t.Fields...), func(r upgrade.Requirement) bool {
			if r.Operator != "In" || r.Key != hostname && r.Key != nameField {
				return false
			}
			names = append(names, r.Values...)
			return true
		})
		if i < 0 {
			return nil, false
		}
	}
	return names, len(terms) > 0
}

func (b *builder) groupNodes() {
	for _, name := range b.keys[1:] {
		b.asked[name] = true
	}
	names := slices.Sorted(maps.Keys(b.asked))
	groups := interning{}
	for i := range b.nodes {
		n := &b.nodes[i]
		taints := slices.Clone(n.taints)
		slices.SortFunc(taints, func(a, b upgrade.Taint) int {
			return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Effect, b.Effect), cmp.Compare(a.Value, b.Value))
		})
		k := key(nil).flag(n.cordoned).taints(taints)
		for _, name := range names {
			value, has := n.labels[name]
			k = k.flag(has).text(value)
		}
		g, added := groups.of(k)
		if added {
			b.groups = append(b.groups, group{of: int32(i)})
		}
		n.group = g
	}
}
