package engine

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

// Whole engines run in virtual time against a tenant and a destination that are functions:
// planning, requests, delivery and the embedded state are the real ones, the sockets and the disk are
// memory. What goes wrong is decided by the seed and the hour alone, so that the same seed has the same
// faults at the same time. "make simulate-years" runs it for longer.
var (
	simulatedYears = flag.Float64("years", 5./365, "how long TestYears simulates")
	simulatedSeed  = flag.Uint64("seed", 1, "seed of the records and of the faults of TestYears")
	simulatedLog   = flag.String("years.log", "", "file for the log of the engines of TestYears")
)

const simulatedFeeds = `
name: %s
description: simulated
enabled: "true"
auth: {scope: https://service.example/.default}
%s
cursor: {field: at}
window: {max: 6h, delay: 0s, overlap: 1h, retention: 7d}
key: id
errors:
  - {when: 'error.code == "gone"', then: skip}
mapping: m
`

func TestYears(t *testing.T) {
	begun := time.Now()
	var w *world
	synctest.Test(t, func(t *testing.T) {
		w = newWorld(t, *simulatedSeed)
		w.run(time.Duration(*simulatedYears * 365 * 24 * float64(time.Hour)))
		w.verify()
	})
	took := time.Since(begun)
	t.Logf("seed %d: %.2f years in %v (a day in %v); %d records, %d lost, %d repeated (%d by kills and lost answers); gaps claimed %d s, real %d s; %d kills, %d faulty answers of the tenant, %d of the destination; longest time without progress %v",
		*simulatedSeed, *simulatedYears, took.Round(time.Millisecond), (took / time.Duration(max(1, *simulatedYears*365))).Round(time.Millisecond),
		len(w.records), w.lost, w.repeated, w.excused, w.claimed, w.real, w.kills, w.tenantFaults, w.sinkFaults, w.longest.Round(time.Second))
}

// record is one that the tenant has.
type record struct {
	feed, id string
	at       time.Time // its own time
	seen     time.Time // when it can be listed
	bad      bool      // the service cannot write it
}

// world is the tenant and the destination, and who collects.
type world struct {
	t     *testing.T
	seed  uint64
	start time.Time
	until time.Time // no record is younger
	calm  time.Time // no fault after it

	mu      sync.Mutex
	records []*record            // by feed and time
	byFeed  map[string][]*record // the same
	got     map[string]int       // by id
	when    map[string]time.Time // a record was delivered first
	unsure  map[string]bool      // ids that a fault may have had delivered unnoticed
	spans   [][3]any             // claimed: feed, from, to
	age     int                  // of the process: what one that was killed still sends finds nobody

	lost, repeated, excused, claimed, real, kills, tenantFaults, sinkFaults int
	longest                                                                 time.Duration
}

func newWorld(t *testing.T, seed uint64) *world {
	return &world{t: t, seed: seed, start: time.Now().UTC().Truncate(time.Second), byFeed: map[string][]*record{},
		got: map[string]int{}, when: map[string]time.Time{}, unsure: map[string]bool{}}
}

// dice gives the same number for the same seed and names.
func (w *world) dice(names ...any) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprint(h, names...)
	return rand.New(rand.NewPCG(w.seed, h.Sum64()))
}

// fault says what is wrong with a part of the world now: "" most of the time. A fault lasts for
// the quarter of an hour that it begins in, and some for hours.
func (w *world) fault(part string, kinds ...string) string {
	now := time.Now()
	if now.After(w.calm) {
		return ""
	}
	hours := w.dice(part, "hours", now.Unix()/(6*3600))
	if hours.IntN(60) == 0 {
		return kinds[hours.IntN(len(kinds))]
	}
	quarter := w.dice(part, now.Unix()/900)
	if quarter.IntN(12) == 0 {
		return kinds[quarter.IntN(len(kinds))]
	}
	return ""
}

