package slack

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const secret = "8f742231b10e8888abcd99yyyzzz85a5"

// inbox is a handler that keeps what it gets.
type inbox struct {
	mu        sync.Mutex
	commands  []Command
	clicks    []Click
	reactions []Reaction
	connected int
}

func (i *inbox) Command(c Command) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.commands = append(i.commands, c)
}

func (i *inbox) Click(c Click) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.clicks = append(i.clicks, c)
}

func (i *inbox) Reaction(r Reaction) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.reactions = append(i.reactions, r)
}

func (i *inbox) Connected() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.connected++
}

// got counts commands, clicks, reactions and connections.
func (i *inbox) got() [4]int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return [4]int{len(i.commands), len(i.clicks), len(i.reactions), i.connected}
}

// app is the bot's side of HTTP, with all that it logs.
type app struct {
	inbox
	handler http.Handler
	log     bytes.Buffer
}

func newApp() *app {
	a := &app{}
	a.handler = HTTP(secret, Once(&a.inbox), slog.New(slog.NewTextHandler(&a.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	return a
}

func mac(stamp, body string) []byte {
	m := hmac.New(sha256.New, []byte(secret))
	_, _ = fmt.Fprintf(m, "v0:%s:%s", stamp, body)
	return m.Sum(nil)
}

// envelope is a request as Slack sends it.
type envelope struct{ path, body, stamp, signature string }

func seal(path, body string, at time.Time) envelope {
	stamp := strconv.FormatInt(at.Unix(), 10)
	return envelope{path, body, stamp, "v0=" + hex.EncodeToString(mac(stamp, body))}
}

// post sends a request; headers are put over those of the envelope, empty values remove one.
func (a *app) post(e envelope, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, e.path, strings.NewReader(e.body))
	r.Header.Set("X-Slack-Request-Timestamp", e.stamp)
	r.Header.Set("X-Slack-Signature", e.signature)
	for i := 0; i+1 < len(headers); i += 2 {
		if r.Header.Del(headers[i]); headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	return w
}

// wantRefused demands a refusal that says nothing, to the caller or to the log, by which a request could be forged.
func (a *app) wantRefused(t *testing.T, w *httptest.ResponseRecorder, e envelope) {
	t.Helper()
	if w.Code != http.StatusUnauthorized || w.Body.Len() != 0 {
		t.Errorf("status %d and a body of %q, want 401 and none", w.Code, w.Body)
	}
	if got := a.got(); got != [4]int{} {
		t.Errorf("it reached the handler: %v", got)
	}
	if !strings.Contains(a.log.String(), "a request without Slack's signature was refused") {
		t.Errorf("the log says %q", a.log.String())
	}
	told := fmt.Sprint(w.Header()) + w.Body.String() + a.log.String()
	if strings.Contains(told, "user") {
		t.Errorf("what was sent is told: %s", told)
	}
	valid := mac(e.stamp, e.body)
	for _, form := range []string{hex.EncodeToString(valid), base64.StdEncoding.EncodeToString(valid), string(valid), fmt.Sprintf("%d", valid), secret} {
		if strings.Contains(strings.ToLower(told), strings.ToLower(form)) {
			t.Errorf("%q is told", form)
		}
	}
	a.log.Reset()
}

const commandBody = "token=t&team_id=T0UPSHIFT&team_domain=upshift-lab&channel_id=C0OPS&channel_name=ops&user_id=U0ALICE&user_name=alice&command=%2Fupgrade&" +
	"text=cluster-1+to+1.34+%3C%21channel%3E&api_app_id=A0UPSHIFT&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2F1&trigger_id=13345224609.738474920"

func eventBody(id, kind string) string {
	return `{"token":"t","team_id":"T0UPSHIFT","api_app_id":"A0UPSHIFT","type":"event_callback","event_id":"` + id + `","event_time":1767323045,` +
		`"is_ext_shared_channel":true,"event":{"type":"` + kind + `","user":"U0BOB","reaction":"+1::skin-tone-3","item_user":"U0UPSHIFT",` +
		`"item":{"type":"message","channel":"C0OPS","ts":"1767322800.000200"},"event_ts":"1767323045.000100"}}`
}

const clickPayload = `{"type":"block_actions","api_app_id":"A0UPSHIFT","team":{"id":"T0UPSHIFT","domain":"upshift-lab"},` +
	`"user":{"id":"U0BOB","username":"bob","name":"bob","team_id":"T0UPSHIFT"},"channel":{"id":"C0OPS","name":"ops"},` +
	`"container":{"type":"message","message_ts":"1767322800.000200","channel_id":"C0OPS","is_ephemeral":false},` +
	`"actions":[{"type":"button","action_id":"approve","block_id":"b1","value":"cluster-1/abc","action_ts":"1767323045.000100","text":{"type":"plain_text","text":"Approve"}}],` +
	`"response_url":"https://hooks.slack.com/actions/1","trigger_id":"13345224609.738474921"}`

func clickBody(payload string) string { return url.Values{"payload": {payload}}.Encode() }

func TestARequestOfWhichOneByteWasChangedIsRefused(t *testing.T) {
	for path, body := range map[string]string{
		"/slack/commands": commandBody, "/slack/events": eventBody("Ev1", "reaction_added"), "/slack/interactions": clickBody(clickPayload),
	} {
		t.Run(path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, good := newApp(), seal(path, body, time.Now())
				for part, of := range map[string]func(*envelope) *string{
					"body":      func(e *envelope) *string { return &e.body },
					"timestamp": func(e *envelope) *string { return &e.stamp },
					"signature": func(e *envelope) *string { return &e.signature },
				} {
					for i := range len(*of(&good)) {
						bad := good
						changed := []byte(*of(&bad))
						changed[i] ^= 1
						*of(&bad) = string(changed)
						if a.wantRefused(t, a.post(bad), bad); t.Failed() {
							t.Fatalf("byte %d of the %s", i, part)
						}
					}
				}
				if w := a.post(good); w.Code != http.StatusOK || w.Body.Len() != 0 || a.log.Len() != 0 {
					t.Errorf("unchanged: status %d, body %q, log %q", w.Code, w.Body, &a.log)
				}
				if got := a.got(); got[0]+got[1]+got[2] != 1 {
					t.Errorf("the handler got %v", got)
				}
			})
		})
	}
}

