package transport

import (
	"context"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// longestWait bounds what an answer may ask for, so that a wrong Retry-After cannot
// stop work for good.
const longestWait = time.Hour

// RetryAfter is how long an answer asks to be left alone, at most [longestWait]: its
// Retry-After in seconds, with or without a fraction, or as an HTTP date, which is
// measured by the answer's own Date, so that clocks that differ do no harm. ok is false
// where it asks for nothing, or for nothing sensible.
func RetryAfter(header http.Header, now time.Time) (wait time.Duration, ok bool) {
	text := strings.TrimSpace(header.Get("Retry-After"))
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		if math.IsNaN(seconds) {
			return 0, false
		}
		return time.Duration(min(max(seconds, 0), longestWait.Seconds()) * float64(time.Second)), true
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0, false
	}
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		now = date
	}
	return min(max(at.Sub(now), 0), longestWait), true
}

// Sleep waits, or ends early with the error of ctx.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Delays are the growing waits of one series of failures. Each is twice the one before,
// spread at random by a part of itself so that those who failed together do not come back together,
// and none is longer than the longest. It is for one goroutine.
type Delays struct {
	first, longest, next time.Duration
	spread               float64
}

// NewDelays begins a series. spread is the part, 0 to 1, by which a wait may be shorter or longer.
func NewDelays(first, longest time.Duration, spread float64) *Delays {
	return &Delays{first: first, longest: longest, next: first, spread: spread}
}

// Next is the next wait.
func (d *Delays) Next() time.Duration {
	wait := d.next
	d.next = min(2*d.next, d.longest)
	return min(time.Duration(float64(wait)*(1-d.spread+2*d.spread*Jitter())), d.longest)
}

// Reset begins the series anew.
func (d *Delays) Reset() { d.next = d.first }

// Jitter is a number from 0 to 1 that follows from the time, at random: who asks at another moment gets another one, and a
// simulation in virtual time that is run again the same.
func Jitter() float64 {
	return rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0)).Float64()
}
