package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/expression"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

// rig is a partition of its own engine, on a real state, whose reader and destination the
// test plays.
type rig struct {
	*partition
	store   *faultyStore
	taker   *taker
	service *service
	lines   *bytes.Buffer // of the log
}

// feedOf is a feed with windows of an hour.
func feedOf(name string) *definition.Feed {
	return &definition.Feed{
		Name: name, Key: []string{"id"}, Mapping: "m",
		Window: &definition.Window{Max: time.Hour, Overlap: 10 * time.Minute, Retention: 7 * 24 * time.Hour},
	}
}

// compiled is a mapping as an engine takes it, as m.
func compiled(m *transform.Mapping) map[string]func() *transform.Mapping {
	return map[string]func() *transform.Mapping{"m": func() *transform.Mapping { return m }}
}

// newRig makes an engine of one feed.
func newRig(t testing.TB, feed *definition.Feed, change ...func(*Config)) *rig {
	t.Helper()
	mapping, problems := transform.Compile(&definition.Mapping{Name: "m"}, transform.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if feed.Enabled == nil {
		feed.Enabled = mustExpression(t, "true")
	}
	if feed.Scope == nil {
		feed.Scope = mustTemplate(t, "s")
	}
	dir := t.TempDir()
	embedded, err := checkpoint.Open(dir, checkpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { embedded.Close() })
	letters, err := load.OpenDeadLetters(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{store: &faultyStore{Store: embedded}, taker: &taker{events: 1000, bytes: 1 << 20, batches: 4}, service: &service{}, lines: &bytes.Buffer{}}
	config := Config{
		Name: "connector", Version: "1", Feeds: []*definition.Feed{feed}, Mappings: compiled(mapping),
		Client: extract.NewClient(extract.ClientOptions{}), Destination: r.taker, DeadLetters: letters, Store: r.store,
		Poll: 5 * time.Minute, Lookback: 24 * time.Hour, Log: slog.New(slog.NewTextHandler(&locked{w: r.lines}, nil)),
	}
	for _, c := range change {
		c(&config)
	}
	e, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range e.partitions {
		p.reader = r.service
	}
	if len(e.partitions) > 0 {
		r.partition = e.partitions[0]
	}
	return r
}

// service plays what a reader reads.
type service struct {
	mu        sync.Mutex
	windows   []extract.Window
	read      func(ctx context.Context, w extract.Window, sink extract.Sink) error
	probe     func(w extract.Window) error
	subscribe func(last time.Time) (time.Time, error)
}

func (s *service) Read(ctx context.Context, w extract.Window, sink extract.Sink) error {
	s.mu.Lock()
	s.windows = append(s.windows, w)
	s.mu.Unlock()
	if s.read == nil {
		return nil
	}
	return s.read(ctx, w, sink)
}

func (s *service) Subscribe(_ context.Context, last time.Time, _ bool) (time.Time, bool, error) {
	if s.subscribe == nil {
		return last, false, nil
	}
	at, err := s.subscribe(last)
	return at, !at.Equal(last), err
}

func (s *service) Probe(_ context.Context, w extract.Window) (int, error) {
	if s.probe == nil {
		return 0, nil
	}
	return 0, s.probe(w)
}

func (s *service) Clock(context.Context) (time.Duration, bool) { return 0, false }

func (s *service) Stats() extract.Stats { return extract.Stats{} }

func (s *service) Pace(func(context.Context) error, func()) {}

func (s *service) Fallback() time.Time { return time.Time{} }

// page hands over records as one page, and items as documents of one record each.
func page(ctx context.Context, sink extract.Sink, records ...string) error {
	s := sink.Open("", time.Time{})
	for _, id := range records {
		if err := s.Record(ctx, fmt.Appendf(nil, `{"id":%q}`, id)); err != nil {
			return err
		}
	}
	return s.End()
}

// list hands over whole records as one page.
func list(ctx context.Context, sink extract.Sink, records ...string) error {
	s := sink.Open("", time.Time{})
	for _, raw := range records {
		if err := s.Record(ctx, []byte(raw)); err != nil {
			return err
		}
	}
	return s.End()
}

func document(ctx context.Context, sink extract.Sink, item string, records ...string) error {
	if known, err := sink.Known(item, time.Time{}); err != nil || known {
		return err
	}
	s := sink.Open(item, time.Time{})
	for _, id := range records {
		if err := s.Record(ctx, fmt.Appendf(nil, `{"id":%q}`, id)); err != nil {
			return err
		}
	}
	return s.End()
}

// taker is a destination that plays what it is told to.
type taker struct {
	events, bytes, batches int
	deliver                func(ctx context.Context, ids []string) ([]load.Refused, error)

	mu  sync.Mutex
	got []string // the ids of what was accepted; of the connector's own events, the operation
	bad bool
}

func (d *taker) Deliver(ctx context.Context, b load.Batch) ([]load.Refused, error) {
	var ids []string
	for _, event := range b.Events {
		id := gjson.GetBytes(event, "event_id").String()
		if id == "" {
			id = gjson.GetBytes(event, "operation").String()
		}
		if change := gjson.GetBytes(event, "event_change").String(); change != "" {
			id += " " + change
		}
		if changed := gjson.GetBytes(event, "event_changed").String(); changed != "" {
			id += " " + changed
		}
		ids = append(ids, id)
	}
	var refused []load.Refused
	if d.deliver != nil {
		var err error
		if refused, err = d.deliver(ctx, ids); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, id := range ids {
		if !slices.ContainsFunc(refused, func(r load.Refused) bool { return r.Index == i }) {
			d.got = append(d.got, id)
		}
	}
	return refused, nil
}

// ids are what was accepted.
func (d *taker) ids() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.got)
}

func (d *taker) Name() string     { return "taker" }
func (d *taker) BatchEvents() int { return d.events }
func (d *taker) BatchBytes() int  { return d.bytes }
func (d *taker) Batches() int     { return d.batches }
func (d *taker) Close() error     { return nil }
func (d *taker) State() load.State {
	d.mu.Lock()
	defer d.mu.Unlock()
	return load.State{OK: !d.bad, Events: int64(len(d.got))}
}

// faultyStore is a real state whose commits are noted, and may fail.
type faultyStore struct {
	checkpoint.Store
	fails func(*checkpoint.Commit) error

	mu      sync.Mutex
	commits []checkpoint.Commit
}

func (s *faultyStore) Commit(c *checkpoint.Commit) error {
	if s.fails != nil {
		if err := s.fails(c); err != nil {
			return err
		}
	}
	s.mu.Lock()
	noted := *c
	noted.Keys = slices.Clone(c.Keys)
	s.commits = append(s.commits, noted)
	s.mu.Unlock()
	return s.Store.Commit(c)
}

// remembers reports which of the ids, and items, are remembered.
func (r *rig) remembers(ids ...string) (known []string) {
	for _, id := range ids {
		_, record, err := r.store.Seen(checkpoint.KeyOf(r.feed.Name, "record", id))
		_, item, err2 := r.store.Seen(r.itemKey(id))
		if err := errors.Join(err, err2); err != nil {
			known = append(known, err.Error())
		}
		if record || item {
			known = append(known, id)
		}
	}
	return known
}

// locked is a writer for several goroutines.
type locked struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// taken is what was written since it was called last.
func (l *locked) taken() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.w.Reset()
	return l.w.String()
}

