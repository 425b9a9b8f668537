package gkeemu_test

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
)

func TestTheOtherAPIsAnswerAsTheyAreTold(t *testing.T) {
	srv, err := gkeemu.Start(t.Context(), gkeemu.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	if err := srv.AddCluster(gkeemu.Cluster{Project: "p", Location: "europe-west1", Name: "c"}); err != nil {
		t.Fatal(err)
	}
	urls := map[string]string{}
	for _, e := range srv.Env() {
		name, url, _ := strings.Cut(strings.TrimPrefix(e, "CLOUDSDK_API_ENDPOINT_OVERRIDES_"), "=")
		urls[name] = url
	}
	srv.Deny("container.clusters.update")
	srv.SetQuota("N2_CPUS", 24, 16)
	for _, test := range []struct{ method, url, body, want string }{
		{"POST", urls["CLOUDRESOURCEMANAGER"] + "v1/projects/p:testIamPermissions", `{"permissions": ["container.clusters.get", "container.clusters.update"]}`, `200 {"permissions":["container.clusters.get"]}`},
		{"POST", urls["CLOUDRESOURCEMANAGER"] + "v1/projects/p:testIamPermissions", `{"permissions": ["container.clusters.update"]}`, `200 {}`},
		{"POST", urls["CLOUDRESOURCEMANAGER"] + "v1/projects/p:testIamPermissions", `permissions`, `400 {"error":{"code":400,`},
		{"POST", urls["CLOUDRESOURCEMANAGER"] + "v1/projects/other:testIamPermissions", `{}`, `403 {"error":{"code":403,`},
		{"POST", urls["CLOUDRESOURCEMANAGER"] + "v1/projects/p:getIamPolicy", `{}`, `404 {"error":{"code":404,`},
		{"GET", urls["COMPUTE"] + "projects/p/regions/europe-west1?fields=quotas", ``, `{"metric":"N2_CPUS","limit":24,"usage":16}`},
		{"GET", urls["COMPUTE"] + "projects/other/regions/europe-west1", ``, `403 {"error":{"code":403,`},
		{"GET", urls["COMPUTE"] + "projects/p/zones", ``, `404 {"error":{"code":404,`},
	} {
		request, err := http.NewRequestWithContext(t.Context(), test.method, test.url, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if got := response.Status[:4] + string(body); err != nil || !strings.Contains(got, test.want) {
			t.Errorf("%s %s: got %s, %v, want %s", test.method, test.url, got, err, test.want)
		}
	}
}
