package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/extract"
)

const (
	// narrowest is the smallest span a window is cut to.
	narrowest = time.Second
	// resets is how often one window may begin anew before it is halved.
	resets = 3
	// steady is how many windows must be answered at a width before a wider one, which was refused, is asked for again.
	steady = 16
	// stuckRounds is how many rounds must find the smallest window unreadable before it is
	// stepped over.
	stuckRounds = 3
	// probes is how many requests look for where the service's records begin.
	probes = 12
	// mostStuck is how many smallest windows at once are counted; at a further one the round ends.
	mostStuck = 100
)

// unreadable is the error of a smallest window, which a few rounds try again; what is behind it does not wait for that.
type unreadable struct{ error }

func (u *unreadable) Unwrap() error { return u.error }

// width is how wide windows are asked for: as wide as the feed allows, or as was answered of late.
type width struct {
	span    time.Duration // of the next
	refused time.Duration // what may be refused again; 0: nothing is known to be
	worked  int           // windows of the whole span that were answered
}

// shrink reports whether a window of this width, which was refused, can be cut further.
func (w *width) shrink(refused time.Duration) bool {
	half := (refused / 2).Truncate(time.Second)
	if half < narrowest {
		return false
	}
	*w = width{span: half, refused: refused}
	return true
}

// grow learns that a window of this width was answered: the next is twice as wide, at most, unless that was refused and
// it is not yet worth while to try it again.
func (w *width) grow(answered, most time.Duration) {
	if answered >= w.span { // what is narrower tells nothing
		w.worked++
	}
	wider := min(2*w.span, most)
	if w.worked < steady && w.refused > 0 && wider+time.Second >= w.refused { // half of an odd number of seconds was cut
		return
	}
	*w = width{span: wider, refused: w.refused}
	if wider+time.Second >= w.refused {
		w.refused = 0
	}
}

// walk reads [from, target) window by window, as far as that goes:
//
//	cannot finish      halved, as the next are for a while; the smallest is left for the next round, and stepped over after some
//	must begin anew    so it does, a few times, and so does a job of an archive that failed
//	begins too early   moved forward to where the service's records begin
//	a few items fail   left for the next round, and what comes after is read
//	not subscribed     subscribed, once
//
// after is called behind each window, with where it ended.
func (p *partition) walk(ctx context.Context, from, target, started time.Time, how pass, after func(at time.Time)) error {
	var incomplete error
	begun, renewed, moved, read, keep := 0, false, false, false, how.keepCursor
	for from.Before(target) {
		to, readable := p.reach(from, target, how)
		if !readable {
			from = to
			continue
		}
		err := p.window(ctx, extract.Window{From: from, To: to}, started, how)
		if early, ok := errors.AsType[*extract.TooEarly](err); ok && !moved {
			if from, err = p.tooEarly(ctx, from, target, early, how); err != nil {
				return errors.Join(incomplete, err)
			}
			moved = true
			continue
		}
		if how.archive && is[*extract.JobFailed](err) && begun < resets {
			begun++
			p.log.Warn("the window is asked for anew", "from", from, "to", to, "cause", err)
			continue
		}
		tooMuch, narrow := errors.AsType[*extract.Narrow](err)
		if is[*extract.ResetWindow](err) {
			if begun++; begun <= resets {
				p.log.Info("window starts again", "from", from, "to", to, "cause", err)
				continue
			}
			narrow = true
		}
		if is[*extract.Subscribe](err) && !renewed {
			p.subscribed, p.lost, renewed = false, true, true
			if err := p.subscribe(ctx); err != nil {
				return errors.Join(incomplete, err)
			}
			continue
		}
		if narrow {
			begun = 0
			if p.width.shrink(to.Sub(from)) {
				level := slog.LevelWarn
				if tooMuch != nil && tooMuch.Rule {
					level = slog.LevelInfo
				}
				p.log.Log(ctx, level, "window could not finish and is halved", "from", from, "to", to, "cause", err)
				continue
			}
			if keep {
				p.log.Warn("a window still cannot be read", "from", from, "to", to, "cause", err)
				err = nil
			} else if read = read || p.readableBehind(ctx, to, target); read {
				err = p.stepOver(ctx, from, to, err, how)
			}
			if err == nil || is[*unreadable](err) {
				p.width.refused = 0 // that was the one second
			}
		} else if err == nil {
			read = true
			maps.DeleteFunc(p.stuck, func(at time.Time, _ int) bool { return !at.Before(from) && at.Before(to) })
		}
		if some, ok := errors.AsType[*extract.Incomplete](err); ok && !how.keepCursor {
			if at := some.At.Truncate(time.Second); at.After(later(from, p.position.Cursor)) && at.Before(to) {
				err = errors.Join(err, p.upTo(ctx, from, at, started))
			}
		}
		if is[*extract.Incomplete](err) || is[*unreadable](err) {
			// A few items or seconds fail, perhaps for days. The cursor stays before them, so
			// that they are tried again; what comes after them is read all the same.
			if incomplete == nil || !is[*unreadable](err) { // of a row of seconds the first tells enough
				incomplete = errors.Join(incomplete, err)
			}
			err, how.keepCursor = nil, true
		}
		if err != nil {
			return errors.Join(incomplete, err)
		}
		p.width.grow(to.Sub(from), p.feed.Window.Max)
		from, begun = to, 0
		if after != nil {
			after(to)
		}
	}
	return incomplete
}

