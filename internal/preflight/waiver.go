package preflight

import (
	"fmt"
	"slices"
	"strings"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// CheckWaivers tells whether there are such checks, and whether what they find can be accepted. Whether they find it, only a plan can tell.
func CheckWaivers(waivers []upgrade.Waiver) error {
	for _, w := range waivers {
		i := slices.IndexFunc(Checks(), func(c Check) bool { return c.Name == w.Check })
		if i < 0 {
			return fmt.Errorf("there is no check %s; want one of %s", w.Check, strings.Join(waivable(), ", "))
		}
		switch c := Checks()[i]; {
		case c.Consent != "":
			return fmt.Errorf("what %s finds is not accepted one by one, but allowed with %s: true", c.Name, c.Consent)
		case c.Binding:
			return fmt.Errorf("what %s finds cannot be accepted: %s", c.Name, c.Why)
		}
	}
	return nil
}

// waivable are the names of the checks whose findings can be accepted.
func waivable() []string {
	var names []string
	for _, c := range Checks() {
		if c.Consent == "" && !c.Binding {
			names = append(names, c.Name)
		}
	}
	return names
}
