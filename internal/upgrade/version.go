package upgrade

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// CompareVersions orders versions such as "1.34.2", "1.34.2-gke.100" and "1.34.2+k3s1" by minor, patch and build. A version that cannot
// be parsed comes before all others.
func CompareVersions(a, b string) int {
	va, errA := semver.NewVersion(a)
	vb, errB := semver.NewVersion(b)
	switch {
	case errA != nil && errB != nil:
		return cmp.Compare(a, b)
	case errA != nil:
		return -1
	case errB != nil:
		return 1
	}
	return cmp.Or(va.Compare(vb), compareBuilds(va.Metadata(), vb.Metadata()))
}

// compareBuilds orders what distributions of Kubernetes add behind a "+", of which semver knows no order: "k3s2", "k3s10".
func compareBuilds(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }

// minorOf returns "1.34" of "1.34.2-gke.100".
func minorOf(version string) string {
	v, err := semver.NewVersion(version)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d.%d", v.Major(), v.Minor())
}

// MinorsBetween returns by how many minors the newer version is ahead of the older one, negative if it is behind. False tells that they have
// no such distance: one is no version, or their majors differ.
func MinorsBetween(older, newer string) (int, bool) {
	a, errA := semver.NewVersion(older)
	b, errB := semver.NewVersion(newer)
	if errA != nil || errB != nil || a.Major() != b.Major() || a.Minor() > maxMinor || b.Minor() > maxMinor {
		return 0, false
	}
	return int(b.Minor()) - int(a.Minor()), true //nolint:gosec // both are small
}

// maxMinor is above all minors that there will be, and keeps nonsense from overflowing.
const maxMinor = 1 << 16

