package gkeemu_test

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
)

func TestCreatedPoolHasNodesThatLookLikeGKEs(t *testing.T) {
	w := start(t, gkeemu.Options{})
	op, err := w.create(t.Context(), &containerpb.NodePool{
		Name: "blue", InitialNodeCount: 2, Version: master,
		Locations: []string{"europe-west1-b", "europe-west1-c"},
		Config: &containerpb.NodeConfig{
			MachineType: "n2-highmem-4",
			Labels:      map[string]string{"team": "web"},
			Taints:      []*containerpb.NodeTaint{{Key: "web", Value: "only", Effect: containerpb.NodeTaint_NO_SCHEDULE}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if done := w.done(t, op); done.GetError() != nil {
		t.Fatalf("operation failed: %v", done.GetError())
	}
	nodes := w.nodes(t, "blue")
	zones := map[string]int{}
	for _, n := range nodes {
		zone := n.Labels["topology.kubernetes.io/zone"]
		zones[zone]++
		if !regexp.MustCompile(`^gke-cluster-1-blue-[0-9a-f]{8}-[0-9a-z]{4}$`).MatchString(n.Name) {
			t.Errorf("name %s", n.Name)
		}
		if want := "gce://p/" + zone + "/" + n.Name; n.Spec.ProviderID != want {
			t.Errorf("provider ID %s, want %s", n.Spec.ProviderID, want)
		}
		wantTaints := []corev1.Taint{{Key: "web", Value: "only", Effect: corev1.TaintEffectNoSchedule}}
		if diff := cmp.Diff(wantTaints, n.Spec.Taints); diff != "" {
			t.Errorf("taints (-want +got):\n%s", diff)
		}
		for key, want := range map[string]string{
			"cloud.google.com/gke-nodepool":    "blue",
			"kubernetes.io/hostname":           n.Name,
			"node.kubernetes.io/instance-type": "n2-highmem-4",
			"topology.kubernetes.io/region":    "europe-west1",
			"kubernetes.io/os":                 "linux",
			"team":                             "web",
		} {
			if n.Labels[key] != want {
				t.Errorf("label %s=%s, want %s", key, n.Labels[key], want)
			}
		}
		wantAnnotations := map[string]string{
			lab.AnnotationStartUp:                                    "2s",
			lab.AnnotationKubeletVersion:                             "v" + master,
			lab.AnnotationAllocatable:                                "cpu=4,memory=32Gi,pods=110",
			"volumes.kubernetes.io/controller-managed-attach-detach": "true",
		}
		if diff := cmp.Diff(wantAnnotations, n.Annotations); diff != "" {
			t.Errorf("annotations (-want +got):\n%s", diff)
		}
	}
	if diff := cmp.Diff(map[string]int{"europe-west1-b": 2, "europe-west1-c": 2}, zones); diff != "" {
		t.Errorf("nodes per zone (-want +got):\n%s", diff)
	}
	if got := w.pool(t, "blue").GetStatus(); got != containerpb.NodePool_RUNNING {
		t.Errorf("pool is %s", got)
	}
}

func TestPoolWithoutVersionGetsTheControlPlanes(t *testing.T) {
	for _, version := range []string{"", "-"} {
		w := start(t, gkeemu.Options{})
		w.done(t, must[*containerpb.Operation](t)(w.create(t.Context(), &containerpb.NodePool{Name: "blue", Version: version})))
		if got := w.pool(t, "blue").GetVersion(); got != master {
			t.Errorf("version %q became %s, want %s", version, got, master)
		}
	}
}

func TestLongNamesMakeNodeNamesThatFit(t *testing.T) {
	for _, tt := range []struct{ cluster, pool, prefix string }{
		{"cluster-1", "default-pool", "gke-cluster-1-default-pool-"},
		{"cluster-1", "default-pool-1-34-2-gke-100", "gke-cluster-1-default-pool-1-34-2-gk-"},
		{"europe-west3-composer-environment", "default-pool", "gke-europe-west3-compos-default-pool-"},
		{strings.Repeat("c", 40), strings.Repeat("p", 40), "gke-" + strings.Repeat("c", 15) + "-" + strings.Repeat("p", 16) + "-"},
		{"cluster-1", "default-pool-with-abcd-efgh", "gke-cluster-1-default-pool-with-abcd-"},
	} {
		t.Run(tt.cluster+"/"+tt.pool, func(t *testing.T) {
			w := start(t, gkeemu.Options{})
			w.kube = fake.NewClientset()
			c := gkeemu.Cluster{Project: "other", Location: "europe-west1-b", Name: tt.cluster, Version: master, Kube: w.kube}
			if err := w.srv.AddCluster(c); err != nil {
				t.Fatal(err)
			}
			if err := w.srv.AddPool(t.Context(), c.Path(), &containerpb.NodePool{Name: tt.pool, InitialNodeCount: 1}, ""); err != nil {
				t.Fatal(err)
			}
			nodes := w.nodes(t, tt.pool)
			if len(nodes) != 1 {
				t.Fatalf("%d nodes, want 1", len(nodes))
			}
			if rest, ok := strings.CutPrefix(nodes[0].Name, tt.prefix); !ok || len(rest) != len("7d6b79ce-0s6z") || len(nodes[0].Name) > 63 {
				t.Errorf("name %s, want %s7d6b79ce-0s6z", nodes[0].Name, tt.prefix)
			}
		})
	}
}

func TestCloneMustClearOutputOnlyFields(t *testing.T) {
	w := start(t, gkeemu.Options{})
	clone := w.pool(t, "default-pool")
	clone.Name = "clone"
	_, err := w.create(t.Context(), proto.CloneOf(clone))
	wantCode(t, err, codes.InvalidArgument)
	for _, field := range []string{
		"node_pool.config.effective_cgroup_mode", "node_pool.etag", "node_pool.instance_group_urls",
		"node_pool.network_config.pod_ipv4_range_utilization", "node_pool.pod_ipv4_cidr_size", "node_pool.self_link", "node_pool.status",
	} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%v does not name %s", err, field)
		}
	}
	clone.SelfLink, clone.InstanceGroupUrls, clone.Status, clone.Etag, clone.PodIpv4CidrSize = "", nil, 0, "", 0
	clone.Config.EffectiveCgroupMode = 0
	clone.NetworkConfig.PodIpv4RangeUtilization = 0
	w.done(t, must[*containerpb.Operation](t)(w.create(t.Context(), clone)))
}

func TestCreateNodePoolRefusesWhatGKERefuses(t *testing.T) {
	w := start(t, gkeemu.Options{})
	for _, tt := range []struct {
		name string
		pool *containerpb.NodePool
		code codes.Code
		text string
	}{
		{"nothing", nil, codes.InvalidArgument, "node_pool"},
		{"no name", &containerpb.NodePool{}, codes.InvalidArgument, `node_pool.name": ""`},
		{"41 characters", &containerpb.NodePool{Name: strings.Repeat("a", 41)}, codes.InvalidArgument, "regex"},
		{"capitals", &containerpb.NodePool{Name: "Blue"}, codes.InvalidArgument, "regex"},
		{"hyphen at the end", &containerpb.NodePool{Name: "blue-"}, codes.InvalidArgument, "regex"},
		{"digit at the start", &containerpb.NodePool{Name: "1-blue"}, codes.InvalidArgument, "regex"},
		{"taken name", &containerpb.NodePool{Name: "default-pool"}, codes.AlreadyExists, oldPath},
		{"unknown version", &containerpb.NodePool{Name: "b", Version: "1.34.2-gke.99"}, codes.InvalidArgument, `Node version "1.34.2-gke.99" is unsupported.`},
		{"no version at all", &containerpb.NodePool{Name: "b", Version: "newest"}, codes.InvalidArgument, `Node version "newest" is unsupported.`},
		{"above the control plane", &containerpb.NodePool{Name: "b", Version: "1.35.1-gke.300"}, codes.InvalidArgument, "greater than master version"},
		{"negative size", &containerpb.NodePool{Name: "b", InitialNodeCount: -1}, codes.InvalidArgument, "initial_node_count"},
		{"foreign zone", &containerpb.NodePool{Name: "b", Locations: []string{"us-central1-a"}}, codes.InvalidArgument, "us-central1-a"},
		{"region as a zone", &containerpb.NodePool{Name: "b", Locations: []string{"europe-west1"}}, codes.InvalidArgument, "europe-west1"},
		{"manual upgrades on a channel", &containerpb.NodePool{Name: "b", Management: &containerpb.NodeManagement{AutoRepair: true}}, codes.InvalidArgument, "REGULAR"},
		{"autoscaling upside down", &containerpb.NodePool{Name: "b", Autoscaling: &containerpb.NodePoolAutoscaling{Enabled: true, MinNodeCount: 3, MaxNodeCount: 1}}, codes.InvalidArgument, "autoscaling"},
		{"status", &containerpb.NodePool{Name: "b", Status: containerpb.NodePool_RUNNING}, codes.InvalidArgument, "node_pool.status"},
		{"conditions", &containerpb.NodePool{Name: "b", Conditions: []*containerpb.StatusCondition{{}}}, codes.InvalidArgument, "node_pool.conditions"},
		{"upgrade options", &containerpb.NodePool{Name: "b", Management: &containerpb.NodeManagement{UpgradeOptions: &containerpb.AutoUpgradeOptions{Description: "soon"}}},
			codes.InvalidArgument, "node_pool.management.upgrade_options.description"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := w.create(t.Context(), tt.pool)
			wantCode(t, err, tt.code)
			if err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%v does not say %q", err, tt.text)
			}
		})
	}
	if pools := must[*containerpb.ListNodePoolsResponse](t)(w.ListNodePools(t.Context(), &containerpb.ListNodePoolsRequest{Parent: clusterPath})); len(pools.GetNodePools()) != 1 {
		t.Errorf("refusals left %d pools, want 1", len(pools.GetNodePools()))
	}
}

