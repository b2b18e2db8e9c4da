package web

import (
	"cmp"
	"fmt"
	"math"
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
	fleet.Stopped: bad,
}

// stateWord is a state in words.
var stateWord = map[engine.State]string{
	engine.Starting: "catching up", engine.OK: "ok", engine.Failing: "failing", engine.Gated: "gated", engine.NotConsented: "not consented", engine.Standby: "standby", engine.Disabled: "off",
	fleet.Stopped: "does not run",
}

type statusView struct {
	frame
	engine.Status
	Level      level
	Headline   string
	Facts      []fact
	Range      time.Duration // that was asked for
	Span       string        // of the plots
	Axis       []string      // times below the plots
	Traffic    plot
	Rate       string
	Feeds      []feedView // that are on
	Off        []string
	Total      engine.FeedStatus
	Deliveries []delivery
	Weights    []engine.Weight // the heaviest
	Weight     engine.Weight   // of all
	Poll       time.Duration   // between two rounds
	Distances  string          // which feeds stay behind because their newest records come incomplete, and how far
	Problems   []problemView   // of the destination, and of several feeds
}

// fact is one number of the summary.
type fact struct {
	Name, Value, Note string
	Level             level
}

// feedView is a partition with its plots and its problems.
type feedView struct {
	engine.FeedStatus
	First      bool // of the partitions of its feed
	Rate       string
	Throughput plot
	LagPlot    plot
	Problems   []problemView
}

// delivery is what arrived between two samples.
type delivery struct {
	At     time.Time
	In     time.Duration
	Events int64
	Of     []partOf
}

// partOf is what of it was of one partition.
type partOf struct {
	Feed, Partition string
	Events          int64
}

const shownWeights = 15

// view is the page's account of a status, with plots of the last span.
func (p *pages) view(s engine.Status, span time.Duration) statusView {
	samples := p.history.Last(span, fleet.SampleOf(s))
	v := statusView{
		frame: p.frame("status"), Status: s, Range: span, Span: wording.Span(plotSpan(samples)), Axis: axis(samples), Poll: p.set.Poll,
		Traffic: throughputPlot(samples, -1, plotSteps), Rate: rate(perMinute(samples, -1)),
		Deliveries: deliveries(s, samples), Problems: slices.Concat(destinationProblem(s), clockProblem(s)),
		Weights: s.Operations[:min(len(s.Operations), shownWeights)],
	}
	for _, w := range s.Operations {
		v.Weight.Events, v.Weight.Bytes = v.Weight.Events+w.Events, v.Weight.Bytes+w.Bytes
	}
	shared, told := sharedCauses(s, p.defs.Set)
	v.Problems = append(v.Problems, shared...)
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
		feed := p.defs.Set.Feed(f.Feed)
		row := feedRow(f, i, samples, feed)
		if slices.Contains(told, engine.CauseKey(f.LastError)) {
			row.Problems = slices.DeleteFunc(row.Problems, func(p problemView) bool { return p.Title == roundFailed })
		}
		row.First = f.Feed != last
		if kept := distance(feed); kept > 0 && row.First {
			distances = append(distances, f.Feed+" "+wording.Span(kept))
		}
		if !f.Cursor.IsZero() && f.State != engine.Gated {
			behind = max(behind, f.Lag(s.Now))
		}
		last = f.Feed
		v.Feeds = append(v.Feeds, row)
		v.Total.Add(&f)
	}
	v.Distances = strings.Join(distances, ", ")
	v.Level, v.Headline = headline(s, states)
	v.Facts = facts(s, v.Total, behind)
	return v
}

func feedRow(f engine.FeedStatus, at int, samples []fleet.Sample, feed *definition.Feed) feedView {
	return feedView{
		FeedStatus: f, Rate: rate(perMinute(samples, at)), Throughput: throughputPlot(samples, at, plotSteps), LagPlot: lagPlot(samples, at),
		Problems: problems(f, feed),
	}
}

// headline is the answer to "is it still collecting?".
func headline(s engine.Status, states map[engine.State]int) (level, string) {
	var parts []string
	for _, state := range []engine.State{engine.Failing, engine.Gated, engine.NotConsented, engine.Starting, engine.OK, engine.Standby} {
		if states[state] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", states[state], stateWord[state]))
		}
	}
	list := strings.Join(parts, ", ")
	switch {
	case len(parts) == 0:
		return careful, "No feed is switched on"
	case !s.Delivery.OK && s.Delivery.LastError != "":
		return bad, "Not delivering: " + s.Destination + ": " + s.Delivery.LastError
	case !s.Delivery.OK:
		return bad, "Not delivering: " + s.Destination + " does not take events"
	case s.Cause() != "" || s.Stalled != "":
		return bad, "Not collecting: " + cmp.Or(s.Cause(), s.Stalled)
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

// slowAnswer is from when on the destination, and not Microsoft, says how fast events arrive.
const slowAnswer = 2 * time.Second

func facts(s engine.Status, total engine.FeedStatus, behind time.Duration) []fact {
	delivery := fact{"Destination", s.Destination, "takes events", good}
	if n := s.Delivery.Concurrency; n > 0 {
		delivery.Note = fmt.Sprintf("takes events, %d %s at once", n, wording.Plural(n, "request"))
	}
	if took := s.Delivery.Answer; took > slowAnswer {
		delivery.Note += fmt.Sprintf(", but takes %s for an answer", wording.Span(took))
		delivery.Level = careful
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
		days := fleet.DaysLeft(s.CredentialExpires, s.Now)
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
	if total.Latency.Count() > 0 {
		lag.Note = "the slowest feed; half arrive " + within(total.Latency, 0.5) + " after they were listed"
	}
	return []fact{
		{"Delivered", number(total.Delivered()), "events since start", quiet},
		lag, delivery, ledger, dead, credential,
		{"Up", wording.Span(s.Now.Sub(s.Started)), "since " + s.Started.UTC().Format("2 Jan 15:04"), quiet},
	}
}

// deliveries are what arrived lately, the newest first, by the samples.
func deliveries(s engine.Status, samples []fleet.Sample) []delivery {
	const shown = 8
	var list []delivery
	for i := len(samples) - 1; i > 0 && len(list) < shown; i-- {
		now, before := samples[i], samples[i-1]
		all := now.Delivered(-1) - before.Delivered(-1)
		if all <= 0 {
			continue
		}
		d := delivery{At: now.At, Events: all, In: now.At.Sub(before.At)}
		for feed, f := range s.Feeds {
			if n := now.Feeds[feed].Delivered - before.Feeds[feed].Delivered; n > 0 {
				d.Of = append(d.Of, partOf{f.Feed, f.Partition, n})
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

// within is the time that a part of the events took at most.
func within(d engine.Delays, part float64) string { return "≤ " + wording.Span(d.Quantile(part)) }

func percent(of, whole int64) string {
	return fmt.Sprintf("%.1f %%", 100*float64(of)/float64(max(whole, 1)))
}

// size is a number of bytes in words.
func size(bytes int64) string {
	switch {
	case bytes >= 10e6:
		return number(bytes/1e6) + " MB"
	case bytes >= 10e3:
		return number(bytes/1e3) + " kB"
	}
	return number(bytes) + " B"
}
