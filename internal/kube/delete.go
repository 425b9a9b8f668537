package kube

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// Delete implements the engine's Cluster. It is for a pod that a person named: a deletion asks no PodDisruptionBudget.
func (c *Cluster) Delete(ctx context.Context, pod upgrade.Pod, atOnce bool) upgrade.Answer {
	uid := types.UID(pod.UID)
	options := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}
	if atOnce {
		zero := int64(0)
		options.GracePeriodSeconds = &zero
	}
	return classify(c.client.CoreV1().RESTClient().Delete().Namespace(pod.Namespace).Resource("pods").Name(pod.Name).Body(&options).MaxRetries(0).Do(ctx).Error())
}
