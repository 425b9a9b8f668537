package gkeemu

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"

	"cloud.google.com/go/container/apiv1/containerpb"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"

	"github.com/upshift-k8s/upshift/internal/lab"
)

// upgrade is what a pool's nodes are on the way to, from the call that begins it until it is complete or rolled back; between, operations that
// work on it come and go. It is guarded by the server's mutex.
type upgrade struct {
	from, to  string
	all       bool            // nodes that are at the version already are made again, too
	made      map[string]bool // the nodes that it has made
	blueGreen bool
	green     []group // of a blue-green upgrade, once they are there
	soaked    func()  // ends the soaking that is under way; nil: none is
	deletion  string  // when the soaking ends, RFC 3339; empty: it has not begun
	committed bool    // the old nodes are being deleted: there is no way back
}

// pending tells whether an upgrade has to replace a node.
func (u *upgrade) pending(n *corev1.Node) bool {
	return !u.made[n.Name] && (u.all || nodeVersion(n) != u.to)
}

// undone tells whether an upgrade that is rolled back has to replace a node.
func (u *upgrade) undone(n *corev1.Node) bool {
	return u.made[n.Name] || nodeVersion(n) != u.from
}

func nodeVersion(n *corev1.Node) string {
	return strings.TrimPrefix(cmp.Or(n.Annotations[lab.AnnotationKubeletVersion], n.Status.NodeInfo.KubeletVersion), "v")
}

// upgradePool begins an upgrade of a pool's nodes, or goes on with one that was cancelled or has failed, if it is to the same version. A pool
// that is at the version already gets new nodes all the same: so people have GKE make nodes again. Until the upgrade is complete the pool
// shows its old version; what GKE shows is documented nowhere. The caller holds the mutex.
func (s *Server) upgradePool(p *pool, wanted string, fault Fault) (*containerpb.Operation, error) {
	version, err := p.cluster.nodeVersion(wanted, s.options.ServerConfig)
	if err != nil {
		return nil, err
	}
	u := p.upgrade
	switch {
	case u != nil && u.to == version:
	case u != nil && u.blueGreen:
		return nil, refused("Node pool %q has an upgrade to %s that is not complete. Please go on with it or roll it back.", p.pb.GetName(), u.to)
	default:
		u = &upgrade{
			from: p.pb.GetVersion(), to: version, all: u == nil && p.pb.GetVersion() == version, made: map[string]bool{},
			blueGreen: p.pb.GetUpgradeSettings().GetStrategy() == containerpb.NodePoolUpdateStrategy_BLUE_GREEN,
		}
	}
	return s.onNodes(p, u, fault, func(ctx context.Context, w *nodeWork) error {
		if u.blueGreen {
			return w.blueGreen(ctx, u)
		}
		return w.roll(ctx, u.to, u.pending)
	}, func() {
		p.pb.Version = u.to
		if u.blueGreen {
			p.groups = u.green
		}
	})
}

// rollBack begins to take an upgrade back; the caller holds the mutex.
func (s *Server) rollBack(p *pool, respectPDB bool, fault Fault) (*containerpb.Operation, error) {
	u := p.upgrade
	if u != nil && u.committed {
		return nil, refused("The upgrade of node pool %q to %s is past the point where it can be rolled back.", p.pb.GetName(), u.to)
	}
	return s.onNodes(p, u, fault, func(ctx context.Context, w *nodeWork) error {
		w.ignorePDB = !respectPDB
		switch {
		case u == nil:
			return nil
		case u.blueGreen:
			return w.backToBlue(ctx, u)
		default:
			return w.roll(ctx, u.from, u.undone)
		}
	}, func() {})
}

// errCancelled ends an operation's work when people have cancelled it.
var errCancelled = errors.New("cancelled")

// onNodes begins an operation on a pool's nodes, as a part of an upgrade; complete is called, with the mutex held, when do has done everything.
// The caller holds the mutex.
func (s *Server) onNodes(p *pool, u *upgrade, fault Fault, do func(context.Context, *nodeWork) error, complete func()) (*containerpb.Operation, error) {
	op, err := s.begin(p.cluster, containerpb.Operation_UPGRADE_NODES, p.pb.GetName(), fault)
	if err != nil {
		return nil, err
	}
	op.upgrade, p.upgrade = u, u
	p.pb.Status = containerpb.NodePool_RECONCILING
	w := s.newNodeWork(p, op)
	cancelled := false
	s.run(op, 0, func(ctx context.Context, pace *pace) error {
		w.pace = pace
		err := errCancelled
		if op.wait(fault.OperationDelay) {
			err = do(ctx, w)
		}
		if errors.Is(err, errCancelled) {
			cancelled = true
			return nil
		}
		return err
	}, func(failure *rpcstatus.Status) {
		if failure == nil && !cancelled {
			complete()
			p.upgrade = nil
			p.pb.UpdateInfo, p.pb.InstanceGroupUrls = nil, p.urls(p.groups)
		}
		p.settle(failure, 1)
	})
	return proto.CloneOf(op.pb), nil
}

// nodeWork is what an operation does to a pool's nodes.
type nodeWork struct {
	server    *Server
	pool      *pool
	op        *operation
	pace      *pace
	settings  *containerpb.NodePool_UpgradeSettings
	drains    drainLimits
	ignorePDB bool

	mu       sync.Mutex
	queue    []corev1.Node // to be replaced
	begun    int           // how many of them have been taken
	done     int
	total    int
	startUps []string // of the nodes that come, in turn
	err      error    // the first one; it ends the work
}

// newNodeWork takes the settings as they are; the caller holds the mutex.
func (s *Server) newNodeWork(p *pool, op *operation) *nodeWork {
	startUp := p.cluster.spec.NodeStartUp
	if op.fault.NodesNeverReady {
		startUp = lab.Never
	}
	return &nodeWork{
		server: s, pool: p, op: op, startUps: strings.Split(startUp, ","),
		settings: proto.CloneOf(p.pb.GetUpgradeSettings()), drains: s.limits(p.pb.GetNodeDrainConfig()),
	}
}

// strike is the operation's fault, if it is due after so many nodes.
func (w *nodeWork) strike(nodes int) error {
	if w.op.fault.OperationError != nil && nodes >= w.op.fault.NodesBeforeError {
		return status.ErrorProto(w.op.fault.OperationError)
	}
	return nil
}

// stopped is errCancelled once people have cancelled the operation.
func (w *nodeWork) stopped() error {
	if w.op.going.Err() != nil {
		return errCancelled
	}
	return nil
}

func (w *nodeWork) advance(nodes int) {
	w.mu.Lock()
	w.done += nodes
	done := w.done
	w.mu.Unlock()
	w.pace.progress(done, w.total)
}