func (w *world) run(d time.Duration) {
	w.until = w.start.Add(d)
	w.calm = w.until
	w.populate(d)
	fs := vfs.NewCrashableMem()
	for life := 0; ; life++ {
		w.mu.Lock()
		w.age = life
		w.mu.Unlock()
		e, store := w.connector(fs, life)
		ctx, stop := context.WithCancel(w.t.Context())
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		alive := time.Duration(w.dice("life", life).Int64N(int64(6 * 24 * time.Hour)))
		last := time.Now().Add(alive).After(w.until)
		if last {
			alive = time.Until(w.until) + 3*time.Hour // the faults are over: what is left is caught up with
		}
		time.Sleep(alive)
		next := fs
		if !last { // killed: what was not synced is partly on the disk, and nothing that it does counts any more
			w.mu.Lock()
			w.age = -1
			next = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: w.dice("crash", life)})
			w.kills++
			w.mu.Unlock()
		}
		stop()
		if err := <-ended; err != nil {
			w.t.Errorf("life %d ended with %v", life, err)
		}
		if err := store.Close(); err != nil && !errors.Is(err, checkpoint.ErrClosed) {
			w.t.Logf("life %d: closing the state: %v", life, err)
		}
		if last {
			return
		}
		fs = next
		time.Sleep(time.Duration(w.dice("down", life).Int64N(int64(2 * time.Hour))))
	}
}

// populate makes the records: most can be listed within a minute, some late.
func (w *world) populate(d time.Duration) {
	for _, feed := range []string{"list", "items"} {
		r := w.dice("records", feed)
		at := w.start
		for i := 0; at.Before(w.until); i++ {
			at = at.Add(time.Duration(r.Int64N(int64(20 * time.Minute)))).Truncate(time.Second)
			late := time.Duration(r.Int64N(int64(time.Minute)))
			if r.IntN(30) == 0 {
				late = time.Duration(r.Int64N(int64(40 * time.Minute)))
			}
			rec := &record{feed: feed, id: fmt.Sprintf("%s-%d", feed, i), at: at, seen: at.Add(late), bad: feed == "list" && r.IntN(300) == 0}
			w.records = append(w.records, rec)
			w.byFeed[feed] = append(w.byFeed[feed], rec)
		}
	}
}

