package lab

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestRequestsAreCountedInTheTermsOfRBAC(t *testing.T) {
	for request, want := range map[string]Request{
		"GET /api/v1/nodes":                                                  {Verb: "list", Resource: "nodes"},
		"GET /api/v1/nodes?watch=true":                                       {Verb: "watch", Resource: "nodes"},
		"GET /api/v1/nodes?watch=1&fieldSelector=metadata.name%3Da":          {Verb: "watch", Resource: "nodes"},
		"GET /api/v1/nodes/a":                                                {Verb: "get", Resource: "nodes"},
		"PATCH /api/v1/nodes/a":                                              {Verb: "patch", Resource: "nodes"},
		"PATCH /api/v1/nodes/a/status":                                       {Verb: "patch", Resource: "nodes/status"},
		"GET /api/v1/pods?limit=500":                                         {Verb: "list", Resource: "pods"},
		"GET /api/v1/namespaces/default/pods/a":                              {Verb: "get", Resource: "pods"},
		"POST /api/v1/namespaces/default/pods":                               {Verb: "create", Resource: "pods"},
		"POST /api/v1/namespaces/default/pods/a/eviction":                    {Verb: "create", Resource: "pods/eviction"},
		"DELETE /api/v1/namespaces/default/pods/a":                           {Verb: "delete", Resource: "pods"},
		"DELETE /api/v1/namespaces/default/pods":                             {Verb: "deletecollection", Resource: "pods"},
		"GET /api/v1/namespaces":                                             {Verb: "list", Resource: "namespaces"},
		"GET /api/v1/namespaces/default":                                     {Verb: "get", Resource: "namespaces"},
		"PUT /api/v1/namespaces/default/finalize":                            {Verb: "update", Resource: "namespaces/finalize"},
		"GET /apis/apps/v1/namespaces/default/deployments":                   {Verb: "list", Resource: "deployments.apps"},
		"PUT /apis/apps/v1/namespaces/default/deployments/a/scale":           {Verb: "update", Resource: "deployments.apps/scale"},
		"GET /apis/policy/v1/poddisruptionbudgets":                           {Verb: "list", Resource: "poddisruptionbudgets.policy"},
		"POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews":        {Verb: "create", Resource: "selfsubjectaccessreviews.authorization.k8s.io"},
		"PUT /apis/coordination.k8s.io/v1/namespaces/upshift/leases/upshift": {Verb: "update", Resource: "leases.coordination.k8s.io"},
		"GET /version":      {Verb: "get", Resource: "/version"},
		"GET /api":          {Verb: "get", Resource: "/api"},
		"GET /apis/apps/v1": {Verb: "get", Resource: "/apis/apps/v1"},
		"GET /readyz":       {Verb: "get", Resource: "/readyz"},
		"GET /":             {Verb: "get", Resource: "/"},
	} {
		t.Run(request, func(t *testing.T) {
			method, url, _ := strings.Cut(request, " ")
			want.User = Upshift
			if got := parseRequest(Upshift, httptest.NewRequest(method, url, nil)); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}
