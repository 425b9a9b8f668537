package scenario_test

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/scenario"
)

// TestCommands has people and GKE upgrade clusters without the product: what they do is what scenarios of the product rely on.
func TestCommands(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the lab")
	}
	if _, err := lab.Binary(t.Context(), t.Output()); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:   "testdata",
		Setup: func(env *testscript.Env) error { scenario.Setup(env, t.TempDir()); return nil },
		Cmds:  scenario.Commands(),
	})
}
