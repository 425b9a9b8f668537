package gke

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// noon is a Wednesday.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// read reads a cluster as GKE's REST API writes it.
func read(t *testing.T, cluster string, operations ...*containerpb.Operation) upgrade.Cluster {
	t.Helper()
	pb := &containerpb.Cluster{}
	if err := protojson.Unmarshal([]byte(cluster), pb); err != nil {
		t.Fatal(err)
	}
	c, err := Read(cluster1, pb, &containerpb.ServerConfig{}, operations, noon)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWhatGKEDoesByItself(t *testing.T) {
	c := read(t, `{"autopilot": {"enabled": true}, "autoscaling": {"enableNodeAutoprovisioning": true}}`)
	if !c.Autopilot || !c.Autoprovisioning || c.Skew != 2 {
		t.Errorf("got %+v", c)
	}
	if c := read(t, `{}`); c.Autopilot || c.Autoprovisioning || len(c.Unread) > 0 {
		t.Errorf("of nothing: %+v", c)
	}
}

func TestWhatIsWrongWithTheClusterIsRead(t *testing.T) {
	for status, want := range map[string]struct {
		trouble  string
		unusable bool
	}{
		"RUNNING": {}, "RECONCILING": {}, "DEGRADED": {"GKE has it in status DEGRADED: the CA has expired", false},
		"ERROR": {"GKE has it in status ERROR: the CA has expired", true}, "STOPPING": {"GKE has it in status STOPPING: the CA has expired", true},
	} {
		c := read(t, fmt.Sprintf(`{"status": %q, "conditions": [{"message": "the CA has expired"}]}`, status))
		if c.Trouble != want.trouble || c.Unusable != want.unusable {
			t.Errorf("%s: got %q, %t", status, c.Trouble, c.Unusable)
		}
	}
}

func TestTheToolThatMadeThemIsKnownByItsLabel(t *testing.T) {
	c := read(t, `{"resourceLabels": {"goog-terraform-provisioned": "true", "managed-by-cnrm": "true"}, "nodePools": [
		{"name": "a", "config": {"resourceLabels": {"goog-terraform-provisioned": "true"}}},
		{"name": "b", "config": {"resourceLabels": {"managed-by-cnrm": "true"}}},
		{"name": "c", "config": {"resourceLabels": {"goog-terraform-provisioned": "false", "team": "x"}}}]}`)
	if got := []string{c.ManagedBy, c.Pools[0].ManagedBy, c.Pools[1].ManagedBy, c.Pools[2].ManagedBy}; !cmp.Equal(got, []string{"Config Connector", "Terraform", "Config Connector", ""}) {
		t.Errorf("got %q", got)
	}
}

func TestLabelsAndTaintsAreInKubernetesOwnSpelling(t *testing.T) {
	c := read(t, `{"nodePools": [{"name": "a", "config": {"labels": {"team": "x"}, "taints": [
		{"key": "k", "value": "v", "effect": "NO_SCHEDULE"}, {"key": "l", "effect": "PREFER_NO_SCHEDULE"}, {"key": "m", "effect": "NO_EXECUTE"}]}}]}`)
	want := []upgrade.Taint{{Key: "k", Value: "v", Effect: "NoSchedule"}, {Key: "l", Effect: "PreferNoSchedule"}, {Key: "m", Effect: "NoExecute"}}
	if diff := cmp.Diff(want, c.Pools[0].Taints); diff != "" || c.Pools[0].Labels["team"] != "x" {
		t.Errorf("labels %v, taints\n%s", c.Pools[0].Labels, diff)
	}
}

func TestOnlyTheClustersOwnOperationsThatAreUnderWayAreRead(t *testing.T) {
	const link = "https://container.googleapis.com/v1/projects/p/locations/europe-west1/clusters/"
	operation := func(name, target, start string, status containerpb.Operation_Status) *containerpb.Operation {
		return &containerpb.Operation{Name: name, OperationType: containerpb.Operation_UPGRADE_NODES, TargetLink: link + target, StartTime: start, Status: status}
	}
	running := containerpb.Operation_RUNNING
	c := read(t, `{}`,
		operation("o-pool", "cluster-1/nodePools/a", "2026-03-04T11:00:00.5Z", running),
		operation("o-cluster", "cluster-1", "2026-03-04T10:00:00+01:00", containerpb.Operation_PENDING),
		operation("o-node", "cluster-1/nodePools/b/node/n1", "", running),
		operation("o-done", "cluster-1", "2026-03-04T11:00:00Z", containerpb.Operation_DONE),
		operation("o-other", "cluster-10", "2026-03-04T11:00:00Z", running),
		operation("o-others-pool", "other/nodePools/a", "2026-03-04T11:00:00Z", running))
	want := []upgrade.Operation{
		{Name: "o-node", Kind: "UPGRADE_NODES", Target: "b"},
		{Name: "o-cluster", Kind: "UPGRADE_NODES", Target: "cluster-1", StartedAt: noon.Add(-3 * time.Hour)},
		{Name: "o-pool", Kind: "UPGRADE_NODES", Target: "a", StartedAt: noon.Add(-time.Hour + 500*time.Millisecond)},
	}
	if diff := cmp.Diff(want, c.Operations); diff != "" {
		t.Error(diff)
	}
}

func TestMaintenanceWindows(t *testing.T) {
	weekend := `{"recurringWindow": {"window": {"startTime": "2019-01-05T22:00:00Z", "endTime": "2019-01-06T02:00:00Z"}, "recurrence": "%s"}}`
	for name, test := range map[string]struct {
		window  string
		summary string
		first   []string // the first windows
		count   int
		unread  string
	}{
		"none": {window: `{}`},
		"daily, the one of today over": {
			window: `{"dailyMaintenanceWindow": {"startTime": "03:30", "duration": "PT4H0M0S"}}`, summary: "daily at 03:30 UTC, 4h0m0s",
			first: []string{"03-05 03:30 to 03-05 07:30", "03-06 03:30 to 03-06 07:30"}, count: 14,
		},
		"daily, and open": {
			window: `{"dailyMaintenanceWindow": {"startTime": "11:00", "duration": "PT4H0M0S"}}`, summary: "daily at 11:00 UTC, 4h0m0s",
			first: []string{"03-04 11:00 to 03-04 15:00", "03-05 11:00 to 03-05 15:00"}, count: 15,
		},
		"daily, closing now": {
			window: `{"dailyMaintenanceWindow": {"startTime": "08:00", "duration": "PT4H0M0S"}}`, summary: "daily at 08:00 UTC, 4h0m0s",
			first: []string{"03-05 08:00 to 03-05 12:00"}, count: 14,
		},
		"at weekends, over midnight": {
			window: fmt.Sprintf(weekend, "FREQ=WEEKLY;BYDAY=SA,SU"), summary: "FREQ=WEEKLY;BYDAY=SA,SU at 22:00 UTC, 4h0m0s",
			first: []string{"03-07 22:00 to 03-08 02:00", "03-08 22:00 to 03-09 02:00", "03-14 22:00 to 03-15 02:00"}, count: 4,
		},
		"the last Sunday of a month, too far ahead": {
			window: fmt.Sprintf(weekend, "FREQ=MONTHLY;BYSETPOS=-1;BYDAY=SU"), summary: "FREQ=MONTHLY;BYSETPOS=-1;BYDAY=SU at 22:00 UTC, 4h0m0s",
		},
		"all of Monday and of Tuesday are one": {
			window:  `{"recurringWindow": {"window": {"startTime": "2026-01-05T00:00:00Z", "endTime": "2026-01-06T00:00:00Z"}, "recurrence": "RRULE:FREQ=WEEKLY;BYDAY=MO,TU"}}`,
			summary: "FREQ=WEEKLY;BYDAY=MO,TU at 00:00 UTC, 24h0m0s", first: []string{"03-09 00:00 to 03-11 00:00", "03-16 00:00 to 03-18 00:00"}, count: 2,
		},
		"the newer form, every other Thursday": {
			window: `{"recurringMaintenanceWindow": {"delayUntil": {"year": 2026, "month": 2, "day": 26}, "windowStartTime": {"hours": 1, "minutes": 15}, "windowDuration": "18000s",
				"recurrence": "FREQ=WEEKLY;INTERVAL=2;BYDAY=TH"}}`,
			summary: "FREQ=WEEKLY;INTERVAL=2;BYDAY=TH at 01:15 UTC, 5h0m0s", first: []string{"03-12 01:15 to 03-12 06:15"}, count: 1,
		},
		"the newer form without a first day": {
			window:  `{"recurringMaintenanceWindow": {"windowStartTime": {"hours": 9}, "windowDuration": "14400s", "recurrence": "FREQ=DAILY"}}`,
			summary: "daily at 09:00 UTC, 4h0m0s", first: []string{"03-04 09:00 to 03-04 13:00"}, count: 15,
		},
		"a rule that is none":       {window: fmt.Sprintf(weekend, "SOMETIMES"), summary: "SOMETIMES at 22:00 UTC, 4h0m0s", unread: "maintenance window SOMETIMES: wrong format"},
		"a rule that GKE knows not": {window: fmt.Sprintf(weekend, "FREQ=HOURLY"), summary: "FREQ=HOURLY at 22:00 UTC, 4h0m0s", unread: "maintenance window FREQ=HOURLY: it recurs more often than every day"},
		"a start that is none":      {window: `{"dailyMaintenanceWindow": {"startTime": "3 am", "duration": "PT4H0M0S"}}`, unread: "maintenance window: start: "},
		"a window without an end": {
			window: `{"recurringWindow": {"window": {"startTime": "2019-01-05T22:00:00Z"}, "recurrence": "FREQ=DAILY"}}`, summary: "daily at 22:00 UTC, ", unread: "it ends before it begins",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := read(t, `{"maintenancePolicy": {"window": `+test.window+`}}`)
			var got []string
			for _, w := range c.Maintenance.Windows {
				got = append(got, w.Start.Format("01-02 15:04")+" to "+w.End.Format("01-02 15:04"))
			}
			if diff := cmp.Diff(test.first, got[:min(len(got), len(test.first))]); diff != "" || len(got) != test.count {
				t.Errorf("%d windows, want %d: %v\n%s", len(got), test.count, got, diff)
			}
			if !strings.HasPrefix(c.Maintenance.Summary, test.summary) || test.summary == "" && c.Maintenance.Summary != "" {
				t.Errorf("summary %q, want %q", c.Maintenance.Summary, test.summary)
			}
			if unread := c.Unread[upgrade.ReadMaintenance]; !strings.Contains(unread, test.unread) || test.unread == "" && unread != "" {
				t.Errorf("unread %q, want %q", unread, test.unread)
			}
		})
	}
}

