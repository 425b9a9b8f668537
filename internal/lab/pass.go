package lab

import (
	"crypto/rand"
	"net/http"
	"sync"
	"time"
)

// passes are tokens that end: the proxy takes them for a user's own until then, and answers 401 afterwards, as an API server does.
type passes struct {
	mu      sync.Mutex
	issued  map[string]pass
	refused int
}

type pass struct {
	user string
	ends time.Time
}

// found is a pass, and whether it is still valid.
type found struct {
	user  string
	valid bool
}

// Pass makes a token that stands for a user for so long.
func (p *Proxy) Pass(user string, lifetime time.Duration) string {
	token := rand.Text()
	p.passes.mu.Lock()
	defer p.passes.mu.Unlock()
	if p.passes.issued == nil {
		p.passes.issued = map[string]pass{}
	}
	p.passes.issued[token] = pass{user, time.Now().Add(lifetime)}
	return token
}

// Passes are how many tokens that end were made, and how many requests came with one that had ended.
func (p *Proxy) Passes() (made, refused int) {
	p.passes.mu.Lock()
	defer p.passes.mu.Unlock()
	return len(p.passes.issued), p.passes.refused
}

func (p *passes) find(token string) (found, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	issued, ok := p.issued[token]
	valid := ok && time.Now().Before(issued.ends)
	if ok && !valid {
		p.refused++
	}
	return found{issued.user, valid}, ok
}

// refuse answers as an API server does to a token that it does not know.
func refuse(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}`)) // a client that went away needs no answer
}
