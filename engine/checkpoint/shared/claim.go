package shared

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// lock makes the caller the one that publishes, while the store holds the partition by h.
func (s *Store) lock(ctx context.Context, n partitionName, h *holding) error {
	select {
	case <-h.mu:
	case <-s.ctx.Done():
		return s.over()
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.holds(n) != h {
		h.unlock()
		return checkpoint.ErrFenced
	}
	return nil
}

// holds is by what the store holds a partition; nil if it does not.
func (s *Store) holds(n partitionName) *holding {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[n]
}

// drop forgets h.
func (s *Store) drop(n partitionName, h *holding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[n] == h {
		delete(s.held, n)
	}
}

// Claim makes the session of this replica the owner of a partition that owner had: the
// one that [Store.Owner] told, and of which the caller knows that it may be replaced. From here on only
// the new one's commits are taken, until another replica claims the partition. It returns once
// the view shows all that was written before, so what Position then says is where to go
// on. [ErrHeld]: the owner is another, or somebody wrote to the partition since what the view
// showed; it shows that now, so look at the owner again. A partition that this
// session holds already stays as it is.
func (s *Store) Claim(ctx context.Context, feed, partition, owner, session string) error {
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
	fenced := errors.Is(err, checkpoint.ErrFenced)
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
		return fmt.Errorf("claiming %s: the session ended meanwhile: %w", n, checkpoint.ErrFenced)
	}
	s.held[n] = h
	return nil
}

// Release gives a partition up, for others to see at once. After it Commit is
// [checkpoint.ErrFenced], also where Release failed. A partition that is not held stays as it is. rest is
// what [Store.Rest] tells the next holder, less the time until then; below 0: it is not known.
func (s *Store) Release(ctx context.Context, feed, partition string, rest time.Duration) error {
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
		m := message{Kind: kindRelease, Feed: feed, Partition: partition}
		if rest >= 0 {
			m.Rest = &rest
		}
		err = s.publish(ctx, h, &m, true)
		h.unlock()
	}
	if err == nil {
		err = s.reached(ctx, h.last)
	}
	if err != nil && !errors.Is(err, checkpoint.ErrFenced) {
		return fmt.Errorf("releasing %s: %w", n, err)
	}
	return nil
}

// Forget drops all that this store has claimed, or is about to, and tells nobody: the
// session is over, and who takes it over will fence it out.
func (s *Store) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgotten++
	clear(s.held)
}

// about is what the view knows of a partition.
func (s *Store) about(feed, partition string) subject {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.subjects[subjectOf(s.opts.Name, partitionName{feed, partition})]
}

// Owner is the session that holds a partition, as far as the view knows; "" for nobody.
func (s *Store) Owner(feed, partition string) (session string) {
	return s.about(feed, partition).Session
}

// Weight is how much work a partition is: about the records of the last hour. Views that show the same
// messages agree on it.
func (s *Store) Weight(feed, partition string) int {
	return max(s.about(feed, partition).Weight, 1<<7)
}

// Claimed is when a partition was claimed last, by the servers' clock; the zero time where that is not
// known.
func (s *Store) Claimed(feed, partition string) time.Time {
	return s.about(feed, partition).Claimed
}

// Rest is how long after the last claim of a partition the requests of an earlier holder still count, where the service
// allows so many in a span of time. Below 0 that is not known, as of a holder that ended without a word: nobody but that
// holder has sent any for -rest before the claim.
func (s *Store) Rest(feed, partition string) time.Duration {
	return s.about(feed, partition).rest
}

// Changed is closed at the next change of an owner. Get it before you look at the
// owners, and none is missed.
func (s *Store) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Done is closed when the store can no longer be used: it was closed, or its stream or bucket is
// not there any more.
func (s *Store) Done() <-chan struct{} { return s.ctx.Done() }

// Err is why the store can no longer be used, [checkpoint.ErrClosed] or [checkpoint.ErrStopped] as a rule; nil while it can.
func (s *Store) Err() error { return s.over() }

