package gke

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"github.com/teambition/rrule-go"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// horizon is how far ahead windows are looked for. One that comes every month can lie beyond it.
const horizon = 14 * 24 * time.Hour

// maintenance reads when GKE may change the cluster by itself: the windows of the next two weeks from now, and the exclusions that are not over.
func maintenance(w *containerpb.MaintenanceWindow, now time.Time) (upgrade.Maintenance, error) {
	m := upgrade.Maintenance{Exclusions: exclusions(w.GetMaintenanceExclusions(), now)}
	r, err := recurrenceOf(w, now)
	if err != nil {
		return m, fmt.Errorf("maintenance window: %w", err)
	}
	if r == nil {
		return m, nil
	}
	m.Summary = r.String()
	if m.Windows, err = r.windows(now); err != nil {
		return m, fmt.Errorf("maintenance window %s: %w", r.rule, err)
	}
	return m, nil
}

// recurrence is a window that comes again and again.
type recurrence struct {
	// first is the start of the first one that is possible, in UTC, in which GKE reckons days.
	first    time.Time
	duration time.Duration
	rule     string // RFC 5545's
}

// recurrenceOf reads any of the forms of a window, nil if there is none.
func recurrenceOf(w *containerpb.MaintenanceWindow, now time.Time) (*recurrence, error) {
	// Before now by more than any window is long. GKE asks for a first day only where it matters.
	yore := now.UTC().Truncate(24 * time.Hour).Add(-2 * horizon)
	switch {
	case w.GetDailyMaintenanceWindow() != nil:
		daily := w.GetDailyMaintenanceWindow()
		start, err := time.Parse("15:04", daily.GetStartTime())
		if err != nil {
			return nil, fmt.Errorf("start: %w", err)
		}
		duration, err := time.ParseDuration(strings.ToLower(strings.TrimPrefix(daily.GetDuration(), "PT")))
		if err != nil {
			return nil, fmt.Errorf("duration: %w", err)
		}
		clock := time.Duration(start.Hour())*time.Hour + time.Duration(start.Minute())*time.Minute
		return &recurrence{yore.Add(clock), duration, "FREQ=DAILY"}, nil
	case w.GetRecurringWindow() != nil:
		first, rule := w.GetRecurringWindow().GetWindow(), w.GetRecurringWindow().GetRecurrence()
		start := first.GetStartTime().AsTime()
		return &recurrence{start, first.GetEndTime().AsTime().Sub(start), rule}, nil
	case w.GetRecurringMaintenanceWindow() != nil:
		window := w.GetRecurringMaintenanceWindow()
		day, clock := yore, window.GetWindowStartTime()
		if d := window.GetDelayUntil(); d != nil {
			day = time.Date(int(d.GetYear()), time.Month(d.GetMonth()), int(d.GetDay()), 0, 0, 0, 0, time.UTC)
		}
		start := day.Add(time.Duration(clock.GetHours())*time.Hour + time.Duration(clock.GetMinutes())*time.Minute)
		return &recurrence{start, window.GetWindowDuration().AsDuration(), window.GetRecurrence()}, nil
	}
	return nil, nil
}

// String is for people: "daily at 03:00 UTC, 4h0m0s".
func (r *recurrence) String() string {
	rule := strings.TrimPrefix(r.rule, "RRULE:")
	if rule == "FREQ=DAILY" {
		rule = "daily"
	}
	return fmt.Sprintf("%s at %s UTC, %s", rule, r.first.Format("15:04"), r.duration)
}

// windows are those that are open at now or open within the horizon. Where one goes over into the next, they are one.
func (r *recurrence) windows(now time.Time) ([]upgrade.Interval, error) {
	option, err := rrule.StrToROption(r.rule)
	if err != nil {
		return nil, err
	}
	switch {
	case option.Freq > rrule.DAILY:
		return nil, errors.New("it recurs more often than every day")
	case r.duration <= 0:
		return nil, errors.New("it ends before it begins")
	}
	option.Dtstart = r.first
	rule, err := rrule.NewRRule(*option)
	if err != nil {
		return nil, err
	}
	var windows []upgrade.Interval
	for _, start := range rule.Between(now.Add(-r.duration), now.Add(horizon), false) {
		window := upgrade.Interval{Start: start, End: start.Add(r.duration)}
		if last := len(windows) - 1; last >= 0 && !window.Start.After(windows[last].End) {
			windows[last].End = window.End
			continue
		}
		windows = append(windows, window)
	}
	return windows, nil
}

// exclusions are those that are not over, in their order. The end of one is zero where GKE names none.
func exclusions(all map[string]*containerpb.TimeWindow, now time.Time) []upgrade.Exclusion {
	var list []upgrade.Exclusion
	for name, w := range all {
		e := upgrade.Exclusion{
			Name: name, Scope: w.GetMaintenanceExclusionOptions().GetScope().String(), Interval: upgrade.Interval{Start: w.GetStartTime().AsTime()},
		}
		if w.GetEndTime() != nil {
			e.End = w.GetEndTime().AsTime()
			if !now.Before(e.End) {
				continue
			}
		}
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b upgrade.Exclusion) int { return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.Name, b.Name)) })
	return list
}
