package main

import (
	"context"
	"io"
	"time"
)

// post is the program after the job's step, in a container of its own: if the step's process was killed, it releases the lease
// and says how to go on. It changes nothing else.
func post(ctx context.Context, args, environ []string, stdout io.Writer) int {
	getenv := environment(environ)
	out := newOutput(stdout, getenv)
	name := getenv("STATE_" + holderState)
	if name == "" {
		out.line("Nothing to clean up: the step did not take the cluster's lease.")
		return exitDone
	}
	cfg, err := parse(args, environ)
	if err != nil {
		return out.fail(exitBadInput, "bad input", err)
	}
	c := &command{cfg: cfg, out: out, who: holder(getenv), start: time.Now()}
	if err := c.connect(ctx); err != nil {
		return out.fail(code(ctx, err), "cannot reach the cluster", err)
	}
	defer c.cluster.Close() //nolint:errcheck // nothing is buffered
	return c.lookAfter(ctx, name)
}

// lookAfter releases the lease if the process of that name still has it.
func (c *command) lookAfter(ctx context.Context, name string) int {
	freed, err := c.cluster.Store().Free(ctx, name)
	if err != nil {
		return c.out.fail(exitFailed, "the lease is not released, and is free by itself half a minute after its holder's end", err)
	}
	if !freed {
		c.out.line("Nothing to clean up: the step has released the cluster's lease.")
		return c.out.finish(exitDone)
	}
	c.out.line("The step ended without releasing the cluster's lease. It is released now, and nothing else was changed.")
	run, err := c.cluster.Store().Current(ctx)
	if err != nil || run == nil {
		return c.out.finish(exitDone) // the lease was the point
	}
	c.out.run(run)
	if !run.State.Final() {
		c.out.line("To go on: upgrade again, or resume. To back out: rollback or cancel.")
	}
	return c.out.finish(exitDone)
}
