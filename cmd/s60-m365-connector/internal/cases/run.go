package cases

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
)

// poll is the time between two rounds of a case: the default of POLLING_INTERVAL_MINUTES.
const poll = 5 * time.Minute

const tokenURL = "https://login.microsoftonline.com/token"

const tenant = "11111111-2222-4333-8444-555555555555"

// Fixed are the settings that a case does not take from the machine that it runs on.
var Fixed = map[string]any{
	"TENANT_ID": tenant, "CLIENT_ID": "00000000-1111-2222-3333-444444444444", "PUBLISHER_ID": tenant, "MS_CLOUD": "commercial",
	"MS_LOGIN_BASE": "https://login.microsoftonline.com", "MS_MANAGE_BASE": "https://manage.office.com", "MS_GRAPH_BASE": "https://graph.microsoft.com",
	"MS_DEFENDER_BASE":     "https://api.securitycenter.microsoft.com",
	"ENABLE_MGMT_ACTIVITY": true, "ENABLE_GRAPH": true, "FEEDS": []any{}, "ENVIRONMENT": "",
}

// Run runs the case on definitions, with the settings that expressions see, as far as they are not [Fixed]. What fails the
// case whatever is expected of it is an error: a request that no exchange answers, or an exchange that nobody asked for.
func (c *Case) Run(defs *definitions.Compiled, settings map[string]any) (got Expect, err error) {
	feed := defs.Set.Feed(c.Feed)
	if feed == nil {
		return got, fmt.Errorf("there is no feed %q", c.Feed)
	}
	// Only a bubble has virtual time, and only a test can have a bubble; this one is a test of
	// definitions, and needs nothing else of the T.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the case came to no end: %v", p)
		}
	}()
	feeds := []*definition.Feed{feed.With(true)}
	if c.Backfill != nil {
		if of := defs.Set.ArchiveOf(feed.Name); of != nil {
			feeds[0] = of.With(true) // which the archive is read by
		}
		if archive := defs.Set.Feed(feeds[0].Archive); archive != nil {
			feeds = append(feeds, archive)
		}
	}
	synctest.Test(new(testing.T), func(*testing.T) { got, err = c.run(feeds, defs, settings) })
	return got, err
}

