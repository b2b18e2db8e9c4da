package extract

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// reports is a feed with the budget of the reports of Microsoft Graph.
func reports(name string) *definition.Feed {
	return &definition.Feed{Name: name, RateLimit: &definition.RateLimit{Requests: 5, Per: 10 * time.Second, Bucket: "reports"}}
}

// sends sends as fast as the bucket lets it, for so long.
func sends(t *testing.T, b *bucket, during time.Duration) (at []time.Time) {
	for begun := time.Now(); time.Since(begun) < during; {
		if _, err := pass(t.Context(), b, 0); err != nil {
			t.Fatal(err)
		}
		at = append(at, time.Now())
	}
	return at
}

// TestRestart: what a process has sent counts for the next one, however it ended. One that finds
// room does not wait.
func TestRestart(t *testing.T) {
	for name, c := range map[string]struct {
		ran, away time.Duration
		waits     time.Duration // at most
	}{
		"within seconds, with all of it used": {ran: 3 * time.Second, away: time.Second, waits: 10 * time.Second},
		"later":                               {ran: 3 * time.Second, away: 11 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				client := func() *bucket { return NewClient(ClientOptions{UsageDir: dir}).bucket(reports("f")) }
				all := sends(t, client(), c.ran)
				time.Sleep(c.away)
				begun := time.Now()
				next := sends(t, client(), 30*time.Second)
				if waited := next[0].Sub(begun); waited > c.waits {
					t.Errorf("the next process waited %s", waited)
				}
				if n := most(append(all, next...), 10*time.Second); n != 5 {
					t.Errorf("%d requests in 10 s", n)
				}
			})
		})
	}
}

// TestUsageFile: a ring that is damaged, cut, or of a clock that ran ahead bounds the wait all the
// same, and one that cannot be written is told once.
func TestUsageFile(t *testing.T) {
	for name, c := range map[string]struct {
		make func(path string) error
		told int
	}{
		"a clock that ran ahead": {func(path string) error {
			return os.WriteFile(path, []byte(strings.Repeat("\xff\xff\xff\xff\xff\xff\xff\x7f", 5)), 0o600)
		}, 0},
		"cut":      {func(path string) error { return os.WriteFile(path, []byte("abc"), 0o600) }, 0},
		"a folder": {func(path string) error { return os.Mkdir(path, 0o700) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				path := filepath.Join(dir, "reports.times")
				if err := c.make(path); err != nil {
					t.Fatal(err)
				}
				var log strings.Builder
				b := NewClient(ClientOptions{UsageDir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))}).bucket(reports("f"))
				begun := time.Now()
				sends(t, b, 15*time.Second)
				if n := strings.Count(log.String(), "cannot be kept"); n != c.told {
					t.Errorf("told %d times: %s", n, log.String())
				}
				if took := time.Since(begun); took > 30*time.Second {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

// TestPausedProcess: a process that was paused for long sends nothing more of what others do by now, not
// even what waited for its token meanwhile.
func TestPausedProcess(t *testing.T) {
	s := newService(t)
	asked, may := 0, true
	s.mux.HandleFunc("/r", func(w http.ResponseWriter, _ *http.Request) { asked++; fmt.Fprint(w, `{"value":[]}`) })
	o := s.options()
	o.May = func() bool { return may }
	if _, err := read(t, o, s.feed(t, "/r"), newSink()); err != nil || asked != 1 {
		t.Fatalf("%d requests, %v", asked, err)
	}
	s.mux.HandleFunc("POST /late", func(w http.ResponseWriter, _ *http.Request) {
		may = false
		fmt.Fprint(w, `{"token_type":"Bearer","expires_in":3599,"access_token":"token"}`)
	})
	o.TokenURL = s.URL + "/late"
	if _, err := read(t, o, s.feed(t, "/r"), newSink()); !errors.Is(err, errMayNot) || asked != 1 {
		t.Errorf("%d requests, %v", asked, err)
	}
}

// TestSlowToken: what waits for its token once it is granted counts from when it is sent.
func TestSlowToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const per = 2 * time.Second
		s := serviceInMemory()
		s.mux.HandleFunc("POST /slow", func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(per)
			fmt.Fprint(w, `{"token_type":"Bearer","expires_in":3599,"access_token":"token"}`)
		})
		var mu sync.Mutex
		var at []time.Time
		s.mux.HandleFunc("/r", func(w http.ResponseWriter, _ *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, time.Now())
			fmt.Fprint(w, `{"value":[]}`)
		})
		o := s.options()
		o.TokenURL = s.URL + "/slow"
		client, feed := NewClient(o), s.feed(t, "/r")
		feed.RateLimit = &definition.RateLimit{Requests: 2, Per: per, Bucket: "b"}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				r, err := NewReader(client, feed, "", nil)
				if err == nil {
					err = r.Read(t.Context(), Window{}, newSink())
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := most(at, per); n != 2 || len(at) != 4 {
			t.Errorf("%d requests of %d in one span of a limit of 2", n, len(at))
		}
	})
}

