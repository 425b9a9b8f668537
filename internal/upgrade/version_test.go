package upgrade

import (
	"strings"
	"testing"
)

func TestVersionsAreOrderedByMinorPatchAndGKEBuild(t *testing.T) {
	ascending := []string{"not a version", "1.9.11", "1.33.5-gke.1162000", "1.34.1-gke.2037000", "1.34.2-gke.99", "1.34.2-gke.100", "1.34.2-gke.1000", "1.34.2", "1.35.0-gke.1"}
	for i, a := range ascending {
		for j, b := range ascending {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := CompareVersions(a, b); got != want {
				t.Errorf("CompareVersions(%q, %q) = %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestTargetWords(t *testing.T) {
	cluster := Cluster{
		Name: "cluster-1", Channel: "REGULAR", ControlPlaneVersion: "1.34.1-gke.500",
		Versions: Versions{
			Default: "1.33.5-gke.900",
			Valid:   []string{"1.33.5-gke.900", "1.33.6-gke.10", "1.34.1-gke.500", "1.34.2-gke.100", "1.34.2-gke.99", "1.35.0-gke.7"},
			Nodes:   []string{"1.32.9-gke.4", "1.33.5-gke.900"},
		},
	}
	for target, want := range map[string]string{
		"latest":         "1.35.0-gke.7",
		"default":        "1.33.5-gke.900",
		"patch":          "1.34.2-gke.100",
		"control-plane":  "1.34.1-gke.500",
		"1.33":           "1.33.5-gke.900", // the channel's default, though a newer patch is offered
		"1.34":           "1.34.2-gke.100",
		"1.32":           "1.32.9-gke.4", // nodes may run it, though the channel offers it no more
		"1.34.2-gke.99":  "1.34.2-gke.99",
		"1.32.9-gke.4":   "1.32.9-gke.4",
		"1.34.2-gke.101": "error: target-version 1.34.2-gke.101 is not offered to cluster-1 by the REGULAR channel; the nearest versions: 1.34.2-gke.99, 1.34.2-gke.100, 1.35.0-gke.7",
		"1.36":           "error: target-version 1.36 is not offered to cluster-1 by the REGULAR channel; the nearest versions: 1.34.2-gke.100, 1.35.0-gke.7",
		"1.0.0-gke.1":    "error: target-version 1.0.0-gke.1 is not offered to cluster-1 by the REGULAR channel; the nearest versions: 1.32.9-gke.4, 1.33.5-gke.900",
	} {
		got, err := ResolveTarget(target, cluster)
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want {
			t.Errorf("target %s:\n got %s\nwant %s", target, got, want)
		}
	}
}

func TestTargetForms(t *testing.T) {
	for _, good := range []string{"latest", "default", "patch", "control-plane", "1.34", "1.34.2", "1.34.2-gke.100"} {
		if err := CheckTarget(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"newest", "1", "v1.34", "1.34.x", "1.34.2-eks.1", "1.34.2-gke.100 ", "-"} {
		if err := CheckTarget(bad); err == nil || !strings.Contains(err.Error(), "1.34.2-gke.100") {
			t.Errorf("%s: got %v, want a sentence with the forms", bad, err)
		}
	}
}

func TestNewPoolNames(t *testing.T) {
	for _, test := range []struct{ pool, version, want string }{
		{"default-pool", "1.34.2-gke.100", "default-pool-1-34-2-gke-100"},
		{"default-pool-1-33-5-gke-1162000", "1.34.2-gke.100", "default-pool-1-34-2-gke-100"},
		{"default-pool-1-33-5", "1.34.2", "default-pool-1-34-2"},
		{"pool-1", "1.34.2-gke.100", "pool-1-1-34-2-gke-100"},
		{"pool-1-2-3", "1.34.2", "pool-1-34-2"},
		{"a-pool-with-a-name-as-long-as-gke-allows", "1.34.2-gke.1162000", "a-pool-with-a-na-c9c4-1-34-2-gke-1162000"},
	} {
		got := NewPoolName(test.pool, test.version)
		if got != test.want {
			t.Errorf("NewPoolName(%q, %q) = %q, want %q", test.pool, test.version, got, test.want)
		}
		if len(got) > 40 {
			t.Errorf("%q has %d characters, GKE takes 40", got, len(got))
		}
	}
	long := strings.Repeat("x", 39)
	if NewPoolName(long+"a", "1.34.2-gke.1162000") == NewPoolName(long+"b", "1.34.2-gke.1162000") {
		t.Error("two pools whose names differ only at the end get the same new name")
	}
}
