package observer

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// A Report says what happened between Start and Stop. Lists are sorted, times of
// violations ascend, and durations are in seconds.
type Report struct {
	Start           time.Time `json:"start"`
	DurationSeconds float64   `json:"durationSeconds"`

	// PodsMoved counts pods that left a node and whose workload got a
	// replacement on another; pods of DaemonSets, mirror pods, bare pods and
	// finished Job pods do not move. PodsMovedAgain are those among them that
	// were replacements themselves.
	PodsMoved      int `json:"podsMoved"`
	PodsMovedAgain int `json:"podsMovedAgain"`

	Violations         []Violation `json:"violations"`
	BarePodsLost       []string    `json:"barePodsLost"`       // removed unfinished and not made again
	JobPodsInterrupted []string    `json:"jobPodsInterrupted"` // removed while they ran, though their Job went on

	Workloads []Workload `json:"workloads"`
	PDBs      []PDB      `json:"pdbs"`
	Services  []Service  `json:"services"`

	// Emptied is there if the observer was started with [Emptying].
	Emptied *Emptied `json:"emptied,omitempty"`

	// Gaps say what may not have been seen, and why. A report with gaps is no
	// evidence that nothing happened.
	Gaps []string `json:"gaps,omitempty"`
}

// A Violation is a Ready pod that began to terminate, or vanished, and left its
// PDB fewer healthy pods than it demands. Whether by eviction, deletion or a
// rollout is not told apart.
type Violation struct {
	At      time.Time `json:"at"`
	Pod     string    `json:"pod"`
	Node    string    `json:"node"`
	PDB     string    `json:"pdb"`
	Healthy int       `json:"healthy"` // left in the PDB
	Floor   int       `json:"floor"`
}

// A Workload is a Deployment, StatefulSet, ReplicaSet of its own, or another
// controller of pods that moved.
type Workload struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`

	// Moved and MovedAgain are this workload's part of PodsMoved and PodsMovedAgain.
	Moved      int `json:"moved"`
	MovedAgain int `json:"movedAgain"`

	// Measured is whether the workload had all its wanted pods Ready at some
	// time; the fields below count from then. A pod is Ready until it begins to
	// terminate. After a scale-up, what was wanted before counts until the new
	// number is reached.
	Measured           bool    `json:"measured"`
	Wanted             int     `json:"wanted"` // at the end
	LeastReady         int     `json:"leastReady"`
	BelowWantedSeconds float64 `json:"belowWantedSeconds"`
	ZeroReadySeconds   float64 `json:"zeroReadySeconds"`
}

// A PDB is a PodDisruptionBudget that existed during the observation. Its floor is
// computed from its spec and the scale of its workloads, not read from its status.
type PDB struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`

	// Measured is whether the PDB had a floor above 0 and was satisfied at some
	// time; the fields below but Violations count from then.
	Measured          bool    `json:"measured"`
	Floor             int     `json:"floor"` // at the end
	LeastHealthy      int     `json:"leastHealthy"`
	UnderFloorSeconds float64 `json:"underFloorSeconds"`
	Violations        int     `json:"violations"`
}

// A Service is one that had pods as ready endpoints, counted from the first.
type Service struct {
	Namespace   string  `json:"namespace"`
	Name        string  `json:"name"`
	MostReady   int     `json:"mostReady"`
	LeastReady  int     `json:"leastReady"`
	NoneSeconds float64 `json:"noneSeconds"`
}

// UnderFloorSeconds is the sum over all PDBs.
func (r Report) UnderFloorSeconds() float64 {
	sum := 0.0
	for _, p := range r.PDBs {
		sum += p.UnderFloorSeconds
	}
	return sum
}

// end closes the record at a time.
func (r *recorder) end(at time.Time) Report {
	r.tick(at)
	report := Report{
		Start:              r.start.Round(0),
		DurationSeconds:    seconds(r.now.Sub(r.start)),
		Violations:         r.endViolations(),
		BarePodsLost:       names(r.bareLost()),
		JobPodsInterrupted: names(slices.Collect(maps.Values(r.interrupted))),
		Workloads:          r.endWorkloads(),
		PDBs:               r.endPDBs(),
		Services:           r.endServices(),
	}
	for _, w := range report.Workloads {
		report.PodsMoved += w.Moved
		report.PodsMovedAgain += w.MovedAgain
	}
	if r.emptying != nil {
		report.Emptied = &r.emptying.report
	}
	return report
}

func (r *recorder) endViolations() []Violation {
	out := append([]Violation{}, r.violations...)
	for i := range out {
		out[i].At = out[i].At.Round(0)
	}
	slices.SortStableFunc(out, func(a, b Violation) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.PDB, b.PDB))
	})
	return out
}

func (r *recorder) endWorkloads() []Workload {
	out := []Workload{}
	for _, w := range r.workloads {
		w.rest(r.now)
		moved, again := w.count(w.kind == "StatefulSet")
		if !w.measured && moved == 0 {
			continue
		}
		out = append(out, Workload{
			Kind: w.kind, Namespace: w.namespace, Name: w.name,
			Moved: moved, MovedAgain: again,
			Measured: w.measured, Wanted: w.want, LeastReady: w.least,
			BelowWantedSeconds: seconds(w.short.total), ZeroReadySeconds: seconds(w.none.total),
		})
	}
	slices.SortFunc(out, func(a, b Workload) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return out
}

func (r *recorder) endPDBs() []PDB {
	out := []PDB{}
	for _, g := range r.guards {
		g.rest(r.now)
		out = append(out, PDB{
			Namespace: g.namespace, Name: g.name,
			Measured: g.measured, Floor: g.want, LeastHealthy: g.least,
			UnderFloorSeconds: seconds(g.short.total), Violations: g.violations,
		})
	}
	slices.SortFunc(out, func(a, b PDB) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}

func (r *recorder) endServices() []Service {
	out := []Service{}
	for name, s := range r.services {
		s.rest(r.now)
		if !s.measured {
			continue
		}
		out = append(out, Service{
			Namespace: name.Namespace, Name: name.Name,
			MostReady: s.most, LeastReady: s.least, NoneSeconds: seconds(s.none.total),
		})
	}
	slices.SortFunc(out, func(a, b Service) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}

func names(objects []object) []string {
	out := []string{}
	for _, o := range objects {
		out = append(out, o.String())
	}
	slices.Sort(out)
	return out
}

func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }
