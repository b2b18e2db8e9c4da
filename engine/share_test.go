package engine

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
)

// leased is a partition that the test takes away.
type leased struct{ take context.CancelCauseFunc }

func (l *leased) Hold(ctx context.Context, _, _ string, _ bool) (context.Context, time.Duration, func(time.Duration), error) {
	held, take := context.WithCancelCause(ctx)
	l.take = take
	return held, 0, func(time.Duration) { take(nil) }, nil
}
func (l *leased) Holder(string, string) (string, time.Time) { return "", time.Time{} }
func (l *leased) Replicas() ([]string, string)              { return nil, "" }
func (l *leased) Joined() error                             { return nil }

// sharing has one partition held by another process, one given back, and the rest here.
type sharing struct{ leased }

func (*sharing) Holder(_, partition string) (string, time.Time) {
	switch partition {
	case "x":
		return "b", time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	case "z":
		return "", time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC)
	}
	return "a", time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC)
}
func (*sharing) Replicas() ([]string, string) { return []string{"a", "b"}, "a" }

// alone has seen nobody yet.
type alone struct{ sharing }

func (*alone) Replicas() ([]string, string) { return nil, "a" }

// Status and heartbeat name the replicas, what each holds, and the last hand-over.
func TestReplicasAreShown(t *testing.T) {
	feed := feedOf("f")
	feed.ForEach = &definition.ForEach{Variable: "v", Values: mustExpression(t, `["x", "y", "z"]`)}
	r := newRig(t, feed, func(c *Config) { c.Leases = &sharing{} })
	for _, p := range []*partition{r.engine.partitions[0], r.engine.partitions[2]} {
		p.observe(func(s *FeedStatus) { s.State = Standby })
	}
	s := r.engine.Status()
	if len(s.Replicas) != 2 || !s.Replicas[0].Here || !slices.Equal(s.Replicas[0].Held, []string{"f y"}) || !slices.Equal(s.Replicas[1].Held, []string{"f x"}) {
		t.Errorf("the replicas are %+v", s.Replicas)
	}
	if s.HandOver.To != "b" || s.HandOver.Partition != "x" {
		t.Errorf("the last hand-over is %+v", s.HandOver)
	}
	event := r.engine.heartbeatEvent()
	for field, want := range map[string]any{
		"event_replica_name": "a", "event_replicas": 2, "event_replica_partitions": 1, "event_replica_b_partitions": 1,
		"event_hand_over": "f x to b", "event_hand_over_at": "2026-03-01T12:00:00Z",
	} {
		if event[field] != want {
			t.Errorf("the heartbeat has %s %v, want %v", field, event[field], want)
		}
	}
	r = newRig(t, feed, func(c *Config) { c.Leases = &alone{} })
	if event := r.engine.heartbeatEvent(); event["event_replica_name"] != "a" || event["event_replicas"] != nil {
		t.Errorf("a heartbeat before others were seen names %v and counts %v replicas", event["event_replica_name"], event["event_replicas"])
	}
}

// That the state was lost, or is new, is told once, as soon as the destination takes it.
func TestALostStateIsTold(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"connector-state-restored": func(c *Config) { c.Restored = "it was lost" },
		"connector-state-new":      func(c *Config) { c.New = true },
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, feedOf("f"), change, func(c *Config) { c.Heartbeat = time.Hour })
			defer r.store.Close() //nolint:errcheck // the test has ended
			down := time.Now().Add(10 * time.Minute)
			r.taker.deliver = func(_ context.Context, ids []string) ([]load.Refused, error) {
				if time.Now().Before(down) {
					return nil, errors.New("down")
				}
				return nil, nil
			}
			r.engine.tellState(t.Context())
			if ids := r.taker.ids(); !slices.Equal(ids, []string{want}) || time.Now().After(down.Add(time.Minute)) {
				t.Errorf("told %q, want %s", ids, want)
			}
		})
	}
}

