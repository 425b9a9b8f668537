package scenario

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/upshift-k8s/upshift/internal/lab/testbed"
)

// nodePool: "node-pool FILE" adds a pool that people made as a file, in YAML, describes it, and waits for its nodes. Its version is that of the first
// pool unless it says another.
func nodePool(ts *testscript.TestScript, _ bool, args []string) {
	pool := &containerpb.NodePool{}
	readProto(ts, args[0], pool)
	if pool.Version == "" {
		pool.Version = testbed.NodeVersion
	}
	ts.Check(Of(ts).Bed.AddPool(context.Background(), pool))
}

// created: "created POOL REGEXP" demands that the request by which a pool was made matches, as JSON without spaces.
func created(ts *testscript.TestScript, neg bool, args []string) {
	want := regexp.MustCompile(args[1])
	for _, call := range Of(ts).GKE.Calls("CreateNodePool") {
		pool := call.Request.(*containerpb.CreateNodePoolRequest).GetNodePool()
		if pool.GetName() != args[0] {
			continue
		}
		text := asJSON(ts, pool)
		if want.MatchString(text) == neg {
			ts.Fatalf("pool %s was made as %s", args[0], text)
		}
		return
	}
	ts.Fatalf("no pool %s was made", args[0])
}

// autoscaled: "autoscaled POOL REGEXP" demands that a request that set a pool's autoscaling matches, as JSON without spaces.
func autoscaled(ts *testscript.TestScript, neg bool, args []string) {
	want, all := regexp.MustCompile(args[1]), ""
	for _, call := range Of(ts).GKE.Calls("SetNodePoolAutoscaling") {
		if call.Target == poolPath(Of(ts).Bed, args[0]) {
			all += asJSON(ts, call.Request.(*containerpb.SetNodePoolAutoscalingRequest).GetAutoscaling()) + "\n"
		}
	}
	if want.MatchString(all) == neg {
		ts.Fatalf("the autoscaling of %s was set so:\n%s", args[0], all)
	}
}

// asJSON is a message as JSON without spaces.
func asJSON(ts *testscript.TestScript, m proto.Message) string {
	data, err := protojson.Marshal(m)
	ts.Check(err)
	return regexp.MustCompile(`\s`).ReplaceAllString(string(data), "")
}

// maintenance: "maintenance window START END" has a window of every day from START to END, which are durations from now, such as -1h; "maintenance
// exclusion SCOPE START END" an exclusion; "maintenance none" neither.
func maintenance(ts *testscript.TestScript, _ bool, args []string) {
	at := func(offset string) *timestamppb.Timestamp {
		d, err := time.ParseDuration(offset)
		ts.Check(err)
		return timestamppb.New(time.Now().Add(d))
	}
	window := &containerpb.MaintenanceWindow{}
	switch args[0] {
	case "window":
		window.Policy = &containerpb.MaintenanceWindow_RecurringWindow{RecurringWindow: &containerpb.RecurringTimeWindow{
			Window: &containerpb.TimeWindow{StartTime: at(args[1]), EndTime: at(args[2])}, Recurrence: "FREQ=DAILY",
		}}
	case "exclusion":
		scope, ok := containerpb.MaintenanceExclusionOptions_Scope_value[args[1]]
		if !ok {
			ts.Fatalf("maintenance: unknown scope %s", args[1])
		}
		window.MaintenanceExclusions = map[string]*containerpb.TimeWindow{"freeze": {
			StartTime: at(args[2]), EndTime: at(args[3]),
			Options: &containerpb.TimeWindow_MaintenanceExclusionOptions{MaintenanceExclusionOptions: &containerpb.MaintenanceExclusionOptions{
				Scope: containerpb.MaintenanceExclusionOptions_Scope(scope),
			}},
		}}
	case "none":
	default:
		ts.Fatalf("maintenance: unknown argument %s", args[0])
	}
	ts.Check(Of(ts).Bed.SetMaintenance(&containerpb.MaintenancePolicy{Window: window}))
}

