package preflight

import "github.com/upshift-k8s/upshift/internal/upgrade"

// byVolume makes one finding for each workload with pods that move and that have mounted a volume that matches; it gets the claims of
// those, as namespace/name.
func (in Input) byVolume(match func(upgrade.Volume) bool, finding func(upgrade.Ref, []string) upgrade.Finding) []upgrade.Finding {
	claims := func(p upgrade.Pod) []string {
		var names []string
		for _, v := range in.Inventory.Volumes[p.UID] {
			if match(v) {
				names = append(names, p.Namespace+"/"+v.Claim)
			}
		}
		return names
	}
	has := func(p upgrade.Pod) bool { return in.moves(p) && len(claims(p)) > 0 }
	return byWorkload(in.Moving, has, func(owner upgrade.Ref, of []upgrade.Pod) upgrade.Finding {
		f := finding(owner, distinct(of, claims))
		f.Object, f.Evidence = owner, keys(of)
		return f
	})
}
