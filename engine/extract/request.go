package extract

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/expression"
)

// request is one HTTP request of a feed, sent until an answer is taken.
type request struct {
	what   string // for errors: "page 2", "item …"
	method string
	url    *url.URL
	header http.Header
	// take reads the body of a success, up to where the envelope is known; it is called anew
	// for each attempt. done is called once, when the rules found nothing
	// amiss with the answer.
	take func(r *http.Response, from io.Reader, check func(envelope []byte) error) (envelope []byte, err error)
	done func(r *http.Response, envelope []byte) error
	// once says that no second attempt may be made, but for a refused token.
	once bool
	// already says of an answer that is no success that it is one; nil: none is.
	already *expression.Program
	// deep says that failures may be due to how much is asked for: what is
	// left of retries then becomes a *Narrow of this page.
	deep int

	token string // of the attempt under way
	sent  bool   // an attempt reached the service
}

// skipped is a request that a rule gives up for good.
type skipped struct{ reason string }

func (e *skipped) Error() string { return e.reason }

// verdict is the outcome of one attempt.
type verdict struct {
	then   string // "": taken
	err    error
	answer *answer // nil without one
	// remote: the service was reached, and failed; as opposed to a fault on
	// the way to it, which no narrower window avoids.
	remote bool
}

// send sends a request until its answer is taken or the attempts are used up.
func (r *Reader) send(ctx context.Context, q *request) error {
	o := &r.client.options
	if q.method == "" {
		q.method = http.MethodGet
	}
	var (
		started   = time.Now()
		faults    = waits(o.Backoff, 30*time.Second)
		throttles = waits(2*o.Backoff, 2*time.Minute)
		patience  = o.MaxThrottled
		attempts  int // that failed
		missing   int // answers in a row that say that the licence is missing
		refreshed bool
	)
	for n := 0; ; n++ {
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
				return &Gated{Requires: r.feed.Licence.Requires, Reason: v.reason(), Err: v.err}
			}
			wait = 2 * o.Backoff << min(missing-1, 5)
		case definition.ThenThrottle:
			if q.once {
				return v.err
			}
			r.stats.throttled.Add(1)
			wait = throttles.NextBackOff()
			if after, ok := v.retryAfter(); ok {
				wait = spread(max(after, 100*time.Millisecond))
			}
			if r.bucket.pause(wait) {
				r.client.log.Info("the service throttles, pausing", "feed", r.feed.Name, "bucket", r.bucket.name, "wait", wait.Round(time.Millisecond), "cause", v.err)
			}
			if wait > patience {
				return r.spent(q, v, "throttled for longer than a request waits")
			}
			wait = 0 // the bucket waits
		default: // retry
			attempts++
			if q.once {
				return v.err
			}
			if attempts >= o.MaxAttempts {
				return r.spent(q, v, fmt.Sprintf("%d attempts", attempts))
			}
			wait = faults.NextBackOff()
			if after, ok := v.retryAfter(); ok {
				wait = max(wait, spread(after))
			}
			if time.Since(started)+wait > o.MaxElapsed {
				return r.spent(q, v, fmt.Sprintf("%d attempts in %v", attempts, time.Since(started).Round(time.Second)))
			}
		}
		r.stats.retries.Add(1)
		r.client.log.Debug("trying again", "feed", r.feed.Name, "partition", r.partition, "what", q.what, "because", v.then, "cause", v.err, "wait", wait)
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// spent is the error of a request whose attempts are used up.
func (r *Reader) spent(q *request, v verdict, how string) error {
	err := fmt.Errorf("%w (gave up after %s)", v.err, how)
	if q.deep > 1 && v.remote || q.deep == 1 && v.tooMuch() {
		return &Narrow{Page: q.deep, Err: err}
	}
	return err
}

// tooMuch reports whether a failure is one that a first page has when it asks
// for too much: the service gives up or does not come to an end, as opposed to
// not being there, or to throttling.
func (v verdict) tooMuch() bool {
	if v.answer == nil {
		return v.remote
	}
	return v.then == definition.ThenRetry && v.answer.status != http.StatusBadGateway && v.answer.status != http.StatusServiceUnavailable
}

