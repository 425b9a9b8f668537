package kube

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// deployment has three pods, all of them as they should be.
func deployment() *appsv1.Deployment {
	three := int32(3)
	d := &appsv1.Deployment{ObjectMeta: named("web"), Spec: appsv1.DeploymentSpec{Replicas: &three}}
	d.Generation, d.ResourceVersion = 7, "41"
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: 7, Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 3}
	return d
}

func TestHowADeploymentReplacesItsPodsIsRead(t *testing.T) {
	complete := upgrade.Rollout{Surge: 1, Updated: 3, Available: 3, Complete: true}
	spec := func(change func(*corev1.PodSpec)) func(*appsv1.Deployment) {
		return func(d *appsv1.Deployment) { change(&d.Spec.Template.Spec) }
	}
	tolerating := func(tolerations ...corev1.Toleration) func(*appsv1.Deployment) {
		return spec(func(s *corev1.PodSpec) { s.Tolerations = tolerations })
	}
	for name, test := range map[string]struct {
		change func(*appsv1.Deployment)
		want   func(*upgrade.Rollout)
	}{
		"complete": {func(*appsv1.Deployment) {}, func(*upgrade.Rollout) {}},
		"a change that the controller has not seen": {func(d *appsv1.Deployment) { d.Generation = 8 }, func(r *upgrade.Rollout) { r.Complete = false }},
		"an old pod that is there still":            {func(d *appsv1.Deployment) { d.Status.Replicas = 4 }, func(r *upgrade.Rollout) { r.Complete = false }},
		"a pod that is not new":                     {func(d *appsv1.Deployment) { d.Status.UpdatedReplicas = 2 }, func(r *upgrade.Rollout) { r.Complete, r.Updated = false, 2 }},
		"a pod that is not available":               {func(d *appsv1.Deployment) { d.Status.AvailableReplicas = 2 }, func(r *upgrade.Rollout) { r.Complete, r.Available = false, 2 }},
		"Recreate": {func(d *appsv1.Deployment) { d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType },
			func(r *upgrade.Rollout) { r.Recreate, r.Surge = true, 0 }},
		"paused":   {func(d *appsv1.Deployment) { d.Spec.Paused = true }, func(r *upgrade.Rollout) { r.Paused = true }},
		"declined": {func(d *appsv1.Deployment) { d.Annotations = map[string]string{"upshift.dev/surge-first": "never"} }, func(r *upgrade.Rollout) { r.Declined = true }},
		"restarted before": {func(d *appsv1.Deployment) {
			d.Spec.Template.Annotations = map[string]string{"kubectl.kubernetes.io/restartedAt": "2026-01-02T03:04:05Z"}
		}, func(r *upgrade.Rollout) { r.RestartedAt = "2026-01-02T03:04:05Z" }},
		"stuck": {func(d *appsv1.Deployment) {
			d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded", Message: "timed out"}}
		}, func(r *upgrade.Rollout) { r.Stuck = "timed out" }},
		"stuck before a change that the controller has not seen": {func(d *appsv1.Deployment) {
			d.Generation = 8
			d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded", Message: "timed out"}}
		}, func(r *upgrade.Rollout) { r.Complete = false }},
		"no new pod can be made": {func(d *appsv1.Deployment) {
			d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: "exceeded quota"}}
		}, func(r *upgrade.Rollout) { r.Failing = "exceeded quota" }},
		"a host port": {spec(func(s *corev1.PodSpec) {
			s.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{ContainerPort: 80, HostPort: 80}}}}
		}), func(r *upgrade.Rollout) { r.HostPorts = true }},
		"a port on its node's network": {spec(func(s *corev1.PodSpec) {
			s.HostNetwork, s.Containers = true, []corev1.Container{{Ports: []corev1.ContainerPort{{ContainerPort: 80}}}}
		}), func(r *upgrade.Rollout) { r.HostPorts = true }},
		"a port of its own": {spec(func(s *corev1.PodSpec) {
			s.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{ContainerPort: 80}}}}
		}), func(*upgrade.Rollout) {}},
		"a claim": {spec(func(s *corev1.PodSpec) {
			s.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
		}), func(r *upgrade.Rollout) { r.Claims = true }},
		"tolerates everything":            {tolerating(corev1.Toleration{Operator: corev1.TolerationOpExists}), func(r *upgrade.Rollout) { r.ToleratesCordon = true }},
		"tolerates the cordon":            {tolerating(corev1.Toleration{Key: "node.kubernetes.io/unschedulable", Effect: corev1.TaintEffectNoSchedule}), func(r *upgrade.Rollout) { r.ToleratesCordon = true }},
		"tolerates something else":        {tolerating(corev1.Toleration{Key: "dedicated", Operator: corev1.TolerationOpExists}), func(*upgrade.Rollout) {}},
		"tolerates the cordon's eviction": {tolerating(corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}), func(*upgrade.Rollout) {}},
	} {
		t.Run(name, func(t *testing.T) {
			d, want := deployment(), complete
			test.change(d)
			test.want(&want)
			c, _ := start(t, d)
			if diff := cmp.Diff(&want, c.State().Workloads["uid-web"].Rollout); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestSurgeAndUnavailableAreRoundedAsKubernetesDoes: surge up, unavailable down, and one pod unavailable where both are none.
func TestSurgeAndUnavailableAreRoundedAsKubernetesDoes(t *testing.T) {
	for _, test := range []struct {
		surge, unavailable string
		wanted             int
		want               [2]int
	}{
		{"", "", 1, [2]int{1, 0}}, {"", "", 3, [2]int{1, 0}}, {"", "", 4, [2]int{1, 1}}, {"", "", 12, [2]int{3, 3}},
		{"25%", "0", 12, [2]int{3, 0}}, {"1", "0", 1, [2]int{1, 0}}, {"0", "25%", 3, [2]int{0, 1}}, {"0%", "0%", 5, [2]int{0, 1}},
		{"0", "5", 3, [2]int{0, 3}}, {"10%", "34%", 3, [2]int{1, 1}}, {"200%", "100%", 2, [2]int{4, 2}},
	} {
		update := &appsv1.RollingUpdateDeployment{}
		if test.surge != "" {
			surge, unavailable := intstr.Parse(test.surge), intstr.Parse(test.unavailable)
			update.MaxSurge, update.MaxUnavailable = &surge, &unavailable
		}
		if surge, unavailable := fenceposts(update, test.wanted); surge != test.want[0] || unavailable != test.want[1] {
			t.Errorf("maxSurge %q and maxUnavailable %q of %d: %d and %d, want %v", test.surge, test.unavailable, test.wanted, surge, unavailable, test.want)
		}
	}
}

// TestARestartIsOfTheDeploymentAsItWasLookedAt: a change in between is seen, another Deployment of the same name is left alone, and so is what is not
// to be changed.
func TestARestartIsOfTheDeploymentAsItWasLookedAt(t *testing.T) {
	ref := upgrade.Ref{Kind: "Deployment", Namespace: "ns", Name: "web", UID: "uid-web"}
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "deployments"}, "web", errors.New("the object has been modified"))
	restart := func(t *testing.T, change func(*fake.Clientset), ref upgrade.Ref, at func(upgrade.Workload) (string, bool)) (looked int, annotations map[string]string, err error) {
		t.Helper()
		c, client := start(t, deployment())
		if change != nil {
			change(client)
		}
		err = c.Restart(t.Context(), ref, func(w upgrade.Workload) (string, bool) {
			looked++
			return at(w)
		})
		d, getErr := client.AppsV1().Deployments("ns").Get(t.Context(), "web", metav1.GetOptions{})
		if getErr != nil {
			t.Fatal(getErr)
		}
		return looked, d.Spec.Template.Annotations, err
	}
	yes := func(upgrade.Workload) (string, bool) { return "now", true }
	if looked, got, err := restart(t, nil, ref, yes); err != nil || looked != 1 || got[restartedAt] != "now" {
		t.Errorf("%v after %d looks: %v", got, looked, err)
	}
	if _, got, err := restart(t, nil, ref, func(upgrade.Workload) (string, bool) { return "now", false }); err != nil || len(got) != 0 {
		t.Errorf("what is not to be changed: %v, %v", got, err)
	}
	other := ref
	other.UID = "another"
	if looked, got, err := restart(t, nil, other, yes); err != nil || looked != 0 || len(got) != 0 {
		t.Errorf("another one of that name: %v after %d looks: %v", got, looked, err)
	}
	var patch string
	looked, got, err := restart(t, func(client *fake.Clientset) {
		first := true
		client.PrependReactor("patch", "deployments", func(a clienttesting.Action) (bool, runtime.Object, error) {
			patch = string(a.(clienttesting.PatchAction).GetPatch())
			if first {
				first = false
				return true, nil, conflict
			}
			return false, nil, nil
		})
	}, ref, func(w upgrade.Workload) (string, bool) { return "again", w.Wanted == 3 })
	if err != nil || looked != 2 || got[restartedAt] != "again" {
		t.Errorf("after a conflict: %v after %d looks: %v", got, looked, err)
	}
	if want := `{"metadata":{"resourceVersion":"41"},"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"again"}}}}}`; patch != want {
		t.Errorf("patched with %s, want %s", patch, want)
	}
}

// TestOnlyWhatDoesNotPassIsARefusal: what the API says for good has the pods evicted, and an outage of it does not.
func TestOnlyWhatDoesNotPassIsARefusal(t *testing.T) {
	resource, kind := schema.GroupResource{Resource: "deployments"}, schema.GroupKind{Kind: "Deployment"}
	teapot := apierrors.NewGenericServerResponse(http.StatusTeapot, "patch", resource, "web", `admission webhook "policy.example.com" denied the request: no restarts today`, 0, true)
	teapot.ErrStatus.Message = `admission webhook "policy.example.com" denied the request: no restarts today`
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"a policy":             {apierrors.NewForbidden(resource, "web", errors.New("a policy")), true},
		"invalid":              {apierrors.NewInvalid(kind, "web", nil), true},
		"a webhook's denial":   {teapot, true},
		"a webhook that fails": {apierrors.NewInternalError(errors.New(`failed calling webhook "policy.example.com": connection refused`)), false},
		"too many requests":    {apierrors.NewTooManyRequests("later", 1), false},
		"a conflict":           {apierrors.NewConflict(resource, "web", errors.New("the object has been modified")), false},
		"no credentials":       {apierrors.NewUnauthorized("expired"), false},
		"no answer":            {errors.New("connection lost"), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // since it is attempted for a minute
				client := fake.NewClientset(deployment())
				client.PrependReactor("patch", "deployments", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, test.err })
				c := &Cluster{client: client}
				err := c.Restart(t.Context(), upgrade.Ref{Kind: "Deployment", Namespace: "ns", Name: "web", UID: "uid-web"}, func(upgrade.Workload) (string, bool) { return "now", true })
				if denied := errors.As(err, new(*upgrade.Denied)); err == nil || denied != test.want {
					t.Errorf("error %v, refused %v", err, denied)
				}
			})
		})
	}
}
