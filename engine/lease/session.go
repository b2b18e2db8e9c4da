package lease

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/secure60/s60-m365-connector/engine/transport"
)

// live is one session, from its first entry to its loss.
func (r *Replica) live(ctx context.Context) {
	id := rand.Text()
	value, err := json.Marshal(entry{Name: r.Name, Observer: r.Observer, Format: r.Format, Started: time.Now().UTC()})
	if err != nil {
		panic(err) // strings and a time
	}
	put := func() (time.Time, error) {
		ctx, cancel := context.WithTimeout(ctx, 2*r.tick())
		defer cancel()
		started := time.Now()
		// Nobody else writes this entry, so one that was written without an answer
		// coming back is as good.
		_, err := r.Sessions.Put(ctx, id, value)
		return started, err
	}
	renewed, err := put()
	if err != nil {
		if ctx.Err() == nil {
			if !r.out { // else it was said
				r.Log.Warn("replica: no session, trying again; nothing is collected meanwhile", "error", err)
			}
			r.out = true
			transport.Sleep(ctx, r.tick()) //nolint:errcheck // the loop asks ctx
		}
		return
	}
	s := &session{id: id}
	s.ended, s.lose = context.WithCancelCause(context.Background())
	r.mu.Lock()
	r.session = s
	r.mu.Unlock()
	r.out = false
	r.Log.Info("replica: session begins", "replica", r.Name, "session", id)
	// Whatever holds up the loop below, a pause of the whole process too: half a TTL
	// after the last renewal the work of the session ends.
	s.renewed.Store(&renewed)
	deadline := time.AfterFunc(r.TTL/2-time.Since(renewed), func() { s.lose(errLost) })
	defer deadline.Stop()
	r.look(ctx)
	for transport.Sleep(ctx, r.tick()) == nil && s.ended.Err() == nil {
		renewed, err := put()
		if err == nil && deadline.Stop() {
			s.renewed.Store(&renewed)
			deadline.Reset(r.TTL/2 - time.Since(renewed))
			r.look(ctx)
		} else if err != nil && ctx.Err() == nil {
			r.Log.Warn("replica: session not renewed, trying again", "error", err)
		}
	}
	if ctx.Err() == nil {
		r.Log.Error("replica: the session is over; the work on all partitions ends, and begins again with the next session", "session", id, "cause", context.Cause(s.ended))
	}
	s.lose(context.Canceled)
	r.wind(ctx)
	r.forget(context.WithoutCancel(ctx), id)
}

// wind waits until the work of a session that is over has ended, before its claims are
// forgotten: what was delivered while the servers had no leader can be committed once they have
// one. The log refuses it when another replica has claimed.
func (r *Replica) wind(ctx context.Context) {
	look := time.NewTicker(r.tick() / 8)
	defer look.Stop()
	stop, over := ctx.Done(), time.After(windUp*r.TTL)
	for r.holding() {
		select {
		case <-look.C:
		case <-stop:
			stop, over = nil, time.After(r.TTL/2)
		case <-over:
			return
		}
	}
}

// MayWork reports whether this replica may still work on what it holds. That ends by itself, too; but a
// process that was paused may go on in any place, before what ends it does.
func (r *Replica) MayWork() bool {
	r.mu.Lock()
	s := r.session
	r.mu.Unlock()
	if s == nil || s.ended.Err() != nil {
		return false
	}
	renewed, now := *s.renewed.Load(), time.Now()
	// By the wall clock, too: the other one may stand still while the host sleeps.
	return now.Sub(renewed) < r.TTL/2 && now.Round(0).Sub(renewed.Round(0)) < r.TTL/2
}

// Try begins a session that takes no part, and ends it, to see whether that is allowed.
func Try(ctx context.Context, sessions jetstream.KeyValue) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	value, err := json.Marshal(entry{Name: "check", Observer: true, Started: time.Now().UTC()})
	if err != nil {
		return err
	}
	id := rand.Text()
	if _, err := sessions.Put(ctx, id, value); err != nil {
		return err
	}
	return sessions.Delete(ctx, id)
}

func (r *Replica) holding() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.wanted {
		if w.giveUp != nil {
			return true
		}
	}
	return false
}

// Living names those who take part, from outside. One that was killed lives on for a TTL.
func Living(ctx context.Context, sessions jetstream.KeyValue) (who []string, err error) {
	names, members, _, err := (&Replica{Options: Options{Sessions: sessions, TTL: DefaultTTL}}).living(ctx)
	for _, id := range members {
		who = append(who, names[id])
	}
	slices.Sort(who)
	return who, err
}

// forget takes the session out of sight, of the others' too.
func (r *Replica) forget(ctx context.Context, id string) {
	r.Claims.Forget()
	r.mu.Lock()
	r.session, r.names, r.members, r.peers = nil, nil, nil, nil
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	// Where this fails, the entry expires by itself.
	if err := r.Sessions.Delete(ctx, id); err != nil {
		r.Log.Debug("replica: ending the session", "error", err)
	}
}

// look sees who lives.
func (r *Replica) look(ctx context.Context) {
	names, members, peers, err := r.living(ctx)
	if err != nil {
		if ctx.Err() == nil {
			r.Log.Warn("replica: cannot see the other replicas, trying again", "error", err)
		}
		return
	}
	r.mu.Lock()
	before := len(r.members)
	if !slices.Equal(r.peers, peers) {
		for _, w := range r.wanted {
			w.others = max(w.others, 0)
		}
	}
	r.names, r.members, r.peers = names, members, peers
	r.mu.Unlock()
	if before != len(members) {
		r.Log.Info("replica: the number of replicas has changed", "replicas", len(members), "before", before)
	}
	r.decide(ctx, true)
}

// living are the sessions whose entries have not expired: the names of all, those that take part, and of these
// the peers. An older release shares by a rule of its own. It keeps what it holds, and is given nothing: the two would
// differ, and each leave the other a partition that then nobody has.
func (r *Replica) living(ctx context.Context) (names map[string]string, members, peers []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*r.tick())
	defer cancel()
	names = map[string]string{}
	add := func(e jetstream.KeyValueEntry) {
		// An entry that cannot be read lives like any other, and takes no part.
		var told entry
		if json.Unmarshal(e.Value(), &told) != nil {
			told = entry{Observer: true}
		}
		names[e.Key()] = cmp.Or(told.Name, e.Key())
		if !told.Observer && !slices.Contains(members, e.Key()) { // renewed meanwhile, it may be listed twice
			members = append(members, e.Key())
			if told.Format >= r.Format {
				peers = append(peers, e.Key())
			}
		}
	}
	watch, err := r.Sessions.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, nil, nil, err
	}
	defer watch.Stop() //nolint:errcheck // it is read to its end
	for listed := false; !listed; {
		select {
		case <-ctx.Done():
			return nil, nil, nil, ctx.Err()
		case e, ok := <-watch.Updates():
			switch {
			case !ok:
				return nil, nil, nil, errors.New("the list of sessions broke off")
			case e == nil: // all that there are
				listed = true
			default:
				add(e)
			}
		}
	}
	// The list lacks one that was renewed while it was made.
	r.mu.Lock()
	before := slices.Collect(maps.Keys(r.names))
	r.mu.Unlock()
	for _, id := range before {
		if names[id] != "" {
			continue
		}
		switch e, err := r.Sessions.Get(ctx, id); {
		case err == nil:
			add(e)
		case !errors.Is(err, jetstream.ErrKeyNotFound):
			return nil, nil, nil, err
		}
	}
	slices.Sort(members)
	slices.Sort(peers)
	return names, members, peers, nil
}