func (v verdict) reason() string {
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

func (v verdict) retryAfter() (time.Duration, bool) {
	if auth, ok := errors.AsType[*AuthError](v.err); ok && auth.RetryAfter > 0 {
		return auth.RetryAfter, true
	}
	if v.answer == nil {
		return 0, false
	}
	return retryAfter(v.answer.header, time.Now())
}

// attempt sends the request once. patience is what may still be waited for
// throttling.
func (r *Reader) attempt(ctx context.Context, q *request, patience *time.Duration) verdict {
	begun := time.Now()
	throttled, err := r.bucket.wait(ctx, *patience)
	*patience -= throttled
	r.stats.waited.Add(int64(throttled))
	if err != nil {
		return verdict{err: fmt.Errorf("%s: bucket %s: %w (%v)", q.what, r.bucket.name, err, time.Since(begun).Round(time.Second))}
	}
	token := ""
	if r.scope != "" {
		if token, err = r.client.tokens.get(ctx, r.scope); err != nil {
			if auth, ok := errors.AsType[*AuthError](err); ok && auth.Temporary {
				return verdict{then: definition.ThenRetry, err: err}
			}
			return verdict{err: err}
		}
	}
	q.token = token
	v := r.exchange(ctx, q)
	if v.then == definition.ThenRefreshToken {
		r.client.tokens.reject(r.scope, token)
	}
	return v
}

// exchange sends the request and takes its answer.
func (r *Reader) exchange(ctx context.Context, q *request) (v verdict) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var connected atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	hr, err := http.NewRequestWithContext(traced, q.method, q.url.String(), http.NoBody)
	if err != nil {
		return verdict{err: err}
	}
	hr.URL = q.url // as given: what is opaque is not encoded anew
	if err := checkURL(hr.URL); err != nil {
		return verdict{err: err}
	}
	hr.Header = q.header.Clone()
	if hr.Header == nil {
		hr.Header = http.Header{}
	}
	if hr.Header.Get("Accept") == "" {
		hr.Header.Set("Accept", "application/json")
	}
	if r.client.options.UserAgent != "" {
		hr.Header.Set("User-Agent", r.client.options.UserAgent)
	}
	if q.token != "" {
		hr.Header.Set("Authorization", "Bearer "+q.token)
	}
	r.stats.requests.Add(1)
	sent := time.Now()
	answered, err := r.client.http.Do(hr)
	q.sent = q.sent || connected.Load()
	if err != nil {
		v = r.unanswered(q, err, connected.Load())
		r.logRequest(hr, sent, nil, 0, v.err)
		return v
	}
	defer answered.Body.Close()
	r.client.observe(answered.Header, sent)
	from := newBody(ctx, answered.Body, r.client.options.StallTimeout, stop)
	defer func() { r.logRequest(hr, sent, answered, from.bytes, v.err) }()
	unpacked, err := unpack(answered, from)
	if err == nil {
		v = r.take(q, answered, unpacked)
	} else {
		v = verdict{then: definition.ThenRetry, remote: true, err: &brokenError{err}}
	}
	if _, ours := errors.AsType[*sinkError](v.err); ours {
		return v
	}
	if _, broken := errors.AsType[*brokenError](v.err); broken {
		if from.failed != nil { // the cause, rather than where the JSON ended
			v.err = &brokenError{from.failed}
		}
		v = verdict{then: definition.ThenRetry, remote: true,
			err: fmt.Errorf("%s %s: %w", q.method, place(q.url), v.err)}
	}
	return v
}

// unanswered judges a request that got no answer.
func (r *Reader) unanswered(q *request, err error, connected bool) verdict {
	if foreign, ok := errors.AsType[*foreignHostError](err); ok {
		return verdict{err: fmt.Errorf("%s %s: %w", q.method, place(q.url), foreign)}
	}
	// url.Error repeats the whole URL, query and all.
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return verdict{then: definition.ThenRetry, remote: connected,
		err: fmt.Errorf("%s %s: %w", q.method, place(q.url), err)}
}

// unpack undoes a compression that the transport did not ask for, and so did
// not undo.
func unpack(r *http.Response, from io.Reader) (io.Reader, error) {
	switch encoding := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding"))); encoding {
	case "", "identity":
		return from, nil
	case "gzip", "x-gzip":
		return gzip.NewReader(from)
	default:
		return nil, fmt.Errorf("content encoding %q, which was not asked for", encoding)
	}
}

