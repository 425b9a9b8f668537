package upgrade

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Day is a day of the calendar in UTC, written 2026-12-31.
type Day struct{ time.Time }

const dayLayout = "2006-01-02"

func (d Day) String() string { return d.Format(dayLayout) }

// MarshalJSON implements json.Marshaler.
func (d Day) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON implements json.Unmarshaler.
func (d *Day) UnmarshalJSON(data []byte) (err error) {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	d.Time, err = time.Parse(dayLayout, text)
	return err
}

// Waiver is a person's word that what one check finds about one object is known and accepted, until the end of a day.
type Waiver struct {
	Check string `json:"check"`
	// Object is NAME, NAMESPACE/NAME, KIND/NAME or KIND/NAMESPACE/NAME.
	Object string `json:"object"`
	Until  Day    `json:"until"`
	Reason string `json:"reason"`
}

// WaiverForm says what a waiver looks like.
const WaiverForm = "CHECK OBJECT until=YYYY-MM-DD reason=…, with OBJECT as NAME, NAMESPACE/NAME, KIND/NAME or KIND/NAMESPACE/NAME"

// ParseWaivers reads waivers, a line each. Empty lines are skipped.
func ParseWaivers(text string) ([]Waiver, error) {
	var list []Waiver
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		w, err := parseWaiver(line)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		if slices.ContainsFunc(list, func(o Waiver) bool { return o.Check == w.Check && o.Object == w.Object }) {
			return nil, fmt.Errorf("%q: %s of %s is accepted twice", line, w.Check, w.Object)
		}
		list = append(list, w)
	}
	return list, nil
}

func parseWaiver(line string) (w Waiver, err error) {
	head, reason, ok := strings.Cut(line, "reason=")
	w.Reason = strings.TrimSpace(reason)
	fields := strings.Fields(head)
	if !ok || w.Reason == "" || len(fields) != 3 {
		return w, fmt.Errorf("want %s", WaiverForm)
	}
	w.Check, w.Object = fields[0], fields[1]
	until, ok := strings.CutPrefix(fields[2], "until=")
	if !ok || strings.Trim(w.Object, "/") != w.Object || strings.Count(w.Object, "/") > 2 {
		return w, fmt.Errorf("want %s", WaiverForm)
	}
	if w.Until.Time, err = time.Parse(dayLayout, until); err != nil {
		return w, fmt.Errorf("until=%s is no date; want until=YYYY-MM-DD, the last day on which it counts, in UTC", until)
	}
	return w, nil
}

// String is the waiver as ParseWaivers reads it.
func (w Waiver) String() string {
	return fmt.Sprintf("%s %s until=%s reason=%s", w.Check, w.Object, w.Until, w.Reason)
}

// Expired tells whether the waiver's last day is over.
func (w Waiver) Expired(now time.Time) bool { return !now.Before(w.Until.AddDate(0, 0, 1)) }

// covers tells whether the waiver is about what f found.
func (w Waiver) covers(f Finding) bool {
	name := f.Object.Name
	if f.Object.Namespace != "" {
		name = f.Object.Namespace + "/" + name
	}
	return w.Check == f.Check && (w.Object == name || strings.EqualFold(w.Object, f.Object.Kind+"/"+name))
}

// waive marks the findings that are accepted, and adds one for each waiver that does nothing.
func waive(found []Finding, waivers []Waiver, now time.Time) []Finding {
	for i := range waivers {
		w := waivers[i]
		used := false
		for j := range found {
			if !w.covers(found[j]) || found[j].Binding || found[j].Consent != "" {
				continue
			}
			used = true
			if !w.Expired(now) {
				found[j].Waiver = &w
			}
		}
		problem := ""
		switch {
		case !used:
			problem = "accepts something that is not found, or that cannot be accepted"
		case w.Expired(now):
			problem = "ended on " + w.Until.String() + ": what it accepted counts again"
		default:
			continue
		}
		found = append(found, Finding{
			Check: "waiver", Severity: Info, Object: Ref{Kind: "Waiver", Name: w.Check + " " + w.Object},
			Problem: problem, Advice: "take it out of accept, or renew it",
		})
	}
	return found
}
