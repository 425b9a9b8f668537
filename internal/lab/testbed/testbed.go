// Package testbed is a GKE cluster on this machine, for the demo and the scenario tests: the lab's control plane, the GKE
// emulator in front of its nodes, and application-default credentials that lead from the one to the other.
package testbed

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"cloud.google.com/go/container/apiv1/containerpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"k8s.io/client-go/kubernetes"

	"github.com/upshift-k8s/upshift/internal/lab"
	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
)

// The cluster's identity and versions, unless [Options] say otherwise: a regional control plane that is upgraded already, and nodes that are
// a minor behind. Zone is for a zonal one.
const (
	Project             = "demo"
	Name                = "cluster-1"
	Location            = "europe-west1"
	Zone                = "europe-west1-b"
	Pool                = "default-pool"
	ControlPlaneVersion = "1.34.2-gke.100"
	NodeVersion         = "1.33.5-gke.1162000"
	// Namespace is where Upshift records its runs.
	Namespace = "upshift"
)

// Options of a testbed; the zero value is a good one.
type Options struct {
	// Location is a region, or a zone for a zonal cluster; empty: Location.
	Location string
	// NodeCount is how many nodes the pool has in each zone; 0: one.
	NodeCount int32
	// Pools are further ones, as people might have made them.
	Pools []*containerpb.NodePool
	// Timing is how long GKE takes; a time that is 0 is the testbed's own.
	Timing gkeemu.Timing
	// NodeStartUp is how long new nodes take to be Ready, as [gkeemu.Cluster] understands it; empty: 2 s.
	NodeStartUp string
	// Autoscaling of the pool; nil: none.
	Autoscaling *containerpb.NodePoolAutoscaling
	// Version and NodeVersion are those of the control plane and of the pool; empty: ControlPlaneVersion and NodeVersion.
	Version, NodeVersion string
	// Template has further fields of what GKE tells of the cluster, and PoolTemplate of its pool; nil: none.
	Template     *containerpb.Cluster
	PoolTemplate *containerpb.NodePool
	// UpgradeInfo is what GKE says that it would do by itself; nil: nothing.
	UpgradeInfo *containerpb.ClusterUpgradeInfo
	// FastControllers lifts the rate limits of the controllers and the scheduler.
	FastControllers bool
	// NoNamespace leaves out the namespace in which runs are recorded.
	NoNamespace bool
	// Progress is told when the control plane has to be built first.
	Progress io.Writer
	// LogDir keeps the logs of the control plane's components; empty: they go with it.
	LogDir string
}

// Testbed is a running cluster with a pool that has a node in each zone: three in a region. Its methods may be called by several
// goroutines at once.
type Testbed struct {
	Lab *lab.Lab
	GKE *gkeemu.Server
	// Kube is an administrator's client.
	Kube kubernetes.Interface
	// Cloud is a client of GKE's, for people who interfere. It is the bare one: the real library would make every module that uses testbeds depend
	// on all of Google's.
	Cloud containerpb.ClusterManagerClient
	// Location is where the cluster is.
	Location string

	credentials *gkeemu.Credentials
	cloud       *grpc.ClientConn
	bin         string
	// path is the cluster's name in GKE's API.
	path string
}

// Start boots a testbed. It ends with Close, with ctx, and with this process, however that goes.
func Start(ctx context.Context, o Options) (_ *Testbed, err error) {
	o.Version, o.NodeVersion, o.Location = cmp.Or(o.Version, ControlPlaneVersion), cmp.Or(o.NodeVersion, NodeVersion), cmp.Or(o.Location, Location)
	l, err := lab.Start(ctx, lab.Options{Version: "v" + o.Version, Progress: o.Progress, LogDir: o.LogDir, FastControllers: o.FastControllers})
	if err != nil {
		return nil, err
	}
	b := &Testbed{Lab: l, Location: o.Location, bin: filepath.Join(l.Dir(), "bin")}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	if err := b.files(ctx, o); err != nil {
		return nil, err
	}
	if b.Kube, err = kubernetes.NewForConfig(l.DirectConfig(lab.Admin)); err != nil {
		return nil, fmt.Errorf("connect to the lab: %w", err)
	}
	if b.credentials, err = gkeemu.StartCredentials(ctx, l.Token(lab.Upshift)); err != nil {
		return nil, err
	}
	if err := b.credentials.WriteKey(b.keyFile()); err != nil {
		return nil, err
	}
	if !o.NoNamespace {
		if _, err := b.Kubectl(ctx, "", "create", "namespace", Namespace); err != nil {
			return nil, err
		}
	}
	return b, b.startGKE(ctx, o)
}

func (b *Testbed) files(ctx context.Context, o Options) error {
	if err := os.MkdirAll(b.bin, 0o755); err != nil {
		return fmt.Errorf("make the testbed's directory: %w", err)
	}
	binary, err := lab.Binary(ctx, o.Progress)
	if err != nil {
		return err
	}
	// The control plane's binary is kubectl too, when it is called so.
	if err := os.Symlink(binary, filepath.Join(b.bin, "kubectl")); err != nil {
		return fmt.Errorf("make kubectl: %w", err)
	}
	return b.Lab.WriteKubeconfig(lab.Kubectl, b.Kubeconfig())
}

