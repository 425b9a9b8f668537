package slackemu

import (
	"slices"
	"strconv"
)

// Pages of conversations.history and conversations.replies.
const (
	defaultPage = 100
	maxPage     = 999
)

// scopeFor is the scope that reading a channel needs: "channels:" or "groups:" with the given right.
func (s *Server) scopeFor(c *call, right string) error {
	if s.directory.channels[c.args["channel"]].Private {
		return s.needScope("groups:" + right)
	}
	return s.needScope("channels:" + right)
}

func conversationsInfo(s *Server, c *call) (answer, error) {
	if err := s.scopeFor(c, "read"); err != nil {
		return nil, err
	}
	room, err := s.room(c)
	if err != nil && err.Error() != "not_in_channel" { // a public channel can be looked at from outside
		return nil, err
	}
	return answer{"channel": map[string]any{
		"id": room.ID, "name": room.Name, "name_normalized": room.Name, "created": 1, "creator": "USLACKBOT",
		"is_channel": !room.Private, "is_group": false, "is_im": false, "is_mpim": false, "is_private": room.Private,
		"is_archived": false, "is_general": false, "is_member": !room.BotAbsent,
		"is_shared": room.ExtShared, "is_ext_shared": room.ExtShared, "is_org_shared": false, "is_pending_ext_shared": false,
		"context_team_id": team, "num_members": len(s.directory.users),
	}}, nil
}

func conversationsHistory(s *Server, c *call) (answer, error) {
	if err := s.scopeFor(c, "history"); err != nil {
		return nil, err
	}
	room, err := s.room(c)
	if err != nil {
		return nil, err
	}
	var found []*message
	for _, m := range s.posted[room.ID] {
		if m.ThreadTS == "" || m.ReplyBroadcast {
			found = append(found, m)
		}
	}
	slices.Reverse(found) // newest first
	return s.page(c, found)
}

func conversationsReplies(s *Server, c *call) (answer, error) {
	if err := s.scopeFor(c, "history"); err != nil {
		return nil, err
	}
	room, err := s.room(c)
	if err != nil {
		return nil, err
	}
	if err := c.require("ts"); err != nil {
		return nil, err
	}
	root := s.find(room.ID, c.args["ts"])
	if root == nil || root.Deleted || root.Ephemeral != "" {
		return nil, refuse("thread_not_found")
	}
	found := []*message{root}
	for _, m := range s.posted[room.ID] {
		if m.ThreadTS == root.TS {
			found = append(found, m)
		}
	}
	return s.page(c, found)
}

// page gives the part of the messages that a call asks for.
func (s *Server) page(c *call, all []*message) (answer, error) {
	limit := defaultPage
	if given := c.args["limit"]; given != "" {
		n, err := strconv.Atoi(given)
		if err != nil || n < 1 || n > maxPage {
			return nil, invalid("invalid_limit", given)
		}
		limit = n
	}
	all = slices.DeleteFunc(all, func(m *message) bool { return m.Deleted || m.Ephemeral != "" || !c.spans(m.TS) })
	if cursor := c.args["cursor"]; cursor != "" {
		at := slices.IndexFunc(all, func(m *message) bool { return "next:"+m.TS == cursor })
		if at < 0 {
			return nil, invalid("invalid_cursor", cursor)
		}
		all = all[at:]
	}
	next := ""
	if len(all) > limit {
		next = "next:" + all[limit].TS
		all = all[:limit]
	}
	messages := make([]map[string]any, len(all))
	for i, m := range all {
		messages[i] = s.json(m, c.flag("include_all_metadata"))
	}
	return answer{
		"messages": messages, "has_more": next != "", "pin_count": 0,
		"response_metadata": map[string]any{"next_cursor": next},
	}, nil
}

// spans tells whether a ts lies between oldest and latest.
func (c *call) spans(ts string) bool {
	oldest, latest := c.args["oldest"], c.args["latest"]
	if c.flag("inclusive") && (ts == oldest || ts == latest) {
		return true
	}
	return (oldest == "" || later(ts, oldest)) && (latest == "" || later(latest, ts))
}

// later compares a ts with a ts, or with a number of seconds as people write it.
func later(a, b string) bool {
	x, errA := strconv.ParseFloat(a, 64)
	y, errB := strconv.ParseFloat(b, 64)
	if errA != nil || errB != nil || x == y {
		return a > b
	}
	return x > y
}
