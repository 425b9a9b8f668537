package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/upshift-k8s/upshift/internal/session"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// ask is a command that asks something of a run: of the process that is at work, or, where none is, of the record.
func (c *command) ask(ctx context.Context) int {
	verb := c.cfg.command
	run, err := c.cluster.Store().Current(ctx)
	if err != nil {
		return c.out.fail(code(ctx, err), "cannot read the record", err)
	}
	if why := session.NothingTo(verb, run); why != nil {
		return c.out.fail(exitBlocked, "nothing to "+verb, why)
	}
	if verb == "pause" && run.State == upgrade.Paused && !run.Yielded {
		c.out.run(run)
		return c.out.done(run, "Run %s is paused already.", run.ID)
	}
	request := upgrade.Request{Verb: upgrade.Verb(verb), Run: run.ID, By: c.who.Who + " (" + c.who.Where + ")", At: time.Now().UTC().Truncate(time.Second)}
	if verb == "unblock" {
		if err := c.bindPod(ctx, run); err != nil {
			return c.out.fail(code(ctx, err), "cannot find the pod", err)
		}
		request.Arguments = c.cfg.unblock.Arguments()
	}
	held, err := c.cluster.Store().Holding(ctx)
	if err != nil {
		return c.out.fail(code(ctx, err), "cannot read the cluster's lease", err)
	}
	if held != nil {
		answer, err := c.cluster.Ask(ctx, request, func() { c.out.line("Asked %s to %s run %s.", held.Holder, verb, run.ID) })
		switch {
		case err != nil && ctx.Err() != nil:
			return c.out.fail(exitInterrupted, "interrupted", err)
		case err != nil:
			return c.out.fail(code(ctx, err), "cannot ask the run", err)
		case answer.Outcome != session.Silent:
			return c.answered(request, answer)
		}
		c.out.line("No answer in time.")
	}
	return c.working(ctx, func(ctx context.Context, work *session.Work) int {
		recorded, err := work.Recorded()
		if err != nil {
			return c.out.fail(exitFailed, "cannot read the record", err)
		}
		if why := session.NothingTo(verb, recorded); why != nil {
			return c.out.fail(exitBlocked, "nothing to "+verb, why)
		}
		return c.goOn(ctx, work, recorded, &request)
	})
}

// bindPod puts the UID of the pod that is to be forced into the request: a later pod of the same name is not meant.
func (c *command) bindPod(ctx context.Context, run *upgrade.Run) error {
	u := &c.cfg.unblock
	if u.Force.IsZero() {
		return nil
	}
	state, err := c.cluster.State(ctx, run.Plan.Cluster)
	if err != nil {
		return err
	}
	for _, p := range state.Pods {
		if p.Namespace == u.Force.Namespace && p.Name == u.Force.Name {
			u.Force.UID = p.UID
			return nil
		}
	}
	return &badInput{[]string{fmt.Sprintf("unblock: there is no pod %s/%s", u.Force.Namespace, u.Force.Name)}}
}

// answered tells what the process that is at work did about a request.
func (c *command) answered(r upgrade.Request, a session.Answer) int {
	switch a.Outcome {
	case session.Refused, session.Missed:
		return c.out.fail(exitFailed, "not obeyed", errors.New(a.Reason))
	case session.Settling:
		return c.out.done(a.Run, "Run %s is being cancelled, by %s: nothing is drained any more, and what is ours is put back. Watch it with status.", a.Run.ID, a.Run.Holder())
	}
	return c.obeyed(a.Run, r)
}

// obeyed tells that a request was obeyed by another process.
func (c *command) obeyed(run *upgrade.Run, r upgrade.Request) int {
	if r.Verb == upgrade.AskRollback {
		return c.out.done(run, "Run %s turns back, in the process that carried it out: %s. Watch it with status.", run.ID, run.Holder())
	}
	if r.Verb == upgrade.AskUnblock {
		return c.out.done(run, "Run %s goes on, in the process that carries it out: %s.", run.ID, run.Holder())
	}
	c.out.run(run)
	return c.out.done(run, "Run %s is %s.", run.ID, run.State)
}

// status is the command status.
func (c *command) status(ctx context.Context) int {
	run, err := c.cluster.Store().Current(ctx)
	if err != nil {
		return c.out.fail(code(ctx, err), "cannot read the record", err)
	}
	held, err := c.cluster.Store().Holding(ctx)
	if err != nil {
		return c.out.fail(code(ctx, err), "cannot read the cluster's lease", err)
	}
	if run == nil {
		c.out.line("No run is recorded in namespace %s of %s.", c.cfg.namespace, c.cfg.cluster)
		return c.out.finish(exitDone)
	}
	c.out.run(run)
	c.out.holding(run, held)
	if err := writeReport(c.cfg.reportDir, "run.json", run); err != nil {
		return c.out.fail(exitFailed, "cannot report the run", err)
	}
	return c.out.done(run, "")
}