// TestSharesOfClients: the clients of a tenant in one process have its limit in common, and of what other
// processes leave equal parts; one that goes leaves its own to the others.
func TestSharesOfClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed, common := reports("f"), &Buckets{}
		a, b := NewClient(ClientOptions{Buckets: common}), NewClient(ClientOptions{Buckets: common})
		if n := most(append(sends(t, a.bucket(feed), time.Second), sends(t, b.bucket(feed), time.Second)...), 10*time.Second); n != 5 {
			t.Errorf("%d requests in 10 s", n)
		}
		l := &a.bucket(feed).limit
		for _, step := range []struct {
			do   func()
			want int
		}{
			{func() { a.Share(feed, 1, 0) }, 5},
			{func() { b.Share(feed, 0, 0) }, 2},
			{func() { b.Share(feed, 1, 0) }, 5},
			{func() { a.Share(feed, 0, 0) }, 2},
			{func() { a.Close() }, 5},
		} {
			step.do()
			time.Sleep(11 * time.Second)
			l.mu.Lock()
			got, _ := l.own(time.Now())
			l.mu.Unlock()
			if got != step.want {
				t.Errorf("%d requests are this process's, want %d", got, step.want)
			}
		}
	})
}

// TestHandOver: who takes a partition over sends at once what its former holder has left of the
// budget, and both together keep to it.
func TestHandOver(t *testing.T) {
	for name, c := range map[string]struct {
		sent int           // by the former holder, at once
		away time.Duration // between its release and the claim
		free time.Duration // that the claim has to wait, at most
		dead bool          // it told nothing, and is known not to have worked since
	}{
		"nothing was sent":            {},
		"a few":                       {sent: 2},
		"all of it":                   {sent: 5, free: 10500 * time.Millisecond},
		"all of it, and away a while": {sent: 5, away: 8 * time.Second, free: 2500 * time.Millisecond},
		"it was killed":               {sent: 5, away: 7500 * time.Millisecond, free: 3 * time.Second, dead: true},
		"it was killed long before":   {sent: 5, away: 15 * time.Second, dead: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				former, next := NewClient(ClientOptions{}), NewClient(ClientOptions{})
				feed := reports("f")
				former.Share(feed, 1, 0)
				next.Share(feed, 0, 0)
				var all []time.Time
				for range c.sent {
					if _, err := pass(t.Context(), former.bucket(feed), 0); err != nil {
						t.Fatal(err)
					}
					all = append(all, time.Now())
				}
				rest := former.Share(feed, 0.5, 0)
				time.Sleep(c.away)
				if rest = max(rest-c.away, 0); c.dead {
					rest = -c.away
				}
				next.Share(feed, 0.5, rest)
				begun := time.Now()
				got := sends(t, next.bucket(feed), 30*time.Second)
				if waited := got[0].Sub(begun); waited != c.free {
					t.Errorf("it waited %s, want %s", waited, c.free)
				}
				if n := most(append(all, got...), 10*time.Second); n > 5 {
					t.Errorf("%d requests in 10 s", n)
				}
			})
		})
	}
}
