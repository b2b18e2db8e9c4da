package engine

import (
	"bytes"
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/engine/load"
)

// What was delivered in the last day is counted by operation: it shows what costs, and so what a rule that
// drops or samples an operation would save.

// Weight is what was delivered of one operation in the last day.
type Weight struct {
	Operation string `json:"operation"`
	Events    int64  `json:"events"`
	Bytes     int64  `json:"bytes"`
}

const (
	weightHours = 24
	// mostOperations is how many operations are told apart in an hour; what is more is counted together.
	mostOperations = 512
	otherOperation = "others"
)

// weights are those of the last hours. The zero value is ready for use, by several goroutines.
type weights struct {
	mu    sync.Mutex
	hours [weightHours + 1]weightHour
}

// weightHour is one hour.
type weightHour struct {
	hour int64 // since 1970
	by   map[string]*Weight
}

// operationStart is what an operation stands behind in an event. Within a text the quotes would be escaped.
var operationStart = []byte(`"operation":"`)

// operationOf is the operation of an event, in its own bytes.
func operationOf(event []byte) []byte {
	_, rest, _ := bytes.Cut(event, operationStart)
	if end := bytes.IndexByte(rest, '"'); end >= 0 {
		return rest[:end]
	}
	return nil
}

// add counts the events of a batch that were accepted.
func (w *weights) add(now time.Time, events [][]byte, refused []load.Refused) {
	if len(events) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	out := indexes(refused)
	h := w.at(now.Unix() / 3600)
	for i, event := range events {
		if out[i] {
			continue
		}
		of := h.of(operationOf(event))
		of.Events++
		of.Bytes += int64(len(event)) + 1
	}
}

// WeightHour is what was delivered in one hour.
type WeightHour struct {
	Hour int64    `json:"hour"` // since 1970
	By   []Weight `json:"by"`
}

// Weights are those of the last day by hours, to be kept over a restart.
func (e *Engine) Weights() (list []WeightHour) {
	w := &e.weights
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.hours {
		kept := WeightHour{Hour: h.hour}
		for _, of := range h.by {
			kept.By = append(kept.By, *of)
		}
		if len(kept.By) > 0 {
			list = append(list, kept)
		}
	}
	return list
}

// AddWeights adds those that a process before this one kept.
func (e *Engine) AddWeights(list []WeightHour) {
	w := &e.weights
	w.mu.Lock()
	defer w.mu.Unlock()
	now := e.Now().Unix() / 3600
	for _, kept := range list {
		if kept.Hour > now || kept.Hour <= now-weightHours {
			continue
		}
		h := w.at(kept.Hour)
		for _, of := range kept.By {
			sum := h.of([]byte(of.Operation))
			sum.Events += of.Events
			sum.Bytes += of.Bytes
		}
	}
}

// at is an hour, empty if it was another one's place. The caller holds the lock.
func (w *weights) at(hour int64) *weightHour {
	h := &w.hours[hour%int64(len(w.hours))]
	if h.hour != hour || h.by == nil {
		*h = weightHour{hour, make(map[string]*Weight)}
	}
	return h
}

// of is what an operation weighs, or where there are too many, others.
func (h *weightHour) of(operation []byte) *Weight {
	of := h.by[string(operation)]
	if of != nil {
		return of
	}
	key := string(operation)
	if len(h.by) >= mostOperations {
		key = otherOperation
	}
	if of = h.by[key]; of == nil {
		of = &Weight{Operation: key}
		h.by[key] = of
	}
	return of
}

// lastDay are the operations of the last day, the heaviest first.
func (w *weights) lastDay(now time.Time) (list []Weight) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := map[string]int{}
	for _, h := range w.hours {
		if h.hour <= now.Unix()/3600-weightHours {
			continue
		}
		for name, of := range h.by {
			i, ok := at[name]
			if !ok {
				i = len(list)
				at[name] = i
				list = append(list, Weight{Operation: name})
			}
			list[i].Events += of.Events
			list[i].Bytes += of.Bytes
		}
	}
	slices.SortFunc(list, func(a, b Weight) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Operation, b.Operation))
	})
	return list
}
