package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// commitPatience is how long a commit waits for servers that do not answer. Its caller
// tries again, and what was stored meanwhile is not stored a second time.
const commitPatience = 5 * time.Second

// lock makes the caller the one that publishes, while the store holds the partition by h.
func (s *Shared) lock(ctx context.Context, n partitionName, h *holding) error {
	select {
	case <-h.mu:
	case <-s.ctx.Done():
		return s.over()
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.holds(n) != h {
		h.unlock()
		return ErrFenced
	}
	return nil
}

// holds is by what the store holds a partition; nil if it does not.
func (s *Shared) holds(n partitionName) *holding {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[n]
}

// drop forgets h.
func (s *Shared) drop(n partitionName, h *holding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[n] == h {
		delete(s.held, n)
	}
}

// Claim makes the session of this replica the owner of a partition that owner had: the
// one that [Shared.Owner] told, and of which the caller knows that it may be replaced. From here on only
// the new one's commits are taken, until another replica claims the partition. It returns once
// the view shows all that was written before, so what Position then says is where to go
// on. [ErrHeld]: the owner is another, or somebody wrote to the partition since what the view
// showed; it shows that now, so look at the owner again. A partition that this
// session holds already stays as it is.
func (s *Shared) Claim(ctx context.Context, feed, partition, owner, session string) error {
	end, err := s.begin()
	if err != nil {
		return err
	}
	defer end()
	if session == "" {
		return errors.New("a claim needs the name of a session")
	}
	n := partitionName{feed, partition}
	s.mu.Lock()
	known := s.subjects[subjectOf(s.opts.Name, n)]
	if h := s.held[n]; h != nil && h.session == session && known.Session == session {
		s.mu.Unlock()
		return nil
	}
	if known.Session != owner {
		s.mu.Unlock()
		return fmt.Errorf("claiming %s: %w", n, ErrHeld)
	}
	h := s.newHolding(session, known.Last)
	forgotten := s.forgotten
	s.mu.Unlock()
	err = s.publish(ctx, h, &message{Kind: kindClaim, Feed: feed, Partition: partition}, true)
	fenced := errors.Is(err, ErrFenced)
	if err == nil || fenced {
		err = s.reached(ctx, h.last)
	}
	if err == nil && fenced {
		err = ErrHeld
	}
	if err != nil {
		return fmt.Errorf("claiming %s: %w", n, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forgotten != forgotten {
		return fmt.Errorf("claiming %s: the session ended meanwhile: %w", n, ErrFenced)
	}
	s.held[n] = h
	return nil
}

// Release gives a partition up, for others to see at once. After it Commit is
// [ErrFenced], also where Release failed. A partition that is not held stays as it is.
func (s *Shared) Release(ctx context.Context, feed, partition string) error {
	end, err := s.begin()
	if err != nil {
		return err
	}
	defer end()
	n := partitionName{feed, partition}
	h := s.holds(n)
	if h == nil {
		return nil
	}
	err = s.lock(ctx, n, h)
	s.drop(n, h)
	if err == nil {
		err = s.publish(ctx, h, &message{Kind: kindRelease, Feed: feed, Partition: partition}, true)
		h.unlock()
	}
	if err == nil {
		err = s.reached(ctx, h.last)
	}
	if err != nil && !errors.Is(err, ErrFenced) {
		return fmt.Errorf("releasing %s: %w", n, err)
	}
	return nil
}

// Forget drops all that this store has claimed, or is about to, and tells nobody: the
// session is over, and who takes it over will fence it out.
func (s *Shared) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgotten++
	clear(s.held)
}

// Owner is the session that holds a partition, as far as the view knows; "" for nobody.
func (s *Shared) Owner(feed, partition string) (session string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.subjects[subjectOf(s.opts.Name, partitionName{feed, partition})].Session
}

// Changed is closed at the next change of an owner. Get it before you look at the
// owners, and none is missed.
func (s *Shared) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Done is closed when the store can no longer be used: it was closed, or its stream or bucket is
// not there any more.
func (s *Shared) Done() <-chan struct{} { return s.ctx.Done() }

// Err is why the store can no longer be used, [ErrClosed] or [ErrStopped] as a rule; nil while it can.
func (s *Shared) Err() error { return s.over() }

// Commit implements [Store], for a partition that this store has claimed; any other is
// [ErrFenced]. It returns once the server has acknowledged the commit and the view shows
// it. Servers that do not answer for 5 seconds are an error, after which the
// same commit can be tried again.
func (s *Shared) Commit(c *Commit) error {
	end, err := s.begin()
	if err != nil {
		return err
	}
	defer end()
	n := partitionName{c.Feed, c.Partition}
	if err := s.commit(n, c); err != nil {
		return fmt.Errorf("committing what was delivered of %s: %w", n, err)
	}
	return nil
}

func (s *Shared) commit(n partitionName, c *Commit) error {
	if e := c.Entry; e != nil && (e.Feed != c.Feed || e.Partition != c.Partition) {
		return fmt.Errorf("its ledger entry is of %s %s; a shared state takes entries of the partition itself only", e.Feed, e.Partition)
	}
	h := s.holds(n)
	if h == nil {
		return ErrFenced
	}
	ctx, cancel := context.WithTimeout(context.Background(), commitPatience)
	defer cancel()
	if err := s.lock(ctx, n, h); err != nil {
		return err
	}
	defer h.unlock()
	m := message{Kind: kindCommit, Feed: c.Feed, Partition: c.Partition, Expires: c.Expires, keys: c.Keys}
	most := s.keysPerMessage(c)
	for ; len(m.keys) > most; m.keys = m.keys[most:] {
		part := m
		part.keys = m.keys[:most]
		if err := s.publishHeld(ctx, n, h, &part, true); err != nil {
			return err
		}
	}
	m.Position, m.Entry = c.Position, c.Entry
	if err := s.publishHeld(ctx, n, h, &m, true); err != nil {
		return err
	}
	seen, cancel := context.WithTimeout(context.Background(), commitPatience)
	defer cancel()
	return s.reached(seen, h.last)
}

// publishHeld is publish for a partition that the store holds, and holds no longer
// once it is fenced.
func (s *Shared) publishHeld(ctx context.Context, n partitionName, h *holding, m *message, again bool) error {
	err := s.publish(ctx, h, m, again)
	if errors.Is(err, ErrFenced) {
		s.drop(n, h)
	}
	return err
}

// keysPerMessage is how many keys fit a message, beside a head of any size that is to
// be expected.
func (s *Shared) keysPerMessage(c *Commit) int {
	head := 4<<10 + 8*(len(c.Feed)+len(c.Partition))
	if c.Position != nil {
		head += 2 * (len(c.Position.LastError) + len(c.Position.GateReason))
	}
	if c.Entry != nil {
		for reason := range c.Entry.Reasons {
			head += 2*len(reason) + 32
		}
	}
	return max(1, (s.largest()-head)/len(Key{}))
}

// largest is how many bytes a message may have.
func (s *Shared) largest() int { return int(min(s.nc.MaxPayload(), messageLimit)) }
