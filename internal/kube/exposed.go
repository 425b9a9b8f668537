package kube

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
	_ "time/tzdata" // the images have no time zones

	"github.com/robfig/cron/v3"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// outlook is how far ahead is looked when CronJobs are due.
const outlook = time.Hour

// foreignLeases leaves out the heartbeats of nodes, of which there are as many as nodes, and which are no elections.
const foreignLeases = "metadata.namespace!=" + corev1.NamespaceNodeLease

// ourLease is an annotation of the lease that Upshift itself holds while it works.
const ourLease = "upshift.dev/holder"

// leaders are the leader elections outside the provider's own namespaces that somebody has won.
func (c *Cluster) leaders(ctx context.Context) ([]upgrade.Leader, error) {
	list := func(ctx context.Context, o metav1.ListOptions) (*coordinationv1.LeaseList, error) {
		o.FieldSelector = foreignLeases
		return c.client.CoordinationV1().Leases(metav1.NamespaceAll).List(ctx, o)
	}
	var found []upgrade.Leader
	err := each(ctx, list, func(o runtime.Object) {
		l, ok := o.(*coordinationv1.Lease)
		if !ok || upgrade.Provided(l.Namespace) || l.Annotations[ourLease] != "" || l.Spec.RenewTime == nil || l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity == "" {
			return
		}
		found = append(found, upgrade.Leader{Lease: refOf("Lease", l), Holder: *l.Spec.HolderIdentity, Renewed: l.Spec.RenewTime.UTC()})
	})
	slices.SortFunc(found, func(a, b upgrade.Leader) int { return byName(a.Lease, b.Lease) })
	return found, err
}

// cronJobs are those that are not suspended, with the times from now on at which they are due.
func (c *Cluster) cronJobs(ctx context.Context, now time.Time) ([]upgrade.CronJob, error) {
	var found []upgrade.CronJob
	err := each(ctx, c.client.BatchV1().CronJobs(metav1.NamespaceAll).List, func(o runtime.Object) {
		if j, ok := o.(*batchv1.CronJob); ok && (j.Spec.Suspend == nil || !*j.Spec.Suspend) {
			found = append(found, readCronJob(j, now))
		}
	})
	slices.SortFunc(found, func(a, b upgrade.CronJob) int { return byName(a.Ref, b.Ref) })
	return found, err
}

// readCronJob reads the schedule as Kubernetes' own controller does, with the same library. Without a time zone that one goes by the zone that it
// runs in itself, which a provider has at UTC.
func readCronJob(j *batchv1.CronJob, now time.Time) upgrade.CronJob {
	read := upgrade.CronJob{Ref: refOf("CronJob", j), Schedule: j.Spec.Schedule}
	if d := j.Spec.StartingDeadlineSeconds; d != nil {
		read.Deadline = time.Duration(*d) * time.Second
	}
	zone := time.UTC
	if z := j.Spec.TimeZone; z != nil {
		read.Schedule += " " + *z
		var err error
		if zone, err = time.LoadLocation(*z); err != nil {
			read.Trouble = fmt.Sprintf("its time zone %q is not known here", *z)
			return read
		}
	}
	schedule, err := cron.ParseStandard(j.Spec.Schedule)
	if err != nil {
		read.Trouble = fmt.Sprintf("its schedule cannot be read: %s", err)
		return read
	}
	for t := schedule.Next(now.In(zone)); !t.IsZero() && t.Before(now.Add(outlook)); t = schedule.Next(t) {
		read.Next = append(read.Next, t.UTC())
	}
	return read
}

// autoscalers are the HorizontalPodAutoscalers outside the provider's own namespaces.
func (c *Cluster) autoscalers(ctx context.Context) ([]upgrade.Autoscaler, error) {
	var found []upgrade.Autoscaler
	err := each(ctx, c.client.AutoscalingV2().HorizontalPodAutoscalers(metav1.NamespaceAll).List, func(o runtime.Object) {
		h, ok := o.(*autoscalingv2.HorizontalPodAutoscaler)
		if !ok || upgrade.Provided(h.Namespace) {
			return
		}
		target := h.Spec.ScaleTargetRef
		found = append(found, upgrade.Autoscaler{
			Ref: refOf("HorizontalPodAutoscaler", h), Target: upgrade.Ref{Kind: target.Kind, Namespace: h.Namespace, Name: target.Name},
			Now: int(h.Status.CurrentReplicas), Most: int(h.Spec.MaxReplicas),
		})
	})
	slices.SortFunc(found, func(a, b upgrade.Autoscaler) int { return byName(a.Ref, b.Ref) })
	return found, err
}

func refOf(kind string, o metav1.Object) upgrade.Ref {
	return upgrade.Ref{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(), UID: string(o.GetUID())}
}

func byName(a, b upgrade.Ref) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}
