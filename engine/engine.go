// Package engine runs feeds. It is one loop, for each partition of each feed:
// plan a window, extract its records, transform them into events, load these at
// the destination, and commit what was delivered. The stages are packages of
// their own, which know nothing of each other; this package composes them.
//
//	plan       from the cursor, less the overlap, to now, less the delay
//	extract    pages and items of the window -> records
//	transform  a record not seen before -> an event, into the batch in hand
//	load       a full batch -> the destination, until it says yes
//	commit     keys, ledger, and at the window's end the cursor, in one write
//
// A key is remembered and a cursor moves only after the destination said yes. What is with
// the destination and not yet committed is bounded, see [InFlight]: it is all that is
// delivered again when the process is killed.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
	"github.com/secure60/s60-m365-connector/engine/transform"
	"github.com/secure60/s60-m365-connector/engine/transport"
)

// Config is what an engine runs on. Every field but the functions, Tenant and
// Workers is required.
type Config struct {
	Name, Version string // of the program, for the heartbeat
	Feeds         []*definition.Feed
	// Mappings are asked for when the first record of a feed comes.
	Mappings map[string]func() *transform.Mapping
	// Settings are the names that the expressions of feeds see.
	Settings    map[string]any
	Constants   []transform.Constant // of every event, the heartbeat's too
	Client      *extract.Client
	Destination load.Destination
	DeadLetters *load.DeadLetters
	Store       checkpoint.Store
	// Leases say which partitions run here. nil: all of them, in this process alone.
	Leases Leases

	// Tenant names whose data this is, where a process has engines of several: each has a
	// [checkpoint.OfTenant] of the store, which the process sweeps, see [Sweep].
	// "": the engine has the process and the store to itself, and sweeps it.
	Tenant string
	// Beside: another engine of this process collects the same feeds. This one is for a
	// backfill, which then keeps its own account of how far it is.
	Beside bool
	// Workers bound how many windows the engines of a process read at a time;
	// nil: no bound.
	Workers *Workers
	// InFlight bounds what the engines of a process have in flight; nil: this one
	// has [InFlightBytes] of its own.
	InFlight *InFlight

	Poll      time.Duration // between two rounds of a feed
	Lookback  time.Duration // how far back a feed begins that never ran
	Heartbeat time.Duration // between two heartbeats; 0: none

	Log *slog.Logger
	// Now is the clock; time.Now unless given.
	Now func() time.Time
	// Explain gives a person the cause and the remedy of an error that it knows;
	// the error's own text unless given.
	Explain func(error) string
	// OnEvent sees each event that was delivered, from several goroutines; it
	// must not keep the bytes. May be nil.
	OnEvent func(feed string, event []byte)
	// OnFailure is told of each round of a partition that failed, from several goroutines; may be nil.
	OnFailure func(feed, partition string, at time.Time, text string)
	// Restored says that the state was lost, and what was done about it; "": it was not.
	// New that it is new, and replicas share it: nobody can tell whether there was one before that was lost with
	// all copies. The destination is told once.
	Restored string
	New      bool
	// CredentialExpires is when the credential ends, the zero time where that
	// is not known. May be nil.
	CredentialExpires func() time.Time
}

// Leases share partitions among several processes: each is held by one at a time.
// Implementations may be called from several goroutines.
type Leases interface {
	// Hold waits until the partition is held here. held ends when it must not be
	// worked on any more, or with ctx; release gives it back. rest is how long the former holder's requests
	// still count, as it told its release; below 0 where that is not known, and the holder has sent none for -rest.
	// Without wait, one that another process runs is an error that names it. One that [StoreError]
	// knows ends all work.
	Hold(ctx context.Context, feed, partition string, wait bool) (held context.Context, rest time.Duration, release func(rest time.Duration), err error)
	// Holder names the process that holds a partition, "" where that is not known, and says since when
	// that, or the last one, had it.
	Holder(feed, partition string) (name string, since time.Time)
	// Replicas are the names of the processes that take part, and of this one.
	Replicas() (all []string, here string)
	// Joined is nil while this process takes part. It does not while the others are out of reach,
	// and says why, and what to do.
	Joined() error
}

