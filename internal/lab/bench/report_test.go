package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/lab/observer"
)

// example is a run of which every part of the report has something to say.
func example() run {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	measured := func(workload, contender string, repetition int, seconds float64) result {
		return result{
			Workload: workload, Contender: contender, Repetition: repetition, Started: at, Outcome: finished, Seconds: seconds,
			Bounds: boundSeconds{120, 360, 210, budgetTerm, 120}, BoundsWithC: boundSeconds{122, 365, 212, budgetTerm, 122},
			Moved: 560, MovedOf: 560, Left: 580, LeastReady: []readiness{{"Deployment api-0", 12, 11}, {"StatefulSet db-0", 6, 5}},
			Requests: requests{Evictions: 590, Reads: 20, Cordons: 20, Lease: 60, Record: 40}, PeakRSSBytes: 80 << 20, CPUSeconds: 5, BusyShare: 0.25,
			Timeline: []observer.Point{{Seconds: 0, Old: 580}, {Seconds: 10, Old: 300, New: 250}, {Seconds: 100, New: 570}}, BeganSeconds: 1,
		}
	}
	besides := func(r result, others ...string) result {
		r.Beside = others
		return r
	}
	loop := measured("M", kubectlLoop, 2, 500)
	loop.Violations, loop.Requests.Deletes, loop.UnderFloorSeconds, loop.Gaps = 2, 3, 1.5, []string{"the watch of Pods was lost"}
	again := measured("M", upshiftParallel, 1, 130)
	again.MovedAgain = 1 // and another one not at all
	surge := measured("deployments", upshiftSurged, 1, 59)
	surge.Moved = 559
	surge.LeastReady = []readiness{{"Deployment api-0", 12, 12}}
	broken := measured("M", kubectlAtOnce, 1, 0)
	broken.Outcome, broken.Error = failed, "bench: exit status 1; its last words:\ndraining\ntoo many requests"
	return run{
		Commit: "0123456789ab", Began: at, Calibration: &calibration{CSeconds: 0.1, Evictions: make([]float64, 20), PodsPerSecond: 40},
		Machine: machine{CPU: "A CPU", Cores: 2, MemoryGiB: 24, OS: "linux/amd64", Go: "go1.26", Kubernetes: "v1.37.2"},
		Results: []result{
			besides(measured("M", upshiftStrict, 1, 370), kubectlLoop), besides(measured("M", kubectlLoop, 1, 480), upshiftStrict),
			measured("M", upshiftStrict, 2, 380), loop, again, broken,
			{Workload: "M", Contender: kubectlUnwaited, Repetition: 1, Outcome: leftOut, Error: "there was no time left for it"},
			surge,
		},
	}
}

