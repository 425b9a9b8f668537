package slackemu

import (
	"fmt"
	"time"
)

// limit is how many calls of a method Slack takes within a time. The numbers are those of Slack's rate limit tiers, and
// one message per second and channel for chat.postMessage, with a burst of a few.
type limit struct {
	calls      int // 0: any number
	within     time.Duration
	byChannels bool
}

func perMinute(calls int) limit { return limit{calls: calls, within: time.Minute} }

func perChannel(calls, seconds int) limit {
	return limit{calls: calls, within: time.Duration(seconds) * time.Second, byChannels: true}
}

type rateLimited struct{ seconds int64 }

func (*rateLimited) Error() string { return "ratelimited" }

// admit counts a call for its method's limit. It is called with the lock held.
func (s *Server) admit(m method, c *call) error {
	if !s.options.RateLimits || m.limit.calls == 0 {
		return nil
	}
	key := c.method
	if m.limit.byChannels {
		key = fmt.Sprintf("%s in %s", c.method, c.args["channel"])
	}
	now := time.Now()
	recent := s.recent[key]
	for len(recent) > 0 && now.Sub(recent[0]) >= m.limit.within {
		recent = recent[1:]
	}
	s.recent[key] = recent
	if len(recent) < m.limit.calls {
		s.recent[key] = append(recent, now)
		return nil
	}
	free := m.limit.within - now.Sub(recent[0])
	return &rateLimited{seconds: max(1, int64((free+time.Second-1)/time.Second))}
}
