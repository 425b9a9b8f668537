package upgrade

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

// maxPoolName is GKE's limit on the length of a node pool's name.
const maxPoolName = 40

var versionSuffix = regexp.MustCompile(`-[0-9]+-[0-9]+-[0-9]+(-gke-[0-9]+)?$`)

// NewPoolName names the pool that takes over from pool at version: its base name and the version, an earlier version
// replaced. It depends on nothing else, so that a second attempt finds what the first one made. A base too long for GKE's limit
// is cut, and a hash of it keeps two long names apart.
func NewPoolName(pool, version string) string {
	base := versionSuffix.ReplaceAllString(pool, "")
	suffix := "-" + strings.ReplaceAll(version, ".", "-")
	if len(base)+len(suffix) > maxPoolName {
		sum := sha256.Sum256([]byte(base))
		tail := "-" + hex.EncodeToString(sum[:2])
		base = strings.TrimRight(base[:maxPoolName-len(suffix)-len(tail)], "-") + tail
	}
	return base + suffix
}