func (b *Testbed) startGKE(ctx context.Context, o Options) (err error) {
	if o.NodeStartUp == "" {
		o.NodeStartUp = "2s"
	}
	b.GKE, err = gkeemu.Start(ctx, gkeemu.Options{
		Timing: timing(o.Timing),
		Log:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return err
	}
	b.cloud, err = grpc.NewClient(strings.Trim(strings.TrimPrefix(b.GKE.URL(), "http:"), "/"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("connect to the GKE emulator: %w", err)
	}
	b.Cloud = containerpb.NewClusterManagerClient(b.cloud)
	emulator, err := kubernetes.NewForConfig(b.Lab.DirectConfig(lab.Emulator))
	if err != nil {
		return fmt.Errorf("connect the emulator to the lab: %w", err)
	}
	cluster := gkeemu.Cluster{
		Project: Project, Location: o.Location, Name: Name, Version: o.Version, Channel: containerpb.ReleaseChannel_REGULAR,
		Endpoint: b.Lab.Endpoint(), CA: b.Lab.CA(), Kube: emulator, NodeStartUp: o.NodeStartUp, Template: o.Template,
		ControlPlane: &controlPlane{lab: b.Lab}, UpgradeInfo: o.UpgradeInfo,
	}
	if err := b.GKE.AddCluster(cluster); err != nil {
		return err
	}
	pool := &containerpb.NodePool{
		Name: Pool, Version: o.NodeVersion, InitialNodeCount: cmp.Or(o.NodeCount, 1), Autoscaling: o.Autoscaling,
		Management: &containerpb.NodeManagement{AutoUpgrade: true, AutoRepair: true},
		Config:     &containerpb.NodeConfig{MachineType: "e2-standard-4", Labels: map[string]string{"team": "platform"}},
	}
	if o.PoolTemplate != nil {
		proto.Merge(pool, o.PoolTemplate)
	}
	b.path = cluster.Path()
	for _, pool := range append([]*containerpb.NodePool{pool}, o.Pools...) {
		if err := b.AddPool(ctx, pool); err != nil {
			return err
		}
	}
	return nil
}

// timing fills in what a test does not care about.
func timing(t gkeemu.Timing) gkeemu.Timing {
	return gkeemu.Timing{
		Pending:                cmp.Or(t.Pending, 100*time.Millisecond),
		CreateNodePool:         cmp.Or(t.CreateNodePool, 3*time.Second),
		DeleteNodePool:         cmp.Or(t.DeleteNodePool, 2*time.Second),
		SetNodePoolAutoscaling: cmp.Or(t.SetNodePoolAutoscaling, 500*time.Millisecond),
		UpgradeMaster:          cmp.Or(t.UpgradeMaster, 8*time.Second),
		MasterAway:             cmp.Or(t.MasterAway, 4*time.Second),
		UpdateNodePool:         cmp.Or(t.UpdateNodePool, 500*time.Millisecond),
		UpgradeNode:            cmp.Or(t.UpgradeNode, 500*time.Millisecond),
		ForceAfter:             t.ForceAfter,
	}
}

// AddPool adds a pool that people made, and waits until its nodes are Ready: pods that come before would all go to the first.
func (b *Testbed) AddPool(ctx context.Context, pool *containerpb.NodePool) error {
	if err := b.GKE.AddPool(ctx, b.path, pool, ""); err != nil {
		return err
	}
	_, err := b.Kubectl(ctx, "", "wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")
	return err
}

// Path is the cluster's name in GKE's API.
func (b *Testbed) Path() string { return b.path }

// Close ends the cluster and the emulators.
func (b *Testbed) Close() error {
	if b.cloud != nil {
		_ = b.cloud.Close() // nothing is left to do about an error
	}
	if b.GKE != nil {
		b.GKE.Close()
	}
	if b.credentials != nil {
		b.credentials.Close()
	}
	return b.Lab.Close()
}

// Kubeconfig is the path of a kubeconfig for kubectl.
func (b *Testbed) Kubeconfig() string { return filepath.Join(b.Lab.Dir(), "kubeconfig") }

// Bin is a directory with kubectl in it.
func (b *Testbed) Bin() string { return b.bin }

func (b *Testbed) keyFile() string { return filepath.Join(b.Lab.Dir(), "service-account.json") }

// Env points Google's client libraries at the emulators.
func (b *Testbed) Env() []string {
	return append(b.GKE.Env(), "GOOGLE_APPLICATION_CREDENTIALS="+b.keyFile())
}

// Kubectl runs kubectl with input on its standard input, and returns what it printed.
func (b *Testbed) Kubectl(ctx context.Context, input string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(b.bin, "kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+b.Kubeconfig())
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// Deploy applies manifests and waits until every Deployment, StatefulSet, DaemonSet, Job pod and bare pod in them is up.
func (b *Testbed) Deploy(ctx context.Context, manifests string) error {
	applied, err := b.Kubectl(ctx, manifests, "apply", "-f", "-", "-o", "name")
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(applied) {
		kind, _, _ := strings.Cut(name, "/")
		args := []string{"rollout", "status", name, "--timeout=60s"}
		switch kind {
		case "deployment.apps", "statefulset.apps", "daemonset.apps":
		case "pod":
			args = []string{"wait", "--for=condition=Ready", name, "--timeout=60s"}
		case "job.batch":
			args = []string{"wait", "--for=jsonpath={.status.ready}=1", name, "--timeout=60s"}
		default:
			continue
		}
		if _, err := b.Kubectl(ctx, "", args...); err != nil {
			return err
		}
	}
	return nil
}
