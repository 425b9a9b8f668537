package scenario

import (
	"context"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/upshift-k8s/upshift/internal/lab/testbed"
)

// ownCommands start a cluster that people run themselves, and play the people.
func ownCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"selfmanaged": startOwn, "upgrades-node": upgradesNode, "replaces-node": replacesNode, "removes-node": removesNode, "joins": joins,
		"upgrades-apiserver": upgradesServer, "etcd": setEtcd,
	}
}

// startOwn: "selfmanaged [servers=N] [workers=N] [version=V] [nodes=V] [hidden]" boots a cluster of N nodes of a control plane (cp-1, …) and N in the pool
// workers (worker-1, …), 3 of each if nothing else is said, and has the Action's inputs name it. A hidden control plane shows no nodes.
func startOwn(ts *testscript.TestScript, _ bool, args []string) {
	o := testbed.OwnOptions{Servers: 3, Workers: 3}
	for _, a := range args {
		var err error
		switch name, value, _ := strings.Cut(a, "="); name {
		case "servers":
			o.Servers, err = strconv.Atoi(value)
		case "workers":
			o.Workers, err = strconv.Atoi(value)
		case "version":
			o.Version = value
		case "nodes":
			o.NodeVersion = value
		case "hidden":
			o.Hidden = true
		default:
			ts.Fatalf("selfmanaged: unknown argument %s", a)
		}
		ts.Check(err)
	}
	bed, err := testbed.StartOwn(context.Background(), o)
	ts.Check(err)
	ts.Defer(func() { ts.Check(bed.Close()) })
	w := Of(ts)
	w.Bed, w.GKE, w.own = bed.Testbed, bed.GKE, bed
	ts.Setenv("CLUSTER_KUBECONFIG", bed.Kubeconfig())
	for _, e := range bed.Env() {
		name, value, _ := strings.Cut(e, "=")
		ts.Setenv(name, value)
	}
}

// upgradesNode: "upgrades-node NODE VERSION" has the node's kubelet come back at the version.
func upgradesNode(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(Of(ts).own.UpgradeNode(context.Background(), args[0], args[1]))
}

// replacesNode: "replaces-node OLD NEW VERSION" has the machine go and another one join in its pool.
func replacesNode(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(Of(ts).own.ReplaceNode(context.Background(), args[0], args[1], args[2]))
}

// removesNode: "removes-node NODE" has the machine go.
func removesNode(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(Of(ts).own.Remove(context.Background(), args[0]))
}

// joins: "joins POOL N VERSION" has so many machines join the pool: POOL-1, ….
func joins(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(Of(ts).own.Join(context.Background(), args[0], args[0], n, args[2]))
}

// upgradesServer: "upgrades-apiserver NODE VERSION" has the node's API server run the version.
func upgradesServer(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(Of(ts).own.UpgradeServer(context.Background(), args[0], args[1]))
}

// setEtcd: "etcd NODE up|down" says whether the node's member of etcd is Ready.
func setEtcd(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(Of(ts).own.SetEtcd(context.Background(), args[0], args[1] == "up"))
}
