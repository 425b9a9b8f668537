package kube

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

func manifest[T any](t *testing.T, text string) *T {
	t.Helper()
	o := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), o); err != nil {
		t.Fatal(err)
	}
	return o
}

// in is a requirement with the operator In.
func in(key string, values ...string) upgrade.Requirement {
	return upgrade.Requirement{Key: key, Operator: "In", Values: values}
}

// TestAPodsShape: each manifest is a pod of namespace shop with the label app: web, and the shape what it adds to that.
func TestAPodsShape(t *testing.T) {
	const head = "metadata: {namespace: shop, name: web-1, labels: {app: web, pod-template-hash: abc}}\nspec:\n"
	web := upgrade.Selector{Requirements: []upgrade.Requirement{in("app", "web")}}
	for name, test := range map[string]struct {
		spec string
		want upgrade.PodShape
	}{
		"nothing said": {"  containers: [{name: app, readinessProbe: {}}]", upgrade.PodShape{}},
		"requests of containers, sidecars, the largest init container and overhead": {`
  containers:
  - {name: app, resources: {requests: {cpu: 250m, memory: 1Gi}}}
  - {name: log, resources: {requests: {cpu: 50m, nvidia.com/gpu: "1"}}}
  initContainers:
  - {name: proxy, restartPolicy: Always, resources: {requests: {cpu: 100m}}}
  - {name: migrate, resources: {requests: {memory: 2Gi}}}
  overhead: {memory: 1Mi}`,
			upgrade.PodShape{Requests: upgrade.Resources{"cpu": 400, "memory": 2<<30 + 1<<20, "nvidia.com/gpu": 1}}},
		"where it may run": {`
  containers: [{name: app, readinessProbe: {}}]
  nodeSelector: {disk: ssd}
  tolerations: [{key: gpu, operator: Exists, effect: NoSchedule}]
  affinity:
    nodeAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        nodeSelectorTerms:
        - matchExpressions: [{key: zone, operator: In, values: [a, b]}]
        - matchFields: [{key: metadata.name, operator: In, values: [n1]}]
      preferredDuringSchedulingIgnoredDuringExecution:
      - {weight: 1, preference: {matchExpressions: [{key: rather, operator: Exists}]}}`,
			upgrade.PodShape{
				NodeSelector: map[string]string{"disk": "ssd"}, Tolerations: []upgrade.Toleration{{Key: "gpu", Operator: "Exists", Effect: "NoSchedule"}},
				NodeTerms: []upgrade.NodeTerm{{Labels: []upgrade.Requirement{in("zone", "a", "b")}}, {Fields: []upgrade.Requirement{in("metadata.name", "n1")}}},
			}},
		"affinity to pods of its own namespace, and anti-affinity to those of others": {`
  containers: [{name: app, readinessProbe: {}}]
  affinity:
    podAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
      - {labelSelector: {matchLabels: {app: web}}, topologyKey: zone}
    podAntiAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
      - {labelSelector: {}, topologyKey: host, namespaces: [other]}
      - {topologyKey: host, namespaceSelector: {}}`,
			upgrade.PodShape{
				Affinity: []upgrade.PodTerm{{Selector: web, TopologyKey: "zone", Namespaces: []string{"shop"}, NamespaceSelector: upgrade.Selector{Nothing: true}}},
				AntiAffinity: []upgrade.PodTerm{
					{TopologyKey: "host", Namespaces: []string{"other"}, NamespaceSelector: upgrade.Selector{Nothing: true}},
					{Selector: upgrade.Selector{Nothing: true}, TopologyKey: "host"},
				},
			}},
		"spread that forbids, with the labels that its own revision has": {`
  containers: [{name: app, readinessProbe: {}}]
  topologySpreadConstraints:
  - {maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}, matchLabelKeys: [pod-template-hash, absent]}
  - {maxSkew: 2, minDomains: 3, topologyKey: host, whenUnsatisfiable: DoNotSchedule, nodeAffinityPolicy: Ignore, nodeTaintsPolicy: Honor}
  - {maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, labelSelector: {}}`,
			upgrade.PodShape{Spread: []upgrade.Spread{
				{TopologyKey: "zone", MaxSkew: 1, MinDomains: 1, Selector: upgrade.Selector{Requirements: []upgrade.Requirement{in("app", "web"), in("pod-template-hash", "abc")}}},
				{TopologyKey: "host", MaxSkew: 2, MinDomains: 3, Selector: upgrade.Selector{Nothing: true}, IgnoreAffinity: true, HonorTaints: true},
			}}},
		"matchLabelKeys that the API server has merged already": {`
  containers: [{name: app, readinessProbe: {}}]
  topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: zone
    whenUnsatisfiable: DoNotSchedule
    labelSelector: {matchExpressions: [{key: pod-template-hash, operator: In, values: [abc]}]}
    matchLabelKeys: [pod-template-hash]`,
			upgrade.PodShape{Spread: []upgrade.Spread{{TopologyKey: "zone", MaxSkew: 1, MinDomains: 1, Selector: upgrade.Selector{Requirements: []upgrade.Requirement{in("pod-template-hash", "abc")}}}}}},
		"ports of the node": {`
  containers: [{name: app, readinessProbe: {}, ports: [{containerPort: 80, hostPort: 8080, hostIP: 0.0.0.0}, {containerPort: 53, hostPort: 53, protocol: UDP, hostIP: 10.0.0.1}, {containerPort: 9090}]}]
  initContainers:
  - {name: proxy, restartPolicy: Always, readinessProbe: {}, ports: [{containerPort: 15000, hostPort: 15000}]}
  - {name: once, ports: [{containerPort: 1, hostPort: 1}]}`,
			upgrade.PodShape{HostPorts: []upgrade.HostPort{{Protocol: "TCP", Port: 15000}, {Protocol: "TCP", Port: 8080}, {IP: "10.0.0.1", Protocol: "UDP", Port: 53}}}},
		"the node's network": {`
  hostNetwork: true
  containers: [{name: app, readinessProbe: {}, ports: [{containerPort: 80}]}]`,
			upgrade.PodShape{HostPorts: []upgrade.HostPort{{Protocol: "TCP", Port: 80}}}},
		"ports without a readiness probe": {`
  containers: [{name: app, ports: [{containerPort: 80, name: web}]}, {name: probed, readinessProbe: {httpGet: {port: 80}}, ports: [{containerPort: 81}]}, {name: slow, startupProbe: {httpGet: {port: 82}}, ports: [{containerPort: 82}]}, {name: quiet}]`,
			upgrade.PodShape{Unprobed: []upgrade.Unprobed{{Container: "app", Ports: []string{"80", "web"}}}}},
		"the only container, without a port and a probe": {`
  containers: [{name: app}]`,
			upgrade.PodShape{Unprobed: []upgrade.Unprobed{{Container: "app", Only: true}}}},
		"directories of the node that it writes to": {`
  containers:
  - {name: app, readinessProbe: {}, volumeMounts: [{name: data, mountPath: /a}, {name: clock, mountPath: /b, readOnly: true}, {name: socket, mountPath: /c}]}
  volumes:
  - {name: data, hostPath: {path: /var/data}}
  - {name: clock, hostPath: {path: /etc/localtime}}
  - {name: socket, hostPath: {path: /run/x.sock, type: Socket}}
  - {name: unused, hostPath: {path: /unused}}`,
			upgrade.PodShape{HostPaths: []string{"/var/data"}}},
		"what only others can decide": {`
  schedulerName: volcano
  schedulingGates: [{name: quota}]
  resourceClaims: [{name: gpu, resourceClaimName: gpu-1}]
  containers: [{name: app, readinessProbe: {}}]`,
			upgrade.PodShape{Unmodelled: []string{"a scheduler of its own (volcano)", "devices that are claimed (gpu)", "a scheduling gate (quota)"}}},
	} {
		t.Run(name, func(t *testing.T) {
			want := test.want
			want.Namespace, want.Labels = "shop", map[string]string{"app": "web", "pod-template-hash": "abc"}
			if want.Requests == nil {
				want.Requests = upgrade.Resources{}
			}
			if diff := cmp.Diff(want, readPodShape(trimmed(manifest[corev1.Pod](t, head+test.spec)))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// trimmed is the object as a cache has it.
func trimmed[T any](object *T) *T {
	_, _ = trim(object)
	return object
}

func TestADaemonSetsPodsTolerateWhatItsControllerAdds(t *testing.T) {
	d := manifest[appsv1.DaemonSet](t, `
metadata: {namespace: kube-system, name: agent, uid: u}
spec:
  template:
    metadata: {labels: {app: agent}}
    spec:
      hostNetwork: true
      tolerations: [{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute}]
      containers: [{name: agent, readinessProbe: {}, ports: [{containerPort: 9100}], resources: {requests: {cpu: 100m}}}]`)
	got := shapes{}.daemon(d)
	if got.Ref.String() != "DaemonSet kube-system/agent" || got.Shape.Namespace != "kube-system" || got.Shape.Requests["cpu"] != 100 || got.Shape.HostPorts[0].Port != 9100 {
		t.Errorf("%+v %+v", got, got.Shape)
	}
	var tolerated []string
	for _, tol := range got.Shape.Tolerations {
		tolerated = append(tolerated, tol.Key+":"+tol.Effect)
	}
	want := []string{
		"node.kubernetes.io/not-ready:NoExecute", "node.kubernetes.io/unreachable:NoExecute", "node.kubernetes.io/disk-pressure:NoSchedule",
		"node.kubernetes.io/memory-pressure:NoSchedule", "node.kubernetes.io/pid-pressure:NoSchedule", "node.kubernetes.io/unschedulable:NoSchedule",
		"node.kubernetes.io/network-unavailable:NoSchedule",
	}
	if diff := cmp.Diff(want, tolerated); diff != "" {
		t.Error(diff)
	}
	if len(d.Spec.Template.Spec.Tolerations) != 1 {
		t.Error("the cached DaemonSet was changed")
	}
}

func TestPodsThatAreAlikeShareAShape(t *testing.T) {
	pod := func(name, request string) *corev1.Pod {
		return manifest[corev1.Pod](t, "metadata: {namespace: shop, name: "+name+", uid: "+name+", labels: {app: web}}\n"+
			"spec: {nodeName: n-"+name+", containers: [{name: app, resources: {requests: {cpu: "+request+"}}}]}")
	}
	c, _ := start(t, pod("a", "100m"), pod("b", "0.1"), pod("c", "200m"))
	inv := survey(t, c)
	if inv.Pods["a"] != inv.Pods["b"] {
		t.Error("the same pods have shapes of their own")
	}
	if inv.Pods["a"] == inv.Pods["c"] {
		t.Error("different pods share a shape")
	}
}
