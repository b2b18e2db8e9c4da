package extract

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// Reader reads one partition of a feed. One read at a time.
type Reader struct {
	client    *Client
	feed      *definition.Feed
	partition string
	vars      map[string]any
	bucket    *bucket
	style     style
	scope     string          // "" for requests without a token
	hosts     map[string]bool // origins that links may lead to, besides the one that answered

	begin func(context.Context) error // of every request
	end   func()

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
		bucket: client.bucket(feed), hosts: map[string]bool{},
	}
	r.Pace(func(context.Context) error { return nil }, func() {})
	var ok bool
	name := feed.Paging.Style
	if name == "" {
		name = definition.PagingNone
	}
	if r.style, ok = styles[name]; !ok {
		return nil, fmt.Errorf("feed %s: paging style %q is unknown", feed.Name, name)
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
// the sink. For each listed item it calls Known, and then, unless the item is known, Skipped or Open.
//
// A page is asked for only after the records of the one before were taken.
// When an item fails, the others are fetched nevertheless, unless they fail
// too; the error then is that of the first. What was ended before an error was read whole.
//
// Besides the errors of ctx and of the sink, which are returned unchanged, the
// ones to tell apart with [errors.As] are *AuthError, *Gated, *ResetWindow,
// *Narrow, *Incomplete, *Subscribe and *StatusError.
func (r *Reader) Read(ctx context.Context, w Window, sink Sink) error {
	var err error
	if r.feed.Expand != nil {
		err = r.readItems(ctx, w, sink)
	} else {
		err = r.walk(ctx, w, func(*pageURL) handler { return &records{sink: sink, key: ""} }, func(reason string) { sink.Skipped("", reason) })
	}
	if err == nil {
		return nil
	}
	if _, ours := errors.AsType[*sinkError](err); ours {
		return unchanged(err)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return r.wrap(err)
}

// wrap names the feed in an error.
func (r *Reader) wrap(err error) error {
	if r.partition == "" {
		return fmt.Errorf("feed %s: %w", r.feed.Name, err)
	}
	return fmt.Errorf("feed %s (%s): %w", r.feed.Name, r.partition, err)
}

// handler takes the records of one body. begin is called for each attempt at
// the body, end once after the last.
type handler interface {
	begin()
	record(ctx context.Context, raw []byte) error
	end() error
}

// records hands records to the sink.
type records struct {
	sink   Sink
	key    string
	source Source
}

func (h *records) begin() { h.source = h.sink.Open(h.key) }

func (h *records) record(ctx context.Context, raw []byte) error {
	if err := h.source.Record(ctx, raw); err != nil {
		return &sinkError{err}
	}
	return nil
}

func (h *records) end() error {
	if err := h.source.End(); err != nil {
		return &sinkError{err}
	}
	return nil
}

// pageURL is where a page is asked for, and where it was answered, after
// redirects.
type pageURL struct {
	asked, answered *url.URL
}

// walk reads the pages of a window. skip is called for a page that a rule
// gives up; nil means that no page may be given up.
func (r *Reader) walk(ctx context.Context, w Window, handle func(*pageURL) handler, skip func(reason string)) error {
	first, header, err := r.prepare(&r.feed.Request, w)
	if err != nil {
		return err
	}
	if r.style.query != nil {
		first = add(first, r.style.query(r.feed.Paging)...)
	}
	at := page{first: first}
	seen := map[[16]byte]bool{}
	seed := maphash.MakeSeed()
	var before uint64 // the hash of the last page, for styles that count
	for next := first; next != nil; {
		id := [16]byte(digest(next.String()))
		if seen[id] {
			return fmt.Errorf("page %d: the link to the next page leads back to a page that was read (%s); the walk would never end", at.number, place(next))
		}
		seen[id] = true
		at.before += at.records
		at.number++
		at.records = 0
		var hash maphash.Hash
		u := &pageURL{asked: next, answered: next}
		h := handle(u)
		q := &request{
			what: fmt.Sprintf("page %d", at.number), method: r.feed.Request.Method, url: next, header: header, deep: at.number,
		}
		if r.feed.Window == nil {
			q.deep = 0
		}
		q.take = func(answered *http.Response, from io.Reader, check func([]byte) error) ([]byte, error) {
			u.answered = answered.Request.URL
			at.records = 0
			hash.SetSeed(seed)
			h.begin()
			return splitAnswer(answered, from, r.feed.Records, check, func(raw []byte) error {
				at.records++
				if r.style.counted {
					hash.Write(raw)
				}
				return h.record(ctx, raw)
			})
		}
		q.done = func(answered *http.Response, envelope []byte) error {
			at.header, at.envelope = answered.Header, envelope
			return h.end()
		}
		err := r.send(ctx, q)
		if given, ok := errors.AsType[*skipped](err); ok {
			if skip == nil {
				return fmt.Errorf("page %d: a list cannot be skipped: %w", at.number, given)
			}
			skip(given.reason)
			return nil
		}
		if err != nil {
			return fmt.Errorf("page %d: %w", at.number, err)
		}
		if r.style.counted && at.number > 1 && at.records > 0 && hash.Sum64() == before {
			return fmt.Errorf("page %d of %s is the same as the one before; the service does not know the parameter %q", at.number, place(next), r.feed.Paging.Param)
		}
		before = hash.Sum64()
		if next, err = r.next(at, u); err != nil {
			return fmt.Errorf("page %d: %w", at.number, err)
		}
	}
	return nil
}

// next is the URL of the page after at, nil at the end.
func (r *Reader) next(at page, u *pageURL) (*url.URL, error) {
	link, made, err := r.style.next(r.feed.Paging, at)
	if err != nil || link == "" {
		return made, err
	}
	next, err := follow(u.answered, link, "next link", r.hosts)
	if err != nil {
		return nil, err
	}
	for _, name := range r.feed.Paging.Keep {
		if has(next, name) {
			continue
		}
		for _, value := range at.first.Query()[name] {
			next = add(next, param{name, value})
		}
	}
	return next, nil
}

// digest is a short name of a text, for sets of many.
func digest(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:16]
}

// names are the settings and the value of for_each, the caller's own: the many readers at rest
// share the settings.
func (r *Reader) names() map[string]any {
	names := make(map[string]any, len(r.vars)+2)
	maps.Copy(names, r.vars)
	if r.feed.ForEach != nil {
		names[r.feed.ForEach.Variable] = r.partition
	}
	return names
}

// env is what templates may refer to in a window.
func (r *Reader) env(w Window) map[string]any {
	env := r.names()
	window := map[string]any{}
	if w != (Window{}) {
		format := ""
		if r.feed.Cursor != nil {
			format = r.feed.Cursor.Format
		}
		window["from"], window["to"] = formatTime(w.From, format), formatTime(w.To, format)
	}
	env["window"] = window
	return env
}

// formatTime writes a time as a feed's cursor.format says.
func formatTime(t time.Time, format string) string {
	t = t.UTC()
	switch format {
	case "", "rfc3339":
		return t.Format(time.RFC3339)
	case "unix":
		return strconv.FormatInt(t.Unix(), 10)
	case "unix_ms":
		return strconv.FormatInt(t.UnixMilli(), 10)
	}
	return t.Format(format)
}

// prepare expands a request of the feed.
func (r *Reader) prepare(d *definition.Request, w Window) (*url.URL, http.Header, error) {
	env := r.env(w)
	text, err := d.URL.Expand(env)
	if err != nil {
		return nil, nil, fmt.Errorf("url: %w", err)
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, nil, fmt.Errorf("url: what the template expands to is no URL: %w", err.(*url.Error).Err)
	}
	if err := checkURL(u); err != nil {
		return nil, nil, fmt.Errorf("url: %w", err)
	}
	u.RawQuery = escapeQuery(u.RawQuery)
	params, err := r.params(d.Query, env)
	if err != nil {
		return nil, nil, err
	}
	header := http.Header{}
	for _, f := range d.Headers {
		value, err := f.Value.Expand(env)
		if err != nil {
			return nil, nil, fmt.Errorf("header %s: %w", f.Name, err)
		}
		header.Set(f.Name, value)
	}
	return add(u, params...), header, nil
}

func (r *Reader) params(fields []definition.Field, env map[string]any) ([]param, error) {
	var params []param
	for _, f := range fields {
		value, err := f.Value.Expand(env)
		if err != nil {
			return nil, fmt.Errorf("query %s: %w", f.Name, err)
		}
		params = append(params, param{f.Name, value})
	}
	return params, nil
}

// Probe asks for the first page of a window and takes nothing of it but the number of
// its records: it tells whether the feed could be read. Its errors are those of Read.
func (r *Reader) Probe(ctx context.Context, w Window) (records int, err error) {
	first, header, err := r.prepare(&r.feed.Request, w)
	if err != nil {
		return 0, r.wrap(err)
	}
	if r.style.query != nil {
		first = add(first, r.style.query(r.feed.Paging)...)
	}
	q := &request{what: "probe", method: r.feed.Request.Method, url: first, header: header}
	q.take = func(answered *http.Response, from io.Reader, check func([]byte) error) ([]byte, error) {
		records = 0
		return splitAnswer(answered, from, r.feed.Records, check, func([]byte) error { records++; return nil })
	}
	q.done = func(*http.Response, []byte) error { return nil }
	if err := r.send(ctx, q); err != nil {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		return 0, r.wrap(err)
	}
	return records, nil
}
