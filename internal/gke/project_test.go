package gke

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// reply is one answer of an API.
type reply struct {
	code int
	body string
}

// answering is a provider whose other APIs give these answers, one after the other, and the requests that it got.
func answering(t *testing.T, location string, replies ...reply) (*Provider, *[]string) {
	t.Helper()
	var mu sync.Mutex
	var got []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Permissions []string }
		_ = json.NewDecoder(r.Body).Decode(&body) // a GET has none
		mu.Lock()
		defer mu.Unlock()
		got = append(got, strings.TrimSpace(fmt.Sprintln(r.Method, r.URL.RequestURI(), strings.Join(body.Permissions, " "))))
		next := replies[min(len(got), len(replies))-1]
		w.WriteHeader(next.code)
		_, _ = w.Write([]byte(next.body))
	}))
	t.Cleanup(srv.Close)
	p, err := Connect(t.Context(), Name{Project: "p", Location: location, Cluster: "c"}, overridden(t,
		"CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER=http://127.0.0.1:1", "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER="+srv.URL, "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE="+srv.URL), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p, &got
}

const disabled = `{"error": {"code": 403, "status": "PERMISSION_DENIED",
	"message": "Cloud Resource Manager API has not been used in project 1 before or it is disabled. Enable it by visiting https://x then retry.",
	"details": [{"@type": "type.googleapis.com/google.rpc.Help"}, {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED"}]}}`

const testPermissions = "POST /v1/projects/p:testIamPermissions container.clusters.get container.clusters.update container.operations.get container.operations.list"

func TestPermissionsAreTested(t *testing.T) {
	for name, test := range map[string]struct {
		replies []reply
		want    string // the permissions that are denied, or why it is not known
		asked   int
	}{
		"all allowed": {[]reply{{200, `{"permissions": ["container.clusters.get", "container.clusters.update", "container.operations.get", "container.operations.list"]}`}}, "denied:", 1},
		"one denied":  {[]reply{{200, `{"permissions": ["container.operations.list", "container.clusters.get", "container.operations.get"]}`}}, "denied: container.clusters.update", 1},
		"all denied":  {[]reply{{200, `{}`}}, "denied: container.clusters.get container.clusters.update container.operations.get container.operations.list", 1},
		"the API is disabled": {
			[]reply{{403, disabled}}, "test the permissions on project p: SERVICE_DISABLED: Cloud Resource Manager API has not been used in project 1 before or it is disabled", 1,
		},
		"a token that is not accepted, and then one that is": {[]reply{{401, `{"error": {"status": "UNAUTHENTICATED", "message": "Expired"}}`}, {200, `{}`}}, "denied: container.clusters.get container.clusters.update container.operations.get container.operations.list", 2},
		"overloaded for good":                                {[]reply{{503, `{"error": {"status": "UNAVAILABLE", "message": "Try again later."}}`}}, "test the permissions on project p: UNAVAILABLE: Try again later.", 2},
		"too many requests":                                  {[]reply{{429, `{"error": {"message": "Quota exceeded."}}`}}, "test the permissions on project p: 429 Too Many Requests: Quota exceeded.", 2},
		"a proxy that refuses":                               {[]reply{{407, `<html>who are you?</html>`}}, "test the permissions on project p: 407 Proxy Authentication Required", 1},
		"a page of a proxy that says that it is one":         {[]reply{{200, `<html>welcome</html>`}}, "test the permissions on project p: the answer is not the API's: invalid character '<' looking for beginning of value", 1},
	} {
		t.Run(name, func(t *testing.T) {
			p, got := answering(t, "europe-west1", test.replies...)
			said := "denied:"
			permissions, err := p.permissions(t.Context())
			if err != nil {
				said = err.Error()
			}
			for _, permission := range permissions {
				if !permission.Allowed {
					said += " " + permission.Name
				}
			}
			if said != test.want {
				t.Errorf("got  %s\nwant %s", said, test.want)
			}
			if len(*got) != test.asked || (*got)[0] != testPermissions {
				t.Errorf("asked %q, want %q %d times", *got, testPermissions, test.asked)
			}
		})
	}
}

