package kube

import (
	"cmp"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// restartedAt is the annotation of a pod template by which kubectl rollout restart makes it another one.
const restartedAt = "kubectl.kubernetes.io/restartedAt"

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
		if c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse {
			r.Stuck = cmp.Or(c.Message, c.Reason)
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
