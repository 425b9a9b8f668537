package gke

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"google.golang.org/api/option"
	transport "google.golang.org/api/transport/http"
)

const (
	// restTimeout is for a request and its second attempt together: a plan waits for it.
	restTimeout = 10 * time.Second
	// mostOfAnAnswer is more than any answer that is read here has.
	mostOfAnAnswer = 1 << 20
)

// rest reads an API of Google's in JSON. It is for the few things that are no worth a client library of their own.
type rest struct {
	base      *url.URL
	userAgent string
	// transport is below the credentials, nil for the usual one.
	transport http.RoundTripper
}

// refused is the error of an answer that is none, in the API's own words.
type refused struct {
	code   int
	reason string
}

func (r *refused) Error() string { return r.reason }

// passing tells answers that may be another one at a second attempt, which takes new credentials.
func (r *refused) passing() bool {
	return r.code == http.StatusUnauthorized || r.code == http.StatusTooManyRequests || r.code >= http.StatusInternalServerError
}

// do sends a request to a path, which may have a query, and reads what is answered. In is the body, nil for none.
func (r rest) do(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, restTimeout, fmt.Errorf("no answer within %s", restTimeout))
	defer cancel()
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
	}
	err := r.attempt(ctx, method, path, body, out)
	if no := (*refused)(nil); errors.As(err, &no) && no.passing() {
		err = r.attempt(ctx, method, path, body, out)
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (r rest) attempt(ctx context.Context, method, path string, body []byte, out any) error {
	options := []option.ClientOption{option.WithUserAgent(r.userAgent), option.WithTelemetryDisabled()}
	if r.base.Scheme == "http" {
		options = append(options, option.WithoutAuthentication())
	} else {
		options = append(options, option.WithScopes(scope))
	}
	// The transport is made for each attempt, so that a second one does not use the token that was refused.
	below := r.transport
	if below == nil {
		below = http.DefaultTransport
	}
	authorized, err := transport.NewTransport(ctx, below, options...)
	if err != nil {
		return fmt.Errorf("find credentials: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, method, r.base.String()+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := (&http.Client{Transport: authorized}).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	answer, err := io.ReadAll(io.LimitReader(response.Body, mostOfAnAnswer))
	switch {
	case err != nil:
		return fmt.Errorf("read the answer: %w", err)
	case response.StatusCode != http.StatusOK:
		return &refused{code: response.StatusCode, reason: reasonOf(response.Status, answer)}
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("the answer is not the API's: %w", err)
	}
	return nil
}

// reasonOf is what an API says about an error: the most precise of its words for it, and the first sentence that goes with it. Status is
// that of HTTP, for what says nothing else: a proxy.
func reasonOf(status string, answer []byte) string {
	var said struct {
		Error struct {
			Status, Message string
			Details         []struct{ Reason string }
		}
	}
	if json.Unmarshal(answer, &said) != nil || said.Error.Message == "" {
		return status
	}
	word := said.Error.Status
	if i := slices.IndexFunc(said.Error.Details, func(d struct{ Reason string }) bool { return d.Reason != "" }); i >= 0 {
		word = said.Error.Details[i].Reason
	}
	if word == "" {
		word = status
	}
	sentence, _, _ := strings.Cut(said.Error.Message, ". ")
	return word + ": " + sentence
}