// take reads an answer and judges it.
func (r *Reader) take(q *request, answered *http.Response, from io.Reader) verdict {
	if answered.StatusCode < 200 || answered.StatusCode > 299 {
		a := readAnswer(answered, from, q.token)
		if q.already != nil {
			if holds, err := q.already.Bool(a.env()); err == nil && holds {
				return verdict{}
			}
		}
		then, err := judge(r.feed, a)
		if err != nil {
			return verdict{err: err, answer: a}
		}
		return r.rule(q, then, a)
	}
	// Rules that hold for a success decide before a lone record is taken, and
	// in any case before the page is done.
	var ruled *verdict
	check := func(envelope []byte) error {
		fault := bytes.Contains(envelope, []byte(`"error"`))
		if len(r.feed.Errors) == 0 && r.feed.Licence == nil && !fault {
			return nil
		}
		a := newAnswer(answered.StatusCode, answered.Header, envelope)
		then, err := judge(r.feed, a)
		if then == "" && err == nil && fault && a.onlyFault() {
			then = definition.ThenRetry // an error under a success's status
		}
		if err != nil {
			ruled = &verdict{err: err, answer: a}
			return err
		}
		if then != "" {
			v := r.rule(q, then, a)
			ruled = &v
			return v.err
		}
		return nil
	}
	envelope, err := q.take(answered, from, check)
	if err == nil {
		err = check(envelope)
	}
	switch {
	case ruled != nil:
		return *ruled
	case err == nil:
		return verdict{err: q.done(answered, envelope)}
	}
	if shape, ok := errors.AsType[*shapeError](err); ok {
		return verdict{err: fmt.Errorf("%s %s: %w", q.method, place(q.url), shape)}
	}
	return verdict{err: err}
}

// rule carries out what an answer means.
func (r *Reader) rule(q *request, then string, a *answer) verdict {
	err := &StatusError{
		Method: q.method, URL: place(q.url), Status: a.status,
		Code: a.code(), Message: a.message(), Hint: r.hint(a.status),
	}
	v := verdict{then: then, err: err, answer: a, remote: true}
	switch then {
	case definition.ThenSkip:
		// Reasons are counted, so they name the kind and not the item.
		v = verdict{err: &skipped{reason: strings.TrimSpace(fmt.Sprintf("HTTP %d %s", err.Status, err.Code))}}
	case definition.ThenGate:
		g := &Gated{Reason: v.reason(), Err: err}
		if r.feed.Licence != nil {
			g.Requires = r.feed.Licence.Requires
		}
		v = verdict{err: g}
	case definition.ThenResetWindow:
		v = verdict{err: &ResetWindow{Err: err}}
	case definition.ThenSubscribe:
		v = verdict{err: &Subscribe{Err: err}}
	case definition.ThenFail:
		v = verdict{err: err}
	}
	return v
}

// hint says what may mend a refusal.
func (r *Reader) hint(status int) string {
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		if len(r.feed.Permissions) > 0 {
			return "if this lasts, check that " + strings.Join(r.feed.Permissions, " and ") + " are granted, with an administrator's consent"
		}
	case status >= 300 && status < 400:
		return "a redirect without a place to go to"
	case status == http.StatusNotFound:
		return "check the URL in the feed; this service may not offer it"
	}
	return ""
}

// requestIDs are the headers by which services name an answer to their support.
var requestIDs = []string{"Request-Id", "Client-Request-Id", "X-Request-Id", "X-Correlation-Id"}

func (r *Reader) logRequest(q *http.Request, sent time.Time, answered *http.Response, bytes int64, err error) {
	if !r.client.log.Enabled(q.Context(), slog.LevelDebug) {
		return
	}
	attributes := []any{"feed", r.feed.Name, "partition", r.partition, "method", q.Method, "url", q.URL.String(), "duration", time.Since(sent).Round(time.Millisecond)}
	if answered != nil {
		attributes = append(attributes, "status", answered.StatusCode, "bytes", bytes)
		for _, name := range requestIDs {
			if id := answered.Header.Get(name); id != "" {
				attributes = append(attributes, strings.ToLower(name), oneLine(id))
			}
		}
	}
	if err != nil {
		attributes = append(attributes, "error", err)
	}
	r.client.log.Debug("request", attributes...)
}
