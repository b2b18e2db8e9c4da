package extract

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
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
				path := filepath.Join(dir, usageFolder, "reports.times")
				if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o700), c.make(path)); err != nil {
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

// TestPausedProcess: a process that was paused for long sends nothing more of what others do by now.
func TestPausedProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		may := true
		b := NewClient(ClientOptions{May: func() bool { return may }}).bucket(reports("f"))
		sends(t, b, time.Second)
		may = false
		if _, err := pass(t.Context(), b, 0); !errors.Is(err, errMayNot) || b.limit.places != 0 {
			t.Errorf("%v, %d places left", err, b.limit.places)
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
	}{
		"nothing was sent":            {},
		"a few":                       {sent: 2},
		"all of it":                   {sent: 5, free: 10500 * time.Millisecond},
		"all of it, and away a while": {sent: 5, away: 8 * time.Second, free: 2500 * time.Millisecond},
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
				next.Share(feed, 0.5, max(rest-c.away, 0))
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
