package author

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/cases"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
)

// Newest is the newest window of a feed.
func Newest(feed *definition.Feed, now time.Time) extract.Window {
	if feed.Window == nil {
		return extract.Window{}
	}
	to := now.UTC().Add(-feed.Window.Delay).Truncate(time.Second)
	return extract.Window{From: to.Add(-feed.Window.Max), To: to}
}

// mostTries is how many windows are asked for, each shorter than the one before.
const mostTries = 12

// First reads a window until there are so many records, and gives them. A window that the service cannot answer
// for as a whole is made shorter, as the engine would.
func First(ctx context.Context, reader *extract.Reader, w *extract.Window, records int) ([][]byte, error) {
	took := &taken{most: max(records, 0)}
	err := reader.Read(ctx, *w, took)
	for tries := 1; tries < mostTries && shorten(w, err); tries++ {
		err = reader.Read(ctx, *w, took)
	}
	if errors.Is(err, errTaken) {
		err = nil
	}
	return took.records, err
}

// shorten moves the start of a window forward, to the time that the service gives, else by half. It reports whether
// another read is worth it.
func shorten(w *extract.Window, err error) bool {
	early, isEarly := errors.AsType[*extract.TooEarly](err)
	_, full := errors.AsType[*extract.Narrow](err)
	switch {
	case isEarly && early.At.After(w.From):
		w.From = early.At.UTC().Truncate(time.Second).Add(time.Second)
	case isEarly, full:
		w.From = w.From.Add(w.To.Sub(w.From) / 2).Truncate(time.Second)
	default:
		return false
	}
	return w.From.Before(w.To)
}

var errTaken = errors.New("enough records")

type taken struct {
	most int

	mu      sync.Mutex
	records [][]byte
}

func (t *taken) Known(string, time.Time) (bool, error) { return false, nil }

func (t *taken) Gone(string, string) (bool, error) { return true, nil }

func (t *taken) Job(string) error { return nil }

func (t *taken) Delta(string) {}

func (t *taken) Skipped(string, string) {}

func (t *taken) Open(string, time.Time) extract.Source { return takenSource{t: t} }

type takenSource struct{ t *taken }

// Damaged is a record that is no JSON: it is shown as it is not.
func (takenSource) Damaged(context.Context, []byte, string) error { return nil }

// Record takes one record, until there are enough.
func (s takenSource) Record(_ context.Context, raw []byte) error {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	if len(s.t.records) >= s.t.most {
		return errTaken
	}
	s.t.records = append(s.t.records, bytes.Clone(raw))
	if len(s.t.records) == s.t.most {
		return errTaken
	}
	return nil
}

func (s takenSource) End() error { return nil }

// Exchanges are what was asked and answered; those that are about tokens are left out.
type Exchanges struct {
	Login string
	Next  http.RoundTripper

	mu   sync.Mutex
	list []*exchange
}

type exchange struct {
	request, status string
	method          string
	url             *url.URL
	code            int // 0: there was no answer
	header          http.Header
	body            bytes.Buffer // the beginning of the answer
}

// largestShown is how much of an answer is kept, to say what it holds.
const largestShown = 4 << 20

// RoundTrip notes an exchange.
func (e *Exchanges) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := e.Next.RoundTrip(r)
	if strings.HasPrefix(r.URL.String(), e.Login+"/") {
		return response, err
	}
	x := &exchange{request: r.Method + " " + cases.Readable(r.URL), method: r.Method, url: r.URL}
	if err == nil {
		x.status, x.code, x.header = response.Status, response.StatusCode, response.Header
		response.Body = whole{io.TeeReader(response.Body, &limited{to: &x.body, left: largestShown}), response.Body}
	} else {
		x.status = err.Error()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, x)
	return response, err
}

// whole is a body that is read on when it is closed early, so that it can be said what it holds.
type whole struct {
	io.Reader
	body io.Closer
}

// Close ends it.
func (w whole) Close() error {
	io.CopyN(io.Discard, w.Reader, largestShown) //nolint:errcheck // what there is of it
	return w.body.Close()
}

// limited writes no more than so many bytes.
type limited struct {
	to   io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	l.to.Write(p[:n]) //nolint:errcheck // to memory
	return len(p), nil
}

func (e *Exchanges) Print(w io.Writer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range e.list {
		fmt.Fprintf(w, "%s\n  -> %s, %s\n", wording.Visible(x.request), x.status, holds(x.body.Bytes()))
	}
}

// holds says what an answer holds, by its names.
func holds(body []byte) string {
	if !gjson.ValidBytes(body) {
		if len(body) == largestShown {
			return "more than 4 MiB"
		}
		return fmt.Sprintf("%d bytes that are no JSON", len(body))
	}
	root := gjson.ParseBytes(body)
	if root.IsArray() {
		return fmt.Sprintf("an array of %d", len(root.Array()))
	}
	var parts []string
	root.ForEach(func(key, v gjson.Result) bool {
		what := strings.ToLower(v.Type.String())
		switch {
		case v.IsArray():
			what = fmt.Sprintf("%d in a list", len(v.Array()))
		case v.IsObject():
			what = "object"
		}
		parts = append(parts, wording.Visible(key.Str)+" ("+what+")")
		return true
	})
	if len(parts) == 0 {
		return "an empty object"
	}
	return strings.Join(parts, ", ")
}

// Explain says why there may be no record.
func (e *Exchanges) Explain(w io.Writer, feed *definition.Feed) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.list) == 0 {
		return
	}
	body := e.list[0].body.Bytes()
	found := gjson.GetBytes(body, feed.Records)
	switch {
	case feed.Records != "@this" && !found.Exists():
		fmt.Fprintf(w, "The answer has nothing at %q, where the feed looks for records. It holds: %s.\n", feed.Records, holds(body))
	case feed.Expand != nil:
		fmt.Fprintln(w, "What is listed holds no record, or nothing is listed.")
	default:
		fmt.Fprintf(w, "The list at %q is empty. The answer holds: %s.\n", feed.Records, holds(body))
	}
}

// SideBySide shows a record, and beside it the event that it becomes: the computed fields,
// for the others are those of the record.
func SideBySide(w io.Writer, n int, record, event []byte) {
	var left []string
	var text bytes.Buffer
	if json.Indent(&text, record, "", "  ") == nil {
		left = strings.Split(wording.Visible(text.String()), "\n")
	}
	var right []string
	gjson.ParseBytes(event).ForEach(func(key, v gjson.Result) bool {
		if !strings.HasPrefix(key.Str, "event_") {
			right = append(right, key.Str+": "+wording.Shorten(wording.Visible(v.String())))
		}
		return true
	})
	fmt.Fprintf(w, "\nrecord %d\tits event, beside event_… of each field\n", n)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := range max(len(left), len(right)) {
		a, b := "", ""
		if i < len(left) {
			a = left[i]
			if r := []rune(a); len(r) > 76 {
				a = string(r[:75]) + "…"
			}
		}
		if i < len(right) {
			b = right[i]
		}
		fmt.Fprintf(table, "%s\t| %s\n", a, b)
	}
	table.Flush() //nolint:errcheck // a terminal that has gone shows nothing
}