// foreign: "foreign KIND POOL" has somebody else begin an operation on a pool; "foreign over" ends it.
func foreign(ts *testscript.TestScript, _ bool, args []string) {
	w := Of(ts)
	if args[0] == "over" {
		w.foreign()
		return
	}
	kind, ok := containerpb.Operation_Type_value[args[0]]
	if !ok {
		ts.Fatalf("foreign: unknown kind %s", args[0])
	}
	_, over, err := w.GKE.StartForeignOperation(poolPath(w.Bed, args[1]), containerpb.Operation_Type(kind))
	ts.Check(err)
	w.foreign = over
}

// tokens: "tokens LIFETIME [TOLD]" has the credentials hand out tokens that live so long, and say that they live for TOLD; "tokens made N refused M"
// demands how many were made at least, and how many requests came with one that had ended, "some" for any number above 0.
func tokens(ts *testscript.TestScript, _ bool, args []string) {
	bed := Of(ts).Bed
	if args[0] != "made" {
		lifetime, err := time.ParseDuration(args[0])
		ts.Check(err)
		told := lifetime
		if len(args) > 1 {
			told, err = time.ParseDuration(args[1])
			ts.Check(err)
		}
		bed.ShortTokens(lifetime, told)
		return
	}
	least, err := strconv.Atoi(args[1])
	ts.Check(err)
	made, refused := bed.Lab.Proxy().Passes()
	ts.Logf("%d tokens made, %d requests with one that had ended", made, refused)
	if made < least || args[3] == "some" && refused == 0 || args[3] != "some" && strconv.Itoa(refused) != args[3] {
		ts.Fatalf("%d tokens made, want %d at least; %d requests with one that had ended, want %s", made, least, refused, args[3])
	}
}

// dns: "dns FILE" gives the cluster a DNS endpoint, and writes the authority that signed its certificate.
func dns(ts *testscript.TestScript, _ bool, args []string) {
	bed := Of(ts).Bed
	ts.Check(bed.UseDNS())
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), bed.Lab.CA(), 0o600))
}

// autoscaler: "autoscaler IDLE" begins to scale pools, and takes nodes away that were idle for so long; "autoscaler added N removed M" demands how many
// nodes it has added at least, and how many taken away.
func autoscaler(ts *testscript.TestScript, _ bool, args []string) {
	w := Of(ts)
	if args[0] != "added" {
		idle, err := time.ParseDuration(args[0])
		ts.Check(err)
		ctx, stop := context.WithCancel(context.Background())
		ts.Defer(stop)
		w.autoscaler = w.Bed.Autoscale(ctx, idle)
		return
	}
	least, err := strconv.Atoi(args[1])
	ts.Check(err)
	added, removed := w.autoscaler.Counts()
	if added < least || strconv.Itoa(removed) != args[3] {
		ts.Fatalf("%d nodes added, want %d at least; %d taken away, want %s", added, least, removed, args[3])
	}
}

// devicePlugin: "device-plugin RESOURCE N" plays the device plugin of all nodes that have the label cloud.google.com/gke-accelerator: it tells the
// kubelet of so many devices once the node is Ready.
func devicePlugin(ts *testscript.TestScript, _ bool, args []string) {
	client := Of(ts).Bed.Kube
	ctx, stop := context.WithCancel(context.Background())
	ts.Defer(stop)
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.LabelSelector = "cloud.google.com/gke-accelerator"
	}))
	patch := fmt.Appendf(nil, `{"status":{"capacity":{%[1]q:%[2]q},"allocatable":{%[1]q:%[2]q}}}`, args[0], args[1])
	see := func(object any) {
		n, ok := object.(*corev1.Node)
		if !ok || len(n.Status.Allocatable) == 0 { // it is not Ready yet
			return
		}
		if _, has := n.Status.Allocatable[corev1.ResourceName(args[0])]; has {
			return
		}
		_, _ = client.CoreV1().Nodes().Patch(ctx, n.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status") // one that is gone needs none
	}
	_, err := factory.Core().V1().Nodes().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: see, UpdateFunc: func(_, object any) { see(object) }})
	ts.Check(err)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
}
