package runstore

import "github.com/upshift-k8s/upshift/internal/upgrade"

// Needs is what keeping the record in a namespace has to be allowed to do.
func Needs(namespace string) []upgrade.Permission {
	var needs []upgrade.Permission
	add := func(group, resource, why string, verbs ...string) {
		for _, verb := range verbs {
			needs = append(needs, upgrade.Permission{Verb: verb, Group: group, Resource: resource, Namespace: namespace, Why: why})
		}
	}
	add("coordination.k8s.io", "leases", "to work on a cluster alone", "get", "create", "update")
	add("", "configmaps", "to keep the record of runs", "get", "list", "watch", "create", "update", "delete")
	return needs
}