func (c *Case) run(feeds []*definition.Feed, defs *definitions.Compiled, settings map[string]any) (got Expect, err error) {
	lookback, err := time.ParseDuration(cmp.Or(c.Lookback, "1h"))
	if err != nil {
		return got, fmt.Errorf("lookback: %w", err)
	}
	now := c.Now
	if now.IsZero() {
		now = Start
	}
	time.Sleep(time.Until(now)) // a bubble's clock begins in the year 2000

	names := maps.Clone(settings)
	maps.Copy(names, Fixed)
	maps.Copy(names, c.Settings)
	service := &service{c: c, used: make([]bool, len(c.Exchanges))}
	credential, err := extract.NewCredential(extract.ClientSecret, "of a case")
	if err != nil {
		return got, err
	}
	dir, err := os.MkdirTemp("", "case")
	if err != nil {
		return got, err
	}
	defer os.RemoveAll(dir)
	letters, err := load.OpenDeadLetters(dir)
	if err != nil {
		return got, err
	}
	store, err := checkpoint.Open("state", checkpoint.Options{FS: vfs.NewMem()})
	if err != nil {
		return got, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	e, err := engine.New(engine.Config{
		Name: "case", Version: "1", Feeds: feeds, Mappings: defs.Mappings, Settings: names, Constants: definitions.Constants(""),
		Client: extract.NewClient(extract.ClientOptions{
			UserAgent: "case/1", TokenURL: tokenURL, ClientID: "case", Credential: credential, Transport: service,
		}),
		Destination: service, DeadLetters: letters, Store: store,
		Poll: poll, Lookback: lookback, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return got, err
	}
	var failed error
	if b := c.Backfill; b != nil {
		failed = e.Backfill(context.Background(), feeds[0].Name, b.From, b.To, false, nil)
		c.Rounds = 0
	}
	for round := range c.Rounds {
		if round > 0 {
			time.Sleep(poll)
		}
		failed = e.Once(context.Background())
	}
	if failed != nil {
		got.Error = failed.Error()
	}
	if err := service.verify(); err != nil {
		return got, err
	}
	got.Events = service.events
	sortEvents(got.Events)
	err = got.read(store, c.Feed)
	return got, err
}

// read takes cursor and ledger out of the state.
func (x *Expect) read(store checkpoint.Store, feed string) error {
	cursors := map[string]any{}
	positions, err := store.Positions(feed)
	if err != nil {
		return err
	}
	for of, p := range positions {
		if of[0] == feed && !p.Cursor.IsZero() { // an archive has none
			cursors[of[1]] = p.Cursor.UTC().Format(time.RFC3339)
		}
	}
	x.Cursor = cursors
	if only, ok := cursors[""]; ok && len(cursors) == 1 {
		x.Cursor = only
	}
	var sum checkpoint.Counts
	for entry, err := range store.Ledger(feed) {
		if err != nil {
			return err
		}
		if entry.Feed != feed {
			continue
		}
		sum.Add(&entry.Counts)
		if !entry.Complete { // what it listed and did not finish, a later window lists again
			continue
		}
		if items, records := entry.Difference(); items != 0 || records != 0 {
			return fmt.Errorf("the ledger does not add up: %d items and %d records are not accounted for", items, records)
		}
	}
	raw, err := json.Marshal(sum)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &x.Ledger); err != nil {
		return err
	}
	x.Ledger = nonZero(x.Ledger)
	return nil
}

// service answers requests from the exchanges of a case, and is the destination of its events.
type service struct {
	c *Case

	mu      sync.Mutex
	used    []bool
	strange []string
	events  []map[string]any
}

// RoundTrip implements [http.RoundTripper].
func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	if r.URL.String() == tokenURL {
		return response(r, 200, http.Header{"Content-Type": {"application/json"}}, []byte(`{"token_type":"Bearer","expires_in":86400,"access_token":"of-a-case"}`), false), nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.c.Exchanges {
		x := &s.c.Exchanges[i]
		if s.used[i] || !x.matches(r, body) {
			continue
		}
		s.used[i] = true
		out, ok := x.Answer.Body.(string)
		if !ok && x.Answer.Body != nil {
			raw, err := json.Marshal(x.Answer.Body)
			if err != nil {
				return nil, err
			}
			out = string(raw)
		}
		return response(r, cmp.Or(x.Answer.Status, 200), x.header(), []byte(out), x.Answer.Cut), nil
	}
	said := r.Method + " " + Readable(r.URL)
	if len(body) > 0 {
		said += " " + string(body)
	}
	s.strange = append(s.strange, said)
	return response(r, http.StatusNotImplemented, http.Header{}, nil, false), nil
}

// Readable is a URL with its query as people write it.
func Readable(u *url.URL) string {
	query, err := url.QueryUnescape(strings.ReplaceAll(u.RawQuery, "+", "%2B"))
	if err != nil || query == "" {
		return u.String()
	}
	bare := *u
	bare.RawQuery = ""
	return bare.String() + "?" + query
}

func response(r *http.Request, status int, header http.Header, body []byte, cut bool) *http.Response {
	length, stream := int64(len(body)), io.Reader(bytes.NewReader(body))
	if cut {
		stream = io.MultiReader(bytes.NewReader(body[:len(body)/2]), cutOff{})
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(stream), ContentLength: length, Request: r,
	}
}

type cutOff struct{}

func (cutOff) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func (x *Exchange) matches(r *http.Request, body []byte) bool {
	method := x.Request.Method
	if method == "" {
		method = http.MethodGet
		if x.Request.Body != nil {
			method = http.MethodPost
		}
	}
	want, err := url.Parse(x.Request.URL)
	if err != nil || method != r.Method || want.Scheme != r.URL.Scheme || want.Host != r.URL.Host || want.Path != r.URL.Path {
		return false
	}
	given := r.URL.Query()
	if want.RawQuery != "" && want.Query().Encode() != given.Encode() {
		return false
	}
	for name, value := range x.Request.Query {
		if given.Get(name) != value {
			return false
		}
	}
	if x.Request.Body == nil {
		return true
	}
	if expected, ok := x.Request.Body.(string); ok {
		return expected == string(body)
	}
	var sent any
	return json.Unmarshal(body, &sent) == nil && text(sent) == text(x.Request.Body)
}

// verify reports requests that no exchange answered, and exchanges that nobody asked for.
func (s *service) verify() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var problems []string
	for i, request := range s.strange {
		if i == 3 { // the engine asks again, in other ways
			problems = append(problems, fmt.Sprintf("and %d more such requests", len(s.strange)-i))
			break
		}
		problems = append(problems, "no exchange answers "+request)
	}
	for i, used := range s.used {
		if !used {
			problems = append(problems, fmt.Sprintf("nobody asked for exchange %d, %s", i+1, s.c.Exchanges[i].Request.URL))
		}
	}
	if problems != nil {
		return errors.New(strings.Join(problems, "\n"))
	}
	return nil
}

// Deliver implements [load.Destination].
func (s *service) Deliver(_ context.Context, batch load.Batch) ([]load.Refused, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, raw := range batch.Events {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		var event map[string]any
		if err := d.Decode(&event); err != nil {
			return nil, err
		}
		for name, value := range event {
			if n, ok := value.(json.Number); ok {
				event[name] = number(n)
			}
		}
		s.events = append(s.events, event)
	}
	return nil, nil
}

// number is a number as YAML writes it, without losing a digit.
func number(n json.Number) any {
	if i, err := n.Int64(); err == nil {
		return i
	}
	if f, err := n.Float64(); err == nil && fmt.Sprint(f) == n.String() {
		return f
	}
	return n.String()
}

// The rest of [load.Destination].
func (s *service) Name() string      { return "case" }
func (s *service) BatchEvents() int  { return 100 }
func (s *service) BatchBytes() int   { return 1 << 20 }
func (s *service) Batches() int      { return 1 }
func (s *service) State() load.State { return load.State{OK: true} }
func (s *service) Close() error      { return nil }
