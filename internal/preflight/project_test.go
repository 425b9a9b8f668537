package preflight_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/preflight"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// ofProject is a healthy cluster with all that Google tells of its project: a pool of three nodes of four CPUs each, of which the system keeps
// a part, and quotas that leave as much again.
func ofProject() upgrade.Snapshot {
	s := ofGKE()
	s.Inventory.Nodes = map[string]upgrade.NodeShape{}
	for _, n := range s.State.Nodes {
		s.Inventory.Nodes[n.Name] = ofFamily("e2", n.Zone)
	}
	s.Cluster.Permissions = []upgrade.ProviderPermission{
		{Name: "container.clusters.update", Allowed: true, Why: "to make and delete node pools"}, {Name: "container.operations.get", Allowed: true, Why: "to wait"},
	}
	s.Cluster.Quotas = []upgrade.Quota{
		{Metric: "CPUS", Limit: 24, Used: 12}, {Metric: "E2_CPUS", Limit: 8}, {Metric: "N2_CPUS", Limit: 24, Used: 12}, {Metric: "PREEMPTIBLE_CPUS"}, {Metric: "INSTANCES", Limit: 10, Used: 3},
	}
	return s
}

// ofFamily is a node with the labels that GKE and Kubernetes give, which nobody misses, and room for all pods.
func ofFamily(family, zone string) upgrade.NodeShape {
	return upgrade.NodeShape{
		Labels:      map[string]string{"cloud.google.com/machine-family": family, "topology.kubernetes.io/zone": zone},
		Allocatable: upgrade.Resources{"cpu": 3920, "memory": 16 << 30, "pods": 110},
	}
}

// made makes all nodes of one machine family, spot or not.
func made(s *upgrade.Snapshot, family string, spot bool) {
	for name := range s.Inventory.Nodes {
		node := ofFamily(family, "a")
		if spot {
			node.Labels["cloud.google.com/gke-spot"] = "true"
		}
		s.Inventory.Nodes[name] = node
	}
}

// set sets a quota of the region.
func set(s *upgrade.Snapshot, metric string, limit, used float64) {
	for i, q := range s.Cluster.Quotas {
		if q.Metric == metric {
			s.Cluster.Quotas[i].Limit, s.Cluster.Quotas[i].Used = limit, used
		}
	}
}

// another adds a pool of two nodes that is as far behind as the first.
func another(s *upgrade.Snapshot) {
	secondPool(s)
	for _, n := range []string{"s1", "s2"} {
		s.Inventory.Nodes[n] = ofFamily("e2", "a")
	}
}

const (
	showQuotas = "gcloud compute regions describe europe-west1 --project p --format 'yaml(quotas)'"
	askForMore = showQuotas + " # and ask the provider for more"
	notTold    = "info surge-quota NodePool pool has CPUs of which none of the region's quotas is known to count them: whether the new nodes are within theirs cannot be told"
)

