package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

// shape is a service of one kind, and how it is read.
type shape struct {
	feeds    []string                                  // YAML; the first is read
	answer   func(r *http.Request, body string) string // by the time, which is virtual; "404" and the like are statuses
	rounds   int                                       // polls, ten minutes apart
	backfill time.Duration                             // instead of polls: so far back
	most     int                                       // how many events may come twice: the batch in hand
}

const head = "description: x\nrequest: {url: \"https://api.example/list\"}\nmapping: m\nrecords: value\n"

// shapes are those of which more is committed than keys and a cursor.
var shapes = map[string]shape{
	"snapshot": {
		feeds:  []string{"name: f\n" + head + "snapshot: {id: id, first: emit}\n"},
		rounds: 2,
		answer: func(r *http.Request, _ string) string {
			if early() {
				return `{"value":[` + rows("a b c d e f g", `"n":1`) + `]}`
			}
			return `{"value":[` + rows("a b c", `"n":1`) + "," + rows("d e", `"n":2`) + "," + rows("h", `"n":1`) + `]}`
		},
	},
	"delta": {
		feeds:  []string{"name: f\n" + head + "paging: {style: odata, delta: true}\nkey: id\n"},
		rounds: 3,
		answer: func(r *http.Request, _ string) string {
			base := "https://api.example/list?"
			switch r.URL.RawQuery {
			case "":
				return `{"value":[` + rows("a b c d", `"n":1`) + `],"@odata.nextLink":"` + base + `page=2"}`
			case "page=2":
				return `{"value":[` + rows("e f", `"n":1`) + `],"@odata.deltaLink":"` + base + `since=1"}`
			case "since=1":
				return `{"value":[` + rows("b g", `"n":2`) + `,{"id":"c","@removed":{"reason":"deleted"}}],"@odata.deltaLink":"` + base + `since=2"}`
			}
			return "410"
		},
	},
	"job": {
		feeds: []string{"name: f\n" + head + `cursor: {field: at}
window: {max: 30m, overlap: 5m, retention: 7d}
key: id
job: {create: {url: "https://api.example/jobs", body: {from: "${window.from}"}}, id: id, poll: {url: "https://api.example/jobs/${job.id}"}, done: body.done == true, every: 30s}
`},
		rounds: 2,
		answer: func(r *http.Request, body string) string {
			switch r.URL.Path {
			case "/jobs":
				return `{"id":"j` + strings.Trim(strings.SplitN(body, ":", 2)[1], `"}`) + `"}`
			case "/list":
				return `{"value":[` + rows("a b c d e", `"n":1`) + `]}`
			}
			return fmt.Sprintf(`{"done":%t}`, time.Now().Second()%60 != 0)
		},
	},
	"settle and gone": {
		feeds: []string{"name: f\n" + head + `cursor: {field: at}
window: {max: 2h, overlap: 1h, retention: 7d}
key: id
expand: {url: link, key: id, records: value, settle: 5m, gone: 2, concurrency: 1}
errors: [{when: status == 404, then: skip}]
`},
		rounds: 4,
		answer: func(r *http.Request, _ string) string {
			switch at := began.Add(-2 * time.Minute).UTC().Format(time.RFC3339); r.URL.Path {
			case "/list":
				return `{"value":[{"id":"x","link":"/x","at":"` + at + `"},{"id":"y","link":"/y","at":"` + at + `"},{"id":"z","link":"/z","at":"` + at + `"}]}`
			case "/x":
				if early() {
					return `{"value":[` + rows("x1 x2", `"n":1`) + `]}`
				}
				return `{"value":[` + rows("x1 x2 x3 x4", `"n":1`) + `]}`
			case "/y":
				return `{"value":[` + rows("y1 y2 y3", `"n":1`) + `]}`
			}
			return "404"
		},
	},
	"narrow": {
		feeds: []string{"name: f\n" + strings.Replace(head, "/list\"}", `/list", query: {from: "${window.from}", to: "${window.to}"}}`, 1) + `cursor: {field: at}
window: {max: 1h, overlap: 5m, retention: 7d}
key: id
errors: [{when: body.full == true, then: narrow}]
`},
		rounds: 1,
		answer: func(r *http.Request, _ string) string {
			from, _ := time.Parse(time.RFC3339, r.URL.Query().Get("from"))
			to, _ := time.Parse(time.RFC3339, r.URL.Query().Get("to"))
			if to.Sub(from) > 20*time.Minute {
				return `{"full":true,"value":[{"id":"part"}]}`
			}
			ids := ""
			for at := from.Truncate(10 * time.Minute); at.Before(to); at = at.Add(10 * time.Minute) {
				if !at.Before(from) {
					ids += at.Format(" 1504a 1504b")
				}
			}
			return `{"value":[` + rows(ids, `"n":1`) + `]}`
		},
	},
	"too early": {
		feeds: []string{"name: f\n" + strings.Replace(head, "/list\"}", `/list", query: {from: "${window.from}"}}`, 1) + `cursor: {field: at}
window: {max: 1h, overlap: 5m, retention: 7d}
key: id
errors: [{when: status == 400, then: too_early}]
`},
		rounds: 2,
		answer: func(r *http.Request, _ string) string {
			if from, _ := time.Parse(time.RFC3339, r.URL.Query().Get("from")); from.Before(began.Add(-20 * time.Minute)) {
				return "400"
			}
			return `{"value":[` + rows("a b c d e", `"n":1`) + `]}`
		},
		most: 4, // the event that tells of the gap, too
	},
	"archive": {
		feeds: []string{"name: f\n" + head + "cursor: {field: at}\nwindow: {max: 24h, overlap: 1h, retention: 2d}\nkey: id\narchive: g\n",
			"name: g\nenabled: \"false\"\n" + strings.Replace(head, "/list", "/found/${job.id}", 1) + `cursor: {field: at}
window: {max: 24h, overlap: 1h, retention: 30d}
key: id
unwrap: data
job: {create: {url: "https://api.example/jobs", body: {from: "${window.from}"}}, id: id, poll: {url: "https://api.example/jobs/${job.id}"}, done: "true", every: 30s}
`},
		backfill: 5 * 24 * time.Hour,
		answer: func(r *http.Request, body string) string {
			day := strings.TrimPrefix(r.URL.Path, "/found/")
			switch {
			case r.URL.Path == "/list":
				return `{"value":[` + rows("live", `"n":1`) + `]}`
			case strings.HasPrefix(r.URL.Path, "/found/"):
				found := strings.ReplaceAll(rows(day+"a "+day+"b live", `"n":1`), `{"id"`, `{"data":{"id"`)
				return `{"value":[` + strings.ReplaceAll(found, "}", "}}") + `]}`
			case r.URL.Path == "/jobs":
				at := strings.Trim(strings.SplitN(body, ":", 2)[1], `"}`)
				return `{"id":"` + at[5:7] + at[8:10] + `"}`
			}
			return "{}"
		},
	},
}

