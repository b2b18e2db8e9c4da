package web

import (
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/definition"
)

// This file turns the engine's status into what the status page shows, in words.

// level is how much something wants a person's attention. It is a class of the
// style sheet; the same is always said in words, too.
type level string

const (
	quiet   level = "quiet"
	good    level = "good"
	careful level = "careful"
	bad     level = "bad"
)

var stateLevel = map[engine.State]level{
	engine.Starting: quiet, engine.OK: good, engine.Failing: bad, engine.Gated: careful, engine.NotConsented: careful, engine.Standby: quiet, engine.Disabled: quiet,
}

// stateWord is a state in words.
var stateWord = map[engine.State]string{
	engine.Starting: "catching up", engine.OK: "ok", engine.Failing: "failing", engine.Gated: "gated", engine.NotConsented: "not consented", engine.Standby: "standby", engine.Disabled: "off",
}

type statusView struct {
	Level      level
	Headline   string
	Now, Began time.Time
	Facts      []fact
	Traffic    plot
	Rate       string
	Span       string // of the plots
	Ranges     []rangeView
	Axis       []string // times below the plots
	Feeds      []feedView
	Ledger     []ledgerView
	Total      ledgerView
	Gaps       []gapView
	Deliveries []deliveryView
	Weights    []weightView
	More       int    // operations that are not among them
	Poll       string // the time between two polls
	Distances  string // which feeds stay behind because their newest records come incomplete, and how far
	Off        []string
	Problems   []problemView // of the destination
	Replicas   []replicaView
	HandOver   string // the last
	HandOverAt time.Time
}

type replicaView struct {
	Name string
	Here bool
	Held int
	What string // it holds
}

// rangeView is a span of the plots that can be chosen.
type rangeView struct {
	Name    string
	Current bool
}

// latencyView is how long events took from the service's list to the destination's yes.
type latencyView struct{ Median, Most string } // "": none were new while polling

func latencyOf(d engine.Delays) latencyView {
	if d.Count() == 0 {
		return latencyView{}
	}
	return latencyView{"≤ " + wording.Span(d.Quantile(0.5)), "95 of 100 within " + wording.Span(d.Quantile(0.95))}
}

// fact is one number of the summary.
type fact struct {
	Name, Value, Note string
	Level             level
}

type feedView struct {
	Feed, Partition string
	First           bool // of the partitions of its feed
	Level           level
	State, Since    string
	Cursor          time.Time
	Lag, Rate       string
	Forwarded       string
	Page            string // of the feed, below the tenant's
	Latency         latencyView
	Throughput      plot
	LagPlot         plot
	Problems        []problemView
}

type ledgerView struct {
	Feed, Partition                                            string
	First                                                      bool
	Listed, Delivered, Repeated, Filtered, Skipped, Dead, Late string
	FilteredBy                                                 string // the rules, for the pointer
	Requests, Retries, Waited                                  string
	Difference                                                 string
	DifferenceLevel, SkippedLevel, DeadLevel                   level
}

type gapView struct {
	Feed, Partition, Reason, Length string
	From, To                        time.Time
	Count                           int64
}

type deliveryView struct {
	At         time.Time
	Events, In string
	Of         []deliveryOf
}

// deliveryOf is the part of a feed.
type deliveryOf struct{ Feed, Partition, Events string }

