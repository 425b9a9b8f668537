package slackemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxBody is more than any request that Slack would take.
const maxBody = 1 << 20

// method is one of the Web API.
type method struct {
	scope string // that it needs; empty: none, or one that depends on the channel
	app   bool   // wants the app-level token
	limit limit
	run   func(s *Server, c *call) (answer, error) // with the lock held
}

func methods() map[string]method {
	return map[string]method{
		"auth.test":             {run: authTest},
		"apps.connections.open": {run: appsConnectionsOpen, app: true},
		"chat.postMessage":      {run: chatPostMessage, scope: "chat:write", limit: perChannel(5, 5)},
		"chat.update":           {run: chatUpdate, scope: "chat:write", limit: perMinute(50)},
		"chat.postEphemeral":    {run: chatPostEphemeral, scope: "chat:write", limit: perMinute(100)},
		"chat.delete":           {run: chatDelete, scope: "chat:write", limit: perMinute(50)},
		"chat.getPermalink":     {run: chatGetPermalink},
		"reactions.add":         {run: reactionsAdd, scope: "reactions:write", limit: perMinute(50)},
		"reactions.remove":      {run: reactionsRemove, scope: "reactions:write", limit: perMinute(20)},
		"reactions.get":         {run: reactionsGet, scope: "reactions:read", limit: perMinute(50)},
		"users.info":            {run: usersInfo, scope: "users:read", limit: perMinute(100)},
		"usergroups.users.list": {run: usergroupsUsersList, scope: "usergroups:read", limit: perMinute(20)},
		"conversations.info":    {run: conversationsInfo, limit: perMinute(50)},
		"conversations.history": {run: conversationsHistory, limit: perMinute(50)},
		"conversations.replies": {run: conversationsReplies, limit: perMinute(50)},
	}
}

// call is a request to the Web API.
type call struct {
	method string
	header string            // the token of the Authorization header
	args   map[string]string // objects and arrays as JSON
}

// answer is the body of a good answer, but for "ok".
type answer map[string]any

// refusal is an answer with ok=false.
type refusal struct {
	word    string
	details []string
	invalid bool   // the arguments are at fault, which a correct caller never is
	needed  string // the scope that is missing
}

func refuse(word string) *refusal { return &refusal{word: word} }

func invalid(word string, details ...string) *refusal {
	return &refusal{word: word, details: details, invalid: true}
}

func (r *refusal) Error() string {
	if len(r.details) == 0 {
		return r.word
	}
	return r.word + ": " + strings.Join(r.details, "; ")
}

func (c *call) flag(name string) bool { return c.args[name] == "1" || c.args[name] == "true" }

func (c *call) require(names ...string) error {
	for _, name := range names {
		if c.args[name] == "" {
			return invalid("invalid_arguments", "missing required field: "+name)
		}
	}
	return nil
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/{method}", s.serveAPI)
	mux.HandleFunc("/link", s.serveLink)
	mux.HandleFunc("POST /response/{id}", s.serveResponse)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.complain("%s %s: no such page", r.Method, r.URL.Path)
		s.mu.Unlock()
		http.NotFound(w, r)
	})
	return mux
}

func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return
	}
	name := r.PathValue("method")
	fault := s.arrive(name)
	if fault.strike(w, r) {
		return
	}
	result, err := s.perform(name, r, body)
	if fault.LoseAnswer {
		panic(http.ErrAbortHandler)
	}
	s.reply(w, result, err)
}

// perform does what a call asks for.
func (s *Server) perform(name string, r *http.Request, body []byte) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.methods[name]
	if !ok {
		s.complain("%s: unknown_method", name)
		return nil, refuse("unknown_method")
	}
	c, err := parseCall(name, r, body)
	if err == nil {
		err = s.authorize(m, c)
	}
	if err == nil {
		err = s.admit(m, c)
	}
	var result answer
	if err == nil {
		result, err = m.run(s, c)
	}
	if r, ok := errors.AsType[*refusal](err); ok && r.invalid {
		s.complain("%s: %s", name, r)
	}
	s.touch()
	return result, err
}

// parseCall reads arguments from the query and from a form or a JSON object.
func parseCall(name string, r *http.Request, body []byte) (*call, error) {
	c := &call{method: name, args: map[string]string{}}
	c.header, _ = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	take := func(values url.Values) {
		for k := range values {
			c.args[k] = values.Get(k)
		}
	}
	take(r.URL.Query())
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "application/json" {
		return c, c.parseJSON(body)
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, invalid("invalid_form_data", err.Error())
	}
	take(values)
	return c, nil
}

func (c *call) parseJSON(body []byte) error {
	if len(body) == 0 {
		return nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return invalid("invalid_json", err.Error())
	}
	for k, raw := range fields {
		var text string
		switch {
		case k == "token": // Slack takes it only from the header when the body is JSON
		case string(raw) == "null":
		case json.Unmarshal(raw, &text) == nil:
			c.args[k] = text
		default:
			c.args[k] = string(raw)
		}
	}
	return nil
}

func (s *Server) authorize(m method, c *call) error {
	token := c.header
	if token == "" && !m.app { // the app-level token has to be in the header
		token = c.args["token"]
	}
	wanted, other := s.secrets.bot, s.secrets.app
	if m.app {
		wanted, other = other, wanted
	}
	switch token {
	case wanted:
		return s.needScope(m.scope)
	case "":
		return refuse("not_authed")
	case other:
		return refuse("not_allowed_token_type")
	}
	return refuse("invalid_auth")
}

func (s *Server) hasScope(scope string) bool { return slices.Contains(s.options.Scopes, scope) }

func (s *Server) needScope(scope string) error {
	if scope == "" || s.hasScope(scope) {
		return nil
	}
	return &refusal{word: "missing_scope", needed: scope}
}

// reply writes an answer as Slack does: errors too are 200, except for rate limits.
func (s *Server) reply(w http.ResponseWriter, result answer, err error) {
	body := map[string]any{"ok": true}
	for k, v := range result {
		body[k] = v
	}
	status := http.StatusOK
	if err != nil {
		body = map[string]any{"ok": false, "error": err.Error()}
		if limited, ok := errors.AsType[*rateLimited](err); ok {
			status = http.StatusTooManyRequests
			w.Header().Set("Retry-After", fmt.Sprint(limited.seconds))
		}
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		body["error"] = r.word
		if r.needed != "" {
			body["needed"], body["provided"] = r.needed, strings.Join(s.options.Scopes, ",")
		}
		if len(r.details) > 0 {
			messages := make([]string, len(r.details))
			for i, d := range r.details {
				messages[i] = "[ERROR] " + d
			}
			body["errors"], body["response_metadata"] = r.details, map[string]any{"messages": messages}
		}
	}
	w.Header().Set("X-OAuth-Scopes", strings.Join(s.options.Scopes, ","))
	writeJSON(w, status, body)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func authTest(*Server, *call) (answer, error) {
	return answer{
		"url": "https://" + teamDomain + ".slack.com/", "team": "Upshift Lab", "team_id": team,
		"user": botName, "user_id": botUser, "bot_id": botID, "is_enterprise_install": false,
	}, nil
}