// upTo moves the cursor to at, before which lies none of the items that failed in a window from from: all that is there
// was delivered with the others, whose counts stand in the window's own entry.
func (p *partition) upTo(ctx context.Context, from, at, started time.Time) error {
	position := p.position
	position.Cursor, position.ReadAt = at, started
	err := p.commit(ctx, &checkpoint.Commit{Position: &position, Entry: &checkpoint.Entry{
		Feed: p.kept, Partition: p.account, From: from, To: at, Complete: true,
	}})
	if err == nil {
		p.position = position
		p.observe(func(s *FeedStatus) { s.Cursor = at })
	}
	return err
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// reach is where the window from from ends. readable is false for a span that was stepped
// over before; a second look tries it again.
func (p *partition) reach(from, target time.Time, how pass) (to time.Time, readable bool) {
	to = earlier(from.Add(p.width.span), target)
	if how.most > 0 {
		to = earlier(to, from.Add(how.most))
	}
	if how.refetch {
		return to, true
	}
	for _, s := range p.position.Unreadable {
		switch {
		case !from.Before(s.From) && from.Before(s.To):
			return s.To, false
		case from.Before(s.From) && s.From.Before(to):
			to = s.From
		}
	}
	return to, true
}

// stepOver gives up the smallest window, once enough rounds could not read it and could read
// others: what could be read of it is delivered, the rest is a gap. Until then its error is err, as [unreadable].
func (p *partition) stepOver(ctx context.Context, from, to time.Time, err error, how pass) error {
	if len(p.stuck) >= mostStuck && p.stuck[from] == 0 {
		return err
	}
	if p.stuck == nil {
		p.stuck = map[time.Time]int{}
	}
	if p.stuck[from]++; p.stuck[from] < stuckRounds {
		return &unreadable{err}
	}
	if err := p.gap(ctx, from, to, "the service cannot serve them: "+serviceSays(err)); err != nil {
		return err
	}
	delete(p.stuck, from)
	p.position.Unreadable = joined(append(slices.Clip(p.position.Unreadable), checkpoint.Span{From: from, To: to}))
	if !how.keepCursor {
		p.position.Cursor = later(p.position.Cursor, to)
	}
	position := p.position
	return p.commit(ctx, &checkpoint.Commit{Position: &position})
}

// readableBehind reports whether the service can be read anywhere from at on: one that breaks off every answer is at
// fault as a whole. What it cannot serve may come in a row, so the places lie further and further apart.
func (p *partition) readableBehind(ctx context.Context, at, target time.Time) bool {
	for step := time.Minute; at.Before(target) && ctx.Err() == nil; step *= 4 {
		if p.probe(ctx, at, target) == nil {
			return true
		}
		at = at.Add(step)
	}
	return false
}

// serviceSays is what the service itself said in an error of a read.
func serviceSays(err error) string {
	if s, ok := errors.AsType[*extract.StatusError](err); ok {
		return s.Error()
	}
	if n, ok := errors.AsType[*extract.Narrow](err); ok {
		return n.Err.Error()
	}
	return err.Error()
}

// tooEarly moves a start that the service refuses forward to where its records begin, and tells
// of what was never read before that, or appeared late and was not looked at again.
func (p *partition) tooEarly(ctx context.Context, from, target time.Time, early *extract.TooEarly, how pass) (time.Time, error) {
	begins, err := p.earliest(ctx, from, target, early)
	if err != nil {
		return from, err
	}
	if how.keepCursor {
		p.log.Warn("the service keeps less than was asked for", "asked_from", from, "from", begins)
		return begins, nil
	}
	p.begins = begins
	return begins, p.lose(ctx, p.unseen(p.now().Sub(begins)), begins, "the service does not keep them: "+serviceSays(early.Err))
}

// earliest finds where the service's records begin, after from, which it refused.
func (p *partition) earliest(ctx context.Context, from, target time.Time, early *extract.TooEarly) (time.Time, error) {
	refused, accepted := from, target
	for range probes {
		at := early.At.Truncate(time.Second)
		if said := at.After(refused) && at.Before(accepted); !said {
			at = refused.Add(accepted.Sub(refused) / 2).Truncate(time.Second)
		}
		if !at.After(refused) {
			break
		}
		err := p.probe(ctx, at, target)
		again, tooEarly := errors.AsType[*extract.TooEarly](err)
		switch {
		case tooEarly:
			refused, early = at, again
		case err != nil && !hard(err):
			return from, err
		case at.Equal(early.At.Truncate(time.Second)):
			return at, nil
		default:
			accepted = at
		}
	}
	if accepted.Equal(target) {
		return from, fmt.Errorf("the service refuses every start up to %s as too early: %w", refused.UTC().Format(time.RFC3339), early)
	}
	return accepted, nil
}
