package load

import (
	"cmp"
	"context"
	"math/bits"
	"slices"
	"sync"
	"time"
)

// MaxConcurrency is the most requests at a time that a destination is sent which
// finds out by itself how many are good.
const MaxConcurrency = 256

// limiter bounds the requests in flight: to a fixed number, or to as many as the destination
// takes without slowing down or refusing, which it finds out.
//
// It compares how long answers take with the shortest that bodies of that size took a
// moment ago: what they take longer, they waited for others, as TCP Vegas has it. The limit
// doubles with each round of answers until the first sign of waiting; then it grows by a
// sixteenth, and gives back a tenth when answers slow down. A refusal (429, 5xx, no answer) takes a quarter at
// once, and for a minute what was refused is not tried again. Twice a minute a
// round of half as many requests tells the shortest time anew, so that a way that got longer is not
// taken for a queue for good.
//
// Three things are from the authors of Vector's adaptive request concurrency (vectordotdev/vector, issue 3255): it begins by
// doubling, a limit that is not reached does not grow, and a tenth is enough to give back. The tolerances are from the tests,
// against destinations that queue, refuse and jitter.
type limiter struct {
	adaptive bool
	most     int

	mu      sync.Mutex
	limit   int
	busy    int
	waiting []chan struct{} // in the order of coming; closed when the turn has come
	answer  time.Duration   // that answers took of late

	starting bool      // there was no sign of waiting yet
	refused  time.Time // when the last refusal came
	ceiling  int       // the limit that was refused then

	// Of the round under way.
	began   time.Time
	reached bool    // all places were taken
	answers int     // that came
	swift   float64 // sum over them: 1 for one that did not wait, less for one that did

	best   [32]shortest // by the size of the body, in powers of two
	probed time.Time    // when the shortest times were last told anew
	full   int          // the limit outside of the round of half as many that is under way; 0: none is
}

// shortest is the shortest time of an answer since the last renewal, and between the two before.
type shortest struct{ now, before time.Duration }

const (
	firstLimit = 8
	// So much longer than the shortest may an answer take before it counts as one that waited:
	// networks are uneven, and so is a machine that does other things too.
	tolerated  = 1.25
	unevenness = 5 * time.Millisecond
	renewBest  = 30 * time.Second
	remember   = time.Minute // a refusal
)

// newLimiter allows so many requests; 0: as many as it finds good.
func newLimiter(most int) *limiter {
	if most > 0 {
		return &limiter{most: most, limit: most}
	}
	return &limiter{adaptive: true, most: MaxConcurrency, limit: firstLimit, starting: true}
}

// allowed is how many requests may be in flight now.
func (l *limiter) allowed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limit
}

// usual is how long an answer took of late.
func (l *limiter) usual() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answer
}

// acquire waits until a request may be made. Each call that gives no error is followed by one of release.
func (l *limiter) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	if l.busy < l.limit && len(l.waiting) == 0 {
		l.busy++
		l.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	l.waiting = append(l.waiting, turn)
	l.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.waiting, turn); i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
	} else { // the turn came in the same moment
		l.busy--
		l.wake()
	}
	return ctx.Err()
}

// wake lets in who waits, as far as there are places. The caller holds the lock.
func (l *limiter) wake() {
	for l.busy < l.limit && len(l.waiting) > 0 {
		l.busy++
		close(l.waiting[0])
		l.waiting = l.waiting[1:]
	}
}

// outcome is what a request tells about the destination's ability to take more.
type outcome int

const (
	untold   outcome = iota // it was given up
	answered                // as a working destination does
	overload                // a refusal that more requests would only add to
)

// release ends a request, whose body of so many bytes took so long.
func (l *limiter) release(size int, took time.Duration, o outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o == answered {
		l.answer = cmp.Or(l.answer, took)
		l.answer += (took - l.answer) / 8
	}
	if l.adaptive {
		l.reached = l.reached || l.busy >= l.limit
		switch now := time.Now(); o {
		case overload:
			l.giveWay(now)
		case answered:
			l.learn(now, size, took)
		}
	}
	l.busy--
	l.wake()
}

// giveWay takes back a quarter for a refusal, once for those that come together.
func (l *limiter) giveWay(now time.Time) {
	if now.Sub(l.refused) < time.Second {
		return
	}
	l.ceiling, l.refused = max(l.limit, l.full), now
	l.limit = max(l.limit*3/4, 1)
	l.starting, l.full = false, 0
	l.next(now)
}

// learn takes the time of an answer into account, and at the end of a round decides.
func (l *limiter) learn(now time.Time, size int, took time.Duration) {
	b := &l.best[min(bits.Len(uint(size)), len(l.best)-1)]
	if b.now == 0 || took < b.now {
		b.now = took
	}
	least := b.now
	if b.before != 0 {
		least = min(least, b.before)
	}
	l.swift += min((float64(least)*tolerated+float64(unevenness))/float64(took+unevenness), 1)
	l.answers++
	round := took
	if l.full > 0 {
		round *= 2 // the first answers are to requests from before
	}
	if now.Sub(l.began) < round || l.answers < min(l.limit, firstLimit) {
		return
	}
	l.decide(now, float64(l.limit)*(1-l.swift/float64(l.answers)))
	l.next(now)
}

// decide sets the limit at the end of a round, in which so many requests waited for others.
func (l *limiter) decide(now time.Time, waited float64) {
	limit := float64(l.limit)
	switch {
	case l.full > 0:
		l.limit, l.full = l.full, 0
	case !l.reached:
	case l.starting && waited < 1+limit/10:
		l.grow(now, l.limit)
	case waited > max(3, limit*0.15):
		l.limit = max(l.limit*9/10, 1)
		l.starting = false
	case waited < max(1, limit*0.05):
		l.grow(now, max(l.limit/16, 1))
		l.starting = false
	default:
		l.starting = false
	}
	if l.starting || l.probed.IsZero() { // the shortest times are new
		l.probed = now
	}
	if now.Sub(l.probed) < renewBest {
		return
	}
	l.probed = now
	for i := range l.best {
		l.best[i] = shortest{before: l.best[i].now}
	}
	if l.reached && l.limit >= 4 {
		l.full, l.limit = l.limit, l.limit/2
	}
}

func (l *limiter) grow(now time.Time, by int) {
	most := l.most
	if now.Sub(l.refused) < remember {
		most = min(most, max(l.ceiling-1, l.limit))
	}
	l.limit = min(l.limit+by, most)
}

// next begins a round.
func (l *limiter) next(now time.Time) {
	l.began, l.reached, l.answers, l.swift = now, l.busy > l.limit, 0, 0
}
