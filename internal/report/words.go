// Package report is how plans and runs are put into words, the same on every surface. What comes from a cluster is not escaped here:
// each surface does that for where it lands.
package report

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// Step says what a step of a plan does: "create-pool: …".
func Step(p upgrade.Plan, s upgrade.Step) string {
	pool, _ := p.Pool(s.Pool)
	nodes := pool.NewNodes()
	switch s.Kind {
	case upgrade.UpgradeControlPlane:
		return fmt.Sprintf("%s: to %s, and then ask the provider and the API server whether it is there%s", s.Kind, s.Version, meanwhile(p.Cluster.Regional))
	case upgrade.FreezeAutoscaling:
		return fmt.Sprintf("%s: turn off autoscaling of %s (%s)", s.Kind, s.Pool, pool.Autoscaling.Summary)
	case upgrade.CreatePool:
		return fmt.Sprintf("%s: %s at %s, like %s, %d nodes in %s%s", s.Kind, pool.NewName, pool.To, s.Pool, nodes, strings.Join(pool.Zones, ", "), grows(pool))
	case upgrade.WaitNodes:
		if pool.ByPeople {
			return fmt.Sprintf("%s: until people have added machines, and %s of %s are Ready at %s", s.Kind, Plural(nodes, "node"), pool.NewName, pool.To)
		}
		return fmt.Sprintf("%s: until %d nodes of %s are Ready at %s", s.Kind, nodes, pool.NewName, pool.To)
	case upgrade.CordonPool:
		return fmt.Sprintf("%s: every node of %s, so that no pod moves twice", s.Kind, s.Pool)
	case upgrade.SurgeFirst:
		return fmt.Sprintf("%s: restart %s, so that new pods are Ready before the old ones of %s end", s.Kind, restarts(pool.Restarts), cmp.Or(s.Node, s.Pool))
	case upgrade.SetUpgradeSettings:
		return fmt.Sprintf("%s: GKE is to upgrade %s with %s", s.Kind, s.Pool, pool.Upgrade)
	case upgrade.UpgradePool:
		if pool.Action == upgrade.BlueGreen {
			return fmt.Sprintf("%s: GKE makes %s of %s anew at %s, and drains the old ones, which it keeps", s.Kind, Plural(len(pool.Nodes), "node"), s.Pool, pool.To)
		}
		return fmt.Sprintf("%s: GKE drains %s of %s, %d at a time, and makes them anew at %s", s.Kind, Plural(len(pool.Nodes), "node"), s.Pool, pool.Upgrade.AtOnce(), pool.To)
	case upgrade.CompleteUpgrade:
		return fmt.Sprintf("%s: GKE deletes the old nodes of %s, once its workloads are as available as before", s.Kind, s.Pool)
	case upgrade.RestoreUpgradeSettings:
		return fmt.Sprintf("%s: %s is upgraded as before this run again", s.Kind, s.Pool)
	case upgrade.CheckQuorum:
		return fmt.Sprintf("%s: every member of etcd is Ready before %s is taken", s.Kind, s.Node)
	case upgrade.CordonNode:
		return fmt.Sprintf("%s: %s", s.Kind, s.Node)
	case upgrade.AwaitNode:
		return fmt.Sprintf("%s: until people have upgraded %s to %s, or replaced it", s.Kind, s.Node, pool.To)
	case upgrade.UncordonNode:
		return fmt.Sprintf("%s: %s, then wait until its own pods run and workloads are as available as before", s.Kind, s.Node)
	case upgrade.VerifyServers:
		return fmt.Sprintf("%s: each says that it runs %s", s.Kind, pool.To)
	case upgrade.RetirePool:
		return fmt.Sprintf("%s: nothing is left on %s, whose machines people may remove then", s.Kind, s.Pool)
	case upgrade.DrainNode:
		if pool.ByProvider() {
			return fmt.Sprintf("%s: %s, by GKE, until its workloads are as available as before", s.Kind, s.Node)
		}
		return fmt.Sprintf("%s: %s, then wait until its workloads are as available as before", s.Kind, s.Node)
	case upgrade.Soak:
		if s.Estimate == 0 && p.Soak(s) > 0 {
			return fmt.Sprintf("%s: none, since nothing is drained", s.Kind)
		}
		return fmt.Sprintf("%s: %s", s.Kind, Short(time.Duration(p.Soak(s))))
	case upgrade.DeletePool:
		return fmt.Sprintf("%s: %s", s.Kind, s.Pool)
	case upgrade.RestoreAutoscaling:
		return fmt.Sprintf("%s: %s gets %s", s.Kind, pool.NewName, pool.Autoscaling.Summary)
	}
	return string(s.Kind)
}