// connector is a process of the connector.
func (w *world) connector(fs *vfs.MemFS, life int) (*Engine, *checkpoint.Embedded) {
	w.t.Helper()
	files := fstest.MapFS{
		"list.yaml":  {Data: fmt.Appendf(nil, simulatedFeeds, "list", "request: {url: https://service.example/list, query: {from: '${window.from}', to: '${window.to}'}}\npaging: {style: odata}\nrecords: value")},
		"items.yaml": {Data: fmt.Appendf(nil, simulatedFeeds, "items", "request: {url: https://service.example/items, query: {from: '${window.from}', to: '${window.to}'}}\npaging: {style: odata}\nrecords: value\nexpand: {url: url, key: id, records: '@this', concurrency: 4}")},
	}
	mappings := fstest.MapFS{"m.yaml": {Data: []byte("name: m\ndescription: simulated\nfields:\n  timestamp: time(event_at)\n  operation: '\"act\"'\n")}}
	set, problems := definition.Load(definition.Options{Feeds: files, Mappings: mappings, Settings: map[string]any{}})
	if len(problems) > 0 {
		w.t.Fatal(problems)
	}
	mapping, problems := transform.Compile(set.Mappings[0], transform.Options{})
	if len(problems) > 0 {
		w.t.Fatal(problems)
	}
	store, err := checkpoint.Open("state", checkpoint.Options{FS: fs})
	if err != nil {
		w.t.Fatalf("life %d: %v", life, err)
	}
	if store.SetAside() != nil {
		w.t.Errorf("life %d: the state was set aside: %v", life, store.SetAside())
	}
	letters, err := load.OpenDeadLetters(w.t.TempDir(), load.DeadLetterLimits{})
	if err != nil {
		w.t.Fatal(err)
	}
	credential, err := extract.NewCredential(extract.ClientSecret, "s")
	if err != nil {
		w.t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if *simulatedLog != "" {
		f, err := os.OpenFile(*simulatedLog, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { f.Close() })
		log = slog.New(slog.NewTextHandler(f, nil))
	}
	destination, err := load.Open(load.Config{Kind: load.KindCollector, URL: "https://sink.example/", Format: load.FormatNDJSON, Logger: log, Transport: part(func(r *http.Request) (*http.Response, error) { return w.sink(r, life) })})
	if err != nil {
		w.t.Fatal(err)
	}
	e, err := New(Config{
		Name: "connector", Version: "1", Feeds: set.Feeds, Mappings: map[string]*transform.Mapping{"m": mapping}, Settings: map[string]any{},
		Client: extract.NewClient(extract.ClientOptions{
			TokenURL: "https://login.example/token", ClientID: "c", Credential: credential, Log: log,
			Transport: part(func(r *http.Request) (*http.Response, error) { return w.tenant(r, life) }),
		}),
		Destination: destination, DeadLetters: letters, Store: store,
		Poll: 5 * time.Minute, Lookback: 6 * time.Hour, Heartbeat: time.Hour, Log: log,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return e, store
}

// part is a part of the world that answers requests.
type part func(*http.Request) (*http.Response, error)

func (p part) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return p(r)
}

var errReset = errors.New("connection reset by peer")

func answer(r *http.Request, status int, body string, header ...string) (*http.Response, error) {
	h := http.Header{"Content-Type": {"application/json"}, "Date": {time.Now().UTC().Format(http.TimeFormat)}}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}, nil
}

// tenant answers as a service does.
func (w *world) tenant(r *http.Request, life int) (*http.Response, error) {
	time.Sleep(50 * time.Millisecond)
	w.mu.Lock()
	defer w.mu.Unlock()
	if life != w.age {
		return nil, errReset
	}
	if strings.HasSuffix(r.URL.Path, "/token") {
		return answer(r, 200, `{"access_token":"t","token_type":"Bearer","expires_in":3600}`)
	}
	fault := w.fault("tenant"+r.URL.Path[:5], "500", "503", "429", "401", "reset", "cut", "html", "half")
	if fault == "half" && w.dice(r.URL.String(), time.Now().UnixNano()).IntN(2) == 0 {
		fault = "500"
	}
	if fault != "" && fault != "half" {
		w.tenantFaults++
	}
	switch fault {
	case "500", "503":
		return answer(r, map[string]int{"500": 500, "503": 503}[fault], `{"error":{"code":"busy","message":"m"}}`)
	case "429":
		return answer(r, 429, ``, "Retry-After", "30")
	case "401":
		return answer(r, 401, `{"error":{"code":"InvalidAuthenticationToken","message":"m"}}`)
	case "reset":
		return nil, errReset
	case "html":
		return answer(r, 502, `<html>bad gateway</html>`)
	}
	body := w.list(r)
	if fault == "cut" {
		body = body[:len(body)/2]
	}
	return answer(r, 200, body)
}

// list is the body of a page, or of an item.
func (w *world) list(r *http.Request) string {
	if id, ok := strings.CutPrefix(r.URL.Path, "/item/"); ok {
		return fmt.Sprintf(`[{"id":%q,"at":%q}]`, id, time.Now().UTC().Format(time.RFC3339))
	}
	feed := strings.TrimPrefix(r.URL.Path, "/")
	from, _ := time.Parse(time.RFC3339, r.URL.Query().Get("from"))
	to, _ := time.Parse(time.RFC3339, r.URL.Query().Get("to"))
	all := w.byFeed[feed]
	i, _ := slices.BinarySearchFunc(all, from, func(r *record, at time.Time) int { return r.at.Compare(at) })
	var b strings.Builder
	b.WriteString(`{"value":[`)
	n, skip := 0, 0
	fmt.Sscan(r.URL.Query().Get("skip"), &skip)
	for ; i < len(all) && all[i].at.Before(to); i++ {
		rec := all[i]
		if rec.seen.After(time.Now()) {
			continue
		}
		if n++; n <= skip {
			continue
		}
		if n > skip+100 {
			query := r.URL.Query()
			query.Set("skip", fmt.Sprint(skip+100))
			fmt.Fprintf(&b, `],"@odata.nextLink":"https://service.example/%s?%s"}`, feed, query.Encode())
			return b.String()
		}
		if n > skip+1 {
			b.WriteByte(',')
		}
		if rec.bad { // as a service does that cannot write a record
			b.WriteString(`{"id":"` + rec.id + `"{"error":{"code":"BadRequest","message":"Value cannot be null"}}}`)
			return b.String()
		}
		fmt.Fprintf(&b, `{"id":%q,"at":%q,"url":"https://service.example/item/%s"}`, rec.id, rec.at.Format(time.RFC3339), rec.id)
	}
	b.WriteString(`]}`)
	return b.String()
}

// sink takes events.
func (w *world) sink(r *http.Request, life int) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	r.Body.Close()
	if err != nil {
		return nil, err
	}
	time.Sleep(20 * time.Millisecond)
	w.mu.Lock()
	defer w.mu.Unlock()
	if life != w.age {
		return nil, errReset
	}
	fault := w.fault("sink", "500", "429", "reset", "403", "answer lost")
	if fault == "answer lost" && w.dice(life, time.Now().UnixNano()).IntN(10) > 0 {
		fault = "reset"
	}
	if fault != "" {
		w.sinkFaults++
	}
	switch fault {
	case "500":
		return answer(r, 500, ``)
	case "429":
		return answer(r, 429, ``, "Retry-After", "5")
	case "403":
		return answer(r, 403, ``)
	case "reset":
		return nil, errReset
	}
	for line := range bytes.Lines(body) {
		w.take(line, life, fault == "answer lost")
	}
	if fault == "answer lost" {
		return nil, errReset
	}
	return answer(r, 200, ``)
}

