// Package runstore keeps the record of runs in the cluster that they upgrade: a Lease that says who is at work, ConfigMaps with the
// current and the finished runs, with what people ask of a run, and with the plan that waits for approval. Everything is written by
// compare-and-swap, so that nobody undoes what another wrote.
package runstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// The names of the objects and their keys.
const (
	leaseName   = "upshift"
	runName     = "upshift-run"
	controlName = "upshift-control"
	planName    = "upshift-plan"
	// messagesName is what the Slack bot has posted.
	messagesName = "upshift-slack"

	runKey       = "run.json"
	requestKey   = "request.json"
	planKey      = "plan.json"
	approvalsKey = "approvals.json"
	messagesKey  = "messages.json"

	// epochAnnotation is on the record: the highest epoch that has claimed it.
	epochAnnotation = "upshift.dev/epoch"
	// holderAnnotation is on the Lease: the holder as JSON.
	holderAnnotation = "upshift.dev/holder"
	// finishedLabel is on the records of finished runs.
	finishedLabel = "upshift.dev/finished-run"
)

const (
	// sizeLimit is what a record may take: the API server refuses a ConfigMap above 1 MiB, and metadata need some room.
	sizeLimit = 1<<20 - 32<<10
	// keptRuns is how many finished runs are kept.
	keptRuns = 20
	// requestTimeout bounds one call, so that a dead connection holds nobody for long.
	requestTimeout = 10 * time.Second
	// retryPause is between two attempts while the API cannot be reached.
	retryPause = time.Second
	// lookPause is between two looks at a lease that may be a dead holder's.
	lookPause = 500 * time.Millisecond
)

// leases and configMaps are what the store needs of client-go's clients for one namespace.
type leases interface {
	Get(ctx context.Context, name string, o metav1.GetOptions) (*coordinationv1.Lease, error)
	Create(ctx context.Context, l *coordinationv1.Lease, o metav1.CreateOptions) (*coordinationv1.Lease, error)
	Update(ctx context.Context, l *coordinationv1.Lease, o metav1.UpdateOptions) (*coordinationv1.Lease, error)
}

type configMaps interface {
	Get(ctx context.Context, name string, o metav1.GetOptions) (*corev1.ConfigMap, error)
	Create(ctx context.Context, m *corev1.ConfigMap, o metav1.CreateOptions) (*corev1.ConfigMap, error)
	Update(ctx context.Context, m *corev1.ConfigMap, o metav1.UpdateOptions) (*corev1.ConfigMap, error)
	Delete(ctx context.Context, name string, o metav1.DeleteOptions) error
	List(ctx context.Context, o metav1.ListOptions) (*corev1.ConfigMapList, error)
	Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)
}

// Store is the records in one cluster. It is safe for concurrent use.
type Store struct {
	leases    leases
	maps      configMaps
	namespace string
	timing    timing
}

// NoNamespace is the error for a namespace that is not there.
type NoNamespace struct{ Namespace string }

func (n *NoNamespace) Error() string {
	return fmt.Sprintf("the cluster has no namespace %s, where runs are recorded; make it: kubectl create namespace %s", n.Namespace, n.Namespace)
}

// Open returns the store in the namespace of the cluster that config leads to. It calls no API.
func Open(config *rest.Config, namespace string) (*Store, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connect to the Kubernetes API at %s: %w", config.Host, err)
	}
	return &Store{
		leases: client.CoordinationV1().Leases(namespace), maps: client.CoreV1().ConfigMaps(namespace), namespace: namespace, timing: usual,
	}, nil
}

// Current returns the current or last run, nil if there is none.
func (s *Store) Current(ctx context.Context) (*upgrade.Run, error) {
	m, err := s.get(ctx, runName)
	if err != nil || m == nil {
		return nil, err
	}
	return readRun(m)
}

func readRun(m *corev1.ConfigMap) (*upgrade.Run, error) {
	data, ok := m.Data[runKey]
	if !ok {
		return nil, nil
	}
	run, err := upgrade.DecodeRun([]byte(data))
	if err != nil {
		return nil, fmt.Errorf("ConfigMap %s/%s: %w", m.Namespace, m.Name, err)
	}
	return run, nil
}

// get returns a ConfigMap, nil if it is not there.
func (s *Store) get(ctx context.Context, name string) (*corev1.ConfigMap, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	m, err := s.maps.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get ConfigMap %s/%s: %w", s.namespace, name, err)
	}
	return m, nil
}

