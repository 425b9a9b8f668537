package preflight_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/preflight"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// known is the healthy cluster with an Inventory in which there is nothing to say either: the pods are behind a Service and an admission
// webhook that is answered from nodes that stay.
func known() upgrade.Snapshot {
	s := healthy()
	s.Cluster.PoolLabel = "pool"
	web := &upgrade.PodShape{Namespace: "shop", Labels: map[string]string{"app": "web", "pod-template-hash": "abc"}}
	agent := &upgrade.PodShape{Namespace: "kube-system"}
	s.Inventory = upgrade.Inventory{
		Unread: map[upgrade.Source]string{}, Nodes: map[string]upgrade.NodeShape{}, Pods: map[string]*upgrade.PodShape{}, Volumes: map[string][]upgrade.Volume{},
		Daemons:  []upgrade.Daemon{{Ref: upgrade.Ref{Kind: "DaemonSet", Namespace: "kube-system", Name: "agent", UID: "w2"}, Shape: agent}},
		Services: []upgrade.Service{{Namespace: "shop", Name: "web", Type: "ClusterIP", Targets: []string{"8080"}, Pods: []string{"web-1", "web-2", "web-3"}, Ready: 3}},
		Webhooks: []upgrade.Webhook{{
			Configuration: upgrade.Ref{Kind: "ValidatingWebhookConfiguration", Name: "policy"}, Name: "policy.example.com", FailsClosed: true, Timeout: 10 * time.Second,
			Sees: []string{"create pods", "create pods/eviction"}, Namespaces: []string{"shop"}, Service: "policy/hook", Ready: []string{"hook-1", "hook-2"},
		}},
		User:        "ci@example.com",
		Permissions: []upgrade.Permission{{Verb: "patch", Resource: "nodes", Allowed: true, Why: "to cordon nodes"}},
	}
	for _, n := range []string{"1", "2", "3"} {
		s.Inventory.Nodes["n"+n] = upgrade.NodeShape{Image: "COS 1", Kernel: "6.1", Allocatable: upgrade.Resources{"pods": 110}}
		s.Inventory.Pods["web-"+n], s.Inventory.Pods["agent-"+n] = web, agent
	}
	return s
}

