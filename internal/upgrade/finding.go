package upgrade

import (
	"fmt"
	"slices"
	"strings"
)

// Severity orders findings by what they do to a run.
type Severity string

// The severities of a finding.
const (
	// Blocker: the upgrade does not start.
	Blocker Severity = "blocker"
	// Warning: the upgrade can start; somebody should know.
	Warning Severity = "warning"
	// Info: worth a line in the plan.
	Info Severity = "info"
)

// Consent is the name of the input by which a person allows something harmful.
type Consent string

// The consents that exist.
const (
	AllowBarePods     Consent = "allow-bare-pods"
	AllowEmptyDirLoss Consent = "allow-emptydir-loss"
)

// Finding is what looking at a cluster before an upgrade turned up.
type Finding struct {
	Check    string   `json:"check"`
	Severity Severity `json:"severity"`
	// Object is what the finding is about.
	Object Ref `json:"object"`
	// Problem is one sentence, without a full stop, that says what is wrong.
	Problem  string   `json:"problem"`
	Evidence []string `json:"evidence,omitempty"`
	// Remedy is a command or a change that makes the finding go away.
	Remedy string `json:"remedy,omitempty"`
	// Consent names the input by which a person may allow it.
	Consent Consent `json:"consent,omitempty"`
	// Momentary findings come and go with a replica or a budget's last disruption; the digest leaves them out.
	Momentary bool `json:"momentary,omitempty"`
}

// inspect looks for what is known beforehand to go wrong when the pods on pools are moved.
func inspect(s Snapshot, target string, pools []PoolPlan) []Finding {
	var found []Finding
	if CompareVersions(s.Cluster.ControlPlaneVersion, target) < 0 {
		found = append(found, controlPlaneBehind(s.Cluster, target))
	}
	for _, p := range pools {
		if p.Action == LeaveNewer {
			found = append(found, Finding{
				Check: "newer-pool", Severity: Info, Object: Ref{Kind: "NodePool", Name: p.Name},
				Problem: fmt.Sprintf("runs %s, newer than the target %s, and is left as it is: nodes are not downgraded", p.From, target),
			})
		}
		if p.Adopt {
			found = append(found, adopted(s, p))
		}
		if p.Action == Migrate && p.Conflict != "" { // a name that somebody else has, or two pools of this plan
			found = append(found, Finding{
				Check: "pool-name-taken", Severity: Blocker, Object: Ref{Kind: "NodePool", Name: p.NewName}, Problem: p.Conflict,
				Remedy: "delete or rename the pool " + p.NewName,
			})
		}
	}
	found = append(found, otherCluster(s, pools)...)
	moving := podsOn(s.State, pools)
	found = append(found, barePods(moving)...)
	found = append(found, emptyDirs(moving)...)
	found = append(found, jobs(moving)...)
	found = append(found, budgets(s.State, moving)...)
	found = append(found, singleReplicas(s.State, moving)...)
	slices.SortStableFunc(found, func(a, b Finding) int { return severityRank(a.Severity) - severityRank(b.Severity) })
	return found
}

func severityRank(s Severity) int { return slices.Index([]Severity{Blocker, Warning, Info}, s) }

// adopted says that the plan goes on with what an earlier run began.
func adopted(s Snapshot, p PoolPlan) Finding {
	cordoned := 0
	for _, n := range s.State.PoolNodes(p.Name) {
		if n.CordonedBy != "" {
			cordoned++
		}
	}
	return Finding{
		Check: "goes-on", Severity: Info, Object: Ref{Kind: "NodePool", Name: p.NewName},
		Problem: fmt.Sprintf("was made by an earlier run, which did not finish, and is taken over; %d of the %d nodes of %s are cordoned already", cordoned, len(p.Nodes), p.Name),
	}
}

func controlPlaneBehind(c Cluster, target string) Finding {
	return Finding{
		Check: "control-plane-behind", Severity: Blocker, Object: Ref{Kind: "Cluster", Name: c.Name},
		Problem: fmt.Sprintf("has a control plane at %s, behind the target %s, and nodes must not be newer than it; "+
			"upgrading control planes is not supported yet", c.ControlPlaneVersion, target),
		Remedy: fmt.Sprintf("gcloud container clusters upgrade %s --master --cluster-version %s --project %s --location %s",
			c.Name, target, c.Project, c.Location),
	}
}

// otherCluster tells when Kubernetes shows other nodes than the provider has: its API is then another cluster's, and a pool that
// is full here would look empty there.
func otherCluster(s Snapshot, pools []PoolPlan) []Finding {
	blocker := func(object Ref, problem string, args ...any) Finding {
		return Finding{
			Check: "other-cluster", Severity: Blocker, Object: object, Problem: fmt.Sprintf(problem, args...),
			Remedy: "kubectl config current-context, and see whether it is " + s.Cluster.Name,
		}
	}
	var found []Finding
	ofPools := 0
	for _, n := range s.State.Nodes {
		if n.Pool == "" {
			continue
		}
		if !slices.ContainsFunc(s.Cluster.Pools, func(p Pool) bool { return p.Name == n.Pool }) {
			return []Finding{blocker(Ref{Kind: "Node", Name: n.Name}, "belongs to a pool %s, which %s does not have: is this the Kubernetes API of another cluster?", n.Pool, s.Cluster.Name)}
		}
		ofPools++
	}
	for _, p := range pools {
		if p.Action == Migrate && len(p.Nodes) == 0 && (ofPools == 0 || !p.Autoscaling.Enabled) {
			found = append(found, blocker(Ref{Kind: "NodePool", Name: p.Name}, "has no node that Kubernetes knows: is this the Kubernetes API of another cluster?"))
		}
	}
	return found
}