func TestQuotasAreThoseOfTheRegion(t *testing.T) {
	for name, test := range map[string]struct {
		location string
		reply    reply
		want     string
	}{
		"of a regional cluster": {"europe-west1", reply{200, `{"quotas": [{"metric": "CPUS", "limit": 24.0, "usage": 12.5}]}`}, "[{CPUS 24 12.5}]"},
		"of a zonal cluster":    {"europe-west1-b", reply{200, `{"quotas": [{"metric": "CPUS", "limit": 24.0, "usage": 12.5}]}`}, "[{CPUS 24 12.5}]"},
		"that are not to hand": {
			"europe-west1", reply{200, `{"quotaStatusWarning": {"code": "QUOTA_INFO_UNAVAILABLE", "message": "No quotas now"}}`},
			"read the quotas of region europe-west1: QUOTA_INFO_UNAVAILABLE: No quotas now",
		},
		"an answer without any": {"europe-west1", reply{200, `{}`}, "read the quotas of region europe-west1: the answer has none"},
		"that may not be read": {
			"europe-west1", reply{403, `{"error": {"code": 403, "message": "Required 'compute.regions.get' permission for 'projects/p/regions/europe-west1'", "errors": [{"reason": "forbidden"}]}}`},
			"read the quotas of region europe-west1: 403 Forbidden: Required 'compute.regions.get' permission for 'projects/p/regions/europe-west1'",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, got := answering(t, test.location, test.reply)
			quotas, err := p.quotas(t.Context())
			said := fmt.Sprint(quotas)
			if err != nil {
				said = err.Error()
			}
			if said != test.want {
				t.Errorf("got  %s\nwant %s", said, test.want)
			}
			if diff := cmp.Diff([]string{"GET /compute/v1/projects/p/regions/europe-west1?fields=quotas,quotaStatusWarning"}, *got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestAClusterIsReadWithoutTheOtherAPIs: what they do not tell is unread, and the cluster is there all the same.
func TestAClusterIsReadWithoutTheOtherAPIs(t *testing.T) {
	_, p := emulate(t)
	c, err := p.Cluster(t.Context())
	if err != nil || len(c.Permissions) != 4 || len(c.Quotas) == 0 || len(c.Unread) > 0 {
		t.Errorf("%d permissions, %d quotas, unread %v, error %v", len(c.Permissions), len(c.Quotas), c.Unread, err)
	}
	away, _ := answering(t, "europe-west1", reply{403, disabled})
	p.manager, p.compute = away.manager, away.compute
	c, err = p.Cluster(t.Context())
	if err != nil || len(c.Pools) != 1 || len(c.Permissions)+len(c.Quotas) > 0 {
		t.Errorf("%+v, error %v", c, err)
	}
	for _, source := range []upgrade.Source{upgrade.ReadProviderPermissions, upgrade.ReadQuotas} {
		if !strings.Contains(c.Unread[source], "SERVICE_DISABLED") {
			t.Errorf("%s: unread because of %q", source, c.Unread[source])
		}
	}
}

// TestOverTLSCredentialsAreSent, which are the application-default ones.
func TestOverTLSCredentialsAreSent(t *testing.T) {
	credentials, err := gkeemu.StartCredentials(t.Context(), "the-token")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(credentials.Close)
	key := filepath.Join(t.TempDir(), "key.json")
	if err := credentials.WriteKey(key); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", key)
	sent := map[string]string{}
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent["token"], sent["agent"] = r.Header.Get("Authorization"), r.Header.Get("User-Agent")
		_, _ = w.Write([]byte(`{}`))
	}))
	t.Cleanup(srv.Close)
	base, err := url.Parse(srv.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	api := rest{base: base, userAgent: "upshift/test", transport: srv.Client().Transport}
	if err := api.do(t.Context(), http.MethodGet, "v1/x", nil, &struct{}{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"token": "Bearer the-token", "agent": "upshift/test"}, sent); diff != "" {
		t.Error(diff)
	}
}

func TestAnEndpointWithoutAPathHasGooglesOwn(t *testing.T) {
	for override, want := range map[string]string{
		"":                                   "https://compute.googleapis.com/compute/v1/",
		"https://compute-x.p.googleapis.com": "https://compute-x.p.googleapis.com/compute/v1/",
		"https://proxy.example.com/":         "https://proxy.example.com/compute/v1/",
		"https://proxy.example.com/g/":       "https://proxy.example.com/g/",
	} {
		apis := overridden(t, "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE="+override)
		if got := apis.compute.base("https://compute.googleapis.com/compute/v1/").String(); got != want {
			t.Errorf("%q: got %s, want %s", override, got, want)
		}
	}
}
