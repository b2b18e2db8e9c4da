package shared

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// What a view has beside what every store holds are objects of a feed that cannot be named.
const viewFeed = "\x00view"

// Its partitions.
const (
	ofView     = ""         // one object, a viewState
	ofSubjects = "subjects" // a subject by its name
	ofParts    = "parts "   // and the name of a subject: objects of a commit that is not whole yet
)

// viewVersion is the layout of these; a view of another is built anew.
const viewVersion = 2

type viewState struct {
	Version int       `json:"version"`
	Created time.Time `json:"created"` // the stream's
	Applied uint64    `json:"applied"` // its last message in the view
}

// subject is what the view knows of a partition's subject.
type subject struct {
	Session string    `json:"session,omitempty"` // that owns it; "": nobody
	Last    uint64    `json:"last"`              // message
	Fold    uint64    `json:"fold,omitempty"`    // the first message of the last complete fold
	Before  time.Time `json:"before,omitzero"`   // that fold's boundary
	Begun   uint64    `json:"begun,omitempty"`   // the first message of a fold that is not complete
	Since   int       `json:"since,omitempty"`   // messages since the last fold
	Free    time.Time `json:"free,omitzero"`     // from when on the requests of the last holder do not count any more; by the servers' clock
	Claimed time.Time `json:"claimed,omitzero"`  // when the last claim was made, by the servers' clock

	work

	rest time.Duration // see Store.Rest
}

// next is the subject after one more message, stored at a time of the servers' clock; m is nil for one that is not ours.
func (s subject) next(m *message, seq uint64, at time.Time) subject {
	first := s.Last == 0
	s.Last = seq
	s.Since++
	if m == nil {
		return s
	}
	begun := s.Begun
	s.Begun = 0
	if m.Kind == kindClaim {
		switch {
		case first:
			s.rest = 0
		case s.Session != "" && !s.Claimed.IsZero():
			s.rest = min(s.Claimed.Sub(at), -1)
		case s.Session != "" || s.Free.IsZero():
			s.rest = -1
		default:
			s.rest = max(s.Free.Sub(at), 0)
		}
		s.Free, s.Claimed = time.Time{}, at
	}
	s.Session = m.Session // nobody but the owner can write
	switch {
	case m.Work != nil:
		s.work = *m.Work
	case m.Position != nil:
		s.work = s.after(m.Position, at)
	}
	switch {
	case m.Kind == kindRelease:
		s.Session = ""
		if m.Rest != nil {
			s.Free = at.Add(*m.Rest)
		}
	case m.Kind == kindFold:
		if begun == 0 {
			begun = seq
		}
		if m.Before.IsZero() {
			s.Begun = begun
		} else {
			s.Fold, s.Before, s.Since = begun, m.Before, 0
		}
	}
	return s
}

