package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// This file accounts for what was replayed, with one ledger entry for each feed and day. The entry
// of a window keeps what the destination first said; these correct it, so that the sums are right.

const (
	replayedFile = "replayed.json"
	// ReplayedPartition is what the entries have in the place of a partition.
	ReplayedPartition = "replayed"
	replayedFor       = 400 * 24 * time.Hour // as the ledger
)

// Ledger is that of a tenant, and behind it what was replayed. store may be nil: there is none yet.
func Ledger(s *settings.Settings, store checkpoint.Store) iter.Seq2[checkpoint.Entry, error] {
	return func(yield func(checkpoint.Entry, error) bool) {
		if store != nil {
			for e, err := range store.Ledger("") {
				if !yield(e, err) {
					return
				}
			}
		}
		replayed, err := readReplayed(s.DeadLetters())
		if err != nil {
			yield(checkpoint.Entry{}, err)
			return
		}
		for _, e := range replayed {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func readReplayed(dir string) (list []checkpoint.Entry, err error) {
	file := filepath.Join(dir, replayedFile)
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("%s, the account of what was replayed, cannot be read: mend or remove it: %w", file, err)
	}
	return list, nil
}

func noteReplayed(dir string, now time.Time, sent map[string]int64) error {
	list, err := readReplayed(dir)
	if err != nil {
		return err
	}
	day := now.UTC().Truncate(24 * time.Hour)
	list = slices.DeleteFunc(list, func(e checkpoint.Entry) bool { return e.To.Before(now.Add(-replayedFor)) })
	for feed, n := range sent {
		i := slices.IndexFunc(list, func(e checkpoint.Entry) bool { return e.Feed == feed && e.From.Equal(day) })
		if i < 0 {
			i, list = len(list), append(list, checkpoint.Entry{Feed: feed, Partition: ReplayedPartition, From: day, To: day.Add(24 * time.Hour), Complete: true})
		}
		list[i].Delivered += n
		list[i].DeadLettered -= n
	}
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, replayedFile), text)
}
