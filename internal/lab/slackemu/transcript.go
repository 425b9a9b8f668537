package slackemu

import (
	"fmt"
	"io"
	"strings"
)

// Transcript writes a channel as a person would see it in a terminal, in UTC. Deleted messages leave a trace only where
// they have replies.
func (s *Server) Transcript(w io.Writer, channel string) {
	s.mu.Lock()
	names := s.directory.names
	room := s.directory.channels[channel]
	s.mu.Unlock()
	all := s.Messages(channel)
	replies := map[string][]Message{}
	for _, m := range all {
		if m.ThreadTS != "" && !m.Deleted {
			replies[m.ThreadTS] = append(replies[m.ThreadTS], m)
		}
	}
	fmt.Fprintf(w, "#%s\n", room.Name)
	for _, m := range all {
		thread := replies[m.TS]
		if m.ThreadTS != "" && (!m.ReplyBroadcast || m.Deleted) || m.Deleted && len(thread) == 0 {
			continue
		}
		fmt.Fprintln(w)
		m.write(w, "", names)
		for i, reply := range thread {
			if i == 0 {
				fmt.Fprintf(w, "  ↳ %s\n", plural(len(thread), "reply", "replies"))
			}
			reply.write(w, "    ", names)
		}
	}
}

func (m Message) write(w io.Writer, indent string, names map[string]string) {
	name := strings.TrimPrefix(names[m.User], "@")
	if m.User == botUser {
		name += " APP"
	}
	notes := m.PostedAt.UTC().Format(" 15:04")
	if m.ReplyBroadcast {
		notes += " (also sent to the channel)"
	}
	if m.Ephemeral != "" {
		notes += fmt.Sprintf(" (only visible to %s)", strings.TrimPrefix(names[m.Ephemeral], "@"))
	}
	if m.Edits > 0 {
		notes += " (edited)"
	}
	fmt.Fprintf(w, "%s%s %s\n", indent, name, notes)
	body := strings.Split(m.PlainText(), "\n")
	if m.Deleted {
		body = []string{"This message was deleted."}
	}
	if len(m.Reactions) > 0 && !m.Deleted {
		body = append(body, m.reactionLine())
	}
	for _, line := range body {
		fmt.Fprintln(w, strings.TrimRight(indent+"  "+line, " "))
	}
}

func (m Message) reactionLine() string {
	var shown []string
	for _, r := range m.Reactions {
		shown = append(shown, fmt.Sprintf("%s %d", drawReaction(r.Name), len(r.Users)))
	}
	return strings.Join(shown, "  ")
}

func plural(n int, one, many string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, one)
	}
	return fmt.Sprintf("%d %s", n, many)
}
