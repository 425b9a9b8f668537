package preflight_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/preflight"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// ofGKE is a healthy cluster with all that GKE tells of it. Its plan takes 13 minutes if all goes well: 4 for the new pool, a minute a
// node, 2 of soaking and 4 for deleting the old pool.
func ofGKE() upgrade.Snapshot {
	s := healthy()
	s.TakenAt = noon
	c := &s.Cluster
	c.Project, c.Location, c.Regional, c.Skew = "p", "europe-west1", true, 2
	c.Pools[0].PodRange = upgrade.PodRange{Name: "pods", CIDR: "10.4.0.0/19", Free: 7424, PerNode: 256}
	return s
}

func in(d time.Duration) time.Time { return noon.Add(d) }

func interval(from, to time.Duration) upgrade.Interval {
	return upgrade.Interval{Start: in(from), End: in(to)}
}

// secondPool adds a pool that is as far behind as the first.
func secondPool(s *upgrade.Snapshot) {
	second := s.Cluster.Pools[0]
	second.Name = "second"
	s.Cluster.Pools = append(s.Cluster.Pools, second)
	for _, n := range []string{"1", "2"} {
		s.State.Nodes = append(s.State.Nodes, upgrade.Node{Name: "s" + n, Pool: "second", Zone: "a", Ready: true})
	}
}

// takenOver adds the new pool of an earlier run, with one node.
func takenOver(s *upgrade.Snapshot) *upgrade.Pool {
	s.Cluster.Pools = append(s.Cluster.Pools, upgrade.Pool{Name: "pool-1-34-2-gke-100", Version: "1.34.2-gke.100", MadeBy: "run-1"})
	s.State.Nodes = append(s.State.Nodes, upgrade.Node{Name: "new-1", Pool: "pool-1-34-2-gke-100", Zone: "a", Ready: true})
	return &s.Cluster.Pools[1]
}

const (
	there      = " --project p --location europe-west1"
	goesOnInfo = "info goes-on NodePool pool-1-34-2-gke-100 was made by an earlier run, which did not finish, and is taken over; 0 of the 3 nodes of pool are cordoned already"
	fewer      = "plan fewer pools at a time, with node-pools, or a shorter soak"
	listPools  = "gcloud container node-pools list --cluster cluster-1" + there + " # delete or shrink a pool that uses this range and is not needed"
)

