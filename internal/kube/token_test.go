package kube

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"
	"k8s.io/client-go/rest"
)

// series gives tokens t1, t2, …, another one only when the last is refused.
type series struct{ n int }

func (s *series) Token() (*oauth2.Token, error) {
	return &oauth2.Token{AccessToken: fmt.Sprintf("t%d", s.n+1), Expiry: time.Now().Add(time.Hour)}, nil
}

func (s *series) Renew(*oauth2.Token) { s.n++ }

// fixed gives one token, whatever happens.
type fixed struct{}

func (fixed) Token() (*oauth2.Token, error) { return &oauth2.Token{AccessToken: "t1"}, nil }

// issuer gives tokens that live for five minutes, and answers requests as an API server that knows when each of them ends.
type issuer struct{ issued, refused int }

func (i *issuer) Token() (*oauth2.Token, error) {
	i.issued++
	end := time.Now().Add(5 * time.Minute)
	return &oauth2.Token{AccessToken: end.Format(time.RFC3339Nano), Expiry: end}, nil
}

func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(50 * time.Millisecond) // on its way
	end, err := time.Parse(time.RFC3339Nano, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	code := http.StatusOK
	if err != nil || !time.Now().Before(end) {
		i.refused++
		code = http.StatusUnauthorized
	}
	return &http.Response{StatusCode: code, Body: http.NoBody}, nil
}

// TestTokensOfFiveMinutesLastThroughARunOfTwoHours, with a request every two seconds.
func TestTokensOfFiveMinutesLastThroughARunOfTwoHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &issuer{}
		through := bearing{oauth2.ReuseTokenSource(nil, api), api}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://api.example.com/", nil)
		if err != nil {
			t.Fatal(err)
		}
		for start := time.Now(); time.Since(start) < 2*time.Hour; time.Sleep(2 * time.Second) {
			response, err := through.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
		}
		if api.refused > 0 || api.issued < 24 || api.issued > 26 {
			t.Errorf("%d requests refused, %d tokens, want one for each five minutes", api.refused, api.issued)
		}
	})
}

func TestARequestThatIsNotAuthorizedIsMadeOnceMoreWithAnotherToken(t *testing.T) {
	for name, test := range map[string]struct {
		source oauth2.TokenSource
		valid  string
		code   int
		asked  []string
	}{
		"a good token":          {&series{}, "Bearer t1", 200, []string{"Bearer t1 body"}},
		"one that ended early":  {&series{}, "Bearer t2", 200, []string{"Bearer t1 body", "Bearer t2 body"}},
		"one that is no use":    {&series{}, "Bearer t3", 401, []string{"Bearer t1 body", "Bearer t2 body"}},
		"a source of one token": {fixed{}, "Bearer t2", 401, []string{"Bearer t1 body"}},
	} {
		t.Run(name, func(t *testing.T) {
			var asked []string
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				asked = append(asked, r.Header.Get("Authorization")+" "+string(body))
				if r.Header.Get("Authorization") != test.valid {
					http.Error(w, "Unauthorized", http.StatusUnauthorized)
				}
			}))
			defer server.Close()
			ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
			client, err := rest.HTTPClientFor(ConfigForEndpoint(server.URL, ca, test.source, "test"))
			if err != nil {
				t.Fatal(err)
			}
			response, err := client.Post(server.URL, "text/plain", bytes.NewReader([]byte("body")))
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != test.code || !slices.Equal(asked, test.asked) {
				t.Errorf("code %d after %q, want %d after %q", response.StatusCode, asked, test.code, test.asked)
			}
		})
	}
}
