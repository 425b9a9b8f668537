package kube

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

func TestWhichRequestsCountAsFailed(t *testing.T) {
	const tooNewBody = `{"kind":"Status","message":"Too large resource version: 7, current: 5"}`
	for name, test := range map[string]struct {
		answer transport
		giveUp bool
		want   upgrade.Calls
	}{
		"an answer":                       {answer: func(*http.Request) (*http.Response, error) { return answer(200, "ok"), nil }, want: upgrade.Calls{Made: 1}},
		"a no":                            {answer: func(*http.Request) (*http.Response, error) { return answer(403, ""), nil }, want: upgrade.Calls{Made: 1}},
		"an error inside":                 {answer: func(*http.Request) (*http.Response, error) { return answer(500, ""), nil }, want: upgrade.Calls{Made: 1}},
		"nobody listens":                  {answer: func(*http.Request) (*http.Response, error) { return nil, errRefused }, want: upgrade.Calls{Made: 1, Failed: 1}},
		"nothing behind the front end":    {answer: func(*http.Request) (*http.Response, error) { return answer(503, ""), nil }, want: upgrade.Calls{Made: 1, Failed: 1}},
		"no answer in time":               {answer: func(*http.Request) (*http.Response, error) { return nil, context.DeadlineExceeded }, want: upgrade.Calls{Made: 1, Failed: 1}},
		"a server that is behind another": {answer: func(*http.Request) (*http.Response, error) { return answer(504, tooNewBody), nil }, want: upgrade.Calls{Made: 1}},
		"a server that takes too long":    {answer: func(*http.Request) (*http.Response, error) { return answer(504, ""), nil }, want: upgrade.Calls{Made: 1, Failed: 1}},
		"no token":                        {answer: func(*http.Request) (*http.Response, error) { return nil, &tokenError{errors.New("invalid_grant")} }},
		"one that we gave up":             {answer: func(*http.Request) (*http.Response, error) { return nil, context.Canceled }, giveUp: true},
	} {
		t.Run(name, func(t *testing.T) {
			var tally Tally
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if test.giveUp {
				cancel()
			}
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://api/version", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := counting{test.answer, &tally}.RoundTrip(r)
			if err == nil {
				body, _ := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if strings.Contains(name, "behind another") && string(body) != tooNewBody {
					t.Errorf("the body is not whole any more: %q", body)
				}
			}
			if got := tally.Calls(); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestEveryRequestOfACountedConfigIsCounted(t *testing.T) {
	var tally Tally
	config := Counted(&rest.Config{Host: "https://api", Transport: transport(func(*http.Request) (*http.Response, error) {
		return answer(200, `{"gitVersion":"v1.34.2-gke.100"}`), nil
	})}, &tally)
	c := cordoning(t, config)
	if v, err := c.Version(t.Context()); err != nil || v != "1.34.2-gke.100" {
		t.Errorf("version %q, %v", v, err)
	}
	if got := tally.Calls(); got != (upgrade.Calls{Made: 1}) {
		t.Errorf("got %+v", got)
	}
}
