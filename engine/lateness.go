package engine

import "time"

// latenessBounds are the upper bounds of the classes of a Lateness, in
// seconds; a last class has none.
var latenessBounds = [...]float64{60, 300, 900, 1800, 3600, 7200, 21600, 86400}

// Lateness says how long after their own time records were first seen.
type Lateness struct {
	Counts [len(latenessBounds) + 1]int64 `json:"counts"` // by class, not summed up
	Sum    float64                        `json:"sum"`    // seconds
}

// Bounds are the upper bounds of the classes, in seconds; Counts has one class
// more.
func (Lateness) Bounds() []float64 { return latenessBounds[:] }

func (l *Lateness) add(late time.Duration) {
	seconds := max(late.Seconds(), 0)
	l.Sum += seconds
	for i, bound := range latenessBounds {
		if seconds <= bound {
			l.Counts[i]++
			return
		}
	}
	l.Counts[len(latenessBounds)]++
}

func (l *Lateness) merge(other *Lateness) {
	l.Sum += other.Sum
	for i, n := range other.Counts {
		l.Counts[i] += n
	}
}