// podsOn returns the pods on the nodes of the pools that are migrated and that do not simply leave with their node.
func podsOn(s State, pools []PoolPlan) []Pod {
	migrated := map[string]bool{}
	for _, p := range pools {
		migrated[p.Name] = p.Action == Migrate
	}
	on := map[string]bool{}
	for _, n := range s.Nodes {
		on[n.Name] = migrated[n.Pool]
	}
	var pods []Pod
	for _, p := range s.Pods {
		if p.Node != "" && on[p.Node] && p.Disposition() != Stays {
			pods = append(pods, p)
		}
	}
	return pods
}

func barePods(pods []Pod) []Finding {
	var found []Finding
	for _, p := range pods {
		if p.Disposition() != Lost {
			continue
		}
		problem := "has no controller: once evicted it is gone for good"
		if !p.Orphan.IsZero() {
			problem = fmt.Sprintf("has a controller, %s, that does not exist: once evicted it is gone for good", p.Orphan)
		}
		found = append(found, Finding{
			Check: "bare-pods", Severity: Warning, Object: p.Ref(), Problem: problem, Evidence: []string{"on node " + p.Node},
			Remedy:  fmt.Sprintf("kubectl get pod -n %s %s -o yaml > %s.yaml, to make it again afterwards, or put it under a Deployment", p.Namespace, p.Name, p.Name),
			Consent: AllowBarePods,
		})
	}
	return found
}

func emptyDirs(pods []Pod) []Finding {
	loses := func(p Pod) bool { return len(p.EmptyDirs) > 0 && p.Disposition() != Awaited }
	return byWorkload(pods, loses, func(owner Ref, of []Pod) Finding {
		return Finding{
			Check: "emptydir", Severity: Warning, Object: owner,
			Problem:  fmt.Sprintf("loses what its pods keep in emptyDir volumes (%s) when they move", strings.Join(of[0].EmptyDirs, ", ")),
			Evidence: keys(of), Consent: AllowEmptyDirLoss,
		}
	})
}

func jobs(pods []Pod) []Finding {
	return byWorkload(pods, func(p Pod) bool { return p.Disposition() == Awaited }, func(owner Ref, of []Pod) Finding {
		return Finding{
			Check: "running-jobs", Severity: Info, Object: owner,
			Problem: "is running: the drain of its node waits for it to finish", Evidence: keys(of),
		}
	})
}

// byWorkload makes one finding for each workload (or bare pod) that has pods that match, in the order of the pods.
func byWorkload(pods []Pod, match func(Pod) bool, finding func(Ref, []Pod) Finding) []Finding {
	var order []Ref
	of := map[Ref][]Pod{}
	for _, p := range pods {
		if !match(p) {
			continue
		}
		owner := p.Workload
		if owner.IsZero() {
			owner = p.Ref()
		}
		if of[owner] == nil {
			order = append(order, owner)
		}
		of[owner] = append(of[owner], p)
	}
	var found []Finding
	for _, owner := range order {
		found = append(found, finding(owner, of[owner]))
	}
	return found
}

func keys(pods []Pod) []string {
	var names []string
	for _, p := range pods {
		names = append(names, p.Key())
	}
	return names
}

func budgets(s State, pods []Pod) []Finding {
	var found []Finding
	seen := map[string]bool{}
	for _, p := range pods {
		if len(p.Budgets) > 1 && !seen[p.Workload.UID] {
			seen[p.Workload.UID] = true
			found = append(found, Finding{
				Check: "overlapping-pdbs", Severity: Warning, Object: p.Ref(),
				Problem:  "has more than one PodDisruptionBudget, and the eviction API then refuses every eviction: its node's drain will block",
				Evidence: p.Budgets, Remedy: "delete or narrow all but one of them",
			})
		}
		for _, key := range p.Budgets {
			b, ok := s.Budgets[key]
			if seen[key] || !ok || b.Allowed > 0 {
				continue
			}
			seen[key] = true
			problem, remedy := "allows no eviction now (%s): if it stays so, the drain blocks and the run pauses", "wait until its pods are healthy"
			switch {
			case b.Current && b.Expected > 0 && b.Needed >= b.Expected:
				problem, remedy = "can allow no eviction at all with this many pods (%s): the drain will block and the run pause", "give it a replica more, or allow maxUnavailable 1"
			case b.Healthy < b.Needed:
				remedy = "mend its pods, or set unhealthyPodEvictionPolicy: AlwaysAllow"
			}
			found = append(found, Finding{
				Check: "pdb-blocks", Severity: Warning, Momentary: true, Object: Ref{Kind: "PodDisruptionBudget", Namespace: b.Namespace, Name: b.Name},
				Problem:  fmt.Sprintf(problem, b.Why()),
				Evidence: []string{p.Key() + " on node " + p.Node},
				Remedy:   fmt.Sprintf("kubectl describe pdb -n %s %s; %s", b.Namespace, b.Name, remedy),
			})
		}
	}
	return found
}

// Why says what the number of allowed disruptions comes from.
func (b Budget) Why() string {
	return fmt.Sprintf("%s: %d of %d healthy, %d needed", b.Rule, b.Healthy, b.Expected, b.Needed)
}

func singleReplicas(s State, pods []Pod) []Finding {
	single := func(p Pod) bool {
		w, ok := s.Workloads[p.Workload.UID]
		return ok && w.Wanted == 1 && p.Disposition() == Moves
	}
	return byWorkload(pods, single, func(owner Ref, of []Pod) Finding {
		return Finding{
			Check: "single-replica", Severity: Warning, Momentary: true, Object: owner,
			Problem:  "has one replica: it is away from the eviction until its replacement is Ready",
			Evidence: []string{of[0].Key() + " on node " + of[0].Node},
			Remedy:   "give it a second replica for the time of the upgrade",
		}
	})
}
