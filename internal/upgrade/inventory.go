package upgrade

import "time"

// Inventory is what is looked at before an upgrade beyond what a drain has to know. It is read once, for a plan.
type Inventory struct {
	// Unread says why something could not be read, by one of the Sources. What needs it is unknown then, and never fine.
	Unread map[Source]string
	// Nodes are the nodes as scheduling sees them, by name.
	Nodes map[string]NodeShape
	// Pods are the pods as scheduling sees them, by UID. Pods that are alike share one shape, which must not be changed.
	Pods map[string]*PodShape
	// Volumes are what pods have mounted of PersistentVolumes, by the pod's UID.
	Volumes map[string][]Volume
	// Namespaces are their labels, by name.
	Namespaces map[string]map[string]string
	// Daemons are the DaemonSets: each takes room on every node that it matches.
	Daemons []Daemon
	// Services are those that select pods.
	Services []Service
	// Webhooks are the admission webhooks that see what an upgrade does.
	Webhooks []Webhook
	// APIs are the API versions that are in use and that a later minor removes.
	APIs []APIUse
	// Leaders are the leader elections outside the provider's own namespaces, CronJobs those that are not suspended, and Autoscalers the
	// HorizontalPodAutoscalers: what does without the Kubernetes API only for a while.
	Leaders     []Leader
	CronJobs    []CronJob
	Autoscalers []Autoscaler
	// User is who the Kubernetes API takes us for, and Permissions what it says that we may do.
	User        string
	Permissions []Permission
}

// Source is something that can fail to be read by itself.
type Source string

// The sources of an Inventory, and what a provider can fail to tell of a Cluster.
const (
	ReadVolumes     Source = "persistent volumes and claims"
	ReadNamespaces  Source = "namespaces"
	ReadWebhooks    Source = "admission webhooks"
	ReadAPIMetrics  Source = "the API server's metrics"
	ReadStoredAPIs  Source = "stored objects"
	ReadPermissions Source = "own permissions"
	ReadOperations  Source = "the provider's operations"
	ReadMaintenance Source = "the maintenance policy"
	ReadAutoUpgrade Source = "the provider's own upgrades"
	ReadLeases      Source = "leader elections"
	ReadCronJobs    Source = "CronJobs"
	ReadAutoscalers Source = "HorizontalPodAutoscalers"
	ReadServers     Source = "the versions of the API servers"
)

// Resources are amounts by resource name: cpu in thousandths of a core, memory and ephemeral-storage in bytes, pods and all others as a count.
type Resources map[string]int64

// NodeShape is what scheduling sees of a node.
type NodeShape struct {
	Labels map[string]string
	// Taints are all of the node's, those of a cordon and of conditions included.
	Taints []Taint
	// Allocatable is what pods may have of it in all, "pods" being how many.
	Allocatable Resources
	// Image, Kernel and Runtime are its operating system's image, its kernel and its container runtime.
	Image, Kernel, Runtime string
}

// Taint keeps pods off a node that do not tolerate it.
type Taint struct {
	Key   string `json:"key"`
	Value string `json:"value,omitempty"`
	// Effect is NoSchedule, PreferNoSchedule or NoExecute.
	Effect string `json:"effect"`
}

// Toleration is Kubernetes' own; Operator is Exists, or Equal, which it is also when empty.
type Toleration struct{ Key, Operator, Value, Effect string }

// Requirement is one of a selector's; Operator is In, NotIn, Exists, DoesNotExist, Gt or Lt.
type Requirement struct {
	Key, Operator string
	Values        []string
}

// Selector is a label selector, of which all requirements must hold. The zero Selector selects everything.
type Selector struct {
	// Nothing selects nothing, whatever the requirements.
	Nothing      bool
	Requirements []Requirement
}

// NodeTerm is one of the terms of which a node has to fulfil any: all requirements on its labels and fields (metadata.name). An empty term
// is fulfilled by no node.
type NodeTerm struct{ Labels, Fields []Requirement }

// PodTerm is a required affinity or anti-affinity to pods.
type PodTerm struct {
	Selector    Selector
	TopologyKey string
	// Namespaces are those whose pods count, besides those that NamespaceSelector selects by their labels.
	Namespaces        []string
	NamespaceSelector Selector
}

// Spread is a topology spread constraint that forbids scheduling.
type Spread struct {
	TopologyKey         string
	MaxSkew, MinDomains int
	Selector            Selector
	// IgnoreAffinity and HonorTaints are the policies where they are not the defaults: which nodes count.
	IgnoreAffinity, HonorTaints bool
}

// HostPort is a port that a pod takes of its node. IP is empty for all addresses; Protocol is TCP, UDP or SCTP.
type HostPort struct {
	IP, Protocol string
	Port         int
}

// PodShape is what pods that are alike have in common: what scheduling sees of them, and how they start.
type PodShape struct {
	Namespace string
	Labels    map[string]string
	// Requests are for the whole pod, init containers and overhead taken into account, as the scheduler reckons. "pods" is not among them.
	Requests    Resources
	Tolerations []Toleration
	// NodeSelector is the simple one, all of which must hold, and NodeTerms the required node affinity, nil for none.
	NodeSelector map[string]string
	NodeTerms    []NodeTerm
	// Affinity and AntiAffinity are those that are required.
	Affinity, AntiAffinity []PodTerm
	Spread                 []Spread
	HostPorts              []HostPort
	// Unmodelled says, a phrase each, what about the pod only its own scheduler or driver can decide: "a scheduler of its own (volcano)".
	Unmodelled []string
	// Unprobed are the containers whose readiness nothing probes.
	Unprobed []Unprobed
	// HostPaths are the directories of its node that it mounts.
	HostPaths []string
}

