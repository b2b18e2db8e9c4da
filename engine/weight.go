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

// Weight is what was delivered of one operation in the last day, or since the start.
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
	hour := now.Unix() / 3600
	h := &w.hours[hour%int64(len(w.hours))]
	if h.hour != hour || h.by == nil {
		*h = weightHour{hour, make(map[string]*Weight)}
	}
	for i, event := range events {
		if out[i] {
			continue
		}
		name := operationOf(event)
		of := h.by[string(name)]
		if of == nil {
			key := string(name)
			if len(h.by) >= mostOperations {
				key = otherOperation
			}
			if of = h.by[key]; of == nil {
				of = &Weight{Operation: key}
				h.by[key] = of
			}
		}
		of.Events++
		of.Bytes += int64(len(event)) + 1
	}
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