func (w *world) take(line []byte, life int, unsure bool) {
	event := gjson.ParseBytes(line)
	switch event.Get("operation").String() {
	case "connector-gap":
		from, _ := time.Parse(time.RFC3339, event.Get("event_gap_from").String())
		to, _ := time.Parse(time.RFC3339, event.Get("event_gap_to").String())
		w.spans = append(w.spans, [3]any{event.Get("source_name").String(), from, to})
		return
	case "act":
	default:
		return
	}
	id := event.Get("event_id").String()
	w.got[id]++
	if w.got[id] > 1 {
		w.repeated++
		if w.unsure[id] || w.when[id].Add(10*time.Minute).After(time.Now()) || unsure {
			w.excused++
		}
	} else {
		w.when[id] = time.Now()
	}
	if unsure {
		w.unsure[id] = true
	}
}

// verify compares what was delivered with what there is.
func (w *world) verify() {
	w.mu.Lock()
	defer w.mu.Unlock()
	claimed := map[string]bool{}
	for _, s := range w.spans {
		feed, from, to := s[0].(string), s[1].(time.Time), s[2].(time.Time)
		if name := fmt.Sprint(s[:]...); !claimed[name] {
			claimed[name] = true
			w.claimed += int(to.Sub(from).Seconds())
		}
		if !slices.ContainsFunc(w.byFeed[feed], func(r *record) bool { return r.bad && !r.at.Before(from) && r.at.Before(to) }) {
			w.t.Errorf("a gap that is none: %s from %v to %v", feed, from, to)
		}
	}
	first := w.start
	real := map[string]bool{}
	for _, rec := range w.records {
		if rec.bad {
			real[fmt.Sprint(rec.feed, rec.at)] = true
			continue
		}
		if w.got[rec.id] > 0 {
			w.longest = max(w.longest, w.when[rec.id].Sub(rec.seen))
			continue
		}
		inGap := slices.ContainsFunc(w.spans, func(s [3]any) bool {
			return s[0] == rec.feed && !rec.at.Before(s[1].(time.Time)) && rec.at.Before(s[2].(time.Time))
		})
		if rec.seen.Before(w.until) && rec.at.After(first) && !inGap {
			w.lost++
			if w.lost < 5 {
				w.t.Errorf("lost: %s of %v, to be had from %v on", rec.id, rec.at, rec.seen)
			}
		}
	}
	w.real = len(real)
	if w.lost > 0 || w.claimed != w.real || len(claimed) != len(real) {
		w.t.Errorf("%d records lost; gaps claimed: %d s, real: %d s", w.lost, w.claimed, w.real)
	}
	if w.repeated > w.excused {
		w.t.Errorf("%d records were repeated that no kill and no lost answer explains", w.repeated-w.excused)
	}
}
