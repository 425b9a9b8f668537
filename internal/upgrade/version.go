package upgrade

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// CompareVersions orders versions such as "1.34.2" and "1.34.2-gke.100" by minor, patch and GKE build. A version that cannot
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
	return va.Compare(vb)
}

// minorOf returns "1.34" of "1.34.2-gke.100".
func minorOf(version string) string {
	v, err := semver.NewVersion(version)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d.%d", v.Major(), v.Minor())
}

var (
	minorPattern = regexp.MustCompile(`^[0-9]+\.[0-9]+$`)
	exactPattern = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(-gke\.[0-9]+)?$`)
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
	case text == c.ControlPlaneVersion, slices.Contains(v.Valid, text), slices.Contains(v.Nodes, text):
		return text, nil
	}
	return "", unknownTarget(text, c)
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
	offered := slices.Concat(c.Versions.Valid, c.Versions.Nodes)
	slices.SortFunc(offered, CompareVersions)
	offered = slices.Compact(offered)
	wanted := text
	if minorPattern.MatchString(text) {
		wanted = text + ".0"
	}
	at, _ := slices.BinarySearchFunc(offered, wanted, CompareVersions)
	near := offered[max(0, at-2):min(len(offered), at+2)]
	if len(near) == 0 {
		return fmt.Errorf("target-version %s: %s offers no versions", text, c.channelName())
	}
	return fmt.Errorf("target-version %s is not offered to %s by %s; the nearest versions: %s",
		text, c.Name, c.channelName(), strings.Join(near, ", "))
}
