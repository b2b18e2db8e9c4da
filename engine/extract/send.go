package extract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/expression"
	"github.com/secure60/s60-m365-connector/engine/transport"
)

// request is one HTTP request of a feed, sent until an answer is taken.
type request struct {
	prepared
	what string // for errors: "page 2", "item …"
	// take reads the body of a success, up to where the envelope is known; it is called anew
	// for each attempt. done is called once, when the rules found nothing
	// amiss with the answer.
	take func(r *http.Response, from io.Reader, check func(envelope []byte) error) (envelope []byte, err error)
	done func(r *http.Response, envelope []byte) error
	// whole says, after the rules, whether a body that was read to its end is an answer at
	// all; nil: it is.
	whole func(envelope []byte) error
	// once says that no second attempt may be made, but for a refused token.
	once bool
	// already says of an answer that is no success that it is one; nil: none is.
	already *expression.Program
	was     bool // it has said so
	// deep says that failures may be due to how much is asked for: what is
	// left of retries then becomes a *Narrow of this page.
	deep  int
	own   bool // it is the feed's own, or of its own job, which a fallback may replace
	delta bool // 410 means that the position has expired
	lone  bool // an object may be a record, whatever is in it

	payload     []byte
	contentType string
	token       string   // of the attempt under way
	sent        bool     // an attempt reached the service
	spent       bool     // its attempts are used up
	over        bool     // send has ended
	trouble     *trouble // what was noted of it; like over, of the client's troubles
}

// deepAttempts is how often a page behind the first is asked for that the service
// gives up on: a narrower window, which costs little, is more likely to help.
const deepAttempts = 3

// skipped is a request that a rule gives up for good.
type skipped struct{ reason string }

func (e *skipped) Error() string { return e.reason }

// outcome is what one attempt came to.
type outcome struct {
	then   string // "": taken
	err    error
	answer *answer // nil without one
	// remote: the service was reached, and failed; as opposed to a fault on
	// the way to it, which no narrower window avoids.
	remote bool
	at     int // where the body breaks off, see brokenError
}

// send sends a request until its answer is taken or the attempts are used up.
func (r *Reader) send(ctx context.Context, q *request) (err error) {
	o := &r.client.options
	if q.payload, q.contentType, err = q.prepared.payload(); err != nil {
		return err
	}
	var (
		stuck     int // where the last attempt's body broke off
		started   = time.Now()
		faults    = transport.NewDelays(o.Backoff, 30*time.Second, 0.3)
		throttles = transport.NewDelays(2*o.Backoff, 2*time.Minute, 0.3)
		patience  = o.MaxThrottled
		attempts  int // that failed
		missing   int // answers in a row that say that the licence is missing
		refreshed bool
	)
	defer func() { r.client.troubles.ends(q, err) }()
	for n := 0; ; n++ {
		begun := time.Now()
		v := r.attempt(ctx, q, &patience)
		if ctx.Err() != nil {
			if s, ok := errors.AsType[*sinkError](v.err); ok {
				return s
			}
			return ctx.Err()
		}
		if v.then != thenMissing {
			missing = 0
		}
		var wait time.Duration
		switch v.then {
		case "":
			return v.err
		case definition.ThenRefreshToken:
			if refreshed {
				return v.err
			}
			refreshed = true // the token was rejected by attempt
		case thenMissing:
			if q.once {
				return v.err
			}
			missing++
			if missing >= max(r.feed.Licence.Confirm, 1) {
				return &Gated{Requires: r.feed.Licence.Requires, Reason: v.reason(), Licence: true, Err: v.err}
			}
			wait = 2 * o.Backoff << min(missing-1, 5)
		case definition.ThenThrottle:
			r.stats.throttled.Add(1)
			wait = throttles.Next()
			if after, ok := v.retryAfter(); ok {
				wait = spread(max(after, 100*time.Millisecond))
			}
			if r.bucket.pause(wait) {
				r.client.log.Debug("the service throttles, pausing", "feed", r.feed.Name, "bucket", r.bucket.name, "wait", wait.Round(time.Millisecond), "cause", v.err)
			}
			if q.once {
				return v.err
			}
			if wait > patience {
				return r.spent(q, v, "throttled for longer than a request waits")
			}
			r.trouble(q, v, begun, time.Now().Add(wait))
			wait = 0 // the bucket waits
		default: // retry
			attempts++
			if q.once {
				return v.err
			}
			enough := o.MaxAttempts
			if q.deep > 1 && v.tooMuch() || is[*oddError](v.err) {
				enough = min(enough, deepAttempts)
			}
			if v.at > 0 && v.at == stuck { // whatever is there, it is not the way to us
				enough = attempts
			}
			stuck = v.at
			if attempts >= enough {
				return r.spent(q, v, fmt.Sprintf("%d attempts", attempts))
			}
			wait = faults.Next()
			if after, ok := v.retryAfter(); ok {
				wait = max(wait, spread(after))
			}
			if time.Since(started)+wait > o.MaxElapsed {
				return r.spent(q, v, fmt.Sprintf("%d attempts in %v", attempts, time.Since(started).Round(time.Second)))
			}
			r.trouble(q, v, begun, time.Now().Add(wait))
		}
		r.stats.retries.Add(1)
		r.client.log.Debug("trying again", "feed", r.feed.Name, "partition", r.partition, "what", q.what, "because", v.then, "cause", v.err, "wait", wait.Round(time.Millisecond))
		if err := transport.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// spentError is of a request whose attempts are used up.
type spentError struct {
	error
	how string
}

func (e *spentError) Error() string { return fmt.Sprintf("%v (gave up after %s)", e.error, e.how) }
func (e *spentError) Unwrap() error { return e.error }

// spent is the error of a request whose attempts are used up.
func (r *Reader) spent(q *request, v outcome, how string) error {
	q.spent = true
	err := error(&spentError{v.err, how})
	if q.deep > 1 && v.remote || q.deep == 1 && v.tooMuch() && !is[*oddError](v.err) {
		return &Narrow{Page: q.deep, Err: err}
	}
	return err
}

// tooMuch reports whether a failure is one that a first page has when it asks
// for too much: the service gives up or does not come to an end, as opposed to
// not being there, or to throttling.
func (v outcome) tooMuch() bool {
	if v.answer == nil {
		return v.remote
	}
	return v.then == definition.ThenRetry && v.answer.status != http.StatusBadGateway && v.answer.status != http.StatusServiceUnavailable
}

func (v outcome) reason() string {
	if s, ok := errors.AsType[*StatusError](v.err); ok {
		if s.Message != "" {
			return s.Message
		}
		if s.Code != "" {
			return s.Code
		}
	}
	return v.err.Error()
}

func (v outcome) retryAfter() (time.Duration, bool) {
	if auth, ok := errors.AsType[*AuthError](v.err); ok && auth.RetryAfter > 0 {
		return auth.RetryAfter, true
	}
	if v.answer == nil {
		return 0, false
	}
	return transport.RetryAfter(v.answer.header, time.Now())
}
