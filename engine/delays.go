package engine

import (
	"math"
	"time"
)

// delayBounds are the upper bounds of the classes of Delays, in seconds; a last class has none.
var delayBounds = [...]float64{5, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400}

// Delays is a histogram of how long something took.
type Delays struct {
	Counts [len(delayBounds) + 1]int64 `json:"counts"` // by class, not summed up
	Sum    float64                     `json:"sum"`    // seconds
}

// Bounds are the upper bounds of the classes, in seconds; Counts has one class
// more.
func (Delays) Bounds() []float64 { return delayBounds[:] }

func (d *Delays) add(delay time.Duration) {
	seconds := max(delay.Seconds(), 0)
	d.Sum += seconds
	for i, bound := range delayBounds {
		if seconds <= bound {
			d.Counts[i]++
			return
		}
	}
	d.Counts[len(delayBounds)]++
}

// Merge adds others.
func (d *Delays) Merge(other *Delays) {
	d.Sum += other.Sum
	for i, n := range other.Counts {
		d.Counts[i] += n
	}
}

// Count is how many there are.
func (d Delays) Count() int64 {
	sum := int64(0)
	for _, n := range d.Counts {
		sum += n
	}
	return sum
}

// Quantile is an upper bound for that part of the delays, 0.5 for the median; the largest
// bound stands for all that is above it. It is 0 where there are none.
func (d Delays) Quantile(part float64) time.Duration {
	rank := int64(math.Ceil(part * float64(d.Count())))
	if rank == 0 {
		return 0
	}
	for i, bound := range delayBounds {
		if rank -= d.Counts[i]; rank <= 0 {
			return time.Duration(bound) * time.Second
		}
	}
	return time.Duration(delayBounds[len(delayBounds)-1]) * time.Second
}
