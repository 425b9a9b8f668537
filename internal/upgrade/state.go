package upgrade

import (
	"encoding/json"
	"fmt"
	"time"
)

// Ref names a Kubernetes object. Kind is empty where there is none.
type Ref struct {
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	UID       string `json:"uid,omitempty"`
}

// String is how people name the object: "Deployment default/web", "Node n1".
func (r Ref) String() string {
	switch {
	case r.Namespace == "":
		return fmt.Sprintf("%s %s", r.Kind, r.Name)
	case r.Kind == "":
		return fmt.Sprintf("%s/%s", r.Namespace, r.Name)
	}
	return fmt.Sprintf("%s %s/%s", r.Kind, r.Namespace, r.Name)
}

// IsZero tells that r names nothing.
func (r Ref) IsZero() bool { return r == Ref{} }

// Node is a Kubernetes node.
type Node struct {
	Name string
	// Pool is the node pool that the node belongs to, empty for none.
	Pool string
	Zone string
	// Version is the kubelet's, without a leading "v".
	Version       string
	Ready         bool
	Unschedulable bool
	// CordonedBy is the run that cordoned the node, empty if Upshift did not.
	CordonedBy string
	// Allocatable is what pods may have of it in all, "pods" being how many. It must not be changed.
	Allocatable Resources
}

// Pod is a pod with everything about it that a drain has to know already worked out.
type Pod struct {
	Namespace, Name, UID string
	// Node is empty while the pod is unscheduled.
	Node string
	// Workload is the topmost controller that would make the pod again, zero for a bare pod.
	Workload Ref
	// Orphan names the controller that the pod points to when that controller does not exist: nothing will make such a pod
	// again, so it is bare in practice.
	Orphan Ref
	// Mirror tells that the pod is a kubelet's static pod.
	Mirror bool
	// Component is what a static pod of a control plane runs ("kube-apiserver", "etcd"), and Version its image's, without a leading "v"; both are empty
	// for every other pod.
	Component, Version string
	// Finished tells that the pod succeeded or failed: nothing runs in it any more.
	Finished bool
	// Pending tells that the pod has not started; the eviction API lets such a pod go whatever its budgets say.
	Pending    bool
	Ready      bool
	ReadySince time.Time
	// StartUp is how long the pod took from being bound to its node to being Ready, zero where that cannot be told.
	StartUp time.Duration
	// EndsBy is the end of the grace period of a pod that is being deleted, zero for any other pod.
	EndsBy time.Time
	// OneOff tells that the pod's containers are not started again when they end (restartPolicy Never or OnFailure): it is there for a piece of work.
	OneOff bool
	// Grace is the pod's own termination grace period.
	Grace time.Duration
	// Unschedulable is the scheduler's message when it found no node.
	Unschedulable string
	// Trouble is why a container is not running (CrashLoopBackOff, ErrImagePull), empty if all is well.
	Trouble string
	// EmptyDirs are the names of its emptyDir volumes.
	EmptyDirs []string
	// Requests are what scheduling reserves for it of a node; pods that are alike may share them, so they must not be changed. "pods" is not among them.
	Requests Resources
	// Disks are the names of the PersistentVolumes that it has mounted and that only one node can have at a time (ReadWriteOnce, ReadWriteOncePod).
	Disks []string
	// Pinned tells that the pod may run where it does, and on no node like it of another pool but those of the pools PinnedTo.
	Pinned   bool
	PinnedTo []string
	// Budgets are the keys (namespace/name) of the PodDisruptionBudgets that select the pod.
	Budgets []string
	// Unserved are the Services that select the pod and do not list it as a ready endpoint.
	Unserved []string
}

// Ref names the pod.
func (p Pod) Ref() Ref {
	return Ref{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID}
}

// Key is namespace/name.
func (p Pod) Key() string { return p.Namespace + "/" + p.Name }

// Terminating tells that the pod is being deleted.
func (p Pod) Terminating() bool { return !p.EndsBy.IsZero() }

// Workload is a controller of pods.
type Workload struct {
	Ref
	// Wanted is how many pods it is told to have, Unknown where its kind is not one of Kubernetes' own.
	Wanted int
	// MinReady is how long a new pod has to be Ready before it counts.
	MinReady time.Duration
	// HeldBack is how many of its pods a change of it has not reached, since it waits for somebody to delete them (updateStrategy OnDelete).
	HeldBack int
	// Rollout is how a Deployment replaces its pods, nil for every other kind. It must not be changed.
	Rollout *Rollout
}

// Rollout is how a Deployment replaces its pods, and how far it is with it.
type Rollout struct {
	// Recreate tells that all old pods end before the first new one begins.
	Recreate bool
	// Unavailable and Surge are maxUnavailable and maxSurge in pods: how many fewer than wanted may be available, and how many more there may be.
	Unavailable, Surge int
	Paused             bool
	// Declined tells that an annotation keeps the Deployment from being restarted by us.
	Declined bool
	// HostPorts tells that its pods take ports of their nodes, Claims that they mount persistent volume claims, and ToleratesCordon that the
	// scheduler may put them on cordoned nodes.
	HostPorts, Claims, ToleratesCordon bool
	// Updated is how many pods are as the Deployment has them now, and Available how many are available. Complete tells that it has as many as it
	// wants of both, and no others.
	Updated, Available int
	Complete           bool
	// RestartedAt is the pod template's annotation kubectl.kubernetes.io/restartedAt, empty for none.
	RestartedAt string
	// Stuck is Kubernetes' word that the rollout does not progress, empty while it does, and Failing that it cannot make a pod (a quota, a webhook),
	// empty while it can.
	Stuck, Failing string
}

