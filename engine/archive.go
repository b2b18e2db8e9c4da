package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
)

// An archive is a feed that reads the records of another one further back, by jobs. A backfill reads
// from it what the other feed cannot give any more and never gave, so that no record comes twice:
//
//	what was collected     from where a partition began to its cursor, but for the gaps: not read
//	what was backfilled    Position.Read of the archive: not read
//	what the feed keeps    the feed reads it itself, but for the time before its subscription
//	all else               the archive, newest first, a window after the other
//
// The archive lists records by when they happened, the feed by when they became available, which is later.
// So the archive begins a little before each gap, by its overlap; and what a feed collects
// while it may still be listed by the archive in another span is remembered as long as the archive reaches back.
//
// Its events, and keys, are those of the other feed. The state keeps it under its own name, with the
// other's as the partition.

// mostSpans is how many spans a position holds of one kind; the oldest are forgotten.
const mostSpans = 100

// archived is the feed that is the archive of another, nil where it names none that is there.
func (e *Engine) archived(feed *definition.Feed) *definition.Feed {
	if feed.Archive == "" {
		return nil
	}
	i := slices.IndexFunc(e.Feeds, func(f *definition.Feed) bool { return f.Name == feed.Archive })
	if i < 0 || e.Feeds[i].Job == nil || e.Feeds[i].Window == nil {
		return nil
	}
	return e.Feeds[i]
}

// standsIn is the feed whose archive a feed is, nil of a feed that is none.
func (e *Engine) standsIn(archive *definition.Feed) *definition.Feed {
	i := slices.IndexFunc(e.Feeds, func(f *definition.Feed) bool { return f.Archive == archive.Name })
	if i < 0 {
		return nil
	}
	return e.Feeds[i]
}

// archiveOf makes the partition that reads the archive of the feed of a partition, nil where there is none.
func (e *Engine) archiveOf(of *partition) (*partition, error) {
	archive := of.archive
	if archive == nil {
		return nil, nil
	}
	asks := *archive
	asks.Key = of.feed.Key
	tells := asks
	tells.Name, tells.Mapping = of.feed.Name, of.feed.Mapping
	p, err := newPartition(e, &tells, "", e.mappers(&tells), of.claims)
	if err != nil {
		return nil, err
	}
	if p.reader, err = e.reader(&asks, ""); err != nil {
		return nil, err
	}
	p.reader.Pace(p.inWork.begin, p.inWork.end)
	p.kept, p.account = archive.Name, of.feed.Name
	p.keep = of.retention() // what it delivered before is known by its spans
	p.log = p.log.With("archive", archive.Name)
	return p, nil
}

// neverRead are the spans of [from, to) that neither the feed of the partitions nor its archive has read, or
// can read of itself from oldest on. Of a backfill that sends all again, only the last counts.
func (e *Engine) neverRead(parts []*partition, archive *partition, from, oldest, to time.Time, again bool) (spans []checkpoint.Span, err error) {
	margin := archive.feed.Window.Overlap
	for _, p := range parts {
		position, _, err := e.Store.Position(p.feed.Name, p.value)
		if err != nil {
			return nil, err
		}
		var gaps []checkpoint.Span
		for _, g := range slices.Concat(position.Gaps, p.position.Gaps, position.Unreadable) {
			gaps = append(gaps, checkpoint.Span{From: g.From.Add(-margin), To: g.To})
		}
		served := uncovered(oldest, to, gaps)
		if !again {
			served = append(served, uncovered(position.Start, position.Cursor, gaps)...)
		}
		spans = append(spans, uncovered(from, to, served)...)
	}
	spans = joined(spans)
	if again {
		return spans, nil
	}
	var left []checkpoint.Span
	for _, s := range spans {
		left = append(left, uncovered(s.From, s.To, archive.position.Read)...)
	}
	return left, nil
}

// joined are spans in order, those that touch made one.
func joined(spans []checkpoint.Span) (out []checkpoint.Span) {
	spans = slices.Clone(spans)
	slices.SortFunc(spans, func(a, b checkpoint.Span) int { return a.From.Compare(b.From) })
	for _, s := range spans {
		last := len(out) - 1
		switch {
		case !s.From.Before(s.To):
		case last < 0 || s.From.After(out[last].To):
			out = append(out, s)
		case s.To.After(out[last].To):
			out[last].To = s.To
		}
	}
	if n := len(out) - mostSpans; n > 0 {
		out = out[n:]
	}
	return out
}

// windows divides spans into windows of one length, the newest first. They begin where that length
// divides time, so that one that was broken off is the same when it is asked for again.
func windows(spans []checkpoint.Span, length time.Duration) (all []checkpoint.Span) {
	for _, s := range slices.Backward(joined(spans)) {
		for end := s.To; end.After(s.From); {
			begin := later(end.Add(-1).Truncate(length), s.From)
			all = append(all, checkpoint.Span{From: begin, To: end})
			end = begin
		}
	}
	return all
}