// view is the page's account of a status, with plots of the last span.
func (p *pages) view(s engine.Status, span time.Duration) statusView {
	samples := p.history.Last(span, fleet.SampleOf(s))
	v := statusView{
		Axis: axis(samples), Ranges: ranges(span),
		Now: s.Now.UTC(), Began: s.Started.UTC(),
		Traffic: throughputPlot(samples, -1, plotSteps), Rate: rate(perMinute(samples, -1)), Span: wording.Span(plotSpan(samples)),
		Deliveries: deliveries(s, samples), Problems: destinationProblem(s),
	}
	feeds := map[string]*definition.Feed{}
	for _, f := range p.defs.Set.Feeds {
		feeds[f.Name] = f
	}
	shared, told := sharedCauses(s, feeds)
	v.Problems = append(v.Problems, shared...)
	var total engine.FeedStatus
	var behind time.Duration
	states := map[engine.State]int{}
	last := ""
	var distances []string
	for i, f := range s.Feeds {
		if f.State == engine.Disabled {
			v.Off = append(v.Off, f.Feed)
			continue
		}
		states[f.State]++
		row := feedRow(s, f, i, samples, feeds[f.Feed])
		if slices.Contains(told, engine.CauseKey(f.LastError)) {
			row.Problems = slices.DeleteFunc(row.Problems, func(p problemView) bool { return p.Title == roundFailed })
		}
		row.First = f.Feed != last
		if kept := distance(feeds[f.Feed]); kept > 0 && row.First {
			distances = append(distances, f.Feed+" "+wording.Span(kept))
		}
		if !f.Cursor.IsZero() && f.State != engine.Gated {
			behind = max(behind, f.Lag(s.Now))
		}
		last = f.Feed
		v.Feeds = append(v.Feeds, row)

		total.Add(&f)
		ledger := ledgerOf(f)
		ledger.FilteredBy = f.FilteredBy().String()
		ledger.Feed, ledger.Partition, ledger.First = f.Feed, f.Partition, row.First
		v.Ledger = append(v.Ledger, ledger)
		if f.Gaps > 0 {
			v.Gaps = append(v.Gaps, gapView{f.Feed, f.Partition, f.LastGap.Reason, wording.Span(f.LastGap.To.Sub(f.LastGap.From)),
				f.LastGap.From.UTC(), f.LastGap.To.UTC(), f.Gaps})
		}
	}
	v.Distances, v.Poll = strings.Join(distances, ", "), wording.Span(p.set.Poll)
	v.Weights, v.More = weightsOf(s.Operations)
	v.Total = ledgerOf(total)
	v.Level, v.Headline = headline(s, states)
	v.Facts = facts(s, total, behind)
	for _, r := range s.Replicas {
		v.Replicas = append(v.Replicas, replicaView{r.Name, r.Here, len(r.Held), strings.Join(r.Held, ", ")})
	}
	if h := s.HandOver; !h.At.IsZero() {
		v.HandOver, v.HandOverAt = wording.FeedLabel(h.Feed, h.Partition)+" to "+h.To, h.At.UTC()
	}
	return v
}

// feedRow is the partition at one place of a status.
func feedRow(s engine.Status, f engine.FeedStatus, at int, samples []fleet.Sample, feed *definition.Feed) feedView {
	row := feedView{
		Feed: f.Feed, Partition: f.Partition,
		Level: stateLevel[f.State], State: fleet.WithHolder(stateWord[f.State], f), Since: ago(s.Now, f.Since),
		Cursor: f.Cursor.UTC(), Rate: rate(perMinute(samples, at)), Forwarded: number(f.Forwarded),
		Page: "/feeds/" + url.PathEscape(f.Feed), Latency: latencyOf(f.Latency),
		Throughput: throughputPlot(samples, at, plotSteps), LagPlot: lagPlot(samples, at),
		Problems: problems(f, feed),
	}
	if !f.Cursor.IsZero() {
		row.Lag = wording.Span(f.Lag(s.Now))
	}
	return row
}

// headline is the answer to "is it still collecting?".
func headline(s engine.Status, states map[engine.State]int) (level, string) {
	partitions := func(n int, what string) string { return fmt.Sprintf("%d %s", n, what) }
	var parts []string
	for _, state := range []engine.State{engine.Failing, engine.Gated, engine.NotConsented, engine.Starting, engine.OK, engine.Standby} {
		if states[state] > 0 {
			parts = append(parts, partitions(states[state], stateWord[state]))
		}
	}
	list := strings.Join(parts, ", ")
	switch {
	case len(parts) == 0:
		return careful, "No feed is switched on"
	case s.Apart:
		return bad, "Not collecting: the shared state is out of reach"
	case !s.Delivery.OK && s.Delivery.LastError != "":
		return bad, "Not delivering: " + s.Destination + ": " + s.Delivery.LastError
	case !s.Delivery.OK:
		return bad, "Not delivering: " + s.Destination + " does not take events"
	case s.Stalled != "":
		return bad, "Not collecting: " + s.Stalled
	case s.Cause() != "":
		return bad, "Not collecting: " + s.Cause()
	case states[engine.Failing] > 0 && states[engine.OK]+states[engine.Starting]+states[engine.Standby] == 0:
		return bad, "Not collecting: " + list
	case states[engine.Failing] > 0:
		return bad, "Collecting, but not everything: " + list
	case states[engine.Starting] > 0:
		return quiet, "Catching up: " + list
	case states[engine.OK] == 0 && states[engine.Standby] > 0 && states[engine.Gated] == 0:
		return quiet, "Standing by, other replicas collect: " + list
	case states[engine.OK] == 0:
		return careful, "Not collecting: " + list
	}
	return good, "Collecting: " + list
}

