package slackemu

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slack-go/slack"
	"github.com/slack-go/slack/socketmode"
)

// start runs an emulator with three people and three channels.
func start(t *testing.T, options Options) (*Server, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	options.Users = append(options.Users,
		User{ID: "U1", Name: "alice", RealName: "Alice Liddell"},
		User{ID: "U2", Name: "bob"},
		User{ID: "U3", Name: "eve", Team: "T9", Stranger: true},
		User{ID: "U4", Name: "gone", Deleted: true},
	)
	options.Channels = append(options.Channels,
		Channel{ID: "C1", Name: "ops"},
		Channel{ID: "C2", Name: "elsewhere", BotAbsent: true},
		Channel{ID: "C3", Name: "shared", ExtShared: true},
		Channel{ID: "G1", Name: "secret", Private: true},
		Channel{ID: "G2", Name: "closed", Private: true, BotAbsent: true},
	)
	options.Groups = append(options.Groups,
		Group{ID: "S1", Handle: "sre", Users: []string{"U1", "U2"}},
		Group{ID: "S2", Handle: "old", Users: []string{"U1"}, Disabled: true},
	)
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	s, err := Start(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, ctx
}

func client(s *Server) *slack.Client {
	return slack.New(s.BotToken(), slack.OptionAPIURL(s.URL()), slack.OptionAppLevelToken(s.AppToken()))
}

// bot is a client that runs on a socket. It acknowledges what accept returns true for; nil: everything.
type bot struct {
	*socketmode.Client
	got  chan socketmode.Event // commands, events and interactions
	stop context.CancelFunc
}

func connect(ctx context.Context, t *testing.T, s *Server, accept func(socketmode.Event) bool) *bot {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	b := &bot{
		Client: socketmode.New(client(s), socketmode.OptionLog(log.New(io.Discard, "", 0)), socketmode.OptionPingInterval(time.Second)),
		got:    make(chan socketmode.Event, 100),
		stop:   cancel,
	}
	ran, hello := make(chan struct{}), make(chan struct{}, 100)
	go func() {
		defer close(ran)
		_ = b.RunContext(ctx)
	}()
	go func() {
		for {
			select {
			case e := <-b.Events:
				b.take(ctx, e, accept, hello)
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-ran })
	select {
	case <-hello:
	case <-ctx.Done():
		t.Fatal("no hello")
	}
	return b
}

func (b *bot) take(ctx context.Context, e socketmode.Event, accept func(socketmode.Event) bool, hello chan<- struct{}) {
	switch e.Type {
	case socketmode.EventTypeHello:
		hello <- struct{}{}
	case socketmode.EventTypeSlashCommand, socketmode.EventTypeEventsAPI, socketmode.EventTypeInteractive:
		if accept == nil || accept(e) {
			_ = b.AckCtx(ctx, e.Request.EnvelopeID, nil)
		}
		b.got <- e
	}
}

func (b *bot) next(ctx context.Context, t *testing.T) socketmode.Event {
	t.Helper()
	select {
	case e := <-b.got:
		return e
	case <-ctx.Done():
		t.Fatal("nothing came")
		return socketmode.Event{}
	}
}

func await(ctx context.Context, t *testing.T, s *Server, what string, cond func() bool) {
	t.Helper()
	if err := s.Await(ctx, cond); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func wantNoUnknown(t *testing.T, s *Server) {
	t.Helper()
	if unknown := s.Unknown(); len(unknown) > 0 {
		t.Errorf("unknown calls: %v", unknown)
	}
}

func section(text string) slack.Block {
	return slack.NewSectionBlock(slack.NewTextBlockObject("mrkdwn", text, false, false), nil, nil)
}

func button(id, text string) *slack.ButtonBlockElement {
	return slack.NewButtonBlockElement(id, "value of "+id, slack.NewTextBlockObject("plain_text", text, true, false))
}

func TestIdentity(t *testing.T) {
	s, ctx := start(t, Options{})
	who, err := client(s).AuthTestContext(ctx)
	if err != nil || who.UserID != s.BotUser() || who.TeamID != s.Team() || who.BotID == "" {
		t.Fatalf("auth.test: %+v, %v", who, err)
	}
	env := strings.Join(s.Env(), "\n")
	for _, want := range []string{"SLACK_API_URL=http://127.0.0.1:", "SLACK_BOT_TOKEN=xoxb-", "SLACK_APP_TOKEN=xapp-", "SLACK_SIGNING_SECRET="} {
		if !strings.Contains(env, want) {
			t.Errorf("%s is not in %s", want, env)
		}
	}
	for token, want := range map[string]string{"": "not_authed", "xoxb-none": "invalid_auth", s.AppToken(): "not_allowed_token_type"} {
		_, err := slack.New(token, slack.OptionAPIURL(s.URL())).AuthTestContext(ctx)
		if err == nil || err.Error() != want {
			t.Errorf("token %q: %v, want %s", token, err, want)
		}
	}
	if _, _, err := slack.New("", slack.OptionAPIURL(s.URL()), slack.OptionAppLevelToken(s.BotToken())).StartSocketModeContext(ctx); err == nil ||
		err.Error() != "not_allowed_token_type" {
		t.Errorf("apps.connections.open with the bot token: %v", err)
	}
	wantNoUnknown(t, s)
}

func TestChat(t *testing.T) {
	s, ctx := start(t, Options{})
	api := client(s)
	metadata := slack.SlackMetadata{EventType: "upgrade_plan", EventPayload: map[string]any{"id": "p1"}}
	channel, ts, err := api.PostMessageContext(ctx, "#ops", slack.MsgOptionText("plan", false), slack.MsgOptionMetadata(metadata),
		slack.MsgOptionBlocks(section("*plan*"), slack.NewActionBlock("votes", button("yes", "Approve").WithStyle(slack.StylePrimary))))
	if err != nil || channel != "C1" {
		t.Fatalf("post: %s, %v", channel, err)
	}
	_, reply, err := api.PostMessageContext(ctx, "C1", slack.MsgOptionText("reply", false), slack.MsgOptionTS(ts))
	if err != nil || reply <= ts {
		t.Fatalf("reply: %s after %s, %v", reply, ts, err)
	}
	if _, _, _, err := api.UpdateMessageContext(ctx, "C1", ts, slack.MsgOptionText("done", false), slack.MsgOptionBlocks(section("done"))); err != nil {
		t.Fatal(err)
	}
	m, ok := s.Message("C1", ts)
	if !ok || m.Text != "done" || m.PlainText() != "done" || m.Edits != 1 || len(m.Buttons()) != 0 || m.EditedAt.Before(m.PostedAt) {
		t.Errorf("message: %+v", m)
	}
	if !strings.Contains(string(m.Metadata), "upgrade_plan") {
		t.Errorf("an update without metadata lost it: %s", m.Metadata)
	}
	eph, err := api.PostEphemeralContext(ctx, "C1", "U2", slack.MsgOptionText("psst", false))
	if m, _ := s.Message("C1", eph); err != nil || m.Ephemeral != "U2" {
		t.Errorf("ephemeral: %+v, %v", m, err)
	}
	link, err := api.GetPermalinkContext(ctx, &slack.PermalinkParameters{Channel: "C1", Ts: reply})
	if err != nil || !strings.Contains(link, "/archives/C1/p") || !strings.Contains(link, "thread_ts="+ts) {
		t.Errorf("permalink %s, %v", link, err)
	}
	if _, _, err := api.DeleteMessageContext(ctx, "C1", reply); err != nil {
		t.Error(err)
	}
	if all := s.Messages("C1"); len(all) != 3 || !all[1].Deleted || all[1].ThreadTS != ts {
		t.Errorf("messages: %+v", all)
	}
	wantNoUnknown(t, s)
}

func TestReactions(t *testing.T) {
	s, ctx := start(t, Options{})
	api := client(s)
	_, ts, err := api.PostMessageContext(ctx, "C1", slack.MsgOptionText("vote", false))
	if err != nil {
		t.Fatal(err)
	}
	ref := slack.NewRefToMessage("C1", ts)
	for _, err := range []error{
		api.AddReactionContext(ctx, "+1", ref), s.React(ctx, "U1", "C1", ts, "+1"), s.React(ctx, "U2", "C1", ts, ":+1::skin-tone-3:"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := api.AddReactionContext(ctx, "+1", ref); err == nil || err.Error() != "already_reacted" {
		t.Errorf("reacted twice: %v", err)
	}
	if err := s.React(ctx, "U1", "C1", ts, "+1"); err == nil || !strings.Contains(err.Error(), "already_reacted") {
		t.Errorf("reacted twice: %v", err)
	}
	got, err := api.GetReactionsContext(ctx, ref, slack.GetReactionsParameters{Full: true})
	if err != nil || len(got.Reactions) != 2 || got.Reactions[0].Count != 2 || got.Reactions[1].Name != "+1::skin-tone-3" {
		t.Errorf("reactions: %+v, %v", got.Reactions, err)
	}
	if got.Message.User != s.BotUser() {
		t.Errorf("the message is %s's", got.Message.User)
	}
	if err := s.Unreact(ctx, "U2", "C1", ts, "+1::skin-tone-3"); err != nil {
		t.Error(err)
	}
	if err := api.RemoveReactionContext(ctx, "x", ref); err == nil || err.Error() != "no_reaction" {
		t.Errorf("removed nothing: %v", err)
	}
	if m, _ := s.Message("C1", ts); len(m.Reactions) != 1 || len(m.Reactions[0].Users) != 2 {
		t.Errorf("reactions: %+v", m.Reactions)
	}
	if err := api.AddReactionContext(ctx, "No Such", ref); err == nil || err.Error() != "invalid_name" {
		t.Errorf("bad name: %v", err)
	}
}

func TestDirectory(t *testing.T) {
	s, ctx := start(t, Options{})
	api := client(s)
	u, err := api.GetUserInfoContext(ctx, "U3")
	if err != nil || u.TeamID != "T9" || !u.IsStranger || u.Profile.DisplayName != "eve" {
		t.Errorf("user: %+v, %v", u, err)
	}
	if u, err := api.GetUserInfoContext(ctx, "U4"); err != nil || !u.Deleted || u.TeamID != s.Team() {
		t.Errorf("user: %+v, %v", u, err)
	}
	if _, err := api.GetUserInfoContext(ctx, "U9"); err == nil || err.Error() != "user_not_found" {
		t.Errorf("unknown user: %v", err)
	}
	s.SetGroup("S1", "U2")
	if members, err := api.GetUserGroupMembersContext(ctx, "S1"); err != nil || strings.Join(members, " ") != "U2" {
		t.Errorf("members: %v, %v", members, err)
	}
	for _, id := range []string{"S2", "S9"} {
		if _, err := api.GetUserGroupMembersContext(ctx, id); err == nil || err.Error() != "no_such_subteam" {
			t.Errorf("group %s: %v", id, err)
		}
	}
	for id, want := range map[string]string{"C1": "", "C2": "", "G1": "", "G2": "channel_not_found", "C9": "channel_not_found"} {
		c, err := api.GetConversationInfoContext(ctx, &slack.GetConversationInfoInput{ChannelID: id})
		if got := errorText(err); got != want {
			t.Errorf("channel %s: %q, want %q", id, got, want)
		} else if err == nil && (c.ID != id || c.IsMember != (id != "C2") || c.IsPrivate != (id == "G1")) {
			t.Errorf("channel %s: %+v", id, c)
		}
	}
	wantNoUnknown(t, s)
	poor, ctx := start(t, Options{NoUserGroups: true, Scopes: []string{"usergroups:read"}})
	if _, err := client(poor).GetUserGroupMembersContext(ctx, "S1"); errorText(err) != "plan_upgrade_required" {
		t.Errorf("without user groups: %v", err)
	}
	_, err = client(poor).GetUserInfoContext(ctx, "U1")
	if refused, ok := errors.AsType[slack.SlackErrorResponse](err); !ok || refused.Needed != "users:read" || refused.Provided != "usergroups:read" {
		t.Errorf("without the scope: %+v", err)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestHistory(t *testing.T) {
	s, ctx := start(t, Options{})
	api := client(s)
	var all []string
	for i := range 5 {
		_, ts, err := api.PostMessageContext(ctx, "C1", slack.MsgOptionText(strings.Repeat("x", i+1), false),
			slack.MsgOptionMetadata(slack.SlackMetadata{EventType: "n", EventPayload: map[string]any{"i": i}}))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ts)
	}
	root := s.Post(ctx, "U1", "C1", "a thread")
	for range 3 {
		if _, _, err := api.PostMessageContext(ctx, "C1", slack.MsgOptionText("reply", false), slack.MsgOptionTS(root)); err != nil {
			t.Fatal(err)
		}
	}
	history := func(p slack.GetConversationHistoryParameters) *slack.GetConversationHistoryResponse {
		t.Helper()
		p.ChannelID = "C1"
		got, err := api.GetConversationHistoryContext(ctx, &p)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := history(slack.GetConversationHistoryParameters{Limit: 4, IncludeAllMetadata: true})
	if len(first.Messages) != 4 || !first.HasMore || first.Messages[0].Timestamp != root || first.Messages[0].ReplyCount != 3 ||
		first.Messages[1].Metadata.EventPayload["i"] != 4.0 {
		t.Errorf("first page: %+v", first)
	}
	second := history(slack.GetConversationHistoryParameters{Limit: 4, Cursor: first.ResponseMetaData.NextCursor})
	if len(second.Messages) != 2 || second.HasMore || second.Messages[1].Timestamp != all[0] || second.Messages[1].Metadata.EventType != "" {
		t.Errorf("second page: %+v", second)
	}
	between := slack.GetConversationHistoryParameters{Oldest: all[1], Latest: all[3]}
	if got := history(between); len(got.Messages) != 1 || got.Messages[0].Timestamp != all[2] {
		t.Errorf("between: %+v", got.Messages)
	}
	between.Inclusive = true
	if got := history(between); len(got.Messages) != 3 {
		t.Errorf("inclusive: %+v", got.Messages)
	}
	replies, more, _, err := api.GetConversationRepliesContext(ctx, &slack.GetConversationRepliesParameters{ChannelID: "C1", Timestamp: root, Limit: 2})
	if err != nil || !more || len(replies) != 2 || replies[0].Timestamp != root || replies[1].ThreadTimestamp != root {
		t.Errorf("replies: %+v, %v", replies, err)
	}
	wantNoUnknown(t, s)
}

func TestUnknownCallsAreLoud(t *testing.T) {
	s, ctx := start(t, Options{})
	if _, err := client(s).GetTeamInfoContext(ctx); errorText(err) != "unknown_method" {
		t.Errorf("team.info: %v", err)
	}
	resp, err := http.Get(strings.TrimSuffix(s.URL(), "api/") + "elsewhere")
	if err != nil || resp.StatusCode != http.StatusNotFound {
		t.Fatal(resp, err)
	}
	_ = resp.Body.Close()
	if got := strings.Join(s.Unknown(), "\n"); got != "team.info: unknown_method\nGET /elsewhere: no such page" {
		t.Errorf("unknown: %s", got)
	}
}

func TestJSONBody(t *testing.T) {
	s, ctx := start(t, Options{})
	body := `{"channel":"C1","text":"hello","blocks":[{"type":"divider"}],"token":"ignored","thread_ts":null}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL()+"chat.postMessage", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("Authorization", "Bearer "+s.BotToken())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var got struct {
		OK      bool
		Message struct{ Blocks []struct{ Type string } }
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || !got.OK || len(got.Message.Blocks) != 1 {
		t.Errorf("answer %+v, %v", got, err)
	}
}
