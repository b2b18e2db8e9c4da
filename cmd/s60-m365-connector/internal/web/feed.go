package web

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
)

// This file is the page of one feed: what it reads, how it fares, and what became of its last windows.

const shownWindows = 40

type feedPage struct {
	frame
	Feed       string
	Def        *definition.Feed
	Level      level
	Headline   string
	Facts      []fact
	Range      time.Duration // that was asked for
	Span       string        // of the plots
	Axis       []string
	Partitions []feedView
	Delays     []delayView
	Windows    []windowView
	More       bool // there are older windows
	Asked      []extract.Asked
	Failures   []fleet.Failure
	Samples    []sampleView
	Values     bool          // of records may be shown
	Intended   time.Duration // how far behind now it may be on purpose
	Now        time.Time
}

// delayView is one class of the two histograms.
type delayView struct {
	Upto              string
	Latency, Lateness int64
}

// windowView is a window with its counts, and what is told of it beside them.
type windowView struct {
	engine.FeedStatus
	From, To time.Time
	Note     string
}

func (p *pages) showFeed(reading chan struct{}, w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("feed")
	v, known := p.feedView(p.status(), name, chosenRange(r.FormValue("range")))
	if !known {
		http.Error(w, fmt.Sprintf("there is no feed %q: the status page lists them", name), http.StatusNotFound)
		return
	}
	leave, ok := enter(reading, w, ledgerBusy)
	if !ok {
		return
	}
	defer leave()
	var err error
	if v.Windows, v.More, err = p.windows(name); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	render(w, http.StatusOK, "feed.html", v)
}

// feedView is the page's account of a feed, but for its windows.
func (p *pages) feedView(s engine.Status, name string, span time.Duration) (v feedPage, known bool) {
	feed := p.defs.Set.Feed(name)
	if feed == nil {
		return v, false
	}
	samples := p.history.Last(span, fleet.SampleOf(s))
	v = feedPage{
		frame: p.frame("feed"), Feed: name, Def: feed, Level: quiet, Headline: "Switched off", Now: s.Now,
		Range: span, Span: wording.Span(plotSpan(samples)), Axis: axis(samples), Intended: p.set.Poll + distance(feed), Values: p.values,
	}
	var events []fleet.Delivered
	v.Asked, v.Failures, events = p.recent.Of(name)
	v.Samples = viewSamples(events)
	for i, f := range s.Feeds {
		if f.Feed == name && f.State != engine.Disabled {
			v.Partitions = append(v.Partitions, feedRow(f, i, samples, feed))
		}
	}
	for _, f := range s.ByFeed() {
		if f.Feed != name {
			continue
		}
		v.Level, v.Headline = stateLevel[f.State], wording.Sentence(stateWord[f.State])
		if f.State == engine.OK {
			v.Headline = "Collecting"
		}
		if f.State == engine.Standby {
			v.Headline = "Standby: another replica reads it"
		}
		latency := fact{"Latency", "–", "nothing new yet", quiet}
		if f.Latency.Count() > 0 {
			latency.Value, latency.Note = within(f.Latency, 0.5), "95 of 100 within "+wording.Span(f.Latency.Quantile(0.95))
		}
		v.Facts = []fact{
			{"Delivered", number(f.Delivered()), "events since the start", quiet},
			{"Repeated", number(f.Duplicate()), "offered again, not sent again", quiet},
			latency,
			{"Late", number(f.Late), "found by a second look", quiet},
			{"Requests", number(f.Requests.Requests), fmt.Sprintf("%s again, throttled for %s", number(f.Requests.Retries), wording.Span(f.Requests.Waited)), quiet},
		}
		v.Delays = delaysOf(f)
	}
	return v, true
}

// distance is how far behind now a feed stays because its newest records come incomplete.
func distance(feed *definition.Feed) time.Duration {
	if feed == nil || feed.Window == nil {
		return 0
	}
	return feed.Window.Delay
}

// delaysOf are the classes of a feed's histograms that hold anything.
func delaysOf(f engine.FeedStatus) []delayView {
	var list []delayView
	bounds := f.Latency.Bounds()
	for i := range f.Latency.Counts {
		if f.Latency.Counts[i] == 0 && f.Lateness.Counts[i] == 0 {
			continue
		}
		upto := "more"
		if i < len(bounds) {
			upto = "up to " + wording.Span(time.Duration(bounds[i])*time.Second)
		}
		list = append(list, delayView{upto, f.Latency.Counts[i], f.Lateness.Counts[i]})
	}
	return list
}

// windows are the last windows of a feed by the ledger, the newest first.
func (p *pages) windows(feed string) (list []windowView, more bool, err error) {
	var entries []checkpoint.Entry
	newest := func(a, b checkpoint.Entry) int {
		return cmp.Or(b.To.Compare(a.To), b.From.Compare(a.From), cmp.Compare(a.Partition, b.Partition))
	}
	for e, err := range p.ledger(feed) {
		if err != nil {
			return nil, false, err
		}
		if e.Feed != feed || e.Windows > 0 { // another whose name begins so; the total of a day
			continue
		}
		if entries = append(entries, e); len(entries) >= 4*shownWindows {
			slices.SortFunc(entries, newest)
			entries, more = entries[:shownWindows], true
		}
	}
	slices.SortFunc(entries, newest)
	if len(entries) > shownWindows {
		entries, more = entries[:shownWindows], true
	}
	for _, e := range entries {
		items, records := e.Difference()
		var notes []string
		if !e.Complete {
			notes = append(notes, "under way")
		}
		if !e.Looked.IsZero() {
			notes = append(notes, "second look at "+e.Looked.UTC().Format("15:04:05"))
		}
		for reason, n := range e.Reasons {
			notes = append(notes, fmt.Sprintf("%s skipped: %s", number(n), reason))
		}
		slices.Sort(notes)
		list = append(list, windowView{
			engine.FeedStatus{Partition: e.Partition, Total: e.Counts, DeadLettered: e.DeadLettered, Difference: items + records}, e.From, e.To, strings.Join(notes, "; "),
		})
	}
	return list, more, nil
}
