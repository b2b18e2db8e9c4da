package extract

import (
	"context"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// retryAfter reads Retry-After: seconds, which may have a fraction, or an HTTP
// date, which is measured by the server's own clock where the answer tells it.
func retryAfter(header http.Header, now time.Time) (time.Duration, bool) {
	const longest = 24 * time.Hour
	value := strings.TrimSpace(header.Get("Retry-After"))
	if value == "" {
		return 0, false
	}
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		switch {
		case math.IsNaN(seconds):
			return 0, false
		case seconds >= longest.Seconds():
			return longest, true
		case seconds <= 0:
			return 0, true
		}
		return time.Duration(seconds * float64(time.Second)), true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		now = date
	}
	return min(max(at.Sub(now), 0), longest), true
}

// waits gives growing waits with jitter.
func waits(first, longest time.Duration) *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = first
	b.MaxInterval = longest
	b.Multiplier = 2
	b.RandomizationFactor = 0.3
	b.Reset()
	return b
}

// bucket is a budget of requests, shared by the feeds that name it: at most
// requests in any span of per, and none while the service throttles.
//
// A list of the last grants, rather than tokens that refill, because a full
// bucket of tokens allows twice the budget in its first span.
type bucket struct {
	name string
	turn chan struct{} // held by the request that waits for room

	mu       sync.Mutex
	requests int // 0: no limit
	per      time.Duration
	granted  []time.Time // the last ones, oldest first
	paused   time.Time   // no request before
}

func newBucket(name string) *bucket {
	return &bucket{name: name, turn: make(chan struct{}, 1)}
}

// bucket gives the budget that a feed draws on.
func (c *Client) bucket(feed *definition.Feed) *bucket {
	name := "feed " + feed.Name
	if feed.RateLimit != nil && feed.RateLimit.Bucket != "" {
		name = feed.RateLimit.Bucket
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.buckets[name]
	if b == nil {
		b = newBucket(name)
		c.buckets[name] = b
	}
	if feed.RateLimit != nil {
		b.limit(feed.RateLimit.Requests, feed.RateLimit.Per)
	}
	return b
}

// limit sets the budget. Of two that feeds give the same bucket, the stricter
// holds.
func (b *bucket) limit(requests int, per time.Duration) {
	if requests <= 0 || per <= 0 {
		return
	}
	// Requests reach the service at other distances than they leave; a little
	// more than the span keeps them within the budget there too.
	per += min(per/20, 500*time.Millisecond)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.requests == 0 || float64(requests)/per.Seconds() < float64(b.requests)/b.per.Seconds() {
		b.requests, b.per = requests, per
	}
}

// wait blocks until a request may be sent, and takes it from the budget. What
// it waits because of throttling is at most patience, and is returned; it
// returns errImpatient where the pause lasts longer.
func (b *bucket) wait(ctx context.Context, patience time.Duration) (throttled time.Duration, err error) {
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	for {
		pause, room := b.take(time.Now())
		if pause <= 0 && room <= 0 {
			return throttled, ctx.Err()
		}
		if pause > 0 {
			if throttled+pause > patience {
				return throttled, errImpatient
			}
			throttled += pause
		}
		if err := sleep(ctx, max(pause, room)); err != nil {
			return throttled, err
		}
	}
}

// take grants a request, or says how long the pause and the budget make it
// wait.
func (b *bucket) take(now time.Time) (pause, room time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	pause = b.paused.Sub(now)
	if b.requests == 0 {
		return pause, 0
	}
	for len(b.granted) > 0 && !b.granted[0].Add(b.per).After(now) {
		b.granted = b.granted[1:]
	}
	if len(b.granted) >= b.requests {
		room = b.granted[len(b.granted)-b.requests].Add(b.per).Sub(now)
	}
	if pause <= 0 && room <= 0 {
		b.granted = append(b.granted, now)
	}
	return pause, room
}

// pause stops all requests of the bucket for some time. It reports whether
// that is a new pause, not one that lasts already.
func (b *bucket) pause(d time.Duration) bool {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	begun := !b.paused.After(now)
	if until := now.Add(d); until.After(b.paused) {
		b.paused = until
	}
	return begun
}

// spread lengthens a wait by up to a tenth, so that those who were told to
// come back at one time do not.
func spread(d time.Duration) time.Duration {
	if d < 10 {
		return d
	}
	return d + rand.N(min(d/10, 2*time.Second))
}
