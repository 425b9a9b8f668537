package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/upshift-k8s/upshift/internal/gke"
	"github.com/upshift-k8s/upshift/internal/session"
	"github.com/upshift-k8s/upshift/internal/slack"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// cluster is one cluster that the bot looks after: the plan that waits for approval, the run, and the messages about both. What counts
// is in the cluster's own record; what is kept here can be lost at any time.
type cluster struct {
	bot   *bot
	cfg   clusterConfig
	log   *slog.Logger
	board *slack.Board
	// runs is the context of the runs that this process carries out.
	runs    context.Context
	running sync.WaitGroup

	connecting sync.Mutex
	session    *session.Session
	apis       gke.APIs // where Google's APIs are

	// deciding is held by who changes what waits for approval, or begins a run.
	deciding sync.Mutex
	// wake has the plan that waits looked at.
	wake chan struct{}

	mu   sync.Mutex
	last *upgrade.Run
	// away is since when the Kubernetes API cannot be reached, as the run that is carried out here sees it.
	away time.Time
	// working tells that a run is carried out here; tried is when that was last attempted without being asked.
	working bool
	tried   time.Time
	// heldOff is the run that the bot does not go on with by itself, and announced the one of another process that it may show.
	heldOff, announced string
	// reactedAt is when people reacted, as events said, and told whom something was told already.
	reactedAt map[string]time.Time
	told      map[string]bool
}

const (
	// reviewPace is between two looks at what waits for approval, however many reactions come.
	reviewPace = time.Second
	// refreshEvery is how often what changes with time alone is shown anew, and a run that was left is looked for.
	refreshEvery = 15 * time.Second
	// retryEvery is between attempts while a cluster or Slack cannot be reached.
	retryEvery = 5 * time.Second
)

func newSteward(runs context.Context, b *bot, cfg clusterConfig, apis gke.APIs) *cluster {
	c := &cluster{
		bot: b, cfg: cfg, apis: apis, runs: runs, log: b.log.With("cluster", cfg.name.Cluster), wake: make(chan struct{}, 1),
		reactedAt: map[string]time.Time{}, told: map[string]bool{},
	}
	c.board = slack.NewBoard(b.slack, c, c.log)
	return c
}

func (c *cluster) name() string { return c.cfg.name.Cluster }

// summary is a line about the cluster.
func (c *cluster) summary() string {
	c.mu.Lock()
	run := c.last
	c.mu.Unlock()
	text := fmt.Sprintf("%s (GKE, project %s, %s): ", c.name(), c.cfg.name.Project, c.cfg.name.Location)
	if c.cfg.provider == upgrade.SelfManaged {
		text = c.name() + " (self-managed): "
	}
	if run == nil {
		return text + "no run is known"
	}
	return text + fmt.Sprintf("run %s to %s is %s", run.ID, run.Plan.Target.Version, run.State)
}

// connected returns the connection to the cluster, which is made when it is first needed.
func (c *cluster) connected(ctx context.Context) (*session.Session, error) {
	c.connecting.Lock()
	defer c.connecting.Unlock()
	if c.session != nil {
		return c.session, nil
	}
	s, err := session.Connect(ctx, session.Target{
		Provider: c.cfg.provider, PoolLabel: c.cfg.poolLabel, Name: c.cfg.name, Kube: c.cfg.kube, Endpoint: c.cfg.endpoint, APIs: c.apis, Namespace: c.cfg.namespace, UserAgent: userAgent(),
	})
	if err != nil {
		return nil, fmt.Errorf("%s cannot be reached: %w", c.name(), err)
	}
	c.session = s
	return s, nil
}

// Messages implements slack.Memory.
func (c *cluster) Messages(ctx context.Context) (map[string]upgrade.Posted, error) {
	s, err := c.connected(ctx)
	if err != nil {
		return nil, err
	}
	return s.Store().Messages(ctx)
}

// AmendMessages implements slack.Memory.
func (c *cluster) AmendMessages(ctx context.Context, change func(map[string]upgrade.Posted)) error {
	s, err := c.connected(ctx)
	if err != nil {
		return err
	}
	return s.Store().AmendMessages(ctx, change)
}

// holder is who this process is when it carries out a run. Why is what for, empty for a run that was approved.
func (c *cluster) holder(why string) upgrade.Holder {
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown machine"
	}
	where := fmt.Sprintf("Slack bot on %s, process %d", host, os.Getpid())
	if why != "" {
		where += ", " + why
	}
	return upgrade.Holder{Who: "upshift-bot", Where: where, Resumes: true}
}

// serve looks after the cluster until ctx ends.
func (c *cluster) serve(ctx context.Context) {
	var s *session.Session
	begun := c.patiently(ctx, "reach the cluster and read what was posted", func(ctx context.Context) (err error) {
		if s, err = c.connected(ctx); err != nil {
			return err
		}
		return c.board.Load(ctx)
	})
	if !begun {
		return
	}
	var both sync.WaitGroup
	defer both.Wait()
	both.Go(func() { c.reviews(ctx) })
	c.poke()
	refresh := time.NewTicker(refreshEvery)
	defer refresh.Stop()
	runs := s.Store().Follow(ctx)
	for {
		select {
		case run, ok := <-runs:
			if !ok {
				return
			}
			c.see(run)
		case <-refresh.C:
			c.refresh()
			c.poke()
		case <-ctx.Done():
			return
		}
		c.takeUp(ctx)
	}
}

