package extract

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// emptyPages in a row, each with a link to another one, are a walk that never ends.
const emptyPages = 100

// walk reads the pages of one list.
type walk struct {
	what     string // for errors: "page"
	request  prepared
	paging   definition.Paging
	records  string
	optional bool // the records may be absent
	own      bool // it is the feed's own request, which a fallback may replace
	narrow   bool // what cannot be read may be had by a narrower window
	// handle begins a page; skip is called for one that a rule gives up; nil: none may be.
	handle func(*pageURL) handler
	skip   func(reason string) error
	// end is called with the envelope of the last page.
	end func(envelope []byte) error
}

// pageURL is where a page was answered, after redirects.
type pageURL struct{ answered *url.URL }

// run walks the pages in turn, each asked for only after the records of the one before were taken.
func (w *walk) run(ctx context.Context, r *Reader) error {
	style, ok := styles[w.paging.Style]
	if !ok {
		style = styles[definition.PagingNone]
	}
	if style.first != nil {
		var err error
		if w.request, err = w.request.with(w.paging.In, style.first(w.paging)...); err != nil {
			return err
		}
	}
	var (
		at      page
		met     [16]byte // the request of the last page whose number is a power of two, see below
		seed    = maphash.MakeSeed()
		before  uint64 // the hash of the last page, for styles that count
		nothing int    // pages in a row
		next    = &w.request
	)
	for next != nil {
		id, err := next.id()
		if err != nil {
			return err
		}
		// A list has any number of pages, so not all are remembered: a loop meets the
		// remembered one again once that lies within it (Brent's cycle detection).
		if id == met {
			return fmt.Errorf("%s %d: the link to the next page leads back to a page that was read (%s); the walk would never end", w.what, at.number, place(next.url))
		}
		at.before += at.records
		at.number++
		if at.number&(at.number-1) == 0 {
			met = id
		}
		at.records = 0
		var hash maphash.Hash
		u := &pageURL{answered: next.url}
		h := w.handle(u)
		q := &request{
			what: fmt.Sprintf("%s %d", w.what, at.number), prepared: *next, own: w.own, delta: w.paging.Delta,
			lone: w.records == "@this" || w.records == "",
		}
		if w.narrow {
			q.deep = at.number
		}
		q.take = func(answered *http.Response, from io.Reader, check func([]byte) error) ([]byte, error) {
			u.answered, at.header = answered.Request.URL, answered.Header
			at.records = 0
			hash.SetSeed(seed)
			h.begin()
			return r.splitAnswer(answered, from, w.records, w.optional, splitTo{
				check: check,
				take: func(raw []byte) error {
					at.records++
					if style.counted {
						hash.Write(raw)
					}
					return h.record(ctx, raw)
				},
				damaged: func(raw []byte, reason string) error {
					at.records++
					return h.damaged(raw, reason)
				},
			})
		}
		q.whole = func(envelope []byte) error {
			if err := h.whole(envelope); err != nil {
				return err
			}
			at.envelope = envelope
			return w.unread(style, at)
		}
		q.done = func(answered *http.Response, envelope []byte) error {
			at.header, at.envelope = answered.Header, envelope
			return h.end(ctx)
		}
		err = r.send(ctx, q)
		if given, ok := errors.AsType[*skipped](err); ok {
			if w.skip == nil {
				return fmt.Errorf("%s %d: a list cannot be skipped: %w", w.what, at.number, given)
			}
			return w.skip(given.reason)
		}
		if err != nil {
			return fmt.Errorf("%s %d: %w", w.what, at.number, err)
		}
		if style.counted && at.number > 1 && at.records > 0 && hash.Sum64() == before {
			return fmt.Errorf("%s %d of %s is the same as the one before; the service does not know the parameter %q", w.what, at.number, place(next.url), w.paging.Param)
		}
		before = hash.Sum64()
		asked := place(next.url)
		if next, err = w.next(r, style, at, u); err != nil {
			return fmt.Errorf("%s %d: %w", w.what, at.number, err)
		}
		if nothing++; at.records > 0 {
			nothing = 0
		}
		if nothing >= emptyPages && next != nil {
			return fmt.Errorf("%s %d: %d pages in a row of %s hold no record, and each names a further one; the walk would never end", w.what, at.number, nothing, asked)
		}
	}
	if w.end != nil {
		return w.end(at.envelope)
	}
	return nil
}

// unread refuses a page behind which there are others that the feed's way of paging does not find: it would take the
// beginning for the whole.
func (w *walk) unread(style style, at page) error {
	if w.paging.Style == definition.PagingNone && !w.paging.Unsaid {
		return nil // one page is what is wanted
	}
	if link, set, err := style.next(w.paging, at); err != nil || link != "" || set != nil {
		return nil // it goes on, or says why not
	}
	for _, other := range []string{definition.PagingOData, definition.PagingLink} {
		if link, _, err := styles[other].next(w.paging, at); err == nil && link != "" {
			where := map[string]string{definition.PagingOData: "@odata.nextLink", definition.PagingLink: "its Link header"}[other]
			is := fmt.Sprintf("the style %q does not look there", w.paging.Style)
			if w.paging.Unsaid {
				is = "nothing is said of paging"
			}
			return &shapeError{fmt.Sprintf("the answer names a further page in %s, where %s: write paging: {style: %s}", where, is, other)}
		}
	}
	return nil
}

