package slackemu

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"
)

// What a response URL is good for.
const (
	responseUses = 5
	responseLife = 30 * time.Minute
)

// responder is the person whom the app may answer, and where.
type responder struct {
	user, channel string
	original      *message // with the button that was pressed
}

type responseURL struct {
	responder
	uses    int
	expires time.Time
}

// response is what the app answers a person.
type response struct {
	Text            string          `json:"text"`
	Blocks          json.RawMessage `json:"blocks"`
	ThreadTS        string          `json:"thread_ts"`
	ResponseType    string          `json:"response_type"`
	ReplaceOriginal bool            `json:"replace_original"`
	DeleteOriginal  bool            `json:"delete_original"`
}

// newResponseURL is called with the lock held.
func (s *Server) newResponseURL(who responder) string {
	id := s.newID("")
	s.urls[id] = &responseURL{responder: who, expires: time.Now().Add(responseLife)}
	return "http://" + s.listener.Addr().String() + "/response/" + id
}

func (s *Server) serveResponse(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return
	}
	fault := s.arrive("response_url")
	if fault.strike(w, r) {
		return
	}
	refused := s.useURL(r.PathValue("id"), body)
	if fault.LoseAnswer {
		panic(http.ErrAbortHandler)
	}
	if refused != nil {
		writeJSON(w, http.StatusNotFound, map[string]any{"ok": false, "error": refused.word})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"ok": true})
}

func (s *Server) useURL(id string, body []byte) *refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.urls[id]
	var refused *refusal
	switch {
	case u == nil:
		refused = invalid("no_such_url", id)
	case time.Now().After(u.expires):
		refused = invalid("expired_url")
	case u.uses >= responseUses:
		refused = invalid("used_url")
	default:
		u.uses++
		refused = s.respond(u.responder, body)
	}
	if refused != nil {
		s.complain("response_url: %s", refused)
	}
	return refused
}

// respondInline takes the answer that came with an acknowledgement. It is called with the lock held.
func (s *Server) respondInline(who responder, body []byte) {
	body = bytes.TrimSpace(body)
	isAnswer := len(body) > 0 && string(body) != "null" && string(body) != "{}"
	if !isAnswer || who.user == "" || who.original != nil { // Slack takes none for events and buttons
		return
	}
	if body[0] != '{' { // text as such, which may be quoted
		var quoted string
		if json.Unmarshal(body, &quoted) != nil {
			quoted = string(body)
		}
		body, _ = json.Marshal(map[string]string{"text": quoted})
	}
	if refused := s.respond(who, body); refused != nil {
		s.complain("answer in the acknowledgement: %s", refused)
	}
}

// respond is called with the lock held.
func (s *Server) respond(who responder, body []byte) *refusal {
	var r response
	if err := json.Unmarshal(body, &r); err != nil {
		return invalid("invalid_payload", err.Error())
	}
	if r.DeleteOriginal {
		if who.original == nil {
			return invalid("invalid_payload", "there is no original to delete")
		}
		who.original.Deleted = true
		s.touch()
		return nil
	}
	said := content{text: r.Text}
	if len(r.Blocks) > 0 && string(r.Blocks) != "null" {
		said.blocks = r.Blocks
	}
	if refused, ok := errors.AsType[*refusal](said.check()); ok {
		return refused
	}
	if r.ReplaceOriginal && who.original != nil {
		if said.blocks == nil {
			said.blocks = json.RawMessage("[]")
		}
		s.edit(who.original, said)
		return nil
	}
	m := Message{Channel: who.channel, User: botUser, ThreadTS: r.ThreadTS}
	if r.ResponseType != "in_channel" {
		m.Ephemeral = who.user
	}
	s.add(m, said)
	return nil
}