func TestARequestThatIsReplayedMoreThanFiveMinutesLaterIsRefused(t *testing.T) {
	for seconds, accepted := range map[int]bool{0: true, 1: true, 299: true, 300: true, 301: false, 3600: false, 86400 * 365: false} {
		for _, sign := range []time.Duration{1, -1} {
			off := sign * time.Duration(seconds) * time.Second
			synctest.Test(t, func(t *testing.T) {
				a, e := newApp(), seal("/slack/commands", commandBody, time.Now().Add(off))
				w := a.post(e)
				if !accepted {
					a.wantRefused(t, w, e)
				} else if w.Code != http.StatusOK || a.got() != [4]int{1} {
					t.Errorf("status %d, handled %v", w.Code, a.got())
				}
			})
			if t.Failed() {
				t.Fatalf("with a timestamp %s from now", off)
			}
		}
	}
}

func TestARequestWithStrangeHeadersIsRefused(t *testing.T) {
	for name, change := range map[string]func(*envelope) (headers []string){
		"no signature":           func(*envelope) []string { return []string{"X-Slack-Signature", ""} },
		"no timestamp":           func(*envelope) []string { return []string{"X-Slack-Request-Timestamp", ""} },
		"neither":                func(*envelope) []string { return []string{"X-Slack-Signature", "", "X-Slack-Request-Timestamp", ""} },
		"a far future":           func(e *envelope) []string { *e = sealed(*e, "99999999999"); return nil },
		"the last second of all": func(e *envelope) []string { *e = sealed(*e, "9223372036854775807"); return nil },
		"the first second":       func(e *envelope) []string { *e = sealed(*e, "-9223372036854775808"); return nil },
		"more seconds than fit":  func(e *envelope) []string { *e = sealed(*e, "92233720368547758080"); return nil },
		"the year 0":             func(e *envelope) []string { *e = sealed(*e, "0"); return nil },
		"a fraction":             func(e *envelope) []string { *e = sealed(*e, e.stamp+".5"); return nil },
		"words":                  func(e *envelope) []string { *e = sealed(*e, "now"); return nil },
		"a space":                func(e *envelope) []string { *e = sealed(*e, " "+e.stamp); return nil },
		"another version":        func(e *envelope) []string { e.signature = "v1" + e.signature[2:]; return nil },
		"no version":             func(e *envelope) []string { e.signature = e.signature[3:]; return nil },
		"half a signature":       func(e *envelope) []string { e.signature = e.signature[:35]; return nil },
		"twice the signature":    func(e *envelope) []string { e.signature += e.signature[3:]; return nil },
		"no MAC":                 func(e *envelope) []string { e.signature = "v0="; return nil },
		"no hexadecimal":         func(e *envelope) []string { e.signature = "v0=" + strings.Repeat("xy", 32); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, e := newApp(), seal("/slack/commands", commandBody, time.Now())
				headers := change(&e)
				w := a.post(e, headers...)
				a.wantRefused(t, w, e)
			})
		})
	}
}