// began is when a shape is read first.
var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// early is the time of the first round.
func early() bool { return time.Now().Before(began.Add(8 * time.Minute)) }

func rows(ids, more string) string {
	var list []string
	for id := range strings.FieldsSeq(ids) {
		list = append(list, fmt.Sprintf(`{"id":%q,%s}`, id, more))
	}
	return strings.Join(list, ",")
}

// RoundTrip implements [http.RoundTripper].
func (s shape) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	text, status := s.answer(r, string(body)), 200
	if len(text) == 3 {
		fmt.Sscan(text, &status)
		text = `{"error":{"code":"x","message":"` + text + `"}}`
	}
	return &http.Response{StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"Content-Type": {"application/json"}, "Date": {time.Now().UTC().Format(http.TimeFormat)}},
		Body: io.NopCloser(strings.NewReader(text)), ContentLength: int64(len(text)), Request: r}, nil
}

// mortal is a store whose process is killed at one commit: before it was written, or after. What comes
// then finds no store.
type mortal struct {
	checkpoint.Store
	at    int // 0: never
	after bool

	mu   sync.Mutex
	n    int
	dead bool
}

func (m *mortal) Commit(c *checkpoint.Commit) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n++; m.dead || m.n == m.at && !m.after {
		m.dead = true
		return checkpoint.ErrClosed
	}
	if err := m.Store.Commit(c); err != nil {
		return err
	}
	if m.dead = m.n == m.at; m.dead {
		return checkpoint.ErrClosed
	}
	return nil
}

func (m *mortal) gone() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dead
}

// life is a shape that is read from the beginning, by one process after the other.
type life struct {
	shape
	taker *taker
	store checkpoint.Store
	feeds []*definition.Feed
	maps  map[string]func() *transform.Mapping
	dead  *load.DeadLetters
}

