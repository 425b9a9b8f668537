package slack

import (
	"io"
	"log/slog"
	"net/http"
	"net/url"

	slackapi "github.com/slack-go/slack"
)

// maxBody bounds what is read of a request: Slack's own are some kilobytes.
const maxBody = 1 << 20

// HTTP serves what Slack sends to an app that has a URL. Every request is checked against the signing secret before anything of it
// is read, answered at once, and handled then.
func HTTP(secret string, h Handler, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /slack/commands", verified(secret, log, func(w http.ResponseWriter, body []byte) {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		h.Command(decodeCommand(form))
	}))
	mux.HandleFunc("POST /slack/events", verified(secret, log, func(w http.ResponseWriter, body []byte) {
		r, challenge, ok, err := decodeEvent(body)
		switch {
		case err != nil:
			w.WriteHeader(http.StatusBadRequest)
		case challenge != "":
			w.Header().Set("Content-Type", "text/plain")
			_, _ = io.WriteString(w, challenge) // Slack's problem if it has gone
		case ok:
			h.Reaction(r)
		}
	}))
	mux.HandleFunc("POST /slack/interactions", verified(secret, log, func(w http.ResponseWriter, body []byte) {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c, ok, err := decodeInteraction(form.Get("payload"))
		switch {
		case err != nil:
			w.WriteHeader(http.StatusBadRequest)
		case ok:
			h.Click(c)
		}
	}))
	return mux
}

// verified passes on the bodies of requests that Slack signed within the last five minutes. Why another one is refused is not told,
// nor logged in words that could help to forge one.
func verified(secret string, log *slog.Logger, next func(http.ResponseWriter, []byte)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		if !signed(secret, r.Header, body) {
			log.Warn("a request without Slack's signature was refused", "path", r.URL.Path)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next(w, body)
	}
}

// signed tells whether Slack signed the body, with a timestamp at most five minutes from now on either side.
func signed(secret string, header http.Header, body []byte) bool {
	verifier, err := slackapi.NewSecretsVerifier(header, secret)
	if err != nil {
		return false
	}
	if _, err := verifier.Write(body); err != nil {
		return false
	}
	return verifier.Ensure() == nil
}
