package gkeemu

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

const (
	jwtBearer      = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	cloudPlatform  = "https://www.googleapis.com/auth/cloud-platform"
	serviceAccount = "upshift@lab.iam.gserviceaccount.com"
)

// Credentials stand in for Google's token service: a service account's key file, for GOOGLE_APPLICATION_CREDENTIALS, whose
// token_uri is an endpoint on loopback that exchanges what is signed with that key for a fixed bearer token.
type Credentials struct {
	key    *rsa.PrivateKey
	token  string
	server *http.Server
	url    string
	done   chan struct{}
	issued atomic.Int64
	// short makes a token and says how long it is to be told to live; nil for the fixed one.
	short atomic.Pointer[func() (token string, lives time.Duration)]
}

// StartCredentials serves token on a free port of 127.0.0.1 until Close or the end of ctx.
func StartCredentials(ctx context.Context, token string) (*Credentials, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("make a service account key: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the token service: %w", err)
	}
	c := &Credentials{key: key, token: token, url: "http://" + listener.Addr().String() + "/token", done: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", c.exchange)
	c.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(c.done)
		_ = c.server.Serve(listener) // ends with Close, with nothing to tell
	}()
	context.AfterFunc(ctx, func() { _ = c.server.Close() })
	return c, nil
}

// Close ends the token service; tokens it has issued are not affected. It may be called more than once.
func (c *Credentials) Close() {
	_ = c.server.Close()
	<-c.done
}

// Issued is how often the token has been handed out.
func (c *Credentials) Issued() int { return int(c.issued.Load()) }

// Short has each exchange hand out another token, of which it is told how long it lives.
func (c *Credentials) Short(issue func() (token string, lives time.Duration)) { c.short.Store(&issue) }

// WriteKey writes the key file, readable to its owner only.
func (c *Credentials) WriteKey(path string) error {
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		return fmt.Errorf("write the service account key: %w", err)
	}
	b, err := json.MarshalIndent(map[string]string{
		"type":            "service_account",
		"project_id":      "lab",
		"private_key_id":  "lab",
		"private_key":     string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"client_email":    serviceAccount,
		"client_id":       "100000000000000000000",
		"token_uri":       c.url,
		"universe_domain": "googleapis.com",
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("write the service account key: %w", err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return fmt.Errorf("write the service account key: %w", err)
	}
	return nil
}

func (c *Credentials) exchange(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	token, lives := c.token, time.Hour
	if short := c.short.Load(); short != nil {
		token, lives = (*short)()
	}
	var answer any = map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": int(lives.Seconds())}
	switch err := c.verify(r.PostFormValue("assertion")); {
	case r.PostFormValue("grant_type") != jwtBearer:
		w.WriteHeader(http.StatusBadRequest)
		answer = map[string]string{"error": "unsupported_grant_type", "error_description": "Invalid grant_type: " + r.PostFormValue("grant_type")}
	case err != nil:
		w.WriteHeader(http.StatusBadRequest)
		answer = map[string]string{"error": "invalid_grant", "error_description": err.Error()}
	default:
		c.issued.Add(1)
	}
	_ = json.NewEncoder(w).Encode(answer) // a client that has gone needs no answer
}

// verify checks a JWT as RFC 7523 wants it: our signature, us as its audience, not expired.
func (c *Credentials) verify(assertion string) error {
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		return errors.New("the assertion is not a JWT")
	}
	var head struct{ Alg string }
	var claims struct {
		Iss, Aud, Scope string
		Exp             int64
	}
	if err := errors.Join(decodePart(parts[0], &head), decodePart(parts[1], &claims)); err != nil {
		return fmt.Errorf("decode the assertion: %w", err)
	}
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return fmt.Errorf("decode the signature: %w", err)
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	switch {
	case head.Alg != "RS256":
		return fmt.Errorf("algorithm %q, want RS256", head.Alg)
	case rsa.VerifyPKCS1v15(&c.key.PublicKey, crypto.SHA256, sum[:], sig) != nil:
		return errors.New("the signature is not the service account's")
	case claims.Iss != serviceAccount:
		return fmt.Errorf("issuer %q, want %q", claims.Iss, serviceAccount)
	case claims.Aud != c.url:
		return fmt.Errorf("audience %q, want %q", claims.Aud, c.url)
	case !time.Unix(claims.Exp, 0).After(time.Now()):
		return errors.New("the assertion has expired")
	case !strings.Contains(claims.Scope, cloudPlatform):
		return fmt.Errorf("scope %q lacks %s", claims.Scope, cloudPlatform)
	}
	return nil
}

func decodePart(part string, into any) error {
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}
