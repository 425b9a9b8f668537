// Package observer is an independent witness of what an upgrade does to the
// workloads of a cluster. It only watches, shares no code with what it judges,
// and says afterwards what happened: PDB violations, pods moved, the fewest
// Ready pods of each workload, time under each PDB's floor.
//
// Every event of every watch is kept, and judged at the end in the order of
// its resourceVersion. A PDB, the scale of a Deployment and its pods arrive by
// different watches, and only that order says which of them came first. It
// needs one etcd behind all of them, as clusters have but for their Events.
package observer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
)

// catchUpTimeout bounds how long Stop waits for events on their way.
const catchUpTimeout = 10 * time.Second

// An Observer watches a cluster from Start to Stop. It is safe for concurrent use.
type Observer struct {
	feeds []*feed
	old   labels.Selector // nil without Emptying
	stop  func() Report
}

// Start begins to watch, and returns once the state to compare with is known:
// all that happens after it returns is seen. Watching ends with Stop or with
// ctx. The error names the kind that could not be listed.
func Start(ctx context.Context, client kubernetes.Interface, with ...Option) (*Observer, error) {
	var o options
	for _, option := range with {
		option(&o)
	}
	journal := &journal{old: o.old}
	var more []*feed
	if o.old != nil {
		more = append(more, &feed{kind: "Nodes", lw: listWatch(client.CoreV1().Nodes())})
	}
	feeds := newFeeds(client, journal, more...)
	for _, f := range feeds {
		if err := f.check(ctx); err != nil {
			return nil, fmt.Errorf("observe %s: %w", f.kind, err)
		}
	}

	watching, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	end := func() {
		cancel()
		running.Wait()
	}
	for _, f := range feeds {
		running.Go(func() { f.run(watching) })
	}
	for _, f := range feeds {
		if err := f.waitForList(ctx); err != nil {
			end()
			return nil, fmt.Errorf("observe %s: %w", f.kind, err)
		}
	}
	journal.begin(time.Now())

	return &Observer{feeds: feeds, old: o.old, stop: sync.OnceValue(func() Report {
		catchUp(watching, feeds, journal)
		end()
		return journal.report(time.Now())
	})}, nil
}

// Stop ends the observation and reports it, with everything that the API server
// knew when Stop was called; what could not be seen is among the report's Gaps.
// Called again, it returns the same report.
func (o *Observer) Stop() Report { return o.stop() }

func catchUp(ctx context.Context, feeds []*feed, journal *journal) {
	if err := ctx.Err(); err != nil {
		journal.gap("watching ended before Stop: %v", err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	var waiting sync.WaitGroup
	for _, f := range feeds {
		waiting.Go(func() {
			if err := f.catchUp(ctx); err != nil {
				journal.gap("the last events of %s may be missing: %v", f.kind, err)
			}
		})
	}
	waiting.Wait()
}
