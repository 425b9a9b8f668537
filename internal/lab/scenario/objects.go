package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"

	"github.com/upshift-k8s/upshift/internal/lab"
)

// objects: "objects FILE" writes every object of the cluster, a line each, as people have them: without what their controllers and kubelets
// report, and with the resourceVersion, which tells also of what was changed and changed back, where nobody but people writes an object. Left
// out are events and Leases, which change all the time. Two such files compare the cluster object by object.
func objects(ts *testscript.TestScript, _ bool, args []string) {
	config := Of(ts).Bed.Lab.DirectConfig(lab.Observer)
	known, err := discovery.NewDiscoveryClientForConfig(config)
	ts.Check(err)
	client, err := dynamic.NewForConfig(config)
	ts.Check(err)
	lists, err := known.ServerPreferredResources()
	ts.Check(err)
	var lines []string
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		ts.Check(err)
		for _, r := range list.APIResources {
			if !slices.Contains(r.Verbs, "list") || r.Name == "events" || r.Name == "leases" {
				continue
			}
			found, err := client.Resource(version.WithResource(r.Name)).List(context.Background(), metav1.ListOptions{})
			ts.Check(err)
			for _, o := range found.Items {
				if r.Name == "configmaps" && o.GetName() == "upshift-run" && o.Object["data"] == nil {
					continue // the record is claimed with the lease, and has no run in it
				}
				lines = append(lines, objectLine(ts, r.Name, o))
			}
		}
	}
	slices.Sort(lines)
	if len(lines) < 50 { // a control plane alone has more
		ts.Fatalf("only %d objects were found", len(lines))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Join(lines, "\n")+"\n"), 0o600))
}

// reported are the kinds whose status somebody writes while nothing happens.
var reported = []string{"nodes", "pods", "deployments", "replicasets", "statefulsets", "daemonsets", "jobs", "poddisruptionbudgets", "endpoints", "endpointslices", "apiservices", "prioritylevelconfigurations", "flowschemas"}

func objectLine(ts *testscript.TestScript, resource string, o unstructured.Unstructured) string {
	unstructured.RemoveNestedField(o.Object, "status")
	taints, _, err := unstructured.NestedSlice(o.Object, "spec", "taints")
	ts.Check(err)
	taints = slices.DeleteFunc(taints, func(t any) bool { return t.(map[string]any)["key"] == "node.kubernetes.io/not-ready" })
	if unstructured.RemoveNestedField(o.Object, "spec", "taints"); len(taints) > 0 {
		ts.Check(unstructured.SetNestedSlice(o.Object, taints, "spec", "taints"))
	}
	o.SetManagedFields(nil)
	if slices.Contains(reported, resource) {
		o.SetResourceVersion("")
	}
	data, err := json.Marshal(o.Object)
	ts.Check(err)
	return fmt.Sprintf("%s %s/%s %s", resource, o.GetNamespace(), o.GetName(), data)
}
