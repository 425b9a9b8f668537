package kube

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

func TestWhenACronJobIsDue(t *testing.T) {
	now := time.Date(2026, 3, 4, 11, 50, 0, 0, time.UTC)
	at := func(hour, minute int) time.Time { return time.Date(2026, 3, 4, hour, minute, 0, 0, time.UTC) }
	for name, test := range map[string]struct {
		spec string
		want upgrade.CronJob
	}{
		"at noon":        {`{schedule: "0 12 * * *"}`, upgrade.CronJob{Schedule: "0 12 * * *", Next: []time.Time{at(12, 0)}}},
		"in the evening": {`{schedule: "0 20 * * *"}`, upgrade.CronJob{Schedule: "0 20 * * *"}},
		"at noon in Berlin, which is an hour earlier": {`{schedule: "0 12 * * *", timeZone: Europe/Berlin}`, upgrade.CronJob{Schedule: "0 12 * * * Europe/Berlin"}},
		"at one in Berlin, and not much later":        {`{schedule: "0 13 * * *", timeZone: Europe/Berlin, startingDeadlineSeconds: 30}`, upgrade.CronJob{Schedule: "0 13 * * * Europe/Berlin", Next: []time.Time{at(12, 0)}, Deadline: 30 * time.Second}},
		"every half hour":                             {`{schedule: "*/30 * * * *"}`, upgrade.CronJob{Schedule: "*/30 * * * *", Next: []time.Time{at(12, 0), at(12, 30)}}},
		"never":                                       {`{schedule: "0 0 30 2 *"}`, upgrade.CronJob{Schedule: "0 0 30 2 *"}},
		"nonsense":                                    {`{schedule: "soon"}`, upgrade.CronJob{Schedule: "soon", Trouble: "its schedule cannot be read: expected exactly 5 fields, found 1: [soon]"}},
		"nowhere":                                     {`{schedule: "0 12 * * *", timeZone: Mars/Olympus}`, upgrade.CronJob{Schedule: "0 12 * * * Mars/Olympus", Trouble: `its time zone "Mars/Olympus" is not known here`}},
	} {
		t.Run(name, func(t *testing.T) {
			j := manifest[batchv1.CronJob](t, "metadata: {namespace: ns, name: j, uid: j}\nspec: "+test.spec)
			test.want.Ref = upgrade.Ref{Kind: "CronJob", Namespace: "ns", Name: "j", UID: "j"}
			if diff := cmp.Diff(test.want, readCronJob(j, now)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatDoesWithoutTheAPIOnlyForAWhileIsRead(t *testing.T) {
	renewed := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	lease := func(namespace, name, more string) *coordinationv1.Lease {
		return manifest[coordinationv1.Lease](t, "metadata: {namespace: "+namespace+", name: "+name+more)
	}
	const held = "}\nspec: {holderIdentity: a_1, renewTime: \"2026-03-04T12:00:00.000000Z\"}"
	c, _ := start(t,
		lease("ops", "operator", held), lease("ops", "free", "}\nspec: {holderIdentity: \"\", renewTime: \"2026-03-04T12:00:00.000000Z\"}"),
		lease("kube-system", "kube-scheduler", held), lease("upshift", "upshift", ", annotations: {upshift.dev/holder: \"{}\"}"+held),
		manifest[batchv1.CronJob](t, "metadata: {namespace: ns, name: held}\nspec: {schedule: \"* * * * *\", suspend: true}"),
		manifest[batchv1.CronJob](t, "metadata: {namespace: ns, name: runs}\nspec: {schedule: \"* * * * *\", suspend: false}"),
		manifest[autoscalingv2.HorizontalPodAutoscaler](t, "metadata: {namespace: ns, name: web}\nspec: {scaleTargetRef: {kind: Deployment, name: web}, maxReplicas: 10}\nstatus: {currentReplicas: 3}"),
	)
	inv := survey(t, c)
	leaders := []upgrade.Leader{{Lease: upgrade.Ref{Kind: "Lease", Namespace: "ops", Name: "operator"}, Holder: "a_1", Renewed: renewed}}
	if diff := cmp.Diff(leaders, inv.Leaders); diff != "" {
		t.Error(diff)
	}
	if len(inv.CronJobs) != 1 || inv.CronJobs[0].Ref.Name != "runs" || len(inv.CronJobs[0].Next) < 59 {
		t.Errorf("CronJobs: %+v", inv.CronJobs)
	}
	scaled := []upgrade.Autoscaler{{
		Ref: upgrade.Ref{Kind: "HorizontalPodAutoscaler", Namespace: "ns", Name: "web"}, Target: upgrade.Ref{Kind: "Deployment", Namespace: "ns", Name: "web"}, Now: 3, Most: 10,
	}}
	if diff := cmp.Diff(scaled, inv.Autoscalers); diff != "" {
		t.Error(diff)
	}
}
