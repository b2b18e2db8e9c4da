package lease

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/secure60/s60-m365-connector/engine/transport"
)

// Hold waits until this replica holds the partition. held ends when it must not
// work on it any more, or with ctx; release is to be called once the work on it
// has ended, and lets others have it. rest is what the former holder gave its release, less
// the time since; below 0 where that is not known, and no holder has worked for -rest.
//
// Without wait, a partition that another replica runs, or is about to, is
// errElsewhere, with its name. Other errors are those of ctx, and of claims that can no longer be used.
func (r *Replica) Hold(ctx context.Context, feed, partition string, wait bool) (held context.Context, rest time.Duration, release func(rest time.Duration), err error) {
	p, w := Partition{feed, partition}, &want{wait: wait, ruling: make(chan ruling, 1)}
	r.mu.Lock()
	r.wanted[p] = w
	r.mu.Unlock()
	for {
		r.nudge()
		select {
		case <-ctx.Done():
			r.unwant(p)
			return nil, 0, nil, ctx.Err()
		case <-r.Claims.Done(): // perhaps with no session, hence no claim, that would tell
			r.unwant(p)
			return nil, 0, nil, r.Claims.Err()
		case a := <-w.ruling:
			if a.elsewhere != "" {
				r.unwant(p)
				return nil, 0, nil, fmt.Errorf("%w: %s", errElsewhere, a.elsewhere)
			}
			if held, release = r.claim(ctx, p, w, a.owner); held != nil {
				return held, r.rest(ctx, p, a.owner), release, nil
			}
		}
	}
}

// rest is for how long what was sent for the partition before it was claimed from owner counts. A session
// that expired has not worked for half of its time, see [Replica.MayWork]. One that was ended
// may have done so up to then, and leaves a mark for as long as it would have lasted.
func (r *Replica) rest(ctx context.Context, p Partition, owner string) time.Duration {
	rest := r.Claims.Rest(p.Feed, p.Value)
	if rest >= 0 {
		return rest
	}
	ctx, cancel := context.WithTimeout(ctx, r.tick())
	defer cancel()
	if owner != "" {
		if _, err := r.Sessions.History(ctx, owner); errors.Is(err, jetstream.ErrKeyNotFound) {
			return max(rest, -r.TTL/2)
		}
	}
	return -1
}

func (r *Replica) unwant(p Partition) {
	r.mu.Lock()
	delete(r.wanted, p)
	r.mu.Unlock()
}

// claim claims the partition for as long as the session lasts. held is nil where that
// fails: somebody else was quicker, or the log is out of reach.
func (r *Replica) claim(ctx context.Context, p Partition, w *want, owner string) (held context.Context, release func(rest time.Duration)) {
	r.mu.Lock()
	s := r.session
	r.mu.Unlock()
	if s == nil {
		return nil, nil
	}
	within, cancel := context.WithTimeout(ctx, r.TTL)
	defer cancel()
	if err := r.Claims.Claim(within, p.Feed, p.Value, owner, s.id); err != nil {
		r.Log.Debug("replica: claim failed, trying again", "partition", p.String(), "error", err)
		if transport.Sleep(ctx, r.tick()/4) != nil {
			s.lose(errUnknown) // the log may hold the claim all the same
		}
		return nil, nil
	}
	if s.ended.Err() != nil { // it ended while the log answered, and with it the claim
		return nil, nil
	}
	held, giveUp := context.WithCancelCause(ctx)
	detach := context.AfterFunc(s.ended, func() { giveUp(context.Cause(s.ended)) })
	r.mu.Lock()
	if w.giveUp = giveUp; w.others > patience {
		w.others = -keep
	}
	r.mu.Unlock()
	r.Log.Info("replica: runs this partition", "partition", p.String(), "replica", r.Name)
	return held, func(rest time.Duration) {
		detach()
		cause := context.Cause(held)
		giveUp(context.Canceled)
		r.release(ctx, p, s, rest)
		r.unwant(p)
		r.Log.Info("replica: no longer runs this partition", "partition", p.String(), "replica", r.Name, "cause", cmp.Or(cause, errDone))
	}
}

// release gives the partition back. Where that fails, only the end of the session does it.
func (r *Replica) release(ctx context.Context, p Partition, s *session, rest time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(r.tick(), time.Second))
	defer cancel()
	if err := r.Claims.Release(ctx, p.Feed, p.Value, rest); err != nil {
		r.Log.Debug("replica: releasing a partition", "partition", p.String(), "error", err)
		s.lose(errUnknown)
	}
}

// name is what people call the replica of a session. The caller holds the lock.
func (r *Replica) name(session string) string {
	if name := r.names[session]; name != "" {
		return name
	}
	return session
}

// Holder names the replica that holds a partition, "" if none that lives does,
// as far as this one knows; and when it was claimed last.
func (r *Replica) Holder(feed, partition string) (name string, since time.Time) {
	owner, since := r.Claims.Owner(feed, partition), r.Claims.Claimed(feed, partition)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.names[owner], since
}

// Replicas are the names of the replicas that take part, in order, and of this one; none while that is
// not known.
func (r *Replica) Replicas() (all []string, here string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range r.members {
		all = append(all, r.name(id))
	}
	slices.Sort(all)
	return all, r.Name
}

// Joined is nil while this replica takes part. It does not while the shared
// state is out of reach: then nothing is collected here, and it says why.
func (r *Replica) Joined() error {
	r.mu.Lock()
	joined := r.session != nil && r.session.ended.Err() == nil && r.names != nil
	r.mu.Unlock()
	if joined {
		return nil
	}
	return cmp.Or(r.Claims.Reach(), errApart)
}