var (
	minorPattern = regexp.MustCompile(`^[0-9]+\.[0-9]+$`)
	exactPattern = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(-gke\.[0-9]+|\+[0-9A-Za-z.]+)?$`)
)

// TargetForms says what a target version may look like.
const TargetForms = "a version such as 1.34.2-gke.100, a minor such as 1.34, latest, default, patch or control-plane"

// CheckTarget tells whether text has the form of a target version.
func CheckTarget(text string) error {
	switch text {
	case "latest", "default", "patch", "control-plane":
		return nil
	}
	if minorPattern.MatchString(text) || exactPattern.MatchString(text) {
		return nil
	}
	return fmt.Errorf("want %s", TargetForms)
}

// ResolveTarget turns the words of a target into one of the versions that the provider offers the cluster. Its error says
// which versions come nearest.
func ResolveTarget(text string, c Cluster) (string, error) {
	v := c.Versions
	switch {
	case text == "control-plane":
		return c.ControlPlaneVersion, nil
	case text == "latest":
		return newest(v.Valid, text, c)
	case text == "default":
		if v.Default == "" {
			return "", fmt.Errorf("target-version default: %s offers no default version", c.channelName())
		}
		return v.Default, nil
	case text == "patch":
		return newest(ofMinor(v.Valid, minorOf(c.ControlPlaneVersion)), text, c)
	case minorPattern.MatchString(text):
		if minorOf(v.Default) == text {
			return v.Default, nil
		}
		if offered := ofMinor(v.Valid, text); len(offered) > 0 {
			return newest(offered, text, c)
		}
		return newest(ofMinor(v.Nodes, text), text, c)
	case v.Any && exactPattern.MatchString(text):
		return text, nil
	case text == c.ControlPlaneVersion, slices.Contains(v.Valid, text), slices.Contains(v.Nodes, text):
		return text, nil
	}
	return "", unknownTarget(text, c)
}

// Path returns the versions through which the control plane of c gets to target, target included: a control plane is upgraded by one minor at a
// time, through the channel's default version of each minor in between, or the newest that is offered. It is empty where target is not
// newer. Its error names the minor of which the provider offers no version.
func Path(c Cluster, target string) ([]string, error) {
	if CompareVersions(c.ControlPlaneVersion, target) >= 0 {
		return nil, nil
	}
	minors, ok := MinorsBetween(c.ControlPlaneVersion, target)
	if !ok {
		return nil, fmt.Errorf("no way is known from %s to %s", c.ControlPlaneVersion, target)
	}
	var hops []string
	from := semver.MustParse(c.ControlPlaneVersion)
	for i := 1; i < minors; i++ {
		minor := fmt.Sprintf("%d.%d", from.Major(), from.Minor()+uint64(i))
		hop, ok := c.Versions.bestOf(minor)
		if !ok {
			return nil, fmt.Errorf("no version of %s is offered by %s, and the control plane must go through one on its way from %s to %s; it offers %s",
				minor, c.channelName(), c.ControlPlaneVersion, target, list(ordered(c.Versions.Valid)))
		}
		hops = append(hops, hop)
	}
	return append(hops, target), nil
}

// bestOf returns the default version if it is of the minor, or else the newest valid one of it.
func (v Versions) bestOf(minor string) (string, bool) {
	if minorOf(v.Default) == minor {
		return v.Default, true
	}
	of := ofMinor(v.Valid, minor)
	if len(of) == 0 {
		return "", false
	}
	return slices.MaxFunc(of, CompareVersions), true
}

// checkDowngrade refuses a version that is older than what every one of the pools runs: nodes are not downgraded, so nothing would be done.
func checkDowngrade(version string, pools []Pool, c Cluster) error {
	var run []string
	for _, p := range pools {
		if CompareVersions(p.Version, version) <= 0 {
			return nil
		}
		run = append(run, fmt.Sprintf("%s runs %s", p.Name, p.Version))
	}
	if len(run) == 0 {
		return nil
	}
	oldest := slices.MinFunc(pools, func(a, b Pool) int { return CompareVersions(a.Version, b.Version) }).Version
	near := slices.DeleteFunc(c.offered(), func(v string) bool { return CompareVersions(v, oldest) < 0 })
	return fmt.Errorf("target-version %s is older than what runs already, and nodes are not downgraded: %s; the nearest versions that are not older: %s",
		version, strings.Join(run, ", "), list(near[:min(len(near), 2)]))
}

func newest(versions []string, text string, c Cluster) (string, error) {
	if len(versions) == 0 {
		return "", unknownTarget(text, c)
	}
	return slices.MaxFunc(versions, CompareVersions), nil
}

func ofMinor(versions []string, minor string) []string {
	var of []string
	for _, v := range versions {
		if minorOf(v) == minor {
			of = append(of, v)
		}
	}
	return of
}

func (c Cluster) channelName() string {
	if c.Channel == "" {
		return "the provider"
	}
	return "the " + c.Channel + " channel"
}

// unknownTarget names the offered versions next to the one that was asked for, on both sides of it.
func unknownTarget(text string, c Cluster) error {
	offered := c.offered()
	wanted := text
	switch {
	case minorPattern.MatchString(text):
		wanted = text + ".0"
	case !exactPattern.MatchString(text): // a word
		wanted = c.ControlPlaneVersion
	}
	at, _ := slices.BinarySearchFunc(offered, wanted, CompareVersions)
	near := offered[max(0, at-2):min(len(offered), at+2)]
	if len(near) == 0 {
		return fmt.Errorf("target-version %s: %s offers no versions", text, c.channelName())
	}
	return fmt.Errorf("target-version %s is not offered to %s by %s; the nearest versions: %s",
		text, c.Name, c.channelName(), strings.Join(near, ", "))
}

// offered are all versions that the cluster's nodes may run, in their order.
func (c Cluster) offered() []string { return ordered(c.Versions.Valid, c.Versions.Nodes) }

// ordered puts versions in their order, each once.
func ordered(versions ...[]string) []string {
	all := slices.Concat(versions...)
	slices.SortFunc(all, CompareVersions)
	return slices.Compact(all)
}

func list(versions []string) string {
	if len(versions) == 0 {
		return "none"
	}
	return strings.Join(versions, ", ")
}
