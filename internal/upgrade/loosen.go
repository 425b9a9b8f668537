package upgrade

import "fmt"

// LetOneGo is the command after which the budget lets its pods go one at a time, whatever their number. It needs a controller that says how many
// there should be.
func (b Budget) LetOneGo() string { return b.patch(`"minAvailable":null,"maxUnavailable":1`) }

// Keep is the command after which the budget keeps so many of its pods, and lets the others go.
func (b Budget) Keep(pods int) string {
	return b.patch(fmt.Sprintf(`"maxUnavailable":null,"minAvailable":%d`, pods))
}

// FreeUnready is the command after which the budget lets pods go that are not Ready.
func (b Budget) FreeUnready() string { return b.patch(`"unhealthyPodEvictionPolicy":"AlwaysAllow"`) }

func (b Budget) patch(spec string) string {
	return fmt.Sprintf(`kubectl patch pdb %s -n %s --type merge -p '{"spec":{%s}}'`, b.Name, b.Namespace, spec)
}
