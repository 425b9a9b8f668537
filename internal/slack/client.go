package slack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	slackapi "github.com/slack-go/slack"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// EndpointVariable is another endpoint of Slack's API, for emulators and gateways.
const EndpointVariable = "SLACK_API_URL"

// callTimeout bounds one call of Slack's API.
const callTimeout = 20 * time.Second

// Client calls Slack's Web API. It is safe for concurrent use. Calls are not made again by themselves: who calls knows whether it is
// still worth it.
type Client struct {
	api  *slackapi.Client
	http *http.Client
	// me is who Slack said that the bot is, nil before it was asked.
	me atomic.Pointer[Me]
}

// Tokens are the credentials of the app.
type Tokens struct {
	// Bot is xoxb-…, App is xapp-… and only needed for Socket Mode.
	Bot, App string
}

// NewClient makes a client for the API at endpoint (empty for Slack's own). It calls no API.
func NewClient(t Tokens, endpoint string) *Client {
	c := &Client{http: &http.Client{Timeout: callTimeout}}
	options := []slackapi.Option{slackapi.OptionHTTPClient(c.http), slackapi.OptionAppLevelToken(t.App)}
	if endpoint != "" {
		options = append(options, slackapi.OptionAPIURL(endpoint))
	}
	c.api = slackapi.New(t.Bot, options...)
	return c
}

// CheckEndpoint tells whether endpoint can stand in for Slack's API: https, or http on loopback; empty is fine.
func CheckEndpoint(endpoint string) error {
	if endpoint == "" {
		return nil
	}
	u, err := url.Parse(endpoint)
	if err == nil && u.Host != "" && u.Path != "" && u.Path[len(u.Path)-1] == '/' {
		ip := net.ParseIP(u.Hostname())
		if u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()) {
			return nil
		}
	}
	return fmt.Errorf("%s=%q: want https://HOST/api/, or http://HOST:PORT/api/ on loopback", EndpointVariable, endpoint)
}

// Me is who the bot is.
type Me struct{ Team, User, URL string }

// Me asks Slack who the token belongs to.
func (c *Client) Me(ctx context.Context) (Me, error) {
	r, err := c.api.AuthTestContext(ctx)
	if err != nil {
		return Me{}, fmt.Errorf("ask Slack who the bot is: %w", err)
	}
	me := Me{Team: r.TeamID, User: r.UserID, URL: r.URL}
	c.me.Store(&me)
	return me, nil
}

// metadataType marks the bot's own messages, so that one whose answer was lost can be found.
const metadataType = "upshift_message"

// Post posts a message, in a thread if that is not empty, and returns its timestamp. Key can be found again by Find.
func (c *Client) Post(ctx context.Context, channel, thread, key string, m Message) (string, error) {
	options := []slackapi.MsgOption{
		slackapi.MsgOptionText(m.Text, false), slackapi.MsgOptionBlocks(m.Blocks...), slackapi.MsgOptionDisableLinkUnfurl(), slackapi.MsgOptionDisableMediaUnfurl(),
		slackapi.MsgOptionMetadata(slackapi.SlackMetadata{EventType: metadataType, EventPayload: map[string]any{"key": key}}),
	}
	if thread != "" {
		options = append(options, slackapi.MsgOptionTS(thread))
	}
	_, ts, err := c.api.PostMessageContext(ctx, channel, options...)
	if err != nil {
		return "", fmt.Errorf("post to channel %s: %w", channel, err)
	}
	return ts, nil
}

// Update makes a message of the bot's say something else.
func (c *Client) Update(ctx context.Context, channel, ts string, m Message) error {
	_, _, _, err := c.api.UpdateMessageContext(ctx, channel, ts, slackapi.MsgOptionText(m.Text, false), slackapi.MsgOptionBlocks(m.Blocks...))
	if err != nil {
		return fmt.Errorf("update message %s of channel %s: %w", ts, channel, err)
	}
	return nil
}

// Find looks for a message of the bot's by its key, in a thread if that is not empty, among those since a time. It returns "" if
// there is none.
func (c *Client) Find(ctx context.Context, channel, thread, key string, since time.Time) (string, error) {
	oldest := fmt.Sprintf("%d.000000", since.Add(-time.Minute).Unix()) // Slack's clock is not ours
	cursor := ""
	for {
		messages, next, err := c.page(ctx, channel, thread, oldest, cursor)
		if err != nil {
			return "", fmt.Errorf("look for a message in channel %s: %w", channel, err)
		}
		for _, m := range messages {
			if me := c.me.Load(); (me == nil || m.User == me.User) && m.Metadata.EventType == metadataType && m.Metadata.EventPayload["key"] == key {
				return m.Timestamp, nil
			}
		}
		if next == "" {
			return "", nil
		}
		cursor = next
	}
}

func (c *Client) page(ctx context.Context, channel, thread, oldest, cursor string) (messages []slackapi.Message, next string, err error) {
	if thread != "" {
		messages, _, next, err = c.api.GetConversationRepliesContext(ctx, &slackapi.GetConversationRepliesParameters{
			ChannelID: channel, Timestamp: thread, Oldest: oldest, Cursor: cursor, Limit: 200, IncludeAllMetadata: true,
		})
		return messages, next, err
	}
	r, err := c.api.GetConversationHistoryContext(ctx, &slackapi.GetConversationHistoryParameters{
		ChannelID: channel, Oldest: oldest, Cursor: cursor, Limit: 200, IncludeAllMetadata: true,
	})
	if err != nil {
		return nil, "", err
	}
	return r.Messages, r.ResponseMetaData.NextCursor, nil
}

