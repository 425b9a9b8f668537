package kube

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// trim drops from an object what nobody here reads, before a cache keeps it: that is most of a cluster's memory. What is left out is
// listed, not what is kept, but for what is in a pod's volumes, and for claims and VolumeAttachments.
func trim(object any) (any, error) {
	if m, err := meta.Accessor(object); err == nil {
		m.SetManagedFields(nil)
		delete(m.GetAnnotations(), corev1.LastAppliedConfigAnnotation)
	}
	switch o := object.(type) {
	case *corev1.Node:
		o.Status.Images, o.Status.VolumesInUse, o.Status.VolumesAttached = nil, nil, nil
	case *corev1.Pod:
		trimPod(&o.Spec)
		for _, list := range [][]corev1.ContainerStatus{o.Status.InitContainerStatuses, o.Status.ContainerStatuses, o.Status.EphemeralContainerStatuses} {
			for i := range list {
				list[i] = corev1.ContainerStatus{Name: list[i].Name, State: list[i].State, Ready: list[i].Ready, RestartCount: list[i].RestartCount}
			}
		}
	case *appsv1.ReplicaSet:
		o.Spec.Template = corev1.PodTemplateSpec{} // there are as many as a Deployment keeps revisions
	case *appsv1.Deployment:
		trimPod(&o.Spec.Template.Spec)
	case *appsv1.StatefulSet:
		trimPod(&o.Spec.Template.Spec)
	case *appsv1.DaemonSet:
		trimPod(&o.Spec.Template.Spec)
	case *batchv1.Job:
		trimPod(&o.Spec.Template.Spec)
	case *corev1.PersistentVolumeClaim:
		*o = corev1.PersistentVolumeClaim{
			ObjectMeta: identity(o.ObjectMeta), Spec: corev1.PersistentVolumeClaimSpec{VolumeName: o.Spec.VolumeName, AccessModes: o.Spec.AccessModes},
		}
	case *storagev1.VolumeAttachment:
		*o = storagev1.VolumeAttachment{
			ObjectMeta: identity(o.ObjectMeta), Spec: storagev1.VolumeAttachmentSpec{
				NodeName: o.Spec.NodeName, Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: o.Spec.Source.PersistentVolumeName},
			},
		}
	}
	return object, nil
}

// identity is what tells an object from others, and one state of it from another.
func identity(m metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion, DeletionTimestamp: m.DeletionTimestamp}
}

func trimPod(s *corev1.PodSpec) {
	// A clone, since what is deleted from a slice goes on taking its room.
	s.Volumes = slices.Clone(slices.DeleteFunc(s.Volumes, func(v corev1.Volume) bool {
		return v.EmptyDir == nil && v.HostPath == nil && v.PersistentVolumeClaim == nil && v.Ephemeral == nil
	}))
	kept := func(name string) bool {
		return slices.ContainsFunc(s.Volumes, func(v corev1.Volume) bool { return v.Name == name })
	}
	for _, list := range [][]corev1.Container{s.InitContainers, s.Containers} {
		for i := range list {
			c := &list[i]
			readiness, startup := c.ReadinessProbe, c.StartupProbe
			c.Command, c.Args, c.Env, c.EnvFrom, c.SecurityContext, c.LivenessProbe, c.StartupProbe = nil, nil, nil, nil, nil, nil, nil
			if readiness != nil || startup != nil {
				c.ReadinessProbe = &probed // that there is one is all that counts: no pod is Ready before its startup probe has succeeded
			}
			c.VolumeMounts = slices.Clone(slices.DeleteFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return !kept(m.Name) }))
		}
	}
	s.EphemeralContainers, s.SecurityContext, s.DNSConfig, s.HostAliases, s.ImagePullSecrets = nil, nil, nil, nil, nil
}

// probed stands for any readiness probe; it is shared and never changed.
var probed corev1.Probe
