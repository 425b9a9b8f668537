package main

import (
	"time"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/observer"
)

// outcome is how a trial ended.
type outcome string

const (
	finished outcome = "finished"
	failed   outcome = "failed"
	timedOut outcome = "timed out"
	leftOut  outcome = "left out" // for want of time
)

// A result is what one trial showed. Times are in seconds.
type result struct {
	Workload   string    `json:"workload"`
	Contender  string    `json:"contender"`
	Repetition int       `json:"repetition"` // from 1
	Beside     []string  `json:"beside,omitempty"`
	Started    time.Time `json:"started"`
	Outcome    outcome   `json:"outcome"`
	Error      string    `json:"error,omitempty"`

	// Seconds are from the first cordon (where new nodes come late: from the first new node) until the old nodes were empty and all was Ready.
	Seconds     float64      `json:"seconds"`
	Bounds      boundSeconds `json:"bounds"`      // with c = 0
	BoundsWithC boundSeconds `json:"boundsWithC"` // with the measured c

	// Moved are pods of Deployments and StatefulSets that came to another node, of MovedOf that had to; MovedAgain those that did so twice or more.
	Moved      int `json:"moved"`
	MovedOf    int `json:"movedOf"`
	MovedAgain int `json:"movedAgain"`
	// Left is how many pods had to leave the old nodes.
	Left              int         `json:"left"`
	Violations        int         `json:"violations"`
	UnderFloorSeconds float64     `json:"underFloorSeconds"`
	LeastReady        []readiness `json:"leastReady"`
	Gaps              []string    `json:"gaps,omitempty"` // in what was observed

	Requests     requests `json:"requests"`
	PeakRSSBytes int64    `json:"peakRSSBytes"` // 0 where it is not known
	CPUSeconds   float64  `json:"cpuSeconds"`
	// BusyShare is how busy this machine's processors were meanwhile, of 1, whoever used them; 0 where it is not known.
	BusyShare float64 `json:"busyShare"`

	Timeline []observer.Point `json:"timeline"` // from the contender's start
	// BeganSeconds is when Seconds began, on the timeline.
	BeganSeconds float64 `json:"beganSeconds"`
}

// boundSeconds are bounds in seconds.
type boundSeconds struct {
	Parallel  float64 `json:"parallel"`
	Strict    float64 `json:"strict"`
	Pipelined float64 `json:"pipelined"`
	// Term is what governs Parallel, and PDBs what the PDBs, start-ups and graces alone demand of it.
	Term term    `json:"term"`
	PDBs float64 `json:"pdbs"`
}

func inSeconds(b bounds) boundSeconds {
	return boundSeconds{
		Parallel: b.Parallel.Seconds(), Strict: b.Strict.Seconds(), Pipelined: b.Pipelined.Seconds(), Term: b.Term, PDBs: b.PDBs.Seconds(),
	}
}

// of is the bound that a policy is measured against; 0: none.
func (b boundSeconds) of(p policy) float64 {
	switch p {
	case strict:
		return b.Strict
	case parallel, surged:
		return b.Parallel
	}
	return 0
}

// readiness is how many Ready pods a workload had in its worst moment.
type readiness struct {
	Name   string `json:"name"`
	Wanted int    `json:"wanted"`
	Least  int    `json:"least"`
}

// see takes what the observer saw.
func (r *result) see(w workload, seen observer.Report) {
	r.Violations = len(seen.Violations)
	r.UnderFloorSeconds = seen.UnderFloorSeconds()
	r.Gaps = seen.Gaps
	r.MovedOf, r.Left = w.replaced(), w.movable()
	r.LeastReady = []readiness{}
	for _, l := range seen.Workloads {
		if l.Namespace != namespace || l.Kind != string(deployments) && l.Kind != string(statefulSets) {
			continue
		}
		r.Moved += l.Moved
		r.MovedAgain += l.MovedAgain
		r.LeastReady = append(r.LeastReady, readiness{l.Kind + " " + l.Name, l.Wanted, l.LeastReady})
	}
	r.Timeline = seen.Emptied.Timeline
	began, ended := seen.Emptied.Began, seen.Emptied.Ended
	if len(w.joins) > 0 {
		began = seen.Emptied.Joined
	}
	if began.IsZero() || ended.IsZero() {
		r.Outcome, r.Error = failed, "the old nodes were not emptied"
		return
	}
	r.Outcome = finished
	r.BeganSeconds = began.Sub(seen.Start).Seconds()
	r.Seconds = ended.Sub(began).Seconds()
}

// requests are a contender's, from its start to its end, by what they are for.
type requests struct {
	Evictions int `json:"evictions"`
	// Deletes of pods, which no PDB is asked about.
	Deletes int `json:"deletes"`
	// Cordons are changes of nodes.
	Cordons int `json:"cordons"`
	// Restarts are changes of workloads: surging first.
	Restarts int `json:"restarts"`
	// Reads of anything but the record, watches and lists included.
	Reads int `json:"reads"`
	// Lease and Record are what tells others that somebody is at work, and how far it is.
	Lease  int `json:"lease"`
	Record int `json:"record"`
	Other  int `json:"other"`
}

func (r requests) sum() int {
	return r.Evictions + r.Deletes + r.Cordons + r.Restarts + r.Reads + r.Lease + r.Record + r.Other
}

// sortRequests are those that user has made between two counts.
func sortRequests(user string, before, after []lab.RequestCount) requests {
	counts := map[lab.Request]int{}
	for _, c := range after {
		counts[c.Request] = c.Count
	}
	for _, c := range before {
		counts[c.Request] -= c.Count
	}
	var r requests
	for q, n := range counts {
		if q.User == user {
			*r.kind(q) += n
		}
	}
	return r
}

func (r *requests) kind(q lab.Request) *int {
	read := q.Verb == "get" || q.Verb == "list" || q.Verb == "watch"
	switch {
	case q.Resource == "leases.coordination.k8s.io":
		return &r.Lease
	case q.Resource == "configmaps":
		return &r.Record
	case read:
		return &r.Reads
	}
	switch q.Resource {
	case "pods/eviction":
		return &r.Evictions
	case "pods":
		return &r.Deletes
	case "nodes":
		return &r.Cordons
	case "deployments.apps", "statefulsets.apps":
		return &r.Restarts
	}
	return &r.Other
}