// sweep ends the questions that were closed by somebody who could not say so in their messages. The caller holds deciding.
func (c *cluster) sweep(ctx context.Context, s *session.Session) error {
	posted, err := s.Store().Messages(ctx)
	if err != nil {
		return err
	}
	// In this order: a question that is not pending any more because it became a run is found in the record.
	p, err := s.Store().Proposal(ctx)
	if err != nil {
		return err
	}
	run, err := s.Store().Current(ctx)
	if err != nil {
		return err
	}
	for key, m := range posted {
		id, isQuestion := strings.CutPrefix(key, questionKey(""))
		pending := p != nil && p.Approvals.ID == id
		if !isQuestion || m.Final || m.Timestamp == "" || pending || c.board.Busy(key) || strings.Contains(id, "/") || run != nil && rootKey(run) == key {
			continue
		}
		c.board.Show(slack.Card{Key: key, Channel: m.Channel, Final: true, Message: slack.Say("This plan is not open any more. For a new one: /upgrade %s", c.name())})
	}
	return nil
}

// patiently attempts until it succeeds, or ctx ends, which it tells by false.
func (c *cluster) patiently(ctx context.Context, what string, attempt func(context.Context) error) bool {
	for {
		err := attempt(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() == nil {
			c.log.Error("cannot "+what, "error", err, "again", retryEvery)
		}
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
			return false
		}
	}
}

// poke has the plan that waits looked at soon.
func (c *cluster) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// later is poke after a while.
func (c *cluster) later(d time.Duration) { time.AfterFunc(d, c.poke) }

// see takes in the record as it is.
func (c *cluster) see(run *upgrade.Run) {
	c.mu.Lock()
	earlier := c.last
	c.last = run
	c.mu.Unlock()
	if earlier == nil || earlier.ID != run.ID {
		c.forgetMessages()
		c.announce(run)
	}
	c.show(run)
}

// announce has a run that was not asked for in Slack shown in the cluster's first channel, if that is a place to speak of it.
func (c *cluster) announce(run *upgrade.Run) {
	if run.Slack != nil || run.State.Final() {
		return
	}
	c.bot.do(func(ctx context.Context) {
		if denial := c.bot.directory.room(ctx, c.cfg.channels[0], c.cfg.channels); denial != nil {
			if c.firstTime("announce/" + run.ID + denial.Error()) {
				c.log.Warn("a run is not shown", "run", run.ID, "why", denial)
			}
			return
		}
		c.mu.Lock()
		c.announced = run.ID
		now := c.last
		c.mu.Unlock()
		c.show(now)
	})
}

// refresh shows anew what changes with time alone.
func (c *cluster) refresh() {
	c.mu.Lock()
	run := c.last
	announced := run != nil && c.announced == run.ID
	c.mu.Unlock()
	if run == nil || run.State.Final() {
		return
	}
	if run.Slack == nil && !announced {
		c.announce(run)
	}
	c.show(run)
}

// forgetMessages drops what was posted about earlier plans and runs.
func (c *cluster) forgetMessages() {
	c.bot.do(func(ctx context.Context) {
		c.deciding.Lock()
		defer c.deciding.Unlock()
		s, err := c.connected(ctx)
		if err != nil {
			return
		}
		p, err := s.Store().Proposal(ctx)
		if err != nil {
			return
		}
		c.mu.Lock()
		run := c.last
		c.mu.Unlock()
		err = c.board.Forget(ctx, func(key string) bool {
			return strings.HasPrefix(key, rootKey(run)) || strings.HasPrefix(key, "run/"+run.ID) || p != nil && strings.HasPrefix(key, questionKey(p.Approvals.ID))
		})
		if err != nil {
			c.log.Warn("old messages are still remembered", "error", err)
		}
	})
}

// notice takes in an event of a run that is carried out here.
func (c *cluster) notice(e upgrade.Event) {
	attributes := []any{"event", e.Kind, "step", e.Step.ID}
	if e.Node != "" {
		attributes = append(attributes, "node", e.Node)
	}
	if e.Pod.Name != "" {
		attributes = append(attributes, "pod", e.Pod.Namespace+"/"+e.Pod.Name)
	}
	if e.Text != "" {
		attributes = append(attributes, "text", e.Text)
	}
	for _, w := range e.Waiting {
		attributes = append(attributes, "waiting", w.String())
	}
	c.log.Info("run", attributes...)
	switch e.Kind {
	case upgrade.APIAway:
		c.setAway(e.Time.Add(-time.Duration(e.Took)))
	case upgrade.APIBack:
		c.setAway(time.Time{})
	}
}

func (c *cluster) setAway(since time.Time) {
	c.mu.Lock()
	c.away = since
	c.mu.Unlock()
	c.refresh()
}
