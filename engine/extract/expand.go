package extract

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/transport"
)

const (
	// ahead is how many listed items may wait to be fetched. A list is read
	// without a pause up to there, so that its connection does not grow old.
	ahead = 1000
	// enoughFailures of items in a row mean that more would fail: from then on ever fewer of them are tried, until one can be
	// had, and then those before it.
	enoughFailures = 5
)

// item is a listed document that is to be fetched.
type item struct {
	key  string
	at   time.Time // when the service made it
	url  string    // as the list gives it; "" where a template makes it
	by   *url.URL  // the list that names it
	item any       // its members, for templates; nil where there are none
}

// readItems reads a list of items, and fetches them meanwhile.
func (r *Reader) readItems(ctx context.Context, list *walk, env map[string]any, sink Sink) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var (
		items    chan item // made with the first: most windows of many tenants have none
		workers  sync.WaitGroup
		started  int
		mu       sync.Mutex
		failures []error
		gone     []error // of items that are tried again in a later round
		row      int     // of failures
		pass     int     // so many items before the next is tried
		passed   []item  // since the last that was
		untried  int     // in this round
		earliest = time.Unix(1<<40, 0)
	)
	missed := func(it item) {
		if it.at.Before(earliest) {
			earliest = it.at
		}
	}
	// giveUp leaves those that were passed to the next round, all but some of the last.
	giveUp := func(most int) {
		for ; len(passed) > most; passed = passed[1:] {
			missed(passed[0])
			untried++
		}
	}
	fail := func(it item, err error) {
		missed(it)
		if is[*goneForNow](err) {
			gone = append(gone, err)
			return
		}
		failures = append(failures, err)
		giveUp(0)
		if row++; row >= enoughFailures { // how far at random: each has its turn in one round or another
			pass = int(transport.Jitter() * float64(int(2)<<min(row-enoughFailures, 20)))
		}
		if _, ours := errors.AsType[*sinkError](err); ours {
			stop(err) // whatever else is read has no place to go
		}
	}
	// hopeless says that all items would fail.
	hopeless := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.ContainsFunc(failures, ofAll)
	}
	passes := func(it item) bool {
		mu.Lock()
		defer mu.Unlock()
		if pass == 0 {
			return false
		}
		pass--
		passed = append(passed, it)
		giveUp(ahead)
		return true
	}
	// had says whether an item could be had, and then gives the last one that was passed.
	had := func(it item) (last item, goOn bool) {
		err := r.fetch(ctx, it, env, sink)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			fail(it, fmt.Errorf("item %s: %w", oneLine(it.key), err))
			return item{}, false
		}
		row, pass = 0, 0
		if len(passed) == 0 {
			return item{}, false
		}
		last, passed = passed[len(passed)-1], passed[:len(passed)-1]
		return last, true
	}
	work := func() {
		for it := range items {
			for goOn := ctx.Err() == nil && !hopeless() && !passes(it); goOn; { // the list must not block
				it, goOn = had(it)
			}
		}
	}
	list.handle = func(u *pageURL) handler {
		return &lister{feed: r.feed, page: u, sink: sink, put: func(it item) error {
			if hopeless() {
				return errHopeless
			}
			if items == nil {
				items = make(chan item, ahead)
			}
			if started < max(r.feed.Expand.Concurrency, 1) {
				started++
				workers.Go(work)
			}
			select {
			case items <- it:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
	}
	err := list.run(ctx, r)
	if items != nil {
		close(items)
	}
	workers.Wait()
	giveUp(0)
	if cause, ok := errors.AsType[*sinkError](context.Cause(ctx)); ok {
		return cause
	}
	if err != nil && !errors.Is(err, errHopeless) {
		return err
	}
	if failures = append(failures, gone...); len(failures) == 0 {
		return nil
	}
	// What concerns more than one item is told first.
	if i := slices.IndexFunc(failures, ofAll); i >= 0 {
		return failures[i]
	}
	return &Incomplete{Items: len(failures) + untried, At: earliest, Err: failures[0]}
}

var errHopeless = errors.New("all items would fail")

// ofAll reports whether an error of an item is about more than that.
func ofAll(err error) bool {
	return is[*sinkError](err) || is[*AuthError](err) || is[*Gated](err) || is[*ResetWindow](err) || is[*Subscribe](err) || is[*TooEarly](err)
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// lister is the handler of a page of items.
type lister struct {
	feed *definition.Feed
	page *pageURL
	sink Sink
	put  func(item) error

	items, dated int
	first        []byte
}

func (l *lister) begin() { l.items, l.dated, l.first = 0, 0, nil }

func (l *lister) end(context.Context) error { return nil }

// damaged: what an item that is no JSON stands for cannot be known.
func (l *lister) damaged(_ []byte, reason string) error {
	return &brokenError{err: errors.New("a listed item is no JSON: " + reason), at: l.items + 1}
}

// whole says whether what was listed are items.
func (l *lister) whole([]byte) error {
	if l.feed.Cursor != nil && l.feed.Cursor.Field != "" && l.items > 0 && l.dated == 0 {
		return &oddError{fmt.Sprintf("no listed item has the cursor's field %q; they hold %s", l.feed.Cursor.Field, members(l.first))}
	}
	return nil
}

func (l *lister) record(_ context.Context, raw []byte) error {
	e := l.feed.Expand
	it := item{by: l.page.answered}
	if e.URL != "" {
		it.url = gjson.GetBytes(raw, e.URL).String()
	}
	if e.Key != "" {
		if it.key = gjson.GetBytes(raw, e.Key).String(); it.key == "" {
			it.key = it.url
		}
		if it.key == "" {
			// Not an item at all: perhaps an error in another shape. To go on would
			// take the list for read.
			return &shapeError{fmt.Sprintf("a listed item has neither a key at %q nor a URL at %q; it holds %s", e.Key, e.URL, members(raw))}
		}
	}
	if l.items++; l.first == nil {
		l.first = append([]byte(nil), raw...)
	}
	if l.feed.Cursor != nil && hasKey([]string{l.feed.Cursor.Field}, raw) {
		l.dated++
	}
	it.at = l.time(raw)
	known, err := l.sink.Known(it.key, it.at)
	if err != nil {
		return &sinkError{err}
	}
	if known {
		return nil
	}
	if e.URL != "" && it.url == "" {
		l.sink.Skipped(cmp.Or(it.key, fmt.Sprintf("number %d", l.items)), fmt.Sprintf("the list gives no URL at %q", e.URL))
		return nil
	}
	if e.URL == "" || len(e.Add) > 0 || len(e.Request.Query) > 0 {
		it.item = gjson.ParseBytes(raw).Value()
	}
	return l.put(it)
}

// time is the item's cursor time, zero where it has none.
func (l *lister) time(raw []byte) time.Time {
	c := l.feed.Cursor
	if c == nil || c.Field == "" {
		return time.Time{}
	}
	found := gjson.GetBytes(raw, c.Field)
	switch c.Format {
	case "unix":
		return time.Unix(found.Int(), 0).UTC()
	case "unix_ms":
		return time.UnixMilli(found.Int()).UTC()
	}
	if at, err := time.Parse(c.Format, found.String()); err == nil {
		return at.UTC()
	}
	return timeOf(found.String(), nil)
}

// goneForNow is an item that the service says is gone, and that the sink does not give up yet.
type goneForNow struct{ reason string }

func (e *goneForNow) Error() string {
	return "the service says that it is gone (" + e.reason + "), while it lists it; it is tried again"
}

// fetch fetches one item, page by page.
func (r *Reader) fetch(ctx context.Context, it item, env map[string]any, sink Sink) error {
	e := r.feed.Expand
	if it.item != nil {
		env = maps.Clone(env)
		env["item"] = it.item
	}
	var base *url.URL
	var err error
	if e.URL != "" {
		if base, err = follow(it.by, it.url, "listed item", r.hosts); err != nil {
			return err
		}
	}
	first, err := r.prepare(&e.Request, env, base)
	if err != nil {
		return fmt.Errorf("expand: %w", err)
	}
	if base == nil { // a template, which may have been given anything
		if o := origin(first.url); o != origin(it.by) && !r.hosts[o] {
			return &foreignHostError{what: "listed item", from: origin(it.by), to: o}
		}
	}
	h := &records{feed: r.feed, sink: sink, key: it.key, at: it.at, pages: true}
	if h.key == "" { // it has no key, and a source without one is a page
		id, err := first.id()
		if err != nil {
			return err
		}
		h.key = fmt.Sprintf("%x", id)
	}
	if len(e.Add) > 0 {
		if h.add, err = adding(e.Add, env); err != nil {
			return err
		}
	}
	gone := false
	document := &walk{
		what: "document", request: first, paging: e.Paging, records: e.Records, optional: e.RecordsOptional,
		handle: func(*pageURL) handler { return h },
		skip: func(reason string) error {
			gone = true
			giveUp, err := sink.Gone(it.key, reason)
			switch {
			case err != nil:
				return &sinkError{err}
			case !giveUp:
				return &goneForNow{reason}
			}
			sink.Skipped(cmp.Or(it.key, first.url.Path), reason)
			return nil
		},
	}
	if err := document.run(ctx, r); err != nil || gone {
		return err
	}
	return h.close()
}

// adding gives what puts fields of the item into each record that lacks them.
func adding(add []definition.Assignment, env map[string]any) (func([]byte) ([]byte, error), error) {
	type member struct {
		name string
		text []byte // `"name":value,`
	}
	var members []member
	for _, a := range add {
		value, err := a.Value.Eval(env)
		if err != nil {
			return nil, fmt.Errorf("expand.add.%s, %q: %w", a.Name, a.Value, err)
		}
		text, err := json.Marshal(map[string]any{a.Name: value})
		if err != nil {
			return nil, fmt.Errorf("expand.add.%s, %q: %w", a.Name, a.Value, err)
		}
		text[len(text)-1] = ','
		members = append(members, member{a.Name, text[1:]})
	}
	return func(raw []byte) ([]byte, error) {
		record := gjson.ParseBytes(raw)
		if !record.IsObject() {
			return raw, nil
		}
		out := []byte{'{'}
		for _, m := range members {
			found := false
			record.ForEach(func(name, _ gjson.Result) bool { found = name.String() == m.name; return !found })
			if !found {
				out = append(out, m.text...)
			}
		}
		rest := bytes.TrimLeft(bytes.TrimLeft(raw, " \t\r\n")[1:], " \t\r\n")
		if len(rest) > 0 && rest[0] == '}' {
			out = bytes.TrimSuffix(out, []byte{','})
		}
		return append(out, rest...), nil
	}, nil
}
