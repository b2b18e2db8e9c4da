package lease

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/secure60/s60-m365-connector/engine/transport"
)

// nudge has the decisions made anew.
func (r *Replica) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// watch decides anew when somebody wants a partition, or a claim has
// changed; all that happens within a moment, in one go.
func (r *Replica) watch(ctx context.Context) {
	for changed := r.Claims.Changed(); ; {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-r.wake:
		}
		if transport.Sleep(ctx, r.tick()/16) != nil {
			return
		}
		changed = r.Claims.Changed() // before the decision, so that no change falls between the two
		r.decide(ctx, false)
	}
}

// decide sees who is to hold what, tells those who wait for a partition that is free, and
// gives up what has been another's part for several ticks. Replicas may differ in what there is to share, as while
// settings are changed on one after the other: each then leaves a partition to one that does not know it. So what nobody
// holds for several ticks is anybody's, and is kept for a while.
func (r *Replica) decide(ctx context.Context, tick bool) {
	void, err := r.void(ctx)
	if err != nil {
		if ctx.Err() == nil {
			r.Log.Warn("replica: cannot tell whose claims are void, trying again", "error", err)
		}
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.session == nil || r.session.ended.Err() != nil || r.names == nil {
		return
	}
	list := make([]Partition, 0, len(r.wanted))
	for p := range r.wanted {
		list = append(list, p)
	}
	target := assign(list, r.peers, r.owner, func(p Partition) int { return r.Claims.Weight(p.Feed, p.Value) })
	for p, w := range r.wanted {
		mine := r.Observer || target[p] == r.session.id
		owner := r.owner(p)
		held := owner != "" && owner != r.session.id && !void[owner]
		switch {
		case mine, held && w.giveUp == nil:
			w.others = 0
		case tick:
			w.others++
		}
		switch {
		case w.giveUp != nil && owner != r.session.id:
			w.giveUp(errTaken) // as an import does; there need be no commit that would tell
		case w.giveUp != nil:
			if w.others >= patience {
				w.giveUp(errGiveUp)
			}
		case mine && !held, owner == r.session.id:
			// The latter: a claim that was taken for failed. Nobody else may claim what a living
			// session owns, so it is held first, and given up like any other.
			w.tell(ruling{owner: owner})
		case w.wait && w.others > patience:
			w.tell(ruling{owner: owner})
		case !w.wait && held:
			w.tell(ruling{elsewhere: r.name(owner)})
		case !w.wait && !mine:
			w.tell(ruling{elsewhere: r.name(target[p])})
		}
	}
}

func (r *Replica) owner(p Partition) string { return r.Claims.Owner(p.Feed, p.Value) }

// tell answers who waits. One that was not taken yet may be out of date; then the
// claim fails, and there is another.
func (w *want) tell(a ruling) {
	select {
	case w.ruling <- a:
	default:
	}
}

// void are the owners of wanted partitions that do not live. One that was not seen at the
// last tick may have begun since, so it is asked for by name.
func (r *Replica) void(ctx context.Context) (map[string]bool, error) {
	unseen := map[string]bool{}
	r.mu.Lock()
	for p := range r.wanted {
		if owner := r.owner(p); owner != "" && r.names != nil && r.names[owner] == "" {
			unseen[owner] = true
		}
	}
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 2*r.tick())
	defer cancel()
	for id := range unseen {
		switch _, err := r.Sessions.Get(ctx, id); {
		case err == nil:
			delete(unseen, id)
		case !errors.Is(err, jetstream.ErrKeyNotFound):
			return nil, err
		}
	}
	return unseen, nil
}
