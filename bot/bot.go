package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/upshift-k8s/upshift/internal/slack"
)

// bot is everything that goes on in Slack. It implements slack.Handler: what takes time is done on goroutines of its own, which end
// with ctx.
type bot struct {
	ctx       context.Context
	slack     *slack.Client
	directory *directory
	log       *slog.Logger
	clusters  []*cluster
	working   sync.WaitGroup
}

const (
	// commandTimeout bounds what a command does before it has answered. A cancel alone may take five minutes until all is put back.
	commandTimeout = 7 * time.Minute
	// answerTimeout is for the answer itself, also when the command's time is up.
	answerTimeout = 20 * time.Second
)

// do has something done.
func (b *bot) do(task func(ctx context.Context)) {
	b.working.Go(func() {
		ctx, cancel := context.WithTimeout(b.ctx, commandTimeout)
		defer cancel()
		task(ctx)
	})
}

// Command implements slack.Handler.
func (b *bot) Command(c slack.Command) {
	b.do(func(ctx context.Context) {
		a := answer{bot: b, url: c.ResponseURL, channel: c.Channel, user: c.Who.ID}
		if err := b.command(ctx, c, a); err != nil {
			b.log.Info("a command was not obeyed", "user", c.Who.ID, "channel", c.Channel, "error", err)
			a.say(ctx, slack.Say("%s", err))
		}
	})
}

// answer is how the one who typed or clicked is answered, and nobody else.
type answer struct {
	bot           *bot
	url           string
	channel, user string
}

// say answers. An answer that cannot be given by the response URL is whispered into the channel.
func (a answer) say(ctx context.Context, m slack.Message) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
	defer cancel()
	err := a.bot.slack.Respond(ctx, a.url, m)
	if err == nil {
		return
	}
	if whispered := a.bot.slack.Whisper(ctx, a.channel, a.user, m); whispered != nil {
		a.bot.log.Warn("somebody could not be answered", "user", a.user, "error", err, "whispering", whispered)
	}
}

// command carries out a slash command. The error is for the one who typed it.
func (b *bot) command(ctx context.Context, c slack.Command, a answer) error {
	r, err := slack.Parse(c.Text)
	if err != nil {
		return err
	}
	switch r.Verb {
	case slack.Help:
		a.say(ctx, slack.Say("%s", strings.Join(slack.Forms, "\n")))
		return nil
	case slack.Clusters:
		return b.list(ctx, c, a)
	}
	cl, err := b.find(ctx, r.Cluster, c.Who, c.Channel)
	if err != nil {
		return err
	}
	return cl.obey(ctx, order{verb: r.Verb, options: r.Options, who: c.Who, channel: c.Channel, answer: a})
}

// find returns a cluster by its name. Which clusters there are is told to members, and for the channel alone.
func (b *bot) find(ctx context.Context, name string, who slack.Person, channel string) (*cluster, error) {
	if _, err := b.directory.member(ctx, who); err != nil {
		return nil, err
	}
	var here []string
	for _, c := range b.clusters {
		if c.name() == name {
			return c, nil
		}
		if c.worksIn(ctx, channel) {
			here = append(here, c.name())
		}
	}
	if len(here) == 0 {
		return nil, fmt.Errorf("there is no cluster %s, and none can be worked on in this channel", name)
	}
	return nil, fmt.Errorf("there is no cluster %s; this channel has %s", name, strings.Join(here, ", "))
}

// list tells the clusters of the channel.
func (b *bot) list(ctx context.Context, c slack.Command, a answer) error {
	if _, err := b.directory.member(ctx, c.Who); err != nil {
		return err
	}
	var lines []string
	for _, cl := range b.clusters {
		if cl.worksIn(ctx, c.Channel) {
			lines = append(lines, "• "+cl.summary())
		}
	}
	if len(lines) == 0 {
		return deny("no cluster can be worked on in this channel")
	}
	a.say(ctx, slack.Say("%s", strings.Join(lines, "\n")))
	return nil
}

// Click implements slack.Handler.
func (b *bot) Click(c slack.Click) {
	b.do(func(ctx context.Context) {
		a := answer{bot: b, url: c.ResponseURL, channel: c.Channel, user: c.Who.ID}
		if err := b.click(ctx, c, a); err != nil {
			b.log.Info("a click does not count", "user", c.Who.ID, "action", c.Action, "error", err)
			a.say(ctx, slack.Say("%s", err))
		}
	})
}

func (b *bot) click(ctx context.Context, c slack.Click, a answer) error {
	subject, ok := slack.ParseSubject(c.Value)
	if !ok {
		return fmt.Errorf("this button cannot be read")
	}
	cl, err := b.find(ctx, subject.Cluster, c.Who, c.Channel)
	if err != nil {
		return err
	}
	switch {
	case c.Action == slack.Approve, c.Action == slack.Reject:
		return cl.clicked(ctx, c, subject.ID)
	case slack.IsRunAction(c.Action):
		return cl.obey(ctx, order{verb: slack.Verb(c.Action), who: c.Who, channel: c.Channel, run: subject.ID, answer: a})
	}
	return fmt.Errorf("this button means nothing any more")
}

// Reaction implements slack.Handler. A reaction is a hint: what counts is what Slack then says of the message.
func (b *bot) Reaction(r slack.Reaction) {
	if _, vote := slack.Vote(r.Name); !vote || r.Who.ID == b.directory.me.User {
		return
	}
	for _, c := range b.clusters {
		if slices.Contains(c.cfg.channels, r.Channel) {
			c.reacted(r)
		}
	}
}

// Connected implements slack.Handler: reactions may have been missed.
func (b *bot) Connected() {
	for _, c := range b.clusters {
		c.poke()
	}
}
