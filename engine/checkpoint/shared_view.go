package checkpoint

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Beside what every embedded store holds, a view has:
//
//	v                    a viewState, JSON: of what stream it is, and how far
//	o name               a subject, JSON
const (
	viewSpace    = 'v'
	subjectSpace = 'o'
)

// viewVersion is the layout of these; a view of another is built anew.
const viewVersion = 1

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
}

// next is the subject after one more message, nil for one that is not ours.
func (s subject) next(m *message, seq uint64) subject {
	s.Last = seq
	s.Since++
	if m == nil {
		return s
	}
	begun := s.Begun
	s.Begun = 0
	s.Session = m.Session // nobody but the owner can write
	switch {
	case m.Kind == kindRelease:
		s.Session = ""
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
func (s *Shared) openView(ctx context.Context, dir string) error {
	open := func() (*Embedded, error) {
		return Open(dir, Options{Logger: s.log, LedgerDetail: s.opts.LedgerDetail, Now: s.opts.Now})
	}
	v, err := open()
	if err != nil {
		return err
	}
	if r := v.SetAside(); r != nil {
		s.log.Warn("shared state: the view cannot be used and is built anew", "reason", r.Reason)
		if err := os.RemoveAll(r.Path); err != nil {
			return errors.Join(openError(dir, err), v.Close())
		}
	}
	why, err := s.unusable(ctx, v)
	if err != nil {
		return errors.Join(err, v.Close())
	}
	if why != "" {
		s.log.Warn("shared state: the view cannot be used and is built anew", "reason", why)
		if err := v.Close(); err != nil {
			return err
		}
		if err := os.RemoveAll(filepath.Join(dir, stateDir)); err != nil {
			return openError(dir, err)
		}
		s.applied = 0
		clear(s.subjects)
		if v, err = open(); err != nil {
			return err
		}
	}
	s.view = v
	return nil
}

// unusable is why a view does not fit the stream, "" if it does. It loads what the view knows
// of the stream.
func (s *Shared) unusable(ctx context.Context, v *Embedded) (why string, err error) {
	state, known, err := s.loadView(v)
	switch {
	case errors.Is(err, ErrDamaged):
		return err.Error(), nil
	case err != nil || !known:
		return "", err
	case state.Version != viewVersion:
		return "another release wrote it", nil
	case !state.Created.Equal(s.created):
		return "it is of another stream", nil
	}
	s.applied = state.Applied
	why, err = s.identify(ctx)
	return why, s.failed("comparing the view with the stream", err)
}

// loadView reads how far the view is, and the subjects.
func (s *Shared) loadView(v *Embedded) (state viewState, known bool, err error) {
	if err := v.enter(); err != nil {
		return state, false, err
	}
	defer v.leave()
	err = v.each([]byte{viewSpace}, func(name, value []byte) (err error) {
		known = true
		state, err = decodeJSON[viewState](name, value)
		return err
	})
	if err == nil {
		err = v.each([]byte{subjectSpace}, func(name, value []byte) error {
			one, err := decodeJSON[subject](name, value)
			s.subjects[string(name[1:])] = one
			return err
		})
	}
	return state, known, v.failed("reading the view", err)
}

// viewBatch gathers messages to apply at once.
type viewBatch struct {
	view     *Embedded
	batch    *pebble.Batch
	subjects map[string]subject // as they will be
	applied  uint64
	bytes    int
}

func (v *Embedded) newViewBatch() *viewBatch {
	return &viewBatch{view: v, batch: v.db.NewBatch(), subjects: make(map[string]subject)}
}

// add puts one message into the batch. A fold reads the view, so it must be
// the first of its batch.
func (b *viewBatch) add(m *message) error {
	c := Commit{Feed: m.Feed, Partition: m.Partition, Position: m.Position, Keys: m.keys, Expires: m.Expires, Entry: m.Entry}
	if err := c.write(b.batch); err != nil {
		return err
	}
	for i := range m.Days {
		v, err := json.Marshal(&m.Days[i])
		if err != nil {
			return err
		}
		if err := b.batch.Set(dayName(&m.Days[i]), v, nil); err != nil {
			return err
		}
	}
	if !m.Before.IsZero() {
		err := b.view.windows(m.name(), func(name []byte, e *Entry) error {
			if !e.To.Before(m.Before) {
				return nil
			}
			return b.batch.Delete(name, nil)
		})
		if err != nil {
			return b.view.failed("reading the ledger", err)
		}
	}
	return nil
}

// write applies the batch and takes it over. It waits as long as the disk is full.
// It is not synced: the position in the log goes with it, so what a power cut takes
// is read again. That also means that no watermark speaks of it.
func (b *viewBatch) write(created time.Time) error {
	state, err := json.Marshal(viewState{Version: viewVersion, Created: created, Applied: b.applied})
	if err == nil {
		err = b.batch.Set([]byte{viewSpace}, state, nil)
	}
	for name, one := range b.subjects {
		var v []byte
		if err == nil {
			v, err = json.Marshal(one)
		}
		if err == nil {
			err = b.batch.Set(append([]byte{subjectSpace}, name...), v, nil)
		}
	}
	if err != nil {
		return errors.Join(err, b.batch.Close())
	}
	v := b.view
	_, err = guard(v, func() (none struct{}, err error) {
		v.commits.RLock()
		defer v.commits.RUnlock()
		if err := v.db.Apply(b.batch, pebble.NoSync); err != nil {
			return none, err
		}
		v.readers.renew()
		return none, b.batch.Close()
	})
	return err
}

// windows calls f for every window of a partition's ledger that is not folded.
func (v *Embedded) windows(n partitionName, f func(name []byte, e *Entry) error) error {
	return v.each(appendText(appendText([]byte{windowSpace}, n[0]), n[1]), func(name, value []byte) error {
		e, err := decodeJSON[Entry](name, value)
		if err != nil {
			return err
		}
		return f(name, &e)
	})
}
