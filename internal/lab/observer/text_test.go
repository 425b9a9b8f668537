package observer

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWriteText(t *testing.T) {
	web := Workload{Kind: "Deployment", Namespace: "default", Name: "web", Moved: 3, Measured: true, Wanted: 6, LeastReady: 5, BelowWantedSeconds: 12.437}
	for _, tt := range []struct {
		name   string
		report Report
		want   string
	}{
		{"a good run", Report{
			DurationSeconds: 101.04, PodsMoved: 4,
			Workloads: []Workload{web, {Kind: "Job", Namespace: "default", Name: "batch", Moved: 1}},
			PDBs: []PDB{
				{Namespace: "default", Name: "web", Measured: true, Floor: 5, LeastHealthy: 5},
				{Namespace: "default", Name: "unused"},
			},
			Services: []Service{{Namespace: "default", Name: "web", MostReady: 6, LeastReady: 5}},
		}, `observed for 1m41s
0 PDB violations, 0s under a PDB's floor
4 pods moved (each once)

WORKLOAD                WANTED  LEAST READY  BELOW WANTED  ZERO READY  MOVED
Deployment default/web  6       5            12.4s         0s          3
Job default/batch       -       -            -             -           1

PDB             FLOOR  LEAST HEALTHY  UNDER FLOOR  VIOLATIONS
default/web     5      5              0s           0
default/unused  -      -              -            0

SERVICE      MOST READY  LEAST READY  NONE READY
default/web  6           5            0s
`},
		{"a bad run", Report{
			Start: t0, DurationSeconds: 41, PodsMoved: 3, PodsMovedAgain: 1,
			Violations:         []Violation{{At: moment(12.34), Pod: "default/web-0", Node: "node-0", PDB: "default/web", Healthy: 1, Floor: 2}},
			BarePodsLost:       []string{"default/tool"},
			JobPodsInterrupted: []string{"default/batch-0", "default/batch-1"},
			PDBs:               []PDB{{Namespace: "default", Name: "web", Measured: true, Floor: 2, LeastHealthy: 1, UnderFloorSeconds: 3, Violations: 1}},
			Gaps:               []string{"the watch of Pods was lost"},
		}, `observed for 41s
1 PDB violation, 3s under a PDB's floor
  after 12.3s pod default/web-0 on node node-0: PDB default/web left with 1 healthy, floor 2
3 pods moved, 1 of them for the second time or more
1 bare pod lost: default/tool
2 Job pods interrupted: default/batch-0, default/batch-1
gap: the watch of Pods was lost

PDB          FLOOR  LEAST HEALTHY  UNDER FLOOR  VIOLATIONS
default/web  2      1              3s           1
`},
		{"nothing there", Report{DurationSeconds: 0.04, PodsMoved: 1}, `observed for 0s
0 PDB violations, 0s under a PDB's floor
1 pod moved
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b strings.Builder
			if err := tt.report.WriteText(&b); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, b.String()); diff != "" {
				t.Errorf("text (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWriteTextOfManyViolationsNamesTheFirst(t *testing.T) {
	var b strings.Builder
	r := Report{Violations: make([]Violation, 12)}
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(b.String(), "  after "); got != 10 || !strings.Contains(b.String(), "  and 2 more\n") {
		t.Errorf("%d violations named, want 10 and 2 more, in:\n%s", got, &b)
	}
}

func TestWriteTextSaysThatItCouldNotWrite(t *testing.T) {
	if err := (Report{}).WriteText(full{}); !errors.Is(err, errFull) {
		t.Errorf("error = %v, want %v", err, errFull)
	}
}

var errFull = errors.New("disk full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }
