package kube

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	fakediscovery "k8s.io/client-go/discovery/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// TestWhereAVolumeCanBeMounted: each case is a PersistentVolume and a claim of it that a pod has mounted.
func TestWhereAVolumeCanBeMounted(t *testing.T) {
	zone := func(values ...string) upgrade.Requirement { return in("topology.kubernetes.io/zone", values...) }
	for name, test := range map[string]struct {
		volume, claim string
		want          upgrade.Volume
	}{
		"anywhere":       {"spec: {accessModes: [ReadWriteMany]}", "accessModes: [ReadWriteMany], volumeName: pv", upgrade.Volume{}},
		"one node holds": {"spec: {}", "accessModes: [ReadWriteOnce], volumeName: pv", upgrade.Volume{Attached: true}},
		"one pod holds":  {"spec: {}", "accessModes: [ReadWriteOncePod], volumeName: pv", upgrade.Volume{Exclusive: true}},
		"a zone by its affinity": {
			"spec: {nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: topology.gke.io/zone, operator: In, values: [a]}]}]}}}", "volumeName: pv",
			upgrade.Volume{Terms: []upgrade.NodeTerm{{Labels: []upgrade.Requirement{in("topology.gke.io/zone", "a")}}}},
		},
		"two zones by an old label": {
			"metadata: {labels: {failure-domain.beta.kubernetes.io/zone: a__b}}", "volumeName: pv",
			upgrade.Volume{Terms: []upgrade.NodeTerm{{Labels: []upgrade.Requirement{zone("a", "b")}}}},
		},
		"affinity and labels": {
			"metadata: {labels: {topology.kubernetes.io/zone: a}}\nspec: {nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: x, operator: Exists}]}]}}}", "volumeName: pv",
			upgrade.Volume{Terms: []upgrade.NodeTerm{{Labels: []upgrade.Requirement{{Key: "x", Operator: "Exists"}, zone("a")}}}},
		},
		"a disk of a node": {
			"spec: {local: {path: /mnt}, nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [n1]}]}]}}}", "volumeName: pv",
			upgrade.Volume{Local: true, Terms: []upgrade.NodeTerm{{Labels: []upgrade.Requirement{in("kubernetes.io/hostname", "n1")}}}},
		},
		"a driver's disk of a node": {
			"spec: {csi: {driver: lvm, volumeHandle: h}, nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [n1]}]}]}}}", "volumeName: pv",
			upgrade.Volume{Local: true, Terms: []upgrade.NodeTerm{{Labels: []upgrade.Requirement{in("kubernetes.io/hostname", "n1")}}}},
		},
		"a directory of a node":   {"spec: {hostPath: {path: /data}}", "volumeName: pv", upgrade.Volume{Local: true}},
		"a claim that is unbound": {"spec: {}", "storageClassName: x", upgrade.Volume{Unbound: "the claim is not bound"}},
		"a volume that is gone":   {"spec: {}", "volumeName: other", upgrade.Volume{Unbound: "there is no PersistentVolume other"}},
	} {
		t.Run(name, func(t *testing.T) {
			pv := manifest[corev1.PersistentVolume](t, test.volume)
			pv.Name = "pv"
			claim := manifest[corev1.PersistentVolumeClaim](t, "metadata: {namespace: ns, name: data}\nspec: {"+test.claim+"}")
			pod := manifest[corev1.Pod](t, "metadata: {namespace: ns, name: p, uid: p}\nspec: {volumes: [{name: d, persistentVolumeClaim: {claimName: data}}, {name: e, ephemeral: {volumeClaimTemplate: {spec: {}}}}]}")
			c, _ := start(t, pv, claim, pod)
			test.want.Claim = "data"
			if diff := cmp.Diff(map[string][]upgrade.Volume{"p": {test.want}}, survey(t, c).Volumes); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// survey is what is read of a cluster whose API is there.
func survey(t *testing.T, c *Cluster, needs ...upgrade.Permission) upgrade.Inventory {
	t.Helper()
	_, inv, err := c.Survey(t.Context(), needs)
	if err != nil {
		t.Fatal(err)
	}
	return inv
}

func TestWhatCannotBeReadIsNamedAndTheRestIsThere(t *testing.T) {
	pod := manifest[corev1.Pod](t, "metadata: {namespace: ns, name: p, uid: p}\nspec: {volumes: [{name: d, persistentVolumeClaim: {claimName: data}}]}")
	c, client := start(t, pod, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns", Labels: map[string]string{"team": "shop"}}})
	client.PrependReactor("list", "persistentvolumes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "persistentvolumes"}, "", errors.New("no"))
	})
	client.PrependReactor("create", "selfsubjectaccessreviews", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, errors.New("busy") })
	inv := survey(t, c)
	if why := inv.Unread[upgrade.ReadVolumes]; !strings.Contains(why, "forbidden") {
		t.Errorf("volumes: %q", why)
	}
	if why := inv.Unread[upgrade.ReadPermissions]; !strings.Contains(why, "busy") || len(inv.Permissions) != 0 {
		t.Errorf("permissions: %q, %v", why, inv.Permissions)
	}
	if why := inv.Unread[upgrade.ReadAPIMetrics]; why == "" {
		t.Error("a client without a way to the metrics has read them")
	}
	if inv.Namespaces["ns"]["team"] != "shop" || inv.Pods["p"] == nil || inv.Unread[upgrade.ReadNamespaces] != "" {
		t.Errorf("the rest is missing: %+v", inv)
	}
}

func TestAnAuthorizerThatFailedHasNotSaidNo(t *testing.T) {
	c, client := start(t)
	client.PrependReactor("create", "selfsubjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		r := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview)
		r.Status.EvaluationError = "webhook: no answer"
		return true, r, nil
	})
	inv := survey(t, c)
	if why := inv.Unread[upgrade.ReadPermissions]; !strings.Contains(why, "webhook: no answer") || len(inv.Permissions) > 0 {
		t.Errorf("unread: %q, permissions: %v", why, inv.Permissions)
	}
}

// TestVolumesAreThoseOfThePodsOfTheState, also of one that was made while other things were read.
func TestVolumesAreThoseOfThePodsOfTheState(t *testing.T) {
	const mounting = "spec: {volumes: [{name: d, persistentVolumeClaim: {claimName: data}}]}"
	old := manifest[corev1.Pod](t, "metadata: {namespace: ns, name: db-0, uid: old}\n"+mounting)
	c, client := start(t, old,
		manifest[corev1.PersistentVolume](t, "metadata: {name: pv}\nspec: {local: {path: /mnt}}"),
		manifest[corev1.PersistentVolumeClaim](t, "metadata: {namespace: ns, name: data}\nspec: {volumeName: pv}"))
	claims, err := c.claims(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pods := client.CoreV1().Pods("ns")
	if err := pods.Delete(t.Context(), "db-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := pods.Create(t.Context(), manifest[corev1.Pod](t, "metadata: {namespace: ns, name: db-0, uid: new}\n"+mounting), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for changed := c.Changed(); len(c.State().Pods) != 1 || c.State().Pods[0].UID != "new"; changed = c.Changed() {
		<-changed
	}
	var inv upgrade.Inventory
	c.listers.describe(&inv, claims)
	if len(inv.Volumes["new"]) != 1 || !inv.Volumes["new"][0].Local {
		t.Errorf("the new pod has the volumes %v", inv.Volumes)
	}
}

func TestPermissionsAreAskedForOneByOne(t *testing.T) {
	c, client := start(t)
	client.PrependReactor("create", "selfsubjectreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, &authenticationv1.SelfSubjectReview{Status: authenticationv1.SelfSubjectReviewStatus{UserInfo: authenticationv1.UserInfo{Username: "ci@example.com"}}}, nil
	})
	client.PrependReactor("create", "selfsubjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		r := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview)
		of := r.Spec.ResourceAttributes
		r.Status.Allowed = of.Resource == "pods" && of.Subresource == "eviction" || of.Namespace == "upshift"
		return true, r, nil
	})
	inv := survey(t, c, upgrade.Permission{Verb: "get", Group: "coordination.k8s.io", Resource: "leases", Namespace: "upshift"})
	var got []string
	for _, p := range inv.Permissions {
		got = append(got, fmt.Sprintf("%s %s %t", p.Verb, p.Resource, p.Allowed))
	}
	want := []string{"get nodes false", "patch nodes false", "create pods/eviction true", "get deployments false", "patch deployments false", "get leases true"}
	if diff := cmp.Diff(want, got); diff != "" || inv.User != "ci@example.com" {
		t.Error(diff, inv.User)
	}
}

func TestServicesAreReadWithTheirPodsAndReadyEndpoints(t *testing.T) {
	pod := func(name, phase string) *corev1.Pod {
		return manifest[corev1.Pod](t, fmt.Sprintf("metadata: {namespace: ns, name: %s, uid: %s, labels: {app: web}}\nstatus: {phase: %s}", name, name, phase))
	}
	slice := func(name, endpoints string) *discoveryv1.EndpointSlice {
		return manifest[discoveryv1.EndpointSlice](t, fmt.Sprintf("metadata: {namespace: ns, name: %s, labels: {kubernetes.io/service-name: web}}\nendpoints: [%s]", name, endpoints))
	}
	c, _ := start(t,
		manifest[corev1.Service](t, "metadata: {namespace: ns, name: web}\nspec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: web}, ports: [{name: a, port: 80}, {name: b, port: 81, targetPort: web}, {name: c, port: 82, targetPort: 8082}]}"),
		manifest[corev1.Service](t, "metadata: {namespace: ns, name: by-hand}\nspec: {}"),
		pod("a", "Running"), pod("b", "Running"), pod("done", "Succeeded"),
		slice("v4", "{addresses: [10.0.0.1], targetRef: {uid: a}}, {addresses: [10.0.0.2], targetRef: {uid: b}, conditions: {ready: false}}"),
		slice("v6", "{addresses: ['fd00::1'], targetRef: {uid: a}, conditions: {ready: true}}"),
	)
	want := []upgrade.Service{{Namespace: "ns", Name: "web", Type: "LoadBalancer", LocalTraffic: true, Targets: []string{"80", "web", "8082"}, Pods: []string{"a", "b"}, Ready: 1}}
	if diff := cmp.Diff(want, survey(t, c).Services); diff != "" {
		t.Error(diff)
	}
}

// TestWhichWebhooksSeeAnUpgrade: each case is a webhook in a cluster with pods in shop (app: web) and kube-system, and a node.
func TestWhichWebhooksSeeAnUpgrade(t *testing.T) {
	const pods = "{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [pods]}"
	objects := []runtime.Object{
		manifest[corev1.Namespace](t, "metadata: {name: shop, labels: {team: shop, kubernetes.io/metadata.name: shop}}"),
		manifest[corev1.Namespace](t, "metadata: {name: kube-system, labels: {kubernetes.io/metadata.name: kube-system}}"),
		manifest[corev1.Pod](t, "metadata: {namespace: shop, name: web, uid: web, labels: {app: web}}"),
		manifest[corev1.Pod](t, "metadata: {namespace: kube-system, name: dns, uid: dns, labels: {app: dns}}"),
		manifest[corev1.Node](t, "metadata: {name: n1, labels: {pool: p}}"),
		manifest[corev1.Service](t, "metadata: {namespace: shop, name: hook}\nspec: {}"),
		manifest[discoveryv1.EndpointSlice](t, "metadata: {namespace: shop, name: hook, labels: {kubernetes.io/service-name: hook}}\nendpoints: [{addresses: [10.0.0.1], targetRef: {uid: web}}]"),
	}
	everywhere := []string{"kube-system", "shop"}
	for name, test := range map[string]struct {
		webhook string
		want    *upgrade.Webhook
	}{
		"pods everywhere, by default fail-closed": {
			"rules: [" + pods + "], clientConfig: {service: {namespace: shop, name: hook}}",
			&upgrade.Webhook{FailsClosed: true, Timeout: 10 * time.Second, Sees: []string{"create pods"}, KubeSystem: true, Namespaces: everywhere, Service: "shop/hook", Ready: []string{"web"}},
		},
		"a Service that is not there": {
			"rules: [" + pods + "], failurePolicy: Ignore, timeoutSeconds: 30, clientConfig: {service: {namespace: shop, name: gone}}",
			&upgrade.Webhook{Timeout: 30 * time.Second, Sees: []string{"create pods"}, KubeSystem: true, Namespaces: everywhere, Service: "shop/gone", Missing: true},
		},
		"not kube-system": {
			"rules: [" + pods + "], namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [kube-system]}]}",
			&upgrade.Webhook{FailsClosed: true, Timeout: 10 * time.Second, Sees: []string{"create pods"}, Namespaces: []string{"shop"}},
		},
		"no namespace that has pods": {"rules: [" + pods + "], namespaceSelector: {matchLabels: {team: other}}", nil},
		"no pod that is there":       {"rules: [" + pods + "], objectSelector: {matchLabels: {app: other}}", nil},
		"one workload": {
			"rules: [" + pods + "], objectSelector: {matchLabels: {app: web}}, matchConditions: [{name: x, expression: 'true'}]",
			&upgrade.Webhook{FailsClosed: true, Timeout: 10 * time.Second, Sees: []string{"create pods"}, Namespaces: []string{"shop"}, Conditional: true},
		},
		"everything": {
			"rules: [{operations: ['*'], apiGroups: ['*'], apiVersions: ['*'], resources: ['*/*']}]",
			&upgrade.Webhook{
				FailsClosed: true, Timeout: 10 * time.Second, KubeSystem: true, Namespaces: everywhere,
				Sees: []string{"create pods", "create pods/eviction", "create pods/binding", "delete pods", "update nodes", "create nodes", "create csinodes", "create leases", "update leases"},
			},
		},
		"subresources of pods": {
			"rules: [{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: ['pods/eviction']}]",
			&upgrade.Webhook{FailsClosed: true, Timeout: 10 * time.Second, Sees: []string{"create pods/eviction"}, KubeSystem: true, Namespaces: everywhere},
		},
		"nodes, whatever the namespace": {
			"rules: [{operations: [UPDATE], apiGroups: [''], apiVersions: [v1], resources: [nodes]}], namespaceSelector: {matchLabels: {team: other}}",
			&upgrade.Webhook{FailsClosed: true, Timeout: 10 * time.Second, Sees: []string{"update nodes"}},
		},
		"leases": {
			"rules: [{operations: [UPDATE], apiGroups: [coordination.k8s.io], apiVersions: [v1], resources: [leases]}]",
			&upgrade.Webhook{FailsClosed: true, Timeout: 10 * time.Second, Sees: []string{"update leases"}, KubeSystem: true},
		},
		"deployments": {"rules: [{operations: ['*'], apiGroups: [apps], apiVersions: ['*'], resources: ['*']}]", nil},
		"deletion of pods, a kubelet's last word on them": {
			"rules: [{operations: [DELETE], apiGroups: [''], apiVersions: [v1], resources: [pods]}]",
			&upgrade.Webhook{FailsClosed: true, Timeout: 10 * time.Second, Sees: []string{"delete pods"}, KubeSystem: true, Namespaces: everywhere},
		},
		"cluster-scoped resources": {"rules: [{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [pods], scope: Cluster}]", nil},
	} {
		t.Run(name, func(t *testing.T) {
			hook := manifest[admissionv1.ValidatingWebhookConfiguration](t, "metadata: {name: policy}\nwebhooks: [{name: a.example.com, "+test.webhook+"}]")
			c, _ := start(t, append([]runtime.Object{hook}, objects...)...)
			var want []upgrade.Webhook
			if w := test.want; w != nil {
				w.Configuration, w.Name = upgrade.Ref{Kind: "ValidatingWebhookConfiguration", Name: "policy"}, "a.example.com"
				want = append(want, *w)
			}
			if diff := cmp.Diff(want, survey(t, c).Webhooks); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDeprecatedAPIsAreReadFromTheMetrics(t *testing.T) {
	uses, err := readMetrics(strings.NewReader(`# HELP apiserver_requested_deprecated_apis [STABLE] Gauge of deprecated APIs that have been requested.
# TYPE apiserver_requested_deprecated_apis gauge
apiserver_requested_deprecated_apis{group="flowcontrol.apiserver.k8s.io",removed_release="1.32",resource="flowschemas",subresource="status",version="v1beta3"} 1
apiserver_requested_deprecated_apis{group="",removed_release="",resource="componentstatuses",subresource="",version="v1"} 1
apiserver_request_total{code="200"} 5
`))
	want := []upgrade.APIUse{{Group: "flowcontrol.apiserver.k8s.io", Version: "v1beta3", Resource: "flowschemas/status", RemovedIn: "1.32", Source: sourceMetric, Requested: true}}
	if diff := cmp.Diff(want, uses); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestObjectsThatWereAppliedWithAnAPIThatGoesAreFound(t *testing.T) {
	c, client := start(t)
	discovered := client.Discovery().(*fakediscovery.FakeDiscovery)
	discovered.FakedServerVersion = &version.Info{Major: "1", Minor: "34+"}
	served := func(gv string) *metav1.APIResourceList {
		return &metav1.APIResourceList{GroupVersion: gv, APIResources: []metav1.APIResource{
			{Name: "ipaddresses", Kind: "IPAddress", Verbs: metav1.Verbs{"list"}}, {Name: "ipaddresses/status", Kind: "IPAddress"},
		}}
	}
	discovered.Resources = []*metav1.APIResourceList{served("networking.k8s.io/v1"), served("networking.k8s.io/v1beta1")}
	applied := func(name, by string) *metav1.PartialObjectMetadata {
		return &metav1.PartialObjectMetadata{
			TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "IPAddress"},
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: fmt.Sprintf("{\"apiVersion\":%q}", by)}},
		}
	}
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c.metadata = metadatafake.NewSimpleMetadataClient(scheme, applied("old", "networking.k8s.io/v1beta1"), applied("new", "networking.k8s.io/v1"))
	got := survey(t, c)
	want := []upgrade.APIUse{{
		Group: "networking.k8s.io", Version: "v1beta1", Resource: "ipaddresses", RemovedIn: "1.37", Source: sourceTypes, Replacement: "networking.k8s.io/v1",
		Applied: []upgrade.Ref{{Kind: "IPAddress", Name: "old"}},
	}}
	if diff := cmp.Diff(want, got.APIs); diff != "" {
		t.Error(diff, got.Unread)
	}
}

func TestABudgetThatKubernetesCannotWorkOutSaysWhy(t *testing.T) {
	c, _ := start(t, manifest[policyv1.PodDisruptionBudget](t, `
metadata: {namespace: ns, name: web}
status: {conditions: [{type: DisruptionAllowed, status: "False", reason: SyncFailed, message: no matching controller}]}`),
		manifest[policyv1.PodDisruptionBudget](t, `
metadata: {namespace: ns, name: spent}
status: {conditions: [{type: DisruptionAllowed, status: "False", reason: InsufficientPods}]}`))
	budgets := c.State().Budgets
	if got := budgets["ns/web"].Trouble; got != "no matching controller" {
		t.Errorf("trouble %q", got)
	}
	if got := budgets["ns/spent"].Trouble; got != "" {
		t.Errorf("a budget that is merely spent is in trouble: %q", got)
	}
}

func TestASurveyOfCachesThatAreBehindIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := start(t)
		c.outage.add(1)
		c.outage.last = errors.New("connection refused")
		_, _, err := c.Survey(t.Context(), nil)
		if err == nil || err.Error() != "what is known of the cluster is out of date: connection refused" {
			t.Errorf("got %v", err)
		}
		time.AfterFunc(5*time.Second, func() { c.outage.add(-1) })
		if _, _, err := c.Survey(t.Context(), nil); err != nil {
			t.Errorf("once they have caught up: %v", err)
		}
	})
}

