package gkeemu

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// parse takes a resource name such as projects/P/locations/L apart, for the kinds "projects" and "locations".
func parse(name string, kinds ...string) ([]string, error) {
	parts := strings.Split(name, "/")
	ok := len(parts) == 2*len(kinds)
	var values []string
	for i := 0; ok && i < len(kinds); i++ {
		ok = parts[2*i] == kinds[i] && parts[2*i+1] != ""
		values = append(values, parts[2*i+1])
	}
	if !ok {
		return nil, invalid("Invalid resource name %q: it must have the form %s/*.", name, strings.Join(kinds, "/*/"))
	}
	return values, nil
}

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

// notEmulated refuses loudly what GKE might do.
func notEmulated(format string, args ...any) error {
	return status.Errorf(codes.Unimplemented, "not emulated: "+format, args...)
}

func refused(format string, args ...any) error {
	return status.Errorf(codes.FailedPrecondition, format, args...)
}

func notFound(path string) error {
	return status.Errorf(codes.NotFound, "Not found: %s.", path)
}

// zonal tells "europe-west1-b" from "europe-west1".
func zonal(location string) bool { return strings.Count(location, "-") == 2 }

// region is the location itself, or the one in which the zone is.
func region(location string) string {
	if zonal(location) {
		return location[:strings.LastIndex(location, "-")]
	}
	return location
}

// maxBase is how much of the cluster's and the pool's name together goes into the names of nodes:
// gke-europe-west3-compos-default-pool-7d6b79ce-0s6z has been seen in the wild.
const maxBase = 31

// instanceGroup is what the names of a pool's nodes in one zone begin with: gke-cluster-1-default-pool-7d6b79ce.
func instanceGroup(cluster, pool string) string {
	for len(cluster)+len(pool) > maxBase {
		longer := &cluster
		if len(pool) > len(cluster) {
			longer = &pool
		}
		*longer = (*longer)[:len(*longer)-1]
	}
	return fmt.Sprintf("gke-%s-%s-%08x", strings.TrimRight(cluster, "-"), strings.TrimRight(pool, "-"), rand.Uint32())
}

// nodeName is an instance's name in a group: gke-cluster-1-default-pool-7d6b79ce-0s6z.
func nodeName(group string) string {
	const alphabet = "0123456789abcdefghijklmnopqrstuvwxyz"
	suffix := make([]byte, 4)
	for i := range suffix {
		suffix[i] = alphabet[rand.IntN(len(alphabet))]
	}
	return group + "-" + string(suffix)
}
