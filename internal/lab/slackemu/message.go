package slackemu

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Message is one in a channel, as it was when it was looked at.
type Message struct {
	Channel, TS, ThreadTS string
	User, Text            string
	Blocks                json.RawMessage // as sent
	Metadata              json.RawMessage
	Ephemeral             string // the user who sees it; empty: all
	Edits                 int
	Deleted               bool
	Reactions             []Reaction
	PostedAt, EditedAt    time.Time
	ReplyBroadcast        bool

	names map[string]string // for mentions
}

// Reaction is an emoji under a message, with those who chose it in the order in which they did.
type Reaction struct {
	Name  string
	Users []string
}

// Button is one in a message.
type Button struct{ ActionID, Text, Value, Style string }

// PlainText is the text of all blocks as a person reads it, or Text when there are none.
func (m Message) PlainText() string {
	blocks := parseBlocks(m.Blocks)
	if len(blocks) == 0 {
		return resolve(m.Text, m.names)
	}
	return joinLines(renderBlocks(blocks, m.names))
}

// Buttons are those that a person could press, from top to bottom.
func (m Message) Buttons() []Button {
	var found []Button
	for _, b := range parseBlocks(m.Blocks) {
		for _, e := range b.buttons() {
			found = append(found, Button{ActionID: e.ActionID, Text: e.Text.Text, Value: e.Value, Style: e.Style})
		}
	}
	return found
}

// message is one as the emulator keeps it.
type message struct {
	Message
	shown    json.RawMessage // the blocks with their IDs filled in, as Slack gives them out
	editedTS string
}

// content is what a message says.
type content struct {
	text     string
	blocks   json.RawMessage // nil: not given
	metadata json.RawMessage // nil: not given
}

// Messages are all that were posted in a channel, in the order of their ts: replies, ephemeral and deleted ones included.
func (s *Server) Messages(channel string) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Message
	for _, m := range s.posted[channel] {
		all = append(all, s.snapshot(m))
	}
	return all
}

// Message is the one with that ts, if there is one.
func (s *Server) Message(channel, ts string) (Message, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.find(channel, ts)
	if m == nil {
		return Message{}, false
	}
	return s.snapshot(m), true
}

func (s *Server) snapshot(m *message) Message {
	copied := m.Message
	copied.Reactions = nil
	for _, r := range m.Reactions {
		copied.Reactions = append(copied.Reactions, Reaction{Name: r.Name, Users: slices.Clone(r.Users)})
	}
	copied.names = s.directory.names
	return copied
}

// find returns nil when there is no such message. It is called with the lock held, as are all below.
func (s *Server) find(channel, ts string) *message {
	for _, m := range s.posted[channel] {
		if m.TS == ts {
			return m
		}
	}
	return nil
}

// stamp is a new ts: unique, and later than all before.
func (s *Server) stamp() string {
	s.lastTS = max(s.lastTS+1, time.Now().UnixMicro())
	return fmt.Sprintf("%d.%06d", s.lastTS/1e6, s.lastTS%1e6)
}

// newID is unique in this emulator.
func (s *Server) newID(prefix string) string {
	s.lastID++
	return fmt.Sprintf("%s%08d", prefix, s.lastID)
}

// add posts a message, whose content was checked.
func (s *Server) add(m Message, c content) *message {
	m.TS, m.PostedAt = s.stamp(), time.Now()
	posted := &message{Message: m}
	s.fill(posted, c)
	s.posted[m.Channel] = append(s.posted[m.Channel], posted)
	s.touch()
	return posted
}

// edit changes what a message says, and keeps what is not given.
func (s *Server) edit(m *message, c content) {
	s.fill(m, c)
	m.Edits++
	m.EditedAt, m.editedTS = time.Now(), s.stamp()
	s.touch()
}

func (s *Server) fill(m *message, c content) {
	if c.text != "" || c.blocks != nil {
		m.Text = c.text
	}
	if c.blocks != nil {
		m.Blocks, m.shown = c.blocks, s.withIDs(c.blocks)
	}
	switch {
	case c.metadata == nil:
	case string(c.metadata) == "{}":
		m.Metadata = nil
	default:
		m.Metadata = c.metadata
	}
}

// json is a message as the Web API and the events give it out.
func (s *Server) json(m *message, metadata bool) map[string]any {
	out := map[string]any{"type": "message", "user": m.User, "text": m.Text, "ts": m.TS, "team": team}
	if m.User == botUser {
		out["bot_id"], out["app_id"] = botID, appID
	}
	if m.shown != nil {
		out["blocks"] = m.shown
	}
	if m.Edits > 0 {
		out["edited"] = map[string]any{"user": m.User, "ts": m.editedTS}
	}
	if m.ThreadTS != "" {
		out["thread_ts"] = m.ThreadTS
	}
	if m.ReplyBroadcast {
		out["subtype"] = "thread_broadcast"
	}
	if metadata && m.Metadata != nil {
		out["metadata"] = m.Metadata
	}
	if len(m.Reactions) > 0 {
		reactions := make([]map[string]any, len(m.Reactions))
		for i, r := range m.Reactions {
			reactions[i] = map[string]any{"name": r.Name, "count": len(r.Users), "users": slices.Clone(r.Users)}
		}
		out["reactions"] = reactions
	}
	maps.Copy(out, s.threadJSON(m))
	return out
}

// threadJSON is what a root tells about its replies.
func (s *Server) threadJSON(root *message) map[string]any {
	var users []string
	count, latest := 0, ""
	for _, m := range s.posted[root.Channel] {
		if m.ThreadTS != root.TS || m.Deleted || m.Ephemeral != "" {
			continue
		}
		count, latest = count+1, m.TS
		if !slices.Contains(users, m.User) {
			users = append(users, m.User)
		}
	}
	if count == 0 {
		return nil
	}
	return map[string]any{
		"thread_ts": root.TS, "reply_count": count, "reply_users": users, "reply_users_count": len(users), "latest_reply": latest,
	}
}