// backfillRest reads what the feed of the partitions could not give of a period, whose part from own on it was
// just asked for itself.
func (p *partition) backfillRest(ctx context.Context, parts []*partition, period checkpoint.Span, own, oldest, now time.Time, again bool, tell func(time.Duration, int64)) error {
	ctx, release, err := p.lease(ctx, false)
	if err != nil {
		return fmt.Errorf("archive of %s: %w", p.feed.Name, err)
	}
	defer release()
	if p.position, _, err = p.engine.Store.Position(p.kept, p.account); err != nil {
		return err
	}
	p.loaded = true
	rest, err := p.engine.neverRead(parts, p, period.From, oldest, period.To, again)
	if err != nil {
		return err
	}
	if err := p.markGiven(ctx, own, period.To, rest); err != nil {
		return err
	}
	var length time.Duration
	for _, s := range rest {
		length += s.To.Sub(s.From)
	}
	if length == 0 {
		return nil
	}
	p.log.Info("the rest of the period is read from the archive, newest first; broken off, the same command goes on where it was",
		"from", rest[0].From, "to", rest[len(rest)-1].To, "of_it", length.Round(time.Second).String())
	before, whole, given := p.position.Forwarded, period.To.Sub(period.From), period.To.Sub(own)
	err = p.backfillArchive(ctx, rest, now, pass{resend: again}, func(read time.Duration) {
		part := float64(read) / float64(length)
		tell(given+time.Duration(part*float64(whole-given)), p.position.Forwarded-before)
	})
	if err != nil {
		return fmt.Errorf("archive of %s: %w", p.feed.Name, p.lacksConsent(ctx, err))
	}
	tell(whole, p.position.Forwarded-before)
	return nil
}

// markGiven notes what the feed itself has just given of a period: all but the rest. It will be further back
// than the feed reaches one day, while its keys are forgotten.
func (p *partition) markGiven(ctx context.Context, from, to time.Time, rest []checkpoint.Span) error {
	position := p.position
	p.markRead(&position, uncovered(from, to, slices.Clone(rest))...)
	if slices.Equal(position.Read, p.position.Read) {
		return nil
	}
	p.position = position
	return p.commit(ctx, &checkpoint.Commit{Position: &position})
}

// backfillArchive reads spans from the archive. The window whose job was begun before the
// backfill was broken off comes first.
func (p *partition) backfillArchive(ctx context.Context, spans []checkpoint.Span, now time.Time, how pass, progress func(read time.Duration)) error {
	how.keepCursor, how.archive = true, true
	length := p.feed.Window.Max
	var read time.Duration
	walk := func(s checkpoint.Span) error {
		before := p.position.Forwarded
		err := p.walk(ctx, s.From, s.To, now, how, nil)
		if err == nil {
			read += s.To.Sub(s.From)
			progress(read)
			p.log.Info("the archive was read", "from", s.From, "to", s.To, "events", p.position.Forwarded-before)
		}
		return err
	}
	begun := p.position.JobFor
	if p.position.Job != "" && slices.ContainsFunc(spans, func(s checkpoint.Span) bool {
		return !begun.From.Before(s.From) && !begun.To.After(s.To)
	}) {
		if err := walk(begun); err != nil {
			return err
		}
		var left []checkpoint.Span
		for _, s := range spans {
			left = append(left, uncovered(s.From, s.To, []checkpoint.Span{begun})...)
		}
		spans = left
	}
	for _, s := range windows(spans, length) {
		if err := walk(s); err != nil {
			return err
		}
	}
	return nil
}

// markRead notes a span whose records need not be asked for again: not those of which some may still
// appear, which is as long as the archive's overlap.
func (p *partition) markRead(position *checkpoint.Position, spans ...checkpoint.Span) {
	settled := p.now().Add(-p.feed.Window.Overlap)
	for _, s := range spans {
		position.Read = append(slices.Clip(position.Read), checkpoint.Span{From: s.From, To: earlier(s.To, settled)})
	}
	position.Read = joined(position.Read)
}

// lacksConsent adds to an error of the archive which permission it needs, where that was never granted.
func (p *partition) lacksConsent(ctx context.Context, err error) error {
	if lacks := p.notConsented(ctx, err); len(lacks) > 0 {
		return fmt.Errorf("%s is not granted: grant it in the app registration, with an administrator's consent, and begin the backfill again: %w", strings.Join(lacks, " and "), err)
	}
	if gated, ok := errors.AsType[*extract.Gated](err); ok {
		return fmt.Errorf("the tenant or its cloud lacks the archive: %w", gated)
	}
	return err
}