// Engine runs the enabled feeds of its Config.
type Engine struct {
	Config
	started    time.Time
	outbox     *outbox
	partitions []*partition
	disabled   []*definition.Feed
	holding    sync.Mutex                                       // guards held of the partitions
	read       func(feed *definition.Feed, value string) reader // tests play it; nil: a reader of extract
	licensed   sync.Map                                         // of string, what feeds require, to time.Time, when one was served last
	weights    weights
	unwritten  unwritten
	failures   failures
	wrongClock sync.Once // said that it is
}

// New prepares the enabled feeds. It makes no request.
func New(config Config) (*Engine, error) {
	e := &Engine{Config: config}
	if e.Now == nil {
		e.Now = time.Now
	}
	if e.Explain == nil {
		e.Explain = error.Error
	}
	e.started = e.Now()
	e.outbox = newOutbox(e.InFlight, e.Destination, e.Workers != nil)
	for _, feed := range e.Feeds {
		enabled, err := feed.Enabled.Bool(e.Settings)
		if err != nil {
			return nil, fmt.Errorf("feed %s: enabled: %w", feed.Name, err)
		}
		if !enabled || e.standsIn(feed) != nil { // an archive is read by a backfill only
			e.disabled = append(e.disabled, feed)
			continue
		}
		if err := e.add(feed); err != nil {
			return nil, fmt.Errorf("feed %s: %w", feed.Name, err)
		}
		if e.Leases != nil && !e.Beside {
			e.Client.Share(feed, 0, 0) // until a partition is held
		}
	}
	return e, nil
}

// add makes the partitions of a feed: one, or one for each value of its
// for_each.
func (e *Engine) add(feed *definition.Feed) error {
	values, err := feed.Partitions(e.Settings)
	if err != nil {
		return err
	}
	if e.Mappings[feed.Mapping] == nil {
		return fmt.Errorf("its mapping %q is not loaded", feed.Mapping)
	}
	mappers, shared := e.mappers(feed), newClaims()
	for _, value := range values {
		p, err := newPartition(e, feed, value, mappers, shared)
		if err != nil {
			return err
		}
		p.place = len(e.partitions)
		e.partitions = append(e.partitions, p)
	}
	return nil
}

// mappers are those of a feed's records, which its partitions share: a mapper learns of what it maps, so the fewer there are, the
// less is learned twice. There is none, nor is the mapping compiled, before there is a record.
func (e *Engine) mappers(feed *definition.Feed) *sync.Pool {
	another := sync.OnceValue(func() func() *transform.Mapper {
		// A mapping may be shared with engines that have other constants.
		return e.Mappings[feed.Mapping]().Mappers(append(slices.Clip(e.Constants), transform.Constant{Name: "source_name", Value: feed.Name})...)
	})
	return &sync.Pool{New: func() any { return another()() }}
}

// holdAgain is how long after a partition could not be held that is tried again.
const holdAgain = 10 * time.Second

