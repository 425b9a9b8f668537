package main

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/gke"
	"github.com/upshift-k8s/upshift/internal/lab/slackemu"
	"github.com/upshift-k8s/upshift/internal/lab/testbed"
	"github.com/upshift-k8s/upshift/internal/slack"
)

// offline is a bot with two clusters that are never reached, in an emulated Slack: cluster-1 has Bob and the group SRE (Carol) as
// approvers and is worked on in #ops, cluster-2 has Dave and is worked on in #random and, by mistake, in #shared.
func offline(t *testing.T, change func(*slackemu.Options)) (*bot, *slackemu.Server) {
	t.Helper()
	o := testbed.Workspace()
	if change != nil {
		change(&o)
	}
	chat, err := slackemu.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(chat.Close)
	client := slack.NewClient(slack.Tokens{Bot: chat.BotToken(), App: chat.AppToken()}, chat.URL())
	me, err := client.Me(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := &bot{ctx: t.Context(), slack: client, directory: newDirectory(client, me), log: slog.New(slog.DiscardHandler)}
	for _, cfg := range []clusterConfig{
		{name: gke.Name{Cluster: "cluster-1"}, channels: []string{testbed.Ops}, approvers: people{Users: []string{testbed.Bob}, Groups: []string{testbed.SRE}}, quorum: 1},
		{name: gke.Name{Cluster: "cluster-2"}, channels: []string{testbed.Random, testbed.Shared}, approvers: people{Users: []string{testbed.Dave}}, quorum: 1},
	} {
		b.clusters = append(b.clusters, newSteward(t.Context(), b, cfg, gke.APIs{}))
	}
	return b, chat
}

// may says what somebody may do: the verbs that are let through.
func may(t *testing.T, c *cluster, who slack.Person, channel, requester string) string {
	t.Helper()
	var allowed []string
	for _, v := range slack.Verbs {
		if v == slack.Help || v == slack.Clusters {
			continue // about no cluster
		}
		if _, err := c.admit(t.Context(), who, channel, v, requester); err == nil {
			allowed = append(allowed, string(v))
		}
	}
	for _, approves := range []bool{true, false} {
		if c.bot.directory.room(t.Context(), channel, c.cfg.channels) != nil {
			continue
		}
		if _, err := c.mayVote(t.Context(), who, requester, approves); err == nil {
			allowed = append(allowed, map[bool]string{true: "approve", false: "reject"}[approves])
		}
	}
	return strings.Join(allowed, " ")
}

// TestWhoMayDoWhat is the whole matrix of role, verb and cluster. The requester of the run, and of the plan, is Alice.
func TestWhoMayDoWhat(t *testing.T) {
	const (
		nothing  = ""
		member   = "upgrade plan status pause"
		approver = "upgrade plan status pause resume cancel rollback approve reject"
	)
	b, _ := offline(t, nil)
	got, want := map[string]string{}, map[string]string{}
	for _, row := range []struct {
		who                  string
		team                 string
		one, two             string // in the cluster's own channel
		oneInRandom, twoHere string // in the other's
		shared               string // cluster-2 in #shared
	}{
		{who: testbed.Alice, one: "upgrade plan status pause cancel rollback reject", two: "upgrade plan status pause cancel rollback reject"},
		{who: testbed.Bob, one: approver, two: member},
		{who: testbed.Carol, one: approver, two: member},
		{who: testbed.Dave, one: member, two: approver},
		{who: testbed.Gina}, {who: testbed.Eve}, {who: testbed.Eve, team: "T0OTHER"}, {who: testbed.Bob, team: "T0OTHER"},
		{who: testbed.Robot}, {who: testbed.Gone}, {who: "U0NOBODY"}, {who: "U0UPSHIFT"}, {who: ""},
	} {
		who := slack.Person{ID: row.who, Team: row.team}
		for i, name := range []string{"cluster-1", "cluster-2"} {
			for _, channel := range []string{testbed.Ops, testbed.Random, testbed.Shared, "C0NOWHERE", "D0DIRECT", ""} {
				key := fmt.Sprintf("%s (team %q) on %s in %s", row.who, row.team, name, channel)
				got[key] = may(t, b.clusters[i], who, channel, testbed.Alice)
				switch {
				case i == 0 && channel == testbed.Ops:
					want[key] = row.one
				case i == 1 && channel == testbed.Random:
					want[key] = row.two
				default:
					want[key] = nothing
				}
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	t.Logf("%d combinations of role, cluster and channel, each with every verb and vote", len(got))
}

// TestWhatCannotBeLookedUpDoesNotCount: user groups need a paid plan and a scope, and Slack can be away.
func TestWhatCannotBeLookedUpDoesNotCount(t *testing.T) {
	vote := func(b *bot, who string) error {
		_, err := b.clusters[0].mayVote(t.Context(), slack.Person{ID: who}, testbed.Alice, true)
		return err
	}
	for name, change := range map[string]func(*slackemu.Options){
		"no user groups": func(o *slackemu.Options) { o.NoUserGroups = true },
		"no scope": func(o *slackemu.Options) {
			o.Scopes = []string{"users:read", "channels:read", "chat:write"}
		},
		"disabled group": func(o *slackemu.Options) { o.Groups[0].Disabled = true },
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := offline(t, change)
			if err := vote(b, testbed.Bob); err != nil {
				t.Errorf("an approver by ID does not count: %v", err)
			}
			err := vote(b, testbed.Carol)
			if err == nil || !strings.Contains(err.Error(), "you are not among the approvers of cluster-1 that can be looked up at Slack") {
				t.Errorf("got %v, want a refusal that says that the group cannot be read", err)
			}
		})
	}
	t.Run("Slack away", func(t *testing.T) {
		b, chat := offline(t, nil)
		chat.Inject(slackemu.Fault{Status: 500})
		if err := vote(b, testbed.Bob); err == nil || !strings.Contains(err.Error(), "cannot be looked up") {
			t.Errorf("got %v, want a refusal", err)
		}
	})
	t.Run("the bot is not in the channel", func(t *testing.T) {
		b, _ := offline(t, func(o *slackemu.Options) { o.Channels[0].BotAbsent = true })
		if _, err := b.clusters[0].admit(t.Context(), slack.Person{ID: testbed.Bob}, testbed.Ops, slack.Status, ""); err == nil {
			t.Error("a command in a channel without the bot is obeyed")
		}
	})
}

// TestAMemberWhoLeavesTheGroupCountsNoMore: what was looked up before a run is looked up anew.
func TestAMemberWhoLeavesTheGroupCountsNoMore(t *testing.T) {
	b, chat := offline(t, nil)
	vote := func() error {
		_, err := b.clusters[0].mayVote(t.Context(), slack.Person{ID: testbed.Carol}, testbed.Alice, true)
		return err
	}
	if err := vote(); err != nil {
		t.Fatal(err)
	}
	chat.SetGroup(testbed.SRE, testbed.Dave)
	b.directory.forget()
	if err := vote(); err == nil {
		t.Error("somebody who has left the group still counts")
	}
}
