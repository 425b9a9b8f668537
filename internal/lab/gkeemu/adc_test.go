package gkeemu_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/oauth2/google"

	"github.com/upshift-k8s/upshift/internal/lab/gkeemu"
)

const (
	cloudPlatform = "https://www.googleapis.com/auth/cloud-platform"
	jwtBearer     = "urn:ietf:params:oauth:grant-type:jwt-bearer"
)

func startCredentials(t *testing.T) (creds *gkeemu.Credentials, key string) {
	t.Helper()
	creds, err := gkeemu.StartCredentials(t.Context(), "the-token")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(creds.Close)
	key = filepath.Join(t.TempDir(), "key.json")
	if err := creds.WriteKey(key); err != nil {
		t.Fatal(err)
	}
	return creds, key
}

func TestApplicationDefaultCredentialsYieldTheToken(t *testing.T) {
	creds, key := startCredentials(t)
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", key)
	found, err := google.FindDefaultCredentials(t.Context(), cloudPlatform)
	if err != nil {
		t.Fatal(err)
	}
	token, err := found.TokenSource.Token()
	if err != nil {
		t.Fatal(err)
	}
	if token.AccessToken != "the-token" || token.TokenType != "Bearer" || !token.Valid() {
		t.Errorf("token %+v", token)
	}
	if creds.Issued() != 1 {
		t.Errorf("issued %d tokens, want 1", creds.Issued())
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info, err)
	}
}

func TestKeyOfAnotherServiceIsRefused(t *testing.T) {
	creds, mine := startCredentials(t)
	_, theirs := startCredentials(t)
	forged := map[string]string{}
	for _, k := range []struct{ file, field string }{{mine, "token_uri"}, {theirs, "private_key"}} {
		var key map[string]string
		b, err := os.ReadFile(k.file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &key); err != nil {
			t.Fatal(err)
		}
		for name, v := range key {
			if _, there := forged[name]; !there || name == k.field {
				forged[name] = v
			}
		}
	}
	b, err := json.Marshal(forged)
	if err != nil {
		t.Fatal(err)
	}
	config, err := google.JWTConfigFromJSON(b, cloudPlatform)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = config.TokenSource(t.Context()).Token(); err == nil || !strings.Contains(err.Error(), "signature") {
		t.Errorf("forged key: %v", err)
	}
	if creds.Issued() != 0 {
		t.Errorf("issued %d tokens, want none", creds.Issued())
	}
}

func TestTokenServiceRefusesWhatIsNotForIt(t *testing.T) {
	creds, path := startCredentials(t)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	config, err := google.JWTConfigFromJSON(b, "https://www.googleapis.com/auth/devstorage.read_only")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("scope", func(t *testing.T) {
		if _, err := config.TokenSource(t.Context()).Token(); err == nil || !strings.Contains(err.Error(), cloudPlatform) {
			t.Errorf("scope without cloud-platform: %v", err)
		}
	})
	t.Run("audience", func(t *testing.T) {
		config := *config
		config.Audience, config.Scopes = "https://oauth2.googleapis.com/token", []string{cloudPlatform}
		if _, err := config.TokenSource(t.Context()).Token(); err == nil || !strings.Contains(err.Error(), "audience") {
			t.Errorf("another service's audience: %v", err)
		}
	})
	t.Run("issuer", func(t *testing.T) {
		config := *config
		config.Email, config.Scopes = "someone@else.iam.gserviceaccount.com", []string{cloudPlatform}
		if _, err := config.TokenSource(t.Context()).Token(); err == nil || !strings.Contains(err.Error(), "issuer") {
			t.Errorf("another account: %v", err)
		}
	})
	for _, tt := range []struct{ name, grant, assertion, want string }{
		{"no grant type", "", "a.b.c", "unsupported_grant_type"},
		{"no assertion", jwtBearer, "", "not a JWT"},
		{"not a JWT", jwtBearer, "a.b", "not a JWT"},
		{"not base64", jwtBearer, "%.%.%", "decode the assertion"},
		{"not signed", jwtBearer, "e30.e30.", "RS256"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp, err := http.PostForm(config.TokenURL, url.Values{"grant_type": {tt.grant}, "assertion": {tt.assertion}})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), tt.want) {
				t.Errorf("%s: %s; want 400 and %q", resp.Status, body, tt.want)
			}
		})
	}
	if creds.Issued() != 0 {
		t.Errorf("issued %d tokens, want none", creds.Issued())
	}
}
