package extract

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// Reader reads one partition of a feed. One read at a time.
type Reader struct {
	client    *Client
	feed      *definition.Feed
	partition string
	vars      map[string]any
	bucket    *bucket
	scope     string          // "" for requests without a token
	hosts     map[string]bool // origins that links may lead to, besides the one that answered

	begin func(context.Context) error // of every request
	end   func()
	see   func(Asked) // every attempt; nil: nobody watches

	fallback atomic.Pointer[time.Time] // until when it is used
	undated  atomic.Int32              // records that lacked the cursor's field
	dated    atomic.Bool               // one had it, or it was told that none has

	started      error // how the last start of the subscription ended
	unsubscribed error // what the last read was told instead of records

	stats struct {
		requests, retries, throttled, waited atomic.Int64
	}
}

// NewReader makes a reader for one partition of a feed. vars are the settings,
// which the feed's templates refer to beside the value of for_each; readers share them, so
// they must not change. The error names the template that cannot be expanded.
func NewReader(client *Client, feed *definition.Feed, partition string, vars map[string]any) (*Reader, error) {
	r := &Reader{
		client: client, feed: feed, partition: partition, vars: vars,
		bucket: client.bucket(feed), hosts: map[string]bool{}, see: client.options.OnAsked,
	}
	r.Pace(func(context.Context) error { return nil }, func() {})
	if _, ok := styles[feed.Paging.Style]; !ok && feed.Paging.Style != "" {
		return nil, fmt.Errorf("feed %s: paging style %q is unknown", feed.Name, feed.Paging.Style)
	}
	var err error
	names := r.names()
	if r.scope, err = feed.Scope.Expand(names); err != nil {
		return nil, fmt.Errorf("feed %s: auth.scope: %w", feed.Name, err)
	}
	for i, h := range feed.Hosts {
		text, err := h.Expand(names)
		if err != nil {
			return nil, fmt.Errorf("feed %s: hosts[%d]: %w", feed.Name, i, err)
		}
		host, err := parseHost(text)
		if err != nil {
			return nil, fmt.Errorf("feed %s: hosts[%d] %q: %w", feed.Name, i, text, err)
		}
		r.hosts[host] = true
		if plain, err := parseHost("http://" + text); err == nil && !strings.Contains(text, "://") {
			r.hosts[plain] = true // a loopback host, which may be read without TLS
		}
	}
	return r, nil
}

// Pace has every attempt at a request call begin, which may wait, just before it is sent, and end once
// its answer was taken. While a request waits for budgets, or the service
// throttles, neither is called. The error of begin, which is that of its context, ends the read. It
// is to be called before anything is read.
func (r *Reader) Pace(begin func(context.Context) error, end func()) { r.begin, r.end = begin, end }

// Stats are the requests since the reader was made. It may be called at any time.
func (r *Reader) Stats() Stats {
	return Stats{
		Requests:  r.stats.requests.Load(),
		Retries:   r.stats.retries.Load(),
		Throttled: r.stats.throttled.Load(),
		Waited:    time.Duration(r.stats.waited.Load()),
	}
}