// put makes or changes a ConfigMap by compare-and-swap. Change is called again when somebody else was quicker.
func (s *Store) put(ctx context.Context, name string, change func(*corev1.ConfigMap) error) (*corev1.ConfigMap, error) {
	for {
		m, err := s.get(ctx, name)
		if err != nil {
			return nil, err
		}
		fresh := m == nil
		if fresh {
			m = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
		}
		if m.Data == nil {
			m.Data = map[string]string{}
		}
		if m.Annotations == nil {
			m.Annotations = map[string]string{}
		}
		if err := change(m); err != nil {
			return nil, err
		}
		m, err = s.write(ctx, m, fresh)
		switch {
		case err == nil:
			return m, nil
		case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
			continue
		case fresh && apierrors.IsNotFound(err):
			return nil, &NoNamespace{s.namespace}
		}
		return nil, fmt.Errorf("write ConfigMap %s/%s: %w", s.namespace, name, err)
	}
}

func (s *Store) write(ctx context.Context, m *corev1.ConfigMap, fresh bool) (*corev1.ConfigMap, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if fresh {
		return s.maps.Create(ctx, m, metav1.CreateOptions{})
	}
	return s.maps.Update(ctx, m, metav1.UpdateOptions{})
}

// patiently attempts until something else than an unreachable API is the answer, or ctx ends.
func patiently(ctx context.Context, attempt func() error) error {
	for {
		err := attempt()
		if err == nil || !passing(err) {
			return err
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// passing tells errors that may be gone at the next attempt: those by which the API says so, and those of a connection.
func passing(err error) bool {
	var ours *NoNamespace
	var halt *upgrade.Halt
	if errors.As(err, &ours) || errors.As(err, &halt) {
		return false
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return true
	}
	return apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsInternalError(err) || apierrors.IsServiceUnavailable(err)
}

// archive keeps a finished run beside the current one, and forgets the oldest.
func (s *Store) archive(ctx context.Context, run *upgrade.Run) error {
	data, err := run.Encode(sizeLimit)
	if err != nil {
		return err
	}
	_, err = s.put(ctx, runName+"-"+run.ID, func(m *corev1.ConfigMap) error {
		m.Labels = map[string]string{finishedLabel: "true"}
		m.Data[runKey] = string(data)
		return nil
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	list, err := s.maps.List(ctx, metav1.ListOptions{LabelSelector: finishedLabel})
	if err != nil {
		return fmt.Errorf("list the finished runs in %s: %w", s.namespace, err)
	}
	// The names sort by the time of the run.
	slices.SortFunc(list.Items, func(a, b corev1.ConfigMap) int { return strings.Compare(b.Name, a.Name) })
	for i := keptRuns; i < len(list.Items); i++ {
		if err := s.maps.Delete(ctx, list.Items[i].Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("forget the finished run %s: %w", list.Items[i].Name, err)
		}
	}
	return nil
}

// follow sends a ConfigMap as it is and whenever it changes, until ctx ends. A watch that ends, hangs or fails is begun anew.
func (s *Store) follow(ctx context.Context, name string) <-chan *corev1.ConfigMap {
	changes := make(chan *corev1.ConfigMap)
	go func() {
		defer close(changes)
		for ctx.Err() == nil {
			s.followOnce(ctx, name, changes)
			select {
			case <-time.After(retryPause):
			case <-ctx.Done():
			}
		}
	}()
	return changes
}

// watchSeconds is how long a watch lasts at most: what a silently broken one missed is seen by the next.
const watchSeconds = 60

func (s *Store) followOnce(ctx context.Context, name string, changes chan<- *corev1.ConfigMap) {
	send := func(m *corev1.ConfigMap) {
		select {
		case changes <- m:
		case <-ctx.Done():
		}
	}
	ctx, cancel := context.WithTimeout(ctx, (watchSeconds+10)*time.Second)
	defer cancel()
	options := metav1.ListOptions{FieldSelector: metav1.ObjectNameField + "=" + name}
	list, err := s.maps.List(ctx, options)
	if err != nil {
		return
	}
	for i := range list.Items {
		send(&list.Items[i])
	}
	seconds := int64(watchSeconds)
	options.ResourceVersion, options.TimeoutSeconds = list.ResourceVersion, &seconds
	w, err := s.maps.Watch(ctx, options)
	if err != nil {
		return
	}
	defer w.Stop()
	for {
		select {
		case event, ok := <-w.ResultChan():
			if !ok {
				return
			}
			if m, ok := event.Object.(*corev1.ConfigMap); ok && event.Type != watch.Deleted {
				send(m)
			}
		case <-ctx.Done():
			return
		}
	}
}
