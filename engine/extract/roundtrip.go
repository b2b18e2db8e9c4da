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
	"sync"
	"sync/atomic"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// attempt sends the request once. patience is what may still be waited for
// throttling.
func (r *Reader) attempt(ctx context.Context, q *request, patience *time.Duration) outcome {
	begun := time.Now()
	throttled, err := r.bucket.wait(ctx, *patience, r.begin, r.end)
	*patience -= throttled
	r.stats.waited.Add(int64(throttled))
	if err != nil {
		return outcome{err: fmt.Errorf("%s: bucket %s: %w (%v)", q.what, r.bucket.name, err, time.Since(begun).Round(time.Second))}
	}
	defer r.end()
	sent := sync.OnceFunc(r.bucket.sent)
	defer sent() // whether it was is not known
	token := ""
	if r.scope != "" {
		stop := r.watch(q, true)
		token, err = r.client.tokens.get(ctx, r.scope)
		stop()
		if err != nil {
			if auth, ok := errors.AsType[*AuthError](err); ok && auth.Temporary {
				return outcome{then: definition.ThenRetry, err: err}
			}
			return outcome{err: err}
		}
		r.client.troubles.tokenCame(q)
	}
	if may := r.bucket.may; may != nil && !may() {
		return outcome{err: errMayNot}
	}
	q.token = token
	v := r.roundTrip(ctx, q, sent)
	if v.then == definition.ThenRefreshToken {
		r.client.tokens.reject(r.scope, token)
	}
	return v
}

// roundTrip sends the request and takes its answer. sent is called when there is a connection for it.
func (r *Reader) roundTrip(ctx context.Context, q *request, sent func()) (v outcome) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var connected atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) {
		connected.Store(true)
		sent()
	}})
	hr, err := http.NewRequestWithContext(traced, q.method, q.url.String(), bytes.NewReader(q.payload))
	if err != nil {
		return outcome{err: err}
	}
	hr.URL = q.url // as given: what is opaque is not encoded anew
	if err := checkURL(hr.URL); err != nil {
		return outcome{err: err}
	}
	hr.Header = q.header.Clone()
	if hr.Header == nil {
		hr.Header = http.Header{}
	}
	if q.contentType != "" && hr.Header.Get("Content-Type") == "" {
		hr.Header.Set("Content-Type", q.contentType)
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
	begun := time.Now()
	stopWatch := r.watch(q, false)
	answered, err := r.client.http.Do(hr)
	sent()
	stopWatch()
	q.sent = q.sent || connected.Load() || err == nil
	if err != nil {
		v = r.unanswered(q, err, connected.Load())
		r.logRequest(hr, begun, nil, 0, v.err)
		return v
	}
	defer answered.Body.Close()
	r.client.observe(answered.Request.URL, answered.Header, begun)
	from := newBody(ctx, answered.Body, r.client.options.StallTimeout, stop)
	defer func() { r.logRequest(hr, begun, answered, from.bytes, v.err) }()
	unpacked, err := unpack(answered, from)
	if err == nil {
		v = r.take(q, answered, unpacked)
	} else {
		v = outcome{then: definition.ThenRetry, remote: true, err: &brokenError{err: err}}
	}
	if _, ours := errors.AsType[*sinkError](v.err); ours {
		return v
	}
	broken, is := errors.AsType[*brokenError](v.err)
	if is && from.failed != nil { // the cause, rather than where the JSON ended
		v.err = &brokenError{err: from.failed, at: broken.at}
	}
	if _, odd := errors.AsType[*oddError](v.err); is || odd {
		v = outcome{then: definition.ThenRetry, remote: true, err: fmt.Errorf("%s %s: %w", q.method, place(q.url), v.err)}
	}
	if is {
		v.at = broken.at
	}
	return v
}

