package lab

import (
	"net/http"
	"strings"
)

// Request is a kind of request, in the terms of RBAC.
type Request struct {
	// User is one of [Users], or empty for a stranger.
	User string
	// Verb is get, list, watch, create, update, patch, delete or deletecollection; for a path that is no resource the method in lower case.
	Verb string
	// Resource is "pods", "pods/eviction", "deployments.apps", or a path such as "/version".
	Resource string
}

// parseRequest follows the API server's own rules: /api/V/… for the core group, /apis/GROUP/V/… for others, then
// namespaces/NAME unless the resource is cluster-wide, then RESOURCE[/NAME[/SUBRESOURCE]].
func parseRequest(user string, r *http.Request) Request {
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	var group string
	switch {
	case path[0] == "api" && len(path) > 2:
		path = path[2:]
	case path[0] == "apis" && len(path) > 3:
		group, path = "."+path[1], path[3:]
	default:
		return Request{User: user, Verb: strings.ToLower(r.Method), Resource: r.URL.Path}
	}
	// A namespace is a resource too, with two subresources of its own.
	if path[0] == "namespaces" && len(path) > 2 && path[2] != "status" && path[2] != "finalize" {
		path = path[2:]
	}
	resource := path[0] + group
	if len(path) > 2 {
		resource += "/" + path[2]
	}
	return Request{User: user, Verb: verb(r, len(path) > 1), Resource: resource}
}

// verb is what RBAC calls the method, for one object or for all of them.
func verb(r *http.Request, one bool) string {
	watch := r.URL.Query().Get("watch")
	switch {
	case r.Method == http.MethodGet && (watch == "true" || watch == "1"):
		return "watch"
	case r.Method == http.MethodGet && !one:
		return "list"
	case r.Method == http.MethodDelete && !one:
		return "deletecollection"
	case r.Method == http.MethodPost:
		return "create"
	case r.Method == http.MethodPut:
		return "update"
	default:
		return strings.ToLower(r.Method)
	}
}