// Whisper shows a message to one person in a channel. Slack does not promise to deliver it.
func (c *Client) Whisper(ctx context.Context, channel, user string, m Message) error {
	_, err := c.api.PostEphemeralContext(ctx, channel, user, slackapi.MsgOptionText(m.Text, false), slackapi.MsgOptionBlocks(m.Blocks...))
	if err != nil {
		return fmt.Errorf("tell %s in channel %s: %w", user, channel, err)
	}
	return nil
}

// Respond answers the one who typed a command or clicked a button, and nobody else.
func (c *Client) Respond(ctx context.Context, responseURL string, m Message) error {
	body, err := json.Marshal(map[string]any{"response_type": "ephemeral", "replace_original": false, "text": m.Text, "blocks": slackapi.Blocks{BlockSet: m.Blocks}})
	if err != nil {
		return fmt.Errorf("answer a command: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, responseURL, bytes.NewReader(body))
	if err != nil {
		return errors.New("answer a command: the response URL cannot be read")
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(r)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the URL itself is a secret for as long as it works
		}
		return fmt.Errorf("answer a command: %w", err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answer a command: Slack says %s", resp.Status)
	}
	return nil
}

// React adds the bot's own reaction to a message, for people to click on.
func (c *Client) React(ctx context.Context, channel, ts, name string) error {
	err := c.api.AddReactionContext(ctx, name, slackapi.NewRefToMessage(channel, ts))
	if err != nil && !is(err, "already_reacted") {
		return fmt.Errorf("react to message %s: %w", ts, err)
	}
	return nil
}

// Reactions returns who reacted to a message, by the reactions' names without skin tones.
func (c *Client) Reactions(ctx context.Context, channel, ts string) (map[string][]string, error) {
	item, err := c.api.GetReactionsContext(ctx, slackapi.NewRefToMessage(channel, ts), slackapi.GetReactionsParameters{Full: true})
	if err != nil {
		return nil, fmt.Errorf("read the reactions to message %s: %w", ts, err)
	}
	by := map[string][]string{}
	for _, r := range item.Reactions {
		name := plainReaction(r.Name)
		by[name] = append(by[name], r.Users...)
	}
	return by, nil
}

// Member is what Slack knows of a person.
type Member struct {
	ID, Name, Team string
	// Guest is a restricted account, Outside one of another workspace.
	Bot, Guest, Outside, Deleted bool
}

// Member looks a person up.
func (c *Client) Member(ctx context.Context, id string) (Member, error) {
	u, err := c.api.GetUserInfoContext(ctx, id)
	if err != nil {
		return Member{}, fmt.Errorf("look up user %s: %w", id, err)
	}
	return Member{
		ID: u.ID, Name: u.Name, Team: u.TeamID, Bot: u.IsBot || u.IsWorkflowBot || u.IsConnectorBot, Guest: u.IsRestricted || u.IsUltraRestricted || u.IsInvitedUser,
		Outside: u.IsStranger, Deleted: u.Deleted,
	}, nil
}

// Group returns the members of a user group.
func (c *Client) Group(ctx context.Context, id string) ([]string, error) {
	users, err := c.api.GetUserGroupMembersContext(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("look up user group %s: %w", id, err)
	}
	return users, nil
}

// Room is what Slack knows of a channel.
type Room struct {
	Name string
	// Shared tells that people of other organisations are in it.
	Shared bool
	// Here tells that the bot is in it.
	Here bool
}

// Room looks a channel up.
func (c *Client) Room(ctx context.Context, id string) (Room, error) {
	ch, err := c.api.GetConversationInfoContext(ctx, &slackapi.GetConversationInfoInput{ChannelID: id})
	if err != nil {
		return Room{}, fmt.Errorf("look up channel %s: %w", id, err)
	}
	return Room{Name: ch.Name, Shared: ch.IsExtShared || ch.IsOrgShared, Here: ch.IsMember}, nil
}

// Link is the address of a message.
func Link(me Me, t upgrade.Thread) string {
	ts := []byte(t.Timestamp)
	return me.URL + "archives/" + t.Channel + "/p" + string(bytes.ReplaceAll(ts, []byte("."), nil))
}

// is tells whether err is Slack's error of that name.
func is(err error, name string) bool {
	var r slackapi.SlackErrorResponse
	return errors.As(err, &r) && r.Err == name
}

// passingErrors are Slack's own words for errors that may be gone at the next attempt.
var passingErrors = []string{"internal_error", "fatal_error", "service_unavailable", "request_timeout", "ratelimited", "team_added_to_org"}

// again tells whether a call that failed may succeed later, and after how long Slack wants it made again (zero if it does not say).
func again(err error) (time.Duration, bool) {
	var limited *slackapi.RateLimitedError
	var status slackapi.StatusCodeError
	var refused slackapi.SlackErrorResponse
	switch {
	case errors.As(err, &limited):
		return limited.RetryAfter, true
	case errors.As(err, &status):
		return 0, status.Code >= http.StatusInternalServerError || status.Code == http.StatusTooManyRequests
	case errors.As(err, &refused):
		for _, name := range passingErrors {
			if refused.Err == name {
				return 0, true
			}
		}
		return 0, false
	}
	return 0, !errors.Is(err, context.Canceled)
}

// Gone tells that a message is not there any more: somebody has deleted it.
func Gone(err error) bool { return is(err, "message_not_found") }

// Passing tells an error that may be gone at the next attempt.
func Passing(err error) bool {
	_, passing := again(err)
	return passing
}
