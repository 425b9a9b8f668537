// Package preflight is what is known beforehand to go wrong with an upgrade: one check to a file, each a pure function of what was read
// of the cluster and of what the plan does. docs/preflight.md is made from it.
package preflight

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// Input is what the checks look at.
type Input struct {
	upgrade.Snapshot
	// Target is the version that the plan goes to, ControlPlane and Pools what it does with these, and Steps how, with estimates. ControlPlane is nil
	// where it is left alone.
	Target       string
	ControlPlane *upgrade.ControlPlanePlan
	Pools        []upgrade.PoolPlan
	Steps        []upgrade.Step
	// Options are what a person chose.
	Options upgrade.Options
	// Moving are the pods on the nodes that are to be drained, but for those that simply leave with their node.
	Moving []upgrade.Pod
	// lost is what several checks want to know of labels put by hand.
	lost *labelLoss
	// surges are the restarts that the plan has or thought of, by the workload's UID.
	surges map[string]surge
}

// Check is one thing that is looked for.
type Check struct {
	// Name is what findings and waivers call it.
	Name string
	// Title says in half a sentence when it finds something, and Why what would go wrong then.
	Title, Why string
	// Severities are those that its findings can have.
	Severities []upgrade.Severity
	// Consent is the input by which a person may allow what it finds, empty where there is none.
	Consent upgrade.Consent
	// Binding tells that no waiver helps.
	Binding bool
	// Mild tells under which options it only warns, so that what it cannot tell does not block; nil for none.
	Mild func(upgrade.Options) bool
	// Always tells that it is looked for even if the plan does nothing: it is not about moving pods.
	Always bool
	// find returns findings without their Check, which is Name. Their Remedy may be followed by " # " and the Advice.
	find func(Input) []upgrade.Finding
}

// Checks are all checks, in the order in which their findings are told.
func Checks() []Check {
	return []Check{
		controlPlaneBehind(), leftBehind(), controlPlaneDowntime(), newerPool(), goesOn(), poolNameTaken(), otherCluster(),
		autopilot(), autoUpgrade(), clusterTrouble(), pendingOperation(), poolTrouble(), maintenanceWindow(), maintenanceExclusion(), podRange(), managedElsewhere(), autoprovisioning(), skew(), providerDrains(),
		providerPermissions(), surgeQuota(),
		singleControlPlane(), etcdQuorum(), unseenServers(), serverSkew(), unlabelledNodes(),
		unreadyNodes(), foreignCordons(), imageDrift(), pinnedToPool(), removedLabels(),
		permissions(), webhooks(), deprecatedAPIs(), localVolumes(), zonalVolumes(), unboundVolumes(), hostPaths(),
		externalTrafficLocal(), noEndpoints(), noReadinessProbe(), crashing(), pdbWithoutController(), unhealthyBlocks(),
		barePods(), emptyDirs(), longGrace(), runningJobs(), overlappingPDBs(), pdbBlocks(), singleReplica(), surgeFirst(), noPDB(), oneNode(),
		lostLabels(), fits(), toleratesCordon(), lostTaints(), sharedVolume(), heldBackUpdate(),
	}
}

// Inspect runs all checks. It is an upgrade.Inspector.
func Inspect(s upgrade.Snapshot, p upgrade.Plan) []upgrade.Finding {
	in := Input{Snapshot: s, Target: p.Target.Version, ControlPlane: p.ControlPlane, Pools: p.Pools, Steps: p.Steps, Options: p.Options, Moving: upgrade.PodsOn(s.State, p.Pools)}
	in.lost, in.surges = newLabelLoss(in), surges(p.Pools)
	var found []upgrade.Finding
	idle := len(in.Steps) == 0
	for _, c := range Checks() {
		if idle && !c.Always {
			continue // nothing is going to be done about it, or to it
		}
		for _, f := range c.find(in) {
			f.Check, f.Binding = c.Name, f.Binding || c.Binding
			if command, advice, ok := strings.Cut(f.Remedy, " # "); ok {
				f.Remedy, f.Advice = command, advice
			}
			f.Blocks = f.Severity == upgrade.UnknownSeverity && slices.Contains(c.Severities, upgrade.Blocker) && (c.Mild == nil || !c.Mild(in.Options))
			found = append(found, f)
		}
	}
	return found
}

// byWorkload makes one finding for each workload (or bare pod) that has pods that match, in the order of the pods.
func byWorkload(pods []upgrade.Pod, match func(upgrade.Pod) bool, finding func(upgrade.Ref, []upgrade.Pod) upgrade.Finding) []upgrade.Finding {
	var order []upgrade.Ref
	of := map[upgrade.Ref][]upgrade.Pod{}
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
	var found []upgrade.Finding
	for _, owner := range order {
		found = append(found, finding(owner, of[owner]))
	}
	return found
}

func keys(pods []upgrade.Pod) []string {
	var names []string
	for _, p := range pods {
		names = append(names, p.Key())
	}
	return names
}

// unknown is what a check finds that could not be told because of what was not read, nil if all of sources were.
func (in Input) unknown(what string, sources ...upgrade.Source) []upgrade.Finding {
	var found []upgrade.Finding
	for _, s := range sources {
		if why := cmp.Or(in.Inventory.Unread[s], in.Cluster.Unread[s]); why != "" {
			found = append(found, upgrade.Finding{
				Severity: upgrade.UnknownSeverity, Object: upgrade.Ref{Kind: "Cluster", Name: in.Cluster.Name},
				Problem: fmt.Sprintf("does not let %s be read, so %s cannot be told", s, what), Evidence: []string{why}, Remedy: in.readable(s),
			})
		}
	}
	return found
}