// TestWhatGKEKnows: each case changes one thing in a healthy cluster of GKE's, and says what a person reads: the finding, and how to be rid of it.
func TestWhatGKEKnows(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(*upgrade.Snapshot)
		options func(*upgrade.Options)
		want    []string // each finding, followed by its remedy if it has one
	}{
		"all is well": {},

		"an Autopilot cluster": {
			change: func(s *upgrade.Snapshot) { s.Cluster.Autopilot, s.Cluster.Autoprovisioning = true, true },
			want: []string{
				"blocker autopilot Cluster cluster-1 is an Autopilot cluster: GKE makes and upgrades its nodes by itself, and there is no node pool that could be migrated",
				"gcloud container clusters upgrade cluster-1 --master --cluster-version 1.34.2-gke.100" + there + " # the nodes follow",
			},
		},

		"an operation on the cluster, and one on its pool": {
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Operations = []upgrade.Operation{
					{Name: "operation-1", Kind: "UPGRADE_MASTER", Target: "cluster-1", StartedAt: in(-20 * time.Minute)}, {Name: "operation-2", Kind: "AUTO_REPAIR_NODES", Target: "pool"},
				}
			},
			want: []string{
				"warning pending-operation Cluster cluster-1 is being changed since 2026-03-04 11:40 UTC (UPGRADE_MASTER): a run waits for that, up to an hour",
				"gcloud container operations wait operation-1" + there,
				"warning pending-operation NodePool pool is being changed (AUTO_REPAIR_NODES): a run waits for that, up to an hour",
				"gcloud container operations wait operation-2" + there,
			},
		},
		"an operation on a pool that is not in the plan": {
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Operations = []upgrade.Operation{{Name: "operation-1", Kind: "UPGRADE_NODES", Target: "other"}}
			},
		},
		"operations that may not be listed": {
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Unread = map[upgrade.Source]string{upgrade.ReadOperations: "permission denied"}
			},
			want: []string{"unknown pending-operation Cluster cluster-1 does not let the provider's operations be read, so whether it is being changed already cannot be told"},
		},

		"a pool in an error state whose nodes are Ready": {
			change: func(s *upgrade.Snapshot) { s.Cluster.Pools[0].Trouble = "GKE has it in status RUNNING_WITH_ERROR" },
			want: []string{
				"warning pool-trouble NodePool pool is in an error state: what stopped GKE there can stop it again at the new pool, which is made like it",
				"gcloud container node-pools describe pool --cluster cluster-1" + there + " # mend it first",
			},
		},
		"a pool in an error state, and no node of it is Ready": {
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Pools[0].Trouble = "GKE has it in status ERROR"
				for i := range s.State.Nodes {
					s.State.Nodes[i].Ready = false
				}
			},
			want: []string{
				"blocker pool-trouble NodePool pool is in an error state, and none of its nodes is Ready: its pods cannot be moved in order",
				"gcloud container node-pools describe pool --cluster cluster-1" + there + " # mend it first",
			},
		},
		"a pool that is being deleted": {
			change: func(s *upgrade.Snapshot) { s.Cluster.Pools[0].Deleting = true },
			want: []string{
				"blocker pool-trouble NodePool pool is being deleted: its nodes go with all that runs on them, without a drain",
				"gcloud container operations list" + there + " # and make a new plan once it is gone",
			},
		},
		"the new pool of an earlier run, in an error state": {
			change: func(s *upgrade.Snapshot) { takenOver(s).Trouble = "GKE has it in status ERROR" },
			want: []string{
				"warning pool-trouble NodePool pool-1-34-2-gke-100 is in an error state: a run would wait for its nodes, and pause if they do not come",
				"gcloud container node-pools describe pool-1-34-2-gke-100 --cluster cluster-1" + there +
					" # or delete it, and the run makes it anew: gcloud container node-pools delete pool-1-34-2-gke-100 --cluster cluster-1" + there,
				goesOnInfo,
			},
		},
		"the new pool of an earlier run, being deleted": {
			change: func(s *upgrade.Snapshot) { takenOver(s).Deleting = true },
			want: []string{
				"blocker pool-trouble NodePool pool-1-34-2-gke-100 is being deleted: its nodes go with all that runs on them, without a drain",
				"gcloud container operations list" + there + " # and make a new plan once it is gone",
				goesOnInfo,
			},
		},
		"trouble in a pool that is left as it is": {
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Pools[0].Trouble, s.Cluster.Pools[0].Deleting, s.Cluster.Pools[0].Version = "ERROR", true, "1.34.2-gke.100"
			},
		},

		"an open window that is just long enough": {
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Maintenance = upgrade.Maintenance{Summary: "daily", Windows: []upgrade.Interval{interval(-time.Hour, 13*time.Minute)}}
			},
		},
		"an open window that closes before the plan's end, and one that lasts": {
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Maintenance = upgrade.Maintenance{Summary: "daily", Windows: []upgrade.Interval{interval(-4*time.Hour, 10*time.Minute), interval(20*time.Hour, 24*time.Hour)}}
			},
			want: []string{
				"warning maintenance-window Cluster cluster-1 has a maintenance window that closes at 2026-03-04 12:10 UTC, in 10m; the plan takes about 12m if all goes well",
				"start at 2026-03-05 08:00 UTC",
			},
		},
		"a respected window that is closed": {
			options: func(o *upgrade.Options) { o.Maintenance = upgrade.RespectMaintenance },
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Maintenance = upgrade.Maintenance{Summary: "daily", Windows: []upgrade.Interval{interval(15*time.Hour, 19*time.Hour)}}
			},
			want: []string{
				"blocker maintenance-window Cluster cluster-1 is outside of its maintenance window, which opens at 2026-03-05 03:00 UTC for 4h; the plan takes about 12m if all goes well",
				"start at 2026-03-05 03:00 UTC, or give maintenance: ignore",
			},
		},
		"a respected window that is open, and shorter than the plan": {
			options: func(o *upgrade.Options) {
				o.Maintenance, o.Soak = upgrade.RespectMaintenance, upgrade.Seconds(5*time.Hour)
			},
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Maintenance = upgrade.Maintenance{Summary: "daily", Windows: []upgrade.Interval{interval(-time.Hour, 3*time.Hour), interval(23*time.Hour, 27*time.Hour)}}
			},
			want: []string{
				"warning maintenance-window Cluster cluster-1 has a maintenance window that closes at 2026-03-04 15:00 UTC, in 3h; the run pauses before the node that would not be done by then, " +
					"and resume goes on in the next window, and no window of the next two weeks is long enough; the plan takes about 5h10m if all goes well",
				"plan fewer pools at a time, with node-pools, or a shorter soak",
			},
		},
		"a respected window in which a new pool is not made any more": {
			options: func(o *upgrade.Options) { o.Maintenance = upgrade.RespectMaintenance },
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Maintenance = upgrade.Maintenance{Summary: "daily", Windows: []upgrade.Interval{interval(-4*time.Hour, 3*time.Minute), interval(20*time.Hour, 24*time.Hour)}}
			},
			want: []string{
				"blocker maintenance-window Cluster cluster-1 has a maintenance window that closes at 2026-03-04 12:03 UTC, in 3m; the run pauses before the node that would not be done by then, " +
					"and resume goes on in the next window; the plan takes about 12m if all goes well",
				"start at 2026-03-05 08:00 UTC, or give maintenance: ignore",
			},
		},
		"a respected exclusion in force": {
			options: func(o *upgrade.Options) { o.Maintenance = upgrade.RespectMaintenance },
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Maintenance.Exclusions = []upgrade.Exclusion{{Name: "freeze", Interval: interval(-time.Hour, 24*time.Hour), Scope: "NO_MINOR_OR_NODE_UPGRADES"}}
			},
			want: []string{
				"blocker maintenance-exclusion MaintenanceExclusion freeze is in force until 2026-03-05 12:00 UTC: NO_MINOR_OR_NODE_UPGRADES",
				"start once it is over, or give maintenance: ignore",
			},
		},
		"a respected exclusion that begins meanwhile": {
			options: func(o *upgrade.Options) { o.Maintenance = upgrade.RespectMaintenance },
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Maintenance.Exclusions = []upgrade.Exclusion{{Name: "freeze", Interval: interval(5*time.Minute, 24*time.Hour), Scope: "NO_UPGRADES"}}
			},
			want: []string{
				"warning maintenance-exclusion MaintenanceExclusion freeze begins at 2026-03-04 12:05 UTC, before the plan's end, which is about 2026-03-04 12:11 UTC if all goes well, " +
					"and lasts until 2026-03-05 12:00 UTC: NO_UPGRADES; the run pauses before it",
				"start once it is over, or accept it",
			},
		},
		"a maintenance policy that is not understood and is respected": {
			options: func(o *upgrade.Options) { o.Maintenance = upgrade.RespectMaintenance },
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Unread = map[upgrade.Source]string{upgrade.ReadMaintenance: "wrong format"}
			},
			want: []string{"unknown maintenance-window Cluster cluster-1 does not let the maintenance policy be read, so whether it is a time for maintenance cannot be told"},
		},
		"a window that is closed": {
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Maintenance = upgrade.Maintenance{Summary: "daily", Windows: []upgrade.Interval{interval(15*time.Hour, 19*time.Hour)}}
			},
			want: []string{
				"warning maintenance-window Cluster cluster-1 is outside of its maintenance window, which opens at 2026-03-05 03:00 UTC for 4h; the plan takes about 12m if all goes well",
				"start at 2026-03-05 03:00 UTC",
			},
		},
		"windows that are all too short": {
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Maintenance = upgrade.Maintenance{Summary: "daily", Windows: []upgrade.Interval{interval(-time.Hour, 3*time.Hour), interval(23*time.Hour, 27*time.Hour)}}
			},
			options: func(o *upgrade.Options) { o.Soak = upgrade.Seconds(6*time.Hour + 49*time.Minute) },
			want: []string{
				"warning maintenance-window Cluster cluster-1 has a maintenance window that closes at 2026-03-04 15:00 UTC, in 3h, and no window of the next two weeks is long enough; " +
					"the plan takes about 6h59m if all goes well", fewer,
			},
		},
		"a window once a month": {
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Maintenance = upgrade.Maintenance{Summary: "FREQ=MONTHLY;BYSETPOS=-1;BYDAY=SU"}
			},
			want: []string{
				"warning maintenance-window Cluster cluster-1 is outside of its maintenance window, and none opens within two weeks; the plan takes about 12m if all goes well",
				"gcloud container clusters describe cluster-1 --format 'yaml(maintenancePolicy)'" + there,
			},
		},
		"a maintenance policy that is not understood": {
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Unread = map[upgrade.Source]string{upgrade.ReadMaintenance: "wrong format"}
			},
			want: []string{"unknown maintenance-window Cluster cluster-1 does not let the maintenance policy be read, so whether it is a time for maintenance cannot be told"},
		},

		"an exclusion that is in force": {
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Maintenance.Exclusions = []upgrade.Exclusion{{Name: "freeze", Interval: interval(-time.Hour, 24*time.Hour), Scope: "NO_UPGRADES"}}
			},
			want: []string{
				"warning maintenance-exclusion MaintenanceExclusion freeze is in force until 2026-03-05 12:00 UTC: NO_UPGRADES",
				"start once it is over, or accept it",
			},
		},
		"an exclusion without an end": {
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Maintenance.Exclusions = []upgrade.Exclusion{{Name: "stay", Interval: upgrade.Interval{Start: in(-time.Hour)}, Scope: "NO_MINOR_OR_NODE_UPGRADES"}}
			},
			want: []string{
				"warning maintenance-exclusion MaintenanceExclusion stay is in force until the end of the version's support: NO_MINOR_OR_NODE_UPGRADES",
				"start once it is over, or accept it",
			},
		},
		"an exclusion that begins before the plan's end, and one that begins right after it": {
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Maintenance.Exclusions = []upgrade.Exclusion{
					{Name: "sale", Interval: interval(11*time.Minute, 24*time.Hour), Scope: "NO_UPGRADES"}, {Name: "later", Interval: interval(12*time.Minute, 24*time.Hour), Scope: "NO_UPGRADES"},
				}
			},
			want: []string{
				"warning maintenance-exclusion MaintenanceExclusion sale begins at 2026-03-04 12:11 UTC, before the plan's end, which is about 2026-03-04 12:11 UTC if all goes well, " +
					"and lasts until 2026-03-05 12:00 UTC: NO_UPGRADES",
				"start once it is over, or accept it",
			},
		},
		"an exclusion of minors, and a patch": {
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Pools[0].Version = "1.34.1-gke.7"
				s.Cluster.Maintenance.Exclusions = []upgrade.Exclusion{{Name: "stay", Interval: interval(-time.Hour, time.Hour), Scope: "NO_MINOR_UPGRADES"}}
			},
		},
		"an exclusion of minors, and a minor": {
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Maintenance.Exclusions = []upgrade.Exclusion{{Name: "stay", Interval: interval(-time.Hour, time.Hour), Scope: "NO_MINOR_UPGRADES"}}
			},
			want: []string{
				"warning maintenance-exclusion MaintenanceExclusion stay is in force until 2026-03-04 13:00 UTC: NO_MINOR_UPGRADES",
				"start once it is over, or accept it",
			},
		},

		"too few addresses": {
			change: func(s *upgrade.Snapshot) { s.Cluster.Pools[0].PodRange.Free = 767 },
			want:   []string{"blocker pod-range PodRange pods has 767 addresses for pods left, and the new nodes take 768", listPools},
		},
		"just enough addresses": {
			change: func(s *upgrade.Snapshot) { s.Cluster.Pools[0].PodRange.Free = 768 },
			want: []string{
				"warning pod-range PodRange pods has 768 addresses for pods left, and 0 of its 8192 while old and new nodes are both there: less than a tenth", listPools,
			},
		},
		"just above a tenth": {change: func(s *upgrade.Snapshot) { s.Cluster.Pools[0].PodRange.Free = 768 + 820 }},
		"addresses that an earlier run's node has already": {
			change: func(s *upgrade.Snapshot) { takenOver(s); s.Cluster.Pools[0].PodRange.Free = 512 },
			want: []string{
				"warning pod-range PodRange pods has 512 addresses for pods left, and 0 of its 8192 while old and new nodes are both there: less than a tenth", listPools, goesOnInfo,
			},
		},
		"two pools, of which each gives its addresses back before the next": {
			change: func(s *upgrade.Snapshot) { secondPool(s); s.Cluster.Pools[0].PodRange.Free = 768 + 820 },
		},
		"two pools at the same time": {
			change:  func(s *upgrade.Snapshot) { secondPool(s); s.Cluster.Pools[0].PodRange.Free = 768 + 511 },
			options: func(o *upgrade.Options) { o.Delete = upgrade.DeleteAtEnd },
			want: []string{
				"blocker pod-range PodRange pods has 1279 addresses for pods left, and the new nodes take 1280",
				"delete-old-pools: each, so that a pool's addresses are free again before the next one is made",
			},
		},
		"two pools at the same time, in ranges of their own": {
			change: func(s *upgrade.Snapshot) {
				secondPool(s)
				s.Cluster.Pools[0].PodRange.Free, s.Cluster.Pools[1].PodRange = 768+820, upgrade.PodRange{CIDR: "10.8.0.0/19", Free: 511, PerNode: 256}
			},
			options: func(o *upgrade.Options) { o.Delete = upgrade.DeleteNever },
			want:    []string{"blocker pod-range PodRange 10.8.0.0/19 has 511 addresses for pods left, and the new nodes take 512", listPools},
		},
		"addresses of which GKE does not tell": {
			change: func(s *upgrade.Snapshot) { s.Cluster.Pools[0].PodRange.Free = upgrade.Unknown },
			want:   []string{"info pod-range PodRange pods has an unknown number of addresses for pods left: whether the new nodes get theirs cannot be told"},
		},
		"nodes of which GKE does not tell how many addresses they take": {
			change: func(s *upgrade.Snapshot) { s.Cluster.Pools[0].PodRange.PerNode = upgrade.Unknown },
			want:   []string{"info pod-range PodRange pods has an unknown number of addresses for pods left: whether the new nodes get theirs cannot be told"},
		},

		"a pool of Terraform's": {
			change: func(s *upgrade.Snapshot) { s.Cluster.Pools[0].ManagedBy = "Terraform" },
			want: []string{
				"warning managed-elsewhere NodePool pool is managed by Terraform: once pool-1-34-2-gke-100 has taken over, Terraform would make pool anew",
				"terraform state rm google_container_node_pool.pool && terraform import google_container_node_pool.pool p/europe-west1/cluster-1/pool-1-34-2-gke-100 # " +
					"with your own address of the resource, after the upgrade; set its name and version to the new pool's",
			},
		},
		"a cluster of Config Connector's": {
			change: func(s *upgrade.Snapshot) { s.Cluster.ManagedBy = "Config Connector" },
			want: []string{
				"warning managed-elsewhere NodePool pool is in a cluster that Config Connector manages, and may be managed by it too: " +
					"once pool-1-34-2-gke-100 has taken over, Config Connector would make pool anew",
				"kubectl annotate containernodepool pool cnrm.cloud.google.com/deletion-policy=abandon --overwrite && kubectl delete containernodepool pool # " +
					"in the object's namespace, before the upgrade; apply one named pool-1-34-2-gke-100 after it",
			},
		},

		"node auto-provisioning": {
			change: func(s *upgrade.Snapshot) { s.Cluster.Autoprovisioning = true },
			want: []string{
				"info autoprovisioning Cluster cluster-1 has node auto-provisioning on: while pods move it may make pools that are not in the plan, on whose nodes they can land",
				"gcloud container clusters update cluster-1 --no-enable-autoprovisioning" + there + " # if that is not wanted",
			},
		},

		"a pool that is left two minors behind": {
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Pools = append(s.Cluster.Pools, upgrade.Pool{Name: "other", Version: "1.32.9-gke.4"})
			},
			options: func(o *upgrade.Options) { o.Pools = []string{"pool"} },
		},
		"a pool that is left three minors behind, and one that is newer": {
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Pools = append(s.Cluster.Pools, upgrade.Pool{Name: "old", Version: "1.31.13-gke.1"}, upgrade.Pool{Name: "new", Version: "1.34.2-gke.101"})
			},
			options: func(o *upgrade.Options) { o.Pools = []string{"pool"} },
			want: []string{
				"warning skew NodePool old runs 1.31.13-gke.1, 3 minors behind the control plane at 1.34.2-gke.100, and nodes may be 2 behind", "name it in node-pools too",
				"warning skew NodePool new runs 1.34.2-gke.101, newer than the control plane at 1.34.2-gke.100, and nodes must not be newer than it",
				"gcloud container clusters upgrade cluster-1 --master --cluster-version 1.34.2-gke.101" + there,
			},
		},
		"a target three minors behind": {
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Pools[0].Version, s.Cluster.Versions.Nodes = "1.30.1-gke.1", []string{"1.31.13-gke.1"}
			},
			options: func(o *upgrade.Options) { o.Target = "1.31" },
			want: []string{
				"warning skew NodePool pool is to run 1.31.13-gke.1, 3 minors behind the control plane at 1.34.2-gke.100, and nodes may be 2 behind", "choose a newer target-version",
			},
		},

		"a control plane that is behind by two minors": {
			change: func(s *upgrade.Snapshot) {
				s.Cluster.ControlPlaneVersion, s.Cluster.Versions.Valid = "1.33.5-gke.1", []string{"1.34.2-gke.100", "1.35.1-gke.3"}
			},
			options: func(o *upgrade.Options) { o.Target = "1.35" },
			want: []string{
				"blocker control-plane-behind Cluster cluster-1 has a control plane at 1.33.5-gke.1, behind the target 1.35.1-gke.3, and nodes must not be newer than it; " +
					"upgrading control planes is not supported yet: it goes by 1.34.2-gke.100, then 1.35.1-gke.3",
				"gcloud container clusters upgrade cluster-1 --master --cluster-version 1.34.2-gke.100" + there +
					" && gcloud container clusters upgrade cluster-1 --master --cluster-version 1.35.1-gke.3" + there,
			},
		},
		"a zonal control plane that is behind": {
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Regional, s.Cluster.ControlPlaneVersion = false, "1.33.5-gke.1"
			},
			options: func(o *upgrade.Options) { o.Target = "1.34" },
			want: []string{
				"blocker control-plane-behind Cluster cluster-1 has a control plane at 1.33.5-gke.1, behind the target 1.34.2-gke.100, and nodes must not be newer than it; " +
					"upgrading control planes is not supported yet: it goes by 1.34.2-gke.100; " +
					"it is zonal, so the Kubernetes API is away for some minutes during each, while the control plane of a regional cluster stays up",
				"gcloud container clusters upgrade cluster-1 --master --cluster-version 1.34.2-gke.100" + there,
			},
		},
		"a control plane that is behind, with no way to the target": {
			change: func(s *upgrade.Snapshot) {
				s.Cluster.ControlPlaneVersion, s.Cluster.Pools[0].Version = "1.32.9-gke.1", "1.32.9-gke.1"
			},
			options: func(o *upgrade.Options) { o.Target = "1.34" },
			want: []string{
				"blocker control-plane-behind Cluster cluster-1 has a control plane at 1.32.9-gke.1, behind the target 1.34.2-gke.100, and nodes must not be newer than it; " +
					"upgrading control planes is not supported yet",
				"gcloud container get-server-config --format 'yaml(channels)'" + there + " # and choose a target that it leads to",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, o := ofGKE(), upgrade.Options{Target: "control-plane", Delete: upgrade.DeleteEach, Soak: upgrade.Seconds(2 * time.Minute)}
			if test.change != nil {
				test.change(&s)
			}
			if test.options != nil {
				test.options(&o)
			}
			plan, err := upgrade.BuildPlan(s, o, preflight.Inspect)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range plan.Findings {
				if f.Check == "unready-nodes" || f.Check == "newer-pool" {
					continue // told of elsewhere
				}
				got = append(got, strings.Join([]string{string(f.Severity), f.Check, f.Object.String(), f.Problem}, " "))
				pastable(t, f)
				if remedy(f) != "" {
					got = append(got, remedy(f))
				}
				i := slices.IndexFunc(preflight.Checks(), func(c preflight.Check) bool { return c.Name == f.Check })
				if c := preflight.Checks()[i]; !slices.Contains(c.Severities, f.Severity) {
					t.Errorf("%s finds a %s, which it does not say that it can", f.Check, f.Severity)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestAnUnreadMaintenancePolicyBlocksWhereItIsRespected: and only there.
func TestAnUnreadMaintenancePolicyBlocksWhereItIsRespected(t *testing.T) {
	s := ofGKE()
	s.Cluster.Unread = map[upgrade.Source]string{upgrade.ReadMaintenance: "wrong format"}
	for policy, want := range map[upgrade.MaintenancePolicy]upgrade.Verdict{upgrade.RespectMaintenance: upgrade.Blocked, upgrade.IgnoreMaintenance: upgrade.Warnings} {
		plan, err := upgrade.BuildPlan(s, upgrade.Options{Target: "control-plane", Delete: upgrade.DeleteEach, Maintenance: policy}, preflight.Inspect)
		if err != nil {
			t.Fatal(err)
		}
		if plan.Verdict != want {
			t.Errorf("%s: %s, want %s", policy, plan.Verdict, want)
		}
	}
}

func TestWhatComesAndGoesLeavesTheDigestAsItIs(t *testing.T) {
	digest := func(change func(*upgrade.Cluster)) string {
		s := ofGKE()
		change(&s.Cluster)
		plan, err := upgrade.BuildPlan(s, upgrade.Options{Target: "control-plane", Delete: upgrade.DeleteEach}, preflight.Inspect)
		if err != nil {
			t.Fatal(err)
		}
		return plan.Digest
	}
	before := digest(func(*upgrade.Cluster) {})
	for name, change := range map[string]func(*upgrade.Cluster){
		"an operation": func(c *upgrade.Cluster) {
			c.Operations = []upgrade.Operation{{Name: "o", Kind: "UPGRADE_MASTER", Target: "cluster-1"}}
		},
		"operations that could not be listed": func(c *upgrade.Cluster) {
			c.Unread = map[upgrade.Source]string{upgrade.ReadOperations: "deadline exceeded"}
		},
		"a window that has closed": func(c *upgrade.Cluster) {
			c.Maintenance = upgrade.Maintenance{Summary: "daily", Windows: []upgrade.Interval{interval(time.Hour, 5*time.Hour)}}
		},
		"a node more in the range": func(c *upgrade.Cluster) { c.Pools[0].PodRange.Free = 1024 },
	} {
		if digest(change) != before {
			t.Errorf("%s changes the digest", name)
		}
	}
	if digest(func(c *upgrade.Cluster) { c.Pools[0].ManagedBy = "Terraform" }) == before {
		t.Error("a tool that will make the old pool anew does not change the digest")
	}
}

func TestPoolsThatAControlPlaneWouldLeaveBehindAreNamed(t *testing.T) {
	s := ofGKE()
	s.Cluster.ControlPlaneVersion, s.Cluster.Pools[0].Version = "1.33.5-gke.1", "1.32.9-gke.1"
	s.Cluster.Versions.Valid = []string{"1.34.2-gke.100", "1.35.1-gke.3", "1.36.0-gke.1"}
	plan, err := upgrade.BuildPlan(s, upgrade.Options{Target: "1.36", Delete: upgrade.DeleteEach}, preflight.Inspect)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"pool pool runs 1.32.9-gke.1, 3 minors behind 1.35.1-gke.3, and nodes may be 2 behind: upgrade it before that"}
	if diff := cmp.Diff(want, plan.Findings[0].Evidence); diff != "" {
		t.Errorf("%s\n%s", plan.Findings[0].Problem, diff)
	}
}
