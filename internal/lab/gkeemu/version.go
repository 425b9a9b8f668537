package gkeemu

import (
	"slices"
	"strings"

	"cloud.google.com/go/container/apiv1/containerpb"
	"github.com/Masterminds/semver/v3"
)

// resolve replaces what containerpb calls a version alias by the version on offer that it means: "latest", "1.X" and "1.X.Y" are the
// highest that fit, "-" is standard. Anything else stays as it is.
func resolve(alias string, offered []string, standard string) string {
	if alias == "-" {
		return standard
	}
	if slices.Contains(offered, alias) {
		return alias
	}
	fits := slices.DeleteFunc(slices.Clone(offered), func(v string) bool {
		return alias != "latest" && !strings.HasPrefix(v, alias+".") && !strings.HasPrefix(v, alias+"-")
	})
	if len(fits) == 0 {
		return alias
	}
	return slices.MaxFunc(fits, func(a, b string) int { return parsed(a).Compare(parsed(b)) })
}

// parsed is 0.0.0 for what is no version: none of the offered ones, nor of the clusters', are.
func parsed(version string) *semver.Version {
	v, err := semver.StrictNewVersion(version)
	if err != nil {
		return semver.New(0, 0, 0, "", "")
	}
	return v
}

// behind is how many minors a version is behind another one, negative if it is ahead.
func behind(version, other string) int64 {
	return int64(parsed(other).Minor()) - int64(parsed(version).Minor())
}

// offers are the control plane's versions on offer to the cluster, the default among them, and how GKE refuses others.
func (c *cluster) offers(config *containerpb.ServerConfig) (offered []string, standard string, refusal func(string) error) {
	for _, channel := range config.GetChannels() {
		if c.spec.Channel != 0 && channel.GetChannel() == c.spec.Channel {
			return channel.GetValidVersions(), channel.GetDefaultVersion(), func(string) error {
				return invalid("Master version must be one of %q channel supported versions [%s].", c.spec.Channel, strings.Join(channel.GetValidVersions(), ", "))
			}
		}
	}
	return config.GetValidMasterVersions(), config.GetDefaultClusterVersion(), func(version string) error {
		return invalid("Master version %q is unsupported.", version)
	}
}

// masterVersion is the version that an upgrade of the control plane asks for. The present one is allowed, even if it is no longer on
// offer: the control plane is made again then, says containerpb of UPGRADE_MASTER.
func (c *cluster) masterVersion(wanted string, config *containerpb.ServerConfig) (string, error) {
	if wanted == "" {
		return "", invalid("Master_version must be set.")
	}
	offered, standard, refusal := c.offers(config)
	version := resolve(wanted, offered, standard)
	if version != c.version && !slices.Contains(offered, version) {
		return "", refusal(version)
	}
	if parsed(version).LessThan(parsed(c.version)) {
		return "", invalid("Master cannot be upgraded to %q: it is at %q already.", version, c.version)
	}
	if behind(c.version, version) > 1 {
		return "", invalid("Master cannot be upgraded to %q: cannot upgrade the master more than a minor version at a time.", version)
	}
	for _, p := range c.pools {
		if behind(p.pb.GetVersion(), version) > 2 {
			return "", invalid("Master cannot be upgraded to %q: node pool %q is at %q, and nodes must be within two minor versions of the master.",
				version, p.pb.GetName(), p.pb.GetVersion())
		}
	}
	return version, nil
}
