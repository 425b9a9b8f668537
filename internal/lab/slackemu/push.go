package slackemu

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// orderPatience is how long an event over HTTP waits for the one before it, so that events come in order from an app's
// point of view unless it is slow.
const orderPatience = 100 * time.Millisecond

// Sign are the headers that prove a request to the app genuine.
func (s *Server) Sign(at time.Time, body []byte) http.Header {
	stamp := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(s.secrets.signing))
	_, _ = fmt.Fprintf(mac, "v0:%s:%s", stamp, body)
	return http.Header{
		"X-Slack-Request-Timestamp": {stamp},
		"X-Slack-Signature":         {"v0=" + hex.EncodeToString(mac.Sum(nil))},
	}
}

// UseHTTP sends everything to the app at this base URL from now on, or over Socket Mode again when it is empty. As Slack
// does, it asks the app for the answer to a challenge first.
func (s *Server) UseHTTP(app string) error {
	app = strings.TrimRight(app, "/")
	if app != "" {
		if err := s.challenge(s.ctx, app); err != nil {
			return fmt.Errorf("use %s/slack/events: %w", app, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.app = app
	return nil
}

func (s *Server) challenge(ctx context.Context, app string) error {
	word := rand.Text()
	body, err := json.Marshal(map[string]string{"token": "verification-token", "challenge": word, "type": "url_verification"})
	if err != nil {
		return err
	}
	answer, err := s.request(ctx, app+"/slack/events", "application/json", body, nil)
	if err != nil {
		return err
	}
	var fields struct{ Challenge string }
	form, _ := url.ParseQuery(string(answer.body))
	_ = json.Unmarshal(answer.body, &fields)
	if got := strings.TrimSpace(string(answer.body)); got != word && fields.Challenge != word && form.Get("challenge") != word {
		return fmt.Errorf("the answer to url_verification has no challenge: %.100q", got)
	}
	return nil
}

// page is what the app answers.
type page struct {
	header http.Header
	body   []byte
}

// statusError is an answer of the app that is no acknowledgement.
type statusError int

func (e statusError) Error() string {
	return fmt.Sprintf("%s: the app answered %d", ErrServiceError, int(e))
}

// Is makes a bad status an [ErrServiceError].
func (statusError) Is(target error) bool { return target == ErrServiceError }

func (s *Server) request(ctx context.Context, address, kind string, body []byte, header http.Header) (page, error) {
	ctx, cancel := context.WithTimeout(ctx, s.options.AckTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return page{}, err
	}
	req.Header = s.Sign(time.Now(), body)
	req.Header.Set("Content-Type", kind)
	req.Header.Set("User-Agent", "Slackbot 1.0 (+https://api.slack.com/robots)")
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return page{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer := page{header: resp.Header}
	answer.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err == nil && (resp.StatusCode < 200 || resp.StatusCode > 299) {
		err = statusError(resp.StatusCode)
	}
	return answer, err
}

// push posts a delivery to the app until it is acknowledged; only events are posted again.
func (s *Server) push(ctx context.Context, d *delivery) {
	if d.after != nil {
		select {
		case <-d.after:
		case <-time.After(orderPatience):
		case <-ctx.Done():
			return
		}
	}
	reason := ""
	for attempt := 0; ; attempt++ {
		began := time.Now()
		answer, err := s.pushOnce(ctx, d, attempt, reason)
		if attempt == 0 && d.tried != nil {
			close(d.tried)
		}
		if err == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.finish(d, nil)
			s.respondInline(d.person, answer.body)
			return
		}
		if d.kind != kindEvent || attempt >= d.retries || answer.header.Get("X-Slack-No-Retry") == "1" {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.finish(d, shownError(err))
			return
		}
		reason = retryReason(err)
		if !wait(ctx, s.options.AckTimeout-time.Since(began)) {
			return
		}
	}
}

// pushOnce posts all copies of a delivery and returns the first good answer, or an error.
func (s *Server) pushOnce(ctx context.Context, d *delivery, attempt int, reason string) (page, error) {
	path, kind, body, err := d.encode()
	if err != nil {
		return page{}, err
	}
	header := http.Header{}
	if attempt > 0 {
		header.Set("X-Slack-Retry-Num", strconv.Itoa(attempt))
		header.Set("X-Slack-Retry-Reason", reason)
	}
	type outcome struct {
		page
		error
	}
	s.mu.Lock()
	s.count(d)
	delays := s.delays(d.copies)
	results := make(chan outcome, len(delays))
	for _, delay := range delays {
		s.spawn(func(ctx context.Context) {
			wait(ctx, delay)
			answer, err := s.request(ctx, d.app+path, kind, body, header)
			results <- outcome{answer, err}
		})
	}
	s.mu.Unlock()
	var last outcome
	for range delays {
		select {
		case last = <-results:
		case <-ctx.Done():
			return page{}, ctx.Err()
		}
		if last.error == nil {
			break
		}
	}
	return last.page, last.error
}

// encode is how a delivery goes over HTTP: events as JSON, commands as a form, interactions as a form with a JSON payload.
func (d *delivery) encode() (path, kind string, body []byte, err error) {
	const form = "application/x-www-form-urlencoded"
	switch d.kind {
	case kindCommand:
		var fields map[string]any
		if err := json.Unmarshal(d.payload, &fields); err != nil {
			return "", "", nil, fmt.Errorf("a command must be an object: %w", err)
		}
		values := url.Values{}
		for k, v := range fields {
			values.Set(k, fmt.Sprint(v))
		}
		return "/slack/commands", form, []byte(values.Encode()), nil
	case kindInteraction:
		return "/slack/interactions", form, []byte(url.Values{"payload": {string(d.payload)}}.Encode()), nil
	}
	return "/slack/events", "application/json", d.payload, nil
}

func retryReason(err error) string {
	if _, ok := errors.AsType[statusError](err); ok {
		return "http_error"
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "http_timeout"
	}
	return "connection_failed"
}

// shownError is what a person is told about a failure over HTTP.
func shownError(err error) error {
	switch retryReason(err) {
	case "http_error":
		return err
	case "http_timeout":
		return ErrOperationTimeout
	}
	return fmt.Errorf("%w: %w", ErrDispatchFailed, err)
}
