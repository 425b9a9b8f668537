package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/upshift-k8s/upshift/internal/slack"
)

// directory is what Slack knows of people, user groups and channels, kept for a short while. What it cannot find out counts against
// a person. It is safe for concurrent use.
type directory struct {
	slack *slack.Client
	me    slack.Me

	mu      sync.Mutex
	members map[string]kept[slack.Member]
	groups  map[string]kept[[]string]
	rooms   map[string]kept[slack.Room]
}

// kept is something that was looked up, and when.
type kept[T any] struct {
	value T
	at    time.Time
}

// fresh is how old what was looked up may be. Right before a run everything is looked up anew.
const fresh = time.Minute

func newDirectory(c *slack.Client, me slack.Me) *directory {
	return &directory{slack: c, me: me, members: map[string]kept[slack.Member]{}, groups: map[string]kept[[]string]{}, rooms: map[string]kept[slack.Room]{}}
}

// forget has everything looked up anew.
func (d *directory) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.members)
	clear(d.groups)
	clear(d.rooms)
}

func lookUp[T any](ctx context.Context, d *directory, known map[string]kept[T], id string, look func(context.Context, string) (T, error)) (T, error) {
	d.mu.Lock()
	k, ok := known[id]
	d.mu.Unlock()
	if ok && time.Since(k.at) < fresh {
		return k.value, nil
	}
	value, err := look(ctx, id)
	if err != nil {
		return value, err
	}
	d.mu.Lock()
	known[id] = kept[T]{value, time.Now()}
	d.mu.Unlock()
	return value, nil
}

// denied is why somebody may not do something, for that person.
type denied struct{ reason string }

func (d *denied) Error() string { return d.reason }

// unsure is why it is not known now whether somebody may do something. It may be known later, so nothing is decided on it.
type unsure struct{ err error }

func (u *unsure) Error() string { return u.err.Error() }
func (u *unsure) Unwrap() error { return u.err }

// unknown is the error for what could not be looked up: for now, or for good.
func unknown(err error, format string, args ...any) error {
	said := fmt.Errorf(format+": %w", append(args, err)...)
	if slack.Passing(err) {
		return &unsure{said}
	}
	return &denied{said.Error()}
}

func deny(format string, args ...any) error { return &denied{fmt.Sprintf(format, args...)} }

// member returns who a person is if they are a full member of the bot's own workspace. Anything else, and anything that cannot be
// found out, is an error.
func (d *directory) member(ctx context.Context, who slack.Person) (slack.Member, error) {
	if who.Team != "" && who.Team != d.me.Team {
		return slack.Member{}, deny("you are of another workspace, and only members of this one count")
	}
	m, err := lookUp(ctx, d, d.members, who.ID, d.slack.Member)
	switch {
	case err != nil:
		return m, unknown(err, "who you are cannot be looked up at Slack, so it does not count")
	case m.ID == d.me.User || m.Bot:
		return m, deny("bots do not count")
	case m.Deleted:
		return m, deny("your account is deactivated")
	case m.Guest:
		return m, deny("you are a guest, and only full members count")
	case m.Outside, m.Team != d.me.Team:
		return m, deny("you are of another workspace, and only members of this one count")
	}
	return m, nil
}

// room returns nil if the channel is one of those, and not shared with other organisations.
func (d *directory) room(ctx context.Context, channel string, accepted []string) error {
	if !slices.Contains(accepted, channel) {
		names := make([]string, len(accepted))
		for i, c := range accepted {
			names[i] = c
			if r, err := lookUp(ctx, d, d.rooms, c, d.slack.Room); err == nil {
				names[i] = "#" + r.Name
			}
		}
		return deny("not in this channel; want %s", strings.Join(names, ", "))
	}
	r, err := lookUp(ctx, d, d.rooms, channel, d.slack.Room)
	switch {
	case err != nil:
		return unknown(err, "this channel cannot be looked up at Slack, so nothing is done")
	case r.Shared:
		return deny("this channel is shared with another organisation, and nothing is done in such a one")
	case !r.Here:
		return deny("the bot is not in this channel; invite it first")
	}
	return nil
}

// among tells whether a person is one of those. A group that cannot be read has no members.
func (d *directory) among(ctx context.Context, id string, p people) (bool, error) {
	if slices.Contains(p.Users, id) {
		return true, nil
	}
	var unread error
	for _, g := range p.Groups {
		members, err := lookUp(ctx, d, d.groups, g, d.slack.Group)
		if err != nil {
			unread = err
			continue
		}
		if slices.Contains(members, id) {
			return true, nil
		}
	}
	return false, unread
}

// standing is what a person is to a cluster and to its run.
type standing struct {
	approver  bool
	requester bool // of the run that the verb is about
}

// permit returns nil if somebody of that standing, a full member in one of the cluster's channels, may do that. To look, to ask for a
// plan that others approve, and to stop what is going on is everybody's; to let it go on is an approver's.
func permit(verb slack.Verb, s standing) error {
	switch verb {
	case slack.Help, slack.Clusters, slack.Status, slack.Plan, slack.Upgrade, slack.Pause:
		return nil
	case slack.Resume:
		if s.approver {
			return nil
		}
		return deny("only an approver may resume")
	case slack.Cancel, slack.Rollback:
		if s.approver || s.requester {
			return nil
		}
		return deny("only an approver, or who asked for the run, may %s", map[slack.Verb]string{slack.Cancel: "cancel it", slack.Rollback: "roll it back"}[verb])
	}
	return deny("there is no %q", verb)
}

// worksIn tells whether the cluster may be worked on, and talked about, in that channel.
func (c *cluster) worksIn(ctx context.Context, channel string) bool {
	return c.bot.directory.room(ctx, channel, c.cfg.channels) == nil
}

// admit returns who somebody is if they may do that with the cluster, from that channel.
func (c *cluster) admit(ctx context.Context, who slack.Person, channel string, verb slack.Verb, requester string) (slack.Member, error) {
	m, err := c.bot.directory.member(ctx, who)
	if err != nil {
		return m, err
	}
	if err := c.bot.directory.room(ctx, channel, c.cfg.channels); err != nil {
		return m, fmt.Errorf("%s cannot be worked on: %w", c.name(), err)
	}
	approver, unread := c.bot.directory.among(ctx, m.ID, c.cfg.approvers)
	err = permit(verb, standing{approver: approver, requester: requester != "" && requester == m.ID})
	if err != nil && unread != nil {
		err = fmt.Errorf("%w (and not all groups of approvers can be read: %w)", err, unread)
	}
	return m, err
}

// mayVote returns nil if somebody's vote counts now. Requester is who asked; they may only turn their own plan down.
func (c *cluster) mayVote(ctx context.Context, who slack.Person, requester string, approves bool) (slack.Member, error) {
	m, err := c.bot.directory.member(ctx, who)
	if err != nil {
		return m, err
	}
	if m.ID == requester {
		if approves {
			return m, deny("you asked for this plan yourself, and somebody else has to approve it")
		}
		return m, nil
	}
	approver, unread := c.bot.directory.among(ctx, m.ID, c.cfg.approvers)
	switch {
	case approver:
		return m, nil
	case unread != nil:
		return m, unknown(unread, "you are not among the approvers of %s that can be looked up at Slack", c.name())
	}
	return m, deny("you are not an approver of %s", c.name())
}
