package extract

import (
	"slices"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// This file is for several processes that share the budgets of one tenant.

// shares is which part of a limit this process may use.
type shares struct {
	of      map[*Client]float64 // the parts that the clients of a tenant were given, each of all of it
	whole   float64             // what that is together; of that is
	pending []growth            // not in force yet, the earliest first
}

// growth is a part of a limit that is this process's from a time on.
type growth struct {
	at   time.Time
	part float64
}

// ripen puts in force what is due, and says how much is.
func (s *shares) ripen(now time.Time) float64 {
	for len(s.pending) > 0 && !s.pending[0].at.After(now) {
		s.pending = s.pending[1:]
	}
	part := s.whole
	for _, g := range s.pending {
		part -= g.part
	}
	return part
}

// grows is when to look whether there is more: after so long, or when the share grows before that.
func (s *shares) grows(now time.Time, otherwise time.Duration) time.Duration {
	if s != nil && len(s.pending) > 0 {
		return min(otherwise, s.pending[0].at.Sub(now))
	}
	return otherwise
}

// shrink takes away a part, first of what is not in force yet. It says when that would have been.
func (s *shares) shrink(part float64) (pending time.Time) {
	s.whole -= part
	for n := len(s.pending) - 1; n >= 0 && part > negligible; n-- {
		g := &s.pending[n]
		if pending.IsZero() {
			pending = g.at
		}
		taken := min(part, g.part)
		part -= taken
		if g.part -= taken; g.part <= negligible {
			s.pending = s.pending[:n]
		}
	}
	return pending
}

// negligible is less of a limit than counts; sums of parts are not exact.
const negligible = 1e-9

// own is this process's part of the limit, see [Client.Share]. Less than one request in a span
// is one in a longer span.
func (l *limit) own(now time.Time) (requests int, per time.Duration) {
	if l.shares == nil {
		return l.requests, l.per
	}
	span := l.span()
	part := float64(l.requests) * float64(span) / float64(l.per) * l.shares.ripen(now)
	switch {
	case part <= negligible:
		return 0, span
	case part < 1-negligible:
		return 1, time.Duration(min(float64(span)/part, float64(longestSpan)))
	}
	return int(part + negligible), span
}

// span is what a limit with shares is cut into, so that a share that moves is soon in force:
// the shortest, of a second at least, that has several requests for each replica. Whoever keeps
// to so many in each of them keeps to the limit.
func (l *limit) span() time.Duration {
	const several = 16
	cuts := min(int(l.per/time.Second), l.requests/several)
	return l.per / time.Duration(max(cuts, 1))
}

// longestSpan is how long a process with a very small share waits for a request.
const longestSpan = 24 * time.Hour

// share changes the part of one of the process's clients, see [Client.Share]; of several, each has as much of the limit
// to share with the other processes.
func (l *limit) share(now time.Time, client *Client, fraction float64, rest time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shares == nil {
		l.shares = &shares{whole: 1, of: map[*Client]float64{}}
	}
	l.shares.of[client] = fraction
	return l.reshare(now, rest)
}

// leave takes a client out of those that share the limit.
func (l *limit) leave(now time.Time, client *Client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shares != nil {
		delete(l.shares.of, client)
		l.reshare(now, -1)
	}
}

func (l *limit) reshare(now time.Time, rest time.Duration) time.Duration {
	s, span := l.shares, l.span()
	fraction := 0.0
	for _, part := range s.of {
		fraction += part / float64(len(s.of))
	}
	s.ripen(now)
	change := fraction - s.whole
	if change >= 0 {
		if s.whole = fraction; change > negligible && rest != 0 {
			if rest < 0 {
				rest = max(span+rest, 0)
			}
			s.pending = append(s.pending, growth{now.Add(min(rest, span)), change})
			slices.SortStableFunc(s.pending, func(a, b growth) int { return a.at.Compare(b.at) })
		}
		return 0
	}
	pending := s.shrink(-change)
	s.whole = fraction
	if l.requests == 0 {
		return 0
	}
	free := max(pending.Sub(now), 0)
	requests, per := l.own(now)
	sent := slices.Clip(l.within(now, per))
	for range l.granted {
		sent = append(sent, now)
	}
	if len(sent) > requests {
		free = max(free, min(sent[len(sent)-1-requests].Add(per).Sub(now), span))
	}
	return free
}

// Share says which part, 0 to 1, of the requests of the feed's bucket this process may use, where several processes
// share a tenant. As long as all shares add up to 1 at most, all processes together keep to the limit in any span. Until
// it is called, all of it is this process's; one that joins others begins with 0.
//
// A share that shrinks does so at once, and free says after how long another process may use what it leaves. One that
// grows does so after rest: what free was for whoever had the difference before, less the time since. Below 0 that is
// not known, and nothing was sent for -rest: it grows a span after that began.
//
// A limit of many requests is cut into spans of a second or so, in each of which every process has its part. A share of less
// than one request in a span is one request in a longer span: n such shares keep to the limit over time, but may send n
// requests in one span.
func (c *Client) Share(feed *definition.Feed, fraction float64, rest time.Duration) (free time.Duration) {
	return c.bucket(feed).limit.share(time.Now(), c, min(max(fraction, 0), 1), rest)
}

// Idle reports whether this process has no share of the feed's bucket.
func (c *Client) Idle(feed *definition.Feed) bool {
	l := &c.bucket(feed).limit
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shares != nil && l.shares.whole <= negligible
}