// process reads until it is killed, and reports whether it was. from is the first round.
func (l *life) process(t *testing.T, m *mortal, from int) (round int, killed bool) {
	t.Helper()
	m.Store = l.store
	l.taker.deliver = func(context.Context, []string) ([]load.Refused, error) {
		if m.gone() {
			return nil, checkpoint.ErrClosed
		}
		return nil, nil
	}
	e, err := New(Config{
		Name: "connector", Version: "1", Feeds: l.feeds, Mappings: l.maps, Settings: map[string]any{},
		Client:      extract.NewClient(extract.ClientOptions{Transport: l.shape, MaxAttempts: 1}),
		Destination: l.taker, DeadLetters: l.dead, Store: m, Poll: 10 * time.Minute, Lookback: time.Hour, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if l.backfill > 0 {
		err := e.Backfill(context.Background(), "f", began.Add(-l.backfill), began, false, nil)
		if err != nil && !m.dead {
			t.Fatal(err)
		}
		return 0, m.dead
	}
	for round = from; round < l.rounds; round++ {
		time.Sleep(time.Until(began.Add(time.Duration(round) * 10 * time.Minute)))
		err := e.Once(context.Background())
		if m.dead {
			return round, true
		}
		if err != nil && !strings.Contains(err.Error(), "tried again") && !strings.Contains(err.Error(), "410") {
			t.Fatal(err)
		}
	}
	return round, false
}

// keeping gives stores to a life: to the process that is killed, to the one after it, and to another tenant's.
type keeping func(t *testing.T, live func(t *testing.T, first, second, other checkpoint.Store))

// embedded keeps all of them in one store of one process.
func embedded(t *testing.T, live func(t *testing.T, first, second, other checkpoint.Store)) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(began))
		store, err := checkpoint.Open("state", checkpoint.Options{FS: vfs.NewMem()})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := store.Close(); err != nil && !errors.Is(err, checkpoint.ErrClosed) {
				t.Error(err)
			}
		}()
		one := checkpoint.OfTenant(store, "a")
		live(t, one, one, checkpoint.OfTenant(store, "b"))
	})
}

// TestKilledAtEveryCommit kills the process at every commit of every shape, before and after it is written: nothing is
// lost, and nothing but the batch in hand comes twice. Another tenant, which reads the same into the same store, is not disturbed.
func TestKilledAtEveryCommit(t *testing.T) {
	for name, s := range shapes {
		t.Run(name, func(t *testing.T) { s.killed(t, name == "delta", embedded) })
	}
}

// killed kills a process that reads the shape at every commit. again says that a record may come twice undisturbed.
func (s shape) killed(t *testing.T, again bool, keep keeping) {
	mapping, problems := transform.Compile(&definition.Mapping{Name: "m"}, transform.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	dead, err := load.OpenDeadLetters(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	feeds := written(t, s.feeds...)
	live := func(at int, after bool) (got, others []string, commits int) {
		keep(t, func(t *testing.T, first, second, other checkpoint.Store) {
			begin := func(store checkpoint.Store) *life {
				return &life{shape: s, taker: &taker{events: 3, bytes: 1 << 20, batches: 1}, store: store, feeds: feeds, maps: compiled(mapping), dead: dead}
			}
			neighbour := begin(other)
			var beside sync.WaitGroup
			beside.Go(func() {
				if _, killed := neighbour.process(t, &mortal{}, 0); killed {
					t.Error("the neighbour was killed")
				}
			})
			l, m := begin(first), &mortal{at: at, after: after}
			if round, killed := l.process(t, m, 0); killed {
				l.store = second
				if _, killed := l.process(t, &mortal{}, round); killed {
					t.Error("killed again")
				}
			}
			beside.Wait()
			got, others, commits = l.taker.ids(), neighbour.taker.ids(), m.n
			slices.Sort(got)
			slices.Sort(others)
		})
		return got, others, commits
	}
	want, _, commits := live(0, false)
	if len(want) < 5 || len(slices.Compact(slices.Clone(want))) != len(want) && !again {
		t.Fatalf("undisturbed, it delivers %v", want)
	}
	t.Logf("%d commits, %d events", commits, len(want))
	for at := 1; at <= commits; at++ {
		for _, after := range []bool{false, true} {
			got, others, _ := live(at, after)
			repeated := surplus(got, want)
			if lost := surplus(want, got); len(lost) > 0 || len(repeated) > max(s.most, 3) {
				t.Errorf("killed at commit %d (written: %t): lost %v, repeated %v", at, after, lost, repeated)
			}
			if !slices.Equal(others, want) {
				t.Errorf("killed at commit %d (written: %t): another tenant is delivered %v", at, after, others)
			}
		}
	}
}

// surplus is what of a is not in b, each as often as it is.
func surplus(a, b []string) (more []string) {
	left := slices.Clone(b)
	for _, one := range a {
		if i := slices.Index(left, one); i >= 0 {
			left = slices.Delete(left, i, i+1)
		} else {
			more = append(more, one)
		}
	}
	return more
}
