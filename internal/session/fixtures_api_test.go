package session_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/kubernetes/scheme"
)

// api is as much of a Kubernetes API as a plan reads: objects that do not change, what there is of them, metrics, and who asks may do
// everything. A fake client would do for the objects alone, and would leave out how the others are reached.
type api struct {
	version string
	metrics []byte
	objects map[schema.GroupVersionResource][]runtime.Object
}

// served are the groups that a cluster always has, with the resources that are known of them.
var served = map[schema.GroupVersion][]string{
	{Version: "v1"}:                                        {"nodes", "pods", "services", "namespaces", "persistentvolumes", "persistentvolumeclaims", "replicationcontrollers", "configmaps"},
	{Group: "apps", Version: "v1"}:                         {"deployments", "replicasets", "statefulsets", "daemonsets"},
	{Group: "batch", Version: "v1"}:                        {"jobs", "cronjobs"},
	{Group: "policy", Version: "v1"}:                       {"poddisruptionbudgets"},
	{Group: "autoscaling", Version: "v2"}:                  {"horizontalpodautoscalers"},
	{Group: "discovery.k8s.io", Version: "v1"}:             {"endpointslices"},
	{Group: "storage.k8s.io", Version: "v1"}:               {"storageclasses", "volumeattachments"},
	{Group: "admissionregistration.k8s.io", Version: "v1"}: {"validatingwebhookconfigurations", "mutatingwebhookconfigurations"},
}

// serve starts an API with the objects, and returns its address.
func serve(t *testing.T, objects []runtime.Object, controlPlane string, metrics []byte) string {
	t.Helper()
	a := api{version: controlPlane, metrics: metrics, objects: map[schema.GroupVersionResource][]runtime.Object{}}
	for _, o := range objects {
		kinds, _, err := scheme.Scheme.ObjectKinds(o)
		if err != nil {
			t.Fatal(err)
		}
		o.GetObjectKind().SetGroupVersionKind(kinds[0])
		resource, _ := meta.UnsafeGuessKindToResource(kinds[0])
		if !slices.Contains(served[kinds[0].GroupVersion()], resource.Resource) {
			t.Fatalf("%s is nothing that this API serves", kinds[0])
		}
		a.objects[resource] = append(a.objects[resource], o)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /version", a.getVersion)
	mux.HandleFunc("GET /metrics", a.getMetrics)
	mux.HandleFunc("GET /api", getVersions)
	mux.HandleFunc("GET /apis", getGroups)
	mux.HandleFunc("GET /api/{version}", getResources)
	mux.HandleFunc("GET /apis/{group}/{version}", getResources)
	mux.HandleFunc("GET /api/{version}/{resource}", a.list)
	mux.HandleFunc("GET /apis/{group}/{version}/{resource}", a.list)
	mux.HandleFunc("POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", allow)
	mux.HandleFunc("POST /apis/authentication.k8s.io/v1/selfsubjectreviews", whoAmI)
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		server.CloseClientConnections() // watches do not end by themselves
		server.Close()
	})
	return server.URL
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body) // who does not wait for the answer needs none
}

func (a api) getVersion(w http.ResponseWriter, _ *http.Request) {
	minor := strings.Split(a.version, ".")[1]
	answer(w, version.Info{Major: "1", Minor: minor, GitVersion: "v" + a.version})
}

func (a api) getMetrics(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(a.metrics) }

func getVersions(w http.ResponseWriter, _ *http.Request) {
	answer(w, metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}})
}

func getGroups(w http.ResponseWriter, _ *http.Request) {
	list := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
	for gv := range served {
		if gv.Group != "" {
			v := metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version}
			list.Groups = append(list.Groups, metav1.APIGroup{Name: gv.Group, Versions: []metav1.GroupVersionForDiscovery{v}, PreferredVersion: v})
		}
	}
	answer(w, list)
}

func groupVersion(r *http.Request) schema.GroupVersion {
	return schema.GroupVersion{Group: r.PathValue("group"), Version: r.PathValue("version")}
}

func getResources(w http.ResponseWriter, r *http.Request) {
	gv := groupVersion(r)
	list := metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: gv.String()}
	for _, name := range served[gv] {
		list.APIResources = append(list.APIResources, metav1.APIResource{Name: name, Kind: kindOf(gv.WithResource(name)), Verbs: metav1.Verbs{"list", "watch"}})
	}
	answer(w, list)
}

// kindOf is the kind of a resource, empty for one that is not known.
func kindOf(resource schema.GroupVersionResource) string {
	for kind := range scheme.Scheme.KnownTypes(resource.GroupVersion()) {
		if plural, _ := meta.UnsafeGuessKindToResource(resource.GroupVersion().WithKind(kind)); plural == resource {
			return kind
		}
	}
	return ""
}

// list answers lists and watches of all namespaces.
func (a api) list(w http.ResponseWriter, r *http.Request) {
	resource := groupVersion(r).WithResource(r.PathValue("resource"))
	if !slices.Contains(served[resource.GroupVersion()], resource.Resource) {
		http.NotFound(w, r)
		return
	}
	if r.FormValue("watch") != "" {
		a.watch(w, r, resource)
		return
	}
	objects := a.objects[resource]
	if objects == nil {
		objects = []runtime.Object{}
	}
	answer(w, map[string]any{
		"kind": kindOf(resource) + "List", "apiVersion": resource.GroupVersion().String(), "metadata": map[string]string{"resourceVersion": "1"}, "items": objects,
	})
}

// watch tells what there is, if that is asked for, and then nothing any more.
func (a api) watch(w http.ResponseWriter, r *http.Request, resource schema.GroupVersionResource) {
	if r.FormValue("sendInitialEvents") == "true" {
		for _, o := range a.objects[resource] {
			answer(w, map[string]any{"type": "ADDED", "object": o})
		}
		answer(w, map[string]any{"type": "BOOKMARK", "object": map[string]any{
			"kind": kindOf(resource), "apiVersion": resource.GroupVersion().String(),
			"metadata": map[string]any{"resourceVersion": "1", "annotations": map[string]string{metav1.InitialEventsAnnotationKey: "true"}},
		}})
	}
	_ = http.NewResponseController(w).Flush() // as above
	<-r.Context().Done()
}

func allow(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	o, kind, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	review, ok := o.(*authorizationv1.SelfSubjectAccessReview)
	if err != nil || !ok {
		http.Error(w, fmt.Sprintf("a review that cannot be read: %v", err), http.StatusBadRequest)
		return
	}
	review.Status.Allowed = true
	review.SetGroupVersionKind(*kind)
	answer(w, review)
}

func whoAmI(w http.ResponseWriter, _ *http.Request) {
	review := authenticationv1.SelfSubjectReview{TypeMeta: metav1.TypeMeta{Kind: "SelfSubjectReview", APIVersion: "authentication.k8s.io/v1"}}
	review.Status.UserInfo.Username = "upshift@my-project.iam.gserviceaccount.com"
	answer(w, review)
}