// unanswered judges a request that got no answer.
func (r *Reader) unanswered(q *request, err error, connected bool) outcome {
	if foreign, ok := errors.AsType[*foreignHostError](err); ok {
		return outcome{err: fmt.Errorf("%s %s: %w", q.method, place(q.url), foreign)}
	}
	// url.Error repeats the whole URL, query and all.
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return outcome{then: definition.ThenRetry, remote: connected,
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
func (r *Reader) take(q *request, answered *http.Response, from io.Reader) outcome {
	if answered.StatusCode < 200 || answered.StatusCode > 299 {
		a := readAnswer(answered, from, q.token)
		if q.already != nil {
			if holds, err := q.already.Bool(a.env()); err == nil && holds {
				q.was = true
				return outcome{}
			}
		}
		then, at, err := r.judge(q, a)
		if err != nil {
			return outcome{err: err, answer: a}
		}
		return r.rule(q, then, at, a)
	}
	// Rules that hold for a success decide before a lone record is taken, and
	// in any case before the page is done.
	var ruled *outcome
	check := func(envelope []byte) error {
		fault := bytes.Contains(envelope, []byte(`"error"`))
		if len(r.feed.Errors) == 0 && r.feed.Licence == nil && r.feed.Fallback == nil && !fault {
			return nil
		}
		a := newAnswer(answered.StatusCode, answered.Header, envelope)
		then, at, err := r.judge(q, a)
		if then == "" && err == nil && fault && a.faulty(q.lone) {
			then = definition.ThenRetry // an error under a success's status
		}
		if err != nil {
			ruled = &outcome{err: err, answer: a}
			return err
		}
		if then != "" {
			v := r.rule(q, then, at, a)
			ruled = &v
			return v.err
		}
		return nil
	}
	envelope, err := q.take(answered, from, check)
	if err == nil {
		err = check(envelope)
	}
	if err == nil && q.whole != nil {
		err = q.whole(envelope)
	}
	switch {
	case ruled != nil:
		return *ruled
	case err == nil:
		return outcome{err: q.done(answered, envelope)}
	}
	if shape, ok := errors.AsType[*shapeError](err); ok {
		return outcome{err: fmt.Errorf("%s %s: %w", q.method, place(q.url), shape)}
	}
	return outcome{err: err}
}

// rule carries out what an answer means.
func (r *Reader) rule(q *request, then string, at time.Time, a *answer) outcome {
	err := &StatusError{
		Method: q.method, URL: place(q.url), Status: a.status,
		Code: a.code(), Message: a.message(), Hint: r.hint(a.status),
	}
	v := outcome{then: then, err: err, answer: a, remote: true}
	switch then {
	case definition.ThenSkip:
		// Reasons are counted, so they name the kind and not the item.
		v = outcome{err: &skipped{reason: strings.TrimSpace(fmt.Sprintf("HTTP %d %s", err.Status, err.Code))}}
	case definition.ThenGate:
		g := &Gated{Reason: v.reason(), Err: err}
		if r.feed.Licence != nil {
			g.Requires = r.feed.Licence.Requires
		}
		v = outcome{err: g}
	case definition.ThenResetWindow:
		v = outcome{err: &ResetWindow{Err: err}}
	case definition.ThenSubscribe:
		v = outcome{err: &Subscribe{Err: err}}
	case definition.ThenNarrow:
		v = outcome{err: &Narrow{Page: max(q.deep, 1), Rule: true, Err: err}}
	case definition.ThenTooEarly:
		v = outcome{err: &TooEarly{At: at, Err: err}}
	case thenFallback:
		v = outcome{err: &fallenBack{err}}
	case definition.ThenFail:
		v = outcome{err: err}
	}
	return v
}

// hint says what may mend a refusal.
func (r *Reader) hint(status int) string {
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		if len(r.feed.Permissions) > 0 {
			are := "is"
			if len(r.feed.Permissions) > 1 {
				are = "are"
			}
			return "if this lasts, check that " + strings.Join(r.feed.Permissions, " and ") + " " + are + " granted, with an administrator's consent"
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
	r.tell(q, sent, answered, bytes, err)
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
