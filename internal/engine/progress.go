package engine

import (
	"context"
	"slices"
	"time"

	"github.com/upshift-k8s/upshift/internal/drain"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// recordPace is between two writes of the record for no more than pods that moved, or nodes that are done while others are not: a record can take
// a megabyte, and a drain that begins anew finds what is done.
const recordPace = 10 * time.Second

// recordedWaits bounds what the record says of what is waited for; the log has all of it.
const recordedWaits = 100

// progress puts into the record how a drain goes, where other processes see it.
type progress struct {
	e *Engine
	// before are the moves of earlier drains.
	before []upgrade.Move
	// known is how much of the drain's own progress the record has, and saved when it got that. Behind tells that a node is done that it does not say
	// to be.
	known  int
	saved  time.Time
	behind bool
}

func (e *Engine) newProgress() *progress {
	return &progress{e: e, before: slices.Clone(e.run.Moves), saved: time.Now()}
}

// waits takes in what the drain waits for, once that has lasted.
func (p *progress) waits(ctx context.Context, event upgrade.Event) {
	if event.Kind == upgrade.DrainWaits && slices.ContainsFunc(event.Waiting, blocks) {
		p.e.run.Waiting = event.Waiting[:min(len(event.Waiting), recordedWaits)]
		p.save(ctx)
	}
}

// blocks tells a wait that does not end by itself.
func blocks(w upgrade.Waiting) bool { return !w.Passing }

// made takes in what the drain did so far, and that it waits no more.
func (p *progress) made(ctx context.Context, result drain.Result, waiting []upgrade.Waiting) {
	known := len(result.Moves) + result.Replaced
	goesOn := len(p.e.run.Waiting) > 0 && !slices.ContainsFunc(waiting, blocks)
	if !goesOn && (known == p.known && !p.behind || time.Since(p.saved) < recordPace) {
		return
	}
	if goesOn {
		p.e.run.Waiting = nil
	}
	p.ends(result)
	p.known = known
	p.save(ctx)
}

// nodeDone takes in that a node is done, which is saved with what comes next.
func (p *progress) nodeDone(result drain.Result) {
	p.behind = true
	p.ends(result)
}

// ends takes in what the drain did, which is saved when it ends.
func (p *progress) ends(result drain.Result) {
	p.e.run.Moves = append(slices.Clone(p.before), result.Moves...)
}

func (p *progress) save(ctx context.Context) {
	p.saved, p.behind = time.Now(), false
	if err := p.e.save(ctx); err != nil && ctx.Err() == nil {
		p.e.stop(err) // nothing may be evicted without a record
	}
}
