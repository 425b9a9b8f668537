package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// bootLimit is generous: a machine that is busy with other labs takes several times the usual 4 to 6 seconds.
const bootLimit = 2 * time.Minute

// boot starts everything and waits until it works. What it has started is in l, for Close, even when it fails.
func (l *Lab) boot(ctx context.Context, options Options) error {
	ctx, cancel := context.WithTimeoutCause(ctx, bootLimit, fmt.Errorf("not ready within %s", bootLimit))
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	if err := l.prepare(options); err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(l.DirectConfig(Admin))
	if err != nil {
		return err
	}
	for _, part := range l.parts(options) {
		if part.name == controllerManager { // it gives up on an API server that takes longer than 10 s, as it does on a busy machine
			if err := awaitAPI(ctx, client); err != nil {
				return why(ctx, err)
			}
		}
		c, err := l.start(part)
		if err != nil {
			return err
		}
		go c.orFail(ctx, fail)
	}
	if err := probe(ctx, client); err != nil {
		return why(ctx, fmt.Errorf("wait for a pod to become Ready: %w", err))
	}
	return nil
}

// orFail ends a wait with the child's death.
func (c *child) orFail(ctx context.Context, fail context.CancelCauseFunc) {
	select {
	case <-c.done:
		fail(c.died())
	case <-ctx.Done():
	}
}

// why is what ended a wait: a component that died, or the time.
func why(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// prepare writes what the components read, and starts the proxy.
func (l *Lab) prepare(options Options) error {
	if err := os.MkdirAll(l.logDir, 0o700); err != nil {
		return err
	}
	var err error
	if l.ca, err = newAuthority(l.dir); err != nil {
		return fmt.Errorf("make certificates: %w", err)
	}
	l.users = newUsers()
	if err := l.users.writeTokens(l.path("tokens.csv")); err != nil {
		return err
	}
	if err := os.WriteFile(l.path("kwok.yaml"), kwokConfig, 0o600); err != nil {
		return err
	}
	if l.lifeline, err = newLifeline(); err != nil {
		return err
	}
	if l.api, err = reservePort(); err != nil {
		return err
	}
	for _, name := range []string{controllerManager, scheduler, kwok} {
		if err := l.writeKubeconfig(l.api.addr(), name, l.path(name+".kubeconfig")); err != nil {
			return err
		}
	}
	l.proxy, err = newProxy(l.api.addr(), l.ca, l.users, options.Version)
	return err
}

// awaitAPI returns once the API server is ready.
func awaitAPI(ctx context.Context, client *kubernetes.Clientset) error {
	err := poll(ctx, func() error {
		_, err := client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceDefault, metav1.GetOptions{})
		if err != nil {
			return err
		}
		return client.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
	if err != nil {
		return fmt.Errorf("wait for the API server: %w", err)
	}
	return nil
}

// probe runs a pod on a node of its own, out of everybody's way, and removes both: it becomes Ready once every component works.
func probe(ctx context.Context, client kubernetes.Interface) (err error) {
	const name = "lab-probe"
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{name: ""}}}
	if _, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{})) }()

	pods := client.CoreV1().Pods(corev1.NamespaceNodeLease) // which has nothing else in it
	events, err := pods.Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()})
	if err != nil {
		return err
	}
	defer events.Stop()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			NodeSelector: node.Labels,
			Containers:   []corev1.Container{{Name: name, Image: name}},
		},
	}
	if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, pods.Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}))
	}()
	return awaitPodReady(ctx, events)
}

func awaitPodReady(ctx context.Context, events watch.Interface) error {
	for {
		select {
		case event, open := <-events.ResultChan():
			if !open {
				return errors.New("the API server ended the watch")
			}
			pod, ok := event.Object.(*corev1.Pod)
			if !ok {
				return fmt.Errorf("watch of a pod: %v", event.Object)
			}
			for _, c := range pod.Status.Conditions {
				if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
					return nil
				}
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// poll repeats f until it succeeds, for what nobody announces; the error of the last try explains a failure.
func poll(ctx context.Context, f func() error) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}
