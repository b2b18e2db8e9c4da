package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/author"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

// This file tries a feed from its page: it asks for the beginning of the newest window, as the command "try"
// does, and shows what came and what would become of it. It delivers and remembers nothing.

const (
	triedRecords = 3
	tryPatience  = 20 * time.Second
	// tryRest is how long after a try the next one may begin: they take from the budget of collecting.
	tryRest = 5 * time.Second
)

type tryPage struct {
	frame
	Feed, Partition string
	From, To        time.Time
	Level           level
	Headline        string
	Problems        []problemView
	Asked           []extract.Asked
	Events          []sampleView
	Values          bool // they are shown
}

// tryFeed answers with the page of a try. trying has room for those under way.
func (p *pages) tryFeed(trying chan struct{}, w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("feed")
	feed := p.defs.Set.Feed(name)
	if feed == nil {
		http.Error(w, fmt.Sprintf("there is no feed %q: the status page lists them", name), http.StatusNotFound)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	v := tryPage{frame: p.frame("try"), Feed: name, Partition: r.PostFormValue("partition"), Level: careful, Values: p.values}
	code := http.StatusConflict
	if refusal := untriable(p.status(), feed, &v.Partition); refusal != "" {
		v.Headline = refusal
	} else {
		select {
		case trying <- struct{}{}:
			defer func() { time.AfterFunc(p.tryRest, func() { <-trying }) }() // after a panic, too
			code = http.StatusOK
			p.readFirst(r.Context(), feed, &v)
		default:
			code = http.StatusServiceUnavailable
			v.Headline = "A try is under way, or has just ended: try again in a moment"
		}
	}
	render(w, code, "try.html", v)
}

// untriable says why a feed cannot be tried here; "" if it can. A partition that is not given is the first.
func untriable(s engine.Status, feed *definition.Feed, partition *string) string {
	at := slices.IndexFunc(s.Feeds, func(f engine.FeedStatus) bool {
		return f.Feed == feed.Name && f.State != engine.Disabled && (*partition == "" || f.Partition == *partition)
	})
	switch {
	case feed.Job != nil:
		return "It starts a query at the service, which takes minutes: “" + program.Name + " try " + feed.Name + "” waits for it"
	case at < 0 && *partition == "":
		return "It is switched off: “" + program.Name + " try " + feed.Name + "” tries it all the same"
	case at < 0:
		return "There is no partition “" + *partition + "” of it"
	}
	f := s.Feeds[at]
	*partition = f.Partition
	if f.State == engine.Standby {
		return "Another replica reads it: try it on the page of " + wording.OrDash(f.Holder)
	}
	return ""
}

func (p *pages) readFirst(ctx context.Context, feed *definition.Feed, v *tryPage) {
	fail := func(err error) {
		text := p.explain(err)
		v.Level, v.Headline = bad, "It could not be read"
		v.Problems = []problemView{{Level: bad, Title: "What came instead of records", Text: text, Advice: advice(text, feed)}}
	}
	reader, err := p.reader(feed, v.Partition)
	if err != nil {
		fail(err)
		return
	}
	var mu sync.Mutex
	var asked []extract.Asked
	reader.Watch(func(a extract.Asked) {
		p.recent.SawAsked(a)
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, a)
	})
	ctx, cancel := context.WithTimeout(ctx, tryPatience)
	defer cancel()
	window := author.Newest(feed, time.Now())
	v.From, v.To = window.From, window.To
	records, err := author.First(ctx, reader, &window, triedRecords)
	mu.Lock()
	v.Asked = asked
	mu.Unlock()
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("it did not come to an end within %s: its requests wait for the feed's budget, which collecting uses too, or the service is slow or throttles", tryPatience)
	}
	if err != nil {
		fail(err)
		return
	}
	own := append(definitions.Constants(p.set.Environment), transform.Constant{Name: "source_name", Value: feed.Name})
	mapper := p.defs.Mappings[feed.Mapping]().NewMapper(own...)
	for i, record := range records {
		event, _ := mapper.Append(nil, record)
		shown := sampleOf(event, v.Values)
		shown.N = i + 1
		shown.Held = mapper.Filtered(record)
		v.Events = append(v.Events, shown)
	}
	v.Level, v.Headline = good, fmt.Sprintf("It can be read: the first %d %s", len(records), wording.Plural(len(records), "record"))
	if len(records) == 0 {
		v.Level, v.Headline = quiet, "It can be read, and holds no record now"
	}
}