func facts(s engine.Status, total engine.FeedStatus, behind time.Duration) []fact {
	delivery := fact{"Destination", s.Destination, "takes events", good}
	if n := s.Delivery.Concurrency; n > 0 {
		delivery.Note = fmt.Sprintf("takes events, %d %s at once", n, wording.Plural(n, "request"))
	}
	if !s.Delivery.OK {
		delivery = fact{"Destination", s.Destination, "does not take events", bad}
	}
	ledger := fact{"Ledger", "balanced", "all accounted for", good}
	if n := total.Difference; n != 0 {
		ledger = fact{"Ledger", number(n), wording.Plural(int(n), "record") + " unaccounted for", bad}
	}
	dead := fact{"Dead letters", number(s.DeadLetters), "none waits", quiet}
	if s.DeadLetters > 0 {
		dead.Note, dead.Level = "refused, to be replayed", careful
	}
	credential := fact{"Credential", "unknown", "when it ends cannot be known", quiet}
	if !s.CredentialExpires.IsZero() {
		days := int(math.Floor(s.CredentialExpires.Sub(s.Now).Hours() / 24))
		credential = fact{"Credential", fmt.Sprintf("%d %s", days, wording.Plural(days, "day")), "ends " + s.CredentialExpires.UTC().Format("2 Jan 2006"), good}
		switch {
		case !s.CredentialExpires.After(s.Now):
			credential.Value, credential.Level = "ended", bad
		case days < 7:
			credential.Level = bad
		case days < 30:
			credential.Level = careful
		}
	}
	if credential.Level != bad && strings.Contains(s.Cause(), "AADSTS") { // whatever was known of its end
		credential = fact{"Credential", "refused", "see above", bad}
	}
	lag := fact{"Furthest behind", wording.Span(behind), "the slowest feed", quiet}
	if l := latencyOf(total.Latency); l.Median != "" {
		lag.Note = "the slowest feed; half arrive " + l.Median + " after they were listed"
	}
	return []fact{
		{"Delivered", number(total.Delivered()), "events since start", quiet},
		lag, delivery, ledger, dead, credential,
		{"Up", wording.Span(s.Now.Sub(s.Started)), "since " + s.Started.UTC().Format("2 Jan 15:04"), quiet},
	}
}

// ledgerOf is what became of the records of a partition, or of several.
func ledgerOf(f engine.FeedStatus) ledgerView {
	c := f.Total
	c.Add(&f.Window.Counts)
	skipped := c.Skipped + c.ItemsSkipped
	v := ledgerView{
		Listed: number(c.Fetched), Delivered: number(c.Delivered), Repeated: number(c.Duplicate), Filtered: number(c.Filtered), Skipped: number(skipped),
		Dead: number(c.DeadLettered), Late: number(f.Late), Difference: number(f.Difference),
		Requests: number(f.Requests.Requests), Retries: number(f.Requests.Retries), Waited: wording.Span(f.Requests.Waited),
	}
	if skipped > 0 {
		v.SkippedLevel = careful
	}
	if c.DeadLettered > 0 {
		v.DeadLevel = careful
	}
	if f.Difference != 0 {
		v.DifferenceLevel = bad
	}
	return v
}

// deliveries are what arrived lately, the newest first, by the samples.
func deliveries(s engine.Status, samples []fleet.Sample) []deliveryView {
	const shown = 8
	var list []deliveryView
	for i := len(samples) - 1; i > 0 && len(list) < shown; i-- {
		now, before := samples[i], samples[i-1]
		all := now.Delivered(-1) - before.Delivered(-1)
		if all <= 0 {
			continue
		}
		d := deliveryView{At: now.At.UTC(), Events: number(all), In: wording.Span(now.At.Sub(before.At))}
		for feed, f := range s.Feeds {
			if n := now.Feeds[feed].Delivered - before.Feeds[feed].Delivered; n > 0 {
				d.Of = append(d.Of, deliveryOf{f.Feed, f.Partition, number(n)})
			}
		}
		list = append(list, d)
	}
	return list
}

// number writes a count with its thousands apart.
func number(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "−", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "\u202f" + digits[i:]
	}
	return sign + digits
}

// rate writes events a minute.
func rate(perMinute float64) string {
	switch {
	case perMinute == 0:
		return "0"
	case perMinute < 10:
		return strconv.FormatFloat(math.Max(perMinute, 0.1), 'f', 1, 64)
	}
	return number(int64(math.Round(perMinute)))
}

func ago(now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return wording.Span(now.Sub(t))
}