// Commit implements [checkpoint.Store], for a partition that this store has claimed; any other is
// [checkpoint.ErrFenced]. It returns once the server has acknowledged the commit and the view shows
// it. Servers that do not answer for 5 seconds, and as long as a slow way to them, and back, takes for what is written,
// are an error, after which the same commit can be tried again.
func (s *Store) Commit(c *checkpoint.Commit) error {
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

func (s *Store) commit(n partitionName, c *checkpoint.Commit) error {
	if e := c.Entry; e != nil && (e.Feed != c.Feed || e.Partition != c.Partition) {
		return fmt.Errorf("its ledger entry is of %s %s; a shared state takes entries of the partition itself only", e.Feed, e.Partition)
	}
	h := s.holds(n)
	if h == nil {
		return checkpoint.ErrFenced
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	last := message{Kind: kindCommit, Feed: c.Feed, Partition: c.Partition, Session: h.session, Position: c.Position, Entry: c.Entry}
	objects, err := s.cut(&last, c.Objects)
	if err != nil {
		return err
	}
	if len(c.Objects) > 0 {
		if err := s.understood(ctx); err != nil {
			return err
		}
	}
	if err := s.lock(ctx, n, h); err != nil {
		return err
	}
	defer h.unlock()
	if f := c.Fold; f != nil { // of an import
		m := message{Kind: kindFold, Feed: c.Feed, Partition: c.Partition, Days: f.Days}
		return s.publishHeld(context.Background(), n, h, &m, true)
	}
	for i := range objects {
		part := message{Kind: kindPart, Feed: c.Feed, Partition: c.Partition, Objects: objects[i], Part: i + 1}
		if err := s.publishHeld(context.Background(), n, h, &part, true); err != nil {
			return err
		}
	}
	last.Part, last.Expires, last.keys = len(objects), c.Expires, c.Keys
	head, err := json.Marshal(&last)
	if err != nil {
		return err
	}
	most := max(1, (s.largest()-len(head)-256)/len(checkpoint.Key{}))
	for ; len(last.keys) > most; last.keys = last.keys[most:] {
		part := message{Kind: kindCommit, Feed: c.Feed, Partition: c.Partition, Expires: c.Expires, keys: last.keys[:most]}
		if err := s.publishHeld(context.Background(), n, h, &part, true); err != nil {
			return err
		}
	}
	if err := s.publishHeld(context.Background(), n, h, &last, true); err != nil {
		return err
	}
	// It comes back the way it went; what was before the last message, while that was sent.
	seen, cancel := context.WithTimeout(context.Background(), within(patience, messageLimit))
	defer cancel()
	return s.reached(seen, h.last)
}

// cut puts the objects into the message where they fit, and else into parts.
func (s *Store) cut(last *message, objects []checkpoint.Object) (parts [][]checkpoint.Object, err error) {
	room := s.room()
	size, from := 0, 0
	for i := range objects {
		one := base64.StdEncoding.EncodedLen(len(objects[i].State)) + 6*len(objects[i].ID) + 32
		if one > room {
			return nil, fmt.Errorf("the object %q has %d bytes, more than a message of NATS holds", objects[i].ID, len(objects[i].State))
		}
		if size += one; size > room {
			parts = append(parts, objects[from:i])
			size, from = one, i
		}
	}
	if last.Objects = objects; len(parts) == 0 {
		head, err := json.Marshal(last)
		if err != nil || len(head) <= room {
			return nil, err
		}
	}
	last.Objects = nil
	if from < len(objects) {
		parts = append(parts, objects[from:])
	}
	return parts, nil
}

// publishHeld is publish for a partition that the store holds, and holds no longer
// once it is fenced.
func (s *Store) publishHeld(ctx context.Context, n partitionName, h *holding, m *message, again bool) error {
	err := s.publish(ctx, h, m, again)
	if errors.Is(err, checkpoint.ErrFenced) {
		s.drop(n, h)
	}
	return err
}

// largest is how many bytes a message may have.
func (s *Store) largest() int { return int(min(s.nc.MaxPayload(), messageLimit)) }

// room is how much of that is for objects and days; the rest of the head has a few kilobytes.
func (s *Store) room() int { return s.largest() - min(16<<10, s.largest()/4) }

// understood is an error while a replica lives that does not read what this release
// writes of objects: it would stop.
func (s *Store) understood(ctx context.Context) error {
	s.mu.Lock()
	asked := s.asked
	s.mu.Unlock()
	if time.Since(asked) < s.opts.SessionTTL/2 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	const what = "looking at the other replicas"
	// Not a watch, whose first list lacks what is renewed while it is made.
	subject := "$KV." + s.bucketName() + "."
	sessions, err := s.js.Stream(ctx, "KV_"+s.bucketName())
	if err != nil {
		return s.failed(what, err)
	}
	all, err := sessions.Info(ctx, jetstream.WithSubjectFilter(subject+">"))
	if err != nil {
		return s.failed(what, err)
	}
	for name := range all.State.Subjects {
		e, err := s.bucket.Get(ctx, strings.TrimPrefix(name, subject))
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue // it has ended
		}
		if err != nil {
			return s.failed(what, err)
		}
		var told struct {
			Name     string `json:"name"`
			Observer bool   `json:"observer"` // ends with an error that says so
			Format   int    `json:"format"`   // 0: a release before there was one
		}
		if err := json.Unmarshal(e.Value(), &told); err == nil && !told.Observer && told.Format < Format {
			return fmt.Errorf("%w: %s, which cannot read the state of this feed: upgrade or stop it", checkpoint.ErrOlderReplica, told.Name)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = time.Now()
	return nil
}
