package upgrade_test

import (
	"strings"
	"testing"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

func TestWhenSomethingMayBeBegun(t *testing.T) {
	at := func(text string) time.Time {
		parsed, err := time.Parse("2 15:04", text)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	span := func(start, end string) upgrade.Interval { return upgrade.Interval{Start: at(start), End: at(end)} }
	nights := upgrade.Maintenance{Summary: "daily", Windows: []upgrade.Interval{span("5 03:00", "5 07:00"), span("6 03:00", "6 07:00")}}
	frozen := func(scope string) upgrade.Maintenance {
		return upgrade.Maintenance{Exclusions: []upgrade.Exclusion{{Name: "sale", Scope: scope, Interval: span("5 00:00", "6 00:00")}}}
	}
	for name, test := range map[string]struct {
		m            upgrade.Maintenance
		at           string
		takes        time.Duration
		minor, nodes bool
		why          string
		until        string
	}{
		"no policy":                      {at: "5 12:00", takes: time.Hour},
		"inside":                         {m: nights, at: "5 04:00", takes: 3 * time.Hour},
		"until the very end":             {m: nights, at: "5 03:00", takes: 4 * time.Hour},
		"would not be done":              {m: nights, at: "5 06:30", takes: time.Hour, why: "the maintenance window closes at 0000-01-05 07:00 UTC, before it would be done; the next one opens at 0000-01-06 03:00 UTC", until: "6 03:00"},
		"outside":                        {m: nights, at: "5 12:00", takes: time.Hour, why: "the maintenance window is closed, and the next one opens at 0000-01-06 03:00 UTC", until: "6 03:00"},
		"longer than any":                {m: nights, at: "5 12:00", takes: 5 * time.Hour, why: "none that is long enough opens within two weeks"},
		"no window in sight":             {m: upgrade.Maintenance{Summary: "yearly"}, at: "5 12:00", why: "none that is long enough opens within two weeks"},
		"frozen":                         {m: frozen("NO_UPGRADES"), at: "5 12:00", why: "maintenance exclusion sale (NO_UPGRADES) is in force until 0000-01-06 00:00 UTC", until: "6 00:00"},
		"patches pass":                   {m: frozen("NO_MINOR_UPGRADES"), at: "5 12:00", nodes: true},
		"minors do not":                  {m: frozen("NO_MINOR_UPGRADES"), at: "5 12:00", nodes: true, minor: true, why: "in force", until: "6 00:00"},
		"nodes do not":                   {m: frozen("NO_MINOR_OR_NODE_UPGRADES"), at: "5 12:00", nodes: true, why: "in force", until: "6 00:00"},
		"the control plane's patch may":  {m: frozen("NO_MINOR_OR_NODE_UPGRADES"), at: "5 12:00"},
		"a freeze begins before the end": {m: frozen("NO_UPGRADES"), at: "4 23:30", takes: time.Hour, why: "begins at 0000-01-05 00:00 UTC, before it would be done", until: "6 00:00"},
		"a freeze begins after the end":  {m: frozen("NO_UPGRADES"), at: "4 22:30", takes: time.Hour},
		"a freeze is over":               {m: frozen("NO_UPGRADES"), at: "6 00:00", takes: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			closed := test.m.Closed(at(test.at), test.takes, test.minor, test.nodes)
			switch {
			case test.why == "" && closed != nil:
				t.Errorf("closed, since %s", closed.Why)
			case test.why != "" && closed == nil:
				t.Errorf("open, want %s", test.why)
			case test.why != "" && !strings.Contains(closed.Why, test.why):
				t.Errorf("closed, since %s; want %s", closed.Why, test.why)
			case test.until != "" && !closed.Until.Equal(at(test.until)):
				t.Errorf("closed until %s, want %s", closed.Until, test.until)
			}
		})
	}
}