// sealed is signed with another timestamp.
func sealed(e envelope, stamp string) envelope {
	e.stamp, e.signature = stamp, "v0="+hex.EncodeToString(mac(stamp, e.body))
	return e
}

func TestABotWithoutASigningSecretAcceptsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp()
		a.handler = HTTP("", &a.inbox, slog.New(slog.NewTextHandler(&a.log, nil)))
		m := hmac.New(sha256.New, nil)
		e := seal("/slack/commands", commandBody, time.Now())
		_, _ = fmt.Fprintf(m, "v0:%s:%s", e.stamp, e.body)
		e.signature = "v0=" + hex.EncodeToString(m.Sum(nil))
		a.wantRefused(t, a.post(e), e)
	})
}

func TestWhatPeopleDoArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp()
		for _, e := range []envelope{
			seal("/slack/commands", commandBody, time.Now()), seal("/slack/events", eventBody("Ev1", "reaction_added"), time.Now()),
			seal("/slack/events", eventBody("Ev2", "reaction_removed"), time.Now()), seal("/slack/interactions", clickBody(clickPayload), time.Now()),
		} {
			if w := a.post(e); w.Code != http.StatusOK || w.Body.Len() != 0 {
				t.Errorf("%s: status %d, body %q", e.path, w.Code, w.Body)
			}
		}
		reaction := Reaction{
			ID: "event/Ev1", Who: Person{ID: "U0BOB"}, Channel: "C0OPS", Timestamp: "1767322800.000200", Name: "+1", Added: true,
			At: time.Date(2026, 1, 2, 3, 4, 5, 100_000, time.UTC), Shared: true,
		}
		removed := reaction
		removed.ID, removed.Added = "event/Ev2", false
		for name, diff := range map[string]string{
			"commands": cmp.Diff([]Command{{
				ID: "command/13345224609.738474920", Who: Person{ID: "U0ALICE", Name: "alice", Team: "T0UPSHIFT"}, Channel: "C0OPS",
				Text: "cluster-1 to 1.34 <!channel>", ResponseURL: "https://hooks.slack.com/commands/1",
			}}, a.commands),
			"reactions": cmp.Diff([]Reaction{reaction, removed}, a.reactions),
			"clicks": cmp.Diff([]Click{{
				ID: "click/13345224609.738474921/approve", Who: Person{ID: "U0BOB", Name: "bob", Team: "T0UPSHIFT"}, Channel: "C0OPS", Timestamp: "1767322800.000200",
				Action: "approve", Value: "cluster-1/abc", ResponseURL: "https://hooks.slack.com/actions/1",
			}}, a.clicks),
		} {
			if diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	})
}

