package slack

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	slackapi "github.com/slack-go/slack"
	"github.com/slack-go/slack/slackevents"
)

// Handler gets what people do in Slack, from whichever transport. Its methods return at once: what takes time is done elsewhere. They
// may be called by several goroutines at once.
type Handler interface {
	Command(Command)
	Click(Click)
	Reaction(Reaction)
	// Connected is called whenever a connection was made: what happened before may have been missed.
	Connected()
}

// Command is a slash command as it was typed.
type Command struct {
	// ID is Slack's for this one: another delivery of it has the same.
	ID      string
	Who     Person
	Channel string
	Text    string
	// ResponseURL takes up to five answers to the one who typed, for 30 minutes.
	ResponseURL string
}

// Click is a click on a button.
type Click struct {
	ID                 string
	Who                Person
	Channel, Timestamp string
	Action, Value      string
	ResponseURL        string
}

// Reaction is a reaction that was added to a message, or removed from it.
type Reaction struct {
	ID                 string
	Who                Person
	Channel, Timestamp string
	// Name is the emoji's, without a skin tone.
	Name  string
	Added bool
	At    time.Time
	// Shared tells that the channel is shared with another organisation.
	Shared bool
}

// Person is who did something, as the event says.
type Person struct {
	ID, Name string
	// Team is empty where the event does not say it.
	Team string
}

// decodeCommand reads a slash command from the form that HTTP brings.
func decodeCommand(form url.Values) Command {
	return command(slackapi.SlashCommand{
		TeamID: form.Get("team_id"), ChannelID: form.Get("channel_id"), UserID: form.Get("user_id"), UserName: form.Get("user_name"),
		Text: form.Get("text"), ResponseURL: form.Get("response_url"), TriggerID: form.Get("trigger_id"),
	})
}

func command(c slackapi.SlashCommand) Command {
	return Command{
		ID: "command/" + c.TriggerID, Who: Person{ID: c.UserID, Name: c.UserName, Team: c.TeamID}, Channel: c.ChannelID, Text: c.Text, ResponseURL: c.ResponseURL,
	}
}

// click reads a click on a button; false is anything else.
func click(c slackapi.InteractionCallback) (Click, bool) {
	if c.Type != slackapi.InteractionTypeBlockActions || len(c.ActionCallback.BlockActions) == 0 {
		return Click{}, false
	}
	action := c.ActionCallback.BlockActions[0]
	team := c.User.TeamID
	if team == "" {
		team = c.Team.ID
	}
	return Click{
		ID: "click/" + c.TriggerID + "/" + action.ActionID, Who: Person{ID: c.User.ID, Name: c.User.Name, Team: team}, Channel: c.Container.ChannelID,
		Timestamp: c.Container.MessageTs, Action: action.ActionID, Value: action.Value, ResponseURL: c.ResponseURL,
	}, true
}

// decodeEvent reads an event of the Events API. A challenge is what Slack sends to see whether a URL is an app's; false is an event that
// nobody asked for.
func decodeEvent(body []byte) (r Reaction, challenge string, ok bool, err error) {
	event, err := slackevents.ParseEvent(body, slackevents.OptionNoVerifyToken())
	if err != nil {
		return Reaction{}, "", false, fmt.Errorf("read an event: %w", err)
	}
	if v, is := event.Data.(*slackevents.EventsAPIURLVerificationEvent); is {
		return Reaction{}, v.Challenge, true, nil
	}
	r, ok = reaction(event)
	return r, "", ok, nil
}

// reaction reads a reaction to a message.
func reaction(event slackevents.EventsAPIEvent) (Reaction, bool) {
	outer, is := event.Data.(*slackevents.EventsAPICallbackEvent)
	if !is {
		return Reaction{}, false
	}
	r := Reaction{ID: "event/" + outer.EventID, Shared: outer.IsExtSharedChannel, Added: true}
	var item slackevents.Item
	var at string
	switch e := event.InnerEvent.Data.(type) {
	case *slackevents.ReactionAddedEvent:
		r.Who.ID, r.Name, item, at = e.User, e.Reaction, e.Item, e.EventTimestamp
	case *slackevents.ReactionRemovedEvent:
		r.Who.ID, r.Name, item, at, r.Added = e.User, e.Reaction, e.Item, e.EventTimestamp, false
	default:
		return Reaction{}, false
	}
	r.Name, r.Channel, r.Timestamp, r.At = plainReaction(r.Name), item.Channel, item.Timestamp, timeOf(at)
	return r, item.Timestamp != "" && item.Channel != ""
}

// timeOf reads a timestamp of Slack's ("1700000000.000100"), zero for none.
func timeOf(ts string) time.Time {
	seconds, fraction, _ := strings.Cut(ts, ".")
	s, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return time.Time{}
	}
	micro, _ := strconv.ParseInt((fraction + "000000")[:6], 10, 64) // not a number: at the full second
	return time.Unix(s, micro*1000).UTC()
}

// plainReaction is a reaction's name without its skin tone.
func plainReaction(name string) string {
	name, _, _ = strings.Cut(strings.Trim(name, ":"), "::")
	return name
}

// Vote tells what a reaction says of a plan, if anything.
func Vote(reaction string) (approves, is bool) {
	switch plainReaction(reaction) {
	case "white_check_mark", "+1", "thumbsup":
		return true, true
	case "x":
		return false, true
	}
	return false, false
}

// decodeInteraction reads the payload of an interaction.
func decodeInteraction(payload string) (Click, bool, error) {
	var c slackapi.InteractionCallback
	if err := json.Unmarshal([]byte(payload), &c); err != nil {
		return Click{}, false, fmt.Errorf("read an interaction: %w", err)
	}
	got, ok := click(c)
	return got, ok, nil
}