// Run polls every feed until ctx ends, then returns nil; batches in hand have a
// few seconds to finish. Any other error is of the state store, damaged beyond
// what a retry could mend.
func (e *Engine) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	// Nobody waits for a sweep: it takes long, and closing the store ends it.
	if e.Tenant == "" {
		go Sweep(ctx, e.Store, e.Client.Skew, e.Now, e.Log)
	}
	go e.tellState(ctx)
	if len(e.partitions) == 0 { // every feed is switched off; the heartbeat says so
		e.beat(ctx)
		<-ctx.Done()
		return nil
	}
	return e.each(ctx, func(ctx context.Context, p *partition) error {
		for ctx.Err() == nil {
			held, release, err := p.lease(ctx, true)
			if StoreError(err) {
				return err
			}
			if err != nil {
				if ctx.Err() == nil {
					p.log.Warn("the feed could not be taken over, trying again", "error", err)
					Sleep(ctx, holdAgain)
				}
				continue
			}
			err = p.rounds(held)
			release()
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Once polls every feed until it has caught up with now, but for those that
// another process runs. The error joins what made feeds fail; the others ran all the same.
func (e *Engine) Once(ctx context.Context) error {
	return e.each(ctx, func(ctx context.Context, p *partition) error {
		held, release, err := p.lease(ctx, false)
		if StoreError(err) {
			return err
		}
		if err != nil {
			p.log.Info("not polled here", "cause", err)
			return nil
		}
		defer release()
		err = p.round(held)
		for (errors.Is(err, errUnconfirmed) || errors.Is(err, errFlapping)) && Sleep(held, confirmAgain) {
			err = p.round(held)
		}
		if err != nil {
			return err
		}
		if held.Err() != nil && ctx.Err() == nil {
			return fmt.Errorf("%s: it went to another process before it had caught up: %w", p, context.Cause(held))
		}
		return nil
	})
}

// confirmAgain is how long after a licence was said to be missing Once asks again.
const confirmAgain = 2 * time.Second

// each runs work for all partitions side by side, with the heartbeat beside
// them, and joins their errors. A damaged store stops all.
func (e *Engine) each(ctx context.Context, work func(context.Context, *partition) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for _, p := range e.partitions { // for the first heartbeat, which waits for no round
		p.observe(p.stored)
	}
	var working, beating sync.WaitGroup
	beating.Go(func() { e.beat(ctx) })
	errs := make([]error, len(e.partitions))
	for i, p := range e.partitions {
		working.Go(func() {
			errs[i] = work(ctx, p)
			if StoreError(errs[i]) {
				stop()
			}
		})
	}
	working.Wait()
	stop()
	beating.Wait()
	for _, err := range errs {
		if StoreError(err) { // of the store that all have in common: once is enough
			return err
		}
	}
	e.tellAll()
	return e.joinErrors(errs)
}

// Sweep lets the store forget, once a day, what it need not remember any more,
// until ctx ends. It goes by the services' clocks, as keys do: one of this host that runs far ahead would make it
// forget what is still needed. skew is how far they are ahead of it, where that is known, as [extract.Client.Skew] tells it.
func Sweep(ctx context.Context, store checkpoint.Store, skew func() (ahead time.Duration, known bool), now func() time.Time, log *slog.Logger) {
	const soon = 10 * time.Minute // not at once: the first catch-up has enough to do
	for wait := soon; Sleep(ctx, wait); wait = 24 * time.Hour {
		SweepNow(store, skew, now(), log)
	}
}

// SweepNow is one sweep of [Sweep], and reports whether it was done.
func SweepNow(store checkpoint.Store, skew func() (ahead time.Duration, known bool), now time.Time, log *slog.Logger) bool {
	ahead, known := skew()
	if !known {
		log.Debug("state is not swept: no service has told the time yet")
		return false
	}
	if err := store.Sweep(now.Add(ahead)); err != nil {
		if !errors.Is(err, checkpoint.ErrClosed) {
			log.Error("state could not be swept, trying again tomorrow", "error", err)
		}
		return false
	}
	return true
}

// StoreError reports whether err is of the state store, and no retry can mend it:
// what [Engine.Run] returns is.
func StoreError(err error) bool {
	return errors.Is(err, checkpoint.ErrDamaged) || errors.Is(err, checkpoint.ErrStopped) || errors.Is(err, checkpoint.ErrClosed)
}

// Sleep waits, and reports whether ctx is still alive.
func Sleep(ctx context.Context, d time.Duration) bool { return transport.Sleep(ctx, d) == nil }
