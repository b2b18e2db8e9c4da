package engine

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

func TestUncovered(t *testing.T) {
	at := func(hour int) time.Time { return began.Add(time.Duration(hour) * time.Hour) }
	spans := func(hours ...int) (out []checkpoint.Span) {
		for pair := range slices.Chunk(hours, 2) {
			out = append(out, checkpoint.Span{From: at(pair[0]), To: at(pair[1])})
		}
		return out
	}
	for name, c := range map[string]struct{ covered, want []int }{
		"nothing":        {nil, []int{10, 20}},
		"all":            {[]int{9, 21}, nil},
		"in two":         {[]int{15, 20, 10, 15}, nil},
		"in the middle":  {[]int{12, 14, 13, 16}, []int{10, 12, 16, 20}},
		"over the edges": {[]int{8, 12, 18, 22}, []int{12, 18}},
		"before":         {[]int{1, 5}, []int{10, 20}},
		"after":          {[]int{25, 30}, []int{10, 20}},
		"touching":       {[]int{5, 10, 20, 30}, []int{10, 20}},
	} {
		if got := uncovered(at(10), at(20), spans(c.covered...)); !slices.Equal(got, spans(c.want...)) {
			t.Errorf("%s: %v, want %v", name, got, spans(c.want...))
		}
	}
	if got := uncovered(at(20), at(10), spans(5, 6, 25, 26)); got != nil {
		t.Errorf("a span that ends before it begins: %v", got)
	}
}

// TestBackfillOfAnArchiveEnds reads periods that end long before the feed began, and before what another backfill
// has read: each query lies within the period that is asked for.
func TestBackfillOfAnArchiveEnds(t *testing.T) {
	var asked []string
	s := shapes["archive"]
	answer := s.answer
	s.answer = func(r *http.Request, body string) string {
		if r.URL.Path == "/jobs" {
			asked = append(asked, strings.Trim(strings.SplitN(body, ":", 2)[1], `"}`)[:len(time.DateOnly)])
		}
		return answer(r, body)
	}
	mapping, _ := transform.Compile(&definition.Mapping{Name: "m"}, transform.Options{})
	feeds := written(t, s.feeds...)
	embedded(t, func(t *testing.T, store, _, _ checkpoint.Store) {
		dead, err := load.OpenDeadLetters(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		taken := &taker{events: 3, bytes: 1 << 20, batches: 1}
		config := Config{
			Name: "connector", Version: "1", Feeds: feeds, Mappings: compiled(mapping), Settings: map[string]any{},
			Client:      extract.NewClient(extract.ClientOptions{Transport: s, MaxAttempts: 1}),
			Destination: taken, DeadLetters: dead, Store: store, Poll: 10 * time.Minute, Lookback: time.Hour, Log: slog.New(slog.DiscardHandler),
		}
		e, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Once(context.Background()); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			from, to int // days of February
			want     string
		}{
			{20, 22, "2026-02-21 2026-02-20"},
			{10, 12, "2026-02-11 2026-02-10"},
			{10, 12, ""}, // it was read
			{9, 13, "2026-02-12 2026-02-09"},
		} {
			asked = nil
			day := func(n int) time.Time { return time.Date(2026, 2, n, 0, 0, 0, 0, time.UTC) }
			if err := e.Backfill(context.Background(), "f", day(c.from), day(c.to), false, nil); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(asked, " "); got != c.want {
				t.Errorf("%d to %d: the archive was asked for %q, want %q", c.from, c.to, got, c.want)
			}
		}
		// What came of it counts as forwarded, and so does what an engine beside it reads again.
		config.Beside = true
		beside, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		before := len(taken.ids())
		if err := beside.Backfill(context.Background(), "f", time.Now().Add(-time.Hour), time.Now(), true, nil); err != nil {
			t.Fatal(err)
		}
		if n, all := e.Status().Feeds[0].Forwarded, len(taken.ids()); n != int64(all) || before == 0 || all == before {
			t.Errorf("%d events are told as forwarded of %d, %d of them before the last backfill", n, all, before)
		}
	})
}