func TestOperationIsSeenToProceed(t *testing.T) {
	w := start(t, gkeemu.Options{Timing: gkeemu.Timing{Pending: 50 * time.Millisecond, CreateNodePool: 200 * time.Millisecond}})
	begun := time.Now()
	op, err := w.create(t.Context(), &containerpb.NodePool{Name: "blue", InitialNodeCount: 1})
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^operation-\d{13}-[0-9a-f]{8}$`).MatchString(op.GetName()) {
		t.Errorf("name %s", op.GetName())
	}
	if op.GetStatus() != containerpb.Operation_PENDING || op.GetOperationType() != containerpb.Operation_CREATE_NODE_POOL || op.GetEndTime() != "" {
		t.Errorf("at first %v", op)
	}
	if want := "https://container.googleapis.com/v1/" + clusterPath + "/nodePools/blue"; op.GetTargetLink() != want {
		t.Errorf("target %s, want %s", op.GetTargetLink(), want)
	}
	if got := w.pool(t, "blue").GetStatus(); got != containerpb.NodePool_PROVISIONING {
		t.Errorf("pool is %s while it is created", got)
	}
	running := w.await(t, op.GetName(), func(op *containerpb.Operation) bool {
		return len(op.GetProgress().GetMetrics()) == 2 && op.GetProgress().GetMetrics()[0].GetIntValue() > 0
	})
	if done, total := running.GetProgress().GetMetrics()[0], running.GetProgress().GetMetrics()[1]; running.GetStatus() != containerpb.Operation_RUNNING ||
		done.GetIntValue() >= 3 || total.GetIntValue() != 3 || done.GetName() != "nodes done" || total.GetName() != "nodes total" {
		t.Errorf("midway %v", running)
	}
	done := w.done(t, op)
	if took := time.Since(begun); took < 250*time.Millisecond {
		t.Errorf("took %s, want at least 250ms", took)
	}
	from, err1 := time.Parse(time.RFC3339, done.GetStartTime())
	to, err2 := time.Parse(time.RFC3339, done.GetEndTime())
	if err1 != nil || err2 != nil || to.Sub(from) < 250*time.Millisecond {
		t.Errorf("from %s to %s", done.GetStartTime(), done.GetEndTime())
	}
}

func TestOperationOutlivesTheRequest(t *testing.T) {
	w := start(t, gkeemu.Options{Timing: gkeemu.Timing{CreateNodePool: 30 * time.Millisecond}})
	ctx, cancel := context.WithCancel(t.Context())
	op, err := w.create(ctx, &containerpb.NodePool{Name: "blue", InitialNodeCount: 1})
	cancel()
	if err != nil {
		t.Fatal(err)
	}
	if done := w.done(t, op); done.GetError() != nil || len(w.nodes(t, "blue")) != 3 {
		t.Errorf("%d nodes, error %v", len(w.nodes(t, "blue")), done.GetError())
	}
}

func TestCloseAbandonsOperations(t *testing.T) {
	w := start(t, gkeemu.Options{Timing: gkeemu.Timing{CreateNodePool: time.Hour}})
	must[*containerpb.Operation](t)(w.create(t.Context(), &containerpb.NodePool{Name: "blue", InitialNodeCount: 1}))
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		w.srv.Close()
		w.srv.Close()
	}()
	select {
	case <-closed:
	case <-time.After(5 * time.Second):
		t.Fatal("still not closed")
	}
}

func TestNodesOfAPoolStartInTurn(t *testing.T) {
	w := start(t, gkeemu.Options{})
	blue := &containerpb.NodePool{Name: "blue", InitialNodeCount: 4, Locations: []string{"europe-west1-b"}}
	if err := w.srv.AddPool(t.Context(), clusterPath, blue, "0s,1m,2m"); err != nil {
		t.Fatal(err)
	}
	startUps := map[string]int{}
	for _, n := range w.nodes(t, "blue") {
		startUps[n.Annotations[lab.AnnotationStartUp]]++
	}
	if diff := cmp.Diff(map[string]int{"0s": 2, "1m": 1, "2m": 1}, startUps); diff != "" {
		t.Errorf("start-ups (-want +got):\n%s", diff)
	}
}
