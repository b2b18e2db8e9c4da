package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine"
)

// This file remembers the last day for the plots of the status page, also over restarts.

const (
	SampleEvery = time.Minute
	SampleSpan  = 24 * time.Hour
	// sampleSeldom is for one tenant of many, or samples would be most of what the process holds.
	sampleSeldom = 10 * time.Minute
	PlotLeast    = 15 * time.Minute // what a plot spans at least, so that a young one is not a wall
	// keepEvery is how often the samples are written to the disk.
	keepEvery = 10 * time.Minute
)

// History is a ring of samples. Its zero value is ready for use, by several
// goroutines.
type History struct {
	every   time.Duration // between two samples; 0: SampleEvery
	weights weights       // kept with the samples; nil: none

	mu      sync.Mutex
	samples ring[Sample]
}

// weights are what was delivered in the last day, by hours; those of an [engine.Engine].
type weights interface {
	Weights() []engine.WeightHour
	AddWeights([]engine.WeightHour)
}

// Sample is the state of all feeds at one time, in the order of the status,
// which does not change while the program runs.
type Sample struct {
	At    time.Time
	Feeds []point
}

type point struct {
	Delivered int64         // since the start; of one before it, below 0: what was to come until then
	Lag       time.Duration // below 0: not known
}

// run samples the status until ctx ends, and keeps the samples in a file.
func (h *History) run(ctx context.Context, file string, status func() engine.Status) error {
	unread := h.load(file, status())
	kept := time.Now()
	for {
		s := status()
		h.Add(SampleOf(s))
		if !engine.Sleep(ctx, cmp.Or(h.every, SampleEvery)) {
			return errors.Join(unread, h.keep(file, status()))
		}
		if time.Since(kept) >= keepEvery {
			kept = time.Now()
			h.keep(file, status()) //nolint:errcheck // the last one tells whether it can be kept
		}
	}
}

func SampleOf(s engine.Status) Sample {
	taken := Sample{At: s.Now, Feeds: make([]point, len(s.Feeds))}
	for i, f := range s.Feeds {
		taken.Feeds[i] = point{f.Delivered(), f.Lag(s.Now)}
		if f.Cursor.IsZero() {
			taken.Feeds[i].Lag = -1
		}
	}
	return taken
}

func (h *History) Add(s Sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*h.samples.place(int(SampleSpan / cmp.Or(h.every, SampleEvery))) = s
}

// Last are the samples within span, in order: one from before it first, and now last.
func (h *History) Last(span time.Duration, now Sample) []Sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := []Sample{now}
	for _, s := range h.samples.newest() {
		if list = append(list, s); !s.At.After(now.At.Add(-span)) {
			break
		}
	}
	slices.Reverse(list)
	return list
}

// Delivered is how many events all feeds had delivered at a sample, or one of
// them if feed is not below 0.
func (s Sample) Delivered(feed int) (n int64) {
	if feed >= 0 {
		return s.Feeds[feed].Delivered
	}
	for _, p := range s.Feeds {
		n += p.Delivered
	}
	return n
}

// keptHistory is the file: a column of numbers for each partition.
type keptHistory struct {
	At    []int64   `json:"at"` // seconds since 1970
	Feeds []keptOne `json:"feeds"`

	Operations []engine.WeightHour `json:"operations,omitempty"`
}

type keptOne struct {
	Feed      string  `json:"feed"`
	Partition string  `json:"partition,omitempty"`
	Delivered []int64 `json:"delivered"`
	Lag       []int64 `json:"lag"` // seconds; below 0: not known
}

func historyFile(s *settings.Settings) string {
	return filepath.Join(s.StateFolder(), "history.json")
}

// keep writes the samples in place of what was there.
func (h *History) keep(file string, status engine.Status) error {
	samples := h.Last(SampleSpan, SampleOf(status))
	kept := keptHistory{Feeds: make([]keptOne, len(status.Feeds))}
	for i, f := range status.Feeds {
		kept.Feeds[i] = keptOne{Feed: f.Feed, Partition: f.Partition}
	}
	if h.weights != nil {
		kept.Operations = h.weights.Weights()
	}
	for _, s := range samples {
		kept.At = append(kept.At, s.At.Unix())
		for i, p := range s.Feeds {
			one := &kept.Feeds[i]
			lag := int64(-1)
			if p.Lag >= 0 {
				lag = int64(p.Lag / time.Second)
			}
			one.Delivered, one.Lag = append(one.Delivered, p.Delivered), append(one.Lag, lag)
		}
	}
	text, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	fresh := file + ".new" // not synced as what a kill must leave whole: there may be a thousand tenants
	if err := os.WriteFile(fresh, text, 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, file)
}

// load takes over what an earlier process kept, of the feeds that exist now. What that process
// delivered gets negative counts, so that this one starts at 0.
func (h *History) load(file string, status engine.Status) error {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var kept keptHistory
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil {
		return err
	}
	if h.weights != nil {
		h.weights.AddWeights(kept.Operations)
	}
	columns := make([]*keptOne, len(status.Feeds))
	for i, f := range status.Feeds {
		for j := range kept.Feeds {
			one := &kept.Feeds[j]
			if one.Feed == f.Feed && one.Partition == f.Partition && len(one.Delivered) == len(kept.At) && len(one.Lag) == len(kept.At) {
				columns[i] = one
			}
		}
	}
	last := len(kept.At) - 1
	for n, at := range kept.At {
		s := Sample{At: time.Unix(at, 0), Feeds: make([]point, len(columns))}
		if age := status.Now.Sub(s.At); age < 0 || age > SampleSpan {
			continue
		}
		for i, one := range columns {
			s.Feeds[i].Lag = -1
			if one == nil {
				continue
			}
			s.Feeds[i].Delivered = one.Delivered[n] - one.Delivered[last]
			if one.Lag[n] >= 0 {
				s.Feeds[i].Lag = time.Duration(one.Lag[n]) * time.Second
			}
		}
		h.Add(s)
	}
	return nil
}
