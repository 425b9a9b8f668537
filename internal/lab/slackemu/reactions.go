package slackemu

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// emojiName is what a reaction may be called, with a skin tone if it has one.
var emojiName = regexp.MustCompile(`^[a-z0-9_+'-]+(::skin-tone-[2-6])?$`)

// React adds a person's reaction, such as "white_check_mark" or "+1::skin-tone-3". It does not wait for the app, of which a
// person who reacts sees nothing; see [Server.Deliveries].
func (s *Server) React(_ context.Context, user, channel, ts, emoji string) error {
	return s.personReacts(user, channel, ts, emoji, "reaction_added")
}

// Unreact removes a person's reaction, and does not wait for the app either.
func (s *Server) Unreact(_ context.Context, user, channel, ts, emoji string) error {
	return s.personReacts(user, channel, ts, emoji, "reaction_removed")
}

func (s *Server) personReacts(user, channel, ts, emoji, event string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	doing := fmt.Sprintf("%s with %s", strings.ReplaceAll(event, "_", " "), emoji)
	person, _, err := s.actor(user, channel)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	m := s.find(channel, ts)
	if m == nil || m.Deleted || m.Ephemeral != "" {
		return fmt.Errorf("%s: %w", doing, refuse("message_not_found"))
	}
	if err := s.react(person.ID, m, strings.TrimSuffix(strings.TrimPrefix(emoji, ":"), ":"), event); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

// react changes the reactions of a message and tells the app. It is called with the lock held.
func (s *Server) react(user string, m *message, emoji, event string) error {
	if !emojiName.MatchString(emoji) {
		return invalid("invalid_name", emoji)
	}
	at := slices.IndexFunc(m.Reactions, func(r Reaction) bool { return r.Name == emoji })
	present := at >= 0 && slices.Contains(m.Reactions[at].Users, user)
	switch {
	case event == "reaction_added" && present:
		return refuse("already_reacted")
	case event == "reaction_removed" && !present:
		return refuse("no_reaction")
	case event == "reaction_removed":
		r := &m.Reactions[at]
		r.Users = slices.DeleteFunc(r.Users, func(u string) bool { return u == user })
		if len(r.Users) == 0 {
			m.Reactions = slices.Delete(m.Reactions, at, at+1)
		}
	case at >= 0:
		m.Reactions[at].Users = append(m.Reactions[at].Users, user)
	default:
		m.Reactions = append(m.Reactions, Reaction{Name: emoji, Users: []string{user}})
	}
	s.touch()
	if s.hasScope("reactions:read") && !s.directory.channels[m.Channel].BotAbsent {
		s.event(m.Channel, map[string]any{
			"type": event, "user": user, "reaction": emoji, "item_user": m.User, "event_ts": s.stamp(),
			"item": map[string]any{"type": "message", "channel": m.Channel, "ts": m.TS},
		})
	}
	return nil
}

func reactionsAdd(s *Server, c *call) (answer, error) { return botReacts(s, c, "reaction_added") }

func reactionsRemove(s *Server, c *call) (answer, error) { return botReacts(s, c, "reaction_removed") }

func botReacts(s *Server, c *call, event string) (answer, error) {
	if err := c.require("name"); err != nil {
		return nil, err
	}
	m, err := s.target(c, "timestamp")
	if err != nil {
		return nil, err
	}
	return nil, s.react(botUser, m, c.args["name"], event)
}

// reactionsGet gives every user, which Slack promises only for full.
func reactionsGet(s *Server, c *call) (answer, error) {
	m, err := s.target(c, "timestamp")
	if err != nil {
		return nil, err
	}
	return answer{"type": "message", "channel": m.Channel, "message": s.json(m, false)}, nil
}
