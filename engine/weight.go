package engine

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/engine/load"
)

// What was delivered in the last day is counted by operation: it shows what costs, and so what a rule that
// drops or samples an operation would save.

// Weight is what was delivered of one operation.
type Weight struct {
	Operation string `json:"operation"`
	Events    int64  `json:"events"`
	Bytes     int64  `json:"bytes"`
}

// WeightHour is what was delivered in one hour.
type WeightHour struct {
	Hour int64    `json:"hour"` // since 1970
	By   []Weight `json:"by"`
}

const (
	weightHours = 24
	// mostOperations is how many operations are told apart in an hour; what is more is counted together.
	mostOperations = 512
	otherOperation = "others"
)

// weights are those of the last day, by hour and operation. The zero value is ready for use, by several goroutines.
type weights struct {
	mu    sync.Mutex
	hours map[int64]map[string]*Weight
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
	w.mu.Lock()
	defer w.mu.Unlock()
	out, hour := indexes(refused), now.Unix()/3600
	for i, event := range events {
		if !out[i] {
			w.count(hour, operationOf(event), 1, int64(len(event))+1)
		}
	}
}

// count adds to the weight of an operation in an hour, or where that has too many, to that of the others. The caller
// holds the lock.
func (w *weights) count(hour int64, operation []byte, events, bytes int64) {
	by := w.hours[hour]
	if by == nil {
		if w.hours == nil {
			w.hours = map[int64]map[string]*Weight{}
		}
		maps.DeleteFunc(w.hours, func(old int64, _ map[string]*Weight) bool { return old <= hour-weightHours })
		by = map[string]*Weight{}
		w.hours[hour] = by
	}
	of := by[string(operation)]
	if of == nil {
		name := string(operation)
		if len(by) >= mostOperations {
			name = otherOperation
		}
		if of = by[name]; of == nil {
			of = &Weight{Operation: name}
			by[name] = of
		}
	}
	of.Events += events
	of.Bytes += bytes
}

// Weights are those of the last day by hours, to be kept over a restart.
func (e *Engine) Weights() (list []WeightHour) {
	w := &e.weights
	w.mu.Lock()
	defer w.mu.Unlock()
	for hour, by := range w.hours {
		kept := WeightHour{Hour: hour}
		for _, of := range by {
			kept.By = append(kept.By, *of)
		}
		list = append(list, kept)
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
		for _, of := range kept.By {
			w.count(kept.Hour, []byte(of.Operation), of.Events, of.Bytes)
		}
	}
}

// lastDay are the operations of the last day, the heaviest first.
func (w *weights) lastDay(now time.Time) (list []Weight) {
	w.mu.Lock()
	defer w.mu.Unlock()
	sum := map[string]Weight{}
	for hour, by := range w.hours {
		if hour <= now.Unix()/3600-weightHours {
			continue
		}
		for name, of := range by {
			sum[name] = Weight{name, sum[name].Events + of.Events, sum[name].Bytes + of.Bytes}
		}
	}
	list = slices.Collect(maps.Values(sum))
	slices.SortFunc(list, func(a, b Weight) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Operation, b.Operation))
	})
	return list
}