// next is the request of the page after at, nil at the end.
func (w *walk) next(r *Reader, style style, at page, u *pageURL) (*prepared, error) {
	link, set, err := style.next(w.paging, at)
	if err != nil || link == "" && set == nil {
		return nil, err
	}
	next := w.request
	if link == "" {
		next, err = next.with(w.paging.In, set...)
		return &next, err
	}
	if next.url, err = follow(u.answered, link, "next link", r.hosts); err != nil {
		return nil, err
	}
	for _, name := range w.paging.Keep {
		if has(next.url, name) {
			continue
		}
		for _, value := range w.request.url.Query()[name] {
			next.url = add(next.url, param{name, value})
		}
	}
	return &next, nil
}

// handler takes the records of one body. begin is called for each attempt at
// the body, whole once the attempt was read to its end, and end once after the last.
type handler interface {
	begin()
	record(ctx context.Context, raw []byte) error
	damaged(raw []byte, reason string) error
	whole(envelope []byte) error
	end(ctx context.Context) error
}

// largestHeld bounds what is held of records until it is known that they are some.
const largestHeld = 1 << 20

// records hands records to the sink: as soon as one has the feed's key. Before, what comes may be no
// records at all, but an error in another shape; such single ones among others are records, too.
type records struct {
	feed   *definition.Feed
	sink   Sink
	key    string    // of the item, "" for a page
	at     time.Time // when the service made the item
	source Source
	add    func(raw []byte) ([]byte, error) // what the item adds; nil: nothing

	date func(listed, raw []byte) // is told of each record, as it was listed and unwrapped; nil: that is no matter

	pages   bool // one source for all pages of the item, ended by close
	started bool // by a page before this one
	taken   int  // of the body under way
	again   int  // at the beginning of a body that broke off, taken already

	keyed     bool // one has the feed's key
	held      [][]byte
	heldBytes int
	damages   []damage
}

// damage is a record that is no JSON.
type damage struct {
	raw    []byte
	reason string
}

func (h *records) begin() {
	h.held, h.heldBytes, h.damages = nil, 0, nil
	h.keyed = len(h.feed.Key) == 0
	if h.started {
		h.again, h.taken = max(h.again, h.taken), 0
		return
	}
	h.taken = 0
	h.source = h.sink.Open(h.key, h.at)
}

func (h *records) record(ctx context.Context, raw []byte) error {
	listed := raw
	raw = inner(raw, h.feed.Unwrap)
	if h.date != nil {
		h.date(listed, raw)
	}
	if h.keyed {
		return h.hand(ctx, raw)
	}
	if h.keyed = hasKey(h.feed.Key, raw); !h.keyed {
		if h.heldBytes += len(raw); h.heldBytes > largestHeld {
			return &shapeError{h.noKey(raw)}
		}
		h.held = append(h.held, append([]byte(nil), raw...))
		return nil
	}
	for _, earlier := range h.held {
		if err := h.hand(ctx, earlier); err != nil {
			return err
		}
	}
	h.held = nil
	return h.hand(ctx, raw)
}

func (h *records) hand(ctx context.Context, raw []byte) error {
	if h.taken++; h.taken <= h.again {
		return nil
	}
	if h.add != nil {
		var err error
		if raw, err = h.add(raw); err != nil {
			return err
		}
	}
	if err := h.source.Record(ctx, raw); err != nil {
		return &sinkError{err}
	}
	return nil
}

// damaged keeps what is no JSON until the body is known to be well apart from it.
func (h *records) damaged(raw []byte, reason string) error {
	h.damages = append(h.damages, damage{append([]byte(nil), raw...), reason})
	return nil
}

// whole says whether what was read are records.
func (h *records) whole([]byte) error {
	if len(h.held) > 0 {
		return &oddError{h.noKey(h.held[0])}
	}
	return nil
}

func (h *records) noKey(raw []byte) string {
	names := make([]string, len(h.feed.Key))
	for i, path := range h.feed.Key {
		names[i] = strconv.Quote(path)
	}
	return fmt.Sprintf("no record has the feed's key %s; they hold %s", strings.Join(names, " or "), members(raw))
}

func (h *records) end(ctx context.Context) error {
	for _, d := range h.damages {
		if err := h.source.Damaged(ctx, d.raw, d.reason); err != nil {
			return &sinkError{err}
		}
	}
	if h.pages {
		h.started, h.taken, h.again = true, 0, 0
		return nil
	}
	return h.close()
}

// close ends the source.
func (h *records) close() error {
	if err := h.source.End(); err != nil {
		return &sinkError{err}
	}
	return nil
}

// hasKey reports whether a record has any part of the key.
func hasKey(key []string, raw []byte) bool {
	for _, path := range key {
		if found := gjson.GetBytes(raw, path); found.Exists() && found.Type != gjson.Null {
			return true
		}
	}
	return false
}
