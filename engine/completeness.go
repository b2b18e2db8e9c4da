package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/load"
)

const (
	day = 24 * time.Hour
	// accountPatience is how long after a day, or the start, its account waits for feeds that have
	// not read the day to its end.
	accountPatience = 6 * time.Hour
	// accountDays is how many days back an account is made up for that was missed.
	accountDays = 3
)

// backfilled ends the name of the account that a backfill keeps beside those who collect.
const backfilled = "(backfill)"

// besides is that account of a partition.
func besides(value string) string { return strings.TrimSpace(value + " " + backfilled) }

// sendAccounts sends the account of each of the last days that is due and was not sent. That it
// was is remembered as a key, like a record's. Of several processes that share the feeds, the one with the first
// partition sends it.
func (e *Engine) sendAccounts(ctx context.Context) error {
	if len(e.partitions) == 0 || !e.holdsFirst() {
		return nil
	}
	now := e.partitions[0].now()
	for back := accountDays; back > 0; back-- {
		from := now.Truncate(day).Add(-time.Duration(back) * day)
		key := checkpoint.KeyOf("connector-completeness", from.Format(time.DateOnly))
		if _, sent, err := e.Store.Seen(key); err != nil || sent {
			if err != nil {
				return err
			}
			continue
		}
		event, err := e.completenessEvent(from)
		if err != nil {
			return err
		}
		if event == nil {
			continue
		}
		if err := e.sendOwn(ctx, event); err != nil {
			return err
		}
		first := e.partitions[0]
		if err := e.Store.Commit(&checkpoint.Commit{
			Feed: first.feed.Name, Partition: first.account, Keys: []checkpoint.Key{key}, Expires: now.Add((accountDays + 1) * day),
		}); err != nil {
			return fmt.Errorf("it is delivered, and will be again: %w", err)
		}
	}
	return nil
}

// holdsFirst reports whether this process runs the first partition.
func (e *Engine) holdsFirst() bool {
	if e.Leases == nil {
		return true
	}
	e.holding.Lock()
	defer e.holding.Unlock()
	return e.partitions[0].held
}

// dayAccount is what became of the records of one feed in one day.
type dayAccount struct {
	counts     checkpoint.Counts
	filters    Filters
	late       int64
	difference int64 // of records and items, of windows that were read to their end
	gaps       []checkpoint.Span
	unread     string // why it was not read
}

// completenessEvent is the connector's account of the day (UTC) that begins at from, out of the ledger: a flat
// event whose outcome is failure when sums do not agree, or a span of the day was not
// read to its end. It is nil while the day cannot be told of yet, and of a day before the
// connector began. Days are the services', whatever this host's clock says.
//
// A window belongs to the day in which it ends; what a second look found late, to
// the day of the look.
func (e *Engine) completenessEvent(from time.Time) (map[string]any, error) {
	now, to := e.partitions[0].now(), from.Add(day)
	accounts := map[string]*dayAccount{}
	begins, parts := map[[2]string]time.Time{}, map[[2]string][]checkpoint.Span{}
	patient := now.Before(to.Add(accountPatience)) || e.Now().Before(e.started.Add(accountPatience))
	for _, p := range e.partitions {
		position, ok, err := e.Store.Position(p.feed.Name, p.account)
		if err != nil {
			return nil, err
		}
		switch {
		case now.Before(to), patient && !ok:
			return nil, nil
		case !ok || !position.Start.Before(to):
			continue // it began later
		case position.GateReason == "" && position.Cursor.Before(to) && patient:
			return nil, nil
		}
		a := accounts[p.feed.Name]
		if a == nil {
			a = &dayAccount{}
			accounts[p.feed.Name] = a
		}
		a.unread = cmp.Or(a.unread, position.GateReason)
		if p.feed.Window != nil && position.GateReason == "" {
			begins[[2]string{p.feed.Name, p.value}] = later(position.Start, from)
		}
	}
	if len(accounts) == 0 {
		return nil, nil
	}
	for entry, err := range e.Store.Ledger("") {
		if err != nil {
			return nil, err
		}
		a := accounts[entry.Feed]
		if a == nil || entry.Windows > 0 {
			continue
		}
		a.add(&entry, from, to)
		if entry.Complete && entry.To.After(from) && entry.From.Before(to) {
			part := [2]string{entry.Feed, strings.TrimSpace(strings.TrimSuffix(entry.Partition, backfilled))}
			parts[part] = append(parts[part], checkpoint.Span{From: entry.From, To: entry.To})
		}
	}
	for part, begin := range begins {
		a := accounts[part[0]]
		a.gaps = append(a.gaps, uncovered(begin, to, parts[part])...)
	}
	return e.tellDay(from, accounts), nil
}

