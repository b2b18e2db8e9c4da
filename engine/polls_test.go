package engine

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
)

// A feed is polled at its own interval, else the connector's. A poll looks back shortly, and every quarter of
// an hour over the whole overlap of the time since it did that last; after it has read what is new.
func TestPolls(t *testing.T) {
	// A poll looks back for so long, and then from there for so long.
	type poll struct{ at, back, further time.Duration }
	const brief, whole = 10 * time.Minute, 2*time.Hour + 15*time.Minute
	for name, c := range map[string]struct {
		interval time.Duration
		lasts    time.Duration
		want     []poll
	}{
		"the connector's interval": {0, 33 * time.Minute, []poll{
			{5 * time.Minute, brief, 0}, {10 * time.Minute, brief, 0}, {15 * time.Minute, brief, whole},
			{20 * time.Minute, brief, 0}, {25 * time.Minute, brief, 0}, {30 * time.Minute, brief, whole}}},
		"its own": {20 * time.Minute, 50 * time.Minute, []poll{
			{20 * time.Minute, 25 * time.Minute, 2*time.Hour + 20*time.Minute}, {40 * time.Minute, 25 * time.Minute, 2*time.Hour + 20*time.Minute}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				feed := feedOf("f")
				feed.Interval, feed.Window.Overlap = c.interval, 2*time.Hour
				r := newRig(t, feed)
				began := time.Now()
				var polls []poll
				r.service.read = func(_ context.Context, w extract.Window, _ extract.Sink) error {
					at := time.Since(began)
					switch last := len(polls) - 1; {
					case at == 0: // the first round
					case last < 0 || polls[last].at != at: // the first window of a later one
						polls = append(polls, poll{at, time.Since(w.From), 0})
					default:
						polls[last].further = max(polls[last].further, time.Since(w.From))
					}
					return nil
				}
				ctx, stop := context.WithTimeout(t.Context(), c.lasts)
				defer stop()
				if err := r.engine.Run(ctx); err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(polls, c.want) {
					t.Errorf("it was polled %v, want %v", polls, c.want)
				}
				r.store.Close()
			})
		})
	}
}

// What appears late, by less than the overlap, is delivered with the next look back over the whole of it: also what
// appeared right after the last one, long before the time that the polls in between look back to.
func TestLateWithinTheOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const late = 2*time.Hour - time.Second
		feed := feedOf("f")
		feed.Window.Overlap = 2 * time.Hour
		r := newRig(t, feed)
		began := time.Now()
		r.service.read = func(ctx context.Context, w extract.Window, sink extract.Sink) error {
			var listed []string
			for minute := range 6 * 60 {
				if at := began.Add(time.Duration(minute) * time.Minute); !at.Before(w.From) && at.Before(w.To) && !time.Now().Before(at.Add(late)) {
					listed = append(listed, strconv.Itoa(minute))
				}
			}
			return page(ctx, sink, listed...)
		}
		const hours = 5
		ctx, stop := context.WithTimeout(t.Context(), hours*time.Hour)
		defer stop()
		if err := r.engine.Run(ctx); err != nil {
			t.Fatal(err)
		}
		got := r.taker.ids()
		for minute := range (hours-2)*60 - 16 { // the others are not yet looked for
			if !slices.Contains(got, strconv.Itoa(minute)) {
				t.Errorf("the record of minute %d never came", minute)
			}
		}
		r.store.Close()
	})
}