// TestWhatTheProjectMayDoAndHave: each case changes one thing in a healthy cluster, and says what a person reads: the finding, its evidence, and
// how to be rid of it.
func TestWhatTheProjectMayDoAndHave(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(*upgrade.Snapshot)
		options func(*upgrade.Options)
		want    []string
	}{
		"all is well":                 {},
		"a provider that has neither": {change: func(s *upgrade.Snapshot) { s.Cluster.Permissions, s.Cluster.Quotas = nil, nil }},

		"a permission that is denied": {
			change: func(s *upgrade.Snapshot) { s.Cluster.Permissions[0].Allowed = false },
			want: []string{
				"warning provider-permissions Project p does not allow container.clusters.update: a run fails at its first call that needs it, before an old node is touched",
				"- container.clusters.update is needed to make and delete node pools",
				"gcloud iam roles create upshift --project p --permissions container.clusters.update,container.operations.get # and bind that role to the account that Upshift runs as",
			},
		},
		"a disabled API": {
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Permissions, s.Cluster.Unread = nil, map[upgrade.Source]string{upgrade.ReadProviderPermissions: "SERVICE_DISABLED: not used before"}
			},
			want: []string{
				"unknown provider-permissions Cluster cluster-1 does not let own permissions at the provider be read, so whether Upshift may do what an upgrade needs cannot be told",
				"- SERVICE_DISABLED: not used before",
				"gcloud services enable cloudresourcemanager.googleapis.com --project p",
			},
		},
		"quotas that may not be read": {
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Quotas, s.Cluster.Unread = nil, map[upgrade.Source]string{upgrade.ReadQuotas: "403 Forbidden: Required 'compute.regions.get' permission"}
			},
			want: []string{
				"unknown surge-quota Cluster cluster-1 does not let the region's quotas be read, so whether the new nodes are within them cannot be told",
				"- 403 Forbidden: Required 'compute.regions.get' permission",
				showQuotas,
			},
		},
		"neither is looked at where there is nothing to do": {
			change: func(s *upgrade.Snapshot) {
				s.Cluster.Pools[0].Version = "1.34.2-gke.100"
				s.Cluster.Permissions[0].Allowed = false
				s.Cluster.Unread = map[upgrade.Source]string{upgrade.ReadQuotas: "forbidden"}
			},
		},

		"a CPU too few": {
			change: func(s *upgrade.Snapshot) { set(s, "CPUS", 24, 13) },
			want: []string{
				"warning surge-quota Quota CPUS leaves 11 of 24 CPUs in europe-west1, and the new nodes need 12: they are not all made",
				"- pool pool: new nodes 3, CPUs a node 4", askForMore,
			},
		},
		"a CPU too few in a zonal cluster": {
			change: func(s *upgrade.Snapshot) {
				set(s, "CPUS", 24, 13)
				s.Cluster.Location, s.Cluster.Regional = "europe-west1-b", false
			},
			want: []string{
				"warning surge-quota Quota CPUS leaves 11 of 24 CPUs in europe-west1, and the new nodes need 12: they are not all made",
				"- pool pool: new nodes 3, CPUs a node 4", askForMore,
			},
		},
		"more used than the limit is by now": {
			change: func(s *upgrade.Snapshot) { set(s, "CPUS", 8, 12) },
			want: []string{
				"warning surge-quota Quota CPUS leaves 0 of 8 CPUs in europe-west1, and the new nodes need 12: they are not all made",
				"- pool pool: new nodes 3, CPUs a node 4", askForMore,
			},
		},
		"no limit": {change: func(s *upgrade.Snapshot) { set(s, "CPUS", 9223372036854775807, 12) }},
		"a machine too few": {
			change: func(s *upgrade.Snapshot) { set(s, "INSTANCES", 6, 4) },
			want: []string{
				"warning surge-quota Quota INSTANCES leaves 2 of 6 machines in europe-west1, and the new nodes need 3: they are not all made",
				"- pool pool: new nodes 3, machines a node 1", askForMore,
			},
		},
		"nodes of the new pool that are there already": {
			change: func(s *upgrade.Snapshot) {
				set(s, "CPUS", 24, 16)
				takenOver(s)
				s.Inventory.Nodes["new-1"] = ofFamily("e2", "a")
			},
		},
		"a family with a quota of its own, which is what counts": {change: func(s *upgrade.Snapshot) { made(s, "n2", false); set(s, "CPUS", 24, 24) }},
		"too few of a family": {
			change: func(s *upgrade.Snapshot) { made(s, "n2", false); set(s, "N2_CPUS", 16, 12) },
			want: []string{
				"warning surge-quota Quota N2_CPUS leaves 4 of 16 CPUs in europe-west1, and the new nodes need 12: they are not all made",
				"- pool pool: new nodes 3, CPUs a node 4", askForMore,
			},
		},
		"a family whose quota the region does not tell":                 {change: func(s *upgrade.Snapshot) { made(s, "c4", false) }, want: []string{notTold, showQuotas}},
		"a family whose quota has not counted the nodes that are there": {change: func(s *upgrade.Snapshot) { made(s, "n2", false); set(s, "N2_CPUS", 2, 0) }, want: []string{notTold, showQuotas}},
		"nodes of which nothing is known":                               {change: func(s *upgrade.Snapshot) { s.Inventory.Nodes = nil }, want: []string{notTold, showQuotas}},
		"spot nodes in a project that was never given a quota for them": {change: func(s *upgrade.Snapshot) { made(s, "n2", true) }},
		"too few for spot nodes, in a project that has a quota for them": {
			change: func(s *upgrade.Snapshot) { made(s, "n2", true); set(s, "PREEMPTIBLE_CPUS", 20, 12) },
			want: []string{
				"warning surge-quota Quota PREEMPTIBLE_CPUS leaves 8 of 20 CPUs in europe-west1, and the new nodes need 12: they are not all made",
				"- pool pool: new nodes 3, CPUs a node 4", askForMore,
			},
		},

		"pools one after the other, of which each fits": {change: func(s *upgrade.Snapshot) { another(s); set(s, "CPUS", 32, 20) }},
		"both new pools at once": {
			change:  func(s *upgrade.Snapshot) { another(s); set(s, "CPUS", 32, 20) },
			options: func(o *upgrade.Options) { o.Delete = upgrade.DeleteAtEnd },
			want: []string{
				"warning surge-quota Quota CPUS leaves 12 of 32 CPUs in europe-west1, and the new nodes need 20: they are not all made",
				"- pool pool: new nodes 3, CPUs a node 4", "- pool second: new nodes 2, CPUs a node 4",
				"delete-old-pools: each, so that a pool's CPUs are free again before the next one is made",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := ofProject()
			if test.change != nil {
				test.change(&s)
			}
			o := upgrade.Options{Target: "control-plane", Delete: upgrade.DeleteEach}
			if test.options != nil {
				test.options(&o)
			}
			plan, err := upgrade.BuildPlan(s, o, preflight.Inspect)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range plan.Findings {
				if f.Check != "surge-quota" && f.Check != "provider-permissions" {
					continue
				}
				pastable(t, f)
				got = append(got, string(f.Severity)+" "+f.Check+" "+f.Object.String()+" "+f.Problem)
				for _, e := range f.Evidence {
					got = append(got, "- "+e)
				}
				got = append(got, remedy(f))
				if f.Stops() || strings.HasSuffix(f.Problem, ".") {
					t.Errorf("%+v", f)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestQuotasComeAndGoAndPermissionsDoNot(t *testing.T) {
	digest := func(change func(*upgrade.Snapshot)) string {
		s := ofProject()
		change(&s)
		plan, err := upgrade.BuildPlan(s, upgrade.Options{Target: "control-plane", Delete: upgrade.DeleteEach}, preflight.Inspect)
		if err != nil {
			t.Fatal(err)
		}
		return plan.Digest
	}
	before := digest(func(*upgrade.Snapshot) {})
	for name, change := range map[string]func(*upgrade.Snapshot){
		"a machine more": func(s *upgrade.Snapshot) { set(s, "CPUS", 24, 16) },
		"an API that is away": func(s *upgrade.Snapshot) {
			s.Cluster.Unread = map[upgrade.Source]string{upgrade.ReadQuotas: "away", upgrade.ReadProviderPermissions: "away"}
		},
	} {
		if digest(change) != before {
			t.Errorf("%s changes the digest", name)
		}
	}
	if digest(func(s *upgrade.Snapshot) { s.Cluster.Permissions[0].Allowed = false }) == before {
		t.Error("a permission that is denied does not change the digest")
	}
}
