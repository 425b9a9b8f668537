package kube

import (
	"io"
	"net/http"

	"golang.org/x/oauth2"
)

// Renewer is a source of tokens that can be told that one of them is not accepted, though it has not expired: the next call of Token gives another one.
type Renewer interface {
	oauth2.TokenSource
	Renew(refused *oauth2.Token)
}

// bearing adds a bearer token to each request. An answer of 401 can mean that the token ended earlier than it said, so the source is asked for another
// one, and the request is made once more.
type bearing struct {
	source oauth2.TokenSource
	base   http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (b bearing) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := b.source.Token()
	if err != nil {
		return nil, b.unsent(r, err)
	}
	response, err := b.base.RoundTrip(with(r, token))
	renewer, renews := b.source.(Renewer)
	if err != nil || response.StatusCode != http.StatusUnauthorized || !renews {
		return response, err
	}
	again, ok := rewound(r)
	if !ok {
		return response, nil
	}
	renewer.Renew(token)
	fresh, err := b.source.Token()
	if err != nil || fresh.AccessToken == token.AccessToken {
		return response, nil //nolint:nilerr // the answer says what is wrong
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, bodyLimit)) // so that the connection can be used again
	_ = response.Body.Close()
	return b.base.RoundTrip(with(again, fresh))
}

// unsent is the error of a request for which there is no token. Its body is closed, as a transport has to.
func (b bearing) unsent(r *http.Request, err error) error {
	if r.Body != nil {
		_ = r.Body.Close()
	}
	return &tokenError{err}
}

// with is the request with the token.
func with(r *http.Request, token *oauth2.Token) *http.Request {
	r = r.Clone(r.Context())
	token.SetAuthHeader(r)
	return r
}

// rewound is the request with its body from the beginning, false if that cannot be had.
func rewound(r *http.Request) (*http.Request, bool) {
	if r.Body == nil || r.Body == http.NoBody {
		return r, true
	}
	if r.GetBody == nil {
		return nil, false
	}
	body, err := r.GetBody()
	if err != nil {
		return nil, false
	}
	r = r.Clone(r.Context())
	r.Body = body
	return r, true
}