func TestExclusionsThatAreNotOver(t *testing.T) {
	c := read(t, `{"maintenancePolicy": {"window": {"maintenanceExclusions": {
		"over": {"startTime": "2026-01-01T00:00:00Z", "endTime": "2026-03-04T12:00:00Z"},
		"sale": {"startTime": "2026-03-10T00:00:00Z", "endTime": "2026-03-20T00:00:00Z", "maintenanceExclusionOptions": {"scope": "NO_MINOR_OR_NODE_UPGRADES"}},
		"freeze": {"startTime": "2026-03-01T00:00:00Z", "endTime": "2026-03-05T00:00:00Z"},
		"forever": {"startTime": "2026-03-01T00:00:00Z", "maintenanceExclusionOptions": {"scope": "NO_MINOR_UPGRADES", "endTimeBehavior": "UNTIL_END_OF_SUPPORT"}}}}}}`)
	day := func(d int) time.Time { return time.Date(2026, 3, d, 0, 0, 0, 0, time.UTC) }
	want := []upgrade.Exclusion{
		{Name: "forever", Interval: upgrade.Interval{Start: day(1)}, Scope: "NO_MINOR_UPGRADES"},
		{Name: "freeze", Interval: upgrade.Interval{Start: day(1), End: day(5)}, Scope: "NO_UPGRADES"},
		{Name: "sale", Interval: upgrade.Interval{Start: day(10), End: day(20)}, Scope: "NO_MINOR_OR_NODE_UPGRADES"},
	}
	if diff := cmp.Diff(want, c.Maintenance.Exclusions); diff != "" || c.Maintenance.Windows != nil {
		t.Error(diff)
	}
}