// Read reads a window to its end and hands each record, or listed item, to
// the sink. For each item it calls Known, and
// then, unless the item is known, Open, or Gone and perhaps Skipped.
//
// A page is asked for only after the records of the one before were taken.
// When an item fails, the others are fetched nevertheless, unless they fail
// too; the error then is that of the first. What was ended before an error was read whole.
//
// Besides the errors of ctx and of the sink, which are returned unchanged, the
// ones to tell apart with [errors.As] are *AuthError, *Gated, *ResetWindow,
// *Narrow, *TooEarly, *JobFailed, *Incomplete, *Subscribe and *StatusError.
func (r *Reader) Read(ctx context.Context, w Window, sink Sink) (err error) {
	defer func() {
		r.settled(ctx, err)
		r.unsubscribed = nil
		if lost, ok := errors.AsType[*Subscribe](err); ok {
			r.unsubscribed = lost.Err
		}
	}()
	err = r.read(ctx, w, sink, r.asks())
	if _, fell := errors.AsType[*fallenBack](err); fell {
		until := time.Now().Add(r.feed.Fallback.Recheck)
		r.fallback.Store(&until)
		w.Job = "" // the other's would not be known
		r.client.log.Info("the service does not answer the feed's request, its fallback is used", "feed", r.feed.Name, "cause", err, "until", until.Round(time.Second))
		err = r.read(ctx, w, sink, r.asks())
	}
	if err == nil {
		return nil
	}
	if ours, is := errors.AsType[*sinkError](err); is {
		return ours.err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return r.wrap(err)
}

// fallenBack says that the service does not answer the feed's own request, by fallback.when.
type fallenBack struct{ err error }

func (e *fallenBack) Error() string { return e.err.Error() }
func (e *fallenBack) Unwrap() error { return e.err }

// Fallback says until when the feed's fallback is used instead of its own request; the
// zero time if it is not.
func (r *Reader) Fallback() time.Time {
	if until := r.fallback.Load(); until != nil && time.Now().Before(*until) {
		return *until
	}
	return time.Time{}
}

// asks is what a window is read by.
type asks struct {
	request *definition.Request
	job     *definition.Job // nil: none
	own     bool            // the feed's, which a fallback may replace
}

// asks is what is in use.
func (r *Reader) asks() asks {
	if r.Fallback().IsZero() {
		return asks{&r.feed.Request, r.feed.Job, true}
	}
	return asks{&r.feed.Fallback.Request, r.feed.Fallback.Job, false}
}

// read reads a window by a request, or by a job and a request.
func (r *Reader) read(ctx context.Context, w Window, sink Sink, by asks) error {
	env := r.env(w)
	if by.job != nil {
		if err := r.job(ctx, by, w, env, sink); err != nil {
			return err
		}
	}
	first, err := r.prepare(by.request, env, nil)
	if err != nil {
		return err
	}
	if by.job != nil && by.job.Result != "" { // a URL may be what the service gave
		poll, err := r.prepare(&by.job.Poll, env, nil)
		if err != nil {
			return err
		}
		if from, to := origin(poll.url), origin(first.url); from != to && !r.hosts[to] {
			return &foreignHostError{what: "result of a job", from: from, to: to}
		}
	}
	list := r.list(by, first)
	list.narrow = r.feed.Window != nil
	if r.feed.Paging.Delta {
		if w.Delta != "" {
			if list.request.url, err = follow(first.url, w.Delta, "delta link", r.hosts); err != nil {
				return err
			}
		}
		list.end = func(envelope []byte) error {
			link := deltaLink(envelope)
			if link == "" {
				return &shapeError{"the last page has no @odata.deltaLink, which the feed's paging.delta asks for"}
			}
			sink.Delta(link)
			return nil
		}
	}
	if r.feed.Expand != nil {
		return r.readItems(ctx, list, env, sink)
	}
	list.handle = func(*pageURL) handler { return &records{feed: r.feed, sink: sink, date: r.dating()} }
	list.skip = func(reason string) error { sink.Skipped("", reason); return nil }
	return list.run(ctx, r)
}

// list is the feed's list, as it is about to be read from its first page on.
func (r *Reader) list(by asks, first prepared) *walk {
	return &walk{
		what: "page", request: first, paging: r.feed.Paging, records: r.feed.Records, optional: r.feed.RecordsOptional,
		own: by.own,
	}
}

// enoughUndated records without the cursor's field are no chance.
const enoughUndated = 10

// dating tells once that the first records lack the cursor's field, unless one has it: the request has the times of the
// window, so nothing is lost by that, but whoever wrote the feed meant another. nil where there is nothing to tell.
func (r *Reader) dating() func(listed, raw []byte) {
	if c := r.feed.Cursor; c == nil || c.Field == "" || r.dated.Load() {
		return nil
	}
	return func(listed, raw []byte) {
		field := r.feed.Cursor.Field
		switch {
		case r.dated.Load():
		case gjson.GetBytes(listed, field).Exists() || gjson.GetBytes(raw, field).Exists():
			r.dated.Store(true)
		case r.undated.Add(1) == enoughUndated:
			r.dated.Store(true)
			r.client.log.Warn("no record has the field that the feed's cursor names; look whether the request asks by the time of its records",
				"feed", r.feed.Name, "cursor.field", field, "they_hold", members(raw))
		}
	}
}

// wrap names the feed in an error.
func (r *Reader) wrap(err error) error {
	if r.partition == "" {
		return fmt.Errorf("feed %s: %w", r.feed.Name, err)
	}
	return fmt.Errorf("feed %s (%s): %w", r.feed.Name, r.partition, err)
}

// Probe asks for the first page of a window and takes nothing of it but the number of
// its records: it tells whether the feed could be read. Of a feed with a job it asks for nothing. Its errors are those of Read.
func (r *Reader) Probe(ctx context.Context, w Window) (records int, err error) {
	if r.feed.Job != nil {
		return 0, nil
	}
	probe := func(by asks) error {
		first, err := r.prepare(by.request, r.env(w), nil)
		if err != nil {
			return err
		}
		list := r.list(by, first)
		list.handle = func(*pageURL) handler { return &counter{n: &records} }
		return list.run(ctx, r)
	}
	err = probe(r.asks())
	if _, fell := errors.AsType[*fallenBack](err); fell {
		err = probe(asks{request: &r.feed.Fallback.Request})
	}
	switch {
	case err == nil || errors.Is(err, errProbed):
		return records, nil
	case ctx.Err() != nil:
		return 0, ctx.Err()
	}
	return 0, r.wrap(err)
}

// counter is the handler of a probe: it ends the walk behind the first page.
type counter struct{ n *int }

var errProbed = errors.New("the first page was read")

func (c *counter) begin()                               { *c.n = 0 }
func (c *counter) record(context.Context, []byte) error { *c.n++; return nil }
func (c *counter) damaged([]byte, string) error         { *c.n++; return nil }
func (c *counter) whole([]byte) error                   { return nil }
func (c *counter) end(context.Context) error            { return errProbed }
