package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// restartedAt is the annotation of a pod template by which kubectl rollout restart makes it another one.
const restartedAt = "kubectl.kubernetes.io/restartedAt"

// Restart implements the engine's Cluster. The patch is for the Deployment as it was read: if somebody changed it meanwhile, it is read and decided
// again.
func (c *Cluster) Restart(ctx context.Context, deployment upgrade.Ref, decide func(upgrade.Workload) (at string, change bool)) error {
	err := persist(ctx, func(ctx context.Context) error { return c.tryRestart(ctx, deployment, decide) })
	if denied(err) && ctx.Err() == nil {
		return &upgrade.Denied{Err: err}
	}
	return err
}

// denied tells the errors by which the API says no for good: a missing permission or a policy, an object that would not be valid, and a webhook
// that was asked and denies it, with whatever code. All others may be gone when a person looks.
func denied(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) ||
		errors.As(err, new(apierrors.APIStatus)) && strings.Contains(err.Error(), "denied the request")
}

func (c *Cluster) tryRestart(ctx context.Context, deployment upgrade.Ref, decide func(upgrade.Workload) (at string, change bool)) error {
	deployments := c.client.AppsV1().Deployments(deployment.Namespace)
	d, err := within(ctx, requestTimeout, func(ctx context.Context) (*appsv1.Deployment, error) {
		return deployments.Get(ctx, deployment.Name, metav1.GetOptions{})
	})
	if apierrors.IsNotFound(err) || err == nil && string(d.UID) != deployment.UID {
		return nil
	}
	if err != nil {
		return err
	}
	at, change := decide(readDeployment(d))
	if !change {
		return nil
	}
	var value any // nil removes it
	if at != "" {
		value = at
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": d.ResourceVersion},
		"spec":     map[string]any{"template": map[string]any{"metadata": map[string]any{"annotations": map[string]any{restartedAt: value}}}},
	})
	if err != nil {
		return err
	}
	_, err = within(ctx, requestTimeout, func(ctx context.Context) (*appsv1.Deployment, error) {
		return deployments.Patch(ctx, deployment.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func readDeployment(d *appsv1.Deployment) upgrade.Workload {
	w := ownWorkload("Deployment", d.ObjectMeta, replicas(d.Spec.Replicas), d.Spec.MinReadySeconds)
	w.Rollout = readRollout(d)
	return w
}

// readRollout reads how a Deployment replaces its pods.
func readRollout(d *appsv1.Deployment) *upgrade.Rollout {
	wanted, status, template := replicas(d.Spec.Replicas), d.Status, &d.Spec.Template
	r := &upgrade.Rollout{
		Recreate: d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType, Paused: d.Spec.Paused,
		Declined: d.Annotations[upgrade.SurgeFirstAnnotation] == "never", RestartedAt: template.Annotations[restartedAt],
		HostPorts: takesHostPorts(&template.Spec), Claims: slices.ContainsFunc(template.Spec.Volumes, isClaim),
		ToleratesCordon: slices.ContainsFunc(template.Spec.Tolerations, toleratesCordon),
		Updated:         int(status.UpdatedReplicas), Available: int(status.AvailableReplicas),
	}
	r.Complete = status.ObservedGeneration >= d.Generation && r.Updated == wanted && r.Available == wanted && int(status.Replicas) == wanted
	if !r.Recreate {
		r.Surge, r.Unavailable = fenceposts(d.Spec.Strategy.RollingUpdate, wanted)
	}
	for _, c := range status.Conditions {
		switch {
		case status.ObservedGeneration < d.Generation: // what the controller says is of the template before a change that it has not seen
		case c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse:
			r.Stuck = cmp.Or(c.Message, c.Reason)
		case c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue:
			r.Failing = cmp.Or(c.Message, c.Reason)
		}
	}
	return r
}

// fenceposts are maxSurge and maxUnavailable in pods, as the Deployment controller rounds them: surge up and unavailable down, and one pod may
// be unavailable if neither leaves room for any change.
func fenceposts(update *appsv1.RollingUpdateDeployment, wanted int) (surge, unavailable int) {
	quarter := intstr.FromString("25%") // the API's default
	maxSurge, maxUnavailable := &quarter, &quarter
	if update != nil {
		maxSurge, maxUnavailable = cmp.Or(update.MaxSurge, maxSurge), cmp.Or(update.MaxUnavailable, maxUnavailable)
	}
	surge, _ = intstr.GetScaledValueFromIntOrPercent(maxSurge, wanted, true) // the API accepts nothing else
	unavailable, _ = intstr.GetScaledValueFromIntOrPercent(maxUnavailable, wanted, false)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, min(unavailable, wanted)
}

// takesHostPorts tells that only one pod of these can be on a node because of its ports.
func takesHostPorts(s *corev1.PodSpec) bool {
	for _, c := range slices.Concat(s.InitContainers, s.Containers) {
		for _, p := range c.Ports {
			if p.HostPort > 0 || s.HostNetwork {
				return true
			}
		}
	}
	return false
}

func isClaim(v corev1.Volume) bool { return v.PersistentVolumeClaim != nil || v.Ephemeral != nil }

// toleratesCordon tells of a toleration of the taint that a cordon puts on a node.
func toleratesCordon(t corev1.Toleration) bool {
	key := t.Key == corev1.TaintNodeUnschedulable || t.Key == "" && t.Operator == corev1.TolerationOpExists
	return key && (t.Effect == "" || t.Effect == corev1.TaintEffectNoSchedule) && (t.Operator == corev1.TolerationOpExists || t.Value == "")
}
