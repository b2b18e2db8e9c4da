package engine

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
)

// A partition that never moved does not hide how far another is behind.
func TestLagOfAFeedWithAnEmptyCursor(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	empty := FeedStatus{Feed: "a", Partition: "x", State: Starting}
	behind := FeedStatus{Feed: "a", Partition: "y", State: OK, Cursor: now.Add(-5 * 24 * time.Hour)}
	near := FeedStatus{Feed: "a", Partition: "z", State: OK, Cursor: now.Add(-time.Minute)}
	for _, feeds := range [][]FeedStatus{{empty, behind, near}, {behind, empty, near}, {near, behind, empty}} {
		list := Status{Now: now, Feeds: feeds}.ByFeed()
		if len(list) != 1 || list[0].Lag(now) != 5*24*time.Hour {
			t.Errorf("%v: lag %s", feeds, list[0].Lag(now))
		}
	}
}

// failing leases refuse for a reason that passes.
type failing struct {
	asked int
	apart error
}

func (l *failing) Hold(context.Context, string, string, bool) (context.Context, time.Duration, func(time.Duration), error) {
	l.asked++
	return nil, 0, nil, syscall.EMFILE
}
func (l *failing) Holder(string, string) (string, time.Time) { return "", time.Time{} }
func (l *failing) Replicas() ([]string, string)              { return nil, "" }
func (l *failing) Joined() error                             { return l.apart }

// One that cannot reach the others collects nothing, whatever its feeds said last: one cause, told everywhere.
func TestApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases := &failing{}
		r := newRig(t, feedOf("a"), func(c *Config) { c.Leases = leases })
		defer r.store.Close() //nolint:errcheck // the test is over
		leases.apart = errors.New("the shared state is out of reach: NATS refuses the credentials. Check the password")
		if s := r.engine.Status(); !s.Healthy() {
			t.Errorf("not healthy while it joins: %+v", s)
		}
		time.Sleep(joining + time.Second)
		s := r.engine.Status()
		if got := s.Failures(); s.Healthy() || !s.Apart || len(got) != 1 || got[0].Text != leases.apart.Error() {
			t.Errorf("healthy %t, apart %t, failures %+v", s.Healthy(), s.Apart, got)
		}
		if e := r.engine.heartbeatEvent(); e["outcome"] != "failure" || e["event_cause"] != "the shared state is out of reach: NATS refuses the credentials" || e["event_replica_joined"] != false {
			t.Errorf("the heartbeat has %v", e)
		}
		leases.apart = nil
		if s := r.engine.Status(); !s.Healthy() || s.Apart {
			t.Errorf("it takes part again: %+v", s)
		}
	})
}

// What keeps a partition from being held is tried again, for as long as the program runs.
func TestHoldingIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases := &failing{}
		r := newRig(t, feedOf("a"), func(c *Config) { c.Leases, c.Tenant = leases, "one" })
		defer r.store.Close() //nolint:errcheck // the test is over
		ctx, stop := context.WithTimeout(t.Context(), 95*time.Second)
		defer stop()
		began := time.Now()
		if err := r.engine.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if lasted := time.Since(began); lasted != 95*time.Second || leases.asked != 10 {
			t.Errorf("it ran for %s and asked %d times", lasted, leases.asked)
		}
	})
}

// A state that cannot be written and a destination that takes nothing are told after a while, and
// not any more once they work again.
func TestStalled(t *testing.T) {
	for name, c := range map[string]struct {
		hang func(r *rig, until <-chan struct{})
		want string
	}{
		"a commit that does not return": {func(r *rig, until <-chan struct{}) {
			r.store.fails = func(*checkpoint.Commit) error { <-until; return nil }
		}, `the state cannot be written since \S+: make room on its disk`},
		"a disk that stays full": {func(r *rig, until <-chan struct{}) {
			r.store.fails = func(*checkpoint.Commit) error {
				select {
				case <-until:
					return nil
				default:
					return checkpoint.ErrDiskFull
				}
			}
		}, `the state cannot be written since \S+: ` + checkpoint.ErrDiskFull.Error() + "; nothing is lost"},
		"a destination that hangs": {func(r *rig, until <-chan struct{}) {
			r.taker.deliver = func(context.Context, []string) ([]load.Refused, error) { <-until; return nil, nil }
		}, "the destination has accepted nothing since "},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, feedOf("f"), func(c *Config) { c.Heartbeat = time.Hour })
				r.service.read = func(ctx context.Context, _ extract.Window, sink extract.Sink) error { return page(ctx, sink, "a") }
				until := make(chan struct{})
				c.hang(r, until)
				ended := make(chan error)
				go func() { ended <- r.round(t.Context()) }()
				time.Sleep(10 * time.Second)
				if s := r.engine.Status(); s.Stalled != "" || !s.Healthy() {
					t.Errorf("told too soon: %q", s.Stalled)
				}
				time.Sleep(stalledAfter + time.Second)
				s := r.engine.Status()
				if !regexp.MustCompile("^"+c.want).MatchString(s.Stalled) || s.Healthy() {
					t.Errorf("after a while: %q, healthy %t", s.Stalled, s.Healthy())
				}
				if e := r.engine.heartbeatEvent(); e["outcome"] != "failure" || e["event_stalled"] != s.Stalled || !strings.HasSuffix(fmt.Sprint(e["message_text"]), "not collecting: "+s.Stalled) {
					t.Errorf("the heartbeat has %v", e)
				}
				close(until)
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if s := r.engine.Status(); s.Stalled != "" || !s.Healthy() {
					t.Errorf("it works again: %q, healthy %t", s.Stalled, s.Healthy())
				}
				r.store.Close()
			})
		})
	}
}