func TestSlackSeesThatTheURLIsTheApps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp()
		w := a.post(seal("/slack/events", `{"token":"t","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}`, time.Now()))
		if w.Code != http.StatusOK || w.Body.String() != "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P" || w.Header().Get("Content-Type") != "text/plain" {
			t.Errorf("status %d, %v, %q", w.Code, w.Header(), w.Body)
		}
	})
}

func TestWhatNobodyAskedForIsAcknowledgedAndLeftAlone(t *testing.T) {
	for name, e := range map[string]envelope{
		"another event":            {path: "/slack/events", body: eventBody("Ev1", "pin_added")},
		"a reaction to no message": {path: "/slack/events", body: `{"type":"event_callback","event_id":"Ev1","event":{"type":"reaction_added","user":"U1","reaction":"x","item":{"type":"file"}}}`},
		"a message shortcut":       {path: "/slack/interactions", body: clickBody(`{"type":"message_action","trigger_id":"1"}`)},
		"a click without a button": {path: "/slack/interactions", body: clickBody(`{"type":"block_actions","trigger_id":"1","actions":[]}`)},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := newApp()
			if w := a.post(seal(e.path, e.body, time.Now())); w.Code != http.StatusOK || w.Body.Len() != 0 || a.got() != [4]int{} {
				t.Errorf("%s: status %d, body %q, handled %v", name, w.Code, w.Body, a.got())
			}
		})
	}
}

func TestWhatCannotBeReadIsABadRequest(t *testing.T) {
	for name, c := range map[string]struct {
		path, body string
		want       int
	}{
		"half an event":                  {"/slack/events", eventBody("Ev1", "reaction_added")[:200], http.StatusBadRequest},
		"an empty event":                 {"/slack/events", "", http.StatusBadRequest},
		"a list":                         {"/slack/events", "[]", http.StatusBadRequest},
		"an event without what happened": {"/slack/events", `{"type":"event_callback"}`, http.StatusBadRequest},
		"an event that is a number":      {"/slack/events", `{"type":"event_callback","event":7}`, http.StatusBadRequest},
		"half an interaction":            {"/slack/interactions", clickBody(clickPayload[:100]), http.StatusBadRequest},
		"an interaction of nothing":      {"/slack/interactions", "", http.StatusBadRequest},
		"an interaction that is no form": {"/slack/interactions", "payload=%zz", http.StatusBadRequest},
		"a command that is no form":      {"/slack/commands", "text=%zz", http.StatusBadRequest},
		"more than is read":              {"/slack/commands", "text=" + strings.Repeat("x", maxBody-4), http.StatusRequestEntityTooLarge},
		"as much as is read":             {"/slack/commands", "text=" + strings.Repeat("x", maxBody-5), http.StatusOK},
		"another page":                   {"/slack/options", "x", http.StatusNotFound},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := newApp()
			w := a.post(seal(c.path, c.body, time.Now()))
			if w.Code != c.want || c.want < http.StatusNotFound && w.Body.Len() != 0 {
				t.Errorf("%s: status %d, want %d; body %q", name, w.Code, c.want, w.Body)
			}
			if got := a.got(); got != [4]int{} && c.want != http.StatusOK {
				t.Errorf("%s: handled %v", name, got)
			}
		})
	}
}

func TestADeliveryThatComesAgainIsHandledOnce(t *testing.T) {
	for name, c := range map[string]struct {
		attempts []int // X-Slack-Retry-Num; 0 is the first delivery
		after    time.Duration
	}{
		"four times": {[]int{0, 1, 2, 3}, time.Minute}, "the first was lost": {[]int{1}, time.Minute}, "only the last": {[]int{3}, time.Minute},
		"out of order": {[]int{2, 0, 1}, 0}, "an hour later": {[]int{0, 1, 2}, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newApp()
				for _, attempt := range c.attempts {
					for _, e := range []envelope{
						seal("/slack/events", eventBody("Ev1", "reaction_added"), time.Now()), seal("/slack/commands", commandBody, time.Now()), seal("/slack/interactions", clickBody(clickPayload), time.Now()),
					} {
						var headers []string
						if attempt > 0 {
							headers = []string{"X-Slack-Retry-Num", strconv.Itoa(attempt), "X-Slack-Retry-Reason", "http_timeout"}
						}
						if w := a.post(e, headers...); w.Code != http.StatusOK || w.Body.Len() != 0 {
							t.Errorf("attempt %d at %s: status %d, body %q", attempt, e.path, w.Code, w.Body)
						}
					}
					time.Sleep(c.after)
				}
				if got := a.got(); got != [4]int{1, 1, 1, 0} {
					t.Errorf("handled %v", got)
				}
				a.post(seal("/slack/events", eventBody("Ev2", "reaction_added"), time.Now()))
				if got := a.got(); got != [4]int{1, 1, 2, 0} {
					t.Errorf("another event: handled %v", got)
				}
			})
		})
	}
}