// InPlace says what is where it should be, of a plan that has nothing to do.
func InPlace(p upgrade.Plan) string {
	what := "every node pool of the plan"
	if p.Options.Scope == upgrade.ScopeControlPlane || p.Cluster.Autopilot {
		what = "the control plane"
	}
	return fmt.Sprintf("%s is at %s or newer", what, p.Target.Version)
}

// meanwhile says what becomes of the Kubernetes API while the control plane is upgraded.
func meanwhile(regional bool) string {
	if regional {
		return "; the Kubernetes API stays up, since one server after another is upgraded"
	}
	return "; the Kubernetes API is away meanwhile"
}

// ControlPlane says what a plan does with the control plane, empty for nothing.
func ControlPlane(p upgrade.Plan) string {
	c := p.ControlPlane
	if c == nil {
		return ""
	}
	way := ""
	if len(c.Hops) > 1 {
		way = ", by " + strings.Join(c.Hops, ", then ")
	}
	return fmt.Sprintf("upgrade from %s to %s%s, since %s%s", c.From, c.To, way, c.Why, meanwhile(c.StaysUp))
}

// grows says of a new pool that its autoscaler gives it more nodes, empty for one that has all of its nodes from the start.
func grows(pool upgrade.PoolPlan) string {
	if !pool.Grows {
		return ""
	}
	return fmt.Sprintf("; its autoscaler (%s) is on from the start, adds nodes as pods come, and takes none away before the end", pool.Autoscaling.Summary)
}

// Where says whose cluster it is, and where: "gke, project p, europe-west1, regional".
func Where(c upgrade.Cluster) string {
	switch {
	case c.Provider == upgrade.SelfManaged && c.PoolLabel == "":
		return c.Provider
	case c.Provider == upgrade.SelfManaged:
		return fmt.Sprintf("%s, pools by the label %s", c.Provider, c.PoolLabel)
	case c.Regional:
		return fmt.Sprintf("%s, project %s, %s, regional", c.Provider, c.Project, c.Location)
	}
	return fmt.Sprintf("%s, project %s, %s, zonal", c.Provider, c.Project, c.Location)
}

// Sources says what a plan was read of: the provider, and the Kubernetes API at an address.
func Sources(c upgrade.Cluster, api string) string {
	if c.Provider == upgrade.SelfManaged {
		return "the Kubernetes API at " + api
	}
	return fmt.Sprintf("%s of GKE, and the Kubernetes API at %s", c.Name, api)
}

// restarts names the Deployments that are restarted, the first of many, with the pods that restart with them and what may speak against it: "Deployment shop/web (3 pods, 2 of them elsewhere)".
func restarts(all []upgrade.Restart) string {
	names := make([]string, len(all))
	for i, r := range all {
		names[i] = fmt.Sprintf("%s (%s", r.Workload, Plural(r.Pods+r.Elsewhere, "pod"))
		if r.Elsewhere > 0 {
			names[i] += fmt.Sprintf(", %d of them elsewhere", r.Elsewhere)
		}
		names[i] += ")"
		if r.Unless != "" {
			names[i] += ", unless " + r.Unless
		}
	}
	return First(names, shownRestarts)
}

// NewPool says which pool takes over from another, and how large it is.
func NewPool(pool upgrade.PoolPlan) string {
	if pool.Action != upgrade.Migrate {
		return "-" // its name stays
	}
	text := fmt.Sprintf("%s, %s", pool.NewName, Plural(pool.NewNodes(), "node"))
	if pool.Grows {
		text += " and more by its autoscaler"
	}
	if pool.Adopt {
		text += ", made by an earlier run"
	}
	return text
}

