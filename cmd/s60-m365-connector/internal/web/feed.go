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
)

// This file is the page of one feed: what it reads, how it fares, and what became of its last windows.

// shownWindows is how many windows the page of a feed lists.
const shownWindows = 40

type feedPage struct {
	Feed, Description, Docs     string
	Mapping, Permissions, Needs string
	Level                       level
	Headline                    string
	Facts                       []fact
	Ranges                      []rangeView
	Span                        string
	Axis                        []string
	Partitions                  []feedView
	Delays                      []delayView
	Windows                     []windowView
	More                        bool // there are older windows
	Asked                       []askedView
	Failures                    []failureView
	Samples                     []sampleView
	Values                      bool   // of records may be shown
	Intended                    string // how far behind now it may be on purpose
	Parted                      bool   // it has several partitions
	Now                         time.Time
}

// delayView is one class of the two histograms.
type delayView struct{ Upto, Latency, Lateness string }

type windowView struct {
	Partition  string
	From, To   time.Time
	Span, Note string // what is told of it beside the numbers
	ledgerView
}

// showFeed is the page of the feed that the path names.
func (p *pages) showFeed(reading chan struct{}, w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("feed")
	status := p.status()
	v, known := p.feedView(status, name, chosenRange(r.FormValue("range")))
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
	f := p.frame("feed")
	f.Version = status.Version
	render(w, http.StatusOK, "feed.html", struct {
		frame
		feedPage
	}{f, v})
}

// feedView is the page's account of a feed, but for its windows.
func (p *pages) feedView(s engine.Status, name string, span time.Duration) (v feedPage, known bool) {
	feed := p.defs.Set.Feed(name)
	if feed == nil {
		return v, false
	}
	samples := p.history.Last(span, fleet.SampleOf(s))
	v = feedPage{
		Feed: name, Description: feed.Description, Docs: feed.Docs, Mapping: feed.Mapping,
		Permissions: strings.Join(feed.Permissions, ", "), Level: quiet, Headline: "Switched off", Span: wording.Span(plotSpan(samples)), Now: s.Now.UTC(),
		Axis: axis(samples), Ranges: ranges(span),
	}
	if feed.Licence != nil {
		v.Needs = feed.Licence.Requires
	}
	v.Intended = wording.Span(p.set.Poll + distance(feed))
	asked, failures, events := p.recent.Of(name)
	v.Asked, v.Failures, v.Samples, v.Values = viewAsked(asked), viewFailures(failures), viewSamples(events), p.values
	for i, f := range s.Feeds {
		if f.Feed == name && f.State != engine.Disabled {
			v.Partitions = append(v.Partitions, feedRow(s, f, i, samples, feed))
		}
	}
	v.Parted = len(v.Partitions) > 1
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
		latency := latencyOf(f.Latency)
		v.Facts = []fact{
			{"Delivered", number(f.Delivered()), "events since the start", quiet},
			{"Repeated", number(f.Duplicate()), "offered again, not sent again", quiet},
			{"Latency", cmp.Or(latency.Median, "–"), cmp.Or(latency.Most, "nothing new yet"), quiet},
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
		list = append(list, delayView{upto, number(f.Latency.Counts[i]), number(f.Lateness.Counts[i])})
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
		v := windowView{Partition: e.Partition, From: e.From.UTC(), To: e.To.UTC(), Span: wording.Span(e.To.Sub(e.From)), ledgerView: ledgerOf(engine.FeedStatus{Total: e.Counts, Difference: items + records})}
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
		v.Note = strings.Join(notes, "; ")
		list = append(list, v)
	}
	return list, more, nil
}