// What appears later than the overlap reaches is found by a second look, which says which overlap would have found it; without
// one it never comes.
func TestReconcile(t *testing.T) {
	for want, reconcile := range map[string]*definition.Reconcile{"": nil, "late": {Every: 6 * time.Hour, Depth: 12 * time.Hour}} {
		synctest.Test(t, func(t *testing.T) {
			feed := feedOf("f")
			feed.Reconcile = reconcile
			r := newRig(t, feed)
			at := time.Now().Add(30 * time.Minute)
			r.service.read = func(ctx context.Context, w extract.Window, sink extract.Sink) error {
				if at.Before(w.From) || !at.Before(w.To) || time.Since(at) < 3*time.Hour {
					return page(ctx, sink)
				}
				return page(ctx, sink, "late")
			}
			ctx, stop := context.WithTimeout(t.Context(), 13*time.Hour)
			defer stop()
			if err := r.engine.Run(ctx); err != nil {
				t.Fatal(err)
			}
			got := strings.Join(r.taker.ids(), " ")
			told := strings.Contains(r.lines.String(), "records=1 overlap=10m0s overlap_needed=5h")
			if found := want != ""; got != want || told != found || r.partition.status.Late != int64(len(r.taker.ids())) {
				t.Errorf("%+v: delivered were %q, %d of them late; the log is\n%s", reconcile, got, r.partition.status.Late, r.lines)
			}
			r.store.Close()
		})
	}
}

// The look back goes on while an item fails for days; a second in it that the service never gives is a gap after three rounds,
// as one that is new would be.
func TestLooksBackInTrouble(t *testing.T) {
	for name, trouble := range map[string]struct {
		err  error
		gaps int64
	}{
		"an item that fails":              {&extract.Incomplete{Items: 1, Err: errors.New("a blob answers 500")}, 0},
		"a second that cannot be given":   {nil, 1},
		"both, one after the other's gap": {&extract.Incomplete{Items: 1, Err: errors.New("a blob answers 500")}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				feed := feedOf("f")
				feed.Window.Overlap = 2 * time.Hour
				r := newRig(t, feed)
				item := time.Now().Add(3 * time.Hour) // of what is new from then on one item fails
				late := item.Add(-time.Hour)          // appears an hour after that time, and a second beside it breaks
				r.service.read = func(ctx context.Context, w extract.Window, sink extract.Sink) error {
					in := func(at time.Time) bool { return !at.Before(w.From) && at.Before(w.To) }
					if trouble.gaps > 0 && time.Now().After(item) && in(late.Add(time.Minute)) {
						return &extract.Narrow{Err: errors.New("Value cannot be null")}
					}
					if time.Now().After(item) && in(late) {
						if err := page(ctx, sink, "late"); err != nil {
							return err
						}
					}
					if in(item) {
						return trouble.err
					}
					return nil
				}
				ctx, stop := context.WithTimeout(t.Context(), 5*time.Hour)
				defer stop()
				if err := r.engine.Run(ctx); err != nil {
					t.Fatal(err)
				}
				if !slices.Contains(r.taker.ids(), "late") || r.status.Gaps != trouble.gaps {
					t.Errorf("%d gaps; the late record came: %v", r.status.Gaps, slices.Contains(r.taker.ids(), "late"))
				}
				if held := trouble.err != nil; held != r.position.Cursor.Before(item.Add(time.Second)) {
					t.Errorf("the cursor is at %v, the item at %v", r.position.Cursor, item)
				}
				r.store.Close()
			})
		})
	}
}