// Unknown stands for a number that could not be read.
const Unknown = -1

// Budget is a PodDisruptionBudget.
type Budget struct {
	Namespace, Name string
	// Revision changes with every change of the object.
	Revision string
	// Allowed is how many of its pods may be evicted now.
	Allowed int
	// Healthy and Needed are what Allowed was computed from; Expected is how many pods it counts.
	Healthy, Needed, Expected int
	// Current tells that the status speaks of the current spec.
	Current bool
	// FreesUnready is the AlwaysAllow policy: pods that are not Ready may always go.
	FreesUnready bool
	// Trouble is why Kubernetes cannot work the budget out, and so allows nothing; empty if it can.
	Trouble string
	// Rule is the spec's rule for people: "minAvailable 2".
	Rule string
	// Spec is the whole spec, for the digest.
	Spec json.RawMessage
}

// Key is namespace/name.
func (b Budget) Key() string { return b.Namespace + "/" + b.Name }

// Frees tells whether the eviction API lets the pod go without asking the budget: pods that have not started, and pods that
// are not Ready where the policy or the number of healthy pods allows it.
func (b Budget) Frees(p Pod) bool {
	if p.Pending || p.Finished || p.Terminating() {
		return true
	}
	return !p.Ready && (b.FreesUnready || (b.Healthy >= b.Needed && b.Needed > 0))
}

// State is what the Kubernetes API knows at one time. The maps and slices must not be changed or appended to.
type State struct {
	Nodes []Node
	Pods  []Pod
	// Workloads by UID; one that is missing is gone.
	Workloads map[string]Workload
	// Budgets by namespace/name.
	Budgets map[string]Budget
	// Attachments are the volumes that are attached to nodes, or on their way.
	Attachments []Attachment
	// Trouble is why this state may be out of date (the API cannot be read), empty if all is well.
	Trouble string
	// Away tells that the trouble is an API that cannot be reached at all: nothing can be known or changed until it is back.
	Away bool
}

// PoolNodes returns the pool's nodes in the order of State.Nodes.
func (s State) PoolNodes(pool string) []Node {
	var nodes []Node
	for _, n := range s.Nodes {
		if n.Pool == pool {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// NodesPerZone returns how many nodes of the pool are in the zone that has the most.
func (s State) NodesPerZone(pool string) int {
	fullest, perZone := 0, map[string]int{}
	for _, n := range s.PoolNodes(pool) {
		perZone[n.Zone]++
		fullest = max(fullest, perZone[n.Zone])
	}
	return fullest
}

// Disposition is what a drain does with a pod.
type Disposition string

// The dispositions of a pod.
const (
	// Moves: the pod is evicted and its workload makes another.
	Moves Disposition = "move"
	// Lost: nothing makes the pod again, so it goes only with consent.
	Lost Disposition = "lose"
	// Awaited: the pod of a Job, or of something like one (a TaskRun, a Workflow, a runner), which is left to finish.
	Awaited Disposition = "await"
	// Stays: a DaemonSet's, a static or a finished pod; it leaves with its node.
	Stays Disposition = "stay"
)

// Disposition tells what a drain of its node does with p, if no option says otherwise.
func (p Pod) Disposition() Disposition {
	switch {
	case p.Mirror, p.Finished, p.Workload.Kind == "DaemonSet":
		return Stays
	case p.Workload.IsZero():
		return Lost
	case p.Workload.Kind == "Job", p.OneOff:
		return Awaited
	}
	return Moves
}

// Answer is how the eviction API answered.
type Answer struct {
	Kind AnswerKind
	// Message is the API's own, for people.
	Message string
	// RetryAfter is how long the API asks to wait, zero if it does not say.
	RetryAfter time.Duration
}

// AnswerKind classifies an answer of the eviction API.
type AnswerKind string

// The kinds of answers.
const (
	// Accepted: the pod is being deleted; it is not gone yet.
	Accepted AnswerKind = "accepted"
	// AlreadyGone: the pod is not there any more, or another one has its name.
	AlreadyGone AnswerKind = "already-gone"
	// BudgetSpent: a PodDisruptionBudget allows no disruption now.
	BudgetSpent AnswerKind = "budget-spent"
	// Refused: the API will go on refusing until a person changes something.
	Refused AnswerKind = "refused"
	// NotNow: the API could not do it now: overload, a race, a lost connection.
	NotNow AnswerKind = "not-now"
)

// Occupants is what is on the nodes of a pool.
type Occupants struct {
	Nodes []Node
	// Pods are all the pods on them.
	Pods []Pod
	// Volumes are the VolumeAttachments of the nodes.
	Volumes []Attachment
}

// Attachment is a volume that is attached to a node: the VolumeAttachment's name, the node's, and the PersistentVolume's.
type Attachment struct{ Name, Node, Volume string }
