package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

// What a heartbeat counts goes on where the process before ended, in the middle of a window, too, and adds up.
func TestHeartbeatCountsGoOn(t *testing.T) {
	m, problems := transform.Compile(&definition.Mapping{Name: "m", Drop: []definition.Drop{
		{As: "noise", When: definition.Text{Value: `event_id startsWith "n"`}}}}, transform.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	r := newRig(t, feedOf("f"), func(c *Config) { c.Mappings = compiled(m) })
	r.taker.events, r.taker.batches = 2, 1
	r.service.read = func(ctx context.Context, _ extract.Window, sink extract.Sink) error {
		return page(ctx, sink, "a", "n1", "b", "bad", "c", "d", "e", "f", "a")
	}
	away := errors.New("away")
	var down string // while this is in a batch, the destination is away
	r.taker.deliver = func(_ context.Context, ids []string) (refused []load.Refused, err error) {
		if slices.Contains(ids, down) {
			return nil, away
		}
		if i := slices.Index(ids, "bad"); i >= 0 {
			refused = []load.Refused{{Index: i, Reason: "no"}}
		}
		return refused, nil
	}
	to := time.Now().UTC().Truncate(time.Second)
	read := func() error {
		return r.window(t.Context(), extract.Window{From: to.Add(-time.Hour), To: to}, time.Now(), pass{})
	}
	told := func() (counts [5]int64) {
		t.Helper()
		event := r.engine.heartbeatEvent()
		for i, what := range []string{"listed", "delivered", "duplicate", "filtered", "dead_lettered"} {
			counts[i], _ = event["event_feed_f_"+what].(int64)
		}
		if sum := counts[1] + counts[2] + counts[3] + counts[4]; counts[0] != sum {
			t.Errorf("listed are %d, and their ends are %d: %v", counts[0], sum, counts)
		}
		if by, _ := event["event_feed_f_filtered_noise"].(int64); by != counts[3] {
			t.Errorf("%d were filtered, by the rule %d", counts[3], by)
		}
		return counts
	}
	restart := func() {
		t.Helper()
		before := told()
		e, err := New(r.engine.Config)
		if err != nil {
			t.Fatal(err)
		}
		r.partition = e.partitions[0]
		r.reader = r.service
		r.observe(r.stored)
		if waits := e.Status().Waiting(); waits != "the first round of a feed" {
			t.Errorf("ready before a round has ended: it waits for %q", waits)
		}
		if after := told(); after != before { // before any round
			t.Errorf("before the restart %v, after it %v", before, after)
		}
		if err := r.load(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
	}

	if err := r.load(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	r.position.LastSuccess = time.Now() // of a round of the process before
	down = "e"
	if err := read(); !errors.Is(err, away) {
		t.Fatal(err)
	}
	partly := told()
	if partly[1] < 2 || partly[4] != 1 {
		t.Errorf("of a window that ended in the middle %v is told", partly)
	}
	restart()
	down = ""
	if err := read(); err != nil {
		t.Fatal(err)
	}
	whole := told()
	// The six good records have come once, however often they were listed.
	if whole[1] != 6 || whole[4] != 1 || whole[0] < 9 {
		t.Errorf("of the whole window %v is told", whole)
	}
	restart()
	if err := read(); err != nil {
		t.Fatal(err)
	}
	if again := told(); fmt.Sprint(again) != fmt.Sprint([5]int64{whole[0] + 9, 6, whole[2] + 9, whole[3], 1}) {
		t.Errorf("after %v, reading again tells %v", whole, again)
	}
}
