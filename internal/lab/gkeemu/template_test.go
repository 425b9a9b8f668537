package gkeemu_test

import (
	"strings"
	"testing"

	"cloud.google.com/go/container/apiv1/containerpb"
	"google.golang.org/grpc/codes"

	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
)

func TestAClusterTellsWhatItWasGiven(t *testing.T) {
	w := start(t, gkeemu.Options{})
	given := gkeemu.Cluster{
		Project: "p", Location: "europe-west1", Name: "cluster-2", Version: master, Kube: w.kube,
		Template: &containerpb.Cluster{
			ResourceLabels: map[string]string{"goog-terraform-provisioned": "true"},
			MaintenancePolicy: &containerpb.MaintenancePolicy{Window: &containerpb.MaintenanceWindow{
				Policy: &containerpb.MaintenanceWindow_DailyMaintenanceWindow{DailyMaintenanceWindow: &containerpb.DailyMaintenanceWindow{StartTime: "03:00"}},
			}},
		},
	}
	if err := w.srv.AddCluster(given); err != nil {
		t.Fatal(err)
	}
	pool := &containerpb.NodePool{
		Name: "blue", Config: &containerpb.NodeConfig{ResourceLabels: map[string]string{"managed-by-cnrm": "true"}},
		NetworkConfig: &containerpb.NodeNetworkConfig{PodRange: "mine", PodIpv4CidrBlock: "10.8.0.0/21", PodIpv4RangeUtilization: 0.875},
	}
	if err := w.srv.AddPool(t.Context(), given.Path(), pool, ""); err != nil {
		t.Fatal(err)
	}
	c, err := w.GetCluster(t.Context(), &containerpb.GetClusterRequest{Name: given.Path()})
	if err != nil {
		t.Fatal(err)
	}
	if daily := c.GetMaintenancePolicy().GetWindow().GetDailyMaintenanceWindow(); daily.GetStartTime() != "03:00" || daily.GetDuration() != "PT4H0M0S" {
		t.Errorf("maintenance window %v: GKE chooses its duration", daily)
	}
	blue := c.GetNodePools()[0]
	if c.GetResourceLabels()["goog-terraform-provisioned"] != "true" || blue.GetConfig().GetResourceLabels()["managed-by-cnrm"] != "true" {
		t.Errorf("labels %v and %v", c.GetResourceLabels(), blue.GetConfig().GetResourceLabels())
	}
	if used := blue.GetNetworkConfig().GetPodIpv4RangeUtilization(); used != 0.875 {
		t.Errorf("%f of the range are used, want what was given", used)
	}
	if given.Template.GetMaintenancePolicy().GetWindow().GetDailyMaintenanceWindow().GetDuration() != "" {
		t.Error("the template was written to")
	}
}

func TestPoolsOfAnAutopilotClusterAreNotForPeopleToChange(t *testing.T) {
	w := start(t, gkeemu.Options{})
	autopilot := gkeemu.Cluster{
		Project: "p", Location: "europe-west1", Name: "auto", Version: master, Kube: w.kube,
		Template: &containerpb.Cluster{Autopilot: &containerpb.Autopilot{Enabled: true}},
	}
	if err := w.srv.AddCluster(autopilot); err != nil {
		t.Fatal(err)
	}
	if err := w.srv.AddPool(t.Context(), autopilot.Path(), &containerpb.NodePool{Name: "pool-1"}, ""); err != nil {
		t.Fatal(err)
	}
	_, create := w.CreateNodePool(t.Context(), &containerpb.CreateNodePoolRequest{Parent: autopilot.Path(), NodePool: &containerpb.NodePool{Name: "new"}})
	_, remove := w.delete(t.Context(), autopilot.Path()+"/nodePools/pool-1")
	_, autoscale := w.SetNodePoolAutoscaling(t.Context(), &containerpb.SetNodePoolAutoscalingRequest{Name: autopilot.Path() + "/nodePools/pool-1", Autoscaling: &containerpb.NodePoolAutoscaling{}})
	for _, err := range []error{create, remove, autoscale} {
		wantCode(t, err, codes.InvalidArgument)
		if err == nil || !strings.Contains(err.Error(), "Autopilot") {
			t.Error(err)
		}
	}
}

func TestAForeignOperationCanBeOnAPool(t *testing.T) {
	w := start(t, gkeemu.Options{})
	name, done, err := w.srv.StartForeignOperation(oldPath, containerpb.Operation_AUTO_REPAIR_NODES)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	op, err := w.GetOperation(t.Context(), &containerpb.GetOperationRequest{Name: "projects/p/locations/europe-west1/operations/" + name})
	if err != nil || !strings.HasSuffix(op.GetTargetLink(), "/clusters/cluster-1/nodePools/default-pool") {
		t.Errorf("operation %v: %v", op, err)
	}
	_, _, err = w.srv.StartForeignOperation(clusterPath+"/nodePools/other", containerpb.Operation_AUTO_REPAIR_NODES)
	wantCode(t, err, codes.NotFound)
}
