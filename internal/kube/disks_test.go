package kube

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// TestDisksAreThoseThatOneNodeAloneCanHave says which of a pod's volumes its replacement has to wait for.
func TestDisksAreThoseThatOneNodeAloneCanHave(t *testing.T) {
	for name, test := range map[string]struct {
		claim string // the rest of the claim's spec
		want  []string
	}{
		"of one node":                  {"volumeName: pv, accessModes: [ReadWriteOnce]", []string{"pv"}},
		"of one pod":                   {"volumeName: pv, accessModes: [ReadWriteOncePod]", []string{"pv"}},
		"of many nodes":                {"volumeName: pv, accessModes: [ReadWriteMany]", nil},
		"of one node, or many":         {"volumeName: pv, accessModes: [ReadWriteOnce, ReadOnlyMany]", nil},
		"of a claim that is not bound": {"accessModes: [ReadWriteOnce]", nil},
	} {
		t.Run(name, func(t *testing.T) {
			claim := manifest[corev1.PersistentVolumeClaim](t, "metadata: {namespace: ns, name: data}\nspec: {"+test.claim+"}")
			// What is made for the pod alone goes with it, and the next pod gets another. A claim that is not there is no disk.
			pod := manifest[corev1.Pod](t, `
metadata: {namespace: ns, name: p, uid: p}
spec: {volumes: [{name: d, persistentVolumeClaim: {claimName: data}}, {name: e, ephemeral: {volumeClaimTemplate: {spec: {}}}}, {name: f, persistentVolumeClaim: {claimName: none}}]}`)
			own := manifest[corev1.PersistentVolumeClaim](t, "metadata: {namespace: ns, name: p-e}\nspec: {volumeName: own, accessModes: [ReadWriteOnce]}")
			other := manifest[corev1.PersistentVolumeClaim](t, "metadata: {namespace: other, name: none}\nspec: {volumeName: other, accessModes: [ReadWriteOnce]}")
			c, _ := start(t, claim, pod, own, other)
			if diff := cmp.Diff(test.want, pods(c.State())["p"].Disks); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAttachmentsNameTheirVolumeAndNode(t *testing.T) {
	c, _ := start(t,
		manifest[storagev1.VolumeAttachment](t, "metadata: {name: b}\nspec: {attacher: pd.csi.storage.gke.io, nodeName: n1, source: {persistentVolumeName: pv}}"),
		manifest[storagev1.VolumeAttachment](t, "metadata: {name: a}\nspec: {attacher: pd.csi.storage.gke.io, nodeName: n2, source: {inlineVolumeSpec: {gcePersistentDisk: {pdName: d}}}}"))
	want := []upgrade.Attachment{{Name: "a", Node: "n2"}, {Name: "b", Node: "n1", Volume: "pv"}}
	if diff := cmp.Diff(want, c.State().Attachments); diff != "" {
		t.Error(diff)
	}
}

// TestRequestsAreOfTheWholePod as the scheduler reckons them, and kept once for all that ask for the same.
func TestRequestsAreOfTheWholePod(t *testing.T) {
	const spec = `
spec:
  overhead: {cpu: 10m}
  initContainers:
  - {name: init, resources: {requests: {memory: 1Gi}}}
  - {name: sidecar, restartPolicy: Always, resources: {requests: {cpu: 100m}}}
  containers:
  - {name: app, resources: {requests: {cpu: "1", memory: 64Mi, nvidia.com/gpu: "2"}}}`
	c, _ := start(t, manifest[corev1.Pod](t, "metadata: {namespace: ns, name: a, uid: a}"+spec), manifest[corev1.Pod](t, "metadata: {namespace: ns, name: b, uid: b}"+spec),
		manifest[corev1.Node](t, "metadata: {name: n}\nstatus: {allocatable: {cpu: 3920m, memory: 1Gi, pods: \"110\"}, capacity: {cpu: \"4\"}}"))
	s := c.State()
	want := upgrade.Resources{"cpu": 1110, "memory": 1 << 30, "nvidia.com/gpu": 2}
	for name, p := range pods(s) {
		if diff := cmp.Diff(want, p.Requests); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	s.Pods[0].Requests["cpu"] = 1 // what nobody but a test may do: it shows whether they are one
	if s.Pods[1].Requests["cpu"] != 1 {
		t.Error("pods that are alike have each their own")
	}
	if diff := cmp.Diff(upgrade.Resources{"cpu": 3920, "memory": 1 << 30, "pods": 110}, s.Nodes[0].Allocatable); diff != "" {
		t.Error(diff)
	}
}