func TestDeliveriesAreNotRememberedForEver(t *testing.T) {
	s, now := newSeen(), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range 100_000 {
		if id := strconv.Itoa(i); !s.first(id, now) || s.first(id, now.Add(remembered/2)) {
			t.Fatalf("delivery %s", id)
		}
		now = now.Add(time.Second)
	}
	if most := int((remembered + remembered/2) / time.Second); len(s.at) > most {
		t.Errorf("%d are remembered, want at most %d", len(s.at), most)
	}
}

func FuzzDecode(f *testing.F) {
	for _, body := range []string{
		eventBody("Ev1", "reaction_added"), eventBody("Ev1", "reaction_removed"), eventBody("Ev1", "message"), eventBody("", "app_rate_limited"), clickPayload,
		`{"type":"url_verification","challenge":"x"}`, `{"type":"event_callback","event":null}`, `{"type":"event_callback","event":{"type":"reaction_added","item":null}}`,
		`{"type":"block_actions","actions":[null]}`, `{"type":"view_submission","view":{"state":{"values":{"a":{"b":{}}}}}}`, `{"type":"block_actions","message":{"blocks":[{"type":"x"}]}}`,
		`null`, `[]`, `"x"`, "", "\xff", `{"type":"event_callback","event":{"type":"reaction_added","event_ts":"-1.ééé","item":{"ts":"1","channel":"C"}}}`,
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		r, _, ok, err := decodeEvent([]byte(body))
		if ok && err == nil && r != (Reaction{}) && (r.Channel == "" || r.Timestamp == "" || strings.Contains(r.Name, "::")) {
			t.Errorf("%q is read as %+v", body, r)
		}
		c, ok, err := decodeInteraction(body)
		if (!ok || err != nil) && c != (Click{}) {
			t.Errorf("%q is read as %+v, %v", body, c, err)
		}
		if form, err := url.ParseQuery(body); err == nil {
			if c := decodeCommand(form); c.Text != form.Get("text") {
				t.Errorf("%q is read as %+v", body, c)
			}
		}
	})
}

func FuzzSignature(f *testing.F) {
	now := strconv.FormatInt(time.Now().Unix(), 10)
	f.Add(now, "v0="+hex.EncodeToString(mac(now, commandBody)), commandBody)
	for _, seed := range [][3]string{{now, "v0=", ""}, {"99999999999", "v0=00", "x"}, {"", "", ""}, {"-1", "v1=" + strings.Repeat("0", 64), "x"}, {now, "v0=" + strings.Repeat("0", 64), "x"}} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, stamp, signature, body string) {
		header := http.Header{"X-Slack-Request-Timestamp": {stamp}, "X-Slack-Signature": {signature}}
		if !signed(secret, header, []byte(body)) {
			return
		}
		at, err := strconv.ParseInt(stamp, 10, 64)
		if err != nil || time.Since(time.Unix(at, 0)).Abs() > 5*time.Minute+time.Second {
			t.Errorf("timestamp %q is accepted", stamp)
		}
		if got, err := hex.DecodeString(strings.TrimPrefix(signature, "v0=")); err != nil || !slices.Equal(got, mac(stamp, body)) {
			t.Errorf("signature %q of %q is accepted", signature, body)
		}
	})
}