// The polls of all partitions are spread over the interval, and each keeps its place whatever its round
// takes; it rests half an interval at least.
func TestSpread(t *testing.T) {
	e := &Engine{Config: Config{Poll: 4 * time.Minute}, started: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	for place := range 4 {
		e.partitions = append(e.partitions, &partition{engine: e, place: place, feed: &definition.Feed{}})
	}
	hourly := &partition{engine: e, place: 2, feed: &definition.Feed{Interval: time.Hour}}
	for _, c := range []struct {
		p         *partition
		now, want time.Duration // since the start; until the next poll
	}{
		{e.partitions[0], 0, 4 * time.Minute},
		{e.partitions[0], 10 * time.Second, 230 * time.Second},
		{e.partitions[1], 0, 3 * time.Minute}, // its place, a minute, is too near
		{e.partitions[1], time.Minute, 4 * time.Minute},
		{e.partitions[1], 70 * time.Second, 230 * time.Second},
		{e.partitions[2], 0, 2 * time.Minute},
		{e.partitions[3], 0, 3 * time.Minute},
		{e.partitions[3], 41*time.Minute + 30*time.Second, 210 * time.Second}, // after a long round
		{hourly, 0, 30 * time.Minute},
		{hourly, 31 * time.Minute, 59 * time.Minute},
	} {
		wait := c.p.untilTurn(e.started.Add(c.now))
		if wait != c.want {
			t.Errorf("place %d at %s rests %s, want %s", c.p.place, c.now, wait, c.want)
		}
	}
}

// A permission that was never granted is a choice: told once, with the remedy, and no failure of the
// connector. One that was taken away is.
func TestNotConsented(t *testing.T) {
	for name, c := range map[string]struct {
		roles  string // of the token; "": it says nothing of itself
		status int
		before bool // the feed worked before
		want   State
		remedy string
	}{
		"never granted":       {`["B.Read"]`, 403, false, NotConsented, "not granted: A.Read;"},
		"two of them":         {`[]`, 401, false, NotConsented, "not granted: A.Read, B.Read;"},
		"granted":             {`["A.Read","B.Read"]`, 403, false, Failing, ""},
		"taken away":          {`["B.Read"]`, 403, true, Failing, ""},
		"another refusal":     {`["B.Read"]`, 500, false, Failing, ""},
		"a token that is mum": {"", 403, false, Failing, ""},
	} {
		t.Run(name, func(t *testing.T) {
			issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				token := "opaque"
				if c.roles != "" {
					part := base64.RawURLEncoding.EncodeToString
					token = part([]byte(`{"alg":"none"}`)) + "." + part(fmt.Appendf(nil, `{"tid":"t","roles":%s}`, c.roles)) + "."
				}
				fmt.Fprintf(w, `{"access_token":%q,"expires_in":3600}`, token)
			}))
			defer issuer.Close()
			secret, err := extract.NewCredential(extract.ClientSecret, "s")
			if err != nil {
				t.Fatal(err)
			}
			feed := feedOf("f")
			feed.Permissions = []string{"A.Read", "B.Read"}
			r := newRig(t, feed, func(config *Config) {
				config.Client = extract.NewClient(extract.ClientOptions{TokenURL: issuer.URL, ClientID: "c", Credential: secret})
			})
			if c.before {
				if err := r.round(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			r.service.read = func(context.Context, extract.Window, extract.Sink) error {
				return &extract.StatusError{Method: "GET", URL: "https://service.example/log", Status: c.status}
			}
			for range 2 {
				if err := r.round(t.Context()); (err == nil) != (c.want == NotConsented) {
					t.Errorf("the round ended with %v", err)
				}
			}
			status := r.engine.Status()
			if got := status.Feeds[0]; got.State != c.want || !strings.HasPrefix(got.GateReason, c.remedy) || (c.remedy == "") != (got.GateReason == "") {
				t.Errorf("the feed is %s: %q", got.State, got.GateReason)
			}
			heartbeat := r.engine.heartbeatEvent()
			if c.want != NotConsented {
				if status.Healthy() || heartbeat["outcome"] != "failure" || heartbeat["event_feeds_failing"] != 1 {
					t.Errorf("a failure is not told: %v", heartbeat)
				}
				return
			}
			if !status.Healthy() || heartbeat["outcome"] != "success" || heartbeat["event_feeds_not_consented"] != 1 || heartbeat["event_feed_f_state"] != "not consented" {
				t.Errorf("it is told as a failure: %v", heartbeat)
			}
			if told := strings.Count(r.lines.String(), "feed not consented"); told != 1 || !strings.Contains(r.lines.String(), c.remedy) {
				t.Errorf("it is told %d times:\n%s", told, r.lines)
			}
			// What else is amiss later has another cause, and takes the place of the remedy.
			r.service.read = func(context.Context, extract.Window, extract.Sink) error { return errors.New("no route") }
			if err := r.round(t.Context()); err == nil || r.status.State != Failing || r.status.GateReason != "" || r.position.GateReason != "" {
				t.Errorf("a failure behind it: %v, %+v", err, r.status)
			}
			r.service.read = nil
			if err := r.round(t.Context()); err != nil || r.status.State != OK || r.engine.Status().Feeds[0].GateReason != "" {
				t.Errorf("once it is granted: %v, %+v", err, r.status)
			}
		})
	}
}
