package lab

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/client-go/kubernetes"
)

// Renew starts another API server on the cluster's etcd, as the upgrade of a control plane does, and returns once it is ready: some
// seconds. Calling take has it answer all requests through the proxy, as one of that version: open watches are cut and have to be
// begun again, on a server that remembers nothing of what was before; clients are told to connect again; and no other request fails.
// The server that answered before is gone after its last request, unless it is the first one, with which the cluster's own
// components stay, and [Lab.DirectConfig]. Take does nothing the second time.
func (l *Lab) Renew(ctx context.Context) (take func(version string), err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, bootLimit, fmt.Errorf("not ready within %s", bootLimit))
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	port, err := reservePort()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.servers++
	label := fmt.Sprintf("%s-%d", apiServer, l.servers+1)
	l.mu.Unlock()
	// It does not tell Endpoints of itself: those of Service kubernetes stay the first one's.
	server := l.apiServer(label, port, "--endpoint-reconciler-type=none")
	server.over = sync.OnceFunc(port.release)
	c, err := l.start(server)
	if err != nil {
		port.release()
		return nil, err
	}
	go c.orFail(ctx, fail)
	client, err := kubernetes.NewForConfig(l.direct(port, Admin))
	if err == nil {
		err = awaitAPI(ctx, client)
	}
	if err != nil {
		err = fmt.Errorf("start %s: %w", label, why(ctx, err))
		l.retire(c)
		return nil, err
	}
	go l.follow(c)
	var once sync.Once
	return func(version string) {
		once.Do(func() { l.proxy.take(newBackend(port.addr(), version, func() { l.retire(c) })) })
	}, nil
}
