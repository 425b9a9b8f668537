package upgrade

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Encode writes the run as JSON of at most limit bytes. What a run with very many pods has no room for is left out, the least
// needed first: its oldest moves (they stay counted), the evidence of the plan's findings, the plan's own list of steps, what it says of
// restarts that the run has noted itself, and which pods are to leave by them, its findings, and, where very many nodes are drained at once, which pods are
// to leave these. The run itself is not changed.
func (r *Run) Encode(limit int) ([]byte, error) {
	data, err := json.Marshal(r)
	if err != nil || len(data) <= limit {
		return data, err
	}
	small := *r
	small.Plan.Findings = slices.Clone(r.Plan.Findings)
	for i := range small.Plan.Findings {
		small.Plan.Findings[i].Evidence = nil
	}
	for _, shrink := range []func(){
		func() { small.dropMoves(len(data) - limit) },
		func() { small.Plan.Steps = []Step{} },
		small.dropRestarts,
		func() { small.dropMoves(len(data)) },
		func() { small.Plan.Findings = []Finding{} },
		small.dropResidents,
	} {
		shrink()
		if data, err = json.Marshal(small); err != nil || len(data) <= limit {
			return data, err
		}
	}
	return nil, fmt.Errorf("the record of run %s takes %d bytes, and %d are allowed", r.ID, len(data), limit)
}

// dropMoves leaves out the oldest moves that take at least so many bytes. Bare pods stay listed: they are few, and gone for good.
func (r *Run) dropMoves(bytes int) {
	kept := make([]Move, 0, len(r.Moves))
	for _, m := range r.Moves {
		if bytes > 0 && !m.Workload.IsZero() {
			data, _ := json.Marshal(m) // strings and a time
			bytes -= len(data) + 1
			r.Unlisted++
			continue
		}
		kept = append(kept, m)
	}
	r.Moves = kept
}

// dropRestarts leaves out what the plan says of restarts that the run has noted itself, and which pods have to leave by them: if a process is killed
// meanwhile, those that leave unseen are not counted. What the run has not noted yet, it knows from nowhere else.
func (r *Run) dropRestarts() {
	r.Steps, r.Plan.Pools = slices.Clone(r.Steps), slices.Clone(r.Plan.Pools)
	noted := map[string]bool{}
	for _, n := range r.Restarts {
		noted[n.Pool+"/"+n.Workload.UID] = n.Node == "" // else it is needed for the next node
	}
	for i, s := range r.Steps {
		if s.Kind != SurgeFirst || s.StartedAt == nil {
			continue
		}
		for j := range r.Plan.Pools {
			if pool := &r.Plan.Pools[j]; pool.Name == s.Pool {
				pool.Restarts = slices.DeleteFunc(slices.Clone(pool.Restarts), func(planned Restart) bool {
					return noted[pool.Name+"/"+planned.Workload.UID]
				})
			}
		}
		if s.Baseline != nil {
			first := *s.Baseline
			first.Pods = []Resident{}
			r.Steps[i].Baseline = &first
		}
	}
}

// dropResidents leaves out which pods the nodes had whose drains are on: if the process is killed, those that leave unseen are not counted.
func (r *Run) dropResidents() {
	r.Steps = slices.Clone(r.Steps)
	for i, s := range r.Steps {
		if s.Baseline != nil {
			first := *s.Baseline
			first.Pods = []Resident{}
			r.Steps[i].Baseline = &first
		}
	}
}

// DecodeRun reads what Encode wrote. A record of another version is an error: what it means is not known here.
func DecodeRun(data []byte) (*Run, error) {
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("read the record of a run: %w", err)
	}
	if head.APIVersion != APIVersion || head.Kind != "Run" {
		return nil, fmt.Errorf("the record is a %s of %s, and this version of Upshift reads a Run of %s", head.Kind, head.APIVersion, APIVersion)
	}
	r := &Run{ReplacedPools: map[string]string{}, Frozen: map[string]Autoscaling{}, Upgrades: map[string]Settings{}}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("read the record of a run: %w", err)
	}
	return r, nil
}