// TestWhatKubernetesKnowsIsFound: each case changes one thing in the known cluster, and names what is found, with a part of what is said
// of it or of its remedy.
func TestWhatKubernetesKnowsIsFound(t *testing.T) {
	pod := func(s *upgrade.Snapshot, name string) *upgrade.Pod {
		return &s.State.Pods[slices.IndexFunc(s.State.Pods, func(p upgrade.Pod) bool { return p.Name == name })]
	}
	budget := func(s *upgrade.Snapshot, change func(*upgrade.Budget)) {
		b := s.State.Budgets["shop/web"]
		change(&b)
		s.State.Budgets["shop/web"] = b
	}
	shape := func(s *upgrade.Snapshot, change func(*upgrade.PodShape)) { change(s.Inventory.Pods["web-1"]) }
	volume := func(s *upgrade.Snapshot, v upgrade.Volume) {
		v.Claim = "data"
		s.Inventory.Volumes["web-1"] = []upgrade.Volume{v}
	}
	in := func(key string, values ...string) []upgrade.NodeTerm {
		return []upgrade.NodeTerm{{Labels: []upgrade.Requirement{{Key: key, Operator: "In", Values: values}}}}
	}
	webhook := func(s *upgrade.Snapshot, change func(*upgrade.Webhook)) { change(&s.Inventory.Webhooks[0]) }
	service := func(s *upgrade.Snapshot, change func(*upgrade.Service)) { change(&s.Inventory.Services[0]) }
	unread := func(source upgrade.Source) func(*upgrade.Snapshot) {
		return func(s *upgrade.Snapshot) { s.Inventory.Unread[source] = "forbidden" }
	}
	api := upgrade.APIUse{Group: "policy", Version: "v1beta1", Resource: "poddisruptionbudgets", RemovedIn: "1.35", Source: "the types", Replacement: "policy/v1"}
	behind := func(s *upgrade.Snapshot) { s.Cluster.ControlPlaneVersion = "1.34.2-gke.100" }
	const deployment = "Deployment shop/web: "
	for name, test := range map[string]struct {
		change func(*upgrade.Snapshot)
		// want is "severity check object", a colon, and a part of the problem or of the remedy.
		want []string
		// target is another one than the control plane's.
		target string
	}{
		"nothing": {change: func(*upgrade.Snapshot) {}},

		"a missing permission": {change: func(s *upgrade.Snapshot) { s.Inventory.Permissions[0].Allowed = false },
			want: []string{"blocker permissions User ci@example.com: may not patch nodes, which is needed to cordon nodes"}},
		"missing permissions in a namespace": {change: func(s *upgrade.Snapshot) {
			for _, verb := range []string{"get", "update"} {
				s.Inventory.Permissions = append(s.Inventory.Permissions, upgrade.Permission{Verb: verb, Group: "coordination.k8s.io", Resource: "leases", Namespace: "upshift", Why: "to lock"})
			}
		}, want: []string{"blocker permissions User ci@example.com: kubectl create role upshift-leases -n upshift --verb get,update --resource leases.coordination.k8s.io && " +
			"kubectl create rolebinding upshift-leases -n upshift --role upshift-leases --user ci@example.com"}},
		"permissions that cannot be asked for": {change: unread(upgrade.ReadPermissions), want: []string{"unknown permissions Cluster cluster-1: own permissions"}},

		"a webhook without an endpoint": {change: func(s *upgrade.Snapshot) { webhook(s, func(w *upgrade.Webhook) { w.Ready = nil }) },
			want: []string{"blocker webhooks ValidatingWebhookConfiguration policy: the Service policy/hook of its webhook policy.example.com has no ready endpoint: create pods, create pods/eviction fails"}},
		"a webhook without its Service": {change: func(s *upgrade.Snapshot) { webhook(s, func(w *upgrade.Webhook) { w.Ready, w.Missing = nil, true }) },
			want: []string{"blocker webhooks ValidatingWebhookConfiguration policy: does not exist"}},
		"a webhook without an endpoint that has conditions": {change: func(s *upgrade.Snapshot) {
			webhook(s, func(w *upgrade.Webhook) { w.Ready, w.Conditional = nil, true })
		},
			want: []string{"warning webhooks ValidatingWebhookConfiguration policy: where its conditions hold"}},
		"a webhook without an endpoint that fails open": {change: func(s *upgrade.Snapshot) {
			webhook(s, func(w *upgrade.Webhook) { w.Ready, w.FailsClosed = nil, false })
		}},
		"a webhook without an endpoint for other pods": {change: func(s *upgrade.Snapshot) {
			webhook(s, func(w *upgrade.Webhook) { w.Ready, w.Namespaces = nil, []string{"dev"} })
		}},
		"a webhook that is reached by a URL": {change: func(s *upgrade.Snapshot) { webhook(s, func(w *upgrade.Webhook) { w.Ready, w.Service = nil, "" }) }},
		"a webhook over nodes without an endpoint": {change: func(s *upgrade.Snapshot) {
			webhook(s, func(w *upgrade.Webhook) { w.Ready, w.Namespaces, w.Sees = nil, nil, []string{"create nodes"} })
		}, want: []string{"blocker webhooks ValidatingWebhookConfiguration policy: create nodes fails"}},
		"a webhook with one pod, which moves":             {change: func(s *upgrade.Snapshot) { webhook(s, func(w *upgrade.Webhook) { w.Ready = []string{"web-1"} }) }, want: []string{"warning webhooks ValidatingWebhookConfiguration policy: has one ready pod, which moves: until its replacement is Ready, no pod can be made, that replacement perhaps included"}},
		"a webhook with one pod, which moves, its remedy": {change: func(s *upgrade.Snapshot) { webhook(s, func(w *upgrade.Webhook) { w.Ready = []string{"web-1"} }) }, want: []string{"warning webhooks ValidatingWebhookConfiguration policy: kubectl scale deployment web -n shop --replicas 4"}},
		"a webhook with pods on two nodes that are drained": {change: func(s *upgrade.Snapshot) {
			webhook(s, func(w *upgrade.Webhook) { w.Ready = []string{"web-1", "web-2"} })
		}},
		"a webhook that may take long over kube-system": {change: func(s *upgrade.Snapshot) {
			webhook(s, func(w *upgrade.Webhook) { w.Timeout, w.KubeSystem = 30*time.Second, true })
		}, want: []string{"info webhooks ValidatingWebhookConfiguration policy: 30s"}},
		"webhooks that cannot be read":   {change: unread(upgrade.ReadWebhooks), want: []string{"unknown webhooks Cluster cluster-1: admission webhooks"}},
		"namespaces that cannot be read": {change: unread(upgrade.ReadNamespaces), want: []string{"unknown webhooks Cluster cluster-1: namespaces"}},

		"a label that the target removes": {change: func(s *upgrade.Snapshot) {
			s.Cluster.Pools[0].Version, s.Cluster.ControlPlaneVersion = "1.23.17-gke.1", "1.24.1-gke.1"
			s.Cluster.Versions = upgrade.Versions{Default: "1.24.1-gke.1", Valid: []string{"1.24.1-gke.1"}}
			s.Inventory.Daemons[0].Shape.NodeTerms = []upgrade.NodeTerm{{Labels: []upgrade.Requirement{{Key: "node-role.kubernetes.io/master", Operator: "Exists"}}}}
		}, want: []string{"blocker removed-labels DaemonSet kube-system/agent: select node-role.kubernetes.io/control-plane instead"}},
		"a label that is gone for long": {change: func(s *upgrade.Snapshot) {
			shape(s, func(p *upgrade.PodShape) { p.NodeSelector = map[string]string{"node-role.kubernetes.io/master": ""} })
		}},

		"a disk of the node": {change: func(s *upgrade.Snapshot) {
			volume(s, upgrade.Volume{Local: true, Terms: in("kubernetes.io/hostname", "n1")})
		},
			want: []string{"blocker local-volumes " + deployment + "shop/data"}},
		"a directory of the node as a volume": {change: func(s *upgrade.Snapshot) { volume(s, upgrade.Volume{Local: true}) }, want: []string{"warning local-volumes " + deployment + "find them empty"}},
		"a volume in another zone":            {change: func(s *upgrade.Snapshot) { volume(s, upgrade.Volume{Terms: in("topology.gke.io/zone", "b")}) }, want: []string{"blocker zonal-volumes " + deployment + "none of the zones with nodes afterwards (a)"}},
		"a volume in the zone":                {change: func(s *upgrade.Snapshot) { volume(s, upgrade.Volume{Terms: in("topology.gke.io/zone", "a", "b")}) }},
		"a volume in the zone of a pool that stays": {change: func(s *upgrade.Snapshot) {
			s.State.Nodes = append(s.State.Nodes, upgrade.Node{Name: "m1", Pool: "other", Zone: "b", Ready: true})
			s.Cluster.Pools = append(s.Cluster.Pools, upgrade.Pool{Name: "other", Version: "1.34.2-gke.100", Zones: []string{"b"}})
			volume(s, upgrade.Volume{Terms: in("topology.kubernetes.io/zone", "b")})
		}},
		"a volume that asks for another label": {change: func(s *upgrade.Snapshot) { volume(s, upgrade.Volume{Terms: in("rack", "7")}) }},
		"a claim that is being deleted":        {change: func(s *upgrade.Snapshot) { volume(s, upgrade.Volume{Unbound: "the claim is being deleted"}) }, want: []string{"warning unbound-volumes " + deployment + "the claim is being deleted"}},
		"volumes that cannot be read":          {change: unread(upgrade.ReadVolumes), want: []string{"unknown local-volumes Cluster cluster-1: forbidden", "unknown zonal-volumes Cluster cluster-1: forbidden"}},
		"a directory of the node": {change: func(s *upgrade.Snapshot) {
			shape(s, func(p *upgrade.PodShape) { p.HostPaths = []string{"/data", "/sys/fs"} })
		}, want: []string{"warning host-paths " + deployment + "directories of its nodes (/data)"}},
		"a DaemonSet's directory of the node": {change: func(s *upgrade.Snapshot) { s.Inventory.Pods["agent-1"].HostPaths = []string{"/var/log"} }},

		"local traffic to nodes that are drained": {change: func(s *upgrade.Snapshot) { service(s, func(v *upgrade.Service) { v.LocalTraffic = true }) },
			want: []string{"warning external-traffic-local Service shop/web: kubectl patch service web -n shop"}},
		"local traffic to a node that stays, too": {change: func(s *upgrade.Snapshot) {
			s.State.Nodes = append(s.State.Nodes, upgrade.Node{Name: "m1", Zone: "a", Ready: true})
			pod(s, "web-3").Node = "m1"
			service(s, func(v *upgrade.Service) { v.LocalTraffic = true })
		}},
		"local traffic to a DaemonSet": {change: func(s *upgrade.Snapshot) {
			service(s, func(v *upgrade.Service) { v.LocalTraffic, v.Pods = true, []string{"agent-1", "agent-2"} })
		}},
		"a Service that is down": {change: func(s *upgrade.Snapshot) { service(s, func(v *upgrade.Service) { v.Ready = 0 }) }, want: []string{"warning no-endpoints Service shop/web: down already"}},
		"a Service that is down and selects nothing that moves": {change: func(s *upgrade.Snapshot) {
			service(s, func(v *upgrade.Service) { v.Ready, v.Pods = 0, []string{"agent-1"} })
		}},
		"no readiness probe": {change: func(s *upgrade.Snapshot) {
			shape(s, func(p *upgrade.PodShape) {
				p.Unprobed = []upgrade.Unprobed{{Container: "app", Ports: []string{"8080", "http"}}}
			})
		}, want: []string{"warning no-readiness-probe " + deployment + "(container app)"}},
		"no readiness probe of the only container": {change: func(s *upgrade.Snapshot) {
			shape(s, func(p *upgrade.PodShape) { p.Unprobed = []upgrade.Unprobed{{Container: "app", Only: true}} })
		}, want: []string{"warning no-readiness-probe " + deployment + "(container app)"}},
		"no readiness probe of a container to which no Service sends": {change: func(s *upgrade.Snapshot) {
			shape(s, func(p *upgrade.PodShape) {
				p.Unprobed = []upgrade.Unprobed{{Container: "metrics", Ports: []string{"9090"}}}
			})
		}},
		"no readiness probe and no Service": {change: func(s *upgrade.Snapshot) {
			s.Inventory.Services = nil
			shape(s, func(p *upgrade.PodShape) {
				p.Unprobed = []upgrade.Unprobed{{Container: "app", Ports: []string{"8080"}}}
			})
		}},
		"a pod that crashes": {change: func(s *upgrade.Snapshot) { pod(s, "web-1").Trouble = "container app: CrashLoopBackOff" }, want: []string{"warning crashing " + deployment + "CrashLoopBackOff"}},

		"a PDB that cannot be worked out": {change: func(s *upgrade.Snapshot) {
			budget(s, func(b *upgrade.Budget) { b.Allowed, b.Trouble = 0, "found no controller ref" })
		}, want: []string{"warning pdb-without-controller PodDisruptionBudget shop/web: found no controller ref"}},
		"a PDB over pods of which most are elsewhere, its remedy": {change: func(s *upgrade.Snapshot) {
			budget(s, func(b *upgrade.Budget) { b.Allowed, b.Trouble = 0, "found no controller ref" })
			for _, name := range []string{"far-1", "far-2"} {
				s.State.Pods = append(s.State.Pods, upgrade.Pod{Namespace: "shop", Name: name, UID: name, Node: "elsewhere", Ready: true, Workload: s.State.Workloads["w1"].Ref, Budgets: []string{"shop/web"}})
			}
		}, want: []string{`warning pdb-without-controller PodDisruptionBudget shop/web: "minAvailable":4`}},
		"a PDB that can never allow anything, over pods of a controller of somebody's own, its remedy": {change: func(s *upgrade.Snapshot) {
			delete(s.State.Workloads, "w1")
			budget(s, func(b *upgrade.Budget) { b.Allowed, b.Healthy, b.Needed, b.Expected = 0, 3, 3, 3 })
		}, want: []string{`warning pdb-blocks PodDisruptionBudget shop/web: "minAvailable":2`}},
		"a PDB that counts nothing": {change: func(s *upgrade.Snapshot) {
			budget(s, func(b *upgrade.Budget) { b.Allowed, b.Healthy, b.Needed, b.Expected = 0, 0, 0, 0 })
		}, want: []string{"warning pdb-without-controller PodDisruptionBudget shop/web: it counts no pods"}},
		"a PDB that keeps an unready pod": {change: func(s *upgrade.Snapshot) {
			pod(s, "web-1").Ready = false
			budget(s, func(b *upgrade.Budget) { b.Allowed, b.Healthy, b.Needed, b.Expected = 0, 1, 2, 3 })
		}, want: []string{`warning unhealthy-blocks PodDisruptionBudget shop/web: kubectl patch pdb web -n shop --type merge -p '{"spec":{"unhealthyPodEvictionPolicy":"AlwaysAllow"}}'`}},
		"a PDB that lets unready pods go": {change: func(s *upgrade.Snapshot) {
			pod(s, "web-1").Ready = false
			budget(s, func(b *upgrade.Budget) { b.Allowed, b.Healthy, b.FreesUnready = 0, 1, true })
		}, want: []string{"warning pdb-blocks PodDisruptionBudget shop/web: allows no eviction now"}},
		"a PDB that never allows any, with an unready pod": {change: func(s *upgrade.Snapshot) {
			pod(s, "web-1").Ready = false
			budget(s, func(b *upgrade.Budget) { b.Allowed, b.Healthy, b.Needed = 0, 2, 3 })
		}, want: []string{`warning pdb-blocks PodDisruptionBudget shop/web: kubectl patch pdb web -n shop --type merge -p '{"spec":{"minAvailable":null,"maxUnavailable":1}}'`}},

		"an API version that goes later, asked for": {change: func(s *upgrade.Snapshot) { s.Inventory.APIs = []upgrade.APIUse{with(api, true)} },
			want: []string{"info deprecated-apis API poddisruptionbudgets.v1beta1.policy: not served from 1.35 on"}},
		"an API version that is gone already": {change: func(s *upgrade.Snapshot) {
			gone := with(api, true)
			gone.RemovedIn = "1.34"
			s.Inventory.APIs = []upgrade.APIUse{gone}
		}},
		"an API version that the target removes, asked for": {target: "1.35.1-gke.300", change: func(s *upgrade.Snapshot) {
			behind(s)
			s.Inventory.APIs = []upgrade.APIUse{with(api, true)}
		}, want: []string{"blocker control-plane-behind Cluster cluster-1: ", "blocker deprecated-apis API poddisruptionbudgets.v1beta1.policy: use policy/v1"}},
		"an API version that the target removes, in manifests": {target: "1.35.1-gke.300", change: func(s *upgrade.Snapshot) {
			behind(s)
			s.Inventory.APIs = []upgrade.APIUse{with(api, false, upgrade.Ref{Kind: "PodDisruptionBudget", Namespace: "shop", Name: "web"})}
		}, want: []string{"blocker control-plane-behind Cluster cluster-1: ", "warning deprecated-apis API poddisruptionbudgets.v1beta1.policy: (PodDisruptionBudget shop/web)"}},
		"metrics that cannot be read before a new minor": {target: "1.35.1-gke.300", change: func(s *upgrade.Snapshot) {
			behind(s)
			s.Inventory.Unread[upgrade.ReadAPIMetrics] = "forbidden"
		}, want: []string{"blocker control-plane-behind Cluster cluster-1: ", "unknown deprecated-apis Cluster cluster-1: the API server's metrics"}},
		"metrics that cannot be read where the control plane stays": {change: unread(upgrade.ReadAPIMetrics)},

		"nodes that differ": {change: func(s *upgrade.Snapshot) { s.Inventory.Nodes["n2"] = upgrade.NodeShape{Image: "COS 1", Kernel: "6.2"} },
			want: []string{"warning image-drift NodePool pool: COS 1, kernel 6.1, COS 1, kernel 6.2"}},
		"nodes that differ in their version, too": {change: func(s *upgrade.Snapshot) {
			s.State.Nodes[1].Version = "1.33.6"
			s.Inventory.Nodes["n2"] = upgrade.NodeShape{Image: "COS 1", Kernel: "6.2"}
		}},

		"replicas without a PDB": {change: func(s *upgrade.Snapshot) {
			for _, n := range []string{"1", "2", "3"} {
				pod(s, "web-"+n).Budgets = nil
			}
		}, want: []string{"info no-pdb " + deployment + "kubectl create poddisruptionbudget web -n shop --max-unavailable 1 --selector app=web"}},
		"one replica": {change: func(s *upgrade.Snapshot) {
			s.State.Workloads["w1"] = upgrade.Workload{Ref: s.State.Workloads["w1"].Ref, Wanted: 1}
		}, want: []string{"warning single-replica " + deployment + "kubectl scale deployment web -n shop --replicas 2"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := known()
			test.change(&s)
			target := "control-plane"
			if test.target != "" {
				target, s.Cluster.Versions.Valid = test.target, append(s.Cluster.Versions.Valid, test.target)
			}
			plan, err := upgrade.BuildPlan(s, upgrade.Options{Target: target, Delete: upgrade.DeleteEach}, preflight.Inspect)
			if err != nil {
				t.Fatal(err)
			}
			var got, heads []string
			// Whether the pods fit has tests of its own, in which nodes have all that this asks for.
			findings := slices.DeleteFunc(plan.Findings, func(f upgrade.Finding) bool { return f.Check == "fit" })
			for i, f := range findings {
				head := fmt.Sprintf("%s %s %s", f.Severity, f.Check, f.Object)
				pastable(t, f)
				got = append(got, fmt.Sprintf("%s: %s; %s; %s", head, f.Problem, remedy(f), strings.Join(f.Evidence, " ")))
				c := preflight.Checks()[slices.IndexFunc(preflight.Checks(), func(c preflight.Check) bool { return c.Name == f.Check })]
				if !slices.Contains(c.Severities, f.Severity) || strings.HasSuffix(f.Problem, ".") || remedy(f) == "" && f.Severity != upgrade.UnknownSeverity {
					t.Errorf("%+v is not as its check says", f)
				}
				heads = append(heads, head)
				if i >= len(test.want) {
					continue
				}
				wanted, part, _ := strings.Cut(test.want[i], ": ")
				if head != wanted || !strings.Contains(got[i], part) {
					t.Errorf("found   %s\nwant    %s", got[i], test.want[i])
				}
			}
			if len(heads) != len(test.want) {
				t.Error(cmp.Diff(test.want, got))
			}
		})
	}
}

// with is the use of an API version by those who ask for it, and by objects that were applied with it.
func with(use upgrade.APIUse, requested bool, applied ...upgrade.Ref) upgrade.APIUse {
	use.Requested, use.Applied = requested, applied
	return use
}