// add takes an entry of the ledger into the account of the day [from, to). What a window that was not read to
// its end took up and did not finish is listed again by another.
func (a *dayAccount) add(entry *checkpoint.Entry, from, to time.Time) {
	ended := entry.To
	if !entry.Looked.IsZero() {
		ended = entry.Looked
	}
	if !ended.After(from) || ended.After(to) {
		return
	}
	c := entry.Counts
	items, records := c.Difference()
	if entry.Complete {
		a.difference += abs(items) + abs(records)
	} else {
		c = c.Settled()
	}
	if !entry.Looked.IsZero() {
		a.late += c.Delivered
	}
	a.counts.Add(&c)
	a.filters = addFilters(a.filters, entry.Filters)
}

// uncovered are the parts of [from, to) that no span covers.
func uncovered(from, to time.Time, spans []checkpoint.Span) (gaps []checkpoint.Span) {
	slices.SortFunc(spans, func(a, b checkpoint.Span) int { return a.From.Compare(b.From) })
	for _, s := range append(spans, checkpoint.Span{From: to, To: to}) {
		if end := earlier(s.From, to); end.After(from) { // what lies behind to ends no gap
			gaps = append(gaps, checkpoint.Span{From: from, To: end})
		}
		from = later(from, s.To)
	}
	return gaps
}

// tellDay writes the accounts of a day as an event.
func (e *Engine) tellDay(from time.Time, accounts map[string]*dayAccount) map[string]any {
	event := e.ownEvent("connector-completeness", e.Now())
	event["event_day"] = from.Format(time.DateOnly)
	var all checkpoint.Counts
	var late, difference int64
	var gaps, gated int
	for feed, a := range accounts {
		name := "event_feed_" + fieldName(feed)
		event[name+"_listed"] = a.counts.Fetched
		event[name+"_delivered"] = a.counts.Delivered
		event[name+"_duplicate"] = a.counts.Duplicate
		event[name+"_filtered"] = a.counts.Filtered
		for as, by := range a.filters {
			event[name+"_filtered_"+fieldName(as)] = by.Records
		}
		event[name+"_skipped"] = a.counts.Skipped
		event[name+"_items_skipped"] = a.counts.ItemsSkipped
		event[name+"_dead_lettered"] = a.counts.DeadLettered
		event[name+"_late"] = a.late
		event[name+"_gaps"] = len(a.gaps)
		event[name+"_agrees"] = a.difference == 0
		if len(a.gaps) > 0 {
			var missing time.Duration
			for _, g := range a.gaps {
				missing += g.To.Sub(g.From)
			}
			event[name+"_gaps_seconds"] = int64(missing.Seconds())
			event[name+"_gap_from"] = a.gaps[0].From.UTC().Format(time.RFC3339)
		}
		if a.unread != "" {
			event[name+"_gate"] = a.unread
			gated++
		}
		all.Add(&a.counts)
		late, difference, gaps = late+a.late, difference+a.difference, gaps+len(a.gaps)
	}
	agree := "the sums agree"
	if difference != 0 {
		agree = fmt.Sprintf("the sums differ by %d: please report this", difference)
	}
	if difference != 0 || gaps > 0 {
		event["outcome"], event["source_severity"] = "failure", "high"
	}
	event["event_agrees"] = difference == 0
	event["event_gaps"] = gaps
	event["message_text"] = fmt.Sprintf("%s: of %d records listed by %d feeds %d were delivered, %d came again, %d were filtered, %d are dead letters; %d came late, %d gaps, %d feeds gated; %s",
		from.Format(time.DateOnly), all.Fetched, len(accounts), all.Delivered, all.Duplicate, all.Filtered, all.DeadLettered, late, gaps, gated, agree)
	return event
}

// sendOwn sends an event of the connector about itself, which may take until the next heartbeat is due.
// It gives one that is on its way when ctx ends a moment more: a short run sends it, too.
func (e *Engine) sendOwn(ctx context.Context, event map[string]any) error {
	text, err := json.Marshal(event)
	if err != nil {
		return err
	}
	send, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.Heartbeat)
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(farewell, cancel) })()
	refused, err := e.Destination.Deliver(send, load.Batch{Events: [][]byte{text}})
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%s has not taken it within %v", e.Destination.Name(), e.Heartbeat)
	}
	if err == nil && len(refused) > 0 {
		err = errors.New(refused[0].Reason)
	}
	if err == nil && e.OnEvent != nil {
		e.OnEvent("", text)
	}
	return err
}
