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
// A list of the last requests, rather than tokens that refill, because a full
// bucket of tokens allows twice the budget in its first span.
type limit struct {
	turn chan struct{} // held by the request that waits for room

	mu       sync.Mutex
	requests int // 0: no limit
	per      time.Duration
	sent     []time.Time // the last ones, oldest first
	granted  int         // and not sent yet: they wait for a token or a connection
	places   int         // reserved, and not granted yet
	shares   *shares     // how much of it is this process's; nil: all
	usage    *usage      // where they are kept for the next process; nil: nowhere
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
	sent := l.within(now, per)
	switch beyond := len(sent) + l.granted + l.places - requests; {
	case requests == 0:
		return l.shares.grows(now, l.span()) // it has by then
	case beyond < 0:
		l.places++
		return 0
	case beyond >= len(sent):
		return min(l.per, placesTurnOver)
	default:
		return l.shares.grows(now, min(sent[beyond].Add(per).Sub(now), l.per))
	}
}

// placesTurnOver is how soon what has a place is sent, mostly.
const placesTurnOver = 50 * time.Millisecond

// within are the requests of the last per. Those that no span reaches any more are dropped.
func (l *limit) within(now time.Time, per time.Duration) []time.Time {
	for len(l.sent) > 0 && !l.sent[0].Add(max(per, l.per)).After(now) {
		l.sent = l.sent[1:]
	}
	sent := l.sent
	for len(sent) > 0 && !sent[0].Add(per).After(now) {
		sent = sent[1:]
	}
	return sent
}

// giveBack gives a place back.
func (l *limit) giveBack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.places--
}

// grant turns a place into a request that may be sent. It reports false, and the place
// stays one, where there is no room any more, because the share shrank.
func (l *limit) grant(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.requests > 0 {
		requests, per := l.own(now)
		if len(l.within(now, per))+l.granted >= requests {
			return false
		}
	}
	l.granted++
	l.places--
	return true
}

// leaves notes that a request which was granted is sent now.
func (l *limit) leaves(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.granted--
	if l.requests > 0 {
		l.sent = append(l.sent, now)
		l.usage.add(now)
	}
}

// bucket is a limit that the feeds share which name it, and a pause while the service
// throttles. Above it stand the limits of the tenant and of the application.
type bucket struct {
	name  string
	may   func() bool // nil: always
	above []*limit    // the nearest first
	*pot
}

// pot is what the clients of a tenant share of a bucket.
type pot struct {
	limit limit

	mu     sync.Mutex
	paused time.Time // no request before
}

// Buckets are those of one tenant. The service counts its requests over all that ask for it, so the clients
// of a tenant share them, and the next one goes on with those of the last. The zero value is ready for use, by
// several goroutines.
type Buckets struct {
	mu   sync.Mutex
	pots map[string]*pot
}

func (b *Buckets) pot(name string) *pot {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pots[name] == nil {
		if b.pots == nil {
			b.pots = map[string]*pot{}
		}
		b.pots[name] = newPot()
	}
	return b.pots[name]
}

func newPot() *pot { return &pot{limit: limit{turn: make(chan struct{}, 1)}} }

func newBucket(name string, above ...*limit) *bucket {
	return &bucket{name: name, above: above, pot: newPot()}
}

// bucket gives the budget that a feed draws on.
func (c *Client) bucket(feed *definition.Feed) *bucket {
	name := feed.Bucket()
	b := &bucket{name: name, may: c.options.May, above: c.above, pot: c.options.Buckets.pot(name)}
	if feed.RateLimit != nil {
		b.limit.set(feed.RateLimit.Requests, feed.RateLimit.Per)
		if c.options.UsageDir != "" {
			b.limit.keep(c.options.UsageDir, name, c.log)
		}
	}
	return b
}

// wait blocks until a request may be sent, and takes it from the budgets; sent is to be called once, when it
// is. What it waits because of throttling is at most patience, and is returned; it
// returns ErrThrottled where the pause lasts longer. begin is called last; end undoes it where
// the request may not be sent after all.
//
// A request counts at all levels from one moment, that of sending: one that then
// waits for something else, as a token or a connection, would be sent later than it is counted, and the requests of
// two spans at one time. To get there it reserves a place, which is counted but has no time yet, at the bucket,
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

// sent notes that the request which [bucket.wait] granted is sent now.
func (b *bucket) sent() {
	now := time.Now()
	b.limit.leaves(now)
	for _, level := range b.above {
		level.leaves(now)
	}
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