// openView opens the view, and makes it anew where it cannot be used: whatever was in it,
// the log has.
func (s *Store) openView(ctx context.Context, dir string) error {
	v, err := checkpoint.Open(dir, checkpoint.Options{Logger: s.log})
	if err != nil {
		return err
	}
	if r := v.SetAside(); r != nil {
		s.log.Warn("shared state: the view cannot be used and is built anew", "reason", r.Reason)
		if err := os.RemoveAll(r.Path); err != nil {
			return errors.Join(fmt.Errorf("removing the view: %w", err), v.Close())
		}
	}
	why, lost, err := s.unusable(ctx, v)
	if err != nil {
		return errors.Join(err, v.Close())
	}
	if why != "" {
		s.log.Warn("shared state: the view cannot be used and is built anew", "reason", why)
		if err := v.Close(); err != nil {
			return err
		}
		drop := os.RemoveAll
		if former := filepath.Join(filepath.Dir(dir), formerDir); lost && missing(former) {
			drop = func(dir string) error { return os.Rename(dir, former) }
		}
		if err := drop(dir); err != nil {
			return fmt.Errorf("removing the view: %w", err)
		}
		s.applied = 0
		clear(s.subjects)
		if v, err = checkpoint.Open(dir, checkpoint.Options{Logger: s.log}); err != nil {
			return err
		}
	}
	s.view, s.Store = v, v
	return nil
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// unusable is why a view does not fit the stream, "" if it does; lost is that it is the stream
// which does not fit, as it is another or has lost messages. It loads what the view knows of the
// stream.
func (s *Store) unusable(ctx context.Context, v *checkpoint.Embedded) (why string, lost bool, err error) {
	state, known, err := s.loadView(v)
	var positions map[[2]string]checkpoint.Position
	if err == nil && !known {
		positions, err = v.Positions("")
	}
	switch {
	case errors.Is(err, checkpoint.ErrDamaged):
		return err.Error(), false, nil
	case err != nil:
		return "", false, err
	case known && state.Version != viewVersion, len(positions) > 0:
		return "another release wrote it", false, nil
	case !known:
		return "", false, nil
	case !state.Created.Equal(s.created):
		return "it is of another stream", true, nil
	}
	s.applied = state.Applied
	why, err = s.identify(ctx)
	return why, true, s.failed("comparing the view with the stream", err)
}

// loadView reads how far the view is, and the subjects.
func (s *Store) loadView(v *checkpoint.Embedded) (state viewState, known bool, err error) {
	text, known, err := v.Object(viewFeed, ofView, "")
	if err != nil || !known {
		return state, false, err
	}
	if err := json.Unmarshal(text, &state); err != nil {
		return state, false, fmt.Errorf("%w: what the view says of itself does not parse: %w", checkpoint.ErrDamaged, err)
	}
	for o, err := range v.Objects(viewFeed, ofSubjects) {
		var one subject
		if err == nil {
			err = json.Unmarshal(o.State, &one)
		}
		if err != nil {
			return state, false, fmt.Errorf("%w: what the view knows of %s: %w", checkpoint.ErrDamaged, o.ID, err)
		}
		s.subjects[o.ID] = one
	}
	return state, true, nil
}

// viewBatch gathers messages to apply at once.
type viewBatch struct {
	view     *checkpoint.Embedded
	commits  []*checkpoint.Commit
	subjects map[string]subject // as they will be
	applied  uint64
	bytes    int
}

// add puts one message into the batch. One that ends a commit of several reads the
// view, so it must be the first of its batch.
func (b *viewBatch) add(name string, m *message) error {
	c := &checkpoint.Commit{Feed: m.Feed, Partition: m.Partition, Position: m.Position, Keys: m.keys, Expires: m.Expires, Entry: m.Entry}
	b.commits = append(b.commits, c)
	if m.Kind == kindFold && (len(m.Days) > 0 || !m.Before.IsZero()) {
		c.Fold = &checkpoint.Fold{Days: m.Days, Before: m.Before, Forget: m.Forget}
	}
	if m.Kind == kindPart {
		text, err := json.Marshal(m.Objects)
		if err != nil {
			return err
		}
		b.own(ofParts+name, checkpoint.Object{ID: partID(m.Part), State: text})
		return nil
	}
	parts := 0
	if m.Kind == kindCommit {
		parts = m.Part
	}
	for i := range parts {
		text, ok, err := b.view.Object(viewFeed, ofParts+name, partID(i+1))
		if err != nil {
			return err
		}
		if !ok {
			continue // purged, as a fold says it again
		}
		var objects []checkpoint.Object
		if err := json.Unmarshal(text, &objects); err != nil {
			return fmt.Errorf("%w: part of a commit in the view: %w", checkpoint.ErrDamaged, err)
		}
		c.Objects = append(c.Objects, objects...)
		b.own(ofParts+name, checkpoint.Object{ID: partID(i + 1)})
	}
	c.Objects = append(c.Objects, m.Objects...)
	return nil
}

func partID(n int) string { return fmt.Sprintf("%06d", n) }

// own adds what the view itself remembers.
func (b *viewBatch) own(partition string, o checkpoint.Object) {
	b.commits = append(b.commits, &checkpoint.Commit{Feed: viewFeed, Partition: partition, Objects: []checkpoint.Object{o}})
}

// write applies the batch. It waits as long as the disk is full.
func (b *viewBatch) write(created time.Time) error {
	for name, one := range b.subjects {
		text, err := json.Marshal(one)
		if err != nil {
			return err
		}
		b.own(ofSubjects, checkpoint.Object{ID: name, State: text})
	}
	text, err := json.Marshal(viewState{Version: viewVersion, Created: created, Applied: b.applied})
	if err != nil {
		return err
	}
	b.own(ofView, checkpoint.Object{State: text})
	return b.view.Apply(b.commits)
}
