package observer

import "time"

// A meter adds up how long something was so.
type meter struct {
	since time.Time // zero while it is not so
	total time.Duration
}

func (m *meter) set(at time.Time, so bool) {
	switch {
	case so && m.since.IsZero():
		m.since = at
	case !so && !m.since.IsZero():
		m.total += at.Sub(m.since)
		m.since = time.Time{}
	}
}

// A level follows a number that ought not to fall below what is wanted of it.
// It is short only of what it has reached: rising, at a workload's creation or
// after a scale-up, is no shortage. Nor is being scaled down.
type level struct {
	want     int
	reached  int  // of want
	measured bool // want was reached once
	least    int  // since then
	short    meter
	none     meter
}

func (l *level) set(at time.Time, have, want int) {
	l.want = want
	if have >= want {
		l.reached = want
	}
	l.reached = min(l.reached, want)
	if l.reached > 0 {
		if !l.measured {
			l.measured, l.least = true, have
		}
		l.least = min(l.least, have)
	}
	l.short.set(at, have < l.reached)
	l.none.set(at, l.reached > 0 && have == 0)
}

// rest stops counting, until the next set.
func (l *level) rest(at time.Time) {
	l.short.set(at, false)
	l.none.set(at, false)
}