func mustExpression(t testing.TB, source string) *expression.Program {
	t.Helper()
	p, err := expression.Compile(source, expression.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// written are feeds as they are written, with the mapping m.
func written(t testing.TB, texts ...string) (feeds []*definition.Feed) {
	t.Helper()
	files := fstest.MapFS{}
	for i, text := range texts {
		files[fmt.Sprintf("%c.yaml", 'f'+i)] = &fstest.MapFile{Data: []byte(text)} // they are called f and g
	}
	set, problems := definition.Load(definition.Options{Feeds: files, Mappings: fstest.MapFS{"m.yaml": {Data: []byte("name: m\nfields: {operation: '\"x\"'}\n")}}})
	if definition.Invalid(problems) {
		t.Fatal(problems)
	}
	return set.Feeds
}

// mustTemplate is a template as a feed has it.
func mustTemplate(t testing.TB, source string) *definition.Template {
	t.Helper()
	return written(t, fmt.Sprintf("name: f\nrequest: {url: \"https://api.example\", query: {q: %q}}\nkey: id\nmapping: m\n", source))[0].Request.Query[0].Value
}

// span is the window that ended just now.
func span() extract.Window {
	to := time.Now().UTC().Truncate(time.Second)
	return extract.Window{From: to.Add(-time.Hour), To: to}
}