// Reached says where a run brought the control plane, with what became of the Kubernetes API if that was to stay up: "control plane at 1.34.2 (…), ".
// It is empty where the control plane was left alone.
func Reached(run *upgrade.Run) string {
	now := run.ControlPlaneVersion()
	if now == run.Plan.Cluster.ControlPlaneVersion {
		return ""
	}
	var calls upgrade.Calls
	counted := false
	for _, s := range run.Hops() {
		if s.Calls != nil {
			counted = true
			calls.Made, calls.Failed = calls.Made+s.Calls.Made, calls.Failed+s.Calls.Failed
		}
	}
	if counted {
		return fmt.Sprintf("control plane at %s (%s), ", now, calls)
	}
	return fmt.Sprintf("control plane at %s, ", now)
}

// Counts says what a run did: "3 nodes drained, 1 pod moved, 1 bare pod lost (default/x)", after Reached.
func Counts(run *upgrade.Run) string {
	text := Reached(run) + Plural(run.NodesDrained, "node") + " drained, " + Plural(run.PodsMoved(), "pod") + " moved"
	if lost := run.PodsLost(); len(lost) > 0 {
		text += fmt.Sprintf(", %s lost (%s)", Plural(len(lost), "bare pod"), strings.Join(lost, ", "))
	}
	return text
}

// AtOnce says how many nodes are drained at once, where it is not one: ", 4 at once".
func AtOnce(d upgrade.Drains) string {
	switch {
	case d.One():
		return ""
	case d == upgrade.AutoDrains:
		return ", as many at once as is good"
	}
	return fmt.Sprintf(", %s at once", d)
}

// Plural is "1 node" or "3 nodes".
func Plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Owner names what makes a pod again.
func Owner(workload upgrade.Ref) string {
	if workload.IsZero() {
		return "bare pod, nothing will make it again"
	}
	return workload.String()
}

// Round cuts a duration to what a person reads: tenths of a second, or seconds above a minute.
func Round(d time.Duration) time.Duration {
	if d > time.Minute {
		return d.Round(time.Second)
	}
	return d.Round(100 * time.Millisecond)
}

// Took is how long the run has taken until now, or took, pauses included.
func Took(run *upgrade.Run, now time.Time) time.Duration {
	if run.FinishedAt != nil {
		now = *run.FinishedAt
	}
	return now.Sub(run.StartedAt)
}

// Blockers names what blocks the plan, a line each: the first of a great many, and how many more there are.
func Blockers(p upgrade.Plan) []string {
	var lines []string
	for _, f := range p.Findings {
		if f.Stops() && len(lines) < shownFindings {
			lines = append(lines, fmt.Sprintf("%s %s", f.Object, f.Problem))
		}
	}
	return andMore(lines, p.Stopping())
}

// andMore says how many of all are not among the lines.
func andMore(lines []string, all int) []string {
	if more := all - len(lines); more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more, as the plan lists them", more))
	}
	return lines
}

// Was says how an unfinished run was left.
func Was(run *upgrade.Run) string {
	if run.State == upgrade.Running {
		return "left running by " + run.Holder().String()
	}
	return fmt.Sprintf("%s (%s)", run.State, run.Problem)
}

// About shows a duration as people say it: "about 1 h 12 min".
func About(d time.Duration) string {
	switch {
	case d < 45*time.Second:
		return "less than a minute"
	case d.Round(time.Minute) < time.Hour:
		return fmt.Sprintf("about %d min", int(d.Round(time.Minute)/time.Minute))
	}
	d = d.Round(time.Minute)
	if minutes := int(d/time.Minute) % 60; minutes > 0 {
		return fmt.Sprintf("about %d h %d min", int(d/time.Hour), minutes)
	}
	return fmt.Sprintf("about %d h", int(d/time.Hour))
}

// Short is About without the word, and exact below a minute.
func Short(d time.Duration) string {
	if d < time.Minute {
		return d.Round(time.Second).String()
	}
	return strings.TrimPrefix(About(d), "about ")
}

// First lists the first few of many.
func First(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
