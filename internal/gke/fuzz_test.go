package gke_test

import (
	"strings"
	"testing"

	"github.com/upshift-k8s/upshift/internal/gke"
)

// FuzzClusterNames: a name that is taken is written as it was read, and has nothing in it that means something elsewhere.
func FuzzClusterNames(f *testing.F) {
	f.Fuzz(func(t *testing.T, text string) {
		name, ok := gke.ParseName(text)
		if !ok {
			return
		}
		if name.String() != text {
			t.Errorf("%q is read as %q", text, name)
		}
		if strings.ContainsAny(name.Project+name.Location+name.Cluster, "/ \t\r\n?#%&\"'`$\\") || strings.Contains(text, "/../") {
			t.Errorf("%q is taken", text)
		}
	})
}
