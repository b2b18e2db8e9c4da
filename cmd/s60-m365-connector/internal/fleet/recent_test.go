package fleet

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/extract"
)

// TestRecent: the last ones are remembered, the newest first, in bounds that do not grow.
func TestRecent(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, few := range []bool{false, true} {
		var r Recent
		if few {
			r.together = new(atomic.Int64)
		}
		event := make([]byte, 0, 64)
		for n := range 100 {
			now := at.Add(time.Duration(n) * time.Second)
			r.SawAsked(extract.Asked{Feed: "a", URL: fmt.Sprint(n)})
			r.SawFailure("a", "p", now, fmt.Sprint("fault ", n))
			event = fmt.Appendf(event[:0], `{"n":%d}`, n) // its bytes are used again
			r.SawEvent("a", now, event)
		}
		r.SawEvent("a", at, bytes.Repeat([]byte("x"), largestShown+1))
		asked, failures, events := r.Of("a")
		if len(asked) != r.most(recentAsked) || len(failures) != r.most(recentFailures) || len(events) != r.most(recentEvents) {
			t.Fatalf("few %v: %d requests, %d failures, %d events", few, len(asked), len(failures), len(events))
		}
		if asked[0].URL != "99" || asked[1].URL != "98" || failures[0].Text != "fault 99" || string(events[0].Event) != `{"n":99}` || string(events[1].Event) != `{"n":98}` {
			t.Errorf("few %v: not the newest first: %v, %v, %s", few, asked[0], failures[0], events[0].Event)
		}
		r.SawEvent("a", at, []byte("later"))
		if string(events[len(events)-1].Event) == "later" {
			t.Error("what was given changes afterwards")
		}
	}
}

// TestRecentTogether: the events of all tenants have a bound, and what a tenant gives back others may have.
func TestRecentTogether(t *testing.T) {
	var together atomic.Int64
	event := bytes.Repeat([]byte("x"), largestShown)
	tenants := make([]Recent, mostShown/largestShown+100)
	shows := func(i int) int {
		tenants[i].SawEvent("a", time.Time{}, event)
		_, _, events := tenants[i].Of("a")
		return len(events)
	}
	for i := range tenants {
		tenants[i].together = &together
		if want := i < mostShown/largestShown; shows(i) == 1 != want {
			t.Fatalf("tenant %d shows its event: %v", i, !want)
		}
	}
	tenants[0].forget()
	last := len(tenants) - 1
	for range 2 { // there is room for one more event, which gives way to the next
		if shows(last) != 1 || together.Load() > mostShown {
			t.Errorf("the last tenant shows no event, or %d bytes are held", together.Load())
		}
	}
	for i := range tenants {
		tenants[i].forget()
	}
	if together.Load() != 0 {
		t.Errorf("%d bytes are held of nothing", together.Load())
	}
}

// TestFailuresAreGathered: what fails at each poll is told once, with how often.
func TestFailuresAreGathered(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var r Recent
	for n := range 5 {
		r.SawFailure("a", "p", at.Add(time.Duration(n)*time.Minute), "no consent")
	}
	r.SawFailure("a", "q", at.Add(time.Minute), "no consent")
	r.SawFailure("b", "", at, "elsewhere")
	_, failures, _ := r.Of("a")
	want := []Failure{{"p", at, at.Add(4 * time.Minute), 5, "no consent"}, {"q", at.Add(time.Minute), at.Add(time.Minute), 1, "no consent"}}
	if fmt.Sprint(failures) != fmt.Sprint(want) {
		t.Errorf("%v\nwant %v", failures, want)
	}
}
