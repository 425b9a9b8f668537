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
	s := &session{cfg: cfg, out: out, who: holder(getenv), start: time.Now()}
	if err := s.connect(ctx); err != nil {
		return out.fail(code(ctx, err), "cannot reach the cluster", err)
	}
	defer s.provider.Close() //nolint:errcheck // nothing is buffered
	return s.lookAfter(ctx, name)
}

// lookAfter releases the lease if the process of that name still has it.
func (s *session) lookAfter(ctx context.Context, name string) int {
	freed, err := s.store.Free(ctx, name)
	if err != nil {
		return s.out.fail(exitFailed, "the lease is not released, and is free by itself half a minute after its holder's end", err)
	}
	if !freed {
		s.out.line("Nothing to clean up: the step has released the cluster's lease.")
		return s.out.finish(exitDone)
	}
	s.out.line("The step ended without releasing the cluster's lease. It is released now, and nothing else was changed.")
	run, err := s.store.Current(ctx)
	if err != nil || run == nil {
		return s.out.finish(exitDone) // the lease was the point
	}
	s.out.run(run)
	if !run.State.Final() {
		s.out.line("To go on: upgrade again, or resume. To back out: rollback or cancel.")
	}
	return s.out.finish(exitDone)
}