func TestPodRanges(t *testing.T) {
	const policy = `"ipAllocationPolicy": {"clusterSecondaryRangeName": "pods", "clusterIpv4CidrBlock": "10.4.0.0/17", "defaultPodIpv4RangeUtilization": 0.7813,
		"additionalPodRangesConfig": {"podRangeInfo": [{"rangeName": "more", "utilization": 0.25}]}}`
	for name, test := range map[string]struct {
		cluster, pool string
		want          upgrade.PodRange
	}{
		"the cluster's, which 100 nodes use, as far as the rounded share tells": {policy, `"podIpv4CidrSize": 24`, upgrade.PodRange{Name: "pods", CIDR: "10.4.0.0/17", Free: 7168, PerNode: 256}},
		"the cluster's by its name": {
			policy, `"podIpv4CidrSize": 24, "networkConfig": {"podRange": "pods", "podIpv4CidrBlock": "10.4.0.0/17", "podIpv4RangeUtilization": 0.5}`,
			upgrade.PodRange{Name: "pods", CIDR: "10.4.0.0/17", Free: 16384, PerNode: 256},
		},
		"the pool's own": {
			policy, `"podIpv4CidrSize": 26, "networkConfig": {"podRange": "mine", "podIpv4CidrBlock": "10.8.0.0/21", "podIpv4RangeUtilization": 0.875}`,
			upgrade.PodRange{Name: "mine", CIDR: "10.8.0.0/21", Free: 256, PerNode: 64},
		},
		"one that was added to the cluster": {
			policy, `"podIpv4CidrSize": 24, "networkConfig": {"podRange": "more", "podIpv4CidrBlock": "10.9.0.0/20"}`,
			upgrade.PodRange{Name: "more", CIDR: "10.9.0.0/20", Free: 3072, PerNode: 256},
		},
		"one of which GKE does not tell the share": {
			policy, `"podIpv4CidrSize": 24, "networkConfig": {"podRange": "mine", "podIpv4CidrBlock": "10.8.0.0/21"}`,
			upgrade.PodRange{Name: "mine", CIDR: "10.8.0.0/21", Free: upgrade.Unknown, PerNode: 256},
		},
		"one of which GKE does not tell the size":           {`"clusterIpv4Cidr": ""`, `"podIpv4CidrSize": 24, "networkConfig": {"podIpv4RangeUtilization": 0.5}`, upgrade.PodRange{Free: upgrade.Unknown, PerNode: 256}},
		"a cluster with routes":                             {`"clusterIpv4Cidr": "10.4.0.0/14", "nodeIpv4CidrSize": 24`, ``, upgrade.PodRange{CIDR: "10.4.0.0/14", Free: upgrade.Unknown, PerNode: 256}},
		"by the number of pods on a node":                   {``, `"maxPodsConstraint": {"maxPodsPerNode": 33}`, upgrade.PodRange{Free: upgrade.Unknown, PerNode: 128}},
		"by the cluster's number of pods on a node":         {`"defaultMaxPodsConstraint": {"maxPodsPerNode": 32}`, ``, upgrade.PodRange{Free: upgrade.Unknown, PerNode: 64}},
		"by the number of pods, without spare addresses":    {`"ipAllocationPolicy": {"podCidrOverprovisionConfig": {"disable": true}}`, `"maxPodsConstraint": {"maxPodsPerNode": 110}`, upgrade.PodRange{Free: upgrade.Unknown, PerNode: 128}},
		"nothing is known":                                  {``, ``, upgrade.PodRange{Free: upgrade.Unknown, PerNode: upgrade.Unknown}},
		"a range that is full, and a share that is rounded": {`"ipAllocationPolicy": {"clusterIpv4CidrBlock": "10.4.0.0/24", "defaultPodIpv4RangeUtilization": 1.0}`, `"podIpv4CidrSize": 24`, upgrade.PodRange{CIDR: "10.4.0.0/24", PerNode: 256}},
	} {
		t.Run(name, func(t *testing.T) {
			cluster, pool := "{", `{"name": "a"`
			if test.cluster != "" {
				cluster += test.cluster + ", "
			}
			if test.pool != "" {
				pool += ", " + test.pool
			}
			c := read(t, cluster+`"nodePools": [`+pool+`}]}`)
			if diff := cmp.Diff(test.want, c.Pools[0].PodRange); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOperationsThatMayNotBeListedAreSaidToBeUnread(t *testing.T) {
	srv, p := emulate(t)
	srv.Inject(gkeemu.Fault{Method: "ListOperations", Times: 1, Error: status.Error(codes.PermissionDenied, "container.operations.list is required")})
	c, err := p.Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if why := c.Unread[upgrade.ReadOperations]; !strings.Contains(why, "container.operations.list is required") || len(c.Pools) != 1 {
		t.Errorf("unread: %q; pools %v", why, c.Pools)
	}
	if c, err = p.Cluster(t.Context()); err != nil || len(c.Unread) > 0 {
		t.Errorf("once they may: %v, %v", c.Unread, err)
	}
}
