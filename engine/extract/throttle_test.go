package extract

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// most is how many of the times, in order, lie within one span.
func most(at []time.Time, per time.Duration) int {
	n, from := 0, 0
	for i := range at {
		for !at[from].Add(per).After(at[i]) {
			from++
		}
		n = max(n, i-from+1)
	}
	return n
}

// pass waits for a request that nothing else holds up.
func pass(ctx context.Context, b *bucket, patience time.Duration) (time.Duration, error) {
	throttled, err := b.wait(ctx, patience, func(context.Context) error { return nil }, func() {})
	if err == nil {
		b.sent()
	}
	return throttled, err
}

// TestShares lets several processes use one limit as fast as it lets them, while
// their shares move, and counts in every span what all of them sent.
func TestShares(t *testing.T) {
	const per = 10 * time.Second
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		requests, processes int
		parts               int // into how many the limit is cut, which the processes hold
		beyond              int // how many more than the limit may fall into a span
	}{
		{requests: 100, processes: 3, parts: 13},
		{requests: 2000, processes: 4, parts: 5},
		{requests: 5, processes: 2, parts: 2},
		{requests: 5, processes: 5, parts: 5},
		// Less than a request in a span: one more for each process, now and then.
		{requests: 1, processes: 2, parts: 4, beyond: 1},
		{requests: 5, processes: 4, parts: 13, beyond: 4},
	} {
		t.Run(fmt.Sprintf("%d requests, %d processes, %d parts", c.requests, c.processes, c.parts), func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, uint64(c.requests)))
			limits := make([]*limit, c.processes)
			held := make([]int, c.processes)
			for i := range limits {
				limits[i] = &NewBudget(c.requests, per).limit
				limits[i].share(start, nil, 0, 0)
			}
			span := limits[0].per
			held[0] = c.parts
			limits[0].share(start, nil, 1, 0)
			var all []time.Time
			const steps = 200 // in a span
			for now := start; now.Before(start.Add(40 * per)); now = now.Add(per / steps) {
				if random.IntN(3*steps) == 0 { // a part changes hands
					from, to := random.IntN(c.processes), random.IntN(c.processes)
					if held[from] > 0 && from != to {
						n := 1 + random.IntN(held[from])
						held[from], held[to] = held[from]-n, held[to]+n
						rest := limits[from].share(now, nil, float64(held[from])/float64(c.parts), 0)
						if random.IntN(3) == 0 {
							rest = -1 // it is not known
						}
						limits[to].share(now, nil, float64(held[to])/float64(c.parts), rest)
					}
				}
				for _, i := range random.Perm(c.processes) {
					for limits[i].place(now) <= 0 {
						if !limits[i].grant(now) {
							t.Fatal("a place without room")
						}
						limits[i].leaves(now)
						all = append(all, now)
					}
				}
			}
			if n := most(all, span); n > c.requests+c.beyond {
				t.Errorf("%d requests within one span, of a limit of %d", n, c.requests)
			}
			if want := 40 * c.requests / 2; len(all) < want {
				t.Errorf("%d requests in 40 spans, want %d at least", len(all), want)
			}
		})
	}
}

// TestShareSteps says when a share takes effect.
func TestShareSteps(t *testing.T) {
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	l := &NewBudget(10, 10*time.Second).limit
	span := l.per
	type step struct {
		at       time.Duration
		share    float64 // below 0: none is set
		requests int
		per      time.Duration
	}
	for _, s := range []step{
		{0, -1, 10, span},
		{time.Second, 0.5, 5, span},                        // less at once
		{2 * time.Second, 1, 5, span},                      // more a span later, as nothing is known,
		{2*time.Second + span - 2, -1, 5, span},            //
		{2*time.Second + span, -1, 10, span},               // to the moment
		{20 * time.Second, 0.05, 1, 2 * span},              // less than one request in a span
		{20*time.Second + span, 0.25, 1, 2 * span},         //
		{20*time.Second + 2*span, -1, 2, span},             // two and a half are two
		{60 * time.Second, 0, 0, span},                     // none at all
		{60*time.Second + 1, 0.0000001, 0, span},           //
		{60*time.Second + 1 + span, -1, 1, 24 * time.Hour}, // next to none
	} {
		now := start.Add(s.at)
		if s.share >= 0 {
			l.share(now, nil, s.share, -1)
		}
		l.mu.Lock()
		requests, per := l.own(now)
		l.mu.Unlock()
		if requests != s.requests || per != s.per {
			t.Errorf("after %v: %d requests in %v, want %d in %v", s.at, requests, per, s.requests, s.per)
		}
	}
	if got := len(l.shares.pending); got > 0 {
		t.Errorf("%d growths are remembered", got)
	}
}

// TestShare: a client with no share sends nothing, until it has had one for a span; of a limit of
// many requests that is a second.
func TestShare(t *testing.T) {
	for _, c := range []struct {
		requests  int
		per, want time.Duration
	}{
		{10, 10 * time.Second, 10 * time.Second},
		{2000, time.Minute, time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			rate := &definition.RateLimit{Requests: c.requests, Per: c.per, Bucket: "b"}
			client := NewClient(ClientOptions{})
			b := client.bucket(&definition.Feed{Name: "f", RateLimit: rate})
			other := &definition.Feed{Name: "g", RateLimit: rate}
			client.Share(other, -1, 0) // none
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			if _, err := pass(ctx, b, 0); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a request was let through without a share: %v", err)
			}
			client.Share(other, 0.5, -1)
			grown := time.Now()
			_, err := pass(t.Context(), b, 0)
			if took := time.Since(grown); err != nil || took < c.want || took > c.want+c.want/5 {
				t.Errorf("%d requests in %v: the share took effect after %v: %v", c.requests, c.per, took, err)
			}
		})
	}
}

