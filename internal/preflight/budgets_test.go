package preflight_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/preflight"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// TestOnlyABudgetThatCannotChangeByItselfIsCalledPermanent: each case makes the PDB of a healthy cluster allow nothing.
func TestOnlyABudgetThatCannotChangeByItselfIsCalledPermanent(t *testing.T) {
	const (
		now   = "allows no eviction now (maxUnavailable 1: "
		never = "can allow no eviction at all with this many pods (maxUnavailable 1: "
	)
	for name, test := range map[string]struct {
		change func(*upgrade.Budget)
		want   string
	}{
		"one of its pods is being moved": {func(b *upgrade.Budget) { b.Healthy = 2 }, now + "2 of 3 healthy, 2 needed): if it stays so, the drain blocks and the run pauses"},
		"it needs all of its pods":       {func(b *upgrade.Budget) { b.Needed = 3 }, never + "3 of 3 healthy, 3 needed): the drain will block and the run pause"},
		"it needs more pods than there are, one of which is being moved": {func(b *upgrade.Budget) { b.Needed, b.Healthy = 4, 2 },
			never + "2 of 3 healthy, 4 needed): the drain will block and the run pause"},
		"its status is of an earlier spec": {func(b *upgrade.Budget) { b.Needed, b.Current = 3, false }, now + "3 of 3 healthy, 3 needed): if it stays so, the drain blocks and the run pauses"},
		"its status was never written": {func(b *upgrade.Budget) { b.Healthy, b.Needed, b.Expected, b.Current = 0, 0, 0, false },
			now + "0 of 0 healthy, 0 needed): if it stays so, the drain blocks and the run pauses"},
	} {
		t.Run(name, func(t *testing.T) {
			s := healthy()
			b := s.State.Budgets["shop/web"]
			b.Allowed = 0
			test.change(&b)
			s.State.Budgets["shop/web"] = b
			plan, err := upgrade.BuildPlan(s, upgrade.Options{Target: "control-plane", Delete: upgrade.DeleteEach}, preflight.Inspect)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range plan.Findings {
				got = append(got, f.Check+": "+f.Problem)
			}
			if diff := cmp.Diff([]string{"pdb-blocks: " + test.want}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