func TestASurveyWaitsForAnAPIThatIsAway(t *testing.T) {
	for name, test := range map[string]struct {
		failures int
		err      error
		want     string // in the error, or of what is unread
	}{
		"for a while":           {5, apierrors.NewServiceUnavailable("restarting"), ""},
		"for good":              {1000, apierrors.NewServiceUnavailable("restarting"), "read namespaces: restarting"},
		"busy for a while":      {5, apierrors.NewTooManyRequests("slow down", 1), ""},
		"busy for good":         {1000, apierrors.NewTooManyRequests("slow down", 1), "read namespaces: slow down"},
		"an error for a while":  {5, apierrors.NewInternalError(errors.New("leader changed")), ""},
		"an error for good":     {1000, apierrors.NewInternalError(errors.New("corrupt")), "unread: Internal error occurred: corrupt"},
		"an answer cut short":   {1, fmt.Errorf("read: %w", io.ErrUnexpectedEOF), ""},
		"what is not permitted": {1, apierrors.NewForbidden(schema.GroupResource{}, "", errors.New("no")), "unread: forbidden: no"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, client := start(t)
				failed := 0
				client.PrependReactor("list", "namespaces", func(clienttesting.Action) (bool, runtime.Object, error) {
					failed++
					return failed <= test.failures, nil, test.err
				})
				_, inv, err := c.Survey(t.Context(), nil)
				got := ""
				if err != nil {
					got = err.Error()
				} else if why := inv.Unread[upgrade.ReadNamespaces]; why != "" {
					got = "unread: " + why
				}
				if got != test.want {
					t.Errorf("got %q, want %q", got, test.want)
				}
			})
		})
	}
}