// TestLevels has the buckets of several tenants send as fast as they can, and
// counts at every level.
func TestLevels(t *testing.T) {
	const span = 10 * time.Second
	synctest.Test(t, func(t *testing.T) {
		app := NewBudget(12, span)
		started := time.Now()
		var (
			mu   sync.Mutex
			sent = map[string][]time.Time{}
			wg   sync.WaitGroup
		)
		for i := range 3 {
			c := NewClient(ClientOptions{Budget: app, Tenant: NewBudget(6, span)})
			tenant := fmt.Sprintf("tenant %d", i)
			for j := range 3 {
				name := fmt.Sprintf("bucket %d of %d", j, i)
				b := c.bucket(&definition.Feed{Name: name, RateLimit: &definition.RateLimit{Requests: 3, Per: span}})
				for range 4 {
					wg.Go(func() {
						for range 6 {
							if _, err := pass(t.Context(), b, 0); err != nil {
								t.Error(err)
							}
							mu.Lock()
							for _, level := range []string{"app", tenant, name} {
								sent[level] = append(sent[level], time.Now())
							}
							mu.Unlock()
						}
					})
				}
			}
		}
		wg.Wait()
		for level, at := range sent {
			limit := map[byte]int{'a': 12, 't': 6, 'b': 3}[level[0]]
			if n := most(at, span); n > limit || level == "app" && n < limit {
				t.Errorf("%s: %d requests in one span of a limit of %d", level, n, limit)
			}
		}
		// 216 requests, 12 in a span: hardly anything is left unused on the way.
		if took := time.Since(started); took > 19*(span+time.Second) {
			t.Errorf("it took %v", took)
		}
	})
}

// TestWaitBelow: a bucket that throttles, or has spent its requests, does not
// keep others from the levels above, however many wait there.
func TestWaitBelow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, tenant := NewBudget(100, time.Second), NewBudget(100, time.Second)
		c := NewClient(ClientOptions{Budget: app, Tenant: tenant})
		bucketOf := func(name string, requests int) *bucket {
			return c.bucket(&definition.Feed{Name: name, RateLimit: &definition.RateLimit{Requests: requests, Per: time.Minute}})
		}
		paused, spent, free := bucketOf("paused", 10), bucketOf("spent", 1), bucketOf("free", 1000)
		paused.pause(time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for _, b := range []*bucket{paused, spent} {
			for range 20 {
				wg.Go(func() { pass(ctx, b, 2*time.Hour) }) //nolint:errcheck // it ends with ctx
			}
		}
		synctest.Wait()
		started := time.Now()
		for range 90 {
			if _, err := pass(ctx, free, 0); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(started); took > 0 {
			t.Errorf("others waited %v", took)
		}
		cancel()
		wg.Wait()
	})
}

// TestPauseAbove: a bucket that is paused while its request waits at a level above sends
// nothing before the pause is over, and lets others pass.
func TestPauseAbove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := NewBudget(1, 10*time.Second)
		c, d := NewClient(ClientOptions{Budget: app}), NewClient(ClientOptions{Budget: app})
		first, second := newBucket("first", c.above...), newBucket("second", d.above...)
		if _, err := pass(t.Context(), first, 0); err != nil { // the application's only request
			t.Fatal(err)
		}
		started := time.Now()
		var at [2]time.Duration
		var wg sync.WaitGroup
		for i, b := range []*bucket{first, second} {
			wg.Go(func() {
				throttled, err := pass(t.Context(), b, time.Hour)
				if at[i] = time.Since(started); err != nil || throttled > time.Minute {
					t.Errorf("%s: throttled for %v: %v", b.name, throttled, err)
				}
			})
			synctest.Wait() // the first is the first in turn
		}
		first.pause(time.Minute)
		wg.Wait()
		if at[0] < time.Minute || at[1] > 11*time.Second {
			t.Errorf("the paused one was let through after %v, the other after %v", at[0], at[1])
		}
	})
}

// TestBegin: a request begins once there is room for it at all levels, and is sent at once
// then. One that may not be sent any more ends, and begins again later.
func TestBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewClient(ClientOptions{Budget: NewBudget(2, 10*time.Second)})
		b, other := newBucket("b", c.above...), newBucket("other", c.above...)
		b.limit.set(1, 10*time.Second)
		started := time.Now()
		var began []time.Duration
		ended, pauses := 0, true
		begin := func(context.Context) error {
			began = append(began, time.Since(started))
			time.Sleep(time.Second) // a wait for something else
			if pauses {
				pauses = false
				b.pause(time.Minute)
			}
			return nil
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := b.wait(t.Context(), time.Hour, begin, func() { ended++ }); err != nil {
				t.Error(err)
			}
			b.sent()
		})
		synctest.Wait()
		if _, err := pass(t.Context(), other, 0); err != nil || time.Since(started) > 0 {
			t.Errorf("another bucket waited %v: %v", time.Since(started), err)
		}
		wg.Wait()
		if len(began) != 2 || began[0] != 0 || began[1] != 61*time.Second || ended != 1 {
			t.Errorf("it began after %v, and ended %d times", began, ended)
		}
		if sent := b.limit.sent; len(sent) != 1 || sent[0].Sub(started) != 62*time.Second || b.limit.places != 0 || c.above[0].places != 0 {
			t.Errorf("sent %v, %d and %d places left", sent, b.limit.places, c.above[0].places)
		}
		failed := errors.New("begin failed")
		if _, err := other.wait(t.Context(), 0, func(context.Context) error { return failed }, func() {}); !errors.Is(err, failed) || c.above[0].places != 0 {
			t.Errorf("%v, %d places left", err, c.above[0].places)
		}
	})
}