func TestReport(t *testing.T) {
	r := example()
	tables := summarize(r)
	for name, got := range map[string]string{"benchmark.md": markdown(r, tables), "benchmark.svg": picture(tables)} {
		path := filepath.Join("testdata", name)
		if *update {
			if err := writeWhole(path, []byte(got)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestTargets(t *testing.T) {
	got := map[string]string{}
	for _, x := range targets(summarize(example())) {
		got[x.what] = x.measured + " " + x.verdict
	}
	want := map[string]string{
		"M, parallel: time over the bound, c = 0":                                      "1.08 **missed**",
		"M, parallel: time over the bound, measured c":                                 "1.07 **missed**",
		"M, strict: time over the bound, measured c":                                   "1.03 (1.01 to 1.04) reached",
		"M, strict: faster than GKE guide's loop":                                      "1.31 (1.30 to 1.32) reached",
		"M, parallel: faster than `kubectl drain` of all nodes at once, unlimited QPS": "–, 0 of 1 runs not measured",
		"M, parallel: faster than Karpenter's terminator on all nodes at once":         "– not measured",
		"deployments, surged first: time over the PDBs' bound":                         "0.49 reached",
		"deployments, surged first: fewest Ready pods of a workload":                   "12 of 12 reached",
		"M, strict: requests per pod":                                                  "1.26, of which 1.09 are not for lease and record reached",
		"M, strict: PDB violations":                                                    "0 reached",
		"M, strict: pods deleted instead of evicted":                                   "0 reached",
		"M, strict: moves per pod":                                                     "1.0 reached",
		"M, parallel: requests per pod":                                                "1.26, of which 1.09 are not for lease and record reached",
		"M, parallel: PDB violations":                                                  "0 reached",
		"M, parallel: pods deleted instead of evicted":                                 "0 reached",
		"M, parallel: moves per pod":                                                   "1.000 (1 of them again) **missed**",
		"scale, parallel: peak RSS in MiB":                                             "– not measured",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
}

// A target is reached only by all that was tried: a figure of the runs that went well says nothing about the others.
func TestTargetsOfRunsThatDidNotGoWell(t *testing.T) {
	of := func(workload, contender string, repetition int, o outcome, seconds float64) result {
		return result{
			Workload: workload, Contender: contender, Repetition: repetition, Outcome: o, Seconds: seconds, PeakRSSBytes: 80 << 20,
			Bounds: boundSeconds{PDBs: 120, Parallel: 120, Strict: 360}, BoundsWithC: boundSeconds{Parallel: 122, Strict: 365},
		}
	}
	slowMachine := of("deployments", upshiftSurged, 1, finished, 70)
	slowMachine.Bounds.Parallel = 200 // of which 70 s would be less than half
	unknown := of("scale", upshiftParallel, 1, finished, 130)
	unknown.PeakRSSBytes = 0
	for name, tt := range map[string]struct {
		results    []result
		what, want string
	}{
		"one of two failed": {
			[]result{of("M", upshiftStrict, 1, finished, 366), of("M", upshiftStrict, 2, failed, 0)},
			"M, strict: time over the bound, measured c", "1.00, 1 of 2 runs **missed**",
		},
		"the only one took too long": {
			[]result{of("M", upshiftStrict, 1, timedOut, 0)},
			"M, strict: PDB violations", "–, 0 of 1 runs **missed**",
		},
		"one of two was left out": {
			[]result{of("M", upshiftStrict, 1, finished, 366), of("M", upshiftStrict, 2, leftOut, 0)},
			"M, strict: time over the bound, measured c", "1.00, 1 of 2 runs reached",
		},
		"the only one was left out": {
			[]result{of("M", upshiftStrict, 1, leftOut, 0)},
			"M, strict: moves per pod", "–, 0 of 1 runs not measured",
		},
		"a surge that failed": {
			[]result{of("deployments", upshiftSurged, 1, failed, 0)},
			"deployments, surged first: fewest Ready pods of a workload", "–, 0 of 1 runs **missed**",
		},
		"a slow control plane does not excuse the surge": {
			[]result{slowMachine},
			"deployments, surged first: time over the PDBs' bound", "0.58 **missed**",
		},
		"memory that the system does not tell": {
			[]result{unknown},
			"scale, parallel: peak RSS in MiB", "– not measured",
		},
		"a peer that is faster": {
			[]result{of("M", upshiftParallel, 1, finished, 130), of("M", karpenter, 1, finished, 125)},
			"M, parallel: faster than Karpenter's terminator on all nodes at once", "0.96 **missed**",
		},
		"a peer that is faster on another workload": {
			[]result{of("packed", upshiftParallel, 1, finished, 130), of("packed", kubectlAtOnce, 1, finished, 125)},
			"packed, parallel: faster than `kubectl drain` of all nodes at once, unlimited QPS", "0.96 **missed**",
		},
		"a peer of which one run is missing": {
			[]result{of("M", upshiftStrict, 1, finished, 370), of("M", upshiftStrict, 2, finished, 370), of("M", kubectlLoop, 1, finished, 555), of("M", kubectlLoop, 2, failed, 0)},
			"M, strict: faster than GKE guide's loop", "1.50, 1 of 2 runs reached",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := "nothing"
			for _, x := range targets(summarize(run{Results: tt.results})) {
				if x.what == tt.what {
					got = x.measured + " " + x.verdict
				}
			}
			if got != tt.want {
				t.Errorf("%s: %s, want %s", tt.what, got, tt.want)
			}
		})
	}
}
