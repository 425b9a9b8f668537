package gke

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
)

// tokens are those of application-default credentials, each for as long as it lives. One that is refused before is not given again: the credentials
// are looked up anew, with nothing in their cache. It is safe for concurrent use.
type tokens struct {
	find func() (oauth2.TokenSource, error)

	mu     sync.Mutex
	source oauth2.TokenSource
}

// findTokens looks the credentials up. They are refreshed for as long as the process lasts, whatever becomes of ctx.
func findTokens(ctx context.Context) (*tokens, error) {
	ctx = context.WithoutCancel(ctx)
	t := &tokens{find: func() (oauth2.TokenSource, error) {
		credentials, err := google.FindDefaultCredentials(ctx, scope)
		if err != nil {
			return nil, err
		}
		return credentials.TokenSource, nil
	}}
	source, err := t.find()
	t.source = source
	return t, err
}

// Token implements oauth2.TokenSource.
func (t *tokens) Token() (*oauth2.Token, error) {
	t.mu.Lock()
	source := t.source
	t.mu.Unlock()
	token, err := source.Token()
	if err != nil {
		return nil, fmt.Errorf("get a token: %w", err)
	}
	return token, nil
}

// Renew makes the next Token another one than the one that was refused.
func (t *tokens) Renew(refused *oauth2.Token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now, err := t.source.Token(); err == nil && now.AccessToken != refused.AccessToken {
		return // somebody else was refused before
	}
	if source, err := t.find(); err == nil {
		t.source = source
	}
}
