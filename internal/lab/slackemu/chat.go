package slackemu

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Limits of a message. The last is not in Slack's documents, but found out by many.
const (
	maxText       = 40_000
	maxMetadata   = 8_000
	maxBlocksText = 13_200
)

// notEmulated are arguments that would change how a message looks.
var notEmulated = []string{"attachments", "markdown_text", "username", "icon_url", "icon_emoji", "as_user", "link_names", "parse"}

// eventType is what Slack allows in a metadata's event_type.
var eventType = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// content reads and checks what a message shall say.
func (c *call) content() (content, error) {
	for _, name := range notEmulated {
		if _, given := c.args[name]; given {
			return content{}, invalid("invalid_arguments", "argument "+name+" is not emulated")
		}
	}
	said := content{text: c.args["text"]}
	if blocks := c.args["blocks"]; blocks != "" {
		said.blocks = json.RawMessage(blocks)
	}
	if metadata := c.args["metadata"]; metadata != "" {
		said.metadata = json.RawMessage(metadata)
	}
	return said, said.check()
}

func (c content) check() error {
	if c.text == "" && !c.hasBlocks() {
		return invalid("no_text")
	}
	if n := utf8.RuneCountInString(c.text); n > maxText {
		return invalid("msg_too_long", fmt.Sprintf("the text has %d characters", n))
	}
	if c.blocks != nil {
		if err := checkBlocks(c.blocks); err != nil {
			return err
		}
	}
	return c.checkMetadata()
}

func (c content) hasBlocks() bool {
	var blocks []json.RawMessage
	return c.blocks != nil && (json.Unmarshal(c.blocks, &blocks) != nil || len(blocks) > 0)
}

func (c content) checkMetadata() error {
	if c.metadata == nil || string(c.metadata) == "{}" {
		return nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(c.metadata, &fields); err != nil {
		return invalid("invalid_metadata_format", err.Error())
	}
	var kind string
	var payload map[string]any
	if json.Unmarshal(fields["event_type"], &kind) != nil || !eventType.MatchString(kind) {
		return invalid("invalid_metadata_schema", "event_type must be of letters, digits, _ and -")
	}
	if json.Unmarshal(fields["event_payload"], &payload) != nil || payload == nil {
		return invalid("invalid_metadata_schema", "event_payload must be an object")
	}
	if len(fields) != 2 {
		return invalid("invalid_metadata_schema", "metadata must have event_type and event_payload, and nothing else")
	}
	if len(c.metadata) > maxMetadata {
		return invalid("metadata_too_large", fmt.Sprintf("%d bytes", len(c.metadata)))
	}
	return nil
}

// room finds a channel that the bot can act in.
func (s *Server) room(c *call) (Channel, error) {
	if err := c.require("channel"); err != nil {
		return Channel{}, err
	}
	room, ok := s.directory.channels[c.args["channel"]]
	if name, isName := strings.CutPrefix(c.args["channel"], "#"); isName {
		for _, other := range s.directory.channels {
			if other.Name == name {
				room, ok = other, true
			}
		}
	}
	switch {
	case !ok, room.BotAbsent && room.Private:
		return Channel{}, refuse("channel_not_found")
	case room.BotAbsent:
		return room, refuse("not_in_channel")
	}
	return room, nil
}

// target finds the message that a call is about.
func (s *Server) target(c *call, tsArgument string) (*message, error) {
	room, err := s.room(c)
	if err != nil {
		return nil, err
	}
	if err := c.require(tsArgument); err != nil {
		return nil, err
	}
	m := s.find(room.ID, c.args[tsArgument])
	if m == nil || m.Deleted || m.Ephemeral != "" {
		return nil, refuse("message_not_found")
	}
	return m, nil
}

func chatPostMessage(s *Server, c *call) (answer, error) {
	room, err := s.room(c)
	if err != nil {
		return nil, err
	}
	said, err := c.content()
	if err != nil {
		return nil, err
	}
	thread, err := s.thread(room.ID, c.args["thread_ts"])
	if err != nil {
		return nil, err
	}
	m := s.add(Message{
		Channel: room.ID, User: botUser, ThreadTS: thread,
		ReplyBroadcast: thread != "" && c.flag("reply_broadcast"),
	}, said)
	result := answer{"channel": room.ID, "ts": m.TS, "message": s.json(m, true)}
	if said.text == "" {
		const warning = "missing_text_in_message"
		result["warning"], result["response_metadata"] = warning, map[string]any{"warnings": []string{warning}}
	}
	return result, nil
}

// thread is the root of the thread that a reply goes to. Slack posts a reply to a deleted message outside of any thread.
func (s *Server) thread(channel, ts string) (string, error) {
	if ts == "" {
		return "", nil
	}
	m := s.find(channel, ts)
	switch {
	case m == nil || m.Ephemeral != "":
		return "", invalid("invalid_thread_ts", "there is no message "+ts)
	case m.ThreadTS != "":
		return m.ThreadTS, nil
	case m.Deleted:
		return "", nil
	}
	return ts, nil
}

func chatUpdate(s *Server, c *call) (answer, error) {
	m, err := s.target(c, "ts")
	if err != nil {
		return nil, err
	}
	if m.User != botUser {
		return nil, refuse("cant_update_message")
	}
	said, err := c.content()
	if err != nil {
		return nil, err
	}
	s.edit(m, said)
	return answer{"channel": m.Channel, "ts": m.TS, "text": m.Text, "message": s.json(m, true)}, nil
}

func chatPostEphemeral(s *Server, c *call) (answer, error) {
	room, err := s.room(c)
	if err != nil {
		return nil, err
	}
	if err := c.require("user"); err != nil {
		return nil, err
	}
	u, ok := s.directory.users[c.args["user"]]
	if !ok || u.Deleted {
		return nil, refuse("user_not_in_channel")
	}
	said, err := c.content()
	if err != nil {
		return nil, err
	}
	thread, err := s.thread(room.ID, c.args["thread_ts"])
	if err != nil {
		return nil, err
	}
	m := s.add(Message{Channel: room.ID, User: botUser, ThreadTS: thread, Ephemeral: u.ID}, said)
	return answer{"message_ts": m.TS}, nil
}

func chatDelete(s *Server, c *call) (answer, error) {
	m, err := s.target(c, "ts")
	if err != nil {
		return nil, err
	}
	if m.User != botUser {
		return nil, refuse("cant_delete_message")
	}
	m.Deleted = true
	return answer{"channel": m.Channel, "ts": m.TS}, nil
}

func chatGetPermalink(s *Server, c *call) (answer, error) {
	m, err := s.target(c, "message_ts")
	if err != nil {
		return nil, err
	}
	link := fmt.Sprintf("https://%s.slack.com/archives/%s/p%s", teamDomain, m.Channel, strings.ReplaceAll(m.TS, ".", ""))
	if m.ThreadTS != "" {
		link += "?thread_ts=" + m.ThreadTS + "&cid=" + m.Channel
	}
	return answer{"channel": m.Channel, "permalink": link}, nil
}
