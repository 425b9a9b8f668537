package slackemu

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Command is what a person types, such as "/upgrade cluster-1". It waits for the acknowledgement, and for nothing else.
// The error says what Slack would show the person.
func (s *Server) Command(ctx context.Context, user, channel, text string) error {
	name, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	s.mu.Lock()
	d, err := s.command(user, channel, name, strings.TrimSpace(rest))
	s.mu.Unlock()
	if err == nil {
		err = s.await(ctx, d)
	}
	switch {
	case errors.Is(err, ErrDispatchFailed):
		return fmt.Errorf("%s failed because the app did not respond: %w", name, err)
	case err != nil:
		return fmt.Errorf("%s failed with the error %w", name, err)
	}
	return nil
}

func (s *Server) command(user, channel, name, rest string) (*delivery, error) {
	person, room, err := s.actor(user, channel)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(name, "/") || !s.hasScope("commands") {
		return nil, fmt.Errorf("%s is not a valid command", name)
	}
	if !s.reachable() {
		return nil, ErrDispatchFailed
	}
	who := responder{user: person.ID, channel: room.ID}
	return s.begin(kindCommand, map[string]any{
		"token": "verification-token", "team_id": person.Team, "team_domain": teamDomain, "api_app_id": appID,
		"channel_id": room.ID, "channel_name": room.Name, "user_id": person.ID, "user_name": person.Name,
		"command": name, "text": rest, "is_enterprise_install": "false",
		"response_url": s.newResponseURL(who), "trigger_id": s.newID("trigger-"),
	}, maxRetries, who), nil
}

// Click presses a button of a message as the message is now, and confirms if the button asks. It waits for the
// acknowledgement. The error says that there is no such button, or what Slack would show the person.
func (s *Server) Click(ctx context.Context, user, channel, ts, actionID string) error {
	s.mu.Lock()
	d, err := s.click(user, channel, ts, actionID)
	s.mu.Unlock()
	if err == nil {
		err = s.await(ctx, d)
	}
	if err != nil {
		return fmt.Errorf("press %s: %w", actionID, err)
	}
	return nil
}

func (s *Server) click(user, channel, ts, actionID string) (*delivery, error) {
	person, room, err := s.actor(user, channel)
	if err != nil {
		return nil, err
	}
	m := s.find(room.ID, ts)
	if m == nil || m.Deleted || m.Ephemeral != "" && m.Ephemeral != person.ID {
		return nil, refuse("message_not_found")
	}
	pressed, blockID, err := m.button(actionID)
	if err != nil {
		return nil, err
	}
	if !s.reachable() {
		return nil, ErrDispatchFailed
	}
	who := responder{user: person.ID, channel: room.ID, original: m}
	container := map[string]any{
		"type": "message", "message_ts": m.TS, "channel_id": room.ID, "is_ephemeral": m.Ephemeral != "",
	}
	action := map[string]any{
		"type": "button", "action_id": actionID, "block_id": blockID, "action_ts": s.stamp(),
		"text": map[string]any{"type": "plain_text", "text": pressed.Text.Text, "emoji": true},
	}
	if pressed.Value != "" {
		action["value"] = pressed.Value
	}
	if pressed.Style != "" {
		action["style"] = pressed.Style
	}
	payload := map[string]any{
		"type": "block_actions", "token": "verification-token", "api_app_id": appID,
		"team": map[string]any{"id": team, "domain": teamDomain}, "enterprise": nil, "is_enterprise_install": false,
		"user":      map[string]any{"id": person.ID, "username": person.Name, "name": person.Name, "team_id": person.Team},
		"channel":   map[string]any{"id": room.ID, "name": room.Name},
		"container": container, "actions": []any{action}, "state": map[string]any{"values": map[string]any{}},
		"response_url": s.newResponseURL(who), "trigger_id": s.newID("trigger-"),
	}
	if m.ThreadTS != "" {
		container["thread_ts"] = m.ThreadTS
	}
	if m.Ephemeral == "" { // Slack leaves ephemeral messages out
		payload["message"] = s.json(m, false)
	}
	return s.begin(kindInteraction, payload, maxRetries, who), nil
}

// button finds one by its action ID, and the ID of the block that it is in.
func (m *message) button(actionID string) (pressed element, blockID string, err error) {
	var there []string
	for _, b := range parseBlocks(m.shown) {
		for _, e := range b.buttons() {
			if e.ActionID == actionID {
				return e, b.BlockID, nil
			}
			there = append(there, e.ActionID)
		}
	}
	return element{}, "", fmt.Errorf("there is no such button, only [%s]", strings.Join(there, " "))
}

// Post is a person's own message. Its ts is empty when there is no such person or channel, which is logged.
func (s *Server) Post(_ context.Context, user, channel, text string) (ts string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	person, room, err := s.actor(user, channel)
	if err != nil {
		s.log.Error("post a message", "error", err)
		return ""
	}
	return s.add(Message{Channel: room.ID, User: person.ID}, content{text: text}).TS
}
