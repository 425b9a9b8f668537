package observer

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/labels"
)

// A journal keeps what the feeds saw until it is judged. It is safe for concurrent use.
type journal struct {
	mu     sync.Mutex
	events []event
	base   uint64 // the newest of the first lists: what is not newer is the state to compare with
	began  time.Time
	gaps   []string
	old    labels.Selector // nil unless the emptying of nodes is judged too
}

type event struct {
	at time.Time
	version
}

// baseline takes the version of a first list.
func (j *journal) baseline(rv uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.base = max(j.base, rv)
}

func (j *journal) add(at time.Time, v version) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, event{at, v})
}

// gap notes that something may not have been seen.
func (j *journal) gap(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.gaps = append(j.gaps, fmt.Sprintf(format, args...))
}

func (j *journal) begin(at time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.began = at
}

// report judges all events in the order in which they happened.
func (j *journal) report(end time.Time) Report {
	j.mu.Lock()
	defer j.mu.Unlock()
	events := slices.Clone(j.events)
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.rv, b.rv) })

	r := newRecorder()
	if j.old != nil {
		r.emptying = newEmptying(j.old)
	}
	began := false
	for _, e := range events {
		if !began && e.rv > j.base {
			r.begin(j.began)
			began = true
		}
		if e.gone {
			r.lost(e.at, e.fact)
		} else {
			r.saw(e.at, e.fact)
		}
	}
	if !began {
		r.begin(j.began)
	}
	report := r.end(end)
	report.Gaps = slices.Clone(j.gaps)
	return report
}
