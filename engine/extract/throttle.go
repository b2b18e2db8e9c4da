package extract

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/transport"
)

// Budget is a number of requests in any span of time, on which several clients
// draw. Its methods may be called from several goroutines.
type Budget struct {
	limit limit
}

// NewBudget allows so many requests in any span of per. None or less, or no
// span, is no limit.
func NewBudget(requests int, per time.Duration) *Budget {
	b := &Budget{limit: limit{turn: make(chan struct{}, 1)}}
	b.limit.set(requests, per)
	return b
}

// Keep has what is sent of the budget kept in a file of the folder, so that the next process counts
// it; see [ClientOptions.UsageDir].
func (b *Budget) Keep(dir, name string, log *slog.Logger) { b.limit.keep(dir, name, log) }

// limit is at most requests in any span of per.
//
// A list of the last grants, rather than tokens that refill, because a full
// bucket of tokens allows twice the budget in its first span.
type limit struct {
	turn chan struct{} // held by the request that waits for room

	mu       sync.Mutex
	requests int // 0: no limit
	per      time.Duration
	granted  []time.Time // the last ones, oldest first
	places   int         // reserved, and not granted yet
	shares   *shares     // how much of it is this process's; nil: all
	usage    *usage      // where the grants are kept for the next process; nil: nowhere
}

// set sets the limit. Of two that are set, the stricter holds.
func (l *limit) set(requests int, per time.Duration) {
	if requests <= 0 || per <= 0 {
		return
	}
	// Requests reach the service at other distances than they leave; a little
	// more than the span keeps them within the budget there too.
	per += min(per/20, 500*time.Millisecond)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.requests == 0 || float64(requests)/per.Seconds() < float64(l.requests)/l.per.Seconds() {
		l.requests, l.per = requests, per
	}
}

// reserve waits for a place, in the order of asking, until ctx ends: with those that are
// reserved already, there is room for a request. before is called ahead of each look; its error
// ends the wait. The caller has the place granted or gives it back.
func (l *limit) reserve(ctx context.Context, before func() error) error {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		if err := before(); err != nil {
			return err
		}
		room := l.place(time.Now())
		if room <= 0 {
			return nil
		}
		if err := transport.Sleep(ctx, room); err != nil {
			return err
		}
	}
}

// place reserves a place, or says when to look again.
func (l *limit) place(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.requests == 0 {
		l.places++
		return 0
	}
	requests, per := l.own(now)
	granted := l.within(now, per)
	switch beyond := len(granted) + l.places - requests; {
	case requests == 0:
		return l.shares.grows(now, l.span()) // it has by then
	case beyond < 0:
		l.places++
		return 0
	case beyond >= len(granted):
		return min(l.per, placesTurnOver)
	default:
		return l.shares.grows(now, min(granted[beyond].Add(per).Sub(now), l.per))
	}
}

// placesTurnOver is how soon places become grants, mostly.
const placesTurnOver = 50 * time.Millisecond

// within are the grants of the last per. Those that no span reaches any more are dropped.
func (l *limit) within(now time.Time, per time.Duration) []time.Time {
	for len(l.granted) > 0 && !l.granted[0].Add(max(per, l.per)).After(now) {
		l.granted = l.granted[1:]
	}
	granted := l.granted
	for len(granted) > 0 && !granted[0].Add(per).After(now) {
		granted = granted[1:]
	}
	return granted
}

// giveBack gives a place back.
func (l *limit) giveBack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.places--
}

// grant turns a place into a request that is sent now. It reports false, and the place
// stays one, where there is no room any more, because the share shrank.
func (l *limit) grant(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.requests > 0 {
		requests, per := l.own(now)
		if len(l.within(now, per)) >= requests {
			return false
		}
		l.granted = append(l.granted, now)
		l.usage.add(now)
	}
	l.places--
	return true
}

// bucket is a limit that the feeds share which name it, and a pause while the service
// throttles. Above it stand the limits of the tenant and of the application.
type bucket struct {
	name  string
	may   func() bool // nil: always
	limit limit
	above []*limit // the nearest first

	mu     sync.Mutex
	paused time.Time // no request before
}

func newBucket(name string, above ...*limit) *bucket {
	return &bucket{name: name, limit: limit{turn: make(chan struct{}, 1)}, above: above}
}

// bucket gives the budget that a feed draws on.
func (c *Client) bucket(feed *definition.Feed) *bucket {
	name := feed.Bucket()
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.buckets[name]
	if b == nil {
		b = newBucket(name, c.above...)
		b.may = c.options.May
		c.buckets[name] = b
	}
	if feed.RateLimit != nil {
		b.limit.set(feed.RateLimit.Requests, feed.RateLimit.Per)
		if c.options.UsageDir != "" {
			b.limit.keep(c.options.UsageDir, name, c.log)
		}
	}
	return b
}

// wait blocks until a request may be sent, and takes it from the budgets. What
// it waits because of throttling is at most patience, and is returned; it
// returns ErrThrottled where the pause lasts longer. begin is called last; end undoes it where
// the request may not be sent after all.
//
// A request is taken from all levels in one moment, that of sending: a grant that then
// waits for something else would be sent later than it is counted, and the requests of two spans at
// one time. To get there it reserves a place, which is counted but has no time yet, at the bucket,
// then at the tenant, then at the application, and then begins. So nobody has anything of
// an upper level who still waits at a lower one, be it for room or for the end of a pause.
func (b *bucket) wait(ctx context.Context, patience time.Duration, begin func(context.Context) error, end func()) (throttled time.Duration, err error) {
	pauses := func() error {
		for {
			pause := b.pausedFor(time.Now())
			if pause <= 0 {
				return ctx.Err()
			}
			if throttled+pause > patience {
				return ErrThrottled
			}
			throttled += pause
			if err := transport.Sleep(ctx, pause); err != nil {
				return err
			}
		}
	}
	for sent := false; !sent && err == nil; {
		if err = b.limit.reserve(ctx, pauses); err != nil {
			break
		}
		if sent, err = b.ascend(ctx, begin, end); !sent {
			b.limit.giveBack()
		}
	}
	return throttled, err
}

// ascend takes a request for which there is a place at the bucket. It reports false where it may
// not be sent any more: the bucket was paused, or its share shrank.
func (b *bucket) ascend(ctx context.Context, begin func(context.Context) error, end func()) (sent bool, err error) {
	for _, level := range b.above {
		if err := level.reserve(ctx, ctx.Err); err != nil {
			return false, err
		}
		defer func() {
			if !sent {
				level.giveBack()
			}
		}()
	}
	if err := begin(ctx); err != nil {
		return false, err
	}
	if b.may != nil && !b.may() {
		end()
		return false, errMayNot
	}
	now := time.Now()
	if b.pausedFor(now) > 0 || !b.limit.grant(now) {
		end()
		return false, nil
	}
	for _, level := range b.above {
		level.grant(now) // there is room: at these levels there are no shares
	}
	return true, nil
}

// errMayNot ends what is about to be cancelled anyhow.
var errMayNot = errors.New("this process was paused, or cut off from the others that share its work, for too long: others may do it by now")

func (b *bucket) pausedFor(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.paused.Sub(now)
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
	return d + time.Duration(transport.Jitter()*float64(min(d/10, 2*time.Second)))
}