// A session that is lost because the servers have no leader does not make what was delivered come
// twice: it is committed as soon as they have one, unless another process took the partition over, or
// the connector is to stop.
func TestALostPartitionCommitsWhatWasDelivered(t *testing.T) {
	const after = 7 * time.Second // the session is lost
	noLeader, fenced := errors.New("no leader"), checkpoint.ErrFenced
	for name, c := range map[string]struct {
		leader time.Duration // from when on commits are stored
		then   error         // what they end with
		stop   time.Duration // of the connector
		took   time.Duration // the longest
		want   int
	}{
		"a leader is elected":             {leader: 13 * time.Second, took: 15 * time.Second, want: 1},
		"another process claimed it":      {leader: 13 * time.Second, then: fenced, took: 15 * time.Second},
		"none is elected for minutes":     {leader: time.Hour, took: after + outlast + time.Second},
		"meanwhile the connector is told": {leader: time.Hour, stop: 10 * time.Second, took: 11 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				leases := &leased{}
				r := newRig(t, feedOf("f"), func(c *Config) { c.Leases = leases })
				defer r.store.Close() //nolint:errcheck // the test has ended
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				held, release, err := r.lease(ctx, true)
				if err != nil {
					t.Fatal(err)
				}
				defer release()
				r.service.read = func(ctx context.Context, _ extract.Window, sink extract.Sink) error { return page(ctx, sink, "a") }
				began := time.Now()
				r.store.fails = func(*checkpoint.Commit) error {
					if time.Since(began) < c.leader {
						return noLeader
					}
					return c.then
				}
				time.AfterFunc(after, func() { leases.take(errors.New("the session was lost")) })
				if c.stop > 0 {
					time.AfterFunc(c.stop, stop)
				}
				r.window(held, span(), time.Now(), pass{}) //nolint:errcheck // what it leaves is looked at
				if took := time.Since(began); took > c.took || len(r.remembers("a")) != c.want {
					t.Errorf("after %s are remembered %v, want %d after at most %s", took, r.remembers("a"), c.want, c.took)
				}
			})
		})
	}
}

// What a partition met goes with it to another process: an outage that others meet later at the same host is told again.
func TestALostPartitionTakesItsTroubleAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := &bytes.Buffer{}
		credential, err := extract.NewCredential(extract.ClientSecret, "s")
		if err != nil {
			t.Fatal(err)
		}
		feeds := []*definition.Feed{feedOf("f"), feedOf("g")}
		for _, feed := range feeds {
			feed.Enabled, feed.Scope = mustExpression(t, "true"), mustTemplate(t, "s")
			feed.Request = definition.Request{Method: "GET", URL: mustTemplate(t, "https://api.example/list")}
		}
		r := newRig(t, feeds[0], func(c *Config) {
			c.Feeds, c.Leases = feeds, &leased{}
			c.Client = extract.NewClient(extract.ClientOptions{
				TokenURL: "https://login.example/token", ClientID: "c", Credential: credential, Log: slog.New(slog.NewTextHandler(&locked{w: lines}, nil)),
				Transport: part(func(r *http.Request) (*http.Response, error) {
					if r.URL.Host == "login.example" {
						return answer(r, 200, `{"access_token":"bearer","token_type":"Bearer","expires_in":3600}`)
					}
					return answer(r, 500, "")
				}),
			})
		})
		defer r.store.Close() //nolint:errcheck // the test has ended
		for told, p := range r.engine.partitions {
			if p.reader, err = r.engine.reader(p.feed, ""); err != nil {
				t.Fatal(err)
			}
			held, release, err := p.lease(t.Context(), true)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.round(held); err == nil {
				t.Errorf("%s was read", p)
			}
			release()
			if n := strings.Count(lines.String(), "no usable answer"); n != told+1 || strings.Contains(lines.String(), "answers again") {
				t.Errorf("%s: %d outages are told, want %d, and no end:\n%s", p, n, told+1, lines)
			}
		}
	})
}
