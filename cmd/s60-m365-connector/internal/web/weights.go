package web

import (
	"fmt"

	"github.com/secure60/s60-m365-connector/engine"
)

// This file shows what costs.

// weightView is what one operation costs: what a rule that drops it would save.
type weightView struct {
	Operation, Events, Bytes, PartOfEvents, PartOfBytes string
}

// shownWeights is how many operations the page shows.
const shownWeights = 15

// weightsOf are the heaviest operations; more is how many others there are.
func weightsOf(list []engine.Weight) (rows []weightView, more int) {
	var events, bytes int64
	for _, w := range list {
		events, bytes = events+w.Events, bytes+w.Bytes
	}
	for i, w := range list {
		if i == shownWeights {
			return rows, len(list) - i
		}
		rows = append(rows, weightView{w.Operation, number(w.Events), size(w.Bytes), part(w.Events, events), part(w.Bytes, bytes)})
	}
	return rows, 0
}

// part is a share in percent.
func part(of, whole int64) string {
	return fmt.Sprintf("%.1f %%", 100*float64(of)/float64(max(whole, 1)))
}

// size is a number of bytes in words.
func size(bytes int64) string {
	switch {
	case bytes >= 10e6:
		return number(bytes/1e6) + " MB"
	case bytes >= 10e3:
		return number(bytes/1e3) + " kB"
	}
	return number(bytes) + " B"
}