// Unprobed is a container without a probe that holds its pod's readiness back. Ports are those that it declares, by number and by name; one that
// is the only container of its pod has whatever port a Service sends to.
type Unprobed struct {
	Container string
	Ports     []string
	Only      bool
}

// Volume is a PersistentVolume that a pod has mounted through a claim.
type Volume struct {
	// Claim is the claim's name, in the pod's namespace.
	Claim string
	// Terms say where the volume can be mounted, nil for anywhere.
	Terms []NodeTerm
	// Local tells that it is a disk of one node.
	Local bool
	// Exclusive tells that only one pod may have it (ReadWriteOncePod), and Attached that only one node can (ReadWriteOnce).
	Exclusive, Attached bool
	// Unbound says why nothing is known of the volume: the claim is not bound, or not there. It is empty otherwise.
	Unbound string
}

// Daemon is a DaemonSet.
type Daemon struct {
	Ref Ref
	// Shape is that of its pods, without the pin to one node, and with the tolerations that every DaemonSet's pods get.
	Shape *PodShape
}

// Service is a Service with a selector.
type Service struct {
	Namespace, Name string
	// Type is ClusterIP, NodePort or LoadBalancer.
	Type string
	// LocalTraffic tells that traffic from outside reaches only pods on the node that it comes to (externalTrafficPolicy: Local).
	LocalTraffic bool
	// Targets are the ports of the pods that it sends to, by number or by name.
	Targets []string
	// Pods are the UIDs of the pods that it selects, and Ready how many ready endpoints it has.
	Pods  []string
	Ready int
}

// Key is namespace/name.
func (s Service) Key() string { return s.Namespace + "/" + s.Name }

// Webhook is an admission webhook that is asked about something that an upgrade does.
type Webhook struct {
	// Configuration is the ValidatingWebhookConfiguration or MutatingWebhookConfiguration, and Name the webhook's in it.
	Configuration Ref
	Name          string
	// FailsClosed tells that what it is asked about fails if it does not answer, within Timeout.
	FailsClosed bool
	Timeout     time.Duration
	// Sees are the requests of an upgrade, or of a node that joins, that it is asked about: "create pods", "create pods/eviction", "update nodes", "update leases".
	Sees []string
	// KubeSystem tells that it is asked about objects in kube-system.
	KubeSystem bool
	// Namespaces are those with pods that it is asked about, in their order.
	Namespaces []string
	// Conditional tells that conditions of its own (matchConditions) decide further what it is asked about, which nobody here evaluates.
	Conditional bool
	// Service is what answers, by namespace/name, empty for a URL. Missing tells that there is no such Service.
	Service string
	Missing bool
	// Ready are the UIDs of its ready pods, and the addresses of ready endpoints that are none.
	Ready []string
}

// APIUse is the use of an API version that a later minor does not serve any more.
type APIUse struct {
	Group, Version, Resource string
	// RemovedIn is the first minor without it, "1.32", and Source says who says so.
	RemovedIn, Source string
	// Replacement is what to use instead, empty if it is not known.
	Replacement string
	// Requested tells that somebody has asked for it since the API server that answered was started.
	Requested bool
	// Applied are objects that were last applied with it, whoever uses it now.
	Applied []Ref
}

// Permission is something that an upgrade has to be allowed to do.
type Permission struct {
	Verb string
	// Group is the API group, empty for the core one; Resource can have a subresource: "pods/eviction". Namespace is empty for all.
	Group, Resource, Namespace string
	Allowed                    bool
	// Why says what it is needed for, as the end of a sentence: "to cordon nodes".
	Why string
	// Only is the kind of step that needs it, empty for every upgrade.
	Only StepKind
}

// Interval is a span of time.
type Interval struct{ Start, End time.Time }

// Contains tells whether t lies in the interval, its end not included.
func (i Interval) Contains(t time.Time) bool { return !t.Before(i.Start) && t.Before(i.End) }

// Maintenance is when a provider may change a cluster by itself. What people start is not held back by it.
type Maintenance struct {
	// Windows are the coming ones, in their order, the one that is open now included; none where there are no windows.
	Windows []Interval
	// Exclusions are those that are not over.
	Exclusions []Exclusion
	// Summary is for people: "daily at 03:00 UTC, 4h0m0s".
	Summary string
}

// Exclusion is a time in which a provider does not upgrade.
type Exclusion struct {
	Name string
	Interval
	// Scope is what is excluded, in the provider's words.
	Scope string
}

// Operation is something that a provider is doing to a cluster.
type Operation struct {
	Name, Kind string
	// Target is the cluster or the pool that it changes, by its name.
	Target    string
	StartedAt time.Time
}

// PodRange is where the addresses of a pool's pods come from.
type PodRange struct {
	// Name is the provider's, and CIDR the range; both are empty if they are not known.
	Name, CIDR string
	// Free is how many addresses are left, Unknown if that is not known. PerNode is how many each new node takes.
	Free, PerNode int64
}

// Leader is a Lease by which replicas elect the one that works.
type Leader struct {
	Lease Ref
	// Holder is who holds it, as it says itself: "controller-6c9f-abcde_0f1e…".
	Holder  string
	Renewed time.Time
}

// CronJob is a CronJob that is not suspended.
type CronJob struct {
	Ref Ref
	// Schedule is as it was written, with its time zone if it names one.
	Schedule string
	// Next are the times of the next hour at which it is due. Trouble says why they are not known.
	Next    []time.Time
	Trouble string
	// Deadline is how late it may start, zero for any time.
	Deadline time.Duration
}

// Autoscaler is a HorizontalPodAutoscaler.
type Autoscaler struct {
	Ref Ref
	// Target is what it scales; Now is how many pods that has, of Most at most.
	Target    Ref
	Now, Most int
}
