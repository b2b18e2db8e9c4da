package extract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

const (
	// ahead is how many listed items may wait to be fetched. A list is read
	// without a pause up to there, so that its connection does not grow old.
	ahead = 1000
	// enoughFailures of items in one read mean that more would fail.
	enoughFailures = 5
)

// item is a listed document that is to be fetched.
type item struct {
	key string
	url string
	by  *url.URL // the list that names it
}

// readItems reads a list of items, and fetches them meanwhile.
func (r *Reader) readItems(ctx context.Context, w Window, sink Sink) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	params, err := r.params(r.feed.Expand.Request.Query, r.env(w))
	if err != nil {
		return fmt.Errorf("expand: %w", err)
	}
	var (
		items    chan item // made with the first: most windows of many tenants have none
		workers  sync.WaitGroup
		started  int
		mu       sync.Mutex
		failures []error
	)
	fail := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		failures = append(failures, err)
		if _, ours := errors.AsType[*sinkError](err); ours {
			stop(err) // whatever else is read has no place to go
		}
	}
	// hopeless says that further items would fail like those before.
	hopeless := func() bool {
		mu.Lock()
		defer mu.Unlock()
		for _, err := range failures {
			if !oneItem(err) {
				return true
			}
		}
		return len(failures) >= enoughFailures
	}
	work := func() {
		for it := range items {
			if ctx.Err() != nil || hopeless() {
				continue // the list must not block
			}
			if err := r.fetch(ctx, it, params, sink); err != nil {
				fail(fmt.Errorf("item %s: %w", oneLine(it.key), err))
			}
		}
	}
	err = r.walk(ctx, w, func(u *pageURL) handler {
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
	}, nil)
	if items != nil {
		close(items)
	}
	workers.Wait()
	if cause, ok := errors.AsType[*sinkError](context.Cause(ctx)); ok {
		return cause
	}
	if err != nil && !errors.Is(err, errHopeless) {
		return err
	}
	if len(failures) == 0 {
		return nil
	}
	// What concerns more than one item is told first.
	for _, failure := range failures {
		if !oneItem(failure) {
			return failure
		}
	}
	if err != nil { // hopeless
		return fmt.Errorf("%w; %d more items failed, and the rest is not tried", failures[0], len(failures)-1)
	}
	return &Incomplete{Items: len(failures), Err: failures[0]}
}

var errHopeless = errors.New("too many items failed")

// oneItem reports whether an error is about the one item only.
func oneItem(err error) bool {
	for _, is := range []bool{
		is[*sinkError](err), is[*AuthError](err), is[*Gated](err), is[*ResetWindow](err), is[*Subscribe](err),
	} {
		if is {
			return false
		}
	}
	return true
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
}

func (l *lister) begin()     {}
func (l *lister) end() error { return nil }

func (l *lister) record(_ context.Context, raw []byte) error {
	found := gjson.GetManyBytes(raw, l.feed.Expand.Key, l.feed.Expand.URL)
	it := item{key: found[0].String(), url: found[1].String(), by: l.page.answered}
	if it.key == "" {
		it.key = it.url
	}
	if it.url == "" && it.key == "" {
		// Not an item at all: perhaps an error in another shape. To go on would
		// take the list for read.
		return &shapeError{fmt.Sprintf("a listed item has neither a URL at %q nor a key at %q", l.feed.Expand.URL, l.feed.Expand.Key)}
	}
	known, err := l.sink.Known(it.key)
	if err != nil {
		return &sinkError{err}
	}
	if known {
		return nil
	}
	if it.url == "" {
		l.sink.Skipped(it.key, fmt.Sprintf("the list gives no URL at %q", l.feed.Expand.URL))
		return nil
	}
	return l.put(it)
}

// fetch fetches one item.
func (r *Reader) fetch(ctx context.Context, it item, params []param, sink Sink) error {
	u, err := follow(it.by, it.url, "listed item", r.hosts)
	if err != nil {
		return err
	}
	for _, p := range params {
		if !has(u, p.name) {
			u = add(u, p)
		}
	}
	h := &records{sink: sink, key: it.key}
	err = r.send(ctx, &request{
		what: "item " + it.key, method: http.MethodGet, url: u,
		take: func(answered *http.Response, from io.Reader, check func([]byte) error) ([]byte, error) {
			h.begin()
			return splitAnswer(answered, from, r.feed.Expand.Records, check, func(raw []byte) error { return h.record(ctx, raw) })
		},
		done: func(*http.Response, []byte) error { return h.end() },
	})
	if given, ok := errors.AsType[*skipped](err); ok {
		sink.Skipped(it.key, given.reason)
		return nil
	}
	return err
}
