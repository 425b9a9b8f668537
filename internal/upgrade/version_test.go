package upgrade

import (
	"strings"
	"testing"
)

func TestVersionsAreOrderedByMinorPatchAndBuild(t *testing.T) {
	ascending := []string{"not a version", "1.9.11", "1.33.5-gke.1162000", "1.34.1-gke.2037000", "1.34.2-gke.99", "1.34.2-gke.100", "1.34.2-gke.1000", "1.34.2", "1.34.2+k3s2", "1.34.2+k3s10", "1.34.3+k3s1", "1.35.0-gke.1"}
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

func TestTheControlPlanesPath(t *testing.T) {
	valid := []string{"1.37.0-gke.1", "1.36.2-gke.1", "1.36.1-gke.9", "1.35.4-gke.3", "1.35.4-gke.20", "1.34.2-gke.100"}
	for name, test := range map[string]struct {
		from, to, standard string
		want               string // by space, or the error
	}{
		"a patch":                                {"1.34.1-gke.1", "1.34.2-gke.100", "", "1.34.2-gke.100"},
		"a minor":                                {"1.34.2-gke.100", "1.35.4-gke.3", "", "1.35.4-gke.3"},
		"two minors":                             {"1.34.2-gke.100", "1.36.1-gke.9", "", "1.35.4-gke.20 1.36.1-gke.9"},
		"three minors, through the default":      {"1.34.2-gke.100", "1.37.0-gke.1", "1.36.1-gke.9", "1.35.4-gke.20 1.36.1-gke.9 1.37.0-gke.1"},
		"there already":                          {"1.35.4-gke.3", "1.35.4-gke.3", "", ""},
		"behind it":                              {"1.35.4-gke.3", "1.34.2-gke.100", "", ""},
		"a minor on the way that is not offered": {"1.32.9-gke.1", "1.34.2-gke.100", "", "error: no version of 1.33 is offered by the REGULAR channel, and the control plane must go through one on its way from 1.32.9-gke.1 to 1.34.2-gke.100; it offers 1.34.2-gke.100, 1.35.4-gke.3, 1.35.4-gke.20, 1.36.1-gke.9, 1.36.2-gke.1, 1.37.0-gke.1"},
		"another major":                          {"1.34.2-gke.100", "2.0.0", "", "error: no way is known from 1.34.2-gke.100 to 2.0.0"},
		"a control plane whose version is unread": {"", "1.34.2-gke.100", "", "error: no way is known from  to 1.34.2-gke.100"},
	} {
		t.Run(name, func(t *testing.T) {
			hops, err := Path(Cluster{Channel: "REGULAR", ControlPlaneVersion: test.from, Versions: Versions{Default: test.standard, Valid: valid}}, test.to)
			got := strings.Join(hops, " ")
			if err != nil {
				got = "error: " + err.Error()
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestMinorsBetween(t *testing.T) {
	for _, test := range []struct {
		older, newer string
		minors       int
		ok           bool
	}{
		{"1.33.5-gke.1", "1.35.0-gke.7", 2, true}, {"1.35.0-gke.7", "1.33.5-gke.1", -2, true}, {"1.33.1", "1.33.9", 0, true}, {"1.9", "1.10", 1, true},
		{"1.33.5", "2.33.5", 0, false}, {"", "1.33.5", 0, false}, {"1.33.5", "x", 0, false},
	} {
		if minors, ok := MinorsBetween(test.older, test.newer); minors != test.minors || ok != test.ok {
			t.Errorf("from %s to %s: %d, %t; want %d, %t", test.older, test.newer, minors, ok, test.minors, test.ok)
		}
	}
}

// FuzzVersions: whatever versions people ask for and a provider offers, nothing panics, versions are in one order, and what a target is
// resolved to is something that is offered.
func FuzzVersions(f *testing.F) {
	f.Add("1.34.2-gke.100", "1.34.2-gke.99", "1.35.0-gke.7")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		for _, pair := range [][2]string{{a, b}, {b, c}, {a, c}, {a, a}} {
			if there, back := CompareVersions(pair[0], pair[1]), CompareVersions(pair[1], pair[0]); there != -back {
				t.Errorf("%q to %q is %d, and back %d", pair[0], pair[1], there, back)
			}
		}
		if CompareVersions(a, b) <= 0 && CompareVersions(b, c) <= 0 && CompareVersions(a, c) > 0 {
			t.Errorf("%q <= %q <= %q, and yet the last comes before the first", a, b, c)
		}
		cluster := Cluster{Name: "c", ControlPlaneVersion: a, Versions: Versions{Default: b, Valid: []string{b, c}, Nodes: []string{c}}}
		if CheckTarget(a) == nil {
			cluster.ControlPlaneVersion = b
			got, err := ResolveTarget(a, cluster)
			if err == nil && got != b && got != c {
				t.Errorf("target %q came to %q, which is not offered", a, got)
			}
		}
		hops, err := Path(cluster, c)
		for i, hop := range hops {
			if previous := append([]string{cluster.ControlPlaneVersion}, hops...)[i]; CompareVersions(previous, hop) >= 0 {
				t.Errorf("the path %v of %q does not rise", hops, cluster.ControlPlaneVersion)
			}
		}
		if err == nil && len(hops) > 0 && hops[len(hops)-1] != c {
			t.Errorf("the path %v does not end at %q", hops, c)
		}
	})
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
